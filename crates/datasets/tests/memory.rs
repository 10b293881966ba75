//! The bound on memory, measured. A process of its own, since the peak is the process's; run it with
//! `cargo test --release -p frazil-datasets --test memory -- --ignored --nocapture`.
//!
//! A writer holds one row group, whatever the scale. At scale 1 the files of `lineitem` have more rows than a row group
//! takes, so what a writer needs there it needs at scale 100; and the run is asked for more writers than memory allows.
#![cfg(target_os = "linux")]

use std::sync::Arc;

use frazil_datasets::{Destination, EventsOptions, Silent, Tpch, load_events, load_tpch};

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test]
#[ignore = "writes about 1 GB and takes a minute"]
async fn a_run_with_many_threads_stays_under_two_gigabytes() {
    let directory = tempfile::tempdir().unwrap();
    let destination = Destination::local(directory.path());
    let report = load_tpch(Tpch { parallelism: 64, ..Tpch::new(1.0, destination.clone()) }, Arc::new(Silent));
    let report = report.await.unwrap();
    assert_eq!(report.tables.iter().map(|table| table.rows).sum::<u64>(), 8_661_245);
    let tpch = peak_bytes();
    for table in &report.tables {
        println!("{}: {} rows, {} files, {} bytes", table.name, table.rows, table.files, table.bytes);
    }
    println!("TPC-H: peak of {} MB after {:?}", tpch >> 20, report.elapsed);
    let options = EventsOptions { rows: 4_000_000, files: 16, seed: 1, destination, parallelism: 64 };
    let report = load_events(options, Arc::new(Silent)).await.unwrap();
    let both = peak_bytes();
    println!("events: {} bytes, peak of {} MB after {:?}", report.tables[0].bytes, both >> 20, report.elapsed);
    assert!(tpch < 2 << 30 && both < 2 << 30, "{tpch} bytes for TPC-H, {both} bytes with the events");
}
