//! Notes rows of data files as deleted. The places of one file's rows meet in one partition, which writes their delete file; where
//! too many rows are gone, it writes those that are left into a new file instead, and where none is left, nothing.

use std::collections::{BTreeMap, HashMap, btree_map};
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use frazil_catalog::{DataFile, FIELD_ID_KEY};
use frazil_common::{ErrorCode, Failure};
use futures::StreamExt;
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::async_writer::AsyncArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::deletes::all_but;
use super::places::FILE_COLUMN;
use super::report::{DeleteFileReport, DeleteReport, Report, report_batch, report_schema};
use super::table::{local_path, store_path, store_url};
use super::upload::{Begun, ObjectFile, writing};
use super::write::{PartitionWriter, WriteTarget, footer_bytes};
use super::{DeletedRows, adapter_for};
use crate::per_partition::{PartitionWork, PerPartitionExec, Place};
use crate::scan::NamingSource;

/// Positions are written so many at a time.
const BATCH_ROWS: usize = 65_536;
/// Of DuckLake's delete files; field ids and names are in its specification.
const PATH_FIELD: (&str, &str) = ("file_path", "2147483546");
const POSITION_FIELD: (&str, &str) = ("pos", "2147483545");

/// What to do when a row is to be deleted a second time by one statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Repeats {
    /// It is gone already: a row that several rows of `USING` meet.
    Ignored,
    /// Nobody could say which of the changes is meant.
    Refused,
}

/// Files that rows may be deleted from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteTarget {
    pub write: WriteTarget,
    pub files: Vec<TargetFile>,
    pub repeats: Repeats,
    /// A file of which more rows are deleted than this part, with those that were before, is written anew.
    pub deleted_part_max: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetFile {
    /// Its number in the catalog.
    pub id: i64,
    /// In full.
    pub path: String,
    pub size_bytes: u64,
    /// The deleted ones included.
    pub rows: u64,
    /// Where its delete file is, if it has one.
    pub delete_path: Option<String>,
}

impl TargetFile {
    pub fn of(file: &DataFile) -> Self {
        Self {
            id: file.id.0,
            path: file.path.clone(),
            size_bytes: u64::try_from(file.size_bytes).unwrap_or_default(),
            rows: u64::try_from(file.record_count).unwrap_or_default(),
            delete_path: file.delete_file.as_ref().map(|deleted| deleted.path.clone()),
        }
    }
}

/// The input's columns are those of `places_schema`. All places of one file must be in one partition.
pub type WriteDeletesExec = PerPartitionExec<WriteDeletes>;

#[derive(Clone, Debug)]
pub struct WriteDeletes {
    pub target: DeleteTarget,
    /// The table's, with field ids.
    pub table_schema: SchemaRef,
}

impl WriteDeletesExec {
    pub fn new(input: Arc<dyn ExecutionPlan>, target: DeleteTarget, table_schema: SchemaRef) -> Self {
        Self::of(input, WriteDeletes { target, table_schema })
    }

    /// Above places that are anywhere.
    pub fn over(places: Arc<dyn ExecutionPlan>, target: DeleteTarget, table_schema: SchemaRef) -> Result<Self> {
        let partitions = places.output_partitioning().partition_count();
        let input = match partitions {
            1 => places,
            _ => {
                let hash = Partitioning::Hash(vec![file_column()], partitions);
                Arc::new(RepartitionExec::try_new(places, hash)?)
            }
        };
        Ok(Self::new(input, target, table_schema))
    }
}

fn file_column() -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(FILE_COLUMN, 1))
}

impl PartitionWork for WriteDeletes {
    const NAME: &'static str = "WriteDeletesExec";
    const EMISSION: EmissionType = EmissionType::Final;

    fn schema(&self, _: &SchemaRef) -> SchemaRef {
        report_schema()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: table={}, files={}", Self::NAME, self.target.write.table, self.target.files.len())
    }

    fn required_distribution(&self) -> Distribution {
        Distribution::KeyPartitioned(vec![file_column()])
    }

    fn run(&self, place: Place<'_>) -> Result<SendableRecordBatchStream> {
        let places = place.rows()?;
        let context = place.context;
        let store = context.runtime_env().object_store(store_url(&self.target.write.location)?)?;
        let memory = |what: &str| {
            let name = format!("{}[{}] {what}", Self::NAME, place.partition);
            MemoryConsumer::new(name).register(context.memory_pool())
        };
        let deleting = Deleting {
            files: self.target.files.iter().map(|file| (file.id, file.clone())).collect(),
            target: self.target.clone(),
            table_schema: self.table_schema.clone(),
            begun: Begun::new(store.clone()),
            store,
            positions: BTreeMap::new(),
            reservation: memory("positions"),
            writing: memory("files"),
            reports: Vec::new(),
            context,
        };
        let report = futures::stream::once(deleting.delete_all(places));
        Ok(Box::pin(RecordBatchStreamAdapter::new(report_schema(), report)))
    }
}

