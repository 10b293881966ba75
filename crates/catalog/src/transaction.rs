//! Changes that become one snapshot, or none.
//!
//! A transaction looks at the snapshot it began with and at its own changes, never at what others commit meanwhile. Schema
//! changes are made to a draft of the database's contents; the commit writes what the draft and the base differ in.

mod ddl;
mod touched;

pub(crate) use ddl::check_case;
pub use touched::{Touch, Touched};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use frazil_common::StatementId;

use crate::access::{ObjectId, ObjectKind};
use crate::commit;
use crate::database::Database;
use crate::error::{CatalogError, Result};
use crate::files::{
    DataFile, DeleteFile, DeleteRow, FileFilter, FileRow, NewDataFile, NewDeleteFile, StatisticsRow, TableStatistics,
};
use crate::ids::{ColumnId, DataFileId, DeleteFileId, LOCAL_IDS, SchemaId, SnapshotId, TableId, ViewId};
use crate::model::{Contents, Table};
use crate::pins::Pin;
use crate::prune::ColumnStatistics;
use crate::scalar::Scalar;
use crate::selected_files::SelectedFiles;
use crate::sketches::{NewSketches, read_for_copy};
use crate::snapshot::{DroppedSchema, DroppedTable, SnapshotView};
use crate::statistics_column::StatisticsSum;

/// Collects changes. A clone is a savepoint: commit one of the two.
#[derive(Clone)]
pub struct Transaction {
    pub(crate) database: Database,
    pub(crate) base: Arc<SnapshotView>,
    pub(crate) draft: Arc<Contents>,
    pub(crate) data: BTreeMap<TableId, TableData>,
    pub(crate) loaded: Vec<LoadedFile>,
    next_local: i64,
    _pin: Pin,
    /// Snapshots of which files were copied.
    pub(crate) sources: Vec<Pin>,
    /// The tables that they were of.
    pub(crate) copied: Vec<Touched>,
}

/// What happened to one table's files.
#[derive(Clone, Default)]
pub(crate) struct TableData {
    pub(crate) added: Vec<FileRow>,
    /// Of the base.
    pub(crate) removed: BTreeSet<i64>,
    /// New delete files by their data file, of the base or added.
    pub(crate) deletes: BTreeMap<i64, DeleteRow>,
    /// Removed and added files have the same rows.
    pub(crate) is_compaction: bool,
    /// Row ids below it are in use, by copies.
    pub(crate) next_row_id: i64,
    pub(crate) forget_loaded: bool,
    /// Of the rows in what was added.
    pub(crate) sketches: NewSketches,
}

/// A staged file whose rows a table has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadedFile {
    pub table: TableId,
    pub path: String,
    /// Tells two files of one path apart: the store's ETag, or size and time of change.
    pub version: String,
    pub statement: StatementId,
    /// Set by the commit.
    pub loaded_at: Option<SystemTime>,
    pub rows: i64,
}

/// Who commits and why. It is kept with the snapshot.
#[derive(Clone, Default, Debug)]
pub struct CommitInfo {
    pub statement: Option<StatementId>,
    /// Commits once: a second commit under the same id is refused with the first one's snapshot.
    pub request_id: Option<String>,
    /// What was asked for under that id, so that something else under it can be told apart.
    pub fingerprint: Option<String>,
    pub author: Option<String>,
    pub message: Option<String>,
    /// Now, if not given.
    pub time: Option<SystemTime>,
}

/// What a commit made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The base's where nothing was changed.
    pub snapshot: SnapshotId,
    /// The lasting ids of what was created.
    pub schemas: BTreeMap<SchemaId, SchemaId>,
    pub tables: BTreeMap<TableId, TableId>,
    pub views: BTreeMap<ViewId, ViewId>,
}

impl Transaction {
    pub(crate) fn new(database: Database, base: Arc<SnapshotView>) -> Self {
        let pin = database.pin(base.snapshot.id);
        let draft = base.contents.clone();
        let (data, loaded, sources, copied) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
        Self { database, base, draft, data, loaded, next_local: LOCAL_IDS, _pin: pin, sources, copied }
    }

