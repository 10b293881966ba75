//! Generated tables, made once per test run, and how they get into an engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use frazil_datasets::{Destination, EventsOptions, Silent, TPCH_TABLES, Tpch, load_events, load_tpch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::sync::OnceCell;

use super::engine::{Engine, Request};
use super::{parquet_files, paths};

/// 60,000 lines, 15,000 orders: every query has work on every partition, and none takes long.
const TPCH_SCALE: f64 = 0.01;
const EVENTS: u64 = 20_000;
const EVENTS_SEED: u64 = 7;
/// So many at least, that a scan on three executors has something to read on each.
const FILES_MIN: usize = 4;

/// A directory of Parquet files with one schema.
#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    pub directory: PathBuf,
}

impl Table {
    /// As `LOCATION` takes it: with a slash at its end, which makes it a directory.
    pub fn location(&self) -> String {
        format!("{}/", self.directory.display())
    }
}

/// The eight TPC-H tables.
pub async fn tpch() -> &'static [Table] {
    static TABLES: OnceCell<Vec<Table>> = OnceCell::const_new();
    TABLES
        .get_or_init(|| async {
            let raw = run_directory().join("tpch-raw");
            let options = Tpch::new(TPCH_SCALE, Destination::local(&raw));
            load_tpch(options, Arc::new(Silent)).await.unwrap_or_else(|e| panic!("TPC-H data cannot be made: {e}"));
            TPCH_TABLES.iter().map(|table| spread(&raw, table, &run_directory().join("tpch"))).collect()
        })
        .await
}

/// The one table `events`.
pub async fn events() -> &'static [Table] {
    static TABLES: OnceCell<Vec<Table>> = OnceCell::const_new();
    TABLES
        .get_or_init(|| async {
            let raw = run_directory().join("events");
            let options = EventsOptions {
                rows: EVENTS,
                files: FILES_MIN,
                seed: EVENTS_SEED,
                destination: Destination::local(&raw),
                parallelism: 2,
            };
            load_events(options, Arc::new(Silent)).await.unwrap_or_else(|e| panic!("events cannot be made: {e}"));
            vec![Table { name: "events".to_owned(), directory: raw.join("events") }]
        })
        .await
}

/// Makes the tables known under their names, in the engine's default schema.
pub async fn register(engine: &dyn Engine, tables: &[Table]) {
    for table in tables {
        let sql = format!("CREATE EXTERNAL TABLE {} STORED AS PARQUET LOCATION '{}'", table.name, table.location());
        if let Err(refusal) = engine.run(&Request::new(&sql)).await {
            panic!("{}: {sql}: {refusal}", engine.name());
        }
    }
}

/// The generators make few files of few rows; the tests want several files of every table, the smallest ones too.
fn spread(raw: &Path, table: &str, to: &Path) -> Table {
    let directory = to.join(table);
    let batches = read(&raw.join(table));
    let schema = batches.first().unwrap_or_else(|| panic!("table {table:?} has no rows")).schema();
    parquet_files::write(&directory, &schema, &batches, FILES_MIN)
        .unwrap_or_else(|e| panic!("table {table:?} cannot be written to {}: {e}", directory.display()));
    Table { name: table.to_owned(), directory }
}

fn read(directory: &Path) -> Vec<RecordBatch> {
    let listed = fs::read_dir(directory).unwrap_or_else(|e| panic!("{} cannot be listed: {e}", directory.display()));
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.expect("the directory is readable").path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "parquet"));
    files.sort();
    let batches = files.iter().flat_map(|path| {
        let file = fs::File::open(path).expect("a file that was just written");
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("the generator writes Parquet");
        builder.build().expect("and whole").map(|batch| batch.expect("with readable rows")).collect::<Vec<_>>()
    });
    batches.collect()
}

/// A folder of this run of the tests, `<process id>-<random>`. Folders of runs that are over are removed here, because
/// nothing runs at the end of a test executable.
fn run_directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let all = paths::scratch().join("data");
        fs::create_dir_all(&all).unwrap_or_else(|e| panic!("{} cannot be made: {e}", all.display()));
        for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let process = name.to_str().and_then(|name| name.split('-').next()).unwrap_or("none");
            if !Path::new("/proc").join(process).exists() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let prefix = format!("{}-", std::process::id());
        tempfile::Builder::new().prefix(&prefix).tempdir_in(&all).expect("it was just made").keep()
    })
}
