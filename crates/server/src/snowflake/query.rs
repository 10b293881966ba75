//! Statements: taken on, waited for, answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use frazil_common::{ErrorCode, Failure, NameCase, StatementId};
use frazil_coordinator::statement::{Delivery, StatementRequest, StatementStatus};
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::binding::{self, Binding};
use super::body::{self, LARGE};
use super::envelope::{Refused, answer};
use super::multiple;
use super::parameters::{Format, Parameters};
use super::rows::{self, Wish};
use super::session::{Client, Named, query_of};
use super::statement::{Change, Kind, Plan, plan};
use super::text::{Translated, statements};
use super::{Door, WAIT_LIMIT};

/// The query is still running: ask again.
const IN_PROGRESS: &str = "333333";
/// It was sent to be asked for later.
const IN_PROGRESS_ASYNC: &str = "333334";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryRequest {
    sql_text: String,
    #[serde(default)]
    async_exec: bool,
    describe_only: Option<bool>,
    bindings: Option<HashMap<String, Binding>>,
    bind_stage: Option<String>,
    parameters: Option<Map<String, Value>>,
}

/// What a statement is run with.
pub struct Terms {
    pub parameters: Parameters,
    pub bindings: Option<arrow::array::RecordBatch>,
    pub describe_only: bool,
    pub request_id: Option<Uuid>,
}

pub async fn submit(State(door): State<Arc<Door>>, client: Client, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let request: QueryRequest = body::read(&door, &parts.headers, body, LARGE).await?;
    let request_id = query_of(&parts.uri).get("requestId").and_then(|id| id.parse().ok());
    if request.bind_stage.as_deref().is_some_and(|stage| !stage.is_empty()) {
        let message = "values in a stage (bindStage) are not supported: they can be sent with the statement";
        return Err(Failure::new(ErrorCode::NotSupported, message).into());
    }
    let mut parameters = client.parameters(|parameters| parameters.clone());
    for (name, value) in request.parameters.iter().flatten() {
        let (name, value, effect) = Parameters::check(name, value)?;
        if effect != super::parameters::Effect::None {
            let message = format!("parameter {name} is a session's, and cannot be set for one statement");
            return Err(Failure::new(ErrorCode::NotSupported, message).into());
        }
        parameters.set(name, value);
    }
    let terms = Terms {
        bindings: binding::values(request.bindings.unwrap_or_default())?,
        describe_only: request.describe_only.unwrap_or(false),
        request_id,
        parameters,
    };
    let texts = statements(&request.sql_text);
    let wanted = terms.parameters.statement_count();
    if wanted != 0 && texts.len() as u64 != wanted.max(1) && texts.len() > 1 {
        let message =
            format!("Actual statement count {} did not match the desired statement count {wanted}.", texts.len());
        return Err(Failure::new(ErrorCode::NotSupported, message).into());
    }
    if texts.len() > 1 {
        let texts = texts.into_iter().map(str::to_owned).collect();
        return multiple::submit(client, texts, terms, request.async_exec).await;
    }
    // An empty text is the planner's to refuse.
    let text = texts.first().copied().unwrap_or(&request.sql_text);
    let wait = if request.async_exec { Duration::ZERO } else { WAIT_LIMIT };
    let started = start(&client, text, &terms).await?;
    let Started { id, kind, translated, changes } = started;
    let wish = Wish::new(kind, terms.parameters.format());
    let status = client.caller.wait(id, wait).await.map_err(|failure| Refused::of(failure, id))?;
    if request.async_exec || !status.phase.is_terminal() {
        // Nobody comes back to it here.
        apply(&client, changes);
        return Ok(in_progress(id, request.async_exec));
    }
    let status = in_original(status, &translated);
    if status.failure.is_none() {
        apply(&client, changes);
    }
    rows::ended(&client, &parts.headers, status, wish).await
}

/// A statement on its way.
pub struct Started<'a> {
    pub id: StatementId,
    pub kind: Kind,
    translated: Option<Translated<'a>>,
    changes: Vec<Change>,
}

impl Started<'_> {
    /// To be called when it has succeeded.
    pub fn apply(self, client: &Client) {
        apply(client, self.changes);
    }

    pub fn in_original(&self, status: StatementStatus) -> StatementStatus {
        in_original(status, &self.translated)
    }
}

