//! `VACUUM`: forgets snapshots that are older than is kept, and removes the files that nobody refers to.
//!
//! | what | when | not, while |
//! |---|---|---|
//! | a snapshot | it was superseded longer ago than the retention | a query, a transaction or a clone being made has a pin on it |
//! | a file of forgotten snapshots | at once | any row of any database has its path: another snapshot, a clone |
//! | a file of a write that failed | it is older than the grace time and than the oldest pin | any database refers to it |
//! | a stage of a schema that no snapshot has, with its files | it is found so | |
//! | halves of staged files, unfinished unloads, uploads | as files of a write that failed; see `leftovers` | |
//! | a dropped database | it was dropped longer ago than the retention | somebody who began before still has a pin |
//!
//! What is being written belongs to nobody until it is committed. Its transaction has a pin that is older than its files, so files
//! that are older than all pins are not being written.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::execution::runtime_env::RuntimeEnv;
use frazil_catalog::{Database, Databases, Expiry};
use frazil_common::{ErrorCode, Failure};
use futures::StreamExt;
use object_store::ObjectStoreExt;

use super::leftovers::{Leftovers, remove_empty_directories};
use super::statements::VacuumStatement;
use super::table::{store_path, store_url};
use super::to_failure;
use crate::storage::ObjectStores;

/// How all our data files are called. Others are left alone, whoever has put them there.
const OUR_PREFIX: &str = "frazil-";
/// By which the clock of a store may differ from ours.
const CLOCK_SLACK: Duration = Duration::from_secs(600);
/// Removals that are under way at the same time.
const REMOVALS: usize = 16;

#[derive(Clone, Copy, Debug)]
pub struct VacuumOptions {
    /// How long a moment can be looked at, where a database says nothing else.
    pub retention: Duration,
    /// The statement says how long: what databases and their parts say does not count.
    pub is_forced: bool,
    /// Age at which a file that nobody refers to is taken for that of a failed write.
    pub orphan_grace: Duration,
    /// Of one run; the next one goes on.
    pub files_max: usize,
    /// Nothing is removed, only told.
    pub dry_run: bool,
    /// Where other coordinators may use the catalog, whose pins are not seen: how long a statement of theirs may take.
    pub others_limit: Duration,
}

/// What was done for one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    pub database: String,
    pub snapshots: usize,
    /// Of snapshots that were forgotten, now or before.
    pub files: usize,
    /// Of writes that failed.
    pub orphans: usize,
    pub is_purged: bool,
}

/// One run at a time; the caller sees to that. `only`: one database, which is not purged.
pub async fn vacuum(
    databases: &Databases,
    (env, stores): (&RuntimeEnv, &ObjectStores),
    only: Option<&str>,
    options: VacuumOptions,
) -> Result<Vec<Vacuumed>, Failure> {
    let start = SystemTime::now();
    let retention = match databases.is_shared() {
        true => options.retention.max(options.others_limit),
        false => options.retention,
    };
    // A time before all times keeps everything.
    let limit = start.checked_sub(retention).unwrap_or(SystemTime::UNIX_EPOCH);
    let all = databases.all().await.map_err(|error| to_failure(&error))?;
    let uncommitted_since = all.iter().filter_map(Database::oldest_pin).min();
    let run = Run { databases, env, stores, options, limit, start, uncommitted_since };
    let mut done = Vec::new();
    if only.is_none() {
        done.extend(run.purge().await?);
    }
    let chosen: Vec<_> = match only {
        Some(name) => vec![databases.get(name).await.map_err(|error| to_failure(&error))?],
        None => databases.current().await.map_err(|error| to_failure(&error))?,
    };
    let all = databases.all().await.map_err(|error| to_failure(&error))?;
    for database in &chosen {
        let (snapshots, files) = run.expire(database, &all).await?;
        done.push(Vacuumed { database: database.name().to_owned(), snapshots, files, ..Default::default() });
    }
    run.orphans(only.is_some().then_some(&chosen[..]), &all, &mut done).await?;
    Ok(done)
}

/// What a `VACUUM` statement asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VacuumRequest {
    /// All, if it names none.
    pub database: Option<String>,
    /// In place of the coordinator's option.
    pub retention: Option<Duration>,
    pub dry_run: bool,
}

pub fn check_vacuum(statement: VacuumStatement) -> Result<VacuumRequest, Failure> {
    let database = statement.database.as_ref().map(super::ddl::one_part).transpose()?;
    Ok(VacuumRequest { database, retention: statement.retain, dry_run: statement.dry_run })
}

