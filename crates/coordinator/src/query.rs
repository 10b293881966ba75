//! Runs a planned query: its scalar subqueries first, then its stages on executors and its root here; again, on other
//! executors, when one was lost before any row was handed out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, execute_stream};
use frazil_common::{ErrorCode, Failure, QueryId};
use frazil_engine::errors::{panic_message, to_failure};
use frazil_engine::metrics::{self, NodeMetrics, Scanned};
use frazil_engine::planner::PlannedQuery;
use frazil_engine::runtime::CpuRuntime;
use frazil_engine::secrets::SecretRecord;
use frazil_exchange::{ExchangeInput, ExchangeKind, ExchangeReadExec, Hub, Token};
use frazil_proto::convert::{boot_id_to_bytes, query_id_to_bytes};
use frazil_proto::v1;
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::dispatch::{self, Dispatched};
use crate::membership::{Participant, Registry};
use crate::placement::Placement;
use crate::scheduler::{SETTLING, is_echo};
use crate::stage_graph::{Cut, Stage, StageGraph, Subqueries, cut};

/// Batches between the root's thread and whoever delivers them. Small: each is held in memory.
const ROOT_BATCHES: usize = 2;
/// After the last row, for the executors' last reports; only `EXPLAIN ANALYZE` waits for them.
const REPORTS_LIMIT: Duration = Duration::from_secs(5);

/// What all queries of a coordinator share.
pub struct QueryRunner {
    pub registry: Arc<Registry>,
    pub hub: Arc<Hub>,
    pub cpu: CpuRuntime,
    pub no_executor_limit: Duration,
    pub retries_max: u32,
}

/// What the statement wants of a run.
#[derive(Clone)]
pub struct RunOptions {
    pub statement: String,
    /// When it must have ended.
    pub deadline: Instant,
    /// Ends the run, with the failure in `stop_cause`.
    pub stop: CancellationToken,
    pub metrics: bool,
    pub observer: Arc<dyn Observer>,
}

/// Hears how a query gets on.
pub trait Observer: Send + Sync {
    /// Tasks are being sent. Returns the run's number among those of the observer, which its later events carry.
    fn started(&self, run: &RunStart<'_>) -> u32;
    /// What tasks have scanned since the last such event of the run, while they run or with their ends.
    fn scanned(&self, run: u32, more: Scanned);
    fn task_finished(&self, run: u32, executor: &str, report: &v1::TaskFinished);
    fn wrote(&self, report: &v1::TasksWrote);
    /// How many runs there were.
    fn runs(&self) -> u32;
    /// An executor was lost: what the runs from this number on have done is done again.
    fn retried(&self, from: u32);
    /// No report of this run follows.
    fn run_ended(&self);
}

/// A run, as it begins.
pub struct RunStart<'a> {
    pub graph: &'a StageGraph,
    pub placement: &'a Placement,
    /// Names of the executors, as the placement numbers them.
    pub executors: &'a [String],
    /// How many each of the placement's tasks has.
    pub splits: &'a [u32],
}

/// The rows of a query, while its tasks run. Dropping it cancels them.
pub struct RunningQuery {
    pub schema: SchemaRef,
    rows: mpsc::Receiver<Result<RecordBatch, Failure>>,
    first: Option<Result<RecordBatch, Failure>>,
    report: Arc<Mutex<RunReport>>,
    finished: Option<tokio::sync::oneshot::Receiver<()>>,
    _guard: tokio_util::sync::DropGuard,
}

/// What came of the tasks.
#[derive(Default, Debug, Clone)]
pub struct RunReport {
    pub graph: Option<StageGraph>,
    pub placement: Option<Placement>,
    /// Names of the executors, as the placement numbers them.
    pub executors: Vec<String>,
    pub stages: HashMap<u32, Figures>,
    /// Those of the stages, one by one, in the order in which they ended.
    pub tasks: Vec<TaskReport>,
    pub attempts: u32,
    /// Why the tasks were stopped, when they failed.
    pub failure: Option<Failure>,
}

