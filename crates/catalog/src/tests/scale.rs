//! Many files. The figures are printed; the large run is for `--ignored --nocapture`, in release.

use std::time::Instant;

use super::support::*;
use crate::*;

/// 16 columns with statistics.
fn wide_file(number: i64) -> NewDataFile {
    let columns = (1..=16).map(|column| NewColumnStatistics {
        column: ColumnId(column),
        size_bytes: Some(1000),
        null_count: 0,
        value_count: 1000,
        min: Some(Scalar::Int((number * 1000 + column).into())),
        max: Some(Scalar::Int((number * 1000 + 999).into())),
        contains_nan: None,
    });
    NewDataFile {
        path: Place::relative(format!("ducklake-{}.parquet", uuid::Uuid::now_v7())),
        record_count: 1000,
        size_bytes: 1_000_000,
        footer_size_bytes: Some(4000),
        columns: columns.collect(),
        row_id_start: None,
    }
}

fn memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}

async fn run(database: Database, commits: i64) {
    let mut transaction = begin(&database).await;
    let wide = (1..=16).map(|number| Column::new(format!("c{number}"), ColumnType::Int64)).collect();
    let table = transaction.create_table(main_schema(&transaction.view()), "wide", wide).unwrap();
    let table = commit(transaction).await.tables[&table];
    let mut slowest = std::time::Duration::ZERO;
    let mut sum = std::time::Duration::ZERO;
    for number in 0..commits {
        let mut transaction = begin(&database).await;
        transaction.add_files(table, (0..1000).map(|file| wide_file(number * 1000 + file)).collect()).unwrap();
        let start = Instant::now();
        commit(transaction).await;
        slowest = slowest.max(start.elapsed());
        sum += start.elapsed();
    }
    println!("commit of 1000 files, 16 columns: mean {:?}, slowest {slowest:?}", sum / commits as u32);
    let before = memory_mb();
    let view = latest(&database).await;
    let filter = FileFilter {
        ranges: vec![ColumnRange::between(ColumnId(3), Some(Scalar::Int(500_000)), Some(Scalar::Int(509_999)))],
        statistics: vec![ColumnId(3)],
    };
    for round in ["first", "next"] {
        let start = Instant::now();
        let found = database.files(&view, table, &filter).await.unwrap();
        println!("{round} look at {} files: {:?}, {} left", commits * 1000, start.elapsed(), found.len());
        assert_eq!(found.len(), 10);
    }
    append(&database, table, vec![wide_file(-5)]).await;
    let start = Instant::now();
    let view = latest(&database).await;
    database.files(&view, table, &filter).await.unwrap();
    println!("look after one more commit: {:?}", start.elapsed());
    let start = Instant::now();
    let count = database.files(&view, table, &FileFilter::default()).await.unwrap().len();
    println!("all {count} files: {:?}; memory grew by {} MB", start.elapsed(), memory_mb().saturating_sub(before));
}

#[tokio::test]
async fn thousands_of_files_are_committed_and_pruned() {
    let lake = lake().await;
    run(lake.database.clone(), 3).await;
}

#[tokio::test]
#[ignore = "large"]
async fn a_hundred_thousand_files_and_more() {
    let commits = std::env::var("FRAZIL_TEST_COMMITS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let lake = lake().await;
    run(lake.database.clone(), commits).await;
    if let Ok(url) = std::env::var("FRAZIL_TEST_POSTGRES") {
        let schema = format!("test_{}", uuid::Uuid::new_v4().simple());
        run(Database::create_postgres("test", &url, &schema, "/data/test").await.unwrap(), 3).await;
    }
}
