//! `MERGE`, and what is a merge under another name: `UPDATE … FROM` and `DELETE … USING`.
//!
//! The table is joined with the source. Of each joined row it is judged which clause applies, the first one that does, and so
//! what becomes of the row. That a row of the table would be changed twice is seen where its places meet, in `write_deletes`, so no join
//! and no way to spread it can hide it.

use std::collections::HashSet;

use datafusion::common::{Column, JoinType, TableReference};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::conditional_expressions::CaseBuilder;
use datafusion::logical_expr::dml::{MergeIntoAction, MergeIntoClause, MergeIntoClauseKind, MergeIntoOp};
use datafusion::logical_expr::utils::expr_to_columns;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, TableSource, cast, lit, when};
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{
    self, FromTable, JoinOperator, MergeAction, MergeClause, MergeClauseKind, Statement, TableFactor, TableWithJoins,
    UpdateTableFromKind,
};
use frazil_common::{ErrorCode, Failure};

use super::change::WriteKind;
use super::dml::not_supported;
use super::places::{FILE_COLUMN, ROW_COLUMN};
use super::rows::{RowChanges, hidden, places_of, scan_with_places};
use super::table::LakeTable;
use super::write_changes::{ACTION_COLUMN, RowAction};
use super::write_deletes::Repeats;
use crate::errors::to_failure as from_datafusion;

/// True in rows that the source has a part in.
const SOURCE_COLUMN: &str = "__frazil_source";
/// The number of the clause that applies to a row.
const CLAUSE_COLUMN: &str = "__frazil_clause";

/// How a merge was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spelling {
    Merge,
    UpdateFrom,
    DeleteUsing,
}

/// What a merge comes to.
pub(super) enum Merged {
    Changes(LogicalPlan, RowChanges),
    /// No row that is there is changed.
    Appends(LogicalPlan),
}

/// Writes `UPDATE … FROM` and `DELETE … USING` as the merges that they are; other statements stay.
pub fn as_merge(statement: ParsedStatement) -> Result<(ParsedStatement, Spelling), Failure> {
    let ParsedStatement::Statement(statement) = statement else { return Ok((statement, Spelling::Merge)) };
    let (merge, spelling) = match *statement {
        Statement::Update(update) if update.from.is_some() => (update_from(update)?, Spelling::UpdateFrom),
        Statement::Delete(delete) if delete.using.is_some() => (delete_using(delete)?, Spelling::DeleteUsing),
        other => (other, Spelling::Merge),
    };
    Ok((ParsedStatement::Statement(Box::new(merge)), spelling))
}

fn update_from(update: ast::Update) -> Result<Statement, Failure> {
    let ast::Update {
        update_token,
        optimizer_hints,
        table,
        assignments,
        from,
        selection,
        returning,
        output,
        or,
        order_by,
        limit,
    } = update;
    let extra = returning.is_some() || output.is_some() || or.is_some() || limit.is_some() || !order_by.is_empty();
    if extra || !table.joins.is_empty() || !optimizer_hints.is_empty() {
        return Err(not_supported(
            "an UPDATE … FROM with RETURNING, OUTPUT, LIMIT, ORDER BY, hints or a joined target",
        ));
    }
    let from = match from {
        Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => from,
        None => vec![],
    };
    let update = ast::MergeUpdateExpr {
        update_token: update_token.clone(),
        assignments,
        update_predicate: None,
        delete_predicate: None,
    };
    merge_of(update_token, table.relation, from, selection, MergeAction::Update(update))
}

fn delete_using(delete: ast::Delete) -> Result<Statement, Failure> {
    let ast::Delete {
        delete_token,
        optimizer_hints,
        tables,
        from,
        using,
        selection,
        returning,
        output,
        order_by,
        limit,
    } = delete;
    let extra = returning.is_some() || output.is_some() || limit.is_some() || !order_by.is_empty();
    if extra || !tables.is_empty() || !optimizer_hints.is_empty() {
        return Err(not_supported(
            "a DELETE … USING with RETURNING, OUTPUT, LIMIT, ORDER BY, hints or several targets",
        ));
    }
    let (FromTable::WithFromKeyword(mut from) | FromTable::WithoutKeyword(mut from)) = from;
    let target = match from.pop() {
        Some(target) if from.is_empty() && target.joins.is_empty() => target.relation,
        _ => return Err(not_supported("a DELETE … USING with several targets")),
    };
    let action = MergeAction::Delete { delete_token: delete_token.clone() };
    merge_of(delete_token, target, using.unwrap_or_default(), selection, action)
}

