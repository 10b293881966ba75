//! A process that dies at any step of a commit leaves all of it or nothing.

use std::path::Path;
use std::process::Command;

use super::support::*;
use crate::failpoints::Step;
use crate::*;

const STEPS: [Step; 4] = [Step::BeforeRows, Step::AfterRows, Step::BeforeCommit, Step::AfterCommit];

#[tokio::test]
async fn a_killed_commit_is_whole_or_not_there() {
    for step in STEPS {
        let Lake { database, directory } = lake().await;
        let table = create_table(&database, "t").await;
        let before = latest(&database).await.snapshot.id;
        database.close().await;
        let path = directory.path().join("test.ducklake");
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::crash::child", "--ignored", "--nocapture"])
            .env("FRAZIL_CATALOG_CRASH", format!("{step:?}"))
            .env("FRAZIL_CATALOG_FILE", &path)
            .output()
            .unwrap();
        assert!(!child.status.success(), "the child lives: {step:?}");
        let database = Database::open_sqlite("test", &path).await.unwrap();
        let view = latest(&database).await;
        let files = names(&database, &view, table).await;
        if step == Step::AfterCommit {
            assert_eq!((view.snapshot.id.0, files.len()), (before.0 + 1, 2));
            assert!(view.table("main", "u").is_ok());
            assert_eq!(
                database.find_request("crash").await.unwrap().map(|found| found.snapshot),
                Some(view.snapshot.id)
            );
        } else {
            assert_eq!((view.snapshot.id, files.len()), (before, 0));
            assert!(view.table("main", "u").is_err());
            assert_eq!(database.find_request("crash").await.unwrap(), None);
        }
        append(&database, table, vec![file("later.parquet", 0, 1)]).await;
    }
}

/// Run by the test above, in a process of its own.
#[tokio::test]
#[ignore = "it aborts"]
async fn child() {
    let Ok(wanted) = std::env::var("FRAZIL_CATALOG_CRASH") else { return };
    let file_name = std::env::var("FRAZIL_CATALOG_FILE").unwrap();
    let database = Database::open_sqlite("test", Path::new(&file_name)).await.unwrap();
    database.set_failpoint(move |step| if format!("{step:?}") == wanted { std::process::abort() } else { Ok(()) });
    let mut transaction = begin(&database).await;
    let view = transaction.view();
    let table = view.table("main", "t").unwrap().id;
    transaction.create_table(main_schema(&view), "u", columns()).unwrap();
    transaction.add_files(table, vec![file("a.parquet", 0, 10), file("b.parquet", 0, 10)]).unwrap();
    let info = CommitInfo { request_id: Some("crash".to_owned()), ..Default::default() };
    _ = transaction.commit(info).await;
}

#[tokio::test]
async fn an_error_at_any_step_before_the_commit_writes_nothing() {
    on_each_backing(|database| async move {
        let table = create_table(&database, "t").await;
        let before = latest(&database).await.snapshot.id;
        for stop in STEPS {
            database.set_failpoint(move |step| match step == stop {
                true => Err(CatalogError::Invalid("stopped".to_owned())),
                false => Ok(()),
            });
            let mut transaction = begin(&database).await;
            transaction.add_files(table, vec![file("a.parquet", 0, 10)]).unwrap();
            assert!(transaction.commit(CommitInfo::default()).await.is_err());
            let committed = stop == Step::AfterCommit;
            assert_eq!(latest(&database).await.snapshot.id.0, before.0 + i64::from(committed), "{stop:?}");
        }
    })
    .await;
}
