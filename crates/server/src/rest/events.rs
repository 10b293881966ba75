//! `GET /api/v2/statements/{handle}/events`: a statement's progress as server-sent events.
//!
//! The first event comes at once, the next ones when the phase changes, or with new figures after a while; the last one has a
//! terminal phase, and the stream ends behind it. What is sent is what is true when the reader takes it: nothing is kept for a
//! reader that is slow.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use frazil_common::{ErrorCode, Failure, StatementId};
use frazil_coordinator::Caller;
use frazil_coordinator::statement::{Phase, Progress, StatementStatus, Stats};
use futures::{StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Door;
use super::answer::Refused;
use super::client::Client;
use super::statements::statement_id;

/// Streams at once; more are refused.
pub const STREAMS_MAX: usize = 256;
/// How often figures are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// A comment is sent when nothing else was for so long, so that nobody between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    statement_handle: StatementId,
    phase: Phase,
    stages: u32,
    tasks: u32,
    tasks_finished: u32,
    splits: u32,
    splits_finished: u32,
    retries: u32,
    #[serde(flatten)]
    stats: Stats,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sql_state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

/// What an event is sent for.
#[derive(Clone, Copy, PartialEq)]
struct Seen {
    phase: Phase,
    progress: Progress,
    stats: Stats,
}

impl Seen {
    fn of(status: &StatementStatus) -> Self {
        Self { phase: status.phase, progress: status.progress, stats: status.stats }
    }
}

pub async fn follow(
    State(door): State<Arc<Door>>,
    Client(caller): Client,
    handle: Result<Path<String>, PathRejection>,
) -> Result<Response, Refused> {
    let id = statement_id(handle)?;
    caller.status(id)?;
    let permit = door.events.clone().try_acquire_owned().map_err(|_| {
        Failure::new(ErrorCode::TooManyStatements, format!("{STREAMS_MAX} event streams are open already"))
    })?;
    let follower = Follower { caller, id, seen: None, sent: Instant::now(), _permit: permit };
    let events = stream::unfold(Some(follower), |follower| async move { follower?.next().await }).fuse();
    let mut response = Response::new(Body::from_stream(events));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Follower {
    caller: Caller,
    id: StatementId,
    seen: Option<Seen>,
    sent: Instant,
    _permit: OwnedSemaphorePermit,
}

type Item = Result<Bytes, Infallible>;

impl Follower {
    /// The next event, and who waits for the one after it, if there is one.
    async fn next(mut self) -> Option<(Item, Option<Self>)> {
        loop {
            let looked = match self.seen {
                None => self.caller.status(self.id),
                Some(seen) => self.caller.wait_for_change(self.id, seen.phase, LOOK_INTERVAL).await,
            };
            // Forgotten while it was followed: there is nothing more to tell.
            let status = looked.ok()?;
            let seen = Seen::of(&status);
            if self.seen != Some(seen) {
                let event = event(&status);
                self.seen = Some(seen);
                self.sent = Instant::now();
                let rest = (!seen.phase.is_terminal()).then_some(self);
                return Some((Ok(event), rest));
            }
            if self.sent.elapsed() >= KEEP_ALIVE {
                self.sent = Instant::now();
                return Some((Ok(Bytes::from_static(b": alive\n\n")), Some(self)));
            }
        }
    }
}

fn event(status: &StatementStatus) -> Bytes {
    let Progress { stages, tasks, tasks_finished, splits, splits_finished, retries } = status.progress;
    let failure = status.failure.as_ref();
    let event = Event {
        statement_handle: status.id,
        phase: status.phase,
        stages,
        tasks,
        tasks_finished,
        splits,
        splits_finished,
        retries,
        stats: status.stats,
        num_rows: status.rows,
        code: failure.map(|failure| failure.code.number()),
        sql_state: failure.map(|failure| failure.code.sql_state()),
        message: failure.map(|failure| failure.message.as_str()),
    };
    let name = if status.phase.is_terminal() { "end" } else { "progress" };
    let mut text = format!("event: {name}\ndata: ").into_bytes();
    // JSON has no line ends of its own, which would end the event's line.
    serde_json::to_writer(&mut text, &event).expect("events have text keys and no failing serializers");
    text.extend_from_slice(b"\n\n");
    text.into()
}
