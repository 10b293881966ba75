//! What a column is declared with beside its type. What nobody keeps is refused, and not forgotten.

use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{ColumnDef, ColumnOption, Statement};
use frazil_common::Failure;

use super::dml::not_supported;

/// Refuses options of the columns of a new table that are not kept.
pub fn check_columns(statement: &ParsedStatement) -> Result<(), Failure> {
    let ParsedStatement::Statement(statement) = statement else { return Ok(()) };
    match statement.as_ref() {
        Statement::CreateTable(create) => create.columns.iter().try_for_each(check_column),
        _ => Ok(()),
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
