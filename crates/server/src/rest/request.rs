//! From a request's headers, query string and body to a [`StatementRequest`], or to a refusal that names what is wrong.

use std::time::Duration;

use arrow::array::RecordBatch;
use axum::body::Body;
use axum::extract::Query;
use bytes::Bytes;
use frazil_common::split::statements;
use frazil_common::{ErrorCode, Failure, SessionId};
use frazil_coordinator::statement::{Delivery, StatementRequest};
use futures::StreamExt;
use http::{HeaderMap, StatusCode, Uri, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use uuid::Uuid;

use super::answer::Refused;
use super::{RestOptions, parameters};
use crate::ipc;
use crate::snowflake::binding::{self, Binding};

/// Statements of one text.
const STATEMENTS_MAX: usize = 100;

/// Seconds; Snowflake's maximum, and what `0` stands for. The coordinator's own maximum may be lower.
const TIMEOUT_S_MAX: u64 = 604_800;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SubmitQuery {
    /// A second submission with the same id is the first one's statement; with other SQL it is refused.
    pub request_id: Option<Uuid>,
    /// Answer with 202 at once.
    #[serde(rename = "async")]
    pub asynchronous: bool,
    /// Says that this is a second submission; it changes nothing, since no `requestId` is run twice.
    pub retry: bool,
    /// `false` writes nulls as the string `"null"`.
    pub nullable: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct FetchQuery {
    pub request_id: Option<Uuid>,
    pub partition: Option<usize>,
    pub nullable: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct CancelQuery {
    pub request_id: Option<Uuid>,
}

pub fn query<Q: DeserializeOwned>(uri: &Uri) -> Result<Q, Refused> {
    match Query::try_from_uri(uri) {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(invalid(format!("query string is refused: {}", rejection.body_text())).into()),
    }
}

/// Whether the client asks for Arrow. Anything else is answered with JSON, as Snowflake does.
pub fn accepts_arrow(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let media_type = range.split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case(ipc::CONTENT_TYPE)
    })
}

/// Refuses what is not plain JSON in UTF-8.
pub fn check_content(headers: &HeaderMap) -> Result<(), Refused> {
    let unsupported = |message: String| Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, invalid(message));
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return Err(unsupported("header content-type is missing: send application/json".to_owned()));
    };
    let written = String::from_utf8_lossy(content_type.as_bytes());
    let mut parts = written.split(';').map(str::trim);
    let json = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"));
    let charset = parts.find_map(|part| part.to_ascii_lowercase().strip_prefix("charset=").map(str::to_owned));
    if !json || charset.is_some_and(|charset| charset.trim_matches('"') != "utf-8") {
        return Err(unsupported(format!("content type {written:?} is not supported: send application/json in utf-8")));
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(unsupported(format!("content encoding {encoding:?} is not supported")))
        }
        _ => Ok(()),
    }
}

/// The whole body, within the limits of size and time.
pub async fn read_body(body: Body, headers: &HeaderMap, options: &RestOptions) -> Result<Bytes, Refused> {
    let bytes_max = options.body_bytes_max.as_usize();
    let too_large = || {
        let message = format!("request body is over the limit of {}", options.body_bytes_max);
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, invalid(message))
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > options.body_bytes_max.0) {
        return Err(too_large());
    }
    let read = async {
        let mut chunks = body.into_data_stream();
        let mut whole = Vec::new();
        let mut first = Bytes::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| invalid(format!("request body broke off: {error}")))?;
            if first.len() + whole.len() + chunk.len() > bytes_max {
                return Err(too_large());
            }
            // Most bodies come in one piece, which needs no copy.
            if first.is_empty() && whole.is_empty() {
                first = chunk;
            } else {
                whole.extend_from_slice(&std::mem::take(&mut first));
                whole.extend_from_slice(&chunk);
            }
        }
        Ok(if whole.is_empty() { first } else { whole.into() })
    };
    match tokio::time::timeout(options.body_read_limit, read).await {
        Ok(read) => read,
        Err(_) => {
            let message = format!("request body took longer than {:?}", options.body_read_limit);
            Err(Failure::new(ErrorCode::Timeout, message).into())
        }
    }
}

/// The body of a POST. Fields are taken as any JSON first, so that a refusal of their value can name them.
///
/// There is one warehouse, whatever a client calls it; it is what `current_warehouse()` tells.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SubmitBody {
    statement: Option<Value>,
    timeout: Option<Value>,
    database: Option<Value>,
    schema: Option<Value>,
    warehouse: Option<Value>,
    role: Option<Value>,
    bindings: Option<Value>,
    parameters: Option<Value>,
    /// Our addition.
    session: Option<Value>,
}

/// The body that opens a session.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SessionBody {
    database: Option<Value>,
    schema: Option<Value>,
    parameters: Option<Value>,
}

