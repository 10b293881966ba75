//! A wide, synthetic click-stream table for what TPC-H lacks: long strings, skew, nulls, columns of high cardinality.
//!
//! A row follows from the seed, its number and the number of rows alone. So files can be written by any number of
//! threads, and cut differently, with the same rows.

mod draws;
mod rows;
mod schema;
mod vocabulary;

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use crate::destination::{Destination, data_file_name};
use crate::error::DatasetError;
use crate::marker::{self, Identity};
use crate::output::UPLOAD_BYTES_MAX;
use crate::parquet_file::{BATCH_ROWS, WRITER_BYTES_MAX};
use crate::pool::{self, FileJob};
use crate::progress::Progress;
use crate::report::LoadReport;
use rows::EventRows;
pub use schema::events_schema;

const TABLE: &str = "events";
const FILES_MAX: usize = 100_000;
/// Of all writers together; there are fewer of them when `parallelism` asks for more than fits.
const MEMORY_BYTES: u64 = 2 << 30;

#[derive(Clone, Debug)]
pub struct EventsOptions {
    pub rows: u64,
    /// Of about equal rows; from 1 to `rows`.
    pub files: usize,
    pub seed: u64,
    pub destination: Destination,
    /// Files written at the same time, as far as 2 GB of memory allow.
    pub parallelism: usize,
}

impl EventsOptions {
    fn identity(&self) -> Result<Identity, DatasetError> {
        let Self { rows, files, seed, parallelism, .. } = *self;
        check_rows(rows)?;
        if files == 0 || files > FILES_MAX || files as u64 > rows {
            let most = rows.min(FILES_MAX as u64);
            return Err(DatasetError::option(format!(
                "{files} files for {rows} events are out of range: give 1 to {most}"
            )));
        }
        if parallelism == 0 {
            return Err(DatasetError::option("parallelism 0 would write nothing: give at least 1"));
        }
        Ok(Identity::Events { rows, files, seed })
    }

    fn jobs(&self) -> Vec<FileJob> {
        let Self { rows, files, seed, .. } = *self;
        let start = move |file: usize| (u128::from(rows) * file as u128 / files as u128) as u64;
        (0..files)
            .map(|file| FileJob {
                table: TABLE,
                name: data_file_name(TABLE, file, files),
                open: Box::new(move || Box::new(EventBatches::new(seed, rows, start(file)..start(file + 1)))),
            })
            .collect()
    }
}

/// Makes the table, unless the destination holds this very one already. Another one there is refused.
pub async fn load_events(options: EventsOptions, progress: Arc<dyn Progress>) -> Result<LoadReport, DatasetError> {
    let started = Instant::now();
    let identity = options.identity()?;
    let destination = &options.destination;
    if let Some(tables) = marker::begin(destination, &identity).await? {
        return Ok(LoadReport { tables, elapsed: started.elapsed(), reused: true });
    }
    destination.prepare(&[TABLE]).await?;
    progress.table_started(TABLE, options.rows);
    let writers = options.parallelism.min((MEMORY_BYTES / (WRITER_BYTES_MAX + UPLOAD_BYTES_MAX)) as usize);
    let tables = pool::run(destination, &[TABLE], options.jobs(), writers, progress).await?;
    marker::complete(destination, identity, &tables).await?;
    Ok(LoadReport { tables, elapsed: started.elapsed(), reused: false })
}

pub(crate) fn check_rows(rows: u64) -> Result<(), DatasetError> {
    // Positions are multiplied in 128 bits, and event ids are signed.
    if (1..=1 << 48).contains(&rows) {
        return Ok(());
    }
    Err(DatasetError::option(format!("{rows} events are out of range: give 1 to 2^48")))
}

/// The events of a range of ids, in batches.
pub(crate) struct EventBatches {
    rows: EventRows,
    ids: std::ops::Range<u64>,
}

impl EventBatches {
    pub(crate) fn new(seed: u64, rows: u64, ids: std::ops::Range<u64>) -> Self {
        Self { rows: EventRows::new(seed, rows), ids }
    }
}

impl Iterator for EventBatches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ids.is_empty() {
            return None;
        }
        let end = self.ids.end.min(self.ids.start + BATCH_ROWS as u64);
        let batch = self.rows.batch(self.ids.start..end);
        self.ids.start = end;
        Some(batch)
    }
}

impl RecordBatchReader for EventBatches {
    fn schema(&self) -> SchemaRef {
        events_schema()
    }
}

#[cfg(test)]
mod tests;
