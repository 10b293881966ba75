//! Writes one object, in parts where it is large, and leaves nothing of it behind unless it was completed and wanted.
//!
//! ```text
//!  ObjectFile ── parts, at most one waiting ──▶ a task of its own ── at most PARTS_UNDER_WAY_MAX ──▶ the store
//!      │ dropped before the last part: the upload is aborted
//!      │ dropped while it is completed: the object is deleted
//! ```
//!
//! The task outlives the writer that is cancelled, so that an upload is never forgotten between two of its steps.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion::error::DataFusionError;
use frazil_common::Failure;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, PutPayloadMut};
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::errors::ParquetError;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::report::{Report, read_reports};
use super::table::store_path;

/// Smaller objects go up in one piece. All parts but the last have this size, as some stores demand.
const PART_BYTES: usize = 8 << 20;
const PARTS_UNDER_WAY_MAX: usize = 2;
/// Of a local file, bytes after which what is there is sent to the disk while more of it comes: its end then waits for the rest
/// only.
const WRITE_BACK_BYTES: usize = 32 << 20;

enum Part {
    More(PutPayload),
    /// What is left, and who wants to know that the object is there.
    Last(PutPayload, oneshot::Sender<()>),
}

/// An object that is being written.
pub(crate) struct ObjectFile {
    buffer: PutPayloadMut,
    /// None once the last part was sent, or the task has ended with `failure`.
    parts: Option<mpsc::Sender<Part>>,
    failure: oneshot::Receiver<object_store::Error>,
    bytes_under_way: Arc<AtomicUsize>,
}

impl ObjectFile {
    /// `local` is the file's path where it is one: then it is on the disk, and not in the system's memory, when it is complete.
    pub(crate) fn create(store: Arc<dyn ObjectStore>, path: Path, local: Option<PathBuf>) -> Self {
        let (parts, receiver) = mpsc::channel(1);
        let (failed, failure) = oneshot::channel();
        let bytes_under_way = Arc::new(AtomicUsize::new(0));
        let bytes = bytes_under_way.clone();
        let (under_way, write_back) = (JoinSet::new(), WriteBack::default());
        let upload = Upload { store, path, local, upload: None, under_way, write_back, bytes };
        tokio::spawn(async move {
            if let Err(error) = upload.run(receiver).await {
                _ = failed.send(error);
            }
        });
        Self { buffer: PutPayloadMut::new(), parts: Some(parts), failure, bytes_under_way }
    }

    /// Memory of what was written and has not arrived yet, as it changes.
    pub(super) fn bytes_under_way(&self) -> Arc<AtomicUsize> {
        self.bytes_under_way.clone()
    }

    async fn send(&mut self, part: Part) -> Result<(), ParquetError> {
        let sent = match &self.parts {
            Some(parts) => parts.send(part).await.is_ok(),
            None => false,
        };
        match sent {
            true => Ok(()),
            false => Err(self.cause().await),
        }
    }

    /// Why the task takes nothing more.
    async fn cause(&mut self) -> ParquetError {
        self.parts = None;
        match (&mut self.failure).await {
            Ok(error) => ParquetError::External(Box::new(error)),
            Err(_) => ParquetError::General("the file was completed or given up before".to_owned()),
        }
    }

    async fn put(&mut self, mut bytes: Bytes) -> Result<(), ParquetError> {
        self.bytes_under_way.fetch_add(bytes.len(), Ordering::Relaxed);
        while self.buffer.content_length() + bytes.len() >= PART_BYTES {
            let rest = PART_BYTES - self.buffer.content_length();
            self.buffer.push(bytes.split_to(rest));
            let part = std::mem::take(&mut self.buffer).freeze();
            self.send(Part::More(part)).await?;
        }
        if !bytes.is_empty() {
            self.buffer.push(bytes);
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), ParquetError> {
        let (done, outcome) = oneshot::channel();
        let rest = std::mem::take(&mut self.buffer).freeze();
        self.send(Part::Last(rest, done)).await?;
        match outcome.await {
            Ok(()) => {
                self.parts = None;
                Ok(())
            }
            Err(_) => Err(self.cause().await),
        }
    }
}

/// The store's own error, where it is one.
pub(crate) fn store_error(error: ParquetError) -> object_store::Error {
    let source = match error {
        ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
            Ok(store) => return *store,
            Err(inner) => inner,
        },
        other => other.into(),
    };
    object_store::Error::Generic { store: "object store", source }
}

