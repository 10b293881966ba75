//! The statement service: the one lifecycle behind every front door.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use frazil_catalog::Databases;
use frazil_common::{ErrorCode, Failure, SessionId, StatementId};
use frazil_engine::planner::{PlanRequest, Planned, PlannedQuery, Planner};
use frazil_engine::session_statements::SessionChange;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use crate::admission::Admission;
use crate::explain;
use crate::lifecycle::Statement;
use crate::loads;
use crate::options::CoordinatorOptions;
use crate::placement::Placement;
use crate::query::{QueryRunner, RunOptions, RunningQuery, cut_for, needs_executors};
use crate::results::ResultStore;
use crate::sessions::{SessionGuard, SessionStatus, Sessions};
use crate::statement::{
    ClusterStatus, Delivery, Phase, ResultInfo, ResultPartition, ResultStream, StatementRequest, StatementStatus,
};
use crate::transactions::{self, Scope};
use crate::writes;

/// Batches between a query and the reader of its stream.
const STREAM_BATCHES: usize = 1;
/// The longest that one call waits; the statement's own limit ends it.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Cheap to clone; all clones are the same service.
#[derive(Clone)]
pub struct StatementService {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub planner: Arc<Planner>,
    pub sessions: Arc<Sessions>,
    pub databases: Databases,
    pub runner: Arc<QueryRunner>,
    pub admission: Admission,
    pub results: Arc<ResultStore>,
    pub options: CoordinatorOptions,
    pub statements: Mutex<Statements>,
    /// Of files that clients send to stages.
    pub uploads: Semaphore,
}

/// What is remembered; bounded by `history_max`.
#[derive(Default)]
pub(crate) struct Statements {
    by_id: BTreeMap<StatementId, Arc<Statement>>,
    by_request: HashMap<Uuid, StatementId>,
}

impl Statements {
    /// The statement that was submitted with the same request id. Another statement under that id is refused: the client
    /// would take the first one's rows for those of what it has sent now.
    fn of_request(&self, request: &StatementRequest) -> Result<Option<StatementId>, Failure> {
        let Some(request_id) = request.request_id else { return Ok(None) };
        let known = self.by_request.get(&request_id).and_then(|known| self.by_id.get(known));
        let Some(known) = known else { return Ok(None) };
        // How the rows are wanted and how long they may take does not make it another statement.
        let first = &known.request;
        let is_same = (&first.sql, &first.database, &first.schema, first.session)
            == (&request.sql, &request.database, &request.schema, request.session);
        if is_same {
            return Ok(Some(known.id));
        }
        let message = format!("requestId {request_id} came with another statement before: give each its own");
        Err(Failure::new(ErrorCode::RequestIdReused, message))
    }
}

impl StatementService {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Takes a statement on; it runs whether or not anyone waits for it. Fails only when it is refused outright: too
    /// long, too many are open, or its request id is that of another. Bad SQL is a statement whose phase becomes `failed`.
    pub async fn submit(&self, request: StatementRequest) -> Result<StatementId, Failure> {
        let options = &self.inner.options;
        if request.sql.len() as u64 > options.statement_bytes_max.0 {
            let message = format!(
                "the statement has {} bytes, at most {} are taken",
                request.sql.len(),
                options.statement_bytes_max
            );
            return Err(Failure::new(ErrorCode::TooComplex, message));
        }
        let most = Duration::from_secs(options.statement_limit_s.max(1));
        let limit = request.time_limit.filter(|limit| !limit.is_zero()).unwrap_or(most).min(most);
        let statement = {
            let mut statements = self.inner.statements.lock();
            if let Some(known) = statements.of_request(&request)? {
                return Ok(known);
            }
            self.make_room(&mut statements)?;
            let statement = Statement::new(request, limit);
            if let Some(request) = statement.request.request_id {
                statements.by_request.insert(request, statement.id);
            }
            statements.by_id.insert(statement.id, statement.clone());
            statement
        };
        let id = statement.id;
        tracing::info!(statement = %id, "statement received");
        tokio::spawn(run_to_end(self.inner.clone(), statement));
        Ok(id)
    }

