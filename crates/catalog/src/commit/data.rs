//! Rows of data files, delete files and statistics.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::SystemTime;

use super::Draw;
use super::schema::end;
use crate::error::{CatalogError, Result};
use crate::files::{FileRow, StatisticsRow};
use crate::ids::{ColumnId, LOCAL_IDS, SnapshotId, TableId};
use crate::model::{Column, Table};
use crate::scalar::Scalar;
use crate::sql::{Tx, Value};
use crate::statistics_column::wider;
use crate::transaction::{TableData, Transaction};
use crate::{sketches, time};

const DOING: &str = "writing files";

impl TableData {
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.deletes.is_empty() && !self.forget_loaded
    }
}

pub(super) async fn write(tx: &mut Tx, work: &Transaction, draw: &mut Draw, latest: SnapshotId) -> Result<()> {
    for (id, data) in &work.data {
        let table = work.draft.table_by_id(*id)?;
        check_files(tx, work, table, data, latest).await?;
        let gone = write_removals(tx, data, draw.snapshot).await?;
        let lasting = draw.table(*id);
        let mut totals = Totals::read(tx, lasting).await?;
        let was_emptied = !data.removed.is_empty() && !has_files(tx, lasting).await?;
        totals.rows -= gone.0;
        totals.bytes -= gone.1;
        write_files(tx, lasting, data, draw, &mut totals).await?;
        totals.write(tx, lasting).await?;
        merge_column_statistics(tx, lasting, table, data, totals.was_empty).await?;
        let mut new = data.sketches.clone();
        if data.is_compaction && !was_emptied {
            new.rows = 0;
        }
        sketches::write(tx, lasting, &new, draw.snapshot, was_emptied).await?;
        if data.forget_loaded {
            let sql = "DELETE FROM frazil_loaded_file WHERE table_id = $1";
            tx.execute(DOING, sql, &[Value::int(lasting.0)]).await?;
        }
    }
    write_loaded(tx, work, draw, latest).await
}

/// The files that are removed or get deletes must be as the transaction saw them.
async fn check_files(
    tx: &mut Tx,
    work: &Transaction,
    table: &Table,
    data: &TableData,
    latest: SnapshotId,
) -> Result<()> {
    let conflict = |reason| {
        let object = format!("a file of table \"{}\"", work.draft.full_name(table));
        Err(CatalogError::Conflict { object, reason, snapshot: latest })
    };
    let kept = data.deletes.keys().copied().filter(|id| *id < LOCAL_IDS && !data.removed.contains(id));
    let touched: Vec<_> = data.removed.iter().copied().chain(kept).collect();
    for chunk in touched.chunks(5000) {
        let list = list(chunk);
        let sql = format!(
            "SELECT COUNT(*) FROM ducklake_data_file WHERE table_id = $1 AND end_snapshot IS NULL AND data_file_id IN ({list})"
        );
        let alive = tx.first(DOING, &sql, &[Value::int(table.id.0)], |row| row.int(0)).await?;
        if alive != Some(chunk.len() as i64) {
            return conflict("it was removed");
        }
        let sql = format!(
            "SELECT delete_file_id FROM ducklake_delete_file WHERE data_file_id IN ({list}) AND delete_file_id >= $1 LIMIT 1"
        );
        let args = [Value::int(work.base.snapshot.next_file_id)];
        if tx.first(DOING, &sql, &args, |row| row.int(0)).await?.is_some() {
            return conflict("rows of it were deleted");
        }
    }
    Ok(())
}

