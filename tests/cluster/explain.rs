//! `EXPLAIN` in all its forms: it shows what is asked for, or says that it does not.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::engine::{Answer, Engine, Request};

const QUERY: &str = "select o_orderpriority, count(*) from orders join lineitem on o_orderkey = l_orderkey \
                     where l_quantity > 30 group by o_orderpriority";

async fn cluster_with_data() -> Cluster {
    let cluster = Cluster::start(Options::executors(2)).await;
    data::register(&cluster, data::tpch().await).await;
    cluster
}

/// The rows: names and texts.
fn rows(answer: &Answer) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for batch in &answer.batches {
        let text = |column: usize| cast(batch.column(column), &DataType::Utf8).expect("it is text");
        let (names, texts) = (text(0), text(1));
        let (names, texts) = (names.as_string::<i32>(), texts.as_string::<i32>());
        rows.extend((0..batch.num_rows()).map(|row| (names.value(row).to_owned(), texts.value(row).to_owned())));
    }
    rows
}

fn names(rows: &[(String, String)]) -> Vec<&str> {
    rows.iter().map(|(name, _)| name.as_str()).collect()
}

async fn explained(cluster: &Cluster, words: &str) -> Vec<(String, String)> {
    let request = Request::new(format!("{words} {QUERY}")).partitions(4);
    rows(&cluster.run(&request).await.unwrap_or_else(|e| panic!("{words}: {e}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn indent_is_the_only_format_and_others_are_refused_by_name() {
    let cluster = cluster_with_data().await;
    let plain = explained(&cluster, "explain").await;
    assert_eq!(names(&plain), ["logical_plan", "distributed_plan"]);
    assert!(plain[1].1.contains("root on coordinator") && plain[1].1.contains("stage 0"), "{}", plain[1].1);
    for words in ["explain format indent", "explain format 'INDENT'", "explain (format indent)"] {
        assert_eq!(explained(&cluster, words).await, plain, "{words}");
    }
    for (words, named) in [
        ("explain format tree", "\"tree\""),
        ("explain format PGJSON", "\"pgjson\""),
        ("explain format 'graphviz'", "\"graphviz\""),
        ("explain format yaml", "\"yaml\""),
        ("explain (format tree)", "\"tree\""),
        ("explain analyze format tree", "\"tree\""),
        ("explain analyze format pgjson", "\"pgjson\""),
        ("explain verbose format tree", "\"tree\""),
        ("explain (analyze, level dev)", "LEVEL"),
        ("explain (analyze, metrics 'rows')", "METRICS"),
        ("explain (costs true)", "COSTS"),
    ] {
        let refusal = cluster.run(&Request::new(format!("{words} {QUERY}"))).await.expect_err(words);
        assert_eq!(refusal.sql_state.as_deref(), Some("0A000"), "{words}: {refusal}");
        assert!(refusal.message.contains(named), "{words}: {refusal}");
    }
    // Also where it is a setting.
    let mut request = Request::new(format!("explain {QUERY}"));
    request.settings = vec![("datafusion.explain.format".to_owned(), "tree".to_owned())];
    let refusal = cluster.run(&request).await.expect_err("a tree is not drawn");
    assert_eq!(refusal.sql_state.as_deref(), Some("0A000"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verbose_shows_the_plan_before_the_cut_with_statistics() {
    let cluster = cluster_with_data().await;
    let plain = explained(&cluster, "explain").await;
    for words in ["explain verbose", "explain verbose format indent", "explain (verbose)"] {
        let verbose = explained(&cluster, words).await;
        assert_eq!(names(&verbose), ["logical_plan", "physical_plan", "distributed_plan"], "{words}");
        assert_eq!((&verbose[0], &verbose[2]), (&plain[0], &plain[1]), "{words}");
        let physical = &verbose[1].1;
        assert!(physical.contains("RepartitionExec") && !physical.contains("ExchangeReadExec"), "{physical}");
        // Of the footers of orders.
        assert!(physical.contains("statistics=[Rows=Inexact(15000)"), "{physical}");
    }
    // A plan of the coordinator alone has one, too.
    let answer = cluster.run(&Request::new("explain verbose select 1 as one")).await.expect("it plans");
    assert_eq!(names(&rows(&answer)), ["logical_plan", "physical_plan", "distributed_plan"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn analyze_verbose_shows_each_task() {
    let cluster = cluster_with_data().await;
    let plain = explained(&cluster, "explain analyze").await;
    assert_eq!(names(&plain), ["Plan with Metrics"]);
    let verbose = explained(&cluster, "explain analyze verbose").await;
    assert_eq!(names(&verbose), ["Plan with Metrics", "tasks"]);
    let tasks = &verbose[1].1;
    let of =
        |stage: &str| tasks.lines().filter(|line| line.starts_with(&format!("stage {stage} on executor-"))).count();
    assert_eq!((of("0"), of("1")), (2, 2), "a task for each executor:\n{tasks}");
    // The shares of a stage add up to what it has done.
    let figure = |line: &str| -> u64 {
        let rest = line.split(" rows=").nth(1).unwrap_or_else(|| panic!("no rows in {line:?}"));
        rest.split(' ').next().and_then(|rows| rows.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
    };
    let stages = verbose[0].1.lines().filter(|line| line.starts_with("stage "));
    let mut compared = 0;
    for stage in stages {
        let id = stage.split(':').next().expect("it has a number");
        let sum: u64 = tasks.lines().filter(|line| line.starts_with(&format!("{id} on "))).map(figure).sum();
        assert_eq!(sum, figure(stage), "{stage}\n{tasks}");
        compared += 1;
    }
    assert!(compared >= 3, "{}", verbose[0].1);
    assert!(tasks.contains("AggregateExec, metrics=[") && tasks.contains("output_rows="), "{tasks}");
}
