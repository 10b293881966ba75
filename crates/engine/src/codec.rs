//! Plans and splits to bytes and back: the one place that does it.
//!
//! A stage's plan is encoded once, for all of its tasks. What differs between tasks is not in it: scans are encoded
//! without their files ([`SplitScanExec`] numbers them), exchange reads without their partitions. The decoder is given
//! both for the task at hand ([`TaskInputs`]) and puts them in where the leaf is made, so that every operator above is
//! built over the task's own partitions from the start.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_expr::{LexOrdering, Partitioning};
use datafusion::physical_plan::aggregates::{AggregateExec, PhysicalGroupBy};
use datafusion::physical_plan::memory::LazyMemoryExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::work_table::WorkTableExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, ReplaceChildrenOptions,
};
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_proto_converter, physical_plan_to_bytes_with_proto_converter,
};
use datafusion_proto::physical_plan::from_proto::{parse_physical_sort_exprs, parse_protobuf_partitioning};
use datafusion_proto::physical_plan::to_proto::{
    serialize_partitioning, serialize_physical_expr_with_converter, serialize_physical_sort_exprs,
};
use datafusion_proto::physical_plan::{
    DeduplicatingProtoConverter, PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalPlanNodeExt,
    PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;
use frazil_common::{ErrorCode, Failure};
use frazil_datasets::GeneratedTable;
use frazil_exchange::{ExchangeInput, ExchangeKind, ExchangeReadExec, to_datafusion};
use parking_lot::Mutex;
use prost::Message;

use crate::build_rows::{NumberRowsExec, SettleRowsExec, Verdict};
use crate::errors::to_failure;
use crate::generate::GenerateExec;
use crate::lake::{
    DeleteTarget, DeletedRows, WriteChangesExec, WriteDeletesExec, WriteFilesExec, WriteTarget, adapter_for,
    with_virtual_columns, without_virtual_columns,
};
use crate::scan::NamingSource;
use crate::stages::{LoadShape, StagedSource, UnloadExec, UnloadTarget};

/// A file scan in the coordinator's plan of a stage: DataFusion's node, with a number by which tasks get its splits.
#[derive(Debug)]
pub struct SplitScanExec {
    pub scan: u32,
    pub original: Arc<DataSourceExec>,
}

impl SplitScanExec {
    pub fn config(&self) -> &FileScanConfig {
        self.original.data_source().downcast_ref().expect("only made over file scans")
    }
}

/// What one partition of a scan reads.
#[derive(Debug, Clone)]
pub enum Splits {
    Files(FileGroup),
    /// Pieces of a table that is generated.
    Parts(Range<usize>),
}

/// The number of a scan that [`number_scans`] has numbered.
pub fn scan_number(node: &dyn ExecutionPlan) -> Option<u32> {
    match (node.downcast_ref::<SplitScanExec>(), node.downcast_ref::<GenerateExec>()) {
        (Some(scan), _) => Some(scan.scan),
        (_, Some(made)) => Some(made.scan),
        _ => None,
    }
}

/// What a numbered scan's partition reads, as bytes.
pub fn encode_splits_of(node: &dyn ExecutionPlan, partition: usize) -> Result<Vec<u8>, Failure> {
    match (node.downcast_ref::<SplitScanExec>(), node.downcast_ref::<GenerateExec>()) {
        (Some(scan), _) => encode_files(&scan.config().file_groups[partition]),
        (_, Some(made)) => {
            let parts = &made.parts[partition];
            let parts = Some(PartsMessage { first: parts.start as u64, end: parts.end as u64 });
            Ok(SplitsMessage { parts, ..SplitsMessage::default() }.encode_to_vec())
        }
        _ => Err(Failure::internal(format!("operator {} has no splits", node.name()))),
    }
}

/// How many splits a numbered scan's partition has: files and ranges of them, pieces of a generated table.
pub fn splits_of(node: &dyn ExecutionPlan, partition: usize) -> usize {
    match (node.downcast_ref::<SplitScanExec>(), node.downcast_ref::<GenerateExec>()) {
        (Some(scan), _) => scan.config().file_groups.get(partition).map_or(0, |files| files.len()),
        (_, Some(made)) => made.parts.get(partition).map_or(0, |parts| (parts.end - parts.start) as usize),
        _ => 0,
    }
}

/// Numbers the scans of a stage's plan, from 0.
pub fn number_scans(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut next = 0;
    let numbered = plan.transform_up(|node| {
        if let Some(series) = node.downcast_ref::<LazyMemoryExec>()
            && series.schema().fields().is_empty()
        {
            return Ok(Transformed::yes(whole_series(series)?));
        }
        if let Some(made) = node.downcast_ref::<GenerateExec>() {
            let numbered = Arc::new(made.numbered(next));
            next += 1;
            return Ok(Transformed::yes(numbered));
        }
        let Some(source) = node.downcast_ref::<DataSourceExec>() else { return Ok(Transformed::no(node)) };
        if source.data_source().downcast_ref::<FileScanConfig>().is_none() {
            return Ok(Transformed::no(node));
        }
        let scan = SplitScanExec { scan: next, original: Arc::new(source.clone()) };
        next += 1;
        Ok(Transformed::yes(Arc::new(scan) as _))
    })?;
    Ok(numbered.data)
}

/// DataFusion's message of a generated series has no projection: a series of which only the number of rows is wanted is
/// sent with its column, and the column is dropped above it.
fn whole_series(series: &LazyMemoryExec) -> Result<Arc<dyn ExecutionPlan>> {
    let generators = series.generators().clone();
    let sample = match generators.first() {
        Some(generator) => generator.read().reset_state().write().generate_next_batch()?,
        None => None,
    };
    // An empty series may be of any type.
    let any = || Arc::new(Schema::new(vec![Field::new("value", DataType::Int64, true)]));
    let schema = sample.map_or_else(any, |batch| batch.schema());
    let whole: Arc<dyn ExecutionPlan> = Arc::new(LazyMemoryExec::try_new(schema, generators)?);
    let nothing: Vec<ProjectionExpr> = vec![];
    Ok(Arc::new(ProjectionExec::try_new(nothing, whole)?))
}

impl DisplayAs for SplitScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.original.fmt_as(format, f)
    }
}

