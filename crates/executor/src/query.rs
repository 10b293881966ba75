//! The tasks that this executor runs for one query, from their messages to their reports.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::execution::TaskContext;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use frazil_common::{ErrorCode, Failure, QueryId};
use frazil_engine::codec::{self, ExchangeShape, TaskInputs};
use frazil_engine::errors::{panic_message, to_failure};
use frazil_engine::secrets::{self, SecretRecord, Secrets};
use frazil_engine::{metrics, session};
use frazil_exchange::output::OutputTarget;
use frazil_exchange::{ExchangeInput, ExchangeKind, ExchangeOutput, Token};
use frazil_proto::v1;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tonic::Status;

use crate::executor::Shared;

/// Between two reports of what has been scanned and written, at least.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// Scans of very many files count in very many places: adding up takes no more than this part of the time, and not of the I/O
/// runtime's.
const REPORT_SHARE: u32 = 100;

/// A stage's plan with this task's splits and exchanges in it.
struct Task {
    stage: u32,
    plan: Arc<dyn ExecutionPlan>,
    inputs: Vec<(u32, Arc<ExchangeInput>)>,
    /// The stage's numbers of the plan's partitions.
    partitions: Vec<u32>,
    output: v1::ExchangeOutput,
    hash: Option<Vec<Arc<dyn PhysicalExpr>>>,
}

/// What the coordinator hears of a query while it runs.
#[derive(Clone)]
pub struct Reporter(pub mpsc::Sender<Result<v1::TaskEvent, Status>>);

impl Reporter {
    pub async fn send(&self, event: v1::task_event::Event) {
        // Fails when the coordinator is gone, which ends the query anyway.
        let _ = self.0.send(Ok(v1::TaskEvent { event: Some(event) })).await;
    }
}

/// Runs all tasks of a request. Dropping the future aborts them. The first failure ends it.
pub async fn run(
    shared: &Arc<Shared>,
    request: v1::RunRequest,
    query: QueryId,
    reporter: &Reporter,
) -> Result<(), (u32, Failure)> {
    let token = <[u8; 16]>::try_from(request.token.as_ref());
    let token = Token::from_bytes(token.map_err(|_| (0, Failure::internal("a query token has 16 bytes")))?);
    let request = Arc::new(request);
    let sent = request.secrets.iter().map(secret).collect::<Result<Vec<_>, _>>().map_err(|failure| (0, failure))?;
    let stores = Arc::new(shared.stores.with_secrets(Secrets::new(sent)));
    let context = session::task_context(&shared.base, stores, &query.to_string(), request.options.clone());
    let context = context.map_err(|failure| (0, failure))?;

    let start = Instant::now();
    let tasks = decode_all(shared, &request, &context).await?;
    tracing::debug!(%query, elapsed = ?start.elapsed(), "decoded");
    let _registered = Registered { shared: shared.clone(), query };
    let inputs = tasks.iter().flat_map(|task| task.inputs.iter().cloned());
    shared.hub.register(query, token, inputs);
    reporter.send(v1::task_event::Event::Started(true)).await;

    let mut running = JoinSet::new();
    let (mut scanned, mut written) = (Scanned::of(&tasks), Written::of(&tasks));
    for task in tasks {
        let run = TaskRun { shared: shared.clone(), request: request.clone(), query, token, context: context.clone() };
        let stage = task.stage;
        running.spawn_on(async move { (stage, run.run(task).await) }, shared.cpu.handle());
    }
    let mut next_report = tokio::time::Instant::now() + REPORT_INTERVAL;
    loop {
        let joined = tokio::select! {
            joined = running.join_next() => joined,
            () = tokio::time::sleep_until(next_report), if scanned.is_wanted() || written.is_wanted() => {
                let mut looking = std::mem::take(&mut scanned);
                let looked = tokio::task::spawn_blocking(move || {
                    let start = Instant::now();
                    let moved = looking.look();
                    (looking, moved, start.elapsed())
                });
                // Nothing more is told by one that has panicked.
                let mut took = Duration::ZERO;
                if let Ok((looking, moved, elapsed)) = looked.await {
                    (scanned, took) = (looking, elapsed);
                    if !moved.tasks.is_empty() {
                        reporter.send(v1::task_event::Event::Scanned(moved)).await;
                    }
                }
                written.report(reporter).await;
                next_report = tokio::time::Instant::now() + REPORT_INTERVAL.max(took * REPORT_SHARE);
                continue;
            }
        };
        match joined {
            Some(Ok((_, Ok(finished)))) => {
                scanned.forget(finished.stage);
                written.report(reporter).await;
                reporter.send(v1::task_event::Event::Finished(finished)).await;
            }
            Some(Ok((stage, Err(failure)))) => return Err((stage, failure)),
            Some(Err(error)) => return Err((0, join_failure(error))),
            None => return Ok(()),
        }
    }
}

