//! What was measured, and what follows from it.

use serde::Serialize;

use super::ContestPlan;

/// One query on every contender; times in milliseconds, the least of all runs.
pub struct Measured {
    pub name: &'static str,
    pub rows: usize,
    /// Of each single process.
    pub singles: Vec<f64>,
    pub clusters: Vec<ClusterTime>,
}

#[derive(Clone, Debug, Default)]
pub struct ClusterTime {
    /// `None` when it never answered.
    pub ms: Option<f64>,
    pub rows: usize,
    /// The first difference to the right answer, or why there was none.
    pub difference: Option<String>,
    pub bytes_scanned: Option<u64>,
    pub bytes_exchanged: Option<u64>,
}

/// The most memory that a process has had.
#[derive(Clone, Debug, Serialize)]
pub struct Peak {
    pub process: String,
    pub bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct Report {
    /// The last of `runs`.
    #[serde(flatten)]
    pub last: Run,
    /// One for each number of executors.
    pub runs: Vec<Run>,
    pub speedup: Option<Speedup>,
    pub memory: Vec<Peak>,
}

/// One cluster against one single process. `None` is what was not measured: no comparison, or no answer.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub suite: &'static str,
    pub scale: f64,
    pub executors: usize,
    pub slots: usize,
    pub single_threads: Option<usize>,
    /// The number of partitions with the least total, found before the measurement.
    pub single_partitions: Option<usize>,
    pub all_equal: bool,
    pub single_ms_total: Option<f64>,
    pub cluster_ms_total: Option<f64>,
    pub ratio_total: Option<f64>,
    pub ratio_geomean: Option<f64>,
    pub queries: Vec<QueryTimes>,
}

#[derive(Clone, Debug, Serialize)]
pub struct QueryTimes {
    pub name: &'static str,
    pub rows: usize,
    pub equal: bool,
    pub single_ms: Option<f64>,
    pub cluster_ms: Option<f64>,
    pub ratio: Option<f64>,
    pub bytes_scanned: Option<u64>,
    pub bytes_exchanged: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
}

/// What more threads, or more executors, bring: the total of the fewest divided by the total of the most.
#[derive(Clone, Debug, Serialize)]
pub struct Speedup {
    pub single_threads: [usize; 2],
    pub single: f64,
    pub executors: [usize; 2],
    pub cluster: f64,
    /// The cluster's part of what the single process gains.
    pub ratio: f64,
}

impl Report {
    /// `partitions`: of each single process. A plan without clusters has no report.
    pub fn new(plan: &ContestPlan, partitions: &[usize], measured: &[Measured], memory: Vec<Peak>) -> Self {
        let runs: Vec<Run> = (0..plan.clusters.len()).map(|cluster| run(plan, partitions, measured, cluster)).collect();
        let last = runs.last().expect("a contest has a cluster").clone();
        Self { last, speedup: speedup(plan, measured, &runs), runs, memory }
    }

    pub fn all_equal(&self) -> bool {
        self.runs.iter().all(|run| run.all_equal)
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report is plain data")
    }
}

fn run(plan: &ContestPlan, partitions: &[usize], measured: &[Measured], cluster: usize) -> Run {
    let shape = &plan.clusters[cluster];
    // The single process with as many threads as the cluster has slots, else the one with the most.
    let same = plan.single_threads.iter().position(|&threads| threads == shape.executors * shape.slots);
    let single = same.or(plan.single_threads.len().checked_sub(1));
    let times = |query: &Measured| {
        let single_ms = single.map(|single| query.singles[single]);
        let ClusterTime { ms, difference, bytes_scanned, bytes_exchanged, .. } = query.clusters[cluster].clone();
        QueryTimes {
            name: query.name,
            rows: query.rows,
            equal: difference.is_none(),
            single_ms,
            cluster_ms: ms,
            ratio: ms.zip(single_ms).map(|(cluster, single)| cluster / single),
            bytes_scanned,
            bytes_exchanged,
            difference,
        }
    };
    let queries: Vec<QueryTimes> = measured.iter().map(times).collect();
    let single_ms_total = queries.iter().map(|query| query.single_ms).sum::<Option<f64>>();
    let cluster_ms_total = queries.iter().map(|query| query.cluster_ms).sum::<Option<f64>>();
    let logs = queries.iter().map(|query| query.ratio.map(f64::ln)).sum::<Option<f64>>();
    Run {
        suite: "tpch",
        scale: plan.scale,
        executors: shape.executors,
        slots: shape.slots,
        single_threads: single.map(|single| plan.single_threads[single]),
        single_partitions: single.map(|single| partitions[single]),
        all_equal: queries.iter().all(|query| query.equal),
        single_ms_total,
        cluster_ms_total,
        ratio_total: cluster_ms_total.zip(single_ms_total).map(|(cluster, single)| cluster / single),
        ratio_geomean: logs.map(|sum| (sum / queries.len() as f64).exp()),
        queries,
    }
}

