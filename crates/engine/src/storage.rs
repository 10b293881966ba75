//! Which files and buckets statements may touch. In `buckets`, `provider`, `scoped`, `local` and `web`: the object stores that
//! reach them. In `unchanged` and `uploads`: files that changed, and uploads that nobody completes.

mod buckets;
mod local;
mod provider;
mod scoped;
mod unchanged;
mod uploads;
mod web;

use std::path::{Component, Path, PathBuf};

use frazil_catalog::SecretRecord;
use frazil_common::{ErrorCode, Failure};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::secrets;

pub use buckets::ObjectStores;
pub use provider::plain_scheme;
use provider::{Provider, endpoint_url};
pub(crate) use unchanged::{Unchanged, is_same_version, tag_of};
pub use uploads::{OpenUpload, Uploads};

/// What an operator can set of storage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageOptions {
    /// Directories, `s3://bucket/prefix`, `gs://…`, `az://container/…` and `https://host/path` URLs below which tables may be declared. Empty: every local file that the
    /// process can read, and no bucket; for an instance that listens on loopback only.
    pub allowed_roots: Vec<String>,
    /// Endpoint of an S3-compatible store, in place of Amazon's.
    pub s3_endpoint: Option<String>,
    /// Region of the buckets; `us-east-1` when neither this nor AWS_REGION is set.
    pub s3_region: Option<String>,
    /// Plain HTTP to the endpoint. For tests on loopback.
    pub s3_allow_http: bool,
    /// URL of a store that speaks the XML API of Google Cloud Storage, in place of Google's. For emulators, with `http://` on loopback.
    pub gcs_endpoint: Option<String>,
    /// URL of Azure's Blob service, the account in its path if need be, in place of `https://account.blob.core.windows.net`. For
    /// emulators, with `http://` on loopback.
    pub azure_endpoint: Option<String>,
    /// The storage account of `az://container`, where no secret names one; AZURE_STORAGE_ACCOUNT_NAME when this is not set.
    pub azure_account: Option<String>,
    /// Endpoints that a secret may name, `https://host[:port]`. Empty: only those of the options above and the providers' own.
    pub allowed_endpoints: Vec<String>,
}

/// Pseudo file systems whose "files" are the server's own state.
const NEVER: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

impl StorageOptions {
    /// Checks the `LOCATION` of a table, as the user wrote it, and returns it in the form that DataFusion takes.
    /// Symbolic links are followed first, so that a link cannot lead out of an allowed root.
    pub fn check_location(&self, location: &str) -> Result<String, Failure> {
        let denied = |why: &str| {
            let message = format!("location {location:?} {why}");
            Err(Failure::new(ErrorCode::AccessDenied, message))
        };
        if let Some((scheme, _)) = location.split_once("://") {
            return match scheme {
                "file" => match Url::parse(location).ok().and_then(|url| url.to_file_path().ok()) {
                    Some(path) => self.check_path(location, &path),
                    None => denied("is not a file URL"),
                },
                _ if is_readable(scheme) => match plain_url(location) {
                    Ok(url) if self.url_allowed(&url) => Ok(url),
                    Ok(_) => denied("is not below an allowed root (storage.allowed_roots)"),
                    Err(why) => denied(why),
                },
                _ => denied("has a scheme that is not supported: file, s3, gs, az, http and https are"),
            };
        }
        self.check_path(location, Path::new(location))
    }