    /// Forgets the oldest ended statement when there are too many; open ones are never forgotten.
    fn make_room(&self, statements: &mut Statements) -> Result<(), Failure> {
        let options = &self.inner.options;
        let open_max = options.statements_queued_max + options.statements_running_max;
        if statements.by_id.len() < options.history_max.max(open_max) {
            return Ok(());
        }
        let oldest = statements.by_id.values().find(|statement| statement.ended().is_some()).map(|ended| ended.id);
        match oldest {
            Some(id) => {
                self.inner.forget(statements, id);
                Ok(())
            }
            None => {
                let message = format!("{} statements are open already", statements.by_id.len());
                Err(Failure::new(ErrorCode::TooManyStatements, message))
            }
        }
    }

    fn find(&self, id: StatementId) -> Result<Arc<Statement>, Failure> {
        let found = self.inner.statements.lock().by_id.get(&id).cloned();
        found.ok_or_else(|| Failure::new(ErrorCode::UndefinedStatement, format!("statement {id} is not known")))
    }

    /// Returns when the phase is terminal, or after `limit` with the phase it has then. A streamed statement also
    /// returns as soon as its rows can be taken (`Running` with a `result`).
    pub async fn wait(&self, id: StatementId, limit: Duration) -> Result<StatementStatus, Failure> {
        let statement = self.find(id)?;
        let _ = tokio::time::timeout(limit.min(WAIT_MAX), statement.settled()).await;
        Ok(statement.status())
    }

    /// `UndefinedStatement` when there is no such handle, or no longer.
    pub fn status(&self, id: StatementId) -> Result<StatementStatus, Failure> {
        self.find(id).map(|statement| statement.status())
    }

    /// Newest first, as far as they are remembered.
    pub fn list(&self) -> Vec<StatementStatus> {
        let statements: Vec<_> = self.inner.statements.lock().by_id.values().rev().cloned().collect();
        statements.into_iter().map(|statement| statement.status()).collect()
    }

    /// Idempotent; a statement that has ended stays as it is.
    pub async fn cancel(&self, id: StatementId) -> Result<StatementStatus, Failure> {
        let statement = self.find(id)?;
        statement.stop(Failure::new(ErrorCode::Cancelled, "the statement was cancelled"));
        let _ = tokio::time::timeout(Duration::from_secs(2), statement.ended_for_good()).await;
        Ok(statement.status())
    }

    /// A partition of a spooled result, by its number in [`ResultInfo::partitions`].
    pub async fn result_partition(&self, id: StatementId, partition: usize) -> Result<Vec<RecordBatch>, Failure> {
        let results = self.inner.results.clone();
        let read = tokio::task::spawn_blocking(move || results.read(id, partition)).await;
        read.unwrap_or_else(|error| Err(Failure::internal(format!("reading a result: {error}"))))
    }

    /// The rows of a streamed statement; can be taken once. Waits until the first stage runs.
    pub async fn result_stream(&self, id: StatementId) -> Result<ResultStream, Failure> {
        let statement = self.find(id)?;
        statement.settled().await;
        match statement.take_stream() {
            Some(stream) => Ok(stream),
            None => Err(statement.status().failure.unwrap_or_else(|| {
                Failure::new(ErrorCode::InvalidArgument, format!("the rows of statement {id} were taken already"))
            })),
        }
    }

    /// Opens a session; see [`Sessions::open`].
    pub fn open_session(
        &self,
        database: Option<String>,
        schema: Option<String>,
        settings: Vec<(String, String)>,
    ) -> Result<SessionId, Failure> {
        self.inner.sessions.open(database, schema, settings)
    }

    pub fn close_session(&self, id: SessionId) -> Result<(), Failure> {
        self.inner.sessions.close(id)
    }

