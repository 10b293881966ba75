//! The protocol of Snowflake's drivers, beside the REST API on the same port.
//!
//! | request | answer |
//! |---|---|
//! | `POST /session/v1/login-request` | opens a session: its tokens, names and parameters |
//! | `POST /session/token-request` | other tokens for those that have expired |
//! | `POST /session/heartbeat`, `POST /session?delete=true` | keeps a session, closes one |
//! | `POST /session/authenticator-request` | refused: no log-in by way of others |
//! | `POST /queries/v1/query-request` | runs a statement, or several: rows, or where to ask for them later |
//! | `GET /queries/{id}/result` | the rows of a statement that takes longer |
//! | `GET /queries/{id}/chunks/{n}` | a part of a large result, by an address that the result has given |
//! | `POST /queries/v1/abort-request`, `POST /queries/{id}/abort-request` | stops a statement |
//! | `GET /monitoring/queries/{id}` | how far a statement is |
//! | `POST /telemetry/send` | taken and thrown away |
//!
//! Answers are JSON with status 200, failures too: `{"success", "code", "message", "data"}`. In reading order: `envelope` and `body`
//! (answers and requests), `login`, [`session`] (what the door remembers of a session) and `parameters`, `text` (Snowflake's SQL),
//! `statement` (what becomes of a statement's text), `show` and `reader`, `binding`, `query`, `multiple`, `rows`, `row_type` and `encoding` (results).

pub mod binding;
mod body;
mod chunk;
mod encoding;
mod envelope;
mod login;
mod multiple;
mod parameters;
mod query;
mod reader;
mod row_type;
mod rows;
mod session;
mod show;
mod statement;
mod status;
mod text;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use frazil_coordinator::service::StatementService;
use tokio::sync::Semaphore;

use crate::RestOptions;

/// How long a request waits for its statement before its client is told to ask again.
const WAIT_LIMIT: Duration = Duration::from_secs(45);

/// Large bodies that are read at the same time; others wait.
const LARGE_BODIES_MAX: usize = 4;

/// What every handler works with.
struct Door {
    statements: StatementService,
    options: RestOptions,
    large_bodies: Semaphore,
}

/// The endpoints, to be merged with those of the REST API.
pub fn routes(statements: StatementService, options: RestOptions) -> Router {
    Router::new()
        .route("/session/v1/login-request", post(login::log_in))
        .route("/session/token-request", post(login::renew))
        .route("/session/heartbeat", post(login::heartbeat).get(login::heartbeat))
        .route("/session/authenticator-request", post(login::authenticator))
        .route("/session", post(login::log_out))
        .route("/queries/v1/query-request", post(query::submit))
        .route("/queries/v1/abort-request", post(status::abort_request))
        .route("/queries/{id}/abort-request", post(status::abort))
        .route("/queries/{id}/result", get(query::result))
        .route("/queries/{id}/chunks/{number}", get(chunk::fetch))
        .route("/monitoring/queries/{id}", get(status::status))
        // As version 5 of the Python connector writes it.
        .route("/monitoring/queries//{id}", get(status::status))
        .route("/telemetry/send", post(status::telemetry))
        .with_state(Arc::new(Door { statements, options, large_bodies: Semaphore::new(LARGE_BODIES_MAX) }))
}
