//! Files that are as they were when a statement was planned, or an error: rows of two files of one name are no answer.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, coalesce_ranges,
};

/// Whether a file is the one that was seen before. Where a store tells both by tags, these decide. Times may come with parts of seconds
/// in a list and without them in an answer, as Google's do.
pub fn is_same_version(seen: &ObjectMeta, now: &ObjectMeta) -> bool {
    if seen.size != now.size {
        return false;
    }
    match (tag_of(seen), tag_of(now)) {
        (Some(seen), Some(now)) => seen == now,
        _ if seen.last_modified.timestamp() != now.last_modified.timestamp() => false,
        _ => {
            let parts = [seen, now].map(|meta| meta.last_modified.timestamp_subsec_nanos());
            parts[0] == parts[1] || parts.contains(&0)
        }
    }
}

/// Without the quotes, which Azure's lists do not have.
pub fn tag_of(meta: &ObjectMeta) -> Option<&str> {
    meta.e_tag.as_deref().map(|tag| tag.trim_matches('"'))
}

/// A store that answers for some of its files only if they are what they were.
#[derive(Debug)]
pub struct Unchanged {
    inner: Arc<dyn ObjectStore>,
    is_local: bool,
    files: HashMap<Path, ObjectMeta>,
}

impl Unchanged {
    /// The store as a scan of these files is to see it. Files of the catalog's tables are never changed, and have no time.
    pub fn over(
        inner: Arc<dyn ObjectStore>,
        url: &ObjectStoreUrl,
        groups: &[FileGroup],
    ) -> Option<Arc<dyn ObjectStore>> {
        let is_local = url.as_str().starts_with("file:");
        let files = groups.iter().flat_map(FileGroup::iter).map(|file| &file.object_meta);
        let files = files.filter(|meta| meta.last_modified.timestamp() != 0);
        let files: HashMap<_, _> = files.map(|meta| (meta.location.clone(), meta.clone())).collect();
        (!files.is_empty()).then(|| Arc::new(Self { inner, is_local, files }) as Arc<dyn ObjectStore>)
    }

    fn check(&self, now: &ObjectMeta) -> Result<()> {
        match self.files.get(&now.location) {
            Some(seen) if !is_same_version(seen, now) => Err(Error::Precondition {
                path: now.location.to_string(),
                source: "the file was changed after the statement had begun".into(),
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Unchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Unchanged {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.inner.get_opts(location, options).await?;
        self.check(&got.meta)?;
        Ok(got)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let Some(seen) = self.files.get(location).filter(|_| self.is_local) else {
            // Each of these requests is answered with what the file is.
            return coalesce_ranges(ranges, |range| self.get_range(location, range), OBJECT_STORE_COALESCE_DEFAULT)
                .await;
        };
        // A local file may be written over while it is read, so it is looked at before and after. That it has become shorter is
        // first seen as another error.
        self.check(&self.inner.head(&seen.location).await?)?;
        let bytes = self.inner.get_ranges(location, ranges).await;
        self.check(&self.inner.head(&seen.location).await?)?;
        bytes
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(size: u64, time: &str, tag: Option<&str>) -> ObjectMeta {
        let last_modified = time.parse().expect("a time");
        ObjectMeta { location: Path::from("a"), last_modified, size, e_tag: tag.map(str::to_owned), version: None }
    }

    #[tokio::test]
    async fn local_files_that_change_are_not_read() {
        let file = std::env::temp_dir().join(format!("frazil-unchanged-{}", std::process::id()));
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::local::LocalFileSystem::new());
        let path = Path::from_absolute_path(&file).unwrap();
        std::fs::write(&file, "first").unwrap();
        let seen = store.head(&path).await.unwrap();
        let url = ObjectStoreUrl::local_filesystem();
        let group = FileGroup::new(vec![seen.into()]);
        let unchanged = Unchanged::over(store, &url, &[group]).unwrap();
        assert_eq!(unchanged.get_ranges(&path, &[0..2, 3..5]).await.unwrap(), ["fi", "st"]);
        std::fs::write(&file, "other").unwrap();
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::options().append(true).open(&file).unwrap().set_modified(later).unwrap();
        let changed = |error: Error| matches!(error, Error::Precondition { .. });
        assert!(changed(unchanged.get_ranges(&path, &[0..2, 3..5]).await.unwrap_err()));
        assert!(changed(unchanged.get(&path).await.map(|_| ()).unwrap_err()));
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn versions() {
        let seen = meta(3, "2026-01-02T03:04:05.678Z", Some("\"t\""));
        assert!(is_same_version(&seen, &meta(3, "2027-01-02T03:04:05Z", Some("t"))));
        assert!(!is_same_version(&seen, &meta(3, "2026-01-02T03:04:05.678Z", Some("u"))));
        assert!(!is_same_version(&seen, &meta(4, "2026-01-02T03:04:05.678Z", Some("t"))));
        assert!(is_same_version(&seen, &meta(3, "2026-01-02T03:04:05Z", None)));
        assert!(!is_same_version(&seen, &meta(3, "2026-01-02T03:04:06Z", None)));
        assert!(!is_same_version(&seen, &meta(3, "2026-01-02T03:04:05.679Z", None)));
    }
}
