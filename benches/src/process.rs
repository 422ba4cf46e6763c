//! CPU time and memory of a daemon's processes, from /proc.

use std::fs;
use std::time::Duration;

/// The process `parent` and its descendants that run the same program.
pub fn process_family(parent: u32) -> Vec<u32> {
    let program_of = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let program = program_of(parent);
    let mut family = vec![parent];
    let mut next = 0;
    while let Some(pid) = family.get(next).copied() {
        next += 1;
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|c| c.parse().ok());
            family.extend(children.filter(|c| program_of(*c) == program));
        }
    }
    family
}

/// CPU time of all threads of the family.
pub fn cpu_time(parent: u32) -> Duration {
    let mut ns = 0u64;
    for pid in process_family(parent) {
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            ns += stat.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Duration::from_nanos(ns)
}

/// Resident memory of the family, KiB. A shared page counts once for each process.
pub fn resident_kib(parent: u32) -> u64 {
    let rss = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:").map(str::to_owned));
        line.and_then(|l| l.split_whitespace().next().and_then(|n| n.parse::<u64>().ok())).unwrap_or(0)
    };
    process_family(parent).into_iter().map(rss).sum()
}
