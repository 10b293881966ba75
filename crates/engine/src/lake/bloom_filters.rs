//! Which columns of a file get bloom filters: those that are asked for single values which bounds do not find.
//!
//! A filter pays where a column has many values, in no order: then every row group's bounds enclose nearly every value, and only a
//! filter tells that one is not there. What a column is like is judged by the first rows of a file.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::sort_to_indices;
use arrow::datatypes::DataType;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::error::Result;

/// Rows in which one value in 20 that is not there is taken for one that may be.
pub(super) const FALSE_POSITIVES: f64 = 0.05;

/// Fewer rows say nothing, and a file that has no more of them is read as quickly as a filter.
const ROWS_MIN: usize = 1000;
/// Of a column's values, so many must differ.
const DISTINCT_MIN: f64 = 0.5;
/// How far rows may be from where they would be if they were sorted, as a part of all rows, so that bounds find what is asked
/// for. Without any order it is a third.
const DISPLACED_MAX: f64 = 0.1;
/// Longer texts, and those of more words, are searched in, not asked for.
const TEXT_BYTES_MAX: usize = 64;
const WORDS_MAX: usize = 2;
/// A filter takes about a byte a row, so a column in 16 bytes of Arrow data adds at most an eighth to a file that is half as
/// large as those.
const ROW_BYTES_PER_FILTER: usize = 16;
const FILTERS_MAX: usize = 4;

/// Positions of the columns that get a filter, judged by a file's first rows.
pub(super) fn columns_that_pay(first: &RecordBatch) -> Result<Vec<usize>> {
    let rows = first.num_rows();
    if rows < ROWS_MIN {
        return Ok(Vec::new());
    }
    let mut paying = Vec::new();
    for (index, column) in first.columns().iter().enumerate() {
        if is_asked_for(column) && !is_ordered(column)? {
            let distinct = distinct_part(column)?;
            if distinct >= DISTINCT_MIN {
                paying.push((distinct, index));
            }
        }
    }
    paying.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    let row_bytes = first.columns().iter().map(value_bytes).sum::<usize>();
    paying.truncate((row_bytes / ROW_BYTES_PER_FILTER).min(FILTERS_MAX));
    Ok(paying.into_iter().map(|(_, index)| index).collect())
}

fn is_asked_for(column: &Arc<dyn Array>) -> bool {
    let values = column.len() - column.null_count();
    if values < ROWS_MIN {
        return false;
    }
    match column.data_type() {
        DataType::Int32 | DataType::Int64 | DataType::UInt32 | DataType::UInt64 => true,
        DataType::Utf8View => value_bytes(column) <= TEXT_BYTES_MAX && !is_prose(column),
        DataType::BinaryView => value_bytes(column) <= TEXT_BYTES_MAX,
        _ => false,
    }
}

/// Whether most texts have several words.
fn is_prose(column: &Arc<dyn Array>) -> bool {
    let texts = column.as_string_view();
    let of_words = |text: &str| text.split_ascii_whitespace().nth(WORDS_MAX).is_some();
    let prose = texts.iter().flatten().filter(|text| of_words(text)).count();
    prose * 2 > texts.len() - texts.null_count()
}

/// In the mean. Nested values count as nothing, which makes for fewer filters.
fn value_bytes(column: &Arc<dyn Array>) -> usize {
    let texts = match column.data_type() {
        DataType::Utf8View => column.as_string_view().lengths().map(u64::from).sum::<u64>(),
        DataType::BinaryView => column.as_binary_view().lengths().map(u64::from).sum::<u64>(),
        other => return other.primitive_width().unwrap_or(0),
    };
    texts as usize / column.len().max(1)
}

/// Whether a value's place among all tells where its row is, in the mean.
fn is_ordered(column: &Arc<dyn Array>) -> Result<bool> {
    let rows = column.len();
    let places = sort_to_indices(column, None, None)?;
    let away = |place: usize, row: u32| place.abs_diff(row as usize) as f64;
    let places = places.values().iter().enumerate();
    let up: f64 = places.clone().map(|(place, row)| away(place, *row)).sum();
    let down: f64 = places.map(|(place, row)| away(rows - 1 - place, *row)).sum();
    Ok(up.min(down) / (rows as f64 * rows as f64) <= DISPLACED_MAX)
}

/// How many of the values differ from all others, by their hashes.
fn distinct_part(column: &Arc<dyn Array>) -> Result<f64> {
    let mut hashes = vec![0; column.len()];
    create_hashes([column], &RandomState::with_seed(0), &mut hashes)?;
    let mut hashes: Vec<u64> =
        hashes.into_iter().enumerate().filter(|(row, _)| column.is_valid(*row)).map(|(_, hash)| hash).collect();
    let values = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    Ok(hashes.len() as f64 / values as f64)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn many_values_in_no_order_pay() {
        let scattered = |row: i64| (row * 7919) % 1_000_003;
        let rows = 0..8192_i64;
        let batch = RecordBatch::try_from_iter([
            ("ordered", Arc::new(Int64Array::from_iter_values(rows.clone())) as Arc<dyn Array>),
            ("scattered", Arc::new(Int64Array::from_iter_values(rows.clone().map(scattered)))),
            ("few", Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| scattered(row) % 100)))),
            (
                "text",
                Arc::new(StringViewArray::from_iter_values(rows.clone().map(|row| format!("key {}", scattered(row))))),
            ),
            (
                "long",
                Arc::new(StringViewArray::from_iter_values(rows.clone().map(|row| format!("{:0100}", scattered(row))))),
            ),
            (
                "prose",
                Arc::new(StringViewArray::from_iter_values(
                    rows.clone().map(|row| format!("it is {} now", scattered(row))),
                )),
            ),
            ("float", Arc::new(Float64Array::from_iter_values(rows.clone().map(|row| scattered(row) as f64)))),
        ])
        .unwrap();
        let mut paying = columns_that_pay(&batch).unwrap();
        paying.sort_unstable();
        assert_eq!(paying, [1, 3]);
        assert!(columns_that_pay(&batch.slice(0, 500)).unwrap().is_empty());
        // A narrow table has room for few of them.
        let narrow = batch.project(&[1]).unwrap();
        assert!(columns_that_pay(&narrow).unwrap().is_empty());
    }
}
