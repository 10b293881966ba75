//! `frazil bench`: the cluster against single-process DataFusion, in turn, in one run, on the same files.
//!
//! Figures of one run can be compared; figures of two runs cannot, since machines are busy with other things too. So
//! every query is measured on all contenders before the next one.

pub mod contest;
mod doors;
mod figures;
mod load;
mod overhead;
mod print;
mod scan;
mod single;
pub mod single_server;
mod slow_reader;

use std::path::PathBuf;

use crate::config::Config;
use crate::failure::CommandError;
use crate::processes::{ClusterShape, Stderr};
use crate::tpch::{self, QUERIES, Query};

pub use contest::{Contest, ContestPlan};
pub use doors::DoorsRequest;
pub use figures::{Measured, Report};
pub use load::LoadRequest;
pub use overhead::OverheadRequest;
pub use scan::ScanRequest;
pub use slow_reader::SlowReaderRequest;

pub struct TpchRequest {
    pub scale: f64,
    /// One cluster for each of these numbers.
    pub executors: Vec<usize>,
    pub slots: usize,
    /// The least time of so many runs counts.
    pub runs: usize,
    /// Numbers from 1; empty is all.
    pub queries: Vec<usize>,
    pub compare: bool,
    pub single_partitions: Vec<usize>,
    pub single_threads: usize,
    /// Single-process DataFusion also runs with one thread, and the gain of both sides is set side by side.
    pub speedup: bool,
    pub json: bool,
    pub config_file: Option<PathBuf>,
}

pub async fn run_tpch(config: Config, request: TpchRequest) -> Result<(), CommandError> {
    let queries = chosen(&request.queries)?;
    let tables = tpch::ensure(&config, request.scale).await?;
    let mut single_threads = if request.compare { vec![request.single_threads] } else { Vec::new() };
    if request.speedup && request.single_threads > 1 {
        single_threads.insert(0, 1);
    }
    let plan = ContestPlan {
        scale: request.scale,
        tables,
        clusters: request
            .executors
            .iter()
            .map(|&count| shape(&config, count, request.slots, &request.config_file))
            .collect(),
        single_threads,
        single_partitions: request.single_partitions,
        runs: request.runs,
    };
    let mut contest = Contest::start(plan).await?;
    let measured = measure_all(&mut contest, &queries).await;
    let report =
        measured.map(|measured| Report::new(contest.plan(), contest.partitions(), &measured, contest.peak_memory()));
    contest.stop().await;
    let report = report?;
    if request.json {
        println!("{}", report.to_json());
    } else {
        println!("{}", print::report(&report));
    }
    if report.all_equal() { Ok(()) } else { Err(CommandError::Reported) }
}

async fn measure_all(contest: &mut Contest, queries: &[&Query]) -> Result<Vec<Measured>, CommandError> {
    contest.choose_partitions(queries).await?;
    let mut all = Vec::with_capacity(queries.len());
    for query in queries {
        let measured = contest.measure(query).await?;
        eprintln!("{}", print::progress(&measured));
        all.push(measured);
    }
    Ok(all)
}

pub async fn run_overhead(config: Config, request: OverheadRequest) -> Result<(), CommandError> {
    overhead::run(config, request).await
}

pub async fn run_doors(config: Config, request: DoorsRequest) -> Result<(), CommandError> {
    doors::run(config, request).await
}

pub async fn run_load(config: Config, request: LoadRequest) -> Result<(), CommandError> {
    load::run(config, request).await
}

pub async fn run_slow_reader(config: Config, request: SlowReaderRequest) -> Result<(), CommandError> {
    slow_reader::run(config, request).await
}

pub async fn run_scan(config: Config, request: ScanRequest) -> Result<(), CommandError> {
    scan::run(config, request).await
}

fn chosen(numbers: &[usize]) -> Result<Vec<&'static Query>, CommandError> {
    if numbers.is_empty() {
        return Ok(QUERIES.iter().collect());
    }
    let query = |&number: &usize| {
        let found = number.checked_sub(1).and_then(|index| QUERIES.get(index));
        found.ok_or_else(|| CommandError::Usage(format!("there is no query {number}: 1 to {}", QUERIES.len())))
    };
    numbers.iter().map(query).collect()
}

/// A cluster on free ports of the loopback, with the caller's data.
pub fn shape(config: &Config, executors: usize, slots: usize, config_file: &Option<PathBuf>) -> ClusterShape {
    ClusterShape {
        executors,
        slots,
        data: config.cluster.data.clone(),
        own_directory: true,
        catalog: match &config.coordinator.catalog {
            Some(url) if url.contains("://") => None,
            Some(directory) => Some(PathBuf::from(directory)),
            None => Some(config.cluster.data.join("catalog")),
        },
        config_file: config_file.clone(),
        http_listen: "127.0.0.1:0".to_owned(),
        executor_memory: Some(config.executor.memory).filter(|memory| memory.0 > 0),
        log_level: config.log.level.clone(),
        stderr: Stderr::Kept,
    }
}
