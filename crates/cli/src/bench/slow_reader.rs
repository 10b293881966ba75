//! `frazil bench slow-reader`: the coordinator's memory while it delivers a result of gigabytes to one who does not hurry.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use frazil_common::ByteSize;
use serde_json::json;

use super::shape;
use crate::client::{Client, ClientError};
use crate::config::Config;
use crate::failure::CommandError;
use crate::processes::{Cluster, memory};
use crate::tpch;

/// Of lineitem at scale 1, as Arrow: about 0.85 GB a copy.
const COPIES: usize = 6;
const SCALE: f64 = 1.0;

pub struct SlowReaderRequest {
    pub executors: usize,
    pub slots: usize,
    /// How long it reads a batch now and then, before it reads on without a pause.
    pub slow: Duration,
    pub json: bool,
    pub config_file: Option<PathBuf>,
}

const PAUSE: Duration = Duration::from_millis(200);

struct Delivered {
    rows: usize,
    bytes: u64,
    /// When the slow part ended.
    peak_while_slow: Option<ByteSize>,
    seconds: f64,
}

pub async fn run(config: Config, request: SlowReaderRequest) -> Result<(), CommandError> {
    tpch::ensure(&config, SCALE).await?;
    let cluster = Cluster::start(&shape(&config, request.executors, request.slots, &request.config_file)).await?;
    let coordinator = cluster.processes().next().map(|process| process.pid()).unwrap_or_default();
    let before = memory::peak_of(coordinator);
    let delivered = deliver(cluster.url(), coordinator, request.slow).await;
    let peak = memory::peak_of(coordinator);
    let executors: Vec<_> = cluster.processes().skip(1).map(|process| memory::peak_of(process.pid())).collect();
    cluster.stop().await;
    let delivered = delivered?;
    if request.json {
        let bytes = |size: Option<ByteSize>| size.map(|size| size.0);
        let figures = json!({
            "suite": "slow-reader", "rows": delivered.rows, "bytes": delivered.bytes, "seconds": delivered.seconds,
            "coordinator_peak_bytes_before": bytes(before), "coordinator_peak_bytes_while_slow": bytes(delivered.peak_while_slow),
            "coordinator_peak_bytes": bytes(peak), "executor_peak_bytes": executors.into_iter().map(bytes).collect::<Vec<_>>(),
        });
        println!("{figures}");
        return Ok(());
    }
    let shown = |size: Option<ByteSize>| size.map_or_else(|| "unknown".to_owned(), |size| size.to_string());
    println!("{} rows, {} delivered in {:.1} s", delivered.rows, ByteSize(delivered.bytes), delivered.seconds);
    println!("coordinator's peak memory: {} before,", shown(before));
    println!("  {} while the reader was slow, {} at the end", shown(delivered.peak_while_slow), shown(peak));
    for (number, size) in executors.into_iter().enumerate() {
        println!("executor {}'s peak memory: {}", number + 1, shown(size));
    }
    Ok(())
}

async fn deliver(url: &str, coordinator: u32, slow: Duration) -> Result<Delivered, ClientError> {
    let client = Client::http(url)?;
    let sql = ["SELECT * FROM lineitem"; COPIES].join(" UNION ALL ");
    let started = Instant::now();
    let mut rows = client.stream(&sql, &tpch::context(SCALE)).await?;
    let mut delivered = Delivered { rows: 0, bytes: 0, peak_while_slow: None, seconds: 0.0 };
    while let Some(batch) = rows.next().await? {
        delivered.rows += batch.num_rows();
        if started.elapsed() < slow {
            tokio::time::sleep(PAUSE).await;
        } else if delivered.peak_while_slow.is_none() {
            delivered.peak_while_slow = memory::peak_of(coordinator);
        }
    }
    delivered.bytes = rows.bytes();
    delivered.seconds = started.elapsed().as_secs_f64();
    Ok(delivered)
}
