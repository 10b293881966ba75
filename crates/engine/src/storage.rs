//! Which files and buckets statements may touch, and the object stores that reach them.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreRegistry;
use frazil_common::{ErrorCode, Failure};
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use url::Url;

/// What an operator can set of storage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageOptions {
    /// Directories and `s3://bucket/prefix` URLs below which tables may be declared. Empty: every local file that the
    /// process can read, and no bucket; for an instance that listens on loopback only.
    pub allowed_roots: Vec<String>,
    /// Endpoint of an S3-compatible store, in place of Amazon's.
    pub s3_endpoint: Option<String>,
    /// Region of the buckets; `us-east-1` when neither this nor AWS_REGION is set.
    pub s3_region: Option<String>,
    /// Plain HTTP to the endpoint. For tests on loopback.
    pub s3_allow_http: bool,
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
                "s3" if self.bucket_allowed(location) => Ok(location.to_owned()),
                "s3" => denied("is not below an allowed root (storage.allowed_roots)"),
                _ => denied("has a scheme that is not supported"),
            };
        }
        self.check_path(location, Path::new(location))
    }

    fn bucket_allowed(&self, location: &str) -> bool {
        !location.contains("..")
            && self.allowed_roots.iter().any(|root| {
                let root = root.trim_end_matches('/');
                root.starts_with("s3://")
                    && location.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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
        let roots: Vec<PathBuf> = self
            .allowed_roots
            .iter()
            .filter(|root| !root.contains("://"))
            .filter_map(|root| Path::new(root).canonicalize().ok())
            .collect();
        if !self.allowed_roots.is_empty() && !roots.iter().any(|root| real.starts_with(root)) {
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

/// Builds stores on first use; nothing but what [`StorageOptions`] allows.
#[derive(Debug)]
pub struct ObjectStores {
    options: Arc<StorageOptions>,
    local: Arc<LocalFileSystem>,
    buckets: RwLock<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl ObjectStores {
    pub fn new(options: Arc<StorageOptions>) -> Self {
        Self { options, local: Arc::new(LocalFileSystem::new()), buckets: RwLock::default() }
    }

    fn bucket(&self, name: &str) -> Result<Arc<dyn ObjectStore>> {
        if let Some(store) = self.buckets.read().get(name) {
            return Ok(store.clone());
        }
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(name);
        if let Some(endpoint) = &self.options.s3_endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &self.options.s3_region {
            builder = builder.with_region(region);
        }
        let store: Arc<dyn ObjectStore> = Arc::new(builder.with_allow_http(self.options.s3_allow_http).build()?);
        self.buckets.write().insert(name.to_owned(), store.clone());
        Ok(store)
    }
}

impl ObjectStoreRegistry for ObjectStores {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        match url.scheme() {
            "file" => Ok(self.local.clone()),
            "s3" => self.bucket(url.host_str().unwrap_or_default()),
            other => {
                let message = format!("object store scheme {other:?} is not supported");
                Err(DataFusionError::External(Box::new(Failure::new(ErrorCode::NotSupported, message))))
            }
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
            allowed_roots: vec![root.join("in").display().to_string(), "s3://mine/data".to_owned()],
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
        assert_eq!(code("s3://mine/database"), Err(ErrorCode::AccessDenied));
        assert_eq!(code("s3://other/data"), Err(ErrorCode::AccessDenied));
        let open = StorageOptions::default();
        assert_eq!(open.check_location("/proc/self/environ").unwrap_err().code, ErrorCode::AccessDenied);
        std::fs::remove_dir_all(root).unwrap();
    }
}
