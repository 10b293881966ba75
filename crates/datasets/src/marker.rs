//! `_SUCCESS.json`, written after the last file: what set a destination holds, so that a half-made one is told from a
//! whole one. The marker stands beside the tables' directories, which hold Parquet files only.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::destination::Destination;
use crate::error::DatasetError;
use crate::report::TableReport;

/// What the contents of a set follow from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "dataset", rename_all = "lowercase")]
pub(crate) enum Identity {
    Tpch { scale: f64 },
    Tpcds { scale: f64 },
    Events { rows: u64, files: usize, seed: u64 },
}

impl Identity {
    /// Sets that have no tables in common may share a destination. TPC-H and TPC-DS both have `customer`.
    fn marker_name(&self) -> &'static str {
        match self {
            Self::Tpch { .. } | Self::Tpcds { .. } => "_SUCCESS.json",
            Self::Events { .. } => "_SUCCESS.events.json",
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tpch { scale } => write!(f, "TPC-H at scale {scale}"),
            Self::Tpcds { scale } => write!(f, "TPC-DS at scale {scale}"),
            Self::Events { rows, files, seed } => write!(f, "{rows} events in {files} files from seed {seed}"),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    #[serde(flatten)]
    identity: Identity,
    tables: Vec<TableReport>,
}

/// What a destination holds, for one who wants a certain set.
pub(crate) enum Found {
    /// Nothing, or a set that lacks a marker or files: it is to be made (again).
    Incomplete,
    /// The very set.
    Complete(Vec<TableReport>),
    /// Another set of the same kind.
    Other(Identity),
}

pub(crate) async fn find(destination: &Destination, wanted: &Identity) -> Result<Found, DatasetError> {
    let name = wanted.marker_name();
    let Some(bytes) = destination.read_small(name).await? else { return Ok(Found::Incomplete) };
    let marker: Marker = serde_json::from_slice(&bytes).map_err(|e| DatasetError::DamagedMarker {
        location: format!("{destination}/{name}"),
        problem: e.to_string(),
    })?;
    if marker.identity != *wanted {
        return Ok(Found::Other(marker.identity));
    }
    for table in &marker.tables {
        let files = destination.data_files(&table.name).await?;
        let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        if (files.len(), bytes) != (table.files, table.bytes) {
            return Ok(Found::Incomplete);
        }
    }
    Ok(Found::Complete(marker.tables))
}

/// [`find`] for a run that is about to write: `Some` when there is nothing to do. Otherwise there is no marker left, so a
/// run that dies half-way is known for what it is.
pub(crate) async fn begin(
    destination: &Destination,
    wanted: &Identity,
) -> Result<Option<Vec<TableReport>>, DatasetError> {
    match find(destination, wanted).await? {
        Found::Complete(tables) => Ok(Some(tables)),
        Found::Incomplete => destination.remove_small(wanted.marker_name()).await.map(|()| None),
        Found::Other(found) => Err(DatasetError::OtherSet {
            destination: destination.to_string(),
            found: found.to_string(),
            wanted: wanted.to_string(),
        }),
    }
}

pub(crate) async fn complete(
    destination: &Destination,
    identity: Identity,
    tables: &[TableReport],
) -> Result<(), DatasetError> {
    let name = identity.marker_name();
    let marker = Marker { identity, tables: tables.to_vec() };
    let bytes = serde_json::to_vec_pretty(&marker).expect("a marker has only strings and finite numbers");
    destination.write_small(name, bytes).await
}
