//! The stores of a process, built on first use.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreRegistry;
use frazil_catalog::SecretRecord;
use frazil_common::{ErrorCode, Failure};
use object_store::ObjectStore;
use parking_lot::Mutex;
use url::Url;
use uuid::Uuid;

use super::StorageOptions;
use super::local::LocalFiles;
use super::provider::Provider;
use super::scoped::ScopedBucket;
use super::uploads::Uploads;
use super::web::WebFiles;
use crate::secrets::Secrets;

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

    /// The uploads that were begun in the bucket of a URL, where its store tells.
    pub fn uploads(&self, url: &str) -> object_store::Result<Option<Uploads>> {
        let Some((scheme, rest)) = url.split_once("://") else { return Ok(None) };
        let Some(provider) = Provider::of_scheme(scheme) else { return Ok(None) };
        let bucket = format!("{}://{}", provider.scheme(), rest.split('/').next().unwrap_or_default());
        Uploads::of_bucket(&bucket, &self.shared.options, self.secrets.of_url(url).map(Arc::as_ref))
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
        let provider = bucket.split_once("://").and_then(|(scheme, _)| Provider::of_scheme(scheme));
        let build = || match provider {
            Some(provider) => provider.open(bucket, &self.options, secret),
            None => Err(object_store::Error::NotSupported { source: format!("{bucket} is no bucket").into() }),
        };
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
}

impl ObjectStoreRegistry for ObjectStores {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if let Some(provider) = Provider::of_scheme(url.scheme()) {
            return self.bucket(&format!("{}://{}", provider.scheme(), url.host_str().unwrap_or_default()));
        }
        match url.scheme() {
            "file" => Ok(self.shared.local.clone()),
            "http" | "https" => self.web(url),
            other => {
                let message = format!("object store scheme {other:?} is not supported");
                Err(DataFusionError::External(Box::new(Failure::new(ErrorCode::NotSupported, message))))
            }
        }
    }
}
