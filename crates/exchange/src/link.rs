//! The producer's end of an exchange stream to another process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow_ipc::writer::StreamEncoder;
use frazil_common::{ErrorCode, Failure, QueryId};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::frame::{
    self, ALL, BufferChain, FRAME_BYTES_MAX, FrameHeader, FrameKind, Handshake, NOTE_BYTES, Note, NoteKind,
};
use crate::hub::Token;
use crate::input::WINDOW_BYTES;
use crate::memory::{compact_views, own_bytes};
use crate::wire::{LinkTls, ReadHalf, Wire, WriteHalf};

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// For the text of a refusal.
const FAREWELL_LIMIT: Duration = Duration::from_secs(30);
/// Batches larger than this are sent in halves.
const BATCH_BYTES_MAX: usize = FRAME_BYTES_MAX / 8;

/// One stream: from one task to one executor, shared by the task's partitions.
pub struct OutgoingLink {
    peer: String,
    writer: tokio::sync::Mutex<LinkWriter>,
    credits: Arc<Credits>,
    bytes: AtomicU64,
}

struct LinkWriter {
    stream: WriteHalf,
    encoder: StreamEncoder,
}

#[derive(Default)]
struct Credits {
    state: Mutex<CreditState>,
    changed: Notify,
}

#[derive(Default)]
struct CreditState {
    in_flight: HashMap<u32, u64>,
    closed: HashMap<u32, ()>,
    all_closed: bool,
    failure: Option<Failure>,
}

impl OutgoingLink {
    /// Connects and introduces itself. `io`: the runtime whose reactor drives the socket.
    pub async fn connect(
        peer: &str,
        tls: Option<&LinkTls>,
        query: QueryId,
        token: Token,
        exchange: u32,
        schema: &SchemaRef,
        io: &Handle,
    ) -> Result<Self, Failure> {
        let lost = |why: String| Failure::new(ErrorCode::ExecutorLost, format!("exchange peer {peer}: {why}"));
        let (address, tls) = (peer.to_owned(), tls.cloned());
        let handshake = Handshake { token, query, exchange };
        let connecting = io.spawn(async move {
            let mut stream = Wire::connect(&address, tls.as_ref()).await?;
            stream.write_all(&handshake.encode()).await?;
            stream.flush().await?;
            std::io::Result::Ok(stream)
        });
        let stream = match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
            Ok(Ok(Ok(stream))) => stream,
            Ok(Ok(Err(error))) => return Err(lost(error.to_string())),
            Ok(Err(error)) => return Err(Failure::internal(format!("connecting to {peer} failed: {error}"))),
            Err(_) => return Err(lost(format!("no connection within {} s", CONNECT_LIMIT.as_secs()))),
        };
        let (read, write) = stream.into_split();
        let credits = Arc::new(Credits::default());
        // Ends when the peer closes the stream, at the latest some time after our half was closed.
        io.spawn(take_notes(read, credits.clone(), peer.to_owned()));
        let encoder = StreamEncoder::try_new(schema)
            .map_err(|error| Failure::new(ErrorCode::NotSupported, format!("rows cannot be sent: {error}")))?;
        Ok(Self {
            peer: peer.to_owned(),
            writer: tokio::sync::Mutex::new(LinkWriter { stream: write, encoder }),
            credits,
            bytes: AtomicU64::new(0),
        })
    }

    /// Bytes sent so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits for credit and sends; false when the peer needs no more of this partition.
    pub async fn send(&self, partition: u32, batch: RecordBatch) -> Result<bool, Failure> {
        let mut pending = vec![batch];
        while let Some(batch) = pending.pop() {
            let rows = batch.num_rows();
            if rows > 1 && own_bytes(&batch) > BATCH_BYTES_MAX {
                for half in [batch.slice(rows / 2, rows - rows / 2), batch.slice(0, rows / 2)] {
                    let own = compact_views(&half);
                    pending.push(own.map_err(|error| Failure::internal(format!("splitting a batch: {error}")))?);
                }
                continue;
            }
            if !self.await_credit(partition).await? {
                return Ok(false);
            }
            self.write_batch(partition, &batch).await?;
        }
        Ok(true)
    }

    async fn await_credit(&self, partition: u32) -> Result<bool, Failure> {
        loop {
            let changed = self.credits.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.credits.state.lock();
                if let Some(failure) = &state.failure {
                    return Err(failure.clone());
                }
                if state.all_closed || state.closed.contains_key(&partition) {
                    return Ok(false);
                }
                if state.in_flight.get(&partition).is_none_or(|bytes| *bytes < WINDOW_BYTES as u64) {
                    return Ok(true);
                }
            }
            changed.await;
        }
    }

    async fn write_batch(&self, partition: u32, batch: &RecordBatch) -> Result<(), Failure> {
        let mut writer = self.writer.lock().await;
        let (kind, body) = if frame::is_rows_only(batch.schema_ref()) {
            (FrameKind::Rows, vec![Buffer::from_slice_ref((batch.num_rows() as u64).to_le_bytes())])
        } else {
            let encoded = writer.encoder.encode(batch);
            let encoded = encoded.map_err(|error| Failure::internal(format!("encoding an exchange batch: {error}")))?;
            (FrameKind::Batch, encoded)
        };
        let length: usize = body.iter().map(|buffer| buffer.len()).sum();
        if length > FRAME_BYTES_MAX {
            let message = format!("a single row of {length} bytes is more than an exchange carries");
            return Err(Failure::new(ErrorCode::ResourcesExhausted, message));
        }
        *self.credits.state.lock().in_flight.entry(partition).or_default() += length as u64;
        let crc = frame::crc(&body);
        let header = FrameHeader { kind, partition, length: length as u32, crc };
        self.write(&mut writer, BufferChain::new(&header, body)).await?;
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn write(&self, writer: &mut LinkWriter, mut chain: BufferChain) -> Result<(), Failure> {
        let written = async {
            writer.stream.write_all_buf(&mut chain).await?;
            // TLS may keep back what the socket had no room for.
            writer.stream.flush().await
        };
        written.await.map_err(|error: std::io::Error| {
            // The peer says why before it closes; that reason is worth more than "connection reset".
            let said = self.credits.state.lock().failure.clone();
            said.unwrap_or_else(|| {
                Failure::new(ErrorCode::ExecutorLost, format!("exchange peer {}: {error}", self.peer))
            })
        })
    }

    async fn write_control(&self, kind: FrameKind, partition: u32, body: &[u8]) -> Result<(), Failure> {
        let mut writer = self.writer.lock().await;
        let header = FrameHeader { kind, partition, length: body.len() as u32, crc: 0 };
        self.write(&mut writer, BufferChain::new(&header, vec![body.into()])).await
    }

    /// No more batches of this partition will follow.
    pub async fn end(&self, partition: u32) -> Result<(), Failure> {
        self.write_control(FrameKind::End, partition, &[]).await
    }

    /// No more frames will follow. `end_all`: and all partitions that have not ended, end.
    pub async fn close(&self, end_all: bool) -> Result<(), Failure> {
        let kind = if end_all { FrameKind::End } else { FrameKind::Bye };
        self.write_control(kind, ALL, &[]).await?;
        // Only the writing half: a socket that is closed with unread credits in it would throw away what is under way.
        let _ = self.writer.lock().await.stream.shutdown().await;
        Ok(())
    }

    /// Tells the consumer why there will be no more, as far as it still listens.
    pub async fn fail(&self, failure: &Failure) {
        let body = frame::encode_failure(failure);
        let _ = tokio::time::timeout(CONNECT_LIMIT, self.write_control(FrameKind::Failure, ALL, &body)).await;
    }
}

