//! Where state that DataFusion shares inside a process makes a naive cut wrong: one test for each kind, on three executors.
//!
//! `docs/contributing.md` says where the handling of each is, and how each test failed when it was taken out.

use crate::queries::{Query, check};
use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::engine::{Engine, Request};
use crate::support::oracle::Oracle;

async fn right(queries: &[&str]) {
    right_with(&[], queries).await;
}

/// Checks on a cluster of three that has the given session options, at every number of partitions.
async fn right_with(settings: &[(&str, &str)], queries: &[&str]) {
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options::executors(3)).await;
    data::register(&cluster, tables).await;
    if settings.is_empty() {
        let query = |sql: &&str| Query { name: (*sql).to_owned(), sql: (*sql).to_owned(), order: order_of(sql) };
        let queries: Vec<Query> = queries.iter().map(query).collect();
        check(&cluster, tables, &queries).await;
        return;
    }
    let oracle = Oracle::over(tables).await;
    let settings: Vec<_> = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    for sql in queries {
        let expected = oracle.run(&Request::new(*sql)).await.unwrap_or_else(|e| panic!("oracle: {sql}: {e}"));
        for partitions in [1, 2, 3, 7] {
            let mut request = Request::new(*sql).partitions(partitions);
            request.settings = settings.clone();
            let actual = cluster.run(&request).await.unwrap_or_else(|e| panic!("{sql} at {partitions}: {e}"));
            compare(&expected, &actual, order_of(sql)).unwrap_or_else(|e| panic!("{sql} at {partitions}: {e}"));
        }
    }
}

fn order_of(sql: &str) -> Order {
    if sql.to_lowercase().contains(" -- ordered") { Order::Total } else { Order::Any }
}

/// Joins that emit rows of their collected side on account of what no probe partition matched.
#[tokio::test(flavor = "multi_thread")]
async fn joins_that_emit_build_rows() {
    right(&[
        "select n_name, count(o_orderkey) from nation left join customer on n_nationkey = c_nationkey and c_acctbal > 9000 \
         left join orders on c_custkey = o_custkey and o_orderkey % 100 = 1 group by n_name",
        "select n_name from nation where n_nationkey in (select c_nationkey from customer where c_acctbal > 9990)",
        "select n_name from nation where not exists (select 1 from customer where c_nationkey = n_nationkey and c_acctbal > 9990)",
        "select n_name, r_name, s_name from nation full join region on n_regionkey = r_regionkey and r_regionkey < 3 \
         full join supplier on s_nationkey = n_nationkey and s_suppkey < 20",
        "select p_partkey, p_size from part where p_size > 45 or exists (select 1 from lineitem where l_partkey = p_partkey and l_quantity > 49)",
        "select count(*), count(l_orderkey) from (select * from supplier where s_suppkey < 5) left join lineitem on s_suppkey = l_suppkey and l_quantity > 50",
    ])
    .await;
}

