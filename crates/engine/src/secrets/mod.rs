//! Credentials for object stores: which one is for which URL, and what may be in it. Values go to stores and to executors, and
//! are shown to nobody.

mod check;
mod connection_string;
mod statement;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use frazil_common::{ErrorCode, Failure};
use uuid::Uuid;

pub use frazil_catalog::SecretRecord;
pub use statement::{SecretStatement, parse, redact, show};

/// The kinds of stores that a secret can be for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    S3,
    Gcs,
    Azure,
    /// Of web servers.
    Http,
}

impl Kind {
    pub fn from_name(name: &str) -> Result<Self, Failure> {
        match name.to_ascii_lowercase().as_str() {
            "s3" => Ok(Self::S3),
            "gcs" => Ok(Self::Gcs),
            "azure" => Ok(Self::Azure),
            "http" => Ok(Self::Http),
            other => Err(Failure::new(
                ErrorCode::NotSupported,
                format!("a secret of type {other:?} is not supported: S3, GCS, AZURE and HTTP are"),
            )),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gcs",
            Self::Azure => "azure",
            Self::Http => "http",
        }
    }

    /// How scopes begin, in the spelling that is used within.
    pub fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::S3 => &["s3://"],
            Self::Gcs => &["gs://"],
            Self::Azure => &["az://"],
            Self::Http => &["https://", "http://"],
        }
    }

    /// The URLs that a secret is for if it does not say. A token is not for all of the web.
    pub fn default_scope(self) -> Option<&'static str> {
        match self {
            Self::Http => None,
            Self::S3 | Self::Gcs | Self::Azure => self.schemes().first().copied(),
        }
    }

    /// The ways to say who one is: one of them, and all of its options.
    pub fn credentials(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::S3 => &[&["key_id", "secret"]],
            Self::Gcs => &[&["service_account_key"], &["bearer_token"]],
            Self::Azure => {
                &[&["account_key"], &["sas_token"], &["bearer_token"], &["tenant_id", "client_id", "client_secret"]]
            }
            Self::Http => &[&["bearer_token"]],
        }
    }

    /// What can be said beside TYPE, SCOPE and the credentials, and whether it has to be.
    pub fn options(self) -> &'static [(&'static str, bool)] {
        match self {
            Self::S3 => &[
                ("session_token", false),
                ("region", false),
                ("endpoint", false),
                ("url_style", false),
                ("use_ssl", false),
            ],
            Self::Gcs => &[("endpoint", false), ("use_ssl", false)],
            Self::Azure => &[("account_name", true), ("endpoint", false), ("use_ssl", false)],
            Self::Http => &[],
        }
    }
}

/// Whether a name can be that of a storage account. It becomes part of a host's name, so nothing else may.
pub fn is_azure_account(name: &str) -> bool {
    (3..=24).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The secrets that a statement, or an executor's part of one, may use.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<Arc<SecretRecord>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|secret| &secret.name)).finish()
    }
}

impl Secrets {
    pub fn new(records: impl IntoIterator<Item = SecretRecord>) -> Self {
        Self(records.into_iter().map(Arc::new).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<SecretRecord>> {
        self.0.iter()
    }

    /// Those whose scope takes in the bucket, or a part of it. `bucket` is a URL without a `/` at its end.
    pub fn of_bucket(&self, bucket: &str) -> Self {
        let of = |secret: &&Arc<SecretRecord>| {
            let scope = secret.scope.as_str();
            covers(scope, bucket) || scope.strip_prefix(bucket).is_some_and(|rest| rest.starts_with('/'))
        };
        Self(self.0.iter().filter(of).cloned().collect())
    }

    /// The one with the longest scope that takes in a URL.
    pub fn of_url(&self, url: &str) -> Option<&Arc<SecretRecord>> {
        self.0.iter().filter(|secret| covers(&secret.scope, url)).max_by_key(|secret| secret.scope.len())
    }
}

/// Whether a URL is a scope or below it; `s3://bucket/a` does not take in `s3://bucket/ab`.
fn covers(scope: &str, url: &str) -> bool {
    match url.strip_prefix(scope) {
        Some(rest) => rest.is_empty() || scope.ends_with('/') || rest.starts_with('/'),
        None => scope.strip_suffix('/') == Some(url),
    }
}

/// A secret that came with a task.
pub fn record(
    id: &[u8],
    name: String,
    kind: String,
    scope: String,
    options: impl IntoIterator<Item = (String, String)>,
) -> Result<SecretRecord, Failure> {
    let id = Uuid::from_slice(id).map_err(|_| Failure::internal("the id of a secret has 16 bytes"))?;
    Ok(SecretRecord { id, name, kind, scope, options: options.into_iter().collect() })
}

/// An option's value; empty ones are as good as none.
pub fn option<'a>(options: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    options.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, scope: &str) -> SecretRecord {
        let options = BTreeMap::from([("secret".to_owned(), "hush".to_owned())]);
        SecretRecord {
            id: uuid::Uuid::now_v7(),
            name: name.to_owned(),
            kind: "s3".to_owned(),
            scope: scope.to_owned(),
            options,
        }
    }

    #[test]
    fn the_longest_scope_wins() {
        let secrets = Secrets::new([
            secret("all", "s3://"),
            secret("bucket", "s3://b"),
            secret("folder", "s3://b/x/"),
            secret("other", "s3://bb/x"),
        ]);
        let of = |url: &str| secrets.of_url(url).map(|secret| secret.name.clone());
        assert_eq!(of("s3://b/x/file").as_deref(), Some("folder"));
        assert_eq!(of("s3://b/x").as_deref(), Some("folder"));
        assert_eq!(of("s3://b/xy").as_deref(), Some("bucket"));
        assert_eq!(of("s3://bc/x").as_deref(), Some("all"));
        assert_eq!(of("s3://bb/x/y").as_deref(), Some("other"));
        assert_eq!(of("gs://b"), None);
        let names: Vec<_> = secrets.of_bucket("s3://b").iter().map(|secret| secret.name.clone()).collect();
        assert_eq!(names, ["all", "bucket", "folder"]);
        assert!(!format!("{secrets:?}{:?}", secrets.of_url("s3://b")).contains("hush"));
    }
}
