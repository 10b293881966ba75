//! The REST client that every command uses, over the network or straight into a coordinator of this process.

mod access;
mod error;
mod events;
mod files;
mod rows;
mod transport;

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

pub use access::Access;
pub use error::{ClientError, StatementFailure};
pub use events::Events;
pub use files::StagedFile;
pub use rows::RowStream;

use transport::{Accept, Answer, Transport};

/// The longest that a client waits for the head of an answer when the statement has no limit of its own. Coordinators
/// have a limit for every statement; this one is for a coordinator that is no more, behind a connection that stays.
const ANSWER_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// On top of a statement's own limit: the coordinator should be the one to say that it passed.
const ANSWER_GRACE: Duration = Duration::from_secs(15);
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
}

/// What goes along with a statement.
#[derive(Clone, Debug, Default)]
pub struct StatementContext {
    /// Where unqualified names are looked up; `None` is the coordinator's default.
    pub database: Option<String>,
    pub schema: Option<String>,
    /// From sending it to its last row; `None` is the coordinator's default.
    pub time_limit: Option<Duration>,
    /// Session options, as `SET` takes them.
    pub parameters: BTreeMap<String, String>,
    /// The session at the coordinator, which has its open transaction.
    pub session: Option<String>,
}

/// A whole answer in memory.
#[derive(Clone, Debug)]
pub struct Answered {
    pub handle: Option<String>,
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

impl Answered {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

impl Client {
    /// `url` is where the coordinator's REST API is: `http://host:port`, of one that needs no log-in.
    pub fn http(url: &str) -> Result<Self, ClientError> {
        Self::connect(url, &Access::default())
    }

    /// `url` is where the coordinator's REST API is: `http://host:port` or `https://host:port`.
    pub fn connect(url: &str, access: &Access) -> Result<Self, ClientError> {
        Ok(Self { transport: Transport::http(url, access)? })
    }

    pub fn in_process(router: axum::Router, access: &Access) -> Self {
        Self { transport: Transport::in_process(router, access) }
    }

    /// Runs a statement; returns when its first rows can be read. Dropping the future, or the stream it returned, gives
    /// the statement up, and the coordinator cancels it.
    pub async fn stream(&self, sql: &str, context: &StatementContext) -> Result<RowStream, ClientError> {
        self.stream_as(sql, context, None).await
    }

    /// Likewise, with a request id by which [`Client::statement_of_request`] finds it while no row has come.
    pub async fn stream_as(
        &self,
        sql: &str,
        context: &StatementContext,
        request: Option<Uuid>,
    ) -> Result<RowStream, ClientError> {
        let path = match request {
            Some(request) => format!("/api/v2/statements?requestId={request}"),
            None => "/api/v2/statements".to_owned(),
        };
        let body = context.request(sql);
        let limit = context.time_limit.map_or(ANSWER_LIMIT, |limit| limit + ANSWER_GRACE);
        let sent = self.transport.send(Method::POST, &path, Accept::Arrow, Some(&body));
        let answer = within(limit, sent).await?;
        if answer.status == StatusCode::OK && answer.is_arrow() {
            return Ok(RowStream::new(self.clone(), answer));
        }
        let status = answer.status;
        Err(error::of_answer(status, &answer.json().await?))
    }

    /// Runs a statement and keeps its rows.
    pub async fn query(&self, sql: &str, context: &StatementContext) -> Result<Answered, ClientError> {
        let mut rows = self.stream(sql, context).await?;
        let mut batches = Vec::new();
        while let Some(batch) = rows.next().await? {
            batches.push(batch);
        }
        Ok(Answered { handle: rows.handle().map(str::to_owned), schema: rows.schema()?, batches })
    }

    /// Runs a statement as clients that speak JSON do: the answer is its body, with the first partition of the rows.
    pub async fn query_json(&self, sql: &str, context: &StatementContext) -> Result<Value, ClientError> {
        let body = context.request(sql);
        let sent = self.transport.send(Method::POST, "/api/v2/statements", Accept::Json, Some(&body));
        let answer = within(ANSWER_LIMIT, sent).await?;
        let status = answer.status;
        let json = answer.json().await?;
        if status == StatusCode::OK { Ok(json) } else { Err(error::of_answer(status, &json)) }
    }