    pub fn base(&self) -> &Arc<SnapshotView> {
        &self.base
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The base with this transaction's changes. Ask [`Transaction::files`] for files, not the database.
    pub fn view(&self) -> SnapshotView {
        SnapshotView { snapshot: self.base.snapshot.clone(), contents: self.draft.clone() }
    }

    fn local(&mut self) -> i64 {
        self.next_local += 1;
        self.next_local
    }

    fn full_name(&self, table: &Table) -> String {
        self.draft.full_name(table)
    }

    /// A table's files, with this transaction's changes.
    pub async fn files(&self, table: TableId, filter: &FileFilter) -> Result<Vec<DataFile>> {
        let shape = self.draft.table_by_id(table)?;
        let mut files = match self.base.tables.contains_key(&table) {
            true => self.database.files(&self.base, table, filter).await?,
            false => Vec::new(),
        };
        let Some(data) = self.data.get(&table) else { return Ok(files) };
        files.retain(|file| !data.removed.contains(&file.id.0));
        for file in &mut files {
            if let Some(delete) = data.deletes.get(&file.id.0) {
                file.delete_file = Some(shown_delete(delete, &shape.location));
            }
        }
        let added = data.added.iter().filter(|row| {
            filter.ranges.iter().all(|range| match shape.column_by_id(range.column) {
                Some(column) => statistics_of(row, shape, range.column).may_match(
                    &column.column_type,
                    row.record_count,
                    &range.test,
                ),
                None => true,
            })
        });
        files.extend(added.map(|row| DataFile {
            id: DataFileId(row.id),
            path: row.path.under(&shape.location),
            record_count: row.record_count,
            size_bytes: row.size_bytes,
            footer_size_bytes: row.footer_size_bytes,
            row_id_start: row.row_id_start,
            begin_snapshot: self.base.snapshot.id,
            snapshot_filter: None,
            mapping_id: row.mapping_id,
            delete_file: data.deletes.get(&row.id).map(|delete| shown_delete(delete, &shape.location)),
            statistics: filter.statistics.iter().map(|id| statistics_of(row, shape, *id)).collect(),
        }));
        Ok(files)
    }

    /// The same files without their statistics, and many of them without a copy of each where the transaction changes none.
    pub async fn select_files(&self, table: TableId, filter: &FileFilter) -> Result<SelectedFiles> {
        if !self.data.contains_key(&table) && self.base.tables.contains_key(&table) {
            return self.database.select_files(&self.base, table, filter).await;
        }
        Ok(self.files(table, filter).await?.into())
    }

    /// What is known of columns in each of these files, which may be the transaction's own.
    pub async fn file_statistics(
        &self,
        table: TableId,
        files: &[DataFile],
        columns: &[ColumnId],
    ) -> Result<Vec<Vec<ColumnStatistics>>> {
        let shape = self.draft.table_by_id(table)?;
        let is_added = |file: &&DataFile| file.id.is_local();
        let lasting: Vec<DataFile> = files.iter().filter(|file| !is_added(file)).cloned().collect();
        let mut known = match lasting.is_empty() {
            true => Vec::new().into_iter(),
            false => self.database.file_statistics(&self.base, table, &lasting, columns).await?.into_iter(),
        };
        let added = self.data.get(&table).map_or(&[][..], |data| &data.added);
        let added: BTreeMap<i64, &FileRow> = added.iter().map(|row| (row.id, row)).collect();
        let of_file = |file: &DataFile| match added.get(&file.id.0) {
            Some(row) => columns.iter().map(|id| statistics_of(row, shape, *id)).collect(),
            None => known.next().unwrap_or_else(|| vec![ColumnStatistics::default(); columns.len()]),
        };
        Ok(files.iter().map(of_file).collect())
    }

    /// Sums over a table's files, with this transaction's changes.
    pub async fn table_statistics(&self, table: TableId, columns: &[ColumnId]) -> Result<TableStatistics> {
        if !self.data.contains_key(&table) && self.base.tables.contains_key(&table) {
            return self.database.table_statistics(&self.base, table, columns).await;
        }
        let filter = FileFilter { ranges: Vec::new(), statistics: columns.to_vec() };
        let files = self.files(table, &filter).await?;
        let mut total = TableStatistics { files: files.len() as u64, ..Default::default() };
        let mut sums: Vec<_> = columns.iter().map(|_| StatisticsSum::default()).collect();
        for file in &files {
            total.bytes += file.size_bytes;
            total.files_with_deletes += u64::from(file.delete_file.is_some());
            total.files_not_plain += u64::from(!file.is_plain());
            total.rows += file.record_count - file.delete_file.as_ref().map_or(0, |delete| delete.delete_count);
            sums.iter_mut().zip(&file.statistics).for_each(|(sum, one)| sum.add(one, file.record_count));
        }
        total.columns = sums.into_iter().map(StatisticsSum::finish).collect();
        Ok(total)
    }

    /// About how many distinct values columns have, without what this transaction adds.
    pub async fn distinct_counts(&self, table: TableId, columns: &[ColumnId]) -> Result<Vec<Option<u64>>> {
        match self.base.tables.contains_key(&table) {
            true => self.database.distinct_counts(&self.base, table, columns).await,
            false => Ok(vec![None; columns.len()]),
        }
    }

    /// Appends files. Their ids are good for `add_delete_files` and `remove_files` of this transaction only.
    pub fn add_files(&mut self, table: TableId, files: Vec<NewDataFile>) -> Result<Vec<DataFileId>> {
        let shape = self.draft.table_by_id(table)?.clone();
        let mut ids = Vec::with_capacity(files.len());
        for file in files {
            let mut columns = Vec::with_capacity(file.columns.len());
            for one in file.columns {
                let column = shape.column_by_id(one.column).ok_or_else(|| CatalogError::UndefinedColumn {
                    table: self.full_name(&shape),
                    column: format!("#{}", one.column),
                })?;
                let text = |value: Option<Scalar>| value.and_then(|value| value.to_text(&column.column_type));
                columns.push(StatisticsRow {
                    column: one.column,
                    size_bytes: one.size_bytes,
                    value_count: Some(one.value_count),
                    null_count: Some(one.null_count),
                    min: text(one.min),
                    max: text(one.max),
                    contains_nan: one.contains_nan,
                    extra: None,
                });
            }
            let id = self.local();
            ids.push(DataFileId(id));
            self.data.entry(table).or_default().added.push(FileRow {
                id,
                path: file.path,
                record_count: file.record_count,
                size_bytes: file.size_bytes,
                footer_size_bytes: file.footer_size_bytes,
                row_id_start: file.row_id_start,
                mapping_id: None,
                is_counted: false,
                columns,
            });
        }
        Ok(ids)
    }

    /// Notes distinct values of rows in files that this transaction adds.
    pub fn add_sketches(&mut self, table: TableId, sketches: NewSketches) -> Result<()> {
        self.draft.table_by_id(table)?;
        if !sketches.is_empty() {
            self.data.entry(table).or_default().sketches.merge(sketches);
        }
        Ok(())
    }

    /// Replaces the delete files of data files, whether they had one or not.
    pub fn add_delete_files(&mut self, table: TableId, files: Vec<NewDeleteFile>) -> Result<()> {
        self.draft.table_by_id(table)?;
        let data = self.data.entry(table).or_default();
        for file in files {
            let id = file.data_file.0;
            let known = match file.data_file.is_local() {
                true => data.added.iter().any(|row| row.id == id),
                false => !data.removed.contains(&id),
            };
            if !known {
                return Err(CatalogError::Invalid(format!("data file #{id} is not part of the table")));
            }
            let row = DeleteRow {
                data_file: id,
                path: file.path,
                delete_count: file.delete_count,
                size_bytes: file.size_bytes,
                footer_size_bytes: file.footer_size_bytes,
            };
            data.deletes.insert(id, row);
        }
        Ok(())
    }

    /// Takes files out of a table: for overwriting, or because all their rows are deleted.
    pub fn remove_files(&mut self, table: TableId, files: &[DataFileId]) -> Result<()> {
        self.draft.table_by_id(table)?;
        let data = self.data.entry(table).or_default();
        let local: BTreeSet<_> = files.iter().filter(|id| id.is_local()).map(|id| id.0).collect();
        data.added.retain(|row| !local.contains(&row.id));
        data.removed.extend(files.iter().filter(|id| !id.is_local()).map(|id| id.0));
        data.deletes.retain(|id, _| !local.contains(id) && !data.removed.contains(id));
        if data.added.is_empty() {
            data.sketches = NewSketches::default();
        }
        Ok(())
    }

    /// Replaces files by others with the same rows.
    pub fn compact(&mut self, table: TableId, files: &[DataFileId], by: Vec<NewDataFile>) -> Result<()> {
        if self.data.get(&table).is_some_and(|data| !data.is_compaction) {
            return Err(CatalogError::Invalid("a compaction needs a transaction of its own".to_owned()));
        }
        self.remove_files(table, files)?;
        self.add_files(table, by)?;
        if let Some(data) = self.data.get_mut(&table) {
            data.is_compaction = true;
        }
        Ok(())
    }

    /// Takes all files out of a table and forgets which staged files it has loaded.
    pub async fn truncate_table(&mut self, table: TableId) -> Result<()> {
        let files: Vec<_> = self.files(table, &FileFilter::default()).await?.iter().map(|file| file.id).collect();
        self.remove_files(table, &files)?;
        self.data.entry(table).or_default().forget_loaded = true;
        self.loaded.retain(|loaded| loaded.table != table);
        Ok(())
    }

    /// Restores a dropped table with its id, columns and files, under its old name or another.
    pub async fn undrop_table(&mut self, dropped: &DroppedTable, name: Option<&str>) -> Result<TableId> {
        let (view, pin) = self.database.pinned(crate::At::Snapshot(dropped.last_seen)).await?;
        self.sources.push(pin);
        let former = view.table_by_id(dropped.id)?;
        if self.draft.tables.contains_key(&dropped.id) {
            return Err(CatalogError::DuplicateTable(self.full_name(former)));
        }
        let schema = self.draft.schema_by_id(former.schema_id)?.id;
        self.restore_table(&view, former, schema, name.unwrap_or(&former.name)).await
    }

    /// Restores a dropped schema, and the tables and views that it had, under its old name or another.
    pub async fn undrop_schema(&mut self, dropped: &DroppedSchema, name: Option<&str>) -> Result<SchemaId> {
        let (view, pin) = self.database.pinned(crate::At::Snapshot(dropped.last_seen)).await?;
        self.sources.push(pin);
        let former = view.schema_by_id(dropped.id)?;
        let id = self.create_schema(name.unwrap_or(&former.name))?;
        // DuckLake has one row for a schema, so it is another one; its tables are found where they were.
        let mut schema = self.draft.schema_by_id(id)?.as_ref().clone();
        schema.path = former.path.clone();
        Arc::make_mut(&mut self.draft).put_schema(schema);
        for table in view.tables().filter(|table| table.schema_id == dropped.id) {
            self.restore_table(&view, table, id, &table.name).await?;
        }
        for view in view.views().filter(|view| view.schema_id == dropped.id) {
            let view = crate::model::View { schema_id: id, ..view.as_ref().clone() };
            Arc::make_mut(&mut self.draft).put_view(view);
        }
        Ok(id)
    }

    async fn restore_table(
        &mut self,
        view: &SnapshotView,
        former: &Table,
        schema: SchemaId,
        name: &str,
    ) -> Result<TableId> {
        self.check_name_is_free(schema, name)?;
        let table = Table { schema_id: schema, name: name.to_owned(), ..former.clone() };
        let database = self.database.clone();
        let mut data = crate::copy::read_files(&database, view, former, || self.local()).await?;
        data.added.iter_mut().for_each(|row| row.is_counted = true);
        Arc::make_mut(&mut self.draft).put_table(table);
        self.data.insert(former.id, data);
        Ok(former.id)
    }

    /// Creates a table that shares the files of another, of this database or another one, as `source` shows it.
    pub async fn clone_table(
        &mut self,
        database: &Database,
        source: &SnapshotView,
        table: TableId,
        schema: SchemaId,
        name: &str,
    ) -> Result<TableId> {
        let original = source.table_by_id(table)?;
        self.sources.push(database.pin(source.snapshot.id));
        self.copied.push(Touched {
            what: Touch::Copied,
            kind: ObjectKind::Table,
            object: ObjectId::within(database.id(), &original.uuid),
            name: source.full_name(original),
            schema: None,
        });
        let mut data = crate::copy::read_files(database, source, original, || self.local()).await?;
        if data.added.iter().any(|row| row.mapping_id.is_some()) {
            return Err(CatalogError::NotSupported(format!(
                "table \"{}\" has files whose columns are mapped by name, and cannot be cloned",
                original.name
            )));
        }
        data.make_absolute(&original.location);
        data.sketches = read_for_copy(&mut database.inner.sql.read().await?, table, source.snapshot.id).await?;
        let id = self.create_table(schema, name, original.columns.clone())?;
        let copy = self.draft.table_by_id(id)?.as_ref().clone();
        Arc::make_mut(&mut self.draft).put_table(Table {
            columns: original.columns.clone(),
            column_id_max: original.column_id_max,
            sort_keys: original.sort_keys.clone(),
            tags: original.tags.clone(),
            ..copy
        });
        self.data.insert(id, data);
        Ok(id)
    }

    /// Writes one snapshot with all changes, or nothing.
    pub async fn commit(self, info: CommitInfo) -> Result<Committed> {
        commit::commit(self, info).await
    }
}

fn shown_delete(row: &DeleteRow, location: &str) -> DeleteFile {
    DeleteFile {
        id: DeleteFileId(LOCAL_IDS),
        path: row.path.under(location),
        delete_count: row.delete_count,
        size_bytes: row.size_bytes,
        footer_size_bytes: row.footer_size_bytes,
        snapshot_filter: None,
    }
}

fn statistics_of(row: &FileRow, table: &Table, column: ColumnId) -> ColumnStatistics {
    let found = row.columns.iter().find(|one| one.column == column).zip(table.column_by_id(column));
    let Some((one, column)) = found else { return ColumnStatistics::default() };
    let parse = |text: &Option<String>| Scalar::parse(&column.column_type, text.as_deref()?);
    ColumnStatistics {
        null_count: one.null_count,
        min: parse(&one.min),
        max: parse(&one.max),
        contains_nan: one.contains_nan,
    }
}
