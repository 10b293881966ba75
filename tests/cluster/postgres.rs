//! The catalog in PostgreSQL, through the whole server.

use serde_json::json;

use crate::random_writes::run_seed;
use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Engine, Request};

/// A name that no earlier run has used: the PostgreSQL database stays.
fn fresh(prefix: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_micros());
    format!("{prefix}_{now}")
}

async fn run(engine: &dyn Engine, sql: &str) -> String {
    let answer = engine.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
    format!("{:?}", answer.batches)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_last_in_postgres() {
    let Ok(url) = std::env::var("FRAZIL_TEST_POSTGRES_CLUSTER") else {
        return eprintln!("SKIPPED: FRAZIL_TEST_POSTGRES_CLUSTER names no URL");
    };
    let mut cluster = Cluster::start(Options::executors(2).coordinator_option("catalog", &url)).await;
    let database = fresh("db");
    run(&cluster, &format!("create database {database}")).await;
    for seed in 1..4 {
        run_seed(&cluster, &database, seed, 30).await;
    }
    let table = format!("{database}.public.t");
    run(&cluster, &format!("create table {table} (a bigint)")).await;
    let id = uuid_of_now();
    let insert = json!({ "statement": format!("insert into {table} values (7)") });
    cluster.client().submit_as(&id, &insert).await.expect("it is inserted");
    let teller = cluster.client().in_session().await.expect("a session");
    run(&teller, "begin").await;
    run(&teller, &format!("insert into {table} values (8)")).await;
    cluster.restart_coordinator();
    cluster.client().submit_as(&id, &insert).await.expect("it is known");
    assert!(run(&cluster, &format!("select sum(a) from {table}")).await.contains("[\n  7,\n]"));
    run(&cluster, &format!("drop database {database}")).await;
    run(&cluster, &format!("undrop database {database}")).await;
    assert!(run(&cluster, &format!("select count(*) from {table}")).await.contains("[\n  1,\n]"));
}

fn uuid_of_now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    format!("{:08x}-0000-4000-8000-{:012x}", (now >> 48) as u32, now & 0xffff_ffff_ffff)
}
