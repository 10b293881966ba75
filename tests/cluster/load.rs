//! Sample tables made and written by executors, and what `frazil load` makes of them: whole tables or none.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::datasource::MemTable;
use frazil_datasets::{GeneratedTable, TPCDS_TABLES, TPCH_TABLES};

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options, binary};
use crate::support::commands::{Ran, configure, frazil};
use crate::support::data;
use crate::support::engine::{Engine, Request};
use crate::support::oracle::Oracle;

/// The oracle over a table that this process makes by itself, in one piece after another.
fn oracle(name: &str, table: &GeneratedTable) -> Oracle {
    let oracle = Oracle::empty("the generator");
    let batches = table.open(0..table.parts()).map(|batch| batch.expect("generators do not fail")).collect();
    let table = MemTable::try_new(table.schema(), vec![batches]).expect("batches of one schema");
    oracle.context().register_table(name, Arc::new(table)).expect("registered");
    oracle
}

async fn same(cluster: &Cluster, oracle: &Oracle, sql: &str, expected: &str) {
    same_at(cluster, oracle, sql, expected, &[1, 2, 3, 7]).await;
}

async fn same_at(cluster: &Cluster, oracle: &Oracle, sql: &str, expected: &str, partitions: &[usize]) {
    let expected = oracle.run(&Request::new(expected)).await.unwrap_or_else(|e| panic!("oracle: {expected}: {e}"));
    for &partitions in partitions {
        let request = Request::new(sql).partitions(partitions);
        let actual = cluster.run(&request).await.unwrap_or_else(|e| panic!("{sql} at {partitions}: {e}"));
        compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{sql} at {partitions}: {e}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn table_functions_give_the_generators_rows() {
    let cluster = Cluster::start(Options::executors(3)).await;
    for name in TPCH_TABLES {
        let oracle = oracle("t", &GeneratedTable::tpch(name, 0.01).unwrap());
        same(&cluster, &oracle, &format!("select * from tpch('{name}', 0.01)"), "select * from t").await;
    }
    for name in TPCDS_TABLES {
        let oracle = oracle("t", &GeneratedTable::tpcds(name, 0.01).unwrap());
        let all = "select count(*) c, count(distinct a) d, min(a) e, max(b) f, sum(length(cast(a as varchar))) g from";
        let (a, b) = {
            let schema = GeneratedTable::tpcds(name, 0.01).unwrap().schema();
            (schema.field(0).name().clone(), schema.field(schema.fields().len() - 1).name().clone())
        };
        let part = |from: &str| format!("{all} (select {a} as a, {b} as b from {from})");
        same_at(&cluster, &oracle, &part(&format!("tpcds('{name}', 0.01)")), &part("t"), &[3]).await;
    }
    let events = oracle("t", &GeneratedTable::events(5000, 7).unwrap());
    same(&cluster, &events, "select * from events(0.005, 7)", "select * from t").await;

    // Several pieces, in a union beside others, and joined with themselves.
    let lines = oracle("t", &GeneratedTable::tpch("lineitem", 0.1).unwrap());
    let sums = "select count(*) a, sum(l_quantity) b, min(l_comment) c, count(distinct l_orderkey) d from";
    same(&cluster, &lines, &format!("{sums} tpch('lineitem', 0.1)"), &format!("{sums} t")).await;
    let union = |a: &str| {
        format!(
            "select count(*) a, sum(l_orderkey) b from (select * from {a} where l_linenumber = 1 union all select * from {a} where l_linenumber = 2)"
        )
    };
    same(&cluster, &lines, &union("tpch('lineitem', 0.1)"), &union("t")).await;
    let join = |a: &str| format!("select count(*) from {a} x join {a} y on x.l_orderkey = y.l_orderkey");
    same(&cluster, &lines, &join("tpch('lineitem', 0.1)"), &join("t")).await;
    same(&cluster, &lines, "select count(*) from tpch('lineitem', 0.1)", "select count(*) from t").await;

    for (sql, state, part) in [
        ("select * from tpch('lineitems', 1)", "22023", "\"lineitems\""),
        ("select * from tpch('lineitem', 0)", "22023", "scale 0 is out of range"),
        ("select * from tpch('lineitem')", "22023", "tpch('table', scale)"),
        ("select * from tpcds('item', 1e9)", "22023", "out of range"),
        ("select * from events(-1)", "22023", "0 events are out of range"),
        ("select * from events(0.001, -1)", "22023", "events(scale, seed)"),
        ("select * from table_files('nowhere')", "42P01", "\"nowhere\" not found"),
    ] {
        let refusal = cluster.run(&Request::new(sql)).await.err().unwrap_or_else(|| panic!("{sql} was not refused"));
        assert_eq!(refusal.sql_state.as_deref(), Some(state), "{sql}: {refusal}");
        assert!(refusal.to_string().contains(part), "{sql}: {refusal}");
    }
}

async fn load(cluster: &Cluster, arguments: &[&str]) -> Ran {
    let url = cluster.url().to_owned();
    let arguments = [&["load"], arguments, &["--url", &url]].concat();
    frazil(cluster.directory(), &arguments, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sample_sets_become_tables() {
    let cluster = Cluster::start(Options::executors(3)).await;
    let said = load(&cluster, &["tpch", "--scale", "0.01"]).await;
    assert_eq!(said.stderr, "", "nobody watches");
    let said = said.text();
    assert!(said.starts_with("sample.tpch_sf0_01: 8 tables, 86805 rows"), "{said}");
    let oracle = Oracle::over(data::tpch().await).await;
    for table in TPCH_TABLES {
        let (made, read) = (format!("select * from sample.tpch_sf0_01.{table}"), format!("select * from {table}"));
        same(&cluster, &oracle, &made, &read).await;
    }
    let sums =
        "select sum(rows), sum(deleted), count(distinct path) = count(*) from table_files('sample.tpch_sf0_01.orders')";
    let files = cluster.client().json(&Request::new(sums)).await.expect("listed");
    assert_eq!(files["data"], serde_json::json!([["15000", "0", "true"]]));

    let said = load(&cluster, &["tpch", "--scale", "0.01"]).await.text();
    assert!(said.starts_with("sample.tpch_sf0_01 is there already: 8 tables, 86805 rows"), "{said}");
    cluster.run(&Request::new("drop table sample.tpch_sf0_01.orders")).await.expect("dropped");
    cluster.run(&Request::new("delete from sample.tpch_sf0_01.region where r_regionkey > 1")).await.expect("deleted");
    let said = load(&cluster, &["tpch", "--scale", "0.01"]).await.text();
    assert!(said.contains("86802 rows") && said.contains("; 1 loaded in"), "{said}");
    let said = load(&cluster, &["tpch", "--scale", "0.01", "--replace"]).await.text();
    assert!(said.contains("8 tables, 86805 rows") && !said.contains("were there"), "{said}");

    let said = load(&cluster, &["events", "--rows", "5000", "--seed", "7"]).await.text();
    assert!(said.starts_with("sample.events_sf0_005: 1 table, 5000 rows"), "{said}");
    let events = self::oracle("events", &GeneratedTable::events(5000, 7).unwrap());
    same(&cluster, &events, "select * from sample.events_sf0_005.events", "select * from events").await;

    let refused = load(&cluster, &["tpcds", "--scale", "0.0001"]).await;
    assert_eq!(refused.code(), Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("scale 0.0001 is out of range"), "{}", refused.stderr);
}

/// What one who waits is shown: rows and bytes, while they are written.
#[tokio::test(flavor = "multi_thread")]
async fn writing_shows_its_progress() {
    let cluster = Cluster::start(Options::executors(2)).await;
    let handle =
        cluster.client().start("create table t as select * from tpch('lineitem', 0.5)").await.expect("started");
    let client = frazil_cli::client::Client::http(cluster.url()).expect("an address");
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut seen = Vec::new();
    loop {
        let status = client.status(&handle).await.expect("it does not fail");
        let figure = |name: &str| status["stats"][name].as_u64().expect("a figure");
        seen.push((figure("rowsWritten"), figure("bytesWritten")));
        if status.get("data").is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "it takes too long: {seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    seen.dedup();
    let rows = GeneratedTable::tpch("lineitem", 0.5).unwrap();
    let rows: u64 = rows.open(0..rows.parts()).map(|batch| batch.unwrap().num_rows() as u64).sum();
    assert_eq!(seen.last().map(|last| last.0), Some(rows), "{seen:?}");
    assert!(seen.is_sorted() && seen.len() > 2, "{seen:?}");
    let listed = Request::new("select sum(bytes) from table_files('t')");
    let listed = cluster.client().json(&listed).await.expect("listed");
    assert_eq!(listed["data"][0][0].as_str(), Some(seen.last().unwrap().1.to_string().as_str()));
}

/// A load that is killed leaves whole tables, and the next one makes the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_load_leaves_whole_tables() {
    let directory = tempfile::tempdir().expect("a directory");
    let tables = async |directory: &Path| {
        let sql =
            "select table_name from sample.information_schema.tables where table_schema = 'tpcds_sf0_05' order by 1";
        let listed = frazil(directory, &["sql", "--data", "data", "--format", "csv", "-c", sql], &[]).await.text();
        listed.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut command = Command::new(binary());
    command.args(["load", "tpcds", "--scale", "0.05", "--data", "data"]).current_dir(directory.path());
    configure(directory.path(), &[], |name, value| {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    });
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    // Files of some tables, and of one that is not whole, perhaps.
    let warehouse = directory.path().join("data/warehouse/sample");
    let deadline = Instant::now() + Duration::from_secs(60);
    while files_below(&warehouse) < 5 {
        assert!(
            Instant::now() < deadline && child.try_wait().unwrap().is_none(),
            "it ended too early, or writes nothing"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().expect("killed");
    child.wait().expect("gone");

    let left = tables(directory.path()).await;
    assert!(left.len() < 24, "it was killed before its end");
    let said = frazil(directory.path(), &["load", "tpcds", "--scale", "0.05", "--data", "data"], &[]).await.text();
    let made = 24 - left.len();
    assert!(said.contains("24 tables") && (left.is_empty() || said.contains(&format!("; {made} loaded in"))), "{said}");
    assert_eq!(tables(directory.path()).await.len(), 24);
    for name in left {
        let table = GeneratedTable::tpcds(&name, 0.05).unwrap();
        let rows: usize = table.open(0..table.parts()).map(|batch| batch.unwrap().num_rows()).sum();
        let sql = format!("select count(*) from sample.tpcds_sf0_05.{name}");
        let counted = frazil(directory.path(), &["sql", "--data", "data", "--format", "csv", "-c", &sql], &[]).await;
        assert_eq!(counted.text(), format!("count(*)\n{rows}\n"), "{name}");
    }
}

fn files_below(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_and_files_become_tables() {
    let cluster = Cluster::start(Options::executors(2)).await;
    let tables = data::tpch().await;
    let oracle = Oracle::over(tables).await;
    let orders = tables.iter().find(|table| table.name == "orders").expect("it is one of them");
    let source = orders.directory.to_str().expect("a plain path");
    let said = load(&cluster, &[source]).await.text();
    assert_eq!(said, "orders: 15000 rows loaded\n");
    same(&cluster, &oracle, "select * from orders", "select * from orders").await;

    let again = load(&cluster, &[source]).await;
    assert_eq!(again.code(), Some(1));
    assert!(again.stderr.contains("already exists") && again.stderr.contains("42P07"), "{}", again.stderr);
    load(&cluster, &[source, "--append"]).await.output();
    same(&cluster, &oracle, "select count(*) c from orders", "select 2 * count(*) c from orders").await;
    load(&cluster, &[source, "--replace"]).await.output();
    same(&cluster, &oracle, "select * from orders", "select * from orders").await;

    let csv = cluster.directory().join("My people.csv");
    std::fs::write(&csv, "id,name\n1,Ann\n2,\"Bo, b\"\n").expect("written");
    let said = load(&cluster, &[csv.to_str().unwrap()]).await.text();
    assert_eq!(said, "my_people: 2 rows loaded\n");
    let broken = cluster.directory().join("broken.csv");
    std::fs::write(&broken, "id,name\n1,Ann\n2,b,c,d\n").expect("written");
    let refused = load(&cluster, &[broken.to_str().unwrap(), "--table", "b"]).await;
    assert_eq!(refused.code(), Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("broken.csv"), "{}", refused.stderr);
    // Neither a table nor what it was loaded through is left.
    let left =
        Request::new("select table_name from information_schema.tables where table_schema = 'public' order by 1");
    let left = cluster.client().json(&left).await.expect("listed");
    assert_eq!(left["data"], serde_json::json!([["my_people"], ["orders"]]));
    let missing = load(&cluster, &["/no/such/place"]).await;
    assert_eq!(missing.code(), Some(2), "{}", missing.stderr);
}
