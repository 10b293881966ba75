//! How far statements are, and how they are stopped.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use frazil_common::{Failure, StatementId};
use frazil_coordinator::statement::Phase;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Door;
use super::body::{self, SMALL};
use super::envelope::{Refused, answer, succeeded};
use super::session::{Client, Named};

#[derive(Deserialize)]
struct AbortRequest {
    #[serde(rename = "requestId")]
    request_id: Uuid,
}

/// Stops the statement that came with a request's id.
pub async fn abort_request(
    State(door): State<Arc<Door>>,
    client: Client,
    request: Request,
) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let AbortRequest { request_id } = body::read(&door, &parts.headers, body, SMALL).await?;
    if let Some(run) = client.run_of_request(request_id) {
        run.stop(&client).await?;
        return Ok(succeeded(Value::Null));
    }
    match client.statement_of_request(request_id) {
        Some(id) => stop(&client, id).await,
        None => Ok(not_running("no statement came with this request id")),
    }
}

pub async fn abort(client: Client, Named(id): Named) -> Result<Response, Refused> {
    match client.run(id) {
        Some(run) => {
            run.stop(&client).await?;
            Ok(succeeded(Value::Null))
        }
        None => stop(&client, id).await,
    }
}

async fn stop(client: &Client, id: StatementId) -> Result<Response, Refused> {
    let status = client.caller.cancel(id).await?;
    match status.phase {
        Phase::Finished | Phase::Failed => Ok(not_running(&format!("statement {id} is {}", status.phase))),
        _ => Ok(succeeded(Value::Null)),
    }
}

fn not_running(message: &str) -> Response {
    answer(&json!({ "data": null, "code": "000605", "message": message, "success": false }))
}

pub async fn status(client: Client, named: Result<Named, Refused>) -> Result<Response, Refused> {
    let nothing = || succeeded(json!({ "queries": [] }));
    let Ok(Named(id)) = named else { return Ok(nothing()) };
    if let Some(run) = client.run(id) {
        let (status, failure) = match (run.is_running(), run.failure()) {
            (true, _) => ("RUNNING", None),
            (false, None) => ("SUCCESS", None),
            (false, Some(failure)) => ("FAILED_WITH_ERROR", Some(failure)),
        };
        return Ok(succeeded(json!({ "queries": [one(&client, id, status, failure.as_ref(), json!({}))] })));
    }
    let Ok(known) = client.caller.status(id) else { return Ok(nothing()) };
    let status = match known.phase {
        Phase::Received | Phase::Planned | Phase::Running => "RUNNING",
        Phase::Queued => "QUEUED",
        Phase::Finished => "SUCCESS",
        Phase::Failed => "FAILED_WITH_ERROR",
        Phase::Cancelled => "ABORTED",
    };
    let ended_ms = known.ended_ms.unwrap_or(0);
    let more = json!({
        "sqlText": known.sql,
        "startTime": known.created_ms,
        "endTime": ended_ms,
        "totalDuration": ended_ms.saturating_sub(known.created_ms).min(i32::MAX as u64),
    });
    Ok(succeeded(json!({ "queries": [one(&client, id, status, known.failure.as_ref(), more)] })))
}

fn one(client: &Client, id: StatementId, status: &str, failure: Option<&Failure>, more: Value) -> Value {
    let mut one = json!({
        "id": id,
        "status": status,
        "state": status,
        "sessionId": client.session.number(),
        "warehouseName": client.warehouse(),
        "errorCode": failure.map(|failure| failure.code.number()),
        "errorMessage": failure.map(ToString::to_string),
        "sqlState": failure.map_or("00000", |failure: &Failure| failure.code.sql_state()),
    });
    if let (Some(one), Value::Object(more)) = (one.as_object_mut(), more) {
        one.extend(more);
    }
    one
}

/// Clients tell of themselves when they are asked to, which they are not. Nothing is kept.
pub async fn telemetry(_: Client) -> Response {
    succeeded(Value::Null)
}
