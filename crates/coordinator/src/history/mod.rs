//! What there was: statements that have ended, kept across restarts, bounded by age and bytes.
//!
//! Statements hand their [`StatementRecord`] over when they end and never wait for it: a thread of its own writes them behind.
//! What comes faster than that thread can write is left out, and counted.

mod filter;
mod log;
mod record;
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use frazil_common::{Failure, StatementId};
use parking_lot::Mutex;

pub use filter::Filter;
use log::Log;
pub use record::{StatementRecord, beginning, written};
pub use tables::SystemView;

/// Records that wait to be written.
const WAITING_MAX: usize = 16_384;
/// Records that are written at once.
const BATCH_MAX: usize = 1024;
/// From the first record to the write.
const GATHERING: Duration = Duration::from_millis(10);
/// How often what is too old is looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What an operator can bound.
#[derive(Clone, Debug)]
pub struct HistoryLimits {
    /// Records that are older are removed.
    pub kept: Duration,
    /// Of all records, as JSON: in memory, and once more on disk.
    pub bytes_max: u64,
}

pub struct History {
    limits: HistoryLimits,
    kept: Arc<Mutex<Kept>>,
    sender: Mutex<Option<SyncSender<StatementRecord>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// By id, and so in the order of submission.
#[derive(Default)]
struct Kept {
    records: BTreeMap<StatementId, (Arc<StatementRecord>, usize)>,
    bytes: u64,
}

impl Kept {
    /// The last word on a statement is that of its end.
    fn put(&mut self, record: StatementRecord, bytes: usize) {
        let known = self.records.get(&record.id);
        if !record.phase.is_terminal() && known.is_some_and(|(known, _)| known.phase.is_terminal()) {
            return;
        }
        self.bytes += bytes as u64;
        if let Some((_, before)) = self.records.insert(record.id, (Arc::new(record), bytes)) {
            self.bytes -= before as u64;
        }
    }

    fn remove_old(&mut self, limits: &HistoryLimits, now_ms: u64) {
        let oldest_ms = now_ms.saturating_sub(limits.kept.as_millis() as u64);
        while let Some(entry) = self.records.first_entry() {
            if self.bytes <= limits.bytes_max && entry.get().0.created_ms >= oldest_ms {
                return;
            }
            self.bytes -= entry.remove().1 as u64;
        }
    }
}

impl History {
    /// Reads what there is in the directory, and writes there from now on. Where another process does, what is new is kept in
    /// memory only.
    pub fn open(directory: &Path, limits: HistoryLimits) -> Result<Arc<Self>, Failure> {
        let mut kept = Kept::default();
        let now_ms = milliseconds(SystemTime::now());
        let mut read = |record: StatementRecord, bytes| {
            kept.put(record, bytes);
            kept.remove_old(&limits, now_ms);
        };
        let opened = match limits.bytes_max {
            0 => None,
            bytes => Log::open(directory, bytes, limits.kept, &mut read)
                .map_err(|error| Failure::internal(format!("history in {}: {error}", directory.display())))?,
        };
        if opened.is_none() && limits.bytes_max > 0 {
            tracing::info!(directory = %directory.display(), "another process keeps the history: ours ends with us");
        }
        let open = kept.records.values().filter(|(record, _)| !record.phase.is_terminal());
        let open: Vec<_> = open.map(|(record, bytes)| (record.as_ref().clone().interrupted(now_ms), *bytes)).collect();
        open.iter().for_each(|(record, bytes)| kept.put(record.clone(), *bytes));
        let kept = Arc::new(Mutex::new(kept));
        let (sender, receiver) = mpsc::sync_channel(WAITING_MAX);
        let writer = Writer { limits: limits.clone(), kept: kept.clone(), log: opened, trouble: Trouble::default() };
        let thread = std::thread::Builder::new().name("history".to_owned()).spawn(move || writer.run(&receiver));
        let thread = thread.map_err(|error| Failure::internal(format!("a thread for the history: {error}")))?;
        let history = Self { limits, kept, sender: Mutex::new(Some(sender)), writer: Mutex::new(Some(thread)) };
        open.into_iter().for_each(|(record, _)| history.put(record));
        Ok(Arc::new(history))
    }

    /// One that keeps nothing.
    pub fn none() -> Arc<Self> {
        let limits = HistoryLimits { kept: Duration::ZERO, bytes_max: 0 };
        Arc::new(Self { limits, kept: Arc::default(), sender: Mutex::default(), writer: Mutex::default() })
    }

    /// Keeps a record, or replaces the one that there is of the statement. Never waits.
    pub fn put(&self, record: StatementRecord) {
        if self.limits.bytes_max == 0 {
            return;
        }
        let Some(sender) = self.sender.lock().clone() else { return };
        if let Err(TrySendError::Full(_)) = sender.try_send(record) {
            tracing::debug!("the history is behind: a statement is left out");
        }
    }

    pub fn get(&self, id: StatementId) -> Option<Arc<StatementRecord>> {
        self.kept.lock().records.get(&id).map(|(record, _)| record.clone())
    }

    /// Newest first.
    pub fn all(&self) -> Vec<Arc<StatementRecord>> {
        self.kept.lock().records.values().rev().map(|(record, _)| record.clone()).collect()
    }