    /// Starts a statement and returns its handle; it runs on, whoever waits for it.
    pub async fn submit(&self, sql: &str, context: &StatementContext) -> Result<String, ClientError> {
        let body = context.request(sql);
        let sent = self.transport.send(Method::POST, "/api/v2/statements?async=true", Accept::Json, Some(&body));
        let answer = within(CALL_LIMIT, sent).await?;
        let status = answer.status;
        let json = answer.json().await?;
        let handle = json.get("statementHandle").and_then(Value::as_str).filter(|_| status.is_success());
        handle.map(str::to_owned).ok_or_else(|| error::of_answer(status, &json))
    }

    /// Asks the coordinator to cancel; a statement that has ended stays as it is.
    pub async fn cancel(&self, handle: &str) -> Result<(), ClientError> {
        let path = format!("/api/v2/statements/{handle}/cancel");
        let answer = within(CALL_LIMIT, self.transport.send(Method::POST, &path, Accept::Json, None)).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            status => Err(error::of_answer(status, &answer.json().await?)),
        }
    }

    /// Opens a session: what its statements leave to each other is a transaction, above all.
    pub async fn open_session(&self) -> Result<String, ClientError> {
        let sent = self.transport.send(Method::POST, "/api/v2/sessions", Accept::Json, None);
        let answer = within(CALL_LIMIT, sent).await?;
        let status = answer.status;
        let json = answer.json().await?;
        match json["session"].as_str() {
            Some(id) if status.is_success() => Ok(id.to_owned()),
            _ => Err(error::of_answer(status, &json)),
        }
    }

    /// What it has not committed is rolled back.
    pub async fn close_session(&self, id: &str) -> Result<(), ClientError> {
        let path = format!("/api/v2/sessions/{id}");
        let answer = within(CALL_LIMIT, self.transport.send(Method::DELETE, &path, Accept::Json, None)).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            status => Err(error::of_answer(status, &answer.json().await?)),
        }
    }

    /// What the coordinator says of a statement, or how the statement failed.
    pub async fn status(&self, handle: &str) -> Result<Value, ClientError> {
        self.get(&format!("/api/v2/statements/{handle}")).await
    }

    /// The handle of the statement that was sent with a request id; `None` as long as it has not been received.
    pub async fn statement_of_request(&self, request: Uuid) -> Result<Option<String>, ClientError> {
        let found = self.get(&format!("/api/v2/statements?limit=1&requestId={request}")).await?;
        Ok(found["statements"][0]["statementHandle"].as_str().map(str::to_owned))
    }

    /// What becomes of a statement, as it does.
    pub async fn events(&self, handle: &str) -> Result<Events, ClientError> {
        let path = format!("/api/v2/statements/{handle}/events");
        let answer = within(CALL_LIMIT, self.transport.send(Method::GET, &path, Accept::Events, None)).await?;
        match answer.status {
            StatusCode::OK => Ok(Events::new(answer)),
            status => Err(error::of_answer(status, &answer.json().await?)),
        }
    }

    pub async fn cluster(&self) -> Result<Value, ClientError> {
        self.get("/api/v2/cluster").await
    }

    pub async fn health(&self) -> Result<Value, ClientError> {
        self.get("/api/v2/health").await
    }

    async fn get(&self, path: &str) -> Result<Value, ClientError> {
        let answer = within(CALL_LIMIT, self.transport.send(Method::GET, path, Accept::Json, None)).await?;
        let status = answer.status;
        let json = answer.json().await?;
        if status.is_success() { Ok(json) } else { Err(error::of_answer(status, &json)) }
    }
}

impl StatementContext {
    fn request(&self, sql: &str) -> Value {
        let mut request = json!({ "statement": sql });
        if let Some(database) = &self.database {
            request["database"] = json!(exact(database));
        }
        if let Some(schema) = &self.schema {
            request["schema"] = json!(exact(schema));
        }
        if let Some(limit) = self.time_limit {
            // The API counts whole seconds, and reads 0 as the longest limit there is.
            request["timeout"] = json!(limit.as_secs_f64().ceil().max(1.0) as u64);
        }
        if let Some(session) = &self.session {
            request["session"] = json!(session);
        }
        if !self.parameters.is_empty() {
            request["parameters"] = json!(self.parameters);
        }
        request
    }
}

/// A name as the API takes it, which reads plain ones in lowercase.
fn exact(name: &str) -> String {
    match name.to_lowercase() == name && !name.contains('"') {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

async fn within(
    limit: Duration,
    sent: impl Future<Output = Result<Answer, ClientError>>,
) -> Result<Answer, ClientError> {
    match tokio::time::timeout(limit, sent).await {
        Ok(answer) => answer,
        Err(_) => Err(ClientError::Unreachable(format!("no answer within {} s", limit.as_secs()))),
    }
}

#[cfg(test)]
mod tests;
