//! `PollFlightInfo`: a statement that runs while nobody waits, and whose rows are kept. Once it is done there is an endpoint for each
//! partition of its result: clients fetch them in parallel, in any order, and again, until the result expires.

use std::time::Duration;

use arrow_flight::sql::{Any, Command};
use arrow_flight::{FlightData, FlightDescriptor, FlightInfo, PollInfo};
use bytes::Bytes;
use frazil_common::{Failure, StatementId};
use frazil_coordinator::statement::{Delivery, Phase, StatementRequest, StatementStatus};
use prost::Message;
use tonic::Response;

use super::identity::Client;
use super::info::{endpoint, flight_info, timestamp};
use super::sealed::{Content, KeptTicket, PollHandle, TICKET_VALID, decode_bindings};
use super::{Answers, Door, command, invalid, prepared, rows, statements};

/// How long a poll waits for the end before it says how far the statement is.
const WAIT: Duration = Duration::from_secs(5);
/// How our descriptors for the next poll are marked.
const TYPE_URL: &str = "type.googleapis.com/frazil.PollHandle";

/// Begins a statement, or asks after one that was begun.
pub async fn poll(door: &Door, client: &Client, descriptor: FlightDescriptor) -> Result<PollInfo, Failure> {
    let id = match handle_in(door, client, &descriptor.cmd)? {
        Some(handle) => handle.statement.parse().map_err(|_| Failure::internal("a handle without a statement"))?,
        None => begin(door, client, &descriptor.cmd).await?,
    };
    let status = client.caller.wait(id, WAIT).await?;
    if let Some(failure) = status.failure {
        return Err(failure);
    }
    let done = status.phase == Phase::Finished;
    let (handle, expires) = door.sealer.seal(
        client.caller.principal(),
        Content::Poll(PollHandle { statement: id.to_string() }),
        TICKET_VALID,
    );
    let any = Any { type_url: TYPE_URL.to_owned(), value: handle };
    let next = FlightDescriptor::new_cmd(any.encode_to_vec());
    let info = info(door, client, &status)?.with_descriptor(if done { descriptor } else { next.clone() });
    Ok(PollInfo {
        info: Some(info),
        flight_descriptor: (!done).then_some(next),
        progress: Some(progress(&status)),
        expiration_time: (!done).then(|| timestamp(expires)),
    })
}

/// Our own handle, if the bytes are one.
pub fn handle_in(door: &Door, client: &Client, bytes: &Bytes) -> Result<Option<PollHandle>, Failure> {
    let Some(any) = Any::decode(bytes.clone()).ok().filter(|any| any.type_url == TYPE_URL) else { return Ok(None) };
    match door.sealer.open(&any.value, client.caller.principal())? {
        Content::Poll(handle) => Ok(Some(handle)),
        _ => Err(invalid("the descriptor is not one of a poll")),
    }
}

async fn begin(door: &Door, client: &Client, bytes: &Bytes) -> Result<StatementId, Failure> {
    let read = |status: tonic::Status| invalid(status.message());
    let (sql, transaction, bindings) = match command(bytes).map_err(read)? {
        Command::CommandStatementQuery(query) => (query.query, query.transaction_id, None),
        Command::CommandPreparedStatementQuery(query) => {
            let handle = prepared::open(door, client, &query.prepared_statement_handle)?;
            let bindings = handle.bindings.as_deref().map(decode_bindings).transpose()?;
            (handle.sql, handle.transaction, bindings)
        }
        other => return Err(invalid(format!("{} cannot be polled", other.type_url()))),
    };
    // What is wrong with it is told now.
    statements::describe(door, client, &sql, transaction.as_ref(), bindings.clone()).await?;
    let session = door.transactions.enter(client, transaction.as_ref()).await?;
    let request = StatementRequest { session, bindings, ..StatementRequest::new(sql, Delivery::Spooled) };
    client.caller.submit(request).await
}

fn info(door: &Door, client: &Client, status: &StatementStatus) -> Result<FlightInfo, Failure> {
    let Some(result) = status.result.as_ref().filter(|_| status.phase == Phase::Finished) else {
        return flight_info(None, Vec::new());
    };
    let principal = client.caller.principal();
    let endpoints = (0..result.partitions.len()).map(|partition| {
        let ticket = KeptTicket { statement: status.id.to_string(), partition: partition as u64 };
        endpoint(&door.sealer, principal, Content::Kept(ticket), TICKET_VALID)
    });
    let mut info = flight_info(Some(result.schema.as_ref()), endpoints.collect())?;
    info.total_records = i64::try_from(result.rows).unwrap_or(-1);
    Ok(info)
}

/// From 0 to 1, by the splits that are read, or the tasks that have ended where nothing is read.
fn progress(status: &StatementStatus) -> f64 {
    let progress = status.progress;
    let (done, all) = match progress.splits {
        0 => (progress.tasks_finished, progress.tasks),
        splits => (progress.splits_finished, splits),
    };
    match (status.phase, all) {
        (Phase::Finished, _) => 1.0,
        (_, 0) => 0.0,
        // Not everything is done when all of them are.
        (_, all) => (f64::from(done) / f64::from(all)).min(0.99),
    }
}

/// The rows of a kept partition.
pub async fn kept_rows(client: &Client, ticket: &KeptTicket) -> Result<Response<Answers<FlightData>>, Failure> {
    let id: StatementId = ticket.statement.parse().map_err(|_| Failure::internal("a ticket without a statement"))?;
    let partition = usize::try_from(ticket.partition).map_err(|_| Failure::internal("a ticket of no partition"))?;
    let status = client.caller.status(id)?;
    let batches = client.caller.result_partition(id, partition).await?;
    let schema = match (status.result, batches.first()) {
        (Some(result), _) => result.schema,
        (None, Some(first)) => first.schema(),
        (None, None) => return Err(Failure::internal(format!("statement {id} has no result"))),
    };
    Ok(rows::encode_all(schema, batches))
}
