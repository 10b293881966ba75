//! `VALUES` inside of the query of an `INSERT` or `CREATE TABLE … AS`.
//!
//! DataFusion 55.2 reads every `VALUES` of such a statement as rows of the table that is written, also those that a query selects from:
//! `INSERT INTO t SELECT column1 * 10 FROM (VALUES (1.7))` would insert 10 into a column of whole numbers. They are planned
//! alone here, and put back as views.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::datasource::ViewTable;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement, Values, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use frazil_common::Failure;

use crate::errors::to_failure;

/// A catalog of the statement alone. No name of a database has a space.
const CATALOG: &str = "nested values";
const SCHEMA: &str = "v";

/// Puts views in the place of nested `VALUES`, where there are any.
pub async fn take_out_values(statement: &mut ParsedStatement, state: &SessionState) -> Result<(), Failure> {
    let ParsedStatement::Statement(inner) = statement else { return Ok(()) };
    let query = match inner.as_mut() {
        Statement::Insert(insert) => insert.source.as_deref_mut(),
        Statement::CreateTable(create) => create.query.as_deref_mut(),
        _ => None,
    };
    let Some(query) = query else { return Ok(()) };
    // Rows that go into the table as they are have its types, as they should.
    let outermost = matches!(query.body.as_ref(), SetExpr::Values(_));
    let mut taken = TakeOut { found: Vec::new(), skip: outermost };
    let _ = VisitMut::visit(query, &mut taken);
    if taken.found.is_empty() {
        return Ok(());
    }
    let views = MemorySchemaProvider::new();
    for (number, values) in taken.found.into_iter().enumerate() {
        let alone = ParsedStatement::Statement(Box::new(Statement::Query(Box::new(query_of(SetExpr::Values(values))))));
        let plan = state.statement_to_plan(alone).await.map_err(|error| to_failure(&error))?;
        let view = Arc::new(ViewTable::new(plan, None));
        views.register_table(number.to_string(), view).map_err(|error| to_failure(&error))?;
    }
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(SCHEMA, Arc::new(views)).map_err(|error| to_failure(&error))?;
    state.catalog_list().register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Ok(())
}

struct TakeOut {
    found: Vec<Values>,
    /// The next query's own `VALUES` stay.
    skip: bool,
}

impl TakeOut {
    fn take(&mut self, body: &mut SetExpr) {
        match body {
            SetExpr::Values(values) => {
                let view = view_of(self.found.len());
                self.found.push(std::mem::replace(
                    values,
                    Values { explicit_row: false, value_keyword: false, rows: vec![] },
                ));
                *body = view;
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.take(left);
                self.take(right);
            }
            // A query within is visited by itself.
            _ => {}
        }
    }
}

impl VisitorMut for TakeOut {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if !std::mem::take(&mut self.skip) {
            self.take(&mut query.body);
        }
        ControlFlow::Continue(())
    }
}

fn view_of(number: usize) -> SetExpr {
    let sql = format!("SELECT * FROM \"{CATALOG}\".\"{SCHEMA}\".\"{number}\"");
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(&sql).and_then(|mut parser| parser.parse_query());
    *parsed.expect("a constant text is SQL").body
}

fn query_of(body: SetExpr) -> Query {
    let sql = "VALUES (1)";
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_query());
    let mut query = *parsed.expect("a constant text is SQL");
    query.body = Box::new(body);
    query
}
