//! `frazil bench scan`: what a statement over a table of very many files costs before anything is read, and what is answered
//! without reading at all.
//!
//! The files are rows of the catalog only: nothing opens them.

mod lake;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use frazil_common::ByteSize;
use serde::Serialize;

use super::shape;
use crate::client::{Client, StatementContext};
use crate::config::Config;
use crate::directory::RunDirectory;
use crate::failure::CommandError;
use crate::processes::{Cluster, ClusterShape, memory};

use lake::{COMMIT_FILES, ROWS_PER_FILE, SELECTED_FILES};

/// What planning over so many files is held to; more files may take longer.
const FILES_OF_TARGET: usize = 100_000;
const PLANNING_MS_MAX: f64 = 200.0;
const METADATA_MS_MAX: f64 = 5.0;
const COMMIT_MS_MAX: f64 = 100.0;
const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Statements over which warm figures are medians.
const WARM_RUNS: usize = 21;
const METADATA_RUNS: usize = 101;
/// After the first statement a list of files may still be read behind it.
const LOADED_AFTER: Duration = Duration::from_millis(500);
const LOADED_AFTER_PER_FILE: Duration = Duration::from_micros(3);

pub struct ScanRequest {
    pub files: usize,
    /// Databases beside the one that has the table.
    pub databases: usize,
    pub json: bool,
    pub config_file: Option<PathBuf>,
}

/// A figure, and what it should be at most.
#[derive(Serialize)]
struct Measure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    most: Option<f64>,
    reached: bool,
}

pub async fn run(config: Config, request: ScanRequest) -> Result<(), CommandError> {
    let directory = RunDirectory::create(&config.cluster.data)?;
    let commits = lake::create(directory.path(), request.files, request.databases).await?;
    let mut measures = vec![
        measure("commit of 1,000 files, mean", mean(&commits), "ms", Some(COMMIT_MS_MAX)),
        measure("commit of 1,000 files, worst", commits.iter().copied().fold(0.0, f64::max), "ms", None),
    ];
    let shape = ClusterShape {
        data: directory.path().to_owned(),
        own_directory: false,
        ..shape(&config, 1, 1, &request.config_file)
    };
    // Each first look is the first statement of a coordinator that has just started.
    for (peak, look) in [
        ("peak memory, selective predicate", selective as fn(usize) -> Look),
        ("peak memory, all files", whole),
        ("peak memory, counts", counted),
    ] {
        let cluster = Cluster::start(&shape).await?;
        let coordinator = cluster.processes().next().map(|process| process.pid()).unwrap_or_default();
        let measured = look(request.files).measure(cluster.url(), request.files).await;
        let bytes = memory::peak_of(coordinator).unwrap_or_default();
        cluster.stop().await;
        measures.extend(measured?);
        measures.push(measure(peak, bytes.0 as f64, "bytes", Some(MEMORY_BYTES_MAX as f64)));
    }
    let reached = measures.iter().all(|measure| measure.reached);
    match request.json {
        true => print_json(&request, &measures, reached),
        false => print_table(&request, &measures),
    }
    if reached { Ok(()) } else { Err(CommandError::Reported) }
}

/// Statements for one freshly started coordinator: the first one, and those that are then measured warm.
struct Look {
    first: (&'static str, String, Option<f64>),
    warm: Vec<(&'static str, String, usize, Option<f64>)>,
}

fn planning_limit(files: usize) -> Option<f64> {
    (files <= FILES_OF_TARGET).then_some(PLANNING_MS_MAX)
}

/// Ten files' worth of rows in the middle of the table.
fn selective(files: usize) -> Look {
    let from = files as i64 / 2 * ROWS_PER_FILE;
    let to = from + SELECTED_FILES as i64 * ROWS_PER_FILE - 1;
    let sql = format!("EXPLAIN SELECT * FROM wide WHERE id BETWEEN {from} AND {to}");
    Look {
        first: ("plan with a selective predicate, first", sql.clone(), planning_limit(files)),
        warm: vec![("plan with a selective predicate, warm", sql, WARM_RUNS, planning_limit(files))],
    }
}

/// Nothing is left out: the plan has every file.
fn whole(_: usize) -> Look {
    let sql = "EXPLAIN SELECT id, text_1 FROM wide".to_owned();
    Look {
        first: ("plan over all files, first", sql.clone(), None),
        warm: vec![("plan over all files, warm", sql, WARM_RUNS.min(7), None)],
    }
}

fn counted(_: usize) -> Look {
    let warm = |name, sql: &str| (name, sql.to_owned(), METADATA_RUNS, Some(METADATA_MS_MAX));
    Look {
        first: ("count(*), first", "SELECT count(*) FROM wide".to_owned(), None),
        warm: vec![
            warm("count(*)", "SELECT count(*) FROM wide"),
            warm("min and max", "SELECT min(id), max(id) FROM wide"),
            warm("count(*) with delete files", "SELECT count(*) FROM trimmed"),
            ("SELECT 1", "SELECT 1".to_owned(), METADATA_RUNS, None),
        ],
    }
}

impl Look {
    async fn measure(self, url: &str, files: usize) -> Result<Vec<Measure>, CommandError> {
        let client = Client::http(url)?;
        let context = StatementContext::default();
        let time = async |sql: &str| -> Result<f64, CommandError> {
            let started = Instant::now();
            let answer = client.query(sql, &context).await?;
            let elapsed = started.elapsed();
            lake::check(sql, &answer, files)?;
            Ok(elapsed.as_secs_f64() * 1e3)
        };
        let (name, sql, most) = self.first;
        let mut measures = vec![measure(name, time(&sql).await?, "ms", most)];
        for (name, sql, runs, most) in self.warm {
            let mut times = Vec::with_capacity(runs);
            tokio::time::sleep(LOADED_AFTER + LOADED_AFTER_PER_FILE * files as u32).await;
            // The first one fills what the table's other columns need.
            time(&sql).await?;
            for _ in 0..runs {
                times.push(time(&sql).await?);
            }
            times.sort_unstable_by(f64::total_cmp);
            measures.push(measure(name, times[times.len() / 2], "ms", most));
        }
        Ok(measures)
    }
}

fn measure(name: &'static str, value: f64, unit: &'static str, most: Option<f64>) -> Measure {
    Measure { name, value, unit, most, reached: most.is_none_or(|most| value <= most) }
}

fn mean(times: &[f64]) -> f64 {
    times.iter().sum::<f64>() / times.len().max(1) as f64
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn print_json(request: &ScanRequest, measures: &[Measure], reached: bool) {
    let figures = serde_json::json!({
        "suite": "scan", "files": request.files, "databases": request.databases, "files_per_commit": COMMIT_FILES,
        "measures": measures, "all_reached": reached,
    });
    println!("{figures}");
}

fn print_table(request: &ScanRequest, measures: &[Measure]) {
    println!("{} files of 16 columns, {} other databases", request.files, request.databases);
    let shown = |value: f64, unit: &str| match unit {
        "bytes" => ByteSize(value as u64).to_string(),
        _ => format!("{value:.1} {unit}"),
    };
    for one in measures {
        let most = one.most.map_or(String::new(), |most| {
            let verdict = if one.reached { "reached" } else { "MISSED" };
            format!("at most {}: {verdict}", shown(most, one.unit))
        });
        println!("  {:<40} {:>12}  {most}", one.name, shown(one.value, one.unit));
    }
}
