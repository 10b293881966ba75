//! A table's files as rows to write anew: a restored or cloned table shares its files with the past or with another
//! table. No data are copied; what is removed from disk is decided by who still refers to a path (`expire.rs`).

use std::collections::HashMap;

use crate::database::Database;
use crate::error::{CatalogError, Result};
use crate::files::{DeleteRow, FileFilter, FileRow, StatisticsRow};
use crate::ids::{ColumnId, TableId};
use crate::model::{Place, Table};
use crate::snapshot::SnapshotView;
use crate::sql::{Tx, Value};
use crate::transaction::TableData;

/// Reads what `view` shows of a table, under new local ids.
pub(crate) async fn read_files(
    database: &Database,
    view: &SnapshotView,
    table: &Table,
    mut next_id: impl FnMut() -> i64,
) -> Result<TableData> {
    let mut data = TableData::default();
    let mut row_of = HashMap::new();
    for file in database.files(view, table.id, &FileFilter::default()).await? {
        let filtered = file.delete_file.as_ref().is_some_and(|delete| delete.snapshot_filter.is_some());
        if file.snapshot_filter.is_some() || filtered {
            return Err(CatalogError::NotSupported(format!(
                "table \"{}\" cannot be copied as of snapshot {}: its files were merged with those of later ones",
                table.name, view.snapshot.id
            )));
        }
        let id = next_id();
        if let Some(delete) = file.delete_file {
            let row = DeleteRow {
                data_file: id,
                path: relative_to(table, delete.path),
                delete_count: delete.delete_count,
                size_bytes: delete.size_bytes,
                footer_size_bytes: delete.footer_size_bytes,
            };
            data.deletes.insert(id, row);
        }
        row_of.insert(file.id.0, data.added.len());
        data.added.push(FileRow {
            id,
            path: relative_to(table, file.path),
            record_count: file.record_count,
            size_bytes: file.size_bytes,
            footer_size_bytes: file.footer_size_bytes,
            row_id_start: file.row_id_start,
            mapping_id: file.mapping_id,
            is_counted: false,
            columns: Vec::new(),
        });
    }
    let mut tx = database.inner.sql.read().await?;
    read_statistics(&mut tx, table.id, &row_of, &mut data.added).await?;
    let sql = "SELECT next_row_id FROM ducklake_table_stats WHERE table_id = $1";
    let next = tx.first("reading table statistics", sql, &[Value::int(table.id.0)], |row| row.int(0)).await?;
    data.next_row_id = next.unwrap_or(0);
    Ok(data)
}

async fn read_statistics(
    tx: &mut Tx,
    table: TableId,
    row_of: &HashMap<i64, usize>,
    rows: &mut [FileRow],
) -> Result<()> {
    let sql = "SELECT data_file_id, column_id, column_size_bytes, value_count, null_count, min_value, max_value, \
               contains_nan, extra_stats FROM ducklake_file_column_stats WHERE table_id = $1";
    let owned = |text: Option<&str>| text.map(str::to_owned);
    tx.each("reading column statistics", sql, &[Value::int(table.0)], |row| {
        let Some(at) = row_of.get(&row.int(0)?) else { return Ok(()) };
        rows[*at].columns.push(StatisticsRow {
            column: ColumnId(row.int(1)?),
            size_bytes: row.int_or_null(2)?,
            value_count: row.int_or_null(3)?,
            null_count: row.int_or_null(4)?,
            min: owned(row.text_or_null(5)?),
            max: owned(row.text_or_null(6)?),
            contains_nan: row.bool_or_null(7)?,
            extra: owned(row.text_or_null(8)?),
        });
        Ok(())
    })
    .await
}

fn relative_to(table: &Table, path: String) -> Place {
    match path.strip_prefix(&table.location) {
        Some(rest) => Place::relative(rest),
        None => Place::absolute(path),
    }
}

impl TableData {
    /// Lets the rows be those of a table elsewhere.
    pub(crate) fn make_absolute(&mut self, location: &str) {
        let paths = self.added.iter_mut().map(|row| &mut row.path);
        for path in paths.chain(self.deletes.values_mut().map(|row| &mut row.path)) {
            *path = Place::absolute(path.under(location));
        }
    }
}
