//! Statements that write rows. They are written by a query like any other; what its tasks report becomes one change, or none.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use frazil_common::{ErrorCode, Failure, failpoint};
use frazil_engine::lake::{Answer, Begun, Report, Written, read_reports};
use frazil_engine::planner::PlannedQuery;

use crate::lifecycle::Statement;
use crate::query::RunOptions;
use crate::service::Inner;
use crate::statement::StatementRequest;
use crate::transactions::Scope;

/// What a request of this id has done before, its answer having been lost. Another statement under the id of a request that
/// was committed is refused: its client would take the first one's success for that of what it has sent now.
pub async fn committed_before(inner: &Inner, request: &StatementRequest) -> Result<Option<String>, Failure> {
    let Some(id) = request.request_id else { return Ok(None) };
    let failed = |error: frazil_catalog::CatalogError| Failure::new(error.code(), error.to_string());
    let check = |fingerprint: Option<String>| match fingerprint.is_some_and(|first| first != request.fingerprint()) {
        true => {
            let message = format!("requestId {id} came with another statement before: give each its own");
            Err(Failure::new(ErrorCode::RequestIdReused, message))
        }
        false => Ok(()),
    };
    for database in inner.databases.all().await.map_err(failed)? {
        let Some(found) = database.find_request(&id.to_string()).await.map_err(failed)? else { continue };
        check(found.fingerprint)?;
        return Ok(Some(format!("the request {id} was applied before, as snapshot {}", found.snapshot)));
    }
    let Some(found) = inner.databases.find_request(&id.to_string()).await.map_err(failed)? else { return Ok(None) };
    check(found.fingerprint)?;
    Ok(Some(format!("the request {id} was applied before: {}", found.done)))
}

/// Runs the query that writes, and commits its files. Returns the row that counts.
pub async fn write(
    inner: &Arc<Inner>,
    statement: &Arc<Statement>,
    query: &PlannedQuery,
    written: Written,
    options: &RunOptions,
    scope: Scope,
) -> Result<RecordBatch, Failure> {
    scope.check(&written.transaction)?;
    let (rows, begun) = write_rows(inner, query, &written, options).await?;
    let answer = finish(inner, statement, written, read_reports(&rows)?, begun, scope).await?;
    counted(answer)
}

/// Runs the query that writes. Returns what its writers tell, and their files.
pub async fn write_rows(
    inner: &Arc<Inner>,
    query: &PlannedQuery,
    written: &Written,
    options: &RunOptions,
) -> Result<(Vec<RecordBatch>, Begun), Failure> {
    failpoint::reach("write.planned");
    let mut tries = 0;
    loop {
        // What was written and reported by a try that fails, or is cancelled, is removed.
        let (location, mut begun) = written.place(&query.context)?;
        let first_run = options.observer.runs();
        match run(inner, query, options, &location, &mut begun).await {
            Ok(reports) => {
                failpoint::reach("write.reported");
                return Ok((reports, begun));
            }
            // Nothing of it is seen before the commit: other executors write all of it again, into other files.
            Err(failure) if failure.code == ErrorCode::ExecutorLost && tries < inner.options.retries_max => {
                tries += 1;
                tracing::warn!(statement = options.statement, tries, %failure, "writing again");
                options.observer.retried(first_run);
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Makes what was written part of the table, or removes it.
pub async fn finish(
    inner: &Inner,
    statement: &Arc<Statement>,
    written: Written,
    reports: Vec<Report>,
    mut begun: Begun,
    scope: Scope,
) -> Result<Answer, Failure> {
    let paths = begun.take();
    let (transaction, answer) = written.complete(reports)?;
    let finished = scope.finish(inner, statement, transaction).await;
    if let Err(failure) = &finished
        && matches!(failure.code, ErrorCode::Conflict | ErrorCode::DiskFull)
    {
        // Surely not committed. After other failures nobody knows.
        begun.put_back(paths);
    }
    finished.map(|()| answer)
}

/// A change that removes rows and writes none.
pub async fn remove(
    inner: &Inner,
    statement: &Arc<Statement>,
    written: Written,
    rows: i64,
    scope: Scope,
) -> Result<RecordBatch, Failure> {
    let answer = written.answer_without_rows(rows);
    scope.finish(inner, statement, *written.transaction).await?;
    counted(answer)
}

async fn run(
    inner: &Arc<Inner>,
    query: &PlannedQuery,
    options: &RunOptions,
    location: &str,
    begun: &mut Begun,
) -> Result<Vec<RecordBatch>, Failure> {
    let mut running = inner.runner.run(query, options).await?;
    let mut reports = Vec::new();
    while let Some(batch) = running.next().await {
        let batch = batch?;
        begun.add_reported(location, &batch)?;
        reports.push(batch);
    }
    Ok(reports)
}

fn counted(answer: Answer) -> Result<RecordBatch, Failure> {
    let (fields, numbers): (Vec<_>, Vec<_>) = answer
        .into_iter()
        .map(|(name, number)| {
            let numbers: ArrayRef = Arc::new(Int64Array::from(vec![number]));
            (Field::new(name, DataType::Int64, false), numbers)
        })
        .unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), numbers)
        .map_err(|error| Failure::internal(format!("a count: {error}")))
}
