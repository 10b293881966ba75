//! Record batches as messages, encoded one by one as the client takes them.
//!
//! A client that stops reading stops the polling, and so whoever makes the batches: what is under way is one batch and what HTTP/2's
//! windows hold.
//!
//! tonic would copy all columns twice, into a `FlightData` and out of it. A call's answer is therefore empty for tonic and has its rows
//! beside it, and [`with_rows`] puts them into the body once tonic is done with the answer.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::{Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::FlightData;
use arrow_ipc::writer::StreamEncoder;
use axum::body::Body;
use bytes::Bytes;
use frazil_common::Failure;
use frazil_coordinator::memory::{compact_views, own_bytes};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use http::HeaderMap;
use http_body::Frame;
use parking_lot::Mutex;
use tonic::{Response, Status};

use super::{Answers, message, status};
use crate::ipc::push_chunks;

/// Of one message's columns: clients refuse messages beyond some megabytes.
const MESSAGE_BYTES: usize = 2 << 20;
const OUR_METADATA: [&str; 2] = ["FRAZIL:", "PARQUET:"];

/// Pieces of the frames of an answer's rows.
type Pieces = BoxStream<'static, Result<Bytes, Failure>>;

/// Beside the answer.
#[derive(Clone)]
struct Rows(Arc<Mutex<Option<Pieces>>>);

/// The schema's message, and those of the batches. A failure, or a panic, ends the call with its status.
pub fn encode(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, Failure>> + Send + 'static,
) -> Response<Answers<FlightData>> {
    let encoding = Encoding { schema: Arc::new(plain(&schema)), encoder: None, batches: batches.boxed() };
    let pieces = stream::try_unfold(encoding, |mut encoding| async move {
        match AssertUnwindSafe(encoding.next_message()).catch_unwind().await {
            Ok(pieces) => Ok(pieces?.map(|pieces| (stream::iter(pieces.into_iter().map(Ok)), encoding))),
            Err(_) => Err(Failure::internal("panic while rows were encoded")),
        }
    });
    let mut response = Response::new(stream::empty().boxed());
    response.extensions_mut().insert(Rows(Arc::new(Mutex::new(Some(pieces.try_flatten().boxed())))));
    response
}

/// Rows that are there already.
pub fn encode_all(schema: SchemaRef, batches: Vec<RecordBatch>) -> Response<Answers<FlightData>> {
    encode(schema, stream::iter(batches.into_iter().map(Ok)))
}

/// An answer of tonic's with the rows that it has beside it, if any, as its body.
pub async fn with_rows(mut response: http::Response<Body>) -> http::Response<Body> {
    let rows = response.extensions_mut().remove::<Rows>().and_then(|rows| rows.0.lock().take());
    match rows {
        Some(rows) => response.map(|_| Body::new(RowsBody { rows: Some(rows) })),
        None => response,
    }
}

struct Encoding {
    schema: SchemaRef,
    /// None until the schema's message was made.
    encoder: Option<StreamEncoder>,
    batches: BoxStream<'static, Result<RecordBatch, Failure>>,
}

impl Encoding {
    /// Of the schema or a batch; None after the last one.
    async fn next_message(&mut self) -> Result<Option<VecDeque<Bytes>>, Failure> {
        let mut pieces = VecDeque::new();
        let Some(encoder) = &mut self.encoder else {
            // A stream's end comes with the schema if nothing else has: this one is made for that alone.
            let only_schema = self.new_encoder()?.finish().map_err(not_encoded)?;
            self.encoder = Some(self.new_encoder()?);
            push_chunks(message::frames(only_schema, true)?, &mut pieces);
            return Ok(Some(pieces));
        };
        let Some(batch) = self.batches.next().await.transpose()? else { return Ok(None) };
        for part in parts(&batch).map_err(not_encoded)? {
            let buffers = encoder.encode(&part).map_err(not_encoded)?;
            push_chunks(message::frames(buffers, false)?, &mut pieces);
        }
        Ok(Some(pieces))
    }

    fn new_encoder(&self) -> Result<StreamEncoder, Failure> {
        StreamEncoder::try_new(&self.schema).map_err(not_encoded)
    }
}

fn not_encoded(error: ArrowError) -> Failure {
    Failure::internal(format!("rows cannot be encoded: {error}"))
}

/// The batch in parts of at most [`MESSAGE_BYTES`], if rows of one size are.
fn parts(batch: &RecordBatch) -> Result<Vec<RecordBatch>, ArrowError> {
    let rows = batch.num_rows();
    let rows_of_part = rows.div_ceil(own_bytes(batch).div_ceil(MESSAGE_BYTES).max(1)).max(1);
    let starts = (0..rows.max(1)).step_by(rows_of_part);
    starts.map(|start| compact_views(&batch.slice(start, rows_of_part.min(rows - start)))).collect()
}

/// Without what our own readers have noted on columns: it means nothing elsewhere.
pub fn plain(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| {
        let is_ours = |key: &String| OUR_METADATA.iter().any(|prefix| key.starts_with(prefix));
        if !field.metadata().keys().any(is_ours) {
            return field.clone();
        }
        let mut kept = field.metadata().clone();
        kept.retain(|key, _| !is_ours(key));
        Arc::new(field.as_ref().clone().with_metadata(kept))
    });
    Schema::new_with_metadata(fields.collect::<Fields>(), schema.metadata().clone())
}

/// Rows, and then how the call has ended, as gRPC wants it.
struct RowsBody {
    /// None after the end.
    rows: Option<Pieces>,
}

impl http_body::Body for RowsBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(rows) = &mut self.rows else { return Poll::Ready(None) };
        let end = match ready!(rows.poll_next_unpin(context)) {
            Some(Ok(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
            Some(Err(failure)) => status::of(failure),
            None => Status::ok(""),
        };
        self.rows = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(end.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray};
    use arrow::compute::concat_batches;

    use super::*;

    fn batch(rows: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let texts = (0..rows).map(|row| format!("a text beyond twelve bytes, {row:08}"));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        RecordBatch::try_from_iter([("n", numbers), ("text", texts)]).unwrap()
    }

    #[test]
    fn batches_are_cut_by_the_bytes_of_their_rows() {
        // 60 bytes a row.
        let large = batch(100_000);
        let cut = parts(&large).unwrap();
        assert_eq!(cut.len(), 3);
        assert_eq!(concat_batches(&large.schema(), &cut).unwrap(), large);
        assert!(cut.iter().all(|part| part.column(1).as_string_view().total_buffer_bytes_used() < MESSAGE_BYTES));
        // Its memory is shared, its rows are few.
        assert_eq!(parts(&large.slice(50, 1000)).unwrap(), [large.slice(50, 1000)]);
        assert_eq!(parts(&batch(0)).unwrap(), [batch(0)]);
    }
}
