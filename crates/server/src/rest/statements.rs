//! The handlers of `/api/v2/statements`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use frazil_common::{ErrorCode, Failure, StatementId};
use frazil_coordinator::Caller;
use frazil_coordinator::statement::{Delivery, Phase, ResultInfo, ResultStream, StatementStatus};
use futures::stream::{self, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use uuid::Uuid;

use super::Door;
use super::answer::{self, ChangedRows, Refused, json_bytes};
use super::client::Client;
use super::compression::{accepts_gzip, gzipped};
use super::request::{self, CancelQuery, FetchQuery, SubmitQuery, invalid};
use crate::cells::{NullCell, Presentation, write_presented};
use crate::ipc;

const STATEMENT_HANDLE: HeaderName = HeaderName::from_static("frazil-statement-handle");

/// Cells above which rows are written off the I/O threads: about a millisecond of work.
const INLINE_CELLS_MAX: u64 = 10_000;

pub async fn submit(
    State(door): State<Arc<Door>>,
    Client(caller): Client,
    request: Request,
) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let query: SubmitQuery = request::query(&parts.uri)?;
    if query.retry && query.request_id.is_none() {
        return Err(invalid("query parameter \"retry\" needs a \"requestId\"").into());
    }
    request::check_content(&parts.headers)?;
    let body = request::read_body(body, &parts.headers, &door.options).await?;
    let wish = Wish::new(&parts.headers, query.nullable, None, query.request_id);
    // An asynchronous statement has no reader yet to stream to: its rows are kept, and can be fetched as Arrow.
    let delivery = if wish.arrow && !query.asynchronous { Delivery::Streamed } else { Delivery::Spooled };
    let statement = request::statement_request(&body, delivery, query.request_id)?;
    drop(body);
    let delivery = statement.delivery;
    let id = caller.submit(statement).await?;
    match delivery {
        Delivery::Streamed => Ok(stream_rows(&caller, id).await?),
        Delivery::Spooled if query.asynchronous => Ok(answer::in_progress(&caller.status(id)?)),
        Delivery::Spooled => {
            // Should the client go away while we wait, the statement runs on, as Snowflake's do.
            let status = caller.wait(id, door.options.synchronous_limit).await?;
            describe(&caller, status, &wish).await
        }
    }
}

pub async fn fetch(
    Client(caller): Client,
    handle: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let id = statement_id(handle)?;
    let query: FetchQuery = request::query(&uri)?;
    let wish = Wish::new(&headers, query.nullable, query.partition, query.request_id);
    let status = caller.status(id)?;
    describe(&caller, status, &wish).await
}

