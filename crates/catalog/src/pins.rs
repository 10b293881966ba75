//! Pins: what keeps a snapshot, and so its files, as long as someone in this process looks at it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use crate::database::Database;
use crate::error::Result;
use crate::ids::SnapshotId;
use crate::snapshot::{At, SnapshotView};

#[derive(Default)]
pub(crate) struct Pins {
    counts: BTreeMap<SnapshotId, usize>,
    /// Chosen by an expiry that is not committed yet, so that they can still be read.
    doomed: BTreeSet<SnapshotId>,
    /// Expiries that have been committed.
    expiries: u64,
    /// Since when each pin is held, by its number.
    since: BTreeMap<u64, SystemTime>,
    last_number: u64,
}

impl Pins {
    fn add(&mut self, database: &Database, snapshot: SnapshotId, since: SystemTime) -> Pin {
        *self.counts.entry(snapshot).or_default() += 1;
        self.last_number += 1;
        self.since.insert(self.last_number, since);
        Pin { database: database.clone(), snapshot, number: self.last_number, since }
    }
}

/// Keeps a snapshot, and so its files, from being expired by this process.
pub struct Pin {
    database: Database,
    snapshot: SnapshotId,
    number: u64,
    since: SystemTime,
}

impl Database {
    /// Keeps a snapshot from being expired as long as the pin lives. Whether it has expired since it was looked at is the
    /// caller's to know; see [`Database::pinned`].
    pub fn pin(&self, snapshot: SnapshotId) -> Pin {
        self.inner.pins.lock().add(self, snapshot, SystemTime::now())
    }

    /// What the database holds at a moment, and a pin that was there before anyone could have expired it.
    pub async fn pinned(&self, at: At) -> Result<(Arc<SnapshotView>, Pin)> {
        let since = SystemTime::now();
        loop {
            let expiries = self.inner.pins.lock().expiries;
            let view = self.snapshot(at.clone()).await?;
            let id = view.snapshot.id;
            {
                let mut pins = self.inner.pins.lock();
                if pins.expiries == expiries && !pins.doomed.contains(&id) {
                    return Ok((view, pins.add(self, id, since)));
                }
            }
            // Where the latest is meant, there is a later one by now; an earlier one is gone when the expiry has its turn.
            drop(self.inner.committing.lock().await);
        }
    }

    /// Lets `choose` name the snapshots to be expired, knowing those that are pinned. None of them is pinned as long
    /// as the answer lives.
    pub(crate) fn doom(&self, choose: impl FnOnce(&BTreeMap<SnapshotId, usize>) -> Vec<SnapshotId>) -> Doomed {
        let mut pins = self.inner.pins.lock();
        let chosen = choose(&pins.counts);
        pins.doomed = chosen.iter().copied().collect();
        Doomed { database: self.clone(), snapshots: chosen }
    }

    /// Since when the oldest pin is held. Whatever is being written, and not yet committed, was begun later: a transaction
    /// has a pin.
    pub fn oldest_pin(&self) -> Option<SystemTime> {
        self.inner.pins.lock().since.values().min().copied()
    }

    pub(crate) fn pinned_snapshots(&self) -> BTreeSet<SnapshotId> {
        self.inner.pins.lock().counts.keys().copied().collect()
    }
}

/// Snapshots that are being expired, by one caller at a time. Dropped, when that is committed or given up.
pub(crate) struct Doomed {
    database: Database,
    pub(crate) snapshots: Vec<SnapshotId>,
}

impl Drop for Doomed {
    fn drop(&mut self) {
        let mut pins = self.database.inner.pins.lock();
        pins.doomed.clear();
        pins.expiries += 1;
    }
}

impl Pin {
    pub fn database(&self) -> &Database {
        &self.database
    }

    pub fn snapshot(&self) -> SnapshotId {
        self.snapshot
    }
}

impl Clone for Pin {
    fn clone(&self) -> Self {
        self.database.inner.pins.lock().add(&self.database, self.snapshot, self.since)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.database.inner.pins.lock();
        pins.since.remove(&self.number);
        if let Some(count) = pins.counts.get_mut(&self.snapshot) {
            *count -= 1;
            if *count == 0 {
                pins.counts.remove(&self.snapshot);
            }
        }
    }
}
