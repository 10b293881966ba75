//! What the operators of a task counted, in a form that travels and adds up over tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::metrics::MetricValue;

use crate::generate::GenerateExec;
use crate::lake::WriteFilesExec;
use crate::stages::UnloadExec;

/// Sums by metric name, for one plan node.
pub type NodeMetrics = BTreeMap<String, u64>;

/// At the end of a metric's name: of how many the metric tells how many were left out.
const OF: &str = "/of";

/// Metrics of each node, depth first, root first. Coordinator and executors see the same tree for a stage, so a node's
/// position names it on both sides.
pub fn collect(plan: &Arc<dyn ExecutionPlan>) -> Vec<NodeMetrics> {
    let mut nodes = Vec::new();
    visit(plan, &mut nodes);
    nodes
}

fn visit(plan: &Arc<dyn ExecutionPlan>, nodes: &mut Vec<NodeMetrics>) {
    // Nor is it shown: see [`crate::explain::lines`].
    if let Some(yielding) = plan.downcast_ref::<CooperativeExec>() {
        return visit(yielding.input(), nodes);
    }
    let mut sums = NodeMetrics::new();
    if let Some(metrics) = plan.metrics() {
        for metric in metrics.iter() {
            let value = metric.value();
            // Points in time do not add up.
            if value.is_timestamp() {
                continue;
            }
            if let MetricValue::PruningMetrics { name, pruning_metrics } = value {
                let pruned = pruning_metrics.pruned() as u64;
                *sums.entry(name.to_string()).or_default() += pruned;
                *sums.entry(format!("{name}{OF}")).or_default() += pruned + pruning_metrics.matched() as u64;
                continue;
            }
            *sums.entry(value.name().to_owned()).or_default() += value.as_usize() as u64;
        }
    }
    nodes.push(sums);
    for child in plan.children() {
        visit(child, nodes);
    }
}

/// How far scans are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Scanned {
    /// Files, ranges of files and pieces of generated tables that are done with.
    pub splits: u64,
    /// Handed on, after the filters that a scan applies by itself.
    pub rows: u64,
    /// Read from files, compressed.
    pub bytes: u64,
}

/// What a scan that generates its rows counts its pieces with. Scans of files count them as `files_processed`.
pub const PARTS_MADE: &str = "parts_made";

/// The scans of a plan, which are its leaves that have splits. They hold nothing of what the operators above them keep.
pub fn scans(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    let mut found = Vec::new();
    collect_scans(plan, &mut found);
    found
}

fn collect_scans(plan: &Arc<dyn ExecutionPlan>, found: &mut Vec<Arc<dyn ExecutionPlan>>) {
    if plan.is::<DataSourceExec>() || plan.is::<GenerateExec>() {
        found.push(plan.clone());
    }
    plan.children().into_iter().for_each(|child| collect_scans(child, found));
}

/// How far these scans are, together.
pub fn scanned(scans: &[Arc<dyn ExecutionPlan>]) -> Scanned {
    let mut sum = Scanned::default();
    for metrics in scans.iter().filter_map(|scan| scan.metrics()) {
        for metric in metrics.iter() {
            let value = metric.value();
            let counted = match value.name() {
                "files_processed" | PARTS_MADE => &mut sum.splits,
                "output_rows" => &mut sum.rows,
                "bytes_scanned" => &mut sum.bytes,
                _ => continue,
            };
            *counted += value.as_usize() as u64;
        }
    }
    sum
}

/// What writers count their rows and files' bytes with.
pub const ROWS_WRITTEN: &str = "rows_written";
pub const BYTES_WRITTEN: &str = "bytes_written";

/// Rows and bytes that a plan's writers have written so far; `None` of a plan that writes nothing.
pub fn written(plan: &Arc<dyn ExecutionPlan>) -> Option<(u64, u64)> {
    let own = (plan.is::<WriteFilesExec>() || plan.is::<UnloadExec>()).then(|| plan.metrics()).flatten();
    let own = own.map(|metrics| {
        let sum = |name| metrics.sum_by_name(name).map_or(0, |value| value.as_usize() as u64);
        (sum(ROWS_WRITTEN), sum(BYTES_WRITTEN))
    });
    let below = plan.children().into_iter().filter_map(written);
    below.chain(own).reduce(|a, b| (a.0 + b.0, a.1 + b.1))
}

/// Adds one task's metrics to the stage's.
pub fn merge(stage: &mut Vec<NodeMetrics>, node: usize, metrics: impl IntoIterator<Item = (String, u64)>) {
    if stage.len() <= node {
        stage.resize_with(node + 1, NodeMetrics::new);
    }
    for (name, value) in metrics {
        *stage[node].entry(name).or_default() += value;
    }
}

/// `output_rows=12, elapsed_compute=3.4ms, row_groups_pruned_statistics=2 of 3, …` as `EXPLAIN ANALYZE` shows them: what is
/// zero is left out, but not that nothing was pruned of something.
pub fn describe(metrics: &NodeMetrics) -> String {
    let of = |name: &str| metrics.get(&format!("{name}{OF}")).copied();
    let is_shown = |name: &str, value: u64| !name.ends_with(OF) && (value > 0 || of(name).is_some_and(|of| of > 0));
    let shown = metrics.iter().filter(|(name, value)| is_shown(name, **value)).map(|(name, value)| {
        if let Some(of) = of(name) {
            format!("{name}={value} of {of}")
        } else if name.contains("time") || name.contains("elapsed") || name.contains("duration") {
            format!("{name}={:.2}ms", *value as f64 / 1e6)
        } else {
            format!("{name}={value}")
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}
