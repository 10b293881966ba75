//! `FRAZIL_<SECTION>_<KEY>`: what a variable's text means follows from the type of the option's default.

use serde_json::Value as Json;
use toml::Value;

use super::known::{Keys, hint};
use crate::failure::CommandError;

pub struct Setting {
    pub variable: String,
    pub section: String,
    pub key: String,
    pub value: Value,
}

const PREFIX: &str = "FRAZIL_";

/// Variables that say something to the process but are no options.
const EXEMPT: [&str; 4] = ["FRAZIL_BIN", "FRAZIL_SEED", "FRAZIL_CONFIG", "FRAZIL_EXIT_WITH_PARENT"];

/// Prefixes that belong to tests and to whoever starts the process.
const EXEMPT_PREFIXES: [&str; 2] = ["FRAZIL_READY", "FRAZIL_TEST_"];

/// All that begins with `FRAZIL_` must be an option: a misspelt section would otherwise be ignored in silence.
pub fn settings(environment: &[(String, String)], known: &Keys) -> Result<Vec<Setting>, CommandError> {
    let mut settings = Vec::new();
    for (variable, text) in environment {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        if EXEMPT.contains(&variable.as_str()) || EXEMPT_PREFIXES.iter().any(|prefix| variable.starts_with(prefix)) {
            continue;
        }
        let name = name.to_ascii_lowercase();
        let (section, key) = name.split_once('_').unwrap_or((&name, ""));
        let Some(default) = known.default_of(section, key) else {
            return Err(unknown(variable, section, key, known));
        };
        let value = read(text, default).map_err(|wanted| {
            CommandError::Usage(format!("environment variable {variable}: {text:?} is not {wanted}"))
        })?;
        settings.push(Setting { variable: variable.clone(), section: section.to_owned(), key: key.to_owned(), value });
    }
    settings.sort_by(|a, b| a.variable.cmp(&b.variable));
    Ok(settings)
}

fn unknown(variable: &str, section: &str, key: &str, known: &Keys) -> CommandError {
    let spelled = |section: &str, key: &str| format!("{PREFIX}{}_{}", section.to_uppercase(), key.to_uppercase());
    let near = if known.sections().any(|name| name == section) {
        known.nearest(section, key).map(|near| spelled(section, near))
    } else {
        known.nearest_section(section).map(|near| spelled(near, key))
    };
    CommandError::Usage(format!("unknown environment variable {variable}{}", hint(near.as_deref())))
}

fn read(text: &str, default: &Json) -> Result<Value, &'static str> {
    match default {
        Json::Bool(_) => text.parse().map(Value::Boolean).map_err(|_| "true or false"),
        Json::Number(number) if number.is_f64() => text.parse().map(Value::Float).map_err(|_| "a number"),
        Json::Number(_) => text.parse().map(Value::Integer).map_err(|_| "a whole number"),
        Json::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        Json::Object(_) => Err("something a variable can say: set it in the configuration file"),
        Json::String(_) | Json::Null => Ok(Value::String(text.to_owned())),
    }
}
