//! All files of one table that any kept snapshot has, in memory, brought up to date by what later snapshots changed.
//!
//! A million files take about 150 MB, and each column that predicates or planners ask for about 40 MB more. Columns are
//! read when they are first asked for.
//!
//! DuckDB's compactions and deletes rewrite rows of the past: they replace files by one that carries the snapshots of its
//! rows. Deletes are recognised by their file's `partial_max`; after a compaction the table is read anew.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::changes::Changes;
use crate::error::{CatalogError, Result};
use crate::file_list::{Entry, FileList, too_many};
use crate::file_rows::{ColumnPart, read_column, read_deletes_and_ends, read_extras, read_files};
use crate::files::{DataFile, FileFilter, TableStatistics};
use crate::ids::{ColumnId, DataFileId, SnapshotId, TableId};
use crate::model::Table;
use crate::prune::ColumnStatistics;
use crate::selected_files::SelectedFiles;
use crate::sketches::DistinctCounts;
use crate::snapshot::Snapshot;
use crate::sql::{Sql, Tx, Value};
use crate::statistics_column::{StatisticsColumn, StatisticsSum};
use crate::sum_cache::SumCache;

/// So many selected files are copied; of more, the list is shared.
const COPIED_MAX: usize = 1000;

#[derive(Default)]
pub(crate) struct TableFiles {
    /// The snapshot up to which this is complete, and its next file id.
    synced: Option<(SnapshotId, i64)>,
    /// Shared with statements that read many of them: changed in place only when there are none.
    files: Arc<FileList>,
    columns: HashMap<ColumnId, StatisticsColumn>,
    distinct: DistinctCounts,
    /// The last snapshot that changed the table's files.
    changed: i64,
    sums: SumCache,
    /// From this snapshot on, positions of deleted rows are where we do not read them.
    pub(crate) inlined_deletes_from: Option<SnapshotId>,
}

impl TableFiles {
    /// Some files and what is known of them in these columns, to select from; not to be brought up to date.
    pub(crate) fn of_some(files: FileList, columns: HashMap<ColumnId, StatisticsColumn>) -> Self {
        Self { files: Arc::new(files), columns, ..Self::default() }
    }

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
        self.files.place_of(file.0).map(|at| column.get(at))
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
                let known = self.files.last_id().map_or(0, |id| id + 1);
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
        let came = read_files(sql, tx, table, new.clone()).await?;
        let files = Arc::make_mut(&mut self.files);
        match files.len() {
            0 => {
                *files = came;
                files.trim();
            }
            _ => files.append(came)?,
        }
        read_extras(tx, files).await?;
        self.sums = SumCache::default();
        let mut columns = std::mem::take(&mut self.columns);
        for (id, column) in &mut columns {
            self.load_column(sql, tx, table, *id, column, new.clone()).await?;
        }
        self.columns = columns;
        read_deletes_and_ends(tx, table, new.start, synced.0, Arc::make_mut(&mut self.files)).await?;
        self.changed = self.files.last_change();
        self.distinct = DistinctCounts::read(tx, table).await?;
        Ok(())
    }

    /// Reads a column in files with these ids, the last ones.
    async fn load_column(
        &self,
        sql: &Sql,
        tx: &mut Tx,
        table: TableId,
        id: ColumnId,
        column: &mut StatisticsColumn,
        files: Range<i64>,
    ) -> Result<()> {
        let first = column.len();
        let part = read_column(sql, tx, table, id, &column.column_type, files).await?;
        add_to_column(&self.files, column, part);
        if first == 0 {
            column.trim();
        }
        Ok(())
    }

    pub(crate) fn select(&self, table: &Table, snapshot: SnapshotId, filter: &FileFilter) -> Result<Vec<DataFile>> {
        let shown: Vec<_> = filter.statistics.iter().map(|id| self.columns.get(id)).collect();
        self.chosen(snapshot, filter)
            .map(|(at, file)| {
                self.files.check_readable(table, file, snapshot)?;
                let mut file = self.files.data_file(table, file, snapshot);
                file.statistics = shown.iter().map(|c| c.map_or_else(Default::default, |c| c.get(at))).collect();
                Ok(file)
            })
            .collect()
    }

    /// The same files, without statistics, and many of them without a copy of each.
    pub(crate) fn select_shared(
        &self,
        table: &Arc<Table>,
        snapshot: SnapshotId,
        filter: &FileFilter,
    ) -> Result<SelectedFiles> {
        let mut places = Vec::new();
        for (at, file) in self.chosen(snapshot, filter) {
            self.files.check_readable(table, file, snapshot)?;
            places.push(u32::try_from(at).map_err(|_| too_many())?);
        }
        let few = places.len() <= COPIED_MAX;
        let selected = SelectedFiles::shared(self.files.clone(), table.clone(), snapshot, places);
        // A statement that has few of them does not keep the list from being changed in place.
        Ok(if few { selected.to_vec().into() } else { selected })
    }

    fn chosen<'a>(&'a self, snapshot: SnapshotId, filter: &'a FileFilter) -> impl Iterator<Item = (usize, &'a Entry)> {
        let ranges: Vec<_> =
            filter.ranges.iter().filter_map(|r| Some((self.columns.get(&r.column)?, &r.test))).collect();
        let alive = self.files.alive(snapshot);
        alive.filter(move |(at, file)| {
            ranges.iter().all(|(column, test)| column.may_match(*at, file.record_count, test))
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

    /// About how many distinct values each column has.
    pub(crate) fn distinct_counts(&self, snapshot: SnapshotId, columns: &[ColumnId]) -> Vec<Option<u64>> {
        let rows = self.statistics(snapshot, &[]).rows;
        columns.iter().map(|id| self.distinct.of(snapshot, *id, rows)).collect()
    }

    fn sum_table(&self, snapshot: SnapshotId) -> TableStatistics {
        let mut total = TableStatistics::default();
        for (_, file) in self.files.alive(snapshot) {
            let delete = self.files.delete_at(file, snapshot);
            total.files += 1;
            total.bytes += file.size_bytes;
            total.rows += file.record_count - delete.map_or(0, |delete| delete.delete_count);
            total.files_with_deletes += u64::from(delete.is_some());
            total.files_not_plain += u64::from(!self.files.is_plain(file, snapshot));
        }
        total.rows = total.rows.max(0);
        total
    }

    fn sum_column(&self, snapshot: SnapshotId, id: ColumnId) -> ColumnStatistics {
        let mut sum = StatisticsSum::default();
        let column = self.columns.get(&id);
        for (at, file) in self.files.alive(snapshot) {
            sum.add(&column.map_or_else(Default::default, |column| column.get(at)), file.record_count);
        }
        sum.finish()
    }
}

/// Adds what was read of a column to what is known of the list's files, of which it has none yet.
pub(crate) fn add_to_column(files: &FileList, column: &mut StatisticsColumn, mut part: ColumnPart) {
    if files.ids().skip(column.len()).eq(part.files.iter().copied()) {
        return column.append(part.statistics);
    }
    column.resize(files.len());
    for (from, file) in part.files.iter().enumerate() {
        if let Some(at) = files.place_of(*file) {
            column.move_from(at, &mut part.statistics, from);
        }
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
