//! A box with a line for each row; or, where that is too wide, the rows one below the other.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement};
use unicode_width::UnicodeWidthStr;

use super::cells::{columns, names};
use super::vertical::{self, Frame};
use super::{Expanded, TABLE_BYTES_MAX, TABLE_ROWS_MAX};
use crate::sql::visible::visible;

pub struct Table {
    schema: SchemaRef,
    expanded: Expanded,
    /// As they are shown.
    rows: Vec<Vec<String>>,
    bytes: usize,
    /// Of the widest line of each column.
    widths: Vec<usize>,
}

impl Table {
    pub fn new(schema: &SchemaRef, expanded: Expanded) -> Self {
        let widths = names(schema).map(|name| width(&visible(name))).collect();
        Self { schema: schema.clone(), expanded, rows: Vec::new(), bytes: 0, widths }
    }

    /// Rows beyond the bounds are left out.
    pub fn add(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let columns = columns(batch)?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            if self.rows.len() >= TABLE_ROWS_MAX || self.bytes >= TABLE_BYTES_MAX {
                return Ok(());
            }
            let mut cells = Vec::with_capacity(columns.len());
            for (column, widest) in columns.iter().zip(&mut self.widths) {
                let shown = match column.is_null(row) {
                    true => "NULL".to_owned(),
                    false => {
                        column.write(row, &mut text)?;
                        visible(&text)
                    }
                };
                self.bytes += shown.len();
                *widest = width(&shown).max(*widest);
                cells.push(shown);
            }
            self.rows.push(cells);
        }
        Ok(())
    }

    /// Those that are shown.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    pub fn print(self, out: &mut impl Write) -> io::Result<()> {
        // Each column has a border and a blank on both sides.
        let whole = self.widths.iter().map(|width| width + 3).sum::<usize>() + 1;
        match self.expanded {
            Expanded::WiderThan(most) if whole > most && !self.rows.is_empty() => {
                let frame = Frame::of(&self.schema);
                let mut text = String::new();
                for (index, row) in self.rows.iter().enumerate() {
                    text.clear();
                    frame.row(index + 1, row.iter().map(String::as_str), &mut text);
                    out.write_all(text.as_bytes())?;
                }
                Ok(())
            }
            Expanded::Off | Expanded::On | Expanded::WiderThan(_) => self.print_box(out),
        }
    }

    fn print_box(self, out: &mut impl Write) -> io::Result<()> {
        let mut table = comfy_table::Table::new();
        table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(names(&self.schema).map(visible));
        for (index, field) in self.schema.fields().iter().enumerate() {
            if field.data_type().is_numeric()
                && let Some(column) = table.column_mut(index)
            {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for row in self.rows {
            table.add_row(row.into_iter().map(Cell::new));
        }
        // The library pads the last column; nobody wants the blanks when the text is copied.
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Of the widest line, in columns of a terminal.
fn width(text: &str) -> usize {
    vertical::lines(text).map(UnicodeWidthStr::width).max().unwrap_or(0)
}
