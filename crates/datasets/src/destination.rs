//! Where a data set goes: a directory of this machine, or a prefix in an object store.

use std::fmt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore, ObjectStoreExt};
use url::Url;

use crate::error::DatasetError;
use crate::output::{LocalFile, ObjectUpload, OutputFile};

/// Cheap to clone. Shown as it was written.
#[derive(Clone)]
pub struct Destination {
    place: Place,
}

#[derive(Clone)]
enum Place {
    Local(PathBuf),
    Store { url: String, store: Arc<dyn ObjectStore>, prefix: Path },
}

impl Destination {
    /// A path, a `file://` URL, or `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`.
    ///
    /// Stores are set up by the environment alone. S3: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`,
    /// `AWS_ENDPOINT_URL`, and `AWS_ALLOW_HTTP=true` where the endpoint has no TLS. Google: `GOOGLE_SERVICE_ACCOUNT_KEY` or
    /// `GOOGLE_APPLICATION_CREDENTIALS`. Azure: `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`. Nothing is contacted here.
    pub fn parse(text: &str) -> Result<Self, DatasetError> {
        let wrong = |problem: String| DatasetError::InvalidDestination { destination: text.to_owned(), problem };
        if text.trim().is_empty() {
            return Err(wrong("is empty: give a directory or a URL of s3, gs or az".to_owned()));
        }
        if !text.contains("://") {
            return Ok(Self::local(text));
        }
        let url = Url::parse(text).map_err(|e| wrong(format!("is not a URL: {e}")))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("has a query or a fragment, which a place to write to cannot have".to_owned()));
        }
        match url.scheme() {
            "file" => {
                url.to_file_path().map(Self::local).map_err(|()| wrong("is not a path of this machine".to_owned()))
            }
            scheme @ ("s3" | "gs" | "gcs" | "az" | "azure" | "abfs" | "abfss") => {
                let bucket = url.host_str().filter(|host| !host.is_empty());
                let bucket = bucket.ok_or_else(|| wrong(format!("names no bucket: write {scheme}://bucket/prefix")))?;
                if !url.username().is_empty() || (scheme.starts_with('a') && bucket.contains('.')) {
                    return Err(wrong(
                        "names an account, which the environment does: write az://container/prefix".into(),
                    ));
                }
                let prefix = Path::from_url_path(url.path()).map_err(|e| wrong(format!("has a bad path: {e}")))?;
                let store = open(scheme, bucket).map_err(|e| wrong(format!("cannot be used: {e}")))?;
                Ok(Self::in_store(text, store, prefix))
            }
            scheme => Err(wrong(format!("has the unknown scheme {scheme:?}: use a path, file, s3, gs or az"))),
        }
    }

    pub fn local(directory: impl Into<PathBuf>) -> Self {
        Self { place: Place::Local(directory.into()) }
    }

    /// A prefix in a store that the caller made; `url` is what messages call it.
    pub fn in_store(url: impl Into<String>, store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        let url = url.into().trim_end_matches('/').to_owned();
        Self { place: Place::Store { url, store, prefix } }
    }

    /// `None` for an object store.
    pub fn local_path(&self) -> Option<&FsPath> {
        match &self.place {
            Place::Local(directory) => Some(directory),
            Place::Store { .. } => None,
        }
    }

    /// The directory or URL of a table's files, with a slash at the end: what `LOCATION` in SQL takes.
    pub fn table_location(&self, table: &str) -> String {
        format!("{}/", self.location(table))
    }

    fn location(&self, name: &str) -> String {
        match &self.place {
            Place::Local(directory) => directory.join(name).display().to_string(),
            Place::Store { url, .. } => format!("{url}/{name}"),
        }
    }

    /// Makes the tables' directories, and removes what earlier runs of ours left in them, so that a run of fewer files
    /// does not leave strays to be read along. Files that are not named like ours are not touched.
    pub(crate) async fn prepare(&self, tables: &[&str]) -> Result<(), DatasetError> {
        for table in tables {
            match &self.place {
                Place::Local(directory) => {
                    let directory = directory.join(table);
                    tokio::fs::create_dir_all(&directory)
                        .await
                        .map_err(|e| DatasetError::io("create directory", &directory, e))?;
                    for (name, _) in list_directory(&directory).await? {
                        if is_data_file(table, &name) || is_temporary_file(table, &name) {
                            let path = directory.join(name);
                            tokio::fs::remove_file(&path).await.map_err(|e| DatasetError::io("remove", &path, e))?;
                        }
                    }
                }
                Place::Store { store, prefix, .. } => {
                    for (name, _) in self.data_files(table).await? {
                        let path = prefix.clone().join(*table).join(name.as_str());
                        store.delete(&path).await.map_err(|e| self.store_error("remove", path.as_ref(), e))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Names and sizes of the Parquet files of a table.
    pub(crate) async fn data_files(&self, table: &str) -> Result<Vec<(String, u64)>, DatasetError> {
        let mut files = match &self.place {
            Place::Local(directory) => list_directory(&directory.join(table)).await?,
            Place::Store { store, prefix, .. } => store
                .list(Some(&prefix.clone().join(table)))
                .map_ok(|object| (object.location.filename().unwrap_or_default().to_owned(), object.size))
                .try_collect()
                .await
                .map_err(|e| self.store_error("list", table, e))?,
        };
        files.retain(|(name, _)| is_data_file(table, name));
        Ok(files)
    }

    /// Opens `<table>/<name>` for writing. Blocks; needs a Tokio runtime for object stores.
    pub(crate) fn create(&self, table: &str, name: &str) -> Result<OutputFile, DatasetError> {
        match &self.place {
            Place::Local(directory) => Ok(OutputFile::Local(LocalFile::create(directory.join(table), name)?)),
            Place::Store { store, prefix, .. } => Ok(OutputFile::Object(ObjectUpload::new(
                Arc::clone(store),
                prefix.clone().join(table).join(name),
                self.location(&format!("{table}/{name}")),
            ))),
        }
    }

    /// A small file beside the tables; `None` when there is none.
    pub(crate) async fn read_small(&self, name: &str) -> Result<Option<Vec<u8>>, DatasetError> {
        match &self.place {
            Place::Local(directory) => {
                let path = directory.join(name);
                match tokio::fs::read(&path).await {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(DatasetError::io("read", &path, e)),
                }
            }
            Place::Store { store, prefix, .. } => {
                let read = async { store.get(&prefix.clone().join(name)).await?.bytes().await };
                match read.await {
                    Ok(bytes) => Ok(Some(bytes.to_vec())),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(e) => Err(self.store_error("read", name, e)),
                }
            }
        }
    }

    /// Whole or not at all; replaces what is there.
    pub(crate) async fn write_small(&self, name: &str, bytes: Vec<u8>) -> Result<(), DatasetError> {
        match &self.place {
            Place::Local(directory) => LocalFile::create(directory.clone(), name)?.write_whole(&bytes),
            Place::Store { store, prefix, .. } => {
                let put = store.put(&prefix.clone().join(name), bytes.into()).await;
                put.map(drop).map_err(|e| self.store_error("write", name, e))
            }
        }
    }

    pub(crate) async fn remove_small(&self, name: &str) -> Result<(), DatasetError> {
        match &self.place {
            Place::Local(directory) => {
                let path = directory.join(name);
                match tokio::fs::remove_file(&path).await {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(DatasetError::io("remove", &path, e)),
                    _ => Ok(()),
                }
            }
            Place::Store { store, prefix, .. } => match store.delete(&prefix.clone().join(name)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(e) => Err(self.store_error("remove", name, e)),
            },
        }
    }

    fn store_error(&self, action: &'static str, name: &str, source: object_store::Error) -> DatasetError {
        DatasetError::Store { action, location: self.location(name), source }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Local(directory) => directory.display().fmt(f),
            Place::Store { url, .. } => f.write_str(url),
        }
    }
}

/// Not derived: a store's own form may show how it authenticates.
impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({self})")
    }
}

/// The name of a table's file. Numbers have equal width, so that names sort as numbers do.
pub(crate) fn data_file_name(table: &str, file: usize, files: usize) -> String {
    let width = files.saturating_sub(1).to_string().len().max(2);
    format!("{table}-{file:0width$}.parquet")
}

fn is_data_file(table: &str, name: &str) -> bool {
    let number = name.strip_prefix(table).and_then(|rest| rest.strip_prefix('-'));
    let number = number.and_then(|rest| rest.strip_suffix(".parquet"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_temporary_file(table: &str, name: &str) -> bool {
    name.strip_prefix('.').is_some_and(|rest| rest.starts_with(&format!("{table}-"))) && name.ends_with(".tmp")
}

/// Files only; empty when there is no such directory.
async fn list_directory(directory: &FsPath) -> Result<Vec<(String, u64)>, DatasetError> {
    let error = |e| DatasetError::io("list directory", directory, e);
    let mut entries = match tokio::fs::read_dir(directory).await {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(error(e)),
    };
    let mut files = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(error)? {
        let metadata = entry.metadata().await.map_err(error)?;
        if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
            files.push((name, metadata.len()));
        }
    }
    Ok(files)
}

/// A bucket, with what the environment says of it.
fn open(scheme: &str, bucket: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    // The default of 30 s for a whole request is short for a part on a slow or shared uplink.
    const LIMIT: (ClientConfigKey, &str) = (ClientConfigKey::Timeout, "120 seconds");
    Ok(match scheme {
        "s3" => {
            let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
            Arc::new(builder.with_config(AmazonS3ConfigKey::Client(LIMIT.0), LIMIT.1).build()?)
        }
        "gs" | "gcs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
            Arc::new(builder.with_config(GoogleConfigKey::Client(LIMIT.0), LIMIT.1).build()?)
        }
        _ => {
            let builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
            Arc::new(builder.with_config(AzureConfigKey::Client(LIMIT.0), LIMIT.1).build()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_paths_or_urls_we_know() {
        assert_eq!(Destination::parse("some/dir").unwrap().local_path(), Some(FsPath::new("some/dir")));
        assert_eq!(Destination::parse("file:///some/dir").unwrap().local_path(), Some(FsPath::new("/some/dir")));
        let s3 = Destination::parse("s3://bucket/some/prefix/").unwrap();
        assert_eq!(s3.table_location("orders"), "s3://bucket/some/prefix/orders/");
        for (text, part) in [
            ("ftp://host/dir", "unknown scheme \"ftp\""),
            ("", "is empty"),
            ("s3:///prefix", "names no bucket"),
            ("abfss://c@account.dfs.core.windows.net/x", "names an account"),
            ("s3://bucket/prefix?x=1", "has a query"),
        ] {
            let message = Destination::parse(text).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains(&format!("{text:?}")), "{text:?}: {message}");
        }
    }

    #[test]
    fn only_files_named_like_ours_are_ours() {
        assert_eq!(data_file_name("part", 7, 8), "part-07.parquet");
        assert_eq!(data_file_name("part", 7, 101), "part-007.parquet");
        assert!(is_data_file("part", "part-00.parquet") && is_temporary_file("part", ".part-00.parquet.12-3.tmp"));
        for name in ["part-.parquet", "part-x.parquet", "partsupp-00.parquet", "notes.txt", "part-00.parquet.bak"] {
            assert!(!is_data_file("part", name) && !is_temporary_file("part", name), "{name}");
        }
    }
}