async fn take_notes(mut read: ReadHalf, credits: Arc<Credits>, peer: String) {
    let mut bytes = [0; NOTE_BYTES];
    let failure = loop {
        if let Err(error) = read.read_exact(&mut bytes).await {
            break Failure::new(ErrorCode::ExecutorLost, format!("exchange peer {peer} closed the stream: {error}"));
        }
        let note = match Note::decode(&bytes) {
            Ok(note) => note,
            Err(error) => break Failure::internal(format!("exchange peer {peer}: {error}")),
        };
        match note.kind {
            NoteKind::Credit => {
                if let Some(in_flight) = credits.state.lock().in_flight.get_mut(&note.partition) {
                    *in_flight = in_flight.saturating_sub(note.value as u64);
                }
            }
            NoteKind::Closed if note.partition == ALL => credits.state.lock().all_closed = true,
            NoteKind::Closed => {
                credits.state.lock().closed.insert(note.partition, ());
            }
            NoteKind::Refused => {
                let mut message = vec![0; (note.value as usize).min(64 << 10)];
                let said = tokio::time::timeout(FAREWELL_LIMIT, read.read_exact(&mut message)).await;
                break match said {
                    Ok(Ok(_)) => frame::decode_failure(&message),
                    _ => Failure::new(ErrorCode::ExecutorLost, format!("exchange peer {peer} refused the stream")),
                };
            }
        }
        credits.changed.notify_waiters();
    };
    credits.state.lock().failure.get_or_insert(failure);
    credits.changed.notify_waiters();
}
