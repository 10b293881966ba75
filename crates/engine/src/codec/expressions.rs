//! What is encoded in another way than DataFusion's.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use datafusion_proto::physical_plan::to_proto::serialize_physical_expr_with_converter;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalPlanNodeExt, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;
use prost::Message;

use super::malformed;
use super::messages::{EmptySetsMessage, Node, NodeMessage};
use super::nodes::empty_sets;

/// References to scalar subqueries are encoded as the literals they have become: subqueries run first, as queries of their
/// own, because a reference decodes only below the node that runs them, and the cut separates the two. Aggregates by empty
/// grouping sets become a message of ours; that is done here because DataFusion asks the codec only about operators that
/// it does not know. It does not ask here about the inputs of our own nodes, but those of a recursive query are never such
/// aggregates: above each is the projection that takes its `__grouping_id` away.
pub(super) struct OurEncoding;

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
