//! Per-CPU counters: the statistics of services and destinations, and the packet counters.

use std::mem::{offset_of, size_of};

use evenkeel_core::ipvs::Stats;
use libbpf_rs::{MapCore, MapFlags, MapHandle, num_possible_cpus};

use super::abi::*;
use super::maps::Maps;

/// The names of the packet counters, in the order of `enum reason`.
pub const COUNTER_NAMES: [&str; REASONS as usize] = [
    "not_ours",
    "forwarded",
    "replied",
    "local",
    "fragment",
    "no_conn",
    "no_server",
    "dest_unavailable",
    "no_next_hop",
    "ttl",
    "table_full",
    "insert_race",
    "no_headroom",
    "no_route",
    "too_big",
    "icmp",
    "drained",
    "rejected",
    "standby",
    "cache_bypass",
    "unexpected_reply",
    "evicted",
    "martian",
    "bad_header",
];

/// The 64-bit word at a byte offset of a value; 0 if the value is too short.
fn word(value: &[u8], offset: usize) -> u64 {
    value.get(offset..offset + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

/// The statistics at an index of `service_stats` or `dest_stats`, summed over all CPUs; zeros if the map cannot be
/// read.
pub(super) fn read_stats(map: &MapHandle, index: u32) -> Stats {
    let Ok(Some(cpus)) = map.lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY) else { return Stats::default() };
    let mut sum = Stats::default();
    for v in cpus {
        sum.conns += word(&v, offset_of!(counters, conns));
        sum.in_packets += word(&v, offset_of!(counters, in_packets));
        sum.in_bytes += word(&v, offset_of!(counters, in_bytes));
        sum.out_packets += word(&v, offset_of!(counters, out_packets));
        sum.out_bytes += word(&v, offset_of!(counters, out_bytes));
    }
    sum
}

/// Sets the statistics at an index to 0 on all CPUs.
pub(super) fn clear_stats(map: &MapHandle, index: u32) {
    let zero = vec![vec![0u8; size_of::<counters>()]; num_possible_cpus().unwrap_or(1)];
    if let Err(e) = map.update_percpu(&index.to_ne_bytes(), &zero, MapFlags::ANY) {
        tracing::debug!("cannot clear the statistics at index {index}: {e}");
    }
}

impl Maps {
    /// The packet counters by name: how many packets had each `enum reason`.
    pub fn packet_counters(&self) -> Vec<(&'static str, u64)> {
        let count = |i: usize| {
            let cpus = self.packet_counters.lookup_percpu(&(i as u32).to_ne_bytes(), MapFlags::ANY).ok().flatten();
            cpus.map_or(0, |cpus| cpus.iter().map(|v| word(v, 0)).sum())
        };
        COUNTER_NAMES.iter().enumerate().map(|(i, name)| (*name, count(i))).collect()
    }
}
