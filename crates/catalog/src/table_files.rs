//! All files of one table that any kept snapshot has, in memory, brought up to date by what later snapshots changed.
//!
//! A million files take about 150 MB, and each column that predicates or planners ask for about 40 MB more. Columns are
//! read when they are first asked for.
//!
//! DuckDB's compactions and deletes rewrite rows of the past: they replace files by one that carries the snapshots of its
//! rows. Deletes are recognised by their file's `partial_max`; after a compaction the table is read anew.

use std::collections::HashMap;
use std::ops::Range;

use serde::Deserialize;

use crate::changes::Changes;
use crate::error::{CatalogError, Result};
use crate::files::{DataFile, DeleteFile, FileFilter, TableStatistics};
use crate::ids::{ColumnId, DataFileId, DeleteFileId, SnapshotId, TableId};
use crate::model::{Place, Table};
use crate::packed::{PackedRow, all_packed};
use crate::prune::ColumnStatistics;
use crate::snapshot::Snapshot;
use crate::sql::{Row, Sql, Tx, Value};
use crate::statistics_column::{StatisticsColumn, StatisticsSum};
use crate::sum_cache::SumCache;

const ALIVE: i64 = i64::MAX;

#[derive(Default)]
pub(crate) struct TableFiles {
    /// The snapshot up to which this is complete, and its next file id.
    synced: Option<(SnapshotId, i64)>,
    /// By ascending id.
    files: Vec<Entry>,
    /// All paths, one after another.
    paths: String,
    /// What few files have.
    extras: HashMap<i64, Extra>,
    /// By data file.
    deletes: HashMap<i64, Vec<DeleteEntry>>,
    columns: HashMap<ColumnId, StatisticsColumn>,
    /// The last snapshot that changed the table's files.
    changed: i64,
    sums: SumCache,
    /// From this snapshot on, positions of deleted rows are where we do not read them.
    pub(crate) inlined_deletes_from: Option<SnapshotId>,
}

struct Entry {
    id: i64,
    begin: i64,
    end: i64,
    record_count: i64,
    size_bytes: i64,
    /// -1 for unknown, as in the next.
    footer_size_bytes: i64,
    row_id_start: i64,
    path_start: u32,
    path_length: u16,
    path_is_relative: bool,
}

/// Id, begin, end, rows, bytes, footer, row id, path, whether it is relative, whether there is more to know.
#[derive(Deserialize)]
struct FileRow(i64, i64, Option<i64>, i64, i64, Option<i64>, Option<i64>, String, Option<i64>, i64);

/// Files whose statistics are read with one statement.
const STATISTICS_FILES_MAX: usize = 5000;
/// Files of which more is asked with one statement.
const SPECIAL_FILES_MAX: usize = 5000;

impl PackedRow for FileRow {
    const COLUMNS: &'static [&'static str] = &[
        "data_file_id",
        "begin_snapshot",
        "end_snapshot",
        "record_count",
        "file_size_bytes",
        "footer_size",
        "row_id_start",
        "path",
        "CASE WHEN path_is_relative THEN CAST(1 AS BIGINT) ELSE 0 END",
        "CASE WHEN mapping_id IS NULL AND partial_max IS NULL AND encryption_key IS NULL AND file_format = 'parquet' \
         THEN CAST(0 AS BIGINT) ELSE 1 END",
    ];

    fn key(&self) -> i64 {
        self.0
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        let path = row.text(7)?.to_owned();
        let (end, footer, row_id) = (row.int_or_null(2)?, row.int_or_null(5)?, row.int_or_null(6)?);
        let (rows, bytes) = (row.int(3)?, row.int(4)?);
        Ok(Self(row.int(0)?, row.int(1)?, end, rows, bytes, footer, row_id, path, row.int_or_null(8)?, row.int(9)?))
    }
}

/// File, nulls, least and greatest value, whether there are NaNs.
#[derive(Deserialize)]
struct ColumnRow(i64, Option<i64>, Option<String>, Option<String>, Option<i64>);

impl PackedRow for ColumnRow {
    const COLUMNS: &'static [&'static str] = &[
        "data_file_id",
        "null_count",
        "CAST(min_value AS VARCHAR)",
        "CAST(max_value AS VARCHAR)",
        "CASE WHEN contains_nan IS NULL THEN NULL WHEN contains_nan THEN CAST(1 AS BIGINT) ELSE 0 END",
    ];

    fn key(&self) -> i64 {
        self.0
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        let text = |index| row.text_or_null(index).map(|text| text.map(str::to_owned));
        Ok(Self(row.int(0)?, row.int_or_null(1)?, text(2)?, text(3)?, row.int_or_null(4)?))
    }
}

