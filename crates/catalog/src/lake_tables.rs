//! The tables of DuckLake 1.0, as DuckDB 1.5.5 creates them, and ours beside them.
//!
//! DuckDB leaves tables and indexes that it does not know alone.

use std::time::SystemTime;

use uuid::Uuid;

use crate::error::{CatalogError, Result};
use crate::sql::{Sql, Tx, Value};
use crate::time;

const VERSION: &str = "1.0";

/// Types by DuckDB's names for PostgreSQL; `BOOLEAN`, `UUID` and `TIMESTAMPTZ` are others in SQLite.
const TABLES: &str = "
CREATE TABLE ducklake_metadata(key VARCHAR NOT NULL, value VARCHAR NOT NULL, scope VARCHAR, scope_id BIGINT);
CREATE TABLE ducklake_snapshot(snapshot_id BIGINT PRIMARY KEY, snapshot_time TIMESTAMPTZ, schema_version BIGINT, next_catalog_id BIGINT, next_file_id BIGINT);
CREATE TABLE ducklake_snapshot_changes(snapshot_id BIGINT PRIMARY KEY, changes_made VARCHAR, author VARCHAR, commit_message VARCHAR, commit_extra_info VARCHAR);
CREATE TABLE ducklake_schema(schema_id BIGINT PRIMARY KEY, schema_uuid UUID, begin_snapshot BIGINT, end_snapshot BIGINT, schema_name VARCHAR, path VARCHAR, path_is_relative BOOLEAN);
CREATE TABLE ducklake_table(table_id BIGINT, table_uuid UUID, begin_snapshot BIGINT, end_snapshot BIGINT, schema_id BIGINT, table_name VARCHAR, path VARCHAR, path_is_relative BOOLEAN);
CREATE TABLE ducklake_view(view_id BIGINT, view_uuid UUID, begin_snapshot BIGINT, end_snapshot BIGINT, schema_id BIGINT, view_name VARCHAR, dialect VARCHAR, sql VARCHAR, column_aliases VARCHAR);
CREATE TABLE ducklake_tag(object_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, key VARCHAR, value VARCHAR);
CREATE TABLE ducklake_column_tag(table_id BIGINT, column_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, key VARCHAR, value VARCHAR);
CREATE TABLE ducklake_data_file(data_file_id BIGINT PRIMARY KEY, table_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, file_order BIGINT, path VARCHAR, path_is_relative BOOLEAN, file_format VARCHAR, record_count BIGINT, file_size_bytes BIGINT, footer_size BIGINT, row_id_start BIGINT, partition_id BIGINT, encryption_key VARCHAR, mapping_id BIGINT, partial_max BIGINT);
CREATE TABLE ducklake_file_column_stats(data_file_id BIGINT, table_id BIGINT, column_id BIGINT, column_size_bytes BIGINT, value_count BIGINT, null_count BIGINT, min_value VARCHAR, max_value VARCHAR, contains_nan BOOLEAN, extra_stats VARCHAR);
CREATE TABLE ducklake_file_variant_stats(data_file_id BIGINT, table_id BIGINT, column_id BIGINT, variant_path VARCHAR, shredded_type VARCHAR, column_size_bytes BIGINT, value_count BIGINT, null_count BIGINT, min_value VARCHAR, max_value VARCHAR, contains_nan BOOLEAN, extra_stats VARCHAR);
CREATE TABLE ducklake_delete_file(delete_file_id BIGINT PRIMARY KEY, table_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, data_file_id BIGINT, path VARCHAR, path_is_relative BOOLEAN, format VARCHAR, delete_count BIGINT, file_size_bytes BIGINT, footer_size BIGINT, encryption_key VARCHAR, partial_max BIGINT);
CREATE TABLE ducklake_column(column_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, table_id BIGINT, column_order BIGINT, column_name VARCHAR, column_type VARCHAR, initial_default VARCHAR, default_value VARCHAR, nulls_allowed BOOLEAN, parent_column BIGINT, default_value_type VARCHAR, default_value_dialect VARCHAR);
CREATE TABLE ducklake_table_stats(table_id BIGINT, record_count BIGINT, next_row_id BIGINT, file_size_bytes BIGINT);
CREATE TABLE ducklake_table_column_stats(table_id BIGINT, column_id BIGINT, contains_null BOOLEAN, contains_nan BOOLEAN, min_value VARCHAR, max_value VARCHAR, extra_stats VARCHAR);
CREATE TABLE ducklake_partition_info(partition_id BIGINT, table_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT);
CREATE TABLE ducklake_partition_column(partition_id BIGINT, table_id BIGINT, partition_key_index BIGINT, column_id BIGINT, transform VARCHAR);
CREATE TABLE ducklake_file_partition_value(data_file_id BIGINT, table_id BIGINT, partition_key_index BIGINT, partition_value VARCHAR);
CREATE TABLE ducklake_files_scheduled_for_deletion(data_file_id BIGINT, path VARCHAR, path_is_relative BOOLEAN, schedule_start TIMESTAMPTZ);
CREATE TABLE ducklake_inlined_data_tables(table_id BIGINT, table_name VARCHAR, schema_version BIGINT);
CREATE TABLE ducklake_column_mapping(mapping_id BIGINT, table_id BIGINT, type VARCHAR);
CREATE TABLE ducklake_name_mapping(mapping_id BIGINT, column_id BIGINT, source_name VARCHAR, target_field_id BIGINT, parent_column BIGINT, is_partition BOOLEAN);
CREATE TABLE ducklake_schema_versions(begin_snapshot BIGINT, schema_version BIGINT, table_id BIGINT);
CREATE TABLE ducklake_macro(schema_id BIGINT, macro_id BIGINT, macro_name VARCHAR, begin_snapshot BIGINT, end_snapshot BIGINT);
CREATE TABLE ducklake_macro_impl(macro_id BIGINT, impl_id BIGINT, dialect VARCHAR, sql VARCHAR, type VARCHAR);
CREATE TABLE ducklake_macro_parameters(macro_id BIGINT, impl_id BIGINT, column_id BIGINT, parameter_name VARCHAR, parameter_type VARCHAR, default_value VARCHAR, default_value_type VARCHAR);
CREATE TABLE ducklake_sort_info(sort_id BIGINT, table_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT);
CREATE TABLE ducklake_sort_expression(sort_id BIGINT, table_id BIGINT, sort_key_index BIGINT, expression VARCHAR, dialect VARCHAR, sort_direction VARCHAR, null_order VARCHAR);
";

