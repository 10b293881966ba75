//! One run of a query's tasks as a state machine: events and the time go in, actions come out. No I/O, no clock.
//!
//! ```text
//!            all tasks finished, or the root needs no more
//!  running ────────────────────────────────────────────────▶ done
//!     │ a task failed, an executor was lost, the statement was cancelled
//!     ▼
//!  settling: a lost stream is often the echo of a failure elsewhere, whose report is still under way
//!     │ a cause of its own arrived, or time is up
//!     ▼
//!  failed
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use frazil_common::{ErrorCode, Failure};

/// How long a run waits for the cause after it saw an echo.
pub const SETTLING: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub enum Event {
    /// An executor has wired its tasks.
    Started,
    Finished {
        executor: usize,
        stage: u32,
    },
    Failed {
        executor: usize,
        failure: Failure,
    },
    /// Its event stream broke off, or its heartbeats stopped.
    Lost {
        executor: usize,
        failure: Failure,
    },
    /// The root has all the rows it needs, or failed by itself.
    RootEnded {
        failure: Option<Failure>,
    },
    /// The statement was cancelled or its time is up.
    Stopped {
        failure: Failure,
    },
    /// Time has passed.
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask this executor to stop its tasks of the query.
    Cancel { executor: usize },
    /// Call [`QueryRun::on`] with [`Event::Tick`] then.
    WakeAt(Duration),
    /// The run has ended; nothing follows.
    End(Result<(), Failure>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Settling { failure: Failure, until: Duration },
    Ended,
}

/// Tasks of one query that have not ended, by executor.
#[derive(Clone, Debug)]
pub struct QueryRun {
    open: BTreeMap<usize, Vec<u32>>,
    phase: Phase,
    root_ended: bool,
}

impl QueryRun {
    /// `tasks`: the stages that each executor runs a task of.
    pub fn new(tasks: impl IntoIterator<Item = (usize, Vec<u32>)>) -> Self {
        let open = tasks.into_iter().filter(|(_, stages)| !stages.is_empty()).collect();
        Self { open, phase: Phase::Running, root_ended: false }
    }

    #[cfg(test)]
    fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    pub fn tasks_open(&self) -> usize {
        self.open.values().map(Vec::len).sum()
    }

    /// `now`: time since the run began. Events of executors and tasks that have ended already change nothing.
    pub fn on(&mut self, event: Event, now: Duration) -> Vec<Action> {
        if self.phase == Phase::Ended {
            return vec![];
        }
        match event {
            Event::Started => vec![],
            Event::Finished { executor, stage } => {
                self.finish_task(executor, stage);
                self.end_if_done()
            }
            Event::RootEnded { failure: None } => {
                self.root_ended = true;
                match self.phase {
                    // All rows are there: whatever failed since was not needed.
                    Phase::Settling { .. } | Phase::Running => self.end(Ok(())),
                    Phase::Ended => vec![],
                }
            }
            Event::RootEnded { failure: Some(failure) } => self.fail(failure, now),
            Event::Failed { executor, failure } => {
                let known = self.open.remove(&executor).is_some();
                if known { self.fail(failure, now) } else { vec![] }
            }
            Event::Lost { executor, failure } => {
                let known = self.open.remove(&executor).is_some();
                if known { self.fail(failure, now) } else { vec![] }
            }
            Event::Stopped { failure } => self.end(Err(failure)),
            Event::Tick => match &self.phase {
                Phase::Settling { failure, until } if now >= *until => {
                    let failure = failure.clone();
                    self.end(Err(failure))
                }
                Phase::Settling { until, .. } => vec![Action::WakeAt(*until)],
                _ => vec![],
            },
        }
    }

    fn finish_task(&mut self, executor: usize, stage: u32) {
        if let Some(stages) = self.open.get_mut(&executor) {
            stages.retain(|open| *open != stage);
            if stages.is_empty() {
                self.open.remove(&executor);
            }
        }
    }

    /// Finished tasks alone do not end a run: the root may still be merging their rows.
    fn end_if_done(&mut self) -> Vec<Action> {
        if self.open.is_empty() && self.root_ended { self.end(Ok(())) } else { vec![] }
    }

    fn fail(&mut self, failure: Failure, now: Duration) -> Vec<Action> {
        if !is_echo(&failure) {
            return self.end(Err(failure));
        }
        match &mut self.phase {
            Phase::Running => {
                let until = now + SETTLING;
                self.phase = Phase::Settling { failure, until };
                vec![Action::WakeAt(until)]
            }
            // A lost executor explains cancelled tasks, not the other way round.
            Phase::Settling { failure: first, until } => {
                if first.code == ErrorCode::Cancelled {
                    *first = failure;
                }
                vec![Action::WakeAt(*until)]
            }
            Phase::Ended => vec![],
        }
    }

    fn end(&mut self, outcome: Result<(), Failure>) -> Vec<Action> {
        self.phase = Phase::Ended;
        let open = std::mem::take(&mut self.open);
        let mut actions: Vec<Action> = open.into_keys().map(|executor| Action::Cancel { executor }).collect();
        actions.push(Action::End(outcome));
        actions
    }
}

/// Whether a failure may be the consequence of another one.
pub fn is_echo(failure: &Failure) -> bool {
    matches!(failure.code, ErrorCode::ExecutorLost | ErrorCode::Cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};

    fn lost(text: &str) -> Failure {
        Failure::new(ErrorCode::ExecutorLost, text)
    }

    #[test]
    fn the_cause_wins_over_its_echo() {
        let mut run = QueryRun::new([(0, vec![0, 1]), (1, vec![0])]);
        let actions = run.on(Event::Lost { executor: 1, failure: lost("stream broken") }, Duration::ZERO);
        assert_eq!(actions, vec![Action::WakeAt(SETTLING)]);
        let cause = Failure::new(ErrorCode::FileCorrupt, "file \"a\" is truncated");
        let actions = run.on(Event::Failed { executor: 0, failure: cause.clone() }, Duration::from_millis(20));
        assert_eq!(actions, vec![Action::End(Err(cause))]);
        assert!(run.on(Event::Tick, Duration::from_secs(9)).is_empty());
    }

    #[test]
    fn an_echo_without_a_cause_is_the_cause() {
        let mut run = QueryRun::new([(0, vec![0]), (1, vec![0])]);
        run.on(Event::Lost { executor: 1, failure: lost("gone") }, Duration::ZERO);
        assert_eq!(run.on(Event::Tick, SETTLING / 2), vec![Action::WakeAt(SETTLING)]);
        let actions = run.on(Event::Tick, SETTLING);
        assert_eq!(actions, vec![Action::Cancel { executor: 0 }, Action::End(Err(lost("gone")))]);
    }

    /// Random events in random order, duplicates and events of ended executors among them: a run ends exactly once,
    /// cancels exactly the executors that still had tasks, and succeeds only when the root had its rows.
    #[test]
    fn simulated_runs_end_once() {
        let seed = std::env::var("FRAZIL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(42);
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for round in 0..5_000 {
            let executors = random.random_range(1..5usize);
            let stages = random.random_range(1..6u32);
            let tasks: Vec<(usize, Vec<u32>)> = (0..executors).map(|e| (e, (0..stages).collect())).collect();
            let mut run = QueryRun::new(tasks);
            let (mut now, mut ended, mut root_ok, mut stopped) = (Duration::ZERO, None, false, false);
            let mut gone = vec![false; executors];
            let mut finished = vec![0u32; executors];
            for _ in 0..200 {
                now += Duration::from_millis(random.random_range(0..100));
                let executor = random.random_range(0..executors);
                let kinds = [0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6];
                let event = match kinds.choose(&mut random).expect("not empty") {
                    0 => {
                        let stage = random.random_range(0..stages);
                        finished[executor] |= 1 << stage;
                        Event::Finished { executor, stage }
                    }
                    1 => Event::Tick,
                    2 => Event::Failed { executor, failure: Failure::new(ErrorCode::InvalidData, "bad cast") },
                    3 => Event::Lost { executor, failure: lost("gone") },
                    4 if random.random_bool(0.3) => Event::RootEnded { failure: None },
                    5 if random.random_bool(0.2) => {
                        Event::Stopped { failure: Failure::new(ErrorCode::Cancelled, "user") }
                    }
                    _ => Event::Started,
                };
                root_ok |= matches!(event, Event::RootEnded { .. }) && ended.is_none();
                stopped |= matches!(event, Event::Stopped { .. }) && ended.is_none();
                let removes = matches!(event, Event::Failed { .. } | Event::Lost { .. });
                let actions = run.on(event, now);
                if removes && ended.is_none() {
                    gone[executor] = true;
                }
                for action in &actions {
                    match action {
                        Action::End(outcome) => {
                            assert!(ended.is_none(), "round {round}: ended twice");
                            ended = Some(outcome.clone());
                        }
                        Action::Cancel { executor } => {
                            assert!(!gone[*executor], "round {round}: a lost executor is not cancelled");
                            assert_ne!(finished[*executor], (1 << stages) - 1, "round {round}: it had finished");
                        }
                        // It may be over already when an echo comes late: then the tick follows at once.
                        Action::WakeAt(at) => assert!(*at <= now + SETTLING, "round {round}: it settles too long"),
                    }
                }
                if let Some(Ok(())) = &ended {
                    assert!(root_ok, "round {round}: success without the root's rows");
                }
                if ended.is_some() {
                    assert!(run.has_ended() && run.tasks_open() == 0);
                }
            }
            if stopped || root_ok {
                assert!(ended.is_some(), "round {round}: never ended");
            }
            // Whatever happened, an echo ends the run when its time is up.
            now += SETTLING * 2;
            run.on(Event::Tick, now);
            assert!(run.has_ended() || gone.iter().all(|gone| !gone), "round {round}: an echo was forgotten");
        }
    }
}
