//! The rows of one answer: an Arrow IPC stream, decoded as it comes.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_ipc::reader::StreamDecoder;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::transport::Answer;
use super::{Client, ClientError};

const HANDLE_HEADER: &str = "frazil-statement-handle";

/// Dropping it before the end gives the statement up.
pub struct RowStream {
    client: Client,
    handle: Option<String>,
    body: BoxStream<'static, Result<Bytes, String>>,
    decoder: StreamDecoder,
    /// What has come and is not decoded.
    pending: Buffer,
    rows: usize,
    /// Of the body, as it came.
    bytes: u64,
    ended: bool,
}

impl RowStream {
    pub(super) fn new(client: Client, answer: Answer) -> Self {
        let handle = answer.header(HANDLE_HEADER);
        let pending = Buffer::from(Bytes::new());
        Self {
            client,
            handle,
            body: answer.body,
            decoder: StreamDecoder::new(),
            pending,
            rows: 0,
            bytes: 0,
            ended: false,
        }
    }

    /// What the statement is called in the API.
    pub fn handle(&self) -> Option<&str> {
        self.handle.as_deref()
    }

    /// Known after the first call of [`RowStream::next`].
    pub fn schema(&self) -> Result<SchemaRef, ClientError> {
        match self.decoder.schema() {
            Some(schema) => Ok(schema),
            None if self.ended => Ok(Arc::new(Schema::empty())),
            None => Err(ClientError::Protocol("the answer has no schema yet".to_owned())),
        }
    }

    /// Bytes of the answer that have come.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `None` is the end of a complete result; one that broke off is an error.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, ClientError> {
        while !self.ended {
            if !self.pending.is_empty() {
                let decoded = self.decoder.decode(&mut self.pending);
                match decoded.map_err(|e| ClientError::Protocol(format!("the answer is not an Arrow stream: {e}")))? {
                    Some(batch) => {
                        self.rows += batch.num_rows();
                        return Ok(Some(batch));
                    }
                    None => continue,
                }
            }
            match self.body.next().await {
                Some(Ok(chunk)) => {
                    self.bytes += chunk.len() as u64;
                    self.pending = Buffer::from(chunk);
                }
                Some(Err(cause)) => return Err(self.broken_off(cause).await),
                None if self.is_complete() => self.ended = true,
                None => return Err(self.broken_off("there is no end-of-stream mark".to_owned()).await),
            }
        }
        Ok(None)
    }

    /// Only a decoder that has seen the mark refuses one more byte; [`StreamDecoder::finish`] is content without it.
    fn is_complete(&mut self) -> bool {
        self.decoder.finish().is_ok() && self.decoder.decode(&mut Buffer::from(vec![0u8])).is_err()
    }

    /// The connection can only break; why, the coordinator says when it is asked for the statement.
    async fn broken_off(&mut self, cause: String) -> ClientError {
        self.ended = true;
        if let Some(handle) = &self.handle
            && let Err(error @ ClientError::Statement(_)) = self.client.status(handle).await
        {
            return error;
        }
        ClientError::Incomplete { rows: self.rows, cause }
    }
}
