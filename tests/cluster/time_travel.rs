//! Tables as they were, clones and what was dropped: wherever a name stands, the right snapshot or a refusal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use crate::support::answers::{Order as RowOrder, compare};
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

async fn number(engine: &dyn Engine, sql: &str) -> i64 {
    let answer = run(engine, sql).await;
    let batch = answer.batches.iter().find(|batch| batch.num_rows() > 0).unwrap_or_else(|| panic!("{sql}: no row"));
    let numbers = batch.column(0).as_primitive_opt::<Int64Type>();
    numbers.unwrap_or_else(|| panic!("{sql}: {:?}", batch.column(0).data_type())).value(0)
}

/// Runs a statement and returns its handle.
async fn handle(cluster: &Cluster, sql: &str) -> String {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    let request = format!("00000000-0000-4000-8000-{:012x}", REQUESTS.fetch_add(1, Ordering::Relaxed));
    let answer = cluster.client().submit_as(&request, &serde_json::json!({ "statement": sql })).await;
    let answer = answer.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
    answer["statementHandle"].as_str().expect("a handle").to_owned()
}

async fn same(cluster: &Cluster, oracle: &Oracle, sql: &str, expected: &str) {
    let expected = oracle.run(&Request::new(expected)).await.unwrap_or_else(|e| panic!("oracle: {expected}: {e}"));
    for partitions in [1, 2, 3, 7] {
        let request = Request::new(sql).partitions(partitions);
        let actual = cluster.run(&request).await.unwrap_or_else(|e| panic!("{sql} at {partitions}: {e}"));
        compare(&expected, &actual, RowOrder::Any).unwrap_or_else(|e| panic!("{sql} at {partitions}: {e}"));
    }
}

/// Every file below a directory, with its length.
fn files(directory: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory").flatten() {
            match entry.metadata().expect("an entry") {
                meta if meta.is_dir() => open.push(entry.path()),
                meta => _ = found.insert(entry.path().display().to_string(), meta.len()),
            }
        }
    }
    found
}

