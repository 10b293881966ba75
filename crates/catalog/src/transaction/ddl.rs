//! Changes of schemas, tables, columns and views, made to the draft.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::Transaction;
use crate::error::{CatalogError, Named, Result};
use crate::ids::{ColumnId, SchemaId, TableId, ViewId};
use crate::model::{Column, DefaultValue, Place, Relation, Schema, SortKey, Table, View};
use crate::sql::quote;
use crate::types::ColumnType;

/// The schema that every DuckLake has.
const MAIN: &str = "main";

impl Transaction {
    pub fn create_schema(&mut self, name: &str) -> Result<SchemaId> {
        check_name("schema", name)?;
        if self.draft.schema(name).is_ok() {
            return Err(CatalogError::DuplicateSchema(name.to_owned()));
        }
        check_case(Named::Schema, name, self.draft.schemas().map(|schema| schema.name.as_str()))?;
        let id = SchemaId(self.local());
        let uuid = Uuid::now_v7().to_string();
        let path = directory(name, &uuid);
        Arc::make_mut(&mut self.draft).put_schema(Schema { id, uuid, name: name.to_owned(), path });
        Ok(id)
    }

    /// Drops a schema; with `cascade` also its tables and views.
    pub fn drop_schema(&mut self, id: SchemaId, cascade: bool) -> Result<()> {
        let schema = self.draft.schema_by_id(id)?.clone();
        if schema.name == MAIN {
            return Err(CatalogError::Invalid(format!("schema \"{MAIN}\" cannot be dropped")));
        }
        let relations: Vec<_> = self.draft.relations(id).map(|(_, relation)| relation).collect();
        if !relations.is_empty() && !cascade {
            return Err(CatalogError::SchemaNotEmpty(schema.name.clone()));
        }
        for relation in relations {
            match relation {
                Relation::Table(table) => self.drop_table(table)?,
                Relation::View(view) => self.drop_view(view)?,
            }
        }
        Arc::make_mut(&mut self.draft).remove_schema(id);
        Ok(())
    }

    /// Creates a table. Columns are numbered from 1 on, children after their parent; ids that they carry are ignored.
    pub fn create_table(&mut self, schema: SchemaId, name: &str, columns: Vec<Column>) -> Result<TableId> {
        check_name("table", name)?;
        let parent = self.draft.schema_by_id(schema)?.clone();
        self.check_name_is_free(schema, name)?;
        if columns.is_empty() {
            return Err(CatalogError::Invalid(format!("table \"{name}\" has no columns")));
        }
        let id = TableId(self.local());
        let uuid = Uuid::now_v7().to_string();
        let path = directory(name, &uuid);
        let mut table = Table {
            id,
            uuid,
            schema_id: schema,
            name: name.to_owned(),
            location: path.under(&parent.path.under(self.database.data_path())),
            path,
            columns: Vec::new(),
            sort_keys: Vec::new(),
            partition_keys: Vec::new(),
            tags: BTreeMap::new(),
            inlined_tables: Vec::new(),
            column_id_max: 0,
        };
        for column in columns {
            push_column(&mut table, None, column)?;
        }
        Arc::make_mut(&mut self.draft).put_table(table);
        Ok(id)
    }

    pub fn drop_table(&mut self, id: TableId) -> Result<()> {
        self.draft.table_by_id(id)?;
        Arc::make_mut(&mut self.draft).remove_table(id);
        self.data.remove(&id);
        self.loaded.retain(|loaded| loaded.table != id);
        Ok(())
    }

    /// Within its schema: DuckLake finds a table's files below its schema's path.
    pub fn rename_table(&mut self, id: TableId, name: &str) -> Result<()> {
        check_name("table", name)?;
        let table = self.draft.table_by_id(id)?;
        // A table may change the case of its own name.
        if !table.name.eq_ignore_ascii_case(name) || table.name == name {
            self.check_name_is_free(table.schema_id, name)?;
        }
        self.edit_table(id, |table| {
            name.clone_into(&mut table.name);
            Ok(())
        })
    }

    /// Adds a column at the end, of the table or of the struct `parent`, and returns its id. Rows that are there have its
    /// `initial_default`, by default its literal default. Whether NOT NULL is possible is the caller's to check.
    pub fn add_column(&mut self, table: TableId, parent: Option<ColumnId>, column: Column) -> Result<ColumnId> {
        let mut id = ColumnId(0);
        self.edit_table(table, |table| {
            id = push_column(table, parent, column)?;
            Ok(())
        })?;
        Ok(id)
    }

    pub fn drop_column(&mut self, table: TableId, column: ColumnId) -> Result<()> {
        self.edit_table(table, |table| {
            let name = find(table, column)?.name.clone();
            refuse_elements(table, column)?;
            let used = table.sort_keys.iter().any(|key| key.expression == SortKey::column(&name).expression)
                || table.partition_keys.iter().any(|key| key.column == column);
            if used {
                let message = format!("column \"{name}\" of table \"{}\" is a cluster or partition key", table.name);
                return Err(CatalogError::Invalid(message));
            }
            let siblings = siblings(table, column)?;
            if siblings.len() == 1 {
                return Err(CatalogError::Invalid(format!("column \"{name}\" cannot be dropped: it is the only one")));
            }
            siblings.retain(|one| one.id != column);
            Ok(())
        })
    }

