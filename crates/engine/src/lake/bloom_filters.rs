//! Which columns of a file get bloom filters: those that are asked for single values which bounds do not find.
//!
//! A filter pays where a column has many values, in no order: then every row group's bounds enclose nearly every value, and only a
//! filter tells that one is not there. It does not pay where a row group has most of the values there are: then every filter says yes.

use arrow::datatypes::DataType;
use datafusion::error::Result;

use super::first_rows::FirstRows;

/// Rows in which one value in 20 that is not there is taken for one that may be.
pub(super) const FALSE_POSITIVES: f64 = 0.05;

/// Longer texts, and those of more words, are searched in, not asked for.
const TEXT_BYTES_MAX: usize = 64;
/// A filter takes about a byte a row, so a column in 16 bytes of Arrow data adds at most an eighth to a file that is half as
/// large as those.
const ROW_BYTES_PER_FILTER: usize = 16;
const FILTERS_MAX: usize = 4;

/// Positions of the columns that get a filter. `group_rows`: of a row group.
pub(super) fn columns_that_pay(first: &[Option<FirstRows>], group_rows: usize) -> Result<Vec<usize>> {
    let mut paying = Vec::new();
    for (index, column) in first.iter().enumerate() {
        let Some(column) = column else { continue };
        // Of as many values as a row group has rows, it has two in three.
        if is_asked_for(column) && column.population() >= group_rows && !column.is_ordered()? {
            paying.push((column.distinct(), index));
        }
    }
    paying.sort_by_key(|(distinct, _)| std::cmp::Reverse(*distinct));
    let row_bytes = first.iter().flatten().map(FirstRows::value_bytes).sum::<usize>();
    paying.truncate((row_bytes / ROW_BYTES_PER_FILTER).min(FILTERS_MAX));
    Ok(paying.into_iter().map(|(_, index)| index).collect())
}

fn is_asked_for(column: &FirstRows) -> bool {
    match column.data_type() {
        DataType::Int32 | DataType::Int64 | DataType::UInt32 | DataType::UInt64 => true,
        DataType::Utf8View => column.value_bytes() <= TEXT_BYTES_MAX && !column.is_prose(),
        DataType::BinaryView => column.value_bytes() <= TEXT_BYTES_MAX,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Float64Array, Int64Array, RecordBatch, StringViewArray};

    use super::super::sketches::mix;
    use super::*;

    fn paying(batch: &RecordBatch) -> Vec<usize> {
        let mut paying = columns_that_pay(&FirstRows::of(batch).unwrap(), 512 << 10).unwrap();
        paying.sort_unstable();
        paying
    }

    #[test]
    fn many_values_in_no_order_pay() {
        let scattered = |row: i64| (row * 7919) % 1_000_003;
        let one_of = |count: u64| Int64Array::from_iter_values((0..8192).map(|row| (mix(row) % count) as i64));
        let rows = 0..8192_i64;
        let texts = |text: fn(i64) -> String| -> Arc<dyn Array> {
            Arc::new(StringViewArray::from_iter_values((0..8192_i64).map(|row| text((row * 7919) % 1_000_003))))
        };
        let batch = RecordBatch::try_from_iter([
            ("ordered", Arc::new(Int64Array::from_iter_values(rows.clone())) as Arc<dyn Array>),
            ("scattered", Arc::new(Int64Array::from_iter_values(rows.clone().map(scattered)))),
            ("few", Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| scattered(row) % 100)))),
            ("in every group", Arc::new(one_of(200_000))),
            ("text", texts(|value| format!("key {value}"))),
            ("long", texts(|value| format!("{value:0100}"))),
            ("prose", texts(|value| format!("it is {value} now"))),
            ("float", Arc::new(Float64Array::from_iter_values(rows.clone().map(|row| scattered(row) as f64)))),
        ])
        .unwrap();
        assert_eq!(paying(&batch), [1, 4]);
        assert!(paying(&batch.slice(0, 500)).is_empty());
        // A narrow table has room for few of them.
        assert!(paying(&batch.project(&[1]).unwrap()).is_empty());
    }
}
