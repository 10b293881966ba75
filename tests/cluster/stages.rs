//! Staged files: taken, listed, loaded once, and what is wrong with them told by file, line and column.

mod buckets;
mod cases;
mod loads;
mod lost_executors;
mod manage;
mod shell;
mod unloads;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Answer, Engine, Refusal, Request};

async fn run(engine: &dyn Engine, sql: &str) -> Answer {
    engine.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
}

async fn refused(engine: &dyn Engine, sql: &str) -> Refusal {
    match engine.run(&Request::new(sql)).await {
        Ok(answer) => panic!("{sql} gave {} rows", answer.rows()),
        Err(refusal) => refusal,
    }
}

/// Rows as texts, by the names of their columns; nulls are absent.
fn rows(answer: &Answer) -> Vec<BTreeMap<String, String>> {
    let mut rows = Vec::new();
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            let schema = batch.schema();
            let cells = schema.fields().iter().zip(batch.columns()).filter(|(_, column)| column.is_valid(row));
            let text =
                |column: &dyn Array| arrow::util::display::array_value_to_string(column, row).expect("it can be shown");
            rows.push(cells.map(|(field, column)| (field.name().clone(), text(column))).collect());
        }
    }
    rows
}

/// One line of an answer: the values of these columns, `-` for null.
fn line(row: &BTreeMap<String, String>, columns: &[&str]) -> String {
    let cell = |column: &&str| row.get(*column).cloned().unwrap_or_else(|| "-".to_owned());
    columns.iter().map(cell).collect::<Vec<_>>().join("|")
}

async fn lines(engine: &dyn Engine, sql: &str, columns: &[&str]) -> Vec<String> {
    rows(&run(engine, sql).await).iter().map(|row| line(row, columns)).collect()
}

async fn number(engine: &dyn Engine, sql: &str) -> i64 {
    let answer = run(engine, sql).await;
    let batch = answer.batches.iter().find(|batch| batch.num_rows() > 0).unwrap_or_else(|| panic!("{sql}: no row"));
    batch.column(0).as_primitive::<Int64Type>().value(0)
}

struct Staged {
    cluster: Cluster,
    directory: PathBuf,
}

impl Staged {
    /// A cluster, and a stage `st` over an empty directory.
    async fn start(executors: usize) -> Self {
        let cluster = Cluster::start(Options::executors(executors)).await;
        let directory = cluster.directory().join("staged");
        std::fs::create_dir(&directory).expect("a new directory");
        run(&cluster, &format!("create stage st url = '{}'", directory.display())).await;
        Self { cluster, directory }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.directory.join(name);
        std::fs::create_dir_all(path.parent().expect("it is below the stage")).expect("a directory");
        std::fs::write(path, bytes).expect("the stage's directory is writable");
    }
}

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes.as_ref()).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}
