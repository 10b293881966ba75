//! What a statement wants of the catalog. The engine prepares it, the coordinator commits it: once, or not at all.

use datafusion::execution::TaskContext;
use frazil_catalog::{
    At, CatalogError, CommitInfo, DataFileId, Database, Databases, IfExists, NewSketches, Result, RetentionScope,
    SecretRecord, TableId, Transaction, View,
};
use frazil_common::{ErrorCode, Failure};

use super::clone::{Place, query_elsewhere};
use super::report::Report;
use super::table::store_url;
use super::to_failure;
use super::upload::Begun;
use crate::session::DEFAULT_SCHEMA;

/// A change without rows.
pub enum Change {
    CreateDatabase {
        name: String,
        if_not_exists: bool,
    },
    DropDatabase {
        name: String,
        if_exists: bool,
    },
    UndropDatabase {
        name: String,
    },
    CloneDatabase {
        source: String,
        at: At,
        name: String,
        if_not_exists: bool,
    },
    CreateSecret {
        secret: SecretRecord,
        if_exists: IfExists,
    },
    DropSecret {
        name: String,
        if_exists: bool,
    },
    SetRetention {
        database: Database,
        scope: RetentionScope,
        days: Option<u32>,
        done: String,
    },
    /// A transaction with all it takes, and what the user is told.
    Commit {
        transaction: Box<Transaction>,
        done: String,
    },
    /// There is nothing to do: `IF EXISTS`, `IF NOT EXISTS`.
    Nothing {
        done: String,
    },
}

impl Change {
    /// Returns what the user is told.
    pub async fn perform(self, databases: &Databases, info: CommitInfo) -> Result<String, Failure> {
        let request = info.request();
        let done = match self {
            Self::CreateDatabase { name, if_not_exists } => {
                let created = databases.create_for(&name, Some(DEFAULT_SCHEMA), request).await;
                match created {
                    Err(CatalogError::DuplicateDatabase(_)) if if_not_exists => {
                        format!("database {name} exists already")
                    }
                    created => {
                        created.map_err(|error| to_failure(&error))?;
                        format!("database {name} created")
                    }
                }
            }
            Self::DropDatabase { name, if_exists } => match databases.drop_for(&name, request).await {
                Err(CatalogError::UndefinedDatabase(_)) if if_exists => {
                    format!("database {name} does not exist")
                }
                dropped => {
                    dropped.map_err(|error| to_failure(&error))?;
                    format!("database {name} dropped")
                }
            },
            Self::UndropDatabase { name } => {
                databases.undrop_for(&name, request).await.map_err(|error| to_failure(&error))?;
                format!("database {name} restored")
            }
            Self::CloneDatabase { source, at, name, if_not_exists } => {
                let from = Place { database: &source, schema: None };
                let to = Place { database: &name, schema: None };
                let query = |view: &View| {
                    query_elsewhere(view, from, to).map_err(|failure| CatalogError::Invalid(failure.message))
                };
                match databases.clone_database(&source, at, &name, Some(DEFAULT_SCHEMA), query, info.clone()).await {
                    Err(CatalogError::DuplicateDatabase(_)) if if_not_exists => {
                        format!("database {name} exists already")
                    }
                    cloned => {
                        cloned.map_err(|error| to_failure(&error))?;
                        format!("database {name} cloned from {source}")
                    }
                }
            }
            Self::CreateSecret { secret, if_exists } => {
                let name = secret.name.clone();
                let created = databases.create_secret(secret, if_exists, request).await;
                match created.map_err(|error| to_failure(&error))? {
                    true => format!("secret {name} created"),
                    false => format!("secret {name} exists already"),
                }
            }
            Self::DropSecret { name, if_exists } => {
                match databases.drop_secret(&name, request).await.map_err(|error| to_failure(&error))? {
                    true => format!("secret {name} dropped"),
                    false if if_exists => format!("secret {name} does not exist"),
                    false => {
                        return Err(Failure::new(ErrorCode::UndefinedObject, format!("secret \"{name}\" not found")));
                    }
                }
            }
            // Sent again it does the same, so its request is not noted.
            Self::SetRetention { database, scope, days, done } => {
                database.set_retention(scope, days).await.map_err(|error| to_failure(&error))?;
                done
            }
            Self::Commit { transaction, done } => {
                transaction.commit(info.clone()).await.map_err(|error| to_failure(&error))?;
                done
            }
            Self::Nothing { done } => done,
        };
        Ok(done)
    }
}

/// Unqualified names are looked up in `public`, which DuckLake does not have by itself.
pub async fn ensure_default_schema(database: &frazil_catalog::Database) -> Result<()> {
    let view = database.snapshot(frazil_catalog::At::Latest).await?;
    if view.schema(DEFAULT_SCHEMA).is_ok() {
        return Ok(());
    }
    let mut transaction = database.begin(view);
    transaction.create_schema(DEFAULT_SCHEMA)?;
    transaction.commit(CommitInfo::default()).await.map(|_| ())
}

/// What a write is called when it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteKind {
    Created,
    Inserted,
    Updated,
    Deleted,
    /// Files were replaced by others with the same rows.
    Compacted,
    /// With the actions that the statement's clauses have.
    Merged {
        inserts: bool,
        updates: bool,
        deletes: bool,
    },
}

/// Rows that a statement has written, changed and taken away.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub inserted: i64,
    pub updated: i64,
    pub deleted: i64,
}

