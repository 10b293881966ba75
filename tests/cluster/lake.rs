//! Tables of the catalog: written by executors, read like any other, there after a restart, changed by one commit or none.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde_json::json;

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::engine::{Answer, Engine, Refusal, Request};
use crate::support::oracle::Oracle;

async fn run(engine: &dyn Engine, sql: &str) -> Answer {
    engine.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
}

async fn refused(engine: &dyn Engine, sql: &str) -> Refusal {
    match engine.run(&Request::new(sql)).await {
        Ok(answer) => panic!("{sql} gave {} rows", answer.rows()),
        Err(refusal) => refusal,
    }
}

/// The one number that a statement answers with.
async fn number(engine: &dyn Engine, sql: &str) -> i64 {
    let answer = run(engine, sql).await;
    let batch = answer.batches.iter().find(|batch| batch.num_rows() > 0).unwrap_or_else(|| panic!("{sql}: no row"));
    let numbers = batch.column(0).as_primitive_opt::<Int64Type>();
    numbers.unwrap_or_else(|| panic!("{sql}: {:?}", batch.column(0).data_type())).value(0)
}

/// The same query over a table of the catalog, and over what it was made from with the oracle.
async fn same(cluster: &Cluster, oracle: &Oracle, sql: &str, expected: &str) {
    let expected = oracle.run(&Request::new(expected)).await.unwrap_or_else(|e| panic!("oracle: {expected}: {e}"));
    for partitions in [1, 2, 3, 7] {
        let request = Request::new(sql).partitions(partitions);
        let actual = cluster.run(&request).await.unwrap_or_else(|e| panic!("{sql} at {partitions}: {e}"));
        compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{sql} at {partitions}: {e}"));
    }
}

