//! What went wrong, in a form that survives every boundary: gRPC, HTTP, Arrow and DataFusion error wrapping.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a statement failed, as far as a client can act on it. The mappings to SQLSTATE, HTTP status and retryability are
/// here and nowhere else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The text is not SQL.
    Syntax,
    UndefinedDatabase,
    UndefinedSchema,
    /// A table or view that does not exist.
    UndefinedTable,
    UndefinedColumn,
    UndefinedFunction,
    /// A moment of a database that never was, or is no longer kept.
    UndefinedSnapshot,
    DuplicateDatabase,
    DuplicateSchema,
    DuplicateTable,
    DuplicateColumn,
    /// A secret, a stage, or what else has a name and is none of the above.
    UndefinedObject,
    DuplicateObject,
    /// A schema that is to be dropped and still has tables or views.
    DependentObjects,
    /// SQL that is well-formed but does not type or plan.
    InvalidStatement,
    /// A request field, setting or option that is out of range or unknown.
    InvalidArgument,
    /// A request id that came with another statement before.
    RequestIdReused,
    /// A null where a column has none.
    NotNullViolation,
    /// A value that cannot be computed: a failed cast, overflow, division by zero, a scalar subquery of several rows.
    InvalidData,
    /// Rows of several sources would change one row.
    SeveralRows,
    /// Understood, but not something Frazil does.
    NotSupported,
    /// Over the limits of nesting, terms, length or planning time.
    TooComplex,
    /// Memory or disk limits.
    ResourcesExhausted,
    /// No room is left where something is to be written: table files, the catalog, spilled rows, kept results.
    DiskFull,
    /// The admission queue is full, or waiting in it took too long.
    TooManyStatements,
    /// A file that is missing or cannot be read.
    FileUnavailable,
    /// A file whose contents are not what they should be.
    FileCorrupt,
    /// Paths, settings, hosts or objects that a user may not touch.
    AccessDenied,
    /// Nobody that we know: no credentials, wrong ones, or too many attempts.
    NotAuthenticated,
    /// Credentials that were right once.
    ExpiredToken,
    /// The statement's own time limit.
    Timeout,
    Cancelled,
    /// No executor was there to run it within the limit.
    NoExecutors,
    /// An executor died, hung or could not be reached, and trying again did not help.
    ExecutorLost,
    /// Another commit changed the same thing first.
    Conflict,
    /// Another coordinator holds the catalog.
    CatalogLocked,
    /// The catalog's storage does not answer within its limits.
    CatalogUnavailable,
    /// The catalog holds what it should not.
    CatalogCorrupt,
    /// No such statement handle.
    UndefinedStatement,
    /// A statement that has ended well, and whose rows are not kept any more.
    ResultExpired,
    /// A statement that ran when its coordinator ended: what it had begun may have been done.
    Interrupted,
    /// No such session, or no longer.
    UndefinedSession,
    /// What cannot be done while a transaction is open: another `BEGIN`, databases.
    TransactionOpen,
    /// `COMMIT` or `ROLLBACK` without a transaction.
    NoTransaction,
    /// The session's transaction was rolled back behind its back.
    TransactionLost,
    /// A change in a transaction that only reads.
    ReadOnlyTransaction,
    /// Our own fault: a panic, a broken invariant, a message that does not decode.
    Internal,
}

impl ErrorCode {
    pub const ALL: [ErrorCode; 47] = [
        Self::Syntax,
        Self::UndefinedDatabase,
        Self::UndefinedSchema,
        Self::UndefinedTable,
        Self::UndefinedColumn,
        Self::UndefinedFunction,
        Self::UndefinedSnapshot,
        Self::DuplicateDatabase,
        Self::DuplicateSchema,
        Self::DuplicateTable,
        Self::DuplicateColumn,
        Self::UndefinedObject,
        Self::DuplicateObject,
        Self::DependentObjects,
        Self::InvalidStatement,
        Self::InvalidArgument,
        Self::RequestIdReused,
        Self::NotNullViolation,
        Self::InvalidData,
        Self::SeveralRows,
        Self::NotSupported,
        Self::TooComplex,
        Self::ResourcesExhausted,
        Self::DiskFull,
        Self::TooManyStatements,
        Self::FileUnavailable,
        Self::FileCorrupt,
        Self::AccessDenied,
        Self::NotAuthenticated,
        Self::ExpiredToken,
        Self::Timeout,
        Self::Cancelled,
        Self::NoExecutors,
        Self::ExecutorLost,
        Self::Conflict,
        Self::CatalogLocked,
        Self::CatalogUnavailable,
        Self::CatalogCorrupt,
        Self::UndefinedStatement,
        Self::ResultExpired,
        Self::Interrupted,
        Self::UndefinedSession,
        Self::TransactionOpen,
        Self::NoTransaction,
        Self::TransactionLost,
        Self::ReadOnlyTransaction,
        Self::Internal,
    ];