/// Which statement and which request made a snapshot; which staged files a table has loaded; stages; tables over files that
/// are not the lake's; sketches of columns.
const EXTRAS: &str = "
CREATE TABLE IF NOT EXISTS frazil_commit(snapshot_id BIGINT PRIMARY KEY, statement_id VARCHAR, request_id VARCHAR UNIQUE);
CREATE TABLE IF NOT EXISTS frazil_loaded_file(table_id BIGINT, path VARCHAR, snapshot_id BIGINT, version VARCHAR, statement_id VARCHAR, loaded_at VARCHAR, row_count BIGINT, PRIMARY KEY(table_id, path));
CREATE TABLE IF NOT EXISTS frazil_stage(stage_id VARCHAR PRIMARY KEY, schema_id BIGINT NOT NULL, stage_name VARCHAR NOT NULL, url VARCHAR, file_format VARCHAR NOT NULL, comment VARCHAR, created_at VARCHAR NOT NULL, UNIQUE(schema_id, stage_name));
CREATE TABLE IF NOT EXISTS frazil_external_table(schema_name VARCHAR, table_name VARCHAR, definition VARCHAR, PRIMARY KEY(schema_name, table_name));
CREATE TABLE IF NOT EXISTS frazil_sketch(table_id BIGINT, begin_snapshot BIGINT, row_count BIGINT NOT NULL, PRIMARY KEY(table_id, begin_snapshot));
CREATE TABLE IF NOT EXISTS frazil_column_sketch(table_id BIGINT, begin_snapshot BIGINT, column_id BIGINT, rows_missed BIGINT NOT NULL, distinct_count BIGINT NOT NULL, sketch VARCHAR NOT NULL, PRIMARY KEY(table_id, begin_snapshot, column_id));
CREATE INDEX IF NOT EXISTS frazil_commit_statement ON frazil_commit(statement_id);
CREATE INDEX IF NOT EXISTS frazil_column_table ON ducklake_column(table_id, column_id);
CREATE INDEX IF NOT EXISTS frazil_data_file_table ON ducklake_data_file(table_id, data_file_id);
CREATE INDEX IF NOT EXISTS frazil_data_file_end ON ducklake_data_file(table_id, end_snapshot);
CREATE INDEX IF NOT EXISTS frazil_delete_file_table ON ducklake_delete_file(table_id, delete_file_id);
CREATE INDEX IF NOT EXISTS frazil_delete_file_end ON ducklake_delete_file(table_id, end_snapshot);
CREATE INDEX IF NOT EXISTS frazil_delete_file_data ON ducklake_delete_file(data_file_id);
";

