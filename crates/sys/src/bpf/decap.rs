//! Tunnelled packets, unwrapped on a real server by a small program of our own (bpf/decap.bpf.c).

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use libbpf_rs::{MapCore, MapFlags, MapHandle, ObjectBuilder};

use super::attach::{self, AttachMode};
use super::object::{bpf_error, mount_bpffs, redirect_libbpf_log};
use super::service_table::to_wire_addr;
use crate::netlink::Link;
use crate::{Context, Error, Result};

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/decap.bpf.o"));
const DECAP_MAPS: [&str; 3] = ["virtual_addresses", "decap_settings", "decap_counts"];

/// What the program has done with tunnelled packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DecapCounters {
    /// Unwrapped.
    pub decapsulated: u64,
    /// Left alone: for no virtual address of this host.
    pub not_ours: u64,
    /// Left alone: the kernel cannot (one family in the other needs Linux 6.3).
    pub failed: u64,
}

fn map_key(addr: IpAddr) -> Vec<u8> {
    to_wire_addr(addr).iter().flat_map(|w| w.to_ne_bytes()).collect()
}

/// Unwraps, on this device, what is for one of these addresses; GUE, if a port is given. Its maps and its link are pinned
/// in `dir`, so that it stays when the caller ends. What was there before is replaced.
pub fn attach(dir: &Path, link: &Link, addresses: &[IpAddr], gue_port: Option<u16>) -> Result<AttachMode> {
    redirect_libbpf_log();
    mount_bpffs(dir)?;
    for name in DECAP_MAPS {
        let _ = fs::remove_file(dir.join(name));
    }
    let load = || ObjectBuilder::default().name("decap")?.open_memory(OBJECT)?.load();
    let mut object = load().map_err(|e| bpf_error("load the program that unwraps tunnels".into(), e))?;
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
        done.and_then(|()| map.pin(dir.join(&name))).map_err(|e| bpf_error(format!("set up map {name}"), e))?;
    }
    let program = object.progs().find(|p| p.name() == OsStr::new("evenkeel_decap"));
    let program = program.ok_or_else(|| Error::new("attach evenkeel_decap", "there is no such program"))?;
    let fd = std::os::fd::AsFd::as_fd(&program);
    attach::attach_tc(dir, fd, link, attach::DECAP_PRIORITY)
}

/// Takes it off again, with everything that is pinned in `dir`.
pub fn detach(dir: &Path, ifindex: u32) -> Result<()> {
    attach::detach_clsact(ifindex, attach::DECAP_PRIORITY);
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten() {
        fs::remove_file(entry.path()).context(|| format!("remove {}", entry.path().display()))?;
    }
    fs::remove_dir(dir).context(|| format!("remove {}", dir.display()))
}

/// Which of these addresses it unwraps for, and what it has done; `None` if it is not there.
pub fn read_status(dir: &Path, addresses: &[IpAddr]) -> Option<(Vec<IpAddr>, DecapCounters)> {
    let open = |name: &str| MapHandle::from_pinned_path(dir.join(name)).ok();
    let (known, counts) = (open("virtual_addresses")?, open("decap_counts")?);
    let has = |a: &&IpAddr| known.lookup(&map_key(**a), MapFlags::ANY).ok().flatten().is_some();
    let sum = |i: u32| {
        let cpus = counts.lookup_percpu(&i.to_ne_bytes(), MapFlags::ANY).ok().flatten().unwrap_or_default();
        cpus.iter().filter_map(|v| Some(u64::from_ne_bytes(v.get(..8)?.try_into().ok()?))).sum()
    };
    let counts = DecapCounters { decapsulated: sum(0), not_ours: sum(1), failed: sum(2) };
    Some((addresses.iter().filter(has).copied().collect(), counts))
}
