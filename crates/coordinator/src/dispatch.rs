//! Performs what the scheduler decides: sends tasks to executors, listens to their events, cancels.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use frazil_common::{ErrorCode, Failure, QueryId};
use frazil_engine::metrics::Scanned;
use frazil_exchange::{ExchangeInput, Hub};
use frazil_proto::convert::{failure_from_message, failure_from_status, query_id_to_bytes};
use frazil_proto::v1;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::membership::{Change, Participant, Registry};
use crate::query::{Observer, RunReport};
use crate::scheduler::{Action, Event, QueryRun};

/// Events of all executors of a query that wait for the driver.
const EVENTS_MAX: usize = 256;
/// For an executor to accept its tasks.
const ACCEPT_LIMIT: Duration = Duration::from_secs(10);
const CANCEL_LIMIT: Duration = Duration::from_secs(1);
/// For the last reports of a query whose rows are all there, when they are what the client asked for.
const REPORTS_LIMIT: Duration = Duration::from_secs(2);
/// The same when only the statement's figures depend on them. The client does not wait for it.
/// Tasks report after they have given back their memory, which takes a while for gigabytes of hash tables.
const REPORTS_GRACE: Duration = Duration::from_millis(500);

/// A query whose tasks are to be run.
pub struct Dispatched {
    pub query: QueryId,
    pub requests: Vec<(Participant, v1::RunRequest)>,
    pub registry: Arc<Registry>,
    pub hub: Arc<Hub>,
    /// Read by the root; they fail when the tasks do.
    pub inputs: Vec<Arc<ExchangeInput>>,
    pub report: Arc<Mutex<RunReport>>,
    pub observer: Arc<dyn Observer>,
    /// Its number among those of the observer.
    pub run: u32,
    /// How many each task has, by executor and stage.
    pub splits: HashMap<(usize, u32), u32>,
    pub stop: CancellationToken,
    /// Whether the tasks' last reports are wanted, or only their rows.
    pub wait_for_reports: bool,
}

/// Runs until the query has ended one way or another, and leaves nothing behind.
pub async fn drive(dispatched: Dispatched, root_end: oneshot::Receiver<Option<Failure>>) {
    let Dispatched {
        query,
        requests,
        registry,
        hub,
        inputs,
        report,
        observer,
        run: number,
        splits,
        stop,
        wait_for_reports,
    } = dispatched;
    let _ended = EndOfRun(observer.clone());
    let start = Instant::now();
    let tasks = requests
        .iter()
        .enumerate()
        .map(|(executor, (_, request))| (executor, request.tasks.iter().map(|task| task.stage).collect::<Vec<_>>()));
    let mut run = QueryRun::new(tasks);
    let mut changes = registry.changes();
    let participants: Vec<Participant> = requests.iter().map(|(participant, _)| participant.clone()).collect();
    let mut reports = Reports {
        run: number,
        participants: &participants,
        splits,
        told: HashMap::new(),
        report: &report,
        observer: &*observer,
    };
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    // Owned here: when the driver ends, so do the streams, and with them tasks that nobody cancelled.
    let mut streams = JoinSet::new();
    for (executor, (participant, request)) in requests.into_iter().enumerate() {
        if !request.tasks.is_empty() {
            streams.spawn(follow(executor, participant, request, registry.clone(), sender.clone()));
        }
    }
    let mut root_end = Some(root_end);
    let mut wake_at: Option<Duration> = None;
    let mut outcome = None;
    while outcome.is_none() {
        let wake = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(start + at).await,
                None => std::future::pending().await,
            }
        };
        let root = async {
            match &mut root_end {
                Some(end) => end.await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            // The root's end before the stop that follows it at once: a query that has ended was not stopped.
            biased;
            ended = root => {
                root_end = None;
                let failure = ended.unwrap_or_else(|_| Some(Failure::internal("the root was dropped")));
                if failure.is_none() {
                    let limit = if wait_for_reports { REPORTS_LIMIT } else { REPORTS_GRACE };
                    await_reports(limit, &mut run, &mut events, &mut reports).await;
                }
                Event::RootEnded { failure }
            }
            event = events.recv() => match event {
                Some(Heard::Event(event)) => event,
                Some(Heard::Finished { executor, finished }) => {
                    let stage = finished.stage;
                    reports.add(executor, finished);
                    Event::Finished { executor, stage }
                }
                Some(Heard::Scanned { executor, scanned }) => {
                    reports.scanned(executor, &scanned);
                    continue;
                }
                Some(Heard::Wrote(wrote)) => {
                    observer.wrote(&wrote);
                    continue;
                }
                // `sender` lives here.
                None => continue,
            },
            change = changes.recv() => match lost_participant(&registry, &participants, change) {
                Some((executor, failure)) => Event::Lost { executor, failure },
                None => continue,
            },
            () = wake => {
                wake_at = None;
                Event::Tick
            }
            () = stop.cancelled() => {
                Event::Stopped { failure: Failure::new(ErrorCode::Cancelled, "the query was stopped") }
            }
        };
        for action in run.on(event, start.elapsed()) {
            match action {
                Action::WakeAt(at) => wake_at = Some(at),
                Action::Cancel { executor } => {
                    let participant = participants[executor].clone();
                    tokio::spawn(cancel(participant, query));
                }
                Action::End(ended) => outcome = Some(ended),
            }
        }
    }
    if let Some(Err(failure)) = outcome {
        report.lock().failure = Some(failure.clone());
        inputs.iter().for_each(|input| input.fail(&failure));
    }
    hub.remove(query);
}

