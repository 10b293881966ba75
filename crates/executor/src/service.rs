//! What the coordinator calls on an executor.

use std::sync::Arc;
use std::time::Duration;

use frazil_common::{ErrorCode, Failure, QueryId};
use frazil_engine::memory::count_spill_files;
use frazil_proto::convert::{
    boot_id_from_bytes, boot_id_to_bytes, failure_to_message, failure_to_status, query_id_from_bytes, query_id_to_bytes,
};
use frazil_proto::v1;
use frazil_proto::v1::tasks_server::Tasks;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::executor::Shared;
use crate::query::{self, Reporter};

/// Events that wait for the coordinator to take them: some for each task, and tasks of one query are some dozens.
const EVENTS_MAX: usize = 256;
/// Queries at the same time; the coordinator's admission keeps far below.
const QUERIES_MAX: usize = 1024;

pub struct TaskService {
    pub shared: Arc<Shared>,
}

#[tonic::async_trait]
impl Tasks for TaskService {
    type RunStream = ReceiverStream<Result<v1::TaskEvent, Status>>;

    async fn run(&self, request: Request<v1::RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        let request = request.into_inner();
        let (query, stop) = self.accept(&request).map_err(|failure| failure_to_status(&failure))?;
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(drive(self.shared.clone(), request, query, stop, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Result<Response<v1::CancelResponse>, Status> {
        let query =
            query_id_from_bytes(&request.into_inner().query_id).map_err(|failure| failure_to_status(&failure))?;
        let stop = self.shared.queries.lock().get(&query).cloned();
        if let Some(stop) = &stop {
            stop.cancel();
        }
        Ok(Response::new(v1::CancelResponse { found: stop.is_some() }))
    }

    async fn inspect(&self, _: Request<v1::InspectRequest>) -> Result<Response<v1::InspectResponse>, Status> {
        let shared = &self.shared;
        let running_queries = shared.queries.lock().keys().map(|query| query_id_to_bytes(*query)).collect();
        Ok(Response::new(v1::InspectResponse {
            boot_id: boot_id_to_bytes(shared.boot),
            running_tasks: shared.running_tasks(),
            open_exchanges: shared.hub.open_exchanges() as u32,
            memory_used_bytes: shared.memory_used() as u64,
            spill_files: count_spill_files(&shared.spill_directory),
            draining: shared.is_draining(),
            running_queries,
        }))
    }
}

impl TaskService {
    fn accept(&self, request: &v1::RunRequest) -> Result<(QueryId, CancellationToken), Failure> {
        let refuse = |why: &str| Failure::new(ErrorCode::ExecutorLost, format!("executor {} {why}", self.shared.id));
        if boot_id_from_bytes(&request.boot_id)? != self.shared.boot {
            return Err(refuse("was restarted"));
        }
        let query = query_id_from_bytes(&request.query_id)?;
        // One lock for checks and entry: a drain that begins in between waits for this query.
        let mut queries = self.shared.queries.lock();
        if self.shared.is_draining() {
            return Err(refuse("is draining"));
        }
        if queries.contains_key(&query) {
            return Err(Failure::internal(format!("query {query} runs here already")));
        }
        if queries.len() >= QUERIES_MAX {
            return Err(Failure::new(ErrorCode::TooManyStatements, format!("{QUERIES_MAX} queries run here already")));
        }
        let stop = CancellationToken::new();
        queries.insert(query, stop.clone());
        Ok((query, stop))
    }
}

/// Owns a query's tasks until they end, the coordinator goes away or asks to stop, or the query's time is up.
async fn drive(
    shared: Arc<Shared>,
    request: v1::RunRequest,
    query: QueryId,
    stop: CancellationToken,
    sender: mpsc::Sender<Result<v1::TaskEvent, Status>>,
) {
    let limit = Duration::from_millis(request.time_limit_ms.max(1));
    let reporter = Reporter(sender);
    let outcome = tokio::select! {
        outcome = query::run(&shared, request, query, &reporter) => outcome,
        () = stop.cancelled() => Err((0, Failure::new(ErrorCode::Cancelled, "the query was cancelled"))),
        () = reporter.0.closed() => Err((0, Failure::new(ErrorCode::Cancelled, "the coordinator is gone"))),
        () = tokio::time::sleep(limit) => Err((0, Failure::new(ErrorCode::Timeout, "the query's time is up"))),
    };
    shared.queries.lock().remove(&query);
    shared.idle.notify_waiters();
    if let Err((stage, failure)) = outcome {
        tracing::debug!(%query, stage, %failure, "query ended early");
        let failure = failure.at_stage(stage, &shared.id.0);
        let failed = v1::TaskFailed { stage, failure: Some(failure_to_message(&failure)) };
        reporter.send(v1::task_event::Event::Failed(failed)).await;
    }
}
