//! `COPY INTO` a table.

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::engine::{Engine, Request};
use crate::support::oracle::Oracle;

use super::{Staged, gzip, lines, number, refused, rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_loaded_once() {
    let staged = Staged::start(2).await;
    let cluster = &staged.cluster;
    run(cluster, "create table t (a int, b varchar)").await;
    staged.write("x.csv", "1,one\n2,two\n");
    let copy = "copy into t from @st";
    let shown = ["status", "rows_parsed", "rows_loaded"];
    assert_eq!(lines(cluster, copy, &shown).await, ["LOADED|2|2"]);
    assert_eq!(lines(cluster, copy, &shown).await, ["LOAD_SKIPPED|0|0"]);
    assert_eq!(lines(cluster, &format!("{copy} force = true"), &shown).await, ["LOADED|2|2"]);
    assert_eq!(number(cluster, "select count(*) from t").await, 4);
    // Another file of that name is another file.
    staged.write("x.csv", "3,three\n4,four\n5,five\n");
    staged.write("y.csv.gz", gzip("6,six\n"));
    assert_eq!(lines(cluster, copy, &shown).await, ["LOADED|3|3", "LOADED|1|1"]);
    assert_eq!(number(cluster, "select count(*) from t").await, 8);
    // Two at once: one of them is told that the other was first.
    staged.write("z.csv", "7,seven\n");
    let requests: Vec<Request> = (0..4).map(|_| Request::new(copy)).collect();
    let answers = futures::future::join_all(requests.iter().map(|request| cluster.run(request))).await;
    for refusal in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(refusal.sql_state.as_deref(), Some("40001"), "{refusal}");
    }
    assert_eq!(number(cluster, "select count(*) from t where a = 7").await, 1);
    // With the rows, the notes are gone.
    run(cluster, "truncate table t").await;
    assert_eq!(lines(cluster, copy, &["status"]).await, ["LOADED"; 3]);
    run(cluster, "truncate table t").await;
    staged.write("bad.csv", "x,bad\n");
    let purge = lines(cluster, "copy into t from @st purge = true on_error = continue", &["status"]).await;
    assert_eq!(purge, ["LOAD_FAILED", "LOADED", "LOADED", "LOADED"]);
    let left: Vec<_> =
        std::fs::read_dir(&staged.directory).expect("it is there").map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["bad.csv"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_all_types_are_those_of_the_text() {
    let staged = Staged::start(1).await;
    let cluster = &staged.cluster;
    run(
        cluster,
        "create table t (i8 tinyint, i64 bigint, f double, n decimal(20,4), d date, ts timestamp, b boolean, x bytea, s varchar, z int default 7)",
    )
    .await;
    staged.write(
        "t.csv",
        "-128,9223372036854775807,1e-3,-1234567890123456.7891,2024-02-29,2024-02-29 23:59:59.123456,TRUE,00fF,  s  \n\
         127,-1, 2.5 ,0.00005,1969-12-31,1969-12-31T00:00:00,0,,\n",
    );
    let copy = "copy into t (i8, i64, f, n, d, ts, b, x, s) from @st";
    assert_eq!(lines(cluster, copy, &["status", "rows_loaded"]).await, ["LOADED|2"]);
    let columns = ["i8", "i64", "f", "n", "d", "ts", "b", "x", "s", "z"];
    let shown = lines(cluster, "select * from t order by i8", &columns).await;
    assert_eq!(
        shown,
        [
            "-128|9223372036854775807|0.001|-1234567890123456.7891|2024-02-29|2024-02-29T23:59:59.123456|true|00ff|  s  |7",
            "127|-1|2.5|0.0001|1969-12-31|1969-12-31T00:00:00|false|-|-|7",
        ]
    );
    for (bad, column) in [
        ("300,1,1,1,2024-01-01,2024-01-01,t,00,s", "i8"),
        ("1,1.5,1,1,2024-01-01,2024-01-01,t,00,s", "i64"),
        ("1,1,one,1,2024-01-01,2024-01-01,t,00,s", "f"),
        ("1,1,1,12345678901234567,2024-01-01,2024-01-01,t,00,s", "n"),
        ("1,1,1,1,2023-02-29,2024-01-01,t,00,s", "d"),
        ("1,1,1,1,2024-01-01,yesterday,t,00,s", "ts"),
        ("1,1,1,1,2024-01-01,2024-01-01,perhaps,00,s", "b"),
        ("1,1,1,1,2024-01-01,2024-01-01,t,0g,s", "x"),
    ] {
        staged.write("bad.csv", format!("{bad}\n"));
        let copy = "copy into t (i8, i64, f, n, d, ts, b, x, s) from @st/bad.csv on_error = continue";
        let expected = format!("LOAD_FAILED|1|{column}");
        assert_eq!(
            lines(cluster, copy, &["status", "errors_seen", "first_error_column_name"]).await,
            [expected],
            "{bad}"
        );
    }
}

/// The rows of TPC-H, as CSV, JSON and Parquet, on three executors, compared with the oracle.
#[tokio::test(flavor = "multi_thread")]
async fn many_rows_are_those_of_the_files() {
    let tables = data::tpch().await;
    let oracle = Oracle::over(tables).await;
    let cluster = Cluster::start(Options::executors(3)).await;
    let lineitem = tables.iter().find(|table| table.name == "lineitem").expect("TPC-H has it");
    data::register(&cluster, tables).await;
    let url = lineitem.location();
    run(&cluster, &format!("create stage raw url = '{url}' file_format = (type = parquet)")).await;
    run(&cluster, "create table items as select * from lineitem limit 0").await;
    let expected = oracle.run(&Request::new("select * from lineitem")).await.expect("the oracle reads it");
    for partitions in [1, 2, 7] {
        run(&cluster, "truncate table items").await;
        let copy = Request::new("copy into items from @raw").partitions(partitions);
        let answer = cluster.run(&copy).await.unwrap_or_else(|refusal| panic!("{refusal}"));
        assert!(rows(&answer).iter().all(|row| row["status"] == "LOADED"), "{:?}", rows(&answer));
        let actual = run(&cluster, "select * from items").await;
        compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("at {partitions}: {e}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_part_of_a_transaction() {
    let staged = Staged::start(1).await;
    let cluster = &staged.cluster;
    run(cluster, "create table t (a int)").await;
    staged.write("x.csv", "1\n2\n");
    let session = cluster.client().in_session().await.expect("a session");
    run(&session, "begin").await;
    assert_eq!(lines(&session, "copy into t from @st", &["status"]).await, ["LOADED"]);
    assert_eq!(lines(&session, "copy into t from @st", &["status"]).await, ["LOAD_SKIPPED"]);
    assert_eq!(number(&session, "select count(*) from t").await, 2);
    assert_eq!(number(cluster, "select count(*) from t").await, 0);
    let purge = refused(&session, "copy into t from @st purge = true force = true").await;
    assert!(purge.message.contains("PURGE"), "{purge}");
    run(&session, "rollback").await;
    assert_eq!(lines(cluster, "copy into t from @st", &["status"]).await, ["LOADED"]);
    assert_eq!(number(cluster, "select count(*) from t").await, 2);
}

/// What is written so far is told while a statement runs, and all of it when it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn progress_of_a_load_is_seen() {
    let staged = Staged::start(2).await;
    let cluster = &staged.cluster;
    run(cluster, "create table t (a int, b varchar)").await;
    let text: String = (0..200_000).map(|number| format!("{number},text of row {number}\n")).collect();
    // A fast machine may be done before anybody asks: then it is given more.
    let mut files = 8;
    while !is_told_of(&staged, &text, files).await {
        files *= 2;
        assert!(files <= 64, "nothing was told before the end");
    }
}

/// Loads `files` files of this text, 200,000 rows each, into the table `t`; whether a part of the rows was told while it ran.
async fn is_told_of(staged: &Staged, text: &str, files: u64) -> bool {
    let (cluster, all) = (&staged.cluster, files * 200_000);
    for file in 0..files {
        staged.write(&format!("{file}.csv"), text);
    }
    run(cluster, "truncate table t").await;
    let handle = cluster.client().start("copy into t from @st force = true").await.expect("it is taken");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    let mut partly = false;
    loop {
        assert!(std::time::Instant::now() < deadline, "it does not end");
        let statements = cluster.client().statements().await.expect("a list");
        let list = statements["statements"].as_array().expect("statements").clone();
        let own = list.iter().find(|one| one["statementHandle"] == handle.as_str()).expect("it is listed");
        let rows = own["stats"]["rowsWritten"].as_u64().expect("a number");
        match own["phase"].as_str() {
            Some("finished") => {
                assert_eq!((rows, own["stats"]["bytesWritten"].as_u64() > Some(0)), (all, true), "{own}");
                break;
            }
            Some("failed" | "cancelled") => panic!("{own}"),
            _ => partly |= (1..all).contains(&rows),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(number(cluster, "select count(*) from t").await, i64::try_from(all).expect("few"));
    partly
}
