//! What became of each staged file: told by the scan that read it, added up where pieces of a file were read by several.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use frazil_common::Failure;
use serde::{Deserialize, Serialize};

use super::shape::RowError;

/// Of a file, or of a piece of one.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct StagedReport {
    /// In its store.
    pub path: String,
    pub rows_parsed: u64,
    pub rows_loaded: u64,
    pub errors: u64,
    /// The one on the first line.
    pub first: Option<RowError>,
    /// All of them, up to a bound, where they were asked for.
    pub details: Vec<RowError>,
}

impl StagedReport {
    pub fn add(&mut self, other: Self) {
        self.rows_parsed += other.rows_parsed;
        self.rows_loaded += other.rows_loaded;
        self.errors += other.errors;
        let line = |error: &Option<RowError>| error.as_ref().map_or(u64::MAX, |error| error.line);
        if line(&other.first) < line(&self.first) {
            self.first = other.first;
        }
        self.details.extend(other.details);
    }
}

/// The reports of all pieces, by path.
pub fn by_path(reports: impl IntoIterator<Item = StagedReport>) -> BTreeMap<String, StagedReport> {
    let mut files: BTreeMap<String, StagedReport> = BTreeMap::new();
    for report in reports {
        files.entry(report.path.clone()).or_default().add(report);
    }
    files.iter_mut().for_each(|(path, report)| report.path.clone_from(path));
    files
}

/// The reports that a scan puts out in the last column of its rows, by path.
pub fn read_scanned(batches: &[RecordBatch]) -> Result<BTreeMap<String, StagedReport>, Failure> {
    let malformed = |why: &str| Failure::internal(format!("a report on a staged file does not decode: {why}"));
    let mut reports = Vec::new();
    for batch in batches {
        let texts = batch.columns().last().and_then(|column| column.as_string_opt::<i32>());
        for text in texts.ok_or_else(|| malformed("no texts"))?.iter().flatten() {
            let report: StagedReport = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
            reports.push(report);
        }
    }
    Ok(by_path(reports))
}

pub fn encode(report: &StagedReport) -> Result<String, Failure> {
    serde_json::to_string(report).map_err(|error| Failure::internal(format!("a report: {error}")))
}
