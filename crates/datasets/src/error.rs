//! What can go wrong while a data set is made.

use frazil_common::ErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// An option that is out of range. `problem` names it and says what would be right.
    #[error("{problem}")]
    InvalidOption { problem: String },

    #[error("destination {destination:?} {problem}")]
    InvalidDestination { destination: String, problem: String },

    /// The destination has a complete set already, but another one than was asked for. Nothing was changed.
    #[error("{destination:?} holds {found}, not {wanted}: choose another destination, or delete that one")]
    OtherSet { destination: String, found: String, wanted: String },

    /// A marker that we did not write, or that was damaged.
    #[error("marker {location:?} cannot be read as one ({problem}): delete it to have the data made again")]
    DamagedMarker { location: String, problem: String },

    #[error("cannot {action} {path:?}: {source}")]
    Io { action: &'static str, path: String, source: std::io::Error },

    #[error("cannot {action} {location:?}: {source}")]
    Store { action: &'static str, location: String, source: object_store::Error },

    #[error("cannot write {location:?}: {source}")]
    Parquet { location: String, source: parquet::errors::ParquetError },

    #[error("cannot generate table {table:?}: {source}")]
    Generate { table: String, source: arrow::error::ArrowError },

    /// Another file of the same run failed, or the run was dropped.
    #[error("the run that wrote {location:?} was stopped")]
    Stopped { location: String },

    /// A defect of ours: it is contained, and the run fails.
    #[error("a writer panicked: {message}")]
    Panicked { message: String },
}

impl DatasetError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidOption { .. } | Self::InvalidDestination { .. } | Self::OtherSet { .. } => {
                ErrorCode::InvalidArgument
            }
            Self::DamagedMarker { .. } => ErrorCode::FileCorrupt,
            Self::Io { .. } | Self::Store { .. } | Self::Parquet { .. } => ErrorCode::FileUnavailable,
            Self::Stopped { .. } => ErrorCode::Cancelled,
            Self::Generate { .. } | Self::Panicked { .. } => ErrorCode::Internal,
        }
    }

    pub(crate) fn option(problem: impl Into<String>) -> Self {
        Self::InvalidOption { problem: problem.into() }
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.display().to_string(), source }
    }
}