    /// Oldest first.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        self.inner.sessions.list()
    }

    pub fn cluster(&self) -> ClusterStatus {
        ClusterStatus {
            version: frazil_proto::VERSION,
            executors: self.inner.runner.registry.status(),
            statements_queued: self.inner.admission.queued(),
            statements_running: self.inner.admission.running(),
        }
    }

    /// Stops every open statement and waits for their ends.
    pub(crate) async fn stop_all(&self, limit: Duration) {
        let open: Vec<_> = self.inner.statements.lock().by_id.values().cloned().collect();
        for statement in &open {
            statement.stop(Failure::new(ErrorCode::Cancelled, "the coordinator is shutting down"));
        }
        let ended = futures::future::join_all(open.iter().map(|statement| statement.ended_for_good()));
        let _ = tokio::time::timeout(limit, ended).await;
        let _ = tokio::time::timeout(limit, self.inner.databases.close()).await;
    }

    /// To be called as long as the coordinator lives: lets go of results that nobody fetched for too long.
    pub(crate) async fn expire_results(self) {
        let kept = Duration::from_secs(self.inner.options.result_kept_s.max(1));
        let mut interval = tokio::time::interval(Duration::from_secs(5).min(kept));
        loop {
            interval.tick().await;
            let now = SystemTime::now();
            let mut statements = self.inner.statements.lock();
            let expired = statements.by_id.values().filter(|statement| {
                statement.ended().is_some_and(|ended| now.duration_since(ended).is_ok_and(|age| age > kept))
            });
            let expired: Vec<StatementId> = expired.map(|statement| statement.id).collect();
            expired.into_iter().for_each(|id| self.inner.forget(&mut statements, id));
        }
    }
}

impl Inner {
    fn forget(&self, statements: &mut Statements, id: StatementId) {
        if let Some(forgotten) = statements.by_id.remove(&id)
            && let Some(request) = forgotten.request.request_id
        {
            statements.by_request.remove(&request);
        }
        self.results.remove(id);
    }
}

/// Where a statement's rows come from.
enum Rows {
    Ready(RecordBatch),
    Running(Box<RunningQuery>),
}

async fn run_to_end(inner: Arc<Inner>, statement: Arc<Statement>) {
    let mut running = std::pin::pin!(run(&inner, &statement));
    let outcome = tokio::select! {
        outcome = &mut running => outcome,
        () = statement.stop.cancelled() => Err(statement.stop_cause()),
        () = tokio::time::sleep_until(statement.deadline) => {
            Err(Failure::new(ErrorCode::Timeout, "the statement's time limit has passed"))
        }
    };
    let outcome = match outcome {
        // A commit is not stopped half-way: nobody could tell whether it was done.
        Err(_) if statement.is_committing() => running.await,
        outcome => outcome,
    };
    // Whatever still runs for it, ends.
    statement.stop.cancel();
    if let Err(failure) = outcome {
        statement.fail(failure);
    }
}