/// A column's statistics lie among those of all columns of a file. In SQLite the index has all of them again, in one place: a
/// list of 100,000 files is pruned by a few MB. PostgreSQL refuses long texts in an index.
const SQLITE_EXTRAS: &str = "
DROP INDEX IF EXISTS frazil_column_stats;
CREATE INDEX IF NOT EXISTS frazil_column_statistics ON ducklake_file_column_stats(table_id, column_id, data_file_id, null_count, min_value, max_value, contains_nan);
";

const POSTGRES_EXTRAS: &str = "
CREATE INDEX IF NOT EXISTS frazil_column_stats ON ducklake_file_column_stats(table_id, column_id, data_file_id);
";

async fn create_extras(tx: &mut Tx, doing: &'static str) -> Result<()> {
    tx.script(doing, EXTRAS).await?;
    match tx {
        Tx::Sqlite(_) => tx.script(doing, SQLITE_EXTRAS).await,
        Tx::Postgres(_) => tx.script(doing, POSTGRES_EXTRAS).await,
    }
}

/// Creates an empty lake: one snapshot, with the schema `main`.
pub(crate) async fn create(sql: &Sql, tx: &mut Tx, data_path: &str) -> Result<()> {
    let doing = "creating a database";
    match sql.is_postgres() {
        true => tx.script(doing, TABLES).await?,
        false => {
            let tables =
                TABLES.replace("BOOLEAN", "BIGINT").replace("TIMESTAMPTZ", "VARCHAR").replace("UUID", "VARCHAR");
            tx.script(doing, &tables).await?;
        }
    }
    create_extras(tx, doing).await?;
    let settings = [
        ("version", VERSION),
        ("created_by", concat!("Frazil ", env!("CARGO_PKG_VERSION"))),
        ("data_path", data_path),
        ("encrypted", "false"),
        // DuckDB would keep small inserts in the metadata database.
        ("data_inlining_row_limit", "0"),
    ];
    let rows: Vec<_> = settings.map(|(key, value)| vec![Value::text(key), Value::text(value)]).into();
    tx.insert(doing, "ducklake_metadata", "key, value", &rows).await?;
    let now = time::format_moment(SystemTime::now());
    let row = vec![Value::int(0), Value::Moment(now), Value::int(0), Value::int(1), Value::int(0)];
    let columns = "snapshot_id, snapshot_time, schema_version, next_catalog_id, next_file_id";
    tx.insert(doing, "ducklake_snapshot", columns, &[row]).await?;
    let row = vec![Value::int(0), Value::text("created_schema:\"main\"")];
    tx.insert(doing, "ducklake_snapshot_changes", "snapshot_id, changes_made", &[row]).await?;
    let row = vec![
        Value::int(0),
        Value::Uuid(Uuid::new_v4().to_string()),
        Value::int(0),
        Value::text("main"),
        Value::text("main/"),
        Value::bool(true),
    ];
    let columns = "schema_id, schema_uuid, begin_snapshot, schema_name, path, path_is_relative";
    tx.insert(doing, "ducklake_schema", columns, &[row]).await
}

/// Checks that a lake is one that we read, adds our tables to one that DuckDB created, and returns its data path.
pub(crate) async fn open(tx: &mut Tx, database: &str) -> Result<String> {
    let mut settings = std::collections::HashMap::new();
    let sql = "SELECT key, value FROM ducklake_metadata WHERE scope IS NULL";
    tx.each("reading a database's settings", sql, &[], |row| {
        settings.insert(row.text(0)?.to_owned(), row.text(1)?.to_owned());
        Ok(())
    })
    .await?;
    let unfit = |what: String| Err(CatalogError::NotSupported(format!("database \"{database}\" {what}")));
    match settings.get("version").map(String::as_str) {
        Some(VERSION) => {}
        version => return unfit(format!("is of DuckLake version {}, not {VERSION}", version.unwrap_or("unknown"))),
    }
    if settings.get("encrypted").is_some_and(|encrypted| encrypted == "true") {
        return unfit("is encrypted".to_owned());
    }
    create_extras(tx, "adding indexes to a database").await?;
    let Some(data_path) = settings.remove("data_path") else {
        return unfit("does not tell where its data are".to_owned());
    };
    Ok(if data_path.ends_with('/') { data_path } else { format!("{data_path}/") })
}
