//! One database: a DuckLake of its own, its views by snapshot and its files by table.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::change_counter::{ChangeCounter, State};
use crate::error::{CatalogError, Result};
use crate::file_cache::FileCache;
use crate::glance::{self, Loads};
use crate::ids::{ColumnId, SnapshotId};
use crate::pins::Pins;
use crate::snapshot::{
    At, ContentsCache, DroppedSchema, DroppedTable, SNAPSHOT_COLUMNS, Snapshot, SnapshotRecord, SnapshotView,
    dropped_schemas, dropped_tables, latest, read_snapshot, resolve,
};
use crate::sql::{Sql, Tx, Value};
use crate::transaction::Transaction;
use crate::{lake_tables, load, sql};

/// A handle; clones are the same database.
#[derive(Clone)]
pub struct Database {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) name: String,
    id: OnceLock<Uuid>,
    pub(crate) sql: Sql,
    pub(crate) data_path: String,
    contents: Mutex<ContentsCache>,
    /// Of an SQLite file: what it has had last, and in which state of the file that was.
    counter: Option<ChangeCounter>,
    latest: Mutex<Option<(State, Arc<SnapshotView>)>>,
    pub(crate) files: Mutex<FileCache>,
    pub(crate) loads: Mutex<Loads>,
    /// Files of a table from which on a statement may have its own picked by the database.
    pub(crate) glance_files_min: AtomicI64,
    /// The latest snapshot that anyone has seen: files are looked at only when they are at least that new.
    pub(crate) seen: Mutex<SnapshotId>,
    pub(crate) pins: Mutex<Pins>,
    /// Commits of this process take turns here rather than by SQLite's polling.
    pub(crate) committing: tokio::sync::Mutex<()>,
    #[cfg(test)]
    pub(crate) failpoint: crate::failpoints::Hook,
}

/// A request that was committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommittedRequest {
    pub snapshot: SnapshotId,
    /// What was asked for; see [`crate::CommitInfo::fingerprint`].
    pub fingerprint: Option<String>,
}

/// How a file written by another tool names its columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MappedColumn {
    pub source_name: String,
    pub column: ColumnId,
    /// Of another mapped column, for nested ones: an index into the list.
    pub parent: Option<usize>,
    pub is_partition: bool,
}

impl Database {
    /// Creates a database in an SQLite file that does not exist. The data path gets a `/` at its end if it has none.
    pub async fn create_sqlite(name: &str, file: &Path, data_path: &str) -> Result<Self> {
        if file.exists() {
            return Err(CatalogError::DuplicateDatabase(name.to_owned()));
        }
        let sql = Sql::open_sqlite(file, true).await?;
        Self::create(name, sql, data_path, Some(ChangeCounter::of(file))).await
    }

    pub async fn open_sqlite(name: &str, file: &Path) -> Result<Self> {
        if !file.exists() {
            return Err(CatalogError::UndefinedDatabase(name.to_owned()));
        }
        Self::open(name, Sql::open_sqlite(file, false).await?, Some(ChangeCounter::of(file))).await
    }

    /// Creates a database in a schema of a PostgreSQL database, and the schema.
    pub async fn create_postgres(name: &str, url: &str, schema: &str, data_path: &str) -> Result<Self> {
        let sql = Sql::open_postgres(url, schema).await?;
        let Sql::Postgres(pool) = &sql else { unreachable!("it was opened as PostgreSQL") };
        let mut tx = Tx::Postgres(pool.begin().await.map_err(|e| CatalogError::sql("creating a database", e))?);
        tx.script("creating a database", &format!("CREATE SCHEMA {}", sql::quote(schema))).await?;
        tx.commit().await?;
        Self::create(name, sql, data_path, None).await
    }

    pub async fn open_postgres(name: &str, url: &str, schema: &str) -> Result<Self> {
        Self::open(name, Sql::open_postgres(url, schema).await?, None).await
    }

    /// What the registry knows it by.
    pub(crate) fn identify(&self, id: Uuid) {
        let _ = self.inner.id.set(id);
    }

    /// The ids of all schemas, tables, views and stages that are there, or can be there again.
    pub(crate) async fn object_ids(&self) -> Result<BTreeSet<String>> {
        let sql = "SELECT CAST(schema_uuid AS VARCHAR) FROM ducklake_schema UNION \
                   SELECT CAST(table_uuid AS VARCHAR) FROM ducklake_table UNION \
                   SELECT CAST(view_uuid AS VARCHAR) FROM ducklake_view UNION SELECT stage_id FROM frazil_stage";
        let mut tx = self.inner.sql.read().await?;
        let ids = tx.all("listing ids", sql, &[], |row| row.text_or_null(0).map(|id| id.map(str::to_owned))).await?;
        Ok(ids.into_iter().flatten().collect())
    }