async fn run(inner: &Arc<Inner>, statement: &Arc<Statement>) -> Result<(), Failure> {
    let request = &statement.request;
    if let Some(id) = request.request_id
        && let Some(done) = writes::committed_before(inner, id).await?
    {
        statement.advance(Phase::Planned);
        return deliver(inner, statement, Rows::Ready(status_row(done)?)).await;
    }
    let session = match request.session {
        Some(id) => Some(inner.sessions.enter(id).await?),
        None => None,
    };
    let (database, schema) = match &session {
        Some(session) => session.names_for(request),
        None => (request.database.clone(), request.schema.clone()),
    };
    let settings = session.as_ref().map_or_else(|| request.settings.clone(), |session| session.settings_for(request));
    let start = std::time::Instant::now();
    let planned = inner.planner.plan(PlanRequest {
        sql: request.sql.clone(),
        database,
        schema,
        settings,
        lakes: session.as_ref().and_then(|session| session.lakes()),
        slots: inner.runner.registry.slots(),
        executors: inner.runner.registry.executors(),
    });
    let planned = planned.await;
    tracing::debug!(statement = %statement.id, elapsed = ?start.elapsed(), "planned");
    if let Some(session) = &session
        && !matches!(planned, Ok(Planned::Session(SessionChange::Rollback)))
    {
        session.check_kept()?;
    }
    let planned = planned?;
    statement.advance(Phase::Planned);
    let scope = |session: Option<SessionGuard>| match session {
        Some(session) if session.is_open() => Scope::Transaction(session),
        _ => Scope::Statement,
    };
    let query = match planned {
        Planned::Done(text) => return deliver(inner, statement, Rows::Ready(status_row(text)?)).await,
        Planned::Explain { query, logical, physical } => {
            let rows = explain_plan(inner, &query, logical, physical)?;
            return deliver(inner, statement, Rows::Ready(explain_rows(rows)?)).await;
        }
        Planned::Analyze { query, verbose } => {
            drop(session);
            let _permit = inner.admission.admit(|| statement.advance(Phase::Queued)).await?;
            statement.advance(Phase::Running);
            let rows = explain_analyze(inner, statement, &query, verbose).await?;
            return deliver(inner, statement, Rows::Ready(explain_rows(rows)?)).await;
        }
        Planned::Change(change) => {
            let done = scope(session).change(inner, statement, change).await?;
            return deliver(inner, statement, Rows::Ready(status_row(done)?)).await;
        }
        Planned::Session(change) => {
            let done = transactions::change_session(inner, statement, session, change).await?;
            return deliver(inner, statement, Rows::Ready(status_row(done)?)).await;
        }
        Planned::Stage(action) => {
            drop(session);
            let _committing = statement.committing();
            let rows = action.perform().await?;
            return deliver(inner, statement, Rows::Ready(rows)).await;
        }
        Planned::Load { query, written, load } => {
            let _permit = inner.admission.admit(|| statement.advance(Phase::Queued)).await?;
            statement.advance(Phase::Running);
            let options = run_options(statement, false);
            let rows = loads::load(inner, statement, &query, written, load, &options, scope(session)).await?;
            return deliver(inner, statement, Rows::Ready(rows)).await;
        }
        Planned::Unload { query, unload } => {
            drop(session);
            let _permit = inner.admission.admit(|| statement.advance(Phase::Queued)).await?;
            statement.advance(Phase::Running);
            let options = run_options(statement, false);
            let rows = loads::unload(inner, statement, &query, unload, &options).await?;
            return deliver(inner, statement, Rows::Ready(rows)).await;
        }
        Planned::TryLoad { query, load } => {
            drop(session);
            let _permit = inner.admission.admit(|| statement.advance(Phase::Queued)).await?;
            statement.advance(Phase::Running);
            let rows = loads::try_load(inner, &query, &load, &run_options(statement, false)).await?;
            return deliver(inner, statement, Rows::Ready(rows)).await;
        }
        Planned::Remove { written, rows } => {
            let counted = writes::remove(statement, written, rows, scope(session)).await?;
            return deliver(inner, statement, Rows::Ready(counted)).await;
        }
        Planned::Write { query, written } => {
            let _permit = inner.admission.admit(|| statement.advance(Phase::Queued)).await?;
            statement.advance(Phase::Running);
            let options = run_options(statement, false);
            let counted = writes::write(inner, statement, &query, written, &options, scope(session)).await?;
            return deliver(inner, statement, Rows::Ready(counted)).await;
        }
        Planned::Query(query) => query,
    };
    // Whoever reads needs what was planned, and nothing more of the session.
    drop(session);
    let _permit = inner.admission.admit(|| statement.advance(Phase::Queued)).await?;
    statement.advance(Phase::Running);
    let running = inner.runner.run(&query, &run_options(statement, false)).await?;
    deliver(inner, statement, Rows::Running(Box::new(running))).await
}

fn run_options(statement: &Arc<Statement>, metrics: bool) -> RunOptions {
    RunOptions {
        statement: statement.id.to_string(),
        deadline: statement.deadline.into_std(),
        stop: statement.stop.clone(),
        metrics,
        observer: statement.clone(),
    }
}

/// Hands the rows to whoever asked for them, in the way they asked for.
async fn deliver(inner: &Arc<Inner>, statement: &Arc<Statement>, rows: Rows) -> Result<(), Failure> {
    let schema = match &rows {
        Rows::Ready(batch) => batch.schema(),
        Rows::Running(running) => running.schema.clone(),
    };
    match statement.request.delivery {
        Delivery::Spooled => {
            let (rows, partitions) = spool(inner, statement.id, &schema, rows).await?;
            statement.finish(ResultInfo { schema, rows, partitions });
        }
        Delivery::Streamed => {
            let rows = stream(statement, &schema, rows).await?;
            statement.finish(ResultInfo { schema, rows, partitions: vec![] });
        }
    }
    Ok(())
}

async fn spool(
    inner: &Arc<Inner>,
    id: StatementId,
    schema: &SchemaRef,
    rows: Rows,
) -> Result<(u64, Vec<ResultPartition>), Failure> {
    let mut writer = inner.results.begin(id, schema.clone());
    match rows {
        Rows::Ready(batch) => writer.push(batch)?,
        Rows::Running(mut running) => {
            while let Some(batch) = running.next().await {
                let batch = batch?;
                // Files are written here: not on the threads that answer everyone.
                writer = blocking(move || {
                    let mut writer = writer;
                    writer.push(batch)?;
                    Ok(writer)
                })
                .await?;
            }
        }
    }
    let partitions = blocking(move || writer.finish()).await?;
    Ok((partitions.iter().map(|partition| partition.rows).sum(), partitions))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::internal(format!("keeping a result: {error}"))))
}

