//! What is known of tables' files: asked for once, kept in memory, and looked at again when something was committed since.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::RwLock;

use crate::database::Database;
use crate::error::{CatalogError, Result};
use crate::file_rows::read_statistics;
use crate::files::{DataFile, FileFilter, TableStatistics};
use crate::glance::{Glance, PICKED_MAX};
use crate::ids::{ColumnId, SnapshotId, TableId};
use crate::model::Table;
use crate::prune::ColumnStatistics;
use crate::selected_files::SelectedFiles;
use crate::snapshot::{SnapshotView, latest};
use crate::sql::{self, Tx, Value};
use crate::table_files::TableFiles;

/// Files of all tables that are kept in memory; beyond it, the tables that were used least recently are forgotten.
const FILES_KEPT: usize = 4_000_000;

/// Of so many files, statistics of a column are looked up one by one.
const FEW_FILES_MAX: usize = 500;

#[derive(Default)]
pub(crate) struct FileCache {
    tables: HashMap<TableId, CachedTable>,
    tick: u64,
}

struct CachedTable {
    used: u64,
    /// As of the last look.
    count: usize,
    files: Arc<Cached>,
}

#[derive(Default)]
pub(crate) struct Cached {
    files: RwLock<TableFiles>,
    /// The list is or was in memory, so that little is to be read anew.
    pub(crate) is_loaded: AtomicBool,
    pub(crate) is_loading: AtomicBool,
    pub(crate) glance: Mutex<Option<Arc<Glance>>>,
}

impl Database {
    /// The files of a table at the view's snapshot that may hold rows that the filter's ranges ask for.
    pub async fn files(&self, view: &SnapshotView, table: TableId, filter: &FileFilter) -> Result<Vec<DataFile>> {
        let table = view.table_by_id(table)?;
        let mut columns: Vec<_> = filter.ranges.iter().map(|range| range.column).collect();
        columns.extend(&filter.statistics);
        self.with_files(view, table, &columns, |files| files.select(table, view.snapshot.id, filter)).await?
    }

    /// The same files without their statistics, and many of them without a copy of each.
    pub async fn select_files(
        &self,
        view: &SnapshotView,
        table: TableId,
        filter: &FileFilter,
    ) -> Result<SelectedFiles> {
        let table = view.table_by_id(table)?;
        if let Some(few) = self.glance(view, table, filter).await? {
            return Ok(few);
        }
        let columns: Vec<_> = filter.ranges.iter().map(|range| range.column).collect();
        self.with_files(view, table, &columns, |files| files.select_shared(table, view.snapshot.id, filter)).await?
    }

    /// What is known of columns in each of these files. Columns that are in memory are looked up there; of the others only
    /// what is asked for is read, as long as that is little.
    pub async fn file_statistics(
        &self,
        view: &SnapshotView,
        table: TableId,
        files: &[DataFile],
        columns: &[ColumnId],
    ) -> Result<Vec<Vec<ColumnStatistics>>> {
        let table = view.table_by_id(table)?;
        if files.len() <= PICKED_MAX && self.glanced(view, table.id).is_some() {
            let found = read_statistics(&mut self.inner.sql.read().await?, table, files, columns).await?;
            let of_file = |file: &DataFile| {
                let of_column = |id: &ColumnId| found.get(&(file.id, *id)).cloned().unwrap_or_default();
                columns.iter().map(of_column).collect()
            };
            return Ok(files.iter().map(of_file).collect());
        }
        let (missing, count) = self
            .with_files(view, table, &[], |known| {
                let missing = columns.iter().copied().filter(|id| !known.has_column(table, *id));
                (missing.collect::<Vec<_>>(), known.len())
            })
            .await?;
        // Reading a whole column costs as much as finding some of its values.
        let few = files.len() <= FEW_FILES_MAX.max(count / 16);
        let found = match few && !missing.is_empty() {
            true => read_statistics(&mut self.inner.sql.read().await?, table, files, &missing).await?,
            false => HashMap::new(),
        };
        let kept: &[ColumnId] = if few { &[] } else { &missing };
        self.with_files(view, table, kept, |known| {
            let of_file = |file: &DataFile| {
                let of_column = |id: &ColumnId| match known.column_of_file(file.id, *id) {
                    Some(known) => known,
                    None => found.get(&(file.id, *id)).cloned().unwrap_or_default(),
                };
                columns.iter().map(of_column).collect()
            };
            files.iter().map(of_file).collect()
        })
        .await
    }

    /// Sums over a table's files, with bounds of the columns that are asked for.
    pub async fn table_statistics(
        &self,
        view: &SnapshotView,
        table: TableId,
        columns: &[ColumnId],
    ) -> Result<TableStatistics> {
        let table = view.table_by_id(table)?;
        if columns.is_empty()
            && let Some(glance) = self.glanced(view, table.id)
        {
            return Ok(glance.sum.clone());
        }
        self.with_files(view, table, columns, |files| files.statistics(view.snapshot.id, columns)).await
    }