/// Semi and anti joins whose small build side every executor judges by its own probe rows: equal rows of the build side stay
/// apart, a row that two executors let through is one row, and one that one of them keeps back does not pass an anti join.
#[tokio::test(flavor = "multi_thread")]
async fn build_rows_judged_by_several_executors() {
    let queries = [
        // Each nation twice, and customers of each on every executor.
        "select n_name from (select n_name, n_nationkey from nation union all select n_name, n_nationkey from nation) \
         where exists (select 1 from customer where c_nationkey = n_nationkey)",
        // Few matches: most rows are kept back by some executors only.
        "select s_suppkey, s_name from supplier where not exists (select 1 from lineitem where l_suppkey = s_suppkey and l_quantity > 49 and l_tax < 0.01)",
        "select n_name from nation where not exists (select 1 from customer where c_nationkey = n_nationkey and c_acctbal > 9990)",
        // Conditions beside the equality, and columns that only they need.
        "select s_suppkey from supplier where exists (select 1 from lineitem where l_suppkey = s_suppkey and l_extendedprice > s_acctbal * 10 + 5000)",
        "select s_suppkey from supplier where not exists (select 1 from lineitem where l_suppkey = s_suppkey and l_extendedprice > s_acctbal * 9)",
        // Null keys match nothing: they pass an anti join and never a semi join.
        "select count(*), count(k) from (select case when s_suppkey % 3 = 0 then null else s_suppkey end as k from supplier) a \
         where not exists (select 1 from lineitem where l_suppkey = k and l_quantity > 10)",
        "select count(*), count(k) from (select case when s_suppkey % 3 = 0 then null else s_suppkey end as k from supplier) a \
         where exists (select 1 from lineitem where l_suppkey = k and l_quantity > 10)",
        // No probe rows, no build rows, and limits above.
        "select count(*) from supplier where not exists (select 1 from lineitem where l_suppkey = s_suppkey and l_quantity > 1000)",
        "select count(*) from supplier where s_suppkey < 0 and not exists (select 1 from lineitem where l_suppkey = s_suppkey)",
        "select s_suppkey from supplier where exists (select 1 from lineitem where l_suppkey = s_suppkey) order by s_suppkey limit 7 -- ordered",
        "select count(*) from (select 1 from supplier where exists (select 1 from lineitem where l_suppkey = s_suppkey) limit 20)",
        // Keys and nothing else, an aggregate above, one inside the other.
        "select o_orderpriority, count(*) from orders where o_orderdate < date '1992-02-01' and exists \
         (select 1 from lineitem where l_orderkey = o_orderkey and l_commitdate < l_receiptdate) group by o_orderpriority",
        "select count(*) from nation where exists (select 1 from supplier where s_nationkey = n_nationkey and not exists \
         (select 1 from lineitem where l_suppkey = s_suppkey and l_quantity > 49.5))",
    ];
    right(&queries).await;
    let cluster = Cluster::start(Options::executors(3)).await;
    data::register(&cluster, data::tpch().await).await;
    // An anti join, and a semi join with a limit in it.
    for (query, verdict) in [(queries[1], "by every task"), (queries[10], "by any task")] {
        let explain = Request::new(format!("explain {query}")).partitions(3);
        let plan = format!("{:?}", cluster.run(&explain).await.expect("an explanation"));
        assert!(plan.contains(&format!("SettleRowsExec: {verdict}")), "{query} is not spread: {plan}");
    }
}

/// `NOT IN` must know of a null anywhere on its other side.
#[tokio::test(flavor = "multi_thread")]
async fn null_aware_anti_joins() {
    right(&[
        "select count(*) from orders where o_custkey not in (select case when c_custkey = 1400 then null else c_custkey end from customer)",
        "select count(*) from orders where o_custkey not in (select c_custkey from customer where c_acctbal > 0)",
        "select n_name from nation where n_nationkey not in (select c_nationkey from customer where c_acctbal > 9950)",
        "select count(*) from nation where n_nationkey not in (select l_suppkey from lineitem where l_quantity > 100)",
    ])
    .await;
}

