//! Bad input through the front door: a typed error that names the object, and everything else lives on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::engine::{Engine, Refusal, Request};
use crate::support::paths;

async fn cluster_with_data() -> Cluster {
    let cluster = Cluster::start(Options::executors(2)).await;
    data::register(&cluster, data::tpch().await).await;
    cluster
}

async fn refused(cluster: &Cluster, sql: &str) -> Refusal {
    match cluster.run(&Request::new(sql)).await {
        Ok(answer) => panic!("{} has an answer of {} rows", &sql[..sql.len().min(100)], answer.rows()),
        Err(refusal) => refusal,
    }
}

async fn lives(cluster: &Cluster) {
    let answer = cluster.run(&Request::new("select count(*) from lineitem, region").partitions(2)).await;
    assert_eq!(answer.expect("the cluster lives").rows(), 1);
    let state = cluster.client().cluster().await.expect("the coordinator answers");
    assert_eq!(state["executors"].as_array().map(Vec::len), Some(2), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_sql_has_a_state_and_a_position() {
    let cluster = cluster_with_data().await;
    for (sql, state, says) in [
        ("select * form orders", "42601", ""),
        ("select o_nothing from orders", "42703", "o_nothing"),
        ("select * from no_such_table", "42P01", "no_such_table"),
        ("select no_such_function(1)", "42883", "no_such_function"),
        ("", "42601", "empty"),
        ("insert into orders select * from orders", "42501", "orders"),
        ("merge into orders using orders as o on true when matched then delete", "42501", "orders"),
        ("copy orders to '/tmp/x.parquet'", "0A000", "copy"),
        ("select 1; select 2", "0A000", ""),
        ("select cast('x' as int) from orders", "22000", "x"),
        ("create external table orders stored as parquet location '/tmp/'", "42P07", "orders"),
        ("create external table t stored as avro location '/tmp/'", "0A000", "AVRO"),
    ] {
        let refusal = refused(&cluster, sql).await;
        assert_eq!(refusal.sql_state.as_deref(), Some(state), "{sql}: {refusal}");
        assert!(refusal.message.to_lowercase().contains(&says.to_lowercase()), "{sql}: {refusal}");
    }
    let refusal = cluster.client().refusal_body("select a,\n  b form t").await;
    assert_eq!((refusal["line"].as_u64(), refusal["column"].as_u64().is_some()), (Some(2), true), "{refusal}");
    lives(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn monsters_end_in_an_answer_or_an_error() {
    let cluster = cluster_with_data().await;
    let any = |n: usize| (0..n).map(|i| format!("o_orderkey = {i}")).collect::<Vec<_>>().join(" or ");
    let monsters = [
        format!("select count(*) from orders where {}", any(20_000)),
        format!("select count(*) from orders where {}", any(2_000)),
        format!("select {}1", "1 + ".repeat(50_000)),
        format!("select {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("select {}true", "not ".repeat(20_000)),
        format!(
            "select count(*) from orders where o_orderkey in ({})",
            (0..50_000).map(|i| i.to_string()).collect::<Vec<_>>().join(",")
        ),
        format!("select 1{}", " union all select 1".repeat(3_000)),
        format!("select '{}'", "x".repeat(6 << 20)),
    ];
    for monster in monsters {
        if let Err(refusal) = cluster.run(&Request::new(&monster)).await {
            let state = refusal.sql_state.clone().unwrap_or_default();
            assert!(["54001", "0A000", "57005"].contains(&state.as_str()), "{}…: {refusal}", &monster[..60]);
        }
    }
    lives(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_could_harm_are_refused() {
    let cluster = cluster_with_data().await;
    for (sql, state) in [
        ("set datafusion.runtime.memory_limit = '1K'", "42501"),
        ("set datafusion.runtime.temp_directory = '/tmp'", "42501"),
        ("set datafusion.execution.target_partitions = 200000", "42501"),
        ("set partitions = 200000", "22023"),
        ("set datafusion.execution.batch_size = 0", "22023"),
        ("set no_such_setting = 1", "22023"),
    ] {
        let refusal = refused(&cluster, sql).await;
        assert_eq!(refusal.sql_state.as_deref(), Some(state), "{sql}: {refusal}");
    }
    assert!(cluster.run(&Request::new("set datafusion.execution.batch_size = 4096")).await.is_ok());
    lives(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_outside_are_refused() {
    let roots = tempfile::tempdir().expect("a directory");
    let inside = roots.path().join("in");
    fs::create_dir_all(&inside).expect("made");
    std::os::unix::fs::symlink("/etc", inside.join("link")).expect("made");
    let mut options = Options::executors(1);
    options.environment.push(("FRAZIL_STORAGE_ALLOWED_ROOTS".to_owned(), inside.display().to_string()));
    let cluster = Cluster::start(options).await;
    // What is inside is let in, or the refusals below would say nothing.
    fs::write(inside.join("t.csv"), "1\n").expect("written");
    let sql = format!("create external table inside (a varchar) stored as csv location '{}/t.csv'", inside.display());
    cluster.run(&Request::new(sql)).await.expect("it is below an allowed root");
    for place in
        ["/etc/passwd", "/proc/self/environ", "file:///etc/passwd", "http://169.254.169.254/latest", "s3://some/bucket"]
            .map(str::to_owned)
            .into_iter()
            .chain([format!("{}/link/passwd", inside.display()), format!("{}/../x", inside.display())])
    {
        let sql = format!("create external table t (a varchar) stored as csv location '{place}'");
        let refusal = refused(&cluster, &sql).await;
        assert_eq!(refusal.sql_state.as_deref(), Some("42501"), "{place}: {refusal}");
        assert!(!refusal.message.contains("root:"), "{refusal}");
    }
}

/// Puts a file in a directory of its own, declares it and reads it.
async fn read_file(
    cluster: &Cluster,
    scratch: &Path,
    number: usize,
    format: &str,
    columns: &str,
    bytes: &[u8],
) -> Result<usize, Refusal> {
    let directory = scratch.join(format!("t{number}"));
    fs::create_dir_all(&directory).expect("made");
    fs::write(directory.join(format!("suspect.{format}")), bytes).expect("written");
    let sql =
        format!("create external table t{number} {columns} stored as {format} location '{}/'", directory.display());
    cluster.run(&Request::new(sql)).await?;
    let read = cluster.run(&Request::new(format!("select * from t{number}"))).await;
    read.map(|answer| answer.rows())
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_files_are_named_and_executors_live() {
    let cluster = cluster_with_data().await;
    let scratch = tempfile::tempdir().expect("a directory");
    let region = data::tpch().await.iter().find(|table| table.name == "orders").expect("it is there");
    let whole = fs::read_dir(&region.directory).expect("listed").flatten().next().expect("a file").path();
    let whole = fs::read(whole).expect("read");

    let mut flipped = whole.clone();
    for at in (4..whole.len() / 2).step_by(97) {
        flipped[at] ^= 0x20;
    }
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("empty", vec![]),
        ("no footer", b"PAR1 nothing PAR1".to_vec()),
        ("not parquet", b"a,b,c\n1,2,3\n".to_vec()),
        ("flipped bits in pages", flipped),
    ];
    for (number, (what, bytes)) in cases.into_iter().enumerate() {
        let refusal = read_file(&cluster, scratch.path(), number, "parquet", "", &bytes).await.expect_err(what);
        assert!(
            refusal.message.contains("suspect.parquet") || refusal.message.contains(&format!("t{number}")),
            "{what}: {refusal}"
        );
        let state = refusal.sql_state.clone().unwrap_or_default();
        assert!(["58030", "58P03", "22000"].contains(&state.as_str()), "{what}: {refusal}");
    }
    // Mistyped and gone after they were declared.
    let refusal =
        read_file(&cluster, scratch.path(), 20, "csv", "(a int)", b"a\n1\nnot a number\n").await.expect_err("mistyped");
    assert!(refusal.message.contains("suspect.csv"), "{refusal}");
    let directory = scratch.path().join("gone");
    fs::create_dir_all(&directory).expect("made");
    fs::write(directory.join("a.parquet"), &whole).expect("written");
    let sql = format!("create external table gone stored as parquet location '{}/'", directory.display());
    cluster.run(&Request::new(sql)).await.expect("declared");
    fs::write(directory.join("a.parquet"), &whole[..whole.len() - 100]).expect("cut");
    let refusal = refused(&cluster, "select sum(o_totalprice) from gone").await;
    assert!(refusal.message.contains("a.parquet"), "{refusal}");
    assert!(["58030", "58P03"].contains(&refusal.sql_state.as_deref().unwrap_or_default()), "{refusal}");
    let refusal = refused(&cluster, "create external table t stored as parquet location '/no/such/place/'").await;
    assert!(refusal.message.contains("/no/such/place"), "{refusal}");
    lives(&cluster).await;
}

/// Files that other readers were crashed with. Whatever they hold, the executors live and errors name the file.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_files_of_others() {
    let root = paths::project_root().parent().expect("it has one").join("shared/suites/malformed");
    if !root.exists() {
        eprintln!("SKIPPED: the malformed files are not at ../shared/suites/malformed");
        return;
    }
    let cluster = cluster_with_data().await;
    let scratch = tempfile::tempdir().expect("a directory");
    let mut files = Vec::new();
    let mut open = vec![root];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path: PathBuf = entry.path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let (mut read, mut refused) = (0, 0);
    for (number, path) in files.iter().enumerate() {
        let text = path.to_string_lossy();
        let (format, columns) = match () {
            () if text.contains("parquet") => ("parquet", ""),
            () if text.contains("csv") => ("csv", ""),
            () => continue,
        };
        let bytes = fs::read(path).expect("read");
        match read_file(&cluster, scratch.path(), number, format, columns, &bytes).await {
            Ok(_) => read += 1,
            Err(refusal) => {
                refused += 1;
                let state = refusal.sql_state.clone().unwrap_or_default();
                assert!(!state.is_empty(), "{text}: {refusal}");
            }
        }
    }
    eprintln!("{read} read, {refused} refused");
    assert!(read + refused > 20);
    lives(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_over_the_memory_limit_spills_or_says_what_it_wanted() {
    let mut options = Options::executors(2);
    options.memory = "24MB";
    options.slots = 1;
    let cluster = Cluster::start(options).await;
    data::register(&cluster, data::tpch().await).await;
    for sql in [
        "select l_comment, l_orderkey, count(*) from lineitem group by 1, 2 order by 1, 2",
        "select * from lineitem order by l_comment, l_orderkey, l_linenumber",
        "select count(*) from (select array_agg(l_comment) from lineitem a group by l_orderkey)",
        "select count(*) from lineitem a join lineitem b on a.l_comment = b.l_comment and a.l_shipmode = b.l_shipmode",
    ] {
        if let Err(refusal) = cluster.run(&Request::new(sql).partitions(2)).await {
            assert_eq!(refusal.sql_state.as_deref(), Some("53200"), "{sql}: {refusal}");
            assert!(
                refusal.message.to_lowercase().contains("allocate") || refusal.message.contains("memory"),
                "{refusal}"
            );
        }
    }
    lives(&cluster).await;
}
