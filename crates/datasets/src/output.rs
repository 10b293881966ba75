//! One file being written: invisible under its name until it is whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::error::DatasetError;

/// Above S3's least of 5 MiB; all parts but the last have this size, which some stores insist on.
const PART_BYTES: usize = 8 << 20;

/// Parts of one upload that are on their way while the next one fills. A writer waits when there are more.
const PARTS_IN_FLIGHT_MAX: usize = 2;

/// What an upload may hold in memory, beyond the Parquet writer.
pub(crate) const UPLOAD_BYTES_MAX: u64 = ((PARTS_IN_FLIGHT_MAX + 1) * PART_BYTES) as u64;

/// Dropping it unfinished leaves nothing behind.
pub(crate) enum OutputFile {
    Local(LocalFile),
    Object(ObjectUpload),
}

impl OutputFile {
    pub(crate) fn location(&self) -> String {
        match self {
            Self::Local(file) => file.target.display().to_string(),
            Self::Object(upload) => upload.location.clone(),
        }
    }

    /// Makes the file durable and visible; returns its size.
    pub(crate) fn finish(self) -> Result<u64, DatasetError> {
        match self {
            Self::Local(file) => file.finish(),
            Self::Object(upload) => upload.finish(),
        }
    }

    /// Gives the file up, and waits until its traces are gone.
    pub(crate) fn discard(self) {
        match self {
            Self::Local(file) => drop(file),
            Self::Object(upload) => upload.discard(),
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.write(bytes),
            Self::Object(upload) => upload.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Local(file) => file.file.flush(),
            // Parts have a fixed size: what is left goes with the last one.
            Self::Object(_) => Ok(()),
        }
    }
}

/// A temporary file in the directory of its target, since a rename is atomic only within a file system.
pub(crate) struct LocalFile {
    file: File,
    directory: PathBuf,
    temporary: PathBuf,
    target: PathBuf,
    bytes: u64,
    renamed: bool,
}

impl LocalFile {
    pub(crate) fn create(directory: PathBuf, name: &str) -> Result<Self, DatasetError> {
        // Two runs into one directory must not write into each other's files.
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let temporary = directory.join(format!(".{name}.{}-{serial}.tmp", std::process::id()));
        let file = File::options().write(true).create_new(true).open(&temporary);
        let file = file.map_err(|e| DatasetError::io("create", &temporary, e))?;
        Ok(Self { file, target: directory.join(name), directory, temporary, bytes: 0, renamed: false })
    }

    pub(crate) fn write_whole(mut self, bytes: &[u8]) -> Result<(), DatasetError> {
        self.write_all(bytes).map_err(|e| DatasetError::io("write", &self.target, e))?;
        self.finish().map(drop)
    }

    fn finish(mut self) -> Result<u64, DatasetError> {
        self.file.sync_all().map_err(|e| DatasetError::io("sync", &self.temporary, e))?;
        std::fs::rename(&self.temporary, &self.target).map_err(|e| DatasetError::io("rename to", &self.target, e))?;
        self.renamed = true;
        sync_directory(&self.directory).map_err(|e| DatasetError::io("sync directory", &self.directory, e))?;
        Ok(self.bytes)
    }
}

impl Write for LocalFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        if !self.renamed {
            // The error that made us give up is the one to report, not this.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Without this a rename may be lost with the power while the marker, written later, is not.
fn sync_directory(directory: &FsPath) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

/// One object: put at once when it is small, otherwise in parts. Not visible before the last call.
///
/// Its methods block on the runtime they were made in, so they must be called from its blocking threads. Each request
/// ends by the store's own timeouts and retries.
pub(crate) struct ObjectUpload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    location: String,
    runtime: Handle,
    buffer: Vec<u8>,
    upload: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<object_store::Result<()>>,
    bytes: u64,
}

impl ObjectUpload {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, path: Path, location: String) -> Self {
        Self {
            store,
            path,
            location,
            runtime: Handle::current(),
            buffer: Vec::new(),
            upload: None,
            parts: JoinSet::new(),
            bytes: 0,
        }
    }

    fn send_part(&mut self) -> object_store::Result<()> {
        if self.upload.is_none() {
            self.upload = Some(self.runtime.block_on(self.store.put_multipart(&self.path))?);
        }
        self.await_parts(PARTS_IN_FLIGHT_MAX - 1)?;
        let part = std::mem::take(&mut self.buffer);
        if let Some(upload) = &mut self.upload {
            self.parts.spawn_on(upload.put_part(part.into()), &self.runtime);
        }
        Ok(())
    }

    /// Returns when at most `left` parts are on their way.
    fn await_parts(&mut self, left: usize) -> object_store::Result<()> {
        while self.parts.len() > left {
            let Some(part) = self.runtime.block_on(self.parts.join_next()) else { break };
            part.map_err(|e| object_store::Error::Generic { store: "upload", source: Box::new(e) })??;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u64, DatasetError> {
        let result = self.send_rest();
        match result {
            Ok(()) => Ok(self.bytes),
            Err(source) => {
                let location = self.location.clone();
                self.discard();
                Err(DatasetError::Store { action: "write", location, source })
            }
        }
    }

    fn send_rest(&mut self) -> object_store::Result<()> {
        if self.upload.is_none() {
            let bytes = std::mem::take(&mut self.buffer);
            return self.runtime.block_on(self.store.put(&self.path, bytes.into())).map(drop);
        }
        if !self.buffer.is_empty() {
            self.send_part()?;
        }
        self.await_parts(0)?;
        if let Some(upload) = &mut self.upload {
            self.runtime.block_on(upload.complete())?;
        }
        self.upload = None;
        Ok(())
    }

    fn discard(mut self) {
        let upload = self.upload.take();
        self.runtime.clone().block_on(async {
            self.parts.shutdown().await;
            if let Some(mut upload) = upload {
                // What a store keeps of an upload that cannot be aborted, its lifecycle rules must remove.
                let _ = upload.abort().await;
            }
        });
    }
}

impl Write for ObjectUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == PART_BYTES {
            self.send_part().map_err(io::Error::other)?;
        }
        let taken = bytes.len().min(PART_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ObjectUpload {
    /// For a writer that panicked; all others finish or discard.
    fn drop(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            self.parts.abort_all();
            self.runtime.spawn(async move { upload.abort().await });
        }
    }
}
