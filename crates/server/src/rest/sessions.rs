//! The handlers of `/api/v2/sessions`. A statement names its session in the field `session` of its body.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use frazil_common::SessionId;
use http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::Door;
use super::answer::{Refused, json};
use super::client::Client;
use super::request::{self, invalid};

/// Opens a session. The body may give `database`, `schema` and `parameters`, or be empty.
pub async fn open(
    State(door): State<Arc<Door>>,
    Client(caller): Client,
    request: Request,
) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let body = request::read_body(body, &parts.headers, &door.options).await?;
    if !body.is_empty() {
        request::check_content(&parts.headers)?;
    }
    let request = request::session_request(&body)?;
    let id = caller.open_session(request.database, request.schema, request.settings)?;
    Ok(json(StatusCode::OK, &json!({ "session": id })))
}

/// Without their ids: these are all it takes to use one.
pub async fn list(Client(caller): Client) -> Response {
    json(StatusCode::OK, &json!({ "sessions": caller.sessions() }))
}

/// Rolls back what the session has not committed.
pub async fn close(Client(caller): Client, id: Result<Path<Uuid>, PathRejection>) -> Result<Response, Refused> {
    let Path(id) = id.map_err(|_| invalid("path does not hold a session's id"))?;
    caller.close_session(SessionId(id))?;
    Ok(json(StatusCode::OK, &json!({ "closed": true })))
}
