//! Are two answers the same? Names, logical types and rows; floats to a relative tolerance, everything else exactly.

use std::cmp::Ordering;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::engine::Answer;

/// Sums of floats differ in their last digits with the order of addition, which is up to the partitions.
const RELATIVE: f64 = 1e-9;
/// What is left where such a sum cancels to nothing.
const ABSOLUTE: f64 = 1e-12;

const ROWS_SHOWN: usize = 5;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The statement's `ORDER BY` is a total order.
    Total,
    /// Rows are a multiset.
    Any,
}

/// `Err` says what differs, and shows the first rows that do.
pub fn compare(expected: &Answer, actual: &Answer, order: Order) -> Result<(), String> {
    compare_schemas(expected, actual)?;
    let (mut left, mut right) = (rows(expected)?, rows(actual)?);
    if order == Order::Any {
        left.sort_by(compare_rows);
        right.sort_by(compare_rows);
    }
    let differing: Vec<usize> = (0..left.len().max(right.len()))
        .filter(|&i| !matches!((left.get(i), right.get(i)), (Some(a), Some(b)) if same_row(a, b)))
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    if order == Order::Any && left.len() == right.len() && same_after_matching(&left, &right, &differing) {
        return Ok(());
    }
    Err(describe(&left, &right, &differing))
}

fn compare_schemas(expected: &Answer, actual: &Answer) -> Result<(), String> {
    let names = |answer: &Answer| {
        let fields = answer.schema.fields();
        fields.iter().map(|f| format!("{}: {}", f.name(), logical_type(f.data_type()))).collect::<Vec<_>>().join(", ")
    };
    let (left, right) = (names(expected), names(actual));
    if left == right { Ok(()) } else { Err(format!("columns differ\n  expected ({left})\n  actual   ({right})")) }
}

/// The type without its physical variants: views, offsets' width, dictionaries, nullability and names inside lists.
fn logical_type(kind: &DataType) -> DataType {
    let item = |field: &Field| Arc::new(Field::new("item", logical_type(field.data_type()), true));
    match kind {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, value) => logical_type(value),
        DataType::List(field) | DataType::LargeList(field) | DataType::ListView(field) => DataType::List(item(field)),
        DataType::Struct(fields) => DataType::Struct(
            fields.iter().map(|f| Arc::new(Field::new(f.name(), logical_type(f.data_type()), true))).collect(),
        ),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(parts) = entries.data_type() else { return kind.clone() };
            let parts = DataType::Struct(parts.iter().map(|part| item(part)).collect());
            DataType::Map(Arc::new(Field::new("entries", parts, false)), *sorted)
        }
        other => other.clone(),
    }
}

#[derive(Clone, Debug)]
enum Cell {
    Null,
    Float(f64),
    /// Any other value, as Arrow prints it: exact for integers, decimals, times and text.
    Exact(String),
}

type Row = Vec<Cell>;

fn rows(answer: &Answer) -> Result<Vec<Row>, String> {
    let mut all = Vec::with_capacity(answer.rows());
    for batch in &answer.batches {
        append_rows(batch, &mut all).map_err(|e| format!("a batch cannot be read: {e}"))?;
    }
    Ok(all)
}

fn append_rows(batch: &RecordBatch, all: &mut Vec<Row>) -> Result<(), arrow::error::ArrowError> {
    let columns: Vec<Vec<Cell>> = batch.columns().iter().map(cells).collect::<Result<_, _>>()?;
    all.extend((0..batch.num_rows()).map(|i| columns.iter().map(|column| column[i].clone()).collect()));
    Ok(())
}

fn cells(column: &ArrayRef) -> Result<Vec<Cell>, arrow::error::ArrowError> {
    if column.data_type().is_floating() {
        let floats = cast(column, &DataType::Float64)?;
        return Ok(floats.as_primitive::<Float64Type>().iter().map(|v| v.map_or(Cell::Null, Cell::Float)).collect());
    }
    let options = FormatOptions::default().with_null("NULL");
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let nulls = column.logical_nulls();
    (0..column.len())
        .map(|i| match &nulls {
            Some(nulls) if nulls.is_null(i) => Ok(Cell::Null),
            _ => Ok(Cell::Exact(formatter.value(i).try_to_string()?)),
        })
        .collect()
}

fn same_cell(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Null, Cell::Null) => true,
        (Cell::Float(a), Cell::Float(b)) => close(*a, *b),
        (Cell::Exact(a), Cell::Exact(b)) => a == b,
        _ => false,
    }
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= (RELATIVE * a.abs().max(b.abs())).max(ABSOLUTE)
}

