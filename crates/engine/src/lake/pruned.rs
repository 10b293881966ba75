//! What the catalog's statistics have left out of a statement's scans, before anything was read.

use std::fmt;

use frazil_common::ByteSize;
use parking_lot::Mutex;

/// One scan of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrunedScan {
    /// With database and schema.
    pub table: String,
    pub files: u64,
    /// Those that are read.
    pub files_left: u64,
    /// Compressed, of whole files.
    pub bytes: u64,
    pub bytes_left: u64,
}

/// The scans of a statement, noted while they are planned: an extension of the statement's session.
#[derive(Default, Debug)]
pub struct PrunedScans(Mutex<Vec<PrunedScan>>);

impl PrunedScans {
    pub(super) fn add(&self, scan: PrunedScan) {
        self.0.lock().push(scan);
    }

    pub fn take(&self) -> Vec<PrunedScan> {
        std::mem::take(&mut self.0.lock())
    }
}

impl fmt::Display for PrunedScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}: files={} of {}, ", self.table, self.files_left, self.files)?;
        write!(f, "bytes={} of {}", ByteSize(self.bytes_left), ByteSize(self.bytes))
    }
}