/// Rows of a file: a bit for each.
struct Positions {
    words: Vec<u64>,
    count: u64,
    rows: u64,
}

impl Positions {
    fn new(rows: u64) -> Self {
        Self { words: vec![0; Self::words(rows)], count: 0, rows }
    }

    fn words(rows: u64) -> usize {
        rows.div_ceil(64) as usize
    }

    /// Whether it was not there.
    fn insert(&mut self, position: u64) -> bool {
        let (word, bit) = ((position / 64) as usize, 1 << (position % 64));
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(new);
        new
    }

    /// Ascending.
    fn iter(&self) -> impl Iterator<Item = u64> {
        let of_word = |(index, word): (usize, &u64)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(index as u64 * 64 + u64::from(bit))
            })
        };
        self.words.iter().enumerate().flat_map(of_word)
    }
}

struct Deleting {
    target: DeleteTarget,
    files: HashMap<i64, TargetFile>,
    table_schema: SchemaRef,
    store: Arc<dyn ObjectStore>,
    begun: Begun,
    context: Arc<TaskContext>,
    /// By the number of the data file.
    positions: BTreeMap<i64, Positions>,
    reservation: MemoryReservation,
    writing: MemoryReservation,
    reports: Vec<Report>,
}

impl Deleting {
    async fn delete_all(mut self, mut places: SendableRecordBatchStream) -> Result<RecordBatch> {
        let mut others: Vec<RecordBatch> = Vec::new();
        while let Some(batch) = places.next().await {
            let batch = batch?;
            self.note(&batch)?;
            let reports = batch.project(&[0])?;
            if reports.column(0).null_count() < reports.num_rows() {
                others.push(reports);
            }
        }
        let positions = std::mem::take(&mut self.positions);
        for (id, positions) in positions {
            let file = self.files.get(&id).cloned();
            let file = file.ok_or_else(|| internal("deleted rows of a file that is not the table's"))?;
            self.delete(&file, positions).await?;
        }
        others.push(report_batch(&self.reports)?);
        let schema = report_schema();
        let others =
            others.into_iter().map(|batch| batch.with_schema(schema.clone())).collect::<Result<Vec<_>, _>>()?;
        let report = arrow::compute::concat_batches(&schema, &others)?;
        self.begun.take();
        Ok(report)
    }

    fn note(&mut self, batch: &RecordBatch) -> Result<()> {
        let numbers = |index: usize| batch.column(index).as_primitive_opt::<Int64Type>();
        let (Some(files), Some(rows)) = (numbers(1), numbers(2)) else { return Err(internal("places of no type")) };
        for (file, row) in files.iter().zip(rows) {
            let (Some(file), Some(row)) = (file, row) else { continue };
            let positions = match self.positions.entry(file) {
                btree_map::Entry::Occupied(known) => known.into_mut(),
                btree_map::Entry::Vacant(new) => {
                    let rows = self.files.get(&file).map(|file| file.rows);
                    let rows = rows.ok_or_else(|| internal("deleted rows of a file that is not the table's"))?;
                    self.reservation.try_grow(8 * Positions::words(rows))?;
                    new.insert(Positions::new(rows))
                }
            };
            let position = u64::try_from(row).ok().filter(|row| *row < positions.rows);
            let position = position.ok_or_else(|| internal("a deleted row is not the file's"))?;
            if !positions.insert(position) && self.target.repeats == Repeats::Refused {
                let table = &self.target.write.table;
                let message =
                    format!("a row of table \"{table}\" is matched by several rows, which would change it each");
                return Err(frazil_exchange::to_datafusion(Failure::new(ErrorCode::SeveralRows, message)));
            }
        }
        Ok(())
    }

    async fn delete(&mut self, file: &TargetFile, mut positions: Positions) -> Result<()> {
        let rows = positions.count as i64;
        if let Some(path) = &file.delete_path {
            let path = store_path(path)?.to_string();
            let earlier = DeletedRows { path, snapshot: None, rows: file.rows };
            for position in earlier.positions(self.store.clone()).await? {
                positions.insert(position);
            }
        }
        let few = positions.count as f64 <= self.target.deleted_part_max * file.rows as f64;
        let delete_file = match positions.count {
            all if all >= file.rows => None,
            _ if few => Some(self.write_delete_file(file, &positions).await?),
            _ => {
                self.write_rest(file, &positions).await?;
                None
            }
        };
        self.reports.push(Report::Deleted(DeleteReport { data_file: file.id, rows, delete_file }));
        Ok(())
    }

