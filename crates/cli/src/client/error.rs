//! What a client is told when there is no answer, or only part of one.

use std::fmt;

use http::StatusCode;
use serde_json::Value;

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// The coordinator's word on the statement or request.
    #[error("{0}")]
    Statement(StatementFailure),
    /// It could not be reached, or did not answer in time.
    #[error("{0}")]
    Unreachable(String),
    /// The answer ended before its end-of-stream mark: the rows that came are not the result.
    #[error("the answer broke off after {rows} rows: {cause}")]
    Incomplete { rows: usize, cause: String },
    /// It answered something that is not its protocol.
    #[error("{0}")]
    Protocol(String),
    /// The address or request is not one.
    #[error("{0}")]
    Invalid(String),
}

/// A failed statement, as the REST API reports it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StatementFailure {
    /// Six digits.
    pub code: String,
    pub sql_state: String,
    pub message: String,
    /// Line and column in the statement's text, from 1.
    pub position: Option<(u32, u32)>,
    /// Stage and executor, if it arose while the query ran.
    pub place: Option<Box<(u32, String)>>,
    pub handle: Option<String>,
}

impl fmt::Display for StatementFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some((line, column)) = self.position {
            write!(f, " (line {line}, column {column})")?;
        }
        if let Some((stage, executor)) = self.place.as_deref() {
            write!(f, " [stage {stage} on executor {executor}]")?;
        }
        if !self.sql_state.is_empty() {
            write!(f, "  SQLSTATE {}", self.sql_state)?;
        }
        Ok(())
    }
}

/// Reads the body of an answer whose status says that something is wrong.
pub fn of_answer(status: StatusCode, body: &Value) -> ClientError {
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| body.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let Some(message) = text("message") else {
        return ClientError::Protocol(format!("the coordinator answered {status} without saying why"));
    };
    let position = number("line").zip(number("column"));
    ClientError::Statement(StatementFailure {
        code: text("code").unwrap_or_default(),
        sql_state: text("sqlState").unwrap_or_default(),
        message,
        position,
        place: number("stage").zip(text("executor")).map(Box::new),
        handle: text("statementHandle"),
    })
}
