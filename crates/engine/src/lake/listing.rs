//! What there is in a database, with names and columns as SQL calls them: for `SHOW`, `DESCRIBE` and `information_schema`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, TableProvider};
use datafusion::common::ResolvedTableReference;
use datafusion::error::Result;
use frazil_catalog::{Column, ColumnType, DefaultValue, Relation};
use frazil_common::{ErrorCode, Failure};

use super::information::INFORMATION_SCHEMA;
use super::names::Lakes;
use super::system::SYSTEM_SCHEMA;
use super::table::LakeTable;
use crate::errors::to_failure;

pub const BASE_TABLE: &str = "BASE TABLE";
pub const VIEW: &str = "VIEW";
pub const EXTERNAL_TABLE: &str = "EXTERNAL TABLE";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub schema: String,
    pub name: String,
    pub kind: &'static str,
    /// Of a view.
    pub query: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedColumn {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
    /// As SQL.
    pub default: Option<String>,
}

/// A database's schemas, sorted; without those that every database has: `information_schema` and `system`.
pub fn schemas(catalog: &Arc<dyn CatalogProvider>) -> Vec<String> {
    let mut names = catalog.schema_names();
    names.retain(|name| name != INFORMATION_SCHEMA && name != SYSTEM_SCHEMA);
    names.sort();
    names
}

/// A database's tables and views, by schema and name. Reads no files.
pub fn relations(database: &str, catalog: &Arc<dyn CatalogProvider>, lakes: &Lakes) -> Vec<Listed> {
    let seen = lakes.get(database);
    let mut listed = Vec::new();
    for schema in schemas(catalog) {
        let Some(provider) = catalog.schema(&schema) else { continue };
        let known = seen.and_then(|seen| Some((&seen.view, seen.view.schema(&schema).ok()?.id)));
        for name in provider.table_names() {
            let relation = known.and_then(|(view, id)| view.relation(id, &name));
            let (kind, query) = match (relation, seen) {
                (Some(Relation::Table(_)), _) | (None, None) => (BASE_TABLE, None),
                (Some(Relation::View(id)), Some(seen)) => {
                    (VIEW, seen.view.view_by_id(id).ok().map(|view| view.sql.clone()))
                }
                (Some(Relation::View(_)), None) => (VIEW, None),
                (None, Some(_)) => (EXTERNAL_TABLE, None),
            };
            listed.push(Listed { schema: schema.clone(), name, kind, query });
        }
    }
    listed.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    listed
}

/// The table or view of a name, or that there is none.
pub async fn find(
    name: &ResolvedTableReference,
    catalogs: &dyn CatalogProviderList,
) -> Result<Arc<dyn TableProvider>, Failure> {
    let Some(catalog) = catalogs.catalog(&name.catalog) else {
        return Err(Failure::new(ErrorCode::UndefinedDatabase, format!("database \"{}\" not found", name.catalog)));
    };
    let Some(schema) = catalog.schema(&name.schema) else {
        return Err(Failure::new(ErrorCode::UndefinedSchema, format!("schema \"{}\" not found", name.schema)));
    };
    let table = schema.table(&name.table).await.map_err(|error| to_failure(&error))?;
    table.ok_or_else(|| {
        let message = format!("table or view \"{}.{}\" not found", name.schema, name.table);
        Failure::new(ErrorCode::UndefinedTable, message)
    })
}

pub fn columns(table: &Arc<dyn TableProvider>) -> Vec<ListedColumn> {
    let lake = table.downcast_ref::<LakeTable>();
    let schema = table.schema();
    let fields = schema.fields().iter().map(|field| {
        let column = lake.and_then(|lake| lake.table.column(field.name()).ok());
        ListedColumn {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            default: column.and_then(default_of),
        }
    });
    fields.collect()
}

fn default_of(column: &Column) -> Option<String> {
    match column.default.as_ref()? {
        DefaultValue::Expression(expression) => Some(expression.clone()),
        DefaultValue::Literal(text) => Some(match column.column_type {
            ColumnType::Boolean
            | ColumnType::Int8
            | ColumnType::Int16
            | ColumnType::Int32
            | ColumnType::Int64
            | ColumnType::Float32
            | ColumnType::Float64
            | ColumnType::Decimal(..) => text.clone(),
            _ => format!("'{}'", text.replace('\'', "''")),
        }),
    }
}

/// A type as SQL has it; for what SQL has no name for, Arrow's.
pub fn sql_type(data_type: &DataType) -> String {
    let named = |field: &Arc<Field>| format!("\"{}\" {}", field.name(), sql_type(field.data_type()));
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt8 => "TINYINT UNSIGNED".to_owned(),
        DataType::UInt16 => "SMALLINT UNSIGNED".to_owned(),
        DataType::UInt32 => "INTEGER UNSIGNED".to_owned(),
        DataType::UInt64 => "BIGINT UNSIGNED".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA".to_owned(),
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        DataType::Interval(IntervalUnit::MonthDayNano) => "INTERVAL".to_owned(),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            format!("{}[]", sql_type(item.data_type()))
        }
        DataType::Struct(fields) => {
            format!("STRUCT({})", fields.iter().map(named).collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("MAP({}, {})", sql_type(fields[0].data_type()), sql_type(fields[1].data_type()))
            }
            other => other.to_string(),
        },
        DataType::Dictionary(_, value) => sql_type(value),
        other => other.to_string(),
    }
}
