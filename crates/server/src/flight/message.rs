//! Messages of an Arrow IPC stream as `FlightData` in gRPC's frames, around the memory that the columns have.
//!
//! ```text
//! gRPC:      compressed u8 = 0 | length u32, big-endian | message
//! message:   0x12 | length varint | data_header: a flatbuffer `Message`      (field 2)
//!            0xc2 0x3e | length varint | data_body: the columns' buffers     (field 1000)
//! ```
//!
//! By hand because a `FlightData` owns its body: to build one, and to encode it, each copies all columns.

use std::collections::VecDeque;

use arrow::buffer::Buffer;
use arrow_ipc::{MessageHeader, root_as_message};
use frazil_common::Failure;
use prost::encoding::{encode_varint, encoded_len_varint};

const HEADER_KEY: u8 = 0x12;
const BODY_KEY: [u8; 2] = [0xc2, 0x3e];
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Continuation marker and the length of what follows.
const PREFIX_BYTES: usize = 8;

/// The frames of whole IPC messages, in their order. Their bytes are in `buffers` without a gap; the schema's message is left out where
/// `with_schema` is false.
pub fn frames(buffers: Vec<Buffer>, with_schema: bool) -> Result<Vec<Buffer>, Failure> {
    let mut chain = Chain(buffers.into());
    let mut frames = Vec::new();
    while let Some(prefix) = chain.take_joined(PREFIX_BYTES)? {
        let length = u32::from_le_bytes(prefix[4..].try_into().expect("four bytes"));
        if prefix[..4] != CONTINUATION {
            return Err(malformed("no continuation marker"));
        }
        if length == 0 {
            // The stream's end, which Flight has no message for.
            continue;
        }
        let header = chain.take_joined(length as usize)?.ok_or_else(|| malformed("a header is missing"))?;
        let message = root_as_message(&header).map_err(|error| malformed(&error.to_string()))?;
        let body = usize::try_from(message.bodyLength()).map_err(|_| malformed("a body of negative length"))?;
        if message.header_type() == MessageHeader::Schema && !with_schema {
            continue;
        }
        frames.push(Buffer::from_vec(head(&header, body)?));
        chain.take(body, &mut frames)?;
    }
    Ok(frames)
}

/// All of a frame but the body.
fn head(header: &[u8], body: usize) -> Result<Vec<u8>, Failure> {
    let (header_bytes, body_bytes) = (header.len() as u64, body as u64);
    let has_body = body > 0;
    let mut length = 1 + encoded_len_varint(header_bytes) + header.len();
    if has_body {
        length += BODY_KEY.len() + encoded_len_varint(body_bytes) + body;
    }
    let length = u32::try_from(length).map_err(|_| malformed("a message of more than 4 GiB"))?;
    let mut head = Vec::with_capacity(header.len() + 32);
    head.push(0);
    head.extend_from_slice(&length.to_be_bytes());
    head.push(HEADER_KEY);
    encode_varint(header_bytes, &mut head);
    head.extend_from_slice(header);
    if has_body {
        head.extend_from_slice(&BODY_KEY);
        encode_varint(body_bytes, &mut head);
    }
    Ok(head)
}

fn joined(buffers: &[Buffer]) -> Vec<u8> {
    buffers.iter().flat_map(|buffer| buffer.as_slice()).copied().collect()
}

fn malformed(why: &str) -> Failure {
    Failure::internal(format!("rows cannot be written as messages: {why}"))
}

/// Buffers, read from their beginning.
struct Chain(VecDeque<Buffer>);

impl Chain {
    /// Moves the next bytes to `taken`, in the memory where they are.
    fn take(&mut self, mut bytes: usize, taken: &mut Vec<Buffer>) -> Result<(), Failure> {
        while bytes > 0 {
            let Some(first) = self.0.pop_front() else { return Err(malformed("a body is cut off")) };
            if first.len() > bytes {
                self.0.push_front(first.slice(bytes));
                taken.push(first.slice_with_length(0, bytes));
                return Ok(());
            }
            bytes -= first.len();
            if !first.is_empty() {
                taken.push(first);
            }
        }
        Ok(())
    }

    /// The next bytes in one piece, copied; None at the end.
    fn take_joined(&mut self, bytes: usize) -> Result<Option<Vec<u8>>, Failure> {
        while self.0.front().is_some_and(|first| first.is_empty()) {
            self.0.pop_front();
        }
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut parts = Vec::new();
        self.take(bytes, &mut parts)?;
        Ok(Some(joined(&parts)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::Int32Type;
    use arrow_flight::FlightData;
    use arrow_flight::decode::FlightRecordBatchStream;
    use arrow_ipc::writer::StreamEncoder;
    use futures::executor::block_on;
    use futures::{TryStreamExt, stream};
    use prost::Message;

    use super::*;

    /// As prost reads them.
    fn messages(frames: &[Buffer]) -> Vec<FlightData> {
        let bytes = joined(frames);
        let (mut at, mut all) = (0, Vec::new());
        while at < bytes.len() {
            assert_eq!(bytes[at], 0);
            let length = u32::from_be_bytes(bytes[at + 1..at + 5].try_into().unwrap()) as usize;
            all.push(FlightData::decode(&bytes[at + 5..at + 5 + length]).unwrap());
            at += 5 + length;
        }
        all
    }

    fn batch(rows: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("row {row}"))));
        let kinds: DictionaryArray<Int32Type> = (0..rows).map(|row| ["a", "b", "c"][row as usize % 3]).collect();
        RecordBatch::try_from_iter([("n", numbers), ("name", names), ("kind", Arc::new(kinds))]).unwrap()
    }

    #[test]
    fn batches_are_read_back_equal() {
        let batches = [batch(3), batch(0), batch(20_000)];
        let mut encoder = StreamEncoder::try_new(&batches[0].schema()).unwrap();
        let mut all = Vec::new();
        for batch in &batches {
            all.extend(frames(encoder.encode(batch).unwrap(), true).unwrap());
        }
        assert!(frames(encoder.finish().unwrap(), true).unwrap().is_empty());
        let sent = stream::iter(messages(&all).into_iter().map(Ok));
        let read = FlightRecordBatchStream::new_from_flight_data(sent).try_collect::<Vec<_>>();
        assert_eq!(block_on(read).unwrap(), batches);
    }

    #[test]
    fn a_schema_is_left_out_where_it_was_sent() {
        let mut encoder = StreamEncoder::try_new(&batch(0).schema()).unwrap();
        let sent = messages(&frames(encoder.encode(&batch(3)).unwrap(), false).unwrap());
        let kinds: Vec<MessageHeader> =
            sent.iter().map(|message| root_as_message(&message.data_header).unwrap().header_type()).collect();
        assert_eq!(kinds, [MessageHeader::DictionaryBatch, MessageHeader::RecordBatch]);
    }

    #[test]
    fn columns_keep_their_memory() {
        let batch = batch(20_000);
        let numbers = batch.column(0).to_data().buffers()[0].as_ptr();
        let mut encoder = StreamEncoder::try_new(&batch.schema()).unwrap();
        let frames = frames(encoder.encode(&batch).unwrap(), true).unwrap();
        assert!(frames.iter().any(|piece| piece.as_ptr() == numbers));
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let mut encoder = StreamEncoder::try_new(&batch(0).schema()).unwrap();
        let mut buffers = encoder.encode(&batch(20_000)).unwrap();
        buffers.pop();
        buffers.pop();
        assert!(frames(buffers, true).is_err());
        assert!(frames(vec![Buffer::from(b"not a message of any kind")], true).is_err());
    }
}