    /// The same as long as it is there, whatever is called by its name later. Zero for one that is in no registry.
    pub fn id(&self) -> Uuid {
        self.inner.id.get().copied().unwrap_or_default()
    }

    async fn create(name: &str, sql: Sql, data_path: &str, counter: Option<ChangeCounter>) -> Result<Self> {
        let data_path = if data_path.ends_with('/') { data_path.to_owned() } else { format!("{data_path}/") };
        let mut tx = begin_ddl(&sql).await?;
        lake_tables::create(&sql, &mut tx, &data_path).await?;
        tx.commit().await?;
        Ok(Self::new(name, sql, data_path, counter))
    }

    async fn open(name: &str, sql: Sql, counter: Option<ChangeCounter>) -> Result<Self> {
        let mut tx = begin_ddl(&sql).await?;
        let data_path = lake_tables::open(&mut tx, name).await?;
        tx.commit().await?;
        Ok(Self::new(name, sql, data_path, counter))
    }

    fn new(name: &str, sql: Sql, data_path: String, counter: Option<ChangeCounter>) -> Self {
        let inner = Inner {
            name: name.to_owned(),
            id: OnceLock::new(),
            sql,
            data_path,
            contents: Mutex::default(),
            counter,
            latest: Mutex::default(),
            files: Mutex::default(),
            loads: Mutex::default(),
            glance_files_min: AtomicI64::new(glance::FILES_MIN),
            seen: Mutex::new(SnapshotId(0)),
            pins: Mutex::default(),
            committing: tokio::sync::Mutex::default(),
            #[cfg(test)]
            failpoint: Default::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether both are handles of one.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Ends with a `/`.
    pub fn data_path(&self) -> &str {
        &self.inner.data_path
    }

    /// What the database holds at a moment. Costs at most one small query where that is already in memory.
    pub async fn snapshot(&self, at: At) -> Result<Arc<SnapshotView>> {
        if at != At::Latest {
            return self.read_snapshot(at).await;
        }
        // Before the query, so that what is committed meanwhile is not taken for seen.
        let state = self.inner.counter.as_ref().and_then(ChangeCounter::state);
        if let Some(state) = state
            && let Some((seen_in, view)) = self.inner.latest.lock().as_ref()
            && *seen_in == state
        {
            return Ok(view.clone());
        }
        let view = self.read_snapshot(at).await?;
        if let Some(state) = state {
            *self.inner.latest.lock() = Some((state, view.clone()));
        }
        Ok(view)
    }

    async fn read_snapshot(&self, at: At) -> Result<Arc<SnapshotView>> {
        let mut tx = self.inner.sql.read().await?;
        let latest = latest(&mut tx).await?;
        let snapshot = resolve(&mut tx, &self.inner.name, &at, &latest).await?;
        {
            let mut seen = self.inner.seen.lock();
            *seen = latest.id.max(*seen);
        }
        self.view(&mut tx, snapshot).await.map(Arc::new)
    }

    pub(crate) async fn view(&self, tx: &mut Tx, snapshot: Snapshot) -> Result<SnapshotView> {
        let known = self.inner.contents.lock().get(snapshot.schema_version);
        let contents = match known {
            Some(contents) => contents,
            None => {
                let contents = Arc::new(load::contents(tx, snapshot.id, &self.inner.data_path).await?);
                self.inner.contents.lock().put(snapshot.schema_version, contents.clone());
                contents
            }
        };
        Ok(SnapshotView { snapshot, contents })
    }

    /// Snapshots from the latest back, at most `limit`.
    pub async fn snapshots(&self, limit: u32) -> Result<Vec<SnapshotRecord>> {
        let mut tx = self.inner.sql.read().await?;
        let sql = format!(
            "SELECT {}, changes_made, author, commit_message, commit_extra_info, f.statement_id FROM ducklake_snapshot s \
             LEFT JOIN ducklake_snapshot_changes c ON c.snapshot_id = s.snapshot_id \
             LEFT JOIN frazil_commit f ON f.snapshot_id = s.snapshot_id ORDER BY s.snapshot_id DESC LIMIT $1",
            SNAPSHOT_COLUMNS.replacen("snapshot_id", "s.snapshot_id", 1)
        );
        let owned = |text: Option<&str>| text.map(str::to_owned);
        tx.all("listing snapshots", &sql, &[Value::int(i64::from(limit))], |row| {
            Ok(SnapshotRecord {
                snapshot: read_snapshot(&row)?,
                changes: row.text_or_null(5)?.unwrap_or_default().to_owned(),
                statement: owned(row.text_or_null(9)?),
                author: owned(row.text_or_null(6)?),
                message: owned(row.text_or_null(7)?),
                extra_info: owned(row.text_or_null(8)?),
            })
        })
        .await
    }

    /// Tables that `Transaction::undrop_table` can restore, the last dropped first.
    pub async fn dropped_tables(&self) -> Result<Vec<DroppedTable>> {
        dropped_tables(&self.inner.sql).await
    }

    /// Schemas that `Transaction::undrop_schema` can restore, the last dropped first.
    pub async fn dropped_schemas(&self) -> Result<Vec<DroppedSchema>> {
        dropped_schemas(&self.inner.sql).await
    }

    /// What a request has made, if it was committed.
    pub async fn find_request(&self, request_id: &str) -> Result<Option<CommittedRequest>> {
        let mut tx = self.inner.sql.read().await?;
        find_request(&mut tx, request_id).await
    }

    /// Names for the columns of files that carry no field ids; see [`DataFile::mapping_id`].
    pub async fn column_mapping(&self, mapping_id: i64) -> Result<Vec<MappedColumn>> {
        let mut tx = self.inner.sql.read().await?;
        let sql = "SELECT column_id, source_name, target_field_id, parent_column, is_partition FROM ducklake_name_mapping \
                   WHERE mapping_id = $1 ORDER BY column_id";
        let rows = tx
            .all("reading a column mapping", sql, &[Value::int(mapping_id)], |row| {
                let mapped = MappedColumn {
                    source_name: row.text(1)?.to_owned(),
                    column: ColumnId(row.int(2)?),
                    parent: None,
                    is_partition: row.bool_or_null(4)?.unwrap_or(false),
                };
                Ok((row.int(0)?, row.int_or_null(3)?, mapped))
            })
            .await?;
        let index: HashMap<i64, usize> = rows.iter().enumerate().map(|(at, (id, ..))| (*id, at)).collect();
        let nested = |(_, parent, mapped): (i64, Option<i64>, MappedColumn)| MappedColumn {
            parent: parent.and_then(|parent| index.get(&parent).copied()),
            ..mapped
        };
        Ok(rows.into_iter().map(nested).collect())
    }

    /// Starts collecting changes against what `base` shows. Nothing is written before the commit.
    pub fn begin(&self, base: Arc<SnapshotView>) -> Transaction {
        Transaction::new(self.clone(), base)
    }

    /// Takes note of a commit of our own.
    pub(crate) fn committed(&self, snapshot: SnapshotId) {
        let mut seen = self.inner.seen.lock();
        *seen = snapshot.max(*seen);
    }

    /// Closes all connections. Handles that are left fail from then on.
    pub async fn close(&self) {
        let mut loads = std::mem::take(&mut *self.inner.loads.lock());
        loads.shutdown().await;
        self.inner.sql.close().await;
    }

    #[cfg(test)]
    pub(crate) fn set_failpoint(&self, hook: impl Fn(crate::failpoints::Step) -> Result<()> + Send + Sync + 'static) {
        *self.inner.failpoint.lock() = Some(Box::new(hook));
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

/// A write transaction before the tables are there that others lock.
pub(crate) async fn begin_ddl(sql: &Sql) -> Result<Tx> {
    let doing = "opening a database";
    Ok(match sql {
        Sql::Sqlite(pool) => {
            Tx::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await.map_err(|e| CatalogError::sql(doing, e))?)
        }
        Sql::Postgres(pool) => Tx::Postgres(pool.begin().await.map_err(|e| CatalogError::sql(doing, e))?),
    })
}

pub(crate) async fn find_request(tx: &mut Tx, request_id: &str) -> Result<Option<CommittedRequest>> {
    let sql = "SELECT f.snapshot_id, c.commit_extra_info FROM frazil_commit f \
               LEFT JOIN ducklake_snapshot_changes c ON c.snapshot_id = f.snapshot_id WHERE f.request_id = $1";
    tx.first("looking for a request", sql, &[Value::text(request_id)], |row| {
        let extra = row.text_or_null(1)?.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        let fingerprint = extra.and_then(|extra| extra["fingerprint"].as_str().map(str::to_owned));
        Ok(CommittedRequest { snapshot: SnapshotId(row.int(0)?), fingerprint })
    })
    .await
}