pub async fn cancel(
    Client(caller): Client,
    handle: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Refused> {
    let id = statement_id(handle)?;
    let CancelQuery { request_id: _ } = request::query(&uri)?;
    Ok(answer::cancelled(&caller.cancel(id).await?))
}

/// A handle that cannot be one of ours is as unknown as any other.
pub fn statement_id(handle: Result<Path<String>, PathRejection>) -> Result<StatementId, Failure> {
    let written = handle.map(|Path(handle)| handle).unwrap_or_default();
    written.parse().map_err(|_| Failure::new(ErrorCode::UndefinedStatement, format!("statement {written:?} not found")))
}

/// How a client wants a result.
struct Wish {
    arrow: bool,
    gzip: bool,
    null_cell: NullCell,
    partition: Option<usize>,
    request_id: Option<Uuid>,
}

impl Wish {
    fn new(headers: &HeaderMap, nullable: Option<bool>, partition: Option<usize>, request_id: Option<Uuid>) -> Self {
        let null_cell = if nullable == Some(false) { NullCell::Text } else { NullCell::Null };
        let (arrow, gzip) = (request::accepts_arrow(headers), accepts_gzip(headers));
        Self { arrow, gzip, null_cell, partition, request_id }
    }
}

/// The answer that fits the statement's phase.
async fn describe(caller: &Caller, mut status: StatementStatus, wish: &Wish) -> Result<Response, Refused> {
    match status.phase {
        Phase::Received | Phase::Planned | Phase::Queued | Phase::Running => Ok(answer::in_progress(&status)),
        Phase::Failed | Phase::Cancelled => Ok(answer::statement_failed(&status, None)),
        Phase::Finished => {
            if !status.parts.is_empty() {
                return Ok(answer::several(&status));
            }
            match status.result.take() {
                Some(result) => kept_rows(caller, status, result, wish).await,
                None => Ok(answer::expired(&status)),
            }
        }
    }
}

async fn kept_rows(
    caller: &Caller,
    status: StatementStatus,
    result: ResultInfo,
    wish: &Wish,
) -> Result<Response, Refused> {
    let (id, partition, partitions) = (status.id, wish.partition.unwrap_or(0), result.partitions.len());
    if partition >= partitions.max(1) {
        let message = format!("partition {partition} of statement {id} not found: it has {}", partitions.max(1));
        return Err(invalid(message).into());
    }
    let batches = if partitions > 0 {
        Some(caller.result_partition(id, partition).await?)
    } else if result.rows == 0 {
        Some(Vec::new())
    } else {
        // Streamed to their one reader.
        None
    };
    let mut response = match batches {
        Some(batches) if wish.arrow => arrow(id, &result.schema, stream::iter(batches.into_iter().map(Ok)))?,
        None if wish.arrow => {
            let message = format!("rows of statement {id} were streamed and are not kept");
            return Err(Failure::new(ErrorCode::NotSupported, message).into());
        }
        batches => rows_as_json(status, result, batches, wish).await?,
    };
    if let Some(link) = answer::link(id, wish.request_id, partition, partitions) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Partition 0 comes with all about the result, later ones are their rows alone. A result that is not kept has no
/// `data` at all, so that nobody takes it for an empty one.
async fn rows_as_json(
    status: StatementStatus,
    result: ResultInfo,
    batches: Option<Vec<RecordBatch>>,
    wish: &Wish,
) -> Result<Response, Failure> {
    let rows: usize = batches.iter().flatten().map(RecordBatch::num_rows).sum();
    let cells = rows as u64 * result.schema.fields().len() as u64;
    let (first, null_cell, gzip) = (wish.partition.unwrap_or(0) == 0, wish.null_cell, wish.gzip);
    let presentation = Presentation::of(&status.client_settings)?;
    let write = move || {
        let mut body = if first {
            let changed = batches.as_deref().and_then(ChangedRows::of);
            answer::result_set_head(&status, &result, changed)
        } else {
            b"{".to_vec()
        };
        if let Some(batches) = batches {
            // A guess at their length, to grow but a few times.
            body.reserve(usize::try_from(cells.saturating_mul(12)).unwrap_or(0).min(16 << 20));
            body.extend_from_slice(if first { b",\"data\":[" } else { b"\"data\":[" });
            write_presented(&batches, null_cell, &presentation, &mut body)?;
            body.push(b']');
        }
        body.push(b'}');
        // As Snowflake does: the first partition is plain.
        match gzip && !first {
            true => gzipped(&body),
            false => Ok(json_bytes(StatusCode::OK, body)),
        }
    };
    if cells <= INLINE_CELLS_MAX {
        return write();
    }
    match tokio::task::spawn_blocking(write).await {
        Ok(written) => written,
        Err(_) => Err(Failure::internal("panic while rows were written as json")),
    }
}

/// The rows as they are made. The status line waits for the first batch, so that what fails before it is an ordinary
/// failure; what fails later breaks the body off.
async fn stream_rows(caller: &Caller, id: StatementId) -> Result<Response, Failure> {
    let mut abandoned = CancelWhenDropped { caller: caller.clone(), id, armed: true };
    let begun = async {
        let ResultStream { schema, mut batches } = caller.result_stream(id).await?;
        let first = batches.next().await.transpose()?;
        Ok((schema, first, batches))
    };
    let begun: Result<_, Failure> = begun.await;
    abandoned.armed = false;
    match begun {
        Ok((schema, first, batches)) => arrow(id, &schema, stream::iter(first.map(Ok)).chain(batches)),
        Err(failure) => match caller.status(id) {
            Ok(status) => Ok(answer::statement_failed(&status, Some(&failure))),
            Err(_) => Err(failure),
        },
    }
}

/// A client that goes away before its first row has no stream whose drop would stop the statement.
struct CancelWhenDropped {
    caller: Caller,
    id: StatementId,
    armed: bool,
}

impl Drop for CancelWhenDropped {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (caller, id) = (self.caller.clone(), self.id);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Nobody is left to hear of a failure, and the statement's own time limit still ends it.
            runtime.spawn(async move { caller.cancel(id).await.ok() });
        }
    }
}

fn arrow<S>(id: StatementId, schema: &Schema, batches: S) -> Result<Response, Failure>
where
    S: stream::Stream<Item = Result<RecordBatch, Failure>> + Send + Unpin + 'static,
{
    let body = Body::from_stream(ipc::encoded(schema, batches)?);
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(ipc::CONTENT_TYPE));
    if let Ok(handle) = HeaderValue::try_from(id.to_string()) {
        headers.insert(STATEMENT_HANDLE, handle);
    }
    Ok(response)
}
