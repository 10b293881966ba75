//! One statement's life: its phase and what is known in it. The only place where phases change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use frazil_common::{ErrorCode, Failure, StatementId};
use frazil_engine::secrets::redact;
use frazil_proto::v1;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::query::Observer;
use crate::statement::{Delivery, Phase, Progress, ResultInfo, ResultStream, StatementRequest, StatementStatus, Stats};

/// Whether a statement may go from one phase to another.
fn may_follow(from: Phase, to: Phase) -> bool {
    use Phase::{Cancelled, Failed, Finished, Planned, Queued, Received, Running};
    match (from, to) {
        (from, Failed | Cancelled) => !from.is_terminal(),
        (Received, Planned) | (Planned, Queued) | (Planned | Queued, Running) => true,
        // Declarations are done when they are planned.
        (Planned | Running, Finished) => true,
        _ => false,
    }
}

pub struct Statement {
    pub id: StatementId,
    pub request: StatementRequest,
    /// Values for its placeholders, until it has ended.
    bindings: Mutex<Option<RecordBatch>>,
    /// Stops whatever the statement does; the reason is in `stop_cause`.
    pub stop: CancellationToken,
    pub deadline: Instant,
    created: SystemTime,
    state: Mutex<State>,
    /// The phase, and whether rows can be taken.
    seen: watch::Sender<(Phase, bool)>,
    progress: ProgressCounts,
    committing: AtomicBool,
}

/// While it lives, the statement waits for its commit, whatever else is asked of it.
pub struct Committing<'a>(&'a Statement);

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.0.committing.store(false, Ordering::Release);
    }
}

struct State {
    phase: Phase,
    ended: Option<SystemTime>,
    failure: Option<Failure>,
    result: Option<ResultInfo>,
    stream: Option<ResultStream>,
    stop_cause: Option<Failure>,
}

#[derive(Default)]
struct ProgressCounts {
    stages: AtomicU32,
    tasks: AtomicU32,
    tasks_finished: AtomicU32,
    retries: AtomicU32,
    scanned_bytes: AtomicU64,
    exchanged_bytes: AtomicU64,
    written_rows: AtomicU64,
    written_bytes: AtomicU64,
}

impl Statement {
    pub fn new(request: StatementRequest, time_limit: Duration, bindings: Option<RecordBatch>) -> Arc<Self> {
        Arc::new(Self {
            id: StatementId::mint(),
            request,
            bindings: Mutex::new(bindings),
            stop: CancellationToken::new(),
            deadline: Instant::now() + time_limit,
            created: SystemTime::now(),
            state: Mutex::new(State {
                phase: Phase::Received,
                ended: None,
                failure: None,
                result: None,
                stream: None,
                stop_cause: None,
            }),
            seen: watch::Sender::new((Phase::Received, false)),
            progress: ProgressCounts::default(),
            committing: AtomicBool::new(false),
        })
    }

    pub fn bindings(&self) -> Option<RecordBatch> {
        self.bindings.lock().clone()
    }

