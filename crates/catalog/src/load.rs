//! Reads what a database holds at a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::error::{CatalogError, Result};
use crate::ids::{ColumnId, SchemaId, SnapshotId, TableId, ViewId};
use crate::model::{Column, Contents, DefaultValue, PartitionKey, Place, Schema, SortKey, Table, View};
use crate::sql::{Row, Tx, Value};
use crate::types::ColumnType;

/// The rows of `alias` that are part of the snapshot `$1`.
fn alive(alias: &str) -> String {
    format!("$1 >= {alias}.begin_snapshot AND ($1 < {alias}.end_snapshot OR {alias}.end_snapshot IS NULL)")
}

pub(crate) async fn contents(tx: &mut Tx, snapshot: SnapshotId, data_path: &str) -> Result<Contents> {
    let at = [Value::int(snapshot.0)];
    let mut contents = Contents::default();
    let mut locations = HashMap::new();
    let sql = format!(
        "SELECT schema_id, CAST(schema_uuid AS VARCHAR), schema_name, path, path_is_relative FROM ducklake_schema s \
         WHERE {}",
        alive("s")
    );
    tx.each("reading schemas", &sql, &at, |row| {
        let schema = Schema {
            id: SchemaId(row.int(0)?),
            uuid: row.text_or_null(1)?.unwrap_or_default().to_owned(),
            name: row.text(2)?.to_owned(),
            path: read_place(&row, 3)?,
        };
        locations.insert(schema.id, schema.path.under(data_path));
        contents.put_schema(schema);
        Ok(())
    })
    .await?;

    let mut tags = read_tags(tx, &at).await?;
    let mut tables = read_tables(tx, &at, &locations).await?;
    read_columns(tx, &at, &mut tables).await?;
    read_keys(tx, &at, &mut tables).await?;
    for (id, mut table) in tables {
        table.tags = tags.remove(&id.0).unwrap_or_default();
        contents.put_table(table);
    }
    let sql = format!(
        "SELECT view_id, CAST(view_uuid AS VARCHAR), schema_id, view_name, dialect, sql, column_aliases \
         FROM ducklake_view v WHERE {}",
        alive("v")
    );
    tx.each("reading views", &sql, &at, |row| {
        let id = ViewId(row.int(0)?);
        contents.put_view(View {
            id,
            uuid: row.text_or_null(1)?.unwrap_or_default().to_owned(),
            schema_id: SchemaId(row.int(2)?),
            name: row.text(3)?.to_owned(),
            dialect: row.text_or_null(4)?.unwrap_or("duckdb").to_owned(),
            sql: row.text(5)?.to_owned(),
            column_aliases: row.text_or_null(6)?.unwrap_or_default().to_owned(),
            tags: tags.remove(&id.0).unwrap_or_default(),
        });
        Ok(())
    })
    .await?;
    Ok(contents)
}

async fn read_tags(tx: &mut Tx, at: &[Value]) -> Result<HashMap<i64, BTreeMap<String, String>>> {
    let mut tags: HashMap<i64, BTreeMap<String, String>> = HashMap::new();
    let sql = format!("SELECT object_id, key, value FROM ducklake_tag t WHERE {}", alive("t"));
    tx.each("reading tags", &sql, at, |row| {
        if let (Some(key), Some(value)) = (row.text_or_null(1)?, row.text_or_null(2)?) {
            tags.entry(row.int(0)?).or_default().insert(key.to_owned(), value.to_owned());
        }
        Ok(())
    })
    .await?;
    Ok(tags)
}

async fn read_tables(
    tx: &mut Tx,
    at: &[Value],
    locations: &HashMap<SchemaId, String>,
) -> Result<BTreeMap<TableId, Table>> {
    let mut tables = BTreeMap::new();
    let sql = format!(
        "SELECT table_id, CAST(table_uuid AS VARCHAR), schema_id, table_name, path, path_is_relative, \
         (SELECT MAX(column_id) FROM ducklake_column c WHERE c.table_id = t.table_id) FROM ducklake_table t WHERE {}",
        alive("t")
    );
    tx.each("reading tables", &sql, at, |row| {
        let (id, schema_id) = (TableId(row.int(0)?), SchemaId(row.int(2)?));
        let Some(parent) = locations.get(&schema_id) else {
            return Err(CatalogError::Corrupt(format!("table #{id} is in schema #{schema_id}, which does not exist")));
        };
        let path = read_place(&row, 4)?;
        let table = Table {
            id,
            uuid: row.text_or_null(1)?.unwrap_or_default().to_owned(),
            schema_id,
            name: row.text(3)?.to_owned(),
            location: path.under(parent),
            path,
            columns: Vec::new(),
            sort_keys: Vec::new(),
            partition_keys: Vec::new(),
            tags: BTreeMap::new(),
            inlined_tables: Vec::new(),
            column_id_max: row.int_or_null(6)?.unwrap_or(0),
        };
        tables.insert(id, table);
        Ok(())
    })
    .await?;
    tx.each("reading inlined tables", "SELECT table_id, table_name FROM ducklake_inlined_data_tables", &[], |row| {
        if let Some(table) = tables.get_mut(&TableId(row.int(0)?)) {
            table.inlined_tables.push(row.text(1)?.to_owned());
        }
        Ok(())
    })
    .await?;
    Ok(tables)
}

