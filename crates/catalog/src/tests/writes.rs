//! What transactions write, and which of them exclude each other.

use super::support::*;
use crate::*;

#[tokio::test]
async fn tables_files_and_statistics_are_read_as_written() {
    on_each_backing(|database| async move {
        let table = create_table(&database, "t").await;
        append(&database, table, vec![file("a.parquet", 0, 10), file("b.parquet", 10, 30)]).await;
        let view = latest(&database).await;
        let shape = view.table("main", "t").unwrap();
        assert_eq!(shape.location, "/data/test/main/t/");
        assert_eq!(shape.columns.iter().map(|c| c.id.0).collect::<Vec<_>>(), [1, 2]);
        assert!(!shape.columns[0].nulls_allowed && shape.columns[1].nulls_allowed);
        let filter = FileFilter {
            ranges: vec![ColumnRange::between(ColumnId(1), Some(Scalar::Int(10)), None)],
            statistics: vec![ColumnId(2)],
        };
        let files = database.files(&view, table, &filter).await.unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].path, "/data/test/main/t/b.parquet");
        assert_eq!((files[0].record_count, files[0].size_bytes, files[0].row_id_start), (20, 1000, Some(10)));
        assert_eq!(files[0].statistics[0].max, Some(Scalar::Text("n000029".into())));
        let total = database.table_statistics(&view, table, &[ColumnId(1)]).await.unwrap();
        assert_eq!((total.files, total.rows, total.bytes), (2, 30, 2000));
        assert_eq!(total.columns[0].min, Some(Scalar::Int(0)));
        assert_eq!(total.columns[0].max, Some(Scalar::Int(29)));
    })
    .await;
}

#[tokio::test]
async fn a_transaction_sees_its_own_changes() {
    let lake = lake().await;
    let mut transaction = begin(&lake.database).await;
    let schema = transaction.create_schema("s").unwrap();
    let table = transaction.create_table(schema, "t", columns()).unwrap();
    assert!(table.is_local());
    let ids = transaction.add_files(table, vec![file("a.parquet", 0, 10), file("b.parquet", 10, 30)]).unwrap();
    let savepoint = transaction.clone();
    transaction.add_delete_files(table, vec![delete(ids[0], "d.parquet", 4)]).unwrap();
    transaction.remove_files(table, &ids[1..]).unwrap();
    let view = transaction.view();
    assert_eq!(view.table("s", "t").unwrap().id, table);
    let files = transaction.files(table, &FileFilter::default()).await.unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].delete_file.as_ref().unwrap().path, "/data/test/s/t/d.parquet");
    let filter = FileFilter { ranges: vec![ColumnRange::equals(ColumnId(1), Scalar::Int(20))], ..Default::default() };
    assert_eq!(transaction.files(table, &filter).await.unwrap().len(), 0);
    assert_eq!(savepoint.files(table, &filter).await.unwrap().len(), 1);
    assert_eq!(transaction.table_statistics(table, &[]).await.unwrap().rows, 6);
    assert!(latest(&lake.database).await.schema("s").is_err());
    let done = commit(transaction).await;
    let view = latest(&lake.database).await;
    let table = done.tables[&table];
    assert_eq!(names(&lake.database, &view, table).await, ["a.parquet"]);
    assert_eq!(lake.database.table_statistics(&view, table, &[]).await.unwrap().rows, 6);
}

