//! A table of the catalog at one snapshot: its files, pruned by their statistics, as a plain Parquet scan.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion_datasource::compute_all_files_statistics;
use frazil_catalog::{
    Bound, Column, ColumnRange, ColumnStatistics as CatalogStatistics, DataFile, DefaultValue, FileFilter, ObjectId,
    ObjectKind, Privilege, RangeTest, Rights, SelectedFiles, SelectedSum, Table, TableStatistics,
};
use frazil_common::{ErrorCode, Failure};
use object_store::ObjectMeta;
use object_store::path::Path;
use parking_lot::Mutex;

use super::columns::{scalar_of, table_schema, value_of};
use super::many_files::ManyFiles;
use super::names::Seen;
use super::places::{self, ScannedFiles};
use super::pruned::{PrunedScan, PrunedScans};
use super::{DeletedRows, adapter_for, to_datafusion};
use crate::access::demand;
use crate::balance::FILES_MAX;

/// The values of an `IN` list that are compared with every file.
const LIST_MAX: usize = 64;
/// Of the files' columns, values that a plan carries. Scans with more know the table's sums only: a plan with bounds of
/// 100,000 files would be larger than what it saves.
const STATISTICS_MAX: usize = 100_000;
/// Places for values of columns in a plan, whose statistics of a file have one for each of the table's columns, some 250 bytes.
const STATISTICS_PLACES_MAX: usize = 400_000;
/// Lists of a statement's files that are kept, by what was asked of them.
const ASKED_MAX: usize = 8;

/// Files that may have rows within the ranges.
type AskedFiles = (Vec<ColumnRange>, SelectedFiles);

#[derive(Clone)]
pub struct LakeTable {
    pub seen: Seen,
    pub table: Arc<Table>,
    /// The table's columns.
    columns: SchemaRef,
    /// Those, and the places of rows where they are asked for.
    schema: SchemaRef,
    defaults: Vec<(String, Expr)>,
    places: Option<ScannedFiles>,
    /// For whom the table was found.
    rights: Arc<Rights>,
    /// The number of partitions depends on the files, and then the scan asks for them again.
    asked: Arc<Mutex<Vec<AskedFiles>>>,
}

impl std::fmt::Debug for LakeTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LakeTable({}.{})", self.seen.database.name(), self.seen.view.full_name(&self.table))
    }
}

impl LakeTable {
    pub fn new(seen: Seen, table: Arc<Table>, rights: Arc<Rights>) -> Result<Self> {
        let columns = table_schema(&table).map_err(to_datafusion)?;
        let literal = |column: &Column| match &column.default {
            Some(DefaultValue::Literal(text)) => Some((column.name.clone(), lit(text.clone()))),
            Some(DefaultValue::Expression(_)) | None => None,
        };
        let defaults = table.columns.iter().filter_map(literal).collect();
        let (schema, asked) = (columns.clone(), Arc::default());
        Ok(Self { seen, table, schema, columns, defaults, places: None, rights, asked })
    }

    /// Fails if whoever it was found for may not read it.
    pub fn check_read(&self) -> std::result::Result<(), Failure> {
        // What the session has created itself is its own.
        if self.table.id.is_local() {
            return Ok(());
        }
        let id = ObjectId::within(self.seen.database.id(), &self.table.uuid);
        demand(&self.rights, Privilege::Select, ObjectKind::Table, &id, &self.seen.view.full_name(&self.table))
    }

    /// The same table with the places of its rows as further columns. What a scan of it reads is noted in the second value.
    pub fn with_places(&self) -> (Self, ScannedFiles) {
        let scanned = ScannedFiles::default();
        let schema = places::table_schema(&self.columns).table_schema().clone();
        (Self { schema, places: Some(scanned.clone()), ..self.clone() }, scanned)
    }