impl ExecutionPlan for SplitScanExec {
    fn name(&self) -> &'static str {
        "DataSourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.original.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.original.apply_expressions(visit)
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

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.original.execute(partition, context)
    }
}

/// What one task reads.
#[derive(Debug, Default)]
pub struct TaskInputs {
    /// The stage's numbers of the task's partitions.
    pub partitions: Vec<u32>,
    /// By scan number, for each of the task's partitions of that node.
    pub splits: HashMap<u32, Vec<Splits>>,
    /// By exchange number.
    pub exchanges: HashMap<u32, ExchangeShape>,
}

/// The part of an exchange that one task reads.
#[derive(Debug, Clone)]
pub struct ExchangeShape {
    /// Its partitions, ascending, by the exchange's numbers.
    pub partitions: Vec<u32>,
    /// Streams that end each of them.
    pub producers: u32,
}

/// A stage's plan, ready to run for one task.
pub struct DecodedPlan {
    pub plan: Arc<dyn ExecutionPlan>,
    /// The exchanges it reads, to be registered before any producer's stream is taken.
    pub inputs: OpenedInputs,
}

/// Inputs by the number of their exchange.
pub type OpenedInputs = Vec<(u32, Arc<ExchangeInput>)>;

/// Encodes the plan of a stage whose scans are numbered.
pub fn encode_plan(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<u8>, Failure> {
    let bytes = physical_plan_to_bytes_with_proto_converter(plan.clone(), &Codec::default(), &OurEncoding);
    bytes.map(|bytes| bytes.to_vec()).map_err(|error| {
        let cause = to_failure(&error);
        Failure::new(ErrorCode::NotSupported, format!("the plan cannot be sent to executors: {}", cause.message))
    })
}

/// Decodes a stage's plan for one task.
pub fn decode_plan(bytes: &[u8], context: &TaskContext, inputs: TaskInputs) -> Result<DecodedPlan, Failure> {
    let opened = Arc::new(Mutex::new(Vec::new()));
    let codec = Codec { inputs, opened: opened.clone() };
    let converter = DeduplicatingProtoConverter {};
    let plan = physical_plan_from_bytes_with_proto_converter(bytes, context, &codec, &converter)
        .map_err(|error| to_failure(&error))?;
    let inputs = std::mem::take(&mut *opened.lock());
    Ok(DecodedPlan { plan, inputs })
}

/// Encodes how a stage's output is hashed.
pub fn encode_partitioning(partitioning: &Partitioning) -> Result<Vec<u8>, Failure> {
    serialize_partitioning(partitioning, &Codec::default(), &OurEncoding)
        .map(|message| message.encode_to_vec())
        .map_err(|error| to_failure(&error))
}

pub fn decode_partitioning(bytes: &[u8], schema: &Schema, context: &TaskContext) -> Result<Partitioning, Failure> {
    let decode = || {
        let message = protobuf::Partitioning::decode(bytes).map_err(malformed)?;
        let codec = Codec::default();
        let context = PhysicalPlanDecodeContext::new(context, &codec);
        let converter = DeduplicatingProtoConverter {};
        parse_protobuf_partitioning(Some(&message), &context, schema, &converter)?
            .ok_or_else(|| malformed("a partitioning is missing"))
    };
    decode().map_err(|error| to_failure(&error))
}

/// A file group, and the delete files of its files: DataFusion's message drops what it does not know of a file.
#[derive(Clone, PartialEq, Message)]
struct SplitsMessage {
    #[prost(message, optional, tag = "1")]
    group: Option<protobuf::FileGroup>,
    #[prost(message, repeated, tag = "2")]
    deletes: Vec<DeletesMessage>,
    /// In place of files.
    #[prost(message, optional, tag = "3")]
    parts: Option<PartsMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct PartsMessage {
    #[prost(uint64, tag = "1")]
    first: u64,
    /// The one after the last.
    #[prost(uint64, tag = "2")]
    end: u64,
}

#[derive(Clone, PartialEq, Message)]
struct DeletesMessage {
    /// Its place in the group.
    #[prost(uint32, tag = "1")]
    file: u32,
    #[prost(message, optional, tag = "2")]
    rows: Option<DeletedRows>,
}

fn encode_files(group: &FileGroup) -> Result<Vec<u8>, Failure> {
    let deletes = group.iter().enumerate().filter_map(|(index, file)| {
        let rows = file.extensions.get::<DeletedRows>().cloned()?;
        Some(DeletesMessage { file: index as u32, rows: Some(rows) })
    });
    let deletes = deletes.collect();
    let group: Result<protobuf::FileGroup> = group.try_into();
    let group = group.map_err(|error| to_failure(&error))?;
    Ok(SplitsMessage { group: Some(group), deletes, parts: None }.encode_to_vec())
}

pub fn decode_splits(bytes: &[u8]) -> Result<Splits, Failure> {
    let decode = || {
        let message = SplitsMessage::decode(bytes).map_err(malformed)?;
        if let Some(PartsMessage { first, end }) = message.parts {
            let number = |part: u64| usize::try_from(part).map_err(malformed);
            return Ok(Splits::Parts(number(first)?..number(end)?));
        }
        let group = message.group.ok_or_else(|| malformed("splits without files"))?;
        let mut files = FileGroup::try_from(&group)?.into_inner();
        for deletes in message.deletes {
            let file = files.get_mut(deletes.file as usize);
            let (Some(file), Some(rows)) = (file, deletes.rows) else {
                return Err(malformed("deleted rows of no file"));
            };
            file.extensions.insert(rows);
        }
        Ok(Splits::Files(FileGroup::new(files)))
    };
    decode().map_err(|error| to_failure(&error))
}

fn malformed(what: impl fmt::Display) -> DataFusionError {
    to_datafusion(Failure::internal(format!("a plan does not decode: {what}")))
}

/// Our nodes, beside those that DataFusion encodes itself.
#[derive(Clone, PartialEq, Message)]
struct NodeMessage {
    #[prost(oneof = "Node", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 20")]
    node: Option<Node>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Node {
    #[prost(message, tag = "1")]
    ExchangeRead(ExchangeReadMessage),
    #[prost(message, tag = "2")]
    SplitScan(SplitScanMessage),
    #[prost(message, tag = "3")]
    RecursiveQuery(RecursiveQueryMessage),
    #[prost(message, tag = "4")]
    WorkTable(WorkTableMessage),
    #[prost(message, tag = "5")]
    EmptySets(EmptySetsMessage),
    #[prost(message, tag = "6")]
    NumberRows(NumberRowsMessage),
    #[prost(message, tag = "7")]
    SettleRows(SettleRowsMessage),
    #[prost(message, tag = "8")]
    WriteFiles(WriteFilesMessage),
    #[prost(message, tag = "9")]
    WriteChanges(WriteFilesMessage),
    #[prost(message, tag = "10")]
    WriteDeletes(WriteFilesMessage),
    /// An [`UnloadTarget`] as JSON.
    #[prost(string, tag = "12")]
    Unload(String),
    #[prost(message, tag = "20")]
    Generate(GenerateMessage),
}

#[derive(Clone, PartialEq, Message)]
struct ExchangeReadMessage {
    #[prost(uint32, tag = "1")]
    exchange: u32,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(message, optional, tag = "3")]
    schema: Option<protobuf::Schema>,
    /// Only set for a hash exchange.
    #[prost(message, optional, tag = "4")]
    partitioning: Option<protobuf::Partitioning>,
    #[prost(message, repeated, tag = "5")]
    orderings: Vec<protobuf::PhysicalSortExprNodeCollection>,
}

#[derive(Clone, PartialEq, Message)]
struct SplitScanMessage {
    #[prost(uint32, tag = "1")]
    scan: u32,
    /// DataFusion's node, without files.
    #[prost(message, optional, boxed, tag = "2")]
    node: Option<Box<protobuf::PhysicalPlanNode>>,
    /// In its place, of staged files.
    #[prost(message, optional, tag = "3")]
    staged: Option<StagedScanMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct StagedScanMessage {
    /// A [`LoadShape`] as JSON.
    #[prost(string, tag = "1")]
    shape: String,
    #[prost(message, optional, tag = "2")]
    table_schema: Option<protobuf::Schema>,
    #[prost(string, tag = "3")]
    store: String,
}

#[derive(Clone, PartialEq, Message)]
struct RecursiveQueryMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "2")]
    is_distinct: bool,
    #[prost(message, optional, tag = "3")]
    schema: Option<protobuf::Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct WorkTableMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    schema: Option<protobuf::Schema>,
}