/// What a task has done, or all tasks of a stage.
#[derive(Default, Debug, Clone)]
pub struct Figures {
    pub rows_out: u64,
    pub exchanged_bytes: u64,
    /// Of a stage: of its slowest task.
    pub elapsed_ns: u64,
    /// Only where they were asked for.
    pub nodes: Vec<NodeMetrics>,
}

#[derive(Debug, Clone)]
pub struct TaskReport {
    pub stage: u32,
    /// Its position among the run's executors.
    pub executor: usize,
    pub scanned_bytes: u64,
    pub figures: Figures,
}

impl RunningQuery {
    pub async fn next(&mut self) -> Option<Result<RecordBatch, Failure>> {
        let next = match self.first.take() {
            Some(first) => Some(first),
            None => self.rows.recv().await,
        };
        match next {
            Some(Err(failure)) => Some(Err(self.cause_of(failure).await)),
            next => next,
        }
    }

    /// What the root saw may be the echo of a failure elsewhere: the scheduler knows which.
    async fn cause_of(&mut self, seen: Failure) -> Failure {
        if !is_echo(&seen) {
            return seen;
        }
        if let Some(finished) = self.finished.take() {
            let _ = tokio::time::timeout(SETTLING * 2, finished).await;
        }
        self.report.lock().failure.clone().unwrap_or(seen)
    }

    /// After the last row: waits for the tasks' reports.
    pub async fn report(&mut self) -> RunReport {
        if let Some(finished) = self.finished.take() {
            let _ = tokio::time::timeout(REPORTS_LIMIT, finished).await;
        }
        self.report.lock().clone()
    }

    /// The report as far as it is known.
    pub fn report_so_far(&self) -> RunReport {
        self.report.lock().clone()
    }
}

