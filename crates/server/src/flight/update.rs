//! `DoPut`: statements that change something and tell how many rows they did, values for prepared statements, and rows to be ingested.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    Command, CommandPreparedStatementUpdate, CommandStatementUpdate, DoPutPreparedStatementResult, DoPutUpdateResult,
};
use arrow_flight::{FlightData, PutResult};
use bytes::Bytes;
use frazil_common::{ErrorCode, Failure};
use frazil_coordinator::statement::{Delivery, StatementRequest};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::{Response, Status, Streaming};

use super::identity::Client;
use super::sealed::{PreparedHandle, decode_bindings};
use super::statements::{Answer, run_to_end};
use super::{Answers, Door, command, ingest, invalid, prepared, status};

/// Rows of values that become one statement.
const ROWS_AT_ONCE: usize = 65_536;

pub async fn put(
    door: &Door,
    client: &Client,
    mut messages: Streaming<FlightData>,
) -> Result<Response<Answers<PutResult>>, Status> {
    let Some(first) = messages.message().await? else {
        return Err(status::of(invalid("the call ended before its descriptor came")));
    };
    let Some(descriptor) = first.flight_descriptor.clone() else {
        return Err(status::of(invalid("the first message has no descriptor")));
    };
    let command = command(&descriptor.cmd)?;
    let answer = match command {
        Command::CommandStatementUpdate(update) => counted(statement(door, client, update).await),
        Command::CommandPreparedStatementUpdate(update) => {
            counted(prepared_update(door, client, update, batches(first, messages)).await)
        }
        Command::CommandPreparedStatementQuery(query) => {
            let bound = async {
                let handle = prepared::open(door, client, &query.prepared_statement_handle)?;
                prepared::bind(door, client, handle, batches(first, messages)).await
            };
            let handle: Result<Bytes, Failure> = bound.await;
            handle
                .map(|handle| DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) }.encode_to_vec())
        }
        Command::CommandStatementIngest(wanted) => counted(ingest::ingest(door, client, wanted, first, messages).await),
        other => {
            let message = format!("{} takes no rows", other.type_url());
            Err(Failure::new(ErrorCode::NotSupported, message))
        }
    };
    let answer = PutResult { app_metadata: answer.map_err(status::of)?.into() };
    Ok(Response::new(stream::iter([Ok(answer)]).boxed()))
}

fn counted(count: Result<i64, Failure>) -> Result<Vec<u8>, Failure> {
    count.map(|record_count| DoPutUpdateResult { record_count }.encode_to_vec())
}

/// The batches of a call whose first message was taken already.
pub fn batches(
    first: FlightData,
    rest: Streaming<FlightData>,
) -> impl Stream<Item = Result<RecordBatch, Failure>> + Send + 'static {
    // Some clients send a descriptor alone before the schema.
    let first = (!first.data_header.is_empty()).then_some(Ok(first));
    let messages = stream::iter(first).chain(rest.map_err(|status| FlightError::Tonic(Box::new(status))));
    FlightRecordBatchStream::new_from_flight_data(messages).map_err(unreadable)
}

pub fn unreadable(error: FlightError) -> Failure {
    invalid(format!("the rows cannot be read: {error}"))
}

async fn statement(door: &Door, client: &Client, update: CommandStatementUpdate) -> Result<i64, Failure> {
    let session = door.transactions.enter(client, update.transaction_id.as_ref()).await?;
    let request = StatementRequest { session, ..StatementRequest::new(update.query, Delivery::Spooled) };
    run_to_end(door, client, None, request).await.map(|answer| rows_changed(&answer))
}

