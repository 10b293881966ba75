//! `SHOW DATABASES | SCHEMAS | TABLES | VIEWS | COLUMNS`, `SHOW CREATE TABLE | VIEW`, `DESCRIBE`.

use arrow::array::{BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::comparison::{ilike, like};
use datafusion::common::TableReference;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, ShowCreateObject, ShowStatementFilter, ShowStatementFilterPosition, ShowStatementIn,
    ShowStatementInParentType, ShowStatementOptions, Statement,
};
use frazil_common::{ErrorCode, Failure, NameCase};

use super::ddl;
use super::information::{batch, texts, yes_or_no};
use super::listing::{self, BASE_TABLE, Listed, ListedColumn, VIEW, sql_type};
use super::names::Lakes;
use crate::errors::to_failure;
use crate::sql_types::snowflake_type;

/// The answer of a statement that shows names, if it is one.
pub async fn show(
    statement: &ParsedStatement,
    lakes: &Lakes,
    state: &SessionState,
) -> Result<Option<RecordBatch>, Failure> {
    let ParsedStatement::Statement(statement) = statement else { return Ok(None) };
    let shown = Shown { lakes, state };
    let rows = match statement.as_ref() {
        Statement::ShowDatabases { terse, history, show_options } => {
            refuse(&[(*terse, "TERSE"), (*history, "HISTORY"), (show_options.show_in.is_some(), "IN")])?;
            filtered(shown.databases(), show_options)?
        }
        Statement::ShowSchemas { terse, history, show_options } => {
            refuse(&[(*terse, "TERSE"), (*history, "HISTORY")])?;
            filtered(shown.schemas(show_options)?, show_options)?
        }
        Statement::ShowTables { terse, history, extended, full, external, show_options } => {
            refuse(&[
                (*terse, "TERSE"),
                (*history, "HISTORY"),
                (*extended, "EXTENDED"),
                (*full, "FULL"),
                (*external, "EXTERNAL"),
            ])?;
            filtered(shown.relations(show_options, |_| true)?, show_options)?
        }
        Statement::ShowViews { terse, materialized, show_options } => {
            refuse(&[(*terse, "TERSE"), (*materialized, "MATERIALIZED")])?;
            filtered(shown.relations(show_options, |one| one.kind == VIEW)?, show_options)?
        }
        Statement::ShowColumns { extended, full, show_options } => {
            refuse(&[(*extended, "EXTENDED"), (*full, "FULL")])?;
            let Some(ShowStatementIn { parent_name: Some(name), parent_type, .. }) = &show_options.show_in else {
                return Err(Failure::new(ErrorCode::Syntax, "SHOW COLUMNS takes IN and a table's name"));
            };
            if !matches!(parent_type, None | Some(ShowStatementInParentType::Table | ShowStatementInParentType::View)) {
                return Err(Failure::new(
                    ErrorCode::NotSupported,
                    "SHOW COLUMNS of more than one table is not supported: see information_schema.columns",
                ));
            }
            filtered(describe(name, state).await.map(Ok)?, show_options)?
        }
        Statement::ShowCreate { obj_type: ShowCreateObject::Table | ShowCreateObject::View, obj_name } => {
            shown.create(obj_name).await?
        }
        Statement::ExplainTable { hive_format: None, table_name, .. } => describe(table_name, state).await?,
        _ => return Ok(None),
    };
    Ok(Some(rows))
}

/// A row for each column: `column_name`, `data_type`, `is_nullable`, `column_default`.
pub async fn describe(name: &ObjectName, state: &SessionState) -> Result<RecordBatch, Failure> {
    let name = ddl::reference(name, state)?;
    let table = listing::find(&name, state.catalog_list().as_ref()).await?;
    let columns = listing::columns(&table);
    if let Some(case) = upper_case(state) {
        return describe_as_snowflake(&columns, case).map_err(|error| to_failure(&error));
    }
    let types: Vec<String> = columns.iter().map(|column| sql_type(&column.data_type)).collect();
    let rows = batch([
        ("column_name", texts(columns.iter().map(|column| Some(column.name.as_str())))),
        ("data_type", texts(types.iter().map(|name| Some(name.as_str())))),
        ("is_nullable", texts(columns.iter().map(|column| Some(yes_or_no(column.nullable))))),
        ("column_default", texts(columns.iter().map(|column| column.default.as_deref()))),
    ]);
    rows.map_err(|error| to_failure(&error))
}

/// The case of names, if they are shown in another than they are kept in.
fn upper_case(state: &SessionState) -> Option<NameCase> {
    let case = state.config().get_extension::<NameCase>().map_or_else(NameCase::default, |case| *case);
    (case != NameCase::AsKept).then_some(case)
}

