//! What a new table is declared with beside its columns' types. What nobody keeps is refused, and not forgotten.

use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{ColumnDef, ColumnOption, Expr, Statement};
use frazil_common::Failure;

use super::clustering::take_cluster_by;
use super::ddl::normal;
use super::dml::not_supported;

/// What DataFusion's plan of a `CREATE TABLE` does not tell.
#[derive(Debug, Default)]
pub struct Declared {
    pub(super) cluster_by: Option<Vec<Expr>>,
    /// Names of the columns that are `NOT NULL`. A query's columns lose it on the way.
    pub(super) not_null: Vec<String>,
}

impl Declared {
    /// Takes out of the statement what DataFusion refuses.
    pub fn take(statement: &mut ParsedStatement) -> Self {
        let columns = new_columns(statement).iter().filter(|column| is_not_null(column));
        let not_null = columns.map(|column| normal(&column.name)).collect();
        Self { cluster_by: take_cluster_by(statement), not_null }
    }
}

fn is_not_null(column: &ColumnDef) -> bool {
    column.options.iter().any(|option| matches!(option.option, ColumnOption::NotNull))
}

/// Refuses options of the columns of a new table that are not kept.
pub fn check_columns(statement: &ParsedStatement) -> Result<(), Failure> {
    new_columns(statement).iter().try_for_each(check_column)
}

/// Of a table that is created.
fn new_columns(statement: &ParsedStatement) -> &[ColumnDef] {
    match statement {
        ParsedStatement::Statement(statement) => match statement.as_ref() {
            Statement::CreateTable(create) => &create.columns,
            _ => &[],
        },
        _ => &[],
    }
}

fn check_column(column: &ColumnDef) -> Result<(), Failure> {
    for option in &column.options {
        match &option.option {
            ColumnOption::Null | ColumnOption::NotNull | ColumnOption::Default(_) => {}
            // Refused where constraints are.
            ColumnOption::PrimaryKey(_) | ColumnOption::Unique(_) => {}
            other => return Err(not_supported(&format!("{other} of column \"{}\"", column.name.value))),
        }
    }
    Ok(())
}