#[tokio::test]
async fn columns_change_and_the_past_keeps_its_own() {
    on_each_backing(|database| async move {
        let table = create_table(&database, "t").await;
        let before = latest(&database).await;
        let mut transaction = begin(&database).await;
        let added = Column::new("n", ColumnType::Int32).with_default(DefaultValue::Literal("42".to_owned()));
        let added = transaction.add_column(table, None, added).unwrap();
        assert_eq!(added, ColumnId(3));
        transaction.widen_column(table, added, ColumnType::Int64).unwrap();
        transaction.rename_column(table, ColumnId(2), "label").unwrap();
        transaction.set_sort_keys(table, vec![SortKey::column("label"), SortKey::column("Odd one")]).unwrap();
        transaction.rename_table(table, "renamed").unwrap();
        transaction.set_table_tag(table, "comment", Some("it's")).unwrap();
        transaction.set_column_tag(table, added, "comment", Some("column")).unwrap();
        commit(transaction).await;
        let after = latest(&database).await;
        let shape = after.table("main", "renamed").unwrap();
        assert_eq!(shape.id, table);
        assert_eq!(shape.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["id", "label", "n"]);
        assert_eq!(shape.columns[2].column_type, ColumnType::Int64);
        assert_eq!(shape.columns[2].initial_default.as_deref(), Some("42"));
        assert_eq!(shape.sort_keys[1].expression, "\"Odd one\"");
        assert_eq!(shape.tags["comment"], "it's");
        assert_eq!(shape.columns[2].tags["comment"], "column");
        let past = database.snapshot(At::Snapshot(before.snapshot.id)).await.unwrap();
        assert_eq!(past.table("main", "t").unwrap(), before.table("main", "t").unwrap());
        assert!(past.table("main", "renamed").is_err());

        let mut transaction = begin(&database).await;
        assert!(matches!(transaction.drop_column(table, ColumnId(2)), Err(CatalogError::Invalid(_))));
        transaction.set_sort_keys(table, vec![]).unwrap();
        transaction.drop_column(table, ColumnId(2)).unwrap();
        transaction.set_default(table, added, None).unwrap();
        transaction.set_nulls_allowed(table, ColumnId(1), true).unwrap();
        transaction.set_table_tag(table, "comment", None).unwrap();
        transaction.set_column_tag(table, added, "comment", None).unwrap();
        commit(transaction).await;
        let view = latest(&database).await;
        let shape = view.table("main", "renamed").unwrap();
        assert_eq!(shape.columns.iter().map(|c| c.id.0).collect::<Vec<_>>(), [1, 3]);
        assert!(shape.columns[0].nulls_allowed && shape.columns[1].default.is_none());
        assert!(shape.tags.is_empty() && shape.sort_keys.is_empty() && shape.columns[1].tags.is_empty());
        // No field id is used twice.
        let mut transaction = begin(&database).await;
        let next = transaction.add_column(table, None, Column::new("label", ColumnType::Int8)).unwrap();
        assert_eq!(next, ColumnId(4));
    })
    .await;
}

#[tokio::test]
async fn nested_columns_are_numbered_and_extended() {
    let lake = lake().await;
    let mut transaction = begin(&lake.database).await;
    let mut nested = Column::new("s", ColumnType::Struct);
    nested.children = vec![Column::new("a", ColumnType::Int32), Column::new("b", ColumnType::Varchar)];
    let mut list = Column::new("l", ColumnType::List);
    list.children = vec![Column::new("element", ColumnType::Int32)];
    let schema = main_schema(&transaction.view());
    let table = transaction.create_table(schema, "t", vec![nested, list]).unwrap();
    let table = commit(transaction).await.tables[&table];
    let mut transaction = begin(&lake.database).await;
    transaction.add_column(table, Some(ColumnId(1)), Column::new("c", ColumnType::Date)).unwrap();
    transaction.rename_column(table, ColumnId(2), "first").unwrap();
    assert!(transaction.rename_column(table, ColumnId(5), "x").is_err());
    assert!(transaction.add_column(table, Some(ColumnId(4)), Column::new("c", ColumnType::Date)).is_err());
    commit(transaction).await;
    let view = latest(&lake.database).await;
    let shape = view.table_by_id(table).unwrap();
    let named = |column: &Column| (column.id.0, column.name.clone());
    assert_eq!(
        shape.columns[0].children.iter().map(named).collect::<Vec<_>>(),
        [(2, "first".to_owned()), (3, "b".to_owned()), (6, "c".to_owned())]
    );
    assert_eq!(shape.columns[1].children.iter().map(named).collect::<Vec<_>>(), [(5, "element".to_owned())]);
}

#[tokio::test]
async fn names_that_are_wrong_are_refused_with_their_code() {
    let lake = lake().await;
    create_table(&lake.database, "t").await;
    let mut transaction = begin(&lake.database).await;
    let view = transaction.view();
    let schema = main_schema(&view);
    let code = |result: Result<()>| result.unwrap_err().code().sql_state();
    assert_eq!(code(transaction.create_table(schema, "t", columns()).map(|_| ())), "42P07");
    assert_eq!(code(transaction.create_view(schema, "t", "SELECT 1", "duckdb").map(|_| ())), "42P07");
    assert_eq!(code(transaction.create_schema("main").map(|_| ())), "42P06");
    assert_eq!(code(view.table("main", "none").map(|_| ())), "42P01");
    assert_eq!(code(view.table("none", "t").map(|_| ())), "3F000");
    assert_eq!(code(view.table("main", "t").unwrap().column("x").map(|_| ())), "42703");
    let twice = vec![Column::new("a", ColumnType::Int8), Column::new("a", ColumnType::Int8)];
    assert_eq!(code(transaction.create_table(schema, "u", twice).map(|_| ())), "42701");
    let other = transaction.create_schema("s").unwrap();
    transaction.create_view(other, "v", "SELECT 1", "duckdb").unwrap();
    assert_eq!(code(transaction.drop_schema(other, false)), "2BP01");
    transaction.drop_schema(other, true).unwrap();
    let table = view.table("main", "t").unwrap().id;
    assert_eq!(code(transaction.widen_column(table, ColumnId(1), ColumnType::Int32)), "0A000");
    let message = view.table("main", "none").unwrap_err().to_string();
    assert_eq!(message, "table \"main.none\" not found");
}