#[derive(Default)]
struct Extra {
    mapping_id: Option<i64>,
    partial_max: Option<i64>,
    not_readable: Option<&'static str>,
}

struct DeleteEntry {
    id: i64,
    begin: i64,
    end: i64,
    path: Place,
    delete_count: i64,
    size_bytes: i64,
    footer_size_bytes: Option<i64>,
    partial_max: Option<i64>,
    is_parquet: bool,
}

impl TableFiles {
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn refuse_inlined_deletes(&self, table: &Table, at: SnapshotId) -> Result<()> {
        match self.inlined_deletes_from.is_some_and(|from| from <= at) {
            true => Err(CatalogError::InlinedData { table: table.name.clone() }),
            false => Ok(()),
        }
    }

    /// Whether everything that a look at `snapshot` needs is here.
    pub(crate) fn covers(&self, snapshot: SnapshotId, table: &Table, columns: &[ColumnId]) -> bool {
        self.synced.is_some_and(|(synced, _)| synced >= snapshot)
            && columns.iter().all(|id| self.has_column(table, *id) || table.column_by_id(*id).is_none())
    }

    pub(crate) fn has_column(&self, table: &Table, id: ColumnId) -> bool {
        match (self.columns.get(&id), table.column_by_id(id)) {
            (Some(loaded), Some(column)) => loaded.column_type == column.column_type,
            _ => false,
        }
    }

    /// None where the column is not in memory.
    pub(crate) fn column_of_file(&self, file: DataFileId, id: ColumnId) -> Option<ColumnStatistics> {
        let column = self.columns.get(&id)?;
        let at = self.files.binary_search_by_key(&file.0, |entry| entry.id).ok()?;
        Some(column.get(at))
    }

    /// Reads what changed up to `latest`, which must be the latest snapshot that `tx` sees, and columns not yet here.
    pub(crate) async fn sync(
        &mut self,
        sql: &Sql,
        tx: &mut Tx,
        table: &Table,
        latest: &Snapshot,
        columns: &[ColumnId],
    ) -> Result<()> {
        // If reading fails half way, the next one starts over.
        let before = self.synced.take();
        let stale = match before {
            Some((synced, _)) if synced >= latest.id => before,
            Some((synced, next_file_id)) => match changes_between(tx, synced, latest.id).await? {
                Some(changes) if changes.rewritten.contains(&table.id) => None,
                Some(changes) => {
                    if changes.files_changed(table.id) {
                        let new = next_file_id..latest.next_file_id;
                        self.update(sql, tx, table.id, synced, new).await?;
                    }
                    before
                }
                None => None,
            },
            None => None,
        };
        if stale.is_none() {
            *self = Self::default();
            self.update(sql, tx, table.id, SnapshotId(i64::MAX), 0..latest.next_file_id).await?;
        }
        for id in columns {
            let Some(column) = table.column_by_id(*id) else { continue };
            if self.columns.get(id).is_none_or(|loaded| loaded.column_type != column.column_type) {
                let mut loaded = StatisticsColumn::new(column.column_type.clone());
                let known = self.files.last().map_or(0, |file| file.id + 1);
                self.load_column(sql, tx, table.id, *id, &mut loaded, 0..known).await?;
                self.columns.insert(*id, loaded);
                self.sums.forget_column(*id);
            }
        }
        let reached = before.map_or(latest.id, |(synced, _)| synced.max(latest.id));
        self.synced = Some((reached, before.map_or(0, |(_, next)| next).max(latest.next_file_id)));
        Ok(())
    }

