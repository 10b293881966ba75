//! The registry of databases and its lock.

use super::support::*;
use crate::*;

async fn open(directory: &std::path::Path, address: &str) -> Result<Databases> {
    Databases::open(Backing::Directory(directory.to_owned()), "/data", &Holder::current(address)).await
}

#[tokio::test]
async fn a_second_coordinator_is_refused_by_name_until_the_first_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), "10.0.0.1:8080").await.unwrap();
    let error = open(directory.path(), "10.0.0.2:8080").await.unwrap_err();
    assert_eq!(error.code().sql_state(), "55006");
    let message = error.to_string();
    assert!(message.contains(&std::process::id().to_string()) && message.contains("10.0.0.1:8080"), "{message}");
    drop(first);
    // The file of a dead holder is no obstacle.
    assert!(directory.path().join("frazil.lock").exists());
    open(directory.path(), "10.0.0.2:8080").await.unwrap();
}

#[tokio::test]
async fn databases_come_go_and_return() {
    let directory = tempfile::tempdir().unwrap();
    let databases = open(directory.path(), "").await.unwrap();
    check_registry(&databases).await;
    assert!(directory.path().join("a.ducklake").exists());
    drop(databases);
    let databases = open(directory.path(), "").await.unwrap();
    assert_eq!(databases.list().await.unwrap().len(), 1);
    databases.get("a").await.unwrap();
}

#[tokio::test]
async fn databases_come_go_and_return_in_postgres() {
    let Ok(url) = std::env::var("FRAZIL_TEST_POSTGRES") else {
        return eprintln!("SKIPPED: FRAZIL_TEST_POSTGRES names no URL");
    };
    let backing = Backing::Postgres(url);
    let databases = Databases::open(backing.clone(), "/data", &Holder::current("")).await.unwrap();
    for record in databases.list().await.unwrap() {
        if record.dropped_at.is_none() {
            databases.drop(&record.name).await.unwrap();
        }
        databases.purge(record.id).await.unwrap();
    }
    // Two coordinators share it.
    let other = Databases::open(backing, "/data", &Holder::current("")).await.unwrap();
    check_registry(&databases).await;
    other.get("a").await.unwrap();
}

async fn check_registry(databases: &Databases) {
    let a = databases.create("a").await.unwrap();
    assert_eq!(a.data_path(), "/data/a/");
    create_table(&a, "t").await;
    assert_eq!(databases.create("a").await.unwrap_err().code().sql_state(), "42P04");
    assert!(matches!(databases.create("../x").await, Err(CatalogError::Invalid(_))));
    databases.drop("a").await.unwrap();
    assert_eq!(databases.get("a").await.unwrap_err().code().sql_state(), "3D000");
    let second = databases.create("a").await.unwrap();
    assert_ne!(second.data_path(), "/data/a/");
    assert!(latest(&second).await.table("main", "t").is_err());
    assert!(databases.undrop("a").await.is_err());
    databases.drop("a").await.unwrap();
    // The last dropped one returns first.
    databases.undrop("a").await.unwrap();
    databases.drop("a").await.unwrap();
    let empty = databases.list().await.unwrap().into_iter().max_by_key(|one| one.created_at).unwrap();
    assert!(databases.purge(empty.id).await.unwrap().is_empty());
    let a = databases.undrop("a").await.unwrap();
    assert!(latest(&a).await.table("main", "t").is_ok());
    assert_eq!(databases.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_cloned_database_keeps_its_files_alive() {
    let directory = tempfile::tempdir().unwrap();
    let databases = open(directory.path(), "").await.unwrap();
    let source = databases.create("source").await.unwrap();
    let table = create_table(&source, "t").await;
    let first = append(&source, table, vec![file("a.parquet", 0, 10)]).await;
    append(&source, table, vec![file("b.parquet", 10, 20)]).await;
    let clone = databases
        .clone_database("source", At::Snapshot(first), "copy", None, |view| Ok(view.sql.clone()), CommitInfo::default())
        .await
        .unwrap();
    let view = latest(&clone).await;
    let cloned = view.table("main", "t").unwrap();
    let files = clone.files(&view, cloned.id, &FileFilter::default()).await.unwrap();
    assert_eq!(files.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["/data/source/main/t/a.parquet"]);
    let ids = |table: &Table| table.columns.iter().map(|c| (c.id, c.name.clone())).collect::<Vec<_>>();
    assert_eq!(ids(cloned), ids(latest(&source).await.table_by_id(table).unwrap()));

    let mut truncate = begin(&source).await;
    truncate.truncate_table(table).await.unwrap();
    commit(truncate).await;
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    source.expire_snapshots(&Expiry { superseded_before: Some(later), ..Default::default() }).await.unwrap();
    let others = databases.all().await.unwrap();
    let removable = source.files_to_remove(later, &others).await.unwrap();
    let paths: Vec<_> = removable.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/data/source/main/t/b.parquet"]);
    source.mark_removed(&removable).await.unwrap();
    assert!(source.files_to_remove(later, &others).await.unwrap().is_empty());

    // The clone outlives its source, and then the file is nobody's.
    databases.drop("source").await.unwrap();
    let id = databases.list().await.unwrap().into_iter().find(|one| one.name == "source").unwrap().id;
    assert!(databases.purge(id).await.unwrap().is_empty());
    databases.drop("copy").await.unwrap();
    let id = databases.list().await.unwrap()[0].id;
    assert_eq!(databases.purge(id).await.unwrap(), ["/data/source/main/t/a.parquet"]);
}
