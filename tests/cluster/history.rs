//! What there was: `system.statements` and its kin, the list of the REST API, and what a coordinator that has started again
//! still knows.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::rest::Rest;

/// Runs until it is stopped.
const ENDLESS: &str = "select count(*) from generate_series(1, 10000000) a cross join generate_series(1, 10000000) b";

/// Asks until the answer is as wanted: statements are written behind, and tasks report after the last row.
async fn until(rest: &Rest, sql: &str, wanted: &[&[&str]]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answered = rest.sql(sql).await;
        let rows = answered.rows();
        let shown: Vec<Vec<&str>> =
            rows.iter().map(|row| row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect()).collect();
        if shown == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{sql}\n{shown:?} is not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_stages_and_tasks_are_tables() {
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options::executors(2)).await;
    data::register(&cluster, tables).await;
    let rest = Rest::new(cluster.url());
    let tagged = |sql: &str| json!({ "statement": sql, "parameters": { "query_tag": "mine", "partitions": 4 } });
    let grouped = "select l_returnflag, count(*) from lineitem group by 1 order by 1";
    assert_eq!(rest.submit(&tagged(grouped)).await.rows().len(), 3);
    assert_eq!(rest.submit(&tagged("select * from nowhere")).await.status, 422);
    assert_eq!(rest.submit(&tagged("create table t as select 1 as a")).await.status, 200);
    assert_eq!(rest.submit(&tagged("insert into t values (2), (3)")).await.status, 200);
    until(
        &rest,
        "select statement_text, phase, sql_state, rows, rows_written from system.statements where query_tag = 'mine' \
         order by created_at, statement_id",
        &[
            &[grouped, "finished", "NULL", "3", "0"],
            &["select * from nowhere", "failed", "42P01", "NULL", "0"],
            &["create table t as select 1 as a", "finished", "NULL", "1", "1"],
            &["insert into t values (2), (3)", "finished", "NULL", "1", "2"],
        ],
    )
    .await;
    // Through the planner like any other table: joins, aggregates, views, other databases' names.
    until(
        &rest,
        "select s.tasks = count(t.stage), s.stages = count(distinct t.stage), count(distinct executor), \
         bool_and(t.state = 'finished'), sum(t.splits) = s.splits, s.splits = s.splits_finished, s.bytes_scanned > 0 \
         from system.statements s join system.tasks t using (statement_id) \
         where s.query_tag = 'mine' and s.statement_text like '%lineitem%' \
         group by s.tasks, s.stages, s.splits, s.splits_finished, s.bytes_scanned",
        &[&["true", "true", "2", "true", "true", "true", "true"]],
    )
    .await;
    until(
        &rest,
        "select exchange, is_spread, sum(tasks_finished) = sum(tasks) from frazil.system.stages natural join \
         (select statement_id from system.statements where statement_text like '%lineitem%' and query_tag = 'mine') \
         where exchange = 'hash' group by 1, 2",
        &[&["hash", "true", "true"]],
    )
    .await;
    until(
        &rest,
        "select executor, state, slots from system.executors order by 1",
        &[&["executor-0", "live", "2"], &["executor-1", "live", "2"]],
    )
    .await;
    // With the rows of tables that executors read.
    until(
        &rest,
        "select count(distinct s.statement_id) > 0 from system.statements s, lineitem where s.rows = l_linenumber",
        &[&["true"]],
    )
    .await;
    assert_eq!(rest.sql("create view v as select phase from system.statements").await.status, 200);
    until(&rest, "select count(*) > 3 from v", &[&["true"]]).await;
    // A statement sees itself.
    until(&rest, "select phase from system.statements where statement_text like '%itself%'", &[&["received"]]).await;
    assert_eq!(rest.sql("describe system.tasks").await.rows().len(), 11);

    for (refused, state) in [
        ("insert into system.statements select * from system.statements", ""),
        ("delete from system.statements", ""),
        ("drop table system.statements", ""),
        ("create table system.t (a int)", ""),
        ("create schema system", "42P06"),
        ("select * from system.secrets", "42P01"),
    ] {
        let answered = rest.sql(refused).await;
        assert_eq!(answered.status, 422, "{refused}: {answered:?}");
        assert!(state.is_empty() || answered.sql_state() == state, "{refused}: {answered:?}");
        assert_ne!(answered.sql_state(), "XX000", "{refused}: {answered:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_starts_again_knows_what_there_was() {
    let mut cluster = Cluster::start(Options::executors(1)).await;
    let rest = Rest::new(cluster.url());
    rest.sql("create table t (a bigint)").await.rows();
    let inserted = rest.sql("insert into t select * from generate_series(1, 7)").await;
    assert_eq!(inserted.cells(), [Some("7".to_owned())]);
    assert_eq!(inserted.body["stats"]["numRowsInserted"], 7);
    let selected = rest.sql("select a from t").await;
    let failed = rest.sql("select nothing from t").await;
    let secret = rest.sql("create secret s (type s3, key_id 'k', secret 'canary-4711', scope 's3://b/')").await;
    assert_eq!(secret.status, 200, "{secret:?}");
    let running = rest.post("/api/v2/statements?async=true", &json!({ "statement": ENDLESS })).await.handle();
    until(
        &rest,
        "select phase from system.statements where statement_text like '%cross join%' and phase = 'running'",
        &[&["running"]],
    )
    .await;
    // Written behind: all are there when the last is. The running one is noted a moment after it began.
    let directory = cluster.directory().join("coordinator/history");
    let deadline = Instant::now() + Duration::from_secs(20);
    let written = loop {
        let files = std::fs::read_dir(&directory).expect("the history's directory").flatten();
        let logs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "ndjson"));
        let written: String = logs.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default()).collect();
        if [&running, &secret.handle(), &failed.handle()].iter().all(|handle| written.contains(handle.as_str())) {
            break written;
        }
        assert!(Instant::now() < deadline, "{written}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(!written.contains("canary-4711"), "{written}");

    tokio::task::block_in_place(|| cluster.restart_coordinator());
    let rest = Rest::new(cluster.url());
    let path = |handle: &str| format!("/api/v2/statements/{handle}");
    // A change has its answer, and its handle, as before.
    let again = rest.get(&path(&inserted.handle())).await;
    assert_eq!((again.cells(), &again.body["stats"]["numRowsInserted"]), (inserted.cells(), &json!(7)));
    // A failure is the failure that it was.
    let again = rest.get(&path(&failed.handle())).await;
    assert_eq!((again.status, &again.body), (422, &failed.body));
    // Rows of queries are not kept so long, which is said, and no empty result.
    let again = rest.get(&path(&selected.handle())).await;
    assert_eq!((again.status, &again.body["code"]), (404, &json!("000710")), "{again:?}");
    assert!(again.message().contains("has expired: it is finished, with 7 rows"), "{again:?}");
    // What ran when the coordinator ended.
    let again = rest.get(&path(&running)).await;
    assert_eq!((again.status, again.sql_state()), (422, "57P02"), "{again:?}");
    assert_eq!(rest.post(&format!("{}/cancel", path(&running)), &json!({})).await.status, 422);
    until(
        &rest,
        "select phase, count(*) from system.statements where statement_text not like '%system.%' group by 1 order by 1",
        &[&["failed", "2"], &["finished", "4"]],
    )
    .await;
    // And once more, the end of what was interrupted included.
    let ended = "select ended_at from system.statements where sql_state = '57P02'";
    let first = rest.sql(ended).await.rows();
    tokio::task::block_in_place(|| cluster.restart_coordinator());
    assert_eq!(rest.sql(ended).await.rows(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_listed_in_pages() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let rest = Rest::new(cluster.url());
    let mut handles = Vec::new();
    for number in 0..7 {
        let tag = if number % 2 == 0 { "even" } else { "odd" };
        let body = json!({ "statement": format!("select {number} as Number"), "parameters": { "query_tag": tag } });
        handles.push(rest.submit(&body).await.handle());
    }
    let failed = rest.sql("select nothing").await.handle();
    handles.reverse();
    let listed = async |query: &str| -> (Vec<String>, Value) {
        let answered = rest.get(&format!("/api/v2/statements?{query}")).await;
        assert_eq!(answered.status, 200, "{query}: {answered:?}");
        let statements = answered.body["statements"].as_array().expect("a list");
        let handle = |one: &Value| one["statementHandle"].as_str().expect("a handle").to_owned();
        (statements.iter().map(handle).collect(), answered.body["next"].clone())
    };
    let (mut found, mut query) = (Vec::new(), "limit=3&text=NUMBER".to_owned());
    loop {
        let (page, next) = listed(&query).await;
        found.extend(page);
        let Some(next) = next.as_str() else { break };
        query = format!("limit=3&text=NUMBER&before={next}");
    }
    assert_eq!(found, handles);
    assert_eq!(listed("queryTag=odd").await.0, [&*handles[1], &*handles[3], &*handles[5]]);
    assert_eq!(listed("phase=failed").await.0, [failed.as_str()]);
    assert!(listed("user=nobody").await.0.is_empty());
    let newest = rest.get("/api/v2/statements?limit=1").await.body["statements"][0].clone();
    assert_eq!((&newest["phase"], &newest["failure"]["sqlState"]), (&json!("failed"), &json!("42703")), "{newest}");
    let created = newest["createdOn"].as_u64().expect("a time");
    assert!(listed(&format!("to={created}")).await.0.iter().all(|handle| *handle != failed));
    assert!(listed(&format!("from={created}")).await.0.contains(&failed));
    for wrong in ["limit=0", "limit=1001", "phase=gone", "before=7", "colour=red"] {
        assert_eq!(rest.get(&format!("/api/v2/statements?{wrong}")).await.status, 400, "{wrong}");
    }
}
