//! The rows by which a draft differs from its base.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Draw;
use crate::changes::Changes;
use crate::error::{CatalogError, Result};
use crate::ids::{SchemaId, SnapshotId, TableId, ViewId};
use crate::model::{Column, Contents, DefaultValue, Table};
use crate::sql::{Tx, Value};
use crate::transaction::Transaction;

const DOING: &str = "writing schema changes";

#[derive(Default)]
pub(super) struct Diff {
    new_schemas: Vec<SchemaId>,
    dropped_schemas: Vec<SchemaId>,
    /// Created, or restored under their former ids.
    new_tables: Vec<TableId>,
    dropped_tables: Vec<TableId>,
    altered_tables: Vec<TableId>,
    new_views: Vec<ViewId>,
    dropped_views: Vec<ViewId>,
    altered_views: Vec<ViewId>,
}

impl Diff {
    pub(super) fn between(base: &Arc<Contents>, draft: &Arc<Contents>) -> Self {
        if Arc::ptr_eq(base, draft) {
            return Self::default();
        }
        Self {
            new_schemas: missing(&draft.schemas, &base.schemas),
            dropped_schemas: missing(&base.schemas, &draft.schemas),
            new_tables: missing(&draft.tables, &base.tables),
            dropped_tables: missing(&base.tables, &draft.tables),
            altered_tables: changed(&base.tables, &draft.tables),
            new_views: missing(&draft.views, &base.views),
            dropped_views: missing(&base.views, &draft.views),
            altered_views: changed(&base.views, &draft.views),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.new_schemas.is_empty()
            && self.dropped_schemas.is_empty()
            && self.new_tables.is_empty()
            && self.dropped_tables.is_empty()
            && self.altered_tables.is_empty()
            && self.new_views.is_empty()
            && self.dropped_views.is_empty()
            && self.altered_views.is_empty()
    }

    /// A renamed table or view counts as created too, as in DuckDB.
    pub(super) fn changes(&self, base: &Contents, draft: &Contents) -> Changes {
        let mut changes = Changes::default();
        let schema_name = |id: &SchemaId| draft.schemas.get(id).map(|schema| schema.name.clone()).unwrap_or_default();
        changes.created_schemas.extend(self.new_schemas.iter().map(schema_name));
        changes.dropped_schemas.extend(&self.dropped_schemas);
        changes.dropped_tables.extend(&self.dropped_tables);
        changes.altered_tables.extend(&self.altered_tables);
        changes.dropped_views.extend(&self.dropped_views);
        changes.altered_views.extend(&self.altered_views);
        let renamed = self.altered_tables.iter().filter(|id| base.tables[*id].name != draft.tables[*id].name);
        for table in self.new_tables.iter().chain(renamed).map(|id| &draft.tables[id]) {
            changes.created_tables.insert((schema_name(&table.schema_id), table.name.clone()));
        }
        let renamed = self.altered_views.iter().filter(|id| base.views[*id].name != draft.views[*id].name);
        for view in self.new_views.iter().chain(renamed).map(|id| &draft.views[id]) {
            changes.created_views.insert((schema_name(&view.schema_id), view.name.clone()));
        }
        changes
    }
}

fn missing<K: Ord + Copy, V>(from: &BTreeMap<K, V>, without: &BTreeMap<K, V>) -> Vec<K> {
    from.keys().filter(|id| !without.contains_key(id)).copied().collect()
}

fn changed<K: Ord + Copy, V: PartialEq>(base: &BTreeMap<K, Arc<V>>, draft: &BTreeMap<K, Arc<V>>) -> Vec<K> {
    let both = base.iter().filter_map(|(id, before)| Some((id, before, draft.get(id)?)));
    both.filter(|(_, before, after)| !Arc::ptr_eq(before, after) && before != after).map(|(id, ..)| *id).collect()
}

pub(super) async fn write(
    tx: &mut Tx,
    work: &Transaction,
    diff: &Diff,
    draw: &mut Draw,
    latest: SnapshotId,
) -> Result<()> {
    end_dropped(tx, diff, draw).await?;
    let (base, draft) = (&work.base.contents, &work.draft);
    let mut rows = Rows::default();
    for id in &diff.new_schemas {
        let schema = &draft.schemas[id];
        check_free(tx, "schema", "ducklake_schema", "schema_name", None, &schema.name, latest).await?;
        rows.schemas.push(vec![
            Value::int(draw.schema(*id).0),
            Value::Uuid(schema.uuid.clone()),
            Value::int(draw.snapshot.0),
            Value::text(&schema.name),
            Value::text(&schema.path.path),
            Value::bool(schema.path.is_relative),
        ]);
    }
    for id in &diff.altered_tables {
        alter_table(tx, &base.tables[id], &draft.tables[id], draw, &mut rows, latest).await?;
    }
    for id in &diff.new_tables {
        let table = &draft.tables[id];
        check_place(tx, table.schema_id, &table.name, latest).await?;
        check_is_dropped(tx, table, latest).await?;
        rows.table(table, draw);
        rows.table_parts(None, table, draw);
    }
    for id in diff.new_views.iter().chain(&diff.altered_views) {
        let view = &draft.views[id];
        check_place(tx, view.schema_id, &view.name, latest).await?;
        rows.views.push(vec![
            Value::int(draw.view(*id).0),
            Value::Uuid(view.uuid.clone()),
            Value::int(draw.snapshot.0),
            Value::int(draw.schema(view.schema_id).0),
            Value::text(&view.name),
            Value::text(&view.dialect),
            Value::text(&view.sql),
            Value::text(&view.column_aliases),
        ]);
    }
    rows.insert(tx).await?;
    for id in &diff.dropped_schemas {
        // Something may have been created in it meanwhile.
        for table in ["ducklake_table", "ducklake_view"] {
            let sql = format!("SELECT schema_id FROM {table} WHERE schema_id = $1 AND end_snapshot IS NULL LIMIT 1");
            if tx.first(DOING, &sql, &[Value::int(id.0)], |row| row.int(0)).await?.is_some() {
                let object = format!("schema \"{}\"", base.schemas[id].name);
                return Err(CatalogError::Conflict { object, reason: "it is no longer empty", snapshot: latest });
            }
        }
    }
    Ok(())
}

async fn end_dropped(tx: &mut Tx, diff: &Diff, draw: &Draw) -> Result<()> {
    let schemas = || diff.dropped_schemas.iter().map(|id| id.0);
    end(tx, "ducklake_schema", "schema_id", schemas(), draw.snapshot).await?;
    end(tx, "ducklake_macro", "schema_id", schemas(), draw.snapshot).await?;
    let tables = || diff.dropped_tables.iter().map(|id| id.0);
    for (table, key) in [
        ("ducklake_table", "table_id"),
        ("ducklake_partition_info", "table_id"),
        ("ducklake_column", "table_id"),
        ("ducklake_column_tag", "table_id"),
        ("ducklake_data_file", "table_id"),
        ("ducklake_delete_file", "table_id"),
        ("ducklake_tag", "object_id"),
        ("ducklake_sort_info", "table_id"),
    ] {
        end(tx, table, key, tables(), draw.snapshot).await?;
    }
    let views = || diff.dropped_views.iter().map(|id| id.0);
    end(tx, "ducklake_view", "view_id", views(), draw.snapshot).await?;
    end(tx, "ducklake_tag", "object_id", views(), draw.snapshot).await?;
    // The row of a view is all of it but its tags.
    end(tx, "ducklake_view", "view_id", diff.altered_views.iter().map(|id| id.0), draw.snapshot).await
}

/// Ends the living rows with one of these ids.
pub(super) async fn end(
    tx: &mut Tx,
    table: &str,
    key: &str,
    ids: impl Iterator<Item = i64>,
    snapshot: SnapshotId,
) -> Result<()> {
    let ids: Vec<_> = ids.collect();
    for chunk in ids.chunks(5000) {
        let list = chunk.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let sql = format!("UPDATE {table} SET end_snapshot = $1 WHERE end_snapshot IS NULL AND {key} IN ({list})");
        tx.execute(DOING, &sql, &[Value::int(snapshot.0)]).await?;
    }
    Ok(())
}

/// The schema must be alive and the name free: another commit may have been faster.
async fn check_place(tx: &mut Tx, schema: SchemaId, name: &str, latest: SnapshotId) -> Result<()> {
    if schema.is_local() {
        return Ok(());
    }
    let sql = "SELECT schema_id FROM ducklake_schema WHERE schema_id = $1 AND end_snapshot IS NULL";
    if tx.first(DOING, sql, &[Value::int(schema.0)], |row| row.int(0)).await?.is_none() {
        let object = format!("schema of \"{name}\"");
        return Err(CatalogError::Conflict { object, reason: "it was dropped", snapshot: latest });
    }
    check_free(tx, "table", "ducklake_table", "table_name", Some(schema), name, latest).await?;
    check_free(tx, "view", "ducklake_view", "view_name", Some(schema), name, latest).await
}

/// A table that is to be restored may have been restored meanwhile.
async fn check_is_dropped(tx: &mut Tx, table: &Table, latest: SnapshotId) -> Result<()> {
    let sql = "SELECT table_id FROM ducklake_table WHERE table_id = $1 AND end_snapshot IS NULL";
    if !table.id.is_local() && tx.first(DOING, sql, &[Value::int(table.id.0)], |row| row.int(0)).await?.is_some() {
        let object = format!("table \"{}\"", table.name);
        return Err(CatalogError::Conflict { object, reason: "it was restored", snapshot: latest });
    }
    Ok(())
}

async fn check_free(
    tx: &mut Tx,
    kind: &str,
    table: &str,
    column: &str,
    schema: Option<SchemaId>,
    name: &str,
    latest: SnapshotId,
) -> Result<()> {
    let within = schema.map(|id| format!(" AND schema_id = {id}")).unwrap_or_default();
    let sql =
        format!("SELECT begin_snapshot FROM {table} WHERE {column} = $1 AND end_snapshot IS NULL{within} LIMIT 1");
    match tx.first(DOING, &sql, &[Value::text(name)], |row| row.int(0)).await? {
        Some(_) => Err(CatalogError::Conflict {
            object: format!("{kind} \"{name}\""),
            reason: "it was created",
            snapshot: latest,
        }),
        None => Ok(()),
    }
}

async fn alter_table(
    tx: &mut Tx,
    before: &Table,
    after: &Table,
    draw: &mut Draw,
    rows: &mut Rows,
    latest: SnapshotId,
) -> Result<()> {
    let id = after.id.0;
    if before.name != after.name {
        end(tx, "ducklake_table", "table_id", [id].into_iter(), draw.snapshot).await?;
        check_place(tx, after.schema_id, &after.name, latest).await?;
        rows.table(after, draw);
    }
    let (old, new) = (column_rows(before), column_rows(after));
    let ended: BTreeSet<i64> = old.iter().filter(|(id, row)| new.get(id) != Some(row)).map(|(id, _)| *id).collect();
    if !ended.is_empty() {
        let table = format!("table_id = {id} AND column_id");
        end(tx, "ducklake_column", &table, ended.iter().copied(), draw.snapshot).await?;
    }
    let tags = |table: &Table| -> BTreeSet<(i64, String, String)> { column_tags(table) };
    for (column, key, _) in tags(before).difference(&tags(after)) {
        let sql = "UPDATE ducklake_column_tag SET end_snapshot = $1 \
                   WHERE end_snapshot IS NULL AND table_id = $2 AND column_id = $3 AND key = $4";
        let args = [Value::int(draw.snapshot.0), Value::int(id), Value::int(*column), Value::text(key)];
        tx.execute(DOING, sql, &args).await?;
    }
    for key in before.tags.iter().filter(|(key, value)| after.tags.get(*key) != Some(value)).map(|(key, _)| key) {
        let sql =
            "UPDATE ducklake_tag SET end_snapshot = $1 WHERE end_snapshot IS NULL AND object_id = $2 AND key = $3";
        tx.execute(DOING, sql, &[Value::int(draw.snapshot.0), Value::int(id), Value::text(key)]).await?;
    }
    if before.sort_keys != after.sort_keys {
        end(tx, "ducklake_sort_info", "table_id", [id].into_iter(), draw.snapshot).await?;
    }
    rows.table_parts(Some(before), after, draw);
    Ok(())
}

/// A column's row without table and snapshots, by its id.
fn column_rows(table: &Table) -> BTreeMap<i64, (Column, Option<i64>)> {
    fn collect(columns: &[Column], parent: Option<i64>, into: &mut BTreeMap<i64, (Column, Option<i64>)>) {
        for column in columns {
            let alone = Column { children: Vec::new(), tags: BTreeMap::new(), ..column.clone() };
            into.insert(column.id.0, (alone, parent));
            collect(&column.children, Some(column.id.0), into);
        }
    }
    let mut rows = BTreeMap::new();
    collect(&table.columns, None, &mut rows);
    rows
}

fn column_tags(table: &Table) -> BTreeSet<(i64, String, String)> {
    fn collect(columns: &[Column], into: &mut BTreeSet<(i64, String, String)>) {
        for column in columns {
            into.extend(column.tags.iter().map(|(key, value)| (column.id.0, key.clone(), value.clone())));
            collect(&column.children, into);
        }
    }
    let mut tags = BTreeSet::new();
    collect(&table.columns, &mut tags);
    tags
}

#[derive(Default)]
struct Rows {
    schemas: Vec<Vec<Value>>,
    tables: Vec<Vec<Value>>,
    views: Vec<Vec<Value>>,
    columns: Vec<Vec<Value>>,
    column_tags: Vec<Vec<Value>>,
    tags: Vec<Vec<Value>>,
    sorts: Vec<Vec<Value>>,
    sort_keys: Vec<Vec<Value>>,
    partitions: Vec<Vec<Value>>,
    partition_keys: Vec<Vec<Value>>,
}

impl Rows {
    fn table(&mut self, table: &Table, draw: &Draw) {
        self.tables.push(vec![
            Value::int(draw.table(table.id).0),
            Value::Uuid(table.uuid.clone()),
            Value::int(draw.snapshot.0),
            Value::int(draw.schema(table.schema_id).0),
            Value::text(&table.name),
            Value::text(&table.path.path),
            Value::bool(table.path.is_relative),
        ]);
    }

