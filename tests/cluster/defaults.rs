//! `DEFAULT`, wherever it may stand.

use arrow::util::pretty::pretty_format_batches;

use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Engine, Request};

async fn rows(engine: &dyn Engine, sql: &str) -> Vec<String> {
    let answer = engine.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
    let text = pretty_format_batches(&answer.batches).expect("it can be shown").to_string();
    let lines = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(",")).collect()
}

async fn state_of(engine: &dyn Engine, sql: &str) -> String {
    match engine.run(&Request::new(sql)).await {
        Ok(answer) => panic!("{sql} gave {} rows", answer.rows()),
        Err(refusal) => refusal.sql_state.unwrap_or_else(|| panic!("{sql}: {}", refusal.message)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_stand_for_what_is_left_out() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let c = &cluster;
    rows(c, "create table t (a int default 5, b varchar default 'it''s', d decimal(6,2) default -1.5, e date default '2020-02-29', n int)")
        .await;
    rows(c, "insert into t default values").await;
    rows(c, "insert into t values (1, DEFAULT, 2, default, 7), (default, 'x', DEFAULT, DEFAULT, default)").await;
    rows(c, "insert into t (n, b) values (8, default)").await;
    rows(c, "insert into t (e, a) select date '2021-01-01', 9").await;
    let all = "select * from t order by a, n";
    let five = "5,it's,-1.50,2020-02-29,";
    assert_eq!(
        rows(c, all).await,
        [
            "1,it's,2.00,2020-02-29,7",
            "5,it's,-1.50,2020-02-29,8",
            five,
            "5,x,-1.50,2020-02-29,",
            "9,it's,-1.50,2021-01-01,"
        ]
        .map(str::to_owned)
    );
    rows(c, "update t set b = default, n = DEFAULT where a = 5").await;
    rows(c, "update t as x set a = default, d = 3 from (select 9 as k) s where x.a = s.k").await;
    rows(
        c,
        "merge into t using (select 1 as k union all select 2) s on t.a = s.k when matched then update set d = default \
             when not matched then insert (a, n, b) values (s.k, default, default)",
    )
    .await;
    assert_eq!(
        rows(c, all).await,
        ["1,it's,-1.50,2020-02-29,7", "2,it's,-1.50,2020-02-29,", five, five, five, "5,it's,3.00,2021-01-01,"]
            .map(str::to_owned)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn computed_defaults_are_of_the_statement_that_inserts() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let c = &cluster;
    rows(
        c,
        "create table t (a int, at timestamp default now(), day date default current_date, id varchar default uuid())",
    )
    .await;
    rows(c, "insert into t (a) values (1), (2)").await;
    rows(c, "insert into t (a) select 3").await;
    rows(c, "insert into t values (4, default, default, default)").await;
    rows(c, "insert into t (id, a) values ('mine', 5)").await;
    rows(c, "merge into t using (select 6 as k) s on t.a = s.k when not matched then insert (a) values (s.k)").await;
    let sane = "select count(*) from t where at between now() - interval '1 hour' and now() and day >= current_date - 1 and \
                length(id) in (4, 36)";
    assert_eq!(rows(c, sane).await, ["6"]);
    assert_eq!(rows(c, "select count(distinct id), count(distinct at) from t").await, ["6,5"]);
    rows(c, "alter table t alter column a set default 0").await;
    rows(c, "insert into t (id) values ('zero')").await;
    assert_eq!(rows(c, "select count(*) from t where a = 0 and at is not null").await, ["1"]);
    for (sql, state) in [
        ("alter table t add column later timestamp default now()", "0A000"),
        ("create table u (a double default random())", "0A000"),
        ("insert into t (nothing) values (default)", "42703"),
        ("insert into t values (default + 1, default, default, default)", "42703"),
    ] {
        assert_eq!(state_of(c, sql).await, state, "{sql}");
    }
}
