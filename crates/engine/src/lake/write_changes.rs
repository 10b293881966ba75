//! Writes the rows that a statement over rows of a table puts in their place, and passes on the places of those that go.
//!
//! ```text
//!  columns…, file, row, action ─▶ WriteChangesExec ─┬─ files of new rows, as reports
//!                                                   └─ file, row ═ hash of the file ═▶ WriteDeletesExec
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, new_null_array};
use arrow::compute::{filter, filter_record_batch, is_not_null};
use arrow::datatypes::{DataType, Field, Int8Type, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use frazil_common::Failure;
use futures::StreamExt;

use super::places::{FILE_COLUMN, ROW_COLUMN};
use super::report::{REPORT_COLUMN, Report, report_texts};
use super::write::{PartitionWriter, WriteTarget};
use crate::per_partition::{PartitionWork, PerPartitionExec, Place};

/// The last column of changed rows: what becomes of a row.
pub const ACTION_COLUMN: &str = "__frazil_action";

/// What becomes of a row, by its number in [`ACTION_COLUMN`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowAction {
    Insert = 1,
    /// The row at its place is deleted, and written as it is now.
    Update = 2,
    Delete = 3,
}

/// A report or null; then the place of a row that goes, or nulls.
pub(super) fn places_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(REPORT_COLUMN, DataType::Utf8, true),
        Field::new(FILE_COLUMN, DataType::Int64, true),
        Field::new(ROW_COLUMN, DataType::Int64, true),
    ]))
}

/// The input's columns are the table's, in its order, of its types; then file, row and action.
pub type WriteChangesExec = PerPartitionExec<WriteChanges>;

#[derive(Clone, Debug)]
pub struct WriteChanges {
    pub target: WriteTarget,
    /// The table's, with field ids.
    pub table_schema: SchemaRef,
}

impl WriteChangesExec {
    pub fn new(input: Arc<dyn ExecutionPlan>, target: WriteTarget, table_schema: SchemaRef) -> Self {
        Self::of(input, WriteChanges { target, table_schema })
    }
}

impl PartitionWork for WriteChanges {
    const NAME: &'static str = "WriteChangesExec";
    const EMISSION: EmissionType = EmissionType::Both;

    fn schema(&self, _: &SchemaRef) -> SchemaRef {
        places_schema()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: table={}", Self::NAME, self.target.table)
    }

    fn run(&self, place: Place<'_>) -> Result<SendableRecordBatchStream> {
        let rows = place.rows()?;
        let writer = PartitionWriter::at(&place, Self::NAME, self.target.clone(), &self.table_schema)?;
        let changing = Some(Changing { rows, writer, inserted: 0, updated: 0 });
        let output = futures::stream::try_unfold(changing, |changing| async move {
            let Some(mut changing) = changing else { return Ok(None) };
            Ok(Some(match changing.next().await? {
                Some(places) => (places, Some(changing)),
                None => (changing.reports().await?, None),
            }))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(places_schema(), output)))
    }
}

struct Changing {
    rows: SendableRecordBatchStream,
    writer: PartitionWriter,
    inserted: i64,
    updated: i64,
}

impl Changing {
    /// Writes until there are places of rows that go; `None` at the end.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(batch) = self.rows.next().await {
            let batch = batch?;
            let [columns @ .., file, row, action] = batch.columns() else { return Err(internal("too few columns")) };
            self.write(columns, action).await?;
            let places: Vec<ArrayRef> =
                vec![new_null_array(&DataType::Utf8, batch.num_rows()), file.clone(), row.clone()];
            let places = RecordBatch::try_new(places_schema(), places)?;
            let places = filter_record_batch(&places, &is_not_null(file)?)?;
            if places.num_rows() > 0 {
                return Ok(Some(places));
            }
        }
        Ok(None)
    }

    async fn write(&mut self, columns: &[ArrayRef], action: &ArrayRef) -> Result<()> {
        let actions = action.as_primitive_opt::<Int8Type>().ok_or_else(|| internal("rows without an action"))?;
        if actions.null_count() > 0 {
            return Err(internal("a row without an action"));
        }
        let count = |action: RowAction| actions.values().iter().filter(|value| **value == action as i8).count();
        let (inserted, updated) = (count(RowAction::Insert), count(RowAction::Update));
        self.inserted += inserted as i64;
        self.updated += updated as i64;
        if inserted + updated == actions.len() {
            return self.writer.write(columns).await;
        }
        let written: BooleanArray =
            actions.values().iter().map(|value| Some(*value != RowAction::Delete as i8)).collect();
        let columns = columns.iter().map(|column| filter(column, &written)).collect::<Result<Vec<_>, _>>()?;
        self.writer.write(&columns).await
    }

    async fn reports(&mut self) -> Result<RecordBatch> {
        let mut reports = self.writer.finish().await?;
        reports.push(Report::Counted { inserted: self.inserted, updated: self.updated });
        let none: ArrayRef = Arc::new(Int64Array::new_null(reports.len()));
        let batch = RecordBatch::try_new(places_schema(), vec![Arc::new(report_texts(&reports)?), none.clone(), none])?;
        self.writer.keep();
        Ok(batch)
    }
}

fn internal(message: &str) -> DataFusionError {
    frazil_exchange::to_datafusion(Failure::internal(message))
}
