//! Distinct values of columns, sketched while rows are written: near the truth, in every version of a table, and used by plans.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Answer, Engine, Request};

async fn run(engine: &dyn Engine, sql: &str) -> Answer {
    engine.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
}

/// What is known of a column's distinct values.
async fn distinct(cluster: &Cluster, table: &str, column: &str) -> Option<i64> {
    let sql = format!("SELECT distinct_values FROM column_statistics('{table}') WHERE column_name = '{column}'");
    let answer = run(cluster, &sql).await;
    assert_eq!(answer.rows(), 1, "{sql}");
    let batch = answer.batches.iter().find(|batch| batch.num_rows() > 0).expect("it has a row");
    let values = batch.column(0).as_primitive::<Int64Type>();
    values.is_valid(0).then(|| values.value(0))
}

#[track_caller]
fn near(found: Option<i64>, count: i64) {
    let found = found.unwrap_or_else(|| panic!("nothing is known, of {count}"));
    assert!((found - count).abs() as f64 <= 0.05 * count as f64, "{found} for {count}");
}

/// The rows that a plan expects of a grouping by the column.
async fn groups(cluster: &Cluster, table: &str, column: &str) -> Option<i64> {
    let plan = plan_of(cluster, &format!("SELECT {column}, count(*) FROM {table} GROUP BY {column}")).await;
    let line = plan.lines().find(|line| line.contains("AggregateExec")).unwrap_or_else(|| panic!("{plan}"));
    let (_, rows) = line.split_once("Rows=Inexact(").unwrap_or_else(|| panic!("{plan}"));
    rows.split_once(')').and_then(|(rows, _)| rows.parse().ok())
}

async fn plan_of(cluster: &Cluster, sql: &str) -> String {
    let answer = run(cluster, &format!("EXPLAIN VERBOSE {sql}")).await;
    let mut found = None;
    for batch in &answer.batches {
        let text = |column: usize| cast(batch.column(column), &DataType::Utf8).expect("it is text");
        let (names, texts) = (text(0), text(1));
        let (names, texts) = (names.as_string::<i32>(), texts.as_string::<i32>());
        let row = (0..batch.num_rows()).find(|row| names.value(*row) == "physical_plan");
        found = found.or(row.map(|row| texts.value(row).to_owned()));
    }
    found.unwrap_or_else(|| panic!("{sql}: no physical plan"))
}

async fn latest(cluster: &Cluster) -> i64 {
    let answer = run(cluster, "SHOW SNAPSHOTS").await;
    answer.batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

async fn started(executors: usize) -> Cluster {
    Cluster::start(Options::executors(executors).coordinator_option("small_scan", 0)).await
}

const ROWS: &str = "SELECT v AS id, v % 1000 AS thousand, 'text ' || (v % 7000) AS label, \
                    CAST(v % 50 AS DECIMAL(9, 2)) AS price, v % 20000 / 4.0 AS part, \
                    CASE WHEN v % 3 = 0 THEN v % 30 END AS some FROM generate_series(1, 100000) AS t(v)";

#[tokio::test]
async fn estimates_are_near_however_many_wrote() {
    let cluster = started(3).await;
    run(&cluster, &format!("CREATE TABLE t AS {ROWS}")).await;
    for (column, count) in
        [("id", 100_000), ("thousand", 1000), ("label", 7000), ("price", 50), ("part", 20_000), ("some", 10)]
    {
        near(distinct(&cluster, "t", column).await, count);
    }
    // The same rows again, from elsewhere, are not new values.
    run(&cluster, "INSERT INTO t SELECT * FROM t").await;
    near(distinct(&cluster, "t", "id").await, 100_000);
    run(&cluster, "INSERT INTO t (id) SELECT v FROM generate_series(100001, 150000) AS t(v)").await;
    near(distinct(&cluster, "t", "id").await, 150_000);
    near(distinct(&cluster, "t", "label").await, 7000);
    // A column that came later is known when it has been in most rows.
    run(&cluster, "ALTER TABLE t ADD COLUMN late BIGINT").await;
    assert_eq!(distinct(&cluster, "t", "late").await, None);
    run(&cluster, "INSERT INTO t (id, late) VALUES (1, 1)").await;
    assert_eq!(distinct(&cluster, "t", "late").await, None);
}

#[tokio::test]
async fn every_version_has_its_own() {
    let cluster = started(2).await;
    run(&cluster, &format!("CREATE TABLE t AS {ROWS}")).await;
    run(&cluster, "CREATE TABLE copy CLONE t").await;
    near(distinct(&cluster, "copy", "id").await, 100_000);
    run(&cluster, "INSERT INTO copy (id) SELECT v FROM generate_series(200001, 210000) AS t(v)").await;
    near(distinct(&cluster, "copy", "id").await, 110_000);
    near(distinct(&cluster, "t", "id").await, 100_000);

    let before = latest(&cluster).await;
    run(&cluster, "INSERT OVERWRITE t SELECT * FROM t WHERE id <= 500").await;
    near(distinct(&cluster, "t", "id").await, 500);
    near(distinct(&cluster, "t", "thousand").await, 500);
    // As the table was, and as it is.
    near(groups(&cluster, &format!("t AT (SNAPSHOT => {before})"), "thousand").await, 1000);
    near(groups(&cluster, "t", "thousand").await, 500);

    run(&cluster, "TRUNCATE TABLE t").await;
    assert_eq!(distinct(&cluster, "t", "id").await, None);
    run(&cluster, "INSERT INTO t (id) VALUES (1), (2), (2)").await;
    assert_eq!(distinct(&cluster, "t", "id").await, Some(2));
    assert_eq!(distinct(&cluster, "t", "label").await, Some(0));

    // What is deleted stays in the sketch; what is written anew ends it.
    for value in 10..15 {
        run(&cluster, &format!("INSERT INTO t (id) VALUES ({value})")).await;
    }
    assert_eq!(distinct(&cluster, "t", "id").await, Some(7));
    run(&cluster, "DELETE FROM t WHERE id >= 10").await;
    assert_eq!(distinct(&cluster, "t", "id").await, Some(3), "never more than rows");
    run(&cluster, "INSERT INTO t (id) VALUES (2)").await;
    assert_eq!(distinct(&cluster, "t", "id").await, Some(4));
    run(&cluster, "OPTIMIZE t").await;
    assert_eq!(distinct(&cluster, "t", "id").await, Some(2));

    run(&cluster, "DROP TABLE t").await;
    run(&cluster, "UNDROP TABLE t").await;
    assert_eq!(distinct(&cluster, "t", "id").await, Some(2));
}

#[tokio::test]
async fn plans_go_by_them() {
    let cluster = started(2).await;
    run(&cluster, &format!("CREATE TABLE t AS {ROWS}")).await;
    near(groups(&cluster, "t", "thousand").await, 1000);
    near(groups(&cluster, "t", "label").await, 7000);
    near(groups(&cluster, "t", "id").await, 100_000);
    // A filter that leaves a hundredth of the rows leaves no more values than rows.
    let few = groups(&cluster, "t", "id").await.zip(groups(&cluster, "(SELECT * FROM t WHERE id < 1000)", "id").await);
    assert!(few.is_some_and(|(all, few)| few < all / 10), "{few:?}");
}
