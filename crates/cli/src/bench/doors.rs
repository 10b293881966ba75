//! `frazil bench doors`: what each front door costs: `SELECT 1` over a kept connection, statements a second, rows of a large result.
//!
//! One cluster, one door after the other. The client shares the machine with the cluster, and does as little as it can: it checks that
//! the answer is whole, and makes no values of it.

mod flight;
mod plain;
mod rest;
mod snowflake;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use frazil_common::ByteSize;
use futures::future::{BoxFuture, try_join_all};
use serde_json::{Value, json};

use plain::{PlainFlight, Source};

use super::shape;
use crate::client::ClientError;
use crate::config::Config;
use crate::failure::CommandError;
use crate::processes::{Cluster, memory};

const WARM_UP: usize = 200;
/// Statements of which the median is.
const TIMED: usize = 1000;
/// Of the large result, of which the median is.
const LARGE_RUNS: usize = 3;
/// What `mb_per_s` divides.
const MEGABYTE: f64 = 1e6;

pub struct DoorsRequest {
    pub executors: usize,
    pub slots: usize,
    /// That send `SELECT 1` at the same time.
    pub connections: usize,
    pub seconds: u64,
    /// Of the large result, with ten columns.
    pub rows: u64,
    /// Opened at the beginning, each used once; their memory is told.
    pub sessions: usize,
    pub json: bool,
    pub config_file: Option<PathBuf>,
}

/// A connection through one door, kept between statements.
trait Door: Send + Sync {
    /// Runs a statement, and returns when its last row is there. Returns how many there were.
    fn run<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<u64, ClientError>>;
}

type Connect = for<'a> fn(&'a str) -> BoxFuture<'a, Result<Arc<dyn Door>, ClientError>>;

const DOORS: [(&str, Connect); 4] = [
    ("rest_json", rest::connect_json),
    ("rest_arrow", rest::connect_arrow),
    ("snowflake", snowflake::connect),
    ("flight_sql", flight::connect),
];

/// Of the large result, kept in memory for the stream that the doors are compared with.
const PLAIN_ROWS: u64 = 1_000_000;

#[derive(Debug)]
struct Measured {
    door: &'static str,
    select1_ms_median: f64,
    statements_per_s: f64,
    /// Of the result's Arrow arrays, whatever form they are sent in.
    mb_per_s: f64,
    /// `mb_per_s` as a part of that of a plain Flight stream from memory.
    of_plain_flight: f64,
    /// And as a part of that of one whose server makes the rows, as a door's cluster has to.
    of_computed_flight: f64,
}

pub async fn run(config: Config, request: DoorsRequest) -> Result<(), CommandError> {
    let mut shape = shape(&config, request.executors, request.slots, &request.config_file);
    // Nobody's tables are looked at.
    shape.catalog = None;
    let cluster = Cluster::start(&shape).await?;
    // First, while the coordinator keeps nothing else.
    let sessions = open_sessions(&cluster, request.sessions).await;
    let measured = match &sessions {
        Ok(_) => measure(cluster.url(), &request).await,
        Err(_) => Ok(Vec::new()),
    };
    cluster.stop().await;
    let (sessions, measured) = (sessions?, measured?);
    if request.json {
        for one in &measured {
            println!("{}", one.to_json());
        }
        return Ok(());
    }
    let titles = ["SELECT 1, ms", "statements/s", "MB/s", "of plain Flight", "of computed"];
    println!(
        "  {:<12} {:>14} {:>14} {:>10} {:>16} {:>12}",
        "door", titles[0], titles[1], titles[2], titles[3], titles[4]
    );
    for one in &measured {
        println!(
            "  {:<12} {:>14.3} {:>14.0} {:>10.1} {:>16.2} {:>12.2}",
            one.door,
            one.select1_ms_median,
            one.statements_per_s,
            one.mb_per_s,
            one.of_plain_flight,
            one.of_computed_flight
        );
    }
    if let Some((before, after)) = sessions {
        println!("{} sessions: the coordinator has {after} of memory, and had {before} before", request.sessions);
    }
    Ok(())
}

impl Measured {
    fn to_json(&self) -> Value {
        json!({
            "door": self.door, "select1_ms_median": self.select1_ms_median, "statements_per_s": self.statements_per_s,
            "mb_per_s": self.mb_per_s, "of_plain_flight": self.of_plain_flight,
            "of_computed_flight": self.of_computed_flight,
        })
    }
}

