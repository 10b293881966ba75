//! `frazil load`: sample data as Parquet, where the coordinator finds it or elsewhere.

use std::path::Path;
use std::sync::Arc;

use frazil_common::{ByteSize, ErrorCode};
use frazil_datasets::{Bars, DatasetError, Destination, EventsOptions, LoadReport, Tpch, load_events, load_tpch};

use crate::config::Config;
use crate::failure::CommandError;
use crate::tpch;

/// Events in a file when the number of files is not given.
const EVENTS_PER_FILE: u64 = 1_000_000;
const EVENT_FILES_MIN: u64 = 8;

pub struct TpchRequest {
    pub scale: f64,
    pub to: Option<String>,
    pub parallelism: Option<usize>,
    pub memory: Option<ByteSize>,
}

pub async fn run_tpch(config: &Config, request: TpchRequest) -> Result<(), CommandError> {
    let sample = tpch::directory(&config.cluster.data, request.scale);
    let destination = destination(request.to.as_deref(), &sample)?;
    let mut options = Tpch::new(request.scale, destination.clone());
    options.parallelism = request.parallelism.unwrap_or(options.parallelism);
    options.memory = request.memory.unwrap_or(options.memory);
    let report = load_tpch(options, Arc::new(Bars::on_stderr())).await.map_err(failed)?;
    tell(&report, &destination, request.to.is_none().then(|| tpch::schema_name(request.scale)));
    Ok(())
}

pub struct EventsRequest {
    pub rows: u64,
    pub files: Option<usize>,
    pub seed: u64,
    pub to: Option<String>,
    pub parallelism: Option<usize>,
}

pub async fn run_events(config: &Config, request: EventsRequest) -> Result<(), CommandError> {
    let schema = format!("events_{}", request.rows);
    let destination = destination(request.to.as_deref(), &config.cluster.data.join("sample").join(&schema))?;
    let files = (request.rows / EVENTS_PER_FILE).max(EVENT_FILES_MIN).min(request.rows.max(1)) as usize;
    let options = EventsOptions {
        rows: request.rows,
        files: request.files.unwrap_or(files),
        seed: request.seed,
        destination: destination.clone(),
        parallelism: request.parallelism.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
    };
    let report = load_events(options, Arc::new(Bars::on_stderr())).await.map_err(failed)?;
    tell(&report, &destination, request.to.is_none().then_some(schema));
    Ok(())
}

fn destination(to: Option<&str>, sample: &Path) -> Result<Destination, CommandError> {
    match to {
        Some(text) => Destination::parse(text).map_err(failed),
        None => Ok(Destination::local(sample)),
    }
}

fn failed(error: DatasetError) -> CommandError {
    match error.code() {
        ErrorCode::InvalidArgument => CommandError::Usage(error.to_string()),
        _ => CommandError::Failed(error.to_string()),
    }
}

fn tell(report: &LoadReport, destination: &Destination, schema: Option<String>) {
    let rows: u64 = report.tables.iter().map(|table| table.rows).sum();
    let bytes = ByteSize(report.tables.iter().map(|table| table.bytes).sum());
    if report.reused {
        println!("{destination} holds it already: {rows} rows, {bytes}");
    } else {
        println!("{rows} rows, {bytes} in {destination}, written in {:.1} s", report.elapsed.as_secs_f64());
    }
    if let (Some(schema), Some(table)) = (schema, report.tables.last()) {
        println!("try: frazil sql -c 'SELECT * FROM {}.{schema}.{} LIMIT 10'", tpch::SAMPLE_DATABASE, table.name);
    }
}
