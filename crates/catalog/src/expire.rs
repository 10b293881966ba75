//! Forgetting snapshots, and telling which files nobody needs any more.
//!
//! ```text
//! row in ducklake_data_file ──no kept snapshot has it──▶ path in ducklake_files_scheduled_for_deletion
//!                                                             │ no row of any database has the path
//!                                                             ▼
//!                                                       removable ──the caller removes it──▶ mark_removed
//! ```
//! A path may be in several rows, of clones and restored tables, in this and in other databases. So a path is looked up
//! when it is about to be removed, not when a row is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use crate::database::Database;
use crate::error::Result;
use crate::ids::{SnapshotId, TableId};
use crate::load::all_locations;
use crate::model::Place;
use crate::pins::Doomed;
use crate::sketches;
use crate::snapshot::{SNAPSHOT_COLUMNS, Snapshot, read_snapshot};
use crate::sql::{Tx, Value};
use crate::time;

/// Which snapshots to forget. The latest and pinned ones are always kept.
#[derive(Clone, Debug, Default)]
pub struct Expiry {
    /// All that were no longer the latest by then: what the database was at that time, and at each later one, is kept.
    pub superseded_before: Option<SystemTime>,
    pub snapshots: Vec<SnapshotId>,
    /// Pinned by other processes.
    pub keep: Vec<SnapshotId>,
}

/// A file that no snapshot of any database has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemovableFile {
    /// In full.
    pub path: String,
    stored: Place,
}

const DOING: &str = "expiring snapshots";

/// The rows of `ducklake_data_file` and its kin that no snapshot has.
pub(crate) const UNSEEN: &str = "end_snapshot IS NOT NULL AND NOT EXISTS (SELECT 1 FROM ducklake_snapshot s \
                      WHERE s.snapshot_id >= begin_snapshot AND s.snapshot_id < end_snapshot)";

impl Database {
    /// Forgets snapshots and what only they had, and schedules their files for removal. Returns those forgotten.
    pub async fn expire_snapshots(&self, expiry: &Expiry) -> Result<Vec<SnapshotId>> {
        let _turn = self.inner.committing.lock().await;
        let mut tx = self.inner.sql.write("ducklake_snapshot").await?;
        let doomed = self.choose(&mut tx, expiry).await?;
        if doomed.snapshots.is_empty() {
            return Ok(Vec::new());
        }
        self.forget(&mut tx, &doomed.snapshots).await?;
        tx.commit().await?;
        self.forget_files();
        Ok(doomed.snapshots.clone())
    }

    /// What [`Database::expire_snapshots`] would forget, and which files would be removable then.
    pub async fn would_expire(
        &self,
        expiry: &Expiry,
        others: &[Database],
    ) -> Result<(Vec<SnapshotId>, Vec<RemovableFile>)> {
        let _turn = self.inner.committing.lock().await;
        let mut tx = self.inner.sql.write("ducklake_snapshot").await?;
        let pinned = self.pinned_snapshots();
        let chosen = expiry.choose(&every_snapshot(&mut tx).await?, |id| pinned.contains(&id));
        self.forget(&mut tx, &chosen).await?;
        let later = SystemTime::now() + std::time::Duration::from_secs(1);
        let files = self.removable(&mut tx, later, others).await?;
        tx.rollback().await?;
        Ok((chosen, files))
    }

    async fn forget(&self, tx: &mut Tx, snapshots: &[SnapshotId]) -> Result<()> {
        for chunk in snapshots.chunks(5000) {
            let list = list(chunk.iter().map(|id| id.0));
            for table in ["ducklake_snapshot", "ducklake_snapshot_changes", "frazil_commit"] {
                tx.execute(DOING, &format!("DELETE FROM {table} WHERE snapshot_id IN ({list})"), &[]).await?;
            }
        }
        let locations = all_locations(tx, self.data_path()).await?;
        let gone_tables = gone_tables(tx).await?;
        self.schedule(tx, "data_file_id", "ducklake_data_file", &locations).await?;
        self.schedule(tx, "delete_file_id", "ducklake_delete_file", &locations).await?;
        forget_tables(tx, &gone_tables).await?;
        sketches::forget_unseen(tx).await?;
        // Columns stay as long as their table: a field id must not be used again while files have it.
        for table in ["ducklake_schema", "ducklake_view", "ducklake_tag"] {
            tx.execute(DOING, &format!("DELETE FROM {table} WHERE {UNSEEN}"), &[]).await?;
        }
        Ok(())
    }

    async fn choose(&self, tx: &mut Tx, expiry: &Expiry) -> Result<Doomed> {
        let all = every_snapshot(tx).await?;
        Ok(self.doom(|pins| expiry.choose(&all, |id| pins.contains_key(&id))))
    }