/// An aggregate by grouping sets that have no column among them, as `GROUPING SETS ((), ())`. DataFusion's message keeps
/// sets as rows of a table as wide as the grouped columns: sets without width are lost in it.
#[derive(Clone, PartialEq, Message)]
struct EmptySetsMessage {
    #[prost(uint32, tag = "1")]
    sets: u32,
    /// DataFusion's node with its input, right but for the sets.
    #[prost(message, optional, boxed, tag = "2")]
    node: Option<Box<protobuf::PhysicalPlanNode>>,
}

/// The numbers of its partitions are the task's.
#[derive(Clone, PartialEq, Message)]
struct NumberRowsMessage {}

#[derive(Clone, PartialEq, Message)]
struct SettleRowsMessage {
    /// Otherwise any task's word is enough.
    #[prost(bool, tag = "1")]
    every_task: bool,
    #[prost(message, optional, tag = "2")]
    schema: Option<protobuf::Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct WriteFilesMessage {
    /// As JSON: a [`WriteTarget`], or a [`DeleteTarget`] of deletes.
    #[prost(string, tag = "1")]
    target: String,
    #[prost(message, optional, tag = "2")]
    table_schema: Option<protobuf::Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct GenerateMessage {
    #[prost(uint32, tag = "1")]
    scan: u32,
    /// A [`GeneratedTable`] as JSON.
    #[prost(string, tag = "2")]
    table: String,
    /// Whether `projection` says which columns are wanted; all are otherwise.
    #[prost(bool, tag = "3")]
    projected: bool,
    #[prost(uint32, repeated, tag = "4")]
    projection: Vec<u32>,
}

impl WriteFilesMessage {
    fn new(target: &impl serde::Serialize, table_schema: &SchemaRef) -> Result<Self> {
        let target = serde_json::to_string(target).map_err(malformed)?;
        Ok(Self { target, table_schema: Some(table_schema.as_ref().try_into()?) })
    }

    fn target<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.target).map_err(malformed)
    }

