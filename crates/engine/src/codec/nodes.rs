//! Our operators, and those of DataFusion's that it cannot encode, to messages and back.

use std::fmt;
use std::sync::Arc;

use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_expr::{LexOrdering, Partitioning};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, PhysicalGroupBy};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::work_table::WorkTableExec;
use datafusion_proto::physical_plan::from_proto::{parse_physical_sort_exprs, parse_protobuf_partitioning};
use datafusion_proto::physical_plan::to_proto::{serialize_partitioning, serialize_physical_sort_exprs};
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use frazil_datasets::GeneratedTable;
use frazil_exchange::{ExchangeInput, ExchangeKind, ExchangeReadExec};
use parking_lot::Mutex;
use prost::Message;

use super::messages::{
    EmptySetsMessage, ExchangeReadMessage, GenerateMessage, Node, NodeMessage, NumberRowsMessage,
    RecursiveQueryMessage, SettleRowsMessage, SplitScanMessage, StagedScanMessage, WorkTableMessage, WriteFilesMessage,
};
use super::{OpenedInputs, SplitScanExec, Splits, TaskInputs, decode_schema, malformed};
use crate::build_rows::{NumberRowsExec, SettleRowsExec, Verdict};
use crate::generate::GenerateExec;
use crate::lake::{
    DeleteTarget, WriteChangesExec, WriteDeletesExec, WriteFilesExec, WriteTarget, adapter_for, with_virtual_columns,
    without_virtual_columns,
};
use crate::scan::NamingSource;
use crate::stages::{LoadShape, StagedSource, UnloadExec, UnloadTarget};
use crate::storage::Unchanged;

#[derive(Default)]
pub(super) struct Codec {
    pub inputs: TaskInputs,
    pub opened: Arc<Mutex<OpenedInputs>>,
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
            Node::WriteFiles(WriteFilesMessage::new(&write.work.target, &write.work.table_schema)?)
        } else if let Some(write) = node.downcast_ref::<WriteChangesExec>() {
            Node::WriteChanges(WriteFilesMessage::new(&write.work.target, &write.work.table_schema)?)
        } else if let Some(write) = node.downcast_ref::<WriteDeletesExec>() {
            Node::WriteDeletes(WriteFilesMessage::new(&write.work.target, &write.work.table_schema)?)
        } else if let Some(unload) = node.downcast_ref::<UnloadExec>() {
            Node::Unload(serde_json::to_string(&unload.work.target).map_err(malformed)?)
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
            Node::SettleRows(SettleRowsMessage { every_task: settle.work.verdict == Verdict::EveryTask, schema })
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
        let env = context.runtime_env();
        let store = env.object_store(&config.object_store_url)?;
        let source = match Unchanged::over(store, &config.object_store_url, &files) {
            Some(store) => {
                let metadata = env.cache_manager.get_file_metadata_cache();
                NamingSource::over(config.file_source().clone(), store, metadata)
            }
            None => NamingSource::wrap(config.file_source().clone()),
        };
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
pub(super) fn empty_sets(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let groups = plan.downcast_ref::<AggregateExec>()?.group_expr();
    (groups.has_grouping_set() && groups.expr().is_empty()).then(|| groups.groups().len())
}
