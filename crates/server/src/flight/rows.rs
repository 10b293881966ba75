//! Record batches as messages, encoded one by one as the client takes them.
//!
//! A client that stops reading stops the polling, and so whoever makes the batches: what is under way is one batch and what HTTP/2's
//! windows hold.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use frazil_common::Failure;
use futures::{Stream, StreamExt};
use tonic::{Response, Status};

use super::{Answers, status};

/// Bytes that views may keep alive beside their own before they are copied together.
const VIEW_SLACK_BYTES: usize = 64 << 10;
const OUR_METADATA: [&str; 2] = ["FRAZIL:", "PARQUET:"];

/// The schema's message, and those of the batches. A failure, or a panic, ends the call with its status.
pub fn encode(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, Failure>> + Send + 'static,
) -> Response<Answers<FlightData>> {
    let batches = batches.map(|batch| match batch.and_then(compact) {
        Ok(batch) => Ok(batch),
        Err(failure) => Err(FlightError::Tonic(Box::new(status::of(failure)))),
    });
    let encoder = FlightDataEncoderBuilder::new()
        .with_schema(Arc::new(plain(&schema)))
        // Dictionaries stay what they are, as the schema says.
        .with_dictionary_handling(DictionaryHandling::Resend)
        .build(batches);
    let messages = AssertUnwindSafe(encoder).catch_unwind().map(|message| match message {
        Ok(message) => message.map_err(Status::from),
        Err(_) => Err(status::of(Failure::internal("panic while rows were encoded"))),
    });
    Response::new(messages.boxed())
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

/// Rows that are there already.
pub fn encode_all(schema: SchemaRef, batches: Vec<RecordBatch>) -> Response<Answers<FlightData>> {
    encode(schema, futures::stream::iter(batches.into_iter().map(Ok)))
}

/// Views travel with whole buffers, also those of rows that a filter has left out.
fn compact(batch: RecordBatch) -> Result<RecordBatch, Failure> {
    let is_view = |column: &ArrayRef| matches!(column.data_type(), DataType::Utf8View | DataType::BinaryView);
    if !batch.columns().iter().any(is_view) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => {
            let views = column.as_string_view();
            match is_loose(views.data_buffers(), views.total_buffer_bytes_used()) {
                true => Arc::new(views.gc()) as ArrayRef,
                false => column.clone(),
            }
        }
        DataType::BinaryView => {
            let views = column.as_binary_view();
            match is_loose(views.data_buffers(), views.total_buffer_bytes_used()) {
                true => Arc::new(views.gc()) as ArrayRef,
                false => column.clone(),
            }
        }
        _ => column.clone(),
    });
    let columns = columns.collect();
    RecordBatch::try_new(batch.schema(), columns).map_err(|error| Failure::internal(format!("views: {error}")))
}

fn is_loose(buffers: &[arrow::buffer::Buffer], used: usize) -> bool {
    let held: usize = buffers.iter().map(|buffer| buffer.len()).sum();
    held > 2 * used + VIEW_SLACK_BYTES
}
