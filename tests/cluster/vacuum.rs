//! What is old goes, and nothing that anyone needs: snapshots, files, dropped databases, what failed writes have left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::engine::{Answer, Engine, Refusal, Request};
use crate::support::oracle::Oracle;

async fn run(engine: &dyn Engine, sql: &str) -> Answer {
    engine.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
}

async fn refused(engine: &dyn Engine, sql: &str) -> Refusal {
    match engine.run(&Request::new(sql)).await {
        Ok(answer) => panic!("{sql} gave {} rows", answer.rows()),
        Err(refusal) => refusal,
    }
}

async fn same(cluster: &Cluster, oracle: &Oracle, sql: &str, expected: &str) {
    let expected = run(oracle, expected).await;
    let actual = run(cluster, sql).await;
    compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{sql}: {e}"));
}

async fn number(engine: &dyn Engine, sql: &str) -> i64 {
    let answer = run(engine, sql).await;
    let batch = answer.batches.iter().find(|batch| batch.num_rows() > 0).unwrap_or_else(|| panic!("{sql}: no row"));
    batch.column(0).as_primitive::<Int64Type>().value(0)
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

fn data_files(cluster: &Cluster) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![warehouse(cluster)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => open.push(path),
                path => _ = found.insert(path),
            }
        }
    }
    found
}

fn warehouse(cluster: &Cluster) -> PathBuf {
    cluster.directory().join("coordinator/warehouse")
}

