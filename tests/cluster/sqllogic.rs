//! The logic-test suites from elsewhere: set up in-process, mirrored to an engine as Parquet, each query asked of both.
//!
//! ```text
//! statement ─▶ in-process DataFusion            query ─▶ mirror what changed ─▶ in-process ┐
//!                                                                            └▶ engine ────┴▶ equal? ─▶ as in the file?
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqllogictest::{Record, Runner, parse_with_name};

use crate::support::cluster::{Cluster, Options};
use crate::support::engine::Engine;
use crate::support::oracle::Oracle;
use crate::support::paths;

mod cells;
mod mirror;
mod pair;
mod records;

use cells::Letter;
use pair::Pair;

/// Of the everyday run: joins, set operations, ordering, groups, views, few rows and many.
const EVERYDAY: [&str; 8] = [
    "sqlite/index/orderby/10/slt_good_7.slt",
    "sqlite/random/groupby/slt_good_3.slt",
    "verified/glaredb/standard/setops/union.slt",
    "verified/glaredb/standard/order/order_limit_offsets.slt",
    "verified/risingwave/batch/basic/join.slt",
    "verified/risingwave/batch/basic/logical_view.slt",
    "verified/risingwave/batch/grouping_sets/cube.slt",
    "verified/risingwave/batch/duckdb/join/full_outer/test_full_outer_join_inequality.slt",
];

/// Failures that say nothing about the engine: a part of their text, and why.
const BEYOND_THIS_RUNNER: [(&str, &str); 6] = [
    ("Invalid function 'md5'", "a function of a feature that is not compiled in"),
    ("cannot be written as Parquet", "a table of a type that Parquet does not have"),
    ("does not support logical expression Exists", "DataFusion 55 plans this over memory, but not over Parquet"),
    ("test_simple_projection.slt", "the file lacks the insert that its answers are about"),
    ("inf'::real::varchar", "DataFusion and the suite spell infinity as text in two ways"),
    ("public.", "the schema has another name in the engine"),
];

/// Records shown when a file fails; the rest is counted.
const SHOWN_PER_FILE: usize = 5;

/// `None`, loudly, where the suites are not there.
fn suites() -> Option<PathBuf> {
    let root = paths::shared_suites();
    if !root.is_dir() {
        eprintln!("SKIPPED: the logic-test suites are not at {}", root.display());
        return None;
    }
    Some(root)
}

/// Each file in turn, in a schema of its own. Panics with all that went wrong.
async fn check(engine: Arc<dyn Engine>, partitions: usize, files: &[PathBuf]) {
    let (mut wrong, mut asked, mut skipped) = (Vec::new(), 0, 0);
    for file in files {
        let outcome = run_file(engine.clone(), partitions, file).await;
        asked += outcome.queries;
        skipped += outcome.skipped;
        wrong.extend(outcome.wrong);
    }
    eprintln!(
        "{}: {asked} queries of {} files, {skipped} records skipped, {} wrong",
        engine.name(),
        files.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}: {} wrong\n{}", engine.name(), wrong.len(), wrong.join("\n\n"));
    // A runner that asks nothing finds nothing.
    assert!(asked >= files.len(), "only {asked} queries in {} files", files.len());
}

struct Outcome {
    queries: usize,
    skipped: usize,
    wrong: Vec<String>,
}

async fn run_file(engine: Arc<dyn Engine>, partitions: usize, file: &Path) -> Outcome {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let schema = format!("s_{}", FILES.fetch_add(1, Ordering::Relaxed));
    let script = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let parsed: Vec<Record<Letter>> =
        parse_with_name(&records::without_blank_lines_in_queries(&script), file.display().to_string())
            .unwrap_or_else(|e| panic!("{} cannot be parsed: {e}", file.display()));
    let oracle = Arc::new(Oracle::empty("single-process DataFusion"));
    let pair = Pair::new(oracle.clone(), engine.clone(), &schema, partitions).await;
    let settings = pair.settings();
    let mut made = Some(pair);
    let mut runner = Runner::new(|| {
        let pair = made.take().expect("the files use one connection");
        async move { Ok(pair) }
    });
    runner.with_validator(cells::same_rows);
    // The other suites' letters are their own engines'.
    if file.components().any(|folder| folder.as_os_str() == "sqlite") {
        runner.with_column_validator(cells::same_types);
    }
    let (mut queries, mut skipped, mut wrong, mut valuewise) = (0, 0, Vec::new(), false);
    for record in records::batch_inserts(parsed) {
        if let Record::Control(sqllogictest::Control::ResultMode(mode)) = &record {
            valuewise = matches!(mode, sqllogictest::ResultMode::ValueWise);
        }
        queries += usize::from(matches!(record, Record::Query { .. }));
        if matches!(record, Record::Halt { .. }) {
            break;
        }
        let record = records::free_of_row_order(record, valuewise, &oracle, &settings).await;
        if let Err(error) = runner.run_async(record).await {
            let text = error.display(false).to_string();
            match BEYOND_THIS_RUNNER.iter().find(|(sign, _)| text.contains(sign)) {
                Some((_, why)) => {
                    eprintln!("SKIPPED: {why}: {}", error.location());
                    skipped += 1;
                }
                None => wrong.push(text),
            }
        }
    }
    runner.shutdown_async().await;
    if wrong.len() > SHOWN_PER_FILE {
        let more = wrong.split_off(SHOWN_PER_FILE).len();
        wrong.push(format!("… and {more} more in {}", file.display()));
    }
    Outcome { queries, skipped, wrong }
}

fn everyday() -> Vec<PathBuf> {
    suites().map_or_else(Vec::new, |root| EVERYDAY.iter().map(|file| root.join(file)).collect())
}

fn all(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if let Some(root) = suites() {
        collect(&root.join(folder), &mut files);
    }
    files.sort();
    files
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display())) {
        let path = entry.expect("the directory is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "slt") {
            files.push(path);
        }
    }
}

async fn check_on_cluster(executors: usize, files: &[PathBuf]) {
    if files.is_empty() {
        return;
    }
    let cluster = Cluster::start(Options::executors(executors)).await;
    check(Arc::new(cluster), executors.max(2), files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_logic_tests_on_one_executor() {
    check_on_cluster(1, &everyday()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_logic_tests_on_three_executors() {
    check_on_cluster(3, &everyday()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn sqlite_logic_tests_on_one_executor() {
    check_on_cluster(1, &all("sqlite")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn sqlite_logic_tests_on_three_executors() {
    check_on_cluster(3, &all("sqlite")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn verified_logic_tests_on_one_executor() {
    check_on_cluster(1, &all("verified")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn verified_logic_tests_on_three_executors() {
    check_on_cluster(3, &all("verified")).await;
}

mod in_process {
    use super::*;

    async fn check_stand_in(files: &[PathBuf]) {
        if !files.is_empty() {
            check(Arc::new(Oracle::empty("DataFusion over the mirrored files")), 3, files).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn some_logic_tests_on_the_stand_in() {
        check_stand_in(&everyday()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "takes minutes"]
    async fn sqlite_logic_tests_on_the_stand_in() {
        check_stand_in(&all("sqlite")).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "takes minutes"]
    async fn verified_logic_tests_on_the_stand_in() {
        check_stand_in(&all("verified")).await;
    }
}