#[tokio::test]
async fn a_renamed_view_is_the_same_view() {
    on_each_backing(|database| async move {
        create_table(&database, "t").await;
        let mut transaction = begin(&database).await;
        let schema = main_schema(&transaction.view());
        transaction.create_view(schema, "v", "SELECT 1", "duckdb").unwrap();
        commit(transaction).await;
        let base = latest(&database).await;
        let before = base.view("main", "v").unwrap().clone();
        let rename = |name: &str| {
            let mut transaction = database.begin(base.clone());
            transaction.rename_view(before.id, name).map(|()| transaction)
        };
        assert_eq!(rename("t").err().unwrap().code().sql_state(), "42P07");
        assert!(rename("").is_err());
        commit(rename("w").unwrap()).await;
        let after = latest(&database).await;
        let renamed = after.view("main", "w").unwrap();
        assert_eq!((renamed.id, &renamed.uuid, &renamed.sql), (before.id, &before.uuid, &before.sql));
        assert!(after.view("main", "v").is_err());
        assert!(base.view("main", "v").is_ok());
        let past = database.snapshot(At::Snapshot(base.snapshot.id)).await.unwrap();
        assert_eq!(past.view("main", "v").unwrap().id, before.id);
        assert!(past.view("main", "w").is_err());
        // Others that began before it.
        let second = rename("x").unwrap().commit(CommitInfo::default()).await;
        assert!(matches!(second, Err(CatalogError::Conflict { .. })));
        let mut taken = database.begin(base.clone());
        let id = taken.create_view(schema, "w", "SELECT 2", "duckdb").unwrap();
        assert!(matches!(taken.commit(CommitInfo::default()).await, Err(CatalogError::Conflict { .. })), "{id}");
        // And dropped under its new name.
        let mut transaction = begin(&database).await;
        transaction.rename_view(before.id, "W").unwrap();
        transaction.drop_view(before.id).unwrap();
        commit(transaction).await;
        assert!(latest(&database).await.view("main", "w").is_err());
    })
    .await;
}

