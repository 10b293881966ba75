//! What can go wrong, told apart by what the caller can do about it.

use frazil_common::{ErrorCode, Failure};
use thiserror::Error;

use crate::ids::SnapshotId;

pub type Result<T, E = CatalogError> = std::result::Result<T, E>;

#[derive(Debug, Error)]
pub enum CatalogError {
    #[error("database \"{0}\" not found")]
    UndefinedDatabase(String),
    #[error("schema \"{0}\" not found")]
    UndefinedSchema(String),
    #[error("table \"{0}\" not found")]
    UndefinedTable(String),
    #[error("view \"{0}\" not found")]
    UndefinedView(String),
    #[error("stage \"{0}\" not found")]
    UndefinedStage(String),
    #[error("user \"{0}\" not found")]
    UndefinedUser(String),
    #[error("role \"{0}\" not found")]
    UndefinedRole(String),
    #[error("token \"{name}\" of user \"{user}\" not found")]
    UndefinedToken { user: String, name: String },
    #[error("column \"{column}\" of table \"{table}\" not found")]
    UndefinedColumn { table: String, column: String },
    /// A moment that never was, or whose snapshot is no longer kept.
    #[error("database \"{database}\" has no snapshot {moment}")]
    UndefinedSnapshot { database: String, moment: String },

    #[error("database \"{0}\" already exists")]
    DuplicateDatabase(String),
    #[error("secret \"{0}\" already exists")]
    DuplicateSecret(String),
    #[error("user \"{0}\" already exists")]
    DuplicateUser(String),
    #[error("role \"{0}\" already exists")]
    DuplicateRole(String),
    #[error("token \"{name}\" of user \"{user}\" already exists")]
    DuplicateToken { user: String, name: String },
    #[error("schema \"{0}\" already exists")]
    DuplicateSchema(String),
    #[error("table or view \"{0}\" already exists")]
    DuplicateTable(String),
    #[error("stage \"{0}\" already exists")]
    DuplicateStage(String),
    #[error("column \"{column}\" of table \"{table}\" already exists")]
    DuplicateColumn { table: String, column: String },

    /// DuckDB compares names without case, and would take the one for the other.
    #[error("{kind} \"{name}\" would differ from \"{existing}\" in case only")]
    CaseConflict { kind: Named, name: String, existing: String },

    #[error("schema \"{0}\" is not empty; drop its tables and views first, or use CASCADE")]
    SchemaNotEmpty(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotSupported(String),
    /// DuckDB keeps small inserts and deletes of this table in the metadata database.
    #[error(
        "table \"{table}\" has inlined data; flush it with DuckDB's ducklake_flush_inlined_data and set the option \
         data_inlining_row_limit to 0"
    )]
    InlinedData { table: String },

    /// Another transaction committed first. Running the same statement anew may succeed.
    #[error("conflict over {object}: {reason} in snapshot {snapshot}")]
    Conflict { object: String, reason: &'static str, snapshot: SnapshotId },
    /// The request was committed before: its answer is that snapshot.
    #[error("request \"{request_id}\" was already committed as snapshot {snapshot}")]
    RequestCommitted { request_id: String, snapshot: SnapshotId },

    #[error("the catalog at {path} is held by another coordinator: {holder}")]
    Locked { path: String, holder: String },
    /// The metadata database cannot be reached, or did not answer within its limits.
    #[error("the catalog is unavailable while {doing}: {source}")]
    Unavailable { doing: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// There is no room left for the metadata database. Nothing was changed.
    #[error("the catalog's disk is full: it failed while {doing}: {source}")]
    DiskFull { doing: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the catalog is corrupt: {0}")]
    Corrupt(String),
    /// The metadata database refused a statement of ours.
    #[error("the catalog failed while {doing}: {source}")]
    Storage { doing: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
}

/// What has a name that is compared without case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    Database,
    Schema,
    Table,
    Column,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Database => "database",
            Self::Schema => "schema",
            Self::Table => "table or view",
            Self::Column => "column",
        })
    }
}

