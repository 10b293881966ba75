//! `OPTIMIZE` and `CLUSTER BY`: files change, rows do not.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::engine::{Answer, Engine, Request};
use crate::support::oracle::Oracle;

/// Small, so that tables of tests have several files.
const FILE_BYTES: u64 = 150_000;

async fn run(engine: &dyn Engine, sql: &str) -> Answer {
    engine.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
}

async fn state_of(engine: &dyn Engine, sql: &str) -> String {
    match engine.run(&Request::new(sql)).await {
        Ok(answer) => panic!("{sql} gave {} rows", answer.rows()),
        Err(refusal) => refusal.sql_state.unwrap_or_else(|| panic!("{sql}: {}", refusal.message)),
    }
}

async fn number(engine: &dyn Engine, sql: &str) -> i64 {
    run(engine, sql).await.batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[derive(Debug, PartialEq, Clone, Copy)]
struct Files {
    before: i64,
    after: i64,
    bytes_before: i64,
    bytes_after: i64,
}

async fn optimize(cluster: &Cluster, sql: &str) -> Files {
    let answer = run(cluster, sql).await;
    let batch = &answer.batches[0];
    let numbers: Vec<i64> = batch.columns().iter().map(|c| c.as_primitive::<Int64Type>().value(0)).collect();
    let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["files_before", "files_after", "bytes_before", "bytes_after"]);
    Files { before: numbers[0], after: numbers[1], bytes_before: numbers[2], bytes_after: numbers[3] }
}

async fn started(executors: usize) -> (Cluster, Oracle) {
    let tables = data::tpch().await;
    let options =
        Options::executors(executors).coordinator_option("small_scan", 0).coordinator_option("file_bytes", FILE_BYTES);
    let cluster = Cluster::start(options).await;
    data::register(&cluster, tables).await;
    (cluster, Oracle::over(tables).await)
}

async fn same(cluster: &Cluster, oracle: &Oracle, sql: &str, expected: &str) {
    let expected = oracle.run(&Request::new(expected)).await.unwrap_or_else(|e| panic!("oracle: {expected}: {e}"));
    for partitions in [1, 3, 7] {
        let actual = cluster.run(&Request::new(sql).partitions(partitions)).await;
        let actual = actual.unwrap_or_else(|e| panic!("{sql} at {partitions}: {e}"));
        compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{sql} at {partitions}: {e}"));
    }
}