    /// The table's columns alone.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// The files that may hold a row for which all filters are true, without statistics.
    pub async fn files_for(&self, filters: &[Expr]) -> Result<SelectedFiles> {
        let conjuncts = filters.iter().flat_map(|filter| split_conjunction(filter));
        let ranges: Vec<ColumnRange> = conjuncts.filter_map(|conjunct| self.range_of(conjunct)).collect();
        if let Some((_, files)) = self.asked.lock().iter().find(|(asked, _)| *asked == ranges) {
            return Ok(files.clone());
        }
        let filter = FileFilter { ranges: ranges.clone(), statistics: Vec::new() };
        let files = self.seen.files(self.table.id, &filter).await.map_err(to_datafusion)?;
        let mut asked = self.asked.lock();
        if asked.len() < ASKED_MAX {
            asked.push((ranges, files.clone()));
        }
        Ok(files)
    }

    /// What a conjunct says of one column, where statistics can tell.
    fn range_of(&self, conjunct: &Expr) -> Option<ColumnRange> {
        let column_of = |expr: &Expr| match expr {
            Expr::Column(column) => self.table.column(&column.name).ok(),
            _ => None,
        };
        let literal_of = |expr: &Expr| match expr {
            Expr::Literal(value, _) => scalar_of(value),
            _ => None,
        };
        let range = |column: &Column, test| Some(ColumnRange { column: column.id, test });
        match conjunct {
            Expr::IsNull(inner) => range(column_of(inner)?, RangeTest::IsNull),
            Expr::IsNotNull(inner) => range(column_of(inner)?, RangeTest::IsNotNull),
            Expr::Between(between) if !between.negated => {
                let bound = |value| Some(Bound { value, inclusive: true });
                let (low, high) = (bound(literal_of(&between.low)?), bound(literal_of(&between.high)?));
                range(column_of(&between.expr)?, RangeTest::Between { low, high })
            }
            Expr::InList(InList { expr, list, negated: false }) if list.len() <= LIST_MAX => {
                let values = list.iter().map(literal_of).collect::<Option<Vec<_>>>()?;
                range(column_of(expr)?, RangeTest::In(values))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (column, op, value) = match (column_of(left), column_of(right)) {
                    (Some(column), None) => (column, *op, literal_of(right)?),
                    (None, Some(column)) => (column, op.swap()?, literal_of(left)?),
                    _ => return None,
                };
                let bound = |inclusive| Some(Bound { value: value.clone(), inclusive });
                let test = match op {
                    Operator::Eq => RangeTest::In(vec![value.clone()]),
                    Operator::Lt => RangeTest::Between { low: None, high: bound(false) },
                    Operator::LtEq => RangeTest::Between { low: None, high: bound(true) },
                    Operator::Gt => RangeTest::Between { low: bound(false), high: None },
                    Operator::GtEq => RangeTest::Between { low: bound(true), high: None },
                    _ => return None,
                };
                range(column, test)
            }
            _ => None,
        }
    }

    fn partitioned_file(&self, file: &DataFile) -> Result<PartitionedFile> {
        let location = store_path(&file.path)?;
        // Files are never changed once they are there: a time that is always the same keeps caches warm.
        let meta = ObjectMeta {
            location,
            last_modified: Default::default(),
            size: u64::try_from(file.size_bytes).unwrap_or_default(),
            e_tag: None,
            version: None,
        };
        let mut split = PartitionedFile::from(meta);
        if let Some(deleted) = deleted_rows(file)? {
            split.extensions.insert(deleted);
        }
        split.metadata_size_hint = file.footer_size_bytes.and_then(|bytes| usize::try_from(bytes + 8).ok());
        Ok(match self.places {
            Some(_) => split.with_partition_values(vec![places::file_value(file.id.0)]),
            None => split,
        })
    }

    fn refuse_unreadable(&self, sum: &SelectedSum) -> Result<()> {
        let why = if sum.mapped > 0 {
            "has files whose columns go by name"
        } else if sum.of_several_snapshots > 0 {
            "has files of several snapshots"
        } else {
            return Ok(());
        };
        let name = self.seen.view.full_name(&self.table);
        let message = format!("table \"{name}\" {why}, which cannot be read yet");
        Err(frazil_exchange::to_datafusion(Failure::new(ErrorCode::NotSupported, message)))
    }

