//! `frazil demo`: the 22 queries on a real cluster, next to single-process DataFusion, in a minute.

use std::path::PathBuf;

use crate::bench::{Contest, ContestPlan, Measured, Report, shape};
use crate::config::Config;
use crate::failure::CommandError;
use crate::tpch::{self, QUERIES};

const SCALE: f64 = 0.1;
const EXECUTORS: usize = 2;
const SLOTS: usize = 1;
/// The first one also reads the files' footers.
const RUNS: usize = 2;

pub async fn run(config: Config, config_file: Option<PathBuf>) -> Result<(), CommandError> {
    let (database, schema) = (tpch::SAMPLE_DATABASE, tpch::schema_name(SCALE));
    println!(
        "loading TPC-H-derived tables of scale {SCALE} into {database}.{schema}, in {}",
        config.cluster.data.display()
    );
    let tables = tpch::ensure(&config, SCALE).await?;
    println!("starting a coordinator and {EXECUTORS} executors of {SLOTS} slot on loopback");
    let plan = ContestPlan {
        scale: SCALE,
        tables,
        clusters: vec![shape(&config, EXECUTORS, SLOTS, &config_file)],
        single_threads: vec![EXECUTORS * SLOTS],
        single_partitions: vec![EXECUTORS * SLOTS],
        runs: RUNS,
    };
    let mut contest = Contest::start(plan).await?;
    let measured = run_queries(&mut contest).await;
    let report = measured.map(|measured| Report::new(contest.plan(), contest.partitions(), &measured, Vec::new()));
    contest.stop().await;
    let report = report?;
    finish(&config, &report);
    if report.all_equal() { Ok(()) } else { Err(CommandError::Reported) }
}

async fn run_queries(contest: &mut Contest) -> Result<Vec<Measured>, CommandError> {
    println!("\n{:<6} {:>6} {:>11} {:>16}  same answer", "query", "rows", "single ms", "distributed ms");
    contest.choose_partitions(&[]).await?;
    let mut all = Vec::with_capacity(QUERIES.len());
    for query in QUERIES {
        let measured = contest.measure(query).await?;
        let cluster = &measured.clusters[0];
        let ms = cluster.ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
        let same = if cluster.difference.is_none() { "yes" } else { "NO" };
        println!("{:<6} {:>6} {:>11.1} {ms:>16}  {same}", query.name, measured.rows, measured.singles[0]);
        if let Some(difference) = &cluster.difference {
            println!("       {}", difference.replace('\n', "\n       "));
        }
        all.push(measured);
    }
    Ok(all)
}

fn finish(config: &Config, report: &Report) {
    let run = &report.last;
    let total = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
    let equal = run.queries.iter().filter(|query| query.equal).count();
    let rows: usize = run.queries.iter().map(|query| query.rows).sum();
    println!(
        "{:<6} {rows:>6} {:>11} {:>16}  {equal} of {}",
        "total",
        total(run.single_ms_total),
        total(run.cluster_ms_total),
        run.queries.len()
    );
    let schema = tpch::schema_name(SCALE);
    println!("\nAll processes have stopped. The data stays in {}.", config.cluster.data.display());
    println!("Next:");
    println!("  frazil local                      the same cluster, kept running, with a SQL shell");
    println!("  frazil sql -c 'SELECT count(*) FROM {}.{schema}.lineitem'", tpch::SAMPLE_DATABASE);
    println!("  frazil load tpch --scale 1        more data");
    println!("  frazil bench tpch --scale 1       with times that mean something");
}
