//! What the catalog knows without reading files: answers, and files that no row can come from.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Answer, Engine, Request};

async fn run(cluster: &Cluster, sql: &str) -> Answer {
    cluster.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
}

/// All texts of an `EXPLAIN`.
async fn plan(cluster: &Cluster, sql: &str) -> String {
    let answer = run(cluster, sql).await;
    let mut text = String::new();
    for batch in &answer.batches {
        let texts = cast(batch.column(1), &DataType::Utf8).expect("it is text");
        texts.as_string::<i32>().iter().flatten().for_each(|line| text.push_str(line));
    }
    text
}

/// The answer is what reading the rows gives; `is_known`: and nothing is read for it.
async fn known(cluster: &Cluster, aggregates: &str, table: &str, is_known: bool) {
    let sql = format!("select {aggregates} from {table}");
    // A limit keeps everything from looking through it.
    let read =
        run(cluster, &format!("select {aggregates} from (select * from {table} limit 200000000) all_rows")).await;
    let answer = run(cluster, &sql).await;
    compare(&read, &answer, Order::Any).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let plan = plan(cluster, &format!("explain {sql}")).await;
    assert_eq!(!plan.contains("DataSourceExec"), is_known, "{sql}: {plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_the_catalog_are_those_of_the_rows() {
    let cluster = Cluster::start(Options::executors(2)).await;
    run(
        &cluster,
        "create table t as select value as id, case when value % 3 = 0 then null else value * 2 end as thirds, \
         cast(null as int) as nothing, 'name ' || value as name, cast(value as double) / 7 as part, \
         date '2020-01-01' + cast(value % 100 as int) as day, cast(value as decimal(12, 2)) as price, \
         value % 2 = 0 as even from generate_series(1, 1000) series(value)",
    )
    .await;
    run(&cluster, "insert into t values (5000, null, null, null, 'nan', date '2031-01-01', 9.5, null)").await;
    known(&cluster, "count(*) a", "t", true).await;
    known(&cluster, "count(*) a, count(thirds) b, count(nothing) c, count(1) d", "t", true).await;
    known(&cluster, "min(id) a, max(id) b, min(thirds) c, max(thirds) d", "t", true).await;
    known(&cluster, "min(nothing) a, max(nothing) b, min(day) c, max(day) d", "t", true).await;
    known(&cluster, "min(price) a, max(price) b, min(even) c, max(even) d, count(name) e", "t", true).await;
    // Texts may be shortened in statistics, and NaN has no place among bounds.
    known(&cluster, "min(name) a, max(name) b", "t", false).await;
    known(&cluster, "min(part) a, max(part) b", "t", false).await;
    // Nor is anything known of these.
    known(&cluster, "count(distinct even) a", "t", false).await;
    known(&cluster, "count(*) filter (where id > 10) a", "t", false).await;
    known(&cluster, "max(id + 1) a, sum(id) b", "t", false).await;
    known(&cluster, "count(*) a", "t where id > 990", false).await;
    let nested =
        "select (select max(id) from t) a, (select count(*) from t as u) b union all select count(*), min(id) from t";
    let read = nested.replace("from t as u", "from t").replace("from t", "from (select * from t limit 2000000) r");
    compare(&run(&cluster, &read).await, &run(&cluster, nested).await, Order::Any).unwrap();

    // A column that files do not have.
    run(&cluster, "alter table t add column later int default 7").await;
    known(&cluster, "count(*) a, min(id) b", "t", true).await;
    known(&cluster, "min(later) a, max(later) b, count(later) c", "t", false).await;

    // The least and the greatest row are gone, and statistics still tell of them.
    run(&cluster, "delete from t where id in (1, 5000)").await;
    known(&cluster, "count(*) a", "t", true).await;
    let answer = run(&cluster, "select count(*) a, min(id) b, max(id) c, count(thirds) d from t").await;
    let expected = run(&cluster, "select 999 a, 2 b, 1000 c, 666 d").await;
    compare(&expected, &answer, Order::Any).unwrap();

    run(&cluster, "truncate table t").await;
    known(&cluster, "count(*) a, min(id) b, count(thirds) c", "t", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_what_was_left_out() {
    let cluster = Cluster::start(Options::executors(2)).await;
    run(&cluster, "create table t as select value as id, 'n' || value as name from generate_series(0, 999) s(value)")
        .await;
    for from in [1000, 2000, 3000] {
        let to = from + 999;
        run(&cluster, &format!("insert into t select value, 'n' || value from generate_series({from}, {to}) s(value)"))
            .await;
    }
    for words in ["explain", "explain verbose", "explain analyze"] {
        let one = plan(&cluster, &format!("{words} select name from t where id between 2100 and 2200")).await;
        assert!(one.contains("table frazil.public.t: files=1 of 4, bytes="), "{words}: {one}");
        let all = plan(&cluster, &format!("{words} select name from t where name = 'n5'")).await;
        assert!(all.contains("table frazil.public.t: files="), "{words}: {all}");
        assert!(!all.contains("files=0 of"), "{words}: {all}");
        let none = plan(&cluster, &format!("{words} select name from t where id < 0")).await;
        assert!(none.contains("table frazil.public.t: files=0 of 4, bytes=0 B of "), "{words}: {none}");
    }
    let analyzed = plan(&cluster, "explain analyze select name from t where id = 2100").await;
    assert!(analyzed.contains("row_groups_pruned_statistics=0 of 1"), "{analyzed}");
}

/// Values in no order: bounds of row groups enclose all of them, and only filters tell.
#[tokio::test(flavor = "multi_thread")]
async fn look_ups_leave_out_row_groups_by_bloom_filters() {
    let cluster = Cluster::start(Options::executors(2)).await;
    // A permutation of 0 .. 1,200,006, in three row groups; 64-bit and as text.
    let made = "select value * 7919 % 1200007 as id, 'key ' || (value * 7919 % 1200007) as name, value as row, value % 5 as few \
                from generate_series(0, 1200006) series(value)";
    let mut create = Request::new(format!("create table t as {made}"));
    create.settings = vec![("partitions".to_owned(), "1".to_owned())];
    cluster.run(&create).await.unwrap_or_else(|e| panic!("{e}"));
    for condition in ["id = 123456", "name = 'key 123456'", "id in (77, 123456)"] {
        let analyzed = plan(&cluster, &format!("explain analyze select row from t where {condition}")).await;
        let pruned = analyzed.split("row_groups_pruned_bloom_filter=").nth(1).unwrap_or_else(|| panic!("{analyzed}"));
        let numbers: Vec<u32> = pruned.split([' ', ',', ']']).filter_map(|word| word.parse().ok()).take(2).collect();
        // One in twenty may be there for no reason.
        assert!(numbers[1] == 3 && numbers[0] >= 1, "{condition}: {analyzed}");
        let found = run(&cluster, &format!("select id, name from t where {condition} order by id")).await;
        let sql = format!("select id, name from (select * from t limit 2000000) r where {condition} order by id");
        compare(&run(&cluster, &sql).await, &found, Order::Total).unwrap_or_else(|e| panic!("{condition}: {e}"));
    }
    // All of them are found, also under other names, and none in a column that only has the old one's name.
    let all = "select count(*) a from t where id in (0, 1, 2, 3, 1200004, 1200005, 1200006, 1200007)";
    let seven = run(&cluster, "select 7 a").await;
    compare(&seven, &run(&cluster, all).await, Order::Any).unwrap();
    run(&cluster, "alter table t rename column id to number").await;
    compare(&seven, &run(&cluster, &all.replace("id in", "number in")).await, Order::Any).unwrap();
    run(&cluster, "alter table t add column id bigint").await;
    run(&cluster, "insert into t (number, id) values (2000000, 5)").await;
    let one = run(&cluster, "select 1 a").await;
    compare(&one, &run(&cluster, "select count(*) a from t where id = 5").await, Order::Any).unwrap();
    compare(&one, &run(&cluster, "select count(*) a from t where number = 5").await, Order::Any).unwrap();
}