fn make_old(path: &Path) {
    let file = std::fs::File::options().append(true).open(path).expect("a file");
    file.set_modified(SystemTime::now() - Duration::from_secs(30 * 24 * 3600)).expect("its time can be set");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_goes_and_clones_stay() {
    let tables = data::tpch().await;
    let mut cluster = Cluster::start(Options::executors(2)).await;
    data::register(&cluster, tables).await;
    let oracle = Oracle::over(tables).await;
    run(&cluster, "create schema s").await;
    run(&cluster, "create table s.o as select * from orders").await;
    run(&cluster, "create table s.n as select * from nation").await;
    run(&cluster, "create table s.gone as select * from nation").await;
    run(&cluster, "create table s.copy clone s.o").await;
    run(&cluster, "create database d clone frazil").await;
    run(&cluster, "truncate table s.o").await;
    run(&cluster, "insert into s.o select * from orders where o_orderkey < 100").await;
    run(&cluster, "drop table s.gone").await;
    let before = data_files(&cluster);

    // All of it is within the time that is kept.
    assert_eq!(vacuum(&cluster, "vacuum").await, (0, 0, 0));
    // A dry run tells and does nothing.
    let told = vacuum(&cluster, "vacuum database frazil retain 0 seconds dry run").await;
    assert!(told.0 >= 7, "{told:?}");
    assert_eq!(told.1, 0, "the clones have all files");
    assert_eq!(data_files(&cluster), before);
    run(&cluster, "select count(*) from s.gone at (snapshot => 7)").await;

    assert_eq!(vacuum(&cluster, "vacuum frazil retain 0 seconds").await, told);
    assert_eq!(data_files(&cluster), before);
    assert_eq!(refused(&cluster, "select * from s.o at (snapshot => 4)").await.sql_state.as_deref(), Some("02000"));
    let refusal = refused(&cluster, "select * from s.o at (timestamp => now() - interval '1 hour')").await;
    assert_eq!(refusal.sql_state.as_deref(), Some("02000"));
    assert_eq!(refused(&cluster, "undrop table s.gone").await.sql_state.as_deref(), Some("42P01"));
    same(&cluster, &oracle, "select * from s.copy", "select * from orders").await;
    same(&cluster, &oracle, "select * from d.s.o", "select * from orders").await;
    same(&cluster, &oracle, "select * from d.s.gone", "select * from nation").await;
    same(&cluster, &oracle, "select * from s.o", "select * from orders where o_orderkey < 100").await;

    // The database's clone gone, its files go that nobody else has, and those of `gone`, which it alone had.
    run(&cluster, "drop database d").await;
    assert_eq!(vacuum(&cluster, "vacuum").await, (0, 0, 0));
    run(&cluster, "undrop database d").await;
    run(&cluster, "drop database d").await;
    cluster.restart_coordinator();
    let (_, removed, _) = vacuum(&cluster, "vacuum retain 0 seconds").await;
    assert!(removed >= 1, "the files of \"gone\" had no other table");
    assert_eq!(refused(&cluster, "undrop database d").await.sql_state.as_deref(), Some("3D000"));
    same(&cluster, &oracle, "select * from s.copy", "select * from orders").await;
    same(&cluster, &oracle, "select * from s.n", "select * from nation").await;
    run(&cluster, "drop table s.copy").await;
    let (_, removed, _) = vacuum(&cluster, "vacuum retain 0 seconds").await;
    assert!(removed >= 1, "the last table that had all orders is gone");
    same(&cluster, &oracle, "select * from s.o", "select * from orders where o_orderkey < 100").await;
    run(&cluster, "drop table s.o").await;
    run(&cluster, "drop table s.n").await;
    vacuum(&cluster, "vacuum retain 0 seconds").await;
    assert_eq!(data_files(&cluster), BTreeSet::new());

    for (sql, state) in [
        ("vacuum nowhere", "3D000"),
        ("vacuum sample", "3D000"),
        ("vacuum retain 7", "42601"),
        ("vacuum table s.o", "42601"),
    ] {
        assert_eq!(refused(&cluster, sql).await.sql_state.as_deref(), Some(state), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_of_the_past_keep_what_they_read() {
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options::executors(2)).await;
    data::register(&cluster, tables).await;
    let oracle = Oracle::over(tables).await;
    run(&cluster, "create schema s").await;
    run(&cluster, "create table s.l as select l_orderkey, l_comment from lineitem").await;
    let expected = "select count(*) a, sum(l_orderkey) b, max(l_comment) c from lineitem";
    let query = "select count(*) a, sum(l_orderkey) b, max(l_comment) c from s.l";
    for round in 0..6 {
        // Readers of the table as it is, which is old as soon as it is written anew and vacuumed.
        let readers = (0..3).map(|_| same(&cluster, &oracle, query, expected));
        let writer = async {
            run(&cluster, "insert overwrite s.l select l_orderkey, l_comment from lineitem").await;
            vacuum(&cluster, "vacuum retain 0 seconds").await;
        };
        futures::future::join(futures::future::join_all(readers), writer).await;
        assert_eq!(
            number(&cluster, "select count(*) from s.l").await,
            number(&oracle, "select count(*) from lineitem").await,
            "{round}"
        );
    }
    vacuum(&cluster, "vacuum retain 0 seconds").await;
    // One generation is left.
    let files = number(&cluster, "select count(*) from s.l").await;
    assert!(files > 0);
    run(&cluster, "truncate table s.l").await;
    vacuum(&cluster, "vacuum retain 0 seconds").await;
    assert_eq!(data_files(&cluster), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_writes_left_goes_and_strangers_files_stay() {
    let cluster = Cluster::start(Options::executors(1).coordinator_option("orphan_grace_s", 3600)).await;
    run(&cluster, "create table t as select * from generate_series(1, 1000) g(a)").await;
    let kept = data_files(&cluster);
    // A cast fails when rows have been written already.
    let bad = "insert into t select case when a = 999 then cast(concat('x', cast(a as varchar)) as bigint) else a end from \
               generate_series(1, 1000) g(a)";
    refused(&cluster, bad).await;
    let table = warehouse(&cluster).join("frazil/public/t");
    let place = |name: &str| table.join(name);
    let orphans =
        ["frazil-0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a70.parquet", "frazil-x.parquet#1", "frazil-y-delete.parquet"];
    let strangers = ["ducklake-1.parquet", "frazil-notes.txt", "mine.parquet"];
    let young = "frazil-young.parquet";
    for name in orphans.iter().chain(&strangers).chain([&young]) {
        std::fs::write(place(name), "x").expect("a file");
        if name != &young {
            make_old(&place(name));
        }
    }
    // What users have put into a stage is theirs, whatever they call it.
    let staged = warehouse(&cluster).join(".stages/frazil/mine").join(orphans[0]);
    std::fs::create_dir_all(staged.parent().expect("a directory")).expect("it is made");
    std::fs::write(&staged, "x").expect("a file");
    make_old(&staged);
    // However old a table's own files are, they stay.
    kept.iter().for_each(|file| make_old(file));
    assert_eq!(vacuum(&cluster, "vacuum dry run").await, (0, 0, 3));
    assert!(place(orphans[0]).exists());
    assert_eq!(vacuum(&cluster, "vacuum").await, (0, 0, 3));
    assert!(staged.exists(), "a staged file is not ours to remove");
    for name in orphans {
        assert!(!place(name).exists(), "{name} is an orphan");
    }
    for name in strangers.iter().chain([&young]) {
        assert!(place(name).exists(), "{name} is not ours to remove");
    }
    assert_eq!(number(&cluster, "select count(*) from t").await, 1000);
    assert!(kept.is_subset(&data_files(&cluster)));
}

/// From time to time, without being asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_vacuums_by_itself() {
    let options = Options::executors(1).coordinator_option("vacuum_interval_s", 1).coordinator_option("retention_s", 1);
    let cluster = Cluster::start(options).await;
    run(&cluster, "create table t as select 1 a").await;
    run(&cluster, "truncate table t").await;
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !data_files(&cluster).is_empty() {
        assert!(std::time::Instant::now() < deadline, "the file is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    run(&cluster, "insert into t values (2)").await;
    assert_eq!(number(&cluster, "select cast(a as bigint) from t").await, 2);
}

/// A database is kept for the longest time that it, a schema or a table of it asks for.
#[tokio::test(flavor = "multi_thread")]
async fn databases_say_how_long_they_are_kept() {
    let mut cluster = Cluster::start(Options::executors(1).coordinator_option("retention_s", 0)).await;
    run(&cluster, "create database d").await;
    for place in ["frazil.public.t", "d.public.t"] {
        run(&cluster, &format!("create table {place} as select 1 a")).await;
    }
    run(&cluster, "alter table d.public.t set data_retention_time_in_days = 7").await;
    for place in ["frazil.public.t", "d.public.t"] {
        run(&cluster, &format!("truncate table {place}")).await;
    }
    cluster.restart_coordinator();
    let files_of = |database: &str| {
        let below = warehouse(&cluster).join(database);
        data_files(&cluster).into_iter().filter(|file| file.starts_with(&below)).count()
    };
    vacuum(&cluster, "vacuum").await;
    assert_eq!((files_of("frazil"), files_of("d")), (0, 1));
    // The database's own word is the least, a schema's may be more, and one that is no more says nothing.
    run(&cluster, "alter table d.public.t unset data_retention_time_in_days").await;
    run(&cluster, "alter database d set DATA_RETENTION_TIME_IN_DAYS = 1").await;
    vacuum(&cluster, "vacuum").await;
    assert_eq!(files_of("d"), 1);
    run(&cluster, "alter database d set data_retention_time_in_days = 0").await;
    run(&cluster, "alter schema d.public set data_retention_time_in_days = 2").await;
    vacuum(&cluster, "vacuum d").await;
    assert_eq!(files_of("d"), 1);
    run(&cluster, "alter schema d.public unset data_retention_time_in_days").await;
    vacuum(&cluster, "vacuum d").await;
    assert_eq!(files_of("d"), 0);
    // What the statement says stands above all.
    run(&cluster, "insert into d.public.t values (1)").await;
    run(&cluster, "alter database d set data_retention_time_in_days = 3").await;
    run(&cluster, "truncate table d.public.t").await;
    vacuum(&cluster, "vacuum d retain 0 seconds").await;
    assert_eq!(files_of("d"), 0);
    // A dropped database comes back for as long.
    run(&cluster, "drop database d").await;
    vacuum(&cluster, "vacuum").await;
    run(&cluster, "undrop database d").await;
    for (sql, state) in [
        ("alter table nowhere set data_retention_time_in_days = 1", "42P01"),
        ("alter schema nowhere set data_retention_time_in_days = 1", "3F000"),
        ("alter database nowhere set data_retention_time_in_days = 1", "3D000"),
        ("alter table t set data_retention_time_in_days = 100000", "22023"),
        ("alter table t set data_retention_time_in_days = soon", "42601"),
    ] {
        assert_eq!(refused(&cluster, sql).await.sql_state.as_deref(), Some(state), "{sql}");
    }
}
