//! The instance's databases: a registry of names, and one lake for each.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use frazil_common::failpoint;
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

use crate::change_counter::{ChangeCounter, State};
use crate::database::{Database, begin_ddl};
use crate::error::{CatalogError, Named, Result};
use crate::lock::CatalogLock;
use crate::requests::{Request, note_request};
use crate::secrets;
use crate::snapshot::At;
use crate::sql::{Sql, Tx, Value, quote};
use crate::time;
use crate::transaction::{CommitInfo, check_case};

pub use crate::lock::Holder;

/// Where the metadata are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Backing {
    /// A directory: `frazil.db` is the registry, `<name>.ducklake` a database. For one coordinator.
    Directory(PathBuf),
    /// A PostgreSQL database: the schema `frazil` is the registry, another one for each database. For several coordinators.
    Postgres(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseRecord {
    pub id: Uuid,
    pub name: String,
    pub data_path: String,
    pub created_at: SystemTime,
    pub dropped_at: Option<SystemTime>,
    /// The file's name in the directory, or the PostgreSQL schema.
    store: String,
}

/// A handle; clones are the same registry.
#[derive(Clone, Debug)]
pub struct Databases {
    inner: Arc<Registry>,
}

#[derive(Debug)]
struct Registry {
    backing: Backing,
    sql: RegistrySql,
    /// Ends with a `/`.
    data_root: String,
    open: Mutex<HashMap<Uuid, Arc<OnceCell<Database>>>>,
    /// Of an SQLite registry: what it has had last, and in which state of the file that was.
    counter: Option<ChangeCounter>,
    records: parking_lot::Mutex<Option<(State, Arc<[DatabaseRecord]>)>>,
    _lock: Option<CatalogLock>,
}

struct RegistrySql(Sql);

impl std::fmt::Debug for RegistrySql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegistrySql")
    }
}

const TABLES: &str = "CREATE TABLE IF NOT EXISTS frazil_database(database_id VARCHAR PRIMARY KEY, name VARCHAR NOT NULL, \
                      store VARCHAR NOT NULL UNIQUE, data_path VARCHAR NOT NULL, created_at VARCHAR NOT NULL, \
                      dropped_at VARCHAR); \
                      CREATE TABLE IF NOT EXISTS frazil_request(request_id VARCHAR PRIMARY KEY, done VARCHAR NOT NULL, \
                      done_at VARCHAR NOT NULL)";
const COLUMNS: &str = "database_id, name, store, data_path, created_at, dropped_at";
const REGISTRY_SCHEMA: &str = "frazil";
/// Databases that are opened, or looked at, at the same time.
const OPENING_MAX: usize = 8;