/// What a session begins with.
#[derive(Debug, PartialEq)]
pub struct SessionRequest {
    pub database: Option<String>,
    pub schema: Option<String>,
    pub settings: Vec<(String, String)>,
}

pub fn session_request(body: &[u8]) -> Result<SessionRequest, Failure> {
    let body: SessionBody = if body.trim_ascii().is_empty() { SessionBody::default() } else { object(body)? };
    Ok(SessionRequest {
        database: name("database", body.database)?,
        schema: name("schema", body.schema)?,
        settings: parameters::of_session(body.parameters)?,
    })
}

fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    // An array would be taken for the fields in their order.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(invalid("request body is refused: it is an array and not an object"));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => invalid(format!("request body is refused: {error}")),
        Category::Syntax | Category::Eof | Category::Io => invalid(format!("request body is not json: {error}")),
    })
}

pub fn statement_request(
    body: &[u8],
    delivery: Delivery,
    request_id: Option<Uuid>,
) -> Result<StatementRequest, Failure> {
    let body: SubmitBody = object(body)?;
    let Some(sql) = text("statement", body.statement)? else {
        return Err(invalid("field \"statement\" is missing"));
    };
    text("role", body.role)?;
    let parameters = parameters::read(body.parameters)?;
    let parts = parts(&sql, parameters.statement_count)?;
    let bindings = bindings(body.bindings)?;
    if !parts.is_empty() && bindings.is_some() {
        let message = "field \"bindings\" is not supported with several statements";
        return Err(Failure::new(ErrorCode::NotSupported, message));
    }
    Ok(StatementRequest {
        time_limit: time_limit(body.timeout)?,
        session: session(body.session)?,
        database: name("database", body.database)?,
        schema: name("schema", body.schema)?,
        warehouse: text("warehouse", body.warehouse)?,
        settings: parameters.settings,
        bindings,
        request_id,
        // Each of several statements keeps its rows.
        delivery: if parts.is_empty() { delivery } else { Delivery::Spooled },
        parts,
        ..StatementRequest::new(sql, delivery)
    })
}

fn text(field: &str, value: Option<Value>) -> Result<Option<String>, Failure> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(format!("field {field:?} is not a string"))),
    }
}

/// A name as SQL reads it: lowercase, unless it is in double quotes.
fn name(field: &str, value: Option<Value>) -> Result<Option<String>, Failure> {
    let named = |text: String| match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_lowercase(),
    };
    Ok(text(field, value)?.map(named))
}

fn session(value: Option<Value>) -> Result<Option<SessionId>, Failure> {
    let parsed = text("session", value)?.map(|id| id.parse().map(SessionId));
    parsed.transpose().map_err(|_| invalid("field \"session\" is not a session's id"))
}

fn time_limit(value: Option<Value>) -> Result<Option<Duration>, Failure> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(0) => Ok(Some(Duration::from_secs(TIMEOUT_S_MAX))),
            Some(seconds @ 1..=TIMEOUT_S_MAX) => Ok(Some(Duration::from_secs(seconds))),
            _ => Err(invalid(format!("field \"timeout\" is not a whole number of seconds from 0 to {TIMEOUT_S_MAX}"))),
        },
    }
}

/// Values for placeholders: by number from 1, each with its type.
fn bindings(value: Option<Value>) -> Result<Option<RecordBatch>, Failure> {
    let bindings = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(bindings)) => bindings,
        Some(_) => return Err(invalid("field \"bindings\" is not an object")),
    };
    let read = bindings.into_iter().map(|(number, binding)| {
        let read: Result<Binding, _> = serde_json::from_value(binding);
        let read = read.map_err(|error| invalid(format!("binding {number:?} is not a type and a value: {error}")))?;
        Ok((number, read))
    });
    binding::values(read.collect::<Result<_, Failure>>()?)
}

/// The statements of a text of which the client says how many it has; none for a text of one. 0 is any number.
fn parts(sql: &str, count: Option<u64>) -> Result<Vec<String>, Failure> {
    let Some(count) = count else { return Ok(Vec::new()) };
    let found = statements(sql);
    if count != 0 && found.len() as u64 != count {
        let message =
            format!("actual statement count {} did not match the desired statement count {count}", found.len());
        return Err(Failure::new(ErrorCode::InvalidStatement, message));
    }
    if found.len() > STATEMENTS_MAX {
        let message = format!("a text holds at most {STATEMENTS_MAX} statements, this one {}", found.len());
        return Err(Failure::new(ErrorCode::TooComplex, message));
    }
    match found.len() {
        0 | 1 => Ok(Vec::new()),
        _ => Ok(found.into_iter().map(|statement| statement.text.to_owned()).collect()),
    }
}

pub fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, message)
}

#[cfg(test)]
mod tests;
