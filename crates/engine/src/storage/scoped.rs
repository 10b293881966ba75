//! A bucket whose parts have secrets of their own.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::buckets::Shared;
use crate::secrets::Secrets;

/// Asks, for each path, the store with the secret of the longest scope.
#[derive(Clone, Debug)]
pub(super) struct ScopedBucket {
    bucket: String,
    secrets: Secrets,
    shared: Arc<Shared>,
}

impl ScopedBucket {
    pub(super) fn new(bucket: String, secrets: Secrets, shared: Arc<Shared>) -> Self {
        Self { bucket, secrets, shared }
    }

    fn store(&self, path: &str) -> Result<Arc<dyn ObjectStore>> {
        let secret = self.secrets.of_url(&format!("{}/{path}", self.bucket));
        self.shared.build(&self.bucket, secret.map(Arc::as_ref))
    }

    /// Of what is below a prefix: a scope `s3://bucket/a/` takes in the prefix `a`.
    fn store_of(&self, prefix: Option<&Path>) -> Result<Arc<dyn ObjectStore>> {
        self.store(prefix.map_or("", Path::as_ref))
    }
}

impl fmt::Display for ScopedBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bucket)
    }
}

#[async_trait]
impl ObjectStore for ScopedBucket {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.store(location.as_ref())?.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store(location.as_ref())?.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store(location.as_ref())?.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store(location.as_ref())?.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |path: Path| {
            let store = this.store(path.as_ref());
            async move {
                store?.delete(&path).await?;
                Ok(path)
            }
        };
        locations.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.store_of(prefix) {
            Ok(store) => store.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store_of(prefix)?.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store(to.as_ref())?.copy_opts(from, to, options).await
    }
}