    /// Whether the options name places that are there, so that a misspelt one does not lock out everybody or nobody.
    pub fn check(&self) -> Result<(), Failure> {
        let invalid = |option: &str, entry: &str, why: &str| {
            Failure::new(ErrorCode::InvalidArgument, format!("storage.{option}: {entry:?} {why}"))
        };
        for root in &self.allowed_roots {
            match root.split_once("://") {
                Some((scheme, _)) if is_readable(scheme) => {
                    _ = plain_url(root).map_err(|why| invalid("allowed_roots", root, why))?
                }
                Some(_) => {
                    let why = "is neither a directory nor a URL of s3, gs, az, http or https";
                    return Err(invalid("allowed_roots", root, why));
                }
                None => {
                    let unusable =
                        |error: std::io::Error| invalid("allowed_roots", root, &format!("cannot be used: {error}"));
                    if !Path::new(root).canonicalize().map_err(unusable)?.is_dir() {
                        return Err(invalid("allowed_roots", root, "is not a directory"));
                    }
                }
            }
        }
        for endpoint in &self.allowed_endpoints {
            if endpoint_url(endpoint, true, false).is_none() {
                return Err(invalid("allowed_endpoints", endpoint, "is not like https://host:port"));
            }
        }
        let endpoints = [("gcs_endpoint", &self.gcs_endpoint, false), ("azure_endpoint", &self.azure_endpoint, true)];
        for (option, endpoint, path_allowed) in endpoints {
            if let Some(endpoint) = endpoint
                && !(endpoint.contains("://") && endpoint_url(endpoint, true, path_allowed).is_some())
            {
                return Err(invalid(option, endpoint, "is not like https://host:port"));
            }
        }
        if let Some(account) = self.azure_account.as_deref().filter(|account| !secrets::is_azure_account(account)) {
            return Err(invalid("azure_account", account, "is not the name of a storage account"));
        }
        Ok(())
    }

    /// A URL below which databases keep their files, in the spelling that is used within.
    pub fn check_warehouse(url: &str) -> Result<String, Failure> {
        let invalid =
            |why: &str| Err(Failure::new(ErrorCode::InvalidArgument, format!("coordinator.warehouse: {url:?} {why}")));
        match url.split_once("://") {
            Some(("file", _)) => Ok(url.to_owned()),
            Some((scheme, _)) if Provider::of_scheme(scheme).is_some() => plain_url(url).or_else(invalid),
            _ => invalid("is neither a directory nor a URL of s3, gs or az"),
        }
    }

    /// Whether a secret may have its endpoint, and opens anything.
    pub fn check_secret(&self, secret: &SecretRecord) -> Result<(), Failure> {
        self.check_endpoint(secret)?;
        let Some(provider) =
            Provider::of_scheme(secrets::Kind::from_name(&secret.kind)?.schemes()[0].trim_end_matches("://"))
        else {
            return Ok(());
        };
        // Nothing is asked; but a key that is none is found now.
        let opened = provider.open(&format!("{}://any", provider.scheme()), self, Some(secret));
        opened.map(drop).map_err(|_| {
            let message = format!("the credentials of secret \"{}\" cannot be read", secret.name);
            Failure::new(ErrorCode::InvalidArgument, message)
        })
    }

    fn check_endpoint(&self, secret: &SecretRecord) -> Result<(), Failure> {
        let Some(endpoint) = secrets::option(&secret.options, "endpoint") else { return Ok(()) };
        let tls = secrets::option(&secret.options, "use_ssl") != Some("false");
        let path_allowed = secret.kind == secrets::Kind::Azure.name();
        let own = [&self.s3_endpoint, &self.gcs_endpoint, &self.azure_endpoint].into_iter().flatten();
        let allowed: Vec<_> =
            self.allowed_endpoints.iter().chain(own).filter_map(|one| endpoint_url(one, true, true)).collect();
        let wanted = endpoint_url(endpoint, tls, path_allowed);
        match wanted.is_some_and(|wanted| allowed.iter().any(|one| one.origin() == wanted.origin())) {
            true => Ok(()),
            false => {
                let message = "ENDPOINT of the secret is not an allowed one (storage.allowed_endpoints)";
                Err(Failure::new(ErrorCode::AccessDenied, message))
            }
        }
    }

    /// Hosts of web servers that the operator has named, if there is one at this scheme, host and port.
    fn web_hosts(&self, origin: &str) -> Option<Vec<String>> {
        let roots = self.allowed_roots.iter().filter(|root| root.starts_with("http"));
        let roots: Vec<Url> = roots.filter_map(|root| Url::parse(root).ok()).collect();
        let named = roots.iter().filter_map(|root| root.host_str().map(str::to_owned)).collect();
        roots.iter().any(|root| root.origin().ascii_serialization() == origin).then_some(named)
    }

