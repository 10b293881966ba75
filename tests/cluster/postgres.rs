//! The catalog in PostgreSQL, through the whole server.

use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::random_writes::run_seed;
use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Engine, Request};
use crate::support::login::LoggedIn;

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

/// A PostgreSQL database of a test's own, beside the one that the URL names: an instance that has users has them for good.
struct OwnDatabase {
    server: PgConnectOptions,
    name: String,
}

impl OwnDatabase {
    async fn create(url: &str) -> Self {
        let own = Self { server: url.parse().expect("a URL of PostgreSQL"), name: fresh("users") };
        own.run(&format!("CREATE DATABASE {}", own.name)).await;
        own
    }

    fn url(&self) -> String {
        self.server.clone().database(&self.name).to_url_lossy().to_string()
    }

    async fn run(&self, sql: &str) {
        let mut connection = PgConnection::connect_with(&self.server).await.expect("a connection");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_last_in_postgres() {
    let Ok(url) = std::env::var("FRAZIL_TEST_POSTGRES_CLUSTER") else {
        return eprintln!("SKIPPED: FRAZIL_TEST_POSTGRES_CLUSTER names no URL");
    };
    let own = OwnDatabase::create(&url).await;
    // Two coordinators on one catalog, and both know the same users.
    let mut cluster = Cluster::start(Options::executors(1).coordinator_option("catalog", own.url())).await;
    let other = Cluster::start(Options::executors(0).coordinator_option("catalog", own.url())).await;
    let (here, there) = (cluster.url().to_owned(), other.url().to_owned());
    LoggedIn::nobody(&there).must("select 1").await;
    LoggedIn::nobody(&here).must("create user boss password = 'boss-of-all-of-it'").await;
    for url in [&here, &there] {
        assert_eq!(LoggedIn::nobody(url).refused("select 1").await.status, 401);
        assert_eq!(LoggedIn::password(url, "boss", "wrong-one").refused("select 1").await.status, 401);
    }
    let boss = |url: &str| LoggedIn::password(url, "boss", "boss-of-all-of-it");
    for sql in [
        "create schema s",
        "create table s.t as select * from (values (1), (2)) x(a)",
        "create view s.v as select a from s.t",
        "create role reader comment = 'reads'",
        "create role writer",
        "grant role reader to role writer",
        "grant usage on database frazil to role reader",
        "grant usage on schema s to role reader",
        "grant select on view s.v to role reader",
        "grant insert on table s.t to role writer",
        "create user ann password = 'pass-word-of-ann' default_role = reader comment = 'O''Neil \"x\" 日本'",
        "grant role writer to user ann",
    ] {
        boss(&here).must(sql).await;
    }
    let token = boss(&there).must("alter user ann add programmatic access token t role_restriction = reader").await;
    let token = token[0][1].clone().expect("a token");

    for again in [false, true] {
        if again {
            cluster.restart_coordinator();
        }
        for url in [&here, &there] {
            let ann = LoggedIn::password(url, "ann", "pass-word-of-ann");
            let by_token = LoggedIn::token(url, &token, None);
            for client in [&ann, &by_token] {
                assert_eq!(client.must("select current_role()").await, [[Some("reader".to_owned())]]);
                assert_eq!(client.refused("drop view s.v").await.sql_state, "42501");
                client.refused("select * from s.t").await;
            }
            assert!(by_token.run_in("writer", "select 1").await.is_err(), "its role is the token's");
            assert!(format!("{:?}", boss(url).must("show users").await).contains("O'Neil"));
        }
        let ann = LoggedIn::password(&here, "ann", "pass-word-of-ann");
        ann.run_in("writer", "insert into s.t values (3)").await.expect("granted");
        assert_eq!(ann.must("select count(*) > 2 from s.v").await, [[Some("true".to_owned())]]);
    }

    // What one coordinator changes holds at the other with the next statement.
    let ann = LoggedIn::password(&here, "ann", "pass-word-of-ann");
    for (change, sql, is_allowed) in [
        ("alter view s.v rename to w", "select count(*) from s.w", true),
        ("revoke select on view s.w from role reader", "select count(*) from s.w", false),
        // With its new owner's rights, which are not enough for what it reads, and then are.
        ("grant ownership on view s.w to role reader", "select count(*) from s.w", false),
        ("grant select on table s.t to role reader", "select count(*) from s.w", true),
        ("alter user ann set disabled = true", "select 1", false),
    ] {
        boss(&there).must(change).await;
        let outcome = ann.run(sql).await;
        assert_eq!(outcome.is_ok(), is_allowed, "{change}: {outcome:?}");
    }
    // Both at once: none of it is lost.
    let (one, two) = (boss(&here), boss(&there));
    let created = (0..20).map(|number| {
        let client = if number % 2 == 0 { one.clone() } else { two.clone() };
        async move {
            client.must(&format!("create role r{number}")).await;
            client.must(&format!("grant role r{number} to user ann")).await;
            client.must(&format!("grant usage on schema s to role r{number}")).await;
        }
    });
    futures::future::join_all(created).await;
    for client in [&one, &two] {
        // With `public`, `reader` and `writer`.
        let granted = client.must("show grants to user ann").await;
        assert!((0..20).all(|number| granted.iter().flatten().flatten().any(|cell| *cell == format!("r{number}"))));
        client.must("show grants on schema s").await;
    }
    drop((cluster, other));
    own.run(&format!("DROP DATABASE {} WITH (FORCE)", own.name)).await;
}

fn uuid_of_now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    format!("{:08x}-0000-4000-8000-{:012x}", (now >> 48) as u32, now & 0xffff_ffff_ffff)
}
