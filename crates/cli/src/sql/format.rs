//! How rows are printed. All formats but the table print each batch as it comes.

mod table;
mod text;

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};

use table::Table;

/// Rows that a table shows; it must know them all to know how wide it is, so there must be an end.
pub const TABLE_ROWS_MAX: usize = 10_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For reading: at most 10,000 rows.
    #[default]
    Table,
    /// RFC 4180, with a header line; null is an empty field.
    Csv,
    /// One object a line.
    Json,
    /// An Arrow IPC stream.
    Arrow,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        clap::ValueEnum::from_str(text, true).map_err(|_| format!("unknown format {text:?}: table, csv, json or arrow"))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Arrow => "arrow",
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Printed {
    pub rows: usize,
    /// Rows that a table left out.
    pub left_out: usize,
}

/// Prints one result.
pub struct Printer<W: Write> {
    kind: Kind<W>,
    rows: usize,
}

enum Kind<W: Write> {
    Table(Box<Table>, W),
    Csv(Box<arrow::csv::Writer<W>>),
    Json(Box<arrow::json::LineDelimitedWriter<W>>),
    Arrow(Box<StreamWriter<W>>),
    /// A statement without columns has nothing to print.
    Nothing(W),
}

impl<W: Write> Printer<W> {
    pub fn new(format: Format, schema: &SchemaRef, out: W) -> io::Result<Self> {
        let kind = match format {
            Format::Arrow => Kind::Arrow(Box::new(StreamWriter::try_new(out, schema).map_err(as_io)?)),
            _ if schema.fields().is_empty() => Kind::Nothing(out),
            Format::Table => Kind::Table(Box::new(Table::new(schema)), out),
            Format::Csv => {
                let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
                // An empty result has its header too.
                writer
                    .write(&text::printable(&RecordBatch::new_empty(schema.clone())).map_err(as_io)?)
                    .map_err(as_io)?;
                Kind::Csv(Box::new(writer))
            }
            Format::Json => {
                let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
                Kind::Json(Box::new(builder.build(out)))
            }
        };
        Ok(Self { kind, rows: 0 })
    }

    pub fn print(&mut self, batch: &RecordBatch) -> io::Result<()> {
        self.rows += batch.num_rows();
        match &mut self.kind {
            Kind::Table(table, _) => table.add(batch).map_err(as_io),
            Kind::Csv(writer) => writer.write(&text::printable(batch).map_err(as_io)?).map_err(as_io),
            Kind::Json(writer) => writer.write(batch).map_err(as_io),
            Kind::Arrow(writer) => writer.write(batch).map_err(as_io),
            Kind::Nothing(_) => Ok(()),
        }
    }

    /// The end of a complete result; without this call nothing looks complete.
    pub fn finish(self) -> io::Result<Printed> {
        let mut printed = Printed { rows: self.rows, left_out: 0 };
        match self.kind {
            Kind::Table(table, mut out) => {
                printed.left_out = self.rows - table.rows();
                writeln!(out, "{table}")?;
                out.flush()?;
            }
            Kind::Csv(writer) => writer.into_inner().flush()?,
            Kind::Json(mut writer) => {
                writer.finish().map_err(as_io)?;
                writer.into_inner().flush()?;
            }
            Kind::Arrow(mut writer) => {
                writer.finish().map_err(as_io)?;
                writer.get_mut().flush()?;
            }
            Kind::Nothing(_) => printed.rows = 0,
        }
        Ok(printed)
    }
}

/// Writers wrap what went wrong with the output, and a closed pipe must still be seen as that.
fn as_io(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        ArrowError::CsvError(text) if text.contains("Broken pipe") => io::Error::new(io::ErrorKind::BrokenPipe, text),
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests;
