//! Tables in S3, Google's and Azure's store, by way of a bucket in this process: `load --to s3://…` writes them, and a cluster that may,
//! reads them.

use crate::queries::{check, load};
use crate::support::answers::{Order, compare};
use crate::support::bucket::{Bucket, Dialect};
use crate::support::cluster::{Cluster, Options};
use crate::support::commands::frazil;
use crate::support::data::{self, Table};
use crate::support::engine::{Engine, Request};
use crate::support::oracle::Oracle;

use frazil_datasets::TPCH_TABLES;

/// Three executors that may read what is below the root.
async fn cluster_on(bucket: &Bucket, root: &str) -> Cluster {
    let mut options = Options::executors(3);
    options.environment = bucket.cluster_environment();
    options.environment.push(("FRAZIL_STORAGE_ALLOWED_ROOTS".to_owned(), bucket.url(root)));
    Cluster::start(options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tpch_in_a_bucket_of_s3() {
    tpch_in_a_bucket(Dialect::S3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tpch_in_a_bucket_of_google() {
    tpch_in_a_bucket(Dialect::Gcs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tpch_in_a_container_of_azure() {
    tpch_in_a_bucket(Dialect::Azure).await;
}

async fn tpch_in_a_bucket(dialect: Dialect) {
    let s3 = Bucket::start(dialect, "warehouse").await;
    let directory = tempfile::tempdir().expect("a directory");
    let place = s3.url("some/tpch");
    let load_it = ["load", "tpch", "--scale", "0.01", "--to", &place];
    let said = frazil(directory.path(), &load_it, &s3.environment()).await.text();
    assert!(said.contains("rows") && said.contains(&place), "{said}");
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

    let cluster = cluster_on(&s3, "some").await;
    for table in TPCH_TABLES {
        let declare = format!("create external table {table} stored as parquet location '{place}/{table}/'");
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
    let directory = tempfile::tempdir().expect("a directory");
    fn load_it(to: &str) -> [&str; 8] {
        ["load", "events", "--rows", ROWS, "--files", "1", "--to", to]
    }
    frazil(directory.path(), &load_it("here"), &[]).await.output();
    let here = Table { name: "events".to_owned(), directory: directory.path().join("here/events") };
    let sql = "select event_date, count(*), count(distinct user_id), sum(revenue), max(page_url) from events \
               group by event_date order by event_date";
    let expected = Oracle::over(&[here]).await.run(&Request::new(sql)).await.expect("the oracle answers");

    for dialect in Dialect::ALL {
        let s3 = Bucket::start(dialect, "warehouse").await;
        let place = s3.url("events");
        frazil(directory.path(), &load_it(&place), &s3.environment()).await.output();
        assert_eq!((s3.seen().uploads_completed, s3.uploads_open()), (1, 0), "{dialect:?}: {:?}", s3.seen());
        let cluster = cluster_on(&s3, "").await;
        let declare = format!("create external table events stored as parquet location '{}'", s3.url("events/events/"));
        cluster.run(&Request::new(declare)).await.expect("declared");
        let actual = cluster.run(&Request::new(sql).partitions(3)).await.expect("it is a table");
        compare(&expected, &actual, Order::Total).unwrap_or_else(|e| panic!("{dialect:?}: {e}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_buckets_and_credentials_are_refused() {
    for dialect in Dialect::ALL {
        let bucket = Bucket::start(dialect, "warehouse").await;
        let directory = tempfile::tempdir().expect("a directory");
        let place = bucket.url("tpch");
        let arguments = ["load", "tpch", "--scale", "0.01", "--to", &place];
        if let Some(stranger) = bucket.strangers_environment() {
            let ran = frazil(directory.path(), &arguments, &stranger).await;
            assert_eq!(ran.code(), Some(1), "{}", ran.stderr);
            assert!(ran.stderr.contains(&place), "{}", ran.stderr);
            assert!(bucket.seen().refused > 0 && bucket.keys().is_empty(), "{dialect:?}");
        }
        let elsewhere = place.replace("warehouse", "other");
        let other = [&arguments[..5], &[elsewhere.as_str()]].concat();
        let ran = frazil(directory.path(), &other, &bucket.environment()).await;
        assert_eq!(ran.code(), Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains(&elsewhere), "{}", ran.stderr);

        let cluster = cluster_on(&bucket, "mine").await;
        for (location, state) in [
            (bucket.url("theirs/t/"), "42501"),
            (bucket.url("mine-not/t/"), "42501"),
            (bucket.url("mine/t/").replace("warehouse", "other"), "42501"),
            (bucket.url("mine/nothing/"), "58030"),
        ] {
            let declare = format!("create external table t stored as parquet location '{location}'");
            let refusal = cluster.run(&Request::new(declare)).await.expect_err(&location);
            assert_eq!(refusal.sql_state.as_deref(), Some(state), "{location}: {refusal}");
            assert!(refusal.message.contains(&location), "{refusal}");
        }
    }
}
