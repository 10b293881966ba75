//! Executors that die, hang or leave, statements that are cancelled, readers that go away: the answer is right or the
//! error is clear, in time, and nothing is left.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options};
use crate::support::commands::ticks;
use crate::support::data;
use crate::support::engine::{Engine, Request};
use crate::support::oracle::Oracle;

/// Runs for some seconds on two executors: a join that multiplies rows, and an aggregate of many groups.
const LONG: &str = "select count(distinct a.l_orderkey * 7 + b.l_partkey), sum(a.l_quantity * b.l_tax) \
                    from lineitem a join lineitem b on a.l_suppkey = b.l_suppkey where a.l_linenumber < 4";

/// Would take hours: for what must be stopped.
const ENDLESS: &str =
    "select count(*) from lineitem a join lineitem b on a.l_orderkey < b.l_partkey + b.l_suppkey cross join orders";

const FAULT_LIMIT: Duration = Duration::from_secs(15);

async fn cluster_with_data(executors: usize) -> Cluster {
    let tables = data::tpch().await;
    let cluster = Cluster::start(Options { slots: 1, ..Options::executors(executors) }).await;
    data::register(&cluster, tables).await;
    cluster
}

async fn state(cluster: &Cluster) -> Value {
    cluster.client().cluster().await.expect("the coordinator answers")
}

/// No task runs anywhere within some seconds: heartbeats tell, and the processor time of executors.
async fn settles(cluster: &Cluster) {
    let deadline = Instant::now() + Duration::from_secs(12);
    loop {
        let state = state(cluster).await;
        let executors = state["executors"].as_array().expect("a list").clone();
        let running: u64 = executors.iter().map(|executor| executor["running_tasks"].as_u64().unwrap_or(1)).sum();
        let memory: u64 = executors.iter().map(|executor| executor["memory_used_bytes"].as_u64().unwrap_or(1)).sum();
        let used = || cluster.executor_pids().into_iter().filter_map(ticks).sum::<u64>();
        let before = used();
        tokio::time::sleep(Duration::from_millis(300)).await;
        // A thread that is still at work uses 30 ticks, or some of them on a machine that is busy.
        let busy = used().saturating_sub(before);
        if running == 0 && memory == 0 && state["statements_running"] == 0 && busy <= 3 {
            return;
        }
        assert!(Instant::now() < deadline, "something is left: {busy} ticks, {state}");
    }
}

/// Spill files and kept results of everyone in the cluster.
fn files_left(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut left = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.components().any(|part| part.as_os_str() == "spill") {
                left.push(path);
            }
        }
    }
    left
}

/// Tasks let go of their files a moment after their last row.
async fn no_files_left(cluster: &Cluster) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = files_left(cluster.directory());
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "spilled rows are left: {left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn next_query_is_right(cluster: &Cluster) {
    let tables = data::tpch().await;
    let sql = "select o_orderpriority, count(*) from orders join lineitem on o_orderkey = l_orderkey group by o_orderpriority";
    let oracle = Oracle::over(tables).await;
    let expected = oracle.run(&Request::new(sql)).await.expect("the oracle answers");
    let actual = cluster.run(&Request::new(sql).partitions(3)).await.expect("the next query runs");
    compare(&expected, &actual, Order::Any).expect("the next query is right");
}

/// Starts the long query, waits until its tasks run, lets `fault` happen, and checks what comes of it.
async fn fault_in_mid_query(mut cluster: Cluster, fault: impl FnOnce(&mut Cluster)) -> Cluster {
    let expected = Oracle::over(data::tpch().await).await.run(&Request::new(LONG)).await.expect("the oracle answers");
    let client = cluster.client().clone();
    let started = Instant::now();
    let query = tokio::spawn(async move { client.arrow(&Request::new(LONG).partitions(4)).await });
    wait_until_running(&cluster).await;
    assert!(!query.is_finished(), "the query was over before the fault: make it longer");
    let at = Instant::now();
    fault(&mut cluster);
    let outcome = query.await.expect("the client does not panic");
    let took = at.elapsed();
    match outcome {
        Ok(actual) => compare(&expected, &actual, Order::Any).expect("a right answer"),
        Err(refusal) => {
            assert!(refusal.sql_state.as_deref() == Some("57P01"), "a clear error: {refusal}");
            assert!(took < FAULT_LIMIT, "the error took {took:?}: {refusal}");
        }
    }
    // The retried query takes as long as it takes; what it must not do is hang.
    assert!(started.elapsed() < FAULT_LIMIT * 4, "{:?}", started.elapsed());
    cluster
}

