//! Sample tables as table functions: `tpch('lineitem', 1)`, `tpcds('store_sales', 1)`, `events(1)`. Their rows are made where
//! they are needed, each executor making its partitions' pieces.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunction, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ScalarValue, Statistics, project_schema};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, ReplaceChildrenOptions,
};
use frazil_common::{ErrorCode, Failure};
use frazil_datasets::{DatasetError, GeneratedTable};

use crate::metrics::PARTS_MADE;

/// Rows of `events(1)`.
pub const EVENTS_PER_SCALE: f64 = 1e6;
const EVENTS_SEED: u64 = 42;

pub fn table_functions() -> Vec<Arc<TableFunction>> {
    let functions = [("tpch", Set::Tpch), ("tpcds", Set::Tpcds), ("events", Set::Events)];
    functions.map(|(name, set)| Arc::new(TableFunction::new(name.to_owned(), Arc::new(set)))).to_vec()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Set {
    Tpch,
    Tpcds,
    Events,
}

impl Set {
    /// How it is called.
    fn usage(self) -> &'static str {
        match self {
            Self::Tpch => "tpch('table', scale)",
            Self::Tpcds => "tpcds('table', scale)",
            Self::Events => "events(scale) or events(scale, seed)",
        }
    }

    fn wrong(self) -> Failure {
        Failure::new(ErrorCode::InvalidArgument, format!("write {}, with literals", self.usage()))
    }
}

impl TableFunctionImpl for Set {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let wrong = || frazil_exchange::to_datafusion(self.wrong());
        let args = args.exprs().iter().map(literal).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
        let table = match (self, args.as_slice()) {
            (Self::Tpch, [table, scale]) => {
                GeneratedTable::tpch(text(table).ok_or_else(wrong)?, number(scale).ok_or_else(wrong)?)
            }
            (Self::Tpcds, [table, scale]) => {
                GeneratedTable::tpcds(text(table).ok_or_else(wrong)?, number(scale).ok_or_else(wrong)?)
            }
            (Self::Events, [scale]) => events(number(scale).ok_or_else(wrong)?, EVENTS_SEED),
            (Self::Events, [scale, seed]) => {
                let seed = whole(seed).and_then(|seed| u64::try_from(seed).ok()).ok_or_else(wrong)?;
                events(number(scale).ok_or_else(wrong)?, seed)
            }
            _ => return Err(wrong()),
        };
        let table = table.map_err(|error| frazil_exchange::to_datafusion(to_failure(&error)))?;
        Ok(Arc::new(GeneratedProvider { schema: table.schema(), table }))
    }
}

fn events(scale: f64, seed: u64) -> std::result::Result<GeneratedTable, DatasetError> {
    // What is out of range becomes a number that is refused.
    GeneratedTable::events((scale * EVENTS_PER_SCALE).round().max(0.0) as u64, seed)
}

fn to_failure(error: &DatasetError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

fn literal(argument: &Expr) -> Option<&ScalarValue> {
    match argument {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

fn number(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Float64(value) => *value,
        ScalarValue::Decimal128(Some(value), _, scale) => Some(*value as f64 / 10f64.powi(i32::from(*scale))),
        _ => whole(value).map(|value| value as f64),
    }
}

fn whole(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int64(value) => *value,
        _ => None,
    }
}

/// A generated table in a plan.
#[derive(Debug)]
pub struct GeneratedProvider {
    table: GeneratedTable,
    schema: SchemaRef,
}

impl GeneratedProvider {
    /// What its rows would have as Parquet, for the choice of the number of partitions.
    pub fn bytes(&self) -> u64 {
        self.table.bytes()
    }
}

#[async_trait]
impl TableProvider for GeneratedProvider {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let parts = self.table.parts();
        let partitions = state.config().target_partitions().clamp(1, parts);
        let start = |partition: usize| parts * partition / partitions;
        let parts = (0..partitions).map(|partition| start(partition)..start(partition + 1)).collect();
        Ok(Arc::new(GenerateExec::new(self.table.clone(), parts, projection.cloned())?))
    }
}

/// Makes rows. Partition after partition, and piece after piece, they are the table's rows in its order.
#[derive(Debug, Clone)]
pub struct GenerateExec {
    pub table: GeneratedTable,
    /// The pieces of each partition.
    pub parts: Vec<Range<usize>>,
    pub projection: Option<Vec<usize>>,
    /// Its number among the scans of a stage, by which tasks get their pieces.
    pub scan: u32,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl GenerateExec {
    pub fn new(table: GeneratedTable, parts: Vec<Range<usize>>, projection: Option<Vec<usize>>) -> Result<Self> {
        let schema = project_schema(&table.schema(), projection.as_ref())?;
        let partitioning = Partitioning::UnknownPartitioning(parts.len());
        let equivalence = EquivalenceProperties::new(schema);
        let properties =
            PlanProperties::new(equivalence, partitioning, EmissionType::Incremental, Boundedness::Bounded)
                .with_scheduling_type(SchedulingType::Cooperative);
        let properties = Arc::new(properties);
        Ok(Self { table, parts, projection, scan: 0, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    pub fn numbered(&self, scan: u32) -> Self {
        Self { scan, ..self.clone() }
    }
}

impl DisplayAs for GenerateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            GeneratedTable::Tpch { table, scale } => write!(f, "GenerateExec: tpch.{table}, scale={scale}"),
            GeneratedTable::Tpcds { table, scale } => write!(f, "GenerateExec: tpcds.{table}, scale={scale}"),
            GeneratedTable::Events { rows, seed } => write!(f, "GenerateExec: events, rows={rows}, seed={seed}"),
        }
    }
}

impl ExecutionPlan for GenerateExec {
    fn name(&self) -> &'static str {
        "GenerateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let made = MetricBuilder::new(&self.metrics).counter(PARTS_MADE, partition);
        let table = self.table.clone();
        let rows = self.parts[partition].clone().flat_map(move |part| {
            let made = made.clone();
            table.open(part..part + 1).chain(std::iter::from_fn(move || {
                made.add(1);
                None
            }))
        });
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let projection = self.projection.clone();
        let batches = rows.map(move |batch| {
            let batch: RecordBatch = batch?;
            metrics.output_rows().add(batch.num_rows());
            match &projection {
                Some(columns) => Ok(batch.project(columns)?),
                None => Ok(batch),
            }
        });
        let stream = RecordBatchStreamAdapter::new(self.schema(), futures::stream::iter(batches));
        Ok(Box::pin(cooperative(stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        let share = if args.partition().is_some() { self.parts.len() } else { 1 };
        statistics.num_rows = Precision::Inexact(self.table.rows() as usize / share.max(1));
        Ok(Arc::new(statistics))
    }
}
