//! What a load is to make of files, and what can be wrong with them. It travels to executors with the scan.

use arrow::datatypes::SchemaRef;
use frazil_common::{ErrorCode, Failure};
use serde::{Deserialize, Serialize};

use super::format::FileFormat;

/// The last column of the rows of a load: in rows that report on a file and hold no data, a [`super::report::StagedReport`].
pub const REPORT_COLUMN: &str = "__frazil_staged_report";

/// Errors that one split tells in full when a load is only tried.
pub const DETAILS_MAX: usize = 1000;

/// How files become rows of a table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LoadShape {
    /// The table's name, for messages.
    pub table: String,
    pub format: FileFormat,
    pub policy: Policy,
    pub columns: Vec<TargetColumn>,
    /// Columns are found by their names in the file. Otherwise by their places.
    pub by_name: Option<Case>,
    /// What paths in the store begin with, and what users see in place of it.
    pub root: (String, String),
    /// Rows that report on files come after each, in [`REPORT_COLUMN`].
    pub reports: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Case {
    Sensitive,
    Insensitive,
}

/// What becomes of a file with errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Policy {
    /// It fails the statement.
    Abort,
    /// Its good rows are loaded.
    Continue,
    /// Nothing of it is loaded.
    SkipFile,
    /// Nothing of any file is loaded, but all errors are told.
    Try,
}

/// A column of the table, in its order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TargetColumn {
    pub origin: Origin,
    pub nullable: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// The field of that place in a record, from 0; by name, the one that is called as the column.
    Field(usize),
    /// The column's default, as a text; or null.
    Default(Option<String>),
}

/// What is wrong with a row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RowError {
    /// Line where the record begins; in Parquet, the row's number. From 1.
    pub line: u64,
    /// Where the field begins in its record, in bytes from 1; 0 where that has no meaning.
    pub character: u64,
    pub column: Option<String>,
    pub message: String,
    pub code: ErrorCode,
}

/// Why a file cannot be read any further.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// 0: the file as a whole.
    pub line: u64,
    pub message: String,
    pub code: ErrorCode,
}

impl Fault {
    pub fn of_file(message: impl Into<String>) -> Self {
        Self { line: 0, message: message.into(), code: ErrorCode::FileCorrupt }
    }

    pub fn at_line(line: u64, message: impl Into<String>) -> Self {
        Self { line, message: message.into(), code: ErrorCode::FileCorrupt }
    }

    pub fn unreadable(error: &object_store::Error) -> Self {
        let message = match error {
            object_store::Error::NotFound { .. } => "it is not there any more".to_owned(),
            other => format!("it cannot be read: {other}"),
        };
        Self { line: 0, message, code: ErrorCode::FileUnavailable }
    }

    pub fn into_row_error(self) -> RowError {
        RowError { line: self.line, character: 0, column: None, message: self.message, code: self.code }
    }
}

impl RowError {
    /// As the statement's failure.
    pub fn into_failure(self, file: &str, table: &str) -> Failure {
        let mut message = format!("staged file \"{file}\"");
        if self.line > 0 {
            message.push_str(&format!(", line {}", self.line));
        }
        if self.character > 0 {
            message.push_str(&format!(", character {}", self.character));
        }
        if let Some(column) = &self.column {
            message.push_str(&format!(", column \"{column}\" of table \"{table}\""));
        }
        Failure::new(self.code, format!("{message}: {}", self.message))
    }
}

impl LoadShape {
    /// A file as users know it.
    pub fn shown(&self, path: &str) -> String {
        match path.strip_prefix(&self.root.0) {
            Some(rest) => format!("{}{}", self.root.1, rest.trim_start_matches('/')),
            None => path.to_owned(),
        }
    }
}

/// The rows of a load as they leave the scan: the table's columns, all of which may be null, and reports.
pub fn scan_schema(table: &SchemaRef, reports: bool) -> SchemaRef {
    use arrow::datatypes::{DataType, Field, Schema};
    let columns = table.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let report = reports.then(|| Field::new(REPORT_COLUMN, DataType::Utf8, true));
    std::sync::Arc::new(Schema::new(columns.chain(report).collect::<Vec<_>>()))
}