/// With Snowflake's columns and names of types.
fn describe_as_snowflake(columns: &[ListedColumn], case: NameCase) -> Result<RecordBatch> {
    let rows = columns.len();
    let same = |text: &'static str| texts(std::iter::repeat_n(Some(text), rows));
    let nothing = || texts(std::iter::repeat_n(None, rows));
    let names: Vec<_> = columns.iter().map(|column| case.shown(&column.name)).collect();
    let types: Vec<String> = columns.iter().map(|column| snowflake_type(&column.data_type).full_name()).collect();
    batch([
        ("name", texts(names.iter().map(|name| Some(name.as_ref())))),
        ("type", texts(types.iter().map(|name| Some(name.as_str())))),
        ("kind", same("COLUMN")),
        ("null?", texts(columns.iter().map(|column| Some(if column.nullable { "Y" } else { "N" })))),
        ("default", texts(columns.iter().map(|column| column.default.as_deref()))),
        ("primary key", same("N")),
        ("unique key", same("N")),
        ("check", nothing()),
        ("expression", nothing()),
        ("comment", nothing()),
        ("policy name", nothing()),
    ])
}

struct Shown<'a> {
    lakes: &'a Lakes,
    state: &'a SessionState,
}

impl Shown<'_> {
    fn databases(&self) -> Result<RecordBatch> {
        let mut names = self.state.catalog_list().catalog_names();
        names.sort();
        if let Some(case) = upper_case(self.state) {
            return self.databases_as_snowflake(&names, case);
        }
        batch([("name", texts(names.iter().map(|name| Some(name.as_str()))))])
    }

    fn databases_as_snowflake(&self, names: &[String], case: NameCase) -> Result<RecordBatch> {
        let same = |text: &'static str| texts(std::iter::repeat_n(Some(text), names.len()));
        let shown: Vec<_> = names.iter().map(|name| case.shown(name)).collect();
        let current = names.iter().map(|name| Some(if name == self.default_database() { "Y" } else { "N" }));
        batch([
            ("created_on", texts(std::iter::repeat_n(None, names.len()))),
            ("name", texts(shown.iter().map(|name| Some(name.as_ref())))),
            ("is_default", same("N")),
            ("is_current", texts(current)),
            ("origin", same("")),
            ("owner", same("")),
            ("comment", same("")),
            ("options", same("")),
            ("retention_time", same("1")),
            ("kind", same("STANDARD")),
        ])
    }

    fn default_database(&self) -> &str {
        &self.state.config_options().catalog.default_catalog
    }

    fn catalog(&self, database: &str) -> Result<std::sync::Arc<dyn datafusion::catalog::CatalogProvider>, Failure> {
        self.state
            .catalog_list()
            .catalog(database)
            .ok_or_else(|| Failure::new(ErrorCode::UndefinedDatabase, format!("database \"{database}\" not found")))
    }

    /// The database, and the schema if it is only one.
    fn scope(&self, options: &ShowStatementOptions) -> Result<(String, Option<String>), Failure> {
        let default = || self.default_database().to_owned();
        let Some(ShowStatementIn { parent_type, parent_name, .. }) = &options.show_in else {
            return Ok((default(), None));
        };
        let Some(name) = parent_name else {
            return Err(Failure::new(ErrorCode::Syntax, "SHOW … IN takes a database's or schema's name"));
        };
        let reference = object_name_to_table_reference(name.clone(), true).map_err(|error| to_failure(&error))?;
        match (parent_type, reference) {
            (Some(ShowStatementInParentType::Database), TableReference::Bare { table }) => {
                Ok((table.to_string(), None))
            }
            (Some(ShowStatementInParentType::Schema), TableReference::Bare { table }) => {
                Ok((default(), Some(table.to_string())))
            }
            (None | Some(ShowStatementInParentType::Schema), TableReference::Partial { schema, table }) => {
                Ok((schema.to_string(), Some(table.to_string())))
            }
            // A schema of the session's database, or another database.
            (None, TableReference::Bare { table }) => {
                let is_schema = self.catalog(self.default_database())?.schema(&table).is_some();
                match is_schema {
                    true => Ok((default(), Some(table.to_string()))),
                    false => Ok((table.to_string(), None)),
                }
            }
            _ => Err(Failure::new(ErrorCode::Syntax, format!("\"{name}\" names no database or schema"))),
        }
    }

    fn schemas(&self, options: &ShowStatementOptions) -> Result<Result<RecordBatch>, Failure> {
        let database = match self.scope(options)? {
            (database, None) => database,
            (_, Some(schema)) if options.show_in.as_ref().is_some_and(|within| within.parent_type.is_none()) => schema,
            _ => return Err(Failure::new(ErrorCode::Syntax, "SHOW SCHEMAS takes IN and a database's name")),
        };
        let names = listing::schemas(&self.catalog(&database)?);
        Ok(batch([
            ("name", texts(names.iter().map(|name| Some(name.as_str())))),
            ("database", texts(names.iter().map(|_| Some(database.as_str())))),
        ]))
    }

    fn relations(
        &self,
        options: &ShowStatementOptions,
        wanted: fn(&Listed) -> bool,
    ) -> Result<Result<RecordBatch>, Failure> {
        let (database, schema) = self.scope(options)?;
        let catalog = self.catalog(&database)?;
        if let Some(schema) = &schema
            && catalog.schema(schema).is_none()
        {
            return Err(Failure::new(ErrorCode::UndefinedSchema, format!("schema \"{schema}\" not found")));
        }
        let mut relations = listing::relations(&database, &catalog, self.lakes);
        relations.retain(|one| wanted(one) && schema.as_ref().is_none_or(|schema| *schema == one.schema));
        Ok(batch([
            ("name", texts(relations.iter().map(|one| Some(one.name.as_str())))),
            ("schema", texts(relations.iter().map(|one| Some(one.schema.as_str())))),
            ("database", texts(relations.iter().map(|_| Some(database.as_str())))),
            ("kind", texts(relations.iter().map(|one| Some(one.kind)))),
        ]))
    }

    /// The statement that makes a table or view anew.
    async fn create(&self, name: &ObjectName) -> Result<RecordBatch, Failure> {
        let name = ddl::reference(name, self.state)?;
        let table = listing::find(&name, self.state.catalog_list().as_ref()).await?;
        let relations = listing::relations(&name.catalog, &self.catalog(&name.catalog)?, self.lakes);
        let listed = relations.iter().find(|one| one.schema == *name.schema && one.name == *name.table);
        let quoted = |name: &str| Ident::with_quote('"', name).to_string();
        let full = [&name.catalog, &name.schema, &name.table].map(|part| quoted(part)).join(".");
        let statement = match listed {
            Some(Listed { kind: VIEW, query: Some(query), .. }) => format!("CREATE VIEW {full} AS {query}"),
            Some(Listed { kind: BASE_TABLE, .. }) => {
                let columns = listing::columns(&table).into_iter().map(|column| {
                    let null = if column.nullable { "" } else { " NOT NULL" };
                    let default = column.default.map(|default| format!(" DEFAULT {default}")).unwrap_or_default();
                    format!("  {} {}{null}{default}", quoted(&column.name), sql_type(&column.data_type))
                });
                format!("CREATE TABLE {full} (\n{}\n)", columns.collect::<Vec<_>>().join(",\n"))
            }
            _ => {
                let message = format!("SHOW CREATE of \"{}.{}\" is not supported", name.schema, name.table);
                return Err(Failure::new(ErrorCode::NotSupported, message));
            }
        };
        let rows = batch([
            ("name", texts([Some(&*name.table)].into_iter())),
            ("statement", texts([Some(statement.as_str())].into_iter())),
        ]);
        rows.map_err(|error| to_failure(&error))
    }
}

