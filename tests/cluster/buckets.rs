//! Tables in S3, by way of a bucket in this process: `load --to s3://…` writes them, and a cluster that may, reads them.

use crate::queries::{check, load};
use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options};
use crate::support::commands::frazil;
use crate::support::data::{self, Table};
use crate::support::engine::{Engine, Request};
use crate::support::oracle::Oracle;
use crate::support::s3::S3;

use frazil_datasets::TPCH_TABLES;

/// Three executors that may read what is below the root.
async fn cluster_on(s3: &S3, root: &str) -> Cluster {
    let mut options = Options::executors(3);
    options.environment = s3.credentials();
    let storage = [("ALLOWED_ROOTS", root), ("S3_ENDPOINT", s3.address()), ("S3_ALLOW_HTTP", "true")];
    let storage = storage.map(|(key, value)| (format!("FRAZIL_STORAGE_{key}"), value.to_owned()));
    options.environment.extend(storage);
    Cluster::start(options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tpch_in_a_bucket() {
    let s3 = S3::start("warehouse").await;
    let directory = tempfile::tempdir().expect("a directory");
    let load_it = ["load", "tpch", "--scale", "0.01", "--to", "s3://warehouse/some/tpch"];
    let said = frazil(directory.path(), &load_it, &s3.environment()).await.text();
    assert!(said.contains("rows") && said.contains("s3://warehouse/some/tpch"), "{said}");
    let keys = s3.keys();
    for table in TPCH_TABLES {
        let prefix = format!("some/tpch/{table}/{table}-");
        assert!(keys.iter().any(|key| key.starts_with(&prefix) && key.ends_with(".parquet")), "{table}: {keys:?}");
    }
    assert!(keys.contains(&"some/tpch/_SUCCESS.json".to_owned()), "{keys:?}");
    assert!(!directory.path().join("data").exists(), "nothing is written here");

    // The marker and the sizes of the files are read, and nothing is written again.
    let puts = s3.seen().puts;
    let said = frazil(directory.path(), &load_it, &s3.environment()).await.text();
    assert!(said.contains("holds it already"), "{said}");
    assert_eq!(s3.seen().puts, puts);
    // A table of more files than there are in one page of a list.
    assert!(s3.seen().pages_listed > TPCH_TABLES.len(), "{:?}", s3.seen());

    let cluster = cluster_on(&s3, "s3://warehouse/some").await;
    for table in TPCH_TABLES {
        let declare =
            format!("create external table {table} stored as parquet location 's3://warehouse/some/tpch/{table}/'");
        cluster.run(&Request::new(declare)).await.unwrap_or_else(|e| panic!("{table}: {e}"));
    }
    // Local tables of the same scale have the same rows.
    let mut queries = load("tpch");
    queries.retain(|query| ["q01", "q03", "q06", "q09", "q18", "q21"].contains(&query.name.as_str()));
    assert_eq!(queries.len(), 6);
    let before = s3.seen().gets_of_a_range;
    check(&cluster, data::tpch().await, &queries).await;
    assert!(s3.seen().gets_of_a_range > before, "executors read from the bucket");
    assert_eq!(s3.seen().refused, 0);
}

/// A file larger than a part of an upload, and a set that was half written.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_goes_up_in_parts() {
    const ROWS: &str = "200000";
    let s3 = S3::start("warehouse").await;
    let directory = tempfile::tempdir().expect("a directory");
    let load_it = |to: &'static str| ["load", "events", "--rows", ROWS, "--files", "1", "--to", to];
    frazil(directory.path(), &load_it("s3://warehouse/events"), &s3.environment()).await.output();
    assert_eq!((s3.seen().uploads_completed, s3.uploads_open()), (1, 0), "{:?}", s3.seen());
    frazil(directory.path(), &load_it("here"), &[]).await.output();
    let here = Table { name: "events".to_owned(), directory: directory.path().join("here/events") };

    let cluster = cluster_on(&s3, "s3://warehouse").await;
    let declare = "create external table events stored as parquet location 's3://warehouse/events/events/'";
    cluster.run(&Request::new(declare)).await.expect("declared");
    let sql = "select event_date, count(*), count(distinct user_id), sum(revenue), max(page_url) from events \
               group by event_date order by event_date";
    let expected = Oracle::over(&[here]).await.run(&Request::new(sql)).await.expect("the oracle answers");
    let actual = cluster.run(&Request::new(sql).partitions(3)).await.expect("it is a table");
    compare(&expected, &actual, Order::Total).expect("the same rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_buckets_and_credentials_are_refused() {
    let s3 = S3::start("warehouse").await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut stranger = s3.environment();
    stranger.push(("AWS_ACCESS_KEY_ID".to_owned(), "a-stranger".to_owned()));
    let arguments = ["load", "tpch", "--scale", "0.01", "--to", "s3://warehouse/tpch"];
    let ran = frazil(directory.path(), &arguments, &stranger).await;
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("s3://warehouse/tpch"), "{}", ran.stderr);
    assert!(s3.seen().refused > 0 && s3.keys().is_empty());
    let other = [&arguments[..5], &["s3://other/tpch"]].concat();
    let ran = frazil(directory.path(), &other, &s3.environment()).await;
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("s3://other/tpch"), "{}", ran.stderr);

    let cluster = cluster_on(&s3, "s3://warehouse/mine").await;
    for (location, state) in [
        ("s3://warehouse/theirs/t/", "42501"),
        ("s3://warehouse/mine-not/t/", "42501"),
        ("s3://other/mine/t/", "42501"),
        ("s3://warehouse/mine/nothing/", "58030"),
    ] {
        let declare = format!("create external table t stored as parquet location '{location}'");
        let refusal = cluster.run(&Request::new(declare)).await.expect_err(location);
        assert_eq!(refusal.sql_state.as_deref(), Some(state), "{location}: {refusal}");
        assert!(refusal.message.contains(location), "{refusal}");
    }
}
