//! Statements that explain a query: what is asked of the cluster for it, and the batch that is answered.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use frazil_common::Failure;
use frazil_engine::planner::PlannedQuery;

use crate::explain;
use crate::lifecycle::Statement;
use crate::placement::Placement;
use crate::query::{cut_for, needs_executors};
use crate::run::run_options;
use crate::service::Inner;

/// The rows of `EXPLAIN`.
pub fn plan(
    inner: &Inner,
    query: &PlannedQuery,
    logical: String,
    physical: Option<String>,
) -> Result<RecordBatch, Failure> {
    if !needs_executors(&query.plan) {
        return batch(explain::plan(logical, physical, query, None));
    }
    let mut executors = inner.runner.registry.usable();
    executors.truncate(query.partitions.max(1));
    // Without executors: as it would be on one.
    let names: Vec<String> = executors.iter().map(|executor| executor.id.0.clone()).collect();
    let slots: Vec<u32> = executors.iter().map(|executor| executor.slots).collect();
    let (names, slots) = if names.is_empty() { (vec!["(none)".to_owned()], vec![1]) } else { (names, slots) };
    let graph = cut_for(query, names.len())?;
    let placement = Placement::new(&graph, &slots);
    batch(explain::plan(logical, physical, query, Some((&graph, &placement, &names))))
}

/// Runs the query, and returns the rows of `EXPLAIN ANALYZE`.
pub async fn analyze(
    inner: &Arc<Inner>,
    statement: &Arc<Statement>,
    query: &PlannedQuery,
    verbose: bool,
) -> Result<RecordBatch, Failure> {
    let start = std::time::Instant::now();
    let mut running = inner.runner.run(query, &run_options(statement, true)).await?;
    let mut rows = 0;
    while let Some(batch) = running.next().await {
        rows += batch?.num_rows() as u64;
    }
    let report = running.report().await;
    let mut shown = explain::analysis(query, &report, rows, start.elapsed().as_secs_f64() * 1e3);
    if verbose {
        shown.extend(explain::tasks(&report));
    }
    batch(shown)
}

fn batch(rows: explain::Rows) -> Result<RecordBatch, Failure> {
    let fields = ["plan_type", "plan"].map(|name| Field::new(name, DataType::Utf8, false));
    let (names, texts): (Vec<String>, Vec<String>) = rows.into_iter().unzip();
    let columns = vec![Arc::new(StringArray::from(names)) as _, Arc::new(StringArray::from(texts)) as _];
    RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns)
        .map_err(|error| Failure::internal(error.to_string()))
}