    /// Moves unseen rows of files to the schedule.
    async fn schedule(
        &self,
        tx: &mut Tx,
        key: &str,
        table: &str,
        locations: &HashMap<TableId, Arc<str>>,
    ) -> Result<()> {
        let now = time::format_moment(SystemTime::now());
        // A data file that is gone takes its delete files with it.
        let orphaned = match table {
            "ducklake_delete_file" => {
                " OR NOT EXISTS (SELECT 1 FROM ducklake_data_file d WHERE d.data_file_id = ducklake_delete_file.data_file_id)"
            }
            _ => "",
        };
        let sql = format!("SELECT {key}, table_id, path, path_is_relative FROM {table} WHERE ({UNSEEN}){orphaned}");
        let (mut rows, mut ids) = (Vec::new(), HashMap::<i64, Vec<i64>>::new());
        tx.each(DOING, &sql, &[], |row| {
            let (id, table_id) = (row.int(0)?, row.int(1)?);
            let place = Place { path: row.text(2)?.to_owned(), is_relative: row.bool_or_null(3)?.unwrap_or(false) };
            let location = locations.get(&TableId(table_id)).map_or(self.data_path(), |location| location);
            let stored = self.store(place.under(location));
            rows.push(vec![
                Value::int(id),
                Value::text(stored.path),
                Value::bool(stored.is_relative),
                Value::Moment(now.clone()),
            ]);
            ids.entry(table_id).or_default().push(id);
            Ok(())
        })
        .await?;
        let columns = "data_file_id, path, path_is_relative, schedule_start";
        tx.insert(DOING, "ducklake_files_scheduled_for_deletion", columns, &rows).await?;
        for (table_id, ids) in ids {
            for chunk in ids.chunks(5000) {
                let list = list(chunk.iter().copied());
                tx.execute(DOING, &format!("DELETE FROM {table} WHERE {key} IN ({list})"), &[]).await?;
                if key == "data_file_id" {
                    delete_file_parts(tx, table_id, &list).await?;
                }
            }
        }
        Ok(())
    }

    fn store(&self, path: String) -> Place {
        match path.strip_prefix(self.data_path()) {
            Some(rest) => Place::relative(rest),
            None => Place::absolute(path),
        }
    }

    /// Files that were scheduled before a time, and that no row of this database and none of `others` has.
    pub async fn files_to_remove(
        &self,
        scheduled_before: SystemTime,
        others: &[Database],
    ) -> Result<Vec<RemovableFile>> {
        let mut tx = self.inner.sql.read().await?;
        self.removable(&mut tx, scheduled_before, others).await
    }

    async fn removable(
        &self,
        tx: &mut Tx,
        scheduled_before: SystemTime,
        others: &[Database],
    ) -> Result<Vec<RemovableFile>> {
        let sql = "SELECT path, path_is_relative, CAST(schedule_start AS VARCHAR) \
                   FROM ducklake_files_scheduled_for_deletion ORDER BY data_file_id";
        let mut files = Vec::new();
        tx.each("listing removable files", sql, &[], |row| {
            let stored = Place { path: row.text(0)?.to_owned(), is_relative: row.bool_or_null(1)?.unwrap_or(false) };
            let scheduled = row.text_or_null(2)?.and_then(time::parse_moment);
            if scheduled.is_some_and(|time| time < scheduled_before) {
                files.push(RemovableFile { path: stored.under(self.data_path()), stored });
            }
            Ok(())
        })
        .await?;
        // Two rows that shared a path may both be gone.
        let mut once = HashSet::new();
        files.retain(|file| once.insert(file.path.clone()));
        let candidates: HashSet<String> = files.iter().map(|file| file.path.clone()).collect();
        let mut needed = HashSet::new();
        let mut need = |path: &str| {
            if candidates.contains(path) {
                needed.insert(path.to_owned());
            }
        };
        each_path(tx, self.data_path(), &mut need).await?;
        for other in others.iter().filter(|other| !other.is_same(self)) {
            each_path(&mut other.inner.sql.read().await?, other.data_path(), &mut need).await?;
        }
        files.retain(|file| !needed.contains(&file.path));
        Ok(files)
    }

    /// Takes files off the schedule, once they are gone from storage.
    pub async fn mark_removed(&self, files: &[RemovableFile]) -> Result<()> {
        let mut tx = self.inner.sql.write("ducklake_files_scheduled_for_deletion").await?;
        for file in files {
            let sql = "DELETE FROM ducklake_files_scheduled_for_deletion WHERE path = $1";
            tx.execute("marking files as removed", sql, &[Value::text(&file.stored.path)]).await?;
        }
        tx.commit().await
    }

    /// Every path that this database knows: of all kept snapshots, and scheduled for removal. What else lies below the data
    /// path is an orphan, unless a statement is still writing it.
    pub async fn referenced_paths(&self) -> Result<HashSet<String>> {
        let mut paths = HashSet::new();
        self.each_referenced_path(|path| _ = paths.insert(path.to_owned())).await?;
        Ok(paths)
    }

