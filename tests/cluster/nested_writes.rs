//! Lists, structs and maps that statements write: constants, which plans fold, and computed ones.

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Answer, Engine, Refusal, Request};
use crate::support::oracle::Oracle;

/// A nested value as a constant, and one that is made of the row's `k`.
struct Kind {
    name: &'static str,
    constant: &'static str,
    other_constant: &'static str,
    computed: &'static str,
}

const KINDS: [Kind; 8] = [
    Kind { name: "list", constant: "[1, 2, NULL]", other_constant: "make_array(7)", computed: "make_array(k, k + 1)" },
    Kind {
        name: "texts",
        constant: "['a', 'b']",
        other_constant: "['a text that is longer than twelve bytes', NULL]",
        computed: "make_array('k' || k, NULL)",
    },
    Kind { name: "lists", constant: "[[1], [2, 3]]", other_constant: "[[4]]", computed: "make_array(make_array(k))" },
    Kind {
        name: "struct",
        constant: "{'x': 1, 'y': 'a'}",
        other_constant: "named_struct('x', 2, 'y', NULL)",
        computed: "named_struct('x', k, 'y', 'k' || k)",
    },
    Kind {
        name: "structs",
        constant: "[{'x': 1}, NULL]",
        other_constant: "[named_struct('x', 3)]",
        computed: "make_array(named_struct('x', k))",
    },
    Kind {
        name: "inner",
        constant: "{'l': [1, 2], 's': {'z': 1.5}}",
        other_constant: "{'l': [3], 's': {'z': 2.5}}",
        computed: "named_struct('l', make_array(k), 's', named_struct('z', k * 0.5))",
    },
    Kind {
        name: "map",
        constant: "MAP {'a': 1, 'b': 2}",
        other_constant: "map(['c'], [3])",
        computed: "map(make_array('k' || k), make_array(k))",
    },
    Kind {
        name: "map_of_lists",
        constant: "MAP {'a': [1, 2]}",
        other_constant: "MAP {'b': [3]}",
        computed: "map(make_array('k' || k), make_array(make_array(k)))",
    },
];

async fn run(engine: &dyn Engine, sql: &str) -> Answer {
    engine.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
}

async fn refused(engine: &dyn Engine, sql: &str) -> Refusal {
    match engine.run(&Request::new(sql)).await {
        Ok(answer) => panic!("{sql} gave {} rows", answer.rows()),
        Err(refusal) => refusal,
    }
}