fn speedup(plan: &ContestPlan, measured: &[Measured], runs: &[Run]) -> Option<Speedup> {
    let total = |single: usize| measured.iter().map(|query| query.singles[single]).sum::<f64>();
    let [fewest, .., most] = plan.single_threads.as_slice() else { return None };
    let [first, .., last] = runs else { return None };
    let single = total(0) / total(plan.single_threads.len() - 1);
    let cluster = first.cluster_ms_total? / last.cluster_ms_total?;
    Some(Speedup {
        single_threads: [*fewest, *most],
        single,
        executors: [first.executors, last.executors],
        cluster,
        ratio: cluster / single,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::processes::{ClusterShape, Stderr};

    fn plan(executors: &[usize], single_threads: &[usize]) -> ContestPlan {
        let shape = |&executors: &usize| ClusterShape {
            executors,
            slots: 1,
            data: PathBuf::new(),
            own_directory: true,
            catalog: None,
            config_file: None,
            http_listen: String::new(),
            executor_memory: None,
            log_level: String::new(),
            stderr: Stderr::Kept,
        };
        ContestPlan {
            tables: Default::default(),
            scale: 1.0,
            clusters: executors.iter().map(shape).collect(),
            single_threads: single_threads.to_vec(),
            single_partitions: vec![2, 4],
            runs: 1,
        }
    }

    fn query(name: &'static str, singles: &[f64], clusters: &[f64]) -> Measured {
        let time = |&ms: &f64| ClusterTime { ms: Some(ms), ..ClusterTime::default() };
        Measured { name, rows: 1, singles: singles.to_vec(), clusters: clusters.iter().map(time).collect() }
    }

    fn close(a: Option<f64>, b: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() < 1e-9)
    }

    #[test]
    fn totals_and_geometric_mean_follow_from_the_queries() {
        let measured = [query("q01", &[40.0], &[20.0]), query("q02", &[50.0], &[100.0])];
        let report = Report::new(&plan(&[2], &[2]), &[4], &measured, Vec::new());
        assert_eq!(report.last.single_partitions, Some(4));
        assert!(close(report.last.single_ms_total, 90.0));
        assert!(close(report.last.ratio_total, 120.0 / 90.0));
        assert!(close(report.last.ratio_geomean, 1.0));
        assert!(report.all_equal() && report.speedup.is_none());
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        for key in
            ["suite", "scale", "executors", "slots", "all_equal", "single_ms_total", "cluster_ms_total", "ratio_total"]
        {
            assert!(!json[key].is_null(), "{key}");
        }
        assert_eq!(json["queries"][1]["name"], "q02");
        assert_eq!(json["runs"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_cluster_is_compared_with_as_many_threads_as_it_has_slots() {
        let measured = [query("q01", &[100.0, 50.0], &[110.0, 55.0])];
        let report = Report::new(&plan(&[1, 2], &[1, 2]), &[2, 4], &measured, Vec::new());
        assert_eq!((report.runs[0].single_threads, report.runs[0].single_partitions), (Some(1), Some(2)));
        assert!(close(report.runs[0].ratio_total, 1.1));
        assert!(close(report.runs[1].ratio_total, 1.1));
        let speedup = report.speedup.unwrap();
        assert!(
            close(Some(speedup.single), 2.0) && close(Some(speedup.cluster), 2.0) && close(Some(speedup.ratio), 1.0)
        );
    }

    #[test]
    fn what_was_not_answered_has_no_total() {
        let mut measured = [query("q01", &[10.0], &[20.0]), query("q02", &[10.0], &[20.0])];
        measured[1].clusters[0] = ClusterTime { difference: Some("lost".to_owned()), ..ClusterTime::default() };
        let report = Report::new(&plan(&[2], &[2]), &[2], &measured, Vec::new());
        assert!(!report.all_equal());
        assert_eq!((report.last.cluster_ms_total, report.last.ratio_geomean), (None, None));
        assert!(close(report.last.single_ms_total, 20.0));
        let alone = Report::new(&plan(&[2], &[]), &[], &[query("q01", &[], &[20.0])], Vec::new());
        assert_eq!((alone.last.ratio_total, alone.last.single_ms_total), (None, None));
        assert!(close(alone.last.cluster_ms_total, 20.0));
    }
}
