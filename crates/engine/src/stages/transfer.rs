//! Files that clients send to a stage, or fetch from one.

use std::path::Path as FilePath;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use datafusion::error::DataFusionError;
use frazil_common::{ByteSize, ErrorCode, Failure};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use object_store::ObjectStoreExt;
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::errors::ParquetError;

use super::format::invalid;
use super::place::{StagedFile, StagedPlace, leads_out, unavailable};
use crate::errors::to_failure;
use crate::lake::{ObjectFile, store_error};

/// How long a client may take between two pieces of a file that it sends.
const PAUSE_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Of so many bytes.
    Uploaded(u64),
    /// There is a file of that name, and it was not to be overwritten.
    Skipped,
}

impl StagedPlace {
    /// Takes a file. It is there when all of it is, or not at all.
    pub async fn put(
        &self,
        body: impl Stream<Item = Result<Bytes, Failure>>,
        overwrite: bool,
        bytes_max: ByteSize,
    ) -> Result<Sent, Failure> {
        let shown = self.shown(&self.path);
        if self.path.is_empty() || self.path.ends_with('/') {
            return Err(invalid(format!("\"{shown}\" names no file")));
        }
        let path = self.object_path(&self.path)?;
        if self.is_local() {
            let (root, file) = (FilePath::new(&self.root), FilePath::new(&self.root).join(&self.path));
            if let Ok(real) = root.canonicalize() {
                leads_out(&real, &file, &shown)?;
            }
        }
        if !overwrite && self.store.head(&path).await.is_ok() {
            return Ok(Sent::Skipped);
        }
        let local = self.is_local().then(|| FilePath::new(&self.root).join(&self.path));
        // Dropped before it is complete, be it because the client has gone, nothing of it stays.
        let mut file = ObjectFile::create(self.store.clone(), path, local);
        write_all(&mut file, body, bytes_max, &shown).await.map(Sent::Uploaded)
    }

    /// The bytes of the one file that the place names.
    pub async fn get(&self) -> Result<(StagedFile, BoxStream<'static, Result<Bytes, Failure>>), Failure> {
        let file = self.file("").await?;
        let got = self.store.get(&file.meta.location).await.map_err(|error| unavailable(&file.shown, &error))?;
        let shown = file.shown.clone();
        let bytes = got.into_stream().map(move |piece| piece.map_err(|error| unavailable(&shown, &error)));
        Ok((file, bytes.boxed()))
    }
}

async fn write_all(
    file: &mut ObjectFile,
    body: impl Stream<Item = Result<Bytes, Failure>>,
    bytes_max: ByteSize,
    shown: &str,
) -> Result<u64, Failure> {
    let not_written = |error: ParquetError| {
        let error = DataFusionError::ObjectStore(Box::new(store_error(error)));
        let failure = to_failure(&error);
        Failure { message: format!("staged file \"{shown}\" cannot be written: {}", failure.message), ..failure }
    };
    let mut body = pin!(body);
    let mut bytes = 0;
    loop {
        let piece = tokio::time::timeout(PAUSE_MAX, body.next()).await.map_err(|_| {
            Failure::new(ErrorCode::Timeout, format!("nothing came of file \"{shown}\" for {} s", PAUSE_MAX.as_secs()))
        })?;
        let Some(piece) = piece else { break };
        let piece = piece?;
        bytes += piece.len() as u64;
        if bytes > bytes_max.0 {
            let message = format!("file \"{shown}\" has more than {bytes_max} (coordinator.staged_file_bytes_max)");
            return Err(Failure::new(ErrorCode::ResourcesExhausted, message));
        }
        file.write(piece).await.map_err(not_written)?;
    }
    file.complete().await.map_err(not_written)?;
    Ok(bytes)
}
