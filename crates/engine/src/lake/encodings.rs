//! How a file's columns are encoded.
//!
//! Parquet's writer begins every row group with a dictionary for each column, and gives it up when the dictionary is too large: where
//! values hardly repeat, looking them up is the dearest part of writing. Such columns have no dictionary here. Their integers, and
//! those that are in order, are kept as packed differences (`DELTA_BINARY_PACKED`), which are smaller than what they replace and are
//! read several times as fast, since there is less to decompress. So are decimals, dates and times, which Parquet keeps as integers.

use arrow::array::RecordBatch;
use arrow::datatypes::{DECIMAL64_MAX_PRECISION, DataType, SchemaRef};
use datafusion::error::Result;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::bloom_filters::{FALSE_POSITIVES, columns_that_pay};
use super::first_rows::FirstRows;

/// Dictionaries of more values do not pay: their numbers take two bytes and more a row.
const DICTIONARY_VALUES_MAX: usize = 64 << 10;
/// Of the rows of an ordered column, so many have a value that differs from others': with fewer, runs of equal numbers in a
/// dictionary are as small.
const ORDERED_DISTINCT_MIN: f64 = 0.02;

/// How a file is written whose first rows these are.
pub(super) fn writer_properties(
    schema: &SchemaRef,
    first: &RecordBatch,
    group_rows: usize,
) -> Result<WriterProperties> {
    let columns = FirstRows::of(first)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(group_rows))
        .set_created_by(format!("frazil {}", env!("CARGO_PKG_VERSION")));
    let path = |index: usize| ColumnPath::from(schema.field(index).name().as_str());
    for (index, column) in columns.iter().enumerate() {
        if let Some(column) = column {
            properties = encode(properties, path(index), column)?;
        }
    }
    for index in columns_that_pay(&columns, group_rows)? {
        // As large as the values of a row group need: the writer makes it smaller when they are fewer than its rows.
        properties = properties.set_column_bloom_filter_fpp(path(index), FALSE_POSITIVES);
    }
    Ok(properties.build())
}

fn encode(
    properties: WriterPropertiesBuilder,
    path: ColumnPath,
    column: &FirstRows,
) -> Result<WriterPropertiesBuilder> {
    let many = column.population() > DICTIONARY_VALUES_MAX;
    if is_stored_as_integer(column.data_type()) {
        let differ = column.distinct() as f64 >= ORDERED_DISTINCT_MIN * column.rows() as f64;
        if many || (differ && column.is_ordered()?) {
            let properties = properties.set_column_dictionary_enabled(path.clone(), false);
            return Ok(properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED));
        }
    } else if many && !matches!(column.data_type(), DataType::Boolean) {
        return Ok(properties.set_column_dictionary_enabled(path, false));
    }
    Ok(properties)
}

/// As one of 32 or 64 bits.
fn is_stored_as_integer(data_type: &DataType) -> bool {
    match data_type {
        DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => true,
        DataType::Decimal128(precision, _) => *precision <= DECIMAL64_MAX_PRECISION,
        other => other.is_integer(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, StringViewArray, UInt64Array,
    };
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// Encodings of the columns' data pages, and what is read back.
    fn written(batch: &RecordBatch) -> (Vec<(bool, bool)>, Vec<RecordBatch>) {
        let properties = writer_properties(&batch.schema(), batch, 512 << 10).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        let file = Bytes::from(writer.into_inner().unwrap());
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(batch.num_rows());
        let encodings = reader.metadata().row_group(0).columns().iter();
        let has =
            |column: &parquet::file::metadata::ColumnChunkMetaData, wanted| column.encodings().any(|one| one == wanted);
        let encodings =
            encodings.map(|column| (has(column, Encoding::RLE_DICTIONARY), has(column, Encoding::DELTA_BINARY_PACKED)));
        let encodings = encodings.collect();
        (encodings, reader.build().unwrap().map(Result::unwrap).collect())
    }

    fn scattered(row: i64) -> i64 {
        (row.wrapping_mul(0x5851_f42d_4c95_7f2d) >> 17) & 0xffff_ffff
    }

    #[test]
    fn values_that_hardly_repeat_have_no_dictionary() {
        let rows = 0..8192_i64;
        let many = || rows.clone().map(scattered);
        let decimals = |precision| -> ArrayRef {
            Arc::new(
                Decimal128Array::from_iter_values(many().map(i128::from))
                    .with_precision_and_scale(precision, 2)
                    .unwrap(),
            )
        };
        let batch = RecordBatch::try_from_iter([
            ("few", Arc::new(Int64Array::from_iter_values(many().map(|value| value % 1000))) as ArrayRef),
            ("many", Arc::new(Int64Array::from_iter_values(many()))),
            ("ordered", Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row / 4)))),
            ("runs", Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row / 1000)))),
            ("short decimals", decimals(15)),
            ("long decimals", decimals(30)),
            ("floats", Arc::new(Float64Array::from_iter_values(many().map(|value| value as f64)))),
            ("texts", Arc::new(StringViewArray::from_iter_values(many().map(|value| format!("text {value}"))))),
            ("dates", Arc::new(Date32Array::from_iter_values(rows.clone().map(|row| row as i32 / 3)))),
        ])
        .unwrap();
        let (encodings, read) = written(&batch);
        let (dictionary, differences, plain) = ((true, false), (false, true), (false, false));
        let wanted = [dictionary, differences, differences, dictionary, differences, plain, plain, plain, differences];
        assert_eq!(encodings, wanted);
        assert_eq!(read.len(), 1);
        for (column, (wrote, found)) in batch.columns().iter().zip(read[0].columns()).enumerate() {
            let found = arrow::compute::cast(found, wrote.data_type()).unwrap();
            assert_eq!(wrote.as_ref(), found.as_ref(), "column {column}");
        }
    }

    /// Differences of the extremes do not fit their type.
    #[test]
    fn extremes_come_back() {
        let extreme = |row: i64| match row % 5 {
            0 => Some(i64::MIN),
            1 => Some(i64::MAX),
            2 => None,
            3 => Some(0),
            _ => Some(scattered(row) << 31),
        };
        let rows = || (0..8192_i64).chain([i64::MAX]).map(extreme);
        // Rows of many values come first, so that there are differences.
        let leading = || (0..8192_i64).map(|row| Some(scattered(row) << 20));
        let batch = RecordBatch::try_from_iter([
            ("signed", Arc::new(Int64Array::from_iter(leading().chain(rows()))) as ArrayRef),
            (
                "unsigned",
                Arc::new(UInt64Array::from_iter(leading().chain(rows()).map(|value| value.map(|value| value as u64)))),
            ),
        ])
        .unwrap();
        let (encodings, read) = written(&batch);
        assert_eq!(encodings, [(false, true); 2]);
        let read = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
        for (wrote, found) in batch.columns().iter().zip(read.columns()) {
            assert_eq!(wrote.as_ref(), found.as_ref());
        }
    }
}
