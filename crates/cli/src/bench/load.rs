//! `frazil bench load`: rows into tables. `CREATE TABLE AS SELECT` and `COPY INTO` against single-process DataFusion's `COPY … TO` over
//! the same Parquet files, in turn; and what an `INSERT` of one row takes, alone and beside others.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use frazil_common::ByteSize;
use frazil_datasets::{Bars, Destination, Tpch, load_tpch};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::shape;
use super::single::SingleServer;
use super::single_server::TableFiles;
use crate::client::{Client, ClientError, StatementContext};
use crate::config::Config;
use crate::failure::CommandError;
use crate::processes::{Cluster, memory};
use crate::tpch::schema_name;

/// What both sides compress with.
const COPY_OPTIONS: &str = "OPTIONS ('format.compression' 'zstd(1)')";
const CREATE: &str = "CREATE TABLE copy AS SELECT * FROM lineitem";
/// Before `COPY INTO`: it is not measured.
const EMPTY: &str = "CREATE TABLE copy AS SELECT * FROM lineitem LIMIT 0";
const COPY: &str = "COPY INTO copy FROM @lines PATTERN = '.*[.]parquet'";
/// Connections that insert at the same time.
const WRITERS: usize = 16;

pub struct LoadRequest {
    pub scale: f64,
    pub executors: usize,
    pub slots: usize,
    pub runs: usize,
    /// Of one row each; 0 leaves them out.
    pub inserts: usize,
    pub json: bool,
    pub config_file: Option<PathBuf>,
}

pub async fn run(config: Config, request: LoadRequest) -> Result<(), CommandError> {
    let source = config.cluster.data.join("bench").join(schema_name(request.scale));
    let made = load_tpch(Tpch::new(request.scale, Destination::local(&source)), Arc::new(Bars::on_stderr())).await;
    made.map_err(|error| CommandError::Failed(format!("writing {source:?}: {error}")))?;
    let source = source.canonicalize().map_err(CommandError::doing(format_args!("finding {source:?}")))?;
    let lines = format!("{}/lineitem/", source.display());
    let mut shape = shape(&config, request.executors, request.slots, &request.config_file);
    // Nothing is written into anybody's tables.
    shape.catalog = None;
    let cluster = Cluster::start(&shape).await?;
    let tables = TableFiles::from([("lineitem".to_owned(), vec![lines.clone()])]);
    let single = SingleServer::start(&tables, request.executors * request.slots);
    let measured = match single.await {
        Ok(mut single) => {
            let measured = measure(&request, &cluster, &mut single, &source, &lines).await;
            single.stop().await;
            measured
        }
        Err(error) => Err(error),
    };
    cluster.stop().await;
    let report = measured?;
    if request.json {
        println!("{}", report.to_json(&request));
    } else {
        report.print(&request);
    }
    Ok(())
}

#[derive(Default)]
struct Turns {
    /// Milliseconds of each.
    times: Vec<f64>,
    /// That the last one has written.
    bytes: u64,
}

#[derive(Default)]
struct Report {
    rows: u64,
    single: Turns,
    create: Turns,
    copy: Turns,
    peaks: Vec<(String, Option<ByteSize>)>,
    insert_alone: Vec<f64>,
    insert_beside: Vec<f64>,
    /// From the first of those to the last.
    insert_beside_s: f64,
}

