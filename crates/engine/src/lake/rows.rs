//! Statements over rows that a table has: each is a query for the places of the rows it means, and for what comes in their place.
//!
//! ```text
//!  DELETE            report, file, row ───────────────────────────────────────────────┐
//!  UPDATE, MERGE     columns…, file, row, action ─▶ WriteChangesExec ─ report, file, row ═ hash ═▶ WriteDeletesExec
//! ```

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan, lit};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::ExecutionPlan;
use frazil_common::Failure;

use super::clustering::{order_of, sorted};
use super::dml::not_supported;
use frazil_catalog::SelectedFiles;

use super::places::{FILE_COLUMN, ROW_COLUMN, ScannedFiles};
use super::report::REPORT_COLUMN;
use super::table::LakeTable;
use super::write::WriteTarget;
use super::write_changes::{ACTION_COLUMN, RowAction, WriteChangesExec};
use super::write_deletes::{DeleteTarget, Repeats, TargetFile, WriteDeletesExec};
use crate::errors::to_failure as from_datafusion;

/// What completes the plan of a query for changes.
pub struct RowChanges {
    /// Its rows are a table's, with file, row and action. Otherwise they are places alone.
    pub writes: bool,
    pub repeats: Repeats,
    pub target: WriteTarget,
    pub deleted_part_max: f64,
    table_schema: SchemaRef,
    order: Option<LexOrdering>,
    scanned: ScannedFiles,
}

impl RowChanges {
    pub(super) fn of(table: &LakeTable, scanned: ScannedFiles, writes: bool, repeats: Repeats) -> Self {
        let target =
            WriteTarget { table: String::new(), location: String::new(), file_bytes: u64::MAX, file_rows: u64::MAX };
        let (table_schema, order) = (table.columns().clone(), order_of(&table.table));
        Self { writes, repeats, target, deleted_part_max: 0.0, table_schema, order, scanned }
    }

    /// `query`: planned, so that it is known which files it reads.
    pub fn complete(self, query: Arc<dyn ExecutionPlan>) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let places = match self.writes {
            true => Arc::new(WriteChangesExec::new(
                sorted(query, self.order),
                self.target.clone(),
                self.table_schema.clone(),
            )) as _,
            false => query,
        };
        let scanned = self.scanned.take();
        let target = DeleteTarget {
            write: self.target,
            files: scanned.iter().flat_map(SelectedFiles::iter).map(|file| TargetFile::of(&file)).collect(),
            repeats: self.repeats,
            deleted_part_max: self.deleted_part_max,
        };
        Ok(Arc::new(WriteDeletesExec::over(places, target, self.table_schema)?))
    }
}

/// `input`: the rows that are to be deleted, as DataFusion plans it.
pub(super) fn delete(input: &LogicalPlan, table: &LakeTable) -> Result<(LogicalPlan, RowChanges), Failure> {
    let (source, scanned) = with_places(input, table)?;
    let changes = RowChanges::of(table, scanned, false, Repeats::Refused);
    places_of(source).map(|plan| (plan, changes)).map_err(|error| from_datafusion(&error))
}

/// `input`: the new values of the rows that are to be updated, as DataFusion plans it.
pub(super) fn update(input: &LogicalPlan, table: &LakeTable) -> Result<(LogicalPlan, RowChanges), Failure> {
    let LogicalPlan::Projection(values) = input else { return Err(not_supported("an UPDATE of this form")) };
    let (source, scanned) = with_places(&values.input, table)?;
    let build = || {
        let mut columns = values.expr.clone();
        columns.push(hidden(&source, FILE_COLUMN)?);
        columns.push(hidden(&source, ROW_COLUMN)?);
        columns.push(lit(RowAction::Update as i8).alias(ACTION_COLUMN));
        LogicalPlanBuilder::from(source).project(columns)?.build()
    };
    let changes = RowChanges::of(table, scanned, true, Repeats::Refused);
    build().map(|plan| (plan, changes)).map_err(|error| from_datafusion(&error))
}

/// Places alone, as the writer of deletes takes them.
pub(super) fn places_of(source: LogicalPlan) -> datafusion::error::Result<LogicalPlan> {
    let columns = [
        Expr::Literal(ScalarValue::Utf8(None), None).alias(REPORT_COLUMN),
        hidden(&source, FILE_COLUMN)?.alias(FILE_COLUMN),
        hidden(&source, ROW_COLUMN)?.alias(ROW_COLUMN),
    ];
    LogicalPlanBuilder::from(source).project(columns)?.build()
}

/// The one column of a plan that has this name, whatever its table is called there.
pub(super) fn hidden(plan: &LogicalPlan, name: &str) -> datafusion::error::Result<Expr> {
    let (qualifier, field) = plan.schema().qualified_field_with_unqualified_name(name)?;
    Ok(Expr::Column(Column::new(qualifier.cloned(), field.name())))
}

/// A scan of the table under its name in the statement, with the places of its rows.
pub(super) fn scan_with_places(
    name: impl Into<datafusion::common::TableReference>,
    table: &LakeTable,
) -> datafusion::error::Result<(LogicalPlan, ScannedFiles)> {
    let (table, scanned) = table.with_places();
    let scan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table)), None)?.build()?;
    Ok((scan, scanned))
}

/// The same rows with their places. The plan scans its table, filtered or not, under its own name or another.
fn with_places(plan: &LogicalPlan, table: &LakeTable) -> Result<(LogicalPlan, ScannedFiles), Failure> {
    let scan = scan_of(plan)?;
    let (scan, scanned) = scan_with_places(scan.table_name.clone(), table).map_err(|error| from_datafusion(&error))?;
    let replaced = plan.clone().transform_up(|node| match node {
        LogicalPlan::TableScan(_) => Ok(Transformed::yes(scan.clone())),
        above => above.recompute_schema().map(Transformed::yes),
    });
    replaced.data().map(|plan| (plan, scanned)).map_err(|error| from_datafusion(&error))
}

fn scan_of(plan: &LogicalPlan) -> Result<&TableScan, Failure> {
    match plan {
        LogicalPlan::TableScan(scan) => Ok(scan),
        LogicalPlan::Filter(filter) => scan_of(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => scan_of(&alias.input),
        LogicalPlan::Limit(_) => Err(not_supported("a DELETE or UPDATE with LIMIT")),
        _ => Err(not_supported("a DELETE or UPDATE of this form")),
    }
}
