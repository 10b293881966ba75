//! `SHOW DATABASES | SCHEMAS | VIEWS`, as the queries that they are.

use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::Statement;

/// The query in place of a statement that shows names. `SHOW TABLES` and `SHOW COLUMNS` DataFusion knows itself.
pub fn query_for(statement: &ParsedStatement, state: &SessionState) -> Option<String> {
    let ParsedStatement::Statement(statement) = statement else { return None };
    let database = state.config_options().catalog.default_catalog.replace('\'', "''");
    match statement.as_ref() {
        Statement::ShowDatabases { .. } => {
            Some("SELECT DISTINCT catalog_name AS name FROM information_schema.schemata ORDER BY name".to_owned())
        }
        Statement::ShowSchemas { .. } => Some(format!(
            "SELECT schema_name AS name, catalog_name AS database FROM information_schema.schemata \
             WHERE catalog_name = '{database}' ORDER BY name"
        )),
        Statement::ShowViews { .. } => Some(format!(
            "SELECT table_name AS name, table_schema AS schema, table_catalog AS database FROM information_schema.tables \
             WHERE table_catalog = '{database}' AND table_type = 'VIEW' AND table_schema <> 'information_schema' ORDER BY 2, 1"
        )),
        _ => None,
    }
}
