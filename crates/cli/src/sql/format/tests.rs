use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float64Array, Int64Array, ListArray, StringViewArray};
use arrow::datatypes::Int32Type;

use super::*;

fn batch() -> RecordBatch {
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from(vec![Some(1), None]))),
        ("name", Arc::new(StringViewArray::from(vec![Some("a, \"b\""), None]))),
        ("price", Arc::new(Float64Array::from(vec![1.5, 22.0]))),
        ("l", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

fn printed(format: Format, batches: &[RecordBatch]) -> (Vec<u8>, Printed) {
    let mut out = Vec::new();
    let mut printer = Printer::new(format, &batches[0].schema(), &mut out).unwrap();
    for batch in batches {
        printer.print(batch).unwrap();
    }
    let printed = printer.finish().unwrap();
    (out, printed)
}

fn text(format: Format, batches: &[RecordBatch]) -> String {
    String::from_utf8(printed(format, batches).0).unwrap()
}

#[test]
fn a_table_is_a_box() {
    let expected = "\
┌──────┬────────┬───────┬───────┐
│ id   ┆ name   ┆ price ┆ l     │
╞══════╪════════╪═══════╪═══════╡
│    1 ┆ a, \"b\" ┆   1.5 ┆ [1, ] │
│ NULL ┆ NULL   ┆  22.0 ┆ NULL  │
└──────┴────────┴───────┴───────┘
";
    let got = text(Format::Table, &[batch()]);
    assert!(got.contains("NULL ┆ NULL   ┆  22.0"), "{got}");
    assert_eq!(got.lines().count(), expected.lines().count(), "{got}");
}

#[test]
fn csv_has_a_header_and_quotes_what_it_must() {
    assert_eq!(
        text(Format::Csv, &[batch(), batch()]),
        "id,name,price,l\n1,\"a, \"\"b\"\"\",1.5,\"[1, ]\"\n,,22.0,\n1,\"a, \"\"b\"\"\",1.5,\"[1, ]\"\n,,22.0,\n"
    );
    assert_eq!(text(Format::Csv, &[batch().slice(0, 0)]), "id,name,price,l\n");
    let bytes = RecordBatch::try_from_iter([("b", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..]])) as _)]).unwrap();
    assert_eq!(text(Format::Csv, &[bytes]), "b\nff00\n");
}

#[test]
fn json_is_one_object_a_line() {
    let text = text(Format::Json, &[batch()]);
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["name"], "a, \"b\"");
    assert!(lines[1].as_object().unwrap()["id"].is_null());
}

#[test]
fn arrow_can_be_read_again() {
    let (bytes, counted) = printed(Format::Arrow, &[batch(), batch()]);
    let read = arrow_ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap();
    assert_eq!(read.collect::<Result<Vec<_>, _>>().unwrap(), [batch(), batch()]);
    assert_eq!(counted, Printed { rows: 4, left_out: 0 });
}

#[test]
fn a_table_has_an_end() {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..7000));
    let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
    let (out, counted) = printed(Format::Table, &[batch.clone(), batch]);
    assert_eq!(counted, Printed { rows: 14_000, left_out: 4000 });
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), TABLE_ROWS_MAX + 4);
}

#[test]
fn values_do_not_speak_to_the_terminal() {
    let column: ArrayRef = Arc::new(StringViewArray::from(vec!["\u{1b}[2Jx\ty"]));
    let batch = RecordBatch::try_from_iter([("s", column)]).unwrap();
    let got = text(Format::Table, &[batch]);
    assert!(got.contains("\\u{1b}[2Jx\\ty"), "{got}");
}

#[test]
fn a_statement_without_columns_prints_nothing() {
    let empty = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
    for format in [Format::Table, Format::Csv, Format::Json] {
        assert_eq!(printed(format, std::slice::from_ref(&empty)).0, b"");
    }
}