fn merge_of(
    token: ast::helpers::attached_token::AttachedToken,
    table: TableFactor,
    sources: Vec<TableWithJoins>,
    selection: Option<ast::Expr>,
    action: MergeAction,
) -> Result<Statement, Failure> {
    let mut sources = sources.into_iter();
    let Some(mut source) = sources.next() else { return Err(not_supported("a statement without its source")) };
    for other in sources {
        let relation = match other.joins.is_empty() {
            true => other.relation,
            false => TableFactor::NestedJoin { table_with_joins: Box::new(other), alias: None },
        };
        let join_operator = JoinOperator::CrossJoin(ast::JoinConstraint::None);
        source.joins.push(ast::Join { relation, global: false, join_operator });
    }
    let source = match source.joins.is_empty() {
        true => source.relation,
        false => TableFactor::NestedJoin { table_with_joins: Box::new(source), alias: None },
    };
    let always = || ast::Expr::value(ast::Value::Boolean(true));
    let clause =
        MergeClause { when_token: token.clone(), clause_kind: MergeClauseKind::Matched, predicate: None, action };
    Ok(Statement::Merge(ast::Merge {
        merge_token: token,
        optimizer_hints: vec![],
        into: true,
        table,
        source,
        on: Box::new(selection.unwrap_or_else(always)),
        clauses: vec![clause],
        output: None,
    }))
}

/// `statement.input` is the source, as DataFusion plans it.
pub(super) fn plan(
    statement: &DmlStatement,
    merge: &MergeIntoOp,
    table: &LakeTable,
    spelling: Spelling,
) -> Result<(Merged, WriteKind), Failure> {
    let target = &statement.table_name;
    for clause in &merge.clauses {
        check_clause(clause, target, &statement.input)?;
    }
    let has = |action: fn(&MergeIntoAction) -> bool| merge.clauses.iter().any(|clause| action(&clause.action));
    let inserts = has(|action| matches!(action, MergeIntoAction::Insert { .. }));
    let updates = has(|action| matches!(action, MergeIntoAction::Update(_)));
    let deletes = has(|action| matches!(action, MergeIntoAction::Delete));
    let (kind, repeats) = match spelling {
        Spelling::Merge => (WriteKind::Merged { inserts, updates, deletes }, Repeats::Refused),
        Spelling::UpdateFrom => (WriteKind::Updated, Repeats::Refused),
        Spelling::DeleteUsing => (WriteKind::Deleted, Repeats::Ignored),
    };
    let merging = Merging { target, source: &statement.input, merge, table, values: statement.target.as_ref() };
    let planned = match (updates || deletes, updates || inserts) {
        (false, _) => merging.appended().map(Merged::Appends),
        (true, writes) => merging.changed(writes, repeats).map(|(plan, changes)| Merged::Changes(plan, changes)),
    };
    Ok((planned.map_err(|error| from_datafusion(&error))?, kind))
}

