//! Rows of Parquet files. A file may be read in pieces, each by its row groups, wherever the pieces run.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::datasource::listing::FileRange;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use super::check::{Checker, Chunk, Places};
use super::shape::{Case, Fault, Origin};
use crate::errors::panic_message;
use crate::storage::is_same_version;

const CHUNK_ROWS: usize = 8192;

pub struct ParquetReader {
    checker: Arc<Checker>,
    stream: ParquetRecordBatchStream<StoredFile>,
    /// By column of the table: the column of a batch.
    columns: Vec<Option<usize>>,
    /// Rows of the piece's row groups, each with the number in the file of its first row, from 0.
    groups: Vec<(u64, u64)>,
    done: u64,
}

/// Rows by their number in the file.
struct Numbers {
    first: u64,
}

impl Places for Numbers {
    fn line(&self, row: usize) -> u64 {
        self.first + row as u64 + 1
    }

    fn character(&self, _: usize, _: usize) -> u64 {
        0
    }
}

impl ParquetReader {
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        meta: &ObjectMeta,
        range: Option<&FileRange>,
        checker: Arc<Checker>,
    ) -> Result<Self, Fault> {
        let now = store.head(&meta.location).await.map_err(|error| Fault::unreadable(&error))?;
        if !is_same_version(meta, &now) {
            return Err(Fault::of_file("it was changed while it was being loaded"));
        }
        let mut reader = StoredFile::new(store, meta);
        let options = ArrowReaderOptions::new();
        let metadata =
            guarded(ArrowReaderMetadata::load_async(&mut reader, options)).await?.map_err(|e| corrupt(&e))?;
        // Strings as views, so that they are not copied on the way to the table's.
        let options = ArrowReaderOptions::new().with_schema(with_views(metadata.schema()));
        let metadata = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).map_err(|e| corrupt(&e))?;
        let (picked, columns) = pick(&checker, metadata.schema())?;
        let mut groups = Vec::new();
        let mut numbers = Vec::new();
        let mut first = 0;
        for (index, group) in metadata.metadata().row_groups().iter().enumerate() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            if range.is_none_or(|range| begins_in(group, range)) {
                groups.push(index);
                numbers.push((first, rows));
            }
            first += rows;
        }
        let mask = ProjectionMask::roots(metadata.parquet_schema(), picked);
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
        let builder = builder.with_row_groups(groups).with_projection(mask).with_batch_size(CHUNK_ROWS);
        let stream = builder.build().map_err(|error| corrupt(&error))?;
        Ok(Self { checker, stream, columns, groups: numbers, done: 0 })
    }

    pub async fn next(&mut self) -> Result<Option<Chunk>, Fault> {
        let batch = match guarded(self.stream.next()).await? {
            None => return Ok(None),
            Some(batch) => batch.map_err(|error| Fault { line: self.number() + 1, ..corrupt(&error) })?,
        };
        let sources: Vec<Option<ArrayRef>> =
            self.columns.iter().map(|column| column.map(|column| batch.column(column).clone())).collect();
        // Batches do not cross from one row group into another that is not its neighbour: pieces are of neighbours.
        let places = Numbers { first: self.number() };
        let chunk = self.checker.check(&sources, batch.num_rows(), &places);
        self.done += batch.num_rows() as u64;
        chunk.map(Some)
    }

    /// In the file, of the next row.
    fn number(&self) -> u64 {
        let mut left = self.done;
        for (first, rows) in &self.groups {
            if left < *rows {
                return first + left;
            }
            left -= rows;
        }
        self.groups.last().map_or(0, |(first, rows)| first + rows)
    }
}

/// A file as the Parquet reader asks for its bytes.
pub struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl StoredFile {
    pub fn new(store: Arc<dyn ObjectStore>, meta: &ObjectMeta) -> Self {
        Self { store, path: meta.location.clone(), size: meta.size }
    }
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { Ok(self.store.get_range(&self.path, range).await?) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move { Ok(self.store.get_ranges(&self.path, &ranges).await?) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let size = self.size;
        async move { Ok(Arc::new(ParquetMetaDataReader::new().load_and_finish(self, size).await?)) }.boxed()
    }
}

/// As DataFusion decides it: by the first byte of the first column.
fn begins_in(group: &RowGroupMetaData, range: &FileRange) -> bool {
    let Some(column) = group.columns().first() else { return range.start == 0 };
    range.contains(column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset()))
}

/// Which columns of the file to read, and where each column of the table is among them.
fn pick(checker: &Checker, file: &SchemaRef) -> Result<(Vec<usize>, Vec<Option<usize>>), Fault> {
    let sensitive = checker.shape.by_name == Some(Case::Sensitive);
    let find = |name: &str| {
        let exact = file.fields().iter().position(|field| field.name() == name);
        let similar = || file.fields().iter().position(|field| field.name().to_lowercase() == name.to_lowercase());
        exact.or_else(|| if sensitive { None } else { similar() })
    };
    let wanted: Vec<Option<usize>> = checker
        .schema
        .fields()
        .iter()
        .zip(&checker.shape.columns)
        .map(|(field, column)| if matches!(column.origin, Origin::Field(_)) { find(field.name()) } else { None })
        .collect();
    let mut picked: Vec<usize> = wanted.iter().flatten().copied().collect();
    picked.sort_unstable();
    picked.dedup();
    if picked.is_empty() {
        let names: Vec<&str> = file.fields().iter().take(10).map(|field| field.name().as_str()).collect();
        let message = format!("none of its columns is one of the table's: it has {}", names.join(", "));
        return Err(Fault { line: 0, message, code: frazil_common::ErrorCode::InvalidData });
    }
    // Batches have the columns in the file's order.
    let columns = wanted.iter().map(|wanted| wanted.and_then(|wanted| picked.binary_search(&wanted).ok())).collect();
    Ok((picked, columns))
}

fn with_views(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => field.as_ref().clone().with_data_type(DataType::Utf8View),
        DataType::Binary => field.as_ref().clone().with_data_type(DataType::BinaryView),
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<Field>>(), schema.metadata().clone()))
}

fn corrupt(error: &ParquetError) -> Fault {
    Fault::of_file(format!("it cannot be read as Parquet: {error}"))
}

/// Readers panic over some malformed files.
async fn guarded<T>(read: impl Future<Output = T>) -> Result<T, Fault> {
    AssertUnwindSafe(read)
        .catch_unwind()
        .await
        .map_err(|panic| Fault::of_file(format!("it cannot be read as Parquet: {}", panic_message(&*panic))))
}
