//! One staged file, from its bytes to the rows that are loaded of it.
//!
//! Errors are found before rows are handed on, so what the policy is decides here what is loaded:
//!
//! ```text
//!  abort     the first error fails the statement
//!  continue  good rows go on; a file that breaks off gives those before the break
//!  skip      rows are held back until the file's end is seen; of more than HELD_BYTES_MAX the file is read twice
//!  try       nothing goes on
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::error::Result;
use frazil_exchange::to_datafusion;
use futures::stream::BoxStream;
use object_store::ObjectStore;

use super::bytes::ByteReader;
use super::check::{Checker, Chunk};
use super::csv::CsvReader;
use super::format::FileKind;
use super::json::JsonReader;
use super::parquet::ParquetReader;
use super::report::{StagedReport, encode};
use super::shape::{DETAILS_MAX, Fault, Policy, RowError};

/// Of rows that wait for their file's end.
const HELD_BYTES_MAX: usize = 32 << 20;

enum Reader {
    Csv(Box<CsvReader>),
    Json(Box<JsonReader>),
    Parquet(Box<ParquetReader>),
}

impl Reader {
    async fn open(store: Arc<dyn ObjectStore>, file: &PartitionedFile, checker: Arc<Checker>) -> Result<Self, Fault> {
        let format = &checker.shape.format;
        let kind = format.kind;
        if kind == FileKind::Parquet {
            let reader = ParquetReader::open(store, &file.object_meta, file.range.as_ref(), checker).await?;
            return Ok(Self::Parquet(Box::new(reader)));
        }
        let bytes = ByteReader::open(store, file.object_meta.clone(), format.compression)?;
        if kind == FileKind::Json {
            let mut reader = JsonReader::new(bytes, checker);
            reader.open().await?;
            return Ok(Self::Json(Box::new(reader)));
        }
        let mut reader = CsvReader::new(bytes, checker);
        reader.open().await?;
        Ok(Self::Csv(Box::new(reader)))
    }

    async fn next(&mut self) -> Result<Option<Chunk>, Fault> {
        match self {
            Self::Csv(reader) => reader.next().await,
            Self::Json(reader) => reader.next().await,
            Self::Parquet(reader) => reader.next().await,
        }
    }
}

pub struct FileLoad {
    store: Arc<dyn ObjectStore>,
    file: PartitionedFile,
    checker: Arc<Checker>,
    /// The scan's, with the column of reports if there is one.
    schema: SchemaRef,
    reader: Option<Reader>,
    report: StagedReport,
    held: VecDeque<RecordBatch>,
    held_bytes: usize,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reading,
    /// The file is good, and too long to be held: it is read again.
    Again,
    /// What was held goes on.
    Emptying,
    Reporting,
    Done,
}

/// The batches of a file, and its report at the end.
pub fn load(
    store: Arc<dyn ObjectStore>,
    file: PartitionedFile,
    checker: Arc<Checker>,
    schema: SchemaRef,
) -> BoxStream<'static, Result<RecordBatch>> {
    let report = StagedReport { path: file.object_meta.location.to_string(), ..StagedReport::default() };
    let (held, held_bytes, phase) = (VecDeque::new(), 0, Phase::Reading);
    let load = FileLoad { store, file, checker, schema, reader: None, report, held, held_bytes, phase };
    Box::pin(futures::stream::try_unfold(
        load,
        |mut load| async move { Ok(load.next().await?.map(|batch| (batch, load))) },
    ))
}

impl FileLoad {
    fn policy(&self) -> Policy {
        self.checker.shape.policy
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match self.phase {
                Phase::Reading | Phase::Again => {
                    if let Some(batch) = self.read().await? {
                        return Ok(Some(batch));
                    }
                }
                Phase::Emptying => match self.held.pop_front() {
                    Some(batch) => return Ok(Some(batch)),
                    None => self.phase = Phase::Reporting,
                },
                Phase::Reporting => {
                    self.phase = Phase::Done;
                    if self.checker.shape.reports {
                        return self.report_batch().map(Some);
                    }
                }
                Phase::Done => return Ok(None),
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Chunk>, Fault> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let reader = Reader::open(self.store.clone(), &self.file, self.checker.clone()).await?;
                self.reader.insert(reader)
            }
        };
        reader.next().await
    }

    /// A batch to hand on, if this piece of the file gives one at once.
    async fn read(&mut self) -> Result<Option<RecordBatch>> {
        let chunk = match self.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => {
                self.end();
                return Ok(None);
            }
            Err(fault) => {
                self.note(fault.into_row_error())?;
                self.end();
                return Ok(None);
            }
        };
        if self.phase == Phase::Again {
            // It was good a moment ago.
            if let Some(error) = chunk.errors.into_iter().next() {
                return Err(self.failure(error));
            }
            return self.data_batch(chunk.columns, chunk.rows);
        }
        self.report.rows_parsed += chunk.parsed;
        for error in chunk.errors {
            self.note(error)?;
        }
        match self.policy() {
            Policy::Abort | Policy::Continue => {
                self.report.rows_loaded += chunk.rows as u64;
                self.data_batch(chunk.columns, chunk.rows)
            }
            Policy::Try => Ok(None),
            Policy::SkipFile if self.report.errors > 0 => {
                self.held.clear();
                Ok(None)
            }
            Policy::SkipFile => {
                self.report.rows_loaded += chunk.rows as u64;
                if self.held_bytes > HELD_BYTES_MAX {
                    self.held.clear();
                } else if let Some(batch) = self.data_batch(chunk.columns, chunk.rows)? {
                    self.held_bytes += batch.get_array_memory_size();
                    self.held.push_back(batch);
                }
                Ok(None)
            }
        }
    }

    fn end(&mut self) {
        self.reader = None;
        let skips = self.policy() == Policy::SkipFile && self.phase == Phase::Reading;
        if skips && self.report.errors > 0 {
            self.held.clear();
            self.report.rows_loaded = 0;
        }
        self.phase = match skips && self.report.errors == 0 {
            true if self.held_bytes > HELD_BYTES_MAX => {
                self.held.clear();
                Phase::Again
            }
            true => Phase::Emptying,
            false => Phase::Reporting,
        };
    }

    fn note(&mut self, error: RowError) -> Result<()> {
        // What was told to be good in the first reading is not so in the second.
        if self.policy() == Policy::Abort || self.phase == Phase::Again {
            return Err(self.failure(error));
        }
        self.report.errors += 1;
        if self.policy() == Policy::Try && self.report.details.len() < DETAILS_MAX {
            self.report.details.push(error.clone());
        }
        self.report.first.get_or_insert(error);
        Ok(())
    }

    fn failure(&self, error: RowError) -> datafusion::error::DataFusionError {
        let shape = &self.checker.shape;
        to_datafusion(error.into_failure(&shape.shown(self.file.object_meta.location.as_ref()), &shape.table))
    }

    fn data_batch(&self, mut columns: Vec<ArrayRef>, rows: usize) -> Result<Option<RecordBatch>> {
        if rows == 0 {
            return Ok(None);
        }
        if self.checker.shape.reports {
            columns.push(new_null_array(&DataType::Utf8, rows));
        }
        Ok(Some(RecordBatch::try_new(self.schema.clone(), columns)?))
    }

    fn report_batch(&self) -> Result<RecordBatch> {
        let text = encode(&self.report).map_err(to_datafusion)?;
        let fields = self.schema.fields();
        let data = &fields[..fields.len() - 1];
        let mut columns: Vec<ArrayRef> = data.iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        columns.push(Arc::new(StringArray::from(vec![text])));
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}
