//! A line for each row: CSV, TSV, Markdown.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::cells::{columns, names};
use crate::sql::visible::visible;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Csv,
    Tsv,
    Markdown,
}

/// Rows are put together in memory up to here.
const BUFFER_BYTES: usize = 32 << 10;

pub struct Delimited<W: Write> {
    style: Style,
    out: W,
    buffer: String,
}

impl<W: Write> Delimited<W> {
    /// The header is written at once: an empty result has one too.
    pub fn new(style: Style, schema: &Schema, out: W) -> io::Result<Self> {
        let mut new = Self { style, out, buffer: String::with_capacity(BUFFER_BYTES + 1024) };
        let fields = schema.fields().len();
        for (index, name) in names(schema).enumerate() {
            new.field(index, fields, Some(name));
        }
        new.line_end();
        if style == Style::Markdown {
            for (index, field) in schema.fields().iter().enumerate() {
                new.buffer.push_str(if index == 0 { "| " } else { " | " });
                new.buffer.push_str(if field.data_type().is_numeric() { "---:" } else { "---" });
            }
            new.line_end();
        }
        Ok(new)
    }

    pub fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let columns = columns(batch)?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            for (index, column) in columns.iter().enumerate() {
                match column.is_null(row) {
                    true => self.field(index, columns.len(), None),
                    false => {
                        column.write(row, &mut text)?;
                        self.field(index, columns.len(), Some(&text));
                    }
                }
            }
            self.line_end();
            if self.buffer.len() >= BUFFER_BYTES {
                self.drain()?;
            }
        }
        self.drain()
    }

    pub fn into_inner(mut self) -> io::Result<W> {
        self.drain()?;
        Ok(self.out)
    }

    fn drain(&mut self) -> io::Result<()> {
        self.out.write_all(self.buffer.as_bytes())?;
        self.buffer.clear();
        Ok(())
    }

    fn field(&mut self, index: usize, fields: usize, value: Option<&str>) {
        let out = &mut self.buffer;
        match self.style {
            Style::Csv => {
                if index > 0 {
                    out.push(',');
                }
                csv_field(out, value, fields == 1);
            }
            Style::Tsv => {
                if index > 0 {
                    out.push('\t');
                }
                tsv_field(out, value);
            }
            Style::Markdown => {
                out.push_str(if index == 0 { "| " } else { " | " });
                markdown_field(out, value);
            }
        }
    }

    fn line_end(&mut self) {
        self.buffer.push_str(if self.style == Style::Markdown { " |\n" } else { "\n" });
    }
}

/// Null is nothing, and a text without characters a pair of quotes. A line without characters would be taken for no row by many
/// readers, so there null is a pair of quotes as well.
fn csv_field(out: &mut String, value: Option<&str>, alone: bool) {
    match value {
        None if alone => out.push_str("\"\""),
        None => {}
        Some("") => out.push_str("\"\""),
        Some(text) if text.contains([',', '"', '\n', '\r']) || text.starts_with(' ') || text.ends_with(' ') => {
            out.push('"');
            for character in text.chars() {
                if character == '"' {
                    out.push('"');
                }
                out.push(character);
            }
            out.push('"');
        }
        Some(text) => out.push_str(text),
    }
}

/// As PostgreSQL's COPY has it: what would end a field or a row is written with a backslash.
fn tsv_field(out: &mut String, value: Option<&str>) {
    let Some(text) = value else { return out.push_str("\\N") };
    for character in text.chars() {
        match character {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            other => out.push(other),
        }
    }
}

/// What has a meaning in Markdown gets a backslash, so that a value is shown as it is. Null is nothing: a cell is empty or not.
fn markdown_field(out: &mut String, value: Option<&str>) {
    let Some(text) = value else { return };
    let shown = visible(text);
    let mut before = ' ';
    let mut characters = shown.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\n' => out.push_str("<br>"),
            '\\' | '|' | '`' | '*' | '<' | '[' | '~' | '&' => out.extend(['\\', character]),
            // Within a word it emphasises nothing.
            '_' if !(before.is_alphanumeric() && characters.peek().is_some_and(|next| next.is_alphanumeric())) => {
                out.push_str("\\_");
            }
            other => out.push(other),
        }
        before = character;
    }
}