    /// Five characters of the SQL standard, or PostgreSQL's where the standard has none.
    pub fn sql_state(self) -> &'static str {
        match self {
            Self::Syntax => "42601",
            Self::UndefinedDatabase => "3D000",
            Self::UndefinedSchema => "3F000",
            Self::UndefinedTable => "42P01",
            Self::UndefinedColumn => "42703",
            Self::UndefinedFunction => "42883",
            Self::UndefinedSnapshot => "02000",
            Self::DuplicateDatabase => "42P04",
            Self::DuplicateSchema => "42P06",
            Self::DuplicateTable => "42P07",
            Self::DuplicateColumn => "42701",
            Self::UndefinedObject => "42704",
            Self::DuplicateObject => "42710",
            Self::DependentObjects => "2BP01",
            Self::InvalidStatement => "42000",
            Self::InvalidArgument | Self::RequestIdReused => "22023",
            Self::NotNullViolation => "23502",
            Self::InvalidData => "22000",
            Self::SeveralRows => "21000",
            Self::NotSupported => "0A000",
            Self::TooComplex => "54001",
            Self::ResourcesExhausted => "53200",
            Self::DiskFull => "53100",
            Self::TooManyStatements => "53300",
            Self::FileUnavailable => "58030",
            Self::FileCorrupt => "58P03",
            Self::AccessDenied => "42501",
            Self::NotAuthenticated | Self::ExpiredToken => "28000",
            Self::Timeout => "57005",
            Self::Cancelled => "57014",
            Self::NoExecutors => "57P03",
            Self::ExecutorLost => "57P01",
            Self::Conflict => "40001",
            Self::CatalogLocked => "55006",
            Self::CatalogUnavailable => "08006",
            Self::CatalogCorrupt => "XX001",
            Self::UndefinedStatement | Self::ResultExpired => "02000",
            Self::Interrupted => "57P02",
            Self::UndefinedSession => "08003",
            Self::TransactionOpen => "25001",
            Self::NoTransaction => "25P01",
            Self::TransactionLost => "25P02",
            Self::ReadOnlyTransaction => "25006",
            Self::Internal => "XX000",
        }
    }

    /// Six digits, as the REST answers' `code`. Snowflake's own number where it has one for the case.
    pub fn number(self) -> &'static str {
        match self {
            Self::Syntax => "001003",
            Self::UndefinedDatabase => "002003",
            Self::UndefinedSchema => "002003",
            Self::UndefinedTable => "002003",
            Self::UndefinedColumn => "000904",
            Self::UndefinedFunction => "002140",
            Self::UndefinedSnapshot => "000707",
            Self::DuplicateDatabase => "002002",
            Self::DuplicateSchema => "002002",
            Self::DuplicateTable => "002002",
            Self::DuplicateColumn => "002025",
            Self::UndefinedObject => "002003",
            Self::DuplicateObject => "002002",
            Self::DependentObjects => "002269",
            Self::InvalidStatement => "002000",
            Self::InvalidArgument => "391920",
            Self::RequestIdReused => "391921",
            Self::NotNullViolation => "100072",
            Self::InvalidData => "100038",
            Self::SeveralRows => "100090",
            Self::NotSupported => "000002",
            Self::TooComplex => "000914",
            Self::ResourcesExhausted => "300005",
            Self::DiskFull => "300006",
            Self::TooManyStatements => "000625",
            Self::FileUnavailable => "253006",
            Self::FileCorrupt => "100183",
            Self::AccessDenied => "003001",
            Self::NotAuthenticated => "390100",
            Self::ExpiredToken => "390112",
            Self::Timeout => "000630",
            Self::Cancelled => "000604",
            Self::NoExecutors => "000606",
            Self::ExecutorLost => "000603",
            Self::Conflict => "000641",
            Self::CatalogLocked => "300042",
            Self::CatalogUnavailable => "300043",
            Self::CatalogCorrupt => "300044",
            Self::UndefinedStatement => "000709",
            Self::ResultExpired => "000710",
            Self::Interrupted => "000608",
            Self::UndefinedSession => "390111",
            Self::TransactionOpen => "000665",
            Self::NoTransaction => "000666",
            Self::TransactionLost => "000667",
            Self::ReadOnlyTransaction => "000668",
            Self::Internal => "370001",
        }
    }

    /// The status of a REST answer that carries this failure.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Timeout => 408,
            Self::UndefinedStatement | Self::ResultExpired | Self::UndefinedSession => 404,
            Self::InvalidArgument => 400,
            Self::TooManyStatements => 429,
            Self::NotAuthenticated | Self::ExpiredToken => 401,
            _ => 422,
        }
    }

    /// The number of gRPC's status code.
    pub fn grpc_status(self) -> i32 {
        const CANCELLED: i32 = 1;
        const INVALID_ARGUMENT: i32 = 3;
        const DEADLINE_EXCEEDED: i32 = 4;
        const NOT_FOUND: i32 = 5;
        const ALREADY_EXISTS: i32 = 6;
        const PERMISSION_DENIED: i32 = 7;
        const RESOURCE_EXHAUSTED: i32 = 8;
        const FAILED_PRECONDITION: i32 = 9;
        const ABORTED: i32 = 10;
        const UNIMPLEMENTED: i32 = 12;
        const INTERNAL: i32 = 13;
        const UNAVAILABLE: i32 = 14;
        const DATA_LOSS: i32 = 15;
        const UNAUTHENTICATED: i32 = 16;
        match self {
            Self::UndefinedDatabase
            | Self::UndefinedSchema
            | Self::UndefinedTable
            | Self::UndefinedColumn
            | Self::UndefinedFunction
            | Self::UndefinedSnapshot
            | Self::UndefinedObject
            | Self::UndefinedStatement
            | Self::ResultExpired
            | Self::UndefinedSession => NOT_FOUND,
            Self::DuplicateDatabase
            | Self::DuplicateSchema
            | Self::DuplicateTable
            | Self::DuplicateColumn
            | Self::DuplicateObject => ALREADY_EXISTS,
            Self::DependentObjects
            | Self::TransactionOpen
            | Self::NoTransaction
            | Self::ReadOnlyTransaction
            | Self::CatalogLocked => FAILED_PRECONDITION,
            Self::NotSupported => UNIMPLEMENTED,
            Self::ResourcesExhausted | Self::DiskFull | Self::TooManyStatements => RESOURCE_EXHAUSTED,
            Self::FileUnavailable | Self::NoExecutors | Self::ExecutorLost | Self::CatalogUnavailable => UNAVAILABLE,
            Self::FileCorrupt | Self::CatalogCorrupt => DATA_LOSS,
            Self::AccessDenied => PERMISSION_DENIED,
            Self::NotAuthenticated | Self::ExpiredToken => UNAUTHENTICATED,
            Self::Timeout => DEADLINE_EXCEEDED,
            Self::Cancelled => CANCELLED,
            Self::Conflict | Self::TransactionLost | Self::Interrupted => ABORTED,
            Self::Internal => INTERNAL,
            Self::Syntax
            | Self::InvalidStatement
            | Self::InvalidArgument
            | Self::RequestIdReused
            | Self::NotNullViolation
            | Self::InvalidData
            | Self::SeveralRows
            | Self::TooComplex => INVALID_ARGUMENT,
        }
    }

    /// Whether the same statement may succeed when it is sent again unchanged.
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::TooManyStatements
                | Self::NoExecutors
                | Self::ExecutorLost
                | Self::ResourcesExhausted
                | Self::DiskFull
                | Self::Conflict
                | Self::CatalogUnavailable
        )
    }

    /// The name that travels; [`ErrorCode::from_name`] reads it.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }
}

