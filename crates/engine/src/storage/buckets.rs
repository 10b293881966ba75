//! The stores of a process, built on first use.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreRegistry;
use frazil_catalog::SecretRecord;
use frazil_common::{ErrorCode, Failure};
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use parking_lot::Mutex;
use url::Url;
use uuid::Uuid;

use super::local::LocalFiles;
use super::scoped::ScopedBucket;
use super::web::WebFiles;
use super::{StorageOptions, origin};
use crate::secrets::{Secrets, option};

/// Beyond it, stores are built anew: each keeps connections.
const BUILT_MAX: usize = 256;

/// Nothing but what [`StorageOptions`] allows, with the secrets of one statement.
#[derive(Debug)]
pub struct ObjectStores {
    shared: Arc<Shared>,
    secrets: Secrets,
    /// Buckets that were asked for.
    seen: Mutex<BTreeSet<String>>,
}

/// A bucket, and the secret that its store was built with.
type BuiltFor = (String, Option<Uuid>);

#[derive(Debug)]
pub(super) struct Shared {
    options: Arc<StorageOptions>,
    local: Arc<LocalFiles>,
    built: Mutex<HashMap<BuiltFor, Arc<dyn ObjectStore>>>,
}

impl ObjectStores {
    pub fn new(options: Arc<StorageOptions>) -> Self {
        let local = Arc::new(LocalFiles::new(options.directories()));
        let shared = Shared { options, local, built: Mutex::default() };
        Self { shared: Arc::new(shared), secrets: Secrets::default(), seen: Mutex::default() }
    }

    /// The same stores, with other secrets.
    pub fn with_secrets(&self, secrets: Secrets) -> Self {
        Self { shared: self.shared.clone(), secrets, seen: Mutex::default() }
    }

    /// Those that may be needed for the buckets that were asked for: an executor gets no others.
    pub fn secrets_in_use(&self) -> Secrets {
        let seen = self.seen.lock();
        let of_seen = seen.iter().flat_map(|bucket| self.secrets.of_bucket(bucket).iter().cloned().collect::<Vec<_>>());
        let by_name: std::collections::BTreeMap<String, Arc<SecretRecord>> =
            of_seen.map(|secret| (secret.name.clone(), secret)).collect();
        Secrets::new(by_name.into_values().map(|secret| secret.as_ref().clone()))
    }

    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    fn web(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let origin = url.origin().ascii_serialization();
        let Some(named) = self.shared.options.web_hosts(&origin) else {
            let message = format!("{origin} is not below an allowed root (storage.allowed_roots)");
            return Err(DataFusionError::External(Box::new(Failure::new(ErrorCode::AccessDenied, message))));
        };
        self.seen.lock().insert(origin.clone());
        let secrets = self.secrets.of_bucket(&origin);
        let ids: String = secrets.iter().map(|secret| format!(" {}", secret.id)).collect();
        let build = |url: Url| -> object_store::Result<Arc<dyn ObjectStore>> {
            Ok(Arc::new(WebFiles::new(url, named, secrets.clone())?))
        };
        let origin_url = Url::parse(&origin).map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(self.shared.built_as((format!("{origin}{ids}"), None), || build(origin_url))?)
    }

    fn bucket(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        self.seen.lock().insert(bucket.to_owned());
        let secrets = self.secrets.of_bucket(bucket);
        // One for the whole bucket needs no looking at paths.
        let whole = secrets.of_url(bucket);
        if secrets.iter().all(|secret| whole.is_some_and(|whole| whole.scope.len() >= secret.scope.len())) {
            return Ok(self.shared.build(bucket, whole.map(Arc::as_ref))?);
        }
        Ok(Arc::new(ScopedBucket::new(bucket.to_owned(), secrets, self.shared.clone())))
    }
}

impl Shared {
    pub(super) fn build(
        &self,
        bucket: &str,
        secret: Option<&SecretRecord>,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let name = bucket.strip_prefix("s3://").unwrap_or(bucket);
        let build = || Ok(Arc::new(self.s3(name, secret)?) as Arc<dyn ObjectStore>);
        self.built_as((bucket.to_owned(), secret.map(|secret| secret.id)), build)
    }

    fn built_as(
        &self,
        key: BuiltFor,
        build: impl FnOnce() -> object_store::Result<Arc<dyn ObjectStore>>,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        if let Some(store) = self.built.lock().get(&key) {
            return Ok(store.clone());
        }
        let store = build()?;
        let mut built = self.built.lock();
        if built.len() >= BUILT_MAX {
            built.clear();
        }
        built.insert(key, store.clone());
        Ok(store)
    }

    fn s3(&self, bucket: &str, secret: Option<&SecretRecord>) -> object_store::Result<object_store::aws::AmazonS3> {
        let options = &self.options;
        // A secret is in place of the environment, not beside it.
        let mut builder = match secret {
            None => AmazonS3Builder::from_env(),
            Some(_) => AmazonS3Builder::new(),
        };
        builder = builder.with_bucket_name(bucket).with_allow_http(options.s3_allow_http);
        if let Some(endpoint) = &options.s3_endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &options.s3_region {
            builder = builder.with_region(region);
        }
        let Some(SecretRecord { options: given, .. }) = secret else { return builder.build() };
        let with =
            |builder: AmazonS3Builder, key: &str, set: fn(AmazonS3Builder, String) -> AmazonS3Builder| match option(
                given, key,
            ) {
                Some(value) => set(builder, value.to_owned()),
                None => builder,
            };
        builder = with(builder, "key_id", AmazonS3Builder::with_access_key_id);
        builder = with(builder, "secret", AmazonS3Builder::with_secret_access_key);
        builder = with(builder, "session_token", AmazonS3Builder::with_token);
        builder = with(builder, "region", AmazonS3Builder::with_region);
        if let Some(endpoint) = option(given, "endpoint") {
            // Looked at when the secret was made; the list may have become shorter since.
            let refused = |failure: Failure| object_store::Error::Generic { store: "S3", source: Box::new(failure) };
            options.check_secret(given).map_err(refused)?;
            let endpoint = origin(endpoint, option(given, "use_ssl") != Some("false")).unwrap_or_default();
            builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
        }
        builder = builder.with_virtual_hosted_style_request(option(given, "url_style") == Some("vhost"));
        builder.build()
    }
}

impl ObjectStoreRegistry for ObjectStores {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        match url.scheme() {
            "file" => Ok(self.shared.local.clone()),
            "s3" => self.bucket(&format!("s3://{}", url.host_str().unwrap_or_default())),
            "http" | "https" => self.web(url),
            other => {
                let message = format!("object store scheme {other:?} is not supported");
                Err(DataFusionError::External(Box::new(Failure::new(ErrorCode::NotSupported, message))))
            }
        }
    }
}
