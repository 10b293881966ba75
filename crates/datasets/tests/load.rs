//! Whole runs, through the crate's door.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path as FsPath;
use std::sync::Arc;

use arrow::array::RecordBatchReader;
use arrow::datatypes::DataType;
use frazil_datasets::{
    DatasetError, Destination, EventsOptions, LoadReport, Progress, Silent, TableReport, Tpch, events_schema,
    is_complete, load_events, load_tpch,
};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;

/// Row counts at scale 0.01 of the specification's own generator.
const ROWS: [(&str, u64); 8] = [
    ("nation", 25),
    ("region", 5),
    ("part", 2_000),
    ("supplier", 100),
    ("partsupp", 8_000),
    ("customer", 1_500),
    ("orders", 15_000),
    ("lineitem", 60_175),
];

fn tpch(destination: &Destination, parallelism: usize) -> Tpch {
    Tpch { parallelism, ..Tpch::new(0.01, destination.clone()) }
}

fn events(destination: &Destination, files: usize) -> EventsOptions {
    EventsOptions { rows: 20_000, files, seed: 42, destination: destination.clone(), parallelism: 2 }
}

fn local(directory: &tempfile::TempDir) -> Destination {
    Destination::local(directory.path())
}

fn counted(report: &LoadReport) -> Vec<(&str, u64)> {
    report.tables.iter().map(|table| (table.name.as_str(), table.rows)).collect()
}

/// Every file below a directory, with its contents.
fn contents(directory: &FsPath) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().display().to_string();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

fn rows_in(path: &FsPath) -> u64 {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    reader.build().unwrap().map(|batch| batch.unwrap().num_rows() as u64).sum()
}

#[tokio::test]
async fn tpch_has_the_known_rows_and_the_same_bytes_each_time() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let report = load_tpch(tpch(&local(&first), 1), Arc::new(Silent)).await.unwrap();
    assert_eq!(counted(&report), ROWS);
    assert!(!report.reused);
    load_tpch(tpch(&local(&second), 4), Arc::new(Silent)).await.unwrap();
    let files = contents(first.path());
    assert!(files == contents(second.path()), "parallelism changed the bytes");

    assert!(files.keys().all(|name| name.ends_with(".parquet") || name == "_SUCCESS.json"), "{:?}", files.keys());
    for TableReport { name, rows, files: count, bytes } in &report.tables {
        let of_table: Vec<_> = files.iter().filter(|(path, _)| path.starts_with(&format!("{name}/"))).collect();
        assert_eq!((of_table.len(), of_table.iter().map(|(_, file)| file.len() as u64).sum::<u64>()), (*count, *bytes));
        assert_eq!(of_table.iter().map(|(path, _)| rows_in(&first.path().join(path))).sum::<u64>(), *rows, "{name}");
    }
    assert!(files.contains_key("lineitem/lineitem-05.parquet"));
}

#[tokio::test]
async fn files_have_page_statistics_snappy_and_plain_strings() {
    let directory = tempfile::tempdir().unwrap();
    load_tpch(tpch(&local(&directory), 2), Arc::new(Silent)).await.unwrap();
    let file = File::open(directory.path().join("orders/orders-00.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let chunk = reader.metadata().row_group(0).column(0);
    assert_eq!(chunk.compression(), Compression::SNAPPY);
    assert!(chunk.column_index_offset().is_some() && chunk.offset_index_offset().is_some());
    let schema = reader.build().unwrap().schema();
    let type_of = |name| schema.field_with_name(name).unwrap().data_type().clone();
    assert_eq!(type_of("o_comment"), DataType::Utf8);
    assert_eq!(type_of("o_totalprice"), DataType::Decimal128(15, 2));
    assert_eq!(type_of("o_orderdate"), DataType::Date32);
    assert_eq!(type_of("o_orderkey"), DataType::Int64);
}

#[tokio::test]
async fn a_complete_set_is_kept_and_a_half_made_one_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let destination = local(&directory);
    assert!(!is_complete(&destination, 0.01).await.unwrap());
    load_tpch(tpch(&destination, 2), Arc::new(Silent)).await.unwrap();
    assert!(is_complete(&destination, 0.01).await.unwrap());
    let whole = contents(directory.path());
    let report = load_tpch(tpch(&destination, 2), Arc::new(Silent)).await.unwrap();
    assert!(report.reused && counted(&report) == ROWS);

    // Cut short, with the traces of a run that was killed and of someone else.
    std::fs::write(directory.path().join("orders/orders-00.parquet"), b"PAR1").unwrap();
    std::fs::write(directory.path().join("orders/orders-99.parquet"), b"PAR1").unwrap();
    std::fs::write(directory.path().join("orders/.orders-00.parquet.1-1.tmp"), b"PAR1").unwrap();
    std::fs::write(directory.path().join("orders/notes.txt"), b"mine").unwrap();
    assert!(!is_complete(&destination, 0.01).await.unwrap());
    let report = load_tpch(tpch(&destination, 2), Arc::new(Silent)).await.unwrap();
    assert!(!report.reused);
    std::fs::remove_file(directory.path().join("orders/notes.txt")).unwrap();
    assert!(contents(directory.path()) == whole);

    std::fs::remove_file(directory.path().join("_SUCCESS.json")).unwrap();
    assert!(!is_complete(&destination, 0.01).await.unwrap());
}

#[tokio::test]
async fn another_scale_is_refused_and_nothing_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    load_tpch(tpch(&local(&directory), 2), Arc::new(Silent)).await.unwrap();
    let whole = contents(directory.path());
    let error = load_tpch(Tpch::new(0.02, local(&directory)), Arc::new(Silent)).await.unwrap_err();
    assert!(matches!(error, DatasetError::OtherSet { .. }));
    let message = error.to_string();
    assert!(message.contains("holds TPC-H at scale 0.01, not TPC-H at scale 0.02"), "{message}");
    assert!(message.contains(&directory.path().display().to_string()), "{message}");
    assert!(!is_complete(&local(&directory), 0.02).await.unwrap());
    assert!(contents(directory.path()) == whole);
}

