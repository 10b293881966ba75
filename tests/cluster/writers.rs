//! Writers and memory: wide rows, nested values and many partitions in executors that have little, and a clean refusal where
//! it is too little.

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::engine::{Engine, Request};
use crate::support::oracle::Oracle;

async fn cluster_of(memory: &'static str) -> (Cluster, Oracle) {
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options { memory, ..Options::executors(2) }).await;
    data::register(&cluster, tables).await;
    (cluster, Oracle::over(tables).await)
}

/// Writes a query's rows at a number of partitions, and compares what is read then with what the oracle says.
async fn written(cluster: &Cluster, oracle: &Oracle, query: &str, summary: &str, partitions: usize) {
    let create = format!("create or replace table written as {query}");
    let created = cluster.run(&Request::new(&create).partitions(partitions)).await;
    created.unwrap_or_else(|e| panic!("{create} at {partitions}: {e}"));
    let expected = format!("select {summary} from ({query}) as written");
    let expected = oracle.run(&Request::new(&expected)).await.unwrap_or_else(|e| panic!("oracle: {expected}: {e}"));
    let read = format!("select {summary} from written");
    let actual = cluster.run(&Request::new(&read)).await.unwrap_or_else(|e| panic!("{read}: {e}"));
    compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{query} at {partitions}: {e}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_rows_need_no_more_memory_than_there_is() {
    let (cluster, oracle) = cluster_of("192MB").await;
    // 2,000 rows of 50 to 80 KB: more bytes in all than an executor may have, and 16 of them at a time.
    let wide = "select o_orderkey as k, repeat(o_comment || cast(o_orderkey as varchar), 1000) as t from orders where o_orderkey < 8000";
    let summary = "count(*) a, sum(k) b, sum(length(t)) c, max(t) d";
    for partitions in [1, 4] {
        written(&cluster, &oracle, wide, summary, partitions).await;
    }
    let lines = "select * from lineitem";
    let summary =
        "count(*) a, sum(l_extendedprice) b, max(l_comment) c, min(l_shipdate) d, count(distinct l_orderkey) e";
    for partitions in [2, 64] {
        written(&cluster, &oracle, lines, summary, partitions).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_values_are_written() {
    let (cluster, oracle) = cluster_of("256MB").await;
    let nested = "select o_orderkey as k, make_array(o_comment, null, o_clerk) as l, \
                  named_struct('price', o_totalprice, 'day', o_orderdate, 'many', make_array(o_custkey, o_orderkey)) as s \
                  from orders";
    written(&cluster, &oracle, nested, "k, l, s", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_memory_is_said_and_leaves_nothing() {
    let (cluster, oracle) = cluster_of("2MB").await;
    // A wide dictionary for each of 400 columns of its own.
    let columns: Vec<String> = (0..400).map(|n| format!("o_comment || '{n}' as c{n}")).collect();
    let create = format!("create table wide as select {} from orders", columns.join(", "));
    let refusal = cluster.run(&Request::new(&create)).await.expect_err("it does not fit");
    assert_eq!(refusal.sql_state.as_deref(), Some("53200"), "{refusal}");
    assert!(refusal.to_string().contains("WriteFilesExec"), "{refusal}");
    let gone = cluster.run(&Request::new("select * from wide")).await.expect_err("there is no such table");
    assert_eq!(gone.sql_state.as_deref(), Some("42P01"), "{gone}");
    written(&cluster, &oracle, "select * from nation", "count(*) a, max(n_name) b", 1).await;
}