    /// Adds files of new ids, and marks those that ended after `synced`.
    async fn update(
        &mut self,
        sql: &Sql,
        tx: &mut Tx,
        table: TableId,
        synced: SnapshotId,
        new: Range<i64>,
    ) -> Result<()> {
        let from = [Value::int(table.0), Value::int(new.start)];
        let doing = "reading data files";
        let rows: Vec<FileRow> =
            all_packed(sql, tx, doing, "ducklake_data_file", "table_id = $1", &from[..1], new.clone()).await?;
        let special: Vec<i64> = rows.iter().filter(|row| row.9 != 0).map(|row| row.0).collect();
        rows.into_iter().try_for_each(|row| self.push(row))?;
        for chunk in special.chunks(SPECIAL_FILES_MAX) {
            self.read_extras(tx, chunk).await?;
        }
        self.sums = SumCache::default();
        let mut columns = std::mem::take(&mut self.columns);
        for (id, column) in &mut columns {
            self.load_column(sql, tx, table, *id, column, new.clone()).await?;
        }
        self.columns = columns;
        let mut deletes = Vec::new();
        tx.each(
            "reading delete files",
            "SELECT delete_file_id, begin_snapshot, end_snapshot, data_file_id, path, path_is_relative, delete_count, \
             file_size_bytes, footer_size, partial_max, format FROM ducklake_delete_file \
             WHERE table_id = $1 AND delete_file_id >= $2 ORDER BY delete_file_id",
            &from,
            |row| {
                deletes.push((row.int(3)?, read_delete(row)?));
                Ok(())
            },
        )
        .await?;
        for (data_file, delete) in deletes {
            let known = self.deletes.entry(data_file).or_default();
            if delete.partial_max.is_some() {
                known.retain(|earlier| earlier.begin < delete.begin);
            }
            known.push(delete);
        }
        let ended = [Value::int(table.0), Value::int(synced.0)];
        let sql = "SELECT data_file_id, end_snapshot FROM ducklake_data_file WHERE table_id = $1 AND end_snapshot > $2";
        tx.each("reading removed files", sql, &ended, |row| {
            let id = row.int(0)?;
            if let Ok(at) = self.files.binary_search_by_key(&id, |file| file.id) {
                self.files[at].end = row.int(1)?;
            }
            Ok(())
        })
        .await?;
        let sql = "SELECT data_file_id, delete_file_id, end_snapshot FROM ducklake_delete_file \
                   WHERE table_id = $1 AND end_snapshot > $2";
        tx.each("reading replaced delete files", sql, &ended, |row| {
            let (data_file, id, end) = (row.int(0)?, row.int(1)?, row.int(2)?);
            for delete in self.deletes.entry(data_file).or_default().iter_mut().filter(|d| d.id == id) {
                delete.end = end;
            }
            Ok(())
        })
        .await?;
        let files = self.files.iter().map(|file| (file.begin, file.end));
        let deletes = self.deletes.values().flatten().map(|delete| (delete.begin, delete.end));
        let partial = self.extras.values().filter_map(|extra| extra.partial_max);
        let partial = partial.chain(self.deletes.values().flatten().filter_map(|delete| delete.partial_max));
        let lives = files.chain(deletes).map(|(begin, end)| if end == ALIVE { begin } else { end.max(begin) });
        self.changed = lives.chain(partial).max().unwrap_or(0);
        Ok(())
    }

    async fn read_extras(&mut self, tx: &mut Tx, files: &[i64]) -> Result<()> {
        let list = files.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let sql = format!(
            "SELECT data_file_id, mapping_id, partial_max, file_format, encryption_key FROM ducklake_data_file \
             WHERE data_file_id IN ({list})"
        );
        tx.each("reading data files", &sql, &[], |row| {
            let extra = Extra {
                mapping_id: row.int_or_null(1)?,
                partial_max: row.int_or_null(2)?,
                not_readable: match (row.text_or_null(3)?, row.text_or_null(4)?) {
                    (_, Some(_)) => Some("encrypted"),
                    (Some(format), _) if format.eq_ignore_ascii_case("parquet") => None,
                    _ => Some("not in Parquet format"),
                },
            };
            self.extras.insert(row.int(0)?, extra);
            Ok(())
        })
        .await
    }

    fn push(&mut self, row: FileRow) -> Result<()> {
        let FileRow(id, begin, end, record_count, size_bytes, footer_size_bytes, row_id_start, path, is_relative, _) =
            row;
        let (Ok(path_start), Ok(path_length)) = (u32::try_from(self.paths.len()), u16::try_from(path.len())) else {
            return Err(CatalogError::NotSupported("a table has too many files or too long paths".to_owned()));
        };
        self.paths.push_str(&path);
        self.files.push(Entry {
            id,
            begin,
            end: end.unwrap_or(ALIVE),
            record_count,
            size_bytes,
            footer_size_bytes: footer_size_bytes.unwrap_or(-1),
            row_id_start: row_id_start.unwrap_or(-1),
            path_start,
            path_length,
            path_is_relative: is_relative.unwrap_or(0) != 0,
        });
        Ok(())
    }

