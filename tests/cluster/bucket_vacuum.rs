//! `VACUUM` where tables are in an object store, and of what killed processes leave in stages.

use std::path::Path;
use std::time::{Duration, SystemTime};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use crate::support::bucket::{Bucket, Dialect};
use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Answer, Engine, Request};

async fn run(cluster: &Cluster, sql: &str) -> Answer {
    cluster.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
}

async fn number(cluster: &Cluster, sql: &str) -> i64 {
    run(cluster, sql).await.batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Snapshots, files and orphans that a vacuum tells of, over all its rows.
async fn vacuum(cluster: &Cluster, sql: &str) -> (i64, i64, i64) {
    let answer = run(cluster, sql).await;
    let sum = |column: usize| {
        let batches = answer.batches.iter();
        batches.flat_map(|batch| batch.column(column).as_primitive::<Int64Type>().values().to_vec()).sum()
    };
    (sum(1), sum(2), sum(3))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_goes_from_buckets() {
    for dialect in Dialect::ALL {
        what_is_old_goes_from(Bucket::start(dialect, "warehouse").await).await;
    }
}

async fn what_is_old_goes_from(bucket: Bucket) {
    let mut options = Options::executors(1).coordinator_option("warehouse", bucket.url("lake"));
    options = options.coordinator_option("orphan_grace_s", 3600);
    options.environment = bucket.cluster_environment();
    let cluster = Cluster::start(options).await;
    run(&cluster, "create table kept as select value as a from generate_series(1, 100)").await;
    run(&cluster, "create table gone as select value as a from generate_series(1, 200)").await;
    run(&cluster, "create table copy clone gone").await;
    run(&cluster, "create table rewritten as select value as a from generate_series(1, 50)").await;
    let with_old = bucket.keys();
    run(&cluster, "insert overwrite rewritten select value as a from generate_series(1, 60)").await;
    run(&cluster, "drop table gone").await;

    let mine = |name: &str| format!("lake/frazil/public/kept/{name}");
    let orphans = [mine("frazil-0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a70.parquet"), mine("frazil-y-delete.parquet")];
    let strangers = [mine("ducklake-1.parquet"), mine("frazil-notes.txt"), "elsewhere/frazil-x.parquet".to_owned()];
    let young = mine("frazil-young.parquet");
    for key in orphans.iter().chain(&strangers).chain([&young]) {
        bucket.put(key, "x");
    }
    // However old a table's own files are, they stay.
    let before = bucket.keys();
    before.iter().filter(|key| **key != young).for_each(|key| bucket.make_old(key));
    // Uploads of processes that were killed; a stranger's, and a young one. Azure's are not told of.
    let uploads = [mine("frazil-half.parquet"), mine("theirs.parquet"), "elsewhere/frazil-half.parquet".to_owned()];
    if bucket.dialect.has_aborts() {
        uploads.iter().for_each(|key| bucket.begin_upload(key));
        uploads.iter().for_each(|key| bucket.make_old(key));
        bucket.begin_upload(&mine("frazil-going-on.parquet"));
    }
    let aborted = i64::from(bucket.dialect.has_aborts());

    let told = vacuum(&cluster, "vacuum dry run").await;
    assert_eq!(told, (0, 0, 2 + aborted), "{:?}", bucket.dialect);
    assert_eq!(bucket.keys(), before);
    assert_eq!(vacuum(&cluster, "vacuum").await, told);
    let left = bucket.keys();
    assert!(orphans.iter().all(|key| !left.contains(key)), "{left:?}");
    assert!(strangers.iter().chain([&young]).all(|key| left.contains(key)), "{left:?}");
    assert_eq!(bucket.uploads_open(), if bucket.dialect.has_aborts() { 3 } else { 0 }, "{:?}", bucket.dialect);

    // The clone has the files of the table that is gone; what was written over is nobody's.
    let (snapshots, files, _) = vacuum(&cluster, "vacuum retain 0 seconds").await;
    assert!(snapshots > 0 && files == 1, "{:?}: {snapshots} {files}", bucket.dialect);
    let removed: Vec<_> = with_old.into_iter().filter(|key| !bucket.keys().contains(key)).collect();
    assert!(removed.len() == 1 && removed[0].contains("/rewritten/"), "{removed:?}");
    for (table, rows) in [("kept", 100), ("copy", 200), ("rewritten", 60)] {
        assert_eq!(number(&cluster, &format!("select count(*) from {table}")).await, rows, "{table}");
    }
    run(&cluster, "drop table copy").await;
    assert_eq!(vacuum(&cluster, "vacuum retain 0 seconds").await.1, 1, "{:?}", bucket.dialect);
    assert_eq!(bucket.seen().refused, 0);
}

fn write_old(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("it is in a directory")).expect("it is ours");
    std::fs::write(path, "x").expect("it is ours");
    let file = std::fs::File::options().append(true).open(path).expect("a file");
    file.set_modified(SystemTime::now() - Duration::from_secs(30 * 24 * 3600)).expect("its time can be set");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_killed_processes_left_in_stages_goes() {
    let cluster = Cluster::start(Options::executors(1).coordinator_option("orphan_grace_s", 3600)).await;
    let theirs = cluster.directory().join("theirs");
    std::fs::create_dir(&theirs).expect("it is ours");
    run(&cluster, "create schema s").await;
    run(&cluster, "create stage own").await;
    run(&cluster, "create stage s.other").await;
    run(&cluster, &format!("create stage theirs url = '{}'", theirs.display())).await;
    run(&cluster, "create table t as select value as a from generate_series(1, 10)").await;
    run(&cluster, "copy into @own/kept/ from t file_format = (type = csv)").await;
    run(&cluster, "copy into @s.other/gone/ from t file_format = (type = csv)").await;
    let stages = cluster.directory().join("coordinator/warehouse/.stages/frazil");
    let directories = || {
        let entries = std::fs::read_dir(&stages).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.join("kept").is_dir() || path.join("gone").is_dir()).collect::<Vec<_>>()
    };
    assert_eq!(directories().len(), 2, "{:?}", directories());
    let own = directories().into_iter().find(|path| path.join("kept").is_dir()).expect("a stage");
    let other = directories().into_iter().find(|path| path.join("gone").is_dir()).expect("a stage");
    let leftovers = [
        own.join("in/x.csv#1"),
        own.join(".frazil-unload-1/0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a70-0"),
        theirs.join(".frazil-unload-2/0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a71-0"),
    ];
    // Elsewhere nothing is taken for ours by a name that others may give.
    let kept = [own.join("in/x.csv"), own.join("z#1b"), theirs.join("dir/y.parquet#12"), theirs.join(".hidden/a")];
    leftovers.iter().chain(&kept).for_each(|path| write_old(path));
    let young = [own.join("in/young.csv#1"), theirs.join(".frazil-unload-3/a-0")];
    for path in &young {
        std::fs::create_dir_all(path.parent().expect("it is in a directory")).expect("it is ours");
        std::fs::write(path, "x").expect("it is ours");
    }
    assert_eq!(vacuum(&cluster, "vacuum dry run").await, (0, 0, 3));
    assert!(leftovers.iter().all(|path| path.exists()));
    assert_eq!(vacuum(&cluster, "vacuum").await, (0, 0, 3));
    for path in &leftovers {
        assert!(!path.exists(), "{} is left", path.display());
    }
    assert!(kept.iter().chain(&young).all(|path| path.exists()));
    assert!(!theirs.join(".frazil-unload-2").exists(), "the directory goes with its last file");

    // The files of a schema's stages go when no snapshot has the schema any more.
    run(&cluster, "drop schema s").await;
    assert_eq!(vacuum(&cluster, "vacuum").await.2, 0);
    assert!(other.join("gone").is_dir());
    assert_eq!(vacuum(&cluster, "vacuum retain 0 seconds").await.2, 1);
    let left = std::fs::read_dir(other.join("gone")).into_iter().flatten().count();
    assert_eq!(left, 0);
    assert_eq!(vacuum(&cluster, "vacuum retain 0 seconds").await.2, 0);
    assert!(own.join("kept").is_dir());
}
