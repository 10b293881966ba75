//! Runs the files of a data set as jobs on a bounded number of blocking threads.
//!
//! ```text
//!  queue of jobs ─▶ writer 1..n: generate, encode, write ─▶ a report per table
//!                        │ first error, or the run is dropped
//!                        └──▶ stop: the others end at their next batch, and remove what they began
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatchReader;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::destination::Destination;
use crate::error::DatasetError;
use crate::parquet_file::write_batches;
use crate::progress::Progress;
use crate::report::TableReport;

/// A file to write.
pub(crate) struct FileJob {
    pub table: &'static str,
    pub name: String,
    /// Called on the thread that writes: a generator's start may be costly.
    pub open: Box<dyn FnOnce() -> Box<dyn RecordBatchReader + Send> + Send>,
}

/// Writes all files and returns the tables in the order of `tables`. Jobs start in the order given: put the long ones
/// first. Needs a Tokio runtime, whose blocking threads it uses.
pub(crate) async fn run(
    destination: &Destination,
    tables: &[&'static str],
    jobs: Vec<FileJob>,
    writers: usize,
    progress: Arc<dyn Progress>,
) -> Result<Vec<TableReport>, DatasetError> {
    let reports = tables.iter().map(|table| OpenReport::new(table, &jobs)).collect();
    let writers = writers.min(jobs.len());
    let pool = Arc::new(Pool {
        destination: destination.clone(),
        jobs: Mutex::new(jobs.into()),
        reports: Mutex::new(reports),
        stop: AtomicBool::new(false),
        progress,
    });
    // Threads cannot be aborted: when this future is dropped, they are told to end.
    let stop = StopOnDrop(Arc::clone(&pool));
    let mut threads = JoinSet::new();
    for _ in 0..writers {
        let pool = Arc::clone(&pool);
        threads.spawn_blocking(move || pool.work());
    }
    let mut first_error = None;
    while let Some(ended) = threads.join_next().await {
        let error = match ended {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(panic) => DatasetError::Panicked { message: panic.to_string() },
        };
        pool.stop.store(true, Ordering::Relaxed);
        // Those that were only told to stop are not the cause.
        if first_error.is_none() || matches!(first_error, Some(DatasetError::Stopped { .. })) {
            first_error = Some(error);
        }
    }
    drop(stop);
    match first_error {
        Some(error) => Err(error),
        None => Ok(pool.reports.lock().iter().map(|open| open.report.clone()).collect()),
    }
}

struct Pool {
    destination: Destination,
    jobs: Mutex<VecDeque<FileJob>>,
    reports: Mutex<Vec<OpenReport>>,
    stop: AtomicBool,
    progress: Arc<dyn Progress>,
}

struct OpenReport {
    report: TableReport,
    files_left: usize,
}

impl OpenReport {
    fn new(table: &str, jobs: &[FileJob]) -> Self {
        let files = jobs.iter().filter(|job| job.table == table).count();
        Self { report: TableReport { name: table.to_owned(), rows: 0, files, bytes: 0 }, files_left: files }
    }
}

struct StopOnDrop(Arc<Pool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

impl Pool {
    fn work(&self) -> Result<(), DatasetError> {
        while !self.stopped() {
            let Some(job) = self.jobs.lock().pop_front() else { break };
            if let Err(error) = self.write_file(job) {
                // At once: the caller hears of it only when this thread is joined.
                self.stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn write_file(&self, job: FileJob) -> Result<(), DatasetError> {
        let mut output = self.destination.create(job.table, &job.name)?;
        let written = write_batches(job.table, (job.open)(), &mut output, |rows| {
            self.progress.advance(job.table, rows);
            !self.stopped()
        });
        let rows = match written {
            Ok(rows) => rows,
            Err(error) => {
                output.discard();
                return Err(error);
            }
        };
        let bytes = output.finish()?;
        self.file_finished(job.table, rows, bytes);
        Ok(())
    }

    fn file_finished(&self, table: &str, rows: u64, bytes: u64) {
        let mut reports = self.reports.lock();
        let Some(open) = reports.iter_mut().find(|open| open.report.name == table) else { return };
        open.report.rows += rows;
        open.report.bytes += bytes;
        open.files_left -= 1;
        if open.files_left == 0 {
            self.progress.table_finished(&open.report);
        }
    }
}
