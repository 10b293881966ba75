//! How a command ends when it does not end well, and the exit code that follows.

use std::process::ExitCode;

use frazil_common::Failure;

use crate::client::ClientError;

/// The exit code is the user's to rely on: see `docs/shell.md`.
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
    /// The coordinator cannot be reached, or does not let the client in.
    #[error("{0}")]
    Unreachable(String),
    /// Likewise, and the user has been told.
    #[error("the coordinator cannot be reached")]
    ReportedUnreachable,
    /// By Ctrl-C.
    #[error("cancelled")]
    Interrupted,
    /// By SIGTERM.
    #[error("terminated")]
    Terminated,
}

impl CommandError {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) | Self::Reported => ExitCode::from(1),
            Self::Unreachable(_) | Self::ReportedUnreachable => ExitCode::from(3),
            // As a shell has it of a process that a signal ended.
            Self::Interrupted => ExitCode::from(130),
            Self::Terminated => ExitCode::from(143),
        }
    }

    /// Whether the user has to be told yet.
    pub fn is_reported(&self) -> bool {
        match self {
            Self::Usage(_) | Self::Failed(_) | Self::Unreachable(_) => false,
            Self::Reported | Self::ReportedUnreachable | Self::Interrupted | Self::Terminated => true,
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
        match error {
            ClientError::Unreachable(_) | ClientError::Incomplete { .. } => Self::Unreachable(error.to_string()),
            // Class 28 is what is wrong with a log-in.
            ClientError::Statement(failure) if failure.sql_state.starts_with("28") => {
                Self::Unreachable(failure.to_string())
            }
            ClientError::Invalid(_) => Self::Usage(error.to_string()),
            ClientError::Statement(_) | ClientError::Protocol(_) => Self::Failed(error.to_string()),
        }
    }
}