/// The scans of a query's tasks, and how much of what they have done has been told.
#[derive(Default)]
struct Scanned {
    tasks: Vec<ScanningTask>,
}

struct ScanningTask {
    stage: u32,
    scans: Vec<Arc<dyn ExecutionPlan>>,
    told: metrics::Scanned,
}

impl Scanned {
    fn of(tasks: &[Task]) -> Self {
        let tasks = tasks.iter().map(|task| ScanningTask {
            stage: task.stage,
            scans: metrics::scans(&task.plan),
            told: metrics::Scanned::default(),
        });
        Self { tasks: tasks.filter(|task| !task.scans.is_empty()).collect() }
    }

    fn is_wanted(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// A task that has ended tells its figures with its end.
    fn forget(&mut self, stage: u32) {
        self.tasks.retain(|task| task.stage != stage);
    }

    /// Of the tasks that have moved since the last look.
    fn look(&mut self) -> v1::TasksScanned {
        let moved = self.tasks.iter_mut().filter_map(|task| {
            let now = metrics::scanned(&task.scans);
            let has_moved = std::mem::replace(&mut task.told, now) != now;
            has_moved.then_some(v1::TaskScanned {
                stage: task.stage,
                splits: now.splits,
                rows: now.rows,
                bytes: now.bytes,
            })
        });
        v1::TasksScanned { tasks: moved.collect() }
    }
}

/// What the tasks of a query have written, and how much of it has been told.
struct Written {
    plans: Vec<Arc<dyn ExecutionPlan>>,
    told: (u64, u64),
}

impl Written {
    fn of(tasks: &[Task]) -> Self {
        let plans = tasks.iter().map(|task| task.plan.clone());
        Self { plans: plans.filter(|plan| metrics::written(plan).is_some()).collect(), told: (0, 0) }
    }

    fn is_wanted(&self) -> bool {
        !self.plans.is_empty()
    }

    async fn report(&mut self, reporter: &Reporter) {
        let sums = self.plans.iter().filter_map(metrics::written);
        let (rows, bytes) = sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let wrote = v1::TasksWrote { rows: rows - self.told.0, bytes: bytes - self.told.1 };
        self.told = (rows, bytes);
        if wrote != v1::TasksWrote::default() {
            reporter.send(v1::task_event::Event::Wrote(wrote)).await;
        }
    }
}

fn secret(message: &v1::Secret) -> Result<SecretRecord, Failure> {
    let v1::Secret { id, name, kind, scope, options } = message.clone();
    secrets::record(&id, name, kind, scope, options)
}

/// Takes the query's inputs out of the hub again, however it ends.
struct Registered {
    shared: Arc<Shared>,
    query: QueryId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.hub.remove(self.query);
    }
}

/// Decodes on the CPU runtime: plans are deep, and its threads have the stacks for them.
async fn decode_all(
    shared: &Arc<Shared>,
    request: &Arc<v1::RunRequest>,
    context: &Arc<TaskContext>,
) -> Result<Vec<Task>, (u32, Failure)> {
    let (request, context) = (request.clone(), context.clone());
    let mut decoding = JoinSet::new();
    let decode = async move {
        let decoded = request.tasks.iter().map(|task| decode(task, &context).map_err(|failure| (task.stage, failure)));
        decoded.collect::<Result<Vec<_>, _>>()
    };
    decoding.spawn_on(decode, shared.cpu.handle());
    match decoding.join_next().await {
        Some(Ok(decoded)) => decoded,
        Some(Err(error)) => Err((0, join_failure(error))),
        None => Ok(vec![]),
    }
}

fn decode(task: &v1::Task, context: &TaskContext) -> Result<Task, Failure> {
    let mut inputs = TaskInputs { partitions: task.partitions.clone(), ..TaskInputs::default() };
    for scan in &task.scans {
        let groups = scan.partitions.iter().map(|bytes| codec::decode_splits(bytes));
        inputs.splits.insert(scan.scan, groups.collect::<Result<_, _>>()?);
    }
    for input in &task.inputs {
        let shape = ExchangeShape { partitions: input.partitions.clone(), producers: input.producers };
        inputs.exchanges.insert(input.exchange, shape);
    }
    let decoded = codec::decode_plan(&task.plan, context, inputs)?;
    let have = decoded.plan.properties().output_partitioning().partition_count();
    if have != task.partitions.len() {
        let want = task.partitions.len();
        return Err(Failure::internal(format!("stage {} has {have} partitions here, not {want}", task.stage)));
    }
    let output = task.output.clone().ok_or_else(|| Failure::internal("a task without an output"))?;
    let hash = match output.hash.is_empty() {
        true => None,
        false => match codec::decode_partitioning(&output.hash, &decoded.plan.schema(), context)? {
            Partitioning::Hash(expressions, _) => Some(expressions),
            other => return Err(Failure::internal(format!("an exchange by {other}"))),
        },
    };
    let partitions = task.partitions.clone();
    Ok(Task { stage: task.stage, plan: decoded.plan, inputs: decoded.inputs, partitions, output, hash })
}