/// Files that a query would read.
async fn files_read(cluster: &Cluster, sql: &str) -> usize {
    let answer = cluster.run(&Request::new(format!("explain {sql}")).partitions(1)).await.expect("it is explained");
    format!("{:?}", answer.batches).matches(".parquet").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_and_deleted_rows_are_compacted() {
    for executors in [1, 3] {
        let (cluster, oracle) = started(executors).await;
        run(&cluster, "create table t as select * from orders where o_orderkey < 1000").await;
        for from in (1000..60_000).step_by(5000) {
            let to = from + 5000;
            run(&cluster, &format!("insert into t select * from orders where o_orderkey between {from} and {to} - 1"))
                .await;
        }
        run(&cluster, "delete from t where o_orderkey % 97 = 5").await;
        run(&cluster, "update t set o_totalprice = o_totalprice + 1 where o_orderkey between 3000 and 3100").await;
        let rows = "select o_orderkey, cast(case when o_orderkey between 3000 and 3100 then o_totalprice + 1 else o_totalprice end as decimal(15,2)) p, \
                    o_comment from orders where o_orderkey < 61000 and o_orderkey % 97 <> 5";
        let table = "select o_orderkey, o_totalprice p, o_comment from t";
        same(&cluster, &oracle, table, rows).await;
        let done = optimize(&cluster, "optimize t").await;
        assert!(done.after < done.before / 2, "{done:?}");
        assert!(done.bytes_after < done.bytes_before, "{done:?}");
        same(&cluster, &oracle, table, rows).await;
        same(
            &cluster,
            &oracle,
            "select count(*) n, min(o_orderkey) a from t",
            &format!("select count(*) n, min(o_orderkey) a from ({rows})"),
        )
        .await;
        // Files are grouped by the bytes that go in. What comes out may be so much smaller that two of them are joined the next time.
        let mut last = done;
        for turn in 0.. {
            let again = optimize(&cluster, "OPTIMIZE TABLE t;").await;
            assert_eq!(again.before, last.after, "the figures are the table's");
            if (again.before, again.bytes_before) == (again.after, again.bytes_after) {
                break;
            }
            assert!(turn < 2 && again.after < again.before, "it comes to an end: {again:?} after {last:?}");
            last = again;
        }
        same(&cluster, &oracle, table, rows).await;
        // Deleted rows are a reason by themselves, and a condition leaves other files out.
        run(&cluster, "delete from t where o_orderkey = 40003 or o_orderkey = 40004").await;
        let left_out = optimize(&cluster, "optimize t where o_orderkey < 0").await;
        assert_eq!(left_out.before, left_out.after);
        assert_eq!(left_out.bytes_before, left_out.bytes_after);
        let done = optimize(&cluster, "optimize t where o_orderkey between 40000 and 40010").await;
        assert_ne!(done.bytes_after, done.bytes_before, "{done:?}");
        same(&cluster, &oracle, table, &format!("{rows} and o_orderkey not in (40003, 40004)")).await;
        let full = optimize(&cluster, "optimize t full").await;
        assert!(full.before > 0 && full.after > 0, "{full:?}");
        same(&cluster, &oracle, table, &format!("{rows} and o_orderkey not in (40003, 40004)")).await;
        run(&cluster, "truncate table t").await;
        let empty = optimize(&cluster, "optimize t full").await;
        assert_eq!(empty, Files { before: 0, after: 0, bytes_before: 0, bytes_after: 0 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_clustered_table_are_pruned() {
    let (cluster, oracle) = started(3).await;
    // Dates are all over each file.
    run(&cluster, "create table t as select * from lineitem where l_orderkey % 2 = 0").await;
    run(&cluster, "alter table t cluster by (l_shipdate, l_orderkey)").await;
    run(&cluster, "insert into t select * from lineitem where l_orderkey % 2 = 1").await;
    let few =
        "select count(*) a, sum(l_quantity) b from t where l_shipdate between date '1995-03-01' and date '1995-03-20'";
    let before = files_read(&cluster, few).await;
    let done = optimize(&cluster, "optimize t").await;
    let after = files_read(&cluster, few).await;
    assert!(before >= 5 && after <= 2, "{before} files were read, now {after}: {done:?}");
    same(&cluster, &oracle, few, &few.replace("from t", "from lineitem")).await;
    same(&cluster, &oracle, "select * from t", "select * from lineitem").await;
    let again = optimize(&cluster, "optimize t").await;
    assert_eq!((again.before, again.bytes_before), (again.after, again.bytes_after), "nothing is left to do");
    // What comes later at the end of the order touches the end only.
    run(&cluster, "insert into t select l_orderkey, l_partkey, l_suppkey, l_linenumber, l_quantity, l_extendedprice, l_discount, l_tax, \
                   l_returnflag, l_linestatus, l_shipdate + interval '40 years', l_commitdate, l_receiptdate, l_shipinstruct, \
                   l_shipmode, l_comment from lineitem where l_orderkey < 100").await;
    run(&cluster, "insert into t select l_orderkey, l_partkey, l_suppkey, l_linenumber, l_quantity, l_extendedprice, l_discount, l_tax, \
                   l_returnflag, l_linestatus, l_shipdate + interval '40 years', l_commitdate, l_receiptdate, l_shipinstruct, \
                   l_shipmode, l_comment from lineitem where l_orderkey between 100 and 200").await;
    let late = optimize(&cluster, "optimize t").await;
    assert!(late.before > late.after, "{late:?}");
    same(&cluster, &oracle, few, &few.replace("from t", "from lineitem")).await;
    assert!(files_read(&cluster, few).await <= 2);
    run(&cluster, "alter table t drop clustering key").await;
    let none = optimize(&cluster, "optimize t").await;
    assert_eq!(none.before, none.after, "without keys order is no reason");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_a_clustered_table_is_sorted() {
    let (cluster, oracle) = started(3).await;
    run(&cluster, "create table t (k bigint, v varchar) cluster by (v, k)").await;
    run(&cluster, "insert into t select l_orderkey, l_shipmode from lineitem").await;
    run(&cluster, "create table u cluster by (o_orderdate) as select * from orders").await;
    same(&cluster, &oracle, "select * from t", "select l_orderkey k, l_shipmode v from lineitem").await;
    same(&cluster, &oracle, "select * from u", "select * from orders").await;
    // A file at a time: what is read first is least.
    let rows = run(&cluster, "select v, k from t limit 1000").await;
    let rows: Vec<(String, i64)> = rows
        .batches
        .iter()
        .flat_map(|batch| {
            let texts = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).expect("texts");
            let numbers = batch.column(1).as_primitive::<Int64Type>().clone();
            let texts = texts.as_string::<i32>().clone();
            (0..batch.num_rows()).map(|row| (texts.value(row).to_owned(), numbers.value(row))).collect::<Vec<_>>()
        })
        .collect();
    assert!(!rows.is_empty() && rows.is_sorted(), "rows of one file are not in the order of the keys");
    run(&cluster, "merge into t using (select 1 as k) s on t.k = s.k and t.v = 'AIR' when matched then delete when not matched then insert values (s.k, 'new')").await;
}

/// Whoever is first: no row is lost, none is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn others_write_meanwhile() {
    let (cluster, _) = started(3).await;
    run(&cluster, "create table t as select o_orderkey as k from orders where o_orderkey < 20000").await;
    let inserts = async {
        for step in 0..6 {
            run(&cluster, &format!("insert into t values ({}), ({})", -1 - 2 * step, -2 - 2 * step)).await;
        }
    };
    let deletes = async {
        for step in 1..=6 {
            let sql = format!("delete from t where k = {step}");
            let deleted = loop {
                match cluster.run(&Request::new(&sql)).await {
                    Ok(answer) => break answer,
                    Err(refusal) => assert_eq!(refusal.sql_state.as_deref(), Some("40001"), "{refusal}"),
                }
            };
            assert_eq!(deleted.batches[0].column(0).as_primitive::<Int64Type>().value(0), 1);
        }
    };
    let compactions = async {
        for _ in 0..6 {
            match cluster.run(&Request::new("optimize t full")).await {
                Ok(_) => {}
                Err(refusal) => assert_eq!(refusal.sql_state.as_deref(), Some("40001"), "{refusal}"),
            }
        }
    };
    let before = number(&cluster, "select count(*) from t").await;
    assert_eq!(number(&cluster, "select count(*) from t where k between 1 and 6").await, 6);
    futures::join!(inserts, deletes, compactions);
    assert_eq!(number(&cluster, "select count(*) from t").await, before + 12 - 6);
    assert_eq!(number(&cluster, "select count(distinct k) from t").await, before + 12 - 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_optimized_is_refused() {
    let (cluster, _) = started(1).await;
    run(&cluster, "create table t (a int, s struct<x int>)").await;
    run(&cluster, "create view v as select a from t").await;
    for (sql, state) in [
        ("optimize nowhere", "42P01"),
        ("optimize v", "42000"),
        ("optimize t zorder by (a)", "42601"),
        ("optimize t where nothing = 1", "42703"),
        ("alter table t cluster by (nothing)", "42703"),
        ("alter table t cluster by (a + 1)", "0A000"),
        ("alter table t cluster by (a, a)", "42701"),
        ("alter table t cluster by (s)", "0A000"),
        ("create table u (a int) cluster by (b)", "42703"),
        ("alter table nowhere cluster by (a)", "42P01"),
    ] {
        assert_eq!(state_of(&cluster, sql).await, state, "{sql}");
    }
}
