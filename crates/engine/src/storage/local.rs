//! Files of this machine. A link in an allowed directory does not lead out of it.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Locations of statements were checked before (`StorageOptions::check_location`) and have no links in them; but what is found below
/// them may be one. Paths outside of all roots are not statements': the warehouse, sample data.
#[derive(Debug)]
pub(super) struct LocalFiles {
    files: LocalFileSystem,
    /// Without links. Empty: all may be read, and nothing need be looked at.
    roots: Vec<PathBuf>,
}

impl LocalFiles {
    pub(super) fn new(roots: Vec<PathBuf>) -> Self {
        Self { files: LocalFileSystem::new(), roots }
    }

    fn check(&self, location: &Path) -> Result<()> {
        if self.roots.is_empty() {
            return Ok(());
        }
        let path = self.files.path_to_filesystem(location)?;
        if !self.roots.iter().any(|root| path.starts_with(root)) {
            return Ok(());
        }
        // What is not there yet is judged by the directory it will be in.
        let real = path.canonicalize().or_else(|_| match path.parent() {
            Some(parent) => parent.canonicalize(),
            None => Ok(path.clone()),
        });
        match real {
            Ok(real) if !self.roots.iter().any(|root| real.starts_with(root)) => {
                let source = format!("{} is a link that leads out of the allowed roots", path.display()).into();
                Err(object_store::Error::PermissionDenied { path: path.display().to_string(), source })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for LocalFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for LocalFiles {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.check(location)?;
        self.files.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.check(location)?;
        self.files.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check(location)?;
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.check(location)?;
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // Of a link, it is the link that is removed.
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check(from)?;
        self.check(to)?;
        self.files.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.check(from)?;
        self.check(to)?;
        self.files.rename_opts(from, to, options).await
    }
}