    /// About how many distinct values columns have, by what was sketched as they were written; `None` where too little of a column
    /// was.
    pub async fn distinct_counts(
        &self,
        view: &SnapshotView,
        table: TableId,
        columns: &[ColumnId],
    ) -> Result<Vec<Option<u64>>> {
        let table = view.table_by_id(table)?;
        if let Some(glance) = self.glanced(view, table.id) {
            let of = |id: &ColumnId| glance.distinct.of(view.snapshot.id, *id, glance.sum.rows);
            return Ok(columns.iter().map(of).collect());
        }
        self.with_files(view, table, &[], |files| files.distinct_counts(view.snapshot.id, columns)).await
    }

    pub(crate) async fn with_files<T>(
        &self,
        view: &SnapshotView,
        table: &Table,
        columns: &[ColumnId],
        look: impl FnOnce(&TableFiles) -> T,
    ) -> Result<T> {
        let newest = view.snapshot.id.max(*self.inner.seen.lock());
        let cached = self.inner.files.lock().get(table.id);
        {
            let files = cached.files.read().await;
            if table.inlined_tables.is_empty() && files.covers(newest, table, columns) {
                files.refuse_inlined_deletes(table, view.snapshot.id)?;
                return Ok(look(&files));
            }
        }
        let mut files = cached.files.write().await;
        let mut tx = self.inner.sql.read().await?;
        self.refuse_inlined(&mut tx, table, view.snapshot.id).await?;
        let latest = latest(&mut tx).await?;
        files.sync(&self.inner.sql, &mut tx, table, &latest, columns).await?;
        files.inlined_deletes_from = self.inlined_deletes_from(&mut tx, table.id).await?;
        drop(tx);
        files.refuse_inlined_deletes(table, view.snapshot.id)?;
        let files = files.downgrade();
        cached.is_loaded.store(true, Ordering::Release);
        *cached.glance.lock() = None;
        self.inner.files.lock().put(table.id, files.len());
        Ok(look(&files))
    }

    /// DuckDB may keep rows in the metadata database. We do not read those.
    pub(crate) async fn refuse_inlined(&self, tx: &mut Tx, table: &Table, at: SnapshotId) -> Result<()> {
        for name in &table.inlined_tables {
            let sql = format!(
                "SELECT row_id FROM {} WHERE begin_snapshot <= $1 AND (end_snapshot IS NULL OR end_snapshot > $1) LIMIT 1",
                sql::quote(name)
            );
            if tx.first("looking for inlined rows", &sql, &[Value::int(at.0)], |row| row.int(0)).await?.is_some() {
                return Err(CatalogError::InlinedData { table: table.name.clone() });
            }
        }
        Ok(())
    }

    /// The first snapshot from which on DuckDB keeps positions of deleted rows in the metadata database.
    pub(crate) async fn inlined_deletes_from(&self, tx: &mut Tx, table: TableId) -> Result<Option<SnapshotId>> {
        let name = format!("ducklake_inlined_delete_{table}");
        let sql = match self.inner.sql.is_postgres() {
            true => "SELECT 1::bigint FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1",
            false => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
        };
        if tx.first("looking for inlined deletes", sql, &[Value::text(&name)], |row| row.int(0)).await?.is_none() {
            return Ok(None);
        }
        let sql = format!("SELECT MIN(begin_snapshot) FROM {}", sql::quote(&name));
        let first = tx.first("looking for inlined deletes", &sql, &[], |row| row.int_or_null(0)).await?;
        Ok(first.flatten().map(SnapshotId))
    }

    /// Forgets what is in memory, after rows of the past were removed.
    pub(crate) fn forget_files(&self) {
        *self.inner.files.lock() = FileCache::default();
    }
}

impl FileCache {
    pub(crate) fn get(&mut self, table: TableId) -> Arc<Cached> {
        self.tick += 1;
        let fresh = || CachedTable { used: 0, count: 0, files: Arc::default() };
        let cached = self.tables.entry(table).or_insert_with(fresh);
        cached.used = self.tick;
        cached.files.clone()
    }

    fn put(&mut self, table: TableId, count: usize) {
        if let Some(cached) = self.tables.get_mut(&table) {
            cached.count = count;
        }
        while self.tables.len() > 1 && self.tables.values().map(|t| t.count).sum::<usize>() > FILES_KEPT {
            let oldest = self.tables.iter().min_by_key(|(_, t)| t.used).map(|(id, _)| *id);
            oldest.map(|id| self.tables.remove(&id));
        }
    }
}
