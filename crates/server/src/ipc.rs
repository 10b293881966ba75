//! Record batches as an Arrow IPC stream, encoded one by one as the body is polled.
//!
//! A reader that stops reading stops the polling, and so the producer of the batches: nothing is buffered but one
//! encoded batch. A failure ends the body with an error and without the end-of-stream marker, so no reader can take what
//! it has for the whole result.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow_ipc::writer::StreamEncoder;
use bytes::Bytes;
use frazil_common::Failure;
use futures::FutureExt;
use futures::stream::{self, Stream, StreamExt};

pub const CONTENT_TYPE: &str = "application/vnd.apache.arrow.stream";

/// Buffers below this are copied together: a chunk of its own costs more than the copy.
const SHARED_BYTES_MIN: usize = 16 << 10;

/// The bytes of an IPC stream of `batches`, which have this schema.
pub fn encoded<S>(
    schema: &Schema,
    batches: S,
) -> Result<impl Stream<Item = Result<Bytes, Failure>> + Send + use<S>, Failure>
where
    S: Stream<Item = Result<RecordBatch, Failure>> + Send + Unpin,
{
    let encoder = StreamEncoder::try_new(schema).map_err(not_encoded)?;
    let encoding = Encoding { batches, encoder: Some(encoder), chunks: VecDeque::new() };
    Ok(stream::try_unfold(encoding, |mut encoding| async move {
        // A panic here would take the connection with it, and with HTTP/2 the other requests on it.
        let chunk = match AssertUnwindSafe(encoding.next_chunk()).catch_unwind().await {
            Ok(chunk) => chunk?,
            Err(_) => return Err(Failure::internal("panic while a result was streamed")),
        };
        Ok(chunk.map(|chunk| (chunk, encoding)))
    }))
}

struct Encoding<S> {
    batches: S,
    /// None once the end-of-stream marker is written.
    encoder: Option<StreamEncoder>,
    /// Of the last batch.
    chunks: VecDeque<Bytes>,
}

impl<S: Stream<Item = Result<RecordBatch, Failure>> + Unpin> Encoding<S> {
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(chunk) = self.chunks.pop_front() {
                return Ok(Some(chunk));
            }
            let Some(encoder) = &mut self.encoder else {
                return Ok(None);
            };
            let buffers = match self.batches.next().await.transpose()? {
                Some(batch) => encoder.encode(&batch),
                None => self.encoder.take().map_or_else(|| Ok(Vec::new()), StreamEncoder::finish),
            };
            push_chunks(buffers.map_err(not_encoded)?, &mut self.chunks);
        }
    }
}

fn not_encoded(error: ArrowError) -> Failure {
    Failure::internal(format!("result cannot be written as an arrow stream: {error}"))
}

/// Appends the buffers' bytes, as pieces of a body.
pub fn push_chunks(buffers: impl IntoIterator<Item = Buffer>, chunks: &mut VecDeque<Bytes>) {
    let mut small = Vec::new();
    for buffer in buffers {
        if buffer.len() < SHARED_BYTES_MIN {
            small.extend_from_slice(&buffer);
        } else {
            if !small.is_empty() {
                chunks.push_back(std::mem::take(&mut small).into());
            }
            chunks.push_back(Bytes::from_owner(Shared(buffer)));
        }
    }
    if !small.is_empty() {
        chunks.push_back(small.into());
    }
}

/// A column's memory, sent without a copy.
struct Shared(Buffer);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow_ipc::reader::StreamReader;
    use frazil_common::ErrorCode;
    use futures::executor::block_on;

    use super::*;

    fn batch(rows: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("row {row}"))));
        RecordBatch::try_from_iter([("n", numbers), ("name", names)]).unwrap()
    }

    fn read(items: Vec<Result<RecordBatch, Failure>>) -> (Vec<u8>, Option<Failure>) {
        let schema = batch(0).schema();
        let chunks = block_on(encoded(&schema, stream::iter(items)).unwrap().collect::<Vec<_>>());
        let mut bytes = Vec::new();
        for chunk in chunks {
            match chunk {
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(failure) => return (bytes, Some(failure)),
            }
        }
        (bytes, None)
    }

    #[test]
    fn batches_are_read_back_equal() {
        // The large one has buffers that are shared, the small one only copied ones.
        let batches = [batch(3), batch(0), batch(20_000)];
        let (bytes, failure) = read(batches.iter().cloned().map(Ok).collect());
        assert_eq!(failure, None);
        let read: Vec<RecordBatch> =
            StreamReader::try_new(bytes.as_slice(), None).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, batches);
    }

    #[test]
    fn an_empty_result_has_its_schema() {
        let (bytes, _) = read(Vec::new());
        let reader = StreamReader::try_new(bytes.as_slice(), None).unwrap();
        assert_eq!(reader.schema(), batch(0).schema());
        assert_eq!(reader.count(), 0);
    }

    #[test]
    fn a_failure_leaves_the_stream_without_its_end() {
        let failure = Failure::new(ErrorCode::ExecutorLost, "executor e1 is lost");
        let (complete, _) = read(vec![Ok(batch(3))]);
        let (bytes, seen) = read(vec![Ok(batch(3)), Err(failure.clone()), Ok(batch(3))]);
        assert_eq!(seen, Some(failure));
        let marker = &complete[bytes.len()..];
        assert_eq!(marker, [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    }

    #[test]
    fn batches_are_taken_only_as_they_are_read() {
        let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = taken.clone();
        let batches = stream::iter(0..100).map(move |_| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(batch(1))
        });
        let mut body = Box::pin(encoded(&batch(0).schema(), batches).unwrap());
        block_on(body.next()).unwrap().unwrap();
        assert_eq!(taken.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[test]
    fn a_panic_is_a_failure() {
        let batches = stream::iter(0..1).map(|_| -> Result<RecordBatch, Failure> { panic!("of a test") });
        let mut body = Box::pin(encoded(&batch(0).schema(), batches).unwrap());
        let failure = block_on(body.next()).unwrap().unwrap_err();
        assert_eq!(failure.code, ErrorCode::Internal);
    }
}
