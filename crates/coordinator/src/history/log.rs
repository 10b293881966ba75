//! Records on disk: files of JSON lines, the newest written to, the oldest removed.
//!
//! ```text
//! <directory>/statements-000007.ndjson      a line for a statement that runs for longer than a moment,
//!             statements-000008.ndjson      and one when it has ended, which replaces it
//!             lock                          held by the process that writes
//! ```
//!
//! A line that a crash has cut off is left out when the log is read; each process begins a file of its own.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::record::StatementRecord;

/// Files that the bytes are divided among: what is removed at a time is one of them.
const FILES: u64 = 8;
const PREFIX: &str = "statements-";
const SUFFIX: &str = ".ndjson";

pub struct Log {
    directory: PathBuf,
    bytes_max: u64,
    kept: Duration,
    /// Oldest first, without the one that is written.
    closed: Vec<LogFile>,
    number: u64,
    open: File,
    open_bytes: u64,
    _lock: File,
}

struct LogFile {
    path: PathBuf,
    bytes: u64,
    written: SystemTime,
}

impl Log {
    /// Opens the log, and hands every record of it to `read` with its bytes, oldest first. `None`: another process writes it.
    pub fn open(
        directory: &Path,
        bytes_max: u64,
        kept: Duration,
        mut read: impl FnMut(StatementRecord, usize),
    ) -> io::Result<Option<Self>> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(directory.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut closed = Vec::new();
        let mut number = 0;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
            let Some(own) = digits.and_then(|digits| digits.parse::<u64>().ok()) else { continue };
            let metadata = entry.metadata()?;
            number = number.max(own);
            let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            closed.push((own, LogFile { path: entry.path(), bytes: metadata.len(), written }));
        }
        closed.sort_by_key(|(number, _)| *number);
        let closed: Vec<LogFile> = closed.into_iter().map(|(_, file)| file).collect();
        let mut unreadable = 0;
        for file in &closed {
            unreadable += read_file(&file.path, &mut read)?;
        }
        if unreadable > 0 {
            tracing::warn!(lines = unreadable, "the history has lines that cannot be read, and are left out");
        }
        let number = number + 1;
        let open = create(directory, number)?;
        let mut log =
            Self { directory: directory.to_owned(), bytes_max, kept, closed, number, open, open_bytes: 0, _lock: lock };
        log.remove_old(SystemTime::now());
        Ok(Some(log))
    }

    /// Appends whole lines, of which each file takes its share of the bytes.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let share = (self.bytes_max / FILES).max(1);
        let mut rest = lines;
        while !rest.is_empty() {
            if self.open_bytes >= share {
                self.begin_file()?;
            }
            let room = (share - self.open_bytes) as usize;
            let mut end = 0;
            for line in rest.split_inclusive(|byte| *byte == b'\n') {
                if end > 0 && end + line.len() > room {
                    break;
                }
                end += line.len();
            }
            let (now, later) = rest.split_at(end);
            rest = later;
            self.open_bytes += now.len() as u64;
            if let Err(error) = self.open.write_all(now) {
                // So that the next line is not part of a torn one.
                let _ = self.open.write_all(b"\n");
                return Err(error);
            }
        }
        Ok(())
    }

    fn begin_file(&mut self) -> io::Result<()> {
        let number = self.number + 1;
        let path = path_of(&self.directory, self.number);
        let next = create(&self.directory, number)?;
        self.closed.push(LogFile { path, bytes: self.open_bytes, written: SystemTime::now() });
        (self.number, self.open, self.open_bytes) = (number, next, 0);
        self.remove_old(SystemTime::now());
        Ok(())
    }

    /// Removes files of which all is too old, and the oldest of too many bytes.
    pub fn remove_old(&mut self, now: SystemTime) {
        let mut total: u64 = self.closed.iter().map(|file| file.bytes).sum::<u64>() + self.open_bytes;
        let (bytes_max, kept) = (self.bytes_max, self.kept);
        self.closed.retain(|file| {
            let is_old = now.duration_since(file.written).is_ok_and(|age| age > kept);
            if total <= bytes_max && !is_old && file.bytes > 0 {
                return true;
            }
            total -= file.bytes;
            if let Err(error) = fs::remove_file(&file.path) {
                tracing::warn!(path = %file.path.display(), %error, "a file of the history is not removed");
            }
            false
        });
    }

    pub fn sync(&self) {
        let _ = self.open.sync_data();
    }
}

fn path_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{number:06}{SUFFIX}"))
}

fn create(directory: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path_of(directory, number))
}

/// Returns how many lines could not be read.
fn read_file(path: &Path, read: &mut impl FnMut(StatementRecord, usize)) -> io::Result<usize> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut line, mut unreadable) = (Vec::new(), 0);
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(unreadable);
        }
        match serde_json::from_slice(&line) {
            Ok(record) => read(record, line.len()),
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(_) => unreadable += 1,
        }
    }
}