impl AsyncFileWriter for ObjectFile {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), ParquetError>> {
        self.put(bytes).boxed()
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), ParquetError>> {
        self.finish().boxed()
    }
}

struct Upload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    local: Option<PathBuf>,
    upload: Option<Box<dyn MultipartUpload>>,
    under_way: JoinSet<object_store::Result<()>>,
    write_back: WriteBack,
    bytes: Arc<AtomicUsize>,
}

/// Of a local file whose parts are being written.
#[derive(Default)]
struct WriteBack {
    /// Since it was begun last.
    bytes: usize,
    /// At most one.
    running: Option<JoinHandle<std::io::Result<()>>>,
}

impl WriteBack {
    async fn note(&mut self, file: &std::path::Path, bytes: usize) -> object_store::Result<()> {
        self.bytes += bytes;
        let busy = self.running.as_ref().is_some_and(|running| !running.is_finished());
        if self.bytes < WRITE_BACK_BYTES || busy {
            return Ok(());
        }
        self.end().await?;
        self.bytes = 0;
        // Where the store keeps a file that is not complete. If it is elsewhere, all waits for the end.
        let mut unfinished = file.as_os_str().to_owned();
        unfinished.push("#1");
        self.running = Some(tokio::task::spawn_blocking(move || match std::fs::File::open(unfinished) {
            Ok(file) => file.sync_data(),
            Err(_) => Ok(()),
        }));
        Ok(())
    }

    /// What fails here would not fail again at the file's end: the system tells of it once.
    async fn end(&mut self) -> object_store::Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.await.map_err(|source| object_store::Error::JoinError { source })?.map_err(local_error)
    }
}

fn local_error(source: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(source) }
}

