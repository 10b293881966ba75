//! Parts of large results, by the addresses that their answers give. Clients send no token with them but the one in the address.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use frazil_common::{ErrorCode, Failure, StatementId};
use frazil_coordinator::tokens::Purpose;
use http::{StatusCode, Uri};

use super::Door;
use super::parameters::Format;
use super::rows;
use super::session::query_of;

/// Answers with statuses, as the stores do that clients take this for: they try again by them.
pub async fn fetch(
    State(door): State<Arc<Door>>,
    path: Result<Path<(StatementId, usize)>, PathRejection>,
    uri: Uri,
) -> Response {
    let Ok(Path((id, number))) = path else { return refused(StatusCode::NOT_FOUND, "no such part of a result") };
    match part(&door, id, number, &uri).await {
        Ok(response) => response,
        Err(failure) => {
            let status = match failure.code {
                ErrorCode::NotAuthenticated | ErrorCode::ExpiredToken | ErrorCode::UndefinedSession => {
                    StatusCode::FORBIDDEN
                }
                ErrorCode::UndefinedStatement | ErrorCode::InvalidArgument => StatusCode::NOT_FOUND,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            refused(status, &failure.message)
        }
    }
}

async fn part(door: &Door, id: StatementId, number: usize, uri: &Uri) -> Result<Response, Failure> {
    let query = query_of(uri);
    let token = query.get("token").map_or("", String::as_str);
    let (caller, _) = door.statements.by_token(token, Purpose::Results)?;
    let format = if query.get("format").is_some_and(|format| format == "json") { Format::Json } else { Format::Arrow };
    rows::part(caller.result_partition(id, number).await?, format).await
}

fn refused(status: StatusCode, message: &str) -> Response {
    (status, message.to_owned()).into_response()
}
