//! Sums over a table's files that were asked for lately.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::files::TableStatistics;
use crate::ids::{ColumnId, SnapshotId};
use crate::prune::ColumnStatistics;

/// Snapshots of a table whose sums are kept.
const SNAPSHOTS_KEPT: usize = 8;

#[derive(Default)]
pub(crate) struct SumCache {
    snapshots: Mutex<BTreeMap<SnapshotId, Sums>>,
}

#[derive(Default)]
struct Sums {
    /// Without columns.
    table: Option<TableStatistics>,
    columns: BTreeMap<ColumnId, ColumnStatistics>,
}

impl SumCache {
    pub(crate) fn table(&self, snapshot: SnapshotId, sum: impl FnOnce() -> TableStatistics) -> TableStatistics {
        self.with(snapshot, |sums| sums.table.get_or_insert_with(sum).clone())
    }

    pub(crate) fn column(
        &self,
        snapshot: SnapshotId,
        column: ColumnId,
        sum: impl FnOnce() -> ColumnStatistics,
    ) -> ColumnStatistics {
        self.with(snapshot, |sums| sums.columns.entry(column).or_insert_with(sum).clone())
    }

    /// Its type has become another.
    pub(crate) fn forget_column(&self, column: ColumnId) {
        self.snapshots.lock().values_mut().for_each(|sums| {
            sums.columns.remove(&column);
        });
    }

    fn with<T>(&self, snapshot: SnapshotId, look: impl FnOnce(&mut Sums) -> T) -> T {
        let mut snapshots = self.snapshots.lock();
        if snapshots.len() >= SNAPSHOTS_KEPT && !snapshots.contains_key(&snapshot) {
            // The oldest: later ones are asked for more often.
            snapshots.pop_first();
        }
        look(snapshots.entry(snapshot).or_default())
    }
}