async fn read_columns(tx: &mut Tx, at: &[Value], tables: &mut BTreeMap<TableId, Table>) -> Result<()> {
    let mut tags: HashMap<(i64, i64), BTreeMap<String, String>> = HashMap::new();
    let sql = format!("SELECT table_id, column_id, key, value FROM ducklake_column_tag t WHERE {}", alive("t"));
    tx.each("reading column tags", &sql, at, |row| {
        if let (Some(key), Some(value)) = (row.text_or_null(2)?, row.text_or_null(3)?) {
            tags.entry((row.int(0)?, row.int(1)?)).or_default().insert(key.to_owned(), value.to_owned());
        }
        Ok(())
    })
    .await?;
    // Top-level columns under the parent 0, in their order.
    let mut columns: HashMap<(TableId, i64), Vec<Column>> = HashMap::new();
    let sql = format!(
        "SELECT table_id, column_id, column_name, column_type, initial_default, default_value, default_value_type, \
         nulls_allowed, parent_column FROM ducklake_column c WHERE {} ORDER BY table_id, column_order",
        alive("c")
    );
    tx.each("reading columns", &sql, at, |row| {
        let (table, id) = (TableId(row.int(0)?), row.int(1)?);
        let column = Column {
            id: ColumnId(id),
            name: row.text(2)?.to_owned(),
            column_type: ColumnType::parse(row.text(3)?),
            nulls_allowed: row.bool_or_null(7)?.unwrap_or(true),
            initial_default: row.text_or_null(4)?.map(str::to_owned),
            default: read_default(row.text_or_null(5)?, row.text_or_null(6)?),
            tags: tags.remove(&(table.0, id)).unwrap_or_default(),
            children: Vec::new(),
        };
        columns.entry((table, row.int_or_null(8)?.unwrap_or(0))).or_default().push(column);
        Ok(())
    })
    .await?;
    for (id, table) in tables {
        table.columns = nest(*id, 0, &mut columns);
    }
    Ok(())
}

fn nest(table: TableId, parent: i64, columns: &mut HashMap<(TableId, i64), Vec<Column>>) -> Vec<Column> {
    // Each list is taken once, so that a column that is its own ancestor ends here.
    let mut children = columns.remove(&(table, parent)).unwrap_or_default();
    for child in &mut children {
        child.children = nest(table, child.id.0, columns);
    }
    children
}

/// DuckDB writes a default of null as the literal text `NULL`.
fn read_default(value: Option<&str>, kind: Option<&str>) -> Option<DefaultValue> {
    match (value?, kind) {
        (text, Some("expression")) => Some(DefaultValue::Expression(text.to_owned())),
        ("NULL", _) => None,
        (text, _) => Some(DefaultValue::Literal(text.to_owned())),
    }
}

async fn read_keys(tx: &mut Tx, at: &[Value], tables: &mut BTreeMap<TableId, Table>) -> Result<()> {
    let sql = format!(
        "SELECT i.table_id, e.expression, e.sort_direction, e.null_order FROM ducklake_sort_info i \
         JOIN ducklake_sort_expression e ON e.sort_id = i.sort_id AND e.table_id = i.table_id \
         WHERE {} ORDER BY e.sort_key_index",
        alive("i")
    );
    tx.each("reading sort keys", &sql, at, |row| {
        if let Some(table) = tables.get_mut(&TableId(row.int(0)?)) {
            table.sort_keys.push(SortKey {
                expression: row.text(1)?.to_owned(),
                descending: row.text_or_null(2)? == Some("DESC"),
                nulls_first: row.text_or_null(3)? == Some("NULLS_FIRST"),
            });
        }
        Ok(())
    })
    .await?;
    let sql = format!(
        "SELECT i.table_id, c.column_id, c.transform FROM ducklake_partition_info i \
         JOIN ducklake_partition_column c ON c.partition_id = i.partition_id AND c.table_id = i.table_id \
         WHERE {} ORDER BY c.partition_key_index",
        alive("i")
    );
    tx.each("reading partition keys", &sql, at, |row| {
        if let Some(table) = tables.get_mut(&TableId(row.int(0)?)) {
            let transform = row.text_or_null(2)?.unwrap_or("identity").to_owned();
            table.partition_keys.push(PartitionKey { column: ColumnId(row.int(1)?), transform });
        }
        Ok(())
    })
    .await
}

fn read_place(row: &Row<'_>, index: usize) -> Result<Place> {
    Ok(match row.text_or_null(index)? {
        Some(path) => Place { path: path.to_owned(), is_relative: row.bool_or_null(index + 1)?.unwrap_or(false) },
        None => Place::relative(""),
    })
}

/// The location of every table that any row knows, for files of tables that were dropped or renamed.
pub(crate) async fn all_locations(tx: &mut Tx, data_path: &str) -> Result<HashMap<TableId, Arc<str>>> {
    let mut locations = HashMap::new();
    let sql = "SELECT t.table_id, s.path, s.path_is_relative, t.path, t.path_is_relative FROM ducklake_table t \
               JOIN ducklake_schema s ON s.schema_id = t.schema_id";
    tx.each("reading locations", sql, &[], |row| {
        let schema = read_place(&row, 1)?.under(data_path);
        locations.insert(TableId(row.int(0)?), read_place(&row, 3)?.under(&schema).into());
        Ok(())
    })
    .await?;
    Ok(locations)
}