/// Offers the rows to one reader, at its pace. The reader going away cancels the statement.
async fn stream(statement: &Arc<Statement>, schema: &SchemaRef, rows: Rows) -> Result<u64, Failure> {
    let (sender, receiver) = mpsc::channel(STREAM_BATCHES);
    let batches = ReceiverStream::new(receiver).boxed();
    let info = ResultInfo { schema: schema.clone(), rows: 0, partitions: vec![] };
    statement.offer(info, ResultStream { schema: schema.clone(), batches });
    let gone = || Failure::new(ErrorCode::Cancelled, "the reader of the rows is gone");
    let mut count = 0;
    match rows {
        Rows::Ready(batch) => {
            count = batch.num_rows() as u64;
            sender.send(Ok(batch)).await.map_err(|_| gone())?;
        }
        Rows::Running(mut running) => loop {
            let next = tokio::select! {
                next = running.next() => next,
                () = sender.closed() => return Err(gone()),
                () = statement.stop.cancelled() => Some(Err(statement.stop_cause())),
                () = tokio::time::sleep_until(statement.deadline) => {
                    Some(Err(Failure::new(ErrorCode::Timeout, "the statement's time limit has passed")))
                }
            };
            match next {
                None => break,
                Some(Ok(batch)) => {
                    count += batch.num_rows() as u64;
                    sender.send(Ok(batch)).await.map_err(|_| gone())?;
                }
                Some(Err(failure)) => {
                    // The reader must not take what it has for the whole.
                    let _ = sender.send(Err(failure.clone())).await;
                    return Err(failure);
                }
            }
        },
    }
    Ok(count)
}

fn explain_plan(
    inner: &Inner,
    query: &PlannedQuery,
    logical: String,
    physical: Option<String>,
) -> Result<explain::Rows, Failure> {
    if !needs_executors(&query.plan) {
        return Ok(explain::plan(logical, physical, query, None));
    }
    let mut executors = inner.runner.registry.usable();
    executors.truncate(query.partitions.max(1));
    // Without executors: as it would be on one.
    let names: Vec<String> = executors.iter().map(|executor| executor.id.0.clone()).collect();
    let slots: Vec<u32> = executors.iter().map(|executor| executor.slots).collect();
    let (names, slots) = if names.is_empty() { (vec!["(none)".to_owned()], vec![1]) } else { (names, slots) };
    let graph = cut_for(query, names.len())?;
    let placement = Placement::new(&graph, &slots);
    Ok(explain::plan(logical, physical, query, Some((&graph, &placement, &names))))
}

async fn explain_analyze(
    inner: &Arc<Inner>,
    statement: &Arc<Statement>,
    query: &PlannedQuery,
    verbose: bool,
) -> Result<explain::Rows, Failure> {
    let start = std::time::Instant::now();
    let mut running = inner.runner.run(query, &run_options(statement, true)).await?;
    let mut rows = 0;
    while let Some(batch) = running.next().await {
        rows += batch?.num_rows() as u64;
    }
    let report = running.report().await;
    let mut shown = explain::analysis(query, &report, rows, start.elapsed().as_secs_f64() * 1e3);
    if verbose {
        shown.extend(explain::tasks(&report));
    }
    Ok(shown)
}

fn explain_rows(rows: explain::Rows) -> Result<RecordBatch, Failure> {
    let fields = ["plan_type", "plan"].map(|name| Field::new(name, DataType::Utf8, false));
    let (names, texts): (Vec<String>, Vec<String>) = rows.into_iter().unzip();
    let columns = vec![Arc::new(StringArray::from(names)) as _, Arc::new(StringArray::from(texts)) as _];
    RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns)
        .map_err(|error| Failure::internal(error.to_string()))
}

fn status_row(text: String) -> Result<RecordBatch, Failure> {
    let schema = Arc::new(Schema::new(vec![Field::new("status", DataType::Utf8, false)]));
    RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(vec![text]))])
        .map_err(|error| Failure::internal(error.to_string()))
}