    /// Directories below which statements may read and write, without links.
    fn directories(&self) -> Vec<PathBuf> {
        let directories = self.allowed_roots.iter().filter(|root| !root.contains("://"));
        directories.filter_map(|root| Path::new(root).canonicalize().ok()).collect()
    }

    fn url_allowed(&self, url: &str) -> bool {
        self.allowed_roots.iter().filter_map(|root| plain_url(root).ok()).any(|root| {
            let root = root.trim_end_matches('/');
            url.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    fn check_path(&self, location: &str, path: &Path) -> Result<String, Failure> {
        let fail = |code, why: String| Failure::new(code, format!("location {location:?} {why}"));
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(fail(ErrorCode::AccessDenied, "leads upwards with \"..\"".to_owned()));
        }
        // A glob is resolved by the listing; what comes before it is a directory.
        let (fixed, glob) = split_glob(path);
        let real = fixed
            .canonicalize()
            .map_err(|error| fail(ErrorCode::FileUnavailable, format!("cannot be read: {error}")))?;
        if NEVER.iter().any(|root| real.starts_with(root)) {
            return Err(fail(ErrorCode::AccessDenied, "is not a place for data".to_owned()));
        }
        if !self.allowed_roots.is_empty() && !self.directories().iter().any(|root| real.starts_with(root)) {
            let why = "is not below an allowed root (storage.allowed_roots)".to_owned();
            return Err(fail(ErrorCode::AccessDenied, why));
        }
        let mut checked = real.to_string_lossy().into_owned();
        if let Some(glob) = glob {
            checked = format!("{checked}/{glob}");
        } else if real.is_dir() {
            checked.push('/');
        }
        Ok(checked)
    }
}

fn is_readable(scheme: &str) -> bool {
    matches!(scheme, "http" | "https") || Provider::of_scheme(scheme).is_some()
}

/// A URL in its one form: where `%2e%2e` leads is known, and that `0x7f000001` is an address.
fn plain_url(location: &str) -> Result<String, &'static str> {
    let url = Url::parse(&plain_scheme(location)).map_err(|_| "is not a URL")?;
    let is_azure = url.scheme() == Provider::Azure.scheme();
    if is_azure && (!url.username().is_empty() || url.host_str().is_some_and(|host| host.contains('.'))) {
        return Err(
            "names a storage account: write az://container/path; the account is the secret's, or storage.azure_account",
        );
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err("has a user, a query or a fragment, which the URL of a file has not here");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("names no bucket and no host");
    }
    if location.contains("..") {
        return Err("leads upwards with \"..\"");
    }
    Ok(url.to_string())
}

fn split_glob(path: &Path) -> (PathBuf, Option<String>) {
    let text = path.to_string_lossy();
    match text.find(['*', '?', '[']) {
        None => (path.to_owned(), None),
        Some(at) => {
            let slash = text[..at].rfind('/').map_or(0, |slash| slash + 1);
            let fixed = if slash == 0 { "." } else { &text[..slash] };
            (PathBuf::from(fixed), Some(text[slash..].to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_stay_below_their_roots() {
        let root = std::env::temp_dir().join(format!("frazil-roots-{}", std::process::id()));
        let inside = root.join("in/table");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::create_dir_all(root.join("out")).unwrap();
        std::os::unix::fs::symlink(root.join("out"), root.join("in/link")).unwrap();
        let options = StorageOptions {
            allowed_roots: [
                root.join("in").display().to_string().as_str(),
                "s3://mine/data",
                "gs://mine/g",
                "azure://mine/a",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Default::default()
        };
        let code = |location: &str| options.check_location(location).map_err(|failure| failure.code);
        let inside = inside.display().to_string();
        assert!(code(&inside).unwrap().ends_with("/in/table/"));
        assert!(code(&format!("{inside}/*.parquet")).unwrap().ends_with("/in/table/*.parquet"));
        assert_eq!(code(&format!("{inside}/../../out")), Err(ErrorCode::AccessDenied));
        assert_eq!(code(&root.join("in/link").display().to_string()), Err(ErrorCode::AccessDenied));
        assert_eq!(code(&root.join("out").display().to_string()), Err(ErrorCode::AccessDenied));
        assert_eq!(code(&root.join("in/none").display().to_string()), Err(ErrorCode::FileUnavailable));
        assert_eq!(code("http://169.254.169.254/latest"), Err(ErrorCode::AccessDenied));
        assert!(code("s3://mine/data/t").is_ok());
        assert_eq!(code("gcs://mine/g/t").unwrap(), "gs://mine/g/t");
        assert_eq!(code("abfss://mine/a/t").unwrap(), "az://mine/a/t");
        let named = options.check_location("abfss://mine@account.dfs.core.windows.net/a/t").unwrap_err();
        assert!(named.message.contains("names a storage account"), "{named}");
        for location in ["gs://mine/data", "az://mine/g", "az://mine.evil.org/a", "s3a://mine/data", "r2://mine/data"] {
            assert_eq!(code(location), Err(ErrorCode::AccessDenied), "{location}");
        }
        assert_eq!(code("s3://mine/database"), Err(ErrorCode::AccessDenied));
        assert_eq!(code("s3://other/data"), Err(ErrorCode::AccessDenied));
        for location in [
            "s3://mine/data/../theirs",
            "s3://mine/data/%2e%2e/theirs",
            "s3://mine/data/%2E./theirs",
            "s3://mine/data?x=/../../theirs",
            "s3://user@mine/data",
            "s3://mine:8080/data",
            "s3:///data",
        ] {
            assert_eq!(code(location), Err(ErrorCode::AccessDenied), "{location}");
        }
        let open = StorageOptions::default();
        assert_eq!(open.check_location("/proc/self/environ").unwrap_err().code, ErrorCode::AccessDenied);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn roots_that_are_not_there_are_no_roots() {
        let with = |root: &str| StorageOptions { allowed_roots: vec![root.to_owned()], ..Default::default() };
        for (root, good) in [
            ("/tmp", true),
            ("s3://bucket/prefix", true),
            ("/no/such/directory", false),
            ("/etc/hostname", false),
            ("s3://", false),
            ("ftp://host/x", false),
        ] {
            assert_eq!(with(root).check().is_ok(), good, "{root}");
        }
        assert!(with("/no/such/directory").check().unwrap_err().message.contains("\"/no/such/directory\""));
    }

    #[test]
    fn endpoints_of_secrets_are_on_the_list() {
        let options = StorageOptions {
            allowed_endpoints: vec!["https://store.example".to_owned(), "http://127.0.0.1:9000".to_owned()],
            ..Default::default()
        };
        let check = |endpoint: &str, ssl: &str| {
            let given = [("key_id", "k"), ("secret", "s"), ("endpoint", endpoint), ("use_ssl", ssl)];
            let given = given.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let (name, kind, scope) = ("n".to_owned(), "s3".to_owned(), "s3://".to_owned());
            let secret = SecretRecord { id: uuid::Uuid::nil(), name, kind, scope, options: given.into() };
            options.check_secret(&secret).is_ok()
        };
        assert!(check("store.example", "true") && check("https://STORE.example:443/", "") && check("", "true"));
        assert!(check("127.0.0.1:9000", "false") && check("http://127.0.0.1:9000", "true"));
        for endpoint in [
            "127.0.0.1:9000",
            "http://store.example",
            "store.example.evil.org",
            "https://store.example@169.254.169.254",
            "https://store.example/path",
            "169.254.169.254",
            "store.example:8443",
        ] {
            assert!(!check(endpoint, "true"), "{endpoint}");
        }
    }
}
