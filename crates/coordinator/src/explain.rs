//! `EXPLAIN` and `EXPLAIN ANALYZE`: the stages, where they run and what they did.

use std::fmt::Write as _;

use frazil_engine::explain::lines;
use frazil_engine::metrics;
use frazil_engine::planner::PlannedQuery;

use crate::placement::Placement;
use crate::query::{RunReport, needs_executors};
use crate::stage_graph::{Stage, StageGraph};

/// Rows of two columns: a name and a text.
pub type Rows = Vec<(String, String)>;

/// Of a query that has not run: its stages on the executors that are there now, after the plan that was cut if it is asked
/// for.
pub fn plan(
    logical: String,
    physical: Option<String>,
    query: &PlannedQuery,
    spread: Option<(&StageGraph, &Placement, &[String])>,
) -> Rows {
    let mut rows = vec![("logical_plan".to_owned(), logical)];
    rows.extend(physical.map(|plan| ("physical_plan".to_owned(), plan)));
    let summary = format!("partitions={} scan_bytes={}", query.partitions, query.scan_bytes);
    let text = match spread {
        Some((graph, placement, executors)) => {
            let stages = graph.describe(|stage| on_executors(stage, placement, executors), |_, _| String::new());
            let subqueries: usize = graph.subqueries.iter().map(|level| level.links.len()).sum();
            let pruned = pruned_scans(query);
            format!("{summary} executors={} scalar_subqueries={subqueries}\n{pruned}{stages}", executors.len())
        }
        None => {
            let here = lines(&query.plan);
            debug_assert!(!needs_executors(&query.plan) || query.partitions > 0);
            format!("{summary} executors=0\n{}root on coordinator\n{here}", pruned_scans(query))
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
    text.push_str(&pruned_scans(query));
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
            text.push_str(&lines(&query.plan));
        }
    }
    vec![("Plan with Metrics".to_owned(), text)]
}

/// A line for each scan of a table of the catalog: what its statistics left of it.
fn pruned_scans(query: &PlannedQuery) -> String {
    query.pruned.iter().map(|scan| format!("{scan}\n")).collect()
}

/// Of a query that has run: each task by itself, with the figures of its operators. None where nothing was spread.
pub fn tasks(report: &RunReport) -> Option<(String, String)> {
    let (graph, placement) = (report.graph.as_ref()?, report.placement.as_ref()?);
    let mut text = String::new();
    for stage in graph.stages.iter().rev() {
        let plan = lines(&stage.plan);
        for place in placement.of_stage(stage.id) {
            let name = report.executors.get(place.executor).map_or("?", String::as_str);
            let _ = write!(text, "stage {} on {name}: partitions={:?}", stage.id, place.partitions);
            let ran = report.tasks.iter().find(|task| task.executor == place.executor && task.stage == stage.id);
            let Some(ran) = ran else {
                let _ = writeln!(text, ", stopped early");
                continue;
            };
            let _ = writeln!(
                text,
                ", rows={} bytes_scanned={} bytes_exchanged={} elapsed={:.2}ms",
                ran.figures.rows_out,
                ran.scanned_bytes,
                ran.figures.exchanged_bytes,
                ran.figures.elapsed_ns as f64 / 1e6
            );
            for (line, figures) in plan.lines().zip(&ran.figures.nodes) {
                // The operators' arguments are in the row before.
                let operator = line.split(':').next().unwrap_or(line);
                let _ = writeln!(text, "  {operator}, metrics=[{}]", metrics::describe(figures));
            }
        }
    }
    Some(("tasks".to_owned(), text))
}

fn on_executors(stage: &Stage, placement: &Placement, executors: &[String]) -> String {
    let places = placement.of_stage(stage.id).map(|task| {
        let name = executors.get(task.executor).map_or("?", String::as_str);
        format!("{name}={:?}", task.partitions)
    });
    format!(" on {}", places.collect::<Vec<_>>().join(" "))
}
