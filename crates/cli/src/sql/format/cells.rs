//! The values of a batch as text, for every format that has them so.

use std::fmt::Write;
use std::io;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::as_io;

/// One column, by row.
pub struct Column<'a> {
    array: &'a ArrayRef,
    formatter: ArrayFormatter<'a>,
}

impl Column<'_> {
    pub fn is_null(&self, row: usize) -> bool {
        // A column of nulls alone has no bitmap.
        self.array.is_null(row) || self.array.data_type() == &DataType::Null
    }

    /// Puts a value that is not null in the place of what is in `text`.
    pub fn write(&self, row: usize, text: &mut String) -> io::Result<()> {
        text.clear();
        self.formatter.value(row).write(text as &mut dyn Write).map_err(as_io)
    }
}

pub fn columns(batch: &RecordBatch) -> io::Result<Vec<Column<'_>>> {
    const OPTIONS: FormatOptions<'static> = FormatOptions::new();
    let column = |array| Ok(Column { array, formatter: ArrayFormatter::try_new(array, &OPTIONS).map_err(as_io)? });
    batch.columns().iter().map(column).collect()
}

pub fn names(schema: &Schema) -> impl Iterator<Item = &str> {
    schema.fields().iter().map(|field| field.name().as_str())
}
