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
use frazil_catalog::{Bound, Column, ColumnRange, DataFile, DefaultValue, FileFilter, RangeTest, Table};
use frazil_common::{ErrorCode, Failure};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::columns::{scalar_of, table_schema, value_of};
use super::names::Seen;
use super::places::{self, ScannedFiles};
use super::{DeletedRows, adapter_for, to_datafusion};

/// The values of an `IN` list that are compared with every file.
const LIST_MAX: usize = 64;

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
}

impl std::fmt::Debug for LakeTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LakeTable({}.{})", self.seen.database.name(), self.seen.view.full_name(&self.table))
    }
}

impl LakeTable {
    pub fn new(seen: Seen, table: Arc<Table>) -> Result<Self> {
        let columns = table_schema(&table).map_err(to_datafusion)?;
        let literal = |column: &Column| match &column.default {
            Some(DefaultValue::Literal(text)) => Some((column.name.clone(), lit(text.clone()))),
            Some(DefaultValue::Expression(_)) | None => None,
        };
        let defaults = table.columns.iter().filter_map(literal).collect();
        Ok(Self { seen, table, schema: columns.clone(), columns, defaults, places: None })
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

    /// The files that may hold a row for which all filters are true.
    pub async fn files_for(&self, filters: &[Expr]) -> Result<Vec<DataFile>> {
        let conjuncts = filters.iter().flat_map(|filter| split_conjunction(filter));
        let filter = FileFilter {
            ranges: conjuncts.filter_map(|conjunct| self.range_of(conjunct)).collect(),
            statistics: self.table.columns.iter().map(|column| column.id).collect(),
        };
        self.seen.files(self.table.id, &filter).await.map_err(to_datafusion)
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
        self.refuse_unreadable(file)?;
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
        if let Some(deleted) = &file.delete_file {
            split.extensions.insert(DeletedRows {
                path: store_path(&deleted.path)?.to_string(),
                snapshot: deleted.snapshot_filter.map(|snapshot| snapshot.0),
                rows: u64::try_from(file.record_count).unwrap_or_default(),
            });
        }
        split.metadata_size_hint = file.footer_size_bytes.and_then(|bytes| usize::try_from(bytes + 8).ok());
        if self.places.is_none() {
            return Ok(split.with_statistics(Arc::new(self.statistics_of(file))));
        }
        let split = split.with_partition_values(vec![places::file_value(file)]);
        let mut split = split.with_statistics(Arc::new(self.statistics_of(file)));
        // DataFusion adds the file's number, but not the rows'.
        let statistics = split.statistics.take().map(|mut statistics| {
            Arc::make_mut(&mut statistics).column_statistics.push(ColumnStatistics::new_unknown());
            statistics
        });
        split.statistics = statistics;
        Ok(split)
    }

    fn refuse_unreadable(&self, file: &DataFile) -> Result<()> {
        let why = if file.mapping_id.is_some() {
            "has files whose columns go by name"
        } else if file.snapshot_filter.is_some() {
            "has files of several snapshots"
        } else {
            return Ok(());
        };
        let name = self.seen.view.full_name(&self.table);
        let message = format!("table \"{name}\" {why}, which cannot be read yet");
        Err(frazil_exchange::to_datafusion(Failure::new(ErrorCode::NotSupported, message)))
    }

    fn statistics_of(&self, file: &DataFile) -> Statistics {
        // What a delete file leaves over may have other bounds, and at an old snapshot it is not told how many rows it has.
        let deleted = file.delete_file.as_ref();
        let known = self.columns.fields().iter().zip(&file.statistics).map(|(field, known)| {
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
            ColumnStatistics {
                null_count: match (nulls, deleted) {
                    (None, _) => Precision::Absent,
                    (Some(nulls), None) => Precision::Exact(nulls),
                    (Some(nulls), Some(_)) => Precision::Inexact(nulls),
                },
                min_value: bound(&known.min),
                max_value: bound(&known.max),
                ..ColumnStatistics::new_unknown()
            }
        });
        let mut columns: Vec<ColumnStatistics> = known.collect();
        columns.resize(self.columns.fields().len(), ColumnStatistics::new_unknown());
        Statistics {
            num_rows: match deleted {
                Some(deleted) if deleted.snapshot_filter.is_some() => Precision::Inexact(rows_of(file)),
                _ => Precision::Exact(rows_of(file)),
            },
            total_byte_size: Precision::Inexact(usize::try_from(file.size_bytes).unwrap_or_default()),
            column_statistics: columns,
        }
    }

    /// Compressed bytes of all files, for the choice of the number of partitions.
    pub async fn bytes(&self) -> Result<u64> {
        let statistics = self.seen.table_statistics(self.table.id, &[]).await.map_err(to_datafusion)?;
        Ok(u64::try_from(statistics.bytes).unwrap_or_default())
    }
}

/// Those that are left.
fn rows_of(file: &DataFile) -> usize {
    let deleted = file.delete_file.as_ref().map_or(0, |deleted| deleted.delete_count);
    usize::try_from(file.record_count - deleted).unwrap_or_default()
}

/// The store of a table's files.
pub(super) fn store_url(location: &str) -> Result<ObjectStoreUrl> {
    match location.split_once("://") {
        Some((scheme, rest)) if scheme != "file" => {
            let host = rest.split('/').next().unwrap_or_default();
            ObjectStoreUrl::parse(format!("{scheme}://{host}"))
        }
        _ => Ok(ObjectStoreUrl::local_filesystem()),
    }
}

/// Where a file is in its store: the location without it.
pub(super) fn store_path(location: &str) -> Result<Path> {
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
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)));
        }
        let files = files.iter().map(|file| self.partitioned_file(file)).collect::<Result<Vec<_>>>()?;
        let groups = FileGroup::new(files).split_files(state.config().target_partitions().max(1));
        self.scan_of(state, groups, projection, limit)
    }
}

impl LakeTable {
    /// All of the groups' rows, each a partition.
    pub(super) fn scan_groups(&self, state: &dyn Session, groups: &[Vec<DataFile>]) -> Result<Arc<dyn ExecutionPlan>> {
        let group = |files: &Vec<DataFile>| {
            let files = files.iter().map(|file| self.partitioned_file(file)).collect::<Result<Vec<_>>>();
            files.map(FileGroup::new)
        };
        self.scan_of(state, groups.iter().map(group).collect::<Result<Vec<_>>>()?, None, None)
    }

    fn scan_of(
        &self,
        state: &dyn Session,
        groups: Vec<FileGroup>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (groups, statistics) = compute_all_files_statistics(groups, self.schema.clone(), true, false)?;
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
pub(super) fn default_value(text: &str, data_type: &DataType) -> Result<ScalarValue> {
    ScalarValue::try_from_string(text.to_owned(), data_type)
}