impl QueryRunner {
    /// Starts a query and returns when its first batch is there, or its end.
    pub fn run<'a>(
        self: &'a Arc<Self>,
        query: &'a PlannedQuery,
        options: &'a RunOptions,
    ) -> BoxFuture<'a, Result<RunningQuery, Failure>> {
        // Boxed: subqueries run by the same way.
        Box::pin(async move {
            let mut attempt = 0;
            loop {
                let first_run = options.observer.runs();
                let failure = match self.attempt(query, options, attempt).await {
                    Ok(running) => return Ok(running),
                    Err(failure) => failure,
                };
                let again = failure.code == ErrorCode::ExecutorLost
                    && attempt < self.retries_max
                    && !options.stop.is_cancelled()
                    && Instant::now() < options.deadline;
                if !again {
                    return Err(failure);
                }
                attempt += 1;
                tracing::warn!(statement = options.statement, attempt, %failure, "trying again");
                options.observer.retried(first_run);
                tokio::time::sleep(Duration::from_millis(50 * u64::from(attempt))).await;
            }
        })
    }

    async fn attempt(
        self: &Arc<Self>,
        query: &PlannedQuery,
        options: &RunOptions,
        attempt: u32,
    ) -> Result<RunningQuery, Failure> {
        let mut running = if needs_executors(&query.plan) {
            let left = options.deadline.saturating_duration_since(Instant::now());
            let participants = self.registry.participants(self.no_executor_limit.min(left)).await?;
            let participants = choose(participants, query.partitions);
            self.start_spread(query, options, participants, attempt).await?
        } else {
            self.start_here(query, options)
        };
        // The first batch decides whether the query can be tried again.
        match running.next().await {
            Some(Err(failure)) => Err(failure),
            first => {
                running.first = first;
                Ok(running)
            }
        }
    }

    async fn start_spread(
        self: &Arc<Self>,
        query: &PlannedQuery,
        options: &RunOptions,
        participants: Vec<Participant>,
        attempt: u32,
    ) -> Result<RunningQuery, Failure> {
        let graph = cut_for(query, participants.len())?;
        for level in &graph.subqueries {
            self.run_subqueries(level, query, options).await?;
        }
        let slots: Vec<u32> = participants.iter().map(|participant| participant.announced.slots).collect();
        let placement = Placement::new(&graph, &slots);
        let messages = match placement.messages(&graph, participants.len()) {
            Ok(messages) => messages,
            // What cannot be sent and reads no files (information_schema, say) runs here.
            Err(failure) if failure.code == ErrorCode::NotSupported && !reads_files(&query.plan) => {
                return Ok(self.start_here(query, options));
            }
            Err(failure) => return Err(failure),
        };
        let (id, token) = (QueryId::mint(), Token::random());
        let (root, inputs) = bind_root(&graph, &placement, &query.context)?;
        self.hub.register(id, token, inputs.clone());

        let peers = participants.iter().map(|participant| v1::Peer {
            executor_id: participant.announced.id.0.clone(),
            data_address: participant.announced.data_address.clone(),
        });
        let own = v1::Peer { executor_id: String::new(), data_address: self.hub.address().to_owned() };
        let peers: Vec<v1::Peer> = peers.chain([own]).collect();
        let left = options.deadline.saturating_duration_since(Instant::now());
        let travelling = query.options_that_travel();
        let secrets: Vec<v1::Secret> = query.stores.secrets_in_use().iter().map(|secret| to_message(secret)).collect();
        let requests = participants.into_iter().zip(messages).enumerate().map(|(index, (participant, tasks))| {
            let request = v1::RunRequest {
                query_id: query_id_to_bytes(id),
                token: token.as_bytes().to_vec().into(),
                peers: peers.clone(),
                this_peer: index as u32,
                options: travelling.clone(),
                tasks,
                boot_id: boot_id_to_bytes(participant.announced.boot),
                statement_id: options.statement.clone(),
                attempt,
                time_limit_ms: left.as_millis() as u64,
                metrics: options.metrics,
                secrets: secrets.clone(),
            };
            (participant, request)
        });
        let requests: Vec<_> = requests.collect();
        let executors: Vec<String> =
            requests.iter().map(|(participant, _)| participant.announced.id.0.clone()).collect();
        let splits = placement.splits(&graph);
        let start = RunStart { graph: &graph, placement: &placement, executors: &executors, splits: &splits };
        let run = options.observer.started(&start);
        let splits = placement.tasks.iter().zip(splits).map(|(task, splits)| ((task.executor, task.stage), splits));
        let splits = splits.collect();

        let report = Arc::new(Mutex::new(RunReport {
            executors,
            graph: Some(graph),
            placement: Some(placement),
            stages: HashMap::new(),
            tasks: vec![],
            attempts: attempt + 1,
            failure: None,
        }));
        let (root_ended, root_end) = tokio::sync::oneshot::channel();
        let (done, finished) = tokio::sync::oneshot::channel();
        let stop = options.stop.child_token();
        let dispatched = Dispatched {
            query: id,
            requests,
            registry: self.registry.clone(),
            hub: self.hub.clone(),
            inputs: inputs.into_iter().map(|(_, input)| input).collect(),
            report: report.clone(),
            observer: options.observer.clone(),
            run,
            splits,
            stop: stop.clone(),
            wait_for_reports: options.metrics,
        };
        tokio::spawn(async move {
            dispatch::drive(dispatched, root_end).await;
            let _ = done.send(());
        });
        let rows = self.run_root(root, query.context.clone(), stop.clone(), Some(root_ended));
        Ok(RunningQuery {
            schema: query.schema.clone(),
            rows,
            first: None,
            report,
            finished: Some(finished),
            _guard: stop.drop_guard(),
        })
    }

    /// Plans without files (`SELECT 1`, `SHOW TABLES`) run on the coordinator, in its own bounded memory.
    fn start_here(self: &Arc<Self>, query: &PlannedQuery, options: &RunOptions) -> RunningQuery {
        let stop = options.stop.child_token();
        let rows = self.run_root(query.plan.clone(), query.context.clone(), stop.clone(), None);
        RunningQuery {
            schema: query.schema.clone(),
            rows,
            first: None,
            report: Arc::default(),
            finished: None,
            _guard: stop.drop_guard(),
        }
    }

    /// Runs a plan on the CPU runtime; its rows come through a small channel.
    fn run_root(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        stop: CancellationToken,
        ended: Option<tokio::sync::oneshot::Sender<Option<Failure>>>,
    ) -> mpsc::Receiver<Result<RecordBatch, Failure>> {
        let (sender, rows) = mpsc::channel(ROOT_BATCHES);
        let errors = sender.clone();
        let work = async move {
            let mut stream = execute_stream(plan, context).map_err(|error| to_failure(&error))?;
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(|error| to_failure(&error))?;
                if batch.num_rows() > 0 && sender.send(Ok(batch)).await.is_err() {
                    return Err(Failure::new(ErrorCode::Cancelled, "nobody takes the rows"));
                }
            }
            Ok(())
        };
        let running = self.cpu.handle().spawn(async move {
            tokio::select! {
                outcome = work => outcome,
                () = stop.cancelled() => Err(Failure::new(ErrorCode::Cancelled, "the query was stopped")),
            }
        });
        // Watches the root: a panic in it must reach the client, and its end the tasks.
        tokio::spawn(async move {
            let outcome = match running.await {
                Ok(outcome) => outcome,
                Err(error) => Err(match error.try_into_panic() {
                    Ok(panic) => Failure::internal(format!("an operator panicked: {}", panic_message(&*panic))),
                    Err(_) => Failure::new(ErrorCode::Cancelled, "the query was stopped"),
                }),
            };
            if let Some(ended) = ended {
                let _ = ended.send(outcome.clone().err());
            }
            if let Err(failure) = outcome {
                let _ = errors.send(Err(failure)).await;
            }
        });
        rows
    }

    async fn run_subqueries(
        self: &Arc<Self>,
        level: &Subqueries,
        query: &PlannedQuery,
        options: &RunOptions,
    ) -> Result<(), Failure> {
        level.results.clear();
        for link in &level.links {
            let subquery = PlannedQuery { plan: link.plan.clone(), schema: link.plan.schema(), ..query.clone() };
            let mut running = self.run(&subquery, options).await?;
            let mut value = None;
            while let Some(batch) = running.next().await {
                let batch = batch?;
                if batch.num_rows() > 1 || (batch.num_rows() == 1 && value.is_some()) {
                    let message = "a scalar subquery returned more than one row";
                    return Err(Failure::new(ErrorCode::InvalidData, message));
                }
                if batch.num_rows() == 1 {
                    value = Some(ScalarValue::try_from_array(batch.column(0), 0).map_err(|e| to_failure(&e))?);
                }
            }
            let value = match value {
                Some(value) => value,
                None => ScalarValue::try_from(link.plan.schema().field(0).data_type()).map_err(|e| to_failure(&e))?,
            };
            level.results.set(link.index, value).map_err(|error| to_failure(&error))?;
        }
        Ok(())
    }
}

