//! What a secret has to say, and may not. Messages name options, and never quote what is said of them.

use std::collections::BTreeMap;

use frazil_catalog::SecretRecord;
use frazil_common::{ErrorCode, Failure};
use serde_json::Value;
use uuid::Uuid;

use super::{Kind, connection_string, is_azure_account};
use crate::storage::plain_scheme;

pub(super) fn secret(name: String, mut options: BTreeMap<String, String>) -> Result<SecretRecord, Failure> {
    let kind = options.remove("type").ok_or_else(|| invalid("a secret has a TYPE".to_owned()))?;
    let kind = Kind::from_name(&kind)?;
    let scope = options.remove("scope").map(|scope| plain_scheme(&scope).into_owned());
    let scope = scope.or_else(|| kind.default_scope().map(str::to_owned));
    let scope = scope.ok_or_else(|| invalid(format!("a secret of type {} needs SCOPE", kind.name())))?;
    if !kind.schemes().iter().any(|scheme| scope.starts_with(scheme)) {
        let schemes = kind.schemes().join(" or ");
        return Err(invalid(format!("SCOPE of a secret of type {} begins with {schemes}", kind.name())));
    }
    match kind {
        Kind::Azure => connection_string::expand(&mut options)?,
        Kind::Gcs if options.contains_key("key_id") => {
            let message = "HMAC keys (KEY_ID) of a secret of type gcs are not supported: give SERVICE_ACCOUNT_KEY or \
                           BEARER_TOKEN";
            return Err(Failure::new(ErrorCode::NotSupported, message));
        }
        _ => {}
    }
    check_names(kind, &options)?;
    check_credentials(kind, &options)?;
    for (key, allowed) in [("use_ssl", ["true", "false"]), ("url_style", ["path", "vhost"])] {
        if let Some(value) = options.get_mut(key) {
            value.make_ascii_lowercase();
            if !allowed.contains(&value.as_str()) {
                return Err(invalid(format!("{} of a secret is {} or {}", key.to_uppercase(), allowed[0], allowed[1])));
            }
        }
    }
    // These become parts of URLs.
    if options.get("account_name").is_some_and(|account| !is_azure_account(account)) {
        return Err(invalid("ACCOUNT_NAME of a secret is not the name of a storage account".to_owned()));
    }
    for key in ["tenant_id", "client_id"] {
        let plain = |value: &String| value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        if options.get(key).is_some_and(|value| !plain(value) || value.contains("..")) {
            return Err(invalid(format!("{} of a secret is not an id", key.to_uppercase())));
        }
    }
    if let Some(key) = options.get("service_account_key") {
        check_service_account(key)?;
    }
    Ok(SecretRecord { id: Uuid::now_v7(), name, kind: kind.name().to_owned(), scope, options })
}

fn check_names(kind: Kind, options: &BTreeMap<String, String>) -> Result<(), Failure> {
    let is_known = |key: &str| {
        kind.options().iter().any(|(known, _)| *known == key) || kind.credentials().iter().any(|way| way.contains(&key))
    };
    if let Some(unknown) = options.keys().find(|key| !is_known(key)) {
        let unknown = unknown.to_uppercase();
        return Err(invalid(format!("option {unknown} of a secret of type {} is not known", kind.name())));
    }
    match kind.options().iter().find(|(key, needed)| *needed && !options.contains_key(*key)) {
        Some((missing, _)) => {
            Err(invalid(format!("a secret of type {} needs {}", kind.name(), missing.to_uppercase())))
        }
        None => Ok(()),
    }
}

/// One way to say who one is, whole.
fn check_credentials(kind: Kind, options: &BTreeMap<String, String>) -> Result<(), Failure> {
    let ways = kind.credentials();
    let begun: Vec<_> = ways.iter().filter(|way| way.iter().any(|key| options.contains_key(*key))).collect();
    let shown = |way: &[&str]| way.join(", ").to_uppercase();
    match begun[..] {
        [way] => match way.iter().find(|key| !options.contains_key(**key)) {
            Some(missing) => Err(invalid(format!("a secret of type {} needs {}", kind.name(), missing.to_uppercase()))),
            None => Ok(()),
        },
        _ => {
            let ways: Vec<String> = ways.iter().map(|way| shown(way)).collect();
            let needs = if ways.len() == 1 { "" } else { "one of " };
            Err(invalid(format!("a secret of type {} needs {needs}{}", kind.name(), ways.join("; "))))
        }
    }
}

/// Looked at by ourselves: who cannot read it may quote it, and it may not lead elsewhere.
fn check_service_account(key: &str) -> Result<(), Failure> {
    let wrong = |why: &str| Err(invalid(format!("SERVICE_ACCOUNT_KEY of a secret {why}")));
    let Ok(Value::Object(fields)) = serde_json::from_str(key) else { return wrong("is not the JSON of such a key") };
    for field in ["private_key", "private_key_id", "client_email"] {
        if !fields.get(field).is_some_and(Value::is_string) {
            return wrong(&format!("has no text {field:?}"));
        }
    }
    match ["gcs_base_url", "disable_oauth"].iter().find(|field| fields.contains_key(**field)) {
        Some(field) => wrong(&format!("may not say {field:?}")),
        None => Ok(()),
    }
}

pub(super) fn invalid(message: String) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, message)
}