    async fn load_column(
        &self,
        sql: &Sql,
        tx: &mut Tx,
        table: TableId,
        id: ColumnId,
        column: &mut StatisticsColumn,
        files: Range<i64>,
    ) -> Result<()> {
        column.resize(self.files.len());
        let mut at = self.files.partition_point(|file| file.id < files.start);
        let args = [Value::int(table.0), Value::int(id.0)];
        let doing = "reading column statistics";
        let condition = "table_id = $1 AND column_id = $2";
        let rows = all_packed(sql, tx, doing, "ducklake_file_column_stats", condition, &args, files).await?;
        for row in rows {
            let ColumnRow(file, null_count, min, max, contains_nan) = row;
            while self.files.get(at).is_some_and(|entry| entry.id < file) {
                at += 1;
            }
            if self.files.get(at).is_some_and(|entry| entry.id == file) {
                column.set(at, null_count, min.as_deref(), max.as_deref(), contains_nan.map(|nan| nan != 0));
            }
        }
        Ok(())
    }

    fn alive(&self, snapshot: SnapshotId) -> impl Iterator<Item = (usize, &Entry)> {
        let at = snapshot.0;
        self.files.iter().enumerate().filter(move |(_, file)| file.begin <= at && at < file.end)
    }

    fn delete_at(&self, file: &Entry, snapshot: SnapshotId) -> Option<&DeleteEntry> {
        let at = snapshot.0;
        self.deletes.get(&file.id)?.iter().rev().find(|delete| delete.begin <= at && at < delete.end)
    }

    pub(crate) fn select(&self, table: &Table, snapshot: SnapshotId, filter: &FileFilter) -> Result<Vec<DataFile>> {
        let ranges: Vec<_> =
            filter.ranges.iter().filter_map(|r| Some((self.columns.get(&r.column)?, &r.test))).collect();
        let shown: Vec<_> = filter.statistics.iter().map(|id| self.columns.get(id)).collect();
        self.alive(snapshot)
            .filter(|(at, file)| ranges.iter().all(|(column, test)| column.may_match(*at, file.record_count, test)))
            .map(|(at, file)| {
                let mut file = self.data_file(table, file, snapshot)?;
                file.statistics = shown.iter().map(|c| c.map_or_else(Default::default, |c| c.get(at))).collect();
                Ok(file)
            })
            .collect()
    }

    fn data_file(&self, table: &Table, file: &Entry, snapshot: SnapshotId) -> Result<DataFile> {
        let later = |partial_max: Option<i64>| partial_max.filter(|max| *max > snapshot.0).map(|_| snapshot);
        let extra = self.extras.get(&file.id);
        if let Some(why) = extra.and_then(|extra| extra.not_readable) {
            return Err(CatalogError::NotSupported(format!("table \"{}\" has files that are {why}", table.name)));
        }
        let delete_file = match self.delete_at(file, snapshot) {
            Some(delete) if !delete.is_parquet => {
                let message = format!("table \"{}\" has deletion vectors, which cannot be read", table.name);
                return Err(CatalogError::NotSupported(message));
            }
            Some(delete) => Some(DeleteFile {
                id: DeleteFileId(delete.id),
                path: delete.path.under(&table.location),
                delete_count: delete.delete_count,
                size_bytes: delete.size_bytes,
                footer_size_bytes: delete.footer_size_bytes,
                snapshot_filter: later(delete.partial_max),
            }),
            None => None,
        };
        let start = file.path_start as usize;
        let path = &self.paths[start..start + usize::from(file.path_length)];
        Ok(DataFile {
            id: DataFileId(file.id),
            path: match file.path_is_relative {
                true => format!("{}{path}", table.location),
                false => path.to_owned(),
            },
            record_count: file.record_count,
            size_bytes: file.size_bytes,
            footer_size_bytes: known(file.footer_size_bytes),
            row_id_start: known(file.row_id_start),
            begin_snapshot: SnapshotId(file.begin),
            snapshot_filter: later(extra.and_then(|extra| extra.partial_max)),
            mapping_id: extra.and_then(|extra| extra.mapping_id),
            delete_file,
            statistics: Vec::new(),
        })
    }

    pub(crate) fn statistics(&self, snapshot: SnapshotId, columns: &[ColumnId]) -> TableStatistics {
        // Snapshots after the last one that changed the table are all the same.
        let snapshot = SnapshotId(snapshot.0.min(self.changed));
        let mut total = self.sums.table(snapshot, || self.sum_table(snapshot));
        total.columns =
            columns.iter().map(|id| self.sums.column(snapshot, *id, || self.sum_column(snapshot, *id))).collect();
        total
    }

