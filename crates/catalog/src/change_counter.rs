//! Tells without a query whether an SQLite file in WAL mode has had a commit, of this process or another.
//!
//! Readers begin by the header of the "wal-index", the first 48 bytes of the file `…-shm` (<https://www.sqlite.org/walformat.html>,
//! 2.1): every commit changes it, and who begins to read sees what it says. Two equal headers are one state. So a look at
//! it is worth what a transaction would be, for two system calls in place of a trip to a connection's thread: each
//! statement looks at each database.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

const HEADER_BYTES: usize = 48;

/// A state of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State([u8; HEADER_BYTES]);

#[derive(Debug)]
pub(crate) struct ChangeCounter {
    path: PathBuf,
    open: Mutex<Option<File>>,
}

impl ChangeCounter {
    pub(crate) fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-shm");
        Self { path: path.into(), open: Mutex::default() }
    }

    /// `None` where it cannot be told: ask the database.
    pub(crate) fn state(&self) -> Option<State> {
        let mut open = self.open.lock();
        if let Some(file) = open.as_ref() {
            if let Some(state) = read(file) {
                return Some(state);
            }
            *open = None;
        }
        let file = File::open(&self.path).ok()?;
        let state = read(&file)?;
        *open = Some(file);
        Some(state)
    }
}

fn read(file: &File) -> Option<State> {
    // It is there twice, so that a reader notices when it is just being written.
    let mut both = [0; 2 * HEADER_BYTES];
    file.read_exact_at(&mut both, 0).ok()?;
    let (first, second) = both.split_at(HEADER_BYTES);
    let is_initialised = first[12] != 0;
    if first != second || !is_initialised {
        return None;
    }
    // The file goes when the last connection is closed, and the next one makes another: what was read from a file that was
    // there afterwards was up to date.
    if file.metadata().ok()?.nlink() == 0 {
        return None;
    }
    Some(State(first.try_into().ok()?))
}
