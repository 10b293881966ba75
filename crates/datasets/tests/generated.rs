//! Generated tables against the generators themselves.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use frazil_datasets::GeneratedTable;
use tpchgen::generators::{LineItemGenerator, OrderGenerator};
use tpchgen_arrow::{LineItemArrow, OrderArrow};

fn whole(batches: impl Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>) -> RecordBatch {
    let batches: Vec<_> = batches.map(|batch| batch.expect("generators do not fail")).collect();
    concat_batches(&batches[0].schema(), &batches).expect("of one schema")
}

#[test]
fn tpch_in_pieces_is_what_the_generator_makes() {
    let lines = GeneratedTable::tpch("lineitem", 0.1).unwrap();
    assert_eq!(lines.parts(), 3);
    let expected = whole(LineItemArrow::new(LineItemGenerator::new(0.1, 1, 1)));
    assert_eq!(expected.num_rows(), 600_572);
    assert!(whole(lines.open(0..3)) == expected);
    // However the pieces are dealt.
    let dealt = [0..1, 1..1, 1..3].into_iter().flat_map(|parts| lines.open(parts));
    assert!(whole(dealt) == expected);

    let orders = GeneratedTable::tpch("orders", 0.1).unwrap();
    assert!(whole(orders.open(0..orders.parts())) == whole(OrderArrow::new(OrderGenerator::new(0.1, 1, 1))));
}

#[test]
fn events_follow_from_their_numbers_alone() {
    let events = GeneratedTable::events(600_000, 7).unwrap();
    assert_eq!(events.parts(), 3);
    let all: usize = events.open(0..3).map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(all, 600_000);
    // The last piece alone begins with the number that the second one would have gone on with.
    let first = events.open(2..3).next().unwrap().unwrap();
    assert_eq!(first.column(0).to_data(), arrow::array::Int64Array::from_iter_values(400_000..408_192).into());
}

#[test]
fn unknown_tables_are_refused() {
    let message = GeneratedTable::tpch("lineitems", 1.0).unwrap_err().to_string();
    assert!(
        message.contains("\"lineitems\"") && message.contains("lineitem,") || message.contains("lineitem"),
        "{message}"
    );
    assert!(GeneratedTable::events(0, 1).is_err());
    assert!(GeneratedTable::tpch("lineitem", f64::NAN).is_err());
}
