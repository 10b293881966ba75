//! `DoAction`: what is neither asked for as rows nor sent as rows.

use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionEndTransactionRequest, Any,
    EndTransaction, ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, RenewFlightEndpointRequest,
    Ticket,
};
use bytes::Bytes;
use frazil_common::{ErrorCode, Failure};
use futures::{StreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status};

use super::identity::{Client, set_cookie};
use super::info::timestamp;
use super::{Answers, Door, cancel, invalid, prepared, session, status};

const ACTIONS: [(&str, &str); 12] = [
    ("CreatePreparedStatement", "Plans a statement, and returns a handle, its columns and its placeholders"),
    ("ClosePreparedStatement", "Ends a prepared statement"),
    ("BeginTransaction", "Begins a transaction, which sees what is there when its first statement comes"),
    ("EndTransaction", "Commits a transaction or rolls it back"),
    ("CancelQuery", "Stops what runs for a FlightInfo"),
    ("CancelFlightInfo", "Stops what runs for a FlightInfo"),
    ("RenewFlightEndpoint", "Makes a ticket valid for longer"),
    ("SetSessionOptions", "Sets database, schema and settings of the session; begins one if there is none"),
    ("GetSessionOptions", "Returns database, schema and settings of the session"),
    ("CloseSession", "Ends the session, and rolls back what it has not committed"),
    ("BeginSavepoint", "Refused: there are no savepoints"),
    ("EndSavepoint", "Refused: there are no savepoints"),
];

pub fn list() -> Answers<ActionType> {
    let offered = ACTIONS.iter().filter(|(name, _)| !name.ends_with("Savepoint"));
    let types = offered.map(|(name, description)| {
        Ok(ActionType { r#type: (*name).to_owned(), description: (*description).to_owned() })
    });
    stream::iter(types.collect::<Vec<_>>()).boxed()
}

/// One message at most is the answer.
pub async fn perform(door: &Door, request: Request<Action>) -> Result<Response<Answers<arrow_flight::Result>>, Status> {
    let client = door.client(&request).await?;
    let Action { r#type, body } = request.into_inner();
    if r#type == "SetSessionOptions" {
        return set_session_options(door, client, body).await.map_err(status::of);
    }
    let body = answer(door, &client, &r#type, body).await.map_err(status::of)?;
    Ok(answered(body))
}

fn answered(body: Option<Bytes>) -> Response<Answers<arrow_flight::Result>> {
    Response::new(stream::iter(body.map(|body| Ok(arrow_flight::Result { body }))).boxed())
}

async fn answer(door: &Door, client: &Client, name: &str, body: Bytes) -> Result<Option<Bytes>, Failure> {
    Ok(match name {
        "CreatePreparedStatement" => {
            let request: ActionCreatePreparedStatementRequest = command(&body)?;
            Some(any(&prepared::create(door, client, request).await?))
        }
        "ClosePreparedStatement" => {
            let request: ActionClosePreparedStatementRequest = command(&body)?;
            prepared::open(door, client, &request.prepared_statement_handle)?;
            None
        }
        "BeginTransaction" => {
            let _: ActionBeginTransactionRequest = command(&body)?;
            let transaction_id = door.transactions.begin(client)?;
            Some(any(&ActionBeginTransactionResult { transaction_id }))
        }
        "EndTransaction" => {
            let request: ActionEndTransactionRequest = command(&body)?;
            let commit = match request.action() {
                EndTransaction::Commit => true,
                EndTransaction::Rollback => false,
                EndTransaction::Unspecified => return Err(invalid("the end of the transaction is not told")),
            };
            door.transactions.end(client, &request.transaction_id, commit).await?;
            None
        }
        "CancelQuery" => {
            let request: ActionCancelQueryRequest = command(&body)?;
            let info = cancel::decode_info(&request.info)?;
            let result = cancel::cancel(door, client, &info).await? as i32;
            Some(any(&ActionCancelQueryResult { result }))
        }
        "CancelFlightInfo" => {
            let request: CancelFlightInfoRequest = message(body)?;
            let info = request.info.ok_or_else(|| invalid("the info to cancel is missing"))?;
            let outcome: CancelStatus = cancel::cancel(door, client, &info).await?;
            Some(CancelFlightInfoResult { status: outcome as i32 }.encode_to_vec().into())
        }
        "RenewFlightEndpoint" => {
            let request: RenewFlightEndpointRequest = message(body)?;
            let mut endpoint = request.endpoint.ok_or_else(|| invalid("the endpoint to renew is missing"))?;
            let ticket = endpoint.ticket.take().ok_or_else(|| invalid("the endpoint to renew has no ticket"))?;
            let (ticket, expires) = door.sealer.renew(&ticket.ticket, client.caller.principal())?;
            endpoint.ticket = Some(Ticket { ticket });
            endpoint.expiration_time = Some(timestamp(expires));
            Some(endpoint.encode_to_vec().into())
        }
        "GetSessionOptions" => Some(session::get(client).await?.encode_to_vec().into()),
        "CloseSession" => Some(session::close(door, client).await?.encode_to_vec().into()),
        "BeginSavepoint" | "EndSavepoint" => return Err(not_supported("a savepoint")),
        "CreatePreparedSubstraitPlan" => return Err(not_supported("a Substrait plan")),
        other => return Err(not_supported(&format!("action {other:?}"))),
    })
}

/// Of a client that has no session, one begins here, and a cookie tells it from now on.
async fn set_session_options(
    door: &Door,
    client: Client,
    body: Bytes,
) -> Result<Response<Answers<arrow_flight::Result>>, Failure> {
    if client.session.is_none() && !client.keeps_session {
        let message = "the client has no session and keeps no cookies, so the options would be without effect: log in, or switch cookies on";
        return Err(Failure::new(ErrorCode::UndefinedSession, message));
    }
    let (session, begun) = match client.session {
        Some(session) => (session, false),
        None => (client.caller.open_session(None, None, Vec::new())?, true),
    };
    let result = session::set(door, &client, session, body).await?;
    let mut response = answered(Some(result.encode_to_vec().into()));
    if begun {
        set_cookie(&mut response, &client.caller, session)?;
    }
    Ok(response)
}

/// Flight SQL's own messages come with their type around them.
fn command<M: ProstMessageExt>(body: &[u8]) -> Result<M, Failure> {
    let any = Any::decode(body).map_err(|error| invalid(format!("the action's body cannot be read: {error}")))?;
    let unpacked = any.unpack().map_err(|error| invalid(format!("the action's body cannot be read: {error}")))?;
    unpacked.ok_or_else(|| invalid(format!("the action's body is {:?}, not {:?}", any.type_url, M::type_url())))
}

fn message<M: Message + Default>(body: Bytes) -> Result<M, Failure> {
    M::decode(body).map_err(|error| invalid(format!("the action's body cannot be read: {error}")))
}

fn any(message: &impl ProstMessageExt) -> Bytes {
    message.as_any().encode_to_vec().into()
}

fn not_supported(what: &str) -> Failure {
    Failure::new(ErrorCode::NotSupported, format!("{what} is not supported"))
}
