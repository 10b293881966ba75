//! Semi and anti joins that collect their build side, spread over executors.
//!
//! Such a join emits build rows: those that matched (semi), or those that did not (anti). Whether a row matched is known only
//! when every probe partition was seen, and each executor sees its own. So the build rows are numbered before they are
//! broadcast, each executor's join gives its own verdict, and the verdicts on one row meet in one partition:
//!
//! ```text
//!  build side ─▶ NumberRowsExec ═broadcast═▶ join of task 1 ─┐            semi: a row that any task let through
//!                                ═broadcast═▶ join of task 2 ─┴─hash of ─▶ SettleRowsExec
//!                                                              the number  anti: a row that all tasks let through
//! ```
//!
//! The probe side stays where it was scanned. The other way, a partitioned join, hashes and moves all of it: TPC-H q4 at
//! scale 1, whose build side has 57,000 rows and whose probe side 3.8 million, takes a quarter more processor time so.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::common::hash_utils::RandomState;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, RecordBatchStream};
use frazil_common::Failure;
use frazil_exchange::{ExchangeReadExec, to_datafusion};
use futures::{Stream, StreamExt};

use crate::per_partition::{PartitionWork, PerPartitionExec, Place};

/// The last column of a numbered build side, and of what a join over one emits.
pub const ROW_NUMBER: &str = "__frazil_build_row";

/// Numbers below it are of one partition's rows, the bits above are the partition's number.
const ROW_BITS: u32 = 40;

/// Of a row in the hash table, with its slack, also while the table grows.
const SETTLED_BYTES: usize = 64;

/// Not that of exchanges: rows that are dealt by a hash and then kept by it would share a few of the table's places.
const SETTLED_SEED: u64 = 0x5e77_1ed0;

/// Whether a plan's rows are numbered.
pub fn is_numbered(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.schema().fields().last().is_some_and(|field| field.name() == ROW_NUMBER)
}

/// Adds a column that tells each row of a stage from all others.
pub type NumberRowsExec = PerPartitionExec<NumberRows>;

#[derive(Clone, Debug)]
pub struct NumberRows {
    /// The stage's numbers of this task's partitions; in the coordinator's plan, of all.
    partitions: Vec<u32>,
}

impl NumberRowsExec {
    /// `partitions`: the number that each of the input's partitions has among all tasks of the stage.
    pub fn new(input: Arc<dyn ExecutionPlan>, partitions: Vec<u32>) -> Self {
        Self::of(input, NumberRows { partitions })
    }

    pub fn over(input: Arc<dyn ExecutionPlan>) -> Self {
        let partitions = (0..input.output_partitioning().partition_count() as u32).collect();
        Self::new(input, partitions)
    }
}

impl PartitionWork for NumberRows {
    const NAME: &'static str = "NumberRowsExec";
    const EMISSION: EmissionType = EmissionType::Incremental;

    fn schema(&self, input: &SchemaRef) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = input.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(ROW_NUMBER, DataType::UInt64, false)));
        Arc::new(Schema::new_with_metadata(fields, input.metadata().clone()))
    }

    fn run(&self, place: Place<'_>) -> Result<SendableRecordBatchStream> {
        let number = self.partitions.get(place.partition).copied();
        let number = number.ok_or_else(|| internal("a partition of numbered rows has no number itself"))?;
        let (input, next) = (place.rows()?, u64::from(number) << ROW_BITS);
        let counted = BaselineMetrics::new(place.metrics, place.partition);
        Ok(Box::pin(Numbering { schema: place.schema, input, next, counted }))
    }
}

struct Numbering {
    schema: SchemaRef,
    input: SendableRecordBatchStream,
    next: u64,
    counted: BaselineMetrics,
}

impl Stream for Numbering {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(batch) = ready!(self.input.poll_next_unpin(context)?) else { return Poll::Ready(None) };
        let elapsed = self.counted.elapsed_compute().clone();
        let _timer = elapsed.timer();
        self.counted.record_output(batch.num_rows());
        let first = self.next;
        self.next += batch.num_rows() as u64;
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(UInt64Array::from_iter_values(first..self.next)));
        Poll::Ready(Some(RecordBatch::try_new(self.schema.clone(), columns).map_err(Into::into)))
    }
}

