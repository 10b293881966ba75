//! A database to test with, and short ways to say what tests say often.

use std::sync::Arc;

use tempfile::TempDir;

use crate::*;

pub(super) struct Lake {
    pub(super) database: Database,
    pub(super) directory: TempDir,
}

pub(super) async fn lake() -> Lake {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("test.ducklake");
    let database = Database::create_sqlite("test", &file, "/data/test").await.unwrap();
    Lake { database, directory }
}

/// Runs a test against SQLite, and against PostgreSQL if there is one.
pub(super) async fn on_each_backing<F: Future<Output = ()>>(test: impl Fn(Database) -> F) {
    let lake = lake().await;
    test(lake.database.clone()).await;
    let Ok(url) = std::env::var("FRAZIL_TEST_POSTGRES") else {
        eprintln!("SKIPPED on PostgreSQL: FRAZIL_TEST_POSTGRES names no URL");
        return;
    };
    let schema = format!("test_{}", uuid::Uuid::new_v4().simple());
    let database = Database::create_postgres("test", &url, &schema, "/data/test").await.unwrap();
    test(database).await;
}

pub(super) async fn latest(database: &Database) -> Arc<SnapshotView> {
    database.snapshot(At::Latest).await.unwrap()
}

pub(super) async fn begin(database: &Database) -> Transaction {
    database.begin(latest(database).await)
}

pub(super) async fn commit(transaction: Transaction) -> Committed {
    transaction.commit(CommitInfo::default()).await.unwrap()
}

pub(super) fn columns() -> Vec<Column> {
    vec![Column::new("id", ColumnType::Int64).not_null(), Column::new("name", ColumnType::Varchar)]
}

pub(super) fn main_schema(view: &SnapshotView) -> SchemaId {
    view.schema("main").unwrap().id
}

pub(super) async fn create_table(database: &Database, name: &str) -> TableId {
    let mut transaction = begin(database).await;
    let schema = main_schema(&transaction.view());
    let local = transaction.create_table(schema, name, columns()).unwrap();
    commit(transaction).await.tables[&local]
}

/// A file of the rows `from..to` by the column `id`.
pub(super) fn file(path: &str, from: i64, to: i64) -> NewDataFile {
    let statistics = |column, min, max| NewColumnStatistics {
        column: ColumnId(column),
        size_bytes: Some(100),
        null_count: 0,
        value_count: to - from,
        min: Some(min),
        max: Some(max),
        contains_nan: None,
    };
    NewDataFile {
        path: Place::relative(path),
        record_count: to - from,
        size_bytes: 1000,
        footer_size_bytes: Some(200),
        columns: vec![
            statistics(1, Scalar::Int(from.into()), Scalar::Int((to - 1).into())),
            statistics(2, Scalar::Text(format!("n{from:06}").into()), Scalar::Text(format!("n{:06}", to - 1).into())),
        ],
        row_id_start: None,
    }
}

pub(super) fn delete(data_file: DataFileId, path: &str, count: i64) -> NewDeleteFile {
    NewDeleteFile {
        data_file,
        path: Place::relative(path),
        delete_count: count,
        size_bytes: 50,
        footer_size_bytes: Some(20),
    }
}

pub(super) async fn append(database: &Database, table: TableId, files: Vec<NewDataFile>) -> SnapshotId {
    let mut transaction = begin(database).await;
    transaction.add_files(table, files).unwrap();
    commit(transaction).await.snapshot
}

/// File names of a table, without their directories.
pub(super) async fn names(database: &Database, view: &Arc<SnapshotView>, table: TableId) -> Vec<String> {
    let files = database.files(view, table, &FileFilter::default()).await.unwrap();
    files.iter().map(|file| file.path.rsplit('/').next().unwrap().to_owned()).collect()
}

pub(super) fn conflict<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(error @ CatalogError::Conflict { .. }) => {
            assert!(error.retryable() && error.code().sql_state() == "40001");
            error.to_string()
        }
        other => panic!("no conflict: {other:?}"),
    }
}