    fn sum_table(&self, snapshot: SnapshotId) -> TableStatistics {
        let mut total = TableStatistics::default();
        let later = |partial_max: Option<i64>| partial_max.is_some_and(|max| max > snapshot.0);
        for (_, file) in self.alive(snapshot) {
            let delete = self.delete_at(file, snapshot);
            let extra = self.extras.get(&file.id);
            let is_plain = extra.is_none_or(|extra| {
                extra.mapping_id.is_none() && extra.not_readable.is_none() && !later(extra.partial_max)
            }) && delete.is_none_or(|delete| delete.is_parquet && !later(delete.partial_max));
            total.files += 1;
            total.bytes += file.size_bytes;
            total.rows += file.record_count - delete.map_or(0, |delete| delete.delete_count);
            total.files_with_deletes += u64::from(delete.is_some());
            total.files_not_plain += u64::from(!is_plain);
        }
        total.rows = total.rows.max(0);
        total
    }

    fn sum_column(&self, snapshot: SnapshotId, id: ColumnId) -> ColumnStatistics {
        let mut sum = StatisticsSum::default();
        let column = self.columns.get(&id);
        for (at, file) in self.alive(snapshot) {
            sum.add(&column.map_or_else(Default::default, |column| column.get(at)), file.record_count);
        }
        sum.finish()
    }
}

/// What the snapshots after `from` up to `to` changed, unless one of them is no longer there to tell.
pub(crate) async fn changes_between(tx: &mut Tx, from: SnapshotId, to: SnapshotId) -> Result<Option<Changes>> {
    let mut changes = Changes::default();
    let mut count = 0;
    tx.each(
        "reading snapshot changes",
        "SELECT changes_made FROM ducklake_snapshot_changes WHERE snapshot_id > $1 AND snapshot_id <= $2",
        &[Value::int(from.0), Value::int(to.0)],
        |row| {
            count += 1;
            changes.read(row.text_or_null(0)?.unwrap_or_default())
        },
    )
    .await?;
    Ok((count == to.0 - from.0).then_some(changes))
}

/// Statistics of some columns in some files, past what is in memory.
pub(crate) async fn read_statistics(
    tx: &mut Tx,
    table: &Table,
    files: &[DataFile],
    columns: &[ColumnId],
) -> Result<HashMap<(DataFileId, ColumnId), ColumnStatistics>> {
    let list = |ids: Vec<i64>| ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    let column_list = list(columns.iter().map(|id| id.0).collect());
    let mut found = HashMap::with_capacity(files.len() * columns.len());
    for chunk in files.chunks(STATISTICS_FILES_MAX) {
        let sql = format!(
            "SELECT data_file_id, column_id, null_count, min_value, max_value, contains_nan FROM ducklake_file_column_stats \
             WHERE table_id = $1 AND column_id IN ({column_list}) AND data_file_id IN ({})",
            list(chunk.iter().map(|file| file.id.0).collect())
        );
        tx.each("reading column statistics", &sql, &[Value::int(table.id.0)], |row| {
            let (file, id) = (DataFileId(row.int(0)?), ColumnId(row.int(1)?));
            let Some(column) = table.column_by_id(id) else { return Ok(()) };
            let mut one = StatisticsColumn::new(column.column_type.clone());
            one.resize(1);
            let (min, max) = (row.text_or_null(3)?, row.text_or_null(4)?);
            one.set(0, row.int_or_null(2)?, min, max, row.bool_or_null(5)?);
            found.insert((file, id), one.get(0));
            Ok(())
        })
        .await?;
    }
    Ok(found)
}

fn read_delete(row: Row<'_>) -> Result<DeleteEntry> {
    Ok(DeleteEntry {
        id: row.int(0)?,
        begin: row.int(1)?,
        end: row.int_or_null(2)?.unwrap_or(ALIVE),
        path: Place { path: row.text(4)?.to_owned(), is_relative: row.bool_or_null(5)?.unwrap_or(false) },
        delete_count: row.int(6)?,
        size_bytes: row.int(7)?,
        footer_size_bytes: row.int_or_null(8)?,
        partial_max: row.int_or_null(9)?,
        is_parquet: row.text_or_null(10)?.is_some_and(|format| format.eq_ignore_ascii_case("parquet")),
    })
}

fn known(value: i64) -> Option<i64> {
    (value >= 0).then_some(value)
}
