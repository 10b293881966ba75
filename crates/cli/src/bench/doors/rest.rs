//! The REST API, with rows as JSON and as an Arrow stream.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use futures::StreamExt;
use futures::future::BoxFuture;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Door;
use crate::client::ClientError;

const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

struct Json {
    http: reqwest::Client,
    base: String,
}

struct ArrowStream(Json);

pub fn connect_json(url: &str) -> BoxFuture<'_, Result<Arc<dyn Door>, ClientError>> {
    Box::pin(async move { Ok(Arc::new(Json::new(url)?) as Arc<dyn Door>) })
}

pub fn connect_arrow(url: &str) -> BoxFuture<'_, Result<Arc<dyn Door>, ClientError>> {
    Box::pin(async move { Ok(Arc::new(ArrowStream(Json::new(url)?)) as Arc<dyn Door>) })
}

pub fn failed(error: impl std::fmt::Display) -> ClientError {
    ClientError::Protocol(error.to_string())
}

/// As much of an answer as there is to check.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct First {
    statement_handle: String,
    result_set_meta_data: MetaData,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaData {
    num_rows: u64,
    partition_info: Vec<serde::de::IgnoredAny>,
}

impl Json {
    fn new(url: &str) -> Result<Self, ClientError> {
        // One connection each, which is kept.
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).pool_max_idle_per_host(1);
        Ok(Self { http: http.build().map_err(failed)?, base: url.trim_end_matches('/').to_owned() })
    }

    async fn post(&self, path: &str, accept: &str, body: &Value) -> Result<reqwest::Response, ClientError> {
        let request = self.http.post(format!("{}{path}", self.base)).header(ACCEPT, accept);
        let request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        let response = request.send().await.map_err(failed)?;
        if response.status().as_u16() != 200 {
            return Err(failed(response.text().await.unwrap_or_default()));
        }
        Ok(response)
    }
}

impl Door for Json {
    fn run<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<u64, ClientError>> {
        Box::pin(async move {
            let body = json!({ "statement": sql });
            let response = self.post("/api/v2/statements", "application/json", &body).await?;
            let first: First = serde_json::from_slice(&response.bytes().await.map_err(failed)?).map_err(failed)?;
            for partition in 1..first.result_set_meta_data.partition_info.len() {
                let path = format!("{}/api/v2/statements/{}?partition={partition}", self.base, first.statement_handle);
                // Over loopback compression costs more than it saves.
                let response = self.http.get(path).header(ACCEPT_ENCODING, "identity").send().await.map_err(failed)?;
                let mut body = response.error_for_status().map_err(failed)?.bytes_stream();
                while let Some(piece) = body.next().await {
                    piece.map_err(failed)?;
                }
            }
            Ok(first.result_set_meta_data.num_rows)
        })
    }
}

impl Door for ArrowStream {
    fn run<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<u64, ClientError>> {
        Box::pin(async move {
            let mut rows = 0;
            read(&self.0, sql, |batch| rows += batch.num_rows() as u64).await?;
            Ok(rows)
        })
    }
}

async fn read(door: &Json, sql: &str, mut take: impl FnMut(RecordBatch)) -> Result<(), ClientError> {
    let body = json!({ "statement": sql });
    let mut pieces = door.post("/api/v2/statements", ARROW_STREAM, &body).await?.bytes_stream();
    let mut decoder = StreamDecoder::new();
    while let Some(piece) = pieces.next().await {
        let mut piece = Buffer::from(piece.map_err(failed)?);
        while !piece.is_empty() {
            if let Some(batch) = decoder.decode(&mut piece).map_err(failed)? {
                take(batch);
            }
        }
    }
    decoder.finish().map_err(failed)
}

/// Of a statement's whole result, as Arrow arrays.
pub async fn arrow_bytes(url: &str, sql: &str) -> Result<u64, ClientError> {
    let mut bytes = 0;
    read(&Json::new(url)?, sql, |batch| {
        // Decoded arrays share the buffer of their message: what counts is their part of it.
        let columns = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size());
        bytes += columns.map(|size| size.unwrap_or(0) as u64).sum::<u64>();
    })
    .await?;
    Ok(bytes)
}

/// Opens them, and runs a statement in each.
pub async fn open_sessions(url: &str, sessions: usize) -> Result<(), ClientError> {
    let door = Json::new(url)?;
    for _ in 0..sessions {
        let opened = door.post("/api/v2/sessions", "application/json", &json!({})).await?;
        let opened: Value = serde_json::from_slice(&opened.bytes().await.map_err(failed)?).map_err(failed)?;
        let body = json!({ "statement": "SELECT 1", "session": opened["session"] });
        door.post("/api/v2/statements", "application/json", &body).await?.bytes().await.map_err(failed)?;
    }
    Ok(())
}