struct TaskRun {
    shared: Arc<Shared>,
    request: Arc<v1::RunRequest>,
    query: QueryId,
    token: Token,
    context: Arc<TaskContext>,
}

impl TaskRun {
    async fn run(self, task: Task) -> Result<v1::TaskFinished, Failure> {
        let _counted = self.shared.count_task();
        let start = Instant::now();
        let output = Arc::new(self.connect(&task).await?);
        let written = self.write_partitions(&task, &output).await;
        // Producers need not fill what nobody will read: a limit may have been reached.
        task.inputs.iter().for_each(|(_, input)| input.close_all());
        let finished = match written {
            Ok(()) => output.finish().await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = finished {
            output.fail(&failure).await;
            return Err(failure);
        }
        tracing::debug!(query = %self.query, stage = task.stage, rows = output.rows(), elapsed = ?start.elapsed(), "task finished");
        frazil_common::failpoint::reach("task.finished");
        let scanned = metrics::scanned(&metrics::scans(&task.plan));
        let operators = if self.request.metrics { operators(&task.plan) } else { vec![] };
        Ok(v1::TaskFinished {
            stage: task.stage,
            operators,
            rows_out: output.rows(),
            exchanged_bytes: output.remote_bytes(),
            elapsed_ns: start.elapsed().as_nanos() as u64,
            scanned_bytes: scanned.bytes,
            scanned_rows: scanned.rows,
        })
    }

    async fn connect(&self, task: &Task) -> Result<ExchangeOutput, Failure> {
        let address = |peer: &u32| {
            let peer = self.request.peers.get(*peer as usize);
            peer.map(|peer| peer.data_address.as_str()).ok_or_else(|| Failure::internal("a peer that is not listed"))
        };
        let target = OutputTarget {
            query: self.query,
            token: self.token,
            exchange: task.output.exchange,
            kind: exchange_kind(task.output.kind())?,
            owners: task.output.owners.iter().map(address).collect::<Result<_, _>>()?,
            schema: task.plan.schema(),
            batch_rows: self.context.session_config().batch_size(),
        };
        ExchangeOutput::connect(target, &self.shared.hub, &self.shared.io).await
    }

    async fn write_partitions(&self, task: &Task, output: &Arc<ExchangeOutput>) -> Result<(), Failure> {
        let mut writing = JoinSet::new();
        for (local, number) in task.partitions.iter().copied().enumerate() {
            let (plan, context) = (task.plan.clone(), self.context.clone());
            let (output, hash) = (output.clone(), task.hash.clone());
            writing.spawn(async move {
                let stream = plan.execute(local, context)?;
                output.write(number, stream, hash.as_deref()).await
            });
        }
        while let Some(joined) = writing.join_next().await {
            joined.map_err(join_failure)?.map_err(|error| to_failure(&error))?;
        }
        Ok(())
    }
}

fn exchange_kind(kind: v1::ExchangeKind) -> Result<ExchangeKind, Failure> {
    match kind {
        v1::ExchangeKind::Hash => Ok(ExchangeKind::Hash),
        v1::ExchangeKind::Gather => Ok(ExchangeKind::Gather),
        v1::ExchangeKind::Merge => Ok(ExchangeKind::Merge),
        v1::ExchangeKind::Broadcast => Ok(ExchangeKind::Broadcast),
        v1::ExchangeKind::Unspecified => Err(Failure::internal("an exchange of no kind")),
    }
}

fn operators(plan: &Arc<dyn ExecutionPlan>) -> Vec<v1::OperatorMetrics> {
    let nodes = metrics::collect(plan).into_iter().enumerate().map(|(node, sums)| {
        let metrics = sums.into_iter().map(|(name, value)| v1::Metric { name, value });
        v1::OperatorMetrics { node: node as u32, metrics: metrics.collect() }
    });
    nodes.filter(|node| !node.metrics.is_empty()).collect()
}

/// A panic in an operator fails its query, and nothing else.
fn join_failure(error: JoinError) -> Failure {
    match error.try_into_panic() {
        Ok(panic) => Failure::internal(format!("an operator panicked: {}", panic_message(&*panic))),
        Err(_) => Failure::new(ErrorCode::Cancelled, "the task was stopped"),
    }
}

/// Queries that run now, each with what stops it.
pub type RunningQueries = HashMap<QueryId, tokio_util::sync::CancellationToken>;
