//! A box of rows.

use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement};

use super::TABLE_ROWS_MAX;
use super::text::without_control_characters;

pub struct Table {
    inner: comfy_table::Table,
    rows: usize,
}

impl Table {
    pub fn new(schema: &Schema) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
        inner.set_header(schema.fields().iter().map(|field| without_control_characters(field.name())));
        for (index, field) in schema.fields().iter().enumerate() {
            if field.data_type().is_numeric()
                && let Some(column) = inner.column_mut(index)
            {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { inner, rows: 0 }
    }

    /// Rows beyond the bound are left out.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let options = FormatOptions::default().with_null("NULL").with_display_error(true);
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let taken = batch.num_rows().min(TABLE_ROWS_MAX - self.rows);
        for row in 0..taken {
            let cells = columns.iter().map(|column| without_control_characters(&column.value(row).to_string()));
            self.inner.add_row(cells.map(Cell::new));
        }
        self.rows += taken;
        Ok(())
    }

    pub fn rows(&self) -> usize {
        self.rows
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The library pads the last column; nobody wants the blanks when the text is copied.
        for (index, line) in self.inner.lines().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}
