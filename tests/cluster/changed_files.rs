//! Files that are changed while a statement runs: an error that says so, and no rows of both.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use crate::support::bucket::{Bucket, Dialect};
use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Engine, Request};

/// A column `a` of two numbers, over and over: of as many bytes whatever the numbers. (Of one number, statistics would tell all.)
fn parquet(number: i64) -> Vec<u8> {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
    let column = Int64Array::from([number - 1, number + 1].repeat(500));
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, schema.clone(), None).expect("a writer");
    writer.write(&RecordBatch::try_new(schema, vec![Arc::new(column)]).expect("a batch")).expect("it is written");
    writer.close().expect("it is written");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_after_it_was_listed() {
    for dialect in Dialect::ALL {
        let bucket = Bucket::start(dialect, "warehouse").await;
        let mut options = Options::executors(1);
        options.environment = bucket.cluster_environment();
        options.environment.push(("FRAZIL_STORAGE_ALLOWED_ROOTS".to_owned(), bucket.url("")));
        let cluster = Cluster::start(options).await;
        let csv = |number: i64| format!("{number}\n").repeat(1000).into_bytes();
        for (name, first, second) in [("a.parquet", parquet(1), parquet(2)), ("a.csv", csv(1), csv(2))] {
            let format = name.split_once('.').expect("an ending").1;
            let key = format!("{format}/{name}");
            assert_eq!(first.len(), second.len(), "{key}: its size does not tell");
            bucket.put(&key, first);
            bucket.make_old(&key);
            let columns = if format == "csv" { "(a bigint)" } else { "" };
            let place = bucket.url(&format!("{format}/"));
            let declare = format!(
                "create external table t_{format} {columns} stored as {format} location '{place}' {}",
                if format == "csv" { "options ('format.has_header' 'false')" } else { "" }
            );
            cluster.run(&Request::new(declare)).await.unwrap_or_else(|refusal| panic!("{refusal}"));
            let sum = Request::new(format!("select sum(a) from t_{format}"));
            let shown = |answer: crate::support::engine::Answer| {
                arrow::util::pretty::pretty_format_batches(&answer.batches).expect("it can be shown").to_string()
            };
            let answer = shown(cluster.run(&sum).await.unwrap_or_else(|refusal| panic!("{refusal}")));
            assert!(answer.contains("1000"), "{answer}");
            bucket.put_after_list(&key, second);
            let refusal = cluster.run(&sum).await.expect_err("the file has changed");
            assert_eq!(refusal.sql_state.as_deref(), Some("40001"), "{dialect:?}: {refusal}");
            assert!(refusal.message.contains(name) && refusal.message.contains("changed"), "{refusal}");
            let answer = shown(cluster.run(&sum).await.unwrap_or_else(|refusal| panic!("{refusal}")));
            assert!(answer.contains("2000"), "{dialect:?}: {answer}");
        }

        // Likewise of a load.
        cluster.run(&Request::new("create table loaded (a bigint)")).await.expect("created");
        for (name, first, second, kind) in
            [("in/x.csv", csv(1), csv(2), "csv"), ("in/x.parquet", parquet(1), parquet(2), "parquet")]
        {
            bucket.put(name, first);
            bucket.make_old(name);
            bucket.put_after_list(name, second);
            let copy = format!("copy into loaded from '{}' file_format = (type = {kind})", bucket.url(name));
            let refusal = cluster.run(&Request::new(copy)).await.expect_err("the file has changed");
            assert!(refusal.message.contains("changed"), "{dialect:?} {kind}: {refusal}");
            let count = cluster.run(&Request::new("select a from loaded")).await.expect("it is there");
            assert_eq!(count.rows(), 0, "{dialect:?} {kind}");
        }
    }
}
