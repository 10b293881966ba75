//! What there is, and what it is called: `SHOW`, `DESCRIBE`, `information_schema`, and names that are refused.

use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::engine::{Engine, Refusal, Request};

/// An answer's rows, each with its values between bars.
async fn rows(engine: &dyn Engine, sql: &str) -> Vec<String> {
    let answer = engine.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
    let text = arrow::util::pretty::pretty_format_batches(&answer.batches).expect("it can be shown").to_string();
    let rows = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|")).collect()
}

async fn refused(engine: &dyn Engine, sql: &str) -> Refusal {
    match engine.run(&Request::new(sql)).await {
        Ok(answer) => panic!("{sql} gave {} rows", answer.rows()),
        Err(refusal) => refusal,
    }
}

async fn started() -> Cluster {
    let cluster = Cluster::start(Options::executors(1)).await;
    for sql in [
        "create schema s",
        "create table s.t (k bigint not null, name varchar default 'it''s', price decimal(12,3) default 1.5, at timestamp, tags int[])",
        "insert into s.t (k, at) values (1, timestamp '2026-01-02 03:04:05')",
        "create view s.v as select k, price from s.t where k > 0",
        "create table \"Mixed Case\" (\"Some Column\" int)",
        "create database other",
        "create table other.public.far (a int)",
    ] {
        rows(&cluster, sql).await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_is_shown() {
    let cluster = started().await;
    data::register(&cluster, data::tpch().await).await;
    assert_eq!(rows(&cluster, "show databases").await, ["frazil", "other"]);
    assert_eq!(rows(&cluster, "show databases like 'o%'").await, ["other"]);
    assert_eq!(rows(&cluster, "show schemas").await, ["main|frazil", "public|frazil", "s|frazil"]);
    assert_eq!(rows(&cluster, "show schemas in other").await, ["main|other", "public|other"]);
    assert_eq!(rows(&cluster, "show tables in s").await, ["t|s|frazil|BASE TABLE", "v|s|frazil|VIEW"]);
    assert_eq!(rows(&cluster, "show tables in other").await, ["far|public|other|BASE TABLE"]);
    assert_eq!(rows(&cluster, "show tables in other.public like 'f_r'").await, ["far|public|other|BASE TABLE"]);
    assert_eq!(rows(&cluster, "show tables like 'nat%'").await, ["nation|public|frazil|EXTERNAL TABLE"]);
    assert_eq!(rows(&cluster, "show tables ilike 'mixed%' in public").await, ["Mixed Case|public|frazil|BASE TABLE"]);
    assert_eq!(rows(&cluster, "show views").await, ["v|s|frazil|VIEW"]);
    assert_eq!(rows(&cluster, "show views in database other").await, Vec::<String>::new());
    let columns = [
        "k|BIGINT|NO|",
        "name|VARCHAR|YES|'it''s'",
        "price|DECIMAL(12,3)|YES|1.5",
        "at|TIMESTAMP|YES|",
        "tags|INTEGER[]|YES|",
    ];
    for sql in ["describe s.t", "describe table frazil.s.t", "desc s.t", "show columns in s.t", "show columns from s.t"]
    {
        assert_eq!(rows(&cluster, sql).await, columns, "{sql}");
    }
    assert_eq!(rows(&cluster, "show columns in s.t like '%e'").await, [columns[1], columns[2]]);
    assert_eq!(rows(&cluster, "describe view s.v").await, ["k|BIGINT|NO|", "price|DECIMAL(12,3)|YES|"]);
    assert_eq!(rows(&cluster, "describe \"Mixed Case\"").await, ["Some Column|INTEGER|YES|"]);
    assert_eq!(rows(&cluster, "describe nation").await.len(), 4);
    for (sql, state) in [
        ("describe s.none", "42P01"),
        ("describe none.t", "3F000"),
        ("describe none.s.t", "3D000"),
        ("describe \"S\".t", "3F000"),
        ("show tables in none", "3D000"),
        ("show tables in other.none", "3F000"),
        ("show schemas in none", "3D000"),
        ("show columns", "42601"),
        ("show terse tables", "0A000"),
        ("show tables limit 1", "0A000"),
        ("show tables where name = 't'", "0A000"),
        ("show snapshots in none", "3D000"),
    ] {
        assert_eq!(refused(&cluster, sql).await.sql_state.as_deref(), Some(state), "{sql}");
    }
    // What is shown as its statement makes the same again.
    let created = cluster.run(&Request::new("show create table s.t")).await.expect("it is shown");
    let text = arrow::array::AsArray::as_string::<i32>(created.batches[0].column(1)).value(0).to_owned();
    rows(&cluster, "drop table s.t").await;
    rows(&cluster, &text).await;
    assert_eq!(rows(&cluster, "describe s.t").await, columns);
    let view = rows(&cluster, "show create view s.v").await.join("\n");
    assert!(view.contains("CREATE VIEW \"frazil\".\"s\".\"v\" AS SELECT k, price"), "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn information_schema_tells_of_its_database() {
    let cluster = started().await;
    let columns = "select column_name, ordinal_position, column_default, is_nullable, data_type, numeric_precision, numeric_scale \
                   from information_schema.columns where table_schema = 's' and table_name = 't' order by ordinal_position";
    assert_eq!(
        rows(&cluster, columns).await,
        [
            "k|1||NO|BIGINT||",
            "name|2|'it''s'|YES|VARCHAR||",
            "price|3|1.5|YES|DECIMAL(12,3)|12|3",
            "at|4||YES|TIMESTAMP||",
            "tags|5||YES|INTEGER[]||"
        ]
    );
    let tables = "select table_catalog, table_schema, table_name, table_type from X.information_schema.tables \
                  where table_schema not in ('information_schema', 'system') order by 2, 3";
    assert_eq!(
        rows(&cluster, &tables.replace('X', "frazil")).await,
        ["frazil|public|Mixed Case|BASE TABLE", "frazil|s|t|BASE TABLE", "frazil|s|v|VIEW"]
    );
    assert_eq!(rows(&cluster, &tables.replace('X', "other")).await, ["other|public|far|BASE TABLE"]);
    let schemata = "select schema_name from other.information_schema.schemata order by 1";
    assert_eq!(rows(&cluster, schemata).await, ["information_schema", "main", "public", "system"]);
    let joined = "select count(*) from information_schema.tables t join information_schema.columns c \
                  using (table_catalog, table_schema, table_name)";
    assert_eq!(rows(&cluster, joined).await, ["8"]);
    assert_eq!(rows(&cluster, "select count(*) from information_schema.views v, s.t").await, ["1"]);
    // A view that cannot be planned any more hides nothing else.
    rows(&cluster, "drop table s.t").await;
    assert_eq!(rows(&cluster, "select count(*) from information_schema.columns").await, ["1"]);
    let views = rows(&cluster, "select table_name, view_definition from information_schema.views").await;
    assert_eq!(views, ["v|SELECT k, price FROM \"frazil\".\"s\".\"t\" WHERE k > 0"]);
    assert!(!rows(&cluster, "select * from information_schema.df_settings").await.is_empty());
    assert!(!rows(&cluster, "show all").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_have_one_spelling() {
    let cluster = started().await;
    // Unquoted names fold to lower case.
    assert_eq!(rows(&cluster, "SELECT K FROM Frazil.S.T").await, ["1"]);
    for (sql, state) in [
        ("create table s.\"T\" (a int)", "42P07"),
        ("create view s.\"V\" as select 1", "42P07"),
        ("create table s.\"V\" as select 1 a", "42P07"),
        ("create schema \"S\"", "42P06"),
        ("create database \"Other\"", "42P04"),
        ("create table s.u (a int, \"A\" int)", "42701"),
        ("alter table s.t add column \"NAME\" int", "42701"),
        ("alter table s.t rename column at to \"Name\"", "42701"),
        ("alter table s.t rename to \"V\"", "42P07"),
        ("alter table s.t rename to public.t", "0A000"),
        ("alter view s.v rename to t", "42P07"),
        ("alter schema s rename to s2", "0A000"),
        ("alter database other rename to another", "0A000"),
        ("create database d location '/tmp/x'", "0A000"),
        ("create schema d authorization me", "0A000"),
    ] {
        assert_eq!(refused(&cluster, sql).await.sql_state.as_deref(), Some(state), "{sql}");
    }
    // Its own name may change its case.
    rows(&cluster, "alter table s.t rename to \"T\"").await;
    rows(&cluster, "alter table s.\"T\" rename to t").await;
    rows(&cluster, "alter view s.v rename to s.w").await;
    assert_eq!(rows(&cluster, "select k from s.w").await, ["1"]);

    // NOT NULL afterwards, where no row has a null.
    rows(&cluster, "insert into s.t (k, at) values (2, null)").await;
    let refusal = refused(&cluster, "alter table s.t alter column at set not null").await;
    assert_eq!(refusal.sql_state.as_deref(), Some("23502"), "{refusal}");
    rows(&cluster, "alter table s.t alter column name set not null").await;
    let refusal = refused(&cluster, "insert into s.t (k, name) values (3, null)").await;
    assert_eq!(refusal.sql_state.as_deref(), Some("23502"), "{refusal}");
    rows(&cluster, "alter table s.t add column later int").await;
    let refusal = refused(&cluster, "alter table s.t alter column later set not null").await;
    assert_eq!(refusal.sql_state.as_deref(), Some("0A000"), "{refusal}");
    assert_eq!(rows(&cluster, "select count(*) from s.t").await, ["2"]);
}
