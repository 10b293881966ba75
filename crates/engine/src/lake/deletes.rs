//! Rows of data files that are gone: a delete file names them by their positions.
//!
//! A split carries the name of its file's delete file. The executor reads that before the data file, and tells DataFusion's reader
//! which rows to skip.

use std::fmt;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::error::Result;
use datafusion_datasource::morsel::{MorselPlan, MorselPlanner, Morselizer};
use frazil_common::{ErrorCode, Failure};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use prost::Message;

/// DuckDB's name of the column that tells when a row was deleted.
const SNAPSHOT_COLUMN: &str = "_ducklake_internal_snapshot_id";

/// The delete file of a data file, as a split carries it.
#[derive(Clone, PartialEq, Message)]
pub struct DeletedRows {
    /// In the data file's store.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Rows that were deleted later are still there.
    #[prost(int64, optional, tag = "2")]
    pub snapshot: Option<i64>,
    /// Of the data file, the deleted ones included.
    #[prost(uint64, tag = "3")]
    pub rows: u64,
}

impl DeletedRows {
    /// The rows that are left.
    async fn selection(&self, store: Arc<dyn ObjectStore>) -> Result<ParquetRowSelection> {
        let mut positions = self.positions(store).await?;
        positions.sort_unstable();
        positions.dedup();
        Ok(all_but(positions, self.rows))
    }

    /// In no order. All are below the number of rows.
    pub(super) async fn positions(&self, store: Arc<dyn ObjectStore>) -> Result<Vec<u64>> {
        // Whole: two columns of numbers that compress well.
        let bytes = store.get(&Path::parse(&self.path)?).await?.bytes().await?;
        let mut positions = Vec::new();
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
            let batch = batch?;
            let numbers =
                |name: &str| batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
            let rows = numbers("pos").ok_or_else(|| self.corrupt("has no positions"))?;
            let deleted_in = match self.snapshot {
                Some(_) => Some(numbers(SNAPSHOT_COLUMN).ok_or_else(|| self.corrupt("does not tell when"))?),
                None => None,
            };
            for (index, position) in rows.values().iter().enumerate() {
                let later = deleted_in.zip(self.snapshot).is_some_and(|(deleted, at)| deleted.value(index) > at);
                if later {
                    continue;
                }
                let position = u64::try_from(*position).map_err(|_| self.corrupt("names a row before the first"))?;
                if position >= self.rows {
                    return Err(self.corrupt(&format!("names row {position} of {}", self.rows)));
                }
                positions.push(position);
            }
        }
        Ok(positions)
    }

    fn corrupt(&self, why: &str) -> datafusion::error::DataFusionError {
        let message = format!("delete file \"{}\" {why}", self.path);
        frazil_exchange::to_datafusion(Failure::new(ErrorCode::FileCorrupt, message))
    }
}

/// Selects the rows of a file but those at `positions`, which ascend.
pub(super) fn all_but(positions: impl IntoIterator<Item = u64>, rows: u64) -> ParquetRowSelection {
    let mut selectors = Vec::new();
    let mut next = 0;
    for position in positions {
        if position > next {
            selectors.push(RowSelector::select((position - next) as usize));
        }
        selectors.push(RowSelector::skip(1));
        next = position + 1;
    }
    if rows > next {
        selectors.push(RowSelector::select((rows - next) as usize));
    }
    ParquetRowSelection::new(RowSelection::from(selectors))
}

/// Reads the delete file of a split that has one before the split itself.
pub struct SkipDeleted {
    inner: Arc<dyn Morselizer>,
    store: Arc<dyn ObjectStore>,
}

impl SkipDeleted {
    pub fn wrap(inner: Box<dyn Morselizer>, store: Arc<dyn ObjectStore>) -> Box<dyn Morselizer> {
        Box::new(Self { inner: inner.into(), store })
    }
}

impl fmt::Debug for SkipDeleted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Morselizer for SkipDeleted {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let Some(deleted) = file.extensions.get::<DeletedRows>().cloned() else { return self.inner.plan_file(file) };
        let (inner, store) = (self.inner.clone(), self.store.clone());
        Ok(Box::new(ReadDeletes { inner, store, file, deleted }))
    }
}

struct ReadDeletes {
    inner: Arc<dyn Morselizer>,
    store: Arc<dyn ObjectStore>,
    file: PartitionedFile,
    deleted: DeletedRows,
}

impl fmt::Debug for ReadDeletes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.deleted.path)
    }
}

impl MorselPlanner for ReadDeletes {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { inner, store, mut file, deleted } = *self;
        Ok(Some(MorselPlan::new().with_pending_planner(async move {
            file.extensions.insert(deleted.selection(store).await?);
            inner.plan_file(file)
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use object_store::memory::InMemory;
    use parquet::arrow::ArrowWriter;

    use super::*;

    async fn selected(positions: Vec<i64>, snapshots: Option<Vec<i64>>, at: Option<i64>) -> Result<Vec<RowSelector>> {
        let mut columns = vec![("pos", Arc::new(Int64Array::from(positions)) as _)];
        if let Some(snapshots) = snapshots {
            columns.push((SNAPSHOT_COLUMN, Arc::new(Int64Array::from(snapshots)) as _));
        }
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let store = Arc::new(InMemory::new());
        store.put(&Path::from("d.parquet"), bytes.into()).await.unwrap();
        let deleted = DeletedRows { path: "d.parquet".to_owned(), snapshot: at, rows: 10 };
        Ok(deleted.selection(store).await?.into_inner().into())
    }

    #[tokio::test]
    async fn what_is_not_deleted_is_selected() {
        let (select, skip) = (RowSelector::select, RowSelector::skip);
        let all: Vec<RowSelector> = selected(vec![3, 0, 3, 9], None, None).await.unwrap();
        assert_eq!(all, vec![skip(1), select(2), skip(1), select(5), skip(1)]);
        let then = selected(vec![2, 5], Some(vec![7, 8]), Some(7)).await.unwrap();
        assert_eq!(then, vec![select(2), skip(1), select(7)]);
        assert!(selected(vec![10], None, None).await.is_err(), "there is no such row");
        assert!(selected(vec![1], None, Some(7)).await.is_err(), "nobody knows when it was deleted");
    }
}
