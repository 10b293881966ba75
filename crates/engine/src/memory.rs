//! One memory pool and one spill directory for each executor (and a small pair for the coordinator's own merges).

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use frazil_common::ByteSize;

use crate::storage::{ObjectStores, StorageOptions};

/// Consumers named in the error of a query that wanted more than there is.
const TOP_CONSUMERS: usize = 3;
/// Footers of files; DataFusion's default of 50 MB holds those of some thousand files.
const FOOTER_CACHE_BYTES: usize = 128 << 20;

/// A directory for files that do not outlive this process: `<data>/<kind>/<owner>.<pid>`. Several processes may share a
/// data directory; what dead ones left in it is removed.
pub fn process_directory(data: &Path, kind: &str, owner: &str) -> std::io::Result<PathBuf> {
    let parent = data.join(kind);
    std::fs::create_dir_all(&parent)?;
    for entry in std::fs::read_dir(&parent)?.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.rsplit('.').next()).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(is_dead) {
            // Another process that starts now may be faster.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let directory = parent.join(format!("{owner}.{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

fn is_dead(pid: u32) -> bool {
    Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{pid}")).exists()
}

/// DataFusion's runtime with our bounds and stores.
pub fn runtime_env(
    memory: ByteSize,
    spill: ByteSize,
    spill_directory: &Path,
    storage: &Arc<StorageOptions>,
) -> Result<Arc<RuntimeEnv>> {
    let pool = FairSpillPool::new(memory.as_usize());
    let pool = TrackConsumersPool::new(pool, NonZeroUsize::new(TOP_CONSUMERS).expect("not zero"));
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![spill_directory.to_owned()]))
        .with_max_temp_directory_size(spill.0);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        .with_object_store_registry(Arc::new(ObjectStores::new(storage.clone())))
        .with_metadata_cache_limit(FOOTER_CACHE_BYTES)
        // It has no way to notice new files: listings are read anew.
        .with_object_list_cache_limit(0)
        .build_arc()
}

/// Files below a spill directory, for tests and for the cluster view.
pub fn count_spill_files(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count_spill_files(&entry.path()),
            Ok(_) => 1,
            Err(_) => 0,
        })
        .sum()
}

/// The machine's memory, or a cgroup's limit where that is less.
pub fn machine_memory() -> ByteSize {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    });
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let total = total.unwrap_or(4 << 30);
    ByteSize(limit.map_or(total, |limit: u64| limit.min(total)))
}