    fn table_schema(&self) -> Result<SchemaRef> {
        decode_schema(self.table_schema.as_ref()).map(Arc::new)
    }
}

#[derive(Default)]
struct Codec {
    inputs: TaskInputs,
    opened: Arc<Mutex<OpenedInputs>>,
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}

impl PhysicalExtensionCodec for Codec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let message = if let Some(read) = node.downcast_ref::<ExchangeReadExec>() {
            Node::ExchangeRead(self.encode_exchange_read(read, converter)?)
        } else if let Some(scan) = node.downcast_ref::<SplitScanExec>() {
            Node::SplitScan(self.encode_scan(scan, converter)?)
        } else if let Some(query) = node.downcast_ref::<RecursiveQueryExec>() {
            Node::RecursiveQuery(RecursiveQueryMessage {
                name: query.name().to_owned(),
                is_distinct: query.is_distinct(),
                schema: Some(query.schema().as_ref().try_into()?),
            })
        } else if let Some(table) = node.downcast_ref::<WorkTableExec>() {
            let schema = Some(table.schema().as_ref().try_into()?);
            Node::WorkTable(WorkTableMessage { name: table.name().to_owned(), schema })
        } else if let Some(write) = node.downcast_ref::<WriteFilesExec>() {
            Node::WriteFiles(WriteFilesMessage::new(&write.target, &write.table_schema)?)
        } else if let Some(write) = node.downcast_ref::<WriteChangesExec>() {
            Node::WriteChanges(WriteFilesMessage::new(&write.target, &write.table_schema)?)
        } else if let Some(write) = node.downcast_ref::<WriteDeletesExec>() {
            Node::WriteDeletes(WriteFilesMessage::new(&write.target, &write.table_schema)?)
        } else if let Some(unload) = node.downcast_ref::<UnloadExec>() {
            Node::Unload(serde_json::to_string(&unload.target).map_err(malformed)?)
        } else if let Some(made) = node.downcast_ref::<GenerateExec>() {
            let projection = made.projection.iter().flatten().map(|column| *column as u32);
            Node::Generate(GenerateMessage {
                scan: made.scan,
                table: serde_json::to_string(&made.table).map_err(malformed)?,
                projected: made.projection.is_some(),
                projection: projection.collect(),
            })
        } else if node.is::<NumberRowsExec>() {
            Node::NumberRows(NumberRowsMessage {})
        } else if let Some(settle) = node.downcast_ref::<SettleRowsExec>() {
            let schema = Some(settle.schema().as_ref().try_into()?);
            Node::SettleRows(SettleRowsMessage { every_task: settle.verdict == Verdict::EveryTask, schema })
        } else {
            return Err(DataFusionError::NotImplemented(format!("operator {}", node.name())));
        };
        NodeMessage { node: Some(message) }.encode(buffer).map_err(malformed)
    }

    fn try_decode(
        &self,
        bytes: &[u8],
        children: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let message = NodeMessage::decode(bytes).map_err(malformed)?;
        match message.node.ok_or_else(|| malformed("an empty node"))? {
            Node::ExchangeRead(message) => self.decode_exchange_read(message, context, converter),
            Node::SplitScan(message) => self.decode_scan(&message, context, converter),
            Node::RecursiveQuery(message) => {
                let [fixed, recursive] = children else { return Err(malformed("a recursive query has two children")) };
                let schema = Arc::new(decode_schema(message.schema.as_ref())?);
                let query = RecursiveQueryExec::try_new(
                    message.name,
                    schema,
                    fixed.clone(),
                    recursive.clone(),
                    message.is_distinct,
                )?;
                Ok(Arc::new(query))
            }
            Node::WorkTable(message) => {
                let schema = Arc::new(decode_schema(message.schema.as_ref())?);
                // The schema is that of the projection already.
                Ok(Arc::new(WorkTableExec::new(message.name, schema, None)?))
            }
            Node::EmptySets(message) => self.decode_empty_sets(&message, context, converter),
            Node::WriteFiles(message) => {
                let [input] = children else { return Err(malformed("written rows have one input")) };
                let target: WriteTarget = message.target()?;
                Ok(Arc::new(WriteFilesExec::new(input.clone(), target, message.table_schema()?)))
            }
            Node::WriteChanges(message) => {
                let [input] = children else { return Err(malformed("changed rows have one input")) };
                let target: WriteTarget = message.target()?;
                Ok(Arc::new(WriteChangesExec::new(input.clone(), target, message.table_schema()?)))
            }
            Node::WriteDeletes(message) => {
                let [input] = children else { return Err(malformed("deleted rows have one input")) };
                let target: DeleteTarget = message.target()?;
                Ok(Arc::new(WriteDeletesExec::new(input.clone(), target, message.table_schema()?)))
            }
            Node::Unload(target) => {
                let [input] = children else { return Err(malformed("unloaded rows have one input")) };
                let target: UnloadTarget = serde_json::from_str(&target).map_err(malformed)?;
                Ok(Arc::new(UnloadExec::new(input.clone(), target)))
            }
            Node::NumberRows(NumberRowsMessage {}) => {
                let [input] = children else { return Err(malformed("numbered rows have one input")) };
                Ok(Arc::new(NumberRowsExec::new(input.clone(), self.inputs.partitions.clone())))
            }
            Node::Generate(message) => self.decode_generate(&message),
            Node::SettleRows(message) => {
                let [input] = children else { return Err(malformed("settled rows have one input")) };
                let schema = Arc::new(decode_schema(message.schema.as_ref())?);
                let verdict = if message.every_task { Verdict::EveryTask } else { Verdict::AnyTask };
                Ok(Arc::new(SettleRowsExec::new(input.clone(), verdict, schema)))
            }
        }
    }
}

