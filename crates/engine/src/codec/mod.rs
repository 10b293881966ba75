//! Plans and splits to bytes and back: the one place that does it.
//!
//! A stage's plan is encoded once, for all of its tasks. What differs between tasks is not in it: scans are encoded
//! without their files ([`SplitScanExec`] numbers them), exchange reads without their partitions. The decoder is given
//! both for the task at hand ([`TaskInputs`]) and puts them in where the leaf is made, so that every operator above is
//! built over the task's own partitions from the start.
//!
//! `splits` (what a scan's partitions read), `split_messages` (its form), `nodes` (our operators), `messages` (their form) and `expressions` (what is encoded in another
//! way than DataFusion's).

mod expressions;
mod messages;
mod nodes;
mod split_messages;
mod splits;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_proto_converter, physical_plan_to_bytes_with_proto_converter,
};
use datafusion_proto::physical_plan::from_proto::parse_protobuf_partitioning;
use datafusion_proto::physical_plan::to_proto::serialize_partitioning;
use datafusion_proto::physical_plan::{DeduplicatingProtoConverter, PhysicalPlanDecodeContext};
use datafusion_proto::protobuf;
use frazil_common::{ErrorCode, Failure};
use frazil_exchange::{ExchangeInput, to_datafusion};
use parking_lot::Mutex;
use prost::Message;

use self::expressions::OurEncoding;
use self::nodes::Codec;
pub use self::split_messages::decode_splits;
pub use self::splits::{SplitScanExec, Splits, encode_splits_of, number_scans, scan_number};
use crate::errors::to_failure;

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

fn malformed(what: impl fmt::Display) -> DataFusionError {
    to_datafusion(Failure::internal(format!("a plan does not decode: {what}")))
}

fn decode_schema(schema: Option<&protobuf::Schema>) -> Result<Schema> {
    schema.ok_or_else(|| malformed("a schema is missing"))?.try_into().map_err(malformed)
}