    /// Positions of the columns whose statistics a scan may use.
    fn columns_of_scan(&self, projection: Option<&Vec<usize>>, filters: &[Expr]) -> Vec<usize> {
        let count = self.columns.fields().len();
        let mut used: Vec<usize> = match projection {
            Some(projection) => projection.iter().copied().filter(|index| *index < count).collect(),
            None => (0..count).collect(),
        };
        let filtered = filters.iter().flat_map(Expr::column_refs);
        used.extend(filtered.filter_map(|column| self.columns.index_of(&column.name).ok()));
        used.sort_unstable();
        used.dedup();
        used
    }

    /// As many groups of the files as there are partitions, with what is known of some columns, by their positions; and what is known
    /// of all files together.
    async fn with_statistics(
        &self,
        files: &SelectedFiles,
        columns: &[usize],
        partitions: usize,
    ) -> Result<(Vec<FileGroup>, Statistics)> {
        let values = files.len().saturating_mul(columns.len().max(1));
        let places = files.len().saturating_mul(self.schema.fields().len());
        if values > STATISTICS_MAX || places > STATISTICS_PLACES_MAX {
            let sum = files.sum();
            let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
            let rows = number(sum.rows);
            let statistics = Statistics {
                num_rows: if sum.not_plain == 0 { Precision::Exact(rows) } else { Precision::Inexact(rows) },
                total_byte_size: Precision::Inexact(number(sum.bytes)),
                column_statistics: vec![ColumnStatistics::new_unknown(); self.schema.fields().len()],
            };
            if files.len() > FILES_MAX {
                let groups = ManyFiles::deal(files, partitions, self.places.is_some());
                return Ok((groups.into_iter().map(|group| group.in_group(&self.table.name)).collect(), statistics));
            }
            let splits = files.iter().map(|file| self.partitioned_file(&file)).collect::<Result<Vec<_>>>()?;
            return Ok((FileGroup::new(splits).split_files(partitions), statistics));
        }
        let files = files.to_vec();
        let ids: Vec<_> = columns.iter().map(|index| self.table.columns[*index].id).collect();
        let known = self.seen.file_statistics(self.table.id, &files, &ids).await.map_err(to_datafusion)?;
        let splits = files.iter().zip(known).map(|(file, known)| {
            let statistics = self.statistics_of(file, columns, &known);
            let mut split = self.partitioned_file(file)?.with_statistics(Arc::new(statistics));
            if self.places.is_some() {
                // DataFusion adds the file's number, but not the rows'.
                split.statistics = split.statistics.take().map(|mut statistics| {
                    Arc::make_mut(&mut statistics).column_statistics.push(ColumnStatistics::new_unknown());
                    statistics
                });
            }
            Ok(split)
        });
        let group = FileGroup::new(splits.collect::<Result<Vec<_>>>()?);
        let (mut groups, statistics) = compute_all_files_statistics(vec![group], self.schema.clone(), true, false)?;
        let splits = groups.pop().map(FileGroup::into_inner).unwrap_or_default();
        Ok((FileGroup::new(splits).split_files(partitions), statistics))
    }

    /// Adds how many distinct values columns have in the whole table, and so at most in a scan of its files.
    async fn count_distinct(&self, statistics: &mut Statistics, columns: &[usize]) -> Result<()> {
        let ids: Vec<_> = columns.iter().map(|index| self.table.columns[*index].id).collect();
        let counts = self.seen.distinct_counts(self.table.id, &ids).await.map_err(to_datafusion)?;
        let rows = statistics.num_rows.get_value().copied().unwrap_or(usize::MAX);
        for (index, count) in columns.iter().zip(counts) {
            let Some(count) = count.and_then(|count| usize::try_from(count).ok()) else { continue };
            if let Some(column) = statistics.column_statistics.get_mut(*index) {
                column.distinct_count = Precision::Inexact(count.min(rows));
            }
        }
        Ok(())
    }