impl Codec {
    fn encode_exchange_read(
        &self,
        read: &ExchangeReadExec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<ExchangeReadMessage> {
        let partitioning = match read.properties().output_partitioning() {
            hash @ Partitioning::Hash(..) => Some(serialize_partitioning(hash, self, converter)?),
            _ => None,
        };
        let orderings = read.orderings().into_iter().map(|ordering| {
            let nodes = serialize_physical_sort_exprs(ordering, self, converter)?;
            Ok(protobuf::PhysicalSortExprNodeCollection { physical_sort_expr_nodes: nodes })
        });
        Ok(ExchangeReadMessage {
            exchange: read.exchange,
            kind: read.kind as u32,
            schema: Some(read.schema().as_ref().try_into()?),
            partitioning,
            orderings: orderings.collect::<Result<_>>()?,
        })
    }

    fn decode_exchange_read(
        &self,
        message: ExchangeReadMessage,
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let exchange = message.exchange;
        let shape = self.inputs.exchanges.get(&exchange);
        let shape = shape.ok_or_else(|| malformed(format!("exchange {exchange} is not among the task's inputs")))?;
        let schema = Arc::new(decode_schema(message.schema.as_ref())?);
        let partitions = shape.partitions.len();
        let decoding = PhysicalPlanDecodeContext::new(context, self);
        let partitioning = parse_protobuf_partitioning(message.partitioning.as_ref(), &decoding, &schema, converter)?;
        let partitioning = match partitioning {
            // Its own partitions only: rows with equal keys still meet in one of them.
            Some(Partitioning::Hash(expressions, _)) => Partitioning::Hash(expressions, partitions),
            _ => Partitioning::UnknownPartitioning(partitions),
        };
        let mut orderings = Vec::new();
        for ordering in &message.orderings {
            let nodes = &ordering.physical_sort_expr_nodes;
            orderings.extend(LexOrdering::new(parse_physical_sort_exprs(nodes, &decoding, &schema, converter)?));
        }
        let kind = match message.kind {
            0 => ExchangeKind::Hash,
            1 => ExchangeKind::Gather,
            2 => ExchangeKind::Merge,
            3 => ExchangeKind::Broadcast,
            other => return Err(malformed(format!("exchange kind {other}"))),
        };
        let reservation = MemoryConsumer::new(format!("exchange {exchange}")).register(context.memory_pool());
        let input = ExchangeInput::new(schema.clone(), shape.partitions.clone(), shape.producers, Some(reservation));
        self.opened.lock().push((exchange, input.clone()));
        Ok(Arc::new(ExchangeReadExec::new(exchange, kind, schema, partitioning, orderings).bind(input)))
    }

    fn encode_scan(
        &self,
        scan: &SplitScanExec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<SplitScanMessage> {
        let config = scan.config();
        if let Some(source) = config.file_source().downcast_ref::<StagedSource>() {
            let staged = StagedScanMessage {
                shape: serde_json::to_string(&source.shape).map_err(malformed)?,
                table_schema: Some(source.table.as_ref().try_into()?),
                store: config.object_store_url.as_str().to_owned(),
            };
            return Ok(SplitScanMessage { scan: scan.scan, node: None, staged: Some(staged) });
        }
        // DataFusion's message has 32 bits for the limit and drops the rest.
        let limit = config.limit.filter(|limit| *limit <= u32::MAX as usize);
        let config = without_virtual_columns(config)?;
        let empty = FileScanConfigBuilder::from(config).with_file_groups(vec![]).with_limit(limit).build();
        let empty: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(empty);
        let node = converter.execution_plan_to_proto(&empty, self)?;
        Ok(SplitScanMessage { scan: scan.scan, node: Some(Box::new(node)), staged: None })
    }

    fn decode_scan(
        &self,
        message: &SplitScanMessage,
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(staged) = &message.staged {
            let shape: LoadShape = serde_json::from_str(&staged.shape).map_err(malformed)?;
            let table = Arc::new(decode_schema(staged.table_schema.as_ref())?);
            return Ok(StagedSource::new(shape, table)
                .scan(ObjectStoreUrl::parse(&staged.store)?, self.files_of(message.scan)?));
        }
        let node = message.node.as_ref().ok_or_else(|| malformed("a scan without its node"))?;
        let plan = converter.proto_to_execution_plan(node, &PhysicalPlanDecodeContext::new(context, self))?;
        let config = plan.downcast_ref::<DataSourceExec>().and_then(|source| source.data_source().downcast_ref());
        let config: &FileScanConfig = config.ok_or_else(|| malformed("a scan that is none"))?;
        let files = self.files_of(message.scan)?;
        let config = with_virtual_columns(config)?;
        let source = NamingSource::wrap(config.file_source().clone());
        let adapter = adapter_for(config.file_schema());
        let config = FileScanConfigBuilder::from(config).with_file_groups(files).with_source(source);
        let config = config.with_expr_adapter(adapter);
        Ok(DataSourceExec::from_data_source(config.build()))
    }

    fn decode_generate(&self, message: &GenerateMessage) -> Result<Arc<dyn ExecutionPlan>> {
        let table: GeneratedTable = serde_json::from_str(&message.table).map_err(malformed)?;
        let table = table.checked().map_err(malformed)?;
        let projection = message.projection.iter().map(|column| *column as usize).collect();
        let parts = self.splits_of(message.scan)?.iter().map(|splits| match splits {
            Splits::Parts(parts) if parts.end <= table.parts() => Ok(parts.clone()),
            _ => Err(malformed("a generated table without its pieces")),
        });
        let parts = parts.collect::<Result<_>>()?;
        Ok(Arc::new(GenerateExec::new(table, parts, message.projected.then_some(projection))?))
    }

    fn files_of(&self, scan: u32) -> Result<Vec<FileGroup>> {
        let files = self.splits_of(scan)?.iter().map(|splits| match splits {
            Splits::Files(files) => Ok(files.clone()),
            Splits::Parts(_) => Err(malformed("a scan without files")),
        });
        files.collect()
    }

    fn splits_of(&self, scan: u32) -> Result<&[Splits]> {
        let splits = self.inputs.splits.get(&scan).map(Vec::as_slice);
        splits.ok_or_else(|| malformed(format!("scan {scan} has no splits in the task")))
    }

    fn decode_empty_sets(
        &self,
        message: &EmptySetsMessage,
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let node = message.node.as_ref().ok_or_else(|| malformed("an aggregate without its node"))?;
        let plan = converter.proto_to_execution_plan(node, &PhysicalPlanDecodeContext::new(context, self))?;
        let without: &AggregateExec =
            plan.downcast_ref().ok_or_else(|| malformed("grouping sets of what is no aggregate"))?;
        let sets = vec![vec![]; message.sets as usize];
        let aggregate = AggregateExec::try_new(
            *without.mode(),
            PhysicalGroupBy::new(vec![], vec![], sets, true),
            without.aggr_expr().to_vec(),
            without.filter_expr().to_vec(),
            without.input().clone(),
            without.input_schema(),
        )?;
        Ok(Arc::new(aggregate.with_limit_options(without.limit_options())))
    }
}

/// The number of an aggregate's grouping sets, if it has some and no column in any.
fn empty_sets(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let groups = plan.downcast_ref::<AggregateExec>()?.group_expr();
    (groups.has_grouping_set() && groups.expr().is_empty()).then(|| groups.groups().len())
}

fn decode_schema(schema: Option<&protobuf::Schema>) -> Result<Schema> {
    schema.ok_or_else(|| malformed("a schema is missing"))?.try_into().map_err(malformed)
}

/// What is encoded in another way than DataFusion's.
///
/// References to scalar subqueries are encoded as the literals they have become: subqueries run first, as queries of their
/// own, because a reference decodes only below the node that runs them, and the cut separates the two. Aggregates by empty
/// grouping sets become a message of ours; that is done here because DataFusion asks the codec only about operators that
/// it does not know. It does not ask here about the inputs of our own nodes, but those of a recursive query are never such
/// aggregates: above each is the projection that takes its `__grouping_id` away.
struct OurEncoding;

impl PhysicalProtoConverterExtension for OurEncoding {
    fn proto_to_execution_plan(
        &self,
        _: &protobuf::PhysicalPlanNode,
        _: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(malformed("this converter encodes only"))
    }

    fn execution_plan_to_proto(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<protobuf::PhysicalPlanNode> {
        let node = protobuf::PhysicalPlanNode::try_from_physical_plan_with_converter(plan.clone(), codec, self)?;
        let Some(sets) = empty_sets(plan) else { return Ok(node) };
        let message = EmptySetsMessage { sets: sets as u32, node: Some(Box::new(node)) };
        let node = NodeMessage { node: Some(Node::EmptySets(message)) }.encode_to_vec();
        let extension = protobuf::PhysicalExtensionNode { node, inputs: vec![] };
        Ok(protobuf::PhysicalPlanNode { physical_plan_type: Some(PhysicalPlanType::Extension(extension)) })
    }

    fn proto_to_physical_expr(
        &self,
        _: &protobuf::PhysicalExprNode,
        _: &Schema,
        _: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        Err(malformed("this converter encodes only"))
    }

    fn physical_expr_to_proto(
        &self,
        expression: &Arc<dyn PhysicalExpr>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<protobuf::PhysicalExprNode> {
        if let Some(subquery) = expression.downcast_ref::<ScalarSubqueryExpr>() {
            #[expect(deprecated, reason = "there is no other way to the value a reference stands for")]
            let value = subquery.results().get(subquery.index());
            let value = value.ok_or_else(|| malformed("a scalar subquery has not run"))?;
            let literal: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(value));
            return serialize_physical_expr_with_converter(&literal, codec, self);
        }
        serialize_physical_expr_with_converter(expression, codec, self)
    }
}