/// Cuts for several executors where that is possible, and not at all where it is not: right either way.
pub fn cut_for(query: &PlannedQuery, executors: usize) -> Result<StageGraph, Failure> {
    if executors > 1 {
        match cut(query.plan.clone(), Cut::Spread) {
            Ok(graph) => return Ok(graph),
            Err(error) => tracing::info!(%error, "the plan is not cut"),
        }
    }
    cut(query.plan.clone(), Cut::Whole).map_err(|error| to_failure(&error))
}

/// As many executors as there are partitions; the least busy ones come first.
pub fn choose(mut participants: Vec<Participant>, partitions: usize) -> Vec<Participant> {
    participants.truncate(partitions.max(1));
    participants
}

/// Plans over files go to executors, and so does what could compute without end.
pub fn needs_executors(plan: &Arc<dyn ExecutionPlan>) -> bool {
    any(plan, |node| {
        is_file_scan(node)
            || matches!(
                node.name(),
                "LazyMemoryExec"
                    | "GenerateExec"
                    | "RecursiveQueryExec"
                    | "CrossJoinExec"
                    | "NestedLoopJoinExec"
                    | "UnloadExec"
                    | "WriteFilesExec"
            )
    })
}

fn reads_files(plan: &Arc<dyn ExecutionPlan>) -> bool {
    any(plan, is_file_scan)
}

