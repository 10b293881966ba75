//! `information_schema` of each database: what that database has. Functions and settings are DataFusion's to tell.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemTable, SchemaProvider, TableProvider};
use datafusion::error::Result;
use frazil_common::NameCase;

use super::listing::{self, Listed, ListedColumn, VIEW, sql_type};
use super::names::Catalogs;
use crate::sql_types::{SnowflakeType, snowflake_type};

pub const INFORMATION_SCHEMA: &str = "information_schema";

const TABLES: [&str; 4] = ["schemata", "tables", "columns", "views"];
/// Of these DataFusion knows everything.
const FUNCTIONS: [&str; 3] = ["df_settings", "routines", "parameters"];

/// A database with its `information_schema`.
#[derive(Debug)]
pub(super) struct WithInformation {
    database: Arc<dyn CatalogProvider>,
    information: Arc<Information>,
}

impl WithInformation {
    pub(super) fn new(name: &str, database: Arc<dyn CatalogProvider>, catalogs: Catalogs) -> Self {
        let information = Information { name: name.to_owned(), database: database.clone(), catalogs };
        Self { database, information: Arc::new(information) }
    }
}

impl CatalogProvider for WithInformation {
    fn schema_names(&self) -> Vec<String> {
        let mut names = self.database.schema_names();
        names.push(INFORMATION_SCHEMA.to_owned());
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name == INFORMATION_SCHEMA {
            true => Some(self.information.clone()),
            false => self.database.schema(name),
        }
    }
}

struct Information {
    name: String,
    database: Arc<dyn CatalogProvider>,
    catalogs: Catalogs,
}

impl fmt::Debug for Information {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{INFORMATION_SCHEMA}", self.name)
    }
}

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        TABLES.iter().chain(&FUNCTIONS).map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let rows = match name {
            "schemata" => self.schemata()?,
            "tables" => self.tables()?,
            "columns" => self.columns().await?,
            "views" => self.views()?,
            _ if FUNCTIONS.contains(&name) => {
                let catalogs: Arc<dyn CatalogProviderList> = Arc::new(self.catalogs.clone());
                return InformationSchemaProvider::new(catalogs).table(name).await;
            }
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        TABLES.contains(&name) || FUNCTIONS.contains(&name)
    }
}

impl Information {
    fn relations(&self) -> Vec<Listed> {
        listing::relations(&self.name, &self.database, &self.catalogs.lakes)
    }

    fn schemata(&self) -> Result<RecordBatch> {
        let mut schemas = listing::schemas(&self.database);
        schemas.push(INFORMATION_SCHEMA.to_owned());
        let owners: ArrayRef = Arc::new(StringArray::new_null(schemas.len()));
        let names = self.names(schemas.iter().map(String::as_str));
        batch([("catalog_name", self.catalog(schemas.len())), ("schema_name", names), ("schema_owner", owners)])
    }

    fn tables(&self) -> Result<RecordBatch> {
        let mut relations = self.relations();
        let own = self.table_names().into_iter();
        let schema = INFORMATION_SCHEMA.to_owned();
        relations.extend(own.map(|name| Listed { schema: schema.clone(), name, kind: VIEW, query: None }));
        batch([
            ("table_catalog", self.catalog(relations.len())),
            ("table_schema", self.names(relations.iter().map(|one| one.schema.as_str()))),
            ("table_name", self.names(relations.iter().map(|one| one.name.as_str()))),
            ("table_type", texts(relations.iter().map(|one| Some(one.kind)))),
        ])
    }

    fn views(&self) -> Result<RecordBatch> {
        let mut views = self.relations();
        views.retain(|one| one.kind == VIEW);
        batch([
            ("table_catalog", self.catalog(views.len())),
            ("table_schema", self.names(views.iter().map(|one| one.schema.as_str()))),
            ("table_name", self.names(views.iter().map(|one| one.name.as_str()))),
            ("view_definition", texts(views.iter().map(|one| one.query.as_deref()))),
        ])
    }

