//! A catalog with a table of as many files as are asked for.

use std::path::Path;
use std::time::Instant;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use frazil_catalog::{
    At, Backing, CatalogError, Column, ColumnId, ColumnType, CommitInfo, Database, Databases, FileFilter, Holder,
    NewColumnStatistics, NewDataFile, NewDeleteFile, Place, Scalar, TableId,
};
use frazil_engine::lake::ensure_default_schema;
use frazil_engine::session::{DEFAULT_DATABASE, DEFAULT_SCHEMA};

use super::milliseconds;
use crate::client::Answered;
use crate::failure::CommandError;

pub(super) const COMMIT_FILES: usize = 1000;
pub(super) const ROWS_PER_FILE: i64 = 1000;
/// That the selective predicate leaves.
pub(super) const SELECTED_FILES: usize = 10;
/// Of the table with delete files: files, and rows of each that are gone.
const TRIMMED_FILES: usize = 1000;
const TRIMMED_ROWS: i64 = 10;

/// Returns the milliseconds of each commit of 1,000 files.
pub(super) async fn create(data: &Path, files: usize, others: usize) -> Result<Vec<f64>, CommandError> {
    let failed = |error: CatalogError| CommandError::Failed(format!("making the catalog: {error}"));
    let root = std::path::absolute(data.join("warehouse")).map_err(CommandError::doing("finding the directory"))?;
    let root = root.display().to_string();
    let holder = Holder::current("bench scan");
    let databases = Databases::open(Backing::Directory(data.join("catalog")), &root, &holder).await.map_err(failed)?;
    for number in 1..=others {
        databases.create(&format!("other_{number}")).await.map_err(failed)?.close().await;
    }
    let database = databases.create(DEFAULT_DATABASE).await.map_err(failed)?;
    let commits = fill(&database, files).await.map_err(failed)?;
    database.close().await;
    Ok(commits)
}

async fn fill(database: &Database, files: usize) -> Result<Vec<f64>, CatalogError> {
    ensure_default_schema(database).await?;
    let wide = create_table(database, "wide").await?;
    let mut commits = Vec::new();
    for first in (0..files).step_by(COMMIT_FILES) {
        let count = COMMIT_FILES.min(files - first);
        let added = (first..first + count).map(file).collect();
        let mut transaction = database.begin(database.snapshot(At::Latest).await?);
        transaction.add_files(wide, added)?;
        let started = Instant::now();
        transaction.commit(CommitInfo::default()).await?;
        if count == COMMIT_FILES {
            commits.push(milliseconds(started.elapsed()));
        }
    }
    let trimmed = create_table(database, "trimmed").await?;
    let mut transaction = database.begin(database.snapshot(At::Latest).await?);
    transaction.add_files(trimmed, (0..TRIMMED_FILES).map(file).collect())?;
    let deletes = transaction.files(trimmed, &FileFilter::default()).await?.into_iter().map(|file| NewDeleteFile {
        data_file: file.id,
        path: Place::relative(format!("deletes-{}.parquet", file.id)),
        delete_count: TRIMMED_ROWS,
        size_bytes: 500,
        footer_size_bytes: Some(200),
    });
    transaction.add_delete_files(trimmed, deletes.collect())?;
    transaction.commit(CommitInfo::default()).await?;
    Ok(commits)
}

/// 16 columns as tables of events have them.
fn columns() -> Vec<Column> {
    let mut columns = vec![Column::new("id", ColumnType::Int64)];
    columns.extend((1..=6).map(|number| Column::new(format!("number_{number}"), ColumnType::Int64)));
    columns.extend((1..=4).map(|number| Column::new(format!("text_{number}"), ColumnType::Varchar)));
    columns.extend((1..=2).map(|number| Column::new(format!("time_{number}"), ColumnType::Timestamp)));
    columns.extend((1..=2).map(|number| Column::new(format!("float_{number}"), ColumnType::Float64)));
    columns.push(Column::new("price", ColumnType::Decimal(12, 2)));
    columns
}

async fn create_table(database: &Database, name: &str) -> Result<TableId, CatalogError> {
    let mut transaction = database.begin(database.snapshot(At::Latest).await?);
    let schema = transaction.view().schema(DEFAULT_SCHEMA)?.id;
    let local = transaction.create_table(schema, name, columns())?;
    Ok(transaction.commit(CommitInfo::default()).await?.tables[&local])
}

/// Holds the ids `number * 1000 .. number * 1000 + 999`.
fn file(number: usize) -> NewDataFile {
    let low = number as i64 * ROWS_PER_FILE;
    let high = low + ROWS_PER_FILE - 1;
    let statistics = columns().into_iter().enumerate().map(|(index, column)| {
        let of = |value: i64| match column.column_type {
            ColumnType::Varchar => Scalar::Text(format!("{index:02}-{value:012}").into()),
            ColumnType::Timestamp => Scalar::Timestamp(i128::from(value) * 1_000_000_000),
            ColumnType::Float64 => Scalar::Float(value as f64 / 8.0),
            ColumnType::Decimal(_, scale) => Scalar::Decimal(i128::from(value), scale),
            _ => Scalar::Int(value.into()),
        };
        NewColumnStatistics {
            column: ColumnId(index as i64 + 1),
            size_bytes: Some(8000),
            null_count: 0,
            value_count: ROWS_PER_FILE,
            min: Some(of(low)),
            max: Some(of(high)),
            contains_nan: matches!(column.column_type, ColumnType::Float64).then_some(false),
        }
    });
    NewDataFile {
        // As long as the names of the files that executors write.
        path: Place::relative(format!("frazil-00000000-0000-7000-8000-{number:012}.parquet")),
        record_count: ROWS_PER_FILE,
        size_bytes: 1_000_000,
        footer_size_bytes: Some(4000),
        columns: statistics.collect(),
        row_id_start: None,
    }
}

/// A fast wrong answer is none.
pub(super) fn check(sql: &str, answer: &Answered, files: usize) -> Result<(), CommandError> {
    if let Some(left) = sql
        .starts_with("EXPLAIN")
        .then(|| if sql.contains("WHERE") { SELECTED_FILES.min(files.div_ceil(2)) } else { files })
    {
        let expected = format!("files={left} of {files},");
        let texts = answer.batches.iter().filter_map(|batch| batch.columns().last());
        let texts = texts.filter_map(|column| column.as_string_opt::<i32>().cloned());
        return match texts.into_iter().any(|texts| texts.iter().flatten().any(|text| text.contains(&expected))) {
            true => Ok(()),
            false => Err(CommandError::Failed(format!("{sql}: the plan does not say {expected:?}"))),
        };
    }
    let rows = files as i64 * ROWS_PER_FILE;
    let expected = match sql {
        "SELECT count(*) FROM wide" => vec![rows],
        "SELECT min(id), max(id) FROM wide" => vec![0, rows - 1],
        "SELECT count(*) FROM trimmed" => vec![TRIMMED_FILES as i64 * (ROWS_PER_FILE - TRIMMED_ROWS)],
        _ => return Ok(()),
    };
    let value = |column: usize| {
        let batch = answer.batches.first()?;
        let values = batch.columns().get(column)?.as_primitive_opt::<Int64Type>()?;
        (values.values().len() == 1).then(|| values.value(0))
    };
    for (column, expected) in expected.into_iter().enumerate() {
        if value(column) != Some(expected) {
            let got = value(column);
            return Err(CommandError::Failed(format!("{sql}: column {column} is {got:?}, not {expected}")));
        }
    }
    Ok(())
}
