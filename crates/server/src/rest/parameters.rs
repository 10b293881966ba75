//! The field `parameters` of a request: settings of the statement, and what the door does itself.

use frazil_common::Failure;
use serde_json::Value;

use super::request::invalid;
use crate::cells::Presentation;

const STATEMENT_COUNT: &str = "multi_statement_count";

#[derive(Debug, Default)]
pub struct Parameters {
    pub settings: Vec<(String, String)>,
    /// How many statements the text has; `None`: the client does not say, and there is one.
    pub statement_count: Option<u64>,
}

/// Names in upper or lower case, as Snowflake's clients send them.
pub fn read(value: Option<Value>) -> Result<Parameters, Failure> {
    let mut read = Parameters::default();
    let parameters = match value {
        None | Some(Value::Null) => return Ok(read),
        Some(Value::Object(parameters)) => parameters,
        Some(_) => return Err(invalid("field \"parameters\" is not an object")),
    };
    for (name, value) in parameters {
        let text = match value {
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(invalid(format!("parameter {name:?} is not a string, number or boolean")));
            }
        };
        let name = name.to_lowercase();
        if name == STATEMENT_COUNT {
            let count =
                text.trim().parse().map_err(|_| invalid(format!("parameter {name:?} is not a whole number")))?;
            read.statement_count = Some(count);
        } else {
            read.settings.push((name, text));
        }
    }
    // What says how the answer is written fails before the statement runs.
    Presentation::of(&read.settings)?;
    Ok(read)
}

/// Those that a session keeps for its statements.
pub fn of_session(value: Option<Value>) -> Result<Vec<(String, String)>, Failure> {
    let read = read(value)?;
    match read.statement_count {
        Some(_) => Err(invalid(format!("parameter {STATEMENT_COUNT:?} is a statement's, and not a session's"))),
        None => Ok(read.settings),
    }
}
