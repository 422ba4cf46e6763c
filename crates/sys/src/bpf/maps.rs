//! The maps of the packet path, mapped into memory where they are arrays.

use std::os::fd::AsFd;
use std::path::Path;

use libbpf_rs::{MapCore, MapHandle};

use super::abi::*;
use super::encoding;
use super::libbpf::{bpf_error, is_static_table};
use super::mmap::MappedArray;
use super::service_table::EndpointTable;
use crate::{Error, Result, clock};

/// The maps that user space reads or writes. bpf/maps.h says of each who writes it.
pub struct Maps {
    /// The settings of the program; one element.
    pub settings: MappedArray<settings>,
    pub(super) service_table: EndpointTable,
    pub(super) nat_table: EndpointTable,
    pub(super) services: MappedArray<service>,
    pub(super) dests: MappedArray<dest>,
    pub(super) lists: MappedArray<u32>,
    pub(super) blocks: MappedArray<block>,
    pub(super) block_refs: MappedArray<block_refs>,
    pub(super) conns: MappedArray<conn_line>,
    pub(super) flow_cache: MappedArray<flow_cache_line>,
    pub(super) devices: MappedArray<device>,
    pub(super) mark_rules: MapHandle,
    pub(super) vlans: MapHandle,
    pub(super) service_stats: MapHandle,
    pub(super) dest_stats: MapHandle,
    pub(super) packet_counters: MapHandle,
}

fn open_map(dir: &Path, name: &str) -> Result<MapHandle> {
    let path = dir.join(name);
    MapHandle::from_pinned_path(&path).map_err(|e| bpf_error(format!("open map {}", path.display()), e))
}

fn open_array<T: Copy>(dir: &Path, name: &str, write: bool) -> Result<MappedArray<T>> {
    let map = open_map(dir, name)?;
    let (value, entries) = (map.value_size() as usize, map.max_entries() as usize);
    let is_static = is_static_table(&map);
    let len = if is_static { value / size_of::<T>() } else { entries };
    if len == 0 || value * entries != size_of::<T>() * len {
        let reason =
            format!("it has {entries} values of {value} bytes; an element of this version has {}", size_of::<T>());
        return Err(Error::new(format!("open map {}", dir.join(name).display()), reason));
    }
    MappedArray::new(map.as_fd(), len, is_static, write)
}

impl Maps {
    /// Opens the maps that are pinned in `dir`, for reading or for reading and writing. No daemon needs to run.
    ///
    /// Fails if the maps have another layout than this version's (`EK_ABI`).
    pub fn open(dir: &Path, write: bool) -> Result<Maps> {
        let settings: MappedArray<settings> = open_array(dir, "settings", write)?;
        let abi = settings.read(0).abi;
        if abi != EK_ABI {
            let reason = format!("their layout is {abi}; this version's layout is {EK_ABI}");
            return Err(Error::new(format!("open the maps in {}", dir.display()), reason));
        }
        Ok(Maps {
            settings,
            service_table: EndpointTable::new(open_array(dir, "endpoints", write)?, EK_SERVICE_PROBES),
            nat_table: EndpointTable::new(open_array(dir, "nat_dests", write)?, EK_NAT_PROBES),
            services: open_array(dir, "services", write)?,
            dests: open_array(dir, "dests", write)?,
            lists: open_array(dir, "lists", write)?,
            blocks: open_array(dir, "blocks", write)?,
            block_refs: open_array(dir, "block_refs", write)?,
            conns: open_array(dir, "conns", write)?,
            flow_cache: open_array(dir, "flow_cache", write)?,
            devices: open_array(dir, "devices", write)?,
            mark_rules: open_map(dir, "mark_rules")?,
            vlans: open_map(dir, "vlans")?,
            service_stats: open_map(dir, "service_stats")?,
            dest_stats: open_map(dir, "dest_stats")?,
            packet_counters: open_map(dir, "packet_counters")?,
        })
    }

    /// The current jiffies, cut to 32 bits, as the maps store times.
    pub fn jiffies(&self) -> u32 {
        self.jiffies64() as u32
    }

    /// The current jiffies, computed from CLOCK_MONOTONIC and the calibration in the settings.
    pub fn jiffies64(&self) -> u64 {
        let s = self.settings.read(0);
        let passed = u128::from(clock::monotonic_ns().saturating_sub(s.clock_ns));
        s.clock_jiffies.wrapping_add((passed * u128::from(s.hz) / 1_000_000_000) as u64)
    }

    /// The number of jiffies in a second.
    pub fn hz(&self) -> u32 {
        self.settings.read(0).hz.max(1)
    }

    /// See [`encoding::seconds_to_jiffies`].
    pub(super) fn seconds_to_jiffies(&self, seconds: u32) -> u32 {
        encoding::seconds_to_jiffies(seconds, self.hz())
    }

    /// The timeouts of idle connections in seconds: TCP established, TCP after a FIN, UDP.
    pub fn timeouts(&self) -> (u32, u32, u32) {
        let (s, hz) = (self.settings.read(0), self.hz());
        let tcp = |state: u32| s.timeout_tcp[state as usize] / hz;
        (tcp(TCP_ESTABLISHED), tcp(TCP_FIN_WAIT), s.timeout_udp / hz)
    }

    /// The number of IPv4 entries that the connection table can hold.
    pub fn conn_capacity(&self) -> u64 {
        self.conns.len() as u64 * 2
    }
}