/// The one row that a write answers with: names and numbers of its columns.
pub type Answer = Vec<(&'static str, i64)>;

impl WriteKind {
    pub fn answer(self, counts: Counts) -> Answer {
        let (inserts, updates, deletes) = match self {
            Self::Created | Self::Inserted => (true, false, false),
            Self::Updated => (false, true, false),
            Self::Deleted => (false, false, true),
            Self::Merged { inserts, updates, deletes } => (inserts, updates, deletes),
            Self::Compacted => (false, false, false),
        };
        let columns = [
            (inserts, "number of rows inserted", counts.inserted),
            (updates, "number of rows updated", counts.updated),
            (deletes, "number of rows deleted", counts.deleted),
        ];
        columns.into_iter().filter(|(shown, ..)| *shown).map(|(_, name, rows)| (name, rows)).collect()
    }
}

/// What a compaction replaces, and the table's data and delete files before it.
pub struct Compaction {
    pub taken: Vec<DataFileId>,
    /// In the taken files, without those that are deleted.
    pub rows: i64,
    pub bytes_taken: i64,
    pub files_before: i64,
    pub bytes_before: i64,
}

impl Compaction {
    fn answer(&self, files: i64, bytes: i64) -> Answer {
        vec![
            ("files_before", self.files_before),
            ("files_after", self.files_before - self.taken.len() as i64 + files),
            ("bytes_before", self.bytes_before),
            ("bytes_after", self.bytes_before - self.bytes_taken + bytes),
        ]
    }
}

/// A change whose rows a query writes.
pub struct Written {
    /// Everything but what the query tells.
    pub transaction: Box<Transaction>,
    pub table: TableId,
    pub kind: WriteKind,
    /// Of `WriteKind::Compacted`.
    pub compaction: Option<Compaction>,
}

impl Written {
    /// Where its files are. What is written there and not committed can be noted in the other part.
    pub fn place(&self, context: &TaskContext) -> Result<(String, Begun), Failure> {
        let view = self.transaction.view();
        let location = view.table_by_id(self.table).map_err(|error| to_failure(&error))?.location.clone();
        let url = store_url(&location).map_err(|error| crate::errors::to_failure(&error))?;
        let store = context.runtime_env().object_store(url).map_err(|error| crate::errors::to_failure(&error))?;
        Ok((location, Begun::new(store)))
    }

    /// Whether the statement, planned anew, does what it was to do, whatever has been committed meanwhile.
    pub fn can_be_planned_again(&self) -> bool {
        self.compaction.is_some()
    }

    /// What the statement answers that writes nothing.
    pub fn answer_without_rows(&self, deleted: i64) -> Answer {
        match &self.compaction {
            Some(compaction) => compaction.answer(0, 0),
            None => self.kind.answer(Counts { deleted, ..Counts::default() }),
        }
    }

    /// Makes what was written part of the table. Returns the whole change, and what the statement answers.
    pub fn complete(mut self, reports: Vec<Report>) -> Result<(Transaction, Answer), Failure> {
        let view = self.transaction.view();
        let table = view.table_by_id(self.table).map_err(|error| to_failure(&error))?;
        let (mut counts, mut gone, mut rows) = (Counts::default(), 0, 0);
        let (mut added, mut removed, mut deletes, mut counted) = (Vec::new(), Vec::new(), Vec::new(), false);
        let mut sketches = NewSketches::default();
        for report in reports {
            match report {
                Report::Written(file) => {
                    rows += file.rows;
                    added.push(file.into_data_file(table));
                }
                Report::Sketched(sketch) => sketches.merge(sketch.into_sketches(table)),
                Report::Counted { inserted, updated } => {
                    counts.inserted += inserted;
                    counts.updated += updated;
                    counted = true;
                }
                Report::Staged(_) => {}
                Report::Deleted(deleted) => {
                    gone += deleted.rows;
                    let file = DataFileId(deleted.data_file);
                    match deleted.delete_file {
                        Some(written) => deletes.push(written.into_delete_file(file)),
                        None => removed.push(file),
                    }
                }
            }
        }
        if let Some(compaction) = self.compaction {
            if rows != compaction.rows {
                let message = format!("{} rows were read and {rows} written: nothing is changed", compaction.rows);
                return Err(Failure::internal(message));
            }
            let (files, bytes) = (added.len() as i64, added.iter().map(|file| file.size_bytes).sum());
            let answer = compaction.answer(files, bytes);
            let compacted = self.transaction.compact(self.table, &compaction.taken, added);
            let sketched = compacted.and_then(|()| self.transaction.add_sketches(self.table, sketches));
            sketched.map_err(|error| to_failure(&error))?;
            return Ok((*self.transaction, answer));
        }
        // Without changes of rows that are there, all that was written is new.
        let appends = matches!(self.kind, WriteKind::Created | WriteKind::Inserted | WriteKind::Merged { .. });
        if appends && !counted {
            counts.inserted = rows;
        }
        counts.deleted = gone - counts.updated;
        let put = || {
            self.transaction.remove_files(self.table, &removed)?;
            self.transaction.add_delete_files(self.table, deletes)?;
            self.transaction.add_files(self.table, added)?;
            self.transaction.add_sketches(self.table, sketches)
        };
        put().map_err(|error| to_failure(&error))?;
        Ok((*self.transaction, self.kind.answer(counts)))
    }
}