    /// Calls `take` with each of [`Database::referenced_paths`]; with some more than once.
    pub async fn each_referenced_path(&self, mut take: impl FnMut(&str) + Send) -> Result<()> {
        let mut tx = self.inner.sql.read().await?;
        each_path(&mut tx, self.data_path(), &mut take).await?;
        let sql = "SELECT path, path_is_relative FROM ducklake_files_scheduled_for_deletion";
        tx.each("listing paths", sql, &[], |row| {
            let stored = Place { path: row.text(0)?.to_owned(), is_relative: row.bool_or_null(1)?.unwrap_or(false) };
            take(&stored.under(self.data_path()));
            Ok(())
        })
        .await
    }
}

/// Calls `take` with the path of every data and delete file of any kept snapshot.
async fn each_path(tx: &mut Tx, data_path: &str, take: &mut (impl FnMut(&str) + Send)) -> Result<()> {
    let locations = all_locations(tx, data_path).await?;
    for table in ["ducklake_data_file", "ducklake_delete_file"] {
        let sql = format!("SELECT table_id, path, path_is_relative FROM {table}");
        tx.each("listing paths", &sql, &[], |row| {
            match (row.bool_or_null(2)?, locations.get(&TableId(row.int(0)?))) {
                (Some(true), Some(location)) => take(&format!("{location}{}", row.text(1)?)),
                (Some(true), None) => take(&format!("{data_path}{}", row.text(1)?)),
                _ => take(row.text(1)?),
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

impl Expiry {
    /// `all`: in their order.
    fn choose(&self, all: &[Snapshot], is_pinned: impl Fn(SnapshotId) -> bool) -> Vec<SnapshotId> {
        let pairs = all.iter().zip(all.iter().skip(1));
        let old = |next: &Snapshot| self.superseded_before.is_some_and(|limit| next.time <= limit);
        let chosen = pairs.filter(|(one, next)| old(next) || self.snapshots.contains(&one.id)).map(|(one, _)| one.id);
        chosen.filter(|id| !self.keep.contains(id) && !is_pinned(*id)).collect()
    }
}

async fn every_snapshot(tx: &mut Tx) -> Result<Vec<Snapshot>> {
    let sql = format!("SELECT {SNAPSHOT_COLUMNS} FROM ducklake_snapshot ORDER BY snapshot_id");
    tx.all(DOING, &sql, &[], |row| read_snapshot(&row)).await
}

/// Tables of which no snapshot has any row.
async fn gone_tables(tx: &mut Tx) -> Result<Vec<i64>> {
    let sql = format!(
        "SELECT DISTINCT table_id FROM ducklake_table WHERE {UNSEEN} AND table_id NOT IN \
         (SELECT table_id FROM ducklake_table WHERE NOT ({UNSEEN}))"
    );
    tx.all(DOING, &sql, &[], |row| row.int(0)).await
}

async fn delete_file_parts(tx: &mut Tx, table: i64, files: &str) -> Result<()> {
    let args = [Value::int(table)];
    // By table and column first, since that is how the index goes.
    let sql = format!(
        "DELETE FROM ducklake_file_column_stats WHERE table_id = $1 AND column_id IN \
         (SELECT column_id FROM ducklake_column WHERE table_id = $1) AND data_file_id IN ({files})"
    );
    tx.execute(DOING, &sql, &args).await?;
    for table in ["ducklake_file_variant_stats", "ducklake_file_partition_value"] {
        let sql = format!("DELETE FROM {table} WHERE table_id = $1 AND data_file_id IN ({files})");
        tx.execute(DOING, &sql, &args).await?;
    }
    Ok(())
}

async fn forget_tables(tx: &mut Tx, tables: &[i64]) -> Result<()> {
    for chunk in tables.chunks(5000) {
        let list = list(chunk.iter().copied());
        for table in [
            "ducklake_table",
            "ducklake_table_stats",
            "ducklake_table_column_stats",
            "ducklake_partition_info",
            "ducklake_partition_column",
            "ducklake_column",
            "ducklake_column_tag",
            "ducklake_sort_info",
            "ducklake_sort_expression",
            "ducklake_schema_versions",
            "ducklake_inlined_data_tables",
            "ducklake_column_mapping",
            "frazil_loaded_file",
            "frazil_sketch",
            "frazil_column_sketch",
        ] {
            tx.execute(DOING, &format!("DELETE FROM {table} WHERE table_id IN ({list})"), &[]).await?;
        }
    }
    let sql =
        "DELETE FROM ducklake_name_mapping WHERE mapping_id NOT IN (SELECT mapping_id FROM ducklake_column_mapping)";
    tx.execute(DOING, sql, &[]).await.map(|_| ())
}

fn list(ids: impl Iterator<Item = i64>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",")
}