/// Takes a statement on; of those that are several for the planner, waits for all but the last.
pub async fn start<'a>(client: &Client, text: &'a str, terms: &Terms) -> Result<Started<'a>, Refused> {
    let (mut planned, kind, changes) = match plan(text, &terms.parameters, client.caller.principal().role())? {
        Plan::Result(id) => {
            let status = client.caller.status(id)?;
            return Ok(Started { id, kind: kind_of(&status), translated: None, changes: Vec::new() });
        }
        Plan::Run { statements, kind, changes } => (statements, kind, changes),
    };
    let Some(last) = planned.pop() else {
        return Err(Failure::internal("a statement became none").into());
    };
    for first in planned {
        let id = client.caller.submit(request(client, &first, terms, None)).await?;
        let status = client.caller.wait(id, Duration::MAX).await?;
        if let Some(failure) = status.failure {
            return Err(Refused::of(failure, id));
        }
    }
    // A query that is sent again may be run again, and the service looks for the ids of all others in the catalog: that takes as long as a
    // small query, and drivers give every request an id.
    let request_id = terms.request_id.filter(|_| !kind.is_query());
    let id = client.caller.submit(request(client, &last, terms, request_id)).await?;
    if let (Some(request_id), true) = (terms.request_id, kind.is_query()) {
        client.note_query(request_id, id);
    }
    Ok(Started { id, kind, translated: Some(last), changes })
}

fn request(client: &Client, translated: &Translated<'_>, terms: &Terms, request_id: Option<Uuid>) -> StatementRequest {
    let timeout_s = terms.parameters.statement_timeout_s();
    StatementRequest {
        time_limit: (timeout_s > 0).then(|| Duration::from_secs(timeout_s)),
        session: Some(client.session),
        bindings: terms.bindings.clone(),
        describe_only: terms.describe_only,
        name_case: NameCase::Upper,
        warehouse: client.warehouse(),
        request_id,
        ..StatementRequest::new(translated.sql.as_str(), Delivery::Spooled)
    }
}

fn in_original(mut status: StatementStatus, translated: &Option<Translated<'_>>) -> StatementStatus {
    if let Some(translated) = translated {
        status.failure = status.failure.map(|failure| translated.in_original(failure));
    }
    status
}

fn apply(client: &Client, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Set(name, value) => client.parameters(|parameters| parameters.set(name, value)),
            Change::Unset(name) => {
                client.parameters(|parameters| parameters.unset(&name));
            }
            Change::Warehouse(name) => client.use_warehouse(&name),
        }
    }
}

/// The kind of a statement that was run before.
pub fn kind_of(status: &StatementStatus) -> Kind {
    Kind::of(&status.sql)
}

pub fn in_progress(id: StatementId, asynchronous: bool) -> Response {
    let code = if asynchronous { IN_PROGRESS_ASYNC } else { IN_PROGRESS };
    let data = json!({
        "getResultUrl": format!("/queries/{id}/result"),
        "queryId": id,
        "queryAbortsAfterSecs": 300,
        "progressDesc": null,
    });
    let message = "Query execution in progress.";
    answer(&json!({ "data": data, "code": code, "message": message, "success": true }))
}

/// The answer of a statement that takes longer, or was sent to be asked for later.
pub async fn result(client: Client, Named(id): Named, headers: HeaderMap) -> Result<Response, Refused> {
    if let Some(run) = client.run(id) {
        return multiple::result(&client, &run, WAIT_LIMIT).await;
    }
    let status = client.caller.wait(id, WAIT_LIMIT).await?;
    if !status.phase.is_terminal() {
        return Ok(in_progress(id, false));
    }
    let wish = Wish::new(kind_of(&status), format_of(&client, &headers));
    rows::ended(&client, &headers, status, wish).await
}

/// What the session reads, unless the request says that it reads nothing else than JSON.
fn format_of(client: &Client, headers: &HeaderMap) -> Format {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    match accepts.contains("application/vnd.apache.arrow") {
        true => Format::Arrow,
        false => client.parameters(|parameters| parameters.format()),
    }
}