async fn wait_until_running(cluster: &Cluster) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let statements = cluster.client().statements().await.expect("the coordinator answers");
        let running = statements["statements"].as_array().into_iter().flatten().any(|statement| {
            statement["phase"] == "running" && statement["progress"]["tasks"].as_u64().unwrap_or(0) > 0
        });
        if running {
            // Into the middle of it.
            tokio::time::sleep(Duration::from_millis(300)).await;
            return;
        }
        assert!(Instant::now() < deadline, "the query never ran: {statements}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_is_killed() {
    let cluster = cluster_with_data(3).await;
    let cluster = fault_in_mid_query(cluster, |cluster| cluster.kill_executor(1)).await;
    next_query_is_right(&cluster).await;
    settles(&cluster).await;
    let executors = state(&cluster).await["executors"].as_array().expect("a list").len();
    assert_eq!(executors, 2, "the dead one is not a member");
    let live = [0, 2].map(|index| cluster.directory().join(format!("executor-{index}")));
    for directory in live {
        assert_eq!(files_left(&directory), Vec::<std::path::PathBuf>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_hangs() {
    let cluster = cluster_with_data(2).await;
    let cluster = fault_in_mid_query(cluster, |cluster| cluster.pause_executor(0)).await;
    next_query_is_right(&cluster).await;
    // Back again, it is a member again, and what it held of the old query is gone.
    cluster.continue_executor(0);
    let deadline = Instant::now() + Duration::from_secs(15);
    while state(&cluster).await["executors"].as_array().map_or(0, Vec::len) < 2 {
        assert!(Instant::now() < deadline, "the executor did not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    settles(&cluster).await;
    next_query_is_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_executor_is_killed_and_another_one_comes() {
    let cluster =
        Cluster::start(Options { slots: 1, ..Options::executors(1) }.coordinator_option("no_executor_limit_s", 2))
            .await;
    data::register(&cluster, data::tpch().await).await;
    let mut cluster = fault_in_mid_query_expecting_failure(cluster).await;
    let refusal = cluster.run(&Request::new("select count(*) from orders where o_orderkey > 1")).await;
    let refusal = refusal.expect_err("nobody can run it");
    assert_eq!(refusal.sql_state.as_deref(), Some("57P03"), "{refusal}");
    cluster = tokio::task::spawn_blocking(move || {
        cluster.start_executor_blocking();
        cluster
    })
    .await
    .expect("an executor starts");
    next_query_is_right(&cluster).await;
}

async fn fault_in_mid_query_expecting_failure(mut cluster: Cluster) -> Cluster {
    let client = cluster.client().clone();
    let query = tokio::spawn(async move { client.arrow(&Request::new(LONG).partitions(4)).await });
    wait_until_running(&cluster).await;
    let at = Instant::now();
    cluster.kill_executor(0);
    let refusal = query.await.expect("the client does not panic").expect_err("nobody is left to run it");
    assert!(at.elapsed() < FAULT_LIMIT, "{:?}: {refusal}", at.elapsed());
    assert!(matches!(refusal.sql_state.as_deref(), Some("57P01" | "57P03")), "{refusal}");
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_cancels_its_statement() {
    let cluster = cluster_with_data(2).await;
    let client = cluster.client().clone();
    let query = tokio::spawn(async move { client.arrow(&Request::new(ENDLESS).partitions(4)).await });
    wait_until_running(&cluster).await;
    query.abort();
    settles(&cluster).await;
    next_query_is_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_cancelled_within_a_second() {
    let cluster = cluster_with_data(2).await;
    let handle = cluster.client().start(ENDLESS).await.expect("it is accepted");
    wait_until_running(&cluster).await;
    let at = Instant::now();
    cluster.client().cancel(&handle).await.expect("it can be cancelled");
    let deadline = at + Duration::from_secs(1);
    loop {
        let state = cluster.client().statements().await.expect("the coordinator answers");
        let all = state["statements"].as_array().expect("a list");
        let phase = all.iter().find(|statement| statement["statementHandle"] == handle.as_str());
        if phase.expect("it is remembered")["phase"] == "cancelled" {
            break;
        }
        assert!(Instant::now() < deadline, "not cancelled: {state}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    settles(&cluster).await;
}

/// What is busy for hours with one batch of its input has to let go of its thread by itself.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_makes_many_rows_can_be_stopped() {
    let cluster = cluster_with_data(1).await;
    for endless in [
        "select sum(a.l_tax + b.l_tax * c.l_tax) from lineitem a cross join lineitem b cross join lineitem c",
        "select count(*) from lineitem a join lineitem b on a.l_linenumber < b.l_linenumber join lineitem c on b.l_tax <> c.l_tax",
        "select count(*) from lineitem a join lineitem b on a.l_linestatus = b.l_linestatus \
         join lineitem c on b.l_linestatus = c.l_linestatus",
    ] {
        let handle = cluster.client().start(endless).await.expect("it is accepted");
        wait_until_running(&cluster).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        cluster.client().cancel(&handle).await.expect("it can be cancelled");
        settles(&cluster).await;
    }
    next_query_is_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_limit_ends_a_statement() {
    let cluster = cluster_with_data(2).await;
    let at = Instant::now();
    let refusal = cluster.client().arrow_within(&Request::new(ENDLESS).partitions(4), 1).await.expect_err("too long");
    assert_eq!(refusal.sql_state.as_deref(), Some("57005"), "{refusal}");
    assert!(at.elapsed() < Duration::from_secs(4), "{:?}", at.elapsed());
    settles(&cluster).await;
}

/// An executor that is told to stop finishes what it runs and takes nothing new.
#[tokio::test(flavor = "multi_thread")]
async fn a_drained_executor_finishes_its_tasks() {
    // That it drains is told by heartbeats, which must not be longer apart than the query takes.
    let options = Options { slots: 1, ..Options::executors(2) }.coordinator_option("heartbeat_interval_ms", 50);
    let mut cluster = Cluster::start(options).await;
    data::register(&cluster, data::tpch().await).await;
    let expected = Oracle::over(data::tpch().await).await.run(&Request::new(LONG)).await.expect("the oracle answers");
    let client = cluster.client().clone();
    let query = tokio::spawn(async move { client.arrow(&Request::new(LONG).partitions(4)).await });
    wait_until_running(&cluster).await;
    cluster.terminate_executor(1);
    // It is a member for as long as it works, and gets nothing new.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !state(&cluster).await["executors"].as_array().expect("a list").iter().any(|one| one["state"] == "draining") {
        assert!(!query.is_finished(), "the query was over before the executor drained: make it longer");
        assert!(Instant::now() < deadline, "no executor drains");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let actual = query.await.expect("the client does not panic").expect("the query is not disturbed");
    compare(&expected, &actual, Order::Any).expect("a right answer");
    let status = cluster.executor_ended(1, FAULT_LIMIT).await.expect("it ends when its tasks have");
    assert!(status.success(), "{status}");
    next_query_is_right(&cluster).await;
}

/// Spilled rows are gone with their query, however it ends; the query's own metrics say that there were some.
#[tokio::test(flavor = "multi_thread")]
async fn spill_files_are_removed() {
    const SPILLS: &str = "select * from lineitem order by l_comment, l_orderkey, l_linenumber";
    let tables = data::tpch().await;
    let options = Options { slots: 1, memory: "16MB", ..Options::executors(2) };
    let cluster = Cluster::start(options).await;
    data::register(&cluster, tables).await;
    let analyzed = cluster.run(&Request::new(format!("explain analyze {SPILLS}")).partitions(1)).await;
    let analyzed = analyzed.unwrap_or_else(|e| panic!("it spills and does not fail: {e}"));
    let shown = arrow::util::pretty::pretty_format_batches(&analyzed.batches).expect("printed").to_string();
    assert!(shown.contains("spill_count="), "nothing was spilled:\n{shown}");
    no_files_left(&cluster).await;

    let expected = Oracle::over(tables).await.run(&Request::new(SPILLS)).await.expect("the oracle answers");
    let actual = cluster.run(&Request::new(SPILLS).partitions(1)).await.expect("it spills and does not fail");
    compare(&expected, &actual, Order::Total).expect("the spilled rows come back");
    settles(&cluster).await;
    no_files_left(&cluster).await;

    // Its reader goes away in the middle of the rows.
    let client = cluster.client().clone();
    let query = tokio::spawn(async move { client.arrow(&Request::new(SPILLS).partitions(1)).await });
    let deadline = Instant::now() + Duration::from_secs(20);
    while files_left(cluster.directory()).is_empty() {
        assert!(!query.is_finished(), "the query was over before its spilled rows were seen");
        assert!(Instant::now() < deadline, "nothing was spilled");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    query.abort();
    settles(&cluster).await;
    no_files_left(&cluster).await;
}
