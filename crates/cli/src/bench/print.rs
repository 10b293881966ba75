//! A report as text.

use std::fmt::Write;

use frazil_common::ByteSize;

use super::figures::{Measured, QueryTimes, Report, Run};

/// One line while the contest goes on.
pub fn progress(query: &Measured) -> String {
    let mut line = query.name.to_owned();
    for ms in &query.singles {
        let _ = write!(line, "  single {ms:.1} ms");
    }
    for time in &query.clusters {
        let _ = write!(line, "  cluster {} ms", figure(time.ms, 1));
        if let Some(difference) = &time.difference {
            let _ = write!(line, " DIFFERS: {difference}");
        }
    }
    line
}

pub fn report(report: &Report) -> String {
    let mut text = String::new();
    for run in &report.runs {
        text.push_str(&one_run(run));
        text.push('\n');
    }
    if let Some(speedup) = &report.speedup {
        let [fewest, most] = speedup.single_threads;
        let [first, last] = speedup.executors;
        let _ = writeln!(
            text,
            "speed-up: single process {fewest} to {most} threads {:.2} x, cluster {first} to {last} executors {:.2} x: {:.2} of it\n",
            speedup.single, speedup.cluster, speedup.ratio
        );
    }
    text.push_str("peak memory\n");
    for peak in &report.memory {
        let _ = writeln!(text, "  {:<36} {}", peak.process, bytes(peak.bytes));
    }
    text.trim_end().to_owned()
}

fn one_run(run: &Run) -> String {
    let mut text = format!("{} scale {}: {} executors of {} slots", run.suite, run.scale, run.executors, run.slots);
    if let (Some(threads), Some(partitions)) = (run.single_threads, run.single_partitions) {
        let _ = write!(text, " against one process of {threads} threads, best with {partitions} partitions");
    }
    let _ = writeln!(
        text,
        "\n  {:<6} {:>9} {:>11} {:>11} {:>7} {:>10} {:>10}  same",
        "query", "rows", "single ms", "cluster ms", "ratio", "scanned", "exchanged"
    );
    for query in &run.queries {
        let _ = writeln!(text, "  {}", one_query(query));
    }
    let _ = writeln!(
        text,
        "  {:<6} {:>9} {:>11} {:>11} {:>7} {:>10} {:>10}  {}",
        "total",
        run.queries.iter().map(|query| query.rows).sum::<usize>(),
        figure(run.single_ms_total, 1),
        figure(run.cluster_ms_total, 1),
        figure(run.ratio_total, 3),
        bytes(run.queries.iter().map(|query| query.bytes_scanned).sum()),
        bytes(run.queries.iter().map(|query| query.bytes_exchanged).sum()),
        yes(run.all_equal),
    );
    let _ = writeln!(text, "  geometric mean of the ratios: {}", figure(run.ratio_geomean, 3));
    text
}

fn one_query(query: &QueryTimes) -> String {
    let mut line = format!(
        "{:<6} {:>9} {:>11} {:>11} {:>7} {:>10} {:>10}  {}",
        query.name,
        query.rows,
        figure(query.single_ms, 1),
        figure(query.cluster_ms, 1),
        figure(query.ratio, 3),
        bytes(query.bytes_scanned),
        bytes(query.bytes_exchanged),
        yes(query.equal),
    );
    if let Some(difference) = &query.difference {
        let _ = write!(line, "\n         {}", difference.replace('\n', "\n         "));
    }
    line
}

fn figure(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn bytes(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| ByteSize(value).to_string())
}

fn yes(equal: bool) -> &'static str {
    if equal { "yes" } else { "NO" }
}