    pub fn rename_column(&mut self, table: TableId, column: ColumnId, name: &str) -> Result<()> {
        check_name("column", name)?;
        self.edit_table(table, |table| {
            let label = table.name.clone();
            refuse_elements(table, column)?;
            let siblings = siblings(table, column)?;
            if siblings.iter().any(|one| one.name == name && one.id != column) {
                return Err(CatalogError::DuplicateColumn { table: label, column: name.to_owned() });
            }
            let others = siblings.iter().filter(|one| one.id != column);
            check_case(Named::Column, name, others.map(|one| one.name.as_str()))?;
            let before = std::mem::replace(&mut find_mut(table, column)?.name, name.to_owned());
            let (before, after) = (SortKey::column(&before).expression, SortKey::column(name).expression);
            table.sort_keys.iter_mut().filter(|key| key.expression == before).for_each(|key| {
                key.expression.clone_from(&after);
            });
            Ok(())
        })
    }

    /// Changes a column to a type that has all its values; see [`ColumnType::widens_to`].
    pub fn widen_column(&mut self, table: TableId, column: ColumnId, to: ColumnType) -> Result<()> {
        self.edit_table(table, |table| {
            let label = table.name.clone();
            let column = find_mut(table, column)?;
            if !column.column_type.widens_to(&to) {
                return Err(CatalogError::NotSupported(format!(
                    "column \"{}\" of table \"{label}\" cannot change from {} to {to}: only to wider types",
                    column.name, column.column_type
                )));
            }
            column.column_type = to;
            Ok(())
        })
    }

    /// Sets or drops the default of rows to come.
    pub fn set_default(&mut self, table: TableId, column: ColumnId, default: Option<DefaultValue>) -> Result<()> {
        self.edit_table(table, |table| {
            find_mut(table, column)?.default = default;
            Ok(())
        })
    }

    /// Whether a column may be null. That it has no nulls is the caller's to check.
    pub fn set_nulls_allowed(&mut self, table: TableId, column: ColumnId, allowed: bool) -> Result<()> {
        self.edit_table(table, |table| {
            find_mut(table, column)?.nulls_allowed = allowed;
            Ok(())
        })
    }

    /// The order in which files should be written and compacted; none to drop it.
    pub fn set_sort_keys(&mut self, table: TableId, keys: Vec<SortKey>) -> Result<()> {
        self.edit_table(table, |table| {
            table.sort_keys = keys;
            Ok(())
        })
    }

    /// Sets or removes a tag of a table, such as `comment`.
    pub fn set_table_tag(&mut self, table: TableId, key: &str, value: Option<&str>) -> Result<()> {
        self.edit_table(table, |table| {
            set_tag(&mut table.tags, key, value);
            Ok(())
        })
    }

    pub fn set_column_tag(&mut self, table: TableId, column: ColumnId, key: &str, value: Option<&str>) -> Result<()> {
        self.edit_table(table, |table| {
            set_tag(&mut find_mut(table, column)?.tags, key, value);
            Ok(())
        })
    }

    /// `dialect` tells whose SQL it is: DuckDB refuses to run views that are not `duckdb`.
    pub fn create_view(&mut self, schema: SchemaId, name: &str, sql: &str, dialect: &str) -> Result<ViewId> {
        check_name("view", name)?;
        self.draft.schema_by_id(schema)?;
        self.check_name_is_free(schema, name)?;
        let id = ViewId(self.local());
        Arc::make_mut(&mut self.draft).put_view(View {
            id,
            uuid: Uuid::now_v7().to_string(),
            schema_id: schema,
            name: name.to_owned(),
            dialect: dialect.to_owned(),
            sql: sql.to_owned(),
            column_aliases: String::new(),
            tags: BTreeMap::new(),
        });
        Ok(id)
    }

    /// Within its schema. It stays the same view, with what is granted on it.
    pub fn rename_view(&mut self, id: ViewId, name: &str) -> Result<()> {
        check_name("view", name)?;
        let mut view = self.draft.view_by_id(id)?.as_ref().clone();
        if !view.name.eq_ignore_ascii_case(name) || view.name == name {
            self.check_name_is_free(view.schema_id, name)?;
        }
        name.clone_into(&mut view.name);
        Arc::make_mut(&mut self.draft).put_view(view);
        Ok(())
    }

    pub fn drop_view(&mut self, id: ViewId) -> Result<()> {
        self.draft.view_by_id(id)?;
        Arc::make_mut(&mut self.draft).remove_view(id);
        Ok(())
    }

    pub(super) fn check_name_is_free(&self, schema: SchemaId, name: &str) -> Result<()> {
        match self.draft.relation(schema, name) {
            Some(_) => Err(CatalogError::DuplicateTable(format!("{}.{name}", self.draft.schema_by_id(schema)?.name))),
            None => check_case(Named::Table, name, self.draft.relations(schema).map(|(other, _)| other)),
        }
    }

