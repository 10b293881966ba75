//! What the system says about memory: of the machine, and of a process at its peak.

use frazil_common::ByteSize;

/// The machine's memory, or what this control group may use of it.
pub fn machine() -> Option<ByteSize> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = ByteSize(kilobytes(&meminfo, "MemTotal:")? * 1024);
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse().ok()).map(ByteSize);
    Some(group.map_or(total, |group| group.min(total)))
}

/// The most that a process has had in memory at any time (`VmHWM`); `None` where the system does not tell.
pub fn peak_of(pid: u32) -> Option<ByteSize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(ByteSize(kilobytes(&status, "VmHWM:")? * 1024))
}

/// What a process has in memory now (`VmRSS`).
pub fn resident_of(pid: u32) -> Option<ByteSize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(ByteSize(kilobytes(&status, "VmRSS:")? * 1024))
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