    fn statistics_of(&self, file: &DataFile, columns: &[usize], known: &[CatalogStatistics]) -> Statistics {
        // What a delete file leaves over may have other bounds, and at an old snapshot it is not told how many rows it has.
        let deleted = file.delete_file.as_ref();
        let mut all = vec![ColumnStatistics::new_unknown(); self.columns.fields().len()];
        for (index, known) in columns.iter().zip(known) {
            let field = self.columns.field(*index);
            let bound = |scalar: &Option<frazil_catalog::Scalar>| {
                let value = scalar.as_ref().and_then(|scalar| value_of(scalar, field.data_type()));
                match (value, field.data_type()) {
                    (None, _) => Precision::Absent,
                    // Shortened texts, and floats beside NaN, are bounds that no row may have.
                    (Some(value), DataType::Utf8View | DataType::Float32 | DataType::Float64) => {
                        Precision::Inexact(value)
                    }
                    (Some(value), _) if deleted.is_some() => Precision::Inexact(value),
                    (Some(value), _) => Precision::Exact(value),
                }
            };
            let nulls = known.null_count.and_then(|nulls| usize::try_from(nulls).ok());
            all[*index] = ColumnStatistics {
                null_count: match (nulls, deleted) {
                    (None, _) => Precision::Absent,
                    (Some(nulls), None) => Precision::Exact(nulls),
                    (Some(nulls), Some(_)) => Precision::Inexact(nulls),
                },
                min_value: bound(&known.min),
                max_value: bound(&known.max),
                ..ColumnStatistics::new_unknown()
            };
        }
        Statistics {
            num_rows: match deleted {
                Some(deleted) if deleted.snapshot_filter.is_some() => Precision::Inexact(rows_of(file)),
                _ => Precision::Exact(rows_of(file)),
            },
            total_byte_size: Precision::Inexact(usize::try_from(file.size_bytes).unwrap_or_default()),
            column_statistics: all,
        }
    }

    /// Sums over the whole table, with the named columns in this order. None where the files cannot be read as they are, or
    /// their rows are not counted for certain.
    pub(super) async fn known(&self, columns: &[&str]) -> Result<Option<TableStatistics>> {
        let ids = columns.iter().map(|name| self.table.column(name).map(|column| column.id));
        let ids = ids.collect::<frazil_catalog::Result<Vec<_>>>().map_err(to_datafusion)?;
        let known = self.seen.table_statistics(self.table.id, &ids).await.map_err(to_datafusion)?;
        Ok(Some(known).filter(|known| known.files_not_plain == 0))
    }

    pub(super) fn is_whole(&self) -> bool {
        self.places.is_none()
    }

    pub(super) fn column_type(&self, name: &str) -> Option<DataType> {
        self.schema.field_with_name(name).ok().map(|field| field.data_type().clone())
    }

    /// Compressed bytes of the files that a scan with these filters reads, for the choice of the number of partitions.
    pub async fn bytes(&self, filters: &[Expr]) -> Result<u64> {
        Ok(self.files_for(filters).await?.sum().bytes)
    }

    /// What the catalog's statistics left of the table, where a statement's answer should tell.
    async fn note_pruning(&self, state: &dyn Session, files: &SelectedFiles) -> Result<()> {
        let Some(scans) = state.config().get_extension::<PrunedScans>() else { return Ok(()) };
        let all = self.seen.table_statistics(self.table.id, &[]).await.map_err(to_datafusion)?;
        scans.add(PrunedScan {
            table: format!("{}.{}", self.seen.database.name(), self.seen.view.full_name(&self.table)),
            files: all.files,
            files_left: files.len() as u64,
            bytes: u64::try_from(all.bytes).unwrap_or_default(),
            bytes_left: files.sum().bytes,
        });
        Ok(())
    }
}