/// Joins without an equality, of every type.
#[tokio::test(flavor = "multi_thread")]
async fn nested_loop_and_cross_joins() {
    right(&[
        "select count(*), sum(c_acctbal) from region cross join customer",
        "select count(*) from nation a join customer b on a.n_nationkey < b.c_custkey % 7",
        "select a.s_suppkey, count(b.s_suppkey) from supplier a left join supplier b on a.s_acctbal < b.s_acctbal - 9000 group by a.s_suppkey",
        "select count(a.s_suppkey), count(b.c_custkey) from supplier a full join customer b on a.s_acctbal > b.c_acctbal + 10900",
        "select count(*) from supplier where exists (select 1 from customer where c_acctbal > s_acctbal + 9000)",
        "select count(*) from supplier where not exists (select 1 from customer where c_acctbal > s_acctbal + 9000)",
        "select count(b.c_custkey) from supplier a right join customer b on a.s_acctbal > b.c_acctbal + 10900",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scalar_subqueries_wherever_they_stand() {
    right(&[
        "select count(*) from lineitem where l_quantity > (select avg(l_quantity) from lineitem)",
        "select o_orderkey from orders order by o_totalprice - (select avg(o_totalprice) from orders), o_orderkey limit 7 -- ordered",
        "select count(*) from orders join customer on o_custkey = c_custkey and o_totalprice > (select avg(o_totalprice) from orders)",
        "select sum(o_totalprice + (select max(l_tax) from lineitem)) from orders",
        "select o_orderpriority, count(*) + (select count(*) from nation) from orders group by o_orderpriority having count(*) > (select min(c_custkey) from customer)",
        "select (select max(r_name) from region where r_regionkey > 100), count(*) from orders",
        "select count(*) from part where p_retailprice > (select avg(ps_supplycost) from partsupp where ps_availqty > (select avg(ps_availqty) from partsupp))",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scalar_subquery_of_several_rows_is_an_error() {
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options::executors(3)).await;
    data::register(&cluster, tables).await;
    for sql in [
        "select count(*) from orders where o_custkey = (select c_custkey from customer)",
        "select (select c_custkey from customer where c_acctbal > 0), count(*) from orders",
    ] {
        for partitions in [1, 3, 7] {
            let refusal = cluster.run(&Request::new(sql).partitions(partitions)).await.expect_err(sql);
            assert!(refusal.message.contains("more than one row"), "{sql}: {refusal}");
        }
    }
}

/// A limit counts once, not once for each executor, at any depth.
#[tokio::test(flavor = "multi_thread")]
async fn limits_and_offsets_at_any_depth() {
    right(&[
        "select count(*) from (select * from lineitem limit 1000)",
        "select count(*) from (select l_orderkey from lineitem limit 700 offset 300) t join orders on o_orderkey = l_orderkey",
        "select count(*) from orders join (select c_custkey from customer order by c_custkey limit 10) c on o_custkey = c_custkey",
        "select count(*) from (select n_nationkey from nation limit 5) a cross join (select * from lineitem limit 100) b",
        "select o_orderkey, o_totalprice from orders order by o_totalprice desc, o_orderkey limit 10 offset 5 -- ordered",
        "select count(*) from ((select o_orderkey from orders limit 10) union all (select l_orderkey from lineitem limit 20))",
        "select count(*) from (select distinct l_suppkey from lineitem limit 30)",
        "select count(*) from lineitem where l_orderkey in (select o_orderkey from orders order by o_totalprice desc, o_orderkey limit 20)",
        "select count(*) from (select * from orders order by o_orderkey offset 14990)",
    ])
    .await;
}

/// A union's partitions are those of its inputs, one after another.
#[tokio::test(flavor = "multi_thread")]
async fn unions_and_interleaves() {
    right(&[
        "select k, count(*) from (select o_custkey as k from orders union all select c_custkey from customer union all select n_nationkey from nation) group by k",
        "select k, sum(c) from (select o_custkey as k, count(*) as c from orders group by o_custkey \
         union all select c_custkey, count(*) from customer group by c_custkey) group by k",
        "select count(*) from (select o_orderkey from orders union select l_orderkey from lineitem)",
        "select * from (select max(o_totalprice) as m from orders union all select min(c_acctbal) from customer union all select 1.5 union all select s_acctbal from supplier where s_suppkey < 4)",
        "select o_orderkey from orders where o_orderkey < 100 intersect select l_orderkey from lineitem where l_quantity > 20",
        "select c_custkey from customer except select o_custkey from orders",
        "select count(*), sum(x) from (select 1 as x from orders union all select 2 from customer where c_custkey < 0 union all values (3), (4))",
    ])
    .await;
}

/// Sets without any column are rows all the same: one each, also of no input, and not one for each partition.
#[tokio::test(flavor = "multi_thread")]
async fn grouping_sets_without_columns() {
    right(&[
        "select count(*) from lineitem group by grouping sets ((), ())",
        "select count(*), sum(l_quantity), min(l_shipdate), avg(l_tax) from lineitem group by grouping sets ((), (), ())",
        "select count(*) from lineitem group by grouping sets (())",
        "select count(*), max(l_tax) from lineitem where l_orderkey < 0 group by grouping sets ((), ())",
        "select count(distinct o_custkey), sum(o_totalprice) filter (where o_orderkey % 2 = 0) from orders group by grouping sets ((), ())",
        "select count(*) from orders group by grouping sets ((), ()) limit 1",
        "select n, count(*) from (select count(*) as n from customer group by grouping sets ((), ())) \
         join nation on n > n_nationkey group by n",
        "select count(*) from orders where o_totalprice > (select sum(x) from (select avg(o_totalprice) / 2 as x from orders \
         group by grouping sets ((), ()))) group by grouping sets ((), ())",
        "with recursive t(n) as (select count(*) from region group by grouping sets ((), ()) union all select n + 1 from t \
         where n < 9) select n, count(*) from t group by n",
        // Among others with columns, which keep DataFusion's message.
        "select o_orderstatus, count(*) from orders group by grouping sets ((), (o_orderstatus), ())",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recursive_queries_run_whole() {
    right(&[
        "with recursive t(n) as (select 1 union all select n + 1 from t where n < 50) select sum(n), count(*) from t",
        "with recursive t(k, d) as (select r_regionkey, 0 from region where r_regionkey = 1 union all \
         select n_nationkey, d + 1 from nation join t on n_regionkey = k where d < 2) select d, count(*), sum(k) from t group by d",
        "with recursive t(n) as (select 1 union select (n * 3) % 17 from t) select count(*) from t join nation on n = n_nationkey",
    ])
    .await;
}

/// An order that an operator above counts on must survive the exchange, or be made anew.
#[tokio::test(flavor = "multi_thread")]
async fn orders_across_exchanges() {
    right(&[
        "select o_custkey, o_orderkey, row_number() over (partition by o_custkey order by o_orderkey) as r from orders order by 1, 2 -- ordered",
        "select o_orderkey, sum(o_totalprice) over (order by o_orderkey rows between 3 preceding and current row) as s from orders order by 1 -- ordered",
        "select l_orderkey, count(*) from (select * from lineitem order by l_orderkey) group by l_orderkey order by 1 limit 100 -- ordered",
        "select a.o_orderkey, b.l_linenumber from orders a join lineitem b on a.o_orderkey = b.l_orderkey order by 1, 2 limit 500 -- ordered",
        "select first_value(o_orderkey order by o_totalprice desc, o_orderkey), o_orderpriority from orders group by o_orderpriority",
        "select array_agg(c_custkey order by c_acctbal, c_custkey) from customer where c_nationkey = 3",
        // The partial groups are in the order of the window below; what several executors send of them is not.
        "select o_orderpriority, o_custkey, count(*), max(r) from (select *, row_number() over (partition by o_custkey \
         order by o_orderkey) as r from orders) group by o_orderpriority, o_custkey",
    ])
    .await;
    right_with(
        &[("datafusion.optimizer.prefer_hash_join", "false")],
        &[
            "select count(*), sum(l_quantity) from orders join lineitem on o_orderkey = l_orderkey where o_totalprice > 100000",
            "select n_name, count(c_custkey) from nation left join customer on n_nationkey = c_nationkey group by n_name",
            "select count(*) from orders full join customer on o_custkey = c_custkey",
        ],
    )
    .await;
}

/// Each file is in the declared order, and so is what each executor makes of its own; what arrives from several is not.
#[tokio::test(flavor = "multi_thread")]
async fn declared_orders_end_at_an_exchange() {
    const KEYS: usize = 3000;
    let directory = tempfile::tempdir().expect("a directory");
    for file in 0..6 {
        let rows: String = (0..KEYS).map(|key| format!("{key},{file}\n")).collect();
        std::fs::write(directory.path().join(format!("{file}.csv")), format!("k,v\n{rows}")).expect("written");
    }
    let cluster = Cluster::start(Options::executors(3)).await;
    let declare = format!(
        "create external table s (k int, v int) stored as csv with order (k asc) location '{}/' \
         options ('format.has_header' 'true')",
        directory.path().display()
    );
    cluster.run(&Request::new(declare)).await.expect("declared");
    for partitions in [1, 2, 3, 6, 7] {
        let sql = "select count(*), min(n), max(n), min(s), max(s) from \
                   (select k, count(*) as n, sum(v) as s from s group by k)";
        let answer = cluster.run(&Request::new(sql).partitions(partitions)).await.expect("it runs");
        let shown = arrow::util::pretty::pretty_format_batches(&answer.batches).expect("printed").to_string();
        let cells: Vec<&str> = shown.lines().nth(3).expect("a row").split('|').map(str::trim).collect();
        assert_eq!(cells[1..6], ["3000", "6", "6", "15", "15"], "at {partitions} partitions:\n{shown}");
    }
}

/// Scans hand out their files, and joins their filters, to all partitions of a process; other processes have their own.
#[tokio::test(flavor = "multi_thread")]
async fn shared_scans_and_dynamic_filters() {
    right(&[
        "select count(*), sum(l_extendedprice) from lineitem",
        "select count(*) from lineitem join part on l_partkey = p_partkey where p_size = 15 and p_type like '%BRASS'",
        "select l_orderkey, l_extendedprice from lineitem order by l_extendedprice desc, l_orderkey, l_linenumber limit 25",
        "select max(l_shipdate), min(l_shipdate) from lineitem join orders on l_orderkey = o_orderkey where o_orderdate < date '1993-01-01'",
    ])
    .await;
    right_with(
        &[
            ("datafusion.optimizer.hash_join_single_partition_threshold", "0"),
            ("datafusion.optimizer.hash_join_single_partition_threshold_rows", "0"),
        ],
        &[
            "select n_name, count(*) from nation join supplier on n_nationkey = s_nationkey join lineitem on l_suppkey = s_suppkey group by n_name",
            "select count(*) from lineitem join part on l_partkey = p_partkey where p_size = 15",
        ],
    )
    .await;
    right_with(
        &[
            ("datafusion.optimizer.hash_join_single_partition_threshold", "1000000000"),
            ("datafusion.optimizer.hash_join_single_partition_threshold_rows", "1000000000"),
        ],
        &[
            "select o_orderpriority, count(*) from orders join lineitem on l_orderkey = o_orderkey where l_quantity > 45 group by o_orderpriority",
            "select count(*) from customer left join orders on c_custkey = o_custkey and o_totalprice > 200000 where o_orderkey is null",
        ],
    )
    .await;
}

/// Fewer rows, files, columns or partitions than executors.
#[tokio::test(flavor = "multi_thread")]
async fn small_and_empty_inputs() {
    right(&[
        "select count(*) from region",
        "select count(*) from (select * from region where r_regionkey >= 0) cross join orders",
        "select count(*) from lineitem where l_orderkey < 0",
        "select 1 from nation where n_nationkey < 3",
        "select sum(l_quantity) from lineitem where false",
        "select l_returnflag, count(*) from lineitem where l_orderkey < 0 group by l_returnflag",
        "select count(*) from orders join lineitem on o_orderkey = l_orderkey where o_orderkey < 0",
        "select * from region left join (select * from nation where n_nationkey < 0) on n_regionkey = r_regionkey",
        "select 1",
        "select count(*) from (select 1 as a from lineitem) where a = 1",
        "values (1, 'a'), (2, 'b')",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_subplans_and_volatile_functions() {
    right(&[
        "with t as (select o_custkey, sum(o_totalprice) as s from orders group by o_custkey) select count(*) from t a join t b on a.o_custkey = b.o_custkey where a.s >= b.s",
        // One `now()` for the whole query, wherever it is evaluated.
        "select count(distinct t) from (select now() as t from lineitem union all select now() from orders)",
        "select count(*) from lineitem where random() < 0",
        "select count(*) from orders where random() <= 1 and o_orderkey > 0",
    ])
    .await;
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options::executors(2)).await;
    data::register(&cluster, tables).await;
    let sql = "select count(distinct random()) > 14000 as differ from orders";
    let answer = cluster.run(&Request::new(sql).partitions(2)).await.expect("it runs");
    let column = arrow::util::display::array_value_to_string(answer.batches[0].column(0), 0).expect("a boolean");
    assert_eq!(column, "true", "executors must not draw the same numbers");
}
