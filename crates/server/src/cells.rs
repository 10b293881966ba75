//! Rows as the JSON answer carries them: arrays of strings or nulls.
//!
//! One encoder a column is chosen for each batch; it writes text straight into the answer's buffer. The text of each
//! type is Snowflake's (SQL API v2): booleans `true`, dates as days and times and timestamps as seconds since the epoch,
//! binary as hex, decimals exact. Lists, structs and maps are JSON inside the string, with readable dates and times.

mod nested;
mod scalar;
mod temporal;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::ArrayFormatter;
use frazil_common::Failure;
use serde::Serialize;

pub use temporal::{offsets, ticks_a_second};

/// How a cell without a value is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NullCell {
    #[default]
    Null,
    /// As the string `"null"`: the request's `nullable=false`.
    Text,
}

/// Appends `[[…],[…]]`: the rows of all batches.
pub fn write_rows(batches: &[RecordBatch], null_cell: NullCell, out: &mut Vec<u8>) -> Result<(), Failure> {
    out.push(b'[');
    write_rows_bare(batches, null_cell, out)?;
    out.push(b']');
    Ok(())
}

/// Appends `[…],[…]`, without brackets around all of it.
pub fn write_rows_bare(batches: &[RecordBatch], null_cell: NullCell, out: &mut Vec<u8>) -> Result<(), Failure> {
    let null: &[u8] = match null_cell {
        NullCell::Null => b"null",
        NullCell::Text => b"\"null\"",
    };
    let mut first_row = true;
    for batch in batches {
        let mut columns = columns_of(batch)?;
        for row in 0..batch.num_rows() {
            out.extend_from_slice(if first_row { b"[" } else { b",[" });
            first_row = false;
            for (index, column) in columns.iter_mut().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                if column.is_null(row) {
                    out.extend_from_slice(null);
                } else {
                    column.encode.cell(row, out);
                }
            }
            out.push(b']');
        }
    }
    Ok(())
}

/// The text of each value of an array, `None` for null. Lists, structs, maps and unions are JSON.
pub fn each_text(array: &ArrayRef, mut take: impl FnMut(Option<&str>)) -> Result<(), ArrowError> {
    if !array.data_type().is_nested() {
        let formatter = ArrayFormatter::try_new(array, &temporal::READABLE)?;
        let mut text = String::new();
        for row in 0..array.len() {
            text.clear();
            match array.is_null(row) {
                true => take(None),
                false => {
                    formatter.value(row).write(&mut text)?;
                    take(Some(&text));
                }
            }
        }
        return Ok(());
    }
    let mut column = Column::new(array)?;
    let mut json = Vec::new();
    for row in 0..array.len() {
        json.clear();
        match column.is_null(row) {
            true => take(None),
            false => {
                column.encode.value(row, &mut json);
                take(Some(str::from_utf8(&json).expect("encoders write UTF-8")));
            }
        }
    }
    Ok(())
}

fn columns_of(batch: &RecordBatch) -> Result<Vec<Column<'_>>, Failure> {
    let columns = batch.columns().iter().zip(batch.schema_ref().fields());
    columns
        .map(|(array, field)| {
            Column::new(array).map_err(|error| {
                Failure::internal(format!(
                    "column {:?} of type {} cannot be written: {error}",
                    field.name(),
                    field.data_type()
                ))
            })
        })
        .collect()
}

/// Writes the values of one array. Rows that are null are never asked for.
trait Encode {
    /// The value as a cell: its text, as a JSON string.
    fn cell(&mut self, row: usize, out: &mut Vec<u8>);

    /// The value as a part of a list, struct or map: JSON of its own kind.
    fn value(&mut self, row: usize, out: &mut Vec<u8>);
}

struct Column<'a> {
    /// Logical nulls: of a dictionary, also the keys of a null value.
    nulls: Option<NullBuffer>,
    encode: Box<dyn Encode + 'a>,
}

impl<'a> Column<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        Ok(Self { nulls, encode: encoder(array)? })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    fn value(&mut self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
        } else {
            self.encode.value(row, out);
        }
    }
}

fn encoder<'a>(array: &'a ArrayRef) -> Result<Box<dyn Encode + 'a>, ArrowError> {
    match array.data_type() {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Ok(scalar::encoder(array)),
        DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(_, _)
        | DataType::Duration(_)
        | DataType::Interval(_) => temporal::encoder(array),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(_, _)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::Struct(_)
        | DataType::Map(_, _)
        | DataType::Union(_, _)
        | DataType::Dictionary(_, _)
        | DataType::RunEndEncoded(_, _) => nested::encoder(array),
    }
}

/// Appends `value` as JSON: digits for numbers, an escaped string for text.
fn push_json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("numbers and text always serialize into memory");
}

#[cfg(test)]
mod tests;
