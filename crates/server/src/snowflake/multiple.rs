//! Several statements in one request. They run one after the other; the first that fails is the last that runs. The request's answer names
//! them, and clients ask for the rows of each.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use axum::response::Response;
use frazil_common::{ErrorCode, Failure, StatementId};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::WAIT_LIMIT;
use super::envelope::{Refused, succeeded};
use super::query::{Terms, in_progress, start};
use super::session::Client;
use super::statement::Kind;

/// Statements of one request; more are refused.
const STATEMENTS_MAX: usize = 1000;

/// A request's statements. Stopping it stops the one that runs, and so all that come after it.
pub struct Run {
    pub id: StatementId,
    pub request_id: Option<Uuid>,
    texts: Vec<String>,
    bindings: Option<RecordBatch>,
    state: Mutex<State>,
    ended: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// Those that have been begun, the last of which may still run.
    begun: Vec<(StatementId, Kind)>,
    failed: Option<(Failure, Option<StatementId>)>,
    stopped: bool,
}

impl Run {
    /// Ends it with the statement that runs.
    pub async fn stop(&self, client: &Client) -> Result<(), Failure> {
        let running = {
            let mut state = self.state.lock();
            state.stopped = true;
            state.begun.last().map(|(id, _)| *id)
        };
        match running {
            Some(id) => client.caller.cancel(id).await.map(|_| ()),
            None => Ok(()),
        }
    }

    pub fn is_running(&self) -> bool {
        !*self.ended.borrow()
    }

    pub fn failure(&self) -> Option<Failure> {
        self.state.lock().failed.as_ref().map(|(failure, _)| failure.clone())
    }
}

pub async fn submit(client: Client, texts: Vec<String>, terms: Terms, asynchronous: bool) -> Result<Response, Refused> {
    if terms.bindings.as_ref().is_some_and(|bindings| bindings.num_rows() > 1) {
        let message = "several statements with several rows of values are not supported";
        return Err(Failure::new(ErrorCode::NotSupported, message).into());
    }
    if texts.len() > STATEMENTS_MAX {
        let message = format!("{} statements in one request, at most {STATEMENTS_MAX} are taken", texts.len());
        return Err(Failure::new(ErrorCode::TooComplex, message).into());
    }
    let run = Arc::new(Run {
        id: StatementId::mint(),
        request_id: terms.request_id,
        texts,
        bindings: terms.bindings.clone(),
        state: Mutex::default(),
        ended: watch::Sender::new(false),
    });
    let run = match client.remember(run.clone()) {
        // Sent again, because its answer was lost: it is the same run.
        Some(known) if known.texts == run.texts && known.bindings == run.bindings => known,
        Some(_) => {
            let message = "the requestId came with other statements before: give each request its own";
            return Err(Failure::new(ErrorCode::RequestIdReused, message).into());
        }
        None => {
            tokio::spawn(perform(client.clone(), run.clone(), terms));
            run
        }
    };
    match asynchronous {
        true => Ok(in_progress(run.id, true)),
        false => result(&client, &run, WAIT_LIMIT).await,
    }
}

/// Runs them. Each has the service's own limits, which end this too.
async fn perform(client: Client, run: Arc<Run>, terms: Terms) {
    let mut values = terms.bindings.as_ref().map_or(0..0, |bindings| 0..bindings.num_columns());
    for text in &run.texts {
        if run.state.lock().stopped {
            let failure = Failure::new(ErrorCode::Cancelled, "the statements were cancelled");
            run.state.lock().failed = Some((failure, None));
            break;
        }
        // Each takes the values for its own placeholders.
        let needed = super::text::question_marks(text).min(values.len());
        let own = Terms {
            parameters: terms.parameters.clone(),
            bindings: match (&terms.bindings, needed) {
                (Some(bindings), 1..) => {
                    let columns: Vec<usize> = values.by_ref().take(needed).collect();
                    bindings.project(&columns).ok()
                }
                _ => None,
            },
            describe_only: terms.describe_only,
            // Their own ids are new ones: the request's is that of all of them.
            request_id: None,
        };
        let failed = match start(&client, text, &own).await {
            Err(refused) => Some((refused.into_failure(), None)),
            Ok(started) => {
                run.state.lock().begun.push((started.id, started.kind));
                match client.caller.wait(started.id, Duration::MAX).await {
                    Err(failure) => Some((failure, Some(started.id))),
                    Ok(status) => {
                        let status = started.in_original(status);
                        let (id, failure) = (started.id, status.failure);
                        match failure {
                            Some(failure) if !super::rows::is_harmless(started.kind, &failure) => {
                                Some((failure, Some(id)))
                            }
                            _ => {
                                started.apply(&client);
                                None
                            }
                        }
                    }
                }
            }
        };
        if failed.is_some() {
            run.state.lock().failed = failed;
            break;
        }
    }
    run.ended.send_replace(true);
}

/// The answer: which statements there were, or what the failed one said.
pub async fn result(client: &Client, run: &Run, limit: Duration) -> Result<Response, Refused> {
    let mut ended = run.ended.subscribe();
    if tokio::time::timeout(limit, ended.wait_for(|ended| *ended)).await.is_err() {
        return Ok(in_progress(run.id, false));
    }
    let (begun, failed) = {
        let state = run.state.lock();
        (state.begun.clone(), state.failed.clone())
    };
    if let Some((failure, id)) = failed {
        return Err(Refused::of(failure, id.unwrap_or(run.id)));
    }
    let ids: Vec<String> = begun.iter().map(|(id, _)| id.to_string()).collect();
    let kinds: Vec<String> = begun.iter().map(|(_, kind)| kind.0.to_string()).collect();
    let (database, schema) = client.names()?;
    let name = "multiple statement execution";
    Ok(succeeded(json!({
        "parameters": client.parameters(|parameters| parameters.list()),
        "rowtype": [{
            "name": name, "type": "text", "length": 16_777_216, "byteLength": 16_777_216, "precision": null, "scale": null,
            "nullable": false, "database": "", "schema": "", "table": "", "collation": null,
        }],
        "rowset": [["Multiple statements executed successfully."]],
        "total": 1,
        "returned": 1,
        "queryId": run.id,
        "databaseProvider": null,
        "finalDatabaseName": database,
        "finalSchemaName": schema,
        "finalWarehouseName": client.warehouse(),
        "finalRoleName": client.role(),
        "numberOfBinds": 0,
        "arrayBindSupported": false,
        "statementTypeId": Kind::SEVERAL.0,
        "version": 1,
        "resultIds": ids.join(","),
        "resultTypes": kinds.join(","),
        "queryResultFormat": "json",
        "queryContext": Value::Null,
        "sqlState": "00000",
    })))
}