/// Rows of one side alone have no values of the other.
fn check_clause(clause: &MergeIntoClause, target: &TableReference, source: &LogicalPlan) -> Result<(), Failure> {
    use {MergeIntoAction as Action, MergeIntoClauseKind as Kind};
    let fits = match (clause.kind, &clause.action) {
        (Kind::NotMatched | Kind::NotMatchedByTarget, action) => matches!(action, Action::Insert { .. }),
        (Kind::Matched | Kind::NotMatchedBySource, action) => !matches!(action, Action::Insert { .. }),
    };
    let invalid = |message: String| Err(Failure::new(ErrorCode::InvalidStatement, message));
    if !fits {
        return invalid(
            "MERGE can INSERT only what is NOT MATCHED [BY TARGET], and only UPDATE or DELETE the rest".to_owned(),
        );
    }
    let mut used = HashSet::new();
    let values = match &clause.action {
        Action::Update(assignments) => assignments.iter().map(|(_, value)| value).collect(),
        Action::Insert { values, .. } => values.iter().collect(),
        Action::Delete => vec![],
    };
    for expression in clause.predicate.iter().chain(values) {
        expr_to_columns(expression, &mut used).map_err(|error| from_datafusion(&error))?;
    }
    let of_target = |column: &&Column| column.relation.as_ref() == Some(target);
    let of_source = |column: &&Column| source.schema().has_column(column);
    match clause.kind {
        Kind::NotMatched | Kind::NotMatchedByTarget => match used.iter().find(of_target) {
            Some(column) => {
                invalid(format!("column \"{}\" of the target has no value where no row of it matches", column.name))
            }
            None => Ok(()),
        },
        Kind::NotMatchedBySource => match used.iter().find(|column| !of_target(column) && of_source(column)) {
            Some(column) => {
                invalid(format!("column \"{}\" of the source has no value where no row of it matches", column.name))
            }
            None => Ok(()),
        },
        Kind::Matched => Ok(()),
    }
}

struct Merging<'a> {
    target: &'a TableReference,
    source: &'a LogicalPlan,
    merge: &'a MergeIntoOp,
    table: &'a LakeTable,
    values: &'a dyn TableSource,
}

