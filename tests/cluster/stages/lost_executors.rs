//! Executors that die under a load or an unload.

use crate::support::cluster::Cluster;

use super::{Staged, number, run};

/// An executor that dies in the middle of a load or an unload: the rows are there once, and no file of the lost try is seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_executor_is_made_up_for() {
    let mut staged = Staged::start(3).await;
    run(&staged.cluster, "create table t (a int, b varchar)").await;
    run(&staged.cluster, "create stage out").await;
    let text: String = (0..200_000).map(|number| format!("{number},text of row {number}\n")).collect();
    for file in 0..9 {
        staged.write(&format!("{file}.csv"), &text);
    }
    let unload = "copy into @out/x/ from t file_format = (type = csv) max_file_size = 500000";
    for (victim, sql) in [(2, "copy into t from @st"), (1, unload)] {
        let handle = staged.cluster.client().start(sql).await.expect("it is taken");
        let own = until(&staged.cluster, &handle, |own| own["stats"]["rowsWritten"].as_u64() > Some(0)).await;
        let in_time = own["phase"] == "running";
        staged.cluster.kill_executor(victim);
        let own = until(&staged.cluster, &handle, |own| own["phase"] != "running").await;
        assert_eq!(own["phase"], "finished", "{own}");
        eprintln!("{sql}: killed {}", if in_time { "while it ran" } else { "too late" });
    }
    let cluster = &staged.cluster;
    assert_eq!(number(cluster, "select count(*) from t").await, 1_800_000);
    assert_eq!(number(cluster, "select sum(a) from t").await, 9 * 199_999 * 100_000);
    run(cluster, "create table back (a int, b varchar)").await;
    run(cluster, "copy into back from @out/x/").await;
    assert_eq!(number(cluster, "select count(*) from back").await, 1_800_000);
    assert_eq!(number(cluster, "select sum(a) from back").await, 9 * 199_999 * 100_000);
}

/// What the coordinator says of a statement as soon as it is as wanted, or has ended.
async fn until(cluster: &Cluster, handle: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    loop {
        assert!(std::time::Instant::now() < deadline, "statement {handle} does not get on");
        let statements = cluster.client().statements().await.expect("a list");
        let list = statements["statements"].as_array().expect("statements").clone();
        let own = list.into_iter().find(|one| one["statementHandle"] == handle).expect("it is listed");
        let phase = own["phase"].as_str().unwrap_or_default();
        if wanted(&own) || ["finished", "failed", "cancelled"].contains(&phase) {
            return own;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