async fn measure(
    request: &LoadRequest,
    cluster: &Cluster,
    single: &mut SingleServer,
    source: &Path,
    lines: &str,
) -> Result<Report, CommandError> {
    let client = Client::http(cluster.url())?;
    let context = StatementContext::default();
    let mut report = Report::default();
    client.query(&format!("CREATE EXTERNAL TABLE lineitem STORED AS PARQUET LOCATION '{lines}'"), &context).await?;
    let output = source.join("copy");
    let copy = format!("COPY (SELECT * FROM lineitem) TO '{}/' STORED AS PARQUET {COPY_OPTIONS}", output.display());
    let stage = format!("CREATE STAGE lines URL = '{lines}' FILE_FORMAT = (TYPE = PARQUET)");
    client.query(&stage, &context).await?;
    for turn in 0..request.runs {
        settle().await;
        let ended = single.query(&copy, request.executors * request.slots, false).await;
        report.single.bytes = bytes_below(&output);
        let removed = std::fs::remove_dir_all(&output);
        report.single.times.push(ended?.ms);
        removed.map_err(CommandError::doing(format_args!("removing {output:?}")))?;

        settle().await;
        let started = Instant::now();
        let answer = client.query_json(CREATE, &context).await?;
        report.create.times.push(started.elapsed().as_secs_f64() * 1e3);
        report.rows = number(&answer, 0)?;
        report.create.bytes = remove_copy(&client, &context, report.rows).await?;

        client.query(EMPTY, &context).await?;
        settle().await;
        let started = Instant::now();
        client.query_json(COPY, &context).await?;
        report.copy.times.push(started.elapsed().as_secs_f64() * 1e3);
        report.copy.bytes = remove_copy(&client, &context, report.rows).await?;
        let [single, create, copy] = [&report.single, &report.create, &report.copy].map(|turns| turns.times[turn]);
        eprintln!("turn {}: single {single:.0} ms, CREATE TABLE AS {create:.0} ms, COPY INTO {copy:.0} ms", turn + 1);
    }
    let peak = |name: &str, pid| (name.to_owned(), memory::peak_of(pid));
    report.peaks.push(peak(single.process().name(), single.process().pid()));
    report.peaks.extend(cluster.processes().map(|process| peak(process.name(), process.pid())));
    if request.inserts > 0 {
        measure_inserts(request.inserts, &client, &mut report).await?;
    }
    Ok(report)
}

/// Drops the table, which must have so many rows. Returns the bytes of its files.
async fn remove_copy(client: &Client, context: &StatementContext, rows: u64) -> Result<u64, CommandError> {
    let files = client.query_json("SELECT sum(rows), sum(bytes), min(path) FROM table_files('copy')", context).await?;
    let found = number(&files, 0)?;
    if found != rows {
        return Err(CommandError::Failed(format!("{rows} rows are to be written, {found} are there")));
    }
    client.query("DROP TABLE copy", context).await?;
    // A dropped table's files are kept, since it can be restored.
    if let Some(directory) = files["data"][0][2].as_str().and_then(|path| Path::new(path).parent()) {
        std::fs::remove_dir_all(directory).map_err(CommandError::doing(format_args!("removing {directory:?}")))?;
    }
    number(&files, 1)
}

