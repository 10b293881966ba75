//! Sample data as plain Parquet, in a directory or a bucket.

use std::sync::Arc;

use frazil_common::{ByteSize, ErrorCode};
use frazil_datasets::{
    Bars, DatasetError, Destination, EventsOptions, LoadReport, Tpcds, Tpch, load_events, load_tpcds, load_tpch,
};

use super::SampleSet;
use crate::failure::CommandError;

/// Events in a file when the number of files is not given.
const EVENTS_PER_FILE: u64 = 1_000_000;
const EVENT_FILES_MIN: u64 = 8;

pub struct FilesRequest {
    pub set: SampleSet,
    pub to: String,
    /// Files written at the same time; else one for each processor.
    pub parallelism: Option<usize>,
    /// Of TPC-H: a bound on the memory it takes.
    pub memory: Option<ByteSize>,
    /// Of events.
    pub files: Option<usize>,
}

pub async fn run(request: FilesRequest) -> Result<(), CommandError> {
    let destination = Destination::parse(&request.to).map_err(failed)?;
    let report = write(&request, destination.clone()).await.map_err(failed)?;
    tell(&report, &destination);
    Ok(())
}

async fn write(request: &FilesRequest, destination: Destination) -> Result<LoadReport, DatasetError> {
    let bars = Arc::new(Bars::on_stderr());
    let parallelism = request.parallelism;
    let parallelism = parallelism.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    match request.set {
        SampleSet::Tpch { scale } => {
            let mut options = Tpch::new(scale, destination);
            options.parallelism = parallelism;
            options.memory = request.memory.unwrap_or(options.memory);
            load_tpch(options, bars).await
        }
        SampleSet::Tpcds { scale } => load_tpcds(Tpcds { scale, destination, parallelism }, bars).await,
        SampleSet::Events { rows, seed } => {
            let files = (rows / EVENTS_PER_FILE).max(EVENT_FILES_MIN).min(rows.max(1)) as usize;
            let files = request.files.unwrap_or(files);
            load_events(EventsOptions { rows, files, seed, destination, parallelism }, bars).await
        }
    }
}

fn failed(error: DatasetError) -> CommandError {
    match error.code() {
        ErrorCode::InvalidArgument => CommandError::Usage(error.to_string()),
        _ => CommandError::Failed(error.to_string()),
    }
}

fn tell(report: &LoadReport, destination: &Destination) {
    let rows: u64 = report.tables.iter().map(|table| table.rows).sum();
    let bytes = ByteSize(report.tables.iter().map(|table| table.bytes).sum());
    if report.reused {
        println!("{destination} holds it already: {rows} rows, {bytes}");
    } else {
        println!("{rows} rows, {bytes} in {destination}, written in {:.1} s", report.elapsed.as_secs_f64());
    }
}
