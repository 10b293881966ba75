//! What a column is like, judged by the first rows that go into a file: how its values are stored is settled before there are more.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::sort_to_indices;
use arrow::datatypes::DataType;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::error::Result;

/// Fewer rows say nothing,
pub(super) const ROWS_MIN: usize = 1000;
/// and more of them are not looked at.
const ROWS_MAX: usize = 8192;
/// How far rows may be from where they would be if they were sorted, as a part of all rows, to be taken for ordered. Without any
/// order it is a third.
const DISPLACED_MAX: f64 = 0.1;
/// Texts of more words are prose.
const WORDS_MAX: usize = 2;

/// First rows of a column.
pub(super) struct FirstRows {
    column: Arc<dyn Array>,
    distinct: Distinct,
}

/// How many values there are, and how many of those occur once and twice.
#[derive(Clone, Copy)]
struct Distinct {
    all: usize,
    once: usize,
    twice: usize,
}

impl FirstRows {
    /// Of each column, in order; `None` for those that have too few values and for nested ones. Nothing at all where there are too few rows.
    pub(super) fn of(batch: &RecordBatch) -> Result<Vec<Option<Self>>> {
        if batch.num_rows() < ROWS_MIN {
            return Ok(Vec::new());
        }
        let column = |column: &Arc<dyn Array>| {
            let column = column.slice(0, column.len().min(ROWS_MAX));
            if column.data_type().is_nested() || column.len() - column.null_count() < ROWS_MIN {
                return Ok(None);
            }
            let distinct = Distinct::of(&column)?;
            Ok(Some(Self { column, distinct }))
        };
        batch.columns().iter().map(column).collect()
    }

    pub(super) fn data_type(&self) -> &DataType {
        self.column.data_type()
    }

    pub(super) fn rows(&self) -> usize {
        self.column.len()
    }

    pub(super) fn distinct(&self) -> usize {
        self.distinct.all
    }

    /// How many distinct values the whole column has at least, estimated from how many occur once and twice (A. Chao, "Nonparametric
    /// estimation of the number of classes in a population", 1984).
    pub(super) fn population(&self) -> usize {
        let Distinct { all, once, twice } = self.distinct;
        all + once * once.saturating_sub(1) / (2 * (twice + 1))
    }

    /// Whether a value's place among all tells where its row is, in the mean.
    pub(super) fn is_ordered(&self) -> Result<bool> {
        let rows = self.column.len();
        let places = sort_to_indices(&self.column, None, None)?;
        let away = |place: usize, row: u32| place.abs_diff(row as usize) as f64;
        let places = places.values().iter().enumerate();
        let up: f64 = places.clone().map(|(place, row)| away(place, *row)).sum();
        let down: f64 = places.map(|(place, row)| away(rows - 1 - place, *row)).sum();
        Ok(up.min(down) / (rows as f64 * rows as f64) <= DISPLACED_MAX)
    }

    /// In the mean.
    pub(super) fn value_bytes(&self) -> usize {
        let texts = match self.column.data_type() {
            DataType::Utf8View => self.column.as_string_view().lengths().map(u64::from).sum::<u64>(),
            DataType::BinaryView => self.column.as_binary_view().lengths().map(u64::from).sum::<u64>(),
            other => return other.primitive_width().unwrap_or(0),
        };
        texts as usize / self.column.len().max(1)
    }

    pub(super) fn is_prose(&self) -> bool {
        is_prose(&self.column)
    }
}

/// Whether these are texts of which most have several words.
pub(super) fn is_prose(column: &Arc<dyn Array>) -> bool {
    let Some(texts) = column.as_string_view_opt() else { return false };
    let of_words = |text: &str| text.split_ascii_whitespace().nth(WORDS_MAX).is_some();
    let prose = texts.iter().flatten().filter(|text| of_words(text)).count();
    prose * 2 > texts.len() - texts.null_count()
}

impl Distinct {
    /// By the values' hashes.
    fn of(column: &Arc<dyn Array>) -> Result<Self> {
        let mut hashes = vec![0; column.len()];
        create_hashes([column], &RandomState::with_seed(0), &mut hashes)?;
        let valid = hashes.into_iter().enumerate().filter(|(row, _)| column.is_valid(*row));
        let mut hashes: Vec<u64> = valid.map(|(_, hash)| hash).collect();
        hashes.sort_unstable();
        let mut distinct = Self { all: 0, once: 0, twice: 0 };
        for equal in hashes.chunk_by(|left, right| left == right) {
            distinct.all += 1;
            distinct.once += usize::from(equal.len() == 1);
            distinct.twice += usize::from(equal.len() == 2);
        }
        Ok(distinct)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::super::sketches::mix;
    use super::*;

    fn first_rows(values: impl Iterator<Item = i64>) -> FirstRows {
        let column = Arc::new(Int64Array::from_iter_values(values)) as Arc<dyn Array>;
        let batch = RecordBatch::try_from_iter([("column", column)]).unwrap();
        FirstRows::of(&batch).unwrap().remove(0).unwrap()
    }

    /// As if they were drawn.
    fn scattered(rows: i64) -> impl Iterator<Item = i64> {
        (0..rows).map(|row| (mix(row as u64) >> 24) as i64)
    }

    #[test]
    fn a_population_is_estimated_from_a_part_of_it() {
        for of in [100, 1000, 10_000, 50_000, 200_000] {
            let found = first_rows(scattered(8192).map(|value| value % of)).population() as f64;
            let error = (found / of as f64 - 1.0).abs();
            assert!(error < 0.25, "{found} of {of}");
        }
        assert!(first_rows(0..8192).population() > 10_000_000);
        // No more rows are looked at.
        assert_eq!(first_rows(0..100_000).distinct(), ROWS_MAX);
    }

    #[test]
    fn orders_are_seen() {
        assert!(first_rows(0..8192).is_ordered().unwrap());
        assert!(first_rows((0..8192).rev()).is_ordered().unwrap());
        assert!(first_rows((0..8192).map(|row| row / 4 + row % 7)).is_ordered().unwrap());
        assert!(!first_rows(scattered(8192)).is_ordered().unwrap());
    }

    #[test]
    fn few_rows_say_nothing() {
        let few = Arc::new(Int64Array::from_iter_values(0..500)) as Arc<dyn Array>;
        assert!(FirstRows::of(&RecordBatch::try_from_iter([("few", few)]).unwrap()).unwrap().is_empty());
        let nulls = Arc::new(Int64Array::from_iter((0..2000).map(|row| (row < 500).then_some(row)))) as Arc<dyn Array>;
        assert!(FirstRows::of(&RecordBatch::try_from_iter([("nulls", nulls)]).unwrap()).unwrap()[0].is_none());
    }
}
