//! Session parameters. Some take effect here or in the session, some are read by the client alone, some have the one value that is true;
//! all others are refused.

use std::collections::BTreeMap;

use frazil_common::{ErrorCode, Failure};
use serde::Serialize;
use serde_json::{Value, json};

/// Set for a session that has said nothing. Types are the values' own.
const DEFAULTS: [(&str, Initial); 24] = [
    ("AUTOCOMMIT", Initial::Truth(true)),
    ("TIMEZONE", Initial::Text("UTC")),
    ("QUERY_TAG", Initial::Text("")),
    ("STATEMENT_TIMEOUT_IN_SECONDS", Initial::Number(0)),
    ("MULTI_STATEMENT_COUNT", Initial::Number(1)),
    ("TIMESTAMP_OUTPUT_FORMAT", Initial::Text("YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM")),
    ("TIMESTAMP_NTZ_OUTPUT_FORMAT", Initial::Text("YYYY-MM-DD HH24:MI:SS.FF3")),
    ("TIMESTAMP_LTZ_OUTPUT_FORMAT", Initial::Text("")),
    ("TIMESTAMP_TZ_OUTPUT_FORMAT", Initial::Text("")),
    ("DATE_OUTPUT_FORMAT", Initial::Text("YYYY-MM-DD")),
    ("TIME_OUTPUT_FORMAT", Initial::Text("HH24:MI:SS")),
    ("BINARY_OUTPUT_FORMAT", Initial::Text("HEX")),
    ("TIMESTAMP_TYPE_MAPPING", Initial::Text("TIMESTAMP_NTZ")),
    ("CLIENT_SESSION_KEEP_ALIVE", Initial::Truth(false)),
    ("CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY", Initial::Number(3600)),
    ("CLIENT_PREFETCH_THREADS", Initial::Number(4)),
    ("CLIENT_RESULT_PREFETCH_THREADS", Initial::Number(1)),
    ("CLIENT_MEMORY_LIMIT", Initial::Number(1536)),
    // Nobody reads it.
    ("CLIENT_TELEMETRY_ENABLED", Initial::Truth(false)),
    // Values are sent with the statement, however many there are: there is no stage for them.
    ("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", Initial::Number(0)),
    ("CLIENT_METADATA_REQUEST_USE_CONNECTION_CTX", Initial::Truth(false)),
    ("CLIENT_RESULT_COLUMN_CASE_INSENSITIVE", Initial::Truth(false)),
    ("JS_TREAT_INTEGER_AS_BIGINT", Initial::Truth(false)),
    ("SERVICE_NAME", Initial::Text("")),
];

/// What is so and cannot be otherwise.
const FIXED: [(&str, &str); 8] = [
    ("TIMESTAMP_TYPE_MAPPING", "TIMESTAMP_NTZ"),
    ("QUOTED_IDENTIFIERS_IGNORE_CASE", "FALSE"),
    ("TRANSACTION_ABORT_ON_ERROR", "FALSE"),
    ("TRANSACTION_DEFAULT_ISOLATION_LEVEL", "READ COMMITTED"),
    ("ABORT_DETACHED_QUERY", "FALSE"),
    ("ERROR_ON_NONDETERMINISTIC_MERGE", "TRUE"),
    ("ERROR_ON_NONDETERMINISTIC_UPDATE", "TRUE"),
    ("SERVICE_NAME", ""),
];

/// Beginnings of names that only clients look at.
const CLIENTS: [&str; 10] =
    ["CLIENT_", "PYTHON_", "JS_", "JDBC_", "ODBC_", "GO_", "DOTNET_", "SNOWPARK_", "NODEJS_", "USE_CACHED_RESULT"];

const RESULT_FORMAT: &str = "_QUERY_RESULT_FORMAT";

enum Initial {
    Truth(bool),
    Number(i64),
    Text(&'static str),
}

impl Initial {
    fn value(&self) -> Value {
        match self {
            Self::Truth(truth) => json!(truth),
            Self::Number(number) => json!(number),
            Self::Text(text) => json!(text),
        }
    }
}

/// How rows are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Arrow,
    Json,
}

/// A parameter as clients are told of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Parameter {
    pub name: String,
    pub value: Value,
}

/// What is to be done for a parameter beside remembering it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    None,
    /// A setting of the session itself.
    Setting {
        key: &'static str,
        value: String,
    },
}

/// A session's parameters that differ from the defaults.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    set: BTreeMap<String, Value>,
    /// Of a client that reads no Arrow.
    json_only: bool,
}

impl Parameters {
    /// `client` is what it calls itself.
    pub fn of_client(client: &str) -> Self {
        let reads_arrow = ["PythonConnector", "JDBC", "ODBC", "Go", "SnowSQL", "SNOWPARK", "Python"];
        let json_only = !reads_arrow.iter().any(|known| client.starts_with(known));
        Self { json_only, ..Self::default() }
    }

    pub fn list(&self) -> Vec<Parameter> {
        let mut all: BTreeMap<&str, Value> = DEFAULTS.iter().map(|(name, default)| (*name, default.value())).collect();
        all.extend(self.set.iter().map(|(name, value)| (name.as_str(), value.clone())));
        all.into_iter().map(|(name, value)| Parameter { name: name.to_owned(), value }).collect()
    }

