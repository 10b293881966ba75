//! TPC-H and events on clusters of one, two and three executors, and embedded, at several numbers of partitions.

use crate::queries::{Query, check, load};
use crate::support::answers::Order;
use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::embedded::Embedded;

async fn tpch_on(executors: usize) {
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options::executors(executors)).await;
    data::register(&cluster, tables).await;
    check(&cluster, tables, &load("tpch")).await;
}

async fn events_on(executors: usize) {
    let tables = data::events().await;
    let cluster = Cluster::start(Options::executors(executors)).await;
    data::register(&cluster, tables).await;
    check(&cluster, tables, &load("events")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tpch_on_one_executor() {
    tpch_on(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tpch_on_two_executors() {
    tpch_on(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tpch_on_three_executors() {
    tpch_on(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_on_one_executor() {
    events_on(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_on_two_executors() {
    events_on(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_on_three_executors() {
    events_on(3).await;
}

/// Queries that DataFusion's own rules get wrong, some of the time; see the oracle, which runs without those rules.
const RULES_GET_WRONG: [&str; 2] = [
    "select min(l_orderkey) filter (where l_orderkey > 30000) as a, min(l_orderkey) filter (where l_orderkey < 100) as b \
     from lineitem",
    "select distinct m from (select p_partkey as k, max(p_size) as m from part group by p_partkey) as t \
     order by m desc limit 50",
];

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_right_where_datafusions_rules_are_wrong() {
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options::executors(3)).await;
    data::register(&cluster, tables).await;
    let query = |sql: &&str| Query { name: (*sql).to_owned(), sql: (*sql).to_owned(), order: Order::Any };
    let queries: Vec<Query> = RULES_GET_WRONG.iter().map(query).collect();
    for _ in 0..10 {
        check(&cluster, tables, &queries).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tpch_embedded() {
    let tables = data::tpch().await;
    let embedded = Embedded::start(2).await;
    data::register(&embedded, tables).await;
    check(&embedded, tables, &load("tpch")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_embedded() {
    let tables = data::events().await;
    let embedded = Embedded::start(1).await;
    data::register(&embedded, tables).await;
    check(&embedded, tables, &load("events")).await;
}