    fn edit_table(&mut self, id: TableId, edit: impl FnOnce(&mut Table) -> Result<()>) -> Result<()> {
        let mut table = self.draft.table_by_id(id)?.as_ref().clone();
        edit(&mut table)?;
        Arc::make_mut(&mut self.draft).put_table(table);
        Ok(())
    }
}

impl SortKey {
    /// Ascending, nulls last.
    pub fn column(name: &str) -> Self {
        let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let expression = if plain { name.to_owned() } else { quote(name) };
        Self { expression, descending: false, nulls_first: false }
    }
}

fn push_column(table: &mut Table, parent: Option<ColumnId>, mut column: Column) -> Result<ColumnId> {
    check_name("column", &column.name)?;
    let label = table.name.clone();
    let mut next = table.column_id_max;
    number(&mut column, &mut next);
    let siblings = match parent {
        None => &mut table.columns,
        Some(parent) => match find_mut(table, parent)? {
            Column { column_type: ColumnType::Struct, children, .. } => children,
            other => {
                return Err(CatalogError::Invalid(format!("column \"{}\" is not a struct", other.name)));
            }
        },
    };
    if siblings.iter().any(|one| one.name == column.name) {
        return Err(CatalogError::DuplicateColumn { table: label, column: column.name });
    }
    check_case(Named::Column, &column.name, siblings.iter().map(|one| one.name.as_str()))?;
    let id = column.id;
    siblings.push(column);
    table.column_id_max = next;
    Ok(id)
}

/// Draws ids for a column and its children.
fn number(column: &mut Column, last: &mut i64) {
    *last += 1;
    column.id = ColumnId(*last);
    if let (None, Some(DefaultValue::Literal(text))) = (&column.initial_default, &column.default) {
        column.initial_default = Some(text.clone());
    }
    column.children.iter_mut().for_each(|child| number(child, last));
}

fn find(table: &Table, id: ColumnId) -> Result<&Column> {
    table.column_by_id(id).ok_or_else(|| undefined(&table.name, id))
}

fn find_mut(table: &mut Table, id: ColumnId) -> Result<&mut Column> {
    let label = table.name.clone();
    siblings(table, id)?.iter_mut().find(|one| one.id == id).ok_or_else(|| undefined(&label, id))
}

/// The list that a column is in.
fn siblings(table: &mut Table, id: ColumnId) -> Result<&mut Vec<Column>> {
    fn search(columns: &mut Vec<Column>, id: ColumnId) -> Option<&mut Vec<Column>> {
        if columns.iter().any(|one| one.id == id) {
            return Some(columns);
        }
        columns.iter_mut().find_map(|one| search(&mut one.children, id))
    }
    let label = table.name.clone();
    search(&mut table.columns, id).ok_or_else(|| undefined(&label, id))
}

/// The columns below a list or map have their fixed names and numbers.
fn refuse_elements(table: &Table, id: ColumnId) -> Result<()> {
    fn is_element(columns: &[Column], id: ColumnId) -> bool {
        columns.iter().any(|one| {
            let nested = matches!(one.column_type, ColumnType::List | ColumnType::Map);
            (nested && one.children.iter().any(|child| child.id == id)) || is_element(&one.children, id)
        })
    }
    match is_element(&table.columns, id) {
        true => Err(CatalogError::Invalid("the elements of a list or map cannot be changed".to_owned())),
        false => Ok(()),
    }
}

fn undefined(table: &str, id: ColumnId) -> CatalogError {
    CatalogError::UndefinedColumn { table: table.to_owned(), column: format!("#{id}") }
}

fn set_tag(tags: &mut BTreeMap<String, String>, key: &str, value: Option<&str>) {
    match value {
        Some(value) => _ = tags.insert(key.to_owned(), value.to_owned()),
        None => _ = tags.remove(key),
    }
}

/// Names that differ in case only cannot be beside each other. Like DuckDB, this looks at ASCII letters only.
pub(crate) fn check_case<'a>(kind: Named, name: &str, mut others: impl Iterator<Item = &'a str>) -> Result<()> {
    match others.find(|other| other.eq_ignore_ascii_case(name) && *other != name) {
        Some(existing) => {
            Err(CatalogError::CaseConflict { kind, name: name.to_owned(), existing: existing.to_owned() })
        }
        None => Ok(()),
    }
}

fn check_name(kind: &str, name: &str) -> Result<()> {
    match name.is_empty() || name.len() > 255 || name.contains('\0') {
        true => Err(CatalogError::Invalid(format!("a {kind}'s name must have 1 to 255 bytes and no zero byte"))),
        false => Ok(()),
    }
}

/// The name itself where it makes a good path, as DuckDB has it.
fn directory(name: &str, uuid: &str) -> Place {
    let good = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    Place::relative(format!("{}/", if good { name } else { uuid }))
}