impl Upload {
    async fn run(mut self, mut parts: mpsc::Receiver<Part>) -> object_store::Result<()> {
        let outcome = self.take(&mut parts).await;
        self.under_way.shutdown().await;
        if let Some(mut upload) = self.upload.take()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(path = %self.path, %error, "an upload could not be aborted");
        }
        match outcome {
            Ok(Some(done)) => {
                if done.send(()).is_err() {
                    remove(&self.store, &[self.path]).await;
                }
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Until the last part, and the object is there; or until the writer is gone.
    async fn take(&mut self, parts: &mut mpsc::Receiver<Part>) -> object_store::Result<Option<oneshot::Sender<()>>> {
        while let Some(part) = parts.recv().await {
            match part {
                Part::More(payload) => self.put_part(payload).await?,
                Part::Last(payload, done) => {
                    frazil_common::failpoint::reach("file.before_last_part");
                    self.complete(payload).await?;
                    frazil_common::failpoint::reach("file.complete");
                    return Ok(Some(done));
                }
            }
        }
        Ok(None)
    }

    async fn put_part(&mut self, payload: PutPayload) -> object_store::Result<()> {
        if self.upload.is_none() {
            self.upload = Some(self.store.put_multipart(&self.path).await?);
        }
        self.wait_for(PARTS_UNDER_WAY_MAX - 1).await?;
        if let Some(upload) = &mut self.upload {
            let (length, bytes) = (payload.content_length(), self.bytes.clone());
            let put = upload.put_part(payload);
            self.under_way.spawn(async move {
                let outcome = put.await;
                bytes.fetch_sub(length, Ordering::Relaxed);
                outcome
            });
            if let Some(file) = &self.local {
                self.write_back.note(file, length).await?;
            }
        }
        Ok(())
    }

    /// Until no more than so many parts are under way.
    async fn wait_for(&mut self, most: usize) -> object_store::Result<()> {
        while self.under_way.len() > most {
            if let Some(joined) = self.under_way.join_next().await {
                joined.map_err(|source| object_store::Error::JoinError { source })??;
            }
        }
        Ok(())
    }

    async fn complete(&mut self, payload: PutPayload) -> object_store::Result<()> {
        if self.upload.is_none() {
            self.store.put(&self.path, payload).await?;
        } else {
            if payload.content_length() > 0 {
                self.put_part(payload).await?;
            }
            self.wait_for(0).await?;
            if let Some(upload) = &mut self.upload {
                upload.complete().await?;
            }
            self.upload = None;
        }
        self.write_back.end().await?;
        match self.local.take() {
            Some(file) => sync(file).await,
            None => Ok(()),
        }
    }
}

/// A commit lasts through a power failure, so its files have to.
async fn sync(file: PathBuf) -> object_store::Result<()> {
    let sync = move || -> std::io::Result<()> {
        std::fs::File::open(&file)?.sync_all()?;
        file.parent().map_or(Ok(()), |directory| std::fs::File::open(directory)?.sync_all())
    };
    let synced = tokio::task::spawn_blocking(sync).await.map_err(|source| object_store::Error::JoinError { source })?;
    synced.map_err(local_error)
}

/// Files that were begun or written and are part of no table. Unless they are taken out, they are removed with it.
pub struct Begun {
    store: Arc<dyn ObjectStore>,
    paths: Vec<Path>,
}

impl Begun {
    pub(super) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, paths: Vec::new() }
    }

    pub(super) fn add(&mut self, path: Path) {
        self.paths.push(path);
    }

    /// Takes note of what writers of a table at `location` have reported.
    pub fn add_reported(&mut self, location: &str, reports: &RecordBatch) -> Result<(), Failure> {
        let path_of = |report| match report {
            Report::Written(file) => Some(file.path),
            Report::Deleted(deleted) => deleted.delete_file.map(|file| file.path),
            Report::Counted { .. } | Report::Sketched(_) | Report::Staged(_) => None,
        };
        for name in read_reports(std::slice::from_ref(reports))?.into_iter().filter_map(path_of) {
            let path = store_path(&format!("{location}{name}"));
            self.paths.push(path.map_err(|error| crate::errors::to_failure(&error))?);
        }
        Ok(())
    }

    /// From here on they stay, unless what comes of it is dropped: see [`Begun::put_back`].
    pub fn take(&mut self) -> Vec<Path> {
        std::mem::take(&mut self.paths)
    }

    pub fn put_back(&mut self, paths: Vec<Path>) {
        self.paths.extend(paths);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let paths = std::mem::take(&mut self.paths);
        // Without a runtime the process is about to end.
        if let (false, Ok(runtime)) = (paths.is_empty(), Handle::try_current()) {
            let store = self.store.clone();
            runtime.spawn(async move { remove(&store, &paths).await });
        }
    }
}

/// Removes files that no table has. What cannot be removed stays, as it would after a crash.
async fn remove(store: &Arc<dyn ObjectStore>, paths: &[Path]) {
    for path in paths {
        match store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::warn!(%path, %error, "a file of a failed write could not be removed"),
        }
    }
}

/// A file that cannot be written is not a corrupt one.
pub(super) fn writing(error: ParquetError, table: &str) -> DataFusionError {
    let error = match error {
        ParquetError::External(inner) if inner.is::<object_store::Error>() => {
            DataFusionError::ObjectStore(Box::new(store_error(ParquetError::External(inner))))
        }
        other => DataFusionError::ParquetError(Box::new(other)),
    };
    error.context(format!("writing table \"{table}\""))
}
