//! How the 22 queries are cut, as a text file: read its diff before accepting it (`FRAZIL_TEST_ACCEPT=1` writes it anew).

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use frazil_catalog::{Backing, Databases, Holder};
use frazil_common::{ByteSize, Principal};
use frazil_coordinator::stage_graph::{Cut, StageGraph, cut};
use frazil_engine::explain::without_yields;
use frazil_engine::lake::ensure_default_schema;
use frazil_engine::limits::StatementLimits;
use frazil_engine::memory::runtime_env;
use frazil_engine::planner::{PlanRequest, Planned, Planner, PlannerOptions};
use frazil_engine::storage::StorageOptions;

use crate::queries::load;
use crate::support::data;
use crate::support::paths;

#[tokio::test(flavor = "multi_thread")]
async fn the_22_queries_are_cut_as_before() {
    let spill = tempfile::tempdir().expect("a directory");
    let storage = Arc::new(StorageOptions::default());
    let env = runtime_env(ByteSize::mib(256), ByteSize::gib(1), spill.path(), &storage).expect("an environment");
    let options = PlannerOptions {
        limits: StatementLimits::default(),
        time_limit: Duration::from_secs(60),
        partitions_per_slot: 1,
        small_scan: ByteSize(0),
        file_bytes: ByteSize::mib(256),
        deleted_part_max: 0.3,
    };
    let catalog = spill.path().join("catalog");
    let root = spill.path().join("warehouse").display().to_string();
    let databases = Databases::open(Backing::Directory(catalog), &root, &Holder::current("this test")).await;
    let databases = databases.expect("a catalog");
    let database = databases.create("frazil").await.expect("a database");
    ensure_default_schema(&database).await.expect("a schema");
    let planner = Planner::new(env, databases, storage, options, tokio::runtime::Handle::current()).expect("a planner");
    let plan = async |sql: String| {
        let settings = vec![("partitions".to_owned(), "4".to_owned())];
        let request = PlanRequest {
            sql,
            principal: Principal::embedded(),
            database: None,
            schema: None,
            lakes: None,
            system: None,
            settings,
            uploaded: None,
            bindings: None,
            describe_only: false,
            context: Default::default(),
            slots: 4,
            executors: 2,
        };
        planner.plan(request).await.expect("it plans")
    };
    for table in data::tpch().await {
        plan(format!("create external table {} stored as parquet location '{}'", table.name, table.location())).await;
    }
    let mut text = String::new();
    for query in load("tpch") {
        let Planned::Query(planned) = plan(query.sql).await else { panic!("{} is no query", query.name) };
        let graph = cut(planned.plan, Cut::Spread).unwrap_or_else(|e| panic!("{}: {e}", query.name));
        writeln!(text, "{}", query.name).expect("a string");
        describe(&graph, &mut text);
    }
    let path = paths::project_root().join("tests/snapshots/stage_graphs.txt");
    if std::env::var_os("FRAZIL_TEST_ACCEPT").is_some() {
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        std::fs::write(&path, &text).expect("written");
    }
    let accepted = std::fs::read_to_string(&path).unwrap_or_default();
    if accepted != text {
        let at = accepted.lines().zip(text.lines()).position(|(a, b)| a != b).unwrap_or(0);
        let show = |text: &str| text.lines().skip(at.saturating_sub(3)).take(12).collect::<Vec<_>>().join("\n");
        panic!(
            "stage graphs differ from line {}:\n--- accepted\n{}\n+++ now\n{}",
            at + 1,
            show(&accepted),
            show(&text)
        );
    }
}

/// Operators and exchanges, without expressions and paths.
fn describe(graph: &StageGraph, text: &mut String) {
    let subqueries: usize = graph.subqueries.iter().map(|level| level.links.len()).sum();
    if subqueries > 0 {
        writeln!(text, "  scalar subqueries first: {subqueries}").expect("a string");
    }
    writeln!(text, "  root").expect("a string");
    operators(&without_yields(&graph.root), 2, text);
    for stage in graph.stages.iter().rev() {
        let to = stage.consumer.map_or("root".to_owned(), |consumer| format!("stage {consumer}"));
        let spread = if stage.spread { "spread" } else { "whole" };
        let (id, partitions, kind) = (stage.id, stage.partitions, stage.kind);
        writeln!(text, "  stage {id}: partitions={partitions} {spread}, {kind} to {to}").expect("a string");
        operators(&without_yields(&stage.plan), 2, text);
    }
}

fn operators(plan: &Arc<dyn ExecutionPlan>, depth: usize, text: &mut String) {
    let read = plan.downcast_ref::<frazil_exchange::ExchangeReadExec>();
    let what = read.map_or(String::new(), |read| format!(" stage {} {}", read.exchange, read.kind));
    writeln!(text, "{}{}{what}", "  ".repeat(depth), plan.name()).expect("a string");
    plan.children().into_iter().for_each(|child| operators(child, depth + 1, text));
}
