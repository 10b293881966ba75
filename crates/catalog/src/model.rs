//! What a database holds at one snapshot: schemas, tables with their columns, views. Files are not part of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::error::{CatalogError, Result};
use crate::ids::{ColumnId, SchemaId, TableId, ViewId};
use crate::types::ColumnType;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schema {
    pub id: SchemaId,
    pub uuid: String,
    pub name: String,
    pub path: Place,
}

/// Where a schema, a table or a file lies: a path or URL of its own, or one below its parent's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    pub path: String,
    pub is_relative: bool,
}

impl Place {
    pub fn relative(path: impl Into<String>) -> Self {
        Self { path: path.into(), is_relative: true }
    }

    pub fn absolute(path: impl Into<String>) -> Self {
        Self { path: path.into(), is_relative: false }
    }

    pub fn under(&self, parent: &str) -> String {
        match self.is_relative {
            true => format!("{parent}{}", self.path),
            false => self.path.clone(),
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    pub id: TableId,
    pub uuid: String,
    pub schema_id: SchemaId,
    pub name: String,
    pub path: Place,
    /// The path in full, with a `/` at its end: new files go there, each under a name of its own.
    pub location: String,
    /// Top-level columns in their order.
    pub columns: Vec<Column>,
    /// Columns by which files should be sorted, most significant first.
    pub sort_keys: Vec<SortKey>,
    /// Partitioning that DuckDB declared. Frazil keeps it and does not write by it.
    pub partition_keys: Vec<PartitionKey>,
    pub tags: BTreeMap<String, String>,
    /// Where DuckDB may have put rows into the metadata database.
    pub(crate) inlined_tables: Vec<String>,
    /// The largest field id ever used, so that none is used twice.
    pub(crate) column_id_max: i64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// 0 until the column is part of a table.
    pub id: ColumnId,
    pub name: String,
    pub column_type: ColumnType,
    pub nulls_allowed: bool,
    /// The value of rows written before the column was added, as text.
    pub initial_default: Option<String>,
    /// The value of later rows that do not give one.
    pub default: Option<DefaultValue>,
    pub tags: BTreeMap<String, String>,
    pub children: Vec<Column>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DefaultValue {
    Literal(String),
    /// An SQL expression in DuckDB's dialect.
    Expression(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SortKey {
    /// A column, or an expression in DuckDB's dialect.
    pub expression: String,
    pub descending: bool,
    pub nulls_first: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionKey {
    pub column: ColumnId,
    /// `identity`, `year`, `month`, `day`, `hour`, or `bucket(n)`.
    pub transform: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    pub id: ViewId,
    pub uuid: String,
    pub schema_id: SchemaId,
    pub name: String,
    pub dialect: String,
    pub sql: String,
    /// DuckLake's list of quoted names; empty where the query's own names stand.
    pub column_aliases: String,
    pub tags: BTreeMap<String, String>,
}

/// What a name in a schema stands for. Tables and views share their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    Table(TableId),
    View(ViewId),
}

/// All of a database's schemas, tables and views, with an index of names. Names are compared as they are given.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub(crate) schemas: BTreeMap<SchemaId, Arc<Schema>>,
    pub(crate) tables: BTreeMap<TableId, Arc<Table>>,
    pub(crate) views: BTreeMap<ViewId, Arc<View>>,
    schema_names: HashMap<String, SchemaId>,
    names: HashMap<SchemaId, HashMap<String, Relation>>,
}

impl Column {
    pub fn new(name: impl Into<String>, column_type: ColumnType) -> Self {
        Self {
            id: ColumnId(0),
            name: name.into(),
            column_type,
            nulls_allowed: true,
            initial_default: None,
            default: None,
            tags: BTreeMap::new(),
            children: Vec::new(),
        }
    }

    pub fn not_null(mut self) -> Self {
        self.nulls_allowed = false;
        self
    }

    pub fn with_default(mut self, default: DefaultValue) -> Self {
        self.default = Some(default);
        self
    }
}

impl Table {
    /// Finds a top-level column.
    pub fn column(&self, name: &str) -> Result<&Column> {
        self.columns
            .iter()
            .find(|c| c.name == name)
            .ok_or_else(|| CatalogError::UndefinedColumn { table: self.name.clone(), column: name.to_owned() })
    }

    /// Finds a column of any depth.
    pub fn column_by_id(&self, id: ColumnId) -> Option<&Column> {
        fn find(columns: &[Column], id: ColumnId) -> Option<&Column> {
            columns.iter().find_map(|c| if c.id == id { Some(c) } else { find(&c.children, id) })
        }
        find(&self.columns, id)
    }
}

impl Contents {
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.schemas.values()
    }

    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    pub fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.views.values()
    }

    pub fn schema(&self, name: &str) -> Result<&Arc<Schema>> {
        let found = self.schema_names.get(name).and_then(|id| self.schemas.get(id));
        found.ok_or_else(|| CatalogError::UndefinedSchema(name.to_owned()))
    }

    pub fn schema_by_id(&self, id: SchemaId) -> Result<&Arc<Schema>> {
        self.schemas.get(&id).ok_or_else(|| CatalogError::UndefinedSchema(format!("#{id}")))
    }

    pub fn relation(&self, schema: SchemaId, name: &str) -> Option<Relation> {
        self.names.get(&schema)?.get(name).copied()
    }

    /// Names of tables and views of a schema, in no order.
    pub fn relations(&self, schema: SchemaId) -> impl Iterator<Item = (&str, Relation)> {
        self.names.get(&schema).into_iter().flatten().map(|(name, relation)| (name.as_str(), *relation))
    }

    pub fn table(&self, schema: &str, name: &str) -> Result<&Arc<Table>> {
        match self.relation(self.schema(schema)?.id, name) {
            Some(Relation::Table(id)) => self.table_by_id(id),
            _ => Err(CatalogError::UndefinedTable(format!("{schema}.{name}"))),
        }
    }

    pub fn table_by_id(&self, id: TableId) -> Result<&Arc<Table>> {
        self.tables.get(&id).ok_or_else(|| CatalogError::UndefinedTable(format!("#{id}")))
    }

    pub fn view(&self, schema: &str, name: &str) -> Result<&Arc<View>> {
        match self.relation(self.schema(schema)?.id, name) {
            Some(Relation::View(id)) => self.view_by_id(id),
            _ => Err(CatalogError::UndefinedView(format!("{schema}.{name}"))),
        }
    }

    pub fn view_by_id(&self, id: ViewId) -> Result<&Arc<View>> {
        self.views.get(&id).ok_or_else(|| CatalogError::UndefinedView(format!("#{id}")))
    }

    /// `schema.table`, for messages.
    pub fn full_name(&self, table: &Table) -> String {
        match self.schemas.get(&table.schema_id) {
            Some(schema) => format!("{}.{}", schema.name, table.name),
            None => table.name.clone(),
        }
    }

    pub(crate) fn put_schema(&mut self, schema: Schema) {
        self.remove_schema(schema.id);
        self.schema_names.insert(schema.name.clone(), schema.id);
        self.schemas.insert(schema.id, Arc::new(schema));
    }

    pub(crate) fn put_table(&mut self, table: Table) {
        self.remove_table(table.id);
        self.names.entry(table.schema_id).or_default().insert(table.name.clone(), Relation::Table(table.id));
        self.tables.insert(table.id, Arc::new(table));
    }

    pub(crate) fn put_view(&mut self, view: View) {
        self.remove_view(view.id);
        self.names.entry(view.schema_id).or_default().insert(view.name.clone(), Relation::View(view.id));
        self.views.insert(view.id, Arc::new(view));
    }

    pub(crate) fn remove_schema(&mut self, id: SchemaId) {
        if let Some(schema) = self.schemas.remove(&id) {
            self.schema_names.remove(&schema.name);
        }
    }

    pub(crate) fn remove_table(&mut self, id: TableId) {
        if let Some(table) = self.tables.remove(&id) {
            self.forget_name(table.schema_id, &table.name);
        }
    }

    pub(crate) fn remove_view(&mut self, id: ViewId) {
        if let Some(view) = self.views.remove(&id) {
            self.forget_name(view.schema_id, &view.name);
        }
    }

    fn forget_name(&mut self, schema: SchemaId, name: &str) {
        if let Some(names) = self.names.get_mut(&schema) {
            names.remove(name);
        }
    }
}