struct Run<'a> {
    databases: &'a Databases,
    env: &'a RuntimeEnv,
    stores: &'a ObjectStores,
    options: VacuumOptions,
    /// What was superseded or dropped before goes.
    limit: SystemTime,
    start: SystemTime,
    uncommitted_since: Option<SystemTime>,
}

impl Run<'_> {
    /// Databases that were dropped too long ago to come back.
    async fn purge(&self) -> Result<Vec<Vacuumed>, Failure> {
        let mut done = Vec::new();
        let all = self.databases.all().await.map_err(|error| to_failure(&error))?;
        for record in self.databases.list().await.map_err(|error| to_failure(&error))? {
            let limit = match all.iter().find(|one| one.data_path() == record.data_path) {
                Some(database) => self.limit_of(database).await?,
                None => self.limit,
            };
            if record.dropped_at.is_none_or(|dropped| dropped > limit) {
                continue;
            }
            let mut purged = Vacuumed { database: record.name.clone(), is_purged: true, ..Default::default() };
            if !self.options.dry_run {
                let staged = self.staged_files_of(all.iter().find(|one| one.data_path() == record.data_path)).await;
                match self.databases.purge(record.id).await {
                    Ok(mut paths) => {
                        paths.extend(staged);
                        purged.files = self.remove(&paths).await.len();
                    }
                    // Whoever reads it still has begun before it was dropped, and will end.
                    Err(error) => {
                        tracing::info!(database = record.name, %error, "not purged");
                        continue;
                    }
                }
            }
            done.push(purged);
        }
        Ok(done)
    }

    /// Of a database's internal stages, which go with it.
    async fn staged_files_of(&self, dropped: Option<&Database>) -> Vec<String> {
        let Some(database) = dropped else { return Vec::new() };
        let mut files = Vec::new();
        for stage in database.stages().await.unwrap_or_default().iter().filter(|stage| stage.url.is_none()) {
            files.extend(
                self.leftovers(self.start).all_files(&database.stage_directory(stage)).await.unwrap_or_default(),
            );
        }
        files
    }

    fn leftovers(&self, before: SystemTime) -> Leftovers<'_> {
        let VacuumOptions { dry_run, files_max: max, .. } = self.options;
        Leftovers { env: self.env, stores: self.stores, before, dry_run, max }
    }

    /// What was superseded before goes. A snapshot is of the whole database, so the longest time that any part of it asks for counts.
    async fn limit_of(&self, database: &Database) -> Result<SystemTime, Failure> {
        if self.options.is_forced {
            return Ok(self.limit);
        }
        let (own, parts) = database.retention().await.map_err(|error| to_failure(&error))?;
        let retention = own.unwrap_or(self.options.retention).max(parts.unwrap_or_default());
        let retention = match self.databases.is_shared() {
            true => retention.max(self.options.others_limit),
            false => retention,
        };
        Ok(self.start.checked_sub(retention).unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// Returns the numbers of snapshots and of files.
    async fn expire(&self, database: &Database, all: &[Database]) -> Result<(usize, usize), Failure> {
        let limit = self.limit_of(database).await?;
        let expiry = Expiry { superseded_before: Some(limit), ..Expiry::default() };
        if self.options.dry_run {
            let would = database.would_expire(&expiry, all).await;
            let (snapshots, files) = would.map_err(|error| to_failure(&error))?;
            return Ok((snapshots.len(), files.len()));
        }
        let expired = database.expire_snapshots(&expiry).await.map_err(|error| to_failure(&error))?;
        // A query of another coordinator may have begun with a snapshot that it no longer sees.
        let scheduled_before = match self.databases.is_shared() {
            true => self.start.checked_sub(self.options.others_limit).unwrap_or(SystemTime::UNIX_EPOCH),
            false => SystemTime::now() + Duration::from_secs(1),
        };
        let mut files = database.files_to_remove(scheduled_before, all).await.map_err(|error| to_failure(&error))?;
        files.truncate(self.options.files_max);
        let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        let removed: HashSet<String> = self.remove(&paths).await.into_iter().collect();
        files.retain(|file| removed.contains(&file.path));
        database.mark_removed(&files).await.map_err(|error| to_failure(&error))?;
        Ok((expired.len(), files.len()))
    }

    /// Removes the files of failed writes: below one database's path, or below the place of all.
    async fn orphans(
        &self,
        only: Option<&[Database]>,
        all: &[Database],
        done: &mut Vec<Vacuumed>,
    ) -> Result<(), Failure> {
        let uncommitted = self.uncommitted_since.unwrap_or(self.start).min(self.start);
        let old = self.start.checked_sub(self.options.orphan_grace.max(match self.databases.is_shared() {
            true => self.options.others_limit,
            false => Duration::ZERO,
        }));
        let before = uncommitted.checked_sub(CLOCK_SLACK).zip(old).map(|(one, other)| one.min(other));
        let Some(before) = before else { return Ok(()) };
        let mut referenced = Referenced::default();
        for database in all {
            let noted = database.each_referenced_path(|path| referenced.note(path)).await;
            noted.map_err(|error| to_failure(&error))?;
        }
        let referenced = Arc::new(referenced);
        let mut places: Vec<&str> = match only {
            Some(chosen) => chosen.iter().map(Database::data_path).collect(),
            // Also where databases were that are purged.
            None => std::iter::once(self.databases.data_root()).chain(all.iter().map(Database::data_path)).collect(),
        };
        places.sort();
        let mut roots: Vec<&str> = Vec::new();
        for place in places {
            if !roots.iter().any(|root| place.starts_with(root)) {
                roots.push(place);
            }
        }
        let mut left = self.options.files_max;
        let looked_at = only.unwrap_or(all);
        let leftovers = self.leftovers(before);
        let mut more = leftovers.in_stages(looked_at).await?;
        more.truncate(left);
        left -= more.len();
        if !self.options.dry_run {
            let paths: Vec<String> = more.iter().map(|(_, path)| path.clone()).collect();
            let removed: HashSet<String> = self.remove(&paths).await.into_iter().collect();
            remove_empty_directories(&paths).await;
            more.retain(|(_, path)| removed.contains(path));
        }
        for (name, _) in more {
            count_orphan(done, |one| one.database == name);
        }
        for database in looked_at {
            for (stage, files) in leftovers.of_forgotten_schemas(database).await? {
                let gone = if self.options.dry_run { files.len() } else { self.remove(&files).await.len() };
                // What is left is found again the next time.
                if gone == files.len() && !self.options.dry_run {
                    database.drop_stage(stage.schema, &stage.name).await.map_err(|error| to_failure(&error))?;
                }
                (0..gone).for_each(|_| count_orphan(done, |one| one.database == database.name()));
            }
        }
        for _ in 0..leftovers.uploads(&roots, looked_at).await? {
            count_orphan(done, |_| false);
        }
        for root in roots {
            let found = self.unreferenced(root, before, &referenced, left).await?;
            left -= found.len();
            let removed = if self.options.dry_run { found } else { self.remove(&found).await };
            for path in &removed {
                let within = |name: &str| all.iter().any(|one| one.name() == name && path.starts_with(one.data_path()));
                count_orphan(done, |one| within(&one.database));
            }
        }
        Ok(())
    }

    /// At most `max` files of ours below a place that were written before a time, and that nobody refers to.
    async fn unreferenced(
        &self,
        root: &str,
        before: SystemTime,
        referenced: &Arc<Referenced>,
        max: usize,
    ) -> Result<Vec<String>, Failure> {
        if let Some(directory) = local(root) {
            let (root, referenced) = (root.to_owned(), referenced.clone());
            let list = move || list_directory(&root, &directory, before, &referenced, max);
            let listed = tokio::task::spawn_blocking(list).await;
            return listed.map_err(|error| Failure::internal(format!("listing files: {error}")));
        }
        let unreadable = |error: &dyn std::fmt::Display| {
            Failure::new(ErrorCode::FileUnavailable, format!("listing {root:?}: {error}"))
        };
        let url = store_url(root).map_err(|error| unreadable(&error))?;
        let store = self.env.object_store(&url).map_err(|error| unreadable(&error))?;
        let prefix = store_path(root).map_err(|error| unreadable(&error))?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        let mut listed = store.list(Some(&prefix));
        let mut found = Vec::new();
        while let Some(object) = listed.next().await {
            let object = object.map_err(|error| unreadable(&error))?;
            let path = format!("{base}/{}", object.location);
            let below = object.location.as_ref().strip_prefix(prefix.as_ref()).unwrap_or_default();
            let ours = object.location.filename().is_some_and(is_ours) && !below.split('/').any(is_hidden);
            if ours && SystemTime::from(object.last_modified) < before && !referenced.has(&path) {
                found.push(path);
                if found.len() >= max {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Returns those that are gone; others are tried again next time.
    async fn remove(&self, paths: &[String]) -> Vec<String> {
        let removals = futures::stream::iter(paths.iter().cloned().map(|path| async move {
            let removed = self.remove_one(&path).await;
            match removed {
                Ok(()) => Some(path),
                Err(error) => {
                    tracing::warn!(path, error, "a file that nobody needs could not be removed");
                    None
                }
            }
        }));
        removals.buffer_unordered(REMOVALS).filter_map(std::future::ready).collect().await
    }

    async fn remove_one(&self, path: &str) -> Result<(), String> {
        if let Some(file) = local(path) {
            return match tokio::fs::remove_file(&file).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
                _ => Ok(()),
            };
        }
        let url = store_url(path).map_err(|error| error.to_string())?;
        let store = self.env.object_store(&url).map_err(|error| error.to_string())?;
        let location = store_path(path).map_err(|error| error.to_string())?;
        match store.delete(&location).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// To the database that it is of, or else to none.
fn count_orphan(done: &mut Vec<Vacuumed>, is_of: impl Fn(&Vacuumed) -> bool) {
    let found = done.iter().position(|one| !one.is_purged && !one.database.is_empty() && is_of(one));
    match found.or_else(|| done.iter().position(|one| one.database.is_empty())) {
        Some(at) => done[at].orphans += 1,
        None => done.push(Vacuumed { orphans: 1, ..Default::default() }),
    }
}

/// `frazil-….parquet`, and what a writer that was killed has left of one: `frazil-….parquet#1`.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(OUR_PREFIX) && name.split('#').next().is_some_and(|name| name.ends_with(".parquet"))
}

/// Whose files are no tables': `.stages` has those of users, whatever they are called.
fn is_hidden(directory: &str) -> bool {
    directory.starts_with('.')
}

pub(super) fn local(path: &str) -> Option<PathBuf> {
    match path.split_once("://") {
        None => Some(PathBuf::from(path)),
        Some(("file", rest)) => Some(PathBuf::from(rest)),
        Some(_) => None,
    }
}

/// Paths by their hashes, which take an eighth of the memory. Two paths of one hash are taken for one, which keeps a file too
/// many.
#[derive(Default)]
struct Referenced {
    hasher: RandomState,
    paths: HashSet<u64>,
}

impl Referenced {
    fn note(&mut self, path: &str) {
        let hash = self.hasher.hash_one(path);
        self.paths.insert(hash);
    }

    fn has(&self, path: &str) -> bool {
        self.paths.contains(&self.hasher.hash_one(path))
    }
}

/// `root` is the text that all paths below begin with.
fn list_directory(
    root: &str,
    directory: &Path,
    before: SystemTime,
    referenced: &Referenced,
    max: usize,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(root.trim_end_matches('/').to_owned(), directory.to_owned())];
    while let Some((text, directory)) = open.pop() {
        // Gone meanwhile, or not there yet.
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let (Ok(kind), Some(name)) = (entry.file_type(), entry.file_name().to_str().map(str::to_owned)) else {
                continue;
            };
            let path = format!("{text}/{name}");
            if kind.is_dir() {
                if !is_hidden(&name) {
                    open.push((path, entry.path()));
                }
            } else if kind.is_file() && is_ours(&name) {
                let modified = entry.metadata().ok().and_then(|meta| meta.modified().ok());
                if modified.is_some_and(|modified| modified < before) && !referenced.has(&path) {
                    found.push(path);
                }
                if found.len() >= max {
                    return found;
                }
            }
        }
    }
    found
}

/// What was done, as rows for the user.
pub fn vacuumed_rows(done: &[Vacuumed]) -> Result<RecordBatch, Failure> {
    let count = |of: fn(&Vacuumed) -> usize| -> ArrayRef {
        Arc::new(done.iter().map(|one| i64::try_from(of(one)).ok()).collect::<Int64Array>())
    };
    let notes = done.iter().map(|one| match (one.is_purged, one.database.is_empty()) {
        (true, _) => Some("dropped database, purged"),
        (false, true) => Some("files of no database"),
        (false, false) => None,
    });
    let names = done.iter().map(|one| (!one.database.is_empty()).then_some(one.database.as_str()));
    RecordBatch::try_from_iter([
        ("database", Arc::new(names.collect::<StringArray>()) as ArrayRef),
        ("snapshots expired", count(|one| one.snapshots)),
        ("files removed", count(|one| one.files)),
        ("orphans removed", count(|one| one.orphans)),
        ("note", Arc::new(notes.collect::<StringArray>())),
    ])
    .map_err(|error| Failure::internal(format!("what was vacuumed: {error}")))
}
