//! `DEFAULT` in statements, and defaults that are computed: both are written into the statement before it is planned.
//!
//! Literal defaults of columns that an `INSERT` does not name are the planner's, see `LakeTable::get_column_default`.

use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr as PlannedExpr;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, Ident, Insert, MergeAction, MergeInsertKind, ObjectName, Query, SetExpr,
    Statement, TableFactor, TableObject, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use frazil_catalog::{Column, DefaultValue, Table};
use frazil_common::{ErrorCode, Failure};

use super::ddl::{literal_text, normal, resolve};
use super::dml::not_supported;
use super::names::Lakes;
use crate::errors::to_failure as from_datafusion;

/// Functions that a default may be, as DuckDB writes them, and as we do. Each gives one value a statement, or (`uuid`) one a row.
const FUNCTIONS: [(&str, &[&str]); 3] = [
    ("now()", &["now()", "current_timestamp", "current_timestamp()", "get_current_timestamp()"]),
    ("current_date", &["current_date", "current_date()", "today()"]),
    ("uuid()", &["uuid()", "gen_random_uuid()"]),
];

/// What a column definition declares.
pub(super) fn default_of(default: &PlannedExpr) -> Result<DefaultValue, Failure> {
    match default {
        PlannedExpr::Alias(alias) => default_of(&alias.expr),
        PlannedExpr::Cast(cast) => default_of(&cast.expr),
        PlannedExpr::ScalarFunction(call) if call.args.is_empty() => {
            let known = FUNCTIONS.iter().find(|(name, _)| name.trim_end_matches("()") == call.name());
            match known {
                Some((text, _)) => Ok(DefaultValue::Expression((*text).to_owned())),
                None => Err(not_supported(&format!("the default {}()", call.name()))),
            }
        }
        literal => literal_text(literal).map(DefaultValue::Literal),
    }
}

