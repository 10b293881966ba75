//! Disks without room: what needs some fails with 53100 and leaves nothing, reads go on, and all is well when there is room again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::engine::{Refusal, Request};
use crate::support::small_disk::SmallDisk;

/// A hundred thousand rows that do not compress: 2.4 MB.
const NOISE: &str =
    "select random() a, random() b, random() c from digits d1, digits d2, digits d3, digits d4, digits d5";
const CLEANED_UP_LIMIT: Duration = Duration::from_secs(5);

async fn run(disk: &SmallDisk, sql: &str) -> Value {
    disk.client().json(&Request::new(sql)).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
}

async fn count(disk: &SmallDisk, table: &str) -> u64 {
    let answer = run(disk, &format!("select count(*), sum(a) from {table}")).await;
    answer["data"][0][0].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

async fn refused(disk: &SmallDisk, sql: &str) -> Refusal {
    match disk.client().json(&Request::new(sql).partitions(2)).await {
        Ok(answer) => panic!("{sql}: {answer}"),
        Err(refusal) => refusal,
    }
}

fn assert_is_full(refusal: &Refusal, of: &str) {
    assert_eq!(refusal.sql_state.as_deref(), Some("53100"), "{refusal}");
    assert!(refusal.message.contains("disk is full") && refusal.message.contains(of), "no {of:?}: {refusal}");
}

/// A sort that spills needs some memory for merging as well, and has not always enough in so small a pool.
async fn spilling(disk: &SmallDisk, sql: &str) -> Result<Value, Refusal> {
    let mut tries = 0;
    loop {
        tries += 1;
        match disk.client().json(&Request::new(sql)).await {
            Err(refusal) if refusal.sql_state.as_deref() == Some("53200") && tries < 10 => {}
            outcome => return outcome,
        }
    }
}

async fn digits(disk: &SmallDisk) {
    run(disk, "create table digits as select * from (values (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)) d (n)").await;
}

async fn until_files_are(disk: &SmallDisk, directory: &str, wanted: &[PathBuf]) {
    let deadline = Instant::now() + CLEANED_UP_LIMIT;
    while disk.files(directory) != wanted {
        assert!(Instant::now() < deadline, "{:?} instead of {wanted:?}", disk.files(directory));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_room_for_its_files() {
    let Some(disk) = SmallDisk::start(48, 16, &[]) else { return };
    digits(&disk).await;
    run(&disk, &format!("create table t as {NOISE}")).await;
    let files = disk.files("warehouse");
    let large = format!("insert into t {NOISE}, digits d6");
    // In parts, and in one piece; in a table that is there, and in one that is made.
    for (left, sql) in [
        (12 << 20, large.clone()),
        (1 << 20, large.clone()),
        (0, format!("insert into t {NOISE}")),
        (0, format!("create table u as {NOISE}")),
        (0, "update t set a = a + 1".to_owned()),
    ] {
        disk.fill("data", left);
        assert_is_full(&refused(&disk, &sql).await, if sql.starts_with("create") { "public.u" } else { "public.t" });
        assert_eq!(count(&disk, "t").await, 100_000, "{sql}");
        assert_eq!(refused(&disk, "select * from u").await.sql_state.as_deref(), Some("42P01"));
        until_files_are(&disk, "warehouse", &files).await;
        disk.free("data");
    }
    run(&disk, &format!("insert into t {NOISE}")).await;
    run(&disk, "delete from t where a < 0.5").await;
    run(&disk, &format!("create table u as {NOISE}")).await;
    assert!(count(&disk, "t").await > 90_000);
    assert_eq!(count(&disk, "u").await, 100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_without_room() {
    let Some(disk) = SmallDisk::start(32, 4, &[]) else { return };
    run(&disk, "create table t (a int)").await;
    disk.fill("catalog", 0);
    // The write-ahead log has room for some commits.
    let mut rows = 0;
    let files = loop {
        let files = disk.files("warehouse");
        match disk.client().json(&Request::new("insert into t values (1)")).await {
            Ok(_) => rows += 1,
            Err(refusal) => {
                assert_is_full(&refusal, "catalog");
                break files;
            }
        }
        assert!(rows < 2000, "its disk is full, and it takes commits");
    };
    until_files_are(&disk, "warehouse", &files).await;
    if rows > 0 {
        assert_eq!(count(&disk, "t").await, rows);
    }
    assert_is_full(&refused(&disk, "create table u (a int)").await, "catalog");
    assert_is_full(&refused(&disk, "create database d").await, "catalog");
    assert_eq!(run(&disk, "select 1 + 1").await["data"][0][0], "2");
    disk.free("catalog");
    run(&disk, "insert into t values (1)").await;
    run(&disk, "create table u as select a from t").await;
    run(&disk, "create database d").await;
    assert_eq!((count(&disk, "t").await, count(&disk, "u").await), (rows + 1, rows + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn spilled_rows_and_kept_results_without_room() {
    let options = [("FRAZIL_EXECUTOR_MEMORY", "28MB"), ("FRAZIL_COORDINATOR_RESULT_MEMORY", "100kB")];
    let Some(disk) = SmallDisk::start(160, 16, &options) else { return };
    digits(&disk).await;
    run(&disk, &format!("create table t as {NOISE}")).await;
    for _ in 0..19 {
        run(&disk, &format!("insert into t {NOISE}")).await;
    }
    // So many rows fit into the result, and not into memory while they are sorted.
    let sorted = "select sum(a - before) from (select a, lag(a) over (order by b, c) as before from t)";
    spilling(&disk, sorted).await.expect("it spills");
    disk.fill("data", 1 << 20);
    assert_is_full(&spilling(&disk, sorted).await.expect_err("it cannot spill"), "");
    until_files_are(&disk, "spill", &[]).await;
    assert_is_full(&refused(&disk, "select * from t").await, "kept result");
    until_files_are(&disk, "results", &[]).await;
    assert_eq!(count(&disk, "t").await, 2_000_000);
    disk.free("data");
    spilling(&disk, sorted).await.expect("it spills again");
    assert_eq!(run(&disk, "select * from t limit 100000").await["resultSetMetaData"]["numRows"], 100_000);
}
