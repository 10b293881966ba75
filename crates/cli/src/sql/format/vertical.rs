//! The rows one below the other, with a line for each value.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use unicode_width::UnicodeWidthStr;

use super::cells::{columns, names};
use crate::sql::visible::{visible, visible_line};

/// What is the same for every row.
pub struct Frame {
    names: Vec<String>,
    width: usize,
}

impl Frame {
    pub fn of(schema: &Schema) -> Self {
        let names: Vec<String> = names(schema).map(visible_line).collect();
        let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
        Self { names, width }
    }

    /// Appends a row to `out`; `cells` are visible already.
    pub fn row<'a>(&self, number: usize, cells: impl Iterator<Item = &'a str>, out: &mut String) {
        let head = format!("─[ row {number} ]");
        out.push_str(&head);
        // At least to where the values begin.
        out.extend(std::iter::repeat_n('─', (self.width + 24).saturating_sub(head.width())));
        out.push('\n');
        for (name, cell) in self.names.iter().zip(cells) {
            for (index, line) in lines(cell).enumerate() {
                let name = if index == 0 { name.as_str() } else { "" };
                out.push_str(name);
                out.extend(std::iter::repeat_n(' ', self.width - name.width()));
                out.push_str(if line.is_empty() { " │" } else { " │ " });
                out.push_str(line);
                out.push('\n');
            }
        }
    }
}

/// At least one.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
}

pub struct Vertical<W: Write> {
    frame: Frame,
    rows: usize,
    out: W,
}

impl<W: Write> Vertical<W> {
    pub fn new(schema: &Schema, out: W) -> Self {
        Self { frame: Frame::of(schema), rows: 0, out }
    }

    pub fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let columns = columns(batch)?;
        let (mut value, mut text) = (String::new(), String::new());
        let mut cells = vec![String::new(); columns.len()];
        for row in 0..batch.num_rows() {
            self.rows += 1;
            for (column, cell) in columns.iter().zip(&mut cells) {
                *cell = match column.is_null(row) {
                    true => "NULL".to_owned(),
                    false => {
                        column.write(row, &mut value)?;
                        visible(&value)
                    }
                };
            }
            text.clear();
            self.frame.row(self.rows, cells.iter().map(String::as_str), &mut text);
            self.out.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    pub fn into_inner(self) -> W {
        self.out
    }
}
