//! What a daemon's processes cost.

use std::fs;
use std::time::Duration;

/// A process, its children, and theirs, but for programs that they run.
pub fn family(parent: u32) -> Vec<u32> {
    let name = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let program = name(parent);
    let mut all = vec![parent];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|c| c.parse().ok());
            all.extend(children.filter(|c| name(*c) == program));
        }
    }
    all
}

/// Time on a processor, of every thread.
pub fn cpu(parent: u32) -> Duration {
    let mut ns = 0u64;
    for pid in family(parent) {
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            ns += stat.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Duration::from_nanos(ns)
}

/// Resident memory, KiB; what they share counts once for each.
pub fn memory(parent: u32) -> u64 {
    let rss = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:").map(str::to_owned));
        line.and_then(|l| l.split_whitespace().next().and_then(|n| n.parse::<u64>().ok())).unwrap_or(0)
    };
    family(parent).into_iter().map(rss).sum()
}