#[tokio::test]
async fn a_failed_run_names_the_object_and_leaves_no_temporary_files() {
    let directory = tempfile::tempdir().unwrap();
    // A directory where a file should go: the last step of writing it, the rename, fails.
    let blocked = directory.path().join("lineitem/lineitem-03.parquet");
    std::fs::create_dir_all(&blocked).unwrap();
    let error = load_tpch(tpch(&local(&directory), 2), Arc::new(Silent)).await.unwrap_err();
    assert!(matches!(error, DatasetError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("lineitem/lineitem-03.parquet"), "{error}");
    let files = contents(directory.path());
    assert!(files.keys().all(|name| name.ends_with(".parquet")), "{:?}", files.keys());

    let file = tempfile::NamedTempFile::new().unwrap();
    let under_a_file = Destination::local(file.path().join("data"));
    let error = load_tpch(tpch(&under_a_file, 2), Arc::new(Silent)).await.unwrap_err();
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
}

/// Gives a signal with the first rows; a run that is dropped then has files under way.
struct FirstRows(tokio::sync::Notify);

impl Progress for FirstRows {
    fn table_started(&self, _table: &str, _rows: u64) {}
    fn advance(&self, _table: &str, _rows: u64) {
        self.0.notify_one();
    }
    fn table_finished(&self, _report: &TableReport) {}
}

#[test]
fn a_dropped_run_stops_and_leaves_no_temporary_files() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let first_rows = Arc::new(FirstRows(tokio::sync::Notify::new()));
    let options = EventsOptions { rows: 1 << 40, ..events(&local(&directory), 2) };
    runtime.block_on(async {
        tokio::select! {
            result = load_events(options, first_rows.clone()) => panic!("a run of 2^40 rows ended: {result:?}"),
            () = first_rows.0.notified() => {}
        }
    });
    // Waits for the blocking threads, which would write for hours.
    drop(runtime);
    assert!(contents(directory.path()).is_empty(), "{:?}", contents(directory.path()).keys());
}

#[tokio::test]
async fn events_are_the_same_however_many_files_they_are_in() {
    let (one, three) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let report = load_events(events(&local(&one), 1), Arc::new(Silent)).await.unwrap();
    assert_eq!(counted(&report), [("events", 20_000)]);
    load_events(events(&local(&three), 3), Arc::new(Silent)).await.unwrap();
    let read = |directory: &FsPath, files: usize| {
        let mut batches = Vec::new();
        for file in 0..files {
            let file = File::open(directory.join(format!("events/events-{file:02}.parquet"))).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            assert_eq!(reader.schema().fields(), events_schema().fields());
            batches.extend(reader.map(Result::unwrap));
        }
        arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
    };
    assert!(read(one.path(), 1) == read(three.path(), 3));
    assert!(load_events(events(&local(&three), 3), Arc::new(Silent)).await.unwrap().reused);
    let error = load_events(events(&local(&three), 4), Arc::new(Silent)).await.unwrap_err().to_string();
    assert!(error.contains("holds 20000 events in 3 files from seed 42, not 20000 events in 4 files"), "{error}");
}

#[tokio::test]
async fn an_object_store_gets_the_same_bytes_as_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    // Over the size of a part, so that there is an upload in several.
    let options = |destination: &Destination| EventsOptions { rows: 200_000, ..events(destination, 1) };
    load_events(options(&local(&directory)), Arc::new(Silent)).await.unwrap();
    let store = Arc::new(InMemory::new());
    let destination = Destination::in_store("memory://bucket/set", store.clone(), Path::from("set"));
    load_events(options(&destination), Arc::new(Silent)).await.unwrap();
    load_tpch(tpch(&destination, 2), Arc::new(Silent)).await.unwrap();
    assert!(is_complete(&destination, 0.01).await.unwrap());

    let files = contents(directory.path());
    assert!(files["events/events-00.parquet"].len() > 2 * (8 << 20), "too small to have parts");
    for (name, expected) in files {
        let path = Path::parse(format!("set/{name}")).unwrap();
        let object = store.get(&path).await.unwrap().bytes().await.unwrap();
        assert!(object == expected, "{name}");
    }
    // A stray of a run with more files is removed with the set it belonged to.
    let stray = Path::from("set/lineitem/lineitem-77.parquet");
    store.put(&stray, "PAR1".into()).await.unwrap();
    assert!(!is_complete(&destination, 0.01).await.unwrap());
    load_tpch(tpch(&destination, 2), Arc::new(Silent)).await.unwrap();
    assert!(store.head(&stray).await.is_err() && is_complete(&destination, 0.01).await.unwrap());
}
