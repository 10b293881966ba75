//! The handlers of `/api/v2/stages`: bytes of staged files, which `PUT` and `GET` of a client are made of.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use frazil_common::SessionId;
use frazil_coordinator::staged_files::{Names, Sent};
use futures::StreamExt;
use http::{HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::answer::{Refused, json as answer};
use super::client::Client;
use super::request::{self, invalid};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct FileQuery {
    /// `@stage/path`, the stage's name with as many parts as are wanted.
    place: String,
    /// Where names are looked up.
    session: Option<Uuid>,
    database: Option<String>,
    schema: Option<String>,
    /// Whether a file of that name is replaced.
    overwrite: bool,
    /// A regular expression that whole paths must match, of a list.
    pattern: Option<String>,
}

impl FileQuery {
    fn of(uri: &Uri) -> Result<(Self, Names), Refused> {
        let query: Self = request::query(uri)?;
        if query.place.is_empty() {
            return Err(invalid("query parameter \"place\" is missing: @stage/path").into());
        }
        let names = Names {
            session: query.session.map(SessionId),
            database: query.database.clone(),
            schema: query.schema.clone(),
        };
        Ok((query, names))
    }
}

/// Takes the request's body to a file of a stage.
pub async fn put(Client(caller): Client, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let (query, names) = FileQuery::of(&parts.uri)?;
    let broke_off = |error: axum::Error| invalid(format!("request body broke off: {error}"));
    let body = body.into_data_stream().map(|piece| piece.map_err(broke_off));
    let sent = caller.put_staged_file(names, &query.place, query.overwrite, body).await?;
    let sent = match sent {
        Sent::Uploaded(bytes) => json!({ "status": "UPLOADED", "bytes": bytes }),
        Sent::Skipped => json!({ "status": "SKIPPED", "bytes": 0 }),
    };
    Ok(answer(StatusCode::OK, &sent))
}

/// The bytes of a file.
pub async fn get(Client(caller): Client, uri: Uri) -> Result<Response, Refused> {
    let (query, names) = FileQuery::of(&uri)?;
    let (file, bytes) = caller.staged_file(names, &query.place).await?;
    let mut response = Response::new(Body::from_stream(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file.meta.size));
    Ok(response)
}

/// The files below a place: their paths in the stage, and sizes.
pub async fn list(Client(caller): Client, uri: Uri) -> Result<Response, Refused> {
    let (query, names) = FileQuery::of(&uri)?;
    let files = caller.staged_files(names, &query.place, query.pattern.as_deref()).await?;
    let files: Vec<_> =
        files.iter().map(|file| json!({ "path": file.relative, "name": file.shown, "size": file.meta.size })).collect();
    Ok(answer(StatusCode::OK, &json!({ "files": files })))
}
