//! What the operators of a task counted, in a form that travels and adds up over tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::metrics::MetricValue;

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

/// Bytes that the plan's scans have read from files.
pub fn scanned_bytes(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
    let own = own.map_or(0, |value| value.as_usize() as u64);
    own + plan.children().into_iter().map(scanned_bytes).sum::<u64>()
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