async fn measure(url: &str, request: &DoorsRequest) -> Result<Vec<Measured>, CommandError> {
    let large = large(request.rows);
    let bytes = rest::arrow_bytes(url, &large).await? as f64;
    let batches = flight::batches(url, &large, request.rows.min(PLAIN_ROWS)).await?;
    let plain = PlainFlight::start(Source::memory(batches, request.rows)?).await?;
    let plain_s = seconds_of("plain Flight", request.rows, || plain.run()).await?;
    eprintln!("plain Flight stream from memory: {:.1} MB/s", bytes / MEGABYTE / plain_s);
    let computing = Source::Query { sql: large.clone(), partitions: request.executors * request.slots };
    let computing = PlainFlight::start(computing).await?;
    let computed_s = seconds_of("computing Flight", request.rows, || computing.run()).await?;
    eprintln!("plain Flight stream of rows computed by its server: {:.1} MB/s", bytes / MEGABYTE / computed_s);
    let mut all = Vec::new();
    for (door, connect) in DOORS {
        let first = connect(url).await?;
        let mut times = Vec::with_capacity(TIMED);
        for number in 0..WARM_UP + TIMED {
            let started = Instant::now();
            first.run("SELECT 1").await?;
            if number >= WARM_UP {
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
        times.sort_unstable_by(f64::total_cmp);
        let doors = try_join_all((0..request.connections).map(|_| connect(url))).await?;
        let statements_per_s = statements_per_s(&doors, Duration::from_secs(request.seconds)).await?;
        let seconds = seconds_of(door, request.rows, || first.run(&large)).await?;
        let measured = Measured {
            door,
            select1_ms_median: times[times.len() / 2],
            statements_per_s,
            mb_per_s: bytes / MEGABYTE / seconds,
            of_plain_flight: plain_s / seconds,
            of_computed_flight: computed_s / seconds,
        };
        eprintln!("{measured:?}");
        all.push(measured);
    }
    Ok(all)
}

/// Seconds for the large result: the median of some runs, each of which must bring all rows.
async fn seconds_of<F>(door: &str, wanted: u64, run: impl Fn() -> F) -> Result<f64, CommandError>
where
    F: Future<Output = Result<u64, ClientError>>,
{
    let mut seconds = Vec::with_capacity(LARGE_RUNS);
    for _ in 0..LARGE_RUNS {
        let started = Instant::now();
        let rows = run().await?;
        seconds.push(started.elapsed().as_secs_f64());
        if rows != wanted {
            return Err(CommandError::Failed(format!("{door}: {rows} rows came of {wanted}")));
        }
    }
    seconds.sort_unstable_by(f64::total_cmp);
    Ok(seconds[LARGE_RUNS / 2])
}

/// Ten columns: whole numbers, decimals, floats, text, dates and times.
fn large(rows: u64) -> String {
    format!(
        "SELECT value AS a, value * 7 AS b, value % 1000 AS c, cast(value AS double) / 3 AS d, cast(value AS decimal(18, 2)) AS e, \
         'row ' || value AS f, repeat('x', cast(value % 20 AS int)) AS g, cast(value % 20000 AS int)::date AS h, \
         to_timestamp_micros(value * 1000) AS i, value % 2 = 0 AS j FROM generate_series(1, {rows})"
    )
}

async fn statements_per_s(doors: &[Arc<dyn Door>], limit: Duration) -> Result<f64, CommandError> {
    let count = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let loops = doors.iter().map(|door| {
        let (door, count) = (door.clone(), count.clone());
        tokio::spawn(async move {
            while started.elapsed() < limit {
                door.run("SELECT 1").await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), ClientError>(())
        })
    });
    for ended in loops.collect::<Vec<_>>() {
        ended.await.map_err(|error| CommandError::Failed(format!("a measuring task ended: {error}")))??;
    }
    Ok(count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}

/// The coordinator's memory before and after.
async fn open_sessions(cluster: &Cluster, sessions: usize) -> Result<Option<(ByteSize, ByteSize)>, CommandError> {
    if sessions == 0 {
        return Ok(None);
    }
    let pid = cluster.processes().next().map(|process| process.pid()).unwrap_or_default();
    let before = memory::resident_of(pid);
    rest::open_sessions(cluster.url(), sessions).await?;
    Ok(before.zip(memory::resident_of(pid)))
}
