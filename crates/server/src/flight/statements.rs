//! Statements: planned for `GetFlightInfo`, run for `DoGet`.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::sql::CommandStatementQuery;
use arrow_flight::{FlightData, FlightInfo};
use bytes::Bytes;
use frazil_common::{Failure, StatementId};
use frazil_coordinator::Caller;
use frazil_coordinator::describe::{Description, KeptPlan, StatementKind};
use frazil_coordinator::statement::{Delivery, Phase, ResultStream, StatementRequest};
use futures::StreamExt;
use tonic::Response;
use uuid::Uuid;

use super::identity::Client;
use super::info::{endpoint, flight_info};
use super::sealed::{Content, StatementTicket, TICKET_VALID, decode_bindings};
use super::{Answers, Door, invalid, rows};

/// The statement of a call, by which any other door finds it.
const STATEMENT: &str = "frazil-statement-handle";
/// The statement's own limit ends it before.
const WAIT: Duration = Duration::MAX;

/// Plans the statement, and returns an endpoint that runs it.
pub async fn info(door: &Door, client: &Client, query: CommandStatementQuery) -> Result<FlightInfo, Failure> {
    let (described, kept) = planned(door, client, &query.query, query.transaction_id.as_ref(), None).await?;
    if !described.parameters.is_empty() {
        return Err(invalid("the statement has placeholders: prepare it, and send values for them"));
    }
    let reads = described.kind == StatementKind::Query;
    let ticket = StatementTicket {
        sql: query.query,
        transaction: query.transaction_id,
        bindings: None,
        reads,
        id: keep(door, kept).into_bytes().to_vec(),
    };
    info_of(door, client, &described, vec![ticket])
}

/// The id of a new ticket, under which a plan is kept for it.
pub fn keep(door: &Door, kept: Option<KeptPlan>) -> Uuid {
    let id = Uuid::new_v4();
    if let Some(kept) = kept {
        door.plans.keep(id, kept);
    }
    id
}

/// An endpoint for each ticket. Of a statement that changes something no columns are told, so that its client waits until it is done.
pub fn info_of(
    door: &Door,
    client: &Client,
    described: &Description,
    tickets: Vec<StatementTicket>,
) -> Result<FlightInfo, Failure> {
    let schema = described.schema.as_deref().filter(|_| described.kind == StatementKind::Query);
    let principal = client.caller.principal();
    let endpoint = |ticket| endpoint(&door.sealer, principal, Content::Statement(ticket), TICKET_VALID);
    flight_info(schema, tickets.into_iter().map(endpoint).collect())
}

pub async fn schema(door: &Door, client: &Client, query: CommandStatementQuery) -> Result<SchemaRef, Failure> {
    let described = describe(door, client, &query.query, query.transaction_id.as_ref(), None).await?;
    Ok(described.schema.unwrap_or_else(|| Arc::new(Schema::empty())))
}

pub async fn describe(
    door: &Door,
    client: &Client,
    sql: &str,
    transaction: Option<&Bytes>,
    bindings: Option<RecordBatch>,
) -> Result<Description, Failure> {
    planned(door, client, sql, transaction, bindings).await.map(|(described, _)| described)
}

/// Plans the statement as its transaction or session sees things.
pub async fn planned(
    door: &Door,
    client: &Client,
    sql: &str,
    transaction: Option<&Bytes>,
    bindings: Option<RecordBatch>,
) -> Result<(Description, Option<KeptPlan>), Failure> {
    let session = match transaction {
        Some(id) => door.transactions.session(client, id).await?,
        None => client.session,
    };
    let request = StatementRequest { session, bindings, ..StatementRequest::new(sql, Delivery::Streamed) };
    let (described, kept) = client.caller.describe(request).await?;
    if described.kind == StatementKind::Session && client.session.is_none() && transaction.is_none() {
        // It would be without effect on whatever comes next.
        return Err(invalid("the statement changes its session, and there is none: log in, or set a session option"));
    }
    Ok((described, kept))
}

/// Runs the statement of a ticket.
pub async fn run(
    door: &Door,
    client: &Client,
    ticket: StatementTicket,
) -> Result<Response<Answers<FlightData>>, Failure> {
    let ticket_id = Uuid::from_slice(&ticket.id).map_err(|_| Failure::internal("a ticket without an id"))?;
    let bindings = ticket.bindings.as_deref().map(decode_bindings).transpose()?;
    let session = door.transactions.enter(client, ticket.transaction.as_ref()).await?;
    let request = StatementRequest { session, bindings, ..StatementRequest::new(ticket.sql, Delivery::Streamed) };
    if !ticket.reads {
        // Done once, whoever shows the ticket again because an answer was lost.
        let request = StatementRequest { delivery: Delivery::Spooled, request_id: Some(ticket_id), ..request };
        let answer = run_to_end(door, client, Some(ticket_id), request).await?;
        return Ok(with_handle(rows::encode_all(answer.schema, answer.batches), answer.id));
    }
    let id = client.caller.submit_planned(request, door.plans.take(ticket_id)).await?;
    let noted = door.streams.note(ticket_id, id);
    let mut abandoned = CancelWhenDropped::new(client.caller.clone(), id);
    let ResultStream { schema, batches } = client.caller.result_stream(id).await?;
    // From here on, dropping the stream cancels the statement.
    abandoned.disarm();
    let batches = batches.map(move |batch| {
        let _ = &noted;
        batch
    });
    Ok(with_handle(rows::encode(schema, batches), id))
}

/// A statement's whole answer.
pub struct Answer {
    pub id: StatementId,
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

/// Runs a statement whose answer is small. It is cancelled if the client goes away meanwhile.
pub async fn run_to_end(
    door: &Door,
    client: &Client,
    ticket: Option<Uuid>,
    request: StatementRequest,
) -> Result<Answer, Failure> {
    let caller = &client.caller;
    let id = caller.submit(request).await?;
    let _noted = ticket.map(|ticket| door.streams.note(ticket, id));
    let mut abandoned = CancelWhenDropped::new(caller.clone(), id);
    let status = caller.wait(id, WAIT).await;
    abandoned.disarm();
    let status = status?;
    let result = match (status.phase, status.failure, status.result) {
        (Phase::Finished, _, Some(result)) => result,
        (_, Some(failure), _) => return Err(failure),
        (phase, ..) => return Err(Failure::internal(format!("statement {id} is {phase}, and without a result"))),
    };
    let mut batches = Vec::new();
    for partition in 0..result.partitions.len() {
        batches.extend(caller.result_partition(id, partition).await?);
    }
    Ok(Answer { id, schema: result.schema, batches })
}

fn with_handle<T>(mut response: Response<T>, id: StatementId) -> Response<T> {
    if let Ok(value) = id.to_string().parse() {
        response.metadata_mut().insert(STATEMENT, value);
    }
    response
}

/// A client that goes away before its first row has no stream whose drop would stop the statement.
struct CancelWhenDropped {
    caller: Caller,
    id: StatementId,
    armed: bool,
}

impl CancelWhenDropped {
    fn new(caller: Caller, id: StatementId) -> Self {
        Self { caller, id, armed: true }
    }

    fn disarm(&mut self) {
        self.armed = false;
    }
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
