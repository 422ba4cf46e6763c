//! Decapsulation on a real server: a tc program (bpf/decap.bpf.c) removes the tunnel headers of packets to its virtual
//! addresses.

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;

use libbpf_rs::{MapCore, MapFlags, MapHandle, ObjectBuilder};

use super::address::to_wire_addr;
use super::attach::{self, AttachMode};
use super::libbpf::{bpf_error, redirect_libbpf_log};
use super::pins::create_pin_dir;
use crate::netlink::Link;
use crate::{Context, Error, Result};

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/decap.bpf.o"));
const DECAP_MAPS: [&str; 3] = ["virtual_addresses", "decap_settings", "decap_counts"];

/// The numbers of tunnelled packets by what the program did with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DecapCounters {
    /// Decapsulated.
    pub decapsulated: u64,
    /// Passed unchanged, because the inner destination is no virtual address of this host.
    pub not_ours: u64,
    /// Passed unchanged, because the kernel cannot decapsulate them (one family in the other needs Linux 6.3).
    pub failed: u64,
}

fn map_key(addr: IpAddr) -> Vec<u8> {
    to_wire_addr(addr).iter().flat_map(|w| w.to_ne_bytes()).collect()
}

/// Attaches the program to a device, for packets to these addresses; for GUE too if a port is given. Replaces an
/// earlier attachment. The maps and the link are pinned in `dir`, so that they outlive the caller.
pub fn attach(dir: &Path, link: &Link, addresses: &[IpAddr], gue_port: Option<u16>) -> Result<AttachMode> {
    redirect_libbpf_log();
    create_pin_dir(dir)?;
    for name in DECAP_MAPS {
        let _ = fs::remove_file(dir.join(name));
    }
    let load = || ObjectBuilder::default().name("decap")?.open_memory(OBJECT)?.load();
    let mut object = load().map_err(|e| bpf_error("load the decapsulation program".into(), e))?;
    for mut map in object.maps_mut() {
        let Some(name) = map.name().to_str().map(str::to_owned).filter(|n| DECAP_MAPS.contains(&n.as_str())) else {
            continue;
        };
        let done = match name.as_str() {
            "virtual_addresses" => {
                addresses.iter().try_for_each(|a| map.update(&map_key(*a), &1u32.to_ne_bytes(), MapFlags::ANY))
            }
            "decap_settings" => {
                let port = gue_port.unwrap_or(0).to_be_bytes();
                map.update(&0u32.to_ne_bytes(), &[port[0], port[1], 0, 0], MapFlags::ANY)
            }
            _ => Ok(()),
        };
        done.and_then(|()| map.pin(dir.join(&name))).map_err(|e| bpf_error(format!("write and pin map {name}"), e))?;
    }
    let program = object.progs().find(|p| p.name() == OsStr::new("evenkeel_decap"));
    let program = program.ok_or_else(|| Error::new("attach evenkeel_decap", "there is no such program"))?;
    attach::attach_tc(dir, program.as_fd(), link, attach::DECAP_PRIORITY)
}

/// Detaches the program and removes everything that is pinned in `dir`.
pub fn detach(dir: &Path, ifindex: u32) -> Result<()> {
    attach::detach_clsact(ifindex, attach::DECAP_PRIORITY);
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten() {
        fs::remove_file(entry.path()).context(|| format!("remove {}", entry.path().display()))?;
    }
    fs::remove_dir(dir).context(|| format!("remove directory {}", dir.display()))
}

/// Those of `addresses` that the program decapsulates packets for, and its counters. `None` if it is not attached.
pub fn read_status(dir: &Path, addresses: &[IpAddr]) -> Option<(Vec<IpAddr>, DecapCounters)> {
    let open = |name: &str| MapHandle::from_pinned_path(dir.join(name)).ok();
    let (known, counts) = (open("virtual_addresses")?, open("decap_counts")?);
    let has = |a: &&IpAddr| known.lookup(&map_key(**a), MapFlags::ANY).ok().flatten().is_some();
    let sum = |i: u32| {
        let cpus = counts.lookup_percpu(&i.to_ne_bytes(), MapFlags::ANY).ok().flatten().unwrap_or_default();
        cpus.iter().filter_map(|v| Some(u64::from_ne_bytes(v.get(..8)?.try_into().ok()?))).sum()
    };
    let counters = DecapCounters { decapsulated: sum(0), not_ours: sum(1), failed: sum(2) };
    Some((addresses.iter().filter(has).copied().collect(), counters))
}
