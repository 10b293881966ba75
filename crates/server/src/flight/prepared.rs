//! Prepared statements. A handle holds the statement itself, and the values that were bound to it: nothing is kept on this side, and a
//! handle that is never closed costs nothing.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::FlightInfo;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, CommandPreparedStatementQuery,
};
use bytes::Bytes;
use frazil_common::{ErrorCode, Failure};
use frazil_coordinator::describe::{Description, StatementKind};
use frazil_coordinator::memory::own_bytes;
use futures::{Stream, StreamExt};

use super::identity::Client;
use super::info::schema_bytes;
use super::sealed::{Content, HANDLE_VALID, PreparedHandle, StatementTicket, decode_bindings, encode_bindings};
use super::statements::{describe, info_of, keep, planned};
use super::{Door, invalid};

/// Rows of values that a query runs for: each is an endpoint.
const QUERY_ROWS_MAX: usize = 1000;
/// Of values in a handle, which goes to and fro.
const BINDINGS_BYTES_MAX: usize = 8 << 20;

pub async fn create(
    door: &Door,
    client: &Client,
    request: ActionCreatePreparedStatementRequest,
) -> Result<ActionCreatePreparedStatementResult, Failure> {
    let described = describe(door, client, &request.query, request.transaction_id.as_ref(), None).await?;
    let parameters = parameters_schema(&described);
    let handle = PreparedHandle {
        sql: request.query,
        transaction: request.transaction_id,
        parameters: u32::try_from(described.parameters.len()).unwrap_or(u32::MAX),
        bindings: None,
        takes_rows: described.takes_rows,
        reads: described.kind == StatementKind::Query,
    };
    let (handle, _) = door.sealer.seal(client.caller.principal(), Content::Prepared(handle), HANDLE_VALID);
    // What changes something has no rows worth a schema: clients take that for an update.
    let dataset = described.schema.filter(|_| described.kind == StatementKind::Query);
    Ok(ActionCreatePreparedStatementResult {
        prepared_statement_handle: handle,
        dataset_schema: schema_bytes(dataset.as_deref().unwrap_or(&Schema::empty()))?,
        parameter_schema: schema_bytes(&parameters)?,
    })
}

/// A column for each placeholder; of type null where any is as good.
fn parameters_schema(described: &Description) -> Schema {
    let fields = described.parameters.iter().enumerate().map(|(number, data_type)| {
        Field::new(format!("${}", number + 1), data_type.clone().unwrap_or(DataType::Null), true)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

pub fn open(door: &Door, client: &Client, handle: &Bytes) -> Result<PreparedHandle, Failure> {
    match door.sealer.open(handle, client.caller.principal())? {
        Content::Prepared(handle) => Ok(handle),
        _ => Err(invalid("the handle is not a prepared statement's")),
    }
}

/// A handle with values, for the next `GetFlightInfo`.
pub async fn bind(
    door: &Door,
    client: &Client,
    mut handle: PreparedHandle,
    batches: impl Stream<Item = Result<RecordBatch, Failure>>,
) -> Result<Bytes, Failure> {
    let mut batches = std::pin::pin!(batches);
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = batches.next().await.transpose()? {
        check_columns(&handle, &batch)?;
        bytes += own_bytes(&batch);
        if bytes > BINDINGS_BYTES_MAX {
            let message = format!("values of a query have more than {} MB", BINDINGS_BYTES_MAX >> 20);
            return Err(Failure::new(ErrorCode::TooComplex, message));
        }
        taken.push(batch);
    }
    handle.bindings = match taken.first() {
        None => None,
        Some(first) => {
            let all = concat_batches(&first.schema(), &taken);
            Some(encode_bindings(&all.map_err(|error| invalid(format!("values of different types: {error}")))?)?)
        }
    };
    let (handle, _) = door.sealer.seal(client.caller.principal(), Content::Prepared(handle), HANDLE_VALID);
    Ok(handle)
}

/// Refuses values that are not as many as the placeholders.
pub fn check_columns(handle: &PreparedHandle, batch: &RecordBatch) -> Result<(), Failure> {
    if batch.num_columns() == handle.parameters as usize {
        return Ok(());
    }
    let message = format!(
        "the statement has {} placeholders, and values for {} were sent",
        handle.parameters,
        batch.num_columns()
    );
    Err(invalid(message))
}

/// Plans it with its values, if it needs any. A query has an endpoint for each row of them.
pub async fn info(door: &Door, client: &Client, query: CommandPreparedStatementQuery) -> Result<FlightInfo, Failure> {
    let handle = open(door, client, &query.prepared_statement_handle)?;
    let runs = runs(&handle)?;
    let first = runs.first().cloned().flatten();
    let (described, mut kept) = planned(door, client, &handle.sql, handle.transaction.as_ref(), first).await?;
    if !described.parameters.is_empty() {
        let message = format!("the statement has {} placeholders: send values for them", described.parameters.len());
        return Err(invalid(message));
    }
    let tickets = runs.into_iter().map(|values| {
        Ok(StatementTicket {
            sql: handle.sql.clone(),
            transaction: handle.transaction.clone(),
            bindings: values.as_ref().map(encode_bindings).transpose()?,
            reads: described.kind == StatementKind::Query,
            // There is one for a statement without values alone, which has one ticket.
            id: keep(door, kept.take()).into_bytes().to_vec(),
        })
    });
    let tickets = tickets.collect::<Result<Vec<_>, Failure>>()?;
    info_of(door, client, &described, tickets)
}

/// The values of each run of the statement; a statement without placeholders runs once without any.
fn runs(handle: &PreparedHandle) -> Result<Vec<Option<RecordBatch>>, Failure> {
    let Some(bytes) = handle.bindings.as_deref().filter(|_| handle.parameters > 0) else { return Ok(vec![None]) };
    let values = decode_bindings(bytes)?;
    if handle.takes_rows || values.num_rows() == 1 {
        return Ok(vec![Some(values)]);
    }
    if values.num_rows() > QUERY_ROWS_MAX {
        let message = format!("{} rows of values were sent, and a query takes {QUERY_ROWS_MAX}", values.num_rows());
        return Err(Failure::new(ErrorCode::TooComplex, message));
    }
    Ok((0..values.num_rows()).map(|row| Some(values.slice(row, 1))).collect())
}

pub async fn schema(door: &Door, client: &Client, query: CommandPreparedStatementQuery) -> Result<SchemaRef, Failure> {
    let handle = open(door, client, &query.prepared_statement_handle)?;
    let values = runs(&handle)?.into_iter().next().flatten();
    let described = describe(door, client, &handle.sql, handle.transaction.as_ref(), values).await?;
    Ok(described.schema.unwrap_or_else(|| Arc::new(Schema::empty())))
}
