//! The past: looking at it, restoring from it, forgetting it.

use std::time::{Duration, SystemTime};

use super::support::*;
use crate::*;

#[tokio::test]
async fn every_kind_of_moment_is_found() {
    on_each_backing(|database| async move {
        let start = SystemTime::now() + Duration::from_secs(3600);
        let table = create_table(&database, "t").await;
        let mut snapshots = Vec::new();
        for minute in 0..20 {
            let mut transaction = begin(&database).await;
            transaction.add_files(table, vec![file(&format!("{minute}.parquet"), 0, 1)]).unwrap();
            let statement = frazil_common::StatementId::mint();
            let time = start + Duration::from_secs(60 * minute);
            let info = CommitInfo { statement: Some(statement), time: Some(time), ..Default::default() };
            snapshots.push((transaction.commit(info).await.unwrap().snapshot, statement, time));
        }
        for (index, (snapshot, statement, time)) in snapshots.iter().enumerate() {
            let count = |at| {
                let database = database.clone();
                async move {
                    let view = database.snapshot(at).await.unwrap();
                    names(&database, &view, table).await.len()
                }
            };
            assert_eq!(count(At::Snapshot(*snapshot)).await, index + 1);
            assert_eq!(count(At::Timestamp(*time + Duration::from_millis(1))).await, index + 1);
            assert_eq!(count(At::Timestamp(*time - Duration::from_millis(1))).await, index);
            assert_eq!(count(At::BeforeStatement(*statement)).await, index);
        }
        let long_ago = database.snapshot(At::Timestamp(SystemTime::UNIX_EPOCH)).await.unwrap_err();
        assert_eq!(long_ago.code(), frazil_common::ErrorCode::UndefinedSnapshot);
        assert!(database.snapshot(At::Snapshot(SnapshotId(999))).await.is_err());
        assert!(database.snapshot(At::BeforeStatement(frazil_common::StatementId::mint())).await.is_err());
        // Half of them are gone, and times are still found.
        let odd: Vec<_> = snapshots.iter().map(|(id, ..)| *id).filter(|id| id.0 % 2 == 1).collect();
        database.expire_snapshots(&Expiry { snapshots: odd, ..Default::default() }).await.unwrap();
        for (snapshot, _, time) in &snapshots {
            let found = database.snapshot(At::Timestamp(*time)).await.unwrap().snapshot.id;
            let latest = snapshots.last().unwrap().0;
            let expected = if snapshot.0 % 2 == 0 || *snapshot == latest { snapshot.0 } else { snapshot.0 - 1 };
            assert_eq!(found.0, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn dropped_tables_return_with_their_files() {
    on_each_backing(|database| async move {
        let table = create_table(&database, "t").await;
        append(&database, table, vec![file("a.parquet", 0, 10), file("b.parquet", 10, 20)]).await;
        let mut transaction = begin(&database).await;
        let view = transaction.view();
        let files = database.files(&view, table, &FileFilter::default()).await.unwrap();
        transaction.add_delete_files(table, vec![delete(files[0].id, "d.parquet", 3)]).unwrap();
        commit(transaction).await;
        let before = latest(&database).await;
        let mut transaction = begin(&database).await;
        transaction.drop_table(table).unwrap();
        commit(transaction).await;
        let replacement = create_table(&database, "t").await;

        let dropped = database.dropped_tables().await.unwrap();
        assert_eq!(dropped.len(), 1);
        assert_eq!((dropped[0].id, dropped[0].name.as_str()), (table, "t"));
        assert!(dropped[0].dropped_at.is_some());
        let mut transaction = begin(&database).await;
        let error = transaction.undrop_table(&dropped[0], None).await.unwrap_err();
        assert_eq!(error.code().sql_state(), "42P07");
        transaction.undrop_table(&dropped[0], Some("back")).await.unwrap();
        assert_eq!(transaction.table_statistics(table, &[]).await.unwrap().rows, 17);
        transaction.add_files(table, vec![file("c.parquet", 20, 30)]).unwrap();
        commit(transaction).await;
        let view = latest(&database).await;
        assert_eq!(view.table("main", "back").unwrap().columns, before.table_by_id(table).unwrap().columns);
        assert_eq!(view.table("main", "t").unwrap().id, replacement);
        assert_eq!(names(&database, &view, table).await, ["a.parquet", "b.parquet", "c.parquet"]);
        let total = database.table_statistics(&view, table, &[ColumnId(1)]).await.unwrap();
        assert_eq!((total.rows, total.columns[0].max.clone()), (27, Some(Scalar::Int(29))));
        let files = database.files(&view, table, &FileFilter::default()).await.unwrap();
        assert_eq!(files.iter().map(|f| f.row_id_start.unwrap()).collect::<Vec<_>>(), [0, 10, 20]);
        assert!(database.dropped_tables().await.unwrap().is_empty());
        // The restored files share paths with the rows of the past, which may go.
        let later = SystemTime::now() + Duration::from_secs(7200);
        database.expire_snapshots(&Expiry { older_than: Some(later), ..Default::default() }).await.unwrap();
        assert!(database.files_to_remove(later, &[]).await.unwrap().is_empty());
        assert_eq!(names(&database, &latest(&database).await, table).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn clones_share_files_and_then_part() {
    on_each_backing(|database| async move {
        let table = create_table(&database, "t").await;
        append(&database, table, vec![file("a.parquet", 0, 10), file("b.parquet", 10, 20)]).await;
        let mut transaction = begin(&database).await;
        let view = latest(&database).await;
        let copy = transaction.clone_table(&database, &view, table, main_schema(&view), "copy").await.unwrap();
        let copy = commit(transaction).await.tables[&copy];
        append(&database, copy, vec![file("own.parquet", 20, 30)]).await;
        let view = latest(&database).await;
        let files = database.files(&view, copy, &FileFilter::default()).await.unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            paths,
            ["/data/test/main/t/a.parquet", "/data/test/main/t/b.parquet", "/data/test/main/copy/own.parquet"]
        );
        assert_eq!(files[2].row_id_start, Some(20));
        let filter =
            FileFilter { ranges: vec![ColumnRange::equals(ColumnId(1), Scalar::Int(15))], ..Default::default() };
        assert_eq!(database.files(&view, copy, &filter).await.unwrap().len(), 1);

        let mut transaction = begin(&database).await;
        transaction.drop_table(table).unwrap();
        transaction.remove_files(copy, &[files[0].id]).unwrap();
        commit(transaction).await;
        let later = SystemTime::now() + Duration::from_secs(7200);
        database.expire_snapshots(&Expiry { older_than: Some(later), ..Default::default() }).await.unwrap();
        let removable = database.files_to_remove(later, &[]).await.unwrap();
        // Both rows of a.parquet are gone; b.parquet is the clone's.
        let paths: Vec<_> = removable.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["/data/test/main/t/a.parquet"]);
        let mut paths: Vec<_> = database.referenced_paths().await.unwrap().into_iter().collect();
        paths.sort();
        assert_eq!(paths.len(), 3);
        database.mark_removed(&removable).await.unwrap();
        assert_eq!(database.referenced_paths().await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn pinned_and_latest_snapshots_stay() {
    on_each_backing(|database| async move {
        let table = create_table(&database, "t").await;
        append(&database, table, vec![file("a.parquet", 0, 10)]).await;
        let pinned = latest(&database).await;
        let pin = database.pin(pinned.snapshot.id);
        let files = database.files(&pinned, table, &FileFilter::default()).await.unwrap();
        let mut transaction = begin(&database).await;
        transaction.remove_files(table, &[files[0].id]).unwrap();
        commit(transaction).await;
        let running = begin(&database).await;
        append(&database, table, vec![file("b.parquet", 0, 10)]).await;

        let later = SystemTime::now() + Duration::from_secs(7200);
        let all = Expiry { older_than: Some(later), ..Default::default() };
        database.expire_snapshots(&all).await.unwrap();
        assert_eq!(names(&database, &pinned, table).await, ["a.parquet"]);
        assert!(database.files_to_remove(later, &[]).await.unwrap().is_empty());
        // A transaction pins the snapshot it began with.
        assert!(database.snapshot(At::Snapshot(running.base().snapshot.id)).await.is_ok());
        drop((pin, running));
        assert_eq!(database.expire_snapshots(&all).await.unwrap().len(), 2);
        assert_eq!(database.files_to_remove(later, &[]).await.unwrap().len(), 1);
        assert!(database.files_to_remove(SystemTime::UNIX_EPOCH, &[]).await.unwrap().is_empty());
        assert_eq!(database.snapshots(10).await.unwrap().len(), 1);
        assert_eq!(names(&database, &latest(&database).await, table).await, ["b.parquet"]);
    })
    .await;
}

#[tokio::test]
async fn a_second_handle_sees_commits_and_conflicts() {
    let Lake { database, directory } = lake().await;
    let other = Database::open_sqlite("test", &directory.path().join("test.ducklake")).await.unwrap();
    let table = create_table(&database, "t").await;
    append(&database, table, vec![file("a.parquet", 0, 10)]).await;
    let view = latest(&other).await;
    assert_eq!(names(&other, &view, table).await, ["a.parquet"]);
    let mut late = other.begin(view.clone());
    let files = other.files(&view, table, &FileFilter::default()).await.unwrap();
    late.remove_files(table, &[files[0].id]).unwrap();
    let mut early = begin(&database).await;
    early.remove_files(table, &[files[0].id]).unwrap();
    early.add_files(table, vec![file("b.parquet", 0, 10)]).unwrap();
    commit(early).await;
    conflict(late.commit(CommitInfo::default()).await);
    assert_eq!(names(&other, &view, table).await, ["a.parquet"]);
    assert_eq!(names(&other, &latest(&other).await, table).await, ["b.parquet"]);
}

#[tokio::test]
async fn a_table_is_restored_once_and_field_ids_are_never_reused() {
    on_each_backing(|database| async move {
        let table = create_table(&database, "t").await;
        let mut transaction = begin(&database).await;
        transaction.drop_column(table, ColumnId(2)).unwrap();
        commit(transaction).await;
        let later = SystemTime::now() + Duration::from_secs(7200);
        database.expire_snapshots(&Expiry { older_than: Some(later), ..Default::default() }).await.unwrap();
        let other = create_table(&database, "other").await;
        let mut transaction = begin(&database).await;
        let added = transaction.add_column(table, None, Column::new("name", ColumnType::Int32)).unwrap();
        assert_eq!(added, ColumnId(3));

        let mut transaction = begin(&database).await;
        transaction.drop_table(other).unwrap();
        commit(transaction).await;
        let dropped = database.dropped_tables().await.unwrap().remove(0);
        let (mut one, mut two) = (begin(&database).await, begin(&database).await);
        one.undrop_table(&dropped, Some("a")).await.unwrap();
        two.undrop_table(&dropped, Some("b")).await.unwrap();
        commit(one).await;
        conflict(two.commit(CommitInfo::default()).await);
    })
    .await;
}

/// Files have columns by their ids, also of columns that no snapshot has ever shown.
#[tokio::test]
async fn ids_of_columns_are_drawn_once() {
    on_each_backing(|database| async move {
        let table = create_table(&database, "t").await;
        let add = |transaction: &mut Transaction, table, name: &str| {
            transaction.add_column(table, None, Column::new(name, ColumnType::Int64)).unwrap()
        };
        let mut transaction = begin(&database).await;
        let fleeting = add(&mut transaction, table, "fleeting");
        transaction.drop_column(table, fleeting).unwrap();
        commit(transaction).await;
        let mut transaction = begin(&database).await;
        let next = add(&mut transaction, table, "next");
        assert!(next > fleeting, "{next} after {fleeting}");
        commit(transaction).await;
        // A clone has files with the columns that its original has dropped.
        let mut transaction = begin(&database).await;
        transaction.drop_column(table, next).unwrap();
        commit(transaction).await;
        let mut transaction = begin(&database).await;
        let view = latest(&database).await;
        let schema = main_schema(&view);
        let local = transaction.clone_table(&database, &view, table, schema, "clone").await.unwrap();
        let clone = commit(transaction).await.tables[&local];
        let mut transaction = begin(&database).await;
        assert!(add(&mut transaction, clone, "later") > next);
        commit(transaction).await;
        let reopened = latest(&database).await;
        let names: Vec<_> = reopened.table_by_id(clone).unwrap().columns.iter().map(|c| c.name.clone()).collect();
        assert_eq!(names, ["id", "name", "later"]);
    })
    .await;
}
