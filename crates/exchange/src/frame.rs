//! The wire format of an exchange stream; all numbers little-endian.
//!
//! ```text
//! producer ─▶ consumer   handshake (72 bytes): magic "FRX1" | version u32 | token 16 | query id 16 | exchange u32 | zeros
//!                        then frames: kind u8 | 3 zeros | partition u32 | length u32 | crc32 u32 | `length` bytes
//!                          batch: IPC stream messages (the first one on a stream begins with the schema)
//!                          rows: a batch without buffers (no columns, or all of type null), as a count u64
//!                          end: partition, or ALL; no bytes. A stream that stops without end(ALL) or bye is broken
//!                          bye: the stream is complete; its partitions have ended one by one
//!                          failure: code name, NUL, message
//! consumer ─▶ producer   notes (12 bytes): kind u8 | 3 zeros | partition u32 | value u32
//!                          credit: `value` bytes of batches of this partition were taken
//!                          closed: nobody will read this partition any more; or ALL
//!                          refused: `value` bytes of message follow
//! ```
//!
//! Framed TCP instead of Arrow Flight: see `docs/adr/0002-exchange-transport.md`.

use std::io::{self, IoSlice};

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use frazil_common::{ErrorCode, Failure, QueryId};
use uuid::Uuid;

use crate::hub::Token;

pub const ALL: u32 = u32::MAX;
pub const HANDSHAKE_BYTES: usize = 72;
pub const HEADER_BYTES: usize = 16;
pub const NOTE_BYTES: usize = 12;
/// A frame beyond this is refused before anything is allocated. Senders split batches well below it.
pub const FRAME_BYTES_MAX: usize = 512 << 20;

const MAGIC: [u8; 4] = *b"FRX1";
const VERSION: u32 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind {
    Batch = 1,
    End = 2,
    Failure = 3,
    Bye = 4,
    Rows = 5,
}

#[derive(Clone, Copy, Debug)]
pub struct FrameHeader {
    pub kind: FrameKind,
    pub partition: u32,
    pub length: u32,
    pub crc: u32,
}