/// Runs a prepared statement for each row of values; all of them, or none has an effect.
async fn prepared_update(
    door: &Door,
    client: &Client,
    update: CommandPreparedStatementUpdate,
    batches: impl Stream<Item = Result<RecordBatch, Failure>>,
) -> Result<i64, Failure> {
    let handle = prepared::open(door, client, &update.prepared_statement_handle)?;
    let mut runs = std::pin::pin!(runs(&handle, batches));
    let Some(first) = runs.next().await.transpose()? else { return Ok(0) };
    let second = runs.next().await.transpose()?;
    let own = handle.transaction.is_none() && second.is_some();
    let transaction = match own {
        true => Some(door.transactions.begin(client)?),
        false => handle.transaction.clone(),
    };
    let outcome = async {
        let mut count = run(door, client, &handle, transaction.as_ref(), first).await?;
        let mut next = second;
        while let Some(values) = next {
            count += run(door, client, &handle, transaction.as_ref(), values).await?;
            next = runs.next().await.transpose()?;
        }
        Ok(count)
    };
    let outcome: Result<i64, Failure> = outcome.await;
    match transaction.filter(|_| own) {
        None => outcome,
        Some(id) => match outcome {
            Ok(count) => door.transactions.end(client, &id, true).await.map(|()| count),
            Err(failure) => {
                // What it was for has failed; that is what the client should hear.
                door.transactions.end(client, &id, false).await.ok();
                Err(failure)
            }
        },
    }
}

/// The values of each run: none for a statement without placeholders, many rows for an `INSERT` of one row, and one row for others.
fn runs<'a>(
    handle: &'a PreparedHandle,
    batches: impl Stream<Item = Result<RecordBatch, Failure>> + 'a,
) -> impl Stream<Item = Result<Option<RecordBatch>, Failure>> + 'a {
    if handle.parameters == 0 {
        return stream::iter([Ok(None)]).left_stream();
    }
    // Values that were bound before, for clients that then send none.
    let bound = handle.bindings.as_deref().map(decode_bindings);
    let at_once = if handle.takes_rows { ROWS_AT_ONCE } else { 1 };
    let split = move |batch: RecordBatch| {
        let slices = (0..batch.num_rows()).step_by(at_once);
        let slices = slices.map(|from| Ok(Some(batch.slice(from, at_once.min(batch.num_rows() - from)))));
        stream::iter(slices.collect::<Vec<_>>())
    };
    let checked = batches.map(|batch| {
        let batch = batch?;
        prepared::check_columns(handle, &batch)?;
        Ok(batch)
    });
    let all = match bound {
        Some(bound) => stream::iter([bound]).left_stream(),
        None => checked.right_stream(),
    };
    all.map_ok(split).try_flatten().right_stream()
}

async fn run(
    door: &Door,
    client: &Client,
    handle: &PreparedHandle,
    transaction: Option<&Bytes>,
    bindings: Option<RecordBatch>,
) -> Result<i64, Failure> {
    let session = door.transactions.enter(client, transaction).await?;
    let request =
        StatementRequest { session, bindings, ..StatementRequest::new(handle.sql.as_str(), Delivery::Spooled) };
    run_to_end(door, client, None, request).await.map(|answer| rows_changed(&answer))
}

/// What the statement says it has changed: the sum of its counts of rows, 0 where it is none that counts, and -1 for a query.
pub fn rows_changed(answer: &Answer) -> i64 {
    let fields = answer.schema.fields();
    let is_status = fields.len() == 1 && fields[0].name() == "status" && *fields[0].data_type() == DataType::Utf8;
    if is_status {
        return 0;
    }
    let counts = |name: &str| name.starts_with("number of rows ") || name == "rows_loaded" || name == "rows_unloaded";
    let columns: Vec<usize> = fields
        .iter()
        .enumerate()
        .filter(|(_, field)| counts(field.name()) && *field.data_type() == DataType::Int64)
        .map(|(column, _)| column)
        .collect();
    if columns.is_empty() {
        return -1;
    }
    let cells = answer.batches.iter().flat_map(|batch| {
        columns.iter().flat_map(|column| {
            let values = batch.column(*column).as_primitive::<Int64Type>();
            (0..values.len()).map(|row| if values.is_null(row) { 0 } else { values.value(row) })
        })
    });
    cells.sum()
}
