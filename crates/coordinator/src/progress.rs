//! What the tasks of a statement have done so far: counts for those who wait, stages and tasks for its history.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use frazil_engine::metrics::Scanned;
use frazil_exchange::ExchangeKind;
use frazil_proto::v1;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::placement::Placement;
use crate::query::RunStart;
use crate::stage_graph::StageGraph;
use crate::statement::{Progress, Stats};

/// Stages and tasks that are noted one by one, of a statement; those beyond are counted and no more.
const NOTED_MAX: usize = 256;

/// A stage of one run of a statement.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StageRecord {
    /// The statement's runs in their order, from 0: one for each scalar subquery, and one more for each try.
    pub run: u32,
    pub stage: u32,
    /// What it writes: `hash`, `gather`, `merge` or `broadcast`.
    pub exchange: String,
    pub spread: bool,
    pub partitions: u32,
    pub tasks: u32,
}

/// A task: one stage's partitions on one executor.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TaskRecord {
    pub run: u32,
    pub stage: u32,
    pub executor: String,
    pub partitions: u32,
    pub splits: u32,
    /// What it reported when it had finished.
    pub done: Option<TaskDone>,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct TaskDone {
    pub rows_out: u64,
    pub bytes_scanned: u64,
    pub bytes_exchanged: u64,
    pub elapsed_ms: f64,
}

/// Of one statement, over all its runs.
#[derive(Default)]
pub struct StatementProgress {
    retries: AtomicU32,
    rows: AtomicU64,
    bytes: AtomicU64,
    scanned_rows: AtomicU64,
    scanned_bytes: AtomicU64,
    exchanged_bytes: AtomicU64,
    written_rows: AtomicU64,
    written_bytes: AtomicU64,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    /// Of each run, as they were begun.
    runs: Vec<RunCounts>,
    /// Runs whose reports have not all come.
    open: u32,
    stages: Vec<StageRecord>,
    tasks: Vec<TaskRecord>,
}

#[derive(Clone, Copy, Default)]
struct RunCounts {
    stages: u32,
    tasks: u32,
    tasks_finished: u32,
    splits: u32,
    splits_finished: u32,
    /// It is done again: what it was to do is counted there.
    is_repeated: bool,
}

impl StatementProgress {
    /// Rows that the statement has handed on, to its reader or to its kept result.
    pub fn add_rows(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn progress(&self) -> Progress {
        let mut progress = Progress { retries: self.retries.load(Ordering::Relaxed), ..Progress::default() };
        for run in self.noted.lock().runs.iter().filter(|run| !run.is_repeated) {
            progress.stages += run.stages;
            progress.tasks += run.tasks;
            progress.tasks_finished += run.tasks_finished;
            progress.splits += run.splits;
            progress.splits_finished += run.splits_finished;
        }
        progress
    }

    pub fn stats(&self) -> Stats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Stats {
            rows_produced: read(&self.rows),
            bytes_produced: read(&self.bytes),
            rows_scanned: read(&self.scanned_rows),
            bytes_scanned: read(&self.scanned_bytes),
            bytes_exchanged: read(&self.exchanged_bytes),
            rows_written: read(&self.written_rows),
            bytes_written: read(&self.written_bytes),
        }
    }

    /// Whether no run of it will report any more.
    pub fn has_settled(&self) -> bool {
        self.noted.lock().open == 0
    }

    pub fn noted(&self) -> (Vec<StageRecord>, Vec<TaskRecord>) {
        let noted = self.noted.lock();
        (noted.stages.clone(), noted.tasks.clone())
    }

    pub fn started(&self, run: &RunStart<'_>) -> u32 {
        let RunStart { graph, placement, executors, splits } = run;
        let mut noted = self.noted.lock();
        let number = noted.runs.len() as u32;
        noted.runs.push(RunCounts {
            stages: graph.stages.len() as u32,
            tasks: placement.tasks.len() as u32,
            splits: splits.iter().sum(),
            ..RunCounts::default()
        });
        noted.open += 1;
        let room = NOTED_MAX.saturating_sub(noted.stages.len());
        noted.stages.extend(stage_records(graph, placement, number).take(room));
        let room = NOTED_MAX.saturating_sub(noted.tasks.len());
        let tasks = placement.tasks.iter().zip(splits.iter()).take(room).map(|(task, splits)| TaskRecord {
            run: number,
            stage: task.stage,
            executor: executors.get(task.executor).cloned().unwrap_or_default(),
            partitions: task.partitions.len() as u32,
            splits: *splits,
            done: None,
        });
        noted.tasks.extend(tasks);
        number
    }

    pub fn scanned(&self, run: u32, more: Scanned) {
        self.scanned_rows.fetch_add(more.rows, Ordering::Relaxed);
        self.scanned_bytes.fetch_add(more.bytes, Ordering::Relaxed);
        if let Some(run) = self.noted.lock().runs.get_mut(run as usize) {
            run.splits_finished += more.splits as u32;
        }
    }

    pub fn task_finished(&self, run: u32, executor: &str, report: &v1::TaskFinished) {
        self.exchanged_bytes.fetch_add(report.exchanged_bytes, Ordering::Relaxed);
        let mut noted = self.noted.lock();
        if let Some(run) = noted.runs.get_mut(run as usize) {
            run.tasks_finished += 1;
        }
        let task = noted.tasks.iter_mut().find(|task| {
            task.run == run && task.stage == report.stage && task.executor == executor && task.done.is_none()
        });
        if let Some(task) = task {
            task.done = Some(TaskDone {
                rows_out: report.rows_out,
                bytes_scanned: report.scanned_bytes,
                bytes_exchanged: report.exchanged_bytes,
                elapsed_ms: report.elapsed_ns as f64 / 1e6,
            });
        }
    }

    pub fn wrote(&self, report: &v1::TasksWrote) {
        self.written_rows.fetch_add(report.rows, Ordering::Relaxed);
        self.written_bytes.fetch_add(report.bytes, Ordering::Relaxed);
    }

    pub fn runs(&self) -> u32 {
        self.noted.lock().runs.len() as u32
    }

    pub fn retried(&self, from: u32) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.noted.lock().runs.iter_mut().skip(from as usize).for_each(|run| run.is_repeated = true);
    }

    pub fn run_ended(&self) {
        let mut noted = self.noted.lock();
        noted.open = noted.open.saturating_sub(1);
    }
}

fn stage_records<'a>(
    graph: &'a StageGraph,
    placement: &'a Placement,
    run: u32,
) -> impl Iterator<Item = StageRecord> + 'a {
    graph.stages.iter().map(move |stage| StageRecord {
        run,
        stage: stage.id,
        exchange: match stage.kind {
            ExchangeKind::Hash => "hash",
            ExchangeKind::Gather => "gather",
            ExchangeKind::Merge => "merge",
            ExchangeKind::Broadcast => "broadcast",
        }
        .to_owned(),
        spread: stage.spread,
        partitions: stage.partitions as u32,
        tasks: placement.of_stage(stage.id).count() as u32,
    })
}
