//! Answers that the catalog knows: `count`, `min` and `max` of a whole table, without planning a scan of its files.
//!
//! DataFusion answers these from the statistics of a physical scan, which has to be made first, with every file in it. Here the
//! aggregate is replaced in the logical plan, before anything asks for files.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{Aggregate, EmptyRelation, Expr, LogicalPlan, Projection};
use frazil_catalog::ColumnStatistics;

use super::LakeTable;
use super::columns::value_of;

/// What an aggregate asks of its table.
#[derive(Clone, Debug, PartialEq)]
enum Question {
    Rows,
    /// Those that are not null.
    Values(String),
    Least(String),
    Greatest(String),
}

impl Question {
    fn column(&self) -> Option<&str> {
        match self {
            Self::Rows => None,
            Self::Values(column) | Self::Least(column) | Self::Greatest(column) => Some(column),
        }
    }
}

/// Replaces the aggregates of an optimized plan whose answers are known, also in subqueries.
pub async fn answer_from_catalog(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut asked = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node
            && let Some((table, questions)) = questions_of(aggregate)
        {
            asked.push((aggregate.clone(), table, questions));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut known = HashMap::new();
    for (aggregate, table, questions) in asked {
        if let Some(values) = answers(&table, &questions).await? {
            known.insert(aggregate, values);
        }
    }
    if known.is_empty() {
        return Ok(plan);
    }
    let replaced = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(Transformed::no(node)) };
        // Plans are equal that scan tables of one name: a scan of some of its files is not meant.
        let Some(values) = known.get(aggregate).filter(|_| questions_of(aggregate).is_some()) else {
            return Ok(Transformed::no(node));
        };
        Ok(Transformed::yes(row(aggregate, values)?))
    })?;
    Ok(replaced.data)
}

/// One row, under the aggregate's names.
fn row(aggregate: &Aggregate, values: &[ScalarValue]) -> Result<LogicalPlan> {
    let one = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema: Arc::new(DFSchema::empty()) });
    let literals = values.iter().zip(aggregate.schema.iter()).map(|(value, (qualifier, field))| {
        Expr::Literal(value.clone(), None).alias_qualified(qualifier.cloned(), field.name())
    });
    let projection = Projection::try_new_with_schema(literals.collect(), Arc::new(one), aggregate.schema.clone())?;
    Ok(LogicalPlan::Projection(projection))
}

fn questions_of(aggregate: &Aggregate) -> Option<(Arc<LakeTable>, Vec<Question>)> {
    if !aggregate.group_expr.is_empty() || aggregate.aggr_expr.is_empty() {
        return None;
    }
    let mut input = aggregate.input.as_ref();
    while let LogicalPlan::SubqueryAlias(alias) = input {
        input = alias.input.as_ref();
    }
    let LogicalPlan::TableScan(scan) = input else { return None };
    if !scan.filters.is_empty() || scan.fetch.is_some() {
        return None;
    }
    let provider = source_as_provider(&scan.source).ok()?;
    let table = provider.downcast_ref::<LakeTable>().filter(|table| table.is_whole())?;
    let table = Arc::new(table.clone());
    let questions = aggregate.aggr_expr.iter().map(question_of).collect::<Option<Vec<_>>>()?;
    Some((table, questions))
}

fn question_of(expression: &Expr) -> Option<Question> {
    let function = match expression {
        Expr::Alias(alias) => return question_of(&alias.expr),
        Expr::AggregateFunction(function) => function,
        _ => return None,
    };
    let AggregateFunction { func, params } = function;
    let AggregateFunctionParams { args, distinct: false, filter: None, order_by, null_treatment: None } = params else {
        return None;
    };
    let ([argument], []) = (args.as_slice(), order_by.as_slice()) else { return None };
    match (func.name(), argument) {
        ("count", Expr::Literal(value, _)) if !value.is_null() => Some(Question::Rows),
        ("count", Expr::Column(column)) => Some(Question::Values(column.name.clone())),
        ("min", Expr::Column(column)) => Some(Question::Least(column.name.clone())),
        ("max", Expr::Column(column)) => Some(Question::Greatest(column.name.clone())),
        _ => None,
    }
}

/// None if one of them is not known for certain.
async fn answers(table: &LakeTable, questions: &[Question]) -> Result<Option<Vec<ScalarValue>>> {
    let mut names: Vec<&str> = questions.iter().filter_map(Question::column).collect();
    names.sort_unstable();
    names.dedup();
    let Some(known) = table.known(&names).await? else { return Ok(None) };
    let rows = known.rows;
    let bounds_hold = known.files_with_deletes == 0;
    let answer = |question: &Question| -> Option<ScalarValue> {
        let Some(name) = question.column() else { return Some(ScalarValue::Int64(Some(rows))) };
        let place = names.binary_search(&name).ok()?;
        let column: &ColumnStatistics = known.columns.get(place)?;
        if !bounds_hold {
            return None;
        }
        let data_type = table.column_type(name)?;
        let nulls = column.null_count?;
        let bound = match question {
            Question::Rows => return None,
            Question::Values(_) => return Some(ScalarValue::Int64(Some(rows - nulls))),
            Question::Least(_) => &column.min,
            Question::Greatest(_) => &column.max,
        };
        if nulls == rows {
            return ScalarValue::try_from(&data_type).ok();
        }
        match data_type {
            // Shortened texts, and floats beside NaN, are bounds that no row may have.
            DataType::Utf8View | DataType::Float32 | DataType::Float64 => None,
            _ => value_of(bound.as_ref()?, &data_type),
        }
    };
    Ok(questions.iter().map(answer).collect())
}