impl CatalogError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UndefinedDatabase(_) => ErrorCode::UndefinedDatabase,
            Self::UndefinedSchema(_) => ErrorCode::UndefinedSchema,
            Self::UndefinedTable(_) | Self::UndefinedView(_) => ErrorCode::UndefinedTable,
            Self::UndefinedColumn { .. } => ErrorCode::UndefinedColumn,
            Self::UndefinedSnapshot { .. } => ErrorCode::UndefinedSnapshot,
            Self::UndefinedStage(_) | Self::UndefinedUser(_) | Self::UndefinedRole(_) | Self::UndefinedToken { .. } => {
                ErrorCode::UndefinedObject
            }
            Self::DuplicateStage(_) | Self::DuplicateUser(_) | Self::DuplicateRole(_) | Self::DuplicateToken { .. } => {
                ErrorCode::DuplicateObject
            }
            Self::DuplicateDatabase(_) => ErrorCode::DuplicateDatabase,
            Self::DuplicateSecret(_) => ErrorCode::DuplicateObject,
            Self::DuplicateSchema(_) => ErrorCode::DuplicateSchema,
            Self::DuplicateTable(_) => ErrorCode::DuplicateTable,
            Self::DuplicateColumn { .. } => ErrorCode::DuplicateColumn,
            Self::CaseConflict { kind: Named::Database, .. } => ErrorCode::DuplicateDatabase,
            Self::CaseConflict { kind: Named::Schema, .. } => ErrorCode::DuplicateSchema,
            Self::CaseConflict { kind: Named::Table, .. } => ErrorCode::DuplicateTable,
            Self::CaseConflict { kind: Named::Column, .. } => ErrorCode::DuplicateColumn,
            Self::SchemaNotEmpty(_) => ErrorCode::DependentObjects,
            Self::Invalid(_) => ErrorCode::InvalidStatement,
            Self::NotSupported(_) | Self::InlinedData { .. } => ErrorCode::NotSupported,
            Self::Conflict { .. } => ErrorCode::Conflict,
            Self::RequestCommitted { .. } => ErrorCode::InvalidArgument,
            Self::Locked { .. } => ErrorCode::CatalogLocked,
            Self::Unavailable { .. } => ErrorCode::CatalogUnavailable,
            Self::DiskFull { .. } => ErrorCode::DiskFull,
            Self::Corrupt(_) => ErrorCode::CatalogCorrupt,
            Self::Storage { .. } => ErrorCode::Internal,
        }
    }

    pub fn retryable(&self) -> bool {
        self.code().retryable()
    }

    /// Sorts an error of the SQL driver: waiting and connections are worth another try, the rest is not.
    pub(crate) fn sql(doing: &'static str, error: sqlx::Error) -> Self {
        // SQLITE_FULL, and what it says where its index in shared memory cannot grow.
        let full = error.as_database_error().and_then(|database| database.code());
        if full.is_some_and(|code| matches!(code.as_ref(), "13" | "4874" | "53100")) {
            return Self::DiskFull { doing, source: Box::new(error) };
        }
        let transient = match &error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => {
                true
            }
            // SQLITE_BUSY and its kin; lock_not_available, query_canceled (statement_timeout), serialization failures
            // and connection exceptions of PostgreSQL.
            sqlx::Error::Database(database) => database.code().is_some_and(|code| {
                matches!(code.as_ref(), "5" | "6" | "261" | "517" | "773" | "55P03" | "57014" | "40001" | "40P01")
                    || code.starts_with("08")
                    || code.starts_with("57P")
            }),
            _ => false,
        };
        match transient {
            true => Self::Unavailable { doing, source: Box::new(error) },
            false => Self::Storage { doing, source: Box::new(error) },
        }
    }

    pub(crate) fn io(doing: &'static str, error: std::io::Error) -> Self {
        match frazil_common::failure::is_disk_full(&error) {
            true => Self::DiskFull { doing, source: Box::new(error) },
            false => Self::Unavailable { doing, source: Box::new(error) },
        }
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        Failure::new(error.code(), error.to_string())
    }
}
