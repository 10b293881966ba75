//! How far a statement is, while it runs.

use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Options};
use crate::support::rest::Rest;

const FILES: u64 = 60;
const LIMIT: Duration = Duration::from_secs(120);

/// Waits until the statement that came with this request id is as it is wanted, and returns it.
async fn wait_for(rest: &Rest, request: &str, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    let mut seen = Value::Null;
    while start.elapsed() < LIMIT {
        let listed = rest.get(&format!("/api/v2/statements?requestId={request}")).await;
        if let Some(statement) = listed.body["statements"].get(0) {
            seen = statement.clone();
            if is_wanted(&seen) {
                return seen;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: never so, but {seen}");
}

fn figure(statement: &Value, group: &str, name: &str) -> u64 {
    statement[group][name].as_u64().unwrap_or_else(|| panic!("no {group}.{name}: {statement}"))
}

/// Reads events up to one that is wanted.
async fn event_where(
    events: &mut (impl Stream<Item = reqwest::Result<impl AsRef<[u8]>>> + Unpin),
    is_wanted: impl Fn(&Value) -> bool,
) -> Value {
    let mut text = String::new();
    loop {
        let piece = tokio::time::timeout(LIMIT, events.next()).await.expect("an event in time");
        let piece = piece.unwrap_or_else(|| panic!("not told: {text}")).expect("whole");
        text += std::str::from_utf8(piece.as_ref()).expect("text");
        let whole = text.split_inclusive("\n\n").filter(|event| event.ends_with("\n\n"));
        let told = whole.filter_map(|event| serde_json::from_str(event.lines().nth(1)?.strip_prefix("data: ")?).ok());
        if let Some(event) = told.last()
            && is_wanted(&event)
        {
            return event;
        }
    }
}

/// A table `t`, each of its files 1.3 MB in memory: 78 MB together.
async fn make_files(rest: &Rest) {
    // Digits that nothing makes shorter on the way.
    let digits: Vec<_> = (0..10).map(|n| format!("(value * (104729 + {n} * 15485863) % 1000003)::text")).collect();
    let rows = format!("select value as k, {} as v from generate_series(1, 16000)", digits.join(" || "));
    let created = rest.sql(&format!("create table t as {rows}")).await;
    assert_eq!(created.status, 200, "{created:?}");
    for _ in 1..FILES {
        assert_eq!(rest.sql(&format!("insert into t {rows}")).await.status, 200);
    }
}

/// Its reader takes nothing more after the first bytes, so the only task stands still in the middle of its files: there is
/// room for some of them between it and the reader, and not for all.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_tells_of_its_splits_while_it_runs() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let rest = Rest::new(cluster.url());
    make_files(&rest).await;
    let request = "0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5c01";
    let sent = rest.http().post(rest.url(&format!("/api/v2/statements?requestId={request}")));
    let body = json!({ "statement": "select k, v from t", "parameters": { "partitions": 1 } });
    let sent = sent.header("accept", "application/vnd.apache.arrow.stream").json(&body);
    let mut answer = sent.send().await.expect("an answer");
    assert!(answer.chunk().await.expect("rows").is_some());
    let is_between = |statement: &Value| {
        let done = figure(statement, "progress", "splits_finished");
        0 < done && done < figure(statement, "progress", "splits")
    };
    let between = wait_for(&rest, request, "some splits are done and others are not", is_between).await;
    assert_eq!((figure(&between, "progress", "tasks"), figure(&between, "progress", "tasks_finished")), (1, 0));
    assert_eq!(figure(&between, "progress", "splits"), FILES, "{between}");
    let scanned = figure(&between, "stats", "rowsScanned");
    assert!(0 < scanned && scanned < FILES * 16000, "{between}");
    assert!(figure(&between, "stats", "bytesScanned") > 0, "{between}");

    // The same by events: the first tells how it is, and it is not at its end.
    let handle = between["statementHandle"].as_str().expect("a handle");
    let events =
        rest.http().get(rest.url(&format!("/api/v2/statements/{handle}/events"))).send().await.expect("events");
    let mut events = events.bytes_stream();
    let told = event_where(&mut events, |_| true).await;
    assert_eq!((told["phase"].as_str(), told["tasksFinished"].as_u64()), (Some("running"), Some(0)), "{told}");
    let (splits, rows) = (told["splitsFinished"].as_u64(), told["rowsScanned"].as_u64());
    assert!(splits.is_some_and(|done| 0 < done && done < FILES) && rows.is_some_and(|rows| rows > 0), "{told}");

    while answer.chunk().await.expect("rows").is_some() {}
    let last = event_where(&mut events, |event| event["phase"] == "finished").await;
    assert!(
        last["splitsFinished"].as_u64() >= splits && last["rowsScanned"].as_u64() >= rows,
        "{told}, and then {last}"
    );
    let ended = wait_for(&rest, request, "all is told", |statement| {
        figure(statement, "progress", "tasks_finished") == 1 && statement["phase"] == "finished"
    });
    let ended = ended.await;
    assert_eq!(figure(&ended, "progress", "splits_finished"), FILES, "{ended}");
    assert_eq!(figure(&ended, "stats", "rowsScanned"), FILES * 16000, "{ended}");
    assert!(figure(&ended, "stats", "bytesScanned") >= figure(&between, "stats", "bytesScanned"), "{ended}");
}

/// Pieces of a table that is made are splits as files are.
#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_generated_tables_are_counted() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let rest = Rest::new(cluster.url());
    let answered = rest.sql("select count(*) from tpch('lineitem', 0.1)").await;
    assert_eq!(answered.cells()[0].as_deref(), Some("600572"), "{answered:?}");
    let request = "0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5c02";
    let body = json!({ "statement": "select max(l_tax) from tpch('lineitem', 0.1)" });
    assert_eq!(rest.post(&format!("/api/v2/statements?requestId={request}"), &body).await.status, 200);
    let ended = wait_for(&rest, request, "all is told", |statement| {
        let progress = &statement["progress"];
        figure(statement, "progress", "tasks_finished") > 0 && progress["tasks_finished"] == progress["tasks"]
    });
    let ended = ended.await;
    assert!(figure(&ended, "progress", "splits") > 0, "{ended}");
    assert_eq!(ended["progress"]["splits"], ended["progress"]["splits_finished"], "{ended}");
    assert_eq!(figure(&ended, "stats", "rowsScanned"), 600_572, "{ended}");
}

/// A try that an executor took with it is done again: what it had done is in the rows that were scanned, and not in the splits
/// that are done.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_try_is_not_counted_as_done() {
    let mut cluster = Cluster::start(Options::executors(2)).await;
    let rest = Rest::new(cluster.url());
    for number in 0..40 {
        let write = if number == 0 { "create table t as" } else { "insert into t" };
        let written = rest.sql(&format!("{write} select value as k from generate_series(1, 1000)")).await;
        assert_eq!(written.status, 200, "{written:?}");
    }
    let request = "0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5c03";
    // Each row is work, in the task that reads it.
    let sql = "select sum(length(regexp_replace(repeat(k::text, 2000), '[0-9]', 'xy', 'g'))) from t";
    let body = json!({ "statement": sql, "parameters": { "partitions": 2 } });
    let sent = rest.post(&format!("/api/v2/statements?async=true&requestId={request}"), &body).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let between = wait_for(&rest, request, "some splits are done and others are not", |statement| {
        let done = figure(statement, "progress", "splits_finished");
        0 < done && done < 40 && figure(statement, "progress", "tasks_finished") == 0
    });
    let between = between.await;
    cluster.kill_executor(1);
    let ended = wait_for(&rest, request, "all is told", |statement| {
        let progress = &statement["progress"];
        statement["phase"] == "finished" && progress["tasks_finished"] == progress["tasks"]
    });
    let ended = ended.await;
    assert_eq!(figure(&ended, "progress", "retries"), 1, "{between}, and then {ended}");
    assert_eq!(figure(&ended, "progress", "splits"), 40, "{ended}");
    assert_eq!(figure(&ended, "progress", "splits_finished"), 40, "{ended}");
    let scanned = figure(&ended, "stats", "rowsScanned");
    assert!(scanned >= 40_000 + figure(&between, "stats", "rowsScanned"), "{between}, and then {ended}");
}