/// The rows are there; the tasks' figures follow at once, except of tasks that a limit has left without a reader.
async fn await_reports(
    limit: Duration,
    run: &mut QueryRun,
    events: &mut mpsc::Receiver<Heard>,
    reports: &mut Reports<'_>,
) {
    let deadline = Instant::now() + limit;
    while run.tasks_open() > 0 {
        match tokio::time::timeout_at(deadline, events.recv()).await {
            Ok(Some(Heard::Finished { executor, finished })) => {
                let stage = finished.stage;
                reports.add(executor, finished);
                run.on(Event::Finished { executor, stage }, Duration::ZERO);
            }
            Ok(Some(Heard::Scanned { executor, scanned })) => reports.scanned(executor, &scanned),
            Ok(Some(Heard::Wrote(wrote))) => reports.observer.wrote(&wrote),
            Ok(Some(Heard::Event(_))) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

/// Where the ends of tasks are noted, and how far they are before.
struct Reports<'a> {
    run: u32,
    participants: &'a [Participant],
    /// How many each task has, by executor and stage.
    splits: HashMap<(usize, u32), u32>,
    /// What the observer has heard of each task.
    told: HashMap<(usize, u32), Scanned>,
    report: &'a Mutex<RunReport>,
    observer: &'a dyn Observer,
}

impl Reports<'_> {
    fn add(&mut self, executor: usize, finished: v1::TaskFinished) {
        let stage = finished.stage;
        // All of its splits, whichever of them were needed.
        let splits = u64::from(self.splits.get(&(executor, stage)).copied().unwrap_or(0));
        self.tell(executor, stage, Scanned { splits, rows: finished.scanned_rows, bytes: finished.scanned_bytes });
        let name = &self.participants[executor].announced.id.0;
        self.observer.task_finished(self.run, name, &finished);
        self.report.lock().add(executor, finished);
    }

    fn scanned(&mut self, executor: usize, scanned: &v1::TasksScanned) {
        for task in &scanned.tasks {
            // A scan that a plan executes more than once has more ends than splits.
            let splits = self.splits.get(&(executor, task.stage)).map_or(0, |splits| task.splits.min((*splits).into()));
            self.tell(executor, task.stage, Scanned { splits, rows: task.rows, bytes: task.bytes });
        }
    }

    /// Tells what is new. A report that says less than one before changes nothing.
    fn tell(&mut self, executor: usize, stage: u32, now: Scanned) {
        let told = self.told.entry((executor, stage)).or_default();
        let more = Scanned {
            splits: now.splits.saturating_sub(told.splits),
            rows: now.rows.saturating_sub(told.rows),
            bytes: now.bytes.saturating_sub(told.bytes),
        };
        *told =
            Scanned { splits: told.splits + more.splits, rows: told.rows + more.rows, bytes: told.bytes + more.bytes };
        if more != Scanned::default() {
            self.observer.scanned(self.run, more);
        }
    }
}

/// Tells the observer, however the run ends.
struct EndOfRun(Arc<dyn Observer>);

impl Drop for EndOfRun {
    fn drop(&mut self) {
        self.0.run_ended();
    }
}

enum Heard {
    Event(Event),
    Finished { executor: usize, finished: v1::TaskFinished },
    Scanned { executor: usize, scanned: v1::TasksScanned },
    Wrote(v1::TasksWrote),
}

/// Sends an executor its tasks and passes its events on.
async fn follow(
    executor: usize,
    participant: Participant,
    request: v1::RunRequest,
    registry: Arc<Registry>,
    sender: mpsc::Sender<Heard>,
) {
    let name = participant.announced.id.clone();
    // Not said by the executor but by the connection to it: it is gone, or cannot be reached, which is the same.
    let unreachable = |status: &tonic::Status| {
        if status.details().is_empty() && matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled) {
            registry.report_lost(&participant.announced, &format!("cannot be reached: {}", status.message()));
        }
    };
    let lost = |why: String| {
        let failure = Failure::new(ErrorCode::ExecutorLost, format!("executor {name}: {why}"));
        Heard::Event(Event::Lost { executor, failure })
    };
    let failed = |failure: Failure| match failure.code {
        ErrorCode::ExecutorLost => lost(failure.message),
        _ => Heard::Event(Event::Failed { executor, failure }),
    };
    let mut tasks = participant.tasks.clone();
    let accepted = tokio::time::timeout(ACCEPT_LIMIT, tasks.run(request)).await;
    let mut stream = match accepted {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => {
            unreachable(&status);
            let _ = sender.send(failed(failure_from_status(&status))).await;
            return;
        }
        Err(_) => {
            let _ = sender.send(lost(format!("did not take its tasks within {} s", ACCEPT_LIMIT.as_secs()))).await;
            return;
        }
    };
    loop {
        let heard = match stream.message().await {
            Ok(Some(v1::TaskEvent { event: Some(event) })) => match event {
                v1::task_event::Event::Started(_) => Heard::Event(Event::Started),
                v1::task_event::Event::Finished(finished) => Heard::Finished { executor, finished },
                v1::task_event::Event::Scanned(scanned) => Heard::Scanned { executor, scanned },
                v1::task_event::Event::Wrote(wrote) => Heard::Wrote(wrote),
                v1::task_event::Event::Failed(message) => {
                    let failure = message.failure.map(failure_from_message);
                    let failure = failure.unwrap_or_else(|| Failure::internal("a task failed without a reason"));
                    Heard::Event(Event::Failed { executor, failure })
                }
            },
            Ok(Some(_)) => continue,
            // After the last task's end this is news to nobody.
            Ok(None) => lost("ended its event stream".to_owned()),
            Err(status) => {
                unreachable(&status);
                failed(failure_from_status(&status))
            }
        };
        let last = matches!(heard, Heard::Event(Event::Lost { .. } | Event::Failed { .. }));
        if sender.send(heard).await.is_err() || last {
            return;
        }
    }
}

async fn cancel(mut participant: Participant, query: QueryId) {
    let request = v1::CancelRequest { query_id: query_id_to_bytes(query) };
    let _ = tokio::time::timeout(CANCEL_LIMIT, participant.tasks.cancel(request)).await;
}

fn lost_participant(
    registry: &Registry,
    participants: &[Participant],
    change: Result<Change, broadcast::error::RecvError>,
) -> Option<(usize, Failure)> {
    let lost = |index: usize, why: &str| {
        let name = &participants[index].announced.id;
        (index, Failure::new(ErrorCode::ExecutorLost, format!("executor {name} {why}")))
    };
    match change {
        Ok(Change::Lost { boot, why, .. }) => {
            let index = participants.iter().position(|participant| participant.announced.boot == boot)?;
            Some(lost(index, &why))
        }
        Ok(Change::Joined(_)) | Err(broadcast::error::RecvError::Closed) => None,
        Err(broadcast::error::RecvError::Lagged(_)) => {
            let gone = participants.iter().position(|participant| !registry.is_member(&participant.announced))?;
            Some(lost(gone, "is not registered any more"))
        }
    }
}
