//! A minimal client of the REST API: one statement, one answer, as Arrow or as JSON.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::time::Duration;

use arrow::ipc::reader::StreamReader;
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::{Deserialize, Serialize};

use super::engine::{Answer, Engine, Refusal, Request};

const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

/// The statement's own limit; the HTTP request gets a little longer, so that the server is the one that times out.
const STATEMENT_LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// Its statements are sent in it.
    session: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    statement: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a str>,
    parameters: BTreeMap<&'a str, String>,
    timeout: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody {
    code: Option<String>,
    sql_state: Option<String>,
    message: String,
}

impl Client {
    /// `base` is what the coordinator printed: `http://127.0.0.1:PORT`.
    pub fn new(base: impl Into<String>) -> Self {
        let http = reqwest::Client::builder()
            .timeout(STATEMENT_LIMIT + Duration::from_secs(15))
            .connect_timeout(Duration::from_secs(5))
            .build()
            .expect("the HTTP client has no TLS to set up");
        Self { http, base: base.into(), session: None }
    }

    /// The whole answer as Arrow. A stream that breaks off is a refusal without a status.
    pub async fn arrow(&self, request: &Request) -> Result<Answer, Refusal> {
        let response = self.post(request, ARROW_STREAM).await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
        let body = response.bytes().await.map_err(|e| Refusal::local(format!("answer broke off: {}", chain(&e))))?;
        // A statement without a result may answer with JSON even to a client that asks for Arrow.
        if !kind.starts_with(ARROW_STREAM) || body.is_empty() {
            return Ok(Answer::empty());
        }
        let unreadable = |e| Refusal::local(format!("answer is not an Arrow stream: {e}"));
        let reader = StreamReader::try_new(Cursor::new(body), None).map_err(unreadable)?;
        let schema = reader.schema();
        let batches = reader.collect::<Result<_, _>>().map_err(unreadable)?;
        Ok(Answer { schema, batches })
    }

    /// The answer in the API's JSON format: `resultSetMetaData`, `data` (partition 0), …
    pub async fn json(&self, request: &Request) -> Result<serde_json::Value, Refusal> {
        let response = self.post(request, "application/json").await?;
        response.json().await.map_err(|e| Refusal::local(format!("answer is not JSON: {}", chain(&e))))
    }

    /// Like [`Client::arrow`], with a limit of its own on the statement, in seconds.
    pub async fn arrow_within(&self, request: &Request, limit_s: u64) -> Result<Answer, Refusal> {
        let response = self.post_within(request, ARROW_STREAM, limit_s).await?;
        let broke_off = |e: reqwest::Error| Refusal::local(format!("answer broke off: {}", chain(&e)));
        response.bytes().await.map(|_| Answer::empty()).map_err(broke_off)
    }

    /// Starts a statement and does not wait for it; returns its handle.
    pub async fn start(&self, sql: &str) -> Result<String, Refusal> {
        let url = format!("{}/api/v2/statements?async=true", self.base);
        let body = serde_json::json!({ "statement": sql });
        let sent = self.http.post(url).json(&body).send().await;
        let response = sent.map_err(|e| Refusal::local(format!("no answer: {}", chain(&e))))?;
        let answer: serde_json::Value = response.json().await.map_err(|e| Refusal::local(chain(&e)))?;
        answer["statementHandle"].as_str().map(str::to_owned).ok_or_else(|| Refusal::local(answer))
    }

    /// Submits a body as it is, under a request id, and waits for its rows as JSON.
    pub async fn submit_as(&self, request_id: &str, body: &serde_json::Value) -> Result<serde_json::Value, Refusal> {
        let url = format!("{}/api/v2/statements?requestId={request_id}", self.base);
        let response = accepted(self.http.post(url).json(body).send().await).await?;
        response.json().await.map_err(|e| Refusal::local(format!("answer is not JSON: {}", chain(&e))))
    }

