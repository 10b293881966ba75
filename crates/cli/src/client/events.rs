//! Server-sent events, as far as the coordinator uses them: one line of JSON for each.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;

use super::transport::Answer;

/// Of one event; a longer one is not from a coordinator.
const EVENT_BYTES_MAX: usize = 1 << 20;

pub struct Events {
    body: BoxStream<'static, Result<Bytes, String>>,
    /// What has come of lines that are not read.
    begun: Vec<u8>,
}

impl Events {
    pub(super) fn new(answer: Answer) -> Self {
        Self { body: answer.body, begun: Vec::new() }
    }

    /// `None` at the end, however it came: events are for showing, and nothing depends on the last one.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.begun.drain(..=end).collect();
                let data = line.strip_prefix(b"data:").and_then(|data| serde_json::from_slice(data).ok());
                if data.is_some() {
                    return data;
                }
            }
            if self.begun.len() > EVENT_BYTES_MAX {
                return None;
            }
            self.begun.extend_from_slice(&self.body.next().await?.ok()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http::{HeaderMap, StatusCode};

    use super::*;

    #[tokio::test]
    async fn events_are_read_whatever_pieces_they_come_in() {
        let text = "event: progress\ndata: {\"n\":1}\n\n: alive\n\nevent: end\ndata: {\"n\":2}\n\ndata: {\"n\"";
        for size in [1, 7, 1000] {
            let pieces: Vec<_> = text.as_bytes().chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let body = stream::iter(pieces).boxed();
            let mut events = Events::new(Answer { status: StatusCode::OK, headers: HeaderMap::new(), body });
            for n in [1, 2] {
                assert_eq!(events.next().await.unwrap()["n"], n);
            }
            assert_eq!(events.next().await, None);
        }
    }
}