impl RecordBatchStream for Numbering {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// When a row has been let through by enough tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A semi join: by one.
    AnyTask,
    /// An anti join: by every task of the join's stage.
    EveryTask,
}

/// Lets each numbered row through once, or not at all, and takes its number away. Reads the exchange that the tasks of the
/// join's stage write, dealt by the rows' numbers.
pub type SettleRowsExec = PerPartitionExec<SettleRows>;

#[derive(Clone, Debug)]
pub struct SettleRows {
    pub verdict: Verdict,
    /// The input's without the row numbers.
    schema: SchemaRef,
}

impl SettleRowsExec {
    /// `schema`: the input's without the row numbers.
    pub fn new(input: Arc<dyn ExecutionPlan>, verdict: Verdict, schema: SchemaRef) -> Self {
        Self::of(input, SettleRows { verdict, schema })
    }
}

impl SettleRows {
    /// How many tasks' word it takes.
    fn tasks_needed(&self, input: &dyn ExecutionPlan) -> Result<u32> {
        match self.verdict {
            Verdict::AnyTask => Ok(1),
            Verdict::EveryTask => {
                let read = input.downcast_ref::<ExchangeReadExec>();
                read.and_then(ExchangeReadExec::producers).ok_or_else(|| internal("rows are settled above an exchange"))
            }
        }
    }
}

impl PartitionWork for SettleRows {
    const NAME: &'static str = "SettleRowsExec";
    const EMISSION: EmissionType = EmissionType::Incremental;

    fn schema(&self, _: &SchemaRef) -> SchemaRef {
        self.schema.clone()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.verdict {
            Verdict::AnyTask => "SettleRowsExec: by any task",
            Verdict::EveryTask => "SettleRowsExec: by every task",
        })
    }

    fn run(&self, place: Place<'_>) -> Result<SendableRecordBatchStream> {
        let needed = self.tasks_needed(place.input.as_ref())?;
        let reservation = MemoryConsumer::new(format!("{}[{}]", Self::NAME, place.partition));
        let reservation = reservation.register(place.context.memory_pool());
        let input = place.rows()?;
        let seen = HashMap::with_hasher(RandomState::with_seed(SETTLED_SEED));
        let counted = BaselineMetrics::new(place.metrics, place.partition);
        Ok(Box::pin(Settling { schema: place.schema, input, needed, seen, reservation, counted }))
    }
}

struct Settling {
    schema: SchemaRef,
    input: SendableRecordBatchStream,
    needed: u32,
    /// By row number: the tasks that let it through.
    seen: HashMap<u64, u32, RandomState>,
    reservation: MemoryReservation,
    counted: BaselineMetrics,
}

impl Settling {
    fn settle(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let elapsed = self.counted.elapsed_compute().clone();
        let _timer = elapsed.timer();
        let (numbers, columns) = batch.columns().split_last().ok_or_else(|| internal("rows without numbers"))?;
        let numbers = numbers.as_primitive_opt::<UInt64Type>();
        let numbers = numbers.ok_or_else(|| internal("row numbers of another type"))?;
        self.reservation.try_grow(SETTLED_BYTES * numbers.len())?;
        let known = self.seen.len();
        let settled = numbers.values().iter().map(|number| {
            let tasks = self.seen.entry(*number).or_default();
            *tasks += 1;
            *tasks == self.needed
        });
        let settled: BooleanArray = settled.map(Some).collect();
        // What was asked for is what is new at the most.
        self.reservation.shrink(SETTLED_BYTES * (numbers.len() - (self.seen.len() - known)));
        let columns: Vec<ArrayRef> = columns.to_vec();
        let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows)?;
        Ok(filter_record_batch(&batch, &settled)?)
    }
}

impl Stream for Settling {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Reading an exchange yields to others now and then, also when nothing of a batch is left here.
        while let Some(batch) = ready!(self.input.poll_next_unpin(context)?) {
            let settled = self.settle(&batch)?;
            if settled.num_rows() > 0 {
                self.counted.record_output(settled.num_rows());
                return Poll::Ready(Some(Ok(settled)));
            }
        }
        Poll::Ready(None)
    }
}

impl RecordBatchStream for Settling {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

fn internal(message: &str) -> datafusion::error::DataFusionError {
    to_datafusion(Failure::internal(message))
}