    /// The same client with a session of its own.
    pub async fn in_session(&self) -> Result<Self, Refusal> {
        let response = accepted(self.http.post(format!("{}/api/v2/sessions", self.base)).send().await).await?;
        let answer: serde_json::Value = response.json().await.map_err(|e| Refusal::local(chain(&e)))?;
        let session = answer["session"].as_str().map(str::to_owned).ok_or_else(|| Refusal::local(&answer))?;
        Ok(Self { session: Some(session), ..self.clone() })
    }

    /// The id of its session.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Ends its session.
    pub async fn close_session(&self) -> Result<(), Refusal> {
        let url = format!("{}/api/v2/sessions/{}", self.base, self.session.as_deref().unwrap_or_default());
        accepted(self.http.delete(url).send().await).await.map(|_| ())
    }

    pub async fn cancel(&self, handle: &str) -> Result<(), Refusal> {
        let url = format!("{}/api/v2/statements/{handle}/cancel", self.base);
        accepted(self.http.post(url).header(CONTENT_TYPE, "application/json").body("{}").send().await).await.map(|_| ())
    }

    pub async fn cluster(&self) -> Result<serde_json::Value, Refusal> {
        self.get("/api/v2/cluster").await
    }

    pub async fn statements(&self) -> Result<serde_json::Value, Refusal> {
        self.get("/api/v2/statements").await
    }

    /// The JSON body of a statement that fails.
    pub async fn refusal_body(&self, sql: &str) -> serde_json::Value {
        let url = format!("{}/api/v2/statements", self.base);
        let sent = self.http.post(url).json(&serde_json::json!({ "statement": sql })).send().await;
        sent.expect("an answer").json().await.expect("JSON")
    }

    /// A `GET` below the base address: `/api/v2/cluster`.
    pub async fn get(&self, path: &str) -> Result<serde_json::Value, Refusal> {
        let sent = self.http.get(format!("{}{path}", self.base)).header(ACCEPT, "application/json").send().await;
        let response = accepted(sent).await?;
        response.json().await.map_err(|e| Refusal::local(format!("answer of {path} is not JSON: {}", chain(&e))))
    }

    async fn post(&self, request: &Request, accept: &str) -> Result<reqwest::Response, Refusal> {
        self.post_within(request, accept, STATEMENT_LIMIT.as_secs()).await
    }

    async fn post_within(&self, request: &Request, accept: &str, timeout: u64) -> Result<reqwest::Response, Refusal> {
        let mut parameters: BTreeMap<&str, String> =
            request.settings.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        if let Some(partitions) = request.partitions {
            parameters.insert("partitions", partitions.to_string());
        }
        let body = Body {
            statement: &request.sql,
            schema: request.schema.as_deref(),
            parameters,
            timeout,
            session: self.session.as_deref(),
        };
        let url = format!("{}/api/v2/statements", self.base);
        accepted(self.http.post(url).header(ACCEPT, accept).json(&body).send().await).await
    }
}

impl Engine for Client {
    fn name(&self) -> &str {
        &self.base
    }

    fn run<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Refusal>> {
        self.arrow(request).boxed()
    }
}

/// Any status but success becomes a refusal, with the server's own words where they can be read.
async fn accepted(sent: Result<reqwest::Response, reqwest::Error>) -> Result<reqwest::Response, Refusal> {
    let response = sent.map_err(|e| Refusal::local(format!("no answer: {}", chain(&e))))?;
    let status = response.status();
    // 202 is "still running", which a synchronous client with a deadline of its own cannot use.
    if status.is_success() && status.as_u16() != 202 {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    Err(match serde_json::from_str::<ErrorBody>(&text) {
        Ok(body) => {
            Refusal { status: Some(status.as_u16()), code: body.code, sql_state: body.sql_state, message: body.message }
        }
        Err(_) => Refusal { status: Some(status.as_u16()), code: None, sql_state: None, message: text },
    })
}

/// reqwest prints only the outermost of its errors.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