/// Where in a query a failure arose.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    pub executor: Option<String>,
    pub stage: Option<u32>,
}

/// A failed statement, task or request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    pub code: ErrorCode,
    /// Lowercase, names the object, no full stop.
    pub message: String,
    /// Line and column in the statement's text, both from 1.
    pub position: Option<(u32, u32)>,
    pub place: Place,
}

impl Failure {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), position: None, place: Place::default() }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    pub fn at_position(mut self, line: u32, column: u32) -> Self {
        self.position = Some((line, column));
        self
    }

    /// Records the stage and executor, unless an earlier hop already did.
    pub fn at_stage(mut self, stage: u32, executor: &str) -> Self {
        if self.place.executor.is_none() {
            self.place = Place { executor: Some(executor.to_owned()), stage: Some(stage) };
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some((line, column)) = self.position {
            write!(f, " (line {line}, column {column})")?;
        }
        if let (Some(executor), Some(stage)) = (&self.place.executor, self.place.stage) {
            write!(f, " [stage {stage} on executor {executor}]")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Whether somewhere below an error a disk or a quota was full.
pub fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let mut cause = Some(error);
    while let Some(current) = cause {
        let io = current.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| matches!(io.kind(), StorageFull | QuotaExceeded | FileTooLarge)) {
            return true;
        }
        cause = current.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_its_name_and_has_mappings() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_name(&code.name()), Some(code));
            assert_eq!(code.sql_state().len(), 5);
            assert_eq!(code.number().len(), 6);
            assert!((1..=16).contains(&code.grpc_status()));
        }
    }
}
