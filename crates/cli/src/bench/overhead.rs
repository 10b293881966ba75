//! `frazil bench overhead`: what a statement costs beside its work, on a cluster that runs already.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::shape;
use crate::client::{Client, ClientError, StatementContext};
use crate::config::Config;
use crate::failure::CommandError;
use crate::processes::Cluster;
use crate::tpch;

/// The table has as few rows at any scale, and the catalog does not know their sum.
const SQL: &str = "SELECT sum(r_regionkey) FROM region";
const SCALE: f64 = 0.1;
const WARM_UP: usize = 50;

pub struct OverheadRequest {
    pub executors: usize,
    pub slots: usize,
    pub statements: usize,
    pub json: bool,
    pub config_file: Option<PathBuf>,
}

pub async fn run(config: Config, request: OverheadRequest) -> Result<(), CommandError> {
    tpch::ensure(&config, SCALE).await?;
    let cluster = Cluster::start(&shape(&config, request.executors, request.slots, &request.config_file)).await?;
    let measured = measure(cluster.url(), request.statements).await;
    cluster.stop().await;
    let (arrow, plain) = measured?;
    if request.json {
        let figures = json!({
            "suite": "overhead", "sql": SQL, "executors": request.executors, "slots": request.slots,
            "statements": request.statements, "arrow": arrow.to_json(), "json": plain.to_json(),
        });
        println!("{figures}");
        return Ok(());
    }
    println!("{SQL}: {} statements over one connection, ms", request.statements);
    println!("  {:<12} {:>8} {:>8} {:>8} {:>8}", "answer", "least", "median", "p95", "most");
    for (name, times) in [("arrow stream", arrow), ("json", plain)] {
        let [least, median, p95, most] = [0.0, 0.5, 0.95, 1.0].map(|part| times.at(part));
        println!("  {name:<12} {least:>8.3} {median:>8.3} {p95:>8.3} {most:>8.3}");
    }
    Ok(())
}

/// Sorted, in milliseconds.
struct Times(Vec<f64>);

impl Times {
    fn new(mut times: Vec<f64>) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        Self(times)
    }

    fn at(&self, part: f64) -> f64 {
        let index = (part * self.0.len().saturating_sub(1) as f64).round() as usize;
        self.0.get(index).copied().unwrap_or_default()
    }

    fn to_json(&self) -> serde_json::Value {
        json!({ "median_ms": self.at(0.5), "p95_ms": self.at(0.95), "least_ms": self.at(0.0), "most_ms": self.at(1.0) })
    }
}

/// The two ways to answer take turns, so that both see the same machine.
async fn measure(url: &str, statements: usize) -> Result<(Times, Times), ClientError> {
    let client = Client::http(url)?;
    let context: StatementContext = tpch::context(SCALE);
    let (mut arrow, mut plain) = (Vec::with_capacity(statements), Vec::with_capacity(statements));
    for number in 0..WARM_UP + statements {
        let started = Instant::now();
        client.query(SQL, &context).await?;
        let between = Instant::now();
        client.query_json(SQL, &context).await?;
        if number >= WARM_UP {
            arrow.push((between - started).as_secs_f64() * 1e3);
            plain.push(between.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok((Times::new(arrow), Times::new(plain)))
}