    pub fn committing(&self) -> Committing<'_> {
        self.committing.store(true, Ordering::Release);
        Committing(self)
    }

    pub fn is_committing(&self) -> bool {
        self.committing.load(Ordering::Acquire)
    }

    /// Moves on; a statement that has ended stays as it is.
    pub fn advance(&self, to: Phase) {
        let mut state = self.state.lock();
        self.advance_locked(&mut state, to);
    }

    fn advance_locked(&self, state: &mut State, to: Phase) -> bool {
        if !may_follow(state.phase, to) {
            return false;
        }
        state.phase = to;
        if to.is_terminal() {
            state.ended = Some(SystemTime::now());
            self.bindings.lock().take();
        }
        self.seen.send_replace((to, state.result.is_some()));
        true
    }

    /// Rows can be taken now, while it runs.
    pub fn offer(&self, result: ResultInfo, stream: ResultStream) {
        let mut state = self.state.lock();
        state.result = Some(result);
        state.stream = Some(stream);
        self.seen.send_replace((state.phase, true));
    }

    pub fn finish(&self, result: ResultInfo) {
        let mut state = self.state.lock();
        if may_follow(state.phase, Phase::Finished) {
            state.result = Some(result);
            self.advance_locked(&mut state, Phase::Finished);
        }
    }

    pub fn fail(&self, failure: Failure) {
        let mut state = self.state.lock();
        let phase = if failure.code == ErrorCode::Cancelled { Phase::Cancelled } else { Phase::Failed };
        if self.advance_locked(&mut state, phase) {
            tracing::debug!(statement = %self.id, %failure, "statement failed");
            state.failure = Some(failure);
            state.stream = None;
        }
    }

    /// Asks it to end for this reason; the first reason counts.
    pub fn stop(&self, cause: Failure) {
        self.state.lock().stop_cause.get_or_insert(cause);
        self.stop.cancel();
    }

    pub fn stop_cause(&self) -> Failure {
        let cause = self.state.lock().stop_cause.clone();
        cause.unwrap_or_else(|| Failure::new(ErrorCode::Cancelled, "the statement was stopped"))
    }

    pub fn take_stream(&self) -> Option<ResultStream> {
        self.state.lock().stream.take()
    }

    /// When it ended.
    pub fn ended(&self) -> Option<SystemTime> {
        self.state.lock().ended
    }

    /// Returns in a terminal phase, or when rows can be taken from a stream.
    pub async fn settled(&self) {
        let mut seen = self.seen.subscribe();
        let streamed = self.request.delivery == Delivery::Streamed;
        let settled = seen.wait_for(|(phase, rows)| phase.is_terminal() || (streamed && *rows)).await;
        settled.expect("the sender lives in self");
    }

    pub async fn ended_for_good(&self) {
        let mut seen = self.seen.subscribe();
        seen.wait_for(|(phase, _)| phase.is_terminal()).await.expect("the sender lives in self");
    }

    pub fn status(&self) -> StatementStatus {
        let state = self.state.lock();
        let read = |count: &AtomicU32| count.load(Ordering::Relaxed);
        StatementStatus {
            id: self.id,
            sql: redact(&self.request.sql).into_owned(),
            phase: state.phase,
            created_ms: milliseconds(self.created),
            ended_ms: state.ended.map(milliseconds),
            failure: state.failure.clone(),
            result: state.result.clone(),
            progress: Progress {
                stages: read(&self.progress.stages),
                tasks: read(&self.progress.tasks),
                tasks_finished: read(&self.progress.tasks_finished),
                retries: read(&self.progress.retries),
            },
            stats: Stats {
                bytes_scanned: self.progress.scanned_bytes.load(Ordering::Relaxed),
                bytes_exchanged: self.progress.exchanged_bytes.load(Ordering::Relaxed),
                rows_written: self.progress.written_rows.load(Ordering::Relaxed),
                bytes_written: self.progress.written_bytes.load(Ordering::Relaxed),
            },
        }
    }
}

impl Observer for Statement {
    fn started(&self, stages: u32, tasks: u32) {
        self.progress.stages.fetch_add(stages, Ordering::Relaxed);
        self.progress.tasks.fetch_add(tasks, Ordering::Relaxed);
    }

    fn task_finished(&self, report: &v1::TaskFinished) {
        self.progress.tasks_finished.fetch_add(1, Ordering::Relaxed);
        self.progress.scanned_bytes.fetch_add(report.scanned_bytes, Ordering::Relaxed);
        self.progress.exchanged_bytes.fetch_add(report.exchanged_bytes, Ordering::Relaxed);
    }

    fn wrote(&self, report: &v1::TasksWrote) {
        self.progress.written_rows.fetch_add(report.rows, Ordering::Relaxed);
        self.progress.written_bytes.fetch_add(report.bytes, Ordering::Relaxed);
    }

    fn retried(&self) {
        self.progress.retries.fetch_add(1, Ordering::Relaxed);
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_go_forward_and_an_end_is_final() {
        let statement =
            Statement::new(StatementRequest::new("select 1", Delivery::Spooled), Duration::from_secs(1), None);
        statement.advance(Phase::Running);
        assert_eq!(statement.status().phase, Phase::Received, "not planned yet");
        statement.advance(Phase::Planned);
        statement.advance(Phase::Running);
        statement.advance(Phase::Queued);
        assert_eq!(statement.status().phase, Phase::Running);
        statement.fail(Failure::new(ErrorCode::Cancelled, "by the user"));
        statement.fail(Failure::internal("late"));
        let status = statement.status();
        assert_eq!(status.phase, Phase::Cancelled);
        assert_eq!(status.failure.unwrap().message, "by the user");
        assert!(status.ended_ms.is_some());
    }
}
