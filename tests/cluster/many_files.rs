//! Scans of so many files that plans have one split in place of all those of a partition.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Answer, Engine, Request};

/// With as many columns, some thousand files have more statistics than a plan carries.
const COLUMNS: usize = 98;
const ROWS: usize = 66_000;

async fn run(cluster: &Cluster, request: Request) -> Answer {
    cluster.run(&request).await.unwrap_or_else(|refusal| panic!("{}: {refusal}", request.sql))
}

async fn number(cluster: &Cluster, sql: &str) -> i64 {
    run(cluster, Request::new(sql)).await.batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

fn rows() -> String {
    let columns: Vec<_> = (1..=COLUMNS).map(|n| format!("(value * {n}) % 97 as c{n}")).collect();
    format!("select value as id, {} from generate_series(1, {ROWS}) s(value)", columns.join(", "))
}

fn sums(from: &str) -> String {
    let sums: Vec<_> = (1..=COLUMNS).map(|n| format!("sum(c{n}) as s{n}")).collect();
    format!(
        "select count(*) as n, sum(id) as ids, min(id) as least, max(id) as greatest, {} from {from}",
        sums.join(", ")
    )
}

async fn same(cluster: &Cluster, table: &str, expected: &str, partitions: &[usize]) {
    let expected = run(cluster, Request::new(sums(expected))).await;
    for partitions in partitions.iter().copied() {
        let actual = run(cluster, Request::new(sums(table)).partitions(partitions)).await;
        compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{table} at {partitions}: {e}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_files_are_read_like_few() {
    let cluster = Cluster::start(Options::executors(2).coordinator_option("file_bytes", 1)).await;
    let settings = vec![("datafusion.execution.batch_size".to_owned(), "64".to_owned())];
    run(&cluster, Request { settings, ..Request::new(format!("create table wide as {}", rows())) }).await;
    let files = number(&cluster, "select count(*) from table_files('frazil.public.wide')").await;
    assert!(files > 1010, "{files} files");

    let plan = run(&cluster, Request::new(format!("explain {}", sums("wide"))).partitions(2)).await;
    let text = plan.batches.iter().map(|batch| cast(batch.column(1), &DataType::Utf8).expect("it is text"));
    let text: String = text
        .flat_map(|texts| texts.as_string::<i32>().iter().flatten().collect::<String>().chars().collect::<Vec<_>>())
        .collect();
    assert!(text.contains("files of wide") && !text.contains(".parquet"), "{text}");
    assert!(text.contains(&format!("files={files} of {files}")), "{text}");

    same(&cluster, "wide", &format!("({}) made", rows()), &[1, 5]).await;
    // The latest comes first.
    let before = number(&cluster, "show snapshots").await;
    // Reads all columns, and the places of rows.
    run(&cluster, Request::new("update wide set c1 = c1 + 1000 where id % 20 = 4").partitions(2)).await;
    run(&cluster, Request::new("delete from wide where id % 20 = 7")).await;
    let deleted = number(&cluster, "select count(*) from table_files('frazil.public.wide') where deleted > 0").await;
    assert!(deleted > 1000, "{deleted} files with delete files");
    let columns: Vec<_> = (2..=COLUMNS).map(|n| format!("c{n}")).collect();
    let changed = format!(
        "(select id, case when id % 20 = 4 then c1 + 1000 else c1 end as c1, {} from ({}) made where id % 20 <> 7) changed",
        columns.join(", "),
        rows()
    );
    same(&cluster, "wide", &changed, &[2]).await;
    same(&cluster, &format!("wide at (snapshot => {before})"), &format!("({}) made", rows()), &[2]).await;
}
