//! One statement's life: its phase and what is known in it. The only place where phases change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use frazil_common::client_settings::QUERY_TAG;
use frazil_common::{ErrorCode, Failure, Principal, StatementId};
use frazil_engine::metrics::Scanned;
use frazil_engine::planner::KeptPlan;
use frazil_engine::secrets::redact;
use frazil_proto::v1;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::history::{History, StatementRecord, beginning, written};
use crate::progress::StatementProgress;
use crate::query::{Observer, RunStart};
use crate::statement::{Delivery, Phase, ResultInfo, ResultStream, StatementRequest, StatementStatus};

/// Rows of a change that are kept with the history: bytes in memory.
const ANSWER_BYTES_MAX: usize = 8 << 10;

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
    /// Taken when it is planned: it pins what it reads.
    kept: Mutex<Option<KeptPlan>>,
    /// Stops whatever the statement does; the reason is in `stop_cause`.
    pub stop: CancellationToken,
    pub deadline: Instant,
    pub progress: StatementProgress,
    created: SystemTime,
    state: Mutex<State>,
    /// The phase, and whether rows can be taken.
    seen: watch::Sender<(Phase, bool)>,
    committing: AtomicBool,
    /// In which role it is run, which its session may say.
    acting: OnceLock<Principal>,
    history: Arc<History>,
    /// The last record is with the history.
    is_recorded: AtomicBool,
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
    planned: Option<SystemTime>,
    started: Option<SystemTime>,
    ended: Option<SystemTime>,
    failure: Option<Failure>,
    result: Option<ResultInfo>,
    stream: Option<ResultStream>,
    stop_cause: Option<Failure>,
    /// Of its session and its request, as it began.
    client_settings: Vec<(String, String)>,
    parts: Vec<StatementId>,
    answer: Option<String>,
}