    /// Writes what waits, and ends; what comes afterwards is lost. Blocks.
    pub fn close(&self) {
        drop(self.sender.lock().take());
        if let Some(writer) = self.writer.lock().take() {
            let _ = writer.join();
        }
    }
}

struct Writer {
    limits: HistoryLimits,
    kept: Arc<Mutex<Kept>>,
    log: Option<Log>,
    trouble: Trouble,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<StatementRecord>) {
        loop {
            match receiver.recv_timeout(LOOK_INTERVAL) {
                Ok(first) => {
                    // Others follow at once where there are many: waking up for each would cost them more than it is worth.
                    std::thread::sleep(GATHERING);
                    let more = std::iter::from_fn(|| receiver.try_recv().ok());
                    self.write(std::iter::once(first).chain(more).take(BATCH_MAX));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = SystemTime::now();
                    self.kept.lock().remove_old(&self.limits, milliseconds(now));
                    self.log.iter_mut().for_each(|log| log.remove_old(now));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.log.iter().for_each(Log::sync);
                    return;
                }
            }
        }
    }

    fn write(&mut self, records: impl Iterator<Item = StatementRecord>) {
        let (mut lines, mut written) = (Vec::new(), Vec::new());
        for record in records {
            let start = lines.len();
            if serde_json::to_writer(&mut lines, &record).is_err() {
                lines.truncate(start);
                continue;
            }
            lines.push(b'\n');
            written.push((record, lines.len() - start));
        }
        if let Some(log) = &mut self.log
            && let Err(error) = log.append(&lines)
        {
            self.trouble.tell(&error);
        }
        let now_ms = milliseconds(SystemTime::now());
        let mut kept = self.kept.lock();
        written.into_iter().for_each(|(record, bytes)| kept.put(record, bytes));
        kept.remove_old(&self.limits, now_ms);
    }
}

/// A full disk would otherwise be told of with every statement.
#[derive(Default)]
struct Trouble(Option<SystemTime>);

impl Trouble {
    fn tell(&mut self, error: &std::io::Error) {
        let now = SystemTime::now();
        let is_new = self.0.is_none_or(|last| now.duration_since(last).is_ok_and(|age| age > Duration::from_secs(60)));
        if is_new {
            tracing::warn!(%error, "the history cannot be written: it is kept in memory only");
            self.0 = Some(now);
        }
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Where a coordinator keeps its history, unless it is told otherwise.
pub fn directory(data: &Path, given: Option<&str>) -> PathBuf {
    given.map_or_else(|| data.join("history"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::statement::Phase;

    fn record(text: &str, phase: Phase) -> StatementRecord {
        StatementRecord {
            id: StatementId::mint(),
            user: "u".to_owned(),
            role: "r".to_owned(),
            sql: text.to_owned(),
            database: None,
            schema: None,
            query_tag: None,
            phase,
            created_ms: milliseconds(SystemTime::now()),
            planned_ms: None,
            started_ms: None,
            ended_ms: None,
            failure: None,
            rows: Some(1),
            progress: Default::default(),
            stats: Default::default(),
            stages: vec![],
            tasks: vec![],
            parts: vec![],
            answer: None,
        }
    }

    fn limits(bytes_max: u64) -> HistoryLimits {
        HistoryLimits { kept: Duration::from_secs(3600), bytes_max }
    }

    #[test]
    fn records_outlive_their_process_and_open_ones_are_told_as_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let (ended, open) = (record("select 1", Phase::Finished), record("select 2", Phase::Running));
        let history = History::open(directory.path(), limits(1 << 20)).unwrap();
        history.put(StatementRecord { phase: Phase::Running, ..ended.clone() });
        history.put(open.clone());
        history.put(ended.clone());
        // Another one meanwhile has none of the files.
        let other = History::open(directory.path(), limits(1 << 20)).unwrap();
        assert!(other.all().is_empty());
        other.close();
        history.close();
        drop(history);
        // As a crash leaves it.
        let newest = std::fs::read_dir(directory.path()).unwrap().flatten().map(|entry| entry.path());
        let newest = newest.filter(|path| path.extension().is_some()).max().unwrap();
        std::fs::OpenOptions::new().append(true).open(newest).unwrap().write_all(b"{\"id\":\"0190").unwrap();

        let history = History::open(directory.path(), limits(1 << 20)).unwrap();
        assert_eq!(*history.get(ended.id).unwrap(), ended);
        let failure = history.get(open.id).unwrap().failure.clone().unwrap();
        assert_eq!(failure.code, frazil_common::ErrorCode::Interrupted);
        assert_eq!(history.all().iter().map(|record| record.id).collect::<Vec<_>>(), [open.id, ended.id]);
    }

    #[test]
    fn bytes_are_bounded_in_memory_and_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        let history = History::open(directory.path(), limits(64 << 10)).unwrap();
        let text = "x".repeat(1000);
        for _ in 0..400 {
            history.put(record(&text, Phase::Finished));
        }
        let last = record("the last", Phase::Finished);
        history.put(last.clone());
        history.close();
        let bytes: u64 =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        // A file more than is allowed may be half full.
        assert!(bytes <= (64 << 10) * 3 / 2, "{bytes}");
        assert!(history.all().len() < 64 && history.get(last.id).is_some());
        drop(history);
        let again = History::open(directory.path(), limits(64 << 10)).unwrap();
        assert!(again.get(last.id).is_some());
    }
}