fn is_file_scan(node: &Arc<dyn ExecutionPlan>) -> bool {
    use datafusion::datasource::physical_plan::FileScanConfig;
    use datafusion::datasource::source::DataSourceExec;
    node.downcast_ref::<DataSourceExec>()
        .is_some_and(|source| source.data_source().downcast_ref::<FileScanConfig>().is_some())
}

fn any(plan: &Arc<dyn ExecutionPlan>, test: impl Fn(&Arc<dyn ExecutionPlan>) -> bool) -> bool {
    let mut found = false;
    let visited = plan.apply(|node| {
        found |= test(node);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    visited.expect("the visitor never fails");
    found
}

type NamedInputs = Vec<(u32, Arc<ExchangeInput>)>;

/// Opens the exchanges that the root reads.
fn bind_root(
    graph: &StageGraph,
    placement: &Placement,
    context: &TaskContext,
) -> Result<(Arc<dyn ExecutionPlan>, NamedInputs), Failure> {
    let mut inputs = Vec::new();
    let bound = graph.root.clone().transform_up(|node| {
        let Some(read) = node.downcast_ref::<ExchangeReadExec>() else { return Ok(Transformed::no(node)) };
        let stage: &Stage = &graph.stages[read.exchange as usize];
        let partitions = match read.kind {
            ExchangeKind::Merge => (0..node.output_partitioning().partition_count() as u32).collect(),
            _ => vec![0],
        };
        let reservation = MemoryConsumer::new("result exchange").register(context.memory_pool());
        let input = ExchangeInput::new(read.schema(), partitions, placement.producers(stage), Some(reservation));
        inputs.push((read.exchange, input.clone()));
        Ok(Transformed::yes(Arc::new(read.clone().bind(input)) as Arc<dyn ExecutionPlan>))
    });
    let root = bound.data().map_err(|error| to_failure(&error))?;
    Ok((root, inputs))
}

impl RunReport {
    /// A task has ended well; `executor` is the position among those of the run.
    pub fn add(&mut self, executor: usize, finished: v1::TaskFinished) {
        let (id, scanned_bytes) = (finished.stage, finished.scanned_bytes);
        let mut task = Figures {
            rows_out: finished.rows_out,
            exchanged_bytes: finished.exchanged_bytes,
            elapsed_ns: finished.elapsed_ns,
            nodes: vec![],
        };
        for operator in finished.operators {
            let values = operator.metrics.into_iter().map(|metric| (metric.name, metric.value));
            metrics::merge(&mut task.nodes, operator.node as usize, values);
        }
        let stage = self.stages.entry(id).or_default();
        stage.rows_out += task.rows_out;
        stage.exchanged_bytes += task.exchanged_bytes;
        stage.elapsed_ns = stage.elapsed_ns.max(task.elapsed_ns);
        for (node, values) in task.nodes.iter().enumerate() {
            metrics::merge(&mut stage.nodes, node, values.iter().map(|(name, value)| (name.clone(), *value)));
        }
        self.tasks.push(TaskReport { executor, stage: id, scanned_bytes, figures: task });
    }
}

fn to_message(secret: &SecretRecord) -> v1::Secret {
    v1::Secret {
        id: secret.id.as_bytes().to_vec().into(),
        name: secret.name.clone(),
        kind: secret.kind.clone(),
        scope: secret.scope.clone(),
        options: secret.options.clone().into_iter().collect(),
    }
}