impl Statement {
    pub fn new(
        request: StatementRequest,
        time_limit: Duration,
        bindings: Option<RecordBatch>,
        kept: Option<KeptPlan>,
        history: Arc<History>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: StatementId::mint(),
            request,
            bindings: Mutex::new(bindings),
            kept: Mutex::new(kept),
            stop: CancellationToken::new(),
            deadline: Instant::now() + time_limit,
            created: SystemTime::now(),
            state: Mutex::new(State {
                phase: Phase::Received,
                planned: None,
                started: None,
                ended: None,
                failure: None,
                result: None,
                stream: None,
                stop_cause: None,
                client_settings: vec![],
                parts: vec![],
                answer: None,
            }),
            seen: watch::Sender::new((Phase::Received, false)),
            progress: StatementProgress::default(),
            committing: AtomicBool::new(false),
            acting: OnceLock::new(),
            history,
            is_recorded: AtomicBool::new(false),
        })
    }

    /// Whom it is run for, in which role.
    pub fn principal(&self) -> &Principal {
        self.acting.get().unwrap_or(&self.request.principal)
    }

    /// Said once, before it is planned.
    pub fn act_as(&self, principal: Principal) {
        let _ = self.acting.set(principal);
    }

    /// The plan that it came with, once.
    pub fn take_kept(&self) -> Option<KeptPlan> {
        self.kept.lock().take()
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
        let now = Some(SystemTime::now());
        match to {
            Phase::Planned => state.planned = now,
            Phase::Running => state.started = now,
            _ if to.is_terminal() => state.ended = now,
            _ => {}
        }
        if to.is_terminal() {
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

    /// Returns when the phase is another.
    pub async fn left(&self, phase: Phase) {
        let mut seen = self.seen.subscribe();
        seen.wait_for(|(now, _)| *now != phase || now.is_terminal()).await.expect("the sender lives in self");
    }

    pub async fn ended_for_good(&self) {
        let mut seen = self.seen.subscribe();
        seen.wait_for(|(phase, _)| phase.is_terminal()).await.expect("the sender lives in self");
    }

    /// What its session and its request say of how the client is answered.
    pub fn set_client_settings(&self, settings: Vec<(String, String)>) {
        self.state.lock().client_settings = settings;
    }

    /// Another statement of its text has begun.
    pub fn add_part(&self, part: StatementId) {
        self.state.lock().parts.push(part);
    }

    /// Rows that are so few that they are kept with the history.
    pub fn keep_answer(&self, rows: &RecordBatch) {
        if rows.get_array_memory_size() <= ANSWER_BYTES_MAX {
            let written = written(rows);
            self.state.lock().answer = written;
        }
    }

    pub fn status(&self) -> StatementStatus {
        let state = self.state.lock();
        let finished = state.phase == Phase::Finished;
        StatementStatus {
            id: self.id,
            user: self.principal().user().to_owned(),
            role: self.principal().role().to_owned(),
            sql: redact(&self.request.sql).into_owned(),
            database: self.request.database.clone(),
            schema: self.request.schema.clone(),
            query_tag: query_tag(&state),
            phase: state.phase,
            created_ms: milliseconds(self.created),
            ended_ms: state.ended.map(milliseconds),
            failure: state.failure.clone(),
            rows: state.result.as_ref().filter(|_| finished).map(|result| result.rows),
            result: state.result.clone(),
            progress: self.progress.progress(),
            stats: self.progress.stats(),
            parts: state.parts.clone(),
            client_settings: state.client_settings.clone(),
        }
    }

    /// For the history, as it is now.
    pub fn record(&self) -> StatementRecord {
        let (stages, tasks) = self.progress.noted();
        let state = self.state.lock();
        let finished = state.phase == Phase::Finished;
        StatementRecord {
            id: self.id,
            user: self.principal().user().to_owned(),
            role: self.principal().role().to_owned(),
            sql: beginning(&redact(&self.request.sql)),
            database: self.request.database.clone(),
            schema: self.request.schema.clone(),
            query_tag: query_tag(&state),
            phase: state.phase,
            created_ms: milliseconds(self.created),
            planned_ms: state.planned.map(milliseconds),
            started_ms: state.started.map(milliseconds),
            ended_ms: state.ended.map(milliseconds),
            failure: state.failure.clone(),
            rows: state.result.as_ref().filter(|_| finished).map(|result| result.rows),
            progress: self.progress.progress(),
            stats: self.progress.stats(),
            stages,
            tasks,
            parts: state.parts.clone(),
            answer: state.answer.clone(),
        }
    }

    /// Leaves a record with the history, for the case that we end before the statement does.
    pub fn record_open(&self) {
        if !self.is_recorded.load(Ordering::Acquire) {
            self.history.put(self.record());
        }
    }

    /// Leaves its last record with the history, once it has ended and its tasks have reported.
    pub fn record_if_ended(&self) {
        let has_ended = self.state.lock().phase.is_terminal() && self.progress.has_settled();
        if has_ended && !self.is_recorded.swap(true, Ordering::AcqRel) {
            self.history.put(self.record());
        }
    }
}

fn query_tag(state: &State) -> Option<String> {
    let tag = state.client_settings.iter().rev().find(|(key, _)| key == QUERY_TAG);
    tag.map(|(_, tag)| tag.clone()).filter(|tag| !tag.is_empty())
}

impl Observer for Statement {
    fn started(&self, run: &RunStart<'_>) -> u32 {
        self.progress.started(run)
    }

    fn scanned(&self, run: u32, more: Scanned) {
        self.progress.scanned(run, more);
    }

    fn task_finished(&self, run: u32, executor: &str, report: &v1::TaskFinished) {
        self.progress.task_finished(run, executor, report);
    }

    fn wrote(&self, report: &v1::TasksWrote) {
        self.progress.wrote(report);
    }

    fn runs(&self) -> u32 {
        self.progress.runs()
    }

    fn retried(&self, from: u32) {
        self.progress.retried(from);
    }

    fn run_ended(&self) {
        self.progress.run_ended();
        self.record_if_ended();
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
        let statement = Statement::new(
            StatementRequest::new("select 1", Delivery::Spooled),
            Duration::from_secs(1),
            None,
            None,
            History::none(),
        );
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