/// Each pair of changes to one table, started at the same snapshot.
#[tokio::test]
async fn conflicts_are_those_of_the_matrix() {
    type Change = fn(&mut Transaction, TableId, DataFileId, DataFileId);
    let insert: Change = |t, table, _, _| _ = t.add_files(table, vec![file("n.parquet", 50, 60)]).unwrap();
    let delete_a: Change = |t, table, a, _| t.add_delete_files(table, vec![delete(a, "da.parquet", 1)]).unwrap();
    let delete_b: Change = |t, table, _, b| t.add_delete_files(table, vec![delete(b, "db.parquet", 1)]).unwrap();
    let remove_a: Change = |t, table, a, _| t.remove_files(table, &[a]).unwrap();
    let compact: Change = |t, table, a, b| t.compact(table, &[a, b], vec![file("c.parquet", 0, 20)]).unwrap();
    let alter: Change = |t, table, _, _| _ = t.add_column(table, None, Column::new("x", ColumnType::Int8)).unwrap();
    let rename: Change = |t, table, _, _| t.rename_table(table, "u").unwrap();
    let drop: Change = |t, table, _, _| t.drop_table(table).unwrap();
    let all = [insert, delete_a, delete_b, remove_a, compact, alter, rename, drop];
    // Rows: who commits second. A dot lets it pass.
    let matrix = [
        ". . . . . X X X", // insert
        ". X . X X X X X", // delete from a
        ". . X . X X X X", // delete from b
        ". X . X X X X X", // remove a
        ". X X X X X X X", // compact a and b
        "X X X X X X X X", // alter
        "X X X X X X X X", // rename
        "X X X X X X X X", // drop
    ];
    on_each_backing(|database| async move {
        for (second, row) in all.iter().zip(matrix) {
            for (first, expected) in all.iter().zip(row.split(' ')) {
                let name = format!("t{}", uuid::Uuid::new_v4().simple());
                let table = create_table(&database, &name).await;
                append(&database, table, vec![file("a.parquet", 0, 10), file("b.parquet", 10, 20)]).await;
                let base = latest(&database).await;
                let files = database.files(&base, table, &FileFilter::default()).await.unwrap();
                let (mut one, mut two) = (database.begin(base.clone()), database.begin(base));
                first(&mut one, table, files[0].id, files[1].id);
                second(&mut two, table, files[0].id, files[1].id);
                commit(one).await;
                let result = two.commit(CommitInfo::default()).await;
                match expected {
                    "X" => _ = conflict(result),
                    _ => _ = result.unwrap(),
                }
                // The name that renames go to must be free again.
                let view = latest(&database).await;
                if let Ok(renamed) = view.table("main", "u") {
                    let mut cleanup = begin(&database).await;
                    cleanup.drop_table(renamed.id).unwrap();
                    commit(cleanup).await;
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn creations_under_one_name_conflict() {
    on_each_backing(|database| async move {
        let mut setup = begin(&database).await;
        setup.create_schema("s").unwrap();
        commit(setup).await;
        let base = latest(&database).await;
        let (main, other) = (main_schema(&base), base.schema("s").unwrap().id);
        let [mut one, mut two, mut three, mut four, mut five, mut six] =
            std::array::from_fn(|_| database.begin(base.clone()));
        one.create_table(main, "t", columns()).unwrap();
        two.create_view(main, "t", "SELECT 1", "duckdb").unwrap();
        three.create_table(main, "u", columns()).unwrap();
        commit(one).await;
        conflict(two.commit(CommitInfo::default()).await);
        commit(three).await;
        four.create_table(other, "t", columns()).unwrap();
        five.drop_schema(other, true).unwrap();
        six.create_table(other, "v", columns()).unwrap();
        commit(four).await;
        conflict(five.commit(CommitInfo::default()).await);
        let mut drop = begin(&database).await;
        drop.drop_schema(other, true).unwrap();
        commit(drop).await;
        conflict(six.commit(CommitInfo::default()).await);
    })
    .await;
}

#[tokio::test]
async fn requests_commit_once_and_staged_files_load_once() {
    on_each_backing(|database| async move {
        let table = create_table(&database, "t").await;
        let statement = frazil_common::StatementId::mint();
        let info = || CommitInfo {
            statement: Some(statement),
            request_id: Some("r1".to_owned()),
            author: Some("ada".to_owned()),
            ..Default::default()
        };
        let loaded = |path: &str| LoadedFile {
            table,
            path: path.to_owned(),
            version: "etag1".to_owned(),
            statement,
            loaded_at: None,
            rows: 10,
        };
        let base = latest(&database).await;
        let mut one = database.begin(base.clone());
        one.add_files(table, vec![file("a.parquet", 0, 10)]).unwrap();
        one.add_loaded_files(vec![loaded("stage/x.csv")]).unwrap();
        let (again, mut two) = (one.clone(), database.begin(base));
        let first = one.commit(info()).await.unwrap().snapshot;
        match again.commit(info()).await {
            Err(CatalogError::RequestCommitted { snapshot, .. }) => assert_eq!(snapshot, first),
            other => panic!("{other:?}"),
        }
        assert_eq!(database.find_request("r1").await.unwrap().map(|found| found.snapshot), Some(first));
        assert_eq!(database.find_request("r2").await.unwrap(), None);
        two.add_files(table, vec![file("b.parquet", 0, 10)]).unwrap();
        two.add_loaded_files(vec![loaded("stage/x.csv")]).unwrap();
        conflict(two.commit(CommitInfo::default()).await);
        let ledger = database.loaded_files(table).await.unwrap();
        assert_eq!(ledger.len(), 1);
        assert!(ledger[0].loaded_at.is_some() && ledger[0].version == "etag1" && ledger[0].statement == statement);
        let record = database.snapshots(1).await.unwrap().remove(0);
        assert_eq!(record.changes, format!("inserted_into_table:{table}"));
        assert_eq!(record.author.as_deref(), Some("ada"));
        assert!(record.extra_info.unwrap().contains(&statement.to_string()));
        let mut truncate = begin(&database).await;
        truncate.truncate_table(table).await.unwrap();
        commit(truncate).await;
        assert!(database.loaded_files(table).await.unwrap().is_empty());
        let view = latest(&database).await;
        assert!(names(&database, &view, table).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn nothing_to_commit_is_no_snapshot() {
    let lake = lake().await;
    let before = latest(&lake.database).await.snapshot.id;
    let mut transaction = begin(&lake.database).await;
    let schema = transaction.create_schema("s").unwrap();
    transaction.drop_schema(schema, false).unwrap();
    assert_eq!(commit(transaction).await.snapshot, before);
    assert_eq!(latest(&lake.database).await.snapshot.id, before);
}
