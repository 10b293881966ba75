//! `EXPLAIN` and `EXPLAIN ANALYZE`: the stages, where they run and what they did.

use std::fmt::Write as _;

use frazil_engine::metrics;
use frazil_engine::planner::PlannedQuery;

use crate::placement::Placement;
use crate::query::{RunReport, needs_executors};
use crate::stage_graph::{Stage, StageGraph};

/// Rows of two columns: a name and a text.
pub type Rows = Vec<(String, String)>;

/// Of a query that has not run: its stages on the executors that are there now.
pub fn plan(logical: String, query: &PlannedQuery, spread: Option<(&StageGraph, &Placement, &[String])>) -> Rows {
    let mut rows = vec![("logical_plan".to_owned(), logical)];
    let summary = format!("partitions={} scan_bytes={}", query.partitions, query.scan_bytes);
    let text = match spread {
        Some((graph, placement, executors)) => {
            let stages = graph.describe(|stage| on_executors(stage, placement, executors), |_, _| String::new());
            let subqueries: usize = graph.subqueries.iter().map(|level| level.links.len()).sum();
            format!("{summary} executors={} scalar_subqueries={subqueries}\n{stages}", executors.len())
        }
        None => {
            let here = datafusion::physical_plan::displayable(query.plan.as_ref()).indent(false).to_string();
            debug_assert!(!needs_executors(&query.plan) || query.partitions > 0);
            format!("{summary} executors=0\nroot on coordinator\n{here}")
        }
    };
    rows.push(("distributed_plan".to_owned(), text));
    rows
}

/// Of a query that has run: the same with the metrics of all tasks added up.
pub fn analysis(query: &PlannedQuery, report: &RunReport, rows: u64, elapsed_ms: f64) -> Rows {
    let mut text = format!(
        "rows={rows} elapsed={elapsed_ms:.2}ms partitions={} scan_bytes={} attempts={}\n",
        query.partitions, query.scan_bytes, report.attempts
    );
    match (&report.graph, &report.placement) {
        (Some(graph), Some(placement)) => {
            let exchanged: u64 = report.stages.values().map(|stage| stage.exchanged_bytes).sum();
            let _ = writeln!(text, "bytes_exchanged={exchanged}");
            let stage_line = |stage: &Stage| {
                let place = on_executors(stage, placement, &report.executors);
                match report.stages.get(&stage.id) {
                    Some(ran) => format!(
                        "{place}, rows={} bytes_exchanged={} elapsed={:.2}ms",
                        ran.rows_out,
                        ran.exchanged_bytes,
                        ran.elapsed_ns as f64 / 1e6
                    ),
                    None => format!("{place}, stopped early"),
                }
            };
            let node_line = |stage: &Stage, node: usize| {
                let figures = report.stages.get(&stage.id).and_then(|ran| ran.nodes.get(node)).map(metrics::describe);
                figures.filter(|text| !text.is_empty()).map_or(String::new(), |text| format!(", metrics=[{text}]"))
            };
            text.push_str(&graph.describe(stage_line, node_line));
        }
        _ => {
            text.push_str("root on coordinator\n");
            text.push_str(&datafusion::physical_plan::displayable(query.plan.as_ref()).indent(false).to_string());
        }
    }
    vec![("Plan with Metrics".to_owned(), text)]
}

fn on_executors(stage: &Stage, placement: &Placement, executors: &[String]) -> String {
    let places = placement.of_stage(stage.id).map(|task| {
        let name = executors.get(task.executor).map_or("?", String::as_str);
        format!("{name}={:?}", task.partitions)
    });
    format!(" on {}", places.collect::<Vec<_>>().join(" "))
}