fn same_row(a: &Row, b: &Row) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_cell(a, b))
}

/// Exact cells first: rows that differ only within the tolerance must not be torn apart by their floats.
fn compare_rows(a: &Row, b: &Row) -> Ordering {
    compare_exact(a, b).then_with(|| {
        let floats =
            |row: &Row| row.iter().filter_map(|c| if let Cell::Float(v) = c { Some(*v) } else { None }).collect();
        let (a, b): (Vec<f64>, Vec<f64>) = (floats(a), floats(b));
        a.iter().zip(&b).map(|(a, b)| a.total_cmp(b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    })
}

fn compare_exact(a: &Row, b: &Row) -> Ordering {
    let rank = |cell: &Cell| match cell {
        Cell::Null => 0,
        Cell::Float(_) => 1,
        Cell::Exact(_) => 2,
    };
    a.iter()
        .zip(b)
        .map(|(a, b)| match (a, b) {
            (Cell::Exact(a), Cell::Exact(b)) => a.cmp(b),
            _ => rank(a).cmp(&rank(b)),
        })
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Sorting by floats can order two rows differently on the two sides when a first float differs in its last digits and
/// a second one decides. So the rows that differ get a second chance: each takes any partner it is close to.
fn same_after_matching(left: &[Row], right: &[Row], differing: &[usize]) -> bool {
    let mut free: Vec<usize> = differing.to_vec();
    differing.len() <= 2000
        && differing.iter().all(|&i| match free.iter().position(|&j| same_row(&left[i], &right[j])) {
            Some(found) => {
                free.swap_remove(found);
                true
            }
            None => false,
        })
}

fn describe(left: &[Row], right: &[Row], differing: &[usize]) -> String {
    let mut text = format!("{} of {} rows differ (the other side has {})", differing.len(), left.len(), right.len());
    for &i in differing.iter().take(ROWS_SHOWN) {
        let _ = write!(text, "\n  row {i}\n    expected {}\n    actual   {}", show(left.get(i)), show(right.get(i)));
    }
    text
}

fn show(row: Option<&Row>) -> String {
    let Some(row) = row else { return "(no row)".to_owned() };
    let cell = |cell: &Cell| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Float(value) => format!("{value:?}"),
        Cell::Exact(text) => text.clone(),
    };
    row.iter().map(cell).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, RecordBatch, StringArray, StringViewArray};

    use super::*;

    fn answer(names: &[Option<&str>], values: &[f64]) -> Answer {
        let columns: [(&str, ArrayRef); 2] = [
            ("name", Arc::new(StringArray::from(names.to_vec()))),
            ("value", Arc::new(Float64Array::from(values.to_vec()))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).expect("two columns");
        Answer { schema: batch.schema(), batches: vec![batch] }
    }

    #[test]
    fn rows_are_a_multiset_unless_ordered() {
        let a = answer(&[Some("x"), None], &[1.0, 2.0]);
        let b = answer(&[None, Some("x")], &[2.0, 1.0 + 1e-12]);
        assert_eq!(compare(&a, &b, Order::Any), Ok(()));
        assert!(compare(&a, &b, Order::Total).is_err());
    }

    #[test]
    fn a_lost_a_doubled_and_a_changed_row_are_seen() {
        let a = answer(&[Some("x"), Some("x"), Some("y")], &[1.0, 1.0, 2.0]);
        for (names, values) in [
            (vec![Some("x"), Some("y")], vec![1.0, 2.0]),
            (vec![Some("x"), Some("y"), Some("y")], vec![1.0, 2.0, 2.0]),
            (vec![Some("x"), Some("x"), Some("y")], vec![1.0, 1.0, 2.001]),
            (vec![Some("x"), Some("x"), None], vec![1.0, 1.0, 2.0]),
        ] {
            let difference = compare(&a, &answer(&names, &values), Order::Any).expect_err("they differ");
            assert!(difference.contains("expected"), "{difference}");
        }
    }

    #[test]
    fn views_are_the_same_type_but_floats_are_not_text() {
        let a = answer(&[Some("x")], &[1.0]);
        let column: ArrayRef = Arc::new(StringViewArray::from(vec!["x"]));
        let value: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        let view = RecordBatch::try_from_iter([("name", column.clone()), ("value", value)]).expect("two columns");
        assert_eq!(compare(&a, &Answer { schema: view.schema(), batches: vec![view] }, Order::Any), Ok(()));
        let text = RecordBatch::try_from_iter([("name", column.clone()), ("value", column)]).expect("two columns");
        assert!(compare(&a, &Answer { schema: text.schema(), batches: vec![text] }, Order::Any).is_err());
    }
}
