//! Writes and shows a lake from the command line, for `tests/interop/ducklake.py`, which lets DuckDB read and write it too.
//!
//! ```text
//! lake <file or PostgreSQL URL> create <data path>
//!                               add <table> <path> <rows> <bytes> <least id> <greatest id>
//!                               delete <table> <data file> <path> <rows>
//!                               alter | undrop <table> | clone <table> <name> | truncate <table> | expire
//!                               show [snapshot]
//! ```

use std::path::Path;
use std::time::SystemTime;

use frazil_catalog::*;

type Failure = Box<dyn std::error::Error>;

/// The PostgreSQL schema of the lake.
const SCHEMA: &str = "lake";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [store, command, rest @ ..] = args.as_slice() else { return Err("a file and a command are needed".into()) };
    if let ("create", [data_path]) = (*command, rest) {
        return create(store, data_path).await;
    }
    let database = match store.starts_with("postgres") {
        true => Database::open_postgres("lake", store, SCHEMA).await?,
        false => Database::open_sqlite("lake", Path::new(store)).await?,
    };
    let view = database.snapshot(At::Latest).await?;
    let main = view.schema("main")?.id;
    let table = |name: &str| view.table("main", name).map(|table| table.id);
    let mut transaction = database.begin(view.clone());
    match (*command, rest) {
        ("add", [name, path, rows, bytes, least, greatest]) => {
            let bound = |text: &str| Ok::<_, Failure>(Some(Scalar::Int(text.parse()?)));
            let statistics = NewColumnStatistics {
                column: view.table("main", name)?.column("id")?.id,
                size_bytes: None,
                null_count: 0,
                value_count: rows.parse()?,
                min: bound(least)?,
                max: bound(greatest)?,
                contains_nan: None,
            };
            let file = NewDataFile {
                path: Place::relative(*path),
                record_count: rows.parse()?,
                size_bytes: bytes.parse()?,
                footer_size_bytes: None,
                columns: vec![statistics],
                row_id_start: None,
            };
            transaction.add_files(table(name)?, vec![file])?;
        }
        ("delete", [name, data_file, path, rows]) => {
            let files = database.files(&view, table(name)?, &FileFilter::default()).await?;
            let file = files.iter().find(|file| file.path.ends_with(data_file)).ok_or("no such file")?;
            let delete = NewDeleteFile {
                data_file: file.id,
                path: Place::relative(*path),
                delete_count: rows.parse()?,
                size_bytes: 1000,
                footer_size_bytes: None,
            };
            transaction.add_delete_files(table(name)?, vec![delete])?;
        }
        ("alter", []) => {
            let table = table("t")?;
            let added = Column::new("n", ColumnType::Int32).with_default(DefaultValue::Literal("42".to_owned()));
            let added = transaction.add_column(table, None, added)?;
            transaction.widen_column(table, added, ColumnType::Int64)?;
            transaction.rename_column(table, view.table("main", "t")?.column("name")?.id, "label")?;
            transaction.set_sort_keys(table, vec![SortKey::column("id")])?;
            transaction.set_table_tag(table, "comment", Some("it's a table"))?;
        }
        ("undrop", [name]) => {
            let dropped = database.dropped_tables().await?;
            let dropped = dropped.iter().find(|table| table.name == *name).ok_or("no such dropped table")?;
            transaction.undrop_table(dropped, None).await?;
        }
        ("clone", [name, to]) => _ = transaction.clone_table(&database, &view, table(name)?, main, to).await?,
        ("truncate", [name]) => transaction.truncate_table(table(name)?).await?,
        ("expire", []) => {
            drop(transaction);
            database
                .expire_snapshots(&Expiry { superseded_before: Some(SystemTime::now()), ..Default::default() })
                .await?;
            for file in database.files_to_remove(SystemTime::now(), &[]).await? {
                println!("{}", file.path);
            }
            return Ok(());
        }
        ("show", at) => {
            let at = at.first().map(|id| id.parse()).transpose()?.map_or(At::Latest, |id| At::Snapshot(SnapshotId(id)));
            return show(&database, &*database.snapshot(at).await?).await;
        }
        _ => return Err("unknown command".into()),
    }
    println!("{}", transaction.commit(CommitInfo::default()).await?.snapshot);
    Ok(())
}

async fn create(store: &str, data_path: &str) -> Result<(), Failure> {
    let database = match store.starts_with("postgres") {
        true => Database::create_postgres("lake", store, SCHEMA, data_path).await?,
        false => Database::create_sqlite("lake", Path::new(store), data_path).await?,
    };
    let mut transaction = database.begin(database.snapshot(At::Latest).await?);
    let main = transaction.view().schema("main")?.id;
    let columns = vec![
        Column::new("id", ColumnType::Int64).not_null(),
        Column::new("name", ColumnType::Varchar).with_default(DefaultValue::Literal("x".to_owned())),
        Column::new("amount", ColumnType::Decimal(10, 2)),
    ];
    transaction.create_table(main, "t", columns)?;
    transaction.create_view(main, "v", "SELECT id FROM t", "duckdb")?;
    transaction.create_schema("odd schema")?;
    transaction.commit(CommitInfo { message: Some("first".to_owned()), ..Default::default() }).await?;
    Ok(())
}

async fn show(database: &Database, view: &SnapshotView) -> Result<(), Failure> {
    let mut tables = serde_json::Map::new();
    for table in view.tables() {
        let columns: Vec<_> = table.columns.iter().map(|c| format!("{} {} {}", c.id, c.name, c.column_type)).collect();
        let filter = FileFilter { ranges: vec![], statistics: vec![ColumnId(1)] };
        let shown = match database.files(view, table.id, &filter).await {
            Ok(files) => files.iter().map(show_file).collect(),
            Err(error) => serde_json::json!({ "error": error.to_string() }),
        };
        let rows = database.table_statistics(view, table.id, &[]).await.map(|total| total.rows).ok();
        let entry = serde_json::json!({ "columns": columns, "files": shown, "rows": rows });
        tables.insert(view.full_name(table), entry);
    }
    let views: Vec<_> = view.views().map(|view| view.name.clone()).collect();
    println!("{}", serde_json::json!({ "snapshot": view.snapshot.id.0, "tables": tables, "views": views }));
    Ok(())
}

fn show_file(file: &DataFile) -> serde_json::Value {
    serde_json::json!({
        "path": file.path,
        "rows": file.record_count,
        "filter": file.snapshot_filter.map(|id| id.0),
        "min": format!("{:?}", file.statistics[0].min),
        "max": format!("{:?}", file.statistics[0].max),
        "deletes": file.delete_file.as_ref().map(|delete| serde_json::json!({
            "path": delete.path, "count": delete.delete_count, "filter": delete.snapshot_filter.map(|id| id.0),
        })),
    })
}
