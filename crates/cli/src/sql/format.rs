//! How rows are printed. All formats but the table print each batch as it comes, and keep none.

mod cells;
mod delimited;
mod json;
mod table;
mod vertical;

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use delimited::{Delimited, Style};
use table::Table;
use vertical::Vertical;

/// Rows that a table shows; it must know them all to know how wide it is, so there must be an end.
pub const TABLE_ROWS_MAX: usize = 10_000;
/// Of the values of those rows, as text.
const TABLE_BYTES_MAX: usize = 64 << 20;

/// Of a Parquet file: what is held in memory before it is written.
const ROW_GROUP_ROWS: usize = 128 << 10;
const ROW_GROUP_BYTES: usize = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For reading: at most 10,000 rows.
    #[default]
    Table,
    /// For reading wide rows: a line for each value.
    Vertical,
    /// RFC 4180, with a header line; null is an empty field.
    Csv,
    /// Fields between tabs, with a header line; \t, \n, \r, \\ in values, and \N for null.
    Tsv,
    /// A list of objects.
    Json,
    /// One object a line.
    Ndjson,
    /// A table as GitHub's Markdown has it.
    Markdown,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    /// Whether it is not text.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Arrow | Self::Parquet)
    }

    /// Whether it makes control characters visible by itself, as nobody else reads it.
    pub fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Vertical | Self::Markdown)
    }

    /// Where the file can hold one result and no more.
    pub fn is_one_result(self) -> bool {
        self == Self::Parquet
    }

    pub fn names() -> impl Iterator<Item = &'static str> {
        <Self as clap::ValueEnum>::value_variants().iter().map(|format| format.name())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Vertical => "vertical",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Markdown => "markdown",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::names().collect::<Vec<_>>().join(", ");
        clap::ValueEnum::from_str(text, true).map_err(|_| format!("unknown format {text:?}: {}", names()))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When a table's rows are shown one below the other, with a line for each value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expanded {
    #[default]
    Off,
    On,
    /// Where the table would be wider than so many columns of a terminal.
    WiderThan(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Printed {
    pub rows: usize,
    /// Rows that a table left out.
    pub left_out: usize,
}

/// Prints one result.
pub struct Printer<W: Write + Send> {
    kind: Kind<W>,
    rows: usize,
}

enum Kind<W: Write + Send> {
    Table(Box<Table>, W),
    Vertical(Box<Vertical<W>>),
    Delimited(Box<Delimited<W>>),
    Json(Box<json::ListWriter<W>>),
    Lines(Box<arrow::json::LineDelimitedWriter<W>>),
    Arrow(Box<StreamWriter<W>>),
    Parquet(Box<ArrowWriter<W>>),
    /// A statement without columns has nothing to print.
    Nothing(W),
}

impl<W: Write + Send> Printer<W> {
    pub fn new(format: Format, expanded: Expanded, schema: &SchemaRef, out: W) -> io::Result<Self> {
        let kind = match format {
            _ if schema.fields().is_empty() => Kind::Nothing(out),
            Format::Table if expanded == Expanded::On => Kind::Vertical(Box::new(Vertical::new(schema, out))),
            Format::Table => Kind::Table(Box::new(Table::new(schema, expanded)), out),
            Format::Vertical => Kind::Vertical(Box::new(Vertical::new(schema, out))),
            Format::Csv => Kind::Delimited(Box::new(Delimited::new(Style::Csv, schema, out)?)),
            Format::Tsv => Kind::Delimited(Box::new(Delimited::new(Style::Tsv, schema, out)?)),
            Format::Markdown => Kind::Delimited(Box::new(Delimited::new(Style::Markdown, schema, out)?)),
            Format::Json => Kind::Json(Box::new(json::list(out))),
            Format::Ndjson => Kind::Lines(Box::new(json::lines(out))),
            Format::Arrow => Kind::Arrow(Box::new(StreamWriter::try_new(out, schema).map_err(as_io)?)),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .build();
                let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties));
                Kind::Parquet(Box::new(writer.map_err(parquet_as_io)?))
            }
        };
        Ok(Self { kind, rows: 0 })
    }

    pub fn print(&mut self, batch: &RecordBatch) -> io::Result<()> {
        self.rows += batch.num_rows();
        match &mut self.kind {
            Kind::Table(table, _) => table.add(batch),
            Kind::Vertical(writer) => writer.write(batch),
            Kind::Delimited(writer) => writer.write(batch),
            Kind::Json(writer) => writer.write(batch).map_err(as_io),
            Kind::Lines(writer) => writer.write(batch).map_err(as_io),
            Kind::Arrow(writer) => writer.write(batch).map_err(as_io),
            Kind::Parquet(writer) => writer.write(batch).map_err(parquet_as_io),
            Kind::Nothing(_) => Ok(()),
        }
    }

    /// The end of a complete result, and what it was written to; without this call nothing looks complete.
    pub fn finish(self) -> io::Result<(Printed, W)> {
        let mut printed = Printed { rows: self.rows, left_out: 0 };
        let out = match self.kind {
            Kind::Table(table, mut out) => {
                printed.left_out = self.rows - table.rows();
                table.print(&mut out)?;
                out
            }
            Kind::Vertical(writer) => writer.into_inner(),
            Kind::Delimited(writer) => writer.into_inner()?,
            Kind::Json(mut writer) => {
                writer.finish().map_err(as_io)?;
                writer.into_inner()
            }
            Kind::Lines(mut writer) => {
                writer.finish().map_err(as_io)?;
                writer.into_inner()
            }
            Kind::Arrow(writer) => writer.into_inner().map_err(as_io)?,
            Kind::Parquet(writer) => writer.into_inner().map_err(parquet_as_io)?,
            Kind::Nothing(out) => {
                printed.rows = 0;
                out
            }
        };
        Ok((printed, out))
    }
}

/// Writers wrap what went wrong with the output, and a closed pipe must still be seen as that.
fn as_io(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        error => io::Error::other(error),
    }
}

fn parquet_as_io(error: ParquetError) -> io::Error {
    let error = match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => return *error,
            Err(inner) => ParquetError::External(inner),
        },
        error => error,
    };
    match error.to_string() {
        text if text.contains("Broken pipe") => io::Error::new(io::ErrorKind::BrokenPipe, text),
        text => io::Error::other(text),
    }
}

#[cfg(test)]
mod tests;