/// Returns how many rows and bytes are gone.
async fn write_removals(tx: &mut Tx, data: &TableData, snapshot: SnapshotId) -> Result<(i64, i64)> {
    let removed: Vec<_> = data.removed.iter().copied().collect();
    let mut gone = (0, 0);
    for chunk in removed.chunks(5000) {
        let sql = format!(
            "SELECT CAST(SUM(record_count) AS BIGINT), CAST(SUM(file_size_bytes) AS BIGINT) FROM ducklake_data_file \
             WHERE data_file_id IN ({})",
            list(chunk)
        );
        let sums = |row: crate::sql::Row<'_>| Ok((row.int_or_null(0)?.unwrap_or(0), row.int_or_null(1)?.unwrap_or(0)));
        if let Some((rows, bytes)) = tx.first(DOING, &sql, &[], sums).await? {
            gone = (gone.0 + rows, gone.1 + bytes);
        }
    }
    end(tx, "ducklake_data_file", "data_file_id", removed.iter().copied(), snapshot).await?;
    let replaced = data.deletes.keys().copied().filter(|id| *id < LOCAL_IDS);
    end(tx, "ducklake_delete_file", "data_file_id", removed.iter().copied().chain(replaced), snapshot).await?;
    Ok(gone)
}

/// Whether any file of the table is left.
async fn has_files(tx: &mut Tx, table: TableId) -> Result<bool> {
    let sql = "SELECT data_file_id FROM ducklake_data_file WHERE table_id = $1 AND end_snapshot IS NULL LIMIT 1";
    Ok(tx.first(DOING, sql, &[Value::int(table.0)], |row| row.int(0)).await?.is_some())
}