    async fn columns(&self) -> Result<RecordBatch> {
        let mut rows: Vec<(Listed, usize, ListedColumn)> = Vec::new();
        for listed in self.relations() {
            let Some(schema) = self.database.schema(&listed.schema) else { continue };
            match schema.table(&listed.name).await {
                Ok(Some(table)) => {
                    let columns = listing::columns(&table).into_iter().enumerate();
                    rows.extend(columns.map(|(index, column)| (listed.clone(), index + 1, column)));
                }
                Ok(None) => {}
                // A view whose tables are gone has no columns, and must not hide those of everything else.
                Err(error) => tracing::debug!(schema = listed.schema, name = listed.name, %error, "no columns"),
            }
        }
        let defaults = rows.iter().map(|(_, _, column)| column.default.as_deref());
        let types: Vec<String> = rows.iter().map(|(_, _, column)| sql_type(&column.data_type)).collect();
        let precisions: Int32Array = rows.iter().map(|(_, _, column)| precision(&column.data_type)).collect();
        let scales: Int32Array = rows.iter().map(|(_, _, column)| scale(&column.data_type)).collect();
        let positions: UInt64Array = rows.iter().map(|(_, position, _)| Some(*position as u64)).collect();
        if self.catalogs.name_case == NameCase::Upper {
            return self.snowflake_columns(&rows);
        }
        batch([
            ("table_catalog", self.catalog(rows.len())),
            ("table_schema", self.names(rows.iter().map(|(one, ..)| one.schema.as_str()))),
            ("table_name", self.names(rows.iter().map(|(one, ..)| one.name.as_str()))),
            ("column_name", self.names(rows.iter().map(|(_, _, column)| column.name.as_str()))),
            ("ordinal_position", Arc::new(positions)),
            ("column_default", texts(defaults)),
            ("is_nullable", texts(rows.iter().map(|(_, _, column)| Some(yes_or_no(column.nullable))))),
            ("data_type", texts(types.iter().map(|name| Some(name.as_str())))),
            ("numeric_precision", Arc::new(precisions)),
            ("numeric_scale", Arc::new(scales)),
        ])
    }

    /// With the columns that clients of Snowflake look at, and its names of types.
    fn snowflake_columns(&self, rows: &[(Listed, usize, ListedColumn)]) -> Result<RecordBatch> {
        let types: Vec<SnowflakeType> = rows.iter().map(|(_, _, column)| snowflake_type(&column.data_type)).collect();
        let nothing = || texts(std::iter::repeat_n(None, rows.len()));
        let number = |of: fn(&SnowflakeType) -> Option<i64>| -> ArrayRef {
            Arc::new(types.iter().map(of).collect::<Int64Array>())
        };
        let positions: Int64Array = rows.iter().map(|(_, position, _)| Some(*position as i64)).collect();
        batch([
            ("table_catalog", self.catalog(rows.len())),
            ("table_schema", self.names(rows.iter().map(|(one, ..)| one.schema.as_str()))),
            ("table_name", self.names(rows.iter().map(|(one, ..)| one.name.as_str()))),
            ("column_name", self.names(rows.iter().map(|(_, _, column)| column.name.as_str()))),
            ("ordinal_position", Arc::new(positions)),
            ("column_default", texts(rows.iter().map(|(_, _, column)| column.default.as_deref()))),
            ("is_nullable", texts(rows.iter().map(|(_, _, column)| Some(yes_or_no(column.nullable))))),
            ("data_type", texts(types.iter().map(|one| Some(one.name)))),
            ("character_maximum_length", number(|one| one.length.filter(|_| one.name == "TEXT"))),
            ("character_octet_length", number(|one| one.length)),
            ("numeric_precision", number(|one| one.precision)),
            ("numeric_precision_radix", number(|one| one.precision.map(|_| 10))),
            ("numeric_scale", number(|one| one.scale)),
            ("datetime_precision", number(|one| one.decimals)),
            ("is_identity", texts(std::iter::repeat_n(Some("NO"), rows.len()))),
            ("identity_generation", nothing()),
            ("identity_start", nothing()),
            ("identity_increment", nothing()),
            ("identity_cycle", nothing()),
            ("identity_ordered", nothing()),
            ("data_type_alias", nothing()),
            ("comment", nothing()),
        ])
    }

    fn catalog(&self, rows: usize) -> ArrayRef {
        self.names(std::iter::repeat_n(self.name.as_str(), rows))
    }

    /// As the statement's client shows them.
    fn names<'a>(&self, names: impl Iterator<Item = &'a str>) -> ArrayRef {
        let case = self.catalogs.name_case;
        Arc::new(names.map(|name| Some(case.shown(name))).collect::<StringArray>())
    }
}

pub(super) fn yes_or_no(value: bool) -> &'static str {
    if value { "YES" } else { "NO" }
}

/// Decimal digits of exact numbers.
fn precision(data_type: &DataType) -> Option<i32> {
    match data_type {
        DataType::Decimal32(precision, _)
        | DataType::Decimal64(precision, _)
        | DataType::Decimal128(precision, _)
        | DataType::Decimal256(precision, _) => Some(i32::from(*precision)),
        _ => None,
    }
}

fn scale(data_type: &DataType) -> Option<i32> {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(i32::from(*scale)),
        _ => None,
    }
}

pub(super) fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

pub(super) fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<RecordBatch> {
    // Every column may be null, so that a table has one schema whatever it has of rows.
    Ok(RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))?)
}