async fn measure_inserts(inserts: usize, client: &Client, report: &mut Report) -> Result<(), CommandError> {
    let context = StatementContext::default();
    client.query("CREATE TABLE rows (writer int, number int, text varchar)", &context).await?;
    let insert = async |writer: usize, number: usize| -> Result<f64, ClientError> {
        let started = Instant::now();
        client.query_json(&format!("INSERT INTO rows VALUES ({writer}, {number}, 'a row')"), &context).await?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    for number in 0..inserts {
        report.insert_alone.push(insert(0, number).await?);
    }
    let started = Instant::now();
    let writers = (1..=WRITERS).map(|writer| {
        let insert = &insert;
        async move {
            let mut times = Vec::new();
            for number in 0..inserts.div_ceil(WRITERS) {
                times.push(insert(writer, number).await?);
            }
            Ok::<_, ClientError>(times)
        }
    });
    let times = try_join_all(writers).await?;
    report.insert_beside_s = started.elapsed().as_secs_f64();
    report.insert_beside = times.into_iter().flatten().collect();
    let wanted = report.insert_alone.len() + report.insert_beside.len();
    let counted =
        client.query_json("SELECT count(*) FROM (SELECT DISTINCT writer, number FROM rows)", &context).await?;
    match number(&counted, 0)? {
        found if found == wanted as u64 => Ok(()),
        found => Err(CommandError::Failed(format!("{wanted} rows were inserted, {found} are there"))),
    }
}

impl Turns {
    fn median(&self) -> f64 {
        at(&self.times, 0.5)
    }
}

impl Report {
    fn to_json(&self, request: &LoadRequest) -> Value {
        let insert = |times: &[f64]| json!({ "median_ms": at(times, 0.5), "p95_ms": at(times, 0.95), "most_ms": at(times, 1.0) });
        json!({
            "suite": "load", "scale": request.scale, "executors": request.executors, "slots": request.slots,
            "rows": self.rows, "single_ms": self.single.times, "create_ms": self.create.times, "copy_ms": self.copy.times,
            "single_median_ms": self.single.median(), "create_median_ms": self.create.median(), "copy_median_ms": self.copy.median(),
            "create_speed": self.speed(&self.create), "copy_speed": self.speed(&self.copy),
            "single_bytes": self.single.bytes, "create_bytes": self.create.bytes, "copy_bytes": self.copy.bytes,
            "peak_bytes": self.peaks.iter().map(|(name, peak)| (name.clone(), json!(peak.map(|peak| peak.0)))).collect::<serde_json::Map<_, _>>(),
            "insert_alone": insert(&self.insert_alone), "insert_beside": insert(&self.insert_beside),
            "inserts_beside_per_s": self.insert_beside.len() as f64 / self.insert_beside_s,
        })
    }

    /// Of the cluster, in single-process DataFusion's.
    fn speed(&self, turns: &Turns) -> f64 {
        self.single.median() / turns.median()
    }

    fn print(&self, request: &LoadRequest) {
        let (executors, slots) = (request.executors, request.slots);
        println!("lineitem of scale {}, {} rows, medians of {} turns each", request.scale, self.rows, request.runs);
        println!("  {:<44} {:>9} {:>10} {:>9}", "", "s", "written", "of single");
        let line = |name: String, turns: &Turns| {
            let (seconds, bytes) = (turns.median() / 1e3, ByteSize(turns.bytes).to_string());
            println!("  {name:<44} {seconds:>9.2} {bytes:>10} {:>9.2}", self.speed(turns));
        };
        line(format!("single-process COPY TO, {} threads", executors * slots), &self.single);
        line(format!("CREATE TABLE AS, {executors} executors of {slots} slots"), &self.create);
        line(format!("COPY INTO, {executors} executors of {slots} slots"), &self.copy);
        for (name, peak) in &self.peaks {
            let peak = peak.map_or_else(|| "unknown".to_owned(), |peak| peak.to_string());
            println!("  peak memory of {name:<20} {peak}");
        }
        if self.insert_alone.is_empty() {
            return;
        }
        println!("INSERT of one row, ms");
        println!("  {:<24} {:>8} {:>8} {:>8}", "", "median", "p95", "most");
        for (name, times) in
            [("alone".to_owned(), &self.insert_alone), (format!("beside {} others", WRITERS - 1), &self.insert_beside)]
        {
            let [median, p95, most] = [0.5, 0.95, 1.0].map(|part| at(times, part));
            println!("  {name:<24} {median:>8.2} {p95:>8.2} {most:>8.2}");
        }
        println!(
            "  {WRITERS} writers together: {:.0} rows a second",
            self.insert_beside.len() as f64 / self.insert_beside_s
        );
    }
}

/// A quantile; the median of an even number of turns is the later one.
fn at(times: &[f64], part: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * part).ceil() as usize).copied().unwrap_or(f64::NAN)
}

fn number(answer: &Value, column: usize) -> Result<u64, CommandError> {
    let cell = answer["data"][0][column].as_str().and_then(|cell| cell.parse().ok());
    cell.ok_or_else(|| CommandError::Failed(format!("the answer has no number in column {column}: {answer}")))
}

/// What was written before is on the disk, and not written while the next turn is measured.
async fn settle() {
    // SAFETY: it takes nothing and returns nothing.
    let synced = tokio::task::spawn_blocking(|| unsafe { libc::sync() });
    let _ = synced.await;
}

fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let times = [5.0, 1.0, 3.0];
        assert_eq!([0.0, 0.5, 1.0].map(|part| at(&times, part)), [1.0, 3.0, 5.0]);
        assert!(at(&[], 0.5).is_nan());
    }
}
