//! Session options: the database, the schema and the settings that statements begin with.
//!
//! `arrow-flight` does not have these messages yet; they are as in Arrow's `Flight.proto`.

use std::collections::HashMap;

use bytes::Bytes;
use frazil_common::{ErrorCode, Failure, SessionId};
use frazil_coordinator::sessions::SessionOptions;
use frazil_coordinator::statement::{Delivery, StatementRequest};
use prost::Message;

use super::identity::Client;
use super::ingest::quoted;
use super::statements::run_to_end;
use super::{Door, invalid};

/// Where unqualified names are looked up, as clients call it.
const CATALOG: &str = "catalog";
const SCHEMA: &str = "schema";
const DEFAULT_CATALOG: &str = "frazil";
const DEFAULT_SCHEMA: &str = "public";

#[derive(Clone, PartialEq, Message)]
pub struct OptionValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Truth(bool),
    #[prost(sfixed64, tag = "3")]
    Whole(i64),
    #[prost(double, tag = "4")]
    Float(f64),
    #[prost(message, tag = "5")]
    Texts(Texts),
}

#[derive(Clone, PartialEq, Message)]
struct Texts {
    #[prost(string, repeated, tag = "1")]
    values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, OptionError>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionError {
    #[prost(int32, tag = "1")]
    value: i32,
}

const INVALID_NAME: i32 = 1;
const INVALID_VALUE: i32 = 2;
const OTHER_ERROR: i32 = 3;

#[derive(Clone, PartialEq, Message)]
pub struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CloseSessionResult {
    #[prost(int32, tag = "1")]
    status: i32,
}

const CLOSED: i32 = 1;
const NOT_CLOSEABLE: i32 = 3;

/// Sets what can be set, and tells of each of the others why not.
pub async fn set(
    door: &Door,
    client: &Client,
    session: SessionId,
    body: Bytes,
) -> Result<SetSessionOptionsResult, Failure> {
    let request = SetSessionOptionsRequest::decode(body)
        .map_err(|error| invalid(format!("the session options cannot be read: {error}")))?;
    let mut errors = HashMap::new();
    // A database first: it brings its default schema, which the request may name another than.
    let mut options: Vec<_> = request.options.into_iter().collect();
    options.sort_by_key(|(name, _)| (name != CATALOG, name.clone()));
    for (name, value) in options {
        if let Err(failure) = set_one(door, client, session, &name, value.value).await {
            let value = match failure.code {
                ErrorCode::InvalidArgument if failure.message.contains("is not known") => INVALID_NAME,
                ErrorCode::InvalidArgument
                | ErrorCode::UndefinedDatabase
                | ErrorCode::UndefinedSchema
                | ErrorCode::Syntax => INVALID_VALUE,
                _ => OTHER_ERROR,
            };
            tracing::debug!(option = name, %failure, "session option not set");
            errors.insert(name, OptionError { value });
        }
    }
    Ok(SetSessionOptionsResult { errors })
}

/// As the statement that does it: it is checked there, and nowhere else.
async fn set_one(
    door: &Door,
    client: &Client,
    session: SessionId,
    name: &str,
    value: Option<Value>,
) -> Result<(), Failure> {
    let options = client.caller.session_options(session).await?;
    let sql = match (name, value) {
        (CATALOG, Some(Value::Text(catalog))) => format!("USE DATABASE {}", quoted(&catalog)),
        (SCHEMA, Some(Value::Text(schema))) => {
            let catalog = options.database.unwrap_or_else(|| DEFAULT_CATALOG.to_owned());
            format!("USE SCHEMA {}.{}", quoted(&catalog), quoted(&schema))
        }
        (CATALOG, None) => format!("USE DATABASE {DEFAULT_CATALOG}"),
        (SCHEMA, None) => {
            let catalog = options.database.unwrap_or_else(|| DEFAULT_CATALOG.to_owned());
            format!("USE SCHEMA {}.{DEFAULT_SCHEMA}", quoted(&catalog))
        }
        (CATALOG | SCHEMA, Some(_)) => return Err(invalid(format!("option {name:?} is not a string"))),
        (name, value) => {
            // A name that is not one of a setting must not become SQL.
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
                return Err(invalid(format!("setting {name:?} is not known")));
            }
            match value {
                None => format!("RESET {name}"),
                Some(Value::Text(text)) => format!("SET {name} = '{}'", text.replace('\'', "''")),
                Some(Value::Truth(truth)) => format!("SET {name} = '{truth}'"),
                Some(Value::Whole(number)) => format!("SET {name} = '{number}'"),
                Some(Value::Float(number)) => format!("SET {name} = '{number}'"),
                Some(Value::Texts(_)) => return Err(invalid(format!("option {name:?} is not a list"))),
            }
        }
    };
    let request = StatementRequest { session: Some(session), ..StatementRequest::new(sql, Delivery::Spooled) };
    run_to_end(door, client, None, request).await.map(|_| ())
}

pub async fn get(client: &Client) -> Result<GetSessionOptionsResult, Failure> {
    let set = match client.session {
        Some(session) => client.caller.session_options(session).await?,
        None => SessionOptions::default(),
    };
    let names = [
        (CATALOG.to_owned(), set.database.unwrap_or_else(|| DEFAULT_CATALOG.to_owned())),
        (SCHEMA.to_owned(), set.schema.unwrap_or_else(|| DEFAULT_SCHEMA.to_owned())),
    ];
    let options = names.into_iter().chain(set.settings);
    let options = options.map(|(name, value)| (name, OptionValue { value: Some(Value::Text(value)) }));
    Ok(GetSessionOptionsResult { options: options.collect() })
}

/// Rolls back what the session's transactions have not committed. Its tokens end with it.
pub async fn close(door: &Door, client: &Client) -> Result<CloseSessionResult, Failure> {
    let Some(session) = client.session else { return Ok(CloseSessionResult { status: NOT_CLOSEABLE }) };
    door.transactions.close_of(client, session).await;
    client.caller.close_session(session)?;
    Ok(CloseSessionResult { status: CLOSED })
}
