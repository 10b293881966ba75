//! What a run made.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    pub name: String,
    pub rows: u64,
    pub files: usize,
    /// Of the Parquet files.
    pub bytes: u64,
}

#[derive(Clone, Debug)]
pub struct LoadReport {
    pub tables: Vec<TableReport>,
    pub elapsed: Duration,
    /// The destination held this very set already, so nothing was written.
    pub reused: bool,
}
