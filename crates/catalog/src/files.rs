//! A table's data files as queries and writers see them.

use crate::ids::{ColumnId, DataFileId, DeleteFileId, SnapshotId};
use crate::model::Place;
use crate::prune::{ColumnRange, ColumnStatistics};
use crate::scalar::Scalar;

/// Which files are wanted, and what should be told of them.
#[derive(Clone, Debug, Default)]
pub struct FileFilter {
    /// All of them must be able to hold.
    pub ranges: Vec<ColumnRange>,
    /// Columns whose statistics are wanted, in this order.
    pub statistics: Vec<ColumnId>,
}

/// A Parquet file that is part of a table at a snapshot.
#[derive(Clone, PartialEq, Debug)]
pub struct DataFile {
    pub id: DataFileId,
    /// In full.
    pub path: String,
    pub record_count: i64,
    pub size_bytes: i64,
    pub footer_size_bytes: Option<i64>,
    /// The row id of the first row; the others follow, unless the file has a column of row ids.
    pub row_id_start: Option<i64>,
    pub begin_snapshot: SnapshotId,
    /// The file has rows of later snapshots: only those whose `_ducklake_internal_snapshot_id` is at most this count.
    pub snapshot_filter: Option<SnapshotId>,
    /// Columns are found by name, not by field id: see [`crate::Database::column_mapping`].
    pub mapping_id: Option<i64>,
    pub delete_file: Option<DeleteFile>,
    /// In the order of [`FileFilter::statistics`].
    pub statistics: Vec<ColumnStatistics>,
}

/// A Parquet file of the columns `file_path` and `pos`: the rows of a data file that are gone.
#[derive(Clone, PartialEq, Debug)]
pub struct DeleteFile {
    pub id: DeleteFileId,
    pub path: String,
    /// Of the whole file, also where `snapshot_filter` leaves only a part of it.
    pub delete_count: i64,
    pub size_bytes: i64,
    pub footer_size_bytes: Option<i64>,
    /// Only rows whose third column, `_ducklake_internal_snapshot_id`, is at most this count.
    pub snapshot_filter: Option<SnapshotId>,
}

/// A data file that was written and is to become part of a table.
#[derive(Clone, Debug)]
pub struct NewDataFile {
    /// Below the table's location if relative.
    pub path: Place,
    pub record_count: i64,
    pub size_bytes: i64,
    pub footer_size_bytes: Option<i64>,
    /// Of leaf columns, by field id. `min` and `max` must enclose all values: a truncated maximum is no maximum.
    pub columns: Vec<NewColumnStatistics>,
    /// Set by compactions, which keep row ids; other files are numbered when they are committed.
    pub row_id_start: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct NewColumnStatistics {
    pub column: ColumnId,
    pub size_bytes: Option<i64>,
    pub null_count: i64,
    /// Values that are not null.
    pub value_count: i64,
    pub min: Option<Scalar>,
    pub max: Option<Scalar>,
    /// Of floats only.
    pub contains_nan: Option<bool>,
}

/// A position-delete file that was written. It replaces the data file's former delete file, so it must repeat its rows.
#[derive(Clone, Debug)]
pub struct NewDeleteFile {
    pub data_file: DataFileId,
    pub path: Place,
    pub delete_count: i64,
    pub size_bytes: i64,
    pub footer_size_bytes: Option<i64>,
}

impl DataFile {
    /// Whether its counts are those of what a reader will find.
    pub fn is_plain(&self) -> bool {
        let later = |delete: &DeleteFile| delete.snapshot_filter.is_some();
        self.mapping_id.is_none() && self.snapshot_filter.is_none() && !self.delete_file.as_ref().is_some_and(later)
    }
}

/// Of a table at a snapshot.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TableStatistics {
    pub files: u64,
    /// Rows of the files less those of their delete files.
    pub rows: i64,
    pub bytes: i64,
    /// Files that have a delete file: bounds and nulls of columns count rows that are gone.
    pub files_with_deletes: u64,
    /// Files, or delete files, that have rows of later snapshots, which are counted in `rows`; and files without field ids.
    pub files_not_plain: u64,
    /// In the order they were asked for, over all files; `None` in them where one file does not tell.
    pub columns: Vec<ColumnStatistics>,
}

/// A data file as its row has it, with all that a copy needs.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct FileRow {
    pub id: i64,
    pub path: Place,
    pub record_count: i64,
    pub size_bytes: i64,
    pub footer_size_bytes: Option<i64>,
    pub row_id_start: Option<i64>,
    pub mapping_id: Option<i64>,
    /// The table's statistics have it already: it was there before the table was dropped.
    pub is_counted: bool,
    pub columns: Vec<StatisticsRow>,
}

/// Statistics as DuckLake's texts.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct StatisticsRow {
    pub column: ColumnId,
    pub size_bytes: Option<i64>,
    pub value_count: Option<i64>,
    pub null_count: Option<i64>,
    pub min: Option<String>,
    pub max: Option<String>,
    pub contains_nan: Option<bool>,
    pub extra: Option<String>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct DeleteRow {
    pub data_file: i64,
    pub path: Place,
    pub delete_count: i64,
    pub size_bytes: i64,
    pub footer_size_bytes: Option<i64>,
}
