//! Stages in object stores: the warehouse's own, and somebody's bucket.

use crate::support::answers::{Order, compare};
use crate::support::bucket::{Bucket, Dialect};
use crate::support::cluster::{Cluster, Options};
use crate::support::commands::frazil;
use crate::support::data;
use crate::support::engine::{Engine, Request};
use crate::support::oracle::Oracle;

use super::{lines, number, refused, rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn stages_in_s3() {
    stages_in(Dialect::S3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_in_google() {
    stages_in(Dialect::Gcs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_in_azure() {
    stages_in(Dialect::Azure).await;
}

async fn stages_in(dialect: Dialect) {
    let bucket = Bucket::start(dialect, "warehouse").await;
    let mut options = Options::executors(2).coordinator_option("warehouse", bucket.url("lake"));
    options.environment = bucket.cluster_environment();
    let roots = format!("{},/", bucket.url("raw"));
    options.environment.push(("FRAZIL_STORAGE_ALLOWED_ROOTS".to_owned(), roots));
    let cluster = Cluster::start(options).await;
    let local = tempfile::tempdir().expect("a directory");
    run(&cluster, "create table t (a int, b varchar)").await;
    run(&cluster, &format!("create stage theirs url = '{}'", bucket.url("raw/in"))).await;
    run(&cluster, "create stage own").await;
    assert_eq!(
        refused(&cluster, &format!("create stage x url = '{}'", bucket.url("other"))).await.sql_state.as_deref(),
        Some("42501")
    );

    // More files than a page of a list has, two of them sent by a client, one in parts.
    std::fs::create_dir(local.path().join("back")).expect("a directory");
    std::fs::write(local.path().join("sent.csv"), "1,one\n2,two\n").expect("a file");
    let large: String = (0..700_000).map(|n| format!("{n},text of row {n}\n")).collect();
    std::fs::write(local.path().join("large.csv"), &large).expect("a file");
    let uploads = bucket.seen().uploads_completed;
    let shell = |script: String| {
        let (directory, url) = (local.path().to_owned(), cluster.url().to_owned());
        async move { frazil(&directory, &["sql", "--url", &url, "--format", "csv", "-c", &script], &[]).await }
    };
    let path = local.path().display();
    let put = shell(format!(
        "put file://{path}/sent.csv @own/in/ auto_compress = false; put file://{path}/sent.csv @theirs; \
         put file://{path}/large.csv @own/large/ auto_compress = false"
    ))
    .await;
    assert_eq!(put.code(), Some(0), "{}", put.stderr);
    assert_eq!(bucket.seen().uploads_completed, uploads + 1, "the large one goes up in parts");
    assert!(bucket.get("raw/in/sent.csv.gz").is_some(), "{:?}", bucket.keys());
    for n in 0..7 {
        bucket.put(&format!("raw/in/dir/{n}.csv"), format!("{n},row {n}\n"));
    }
    let listed = lines(&cluster, "list @theirs", &["name"]).await;
    assert_eq!(listed.len(), 8, "{listed:?}");
    assert_eq!(lines(&cluster, "list @theirs pattern = 'dir/[0-2][.]csv'", &["name"]).await.len(), 3);

    // Each file once, by whatever statement names it.
    assert_eq!(lines(&cluster, "copy into t from @theirs/dir/", &["status"]).await, ["LOADED"; 7]);
    assert_eq!(lines(&cluster, "copy into t from @theirs/dir/", &["status"]).await, ["LOAD_SKIPPED"; 7]);
    let named = "copy into t from @theirs files = ('dir/3.csv')";
    assert_eq!(lines(&cluster, named, &["status"]).await, ["LOAD_SKIPPED"]);
    bucket.put("raw/in/dir/3.csv", "33,changed\n");
    assert_eq!(lines(&cluster, named, &["status", "rows_loaded"]).await, ["LOADED|1"]);
    assert_eq!(number(&cluster, "select count(*) from t").await, 8);
    let by_url = format!("copy into t from '{}'", bucket.url("raw/in/sent.csv.gz"));
    assert_eq!(lines(&cluster, &by_url, &["status", "rows_loaded"]).await, ["LOADED|2"]);
    run(&cluster, "truncate table t").await;
    assert_eq!(lines(&cluster, "copy into t from @own/large/", &["rows_loaded"]).await, ["700000"]);
    assert_eq!(number(&cluster, "select sum(a) from t").await, 699_999 * 350_000);
    let got = shell(format!("get @own/in file://{path}/back/; remove @own/in; list @own/in")).await;
    assert_eq!(got.code(), Some(0), "{}", got.stderr);
    assert_eq!(std::fs::read(local.path().join("back/sent.csv")).expect("it was fetched"), b"1,one\n2,two\n");
    assert_eq!(lines(&cluster, "list @own", &["name"]).await, ["own/large/large.csv"]);

    unload_and_load(&cluster, &bucket).await;
    run(&cluster, "drop stage own").await;
    let left: Vec<_> =
        bucket.keys().into_iter().filter(|key| key.contains(".stages") || key.contains(".frazil")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!dialect.has_aborts() || bucket.uploads_open() == 0, "{:?}", bucket.seen());
    assert_eq!(bucket.seen().refused, 0);
}

async fn unload_and_load(cluster: &Cluster, bucket: &Bucket) {
    let tables = data::tpch().await;
    data::register(cluster, tables).await;
    let expected =
        Oracle::over(tables).await.run(&Request::new("select * from orders")).await.expect("the oracle reads it");
    run(cluster, "create table back as select * from orders limit 0").await;
    for (place, format, more) in [
        ("@own/parquet/", "type = parquet", "max_file_size = 200000"),
        ("@theirs/csv/", "type = csv field_optionally_enclosed_by = '\\x22'", "max_file_size = 20000"),
    ] {
        let unload =
            Request::new(format!("copy into {place} from orders file_format = ({format}) {more}")).partitions(3);
        cluster.run(&unload).await.unwrap_or_else(|refusal| panic!("{place}: {refusal}"));
        let again = cluster.run(&unload).await.expect_err("there are files");
        assert_eq!(again.sql_state.as_deref(), Some("42710"), "{again}");
        run(cluster, "truncate table back").await;
        let answer = run(cluster, &format!("copy into back from {place} file_format = ({format})")).await;
        assert!(rows(&answer).len() > 1, "{place}: several files");
        let actual = run(cluster, "select * from back").await;
        compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{place}: {e}"));
    }
    let keys = bucket.keys();
    // One that fails late, in the middle of an upload.
    let fails = "copy into @theirs/none/ from (select a, b, 1 / (a - 699990) from t order by a) \
                 file_format = (type = csv compression = none) single = true";
    refused(cluster, fails).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let is_clean = || bucket.keys() == keys && (!bucket.dialect.has_aborts() || bucket.uploads_open() == 0);
    while !is_clean() {
        assert!(std::time::Instant::now() < deadline, "{:?} {:?}", bucket.keys(), bucket.seen());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