impl Merging<'_> {
    /// Only inserts: what no row of the table matches. The table is looked at, not touched.
    fn appended(&self) -> DataFusionResult<LogicalPlan> {
        let (target, _) = scan_with_places(self.target.clone(), self.table)?;
        let unmatched = self.joined(self.source.clone(), target, JoinType::LeftAnti)?;
        let judged = self.judged(unmatched, |_| None)?;
        let columns = self.new_values()?;
        LogicalPlanBuilder::from(judged).project(columns)?.build()
    }

    fn changed(&self, writes: bool, repeats: Repeats) -> DataFusionResult<(LogicalPlan, RowChanges)> {
        let (target, scanned) = scan_with_places(self.target.clone(), self.table)?;
        let mut marked: Vec<Expr> =
            self.source.schema().iter().map(|field| Expr::Column(Column::from(field))).collect();
        marked.push(lit(true).alias(SOURCE_COLUMN));
        let source = LogicalPlanBuilder::from(self.source.clone()).project(marked)?.build()?;
        let has = |kind: fn(&MergeIntoClauseKind) -> bool| self.merge.clauses.iter().any(|clause| kind(&clause.kind));
        let join_type = match (
            has(|kind| *kind == MergeIntoClauseKind::NotMatchedBySource),
            has(MergeIntoClauseKind::is_not_matched_by_target),
        ) {
            (false, false) => JoinType::Inner,
            (true, false) => JoinType::Left,
            (false, true) => JoinType::Right,
            (true, true) => JoinType::Full,
        };
        let joined = self.joined(target, source, join_type)?;
        let (file, source) = (hidden(&joined, FILE_COLUMN)?, hidden(&joined, SOURCE_COLUMN)?);
        let judged = self.judged(joined, |kind| {
            let matched = match kind {
                MergeIntoClauseKind::Matched if join_type == JoinType::Inner => return None,
                MergeIntoClauseKind::Matched => file.clone().is_not_null().and(source.clone().is_not_null()),
                MergeIntoClauseKind::NotMatchedBySource => source.clone().is_null(),
                MergeIntoClauseKind::NotMatched | MergeIntoClauseKind::NotMatchedByTarget => file.clone().is_null(),
            };
            Some(matched)
        })?;
        let changes = RowChanges::of(self.table, scanned, writes, repeats);
        if !writes {
            return Ok((places_of(judged)?, changes));
        }
        let mut columns = self.new_values()?;
        columns.push(hidden(&judged, FILE_COLUMN)?.alias(FILE_COLUMN));
        columns.push(hidden(&judged, ROW_COLUMN)?.alias(ROW_COLUMN));
        let actions = self.merge.clauses.iter().map(|clause| match clause.action {
            MergeIntoAction::Insert { .. } => Some(lit(RowAction::Insert as i8)),
            MergeIntoAction::Update(_) => Some(lit(RowAction::Update as i8)),
            MergeIntoAction::Delete => Some(lit(RowAction::Delete as i8)),
        });
        columns.push(by_clause(actions)?.alias(ACTION_COLUMN));
        Ok((LogicalPlanBuilder::from(judged).project(columns)?.build()?, changes))
    }

    fn joined(&self, left: LogicalPlan, right: LogicalPlan, join_type: JoinType) -> DataFusionResult<LogicalPlan> {
        let on = self.merge.on.clone();
        let left = LogicalPlanBuilder::from(left);
        match join_type {
            // A filter may have subqueries.
            JoinType::Inner => left.cross_join(right)?.filter(on)?.build(),
            _ => left.join_on(right, join_type, [on])?.build(),
        }
    }

    /// Adds the number of the clause that applies; rows to which none applies are gone.
    fn judged(
        &self,
        joined: LogicalPlan,
        matched: impl Fn(MergeIntoClauseKind) -> Option<Expr>,
    ) -> DataFusionResult<LogicalPlan> {
        let mut number: Option<CaseBuilder> = None;
        for (index, clause) in self.merge.clauses.iter().enumerate() {
            let conditions = matched(clause.kind).into_iter().chain(clause.predicate.clone());
            let condition = conditions.reduce(Expr::and).unwrap_or_else(|| lit(true));
            let then = lit(index as i32);
            number = Some(match number {
                None => when(condition, then),
                Some(mut case) => case.when(condition, then),
            });
        }
        let Some(mut number) = number else { return Ok(joined) };
        let mut columns: Vec<Expr> = joined.schema().iter().map(|field| Expr::Column(Column::from(field))).collect();
        columns.push(number.otherwise(lit(ScalarValue::Int32(None)))?.alias(CLAUSE_COLUMN));
        let clause = Expr::Column(Column::new_unqualified(CLAUSE_COLUMN));
        LogicalPlanBuilder::from(joined).project(columns)?.filter(clause.is_not_null())?.build()
    }

    /// The table's columns as the clause has them that applies. Without a value they are null: the row goes.
    fn new_values(&self) -> DataFusionResult<Vec<Expr>> {
        let fields = self.table.columns().fields();
        let values = fields.iter().enumerate().map(|(index, field)| {
            let by_clauses = self.merge.clauses.iter().map(|clause| match &clause.action {
                MergeIntoAction::Delete => None,
                MergeIntoAction::Update(assignments) => {
                    let assigned = assignments.iter().find(|(name, _)| name == field.name());
                    let old = || Expr::Column(Column::new(Some(self.target.clone()), field.name()));
                    Some(assigned.map_or_else(old, |(_, value)| value.clone()))
                }
                MergeIntoAction::Insert { columns, values } => {
                    let place = match columns.is_empty() {
                        true => Some(index),
                        false => columns.iter().position(|name| name == field.name()),
                    };
                    let default = || self.values.get_column_default(field.name()).cloned();
                    let value = place.and_then(|place| values.get(place).cloned()).or_else(default);
                    Some(value.unwrap_or_else(|| lit(ScalarValue::Null)))
                }
            });
            let typed = by_clauses.map(|value| value.map(|value| cast(value, field.data_type().clone())));
            Ok(by_clause(typed)?.alias(field.name()))
        });
        values.collect()
    }
}

/// A value by the number of the clause that applies; null where there is none.
fn by_clause(values: impl Iterator<Item = Option<Expr>>) -> DataFusionResult<Expr> {
    let clause = || Expr::Column(Column::new_unqualified(CLAUSE_COLUMN));
    let values: Vec<_> = values.enumerate().filter_map(|(index, value)| Some((index, value?))).collect();
    let mut case: Option<CaseBuilder> = None;
    for (index, value) in values {
        let condition = clause().eq(lit(index as i32));
        case = Some(match case {
            None => when(condition, value),
            Some(mut case) => case.when(condition, value),
        });
    }
    match case {
        Some(case) => case.end(),
        None => Ok(lit(ScalarValue::Null)),
    }
}