/// Rows `k, v` of the table are those of a query that the oracle answers.
async fn has(cluster: &Cluster, oracle: &Oracle, table: &str, rows: &str) {
    let expected = run(oracle, rows).await;
    let select = format!("select k, v from {table}");
    for partitions in [1, 3] {
        let request = Request::new(&select).partitions(partitions);
        let actual = cluster.run(&request).await.unwrap_or_else(|e| panic!("{select} at {partitions}: {e}"));
        compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{table} at {partitions}: {e}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_values_are_written_by_every_statement() {
    let cluster = Cluster::start(Options::executors(2)).await;
    let oracle = Oracle::empty("single-process DataFusion");
    for Kind { name, constant, other_constant, computed } in KINDS {
        let table = format!("t_{name}");
        run(&cluster, &format!("create table {table} as select 0 as k, {constant} as v")).await;
        let mut rows = format!("select 0 as k, {constant} as v");
        has(&cluster, &oracle, &table, &rows).await;
        run(&cluster, &format!("insert into {table} values (1, {constant}), (2, {other_constant}), (3, NULL)")).await;
        rows +=
            &format!(" union all select 1, {constant} union all select 2, {other_constant} union all select 3, NULL");
        has(&cluster, &oracle, &table, &rows).await;
        run(&cluster, &format!("insert into {table} select 4, {other_constant}")).await;
        rows += &format!(" union all select 4, {other_constant}");
        let many = "select value as k from generate_series(10, 5000)";
        run(&cluster, &format!("insert into {table} select k, {computed} from ({many})")).await;
        rows += &format!(" union all select k, {computed} from ({many})");
        run(&cluster, &format!("insert into {table} select k, {constant} from ({many}) where k % 2 = 0")).await;
        rows += &format!(" union all select k, {constant} from ({many}) where k % 2 = 0");
        run(&cluster, &format!("insert into {table} (v) values ({constant})")).await;
        rows += &format!(" union all select NULL, {constant}");
        run(&cluster, &format!("insert into {table} (k) values (5)")).await;
        rows += " union all select 5, NULL";
        has(&cluster, &oracle, &table, &rows).await;

        run(&cluster, &format!("update {table} set v = {other_constant} where k < 2")).await;
        rows = format!("select k, case when k < 2 then {other_constant} else v end as v from ({rows})");
        run(&cluster, &format!("update {table} set v = {computed} where k % 3 = 0")).await;
        rows = format!("select k, case when k % 3 = 0 then {computed} else v end as v from ({rows})");
        run(&cluster, &format!("update {table} set v = NULL where k % 5 = 0")).await;
        rows = format!("select k, case when k % 5 = 0 then NULL else v end as v from ({rows})");
        has(&cluster, &oracle, &table, &rows).await;

        run(
            &cluster,
            &format!(
                "merge into {table} t using (select value as k from generate_series(0, 1, 1) union all select 9000) s \
                 on t.k = s.k when matched then update set v = {constant} \
                 when not matched then insert (k, v) values (s.k, {other_constant})"
            ),
        )
        .await;
        rows = format!(
            "select k, case when k < 2 then {constant} else v end as v from ({rows}) union all select 9000, {other_constant}"
        );
        has(&cluster, &oracle, &table, &rows).await;

        let copy = format!("copy_{name}");
        run(&cluster, &format!("create table {copy} as select k, v from {table} where k % 2 = 1")).await;
        run(&cluster, &format!("insert overwrite {copy} select k, v from {table}")).await;
        run(&cluster, &format!("optimize {table} full")).await;
        for table in [&copy, &table] {
            has(&cluster, &oracle, table, &rows).await;
        }
    }
}

/// Conditions on parts of columns, also where readers of files apply them.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_nested_columns_are_asked_for() {
    let cluster = Cluster::start(Options::executors(2)).await;
    let oracle = Oracle::empty("single-process DataFusion");
    let rows = "select value as k, make_array(value % 5, value % 7) as l, named_struct('x', value % 11, 'y', 'y' || (value % 3)) as s, \
                named_struct('i', named_struct('j', value % 4)) as d, map(make_array('a'), make_array(value % 6)) as m \
                from generate_series(1, 4000)";
    run(&cluster, &format!("create table t as {rows}")).await;
    for query in [
        "select count(*), sum(s.x) from t where s.x = 3",
        "select k, s.y from t where s.x < 2 and s.y = 'y1'",
        "select sum(k) from t where d.i.j = 2",
        "select d.i from t where k < 10",
        "select sum(k) from t where array_has(l, 6)",
        "select sum(k) from t where l[1] = 4 and l is not null",
        "select sum(k) from t where m['a'] = 5",
        "select s.y, count(*), sum(l[2]) from t group by s.y",
    ] {
        let expected = run(&oracle, &query.replace("from t", &format!("from ({rows}) as t"))).await;
        for pushdown in ["false", "true"] {
            let mut request = Request::new(query);
            request.settings = vec![("datafusion.execution.parquet.pushdown_filters".to_owned(), pushdown.to_owned())];
            let actual = cluster.run(&request).await.unwrap_or_else(|e| panic!("{query}: {e}"));
            compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{query}, pushdown {pushdown}: {e}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused() {
    let cluster = Cluster::start(Options::executors(1)).await;
    run(&cluster, "create table t (k bigint, l bigint[], s struct<x bigint, y varchar>)").await;
    for wrong in [
        "insert into t values (1, ['a'], NULL)",
        "insert into t values (1, [1], 'x')",
        "insert into t values (1, [1], {'p': 1})",
        "update t set l = {'x': 1}",
    ] {
        let refusal = refused(&cluster, wrong).await;
        let state = refusal.sql_state.as_deref().unwrap_or_default();
        assert!(["22000", "42804", "42000", "22P02"].contains(&state), "{wrong}: {refusal}");
    }
    run(&cluster, "insert into t values (1, ['7'], {'y': 'b', 'x': 5})").await;
    let oracle = Oracle::empty("single-process DataFusion");
    let expected = run(&oracle, "select 1 as k, [7] as l, {'x': 5, 'y': 'b'} as s").await;
    compare(&expected, &run(&cluster, "select * from t").await, Order::Any).unwrap();
}