/// What a split tells of a file's rows that are gone.
pub(crate) fn deleted_rows(file: &DataFile) -> Result<Option<DeletedRows>> {
    let Some(deleted) = &file.delete_file else { return Ok(None) };
    Ok(Some(DeletedRows {
        path: store_path(&deleted.path)?.to_string(),
        snapshot: deleted.snapshot_filter.map(|snapshot| snapshot.0),
        rows: u64::try_from(file.record_count).unwrap_or_default(),
    }))
}

/// Those that are left.
fn rows_of(file: &DataFile) -> usize {
    let deleted = file.delete_file.as_ref().map_or(0, |deleted| deleted.delete_count);
    usize::try_from(file.record_count - deleted).unwrap_or_default()
}

/// The store of a table's files.
pub(crate) fn store_url(location: &str) -> Result<ObjectStoreUrl> {
    match location.split_once("://") {
        Some((scheme, rest)) if scheme != "file" => {
            let host = rest.split('/').next().unwrap_or_default();
            ObjectStoreUrl::parse(format!("{scheme}://{host}"))
        }
        _ => Ok(ObjectStoreUrl::local_filesystem()),
    }
}

/// Where a file is in its store: the location without it.
pub(crate) fn store_path(location: &str) -> Result<Path> {
    Ok(match location.split_once("://") {
        Some((_, rest)) => Path::parse(rest.split_once('/').map_or("", |(_, path)| path))?,
        None => Path::from_absolute_path(location)?,
    })
}

/// The path of a file on this machine.
pub(super) fn local_path(location: &str) -> Option<PathBuf> {
    match location.split_once("://") {
        Some(("file", path)) => Some(PathBuf::from(path)),
        Some(_) => None,
        None => Some(PathBuf::from(location)),
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.defaults.iter().find(|(name, _)| name == column).map(|(_, default)| default)
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.files_for(filters).await?;
        if let Some(scanned) = &self.places {
            scanned.note(&files);
        }
        self.note_pruning(state, &files).await?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)));
        }
        self.refuse_unreadable(files.sum())?;
        let columns = self.columns_of_scan(projection, filters);
        let partitions = state.config().target_partitions().max(1);
        let (groups, mut statistics) = self.with_statistics(&files, &columns, partitions).await?;
        self.count_distinct(&mut statistics, &columns).await?;
        self.scan_of(state, groups, statistics, projection, limit)
    }
}

impl LakeTable {
    /// All of the groups' rows, each a partition.
    pub(super) fn scan_groups(&self, state: &dyn Session, groups: &[Vec<DataFile>]) -> Result<Arc<dyn ExecutionPlan>> {
        let group = |files: &Vec<DataFile>| {
            let files = files.iter().map(|file| self.partitioned_file(file)).collect::<Result<Vec<_>>>();
            files.map(FileGroup::new)
        };
        for group in groups {
            self.refuse_unreadable(SelectedFiles::from(group.clone()).sum())?;
        }
        let groups = groups.iter().map(group).collect::<Result<Vec<_>>>()?;
        self.scan_of(state, groups, Statistics::new_unknown(&self.schema), None, None)
    }

    fn scan_of(
        &self,
        state: &dyn Session,
        groups: Vec<FileGroup>,
        statistics: Statistics,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let url = store_url(&self.table.location)?;
        let footers = state.runtime_env().cache_manager.get_file_metadata_cache();
        let reader = CachedParquetFileReaderFactory::new(state.runtime_env().object_store(&url)?, footers);
        let table_schema = match &self.places {
            Some(_) => places::table_schema(&self.columns),
            None => TableSchema::from(self.columns.clone()),
        };
        let source = ParquetSource::new(table_schema)
            .with_table_parquet_options(state.table_options().parquet.clone())
            .with_parquet_file_reader_factory(Arc::new(reader));
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .with_expr_adapter(adapter_for(&self.columns))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// A default's text as a value of the column's type.
pub(crate) fn default_value(text: &str, data_type: &DataType) -> Result<ScalarValue> {
    ScalarValue::try_from_string(text.to_owned(), data_type)
}
