//! Credentials that statements leave, and the places that statements may touch.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use axum::body::Bytes;

use crate::support::answers::{Order, compare};
use crate::support::bucket::{Bucket, Dialect, KEY_ID, SECRET_KEY};
use crate::support::cluster::{Cluster, Options};
use crate::support::commands::frazil;
use crate::support::data::{self, Table};
use crate::support::engine::{Engine, Refusal, Request};
use crate::support::oracle::Oracle;
use crate::support::web::{TOKEN, Web};

/// Of the text of whatever can be read.
fn contains(path: &Path, text: &str) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

async fn run(cluster: &Cluster, sql: &str) -> String {
    let answer = cluster.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
    arrow::util::pretty::pretty_format_batches(&answer.batches).expect("it can be shown").to_string()
}

async fn refused(cluster: &Cluster, sql: &str) -> Refusal {
    match cluster.run(&Request::new(sql)).await {
        Ok(answer) => panic!("{sql} gave {} rows", answer.rows()),
        Err(refusal) => refusal,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_open_buckets_and_are_never_shown() {
    let s3 = Bucket::start(Dialect::S3, "warehouse").await;
    let directory = tempfile::tempdir().expect("a directory");
    let load_it = |to: &'static str| ["load", "events", "--rows", "50000", "--files", "4", "--to", to];
    frazil(directory.path(), &load_it("s3://warehouse/data"), &s3.environment()).await.output();
    frazil(directory.path(), &load_it("here"), &[]).await.output();
    let here = Table { name: "events".to_owned(), directory: directory.path().join("here/events") };

    // The processes themselves have no credentials and know of no endpoint.
    let mut options = Options::executors(2);
    options.environment = [
        ("FRAZIL_STORAGE_ALLOWED_ROOTS", "s3://warehouse"),
        ("FRAZIL_STORAGE_ALLOWED_ENDPOINTS", s3.address()),
        ("FRAZIL_LOG_LEVEL", "debug"),
        ("NO_PROXY", "127.0.0.1"),
        ("AWS_ACCESS_KEY_ID", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", "nothing"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let mut cluster = Cluster::start(options).await;
    let secret = |name: &str, key: &str, scope: &str| {
        format!(
            "create secret {name} (type s3, key_id '{key}', secret '{SECRET_KEY}', endpoint '{}', region 'here'{scope})",
            s3.address()
        )
    };
    let mut said = run(&cluster, &secret("mine", KEY_ID, "")).await;
    assert!(said.contains("secret mine created"), "{said}");
    let declare = "create external table events stored as parquet location 's3://warehouse/data/events/'";
    run(&cluster, declare).await;
    let sql = "select event_type, count(*), sum(revenue) from events group by 1";
    let expected = Oracle::over(&[here]).await.run(&Request::new(sql)).await.expect("the oracle answers");
    let before = s3.seen().gets_of_a_range;
    let actual = cluster.run(&Request::new(sql).partitions(4)).await.expect("executors were given the secret");
    compare(&expected, &actual, Order::Any).expect("the same rows");
    assert!(s3.seen().gets_of_a_range > before && s3.seen().refused == 0, "{:?}", s3.seen());

    // The longest scope wins: there, the key is a stranger's.
    run(&cluster, &secret("elsewhere", "a-stranger", ", scope 's3://warehouse/dat'")).await;
    cluster.run(&Request::new(sql).partitions(4)).await.expect("another prefix");
    run(&cluster, &secret("stranger", "a-stranger", ", scope 's3://warehouse/data/'")).await;
    let refusal = refused(&cluster, sql).await;
    assert!(s3.seen().refused > 0, "{refusal}");
    let mut messages = refusal.to_string();
    messages += &refused(&cluster, &secret("mine", KEY_ID, "")).await.to_string();
    run(
        &cluster,
        &secret("stranger", KEY_ID, ", scope 's3://warehouse/data/'").replacen("create", "create or replace", 1),
    )
    .await;
    cluster.run(&Request::new(sql).partitions(4)).await.expect("replaced");
    run(&cluster, "drop secret stranger").await;
    assert_eq!(refused(&cluster, "drop secret stranger").await.sql_state.as_deref(), Some("42704"));

    // What is wrong with one is said without it.
    for (change, state) in [
        (("region 'here'", "colour 'here'"), "22023"),
        (("key_id", "session_token"), "22023"),
        (("type s3", "type floppy"), "0A000"),
        (("', region", "' region"), "42601"),
        (("create", "explain create"), "42601"),
        (("create", "select 1; create"), "42601"),
        ((s3.address(), "http://169.254.169.254"), "42501"),
        ((s3.address(), "http://127.0.0.1:1"), "42501"),
    ] {
        let sql = secret("wrong", KEY_ID, "").replacen(change.0, change.1, 1);
        let refusal = refused(&cluster, &sql).await;
        assert_eq!(refusal.sql_state.as_deref(), Some(state), "{change:?}: {refusal}");
        messages += &refusal.to_string();
    }
    assert_eq!(refused(&cluster, &secret("mine", KEY_ID, "")).await.sql_state.as_deref(), Some("42710"));
    said += &run(&cluster, "show secrets").await;
    assert!(said.contains("mine") && said.contains("s3://warehouse/dat") && !said.contains("stranger"), "{said}");
    said += &run(&cluster, &format!("explain verbose {sql}")).await;
    said += &run(&cluster, &format!("explain analyze verbose {sql}")).await;
    said += &cluster.client().statements().await.expect("a list").to_string();
    assert!(said.contains("create secret mine (…)"), "the list shows that there was one: {said}");
    assert!(!said.contains(SECRET_KEY) && !messages.contains(SECRET_KEY), "{said}{messages}");
    assert!(!messages.contains(KEY_ID) && !messages.contains("a-stranger"), "{messages}");

    // It lasts, in a file that others cannot read, and nowhere else.
    cluster.restart_coordinator();
    cluster.run(&Request::new(sql).partitions(4)).await.expect("it is kept");
    let registry = cluster.directory().join("coordinator/catalog/frazil.db");
    let mode = registry.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    let private = |path: &Path| path.to_string_lossy().starts_with(&*registry.to_string_lossy());
    let all = files(cluster.directory());
    assert!(all.iter().any(|path| private(path) && contains(path, SECRET_KEY)), "the test looks for the right thing");
    for path in all.iter().filter(|path| !private(path)) {
        assert!(!contains(path, SECRET_KEY), "{} has the secret", path.display());
    }
}

/// Of Google's and Azure's stores, as of S3 above.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_other_providers() {
    for dialect in [Dialect::Gcs, Dialect::Azure] {
        let bucket = Bucket::start(dialect, "warehouse").await;
        bucket.put("data/a.csv", "word\nfine\n");
        let mut options = Options::executors(1);
        options.environment = [
            ("FRAZIL_STORAGE_ALLOWED_ROOTS", bucket.url("").as_str()),
            ("FRAZIL_STORAGE_ALLOWED_ENDPOINTS", bucket.address()),
            ("FRAZIL_LOG_LEVEL", "debug"),
            ("NO_PROXY", "127.0.0.1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let mut cluster = Cluster::start(options).await;
        let create = |name: &str, is_good, scope: &str| {
            format!("create secret {name} ({}{scope})", bucket.secret_options(is_good))
        };
        let mut said = run(&cluster, &create("mine", true, "")).await;
        let place = bucket.url("data/");
        let declare = format!(
            "create external table words stored as csv location '{place}' options ('format.has_header' 'true')"
        );
        run(&cluster, &declare).await;
        said += &run(&cluster, "select word from words").await;
        assert!(said.contains("fine") && bucket.seen().refused == 0, "{dialect:?}: {said}");
        run(&cluster, &create("stranger", false, &format!(", scope '{place}'"))).await;
        let mut messages = refused(&cluster, "select word from words").await.to_string();
        assert!(bucket.seen().refused > 0, "{messages}");
        run(&cluster, "drop secret stranger").await;
        let elsewhere = create("elsewhere", true, "").replace(bucket.address(), "http://169.254.169.254");
        let refusal = refused(&cluster, &elsewhere).await;
        assert_eq!(refusal.sql_state.as_deref(), Some("42501"), "{refusal}");
        messages += &refusal.to_string();
        if dialect == Dialect::Azure {
            let refusal = refused(&cluster, &create("broken", true, "").replace(SECRET_KEY, "no.base64.hush")).await;
            assert_eq!(refusal.sql_state.as_deref(), Some("22023"), "{refusal}");
            assert!(!refusal.message.contains("hush"), "{refusal}");
        }
        said += &run(&cluster, "show secrets").await;
        said += &cluster.client().statements().await.expect("a list").to_string();
        assert!(!said.contains(SECRET_KEY) && !messages.contains(SECRET_KEY), "{said}{messages}");
        cluster.restart_coordinator();
        assert!(run(&cluster, "select word from words").await.contains("fine"), "{dialect:?}: it is kept");
        let private = cluster.directory().join("coordinator/catalog/frazil.db").display().to_string();
        for path in files(cluster.directory()).iter().filter(|path| !path.to_string_lossy().starts_with(&private)) {
            assert!(!contains(path, SECRET_KEY), "{} has the secret", path.display());
        }
    }
}

/// Links and `..`, at the location and below it; for what is read and what is written.
#[tokio::test(flavor = "multi_thread")]
async fn places_outside_of_the_roots_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (inside, outside) = (directory.path().join("in"), directory.path().join("out"));
    for path in [&inside.join("t"), &outside] {
        std::fs::create_dir_all(path).expect("it is ours");
    }
    std::fs::write(outside.join("private.csv"), "word\nhush\n").expect("it is ours");
    std::fs::write(inside.join("t/a.csv"), "word\nfine\n").expect("it is ours");
    std::os::unix::fs::symlink(&outside, inside.join("link")).expect("it is ours");
    let mut options = Options::executors(1);
    options.environment = vec![("FRAZIL_STORAGE_ALLOWED_ROOTS".to_owned(), inside.display().to_string())];
    let cluster = Cluster::start(options).await;
    let declare = |location: &str| {
        format!("create external table x stored as csv location '{location}' options ('format.has_header' 'true')")
    };
    let (inside_text, outside_text) = (inside.display().to_string(), outside.display().to_string());
    for location in [
        outside_text.clone(),
        format!("{outside_text}/private.csv"),
        format!("{inside_text}/../out/private.csv"),
        format!("file://{inside_text}/%2e%2e/out/private.csv"),
        format!("{inside_text}/link/"),
        format!("{inside_text}/link/private.csv"),
        format!("{inside_text}/link/*.csv"),
        "/proc/self/environ".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://127.0.0.1:1/x".to_owned(),
        "s3://bucket/x".to_owned(),
        "gs://bucket/x".to_owned(),
        "gcs://bucket/x".to_owned(),
        "az://container/x".to_owned(),
        "abfss://container@account.dfs.core.windows.net/x".to_owned(),
        "s3a://bucket/x".to_owned(),
    ] {
        let refusal = refused(&cluster, &declare(&location)).await;
        assert_eq!(refusal.sql_state.as_deref(), Some("42501"), "{location}: {refusal}");
        assert!(!refusal.message.contains("hush") && refusal.message.contains(&location), "{refusal}");
    }
    // A link that comes later, to a file.
    run(&cluster, &declare(&format!("{inside_text}/t/"))).await;
    assert!(run(&cluster, "select word from x").await.contains("fine"));
    std::os::unix::fs::symlink(outside.join("private.csv"), inside.join("t/b.csv")).expect("it is ours");
    let refusal = refused(&cluster, "select word from x").await;
    assert!(refusal.message.contains("leads out of the allowed roots"), "{refusal}");
    std::fs::remove_file(inside.join("t/b.csv")).expect("it is there");
    std::os::unix::fs::symlink(inside.join("t/a.csv"), inside.join("t/c.csv")).expect("it is ours");
    assert_eq!(run(&cluster, "select word from x").await.matches("fine").count(), 2, "links inside are links");
    // Tables of the catalog are where the operator wants them, not statements.
    run(&cluster, "create table mine as select word from x").await;
    assert_eq!(run(&cluster, "select word from mine").await.matches("fine").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_that_are_not_there_are_said_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    for (variable, value, word) in [
        ("ALLOWED_ROOTS", "/no/such/place", "/no/such/place"),
        ("ALLOWED_ROOTS", "floppy://a", "floppy://a"),
        ("ALLOWED_ENDPOINTS", "ftp://host", "ftp://host"),
    ] {
        let environment = [(format!("FRAZIL_STORAGE_{variable}"), value.to_owned())];
        let ran = frazil(directory.path(), &["coordinator", "--http-listen", "127.0.0.1:0"], &environment).await;
        assert_eq!(ran.code(), Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains(word) && ran.stderr.contains(&variable.to_lowercase()), "{}", ran.stderr);
    }
}

/// Files of a web server, which is on loopback and allowed by its address.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_web_servers() {
    let table = data::tpch().await.iter().find(|table| table.name == "orders").expect("it is one of them");
    let path = files(&table.directory).into_iter().min().expect("it has files");
    let parquet = Bytes::from(std::fs::read(&path).expect("it is readable"));
    let csv = Bytes::from_static(b"word\nfine\n");
    let contents = [
        ("/data/orders.parquet", parquet.clone()),
        ("/whole/orders.parquet", parquet),
        ("/data/words.csv", csv.clone()),
        ("/whole/words.csv", csv.clone()),
        ("/private/words.csv", csv.clone()),
        ("/other/words.csv", csv),
        ("/whole/large.parquet", Bytes::from(vec![0; 20 << 20])),
    ];
    let web = Web::start(contents.map(|(path, bytes)| (path.to_owned(), bytes)).into()).await;
    let mut options = Options::executors(2);
    let roots = ["data", "whole", "private", "moved"].map(|folder| format!("{}/{folder}", web.address())).join(",");
    options.environment = vec![("FRAZIL_STORAGE_ALLOWED_ROOTS".to_owned(), roots)];
    let cluster = Cluster::start(options).await;
    let declare = |name: &str, path: &str| {
        let (format, more) = match path.ends_with("csv") {
            true => ("csv", "options ('format.has_header' 'true')"),
            false => ("parquet", ""),
        };
        format!("create external table {name} stored as {format} location '{}{path}' {more}", web.address())
    };

    let only = tempfile::tempdir().expect("a directory");
    std::fs::copy(&path, only.path().join("orders.parquet")).expect("it is ours");
    let here = Table { name: "orders".to_owned(), directory: only.path().to_owned() };
    let oracle = Oracle::over(&[here]).await;
    for (name, path) in [("ranges", "/data/orders.parquet"), ("whole", "/whole/orders.parquet")] {
        run(&cluster, &declare(name, path)).await;
        let sql =
            |table: &str| format!("select o_orderstatus, count(*) n, sum(o_totalprice) s from {table} group by 1");
        let expected = oracle.run(&Request::new(sql("orders"))).await.expect("the oracle answers");
        let actual =
            cluster.run(&Request::new(sql(name)).partitions(3)).await.unwrap_or_else(|e| panic!("{path}: {e}"));
        compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    assert!(web.asked().iter().any(|(_, path, range)| path == "/data/orders.parquet" && *range));
    for (name, path) in [("words", "/data/words.csv"), ("all_words", "/whole/words.csv")] {
        run(&cluster, &declare(name, path)).await;
        assert!(run(&cluster, &format!("select word from {name}")).await.contains("fine"));
    }

    let before = web.asked().len();
    for (path, state, word) in [
        ("/moved/data/words.csv", "42501", "redirects"),
        ("/private/words.csv", "42501", "401"),
        ("/data/nothing.csv", "58030", "/data/nothing.csv"),
        ("/data/", "58030", "name one"),
        ("/whole/large.parquet", "0A000", "too long"),
    ] {
        let refusal = refused(&cluster, &declare("x", path)).await;
        assert_eq!(refusal.sql_state.as_deref(), Some(state), "{path}: {refusal}");
        assert!(refusal.message.contains(word), "{path}: {refusal}");
    }
    assert!(web.asked()[before..].iter().all(|(_, path, _)| path != "/data/words.csv"), "the redirect was followed");

    // Other places of the server, and other names of it, are not asked at all.
    let before = web.asked().len();
    let by_name = web.address().replace("127.0.0.1", "localhost");
    for location in [
        format!("{}/other/words.csv", web.address()),
        format!("{}/data/../other/words.csv", web.address()),
        format!("{}/data/%2e%2e/other/words.csv", web.address()),
        format!("{by_name}/data/words.csv"),
        web.address().replace("http://", "http://user:hush@") + "/data/words.csv",
    ] {
        let declare = format!("create external table x stored as csv location '{location}'");
        assert_eq!(refused(&cluster, &declare).await.sql_state.as_deref(), Some("42501"), "{location}");
    }
    assert_eq!(web.asked().len(), before);

    let scope = format!("{}/private/", web.address());
    run(&cluster, &format!("create secret web (type http, bearer_token '{TOKEN}', scope '{scope}')")).await;
    run(&cluster, &declare("private", "/private/words.csv")).await;
    assert!(run(&cluster, "select word from private").await.contains("fine"));
    let missing = format!("create secret web2 (type http, bearer_token '{TOKEN}')");
    assert_eq!(refused(&cluster, &missing).await.sql_state.as_deref(), Some("22023"));
}
