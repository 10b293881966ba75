//! `COPY INTO` a stage.

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::engine::{Engine, Request};
use crate::support::oracle::Oracle;

use super::{Staged, lines, number, refused, rows, run, walk};

/// What is unloaded and loaded again is what it was.
#[tokio::test(flavor = "multi_thread")]
async fn rows_go_out_and_come_back() {
    let tables = data::tpch().await;
    let oracle = Oracle::over(tables).await;
    let cluster = Cluster::start(Options::executors(3)).await;
    data::register(&cluster, tables).await;
    run(&cluster, "create stage out").await;
    run(&cluster, "create table back as select * from orders limit 0").await;
    let expected = oracle.run(&Request::new("select * from orders")).await.expect("the oracle reads it");
    let count = number(&oracle, "select count(*) from orders").await.to_string();
    for (name, format, more) in [
        ("parquet", "type = parquet", "max_file_size = 200000"),
        ("csv", "type = csv", "max_file_size = 100000"),
        ("quoted", "type = csv field_optionally_enclosed_by = '\\x22' compression = zstd", "header = true"),
        ("plain", "type = csv field_delimiter = '|' compression = none", "single = true"),
        ("json", "type = json compression = gzip", ""),
    ] {
        let copy =
            Request::new(format!("copy into @out/{name}/ from orders file_format = ({format}) {more}")).partitions(4);
        let answer = cluster.run(&copy).await.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(rows(&answer)[0]["rows_unloaded"], count, "{name}");
        let files = lines(&cluster, &format!("list @out/{name}"), &["name"]).await;
        let several = files.len() > 1;
        assert_eq!(several, name != "plain", "{name}: {files:?}");
        assert!(files.iter().all(|file| file.contains("/data") && !file.contains(".frazil")), "{files:?}");
        // What is there is not written over.
        let again = cluster.run(&copy).await.expect_err("there are files");
        assert_eq!(again.sql_state.as_deref(), Some("42710"), "{again}");
        run(&cluster, "truncate table back").await;
        let skip = if more.contains("header") { "skip_header = 1" } else { "" };
        let load = format!("copy into back from @out/{name}/ file_format = ({format} {skip})");
        run(&cluster, &load).await;
        let actual = run(&cluster, "select * from back").await;
        compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    run(&cluster, "copy into @out/plain/ from orders single = true overwrite = true file_format = (type = csv)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unload_that_fails_leaves_nothing() {
    let staged = Staged::start(2).await;
    let cluster = &staged.cluster;
    run(cluster, "create table t as select value as a from generate_series(1, 100000)").await;
    for sql in [
        "copy into @st/out/ from (select 1 / (a - 99999) from t) file_format = (type = csv)",
        "copy into @st/out/ from (select make_array(a) from t) file_format = (type = csv)",
        "copy into @st/out/ from nowhere",
        "copy into @st/out/ from t partition by (a)",
        "copy into @st/../out/ from t",
    ] {
        refused(cluster, sql).await;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !walk(&staged.directory).is_empty() {
            assert!(std::time::Instant::now() < deadline, "{sql} leaves {:?}", walk(&staged.directory));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}