/// Writes defaults in place of `DEFAULT`, and adds computed ones to an `INSERT` that leaves their columns out.
pub fn put_defaults(statement: &mut ParsedStatement, lakes: &Lakes, state: &SessionState) -> Result<(), Failure> {
    let ParsedStatement::Statement(statement) = statement else { return Ok(()) };
    let table_of = |name: &ObjectName| -> Result<Option<Table>, Failure> {
        let reference = object_name_to_table_reference(name.clone(), true).map_err(|error| from_datafusion(&error))?;
        let reference = resolve(reference, state);
        let seen = lakes.get(&reference.catalog);
        Ok(seen.and_then(|seen| seen.view.table(&reference.schema, &reference.table).ok().map(|t| t.as_ref().clone())))
    };
    let relation_of = |relation: &TableFactor| match relation {
        TableFactor::Table { name, .. } => table_of(name),
        _ => Ok(None),
    };
    match statement.as_mut() {
        Statement::Insert(insert) => {
            let TableObject::TableName(name) = &insert.table else { return Ok(()) };
            let Some(table) = table_of(name)? else { return Ok(()) };
            complete_insert(insert, &table)
        }
        Statement::Update(update) => {
            let Some(table) = relation_of(&update.table.relation)? else { return Ok(()) };
            update.assignments.iter_mut().try_for_each(|assignment| assign(assignment, &table))
        }
        Statement::Merge(merge) => {
            let Some(table) = relation_of(&merge.table)? else { return Ok(()) };
            for clause in &mut merge.clauses {
                match &mut clause.action {
                    MergeAction::Insert(insert) => {
                        let MergeInsertKind::Values(values) = &mut insert.kind else { continue };
                        let named = named_columns(&insert.columns, &table)?;
                        for row in &mut values.rows {
                            put_into(&mut row.content, &named)?;
                        }
                        for (name, value) in left_out(&insert.columns, &named, &table)? {
                            insert.columns.push(name);
                            values.rows.iter_mut().for_each(|row| row.content.push(value.clone()));
                        }
                    }
                    MergeAction::Update(update) => {
                        update.assignments.iter_mut().try_for_each(|assignment| assign(assignment, &table))?;
                    }
                    MergeAction::Delete { .. } => {}
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn complete_insert(insert: &mut Insert, table: &Table) -> Result<(), Failure> {
    let named = named_columns(&insert.columns, table)?;
    // DEFAULT VALUES. Other forms without rows have assignments, which are refused later.
    if insert.source.is_none() && insert.columns.is_empty() && insert.assignments.is_empty() {
        insert.source = Some(query_of(&format!("VALUES ({})", vec!["DEFAULT"; named.len()].join(", ")))?);
    }
    let Some(source) = &mut insert.source else { return Ok(()) };
    let added = left_out(&insert.columns, &named, table)?;
    if let SetExpr::Values(values) = source.body.as_mut() {
        for row in &mut values.rows {
            if row.content.len() == named.len() {
                put_into(&mut row.content, &named)?;
                row.content.extend(added.iter().map(|(_, value)| value.clone()));
            }
        }
    } else if !added.is_empty() {
        let values = added.iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join(", ");
        *source = query_of(&format!("SELECT frazil_rows.*, {values} FROM ({source}) AS frazil_rows"))?;
    }
    insert.columns.extend(added.into_iter().map(|(name, _)| name));
    Ok(())
}

/// The columns that values are given for, in their order. A name that is no column's is left to the planner.
fn named_columns<'a>(names: &[ObjectName], table: &'a Table) -> Result<Vec<&'a Column>, Failure> {
    if names.is_empty() {
        return Ok(table.columns.iter().collect());
    }
    let column = |name: &ObjectName| {
        let ident = name.0.last().and_then(|part| part.as_ident());
        let found = ident.and_then(|ident| table.column(&normal(ident)).ok());
        found.ok_or_else(|| {
            let name = ident.map_or_else(|| name.to_string(), |ident| ident.value.clone());
            let message = format!("column \"{name}\" of table \"{}\" not found", table.name);
            Failure::new(ErrorCode::UndefinedColumn, message)
        })
    };
    names.iter().map(column).collect()
}

/// Columns with computed defaults that a list of columns leaves out.
fn left_out(names: &[ObjectName], named: &[&Column], table: &Table) -> Result<Vec<(ObjectName, Expr)>, Failure> {
    if names.is_empty() {
        return Ok(vec![]);
    }
    let is_left_out = |column: &&Column| {
        matches!(column.default, Some(DefaultValue::Expression(_))) && !named.iter().any(|named| named.id == column.id)
    };
    let added = table.columns.iter().filter(is_left_out).map(|column| {
        let name = ObjectName::from(vec![Ident::with_quote('"', &column.name)]);
        Ok((name, value_of(column)?))
    });
    added.collect()
}

fn put_into(values: &mut [Expr], columns: &[&Column]) -> Result<(), Failure> {
    for (value, column) in values.iter_mut().zip(columns) {
        if is_default(value) {
            *value = value_of(column)?;
        }
    }
    Ok(())
}

fn assign(assignment: &mut Assignment, table: &Table) -> Result<(), Failure> {
    if !is_default(&assignment.value) {
        return Ok(());
    }
    let AssignmentTarget::ColumnName(name) = &assignment.target else { return Ok(()) };
    let named = named_columns(std::slice::from_ref(name), table)?;
    put_into(std::slice::from_mut(&mut assignment.value), &named)
}

fn is_default(value: &Expr) -> bool {
    matches!(value, Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// A default as SQL. Literals are texts, which are cast to the column's type.
fn value_of(column: &Column) -> Result<Expr, Failure> {
    match &column.default {
        None => Ok(Expr::value(Value::Null)),
        Some(DefaultValue::Literal(text)) => Ok(Expr::value(Value::SingleQuotedString(text.clone()))),
        Some(DefaultValue::Expression(text)) => {
            let text = text.trim().to_ascii_lowercase();
            let known = FUNCTIONS.iter().find(|(_, spellings)| spellings.contains(&text.as_str()));
            let Some((call, _)) = known else {
                return Err(not_supported(&format!("the default {text} of column \"{}\"", column.name)));
            };
            parsed(call, |parser| parser.parse_expr())
        }
    }
}

fn query_of(sql: &str) -> Result<Box<Query>, Failure> {
    parsed(sql, |parser| parser.parse_query())
}

fn parsed<T>(sql: &str, parse: impl Fn(&mut Parser<'_>) -> Result<T, ParserError>) -> Result<T, Failure> {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut parser| parse(&mut parser));
    parsed.map_err(|error| Failure::internal(format!("a default as SQL: {error}")))
}