    /// Checks a parameter and says what it is, without setting it.
    pub fn check(name: &str, value: &Value) -> Result<(String, Value, Effect), Failure> {
        let name = name.to_ascii_uppercase();
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let wrong = || Failure::new(ErrorCode::InvalidArgument, format!("parameter {name} cannot be {text:?}"));
        let truth = || match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" => Some(true),
            "false" | "0" | "off" => Some(false),
            _ => None,
        };
        if let Some((_, fixed)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
            if !text.eq_ignore_ascii_case(fixed) {
                return Err(Failure::new(
                    ErrorCode::NotSupported,
                    format!("parameter {name} is always {fixed:?}, {text:?} is not supported"),
                ));
            }
            return Ok((name, json!(text), Effect::None));
        }
        if name.ends_with(RESULT_FORMAT) {
            return match text.to_ascii_uppercase().as_str() {
                "ARROW" | "ARROW_FORCE" | "JSON" => Ok((name, json!(text.to_ascii_uppercase()), Effect::None)),
                _ => Err(wrong()),
            };
        }
        let default = DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, default)| default);
        let value = match default {
            Some(Initial::Truth(_)) => json!(truth().ok_or_else(wrong)?),
            Some(Initial::Number(_)) => json!(text.trim().parse::<i64>().map_err(|_| wrong())?),
            Some(Initial::Text(_)) => json!(text),
            None if CLIENTS.iter().any(|known| name.starts_with(known)) => value.clone(),
            None => {
                let message = format!("session parameter {name} is not supported");
                return Err(Failure::new(ErrorCode::NotSupported, message));
            }
        };
        let effect = match name.as_str() {
            "AUTOCOMMIT" => Effect::Setting { key: "autocommit", value: value.to_string() },
            "TIMEZONE" => Effect::Setting { key: "timezone", value: text },
            "STATEMENT_TIMEOUT_IN_SECONDS" | "MULTI_STATEMENT_COUNT" if value.as_i64().is_some_and(|n| n < 0) => {
                return Err(wrong());
            }
            _ => Effect::None,
        };
        Ok((name, value, effect))
    }

    /// Sets what was checked.
    pub fn set(&mut self, name: String, value: Value) {
        self.set.insert(name, value);
    }

    /// Forgets what was set. Returns what is to be done.
    pub fn unset(&mut self, name: &str) -> Effect {
        let name = name.to_ascii_uppercase();
        self.set.remove(&name);
        match name.as_str() {
            "AUTOCOMMIT" => Effect::Setting { key: "autocommit", value: "true".to_owned() },
            "TIMEZONE" => Effect::Setting { key: "timezone", value: "UTC".to_owned() },
            _ => Effect::None,
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.set.get(name).and_then(Value::as_u64)
    }

    /// Seconds; 0 is no limit of its own.
    pub fn statement_timeout_s(&self) -> u64 {
        self.number("STATEMENT_TIMEOUT_IN_SECONDS").unwrap_or(0)
    }

    /// Statements of one text; 0 is any number.
    pub fn statement_count(&self) -> u64 {
        self.number("MULTI_STATEMENT_COUNT").unwrap_or(1)
    }

    pub fn format(&self) -> Format {
        let asked = self.set.iter().find(|(name, _)| name.ends_with(RESULT_FORMAT)).map(|(_, value)| value.clone());
        match asked.as_ref().and_then(Value::as_str) {
            Some("JSON") => Format::Json,
            Some(_) => Format::Arrow,
            None if self.json_only => Format::Json,
            None => Format::Arrow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_takes_effect_or_is_refused() {
        let check = |name: &str, value: Value| {
            Parameters::check(name, &value).map(|(_, value, effect)| (value, effect)).map_err(|failure| failure.code)
        };
        let setting = |key, value: &str| Effect::Setting { key, value: value.to_owned() };
        assert_eq!(check("autocommit", json!("FALSE")), Ok((json!(false), setting("autocommit", "false"))));
        assert_eq!(check("TIMEZONE", json!("Europe/Berlin")).unwrap().1, setting("timezone", "Europe/Berlin"));
        assert_eq!(check("CLIENT_WHATEVER", json!(3)), Ok((json!(3), Effect::None)));
        assert_eq!(check("AUTOCOMMIT", json!("maybe")), Err(ErrorCode::InvalidArgument));
        assert_eq!(check("MULTI_STATEMENT_COUNT", json!(-1)), Err(ErrorCode::InvalidArgument));
        assert_eq!(check("WEEK_START", json!(1)), Err(ErrorCode::NotSupported));
        assert_eq!(check("TIMESTAMP_TYPE_MAPPING", json!("TIMESTAMP_LTZ")), Err(ErrorCode::NotSupported));
    }

    #[test]
    fn rows_are_sent_as_the_client_reads_them() {
        let mut parameters = Parameters::of_client("PythonConnector");
        assert_eq!(parameters.format(), Format::Arrow);
        parameters.set("PYTHON_CONNECTOR_QUERY_RESULT_FORMAT".to_owned(), json!("JSON"));
        assert_eq!(parameters.format(), Format::Json);
        assert_eq!(Parameters::of_client("JavaScript").format(), Format::Json);
    }
}