    /// Columns, tags and keys that are not as before.
    fn table_parts(&mut self, before: Option<&Table>, table: &Table, draw: &mut Draw) {
        let (id, begin) = (Value::int(draw.table(table.id).0), Value::int(draw.snapshot.0));
        let old = before.map(column_rows).unwrap_or_default();
        let new = column_rows(table);
        self.retire_columns(before, table, new.keys().next_back().copied(), draw);
        for (number, row) in new {
            if old.get(&number) == Some(&row) {
                continue;
            }
            let (column, parent) = row;
            let (default, kind) = match &column.default {
                None => ("NULL".to_owned(), "literal"),
                Some(DefaultValue::Literal(text)) => (text.clone(), "literal"),
                Some(DefaultValue::Expression(text)) => (text.clone(), "expression"),
            };
            self.columns.push(vec![
                Value::int(number),
                begin.clone(),
                id.clone(),
                // Columns are never reordered, so their ids order them.
                Value::int(number),
                Value::text(&column.name),
                Value::text(column.column_type.to_string()),
                Value::Text(column.initial_default.clone()),
                Value::text(default),
                Value::bool(column.nulls_allowed),
                Value::Int(parent),
                Value::text(kind),
                Value::text("duckdb"),
                Value::Int(None),
            ]);
        }
        let old = before.map(column_tags).unwrap_or_default();
        for (column, key, value) in column_tags(table).difference(&old) {
            let row = [id.clone(), Value::int(*column), begin.clone(), Value::text(key), Value::text(value)];
            self.column_tags.push(row.into());
        }
        let same = |key: &String, value: &String| before.is_some_and(|table| table.tags.get(key) == Some(value));
        for (key, value) in table.tags.iter().filter(|(key, value)| !same(key, value)) {
            self.tags.push(vec![id.clone(), begin.clone(), Value::text(key), Value::text(value)]);
        }
        if before.is_none_or(|before| before.sort_keys != table.sort_keys) && !table.sort_keys.is_empty() {
            let sort = Value::int(draw.catalog_id());
            self.sorts.push(vec![sort.clone(), id.clone(), begin.clone()]);
            for (index, key) in table.sort_keys.iter().enumerate() {
                self.sort_keys.push(vec![
                    sort.clone(),
                    id.clone(),
                    Value::int(index as i64),
                    Value::text(&key.expression),
                    Value::text("duckdb"),
                    Value::text(if key.descending { "DESC" } else { "ASC" }),
                    Value::text(if key.nulls_first { "NULLS_FIRST" } else { "NULLS_LAST" }),
                ]);
            }
        }
        if before.is_none() && !table.partition_keys.is_empty() {
            let partition = Value::int(draw.catalog_id());
            self.partitions.push(vec![partition.clone(), id.clone(), begin.clone()]);
            for (index, key) in table.partition_keys.iter().enumerate() {
                let row = [partition.clone(), id.clone(), Value::int(index as i64), Value::int(key.column.0)];
                self.partition_keys.push([row.as_slice(), &[Value::text(&key.transform)]].concat());
            }
        }
    }

