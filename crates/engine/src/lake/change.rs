//! What a statement wants of the catalog. The engine prepares it, the coordinator commits it: once, or not at all.

use frazil_catalog::{CommitInfo, Databases, Result, TableId, Transaction};
use frazil_common::Failure;

use super::report::FileReport;
use super::to_failure;

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
        let done = match self {
            Self::CreateDatabase { name, if_not_exists } => {
                let created = databases.create(&name).await;
                match created {
                    Err(frazil_catalog::CatalogError::DuplicateDatabase(_)) if if_not_exists => {
                        format!("database {name} exists already")
                    }
                    created => {
                        let database = created.map_err(|error| to_failure(&error))?;
                        ensure_default_schema(&database).await.map_err(|error| to_failure(&error))?;
                        format!("database {name} created")
                    }
                }
            }
            Self::DropDatabase { name, if_exists } => match databases.drop(&name).await {
                Err(frazil_catalog::CatalogError::UndefinedDatabase(_)) if if_exists => {
                    format!("database {name} does not exist")
                }
                dropped => {
                    dropped.map_err(|error| to_failure(&error))?;
                    format!("database {name} dropped")
                }
            },
            Self::UndropDatabase { name } => {
                databases.undrop(&name).await.map_err(|error| to_failure(&error))?;
                format!("database {name} restored")
            }
            Self::Commit { transaction, done } => {
                transaction.commit(info).await.map_err(|error| to_failure(&error))?;
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
    if view.schema(crate::session::DEFAULT_SCHEMA).is_ok() {
        return Ok(());
    }
    let mut transaction = database.begin(view);
    transaction.create_schema(crate::session::DEFAULT_SCHEMA)?;
    transaction.commit(CommitInfo::default()).await.map(|_| ())
}

/// What a write is called when it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteKind {
    Created,
    Inserted,
    Updated,
    Deleted,
}

impl WriteKind {
    /// The name of the answer's one column.
    pub fn column(self) -> &'static str {
        match self {
            Self::Created | Self::Inserted => "number of rows inserted",
            Self::Updated => "number of rows updated",
            Self::Deleted => "number of rows deleted",
        }
    }
}

/// A change whose rows a query writes.
pub struct Written {
    /// Everything but the new files.
    pub transaction: Box<Transaction>,
    pub table: TableId,
    pub kind: WriteKind,
    /// Rows in the files that the new ones replace.
    pub rows_before: i64,
}

impl Written {
    /// Makes the files part of the table. Returns the whole change, and the rows that the statement counts.
    pub fn complete(mut self, files: Vec<FileReport>, changed: i64) -> Result<(Transaction, i64), Failure> {
        let rows: i64 = files.iter().map(|file| file.rows).sum();
        let view = self.transaction.view();
        let table = view.table_by_id(self.table).map_err(|error| to_failure(&error))?;
        let files = files.into_iter().map(|file| file.into_data_file(table)).collect();
        self.transaction.add_files(self.table, files).map_err(|error| to_failure(&error))?;
        let counted = match self.kind {
            WriteKind::Created | WriteKind::Inserted => rows,
            WriteKind::Updated => changed,
            WriteKind::Deleted => self.rows_before - rows,
        };
        Ok((*self.transaction, counted))
    }
}