impl FrameHeader {
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = self.kind as u8;
        bytes[4..8].copy_from_slice(&self.partition.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> io::Result<Self> {
        let kind = match bytes[0] {
            1 => FrameKind::Batch,
            2 => FrameKind::End,
            3 => FrameKind::Failure,
            4 => FrameKind::Bye,
            5 => FrameKind::Rows,
            other => return Err(malformed(format!("frame of unknown kind {other}"))),
        };
        let header = Self { kind, partition: word(bytes, 4), length: word(bytes, 8), crc: word(bytes, 12) };
        if header.length as usize > FRAME_BYTES_MAX {
            return Err(malformed(format!("frame of {} bytes, at most {FRAME_BYTES_MAX} are taken", header.length)));
        }
        Ok(header)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoteKind {
    Credit = 1,
    Closed = 2,
    Refused = 3,
}

#[derive(Clone, Copy, Debug)]
pub struct Note {
    pub kind: NoteKind,
    pub partition: u32,
    pub value: u32,
}

impl Note {
    pub fn encode(&self) -> [u8; NOTE_BYTES] {
        let mut bytes = [0; NOTE_BYTES];
        bytes[0] = self.kind as u8;
        bytes[4..8].copy_from_slice(&self.partition.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.value.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; NOTE_BYTES]) -> io::Result<Self> {
        let kind = match bytes[0] {
            1 => NoteKind::Credit,
            2 => NoteKind::Closed,
            3 => NoteKind::Refused,
            other => return Err(malformed(format!("note of unknown kind {other}"))),
        };
        Ok(Self { kind, partition: word(bytes, 4), value: word(bytes, 8) })
    }
}

#[derive(Clone, Copy)]
pub struct Handshake {
    pub token: Token,
    pub query: QueryId,
    pub exchange: u32,
}

impl Handshake {
    pub fn encode(&self) -> [u8; HANDSHAKE_BYTES] {
        let mut bytes = [0; HANDSHAKE_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..24].copy_from_slice(self.token.as_bytes());
        bytes[24..40].copy_from_slice(self.query.0.as_bytes());
        bytes[40..44].copy_from_slice(&self.exchange.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; HANDSHAKE_BYTES]) -> io::Result<Self> {
        if bytes[0..4] != MAGIC || word(bytes, 4) != VERSION {
            return Err(malformed("not an exchange stream of this version"));
        }
        let sixteen = |at: usize| <[u8; 16]>::try_from(&bytes[at..at + 16]).expect("a slice of 16");
        Ok(Self {
            token: Token::from_bytes(sixteen(8)),
            query: QueryId(Uuid::from_bytes(sixteen(24))),
            exchange: word(bytes, 40),
        })
    }
}

pub fn encode_failure(failure: &Failure) -> Vec<u8> {
    format!("{}\0{}", failure.code.name(), failure.message).into_bytes()
}

pub fn decode_failure(bytes: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(bytes);
    match text.split_once('\0') {
        Some((code, message)) => Failure::new(ErrorCode::from_name(code).unwrap_or(ErrorCode::Internal), message),
        None => Failure::internal(text.into_owned()),
    }
}

/// Batches of such a schema have no buffers, and Arrow's stream decoder never yields a batch without any.
pub fn is_rows_only(schema: &Schema) -> bool {
    schema.fields().iter().all(|field| field.data_type().is_null())
}

/// The batch that a count stands for.
pub fn rows_only_batch(schema: &SchemaRef, bytes: &[u8]) -> Option<RecordBatch> {
    let rows = usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()?;
    let columns = schema.fields().iter().map(|_| new_null_array(&DataType::Null, rows)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    is_rows_only(schema).then(|| RecordBatch::try_new_with_options(schema.clone(), columns, &options).ok())?
}

pub fn crc(buffers: &[Buffer]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    buffers.iter().for_each(|buffer| hasher.update(buffer));
    hasher.finalize()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of 4"))
}

fn malformed(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// A header and Arrow buffers, written with vectored writes and never copied together.
pub struct BufferChain {
    parts: Vec<Buffer>,
    part: usize,
    offset: usize,
    remaining: usize,
}

impl BufferChain {
    pub fn new(header: &FrameHeader, body: Vec<Buffer>) -> Self {
        let mut parts = Vec::with_capacity(body.len() + 1);
        parts.push(Buffer::from_slice_ref(header.encode()));
        parts.extend(body.into_iter().filter(|buffer| !buffer.is_empty()));
        let remaining = parts.iter().map(Buffer::len).sum();
        Self { parts, part: 0, offset: 0, remaining }
    }
}

impl bytes::Buf for BufferChain {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.get(self.part).map_or(&[], |buffer| &buffer[self.offset..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (index, buffer) in self.parts[self.part..].iter().take(slices.len()).enumerate() {
            slices[filled] = IoSlice::new(if index == 0 { &buffer[self.offset..] } else { buffer });
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while count > 0 {
            let left = self.parts[self.part].len() - self.offset;
            if count < left {
                self.offset += count;
                return;
            }
            count -= left;
            self.part += 1;
            self.offset = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf;

    #[test]
    fn headers_notes_and_handshakes_survive() {
        let header = FrameHeader { kind: FrameKind::Batch, partition: 7, length: 99, crc: 0xdead_beef };
        let back = FrameHeader::decode(&header.encode()).unwrap();
        assert_eq!((back.kind, back.partition, back.length, back.crc), (FrameKind::Batch, 7, 99, 0xdead_beef));
        let handshake = Handshake { token: Token::random(), query: QueryId::mint(), exchange: 3 };
        let back = Handshake::decode(&handshake.encode()).unwrap();
        assert_eq!((back.query, back.exchange), (handshake.query, 3));
        assert!(back.token == handshake.token);
        let note = Note { kind: NoteKind::Closed, partition: ALL, value: 0 };
        assert_eq!(Note::decode(&note.encode()).unwrap().partition, ALL);
    }

    #[test]
    fn absurd_headers_are_refused() {
        let mut bytes = FrameHeader { kind: FrameKind::Batch, partition: 0, length: 0, crc: 0 }.encode();
        bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(FrameHeader::decode(&bytes).is_err());
        bytes[0] = 9;
        assert!(FrameHeader::decode(&bytes).is_err());
        assert!(Handshake::decode(&[0; HANDSHAKE_BYTES]).is_err());
    }

    #[test]
    fn a_chain_reads_as_its_parts_joined() {
        let header = FrameHeader { kind: FrameKind::Batch, partition: 1, length: 6, crc: 0 };
        let body = vec![Buffer::from_slice_ref(b"ab"), Buffer::from_slice_ref(b""), Buffer::from_slice_ref(b"cdef")];
        let mut chain = BufferChain::new(&header, body);
        let mut out = vec![];
        while chain.has_remaining() {
            let step = chain.remaining().min(3).min(chain.chunk().len());
            out.extend_from_slice(&chain.chunk()[..step]);
            chain.advance(step);
        }
        assert_eq!(&out[HEADER_BYTES..], b"abcdef");
    }
}
