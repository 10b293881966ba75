//! What there is: databases, schemas, tables. Asked of the service as any client could, so that each sees what it may.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{GetCatalogsBuilder, SqlInfoDataBuilder};
use arrow_flight::sql::{Command, CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables};
use arrow_flight::{FlightData, FlightInfo};
use bytes::Bytes;
use frazil_common::{ErrorCode, Failure};
use frazil_coordinator::statement::{Delivery, ResultStream, StatementRequest};
use futures::TryStreamExt;
use tonic::Response;

use super::identity::Client;
use super::info::{endpoint, flight_info};
use super::ingest::quoted;
use super::sealed::{Content, TICKET_VALID};
use super::{Answers, Door, invalid, keys, rows, sql_info, sql_types};

const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";

/// The columns of a command's answer.
pub fn schema(command: &Command) -> Result<SchemaRef, Failure> {
    Ok(match command {
        Command::CommandGetCatalogs(_) => GetCatalogsBuilder::new().schema(),
        Command::CommandGetDbSchemas(command) => command.clone().into_builder().schema(),
        Command::CommandGetTables(command) => command.clone().into_builder().schema(),
        Command::CommandGetTableTypes(_) => CommandGetTableTypes {}.into_builder().schema(),
        Command::CommandGetSqlInfo(_) => Arc::new(SqlInfoDataBuilder::schema().clone()),
        Command::CommandGetXdbcTypeInfo(_) => sql_types::schema(),
        Command::CommandGetPrimaryKeys(_) => keys::primary_keys(),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => keys::foreign_keys(),
        Command::CommandStatementSubstraitPlan(_) => {
            return Err(Failure::new(ErrorCode::NotSupported, "a Substrait plan is not supported"));
        }
        other => return Err(invalid(format!("{} has no rows", other.type_url()))),
    })
}

pub fn info(door: &Door, client: &Client, command: Command, bytes: Bytes) -> Result<FlightInfo, Failure> {
    let schema = schema(&command)?;
    let content = Content::Command(bytes);
    let endpoint = endpoint(&door.sealer, client.caller.principal(), content, TICKET_VALID);
    flight_info(Some(&schema), vec![endpoint])
}

pub async fn rows(client: &Client, command: Command) -> Result<Response<Answers<FlightData>>, Failure> {
    let schema = schema(&command)?;
    let batch = match command {
        Command::CommandGetCatalogs(_) => catalogs(client).await?,
        Command::CommandGetDbSchemas(command) => schemas(client, command).await?,
        Command::CommandGetTables(command) => tables(client, command).await?,
        Command::CommandGetTableTypes(_) => {
            let mut types = CommandGetTableTypes {}.into_builder();
            [TABLE, VIEW].into_iter().for_each(|name| types.append(name));
            types.build().map_err(failed)?
        }
        Command::CommandGetSqlInfo(command) => sql_info::rows(command)?,
        Command::CommandGetXdbcTypeInfo(command) => sql_types::rows(command)?,
        // Keys.
        _ => RecordBatch::new_empty(schema.clone()),
    };
    Ok(rows::encode_all(schema, vec![batch]))
}

async fn catalogs(client: &Client) -> Result<RecordBatch, Failure> {
    let mut builder = CommandGetCatalogs {}.into_builder();
    databases(client).await?.iter().for_each(|name| builder.append(name));
    builder.build().map_err(failed)
}

async fn schemas(client: &Client, command: CommandGetDbSchemas) -> Result<RecordBatch, Failure> {
    let wanted = command.catalog.clone();
    let mut builder = command.into_builder();
    let query = |database: &str| {
        format!("SELECT catalog_name, schema_name FROM {}.information_schema.schemata", quoted(database))
    };
    for [database, schema] in ask(client, wanted.as_deref(), query).await? {
        builder.append(database, schema);
    }
    builder.build().map_err(failed)
}

