//! `PUT` and `GET`: files of this machine to a stage, and back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use frazil_engine::stages::{ClientStatement, expand, stage_of};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{Client, ClientError, StatementContext, StatementFailure};

const PIECE_BYTES: usize = 1 << 20;
/// Between the thread that reads and whoever sends.
const PIECES_AHEAD: usize = 2;

/// What became of a file.
struct Moved {
    source: String,
    target: String,
    source_bytes: u64,
    target_bytes: u64,
    status: &'static str,
}

/// Moves the files, and tells of each.
pub async fn run(
    client: &Client,
    context: &StatementContext,
    statement: ClientStatement,
) -> Result<RecordBatch, ClientError> {
    let moved = match statement {
        ClientStatement::Put { files, place, compress, overwrite } => {
            put(client, context, &files, &place, compress, overwrite).await?
        }
        ClientStatement::Get { place, directory, pattern } => {
            get(client, context, &place, Path::new(&directory), pattern.as_deref()).await?
        }
    };
    answer(&moved).map_err(|error| ClientError::Protocol(format!("the answer: {error}")))
}

/// A failure on our side, told as the coordinator's are.
pub fn refused(failure: frazil_common::Failure) -> ClientError {
    ClientError::Statement(StatementFailure {
        code: failure.code.number().to_owned(),
        sql_state: failure.code.sql_state().to_owned(),
        message: failure.message,
        position: failure.position,
        ..StatementFailure::default()
    })
}

async fn put(
    client: &Client,
    context: &StatementContext,
    files: &str,
    place: &str,
    compress: bool,
    overwrite: bool,
) -> Result<Vec<Moved>, ClientError> {
    let mut moved = Vec::new();
    for file in expand(files).map_err(refused)? {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let failed = |error: io::Error| ClientError::Invalid(format!("file {file:?} cannot be read: {error}"));
        let source_bytes = file.metadata().map_err(failed)?.len();
        let compress = compress && !is_compressed(&file).map_err(failed)?;
        let name = if compress { format!("{name}.gz") } else { name };
        let target = format!("{}/{name}", place.trim_end_matches('/'));
        let body = pieces(file.clone(), compress);
        let sent = client.put_file(context, &target, overwrite, body).await?;
        moved.push(Moved {
            source: file.display().to_string(),
            target: name,
            source_bytes,
            target_bytes: sent.unwrap_or(0),
            status: if sent.is_some() { "UPLOADED" } else { "SKIPPED" },
        });
    }
    Ok(moved)
}

/// By the first bytes: gzip, zstd, bzip2, xz, Parquet.
fn is_compressed(file: &Path) -> io::Result<bool> {
    let mut first = [0; 4];
    let read = File::open(file)?.read(&mut first)?;
    let known: [&[u8]; 5] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], b"BZh", &[0xfd, b'7', b'z', b'X'], b"PAR1"];
    Ok(known.iter().any(|begin| first[..read].starts_with(begin)))
}

/// A file's bytes, read by a thread of their own, at the pace at which they are taken.
fn pieces(file: PathBuf, compress: bool) -> BoxStream<'static, io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let read = move || {
        let send = |piece: Vec<u8>| sender.blocking_send(Ok(Bytes::from(piece))).is_ok();
        let read = || -> io::Result<()> {
            let mut file = File::open(&file)?;
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            loop {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                if (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece)? == 0 {
                    break;
                }
                if compress {
                    encoder.write_all(&piece)?;
                    piece = std::mem::take(encoder.get_mut());
                }
                if !piece.is_empty() && !send(piece) {
                    return Ok(());
                }
            }
            if compress {
                send(encoder.finish()?);
            }
            Ok(())
        };
        if let Err(error) = read() {
            let _ = sender.blocking_send(Err(error));
        }
    };
    tokio::task::spawn_blocking(read);
    ReceiverStream::new(receiver).boxed()
}

async fn get(
    client: &Client,
    context: &StatementContext,
    place: &str,
    directory: &Path,
    pattern: Option<&str>,
) -> Result<Vec<Moved>, ClientError> {
    if !directory.is_dir() {
        return Err(ClientError::Invalid(format!("directory {directory:?} not found")));
    }
    let mut moved = Vec::new();
    for file in client.list_files(context, place, pattern).await? {
        let name = file.path.rsplit('/').next().unwrap_or(&file.path).to_owned();
        let target = directory.join(&name);
        let failed = |error: io::Error| ClientError::Invalid(format!("file {target:?} cannot be written: {error}"));
        let mut body = client.get_file(context, &format!("{}/{}", stage_of(place), file.path)).await?;
        // Under another name until all of it is there.
        let unfinished = directory.join(format!(".{name}.{:08x}", rand::random::<u32>()));
        let mut written = tokio::fs::File::create(&unfinished).await.map_err(failed)?;
        let mut bytes = 0;
        let copied: Result<(), ClientError> = async {
            while let Some(piece) = body.next().await {
                let piece =
                    piece.map_err(|cause| ClientError::Unreachable(format!("file {name:?} broke off: {cause}")))?;
                bytes += piece.len() as u64;
                written.write_all(&piece).await.map_err(failed)?;
            }
            written.flush().await.map_err(failed)?;
            if bytes != file.size {
                let message = format!("file {name:?} broke off after {bytes} of {} bytes", file.size);
                return Err(ClientError::Unreachable(message));
            }
            tokio::fs::rename(&unfinished, &target).await.map_err(failed)
        }
        .await;
        if let Err(error) = copied {
            let _ = tokio::fs::remove_file(&unfinished).await;
            return Err(error);
        }
        moved.push(Moved {
            source: file.path,
            target: target.display().to_string(),
            source_bytes: file.size,
            target_bytes: bytes,
            status: "DOWNLOADED",
        });
    }
    Ok(moved)
}

fn answer(moved: &[Moved]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let texts = |text: &dyn Fn(&Moved) -> String| -> ArrayRef {
        Arc::new(moved.iter().map(|one| Some(text(one))).collect::<StringArray>())
    };
    let bytes = |bytes: &dyn Fn(&Moved) -> u64| -> ArrayRef {
        Arc::new(moved.iter().map(|one| i64::try_from(bytes(one)).ok()).collect::<Int64Array>())
    };
    let columns = [
        ("source", texts(&|one| one.source.clone())),
        ("target", texts(&|one| one.target.clone())),
        ("source_size", bytes(&|one| one.source_bytes)),
        ("target_size", bytes(&|one| one.target_bytes)),
        ("status", texts(&|one| one.status.to_owned())),
    ];
    let field = |(name, array): &(&str, ArrayRef)| {
        let kind = if *array.data_type() == DataType::Int64 { DataType::Int64 } else { DataType::Utf8 };
        Field::new(*name, kind, true)
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array)| array).collect())
}
