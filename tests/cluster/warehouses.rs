//! Where tables keep their files: a bucket as well as a directory; and nothing of a write that came to nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use frazil_catalog::Database;

use crate::support::answers::{Order, compare};
use crate::support::bucket::{Bucket, Dialect};
use crate::support::cluster::{Cluster, Options};
use crate::support::commands::frazil;
use crate::support::data;
use crate::support::engine::{Engine, Request};
use crate::support::oracle::Oracle;

const LIMIT: Duration = Duration::from_secs(10);

async fn run(cluster: &Cluster, sql: &str) {
    cluster.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
}

async fn number(cluster: &Cluster, sql: &str) -> i64 {
    let answer = cluster.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
    answer.batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Ten to the power of `digits` rows of noise, `columns` first.
fn noise(columns: &str, digits: usize) -> String {
    let from: Vec<String> = (1..=digits).map(|n| format!("digits d{n} (n{n})")).collect();
    format!("select {columns}, random() b, random() c from {}", from.join(" cross join "))
}

/// A million rows of noise of which a late one has a null: the numbers follow the order in which the rows are made.
fn noise_with_a_late_null() -> String {
    noise("case when row_number() over () > 950000 then null else n2 end", 6)
}

async fn create_tables(cluster: &Cluster) {
    let digits = "(values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) d (n)";
    run(cluster, &format!("create table digits as select n from {digits}")).await;
    run(cluster, "create table t (a bigint not null, b double, c double)").await;
}

async fn cluster_in(bucket: &Bucket) -> Cluster {
    let mut options = Options::executors(2).coordinator_option("warehouse", bucket.url("lake"));
    options.environment = bucket.cluster_environment();
    Cluster::start(options).await
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found.sort();
    found
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_a_bucket_of_s3() {
    tables_in_a_bucket(Dialect::S3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_a_bucket_of_google() {
    tables_in_a_bucket(Dialect::Gcs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_a_container_of_azure() {
    tables_in_a_bucket(Dialect::Azure).await;
}

async fn tables_in_a_bucket(dialect: Dialect) {
    let s3 = Bucket::start(dialect, "warehouse").await;
    let mut cluster = cluster_in(&s3).await;
    let tables = data::tpch().await;
    data::register(&cluster, tables).await;
    let oracle = Oracle::over(tables).await;
    run(&cluster, "create table items as select * from lineitem").await;
    assert!(!s3.keys().is_empty() && s3.keys().iter().all(|key| key.starts_with("lake/frazil/")), "{:?}", s3.keys());
    assert!(files(&cluster.directory().join("coordinator/warehouse")).is_empty(), "nothing is written here");
    run(&cluster, "insert into items select * from lineitem where l_linenumber = 1").await;
    run(&cluster, "update items set l_tax = l_tax + 1 where l_linenumber = 2").await;
    run(&cluster, "delete from items where l_linenumber = 3").await;
    cluster.restart_coordinator();
    let sums = |from: &str| {
        format!("select l_linenumber n, count(*) a, sum(l_tax) b, max(l_comment) c from {from} group by 1")
    };
    let expected = sums(
        "(select l_linenumber, cast(l_tax + case when l_linenumber = 2 then 1 else 0 end as decimal(15, 2)) l_tax, l_comment from \
         (select * from lineitem union all select * from lineitem where l_linenumber = 1) where l_linenumber <> 3)",
    );
    let expected = oracle.run(&Request::new(expected)).await.expect("the oracle answers");
    for partitions in [1, 3] {
        let actual = cluster.run(&Request::new(sums("items")).partitions(partitions)).await.expect("it is there");
        compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{partitions}: {e}"));
    }
    assert_eq!((s3.uploads_open(), s3.seen().refused), (0, 0));
}

/// A write that fails late, and one that is cancelled: uploads are aborted, and files that were complete are removed.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_in_a_bucket() {
    for dialect in Dialect::ALL {
        nothing_is_left_in(Bucket::start(dialect, "warehouse").await).await;
    }
}

async fn nothing_is_left_in(s3: Bucket) {
    // Azure has no way to give an upload up, and forgets blocks that no list names.
    let given_up = || !s3.dialect.has_aborts() || s3.uploads_open() == 0;
    let cluster = cluster_in(&s3).await;
    create_tables(&cluster).await;
    let keys = s3.keys();
    let fails = noise_with_a_late_null();
    let refusal = cluster.run(&Request::new(format!("insert into t {fails}"))).await.expect_err("a null");
    assert_eq!(refusal.sql_state.as_deref(), Some("23502"), "{refusal}");
    // It was to fail late, when an upload had begun.
    let aborted = || !s3.dialect.has_aborts() || s3.seen().uploads_aborted > 0;
    until("uploads are aborted", || aborted() && given_up() && s3.keys() == keys).await;

    let (insert, open) = (format!("insert into t {}", noise("n1", 7)), s3.uploads_open());
    let handle = cluster.client().start(&insert).await.expect("it is accepted");
    until("an upload begins", || s3.uploads_open() > open).await;
    cluster.client().cancel(&handle).await.expect("it can be cancelled");
    until("uploads are aborted", || given_up() && s3.keys() == keys).await;
    assert_eq!((number(&cluster, "select count(*) from t").await, s3.seen().uploads_completed), (0, 0));
    run(&cluster, "insert into t values (1, 2, 3)").await;
    assert_eq!(s3.keys().len(), keys.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_in_a_directory() {
    // Files so small that some are complete when the statement fails.
    let cluster = Cluster::start(Options::executors(2).coordinator_option("file_bytes", "1MB")).await;
    let warehouse = cluster.directory().join("coordinator/warehouse");
    create_tables(&cluster).await;
    let before = files(&warehouse);
    let fails = noise_with_a_late_null();
    let refusal = cluster.run(&Request::new(format!("insert into t {fails}"))).await.expect_err("a null");
    assert_eq!(refusal.sql_state.as_deref(), Some("23502"), "{refusal}");
    until("files are removed", || files(&warehouse) == before).await;

    let handle = cluster.client().start(&format!("insert into t {}", noise("n1", 7))).await.expect("it is accepted");
    until("some files are complete", || files(&warehouse).len() > before.len() + 2).await;
    cluster.client().cancel(&handle).await.expect("it can be cancelled");
    until("files are removed", || files(&warehouse) == before).await;

    // A conflict: the files of the later one have nobody.
    run(&cluster, &format!("insert into t {}", noise("n1", 5))).await;
    let updates: Vec<Request> = (0..3).map(|n| Request::new(format!("update t set a = a + {n}"))).collect();
    let answers = futures::future::join_all(updates.iter().map(|update| cluster.run(update))).await;
    let refusals: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(refusals.iter().all(|refusal| refusal.sql_state.as_deref() == Some("40001")), "{refusals:?}");
    let catalog = cluster.directory().join("coordinator/catalog/frazil.ducklake");
    let database = Database::open_sqlite("frazil", &catalog).await.expect("it is a database");
    let referenced = database.referenced_paths().await.expect("a list of files");
    until("the files of conflicting writes are removed", || {
        files(&warehouse).iter().all(|file| referenced.contains(&file.display().to_string()))
    })
    .await;
    assert_eq!(number(&cluster, "select count(*) from t").await, 100_000);
}

/// One coordinator for each catalog; the next one takes over when it is gone, however it went.
#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_on_one_catalog() {
    let mut cluster = Cluster::start(Options::executors(1)).await;
    let pid = cluster.coordinator_pid();
    let other = tempfile::tempdir().expect("a directory");
    let catalog = cluster.directory().join("coordinator/catalog").display().to_string();
    let arguments =
        ["coordinator", "--http-listen", "127.0.0.1:0", "--rpc-listen", "127.0.0.1:0", "--data-listen", "127.0.0.1:0"];
    let environment = [("FRAZIL_COORDINATOR_CATALOG".to_owned(), catalog.clone())];
    let ran = frazil(other.path(), &arguments, &environment).await;
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr);
    let address = cluster.url().trim_start_matches("http://").to_owned();
    for word in [catalog.as_str(), &format!("process {pid}"), &address] {
        assert!(ran.stderr.contains(word), "no {word}: {}", ran.stderr);
    }
    assert!(!String::from_utf8_lossy(&ran.stdout).contains("ready"), "it was not");
    run(&cluster, "create table t as select 1 as a").await;
    cluster.restart_coordinator();
    assert_ne!(cluster.coordinator_pid(), pid);
    assert_eq!(number(&cluster, "select a from t").await, 1);
}