fn data_files(cluster: &Cluster) -> BTreeMap<String, u64> {
    files(&cluster.directory().join("coordinator/warehouse"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_seen_as_they_were() {
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options::executors(3)).await;
    data::register(&cluster, tables).await;
    let oracle = Oracle::over(tables).await;
    run(&cluster, "create schema s").await;
    let source = "select o_orderkey k, o_custkey c, o_orderstatus st, o_orderdate d from orders";
    // Every statement makes one snapshot: 3 has all, 4 none of status F, 5 others twice, 6 one column less and another name.
    let states = [
        (handle(&cluster, &format!("create table s.o as {source}")).await, source.to_owned()),
        (handle(&cluster, "delete from s.o where st = 'F'").await, format!("select * from ({source}) where st <> 'F'")),
        (
            handle(&cluster, &format!("insert into s.o {source} where o_orderstatus = 'O'")).await,
            format!("select * from ({source}) where st <> 'F' union all select * from ({source}) where st = 'O'"),
        ),
        (
            handle(&cluster, "alter table s.o drop column d").await,
            format!(
                "select k, c, st from ({source}) where st <> 'F' union all select k, c, st from ({source}) where st = 'O'"
            ),
        ),
    ];
    for (index, (statement, expected)) in states.iter().enumerate() {
        let snapshot = index + 3;
        same(&cluster, &oracle, &format!("select * from s.o at (snapshot => {snapshot})"), expected).await;
        same(&cluster, &oracle, &format!("select * from s.o at (statement => '{statement}')"), expected).await;
        if let Some((next, _)) = states.get(index + 1) {
            same(&cluster, &oracle, &format!("select * from s.o before (statement => '{next}')"), expected).await;
        }
    }

    // Wherever a table is named.
    let (all, left) = (&states[0].1, &states[1].1);
    let gone = format!("select k from ({all}) except select k from ({left})");
    for sql in [
        "select o.k from s.o at (snapshot => 3) left anti join s.o at (snapshot => 4) as now on now.k = o.k",
        "select frazil.s.o.k from frazil.s.o at (snapshot => 3) where k not in (select k from s.o at (snapshot => 4))",
        "with a as (select k from s.o at (snapshot => 3)), b as (select k from s.o at (snapshot => 4)) \
         select k from a where not exists (select 1 from b where b.k = a.k)",
        "select k from (select * from s.o version as of 3) x except select k from s.o at (snapshot => 4 )",
    ] {
        same(&cluster, &oracle, sql, &gone).await;
    }
    let removed = number(&oracle, &format!("select count(*) from ({gone})")).await;
    assert_eq!(
        number(&cluster, "insert into s.o select k, c, st from s.o at (snapshot => 3) where st = 'F'").await,
        removed
    );
    run(&cluster, "create table s.copy as select * from s.o at (snapshot => 4)").await;
    same(&cluster, &oracle, "select * from s.copy", left).await;

    run(&cluster, "create stage s.out").await;
    let unload = "copy into @s.out/o/ from (select k from s.o at (snapshot => 4)) file_format = (type = csv)";
    let answer = run(&cluster, unload).await;
    let unloaded = answer.batches[0].column_by_name("rows_unloaded").expect("a column");
    assert_eq!(
        unloaded.as_primitive::<Int64Type>().value(0),
        number(&oracle, &format!("select count(*) from ({left})")).await
    );

    // A view is looked at as it was, and so are its tables; a view may also look back itself.
    run(&cluster, "create view s.f as select k from s.o where st = 'F'").await;
    run(&cluster, "create view s.first as select k from s.o at (snapshot => 3)").await;
    run(&cluster, "delete from s.o where st = 'F'").await;
    assert_eq!(number(&cluster, "select count(*) from s.f").await, 0);
    let latest = number(&cluster, "select count(*) from s.f at (snapshot => 10)").await;
    assert_eq!(latest, removed);
    same(&cluster, &oracle, "select k from s.first", &format!("select k from ({all})")).await;
    same(&cluster, &oracle, "select k from s.first at (snapshot => 10)", &format!("select k from ({all})")).await;

    // By time: each snapshot's own time is its first.
    let moments = run(&cluster, "show snapshots").await;
    let rows = arrow::compute::concat_batches(&moments.schema, &moments.batches).expect("one schema");
    let ids = rows.column_by_name("snapshot").expect("a column").as_primitive::<Int64Type>();
    let times = arrow::compute::cast(rows.column_by_name("time").expect("a column"), &arrow::datatypes::DataType::Utf8);
    let times = times.expect("texts");
    let time_of = |snapshot: i64| {
        let at = ids.values().iter().position(|id| *id == snapshot).expect("it is kept");
        times.as_string::<i32>().value(at).to_owned()
    };
    for snapshot in [3, 4, 5] {
        let sql = format!("select k, c, st from s.o at (timestamp => '{}')", time_of(snapshot));
        let expected = format!("select k, c, st from ({})", states[snapshot as usize - 3].1);
        same(&cluster, &oracle, &sql, &expected).await;
    }
    let between = format!(
        "select count(*) from s.o at (timestamp => timestamp '{}' - interval '1 microsecond')",
        time_of(4).trim_end_matches('Z')
    );
    assert_eq!(number(&cluster, &between).await, number(&oracle, &format!("select count(*) from ({all})")).await);
    assert_eq!(
        number(&cluster, "select count(*) from s.o at (offset => 0)").await,
        number(&cluster, "select count(*) from s.o").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_that_is_not_there_is_refused() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let tables = data::tpch().await;
    data::register(&cluster, tables).await;
    run(&cluster, "create table t (a int)").await;
    let statement = handle(&cluster, "insert into t values (1)").await;
    run(&cluster, "create database d").await;
    run(&cluster, "create table d.public.t (a int)").await;
    run(&cluster, "create view v as select t.a from t join d.public.t x on x.a = t.a").await;
    run(&cluster, "create view outside as select l_orderkey from lineitem").await;
    for (sql, state) in [
        ("select * from t at (snapshot => 77)", "02000"),
        ("select * from t at (snapshot => -1)", "22023"),
        ("select * from t at (snapshot => 1)", "42P01"),
        ("select * from t at (timestamp => '1999-01-01')", "02000"),
        ("select * from t at (timestamp => '2999-01-01')", "22023"),
        ("select * from t at (timestamp => 'yesterday')", "22000"),
        ("select * from t at (timestamp => null)", "22023"),
        ("select * from t at (offset => 1)", "22023"),
        ("select * from t at (offset => -1e300)", "22023"),
        ("select * from t at (snapshot => random())", "22023"),
        ("select * from t at (snapshot => (select 3))", "22023"),
        ("select * from t at (snapshot => 2, snapshot => 3)", "42601"),
        ("select * from t at (2)", "42601"),
        ("select * from t before (snapshot => 2)", "0A000"),
        ("select * from t before (statement => 'x')", "22023"),
        ("select * from t before (statement => '01998f5e-7f4c-7cc3-98c4-dc0c0c07398f')", "02000"),
        (&format!("select * from d.public.t before (statement => '{statement}')"), "02000"),
        // What has no versions.
        ("select * from lineitem at (snapshot => 3)", "0A000"),
        ("with c as (select 1) select * from c at (snapshot => 3)", "0A000"),
        ("select * from generate_series(1, 3) at (snapshot => 3)", "42601"),
        ("select * from sample.tpch.lineitem at (snapshot => 3)", "3D000"),
        ("select * from information_schema.tables at (snapshot => 3)", "42P01"),
        ("select * from nowhere.public.t at (snapshot => 3)", "3D000"),
        ("select * from v at (snapshot => 4)", "0A000"),
        ("select * from outside at (snapshot => 5)", "42P01"),
        ("select * from \"frazil@3\".public.t", "42P01"),
        // What is written is written now.
        ("update t at (snapshot => 3) set a = 1", "0A000"),
        ("delete from t at (snapshot => 3)", "0A000"),
        ("select * from t tablesample (10)", "0A000"),
    ] {
        let refusal = refused(&cluster, sql).await;
        assert_eq!(refusal.sql_state.as_deref(), Some(state), "{sql}: {refusal}");
    }
    // Two views that look at each other end as an error.
    run(&cluster, "create view a as select 1 x").await;
    run(&cluster, "create view b as select x from a").await;
    run(&cluster, "create or replace view a as select x from b").await;
    assert_eq!(refused(&cluster, "select * from a").await.sql_state.as_deref(), Some("54001"));
    assert_eq!(number(&cluster, "select count(*) from t").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_share_files_and_go_their_own_way() {
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options::executors(2)).await;
    data::register(&cluster, tables).await;
    let oracle = Oracle::over(tables).await;
    run(&cluster, "create schema s").await;
    run(&cluster, "create table s.n as select * from nation").await;
    run(&cluster, "create table s.o as select * from orders").await;
    run(&cluster, "create view s.v as select count(*) c from s.o").await;
    run(&cluster, "delete from s.o where o_orderstatus = 'F'").await;
    let before = data_files(&cluster);
    assert!(!before.is_empty());

    run(&cluster, "create table s.all_of_it clone s.o at (snapshot => 4)").await;
    run(&cluster, "create table now clone s.o").await;
    run(&cluster, "create schema s2 clone s").await;
    run(&cluster, "create database d clone frazil at (snapshot => 5)").await;
    run(&cluster, "create table d.public.from_elsewhere clone frazil.s.n").await;
    assert_eq!(data_files(&cluster), before, "a clone copies nothing");

    let (all, rest) = ("select * from orders", "select * from orders where o_orderstatus <> 'F'");
    same(&cluster, &oracle, "select * from s.all_of_it", all).await;
    same(&cluster, &oracle, "select * from now", rest).await;
    same(&cluster, &oracle, "select * from s2.o", rest).await;
    same(&cluster, &oracle, "select * from d.s.o", all).await;
    same(&cluster, &oracle, "select * from d.public.from_elsewhere", "select * from nation").await;
    // A clone's views look at the clone's tables.
    run(&cluster, "truncate table s2.o").await;
    assert_eq!(number(&cluster, "select c from s2.v").await, 0);
    let left = number(&oracle, &format!("select count(*) from ({rest})")).await;
    assert_eq!(number(&cluster, "select c from s.v").await, left);
    assert_eq!(number(&cluster, "select c from d.s.v").await, number(&oracle, "select count(*) from orders").await);

    // Changes of one are not the other's.
    run(&cluster, "delete from now where o_orderkey % 2 = 0").await;
    run(&cluster, "insert into s.o select * from orders where o_orderstatus = 'F'").await;
    same(&cluster, &oracle, "select * from now", &format!("select * from ({rest}) where o_orderkey % 2 <> 0")).await;
    same(&cluster, &oracle, "select * from s.o", all).await;
    run(&cluster, "drop table s.o").await;
    same(&cluster, &oracle, "select * from s.all_of_it", all).await;
    assert_eq!(refused(&cluster, "create table s.o clone s.o").await.sql_state.as_deref(), Some("42P01"));
    run(&cluster, "create table s.o clone d.s.o").await;
    run(&cluster, "create or replace table now clone s.o").await;
    run(&cluster, "create table if not exists now clone s.n").await;
    same(&cluster, &oracle, "select * from now", all).await;

    for (sql, state) in [
        ("create table now clone s.n", "42P07"),
        ("create table \"Now\" clone s.n", "42P07"),
        ("create table x clone s.v", "42000"),
        ("create table x clone lineitem", "0A000"),
        ("create table x clone sample.tpch.lineitem", "3D000"),
        ("create table x clone s.none", "42P01"),
        ("create table x clone s.n at (snapshot => 999)", "02000"),
        ("create table nowhere.x clone s.n", "3F000"),
        ("create schema s2 clone s", "42P06"),
        ("create schema s3 clone nothing", "3F000"),
        ("create database d clone frazil", "42P04"),
        ("create database e clone nothing", "3D000"),
        ("create database e clone frazil at (snapshot => 999)", "02000"),
        ("create view x clone s.v", "42601"),
    ] {
        let refusal = refused(&cluster, sql).await;
        assert_eq!(refusal.sql_state.as_deref(), Some(state), "{sql}: {refusal}");
    }
    assert_eq!(refused(&cluster, "select * from e.s.n").await.sql_state.as_deref(), Some("42P01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_comes_back() {
    let mut cluster = Cluster::start(Options::executors(1)).await;
    run(&cluster, "create schema s").await;
    run(&cluster, "create table s.t as select * from (values (1, 'a'), (2, 'b')) v(a, b)").await;
    run(&cluster, "create table s.early (a int)").await;
    run(&cluster, "create view s.v as select sum(a) from s.t").await;
    run(&cluster, "drop table s.early").await;
    run(&cluster, "insert into s.t values (3, 'c')").await;
    assert_eq!(refused(&cluster, "drop schema s").await.sql_state.as_deref(), Some("2BP01"));
    run(&cluster, "drop schema s cascade").await;
    assert_eq!(refused(&cluster, "select * from s.t").await.sql_state.as_deref(), Some("42P01"));
    // What is gone can be looked at as long as its snapshot is kept.
    assert_eq!(number(&cluster, "select sum(a) from s.t at (snapshot => 6)").await, 3);
    cluster.restart_coordinator();
    run(&cluster, "undrop schema s").await;
    assert_eq!(number(&cluster, "select * from s.v").await, 6);
    run(&cluster, "insert into s.t values (4, 'd')").await;
    assert_eq!(number(&cluster, "select * from s.v").await, 10);
    // It came back as it was when it was dropped.
    assert_eq!(refused(&cluster, "select * from s.early").await.sql_state.as_deref(), Some("42P01"));
    assert_eq!(refused(&cluster, "undrop schema s").await.sql_state.as_deref(), Some("42P06"));
    run(&cluster, "drop table s.t").await;
    run(&cluster, "create table s.t (other int)").await;
    assert_eq!(refused(&cluster, "undrop table s.t").await.sql_state.as_deref(), Some("42P07"));
    run(&cluster, "alter table s.t rename to u").await;
    run(&cluster, "undrop table s.t").await;
    assert_eq!(number(&cluster, "select * from s.v").await, 10);
    run(&cluster, "drop schema s cascade").await;
    run(&cluster, "create schema s").await;
    assert_eq!(refused(&cluster, "undrop schema s").await.sql_state.as_deref(), Some("42P06"));
    assert_eq!(refused(&cluster, "undrop schema nothing").await.sql_state.as_deref(), Some("3F000"));
    assert_eq!(refused(&cluster, "undrop view v").await.sql_state.as_deref(), Some("42601"));
}
