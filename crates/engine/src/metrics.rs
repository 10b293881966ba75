//! What the operators of a task counted, in a form that travels and adds up over tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};

/// Sums by metric name, for one plan node.
pub type NodeMetrics = BTreeMap<String, u64>;

/// Metrics of each node, depth first, root first. Coordinator and executors see the same tree for a stage, so a node's
/// position names it on both sides.
pub fn collect(plan: &Arc<dyn ExecutionPlan>) -> Vec<NodeMetrics> {
    let mut nodes = Vec::new();
    visit(plan, &mut nodes);
    nodes
}

fn visit(plan: &Arc<dyn ExecutionPlan>, nodes: &mut Vec<NodeMetrics>) {
    let mut sums = NodeMetrics::new();
    if let Some(metrics) = plan.metrics() {
        for metric in metrics.iter() {
            let value = metric.value();
            // Points in time do not add up.
            if value.is_timestamp() {
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

/// Names of what operators that write count while they do.
pub const ROWS_WRITTEN: &str = "rows_written";
pub const BYTES_WRITTEN: &str = "bytes_written";
pub const FILES_WRITTEN: &str = "files_written";

/// What was written so far. A file's bytes count when it is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteProgress {
    pub rows: u64,
    pub bytes: u64,
    pub files: u64,
}

/// Of one partition of an operator that writes.
#[derive(Clone, Debug)]
pub struct WriteCounters {
    rows: Count,
    bytes: Count,
    files: Count,
}

impl WriteCounters {
    pub fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let counter = |name| MetricBuilder::new(metrics).counter(name, partition);
        Self { rows: counter(ROWS_WRITTEN), bytes: counter(BYTES_WRITTEN), files: counter(FILES_WRITTEN) }
    }

    pub fn rows(&self, rows: usize) {
        self.rows.add(rows);
    }

    pub fn file(&self, bytes: u64) {
        self.files.add(1);
        self.bytes.add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}

/// Whether an operator of the plan counts what it writes.
pub fn writes(plan: &Arc<dyn ExecutionPlan>) -> bool {
    matches!(plan.name(), "WriteFilesExec" | "UnloadExec") || plan.children().into_iter().any(writes)
}

/// What the plan's operators have written; `None` if none of them has begun to.
pub fn written(plan: &Arc<dyn ExecutionPlan>) -> Option<WriteProgress> {
    let own = plan.metrics().and_then(|metrics| {
        let sum = |name| metrics.sum_by_name(name).map(|value| value.as_usize() as u64);
        Some(WriteProgress { rows: sum(ROWS_WRITTEN)?, bytes: sum(BYTES_WRITTEN)?, files: sum(FILES_WRITTEN)? })
    });
    own.or_else(|| plan.children().into_iter().find_map(written))
}

/// Bytes that the plan's scans have read from files.
pub fn scanned_bytes(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
    let own = own.map_or(0, |value| value.as_usize() as u64);
    own + plan.children().into_iter().map(scanned_bytes).sum::<u64>()
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

/// `output_rows=12, elapsed_compute=3.4ms, …` as `EXPLAIN ANALYZE` shows them: what is zero is left out.
pub fn describe(metrics: &NodeMetrics) -> String {
    let shown = metrics.iter().filter(|(_, value)| **value > 0).map(|(name, value)| {
        if name.contains("time") || name.contains("elapsed") || name.contains("duration") {
            format!("{name}={:.2}ms", *value as f64 / 1e6)
        } else {
            format!("{name}={value}")
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}