/// `LIKE` and `ILIKE` on the column of names.
fn filtered(rows: Result<RecordBatch>, options: &ShowStatementOptions) -> Result<RecordBatch, Failure> {
    let ShowStatementOptions { show_in: _, starts_with, limit, limit_from, filter_position } = options;
    refuse(&[(starts_with.is_some(), "STARTS WITH"), (limit.is_some() || limit_from.is_some(), "LIMIT")])?;
    let rows = rows.map_err(|error| to_failure(&error))?;
    let filter = match filter_position {
        None => return Ok(rows),
        Some(ShowStatementFilterPosition::Infix(filter) | ShowStatementFilterPosition::Suffix(filter)) => filter,
    };
    let names = rows.column_by_name("name").unwrap_or_else(|| rows.column(0));
    let pattern = |text: &String| StringArray::new_scalar(text.as_str());
    let matched: std::result::Result<BooleanArray, _> = match filter {
        ShowStatementFilter::Like(text) => like(names, &pattern(text)),
        ShowStatementFilter::ILike(text) => ilike(names, &pattern(text)),
        ShowStatementFilter::Where(_) | ShowStatementFilter::NoKeyword(_) => {
            return Err(Failure::new(ErrorCode::NotSupported, format!("SHOW with {filter} is not supported: LIKE is")));
        }
    };
    let matched = matched.and_then(|matched| filter_record_batch(&rows, &matched));
    matched.map_err(|error| Failure::new(ErrorCode::InvalidArgument, format!("{filter}: {error}")))
}

fn refuse(given: &[(bool, &str)]) -> Result<(), Failure> {
    match given.iter().find(|(given, _)| *given) {
        Some((_, what)) => Err(Failure::new(ErrorCode::NotSupported, format!("SHOW with {what} is not supported"))),
        None => Ok(()),
    }
}
