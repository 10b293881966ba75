//! Ways to read that are quicker than asking row by row, and must see the same.

use super::support::*;
use crate::*;

/// Commits of another process, which this one is not told of.
#[tokio::test]
async fn what_others_commit_is_seen_at_once() {
    let lake = lake().await;
    let other = Database::open_sqlite("test", &lake.directory.path().join("test.ducklake")).await.unwrap();
    for number in 0..20 {
        let table = create_table(&other, &format!("t{number}")).await;
        let view = latest(&lake.database).await;
        assert_eq!(view.table("main", &format!("t{number}")).unwrap().id, table);
        // Again, now from memory.
        assert_eq!(latest(&lake.database).await.snapshot, view.snapshot);
        let back = create_table(&lake.database, &format!("u{number}")).await;
        assert_eq!(latest(&other).await.table("main", &format!("u{number}")).unwrap().id, back);
    }
}

#[tokio::test]
async fn more_files_than_one_page_and_statistics_of_some() {
    on_each_backing(|database| async move {
        let table = create_table(&database, "t").await;
        let odd = |number: i64| file(&format!("it's \"{number}\"\\ü.parquet"), number * 10, number * 10 + 10);
        append(&database, table, (0..5000).map(odd).collect()).await;
        append(&database, table, (5000..9001).map(odd).collect()).await;
        let view = latest(&database).await;
        let all = names(&database, &view, table).await;
        let expected: Vec<_> = (0..9001).map(|number| format!("it's \"{number}\"\\ü.parquet")).collect();
        assert_eq!(all, expected);

        let columns = [ColumnId(2), ColumnId(1)];
        let ranges = vec![ColumnRange::between(ColumnId(1), Some(Scalar::Int(41_000)), Some(Scalar::Int(41_099)))];
        let some = database.files(&view, table, &FileFilter { ranges, statistics: vec![] }).await.unwrap();
        assert_eq!(some.len(), 10);
        let looked_up = database.file_statistics(&view, table, &some, &columns).await.unwrap();
        assert_eq!(looked_up[0][0].min, Some(Scalar::Text("n041000".into())));
        assert_eq!(looked_up[0][1].min, Some(Scalar::Int(41_000)));
        // From whole columns, which are in memory now.
        let whole = FileFilter { ranges: vec![], statistics: columns.to_vec() };
        let whole = database.files(&view, table, &whole).await.unwrap();
        let in_memory = database.file_statistics(&view, table, &some, &columns).await.unwrap();
        assert_eq!(looked_up, in_memory);
        let found = whole.iter().find(|file| file.id == some[3].id).unwrap();
        assert_eq!(found.statistics, looked_up[3]);
        let all = database.file_statistics(&view, table, &whole, &columns).await.unwrap();
        assert!(whole.iter().zip(&all).all(|(file, known)| file.statistics == *known));
    })
    .await;
}

/// Sums are kept, and must not outlive what they are sums of.
#[tokio::test]
async fn sums_follow_the_files() {
    let lake = lake().await;
    let database = &lake.database;
    let table = create_table(database, "t").await;
    let sums = async |view: &SnapshotView| database.table_statistics(view, table, &[ColumnId(1)]).await.unwrap();
    append(database, table, vec![file("a", 0, 10), file("b", 10, 20)]).await;
    let first = latest(database).await;
    let known = sums(&first).await;
    assert_eq!((known.files, known.rows, known.columns[0].max.clone()), (2, 20, Some(Scalar::Int(19))));
    // Another table's commit changes nothing.
    create_table(database, "u").await;
    assert_eq!(sums(&*latest(database).await).await, known);
    append(database, table, vec![file("c", 20, 30)]).await;
    let second = latest(database).await;
    assert_eq!(sums(&second).await.columns[0].max, Some(Scalar::Int(29)));
    let mut transaction = begin(database).await;
    let files = transaction.files(table, &FileFilter::default()).await.unwrap();
    transaction.add_delete_files(table, vec![delete(files[0].id, "d", 3)]).unwrap();
    commit(transaction).await;
    let third = sums(&*latest(database).await).await;
    assert_eq!((third.rows, third.files_with_deletes, third.files_not_plain), (27, 1, 0));
    assert_eq!(sums(&first).await, known);
    assert_eq!(sums(&second).await.rows, 30);
}
