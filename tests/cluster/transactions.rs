//! Sessions and transactions: several statements that become one change, or none, and see one moment.

use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::engine::{Answer, Engine, Refusal, Request};
use crate::support::oracle::Oracle;

async fn run(engine: &dyn Engine, sql: &str) -> Answer {
    engine.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
}

async fn state_of(engine: &dyn Engine, sql: &str) -> String {
    match engine.run(&Request::new(sql)).await {
        Ok(answer) => panic!("{sql} gave {} rows", answer.rows()),
        Err(Refusal { sql_state, message, .. }) => sql_state.unwrap_or(message),
    }
}

async fn number(engine: &dyn Engine, sql: &str) -> i64 {
    let answer = run(engine, sql).await;
    let batch = answer.batches.iter().find(|batch| batch.num_rows() > 0).unwrap_or_else(|| panic!("{sql}: no row"));
    batch.column(0).as_primitive_opt::<Int64Type>().unwrap_or_else(|| panic!("{sql}: no number")).value(0)
}

async fn session(cluster: &Cluster) -> Client {
    cluster.client().in_session().await.expect("a session is opened")
}

/// Accounts, each with 100, and a ledger.
async fn bank() -> Cluster {
    let cluster = Cluster::start(Options::executors(2)).await;
    run(&cluster, "create table accounts (id bigint not null, balance bigint not null)").await;
    run(&cluster, "create table ledger (from_id bigint, to_id bigint, amount bigint)").await;
    run(&cluster, "insert into accounts select value, 100 from generate_series(1, 10)").await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_become_one_snapshot_or_none() {
    let cluster = bank().await;
    let teller = session(&cluster).await;
    let other = session(&cluster).await;
    for (end, moved) in [("rollback", 0), ("commit", 30)] {
        run(&teller, "begin").await;
        run(&teller, "update accounts set balance = balance - 30 where id = 1").await;
        run(&teller, "update accounts set balance = balance + 30 where id = 2").await;
        run(&teller, "insert into ledger values (1, 2, 30)").await;
        run(&teller, "insert into ledger values (9, 9, 9)").await;
        assert_eq!(number(&teller, "delete from ledger where from_id = 9").await, 1);
        // It sees its own changes: by scans, by statistics, in joins.
        assert_eq!(number(&teller, "select balance from accounts where id = 2").await, 130);
        assert_eq!(number(&teller, "select count(*) from ledger").await, 1);
        let joined = "select sum(balance * amount) from accounts join ledger on id = to_id";
        assert_eq!(number(&teller, joined).await, 130 * 30);
        // Nobody else does.
        for anyone in [&other as &dyn Engine, &cluster] {
            assert_eq!(number(anyone, "select balance from accounts where id = 2").await, 100);
            assert_eq!(number(anyone, "select count(*) from ledger").await, 0);
        }
        run(&teller, end).await;
        for anyone in [&teller as &dyn Engine, &other, &cluster] {
            assert_eq!(number(anyone, "select balance from accounts where id = 1").await, 100 - moved, "{end}");
            assert_eq!(number(anyone, "select balance from accounts where id = 2").await, 100 + moved, "{end}");
            assert_eq!(number(anyone, "select count(*) from ledger").await, i64::from(moved > 0), "{end}");
            assert_eq!(number(anyone, "select sum(balance) from accounts").await, 1000);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_sees_one_moment() {
    let cluster = bank().await;
    let reader = session(&cluster).await;
    run(&reader, "start transaction read only").await;
    assert_eq!(number(&reader, "select sum(balance) from accounts").await, 1000);
    run(&cluster, "insert into accounts values (11, 5000)").await;
    run(&cluster, "create table later (a int)").await;
    run(&cluster, "drop table ledger").await;
    assert_eq!(number(&reader, "select sum(balance) from accounts").await, 1000);
    assert_eq!(number(&reader, "select count(*) from ledger").await, 0);
    assert_eq!(state_of(&reader, "select * from later").await, "42P01");
    assert_eq!(state_of(&reader, "delete from accounts").await, "25006");
    run(&reader, "commit").await;
    assert_eq!(number(&reader, "select sum(balance) from accounts").await, 6000);
    assert_eq!(state_of(&reader, "select * from ledger").await, "42P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_later_of_two_that_change_the_same_is_refused() {
    let cluster = bank().await;
    let (first, second) = (session(&cluster).await, session(&cluster).await);
    for teller in [&first, &second] {
        run(teller, "begin transaction").await;
        run(teller, "update accounts set balance = balance + 1 where id = 3").await;
        run(teller, "insert into ledger values (0, 3, 1)").await;
    }
    run(&first, "commit").await;
    assert_eq!(state_of(&second, "commit").await, "40001");
    // It is over, and nothing of it stays.
    assert_eq!(state_of(&second, "commit").await, "25P01");
    assert_eq!(number(&second, "select balance from accounts where id = 3").await, 101);
    assert_eq!(number(&second, "select count(*) from ledger").await, 1);
    // Appends to one table go together.
    for teller in [&first, &second] {
        run(teller, "begin").await;
        run(teller, "insert into ledger values (1, 1, 1)").await;
    }
    run(&second, "commit").await;
    run(&first, "commit").await;
    assert_eq!(number(&cluster, "select count(*) from ledger").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_and_altered_in_transactions_as_well() {
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options::executors(3)).await;
    data::register(&cluster, tables).await;
    let oracle = Oracle::over(tables).await;
    let maker = session(&cluster).await;
    let totals = "select count(*) a, sum(o_totalprice) b, max(o_comment) c from";
    run(&maker, "begin").await;
    run(&maker, "create schema made").await;
    run(&maker, "use schema made").await;
    run(&maker, "create table big as select * from frazil.public.orders").await;
    run(&maker, "alter table big add column note varchar default 'none'").await;
    run(&maker, "insert into big select *, 'twice' from frazil.public.orders where o_orderkey < 1000").await;
    run(&maker, "alter table big rename to orders_made").await;
    run(&maker, "create view made.noted as select * from made.orders_made where note = 'twice'").await;
    assert_eq!(state_of(&maker, "insert into nowhere values (1)").await, "42P01");
    assert_eq!(state_of(&maker, "insert into orders_made (o_orderkey) values ('x')").await, "22000");
    let expected = number(&oracle, "select count(*) from orders").await;
    let twice = number(&oracle, "select count(*) from orders where o_orderkey < 1000").await;
    assert_eq!(number(&maker, "select count(*) from orders_made").await, expected + twice);
    assert_eq!(number(&maker, "select count(*) from noted").await, twice);
    assert_eq!(state_of(&cluster, "select * from made.orders_made").await, "42P01");
    run(&maker, "commit").await;
    let made = run(&cluster, &format!("{totals} made.orders_made where note = 'none'")).await;
    let expected = run(&oracle, &format!("{totals} orders")).await;
    crate::support::answers::compare(&expected, &made, crate::support::answers::Order::Any).unwrap();
    // And dropped ones are back after a rollback.
    run(&maker, "begin").await;
    run(&maker, "drop view noted").await;
    run(&maker, "truncate table orders_made").await;
    run(&maker, "drop table orders_made").await;
    assert_eq!(state_of(&maker, "select * from orders_made").await, "42P01");
    run(&maker, "rollback").await;
    assert_eq!(number(&maker, "select count(*) from noted").await, twice);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_a_session_is_refused() {
    let cluster = bank().await;
    let client = session(&cluster).await;
    assert_eq!(state_of(&cluster, "begin").await, "25P01");
    assert_eq!(state_of(&client, "rollback").await, "25P01");
    assert_eq!(state_of(&client, "begin isolation level serializable").await, "0A000");
    run(&client, "begin isolation level repeatable read, read write").await;
    assert_eq!(state_of(&client, "begin").await, "25001");
    assert_eq!(state_of(&client, "create database other").await, "25001");
    assert_eq!(state_of(&client, "savepoint here").await, "0A000");
    assert_eq!(state_of(&client, "commit and chain").await, "0A000");
    run(&client, "rollback work").await;
    run(&cluster, "create database other").await;
    run(&cluster, "create table other.public.t (a bigint)").await;
    run(&client, "begin").await;
    run(&client, "insert into ledger values (1, 2, 3)").await;
    assert_eq!(state_of(&client, "insert into other.public.t values (1)").await, "0A000");
    assert_eq!(number(&client, "select count(*) from ledger, other.public.t").await, 0);
    run(&client, "commit").await;
    assert_eq!(number(&cluster, "select count(*) from ledger").await, 1);

    assert_eq!(state_of(&client, "use nowhere").await, "3D000");
    assert_eq!(state_of(&client, "use other.nowhere").await, "3F000");
    run(&client, "use other").await;
    assert_eq!(number(&client, "select count(*) from t").await, 0);
    assert_eq!(state_of(&client, "select * from ledger").await, "42P01");
    assert_eq!(state_of(&client, "set datafusion.runtime.memory_limit = '1K'").await, "42501");
    run(&client, "set timezone = '+02:00'").await;
    let zone = run(&client, "show timezone").await;
    assert!(format!("{:?}", zone.batches).contains("+02:00"));
    run(&client, "reset timezone").await;
    let zone = run(&client, "show timezone").await;
    assert!(!format!("{:?}", zone.batches).contains("+02:00"));

    client.close_session().await.expect("it is open");
    assert_eq!(state_of(&client, "select 1").await, "08003");
    assert_eq!(client.close_session().await.unwrap_err().status, Some(404));
}

/// A transaction that its client has forgotten ends, and the client hears of it once.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_transaction_is_rolled_back_and_its_session_told() {
    let options = Options::executors(1).coordinator_option("transaction_idle_s", 1);
    let cluster = Cluster::start(options).await;
    run(&cluster, "create table t (a bigint)").await;
    let client = session(&cluster).await;
    run(&client, "begin").await;
    run(&client, "insert into t values (1)").await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(state_of(&client, "insert into t values (2)").await, "25P02");
    assert_eq!(state_of(&client, "select * from t").await, "25P02");
    run(&client, "rollback").await;
    run(&client, "insert into t values (3)").await;
    assert_eq!(number(&cluster, "select sum(a) from t").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_ends_with_its_coordinator_or_session() {
    let mut cluster = bank().await;
    let client = session(&cluster).await;
    run(&client, "begin").await;
    run(&client, "delete from accounts").await;
    client.close_session().await.expect("it is open");
    let client = session(&cluster).await;
    run(&client, "begin").await;
    run(&client, "delete from accounts").await;
    cluster.restart_coordinator();
    assert_eq!(state_of(&client, "commit").await, "08003");
    assert_eq!(number(&cluster, "select sum(balance) from accounts").await, 1000);
}
