//! Takes exchange streams from remote producers and fills the inputs of this process.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow_ipc::reader::StreamDecoder;
use frazil_common::{ErrorCode, Failure};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet};

use crate::frame::{self, ALL, FrameHeader, FrameKind, HANDSHAKE_BYTES, HEADER_BYTES, Handshake, Note, NoteKind};
use crate::hub::Hub;
use crate::input::{ExchangeInput, WINDOW_BYTES};
use crate::wire::{ReadHalf, Wire, WriteHalf};

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Streams at the same time; more wait to be accepted.
const STREAMS_MAX: usize = 8192;
/// Credits are returned in steps of this size, not for every batch.
const CREDIT_STEP_BYTES: u64 = (WINDOW_BYTES / 4) as u64;
const READ_BUFFER_BYTES: usize = 16 << 10;

/// Listens until it is dropped.
pub struct DataServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl DataServer {
    /// Binds first, so that the hub can be told its address; see [`DataServer::serve`].
    pub async fn bind(address: &str) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }

    /// Accepts on the runtime that calls it (the I/O runtime), and reads on `readers`. Frames that are read where their
    /// rows are used, on the threads for queries, save waking a sleeping thread for each: 5 % of TPC-H q2 and q22 at
    /// scale 1.
    pub fn serve(listener: TcpListener, hub: Arc<Hub>, readers: Handle) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, hub, readers));
        Ok(Self { address, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for DataServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, hub: Arc<Hub>, readers: Handle) {
    let streams = Arc::new(Semaphore::new(STREAMS_MAX));
    // Owned here, so that all streams end with the server.
    let mut tasks = JoinSet::new();
    loop {
        let permit = streams.clone().acquire_owned().await.expect("the semaphore is never closed");
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (hub, readers) = (hub.clone(), readers.clone());
                    tasks.spawn(async move {
                        if let Some((stream, input)) = take_handshake(stream, &hub).await {
                            take_stream(stream, input, &readers).await;
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: give running streams time to close theirs.
                    tracing::warn!(%error, "cannot accept an exchange stream");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Who sends, and into which input. Here, and not where the frames are read: a thread that is busy with a query would let
/// the time for it run out.
async fn take_handshake(stream: TcpStream, hub: &Hub) -> Option<(Wire, Arc<ExchangeInput>)> {
    let mut bytes = [0; HANDSHAKE_BYTES];
    let taken = async {
        let mut stream = Wire::accept(stream, hub.tls()).await?;
        stream.read_exact(&mut bytes).await?;
        io::Result::Ok(stream)
    };
    let mut stream = tokio::time::timeout(HANDSHAKE_LIMIT, taken).await.ok()?.ok()?;
    let handshake = Handshake::decode(&bytes).ok()?;
    match hub.find(handshake.query, handshake.token, handshake.exchange).await {
        Ok(input) => Some((stream, input)),
        Err(failure) => {
            let message = frame::encode_failure(&failure);
            let note = Note { kind: NoteKind::Refused, partition: ALL, value: message.len() as u32 };
            let _ = stream.write_all(&note.encode()).await;
            let _ = stream.write_all(&message).await;
            let _ = stream.flush().await;
            None
        }
    }
}

/// Reads the frames on `readers`. Dropping the future ends that, too.
async fn take_stream(stream: Wire, input: Arc<ExchangeInput>, readers: &Handle) {
    let reading = stream.release().map(|stream| {
        let input = input.clone();
        let mut reading = JoinSet::new();
        let io = Handle::current();
        let read = async move { read_stream(stream.take()?, &input, &io).await };
        reading.spawn_on(read, readers);
        reading
    });
    let outcome = match reading {
        Ok(mut reading) => reading.join_next().await.unwrap_or(Ok(Ok(()))),
        Err(error) => Ok(Err(error)),
    };
    let failure = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(error)) => Failure::internal(format!("an exchange stream cannot be read: {error}")),
        Err(error) => Failure::internal(format!("reading an exchange stream ended: {error}")),
    };
    input.fail(&failure);
}

async fn read_stream(stream: Wire, input: &Arc<ExchangeInput>, io: &Handle) -> io::Result<()> {
    let (read, write) = stream.into_split();
    let mut read = BufReader::with_capacity(READ_BUFFER_BYTES, read);
    let ledger = CreditLedger::new();
    input.attach(&ledger);
    // Owned here: the last notes do not matter, a producer that has ended needs no credits. On the I/O threads: one that is
    // busy with the batch would keep back the credit for it.
    let mut notes = JoinSet::new();
    notes.spawn_on(send_notes(write, ledger.clone()), io);
    let result = take_frames(&mut read, input, &ledger).await;
    if let Err(failure) = result
        && !input.is_done()
    {
        input.fail(&failure);
    }
    Ok(())
}

async fn take_frames(
    read: &mut BufReader<ReadHalf>,
    input: &Arc<ExchangeInput>,
    ledger: &Arc<CreditLedger>,
) -> Result<(), Failure> {
    let broken = |error: io::Error| {
        let code = match error.kind() {
            io::ErrorKind::InvalidData => ErrorCode::Internal,
            _ => ErrorCode::ExecutorLost,
        };
        Failure::new(code, format!("an exchange stream broke off: {error}"))
    };
    let mut decoder = StreamDecoder::new();
    let mut header = [0; HEADER_BYTES];
    loop {
        read.read_exact(&mut header).await.map_err(broken)?;
        let header = FrameHeader::decode(&header).map_err(broken)?;
        let body = read_body(read, header.length as usize).await.map_err(broken)?;
        match header.kind {
            FrameKind::End => {
                input.end(header.partition);
                if header.partition == ALL {
                    return Ok(());
                }
            }
            FrameKind::Bye => return Ok(()),
            FrameKind::Failure => return Err(frame::decode_failure(&body)),
            FrameKind::Batch | FrameKind::Rows => {
                let bytes = body.len();
                let body = Buffer::from_vec(body);
                if frame::crc(std::slice::from_ref(&body)) != header.crc {
                    return Err(Failure::new(ErrorCode::ExecutorLost, "an exchange frame has a wrong checksum"));
                }
                let index = input.index_of(header.partition).ok_or_else(|| {
                    Failure::internal(format!("exchange partition {} is not read here", header.partition))
                })?;
                let batch = decode(header.kind, body, &mut decoder, input.schema())?;
                input.offer(index, batch, bytes, Some(ledger.clone()));
            }
        }
    }
}

fn decode(
    kind: FrameKind,
    mut body: Buffer,
    decoder: &mut StreamDecoder,
    schema: &SchemaRef,
) -> Result<RecordBatch, Failure> {
    if kind == FrameKind::Rows {
        let batch = frame::rows_only_batch(schema, &body);
        return batch.ok_or_else(|| Failure::internal("an exchange frame of rows does not fit its reader"));
    }
    let malformed = |error| Failure::internal(format!("an exchange frame does not decode: {error}"));
    let batch = decoder.decode(&mut body).map_err(malformed)?;
    let batch = batch.ok_or_else(|| Failure::internal("an exchange frame holds no batch"))?;
    let fits = batch.num_columns() == schema.fields().len()
        && batch.columns().iter().zip(schema.fields()).all(|(column, field)| column.data_type() == field.data_type());
    if !fits {
        return Err(Failure::internal("an exchange frame has another schema than its reader"));
    }
    // Not `with_schema`: that insists on equal nullability and metadata, which operators do not.
    RecordBatch::try_new(schema.clone(), batch.columns().to_vec())
        .map_err(|error| Failure::internal(format!("an exchange frame has another schema: {error}")))
}

async fn read_body(read: &mut BufReader<ReadHalf>, length: usize) -> io::Result<Vec<u8>> {
    // Not zeroed first: `read_buf` fills the spare capacity.
    let mut body = Vec::with_capacity(length);
    let mut limited = read.take(length as u64);
    while body.len() < length {
        if limited.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body)
}

/// What one stream's producer is owed: credits for batches that were taken, and word of partitions nobody reads.
pub(crate) struct CreditLedger {
    owed: Mutex<Owed>,
    wake: Notify,
}

#[derive(Default)]
struct Owed {
    credits: HashMap<u32, u64>,
    closed: Vec<u32>,
}

impl CreditLedger {
    fn new() -> Arc<Self> {
        Arc::new(Self { owed: Mutex::default(), wake: Notify::new() })
    }

    pub(crate) fn release(&self, partition: u32, bytes: usize) {
        let mut owed = self.owed.lock();
        let credit = owed.credits.entry(partition).or_default();
        *credit += bytes as u64;
        let due = *credit >= CREDIT_STEP_BYTES;
        drop(owed);
        if due {
            self.wake.notify_one();
        }
    }

    pub(crate) fn close(&self, partition: u32) {
        self.owed.lock().closed.push(partition);
        self.wake.notify_one();
    }

    fn take_due(&self) -> Vec<Note> {
        let mut owed = self.owed.lock();
        let closed = std::mem::take(&mut owed.closed);
        let closed = closed.into_iter().map(|partition| Note { kind: NoteKind::Closed, partition, value: 0 });
        let mut notes: Vec<Note> = closed.collect();
        for (partition, credit) in &mut owed.credits {
            if *credit >= CREDIT_STEP_BYTES {
                let value = (*credit).min(u32::MAX as u64) as u32;
                *credit -= value as u64;
                notes.push(Note { kind: NoteKind::Credit, partition: *partition, value });
            }
        }
        notes
    }
}

async fn send_notes(mut write: WriteHalf, ledger: Arc<CreditLedger>) {
    loop {
        let notes = ledger.take_due();
        if notes.is_empty() {
            ledger.wake.notified().await;
            continue;
        }
        let bytes: Vec<u8> = notes.iter().flat_map(|note| note.encode()).collect();
        // The producer is gone: its stream's reader notices too.
        if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
            return;
        }
    }
}
