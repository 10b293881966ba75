//! Databases and secrets, which are not part of a snapshot: whole or not there, and done once for a request.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Answer, Engine, Request};

async fn run(cluster: &Cluster, sql: &str) -> Answer {
    cluster.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
}

async fn shown(cluster: &Cluster, sql: &str) -> String {
    let answer = run(cluster, sql).await;
    arrow::util::pretty::pretty_format_batches(&answer.batches).expect("it can be shown").to_string()
}

/// A coordinator that dies while it clones a database, before and after it has its tables.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_clone_is_not_there() {
    let scratch = tempfile::tempdir().expect("a directory");
    let trigger = scratch.path().join("failpoint");
    let mut options = Options::executors(1);
    options.environment.push(("FRAZIL_TEST_FAILPOINT".to_owned(), trigger.display().to_string()));
    let mut cluster = Cluster::start(options).await;
    run(&cluster, "create table t as select value as a from generate_series(1, 100)").await;
    let id = "0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a71";
    let clone = json!({ "statement": "create database copy clone frazil" });
    for point in ["database.registered", frazil_common::failpoint::CLONE] {
        std::fs::write(&trigger, point).expect("it is ours");
        cluster.client().submit_as(id, &clone).await.expect_err("the coordinator dies");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !cluster.coordinator_is_gone() {
            assert!(Instant::now() < deadline, "{point} was not reached");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cluster.restart_coordinator();
        let databases = shown(&cluster, "show databases").await;
        assert!(
            databases.contains("frazil") && !databases.contains("copy") && !databases.contains(".clone"),
            "{point}: {databases}"
        );
        let undrop = cluster.run(&Request::new("undrop database copy")).await.expect_err("there was none");
        assert_eq!(undrop.sql_state.as_deref(), Some("3D000"), "{point}: {undrop}");
    }
    // The same request again makes it, and once more only tells so.
    cluster.client().submit_as(id, &clone).await.expect("it is made");
    cluster.restart_coordinator();
    let again = cluster.client().submit_as(id, &clone).await.expect("it is known").to_string();
    assert!(again.contains("applied before"), "{again}");
    assert!(shown(&cluster, "select count(*) from copy.public.t").await.contains("100"));
    run(&cluster, "insert into copy.public.t values (101)").await;
    assert!(shown(&cluster, "select count(*) from frazil.public.t").await.contains("100"));
    // What was left is purged, and takes nothing with it.
    run(&cluster, "vacuum retain 0 seconds").await;
    assert!(shown(&cluster, "select count(*) from copy.public.t").await.contains("101"));
    assert!(shown(&cluster, "select count(*) from frazil.public.t").await.contains("100"));
    let lakes = std::fs::read_dir(cluster.directory().join("coordinator/catalog")).expect("a directory");
    let lakes =
        lakes.flatten().filter(|entry| entry.path().extension().is_some_and(|ending| ending == "ducklake")).count();
    assert_eq!(lakes, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_statement_under_an_id_is_refused() {
    let mut cluster = Cluster::start(Options::executors(1)).await;
    let secret = "create secret s (type http, bearer_token 'hush', scope 'https://host/')";
    for (number, (first, other)) in [
        ("create database d", "create database e"),
        ("drop database d", "undrop database d"),
        (secret, "create secret t (type http, bearer_token 'hush', scope 'https://host/')"),
        ("drop secret s", "drop secret if exists s"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5b{number:02}");
        cluster.client().submit_as(&id, &json!({ "statement": first })).await.expect(first);
        // A coordinator that has not seen it itself, but in the registry.
        cluster.restart_coordinator();
        let again = cluster.client().submit_as(&id, &json!({ "statement": first })).await.expect("it is known");
        assert!(again.to_string().contains("applied before"), "{first}: {again}");
        let refusal = cluster.client().submit_as(&id, &json!({ "statement": other })).await.expect_err(other);
        assert_eq!(refusal.sql_state.as_deref(), Some("22023"), "{other}: {refusal}");
        assert!(refusal.message.contains(&id) && !refusal.message.contains("hush"), "{refusal}");
    }
    let databases = shown(&cluster, "show databases").await;
    assert!(!databases.contains(" e "), "{databases}");
}