impl Databases {
    /// Opens the registry, or creates it. New databases get `<data_root>/<name>/` for their files.
    pub async fn open(backing: Backing, data_root: &str, holder: &Holder) -> Result<Self> {
        let doing = "opening the catalog";
        let (sql, lock) = match &backing {
            Backing::Directory(directory) => {
                std::fs::create_dir_all(directory).map_err(|e| CatalogError::io(doing, e))?;
                let lock = CatalogLock::take(&directory.join("frazil.lock"), holder)?;
                let file = directory.join("frazil.db");
                keep_private(&file).map_err(|e| CatalogError::io(doing, e))?;
                (Sql::open_sqlite(&file, true).await?, Some(lock))
            }
            Backing::Postgres(url) => {
                let sql = Sql::open_postgres(url, REGISTRY_SCHEMA).await?;
                let mut tx = begin_ddl(&sql).await?;
                // Two coordinators may start at once, and IF NOT EXISTS is no help against that.
                tx.script(doing, "SELECT pg_advisory_xact_lock(7023401985)").await?;
                tx.script(doing, &format!("CREATE SCHEMA IF NOT EXISTS {REGISTRY_SCHEMA}")).await?;
                tx.script(doing, TABLES).await?;
                tx.script(doing, secrets::TABLE).await?;
                tx.commit().await?;
                (sql, None)
            }
        };
        let mut tx = begin_ddl(&sql).await?;
        tx.script(doing, TABLES).await?;
        tx.script(doing, secrets::TABLE).await?;
        tx.commit().await?;
        let data_root = if data_root.ends_with('/') { data_root.to_owned() } else { format!("{data_root}/") };
        let counter = match &backing {
            Backing::Directory(directory) => Some(ChangeCounter::of(&directory.join("frazil.db"))),
            Backing::Postgres(_) => None,
        };
        let (open, records) = (Mutex::default(), parking_lot::Mutex::default());
        let inner = Registry { backing, sql: RegistrySql(sql), data_root, open, counter, records, _lock: lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn registry(&self) -> &Sql {
        &self.inner.sql.0
    }

    /// Ends all connections, and so leaves files that are whole by themselves, without a log beside them. Nothing can be done
    /// with it afterwards.
    pub async fn close(&self) {
        for (_, open) in self.inner.open.lock().await.drain() {
            if let Some(database) = open.get() {
                database.close().await;
            }
        }
        self.inner.sql.0.close().await;
    }

    /// All databases by name, also those dropped and not yet purged.
    pub async fn list(&self) -> Result<Vec<DatabaseRecord>> {
        self.records().await.map(|records| records.to_vec())
    }

    async fn records(&self) -> Result<Arc<[DatabaseRecord]>> {
        // Before the query, so that what is changed meanwhile is not taken for seen.
        let state = self.inner.counter.as_ref().and_then(ChangeCounter::state);
        if let Some(state) = state
            && let Some((seen_in, records)) = self.inner.records.lock().as_ref()
            && *seen_in == state
        {
            return Ok(records.clone());
        }
        let mut tx = self.inner.sql.0.read().await?;
        let records: Arc<[DatabaseRecord]> = read_records(&mut tx).await?.into();
        if let Some(state) = state {
            *self.inner.records.lock() = Some((state, records.clone()));
        }
        Ok(records)
    }

    pub async fn get(&self, name: &str) -> Result<Database> {
        self.open_record(&self.record(name).await?).await
    }

    async fn record(&self, name: &str) -> Result<DatabaseRecord> {
        let records = self.records().await?;
        let found = records.iter().find(|one| one.name == name && one.dropped_at.is_none());
        found.cloned().ok_or_else(|| CatalogError::UndefinedDatabase(name.to_owned()))
    }

    async fn open_record(&self, record: &DatabaseRecord) -> Result<Database> {
        let open = self.inner.open.lock().await.entry(record.id).or_default().clone();
        let opening = || async {
            match &self.inner.backing {
                Backing::Directory(directory) => {
                    Database::open_sqlite(&record.name, &directory.join(&record.store)).await
                }
                Backing::Postgres(url) => Database::open_postgres(&record.name, url, &record.store).await,
            }
        };
        open.get_or_try_init(opening).await.cloned()
    }

    pub async fn create(&self, name: &str) -> Result<Database> {
        self.create_for(name, None, None).await
    }

    /// With a schema besides DuckLake's own, for a request that is applied once.
    pub async fn create_for(&self, name: &str, schema: Option<&str>, request: Option<Request<'_>>) -> Result<Database> {
        let mut tx = self.inner.sql.0.write("frazil_database").await?;
        let made = self.make(&mut tx, name).await?;
        if let Some(schema) = schema {
            let mut transaction = made.database.begin(made.database.snapshot(At::Latest).await?);
            transaction.create_schema(schema)?;
            transaction.commit(CommitInfo::default()).await?;
        }
        failpoint::reach("database.made");
        made.register(&mut tx, name, None).await?;
        note_request(&mut tx, request, &format!("database {name} created")).await?;
        tx.commit().await?;
        failpoint::reach("database.registered");
        self.keep_open(made.id, &made.database).await;
        Ok(made.database)
    }

    /// A database that is not registered yet, if it may have this name.
    pub(crate) async fn make(&self, tx: &mut Tx, name: &str) -> Result<Made> {
        let records = self.check_new_name(tx, name).await?;
        let id = Uuid::now_v7();
        // A dropped database of that name keeps its files until it is purged; so may one whose registration failed.
        let suffix = id.simple().to_string().split_off(20);
        let path = format!("{}{name}/", self.inner.data_root);
        let plain = records.iter().all(|one| one.name != name && one.data_path != path);
        let unique = if plain { name.to_owned() } else { format!("{name}-{suffix}") };
        let data_path = format!("{}{unique}/", self.inner.data_root);
        let (store, database) = match &self.inner.backing {
            Backing::Directory(directory) => {
                let mut store = format!("{unique}.ducklake");
                if directory.join(&store).exists() {
                    store = format!("{name}-{suffix}.ducklake");
                }
                let database = Database::create_sqlite(name, &directory.join(&store), &data_path).await?;
                (store, database)
            }
            Backing::Postgres(url) => {
                let store = format!("lake_{}", id.simple());
                let database = Database::create_postgres(name, url, &store, &data_path).await?;
                (store, database)
            }
        };
        Ok(Made { id, database, store, data_path })
    }

    /// Returns all records.
    pub(crate) async fn check_new_name(&self, tx: &mut Tx, name: &str) -> Result<Vec<DatabaseRecord>> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'$';
        if name.is_empty() || name.len() > 200 || !name.bytes().all(good) {
            return Err(CatalogError::Invalid(format!(
                "\"{name}\" cannot name a database: letters, digits, _, - and $ can, at most 200"
            )));
        }
        let records = read_records(tx).await?;
        if records.iter().any(|one| one.name == name && one.dropped_at.is_none()) {
            return Err(CatalogError::DuplicateDatabase(name.to_owned()));
        }
        let present = records.iter().filter(|one| one.dropped_at.is_none());
        check_case(Named::Database, name, present.map(|one| one.name.as_str()))?;
        Ok(records)
    }

    /// To one that is registered as dropped.
    pub(crate) async fn give_name(&self, tx: &mut Tx, id: Uuid, name: &str) -> Result<()> {
        let sql =
            "UPDATE frazil_database SET name = $1, dropped_at = NULL WHERE database_id = $2 AND dropped_at IS NOT NULL";
        match tx.execute("naming a database", sql, &[Value::text(name), Value::text(id.to_string())]).await? {
            0 => Err(CatalogError::UndefinedDatabase(name.to_owned())),
            _ => Ok(()),
        }
    }

    pub(crate) async fn keep_open(&self, id: Uuid, database: &Database) {
        self.inner.open.lock().await.insert(id, Arc::new(OnceCell::new_with(Some(database.clone()))));
    }

    /// Drops a database. It can be undropped until it is purged.
    pub async fn drop(&self, name: &str) -> Result<()> {
        self.drop_for(name, None).await
    }

    /// For a request that is applied once.
    pub async fn drop_for(&self, name: &str, request: Option<Request<'_>>) -> Result<()> {
        let record = self.record(name).await?;
        let mut tx = self.inner.sql.0.write("frazil_database").await?;
        let sql = "UPDATE frazil_database SET dropped_at = $1 WHERE database_id = $2 AND dropped_at IS NULL";
        let args = [Value::text(time::format_moment(SystemTime::now())), Value::text(record.id.to_string())];
        if tx.execute("dropping a database", sql, &args).await? == 0 {
            return Err(CatalogError::UndefinedDatabase(name.to_owned()));
        }
        note_request(&mut tx, request, &format!("database {name} dropped")).await?;
        tx.commit().await?;
        // The handle stays until the purge: queries may still hold pins of it.
        Ok(())
    }

    /// Restores the database of that name that was dropped last.
    pub async fn undrop(&self, name: &str) -> Result<Database> {
        self.undrop_for(name, None).await
    }

    /// For a request that is applied once.
    pub async fn undrop_for(&self, name: &str, request: Option<Request<'_>>) -> Result<Database> {
        let mut tx = self.inner.sql.0.write("frazil_database").await?;
        let records = read_records(&mut tx).await?;
        if records.iter().any(|one| one.name == name && one.dropped_at.is_none()) {
            return Err(CatalogError::DuplicateDatabase(name.to_owned()));
        }
        let dropped = records.into_iter().filter(|one| one.name == name).max_by_key(|one| one.dropped_at);
        let record = dropped.ok_or_else(|| CatalogError::UndefinedDatabase(name.to_owned()))?;
        let sql = "UPDATE frazil_database SET dropped_at = NULL WHERE database_id = $1";
        tx.execute("restoring a database", sql, &[Value::text(record.id.to_string())]).await?;
        note_request(&mut tx, request, &format!("database {name} restored")).await?;
        tx.commit().await?;
        self.open_record(&record).await
    }

    /// Forgets a dropped database for good, and returns the paths of files that no other database has.
    pub async fn purge(&self, id: Uuid) -> Result<Vec<String>> {
        let records = self.list().await?;
        let found = records.iter().find(|one| one.id == id && one.dropped_at.is_some());
        let record = found.ok_or_else(|| CatalogError::UndefinedDatabase(format!("dropped {id}")))?;
        let database = self.open_record(record).await?;
        if database.oldest_pin().is_some() {
            let message = format!("database \"{}\" is still read by a statement that began before", record.name);
            return Err(CatalogError::Invalid(message));
        }
        let mut paths = database.referenced_paths().await?;
        for other in records.iter().filter(|one| one.id != id) {
            for path in self.open_record(other).await?.referenced_paths().await? {
                paths.remove(&path);
            }
        }
        let mut tx = self.inner.sql.0.write("frazil_database").await?;
        let args = [Value::text(id.to_string())];
        let sql = "DELETE FROM frazil_database WHERE database_id = $1 AND dropped_at IS NOT NULL";
        if tx.execute("forgetting a database", sql, &args).await? == 0 {
            return Err(CatalogError::UndefinedDatabase(format!("dropped {id}")));
        }
        if let Backing::Postgres(_) = &self.inner.backing {
            tx.script("forgetting a database", &format!("DROP SCHEMA {} CASCADE", quote(&record.store))).await?;
        }
        tx.commit().await?;
        self.inner.open.lock().await.remove(&id);
        database.close().await;
        if let Backing::Directory(directory) = &self.inner.backing {
            remove_sqlite(&directory.join(&record.store));
        }
        let mut paths: Vec<_> = paths.into_iter().collect();
        paths.sort();
        Ok(paths)
    }

    /// Ends with a `/`. New databases have their files in a directory below it.
    pub fn data_root(&self) -> &str {
        &self.inner.data_root
    }

    /// Whether other coordinators may use the same catalog, whose pins are not known here.
    pub fn is_shared(&self) -> bool {
        matches!(self.inner.backing, Backing::Postgres(_))
    }

    /// All databases that may share files, also dropped ones: for [`Database::files_to_remove`].
    pub async fn all(&self) -> Result<Vec<Database>> {
        let records = self.records().await?;
        self.open_each(records.to_vec()).await
    }

    async fn open_each(&self, records: Vec<DatabaseRecord>) -> Result<Vec<Database>> {
        let open = |record: DatabaseRecord| {
            let databases = self.clone();
            async move { databases.open_record(&record).await }.boxed()
        };
        let opening: Vec<_> = records.into_iter().map(open).collect();
        futures::stream::iter(opening).buffered(OPENING_MAX).try_collect().await
    }

    /// Those that are not dropped.
    pub async fn current(&self) -> Result<Vec<Database>> {
        let records = self.records().await?;
        self.open_each(records.iter().filter(|record| record.dropped_at.is_none()).cloned().collect()).await
    }

    /// Opens all databases and looks at them, so that the first statement need not.
    pub async fn warm(&self) -> Result<()> {
        let current = self.current().await?;
        let look = |database: Database| async move { database.snapshot(At::Latest).await }.boxed();
        let looks: Vec<_> = current.into_iter().map(look).collect();
        futures::stream::iter(looks).buffered(OPENING_MAX).try_for_each(|_| std::future::ready(Ok(()))).await
    }
}

/// A database that is being created.
pub(crate) struct Made {
    pub(crate) id: Uuid,
    pub(crate) database: Database,
    store: String,
    data_path: String,
}

impl Made {
    pub(crate) async fn register(&self, tx: &mut Tx, name: &str, dropped_at: Option<SystemTime>) -> Result<()> {
        let row = vec![
            Value::text(self.id.to_string()),
            Value::text(name),
            Value::text(&self.store),
            Value::text(&self.data_path),
            Value::text(time::format_moment(SystemTime::now())),
            Value::Text(dropped_at.map(time::format_moment)),
        ];
        let columns = "database_id, name, store, data_path, created_at, dropped_at";
        tx.insert("registering a database", "frazil_database", columns, &[row]).await
    }
}

async fn read_records(tx: &mut Tx) -> Result<Vec<DatabaseRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM frazil_database ORDER BY name, created_at");
    tx.all("listing databases", &sql, &[], |row| {
        let corrupt = || CatalogError::Corrupt("a database is registered with an unreadable id or time".to_owned());
        Ok(DatabaseRecord {
            id: row.text(0)?.parse().map_err(|_| corrupt())?,
            name: row.text(1)?.to_owned(),
            store: row.text(2)?.to_owned(),
            data_path: row.text(3)?.to_owned(),
            created_at: time::parse_moment(row.text(4)?).ok_or_else(corrupt)?,
            dropped_at: row.text_or_null(5)?.map(|text| time::parse_moment(text).ok_or_else(corrupt)).transpose()?,
        })
    })
    .await
}

/// The registry holds secrets. SQLite gives its other files the same mode.
fn keep_private(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file)?;
    opened.set_permissions(std::fs::Permissions::from_mode(0o600))
}

/// A file that stays behind is in nobody's way: names of files are looked for before they are used.
fn remove_sqlite(file: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut path = file.as_os_str().to_owned();
        path.push(suffix);
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %PathBuf::from(path).display(), %error, "a purged database's file could not be removed");
        }
    }
}