async fn tables(client: &Client, command: CommandGetTables) -> Result<RecordBatch, Failure> {
    let wanted = command.catalog.clone();
    let filter = [
        ("table_schema", command.db_schema_filter_pattern.clone()),
        ("table_name", command.table_name_filter_pattern.clone()),
    ];
    // What would be left out anyway need not be described.
    let conditions = filter.into_iter().filter_map(|(column, pattern)| {
        pattern.map(|pattern| format!("{column} LIKE '{}'", pattern.replace('\'', "''")))
    });
    let conditions: Vec<String> = conditions.collect();
    let condition = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let with_columns = command.include_schema;
    let types = command.table_types.clone();
    let mut builder = command.into_builder();
    let query = |database: &str| {
        let columns = "table_catalog, table_schema, table_name, table_type";
        format!("SELECT {columns} FROM {}.information_schema.tables{condition}", quoted(database))
    };
    for [database, schema, table, kind] in ask(client, wanted.as_deref(), query).await? {
        let kind = if kind == VIEW { VIEW } else { TABLE };
        if !types.is_empty() && !types.iter().any(|wanted| wanted == kind) {
            continue;
        }
        let columns = match with_columns {
            true => match columns(client, [&database, &schema, &table]).await {
                Ok(columns) => columns,
                // Dropped meanwhile, or a view whose table was: as good as not there.
                Err(failure) => {
                    tracing::debug!(table, %failure, "columns not listed");
                    continue;
                }
            },
            false => Arc::new(Schema::empty()),
        };
        builder.append(database, schema, table, kind, &rows::plain(&columns)).map_err(failed)?;
    }
    builder.build().map_err(failed)
}

/// As a query of the whole table would have them.
async fn columns(client: &Client, name: [&str; 3]) -> Result<SchemaRef, Failure> {
    let name = name.map(quoted).join(".");
    let request = StatementRequest {
        session: client.session,
        ..StatementRequest::new(format!("SELECT * FROM {name}"), Delivery::Streamed)
    };
    let (described, _) = client.caller.describe(request).await?;
    Ok(described.schema.unwrap_or_else(|| Arc::new(Schema::empty())))
}

async fn databases(client: &Client) -> Result<Vec<String>, Failure> {
    let found = texts(client, "SHOW DATABASES".to_owned()).await?;
    Ok(found.into_iter().map(|[name]: [String; 1]| name).collect())
}

/// Asks each database, or the one that is wanted. One that is not there has nothing; `""` asks for what is in none.
async fn ask<const N: usize>(
    client: &Client,
    wanted: Option<&str>,
    query: impl Fn(&str) -> String,
) -> Result<Vec<[String; N]>, Failure> {
    let mut found = Vec::new();
    for database in databases(client).await? {
        if wanted.is_none_or(|wanted| wanted == database) {
            found.extend(texts(client, query(&database)).await?);
        }
    }
    Ok(found)
}

/// The rows of a statement whose columns are texts without nulls.
async fn texts<const N: usize>(client: &Client, sql: String) -> Result<Vec<[String; N]>, Failure> {
    let request = StatementRequest { session: client.session, ..StatementRequest::new(sql, Delivery::Streamed) };
    let id = client.caller.submit(request).await?;
    let ResultStream { mut batches, .. } = client.caller.result_stream(id).await?;
    let mut found = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        let cast = |column: usize| {
            let text = arrow::compute::cast(batch.column(column), &DataType::Utf8);
            text.map_err(|error| Failure::internal(format!("a name as text: {error}")))
        };
        let columns = (0..N).map(cast).collect::<Result<Vec<_>, _>>()?;
        found.extend(
            (0..batch.num_rows())
                .map(|row| std::array::from_fn(|column| columns[column].as_string::<i32>().value(row).to_owned())),
        );
    }
    Ok(found)
}

pub fn failed(error: FlightError) -> Failure {
    Failure::internal(format!("rows about the catalog: {error}"))
}