    /// Ids of columns that came and went before they were ever committed, or that a clone's original has dropped, are in files
    /// all the same. A row that no snapshot sees keeps the last of them from being drawn again.
    fn retire_columns(&mut self, before: Option<&Table>, table: &Table, last: Option<i64>, draw: &Draw) {
        let known = before.map_or(0, |before| before.column_id_max).max(last.unwrap_or(0));
        if table.column_id_max <= known {
            return;
        }
        let (number, snapshot) = (Value::int(table.column_id_max), Value::int(draw.snapshot.0));
        self.columns.push(vec![
            number.clone(),
            snapshot.clone(),
            Value::int(draw.table(table.id).0),
            number,
            Value::text("retired"),
            Value::text("int64"),
            Value::Text(None),
            Value::text("NULL"),
            Value::bool(true),
            Value::Int(None),
            Value::text("literal"),
            Value::text("duckdb"),
            snapshot,
        ]);
    }

    async fn insert(self, tx: &mut Tx) -> Result<()> {
        for (table, columns, rows) in [
            (
                "ducklake_schema",
                "schema_id, schema_uuid, begin_snapshot, schema_name, path, path_is_relative",
                self.schemas,
            ),
            (
                "ducklake_table",
                "table_id, table_uuid, begin_snapshot, schema_id, table_name, path, path_is_relative",
                self.tables,
            ),
            (
                "ducklake_view",
                "view_id, view_uuid, begin_snapshot, schema_id, view_name, dialect, sql, column_aliases",
                self.views,
            ),
            (
                "ducklake_column",
                "column_id, begin_snapshot, table_id, column_order, column_name, column_type, initial_default, \
                 default_value, nulls_allowed, parent_column, default_value_type, default_value_dialect, end_snapshot",
                self.columns,
            ),
            ("ducklake_column_tag", "table_id, column_id, begin_snapshot, key, value", self.column_tags),
            ("ducklake_tag", "object_id, begin_snapshot, key, value", self.tags),
            ("ducklake_sort_info", "sort_id, table_id, begin_snapshot", self.sorts),
            (
                "ducklake_sort_expression",
                "sort_id, table_id, sort_key_index, expression, dialect, sort_direction, null_order",
                self.sort_keys,
            ),
            ("ducklake_partition_info", "partition_id, table_id, begin_snapshot", self.partitions),
            (
                "ducklake_partition_column",
                "partition_id, table_id, partition_key_index, column_id, transform",
                self.partition_keys,
            ),
        ] {
            tx.insert(DOING, table, columns, &rows).await?;
        }
        Ok(())
    }
}

/// Tells DuckDB which tables have a new shape from this snapshot on.
pub(super) async fn write_versions(tx: &mut Tx, diff: &Diff, draw: &Draw, version: i64) -> Result<()> {
    let tables = diff.altered_tables.iter().chain(&diff.new_tables);
    let row = |id: &TableId| vec![Value::int(draw.snapshot.0), Value::int(version), Value::int(draw.table(*id).0)];
    let rows: Vec<_> = tables.map(row).collect();
    tx.insert(DOING, "ducklake_schema_versions", "begin_snapshot, schema_version, table_id", &rows).await
}
