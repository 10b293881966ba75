//! `COPY INTO` a table: a write whose rows also tell what became of each staged file. `COPY INTO` a stage: a query whose rows become
//! files.

use std::sync::Arc;

use arrow::array::RecordBatch;
use frazil_common::{ErrorCode, Failure};
use frazil_engine::lake::{Report, Written, read_reports};
use frazil_engine::planner::PlannedQuery;
use frazil_engine::stages::{Load, Unload, by_path, read_scanned};

use crate::lifecycle::Statement;
use crate::query::RunOptions;
use crate::service::Inner;
use crate::transactions::Scope;
use crate::writes;

/// Loads the files and commits: their rows and the notes that they were loaded are one snapshot. Returns a row for each file.
pub async fn load(
    inner: &Arc<Inner>,
    statement: &Arc<Statement>,
    query: &PlannedQuery,
    mut written: Written,
    load: Load,
    options: &RunOptions,
    scope: Scope,
) -> Result<RecordBatch, Failure> {
    scope.check(&written.transaction)?;
    if load.purges() && matches!(scope, Scope::Transaction(_)) {
        let message = "PURGE = TRUE cannot be taken back, and so is not done in a transaction";
        return Err(Failure::new(ErrorCode::TransactionOpen, message));
    }
    let (rows, begun) = writes::write_rows(inner, query, &written, options).await?;
    let reports = read_reports(&rows)?;
    let staged = by_path(reports.iter().filter_map(|report| match report {
        Report::Staged(staged) => Some(staged.clone()),
        _ => None,
    }));
    let ledger = load.ledger(&staged, statement.id);
    let loaded = ledger.len();
    let failed = |error: frazil_catalog::CatalogError| Failure::new(error.code(), error.to_string());
    written.transaction.add_loaded_files(ledger).map_err(failed)?;
    writes::finish(inner, statement, written, reports, begun, scope).await?;
    tracing::info!(statement = %statement.id, files = loaded, "loaded");
    load.purge(&staged).await;
    load.answer(&staged)
}

/// Reads the files, and tells what is wrong with them. Nothing is loaded.
pub async fn try_load(
    inner: &Arc<Inner>,
    query: &PlannedQuery,
    load: &Load,
    options: &RunOptions,
) -> Result<RecordBatch, Failure> {
    let rows = run_again_if_lost(inner, query, options).await?;
    load.errors(&read_scanned(&rows)?)
}

/// Writes a query's rows into files, which are seen in their stage when all of them are there.
pub async fn unload(
    inner: &Arc<Inner>,
    statement: &Arc<Statement>,
    query: &PlannedQuery,
    unload: Unload,
    options: &RunOptions,
) -> Result<RecordBatch, Failure> {
    let mut unfinished = CleanUp(Some(unload));
    let rows = run_again_if_lost(inner, query, options).await?;
    let Some(unload) = unfinished.0.take() else { return Err(Failure::internal("an unload was lost")) };
    // Some files have their names and others not: it is not left at that.
    let _committing = statement.committing();
    unload.finish(&rows).await
}

/// Removes unfinished files when the statement fails, is cancelled, or its time is up.
struct CleanUp(Option<Unload>);

impl Drop for CleanUp {
    fn drop(&mut self) {
        if let (Some(unload), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { unload.clean_up().await });
        }
    }
}

/// All rows of a query that changes nothing which is seen: again, from its beginning, when an executor is lost.
async fn run_again_if_lost(
    inner: &Arc<Inner>,
    query: &PlannedQuery,
    options: &RunOptions,
) -> Result<Vec<RecordBatch>, Failure> {
    let mut tries = 0;
    loop {
        match all_rows(inner, query, options).await {
            Err(failure) if failure.code == ErrorCode::ExecutorLost && tries < inner.options.retries_max => {
                tries += 1;
                tracing::warn!(statement = options.statement, tries, %failure, "trying again");
            }
            rows => return rows,
        }
    }
}

async fn all_rows(inner: &Arc<Inner>, query: &PlannedQuery, options: &RunOptions) -> Result<Vec<RecordBatch>, Failure> {
    let mut running = inner.runner.run(query, options).await?;
    let mut rows = Vec::new();
    while let Some(batch) = running.next().await {
        rows.push(batch?);
    }
    Ok(rows)
}
