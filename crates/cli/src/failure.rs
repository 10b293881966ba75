//! How a command ends when it does not end well, and the exit code that follows.

use std::process::ExitCode;

use frazil_common::Failure;

use crate::client::ClientError;

/// `Failed` exits with 1, `Usage` with 2.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A flag, variable, configuration file or argument that cannot be used as it is written.
    #[error("{0}")]
    Usage(String),
    /// The operation itself did not succeed.
    #[error("{0}")]
    Failed(String),
    /// It did not succeed, and the user has been told all about it.
    #[error("failed")]
    Reported,
}

impl CommandError {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) | Self::Reported => ExitCode::from(1),
        }
    }

    /// Names what was being done: `reading "x.sql": no such file`.
    pub fn doing(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Failed(format!("{what}: {error}"))
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        Self::Failed(format!("{failure}  SQLSTATE {}", failure.code.sql_state()))
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.to_string())
    }
}
