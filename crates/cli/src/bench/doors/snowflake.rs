//! The protocol of Snowflake's drivers, with rows as Arrow, as its Python connector asks for them.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::header::{ACCEPT, AUTHORIZATION};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Door;
use super::rest::failed;
use crate::client::ClientError;

/// What the connector fetches chunks with unless `CLIENT_PREFETCH_THREADS` says otherwise.
const FETCH_THREADS: usize = 4;

struct Connection {
    http: reqwest::Client,
    base: String,
    authorization: String,
}

/// As much of an answer as there is to check.
#[derive(Deserialize)]
struct Answer {
    success: bool,
    message: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    total: u64,
    #[serde(default)]
    chunks: Vec<Chunk>,
}

#[derive(Deserialize)]
struct Chunk {
    url: String,
}

pub fn connect(url: &str) -> BoxFuture<'_, Result<Arc<dyn Door>, ClientError>> {
    Box::pin(async move {
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).pool_max_idle_per_host(FETCH_THREADS);
        let (http, base) = (http.build().map_err(failed)?, url.trim_end_matches('/').to_owned());
        let body = json!({ "data": {
            "CLIENT_APP_ID": "PythonConnector", "CLIENT_APP_VERSION": "5.2.0", "ACCOUNT_NAME": "frazil", "LOGIN_NAME": "frazil",
            "PASSWORD": "frazil", "SESSION_PARAMETERS": {},
        }});
        let sent = http.post(format!("{base}/session/v1/login-request")).json(&body).send().await.map_err(failed)?;
        let answer: Value = sent.json().await.map_err(failed)?;
        let token = answer["data"]["token"].as_str().ok_or_else(|| failed(&answer))?;
        let authorization = format!("Snowflake Token=\"{token}\"");
        Ok(Arc::new(Connection { http, base, authorization }) as Arc<dyn Door>)
    })
}

impl Door for Connection {
    fn run<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<u64, ClientError>> {
        Box::pin(async move {
            let url = format!("{}/queries/v1/query-request?requestId={}", self.base, request_id());
            let request = self.http.post(url).header(AUTHORIZATION, &self.authorization);
            let request = request.header(ACCEPT, "application/snowflake");
            let sent = request.json(&json!({ "sqlText": sql, "sequenceId": 1 })).send().await.map_err(failed)?;
            let answer: Answer = serde_json::from_slice(&sent.bytes().await.map_err(failed)?).map_err(failed)?;
            let data = match answer {
                Answer { success: true, data: Some(data), .. } => data,
                refused => return Err(failed(refused.message.unwrap_or_default())),
            };
            let fetches = data.chunks.into_iter().map(|chunk| self.fetch(chunk));
            stream::iter(fetches).buffer_unordered(FETCH_THREADS).try_collect::<()>().await?;
            Ok(data.total)
        })
    }
}

impl Connection {
    async fn fetch(&self, chunk: Chunk) -> Result<(), ClientError> {
        let url = if chunk.url.starts_with('/') { format!("{}{}", self.base, chunk.url) } else { chunk.url };
        let response = self.http.get(url).send().await.map_err(failed)?;
        let mut body = response.error_for_status().map_err(failed)?.bytes_stream();
        while let Some(piece) = body.next().await {
            piece.map_err(failed)?;
        }
        Ok(())
    }
}

/// Another one each time, in the form of a UUID.
fn request_id() -> String {
    let bits: u128 = rand::random();
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