async fn write_files(
    tx: &mut Tx,
    table: TableId,
    data: &TableData,
    draw: &mut Draw,
    totals: &mut Totals,
) -> Result<()> {
    let begin = Value::int(draw.snapshot.0);
    let (mut files, mut statistics, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
    let mut lasting = BTreeMap::new();
    totals.next_row_id = totals.next_row_id.max(data.next_row_id);
    for file in &data.added {
        let id = draw.file_id();
        lasting.insert(file.id, id);
        let row_id_start = totals.add(file);
        files.push(vec![
            Value::int(id),
            Value::int(table.0),
            begin.clone(),
            Value::text(&file.path.path),
            Value::bool(file.path.is_relative),
            Value::text("parquet"),
            Value::int(file.record_count),
            Value::int(file.size_bytes),
            Value::Int(file.footer_size_bytes),
            Value::int(row_id_start),
            Value::Int(file.mapping_id),
        ]);
        statistics.extend(file.columns.iter().map(|one| statistics_row(id, table, one)));
    }
    for (data_file, delete) in &data.deletes {
        deletes.push(vec![
            Value::int(draw.file_id()),
            Value::int(table.0),
            begin.clone(),
            Value::int(lasting.get(data_file).copied().unwrap_or(delete.data_file)),
            Value::text(&delete.path.path),
            Value::bool(delete.path.is_relative),
            Value::text("parquet"),
            Value::int(delete.delete_count),
            Value::int(delete.size_bytes),
            Value::Int(delete.footer_size_bytes),
        ]);
    }
    let columns = "data_file_id, table_id, begin_snapshot, path, path_is_relative, file_format, record_count, \
                   file_size_bytes, footer_size, row_id_start, mapping_id";
    tx.insert(DOING, "ducklake_data_file", columns, &files).await?;
    let columns = "data_file_id, table_id, column_id, column_size_bytes, value_count, null_count, min_value, max_value, \
                   contains_nan, extra_stats";
    tx.insert(DOING, "ducklake_file_column_stats", columns, &statistics).await?;
    let columns = "delete_file_id, table_id, begin_snapshot, data_file_id, path, path_is_relative, format, delete_count, \
                   file_size_bytes, footer_size";
    tx.insert(DOING, "ducklake_delete_file", columns, &deletes).await
}

fn statistics_row(file: i64, table: TableId, one: &StatisticsRow) -> Vec<Value> {
    vec![
        Value::int(file),
        Value::int(table.0),
        Value::int(one.column.0),
        Value::Int(one.size_bytes),
        Value::Int(one.value_count),
        Value::Int(one.null_count),
        Value::Text(one.min.clone()),
        Value::Text(one.max.clone()),
        Value::Bool(one.contains_nan),
        Value::Text(one.extra.clone()),
    ]
}

/// `ducklake_table_stats`: rows and bytes of the files that are there, and where row ids go on.
struct Totals {
    exists: bool,
    was_empty: bool,
    rows: i64,
    bytes: i64,
    next_row_id: i64,
}

impl Totals {
    async fn read(tx: &mut Tx, table: TableId) -> Result<Self> {
        let sql = "SELECT record_count, file_size_bytes, next_row_id FROM ducklake_table_stats WHERE table_id = $1";
        let found = tx
            .first(DOING, sql, &[Value::int(table.0)], |row| {
                Ok(Self {
                    exists: true,
                    was_empty: false,
                    rows: row.int_or_null(0)?.unwrap_or(0),
                    bytes: row.int_or_null(1)?.unwrap_or(0),
                    next_row_id: row.int_or_null(2)?.unwrap_or(0),
                })
            })
            .await?;
        Ok(found.unwrap_or(Self { exists: false, was_empty: true, rows: 0, bytes: 0, next_row_id: 0 }))
    }

    /// Counts a file and returns its first row id.
    fn add(&mut self, file: &FileRow) -> i64 {
        if !file.is_counted {
            self.rows += file.record_count;
            self.bytes += file.size_bytes;
        }
        let start = file.row_id_start.unwrap_or(self.next_row_id);
        self.next_row_id = self.next_row_id.max(start + file.record_count);
        start
    }

    async fn write(&self, tx: &mut Tx, table: TableId) -> Result<()> {
        let row = [Value::int(table.0), Value::int(self.rows), Value::int(self.bytes), Value::int(self.next_row_id)];
        if self.exists {
            let sql = "UPDATE ducklake_table_stats SET record_count = $2, file_size_bytes = $3, next_row_id = $4 \
                       WHERE table_id = $1";
            tx.execute(DOING, sql, &row).await.map(|_| ())
        } else {
            let columns = "table_id, record_count, file_size_bytes, next_row_id";
            tx.insert(DOING, "ducklake_table_stats", columns, &[row.into()]).await
        }
    }
}

#[derive(Clone, PartialEq)]
struct TableColumn {
    contains_null: Option<bool>,
    contains_nan: Option<bool>,
    min: Option<String>,
    max: Option<String>,
}

/// Widens `ducklake_table_column_stats`, which DuckDB plans by, by the files that came. A column that was added to a table
/// with rows has none: its old rows are in no file's statistics.
async fn merge_column_statistics(
    tx: &mut Tx,
    id: TableId,
    table: &Table,
    data: &TableData,
    was_empty: bool,
) -> Result<()> {
    let came: Vec<_> = data.added.iter().filter(|file| !file.is_counted && file.record_count > 0).collect();
    if came.is_empty() {
        return Ok(());
    }
    let mut known = BTreeMap::new();
    if !was_empty {
        let sql = "SELECT column_id, contains_null, contains_nan, min_value, max_value FROM ducklake_table_column_stats \
                   WHERE table_id = $1";
        tx.each(DOING, sql, &[Value::int(id.0)], |row| {
            let one = TableColumn {
                contains_null: row.bool_or_null(1)?,
                contains_nan: row.bool_or_null(2)?,
                min: row.text_or_null(3)?.map(str::to_owned),
                max: row.text_or_null(4)?.map(str::to_owned),
            };
            known.insert(ColumnId(row.int(0)?), one);
            Ok(())
        })
        .await?;
    }
    let mut new = Vec::new();
    for column in leaves(&table.columns) {
        let (sum, has_values) = sum_column(column, &came);
        match known.get(&column.id) {
            Some(before) => {
                let mut merged = merge_column(column, before, &sum);
                if !has_values {
                    (merged.min, merged.max) = (before.min.clone(), before.max.clone());
                }
                if merged != *before {
                    let sql = "UPDATE ducklake_table_column_stats SET contains_null = $3, contains_nan = $4, \
                               min_value = $5, max_value = $6 WHERE table_id = $1 AND column_id = $2";
                    tx.execute(DOING, sql, &merged.row(id, column.id)).await?;
                }
            }
            None if was_empty => new.push(sum.row(id, column.id)),
            None => {}
        }
    }
    let columns = "table_id, column_id, contains_null, contains_nan, min_value, max_value";
    tx.insert(DOING, "ducklake_table_column_stats", columns, &new).await
}

impl TableColumn {
    fn row(&self, table: TableId, column: ColumnId) -> Vec<Value> {
        vec![
            Value::int(table.0),
            Value::int(column.0),
            Value::Bool(self.contains_null),
            Value::Bool(self.contains_nan),
            Value::Text(self.min.clone()),
            Value::Text(self.max.clone()),
        ]
    }
}

fn leaves(columns: &[Column]) -> Vec<&Column> {
    let own = |column| if Column::children(column).is_empty() { vec![column] } else { leaves(&column.children) };
    columns.iter().flat_map(own).collect()
}

impl Column {
    fn children(&self) -> &[Column] {
        &self.children
    }
}

/// The statistics of a column over files, and whether it has values that are not null, for all that is known.
fn sum_column(column: &Column, files: &[&FileRow]) -> (TableColumn, bool) {
    let mut sum: Option<TableColumn> = None;
    let (mut contains_null, mut contains_nan) = (Some(false), None);
    for file in files {
        let Some(one) = file.columns.iter().find(|one| one.column == column.id) else {
            return (TableColumn { contains_null: None, contains_nan: None, min: None, max: None }, true);
        };
        contains_null = either(contains_null, one.null_count.map(|nulls| nulls > 0));
        contains_nan = match (contains_nan, one.contains_nan) {
            (None, nan) => nan,
            (nan, None) => nan.filter(|nan| *nan),
            (a, b) => either(a, b),
        };
        // A file of nulls alone has no bounds and does not need any.
        if one.value_count == Some(0) {
            continue;
        }
        let bounds =
            TableColumn { contains_null: None, contains_nan: None, min: one.min.clone(), max: one.max.clone() };
        sum = Some(match sum {
            None => bounds,
            Some(before) => merge_column(column, &before, &bounds),
        });
    }
    let has_values = sum.is_some();
    let (min, max) = sum.map(|sum| (sum.min, sum.max)).unwrap_or_default();
    (TableColumn { contains_null, contains_nan, min, max }, has_values)
}

fn merge_column(column: &Column, a: &TableColumn, b: &TableColumn) -> TableColumn {
    let parse = |text: &Option<String>| Scalar::parse(&column.column_type, text.as_deref()?);
    let bound = |mine: &Option<String>, theirs: &Option<String>, order: Ordering| {
        let (left, right) = (parse(mine)?, parse(theirs)?);
        let found = wider(Some(left.clone()), Some(&right), order)?;
        if found == left { mine.clone() } else { theirs.clone() }
    };
    TableColumn {
        contains_null: either(a.contains_null, b.contains_null),
        contains_nan: either(a.contains_nan, b.contains_nan),
        min: bound(&a.min, &b.min, Ordering::Less),
        max: bound(&a.max, &b.max, Ordering::Greater),
    }
}

fn either(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

async fn write_loaded(tx: &mut Tx, work: &Transaction, draw: &Draw, latest: SnapshotId) -> Result<()> {
    let now = time::format_moment(SystemTime::now());
    for file in &work.loaded {
        let key = [Value::int(draw.table(file.table).0), Value::text(&file.path)];
        let sql = "SELECT snapshot_id FROM frazil_loaded_file WHERE table_id = $1 AND path = $2";
        let before = tx.first(DOING, sql, &key, |row| row.int(0)).await?;
        if before.is_some_and(|snapshot| snapshot > work.base.snapshot.id.0) {
            let object = format!("staged file \"{}\"", file.path);
            return Err(CatalogError::Conflict { object, reason: "it was loaded", snapshot: latest });
        }
        let sql = "DELETE FROM frazil_loaded_file WHERE table_id = $1 AND path = $2";
        tx.execute(DOING, sql, &key).await?;
        let [table, path] = key;
        let row = vec![
            table,
            path,
            Value::int(draw.snapshot.0),
            Value::text(&file.version),
            Value::text(file.statement.to_string()),
            Value::text(&now),
            Value::int(file.rows),
        ];
        let columns = "table_id, path, snapshot_id, version, statement_id, loaded_at, row_count";
        tx.insert(DOING, "frazil_loaded_file", columns, &[row]).await?;
    }
    Ok(())
}

fn list(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}
