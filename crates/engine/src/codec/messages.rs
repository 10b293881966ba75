//! The messages of our operators.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion_proto::protobuf;
use prost::Message;

use super::{decode_schema, malformed};

/// Our nodes, beside those that DataFusion encodes itself.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeMessage {
    #[prost(oneof = "Node", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 20")]
    pub node: Option<Node>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Node {
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
pub(super) struct ExchangeReadMessage {
    #[prost(uint32, tag = "1")]
    pub exchange: u32,
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    #[prost(message, optional, tag = "3")]
    pub schema: Option<protobuf::Schema>,
    /// Only set for a hash exchange.
    #[prost(message, optional, tag = "4")]
    pub partitioning: Option<protobuf::Partitioning>,
    #[prost(message, repeated, tag = "5")]
    pub orderings: Vec<protobuf::PhysicalSortExprNodeCollection>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SplitScanMessage {
    #[prost(uint32, tag = "1")]
    pub scan: u32,
    /// DataFusion's node, without files.
    #[prost(message, optional, boxed, tag = "2")]
    pub node: Option<Box<protobuf::PhysicalPlanNode>>,
    /// In its place, of staged files.
    #[prost(message, optional, tag = "3")]
    pub staged: Option<StagedScanMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StagedScanMessage {
    /// A [`LoadShape`] as JSON.
    #[prost(string, tag = "1")]
    pub shape: String,
    #[prost(message, optional, tag = "2")]
    pub table_schema: Option<protobuf::Schema>,
    #[prost(string, tag = "3")]
    pub store: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RecursiveQueryMessage {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bool, tag = "2")]
    pub is_distinct: bool,
    #[prost(message, optional, tag = "3")]
    pub schema: Option<protobuf::Schema>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WorkTableMessage {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub schema: Option<protobuf::Schema>,
}

/// An aggregate by grouping sets that have no column among them, as `GROUPING SETS ((), ())`. DataFusion's message keeps
/// sets as rows of a table as wide as the grouped columns: sets without width are lost in it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EmptySetsMessage {
    #[prost(uint32, tag = "1")]
    pub sets: u32,
    /// DataFusion's node with its input, right but for the sets.
    #[prost(message, optional, boxed, tag = "2")]
    pub node: Option<Box<protobuf::PhysicalPlanNode>>,
}

/// The numbers of its partitions are the task's.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NumberRowsMessage {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SettleRowsMessage {
    /// Otherwise any task's word is enough.
    #[prost(bool, tag = "1")]
    pub every_task: bool,
    #[prost(message, optional, tag = "2")]
    pub schema: Option<protobuf::Schema>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteFilesMessage {
    /// As JSON: a [`WriteTarget`], or a [`DeleteTarget`] of deletes.
    #[prost(string, tag = "1")]
    pub target: String,
    #[prost(message, optional, tag = "2")]
    pub table_schema: Option<protobuf::Schema>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GenerateMessage {
    #[prost(uint32, tag = "1")]
    pub scan: u32,
    /// A [`GeneratedTable`] as JSON.
    #[prost(string, tag = "2")]
    pub table: String,
    /// Whether `projection` says which columns are wanted; all are otherwise.
    #[prost(bool, tag = "3")]
    pub projected: bool,
    #[prost(uint32, repeated, tag = "4")]
    pub projection: Vec<u32>,
}

impl WriteFilesMessage {
    pub fn new(target: &impl serde::Serialize, table_schema: &SchemaRef) -> Result<Self> {
        let target = serde_json::to_string(target).map_err(malformed)?;
        Ok(Self { target, table_schema: Some(table_schema.as_ref().try_into()?) })
    }

    pub fn target<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.target).map_err(malformed)
    }

    pub fn table_schema(&self) -> Result<SchemaRef> {
        decode_schema(self.table_schema.as_ref()).map(Arc::new)
    }
}