    async fn write_delete_file(&mut self, file: &TargetFile, positions: &Positions) -> Result<DeleteFileReport> {
        let field = |(name, id): (&str, &str), data_type| {
            let metadata = [(FIELD_ID_KEY.to_owned(), id.to_owned())].into();
            Field::new(name, data_type, false).with_metadata(metadata)
        };
        let fields = vec![field(PATH_FIELD, DataType::Utf8), field(POSITION_FIELD, DataType::Int64)];
        let schema = Arc::new(Schema::new(fields));
        let name = format!("frazil-{}-delete.parquet", Uuid::now_v7());
        let object = store_path(&format!("{}{name}", self.target.write.location))?;
        let position = ColumnPath::from(POSITION_FIELD.0);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_column_dictionary_enabled(position.clone(), false)
            .set_column_encoding(position, Encoding::DELTA_BINARY_PACKED)
            .build();
        self.begun.add(object.clone());
        let local = local_path(&format!("{}{name}", self.target.write.location));
        let object = ObjectFile::create(self.store.clone(), object, local);
        let mut writer = AsyncArrowWriter::try_new(object, schema.clone(), Some(properties))?;
        let mut ascending = positions.iter();
        loop {
            let chunk: Int64Array = ascending.by_ref().take(BATCH_ROWS).map(|position| position as i64).collect();
            if chunk.is_empty() {
                break;
            }
            let paths = StringArray::from_iter_values(std::iter::repeat_n(&file.path, chunk.len()));
            let columns: Vec<ArrayRef> = vec![Arc::new(paths), Arc::new(chunk)];
            writer
                .write(&RecordBatch::try_new(schema.clone(), columns)?)
                .await
                .map_err(|error| writing(error, &self.target.write.table))?;
        }
        let metadata = writer.finish().await.map_err(|error| writing(error, &self.target.write.table))?;
        let size = writer.bytes_written();
        Ok(DeleteFileReport {
            path: name,
            rows: positions.count as i64,
            size_bytes: size as i64,
            footer_bytes: footer_bytes(&metadata, size),
        })
    }

    /// The rows that are not deleted, into new files.
    async fn write_rest(&mut self, file: &TargetFile, positions: &Positions) -> Result<()> {
        let location = store_path(&file.path)?;
        let meta = ObjectMeta {
            location,
            last_modified: Default::default(),
            size: file.size_bytes,
            e_tag: None,
            version: None,
        };
        let mut split = PartitionedFile::from(meta);
        split.extensions.insert(all_but(positions.iter(), file.rows));
        let footers = self.context.runtime_env().cache_manager.get_file_metadata_cache();
        let readers = CachedParquetFileReaderFactory::new(self.store.clone(), footers);
        let source = ParquetSource::new(TableSchema::from(self.table_schema.clone()))
            .with_parquet_file_reader_factory(Arc::new(readers));
        let source = NamingSource::wrap(Arc::new(source));
        let config = FileScanConfigBuilder::new(store_url(&self.target.write.location)?, source)
            .with_file_groups(vec![FileGroup::new(vec![split])])
            .with_expr_adapter(adapter_for(&self.table_schema))
            .build();
        let mut rest = DataSourceExec::from_data_source(config).execute(0, self.context.clone())?;
        let target = WriteTarget { file_bytes: u64::MAX, file_rows: u64::MAX, ..self.target.write.clone() };
        let reservation = self.writing.new_empty();
        let mut writer = PartitionWriter::new(target, &self.table_schema, self.store.clone(), reservation)?;
        let mut rows = 0;
        while let Some(batch) = rest.next().await {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            writer.write(batch.columns()).await?;
        }
        if rows + positions.count != file.rows {
            let message = format!("data file \"{}\" has not the {} rows that the catalog tells", file.path, file.rows);
            return Err(frazil_exchange::to_datafusion(Failure::new(ErrorCode::FileCorrupt, message)));
        }
        self.reports.extend(writer.finish().await?);
        self.begun.put_back(writer.keep());
        Ok(())
    }
}

fn internal(message: &str) -> DataFusionError {
    frazil_exchange::to_datafusion(Failure::internal(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_kept_once_and_in_order() {
        let mut positions = Positions::new(200);
        for position in [199, 0, 63, 64, 0, 65, 128] {
            positions.insert(position);
        }
        assert!(!positions.insert(64), "it is there");
        assert_eq!(positions.count, 6);
        assert_eq!(positions.iter().collect::<Vec<_>>(), [0, 63, 64, 65, 128, 199]);
    }
}
