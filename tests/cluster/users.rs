//! Users, roles and grants: what is allowed, what is refused, and what is not even seen.

mod log_ins;

use serde_json::json;

use crate::support::cluster::{Cluster, Options};
use crate::support::login::{LoggedIn, Refused, Rows};

const ADMIN: &str = "boss-of-all-of-it";
const PASSWORD: &str = "pass-word-of-ann";

/// A cluster whose first user is `boss`.
async fn with_admin(options: Options) -> (Cluster, LoggedIn) {
    let cluster = Cluster::start(options).await;
    LoggedIn::nobody(cluster.url()).must(&format!("create user boss password = '{ADMIN}'")).await;
    let boss = LoggedIn::password(cluster.url(), "boss", ADMIN);
    (cluster, boss)
}

async fn all(client: &LoggedIn, statements: &[&str]) {
    for sql in statements {
        client.must(sql).await;
    }
}

fn one(rows: &Rows) -> &str {
    rows[0][0].as_deref().expect("a value")
}

/// Refused because of a missing right, or as if the object were not there.
fn is_refusal(refused: &Refused) -> bool {
    ["42501", "42P01", "3F000", "3D000", "42704"].contains(&refused.sql_state.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_user_administers_and_then_everyone_logs_in() {
    let mut cluster = Cluster::start(Options::executors(0)).await;
    let url = cluster.url().to_owned();
    let nobody = LoggedIn::nobody(&url);
    assert_eq!(one(&nobody.must("select current_user() || ' ' || current_role()").await), "frazil admin");
    // Whatever a client says of itself while there are no users.
    LoggedIn::password(&url, "somebody", "something").must("select 1").await;
    let refused = nobody.refused("create user boss").await;
    assert!(refused.message.contains("PASSWORD"), "{refused:?}");
    let refused = nobody.refused("create user frazil password = 'pass-word-of-it'").await;
    assert!(refused.message.contains("cannot name a user"), "{refused:?}");
    let told = nobody.must(&format!("create user Boss password = '{ADMIN}'")).await;
    assert!(one(&told).contains("role admin"), "{told:?}");

    for again in [false, true] {
        if again {
            cluster.restart_coordinator();
        }
        assert_eq!(nobody.refused("select 1").await.status, 401);
        assert_eq!(nobody.get("/api/v2/statements").await.expect_err("nobody").status, 401);
        assert_eq!(nobody.get("/api/v2/cluster").await.expect_err("nobody").status, 401);
        assert_eq!(nobody.post("/api/v2/sessions").await.expect_err("nobody").status, 401);
        let wrong = LoggedIn::password(&url, "boss", "wrong-one").refused("select 1").await;
        let unknown = LoggedIn::password(&url, "nobody", "wrong-one").refused("select 1").await;
        assert_eq!((wrong.status, &wrong), (401, &unknown), "the same answer, whether there is such a user or not");
        // Clients send names in a case of their own.
        for name in ["boss", "BOSS"] {
            let boss = LoggedIn::password(&url, name, ADMIN);
            assert_eq!(one(&boss.must("select current_user() || ' ' || current_role()").await), "boss admin");
        }
    }
    let boss = LoggedIn::password(&url, "boss", ADMIN);
    for sql in ["drop user boss", "alter user boss set disabled = true", "alter user boss unset password"] {
        let refused = boss.refused(sql).await;
        assert_eq!(refused.sql_state, "42000", "{sql}: {refused:?}");
    }
    assert!(boss.refused("revoke role admin from user boss").await.message.contains("admin"));
    assert!(boss.refused("begin").await.message.contains("session"));
    boss.must("select 1").await;
}

/// A statement, and all that it takes: each grant taken away, it is refused.
struct Case {
    sql: &'static str,
    needs: &'static [&'static str],
}

const IN_SCHEMA: [&str; 2] = ["usage on database frazil", "usage on schema s"];

const CASES: &[Case] = &[
    Case { sql: "select * from s.t", needs: &["select on table s.t"] },
    Case { sql: "select count(*) from s.t", needs: &["select on table s.t"] },
    Case { sql: "select 1 where exists (select 1 from s.t)", needs: &["select on table s.t"] },
    Case { sql: "with x as (select * from s.t) select * from x", needs: &["select on table s.t"] },
    Case { sql: "explain select * from s.t", needs: &["select on table s.t"] },
    Case { sql: "explain analyze select * from s.t", needs: &["select on table s.t"] },
    Case { sql: "select count(*) from s.t at (offset => 0)", needs: &["select on table s.t"] },
    Case { sql: "select * from table_files('frazil.s.t')", needs: &["select on table s.t"] },
    Case { sql: "describe s.t", needs: &["select on table s.t"] },
    Case { sql: "show create table s.t", needs: &["select on table s.t"] },
    Case { sql: "select * from s.v", needs: &["select on view s.v"] },
    Case { sql: "select * from s.t join s.u using (a)", needs: &["select on table s.t", "select on table s.u"] },
    Case { sql: "insert into s.t values (9)", needs: &["insert on table s.t"] },
    Case { sql: "insert into s.t select a from s.u", needs: &["insert on table s.t", "select on table s.u"] },
    Case { sql: "insert overwrite s.o values (9)", needs: &["insert on table s.o", "delete on table s.o"] },
    Case { sql: "delete from s.d", needs: &["delete on table s.d"] },
    Case { sql: "truncate table s.d", needs: &["delete on table s.d"] },
    Case { sql: "delete from s.t where a = 9", needs: &["delete on table s.t", "select on table s.t"] },
    Case { sql: "update s.t set a = 9 where a = 9", needs: &["update on table s.t", "select on table s.t"] },
    Case {
        sql: "merge into s.t using s.u on t.a = u.a when matched then update set a = u.a \
              when not matched then insert (a) values (u.a)",
        needs: &["update on table s.t", "insert on table s.t", "select on table s.t", "select on table s.u"],
    },
    Case { sql: "create table s.n{} (a int)", needs: &["create table on schema s"] },
    Case {
        sql: "create table s.c{} as select * from s.u",
        needs: &["create table on schema s", "select on table s.u"],
    },
    Case { sql: "create table s.k{} clone s.u", needs: &["create table on schema s", "select on table s.u"] },
    Case { sql: "create view s.w{} as select a from s.u", needs: &["create view on schema s", "select on table s.u"] },
    Case { sql: "create stage s.g{}", needs: &["create stage on schema s"] },
    Case { sql: "list @s.st", needs: &["read on stage s.st"] },
    Case { sql: "remove @s.st/none", needs: &["write on stage s.st"] },
    Case {
        sql: "copy into s.t from @s.st file_format = (type = parquet)",
        needs: &["read on stage s.st", "insert on table s.t"],
    },
    Case {
        sql: "copy into @s.st/out{}/ from s.u file_format = (type = parquet)",
        needs: &["write on stage s.st", "select on table s.u"],
    },
    Case { sql: "alter table s.own{} add column b int", needs: &["ownership on table s.own{}"] },
    Case { sql: "optimize s.own{} full", needs: &["ownership on table s.own{}"] },
    Case { sql: "drop table s.own{}", needs: &["ownership on table s.own{}"] },
    Case { sql: "grant select on table s.own{} to role public", needs: &["ownership on table s.own{}"] },
    Case {
        sql: "create or replace table s.own{} (b int)",
        needs: &["ownership on table s.own{}", "create table on schema s"],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn each_statement_needs_all_of_its_privileges() {
    let (cluster, boss) = with_admin(Options::executors(1)).await;
    all(
        &boss,
        &[
            "create schema s",
            "create table s.t as select * from (values (1), (2)) x(a)",
            "create table s.u as select * from (values (2), (3)) x(a)",
            "create table s.d (a int)",
            "create table s.o as select 1 as a",
            "create view s.v as select a from s.t",
            "create stage s.st",
            "copy into @s.st/in/ from s.u file_format = (type = parquet)",
            &format!("create user ann password = '{PASSWORD}'"),
        ],
    )
    .await;
    let ann = LoggedIn::password(cluster.url(), "ann", PASSWORD);
    let mut wrong = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let needs: Vec<String> = IN_SCHEMA.iter().chain(case.needs).map(|need| (*need).to_owned()).collect();
        // Without each of them, and then with all.
        for missing in (0..needs.len()).map(Some).chain([None]) {
            let name = format!("{number}_{}", missing.map_or("all".to_owned(), |index| index.to_string()));
            let (sql, role) = (case.sql.replace("{}", &name), format!("r{name}"));
            if case.needs.iter().any(|need| need.contains("own{}")) {
                boss.must(&format!("create table s.own{name} as select 1 as a")).await;
            }
            boss.must(&format!("create role {role}")).await;
            boss.must(&format!("grant role {role} to user ann")).await;
            for (index, need) in needs.iter().enumerate() {
                if Some(index) != missing {
                    boss.must(&format!("grant {} to role {role}", need.replace("{}", &name))).await;
                }
            }
            let outcome = ann.run_in(&role, &sql).await;
            match (&outcome, missing) {
                (Ok(_), None) => {}
                (Err(refused), Some(_)) if is_refusal(refused) => {}
                (_, Some(index)) => wrong.push(format!("{sql}: without {}: {outcome:?}", needs[index])),
                (_, None) => wrong.push(format!("{sql}: with all: {outcome:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_administrators_may() {
    let (cluster, boss) = with_admin(Options::executors(0)).await;
    all(&boss, &["create schema s", "create table s.t (a int)", "create role everything"]).await;
    all(
        &boss,
        &[
            "grant all on database frazil to role everything",
            "grant ownership on schema s to role everything",
            "grant ownership on all tables in schema s to role everything",
            &format!("create user ann password = '{PASSWORD}' default_role = everything"),
            "grant role everything to user ann",
            "create user bob password = 'pass-word-of-bob'",
        ],
    )
    .await;
    let ann = LoggedIn::password(cluster.url(), "ann", PASSWORD);
    ann.must("select * from s.t").await;
    for sql in [
        "create database d",
        "drop database frazil",
        "undrop database d",
        "create database e clone frazil",
        "create user x password = 'pass-word-of-x'",
        "drop user bob",
        "alter user bob set disabled = true",
        "alter user bob set password = 'another-one-of-it'",
        "alter user ann set disabled = true",
        "alter user ann set default_role = admin",
        "alter user bob add programmatic access token t",
        "show user programmatic access tokens for user bob",
        "create role x",
        "drop role everything",
        "grant role admin to user ann",
        "revoke role everything from user ann",
        "show grants to user bob",
        "create secret x (type s3, key_id 'a', secret 'b')",
        "drop secret x",
        "show secrets",
        "vacuum",
        "vacuum frazil retain 0 seconds",
        "show snapshots",
        "create external table s.e stored as csv location '/tmp/x.csv'",
        "create stage s.far url = 's3://bucket/x/'",
        "copy into s.t from 's3://bucket/x/' file_format = (type = parquet)",
        "copy into '/tmp/x/' from s.t",
        "use role admin",
        "set partitions = 1000",
        "set datafusion.runtime.memory_limit = '100G'",
        "set datafusion.runtime.temp_directory = '/tmp'",
        "set datafusion.execution.target_partitions = 100000",
        "set datafusion.execution.batch_size = 100000000",
    ] {
        let refused = ann.refused(sql).await;
        assert!(is_refusal(&refused) || refused.sql_state == "22023", "{sql}: {refused:?}");
    }
    // Its own are its own.
    all(&ann, &["alter user ann set password = 'another-one-of-it'"]).await;
    let ann = LoggedIn::password(cluster.url(), "ann", "another-one-of-it");
    all(&ann, &["set partitions = 8", "drop table s.t", "drop schema s", "create schema mine", "show grants"]).await;
    let names = |rows: Rows| rows.into_iter().map(|row| row[0].clone().unwrap()).collect::<Vec<_>>();
    assert_eq!(names(ann.must("show users").await), ["ann"]);
    assert_eq!(names(ann.must("show roles").await), ["public", "everything"]);
    assert_eq!(names(boss.must("show users").await), ["ann", "bob", "boss"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_used_is_not_shown() {
    let (cluster, boss) = with_admin(Options::executors(0)).await;
    all(
        &boss,
        &[
            "create schema s",
            "create schema hidden",
            "create table s.t (a int)",
            "create table s.secret_table (secret_column int)",
            "create view s.secret_view as select * from s.secret_table",
            "create table hidden.h (a int)",
            "create stage s.secret_stage",
            "create database other",
            "create role reader",
            "grant usage on database frazil to role reader",
            "grant usage on schema s to role reader",
            "grant select on table s.t to role reader",
            &format!("create user ann password = '{PASSWORD}' default_role = reader"),
            "grant role reader to user ann",
        ],
    )
    .await;
    let ann = LoggedIn::password(cluster.url(), "ann", PASSWORD);
    for sql in [
        "show databases",
        "show schemas",
        "show tables",
        "show tables in schema s",
        "show views",
        "show stages in schema s",
        "select * from information_schema.schemata",
        "select * from information_schema.tables",
        "select * from information_schema.columns",
        "select * from information_schema.views",
        "show grants to role reader",
    ] {
        let text = format!("{:?}", ann.must(sql).await);
        for word in ["secret", "hidden", "other", "\"h\""] {
            assert!(!text.contains(word), "{sql} shows {word}: {text}");
        }
        assert!(!text.contains("Some(\"h\")"), "{sql}: {text}");
    }
    assert!(format!("{:?}", ann.must("show tables").await).contains("\"t\""));
    for sql in ["describe s.secret_table", "use database other", "use schema hidden", "describe stage s.secret_stage"] {
        let refused = ann.refused(sql).await;
        assert!(refused.message.contains("not found"), "{sql}: {refused:?}");
    }
    // A grant on an object is not one on another that is called so later.
    all(&boss, &["drop table s.t", "create table s.t (a int)"]).await;
    assert!(ann.refused("select * from s.t").await.message.contains("not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_run_with_their_owner_s_rights() {
    let (cluster, boss) = with_admin(Options::executors(1)).await;
    all(
        &boss,
        &[
            "create schema s",
            "create table s.t as select * from (values (1), (2)) x(a)",
            "create role maker",
            "create role reader",
            "grant usage on database frazil to role public",
            "grant usage on schema s to role public",
            "grant select on table s.t to role maker",
            "grant create view, create table on schema s to role maker",
            &format!("create user ann password = '{PASSWORD}' default_role = maker"),
            "grant role maker to user ann",
            "create user bob password = 'pass-word-of-bob' default_role = reader",
            "grant role reader to user bob",
        ],
    )
    .await;
    let ann = LoggedIn::password(cluster.url(), "ann", PASSWORD);
    let bob = LoggedIn::password(cluster.url(), "bob", "pass-word-of-bob");
    all(
        &ann,
        &[
            "create view s.v as select a, current_user() as who from s.t",
            "create view s.w as select a from s.v",
            "grant select on view s.w to role reader",
        ],
    )
    .await;
    assert_eq!(bob.must("select count(*) from s.w").await, [[Some("2".to_owned())]]);
    assert!(is_refusal(&bob.refused("select * from s.v").await));
    assert!(is_refusal(&bob.refused("select * from s.t").await));
    assert_eq!(bob.must("show grants on view s.w").await.len(), 2);
    // What the owner may not read any more, nobody reads through its views.
    boss.must("revoke select on table s.t from role maker").await;
    assert!(is_refusal(&bob.refused("select * from s.w").await));
    boss.must("grant select on table s.t to role maker").await;
    bob.must("select * from s.w").await;
    boss.must("drop role maker").await;
    assert!(is_refusal(&bob.refused("select * from s.w").await), "a view without an owner has nobody's rights");
    boss.must("grant ownership on all views in schema s to role admin").await;
    bob.must("select * from s.w").await;
}

/// It is the same object by another name, with its owner and what is granted on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_table_or_view_keeps_its_grants() {
    let (mut cluster, boss) = with_admin(Options::executors(1)).await;
    all(
        &boss,
        &[
            "create schema s",
            "create table s.t as select * from (values (1), (2)) x(a)",
            "create role maker",
            "create role reader",
            "grant usage on database frazil to role public",
            "grant usage on schema s to role public",
            "grant select on table s.t to role maker",
            "grant create view on schema s to role maker",
            &format!("create user ann password = '{PASSWORD}' default_role = maker"),
            "grant role maker to user ann",
            "create user bob password = 'pass-word-of-bob' default_role = reader",
            "grant role reader to user bob",
        ],
    )
    .await;
    let url = cluster.url().to_owned();
    let ann = LoggedIn::password(&url, "ann", PASSWORD);
    let bob = LoggedIn::password(&url, "bob", "pass-word-of-bob");
    all(&ann, &["create view s.v as select a from s.t", "grant select on view s.v to role reader"]).await;
    all(&boss, &["grant select on table s.t to role reader", "alter table s.t rename to t2"]).await;
    assert_eq!(bob.must("select count(*) from s.t2").await, [[Some("2".to_owned())]]);
    // The view is of a table by a name that is gone.
    boss.must("alter table s.t2 rename to t").await;

    assert_eq!(bob.refused("alter view s.v rename to mine").await.sql_state, "42501");
    let granted = async || {
        let mut rows = boss.must("show grants to role reader").await;
        rows.sort();
        rows.len()
    };
    let before = granted().await;
    // Twice in a transaction, beside another view that takes the first name; the old name is free at once.
    let session = ann.post("/api/v2/sessions").await.expect("a session")["session"].clone();
    for sql in [
        "begin",
        "alter view s.v rename to between",
        "alter view s.between rename to w",
        "create view s.v as select a + 10 as a from s.t",
        "commit",
    ] {
        let answer = ann.submit(json!({ "statement": sql, "session": session })).await;
        answer.unwrap_or_else(|refused| panic!("{sql}: {refused:?}"));
    }
    for again in [false, true] {
        if again {
            cluster.restart_coordinator();
        }
        // Through the owner's rights, which are still `maker`'s.
        assert_eq!(bob.must("select sum(a) from s.w").await, [[Some("3".to_owned())]]);
        assert!(is_refusal(&bob.refused("select * from s.v").await), "it is another view");
        assert_eq!(granted().await, before);
        assert_eq!(ann.must("select sum(a) from s.v").await, [[Some("23".to_owned())]]);
    }
    assert_eq!(ann.refused("alter view s.w rename to t").await.sql_state, "42P07");
    ann.must("alter view s.w rename to \"W\"").await;
    bob.must("select * from s.\"W\"").await;
    ann.must("drop view s.\"W\"").await;
    assert!(is_refusal(&bob.refused("select * from s.\"W\"").await));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_of_sessions_and_transactions() {
    let (cluster, boss) = with_admin(Options::executors(1)).await;
    all(
        &boss,
        &[
            "create schema s",
            "create table s.t (a int)",
            "create role one",
            "create role two",
            "grant usage on database frazil to role public",
            "grant usage, create table on schema s to role two",
            "grant insert, select on table s.t to role two",
            &format!("create user ann password = '{PASSWORD}' default_role = one"),
            "grant role one to user ann",
            "grant role two to user ann",
        ],
    )
    .await;
    let ann = LoggedIn::password(cluster.url(), "ann", PASSWORD);
    let session = ann.post("/api/v2/sessions").await.expect("a session")["session"].clone();
    let run = async |client: &LoggedIn, sql: &str| client.submit(json!({ "statement": sql, "session": session })).await;
    assert!(run(&ann, "select * from s.t").await.is_err());
    run(&ann, "use role two").await.expect("its own");
    run(&ann, "begin").await.expect("begun");
    // What a transaction has made, it may use before it is committed.
    for sql in ["create table s.mine (a int)", "insert into s.mine values (1)", "insert into s.t select a from s.mine"]
    {
        run(&ann, sql).await.unwrap_or_else(|refused| panic!("{sql}: {refused:?}"));
    }
    assert_eq!(run(&ann, "drop table s.t").await.expect_err("not its own").sql_state, "42501");
    run(&ann, "commit").await.expect("committed");
    // It is its owner's from then on.
    ann.run_in("two", "drop table s.mine").await.expect("its own");
    // Another's session is none at all.
    let stranger = run(&boss, "select 1").await.expect_err("not the boss's");
    assert_eq!(stranger.status, 404, "{stranger:?}");
    // A role that is taken away is gone at once, also in a session that has it.
    boss.must("revoke role two from user ann").await;
    assert_eq!(run(&ann, "select * from s.t").await.expect_err("gone").sql_state, "42501");
}

/// What the history shows goes by the role that asks, and not by that of the log-in.
#[tokio::test(flavor = "multi_thread")]
async fn the_history_goes_by_the_acting_role() {
    let (cluster, boss) = with_admin(Options::executors(0)).await;
    all(
        &boss,
        &[
            "create role reader",
            "grant usage on database frazil to role public",
            &format!("create user ann password = '{PASSWORD}' default_role = reader"),
            "grant role reader to user ann",
            "grant role admin to user ann",
        ],
    )
    .await;
    let others = "select count(*) > 0 from system.statements where user_name = 'boss'";
    let ann = LoggedIn::password(cluster.url(), "ann", PASSWORD);
    assert_eq!(one(&ann.must(others).await), "false");
    assert_eq!(one(&ann.run_in("admin", others).await.expect("one of her roles")), "true");
    let session = ann.post("/api/v2/sessions").await.expect("a session")["session"].clone();
    let run = async |sql: &str| {
        let answer = ann.submit(json!({ "statement": sql, "session": session })).await;
        answer.unwrap_or_else(|refused| panic!("{sql}: {refused:?}"))["data"][0][0].clone()
    };
    assert_eq!(run(others).await, "false");
    run("use role admin").await;
    assert_eq!(run(others).await, "true");
    assert_eq!(
        run("select max(role_name) from system.statements where user_name = 'ann' and statement_text like '%max(role_name)%'").await,
        "admin"
    );
    run("use role reader").await;
    assert_eq!(run(others).await, "false");
    // Her own are hers in each role.
    assert_eq!(run("select count(*) > 1 from system.statements where user_name = 'ann'").await, "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_of_others_are_unknown() {
    let (cluster, boss) = with_admin(Options::executors(0)).await;
    all(&boss, &[&format!("create user ann password = '{PASSWORD}'"), "create user bob password = 'pass-word-of-bob'"])
        .await;
    let ann = LoggedIn::password(cluster.url(), "ann", PASSWORD);
    let bob = LoggedIn::password(cluster.url(), "bob", "pass-word-of-bob");
    let answer = ann.submit(json!({ "statement": "select 'of ann alone'" })).await.expect("it runs");
    let handle = answer["statementHandle"].as_str().expect("a handle");
    let path = format!("/api/v2/statements/{handle}");
    assert!(ann.get(&path).await.is_ok() && boss.get(&path).await.is_ok());
    for (client, status) in [(&bob, 404), (&LoggedIn::nobody(cluster.url()), 401)] {
        assert_eq!(client.get(&path).await.expect_err("not its own").status, status);
        assert_eq!(client.post(&format!("{path}/cancel")).await.expect_err("not its own").status, status);
    }
    assert!(!bob.get("/api/v2/statements").await.expect("a list").to_string().contains("of ann alone"));
    assert!(boss.get("/api/v2/statements").await.expect("a list").to_string().contains("of ann alone"));
    assert_eq!(bob.get("/api/v2/sessions").await.expect("a list")["sessions"].as_array().map(Vec::len), Some(0));
}

/// As of the "big list of naughty strings".
const NAUGHTY: &[&str] = &[
    "\"; drop user boss; --",
    "a'; drop table t; --",
    "' or '1'='1",
    "a\\'b",
    "a.b.c",
    "$$",
    "%s%n",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "Ω≈ç√∫˜µ",
    "田中さんにあげて下さい",
    "😍👩‍👩‍👧‍👦",
    "\u{202e}oh so evil",
    "ﬁ ligature",
    "admin ",
    " admin",
    "ADMIN",
    "public",
    "null",
    "NaN",
    "user",
    "select",
    "\u{feff}bom",
    "a\u{0}b",
    "a\nb",
    "a\tb",
    "",
];

#[tokio::test(flavor = "multi_thread")]
async fn names_of_users_come_back_equal_or_are_refused() {
    let (cluster, boss) = with_admin(Options::executors(0)).await;
    let too_long = "x".repeat(300);
    for name in NAUGHTY.iter().copied().chain([too_long.as_str()]) {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let created = boss.run(&format!("create user {quoted} password = '{PASSWORD}'")).await;
        let controls = name.chars().any(char::is_control) || name.is_empty() || name.len() > 255;
        match created {
            Err(refused) => {
                assert!(controls, "{name:?}: {refused:?}");
                assert!(["42000", "42601", "22023"].contains(&refused.sql_state.as_str()), "{name:?}: {refused:?}");
            }
            Ok(_) => {
                assert!(!controls, "{name:?} was created");
                let user = LoggedIn::password(cluster.url(), name, PASSWORD);
                assert_eq!(one(&user.must("select current_user()").await), name);
                let shown = user.must("show users").await;
                assert_eq!(shown[0][0].as_deref(), Some(name));
                // The role of a name is not one of the user of that name.
                assert!(user.run_in("admin", "select 1").await.is_err(), "{name:?}");
                boss.must(&format!("drop user {quoted}")).await;
            }
        }
        boss.must("select 1").await;
    }
    assert_eq!(boss.must("show users").await.len(), 1);
}
