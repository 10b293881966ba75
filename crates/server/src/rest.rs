//! The REST API: Snowflake's SQL API v2 over the statement service.
//!
//! | request | answer |
//! |---|---|
//! | `POST /api/v2/statements` | submits; 200 with the first partition, 202 when it takes longer, 4xx when it failed |
//! | `GET /api/v2/statements?phase&user&queryTag&requestId&text&from&to&before&limit` | the history, newest first (our addition) |
//! | `GET /api/v2/statements/{handle}?partition=N` | status, or a partition of the result |
//! | `POST /api/v2/statements/{handle}/cancel` | stops it |
//! | `GET /api/v2/statements/{handle}/events` | its progress, as server-sent events (our addition) |
//! | `GET /api/v2/openapi.json` | all of this, for programs (our addition) |
//! | `POST /api/v2/sessions`, `GET`, `DELETE /api/v2/sessions/{id}` | sessions: names, settings, transactions (our addition) |
//! | `PUT`, `GET /api/v2/stages/file?place=@stage/path` | a file to a stage, or from one (our addition) |
//! | `GET /api/v2/stages/files?place=@stage/path` | the files below a place (our addition) |
//! | `GET /api/v2/health`, `GET /api/v2/cluster` | that we answer; who runs what (our additions) |
//!
//! With `Accept: application/vnd.apache.arrow.stream` rows come as an Arrow IPC stream (our addition): a POST then streams
//! the whole result as it is made, a GET one kept partition. Everything else, and every failure, is JSON.

mod answer;
mod client;
mod compression;
mod events;
mod list;
mod openapi;
mod parameters;
mod request;
mod sessions;
mod stages;
mod statements;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post};
use frazil_common::{ByteSize, ErrorCode, Failure};
use frazil_coordinator::service::StatementService;
use futures::FutureExt;
use http::{Method, StatusCode, Uri};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::snowflake;

pub use answer::json_bytes;
use answer::{Refused, json};
use client::Client;
pub use request::read_body;

/// What an operator can set of the REST API.
#[derive(Clone, Debug)]
pub struct RestOptions {
    /// Bytes of a request's body; a longer one is refused with 413. Twice the default limit of a statement's text, because
    /// JSON's escapes make it longer.
    pub body_bytes_max: ByteSize,
    /// How long a client may take to send a body. Raise it for slow links.
    pub body_read_limit: Duration,
    /// How long a synchronous request waits for its statement before it is answered with 202. Snowflake's is 45 s.
    pub synchronous_limit: Duration,
    /// Whether clients speak TLS with us, so that addresses in answers begin with `https`.
    pub tls: bool,
}

impl Default for RestOptions {
    fn default() -> Self {
        Self {
            body_bytes_max: ByteSize::mib(8),
            body_read_limit: Duration::from_secs(10),
            synchronous_limit: Duration::from_secs(45),
            tls: false,
        }
    }
}

/// What every handler works with.
struct Door {
    statements: StatementService,
    options: RestOptions,
    /// Of event streams.
    events: Arc<Semaphore>,
}

/// The API as a service, for [`crate::serve`] or for calls inside the process.
pub fn router(statements: StatementService, options: RestOptions) -> Router {
    let flight = crate::flight::router(statements.clone());
    let drivers = snowflake::routes(statements.clone(), options.clone());
    let events = Arc::new(Semaphore::new(events::STREAMS_MAX));
    Router::new()
        .route("/api/v2/statements", post(statements::submit).get(list::list))
        .route("/api/v2/statements/{handle}", get(statements::fetch))
        .route("/api/v2/statements/{handle}/cancel", post(statements::cancel))
        .route("/api/v2/statements/{handle}/events", get(events::follow))
        .route("/api/v2/openapi.json", get(openapi::document))
        .route("/api/v2/sessions", post(sessions::open).get(sessions::list))
        .route("/api/v2/sessions/{id}", delete(sessions::close))
        .route("/api/v2/stages/file", get(stages::get).put(stages::put))
        .route("/api/v2/stages/files", get(stages::list))
        .route("/api/v2/health", get(health))
        .route("/api/v2/cluster", get(cluster))
        .with_state(Arc::new(Door { statements, options, events }))
        .merge(drivers)
        .merge(flight)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(catch_panics))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
}

/// That this process answers; `cluster` says whether there is anyone to run statements.
async fn health() -> Response {
    json(StatusCode::OK, &Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

async fn cluster(Client(caller): Client) -> Response {
    json(StatusCode::OK, &caller.cluster())
}

async fn unknown_path(uri: Uri) -> Refused {
    let message = format!("path {:?} not found", uri.path());
    Refused::new(StatusCode::NOT_FOUND, Failure::new(ErrorCode::InvalidArgument, message))
}

async fn wrong_method(method: Method, uri: Uri) -> Refused {
    let message = format!("method {method} not allowed for {:?}", uri.path());
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, Failure::new(ErrorCode::InvalidArgument, message))
}

/// A panic is our fault and fails its own request: the connection and its other requests live on.
async fn catch_panics(request: Request, next: Next) -> Result<Response, Refused> {
    AssertUnwindSafe(next.run(request)).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(panic = text.unwrap_or("without text"), "request handler panicked");
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Failure::internal("request handler panicked"))
    })
}