/// A cluster of three with the TPC-H tables as external ones.
async fn started() -> (Cluster, Oracle) {
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options::executors(3)).await;
    data::register(&cluster, tables).await;
    (cluster, Oracle::over(tables).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_a_crash() {
    let (mut cluster, oracle) = started().await;
    run(&cluster, "create schema lake").await;
    let lines = number(&oracle, "select count(*) from lineitem").await;
    assert_eq!(number(&cluster, "create table lake.items as select * from lineitem").await, lines);
    run(
        &cluster,
        "create view lake.late as select l_orderkey, l_receiptdate from lake.items where l_receiptdate > l_commitdate",
    )
    .await;
    let all =
        "select count(*) a, sum(l_quantity) b, min(l_shipdate) c, max(l_comment) d, count(distinct l_orderkey) e from";
    same(&cluster, &oracle, &format!("{all} lake.items"), &format!("{all} lineitem")).await;
    cluster.restart_coordinator();
    same(&cluster, &oracle, &format!("{all} lake.items"), &format!("{all} lineitem")).await;
    let late = "select count(*) a, max(l_receiptdate) b from";
    let condition = "where l_receiptdate > l_commitdate";
    same(&cluster, &oracle, &format!("{late} lake.late"), &format!("{late} lineitem {condition}")).await;
    // So is what was only declared, until it is dropped.
    same(&cluster, &oracle, &format!("{all} lineitem"), &format!("{all} lineitem")).await;
    assert!(
        refused(&cluster, "create external table lineitem stored as csv location '/tmp'")
            .await
            .message
            .contains("already exists")
    );
    run(&cluster, "drop table lineitem").await;
    assert_eq!(refused(&cluster, "select * from lineitem").await.sql_state.as_deref(), Some("42P01"));
    cluster.restart_coordinator();
    assert_eq!(refused(&cluster, "select * from lineitem").await.sql_state.as_deref(), Some("42P01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_inserted_updated_and_deleted_as_in_one_process() {
    let (cluster, oracle) = started().await;
    run(&cluster, "create table o (k bigint not null, customer bigint, price decimal(15,2), day date, status varchar default 'N')").await;
    let rows = number(&oracle, "select count(*) from orders").await;
    let insert = "insert into o select o_orderkey, o_custkey, o_totalprice, o_orderdate, o_orderstatus from orders";
    assert_eq!(number(&cluster, insert).await, rows);
    let source = "select o_orderkey k, o_custkey customer, o_totalprice price, o_orderdate day, o_orderstatus status from orders";
    same(&cluster, &oracle, "select * from o", source).await;

    let deleted = number(&cluster, "delete from o where price > 200000 or day < date '1993-01-01'").await;
    let kept = format!("select * from ({source}) where not (price > 200000 or day < date '1993-01-01')");
    assert_eq!(deleted, rows - number(&oracle, &format!("select count(*) from ({kept})")).await);
    same(&cluster, &oracle, "select * from o", &kept).await;

    let updated = number(&cluster, "update o set price = price * 2, status = 'X' where customer % 3 = 0").await;
    assert_eq!(updated, number(&oracle, &format!("select count(*) from ({kept}) where customer % 3 = 0")).await);
    let changed = format!(
        "select k, customer, case when customer % 3 = 0 then cast(price * 2 as decimal(15,2)) else price end price, day, \
         case when customer % 3 = 0 then 'X' else status end status from ({kept})"
    );
    same(&cluster, &oracle, "select * from o", &changed).await;

    // By a subquery over the table itself, which sees it as it was.
    let least = "(select min(price) from o)";
    assert!(number(&cluster, &format!("delete from o where price = {least}")).await >= 1);
    let rest = format!("select * from ({changed}) where price > (select min(price) from ({changed}))");
    same(&cluster, &oracle, "select * from o", &rest).await;

    // Neither true nor false is not true.
    assert_eq!(number(&cluster, "insert into o (k) values (-1), (-2)").await, 2);
    assert_eq!(number(&cluster, "delete from o where price < 0").await, 0);
    assert_eq!(number(&cluster, "select count(*) from o where price is null and status = 'N'").await, 2);
    assert_eq!(number(&cluster, "delete from o where price is null").await, 2);
    same(&cluster, &oracle, "select * from o", &rest).await;

    assert_eq!(
        number(&cluster, "insert overwrite o select * from o where k < 100").await,
        number(&cluster, "select count(*) from o").await
    );
    same(&cluster, &oracle, "select * from o", &format!("select * from ({rest}) where k < 100")).await;
    let left = number(&cluster, "select count(*) from o").await;
    assert_eq!(number(&cluster, "truncate table o").await, left);
    assert_eq!(number(&cluster, "select count(*) from o").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_keep_their_values_whatever_they_are_called() {
    let (cluster, _) = started().await;
    run(&cluster, "create table t (a int, b varchar)").await;
    run(&cluster, "insert into t values (1, 'one'), (2, 'two')").await;
    run(&cluster, "alter table t rename column a to n").await;
    run(&cluster, "alter table t add column a int").await;
    run(&cluster, "alter table t add column c varchar default 'new'").await;
    run(&cluster, "insert into t (n, b, a) values (3, 'three', 30)").await;
    let table = "select n, b, a, c from t order by n";
    let rows = |answer: &Answer| {
        let text = arrow::util::pretty::pretty_format_batches(&answer.batches).expect("it can be shown").to_string();
        text.lines().filter(|line| line.starts_with("| ")).skip(1).map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        rows(&run(&cluster, table).await),
        "| 1 | one   |    | new |\n| 2 | two   |    | new |\n| 3 | three | 30 | new |"
    );
    // A later column of the same name has nothing of the dropped one's.
    run(&cluster, "alter table t drop column b").await;
    run(&cluster, "alter table t add column b varchar").await;
    assert_eq!(number(&cluster, "select count(b) from t").await, 0);
    assert_eq!(number(&cluster, "select count(*) from t where c = 'new' and b is null").await, 3);
    run(&cluster, "alter table t rename to u").await;
    assert_eq!(number(&cluster, "select sum(n) from u").await, 6);
    assert_eq!(refused(&cluster, "select * from t").await.sql_state.as_deref(), Some("42P01"));
    run(&cluster, "drop table u").await;
    assert_eq!(refused(&cluster, "select * from u").await.sql_state.as_deref(), Some("42P01"));
    run(&cluster, "undrop table u").await;
    assert_eq!(number(&cluster, "select sum(n) from u").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_and_schemas_come_and_go() {
    let (cluster, _) = started().await;
    run(&cluster, "create database shop").await;
    run(&cluster, "create schema shop.sales").await;
    run(&cluster, "create table shop.sales.t as select 1 as one").await;
    assert_eq!(number(&cluster, "select one from shop.sales.t").await, 1);
    run(&cluster, "create view seen as select one from shop.sales.t").await;
    assert_eq!(number(&cluster, "select one from seen").await, 1);
    for (show, name) in
        [("show databases", "shop"), ("show schemas", "public"), ("show views", "seen"), ("show tables", "seen")]
    {
        let shown = arrow::util::pretty::pretty_format_batches(&run(&cluster, show).await.batches);
        assert!(shown.expect("it can be shown").to_string().contains(name), "{show}");
    }
    assert_eq!(refused(&cluster, "drop schema shop.sales").await.sql_state.as_deref(), Some("2BP01"));
    assert_eq!(refused(&cluster, "create database shop").await.sql_state.as_deref(), Some("42P04"));
    run(&cluster, "create database if not exists shop").await;
    run(&cluster, "drop database shop").await;
    assert!(refused(&cluster, "select one from shop.sales.t").await.message.contains("shop"));
    run(&cluster, "undrop database shop").await;
    assert_eq!(number(&cluster, "select one from shop.sales.t").await, 1);
    run(&cluster, "drop schema shop.sales cascade").await;
    assert_eq!(refused(&cluster, "select one from shop.sales.t").await.sql_state.as_deref(), Some("42P01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_written_is_refused_and_changes_nothing() {
    let (cluster, _) = started().await;
    run(&cluster, "create table t (a int not null, b decimal(4,1))").await;
    run(&cluster, "insert into t values (1, 1.5)").await;
    for (sql, state) in [
        ("insert into t values (null, 2)", "23502"),
        ("insert into t select n_nationkey, 99999 from nation", "22000"),
        ("insert into t values (1, 2, 3)", "42000"),
        ("insert into lineitem select * from lineitem", "42501"),
        ("insert into nowhere values (1)", "42P01"),
        ("create table t (x int)", "42P07"),
        ("create table region (x int)", "42P07"),
        ("create table twice as select 1 as a, 2 as a", "42000"),
        ("create table none (a int not null, b int) as select null, 1", "23502"),
        (
            "create table none (a int, \"B\" int not null) as select 1, case when n_nationkey > 3 then 1 end from nation",
            "23502",
        ),
        ("create table missing.t (x int)", "3F000"),
        ("create table sample.public.t (x int)", "3D000"),
        ("drop table sample.public.t", "42P01"),
        ("delete from t where a = 1 limit 1", "0A000"),
        ("update t set a = null", "23502"),
        ("merge into t using nation on a = n_nationkey when matched then update set a = null", "23502"),
        ("merge into t using nation on a = n_nationkey when not matched then insert (b) values (1)", "23502"),
        ("merge into t using nation on a = n_nationkey when not matched then insert values (t.a, 1)", "42000"),
        (
            "merge into t using nation on a = n_nationkey when not matched by source then update set a = n_nationkey",
            "42000",
        ),
        ("merge into t using nation on a = n_nationkey when matched then insert values (1, 1)", "42601"),
        ("merge into t using nation on a = n_nationkey when matched then update set c = 1", "42703"),
        ("merge into t using nation on a = n_nationkey when matched then update set b = 99999", "22000"),
        ("merge into t using nowhere on a = x when matched then delete", "42P01"),
        ("merge into nation using t on a = n_nationkey when matched then delete", "42501"),
        ("update t set a = 3 from nation", "21000"),
        ("create temporary table tt (x int)", "0A000"),
        ("alter table t alter column a type smallint", "0A000"),
    ] {
        let refusal = refused(&cluster, sql).await;
        assert_eq!(refusal.sql_state.as_deref(), Some(state), "{sql}: {refusal}");
    }
    assert_eq!(number(&cluster, "select count(*) from t").await, 1);
    assert_eq!(refused(&cluster, "insert into t values (null, 2)").await.message.matches("\"a\"").count(), 1);
    run(&cluster, "create table full (a int not null, b int) as select 1, 2").await;
    run(&cluster, "insert into full values (2, null)").await;
    assert_eq!(refused(&cluster, "insert into full values (null, 2)").await.sql_state.as_deref(), Some("23502"));
    run(
        &cluster,
        "create table declared (a int not null default 1, b int default 2) as select n_nationkey, 3 from nation",
    )
    .await;
    run(&cluster, "insert into declared (b) values (null)").await;
    assert_eq!(refused(&cluster, "insert into declared values (null, 2)").await.sql_state.as_deref(), Some("23502"));
}

/// What has parts, and types that Parquet or the catalog know by other names.
#[tokio::test(flavor = "multi_thread")]
async fn values_of_all_kinds_come_back() {
    let (cluster, oracle) = started().await;
    let source = "select n_nationkey as k, make_array(n_name, null) as a, named_struct('x', n_regionkey, 'y', n_name) as s, \
                  cast(n_nationkey as float) / 3 as f, case when n_nationkey = 3 then cast('NaN' as double) else n_nationkey end as d, \
                  to_timestamp_micros(981173106789000 + n_nationkey * 3600000000) as ts, \
                  cast(n_nationkey as tinyint) as i8, cast(n_nationkey as bigint unsigned) as u64, n_nationkey > 5 as b, \
                  arrow_cast(n_name, 'Dictionary(Int32, Utf8)') as dict, arrow_cast(n_name, 'Binary') as bytes, \
                  cast(null as int) as nothing from nation";
    run(&cluster, &format!("create table kinds as {source}")).await;
    same(&cluster, &oracle, "select * from kinds", source).await;
    for condition in [
        "d > 20",
        "f < 1",
        "ts < timestamp '2001-02-03 06:00:00'",
        "b",
        "dict = 'CHINA'",
        "nothing is null",
        "u64 in (3, 4)",
    ] {
        let sql = format!("select k from kinds where {condition}");
        same(&cluster, &oracle, &sql, &format!("select k from ({source}) where {condition}")).await;
    }
}

/// A client that lost the answer sends its statement again, perhaps to a coordinator that was started anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_applied_once() {
    let (mut cluster, _) = started().await;
    run(&cluster, "create table t (a int)").await;
    let id = "0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a70";
    let insert = json!({ "statement": "insert into t values (1)" });
    cluster.client().submit_as(id, &insert).await.expect("it is inserted");
    cluster.client().submit_as(id, &insert).await.expect("it is known");
    assert_eq!(number(&cluster, "select count(*) from t").await, 1);
    cluster.restart_coordinator();
    cluster.client().submit_as(id, &insert).await.expect("it is known still");
    assert_eq!(number(&cluster, "select count(*) from t").await, 1);
    // Something else under its id is not it, also for a coordinator that has never seen either.
    cluster.restart_coordinator();
    for other in [
        json!({ "statement": "insert into t values (2)" }),
        json!({ "statement": "insert into t values (1)", "schema": "main" }),
        json!({ "statement": "select 1" }),
    ] {
        let refusal = cluster.client().submit_as(id, &other).await.expect_err("it is another statement");
        assert_eq!(refusal.sql_state.as_deref(), Some("22023"), "{refusal}");
        assert!(refusal.message.contains(id), "{refusal}");
    }
    cluster.client().submit_as(id, &insert).await.expect("it is known still");
    assert_eq!(number(&cluster, "select count(*) from t").await, 1);
}

/// Appends never conflict; what both change does, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn writers_at_the_same_time() {
    let (cluster, _) = started().await;
    run(&cluster, "create table t (a int)").await;
    let insert = |number: i32| format!("insert into t values ({number})");
    let inserts: Vec<String> = (0..16).map(insert).collect();
    let requests: Vec<Request> = inserts.iter().map(Request::new).collect();
    let answers = futures::future::join_all(requests.iter().map(|request| cluster.run(request))).await;
    for answer in answers {
        answer.unwrap_or_else(|refusal| panic!("an append failed: {refusal}"));
    }
    assert_eq!(number(&cluster, "select count(distinct a) from t").await, 16);
    assert_eq!(number(&cluster, "select count(*) from t").await, 16);
    let updates: Vec<Request> =
        (0..4).map(|step| Request::new(format!("update t set a = a + {}", 100 << step))).collect();
    let answers = futures::future::join_all(updates.iter().map(|request| cluster.run(request))).await;
    let refusals: Vec<&Refusal> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(refusals.iter().all(|refusal| refusal.sql_state.as_deref() == Some("40001")), "{refusals:?}");
    assert!(refusals.len() < 4, "one of them is first");
    assert_eq!(number(&cluster, "select count(*) from t").await, 16);
}

/// Statistics of files answer what they can, and prune what they can.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_pruned_by_their_statistics() {
    let (cluster, oracle) = started().await;
    run(&cluster, "create table t as select * from orders where o_orderkey < 10000").await;
    for from in [10_000, 30_000, 50_000] {
        run(
            &cluster,
            &format!(
                "insert into t select * from orders where o_orderkey >= {from} and o_orderkey < {}",
                from + 20_000
            ),
        )
        .await;
    }
    let explain = |sql: &str| format!("explain {sql}");
    let plan = |answer: &Answer| format!("{:?}", answer.batches);
    let counted = run(&cluster, &explain("select count(*) a, min(o_orderkey) b, max(o_orderdate) c from t")).await;
    assert!(plan(&counted).contains("PlaceholderRowExec"), "{}", plan(&counted));
    same(
        &cluster,
        &oracle,
        "select count(*) a, min(o_orderkey) b, max(o_orderdate) c from t",
        "select count(*) a, min(o_orderkey) b, max(o_orderdate) c from orders where o_orderkey < 70000",
    )
    .await;
    let few = "select count(*) a, sum(o_totalprice) b from t where o_orderkey between 31000 and 32000";
    let pruned = plan(&run(&cluster, &explain(few)).await);
    assert!(pruned.matches(".parquet").count() < 8, "{pruned}");
    same(&cluster, &oracle, few, &few.replace("from t", "from orders")).await;
    let none = "select count(*) a, sum(o_totalprice) b from t where o_orderkey < 0";
    assert!(!plan(&run(&cluster, &explain(none)).await).contains(".parquet"));
    same(&cluster, &oracle, none, &none.replace("from t", "from orders")).await;
}

/// Values that a query selects from have their own types and columns, whatever table the query is written to.
#[tokio::test(flavor = "multi_thread")]
async fn values_within_a_query_are_not_rows_of_the_table() {
    let cluster = Cluster::start(Options::executors(2)).await;
    run(&cluster, "create table t (a bigint, b bigint)").await;
    assert_eq!(number(&cluster, "insert into t select column1 * 10, 1 from (values (1.7), (2.5))").await, 2);
    assert_eq!(number(&cluster, "insert into t (b, a) select 2, x from (values (3, 'x'), (4, 'y')) v(x, y)").await, 2);
    assert_eq!(number(&cluster, "insert into t select * from (values (5, 3)) union all values (6, 3)").await, 2);
    assert_eq!(number(&cluster, "insert into t with v(x) as (values (7.9)) select x * 10, 4 from v").await, 1);
    assert_eq!(number(&cluster, "insert into t values ('8', 5)").await, 1);
    assert_eq!(number(&cluster, "select sum(a) from t").await, 17 + 25 + 3 + 4 + 5 + 6 + 79 + 8);
    assert_eq!(number(&cluster, "select sum(b) from t").await, 1 + 1 + 2 + 2 + 3 + 3 + 4 + 5);
    run(&cluster, "create table u (a bigint) as select column1 * 10 from (values (1.7))").await;
    assert_eq!(number(&cluster, "select sum(a) from u").await, 17);
}
