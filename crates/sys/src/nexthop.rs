//! Next hops of real servers: route, neighbour, hardware address; kept resolved, and followed as they change.
//!
//! The program in the kernel does not look routes up (100 ns a packet); it uses what stands with the destination. When
//! nobody runs, the last known hop holds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::Result;
use crate::bpf::{DestPath, MapWriter, NextHop};
use crate::netlink::{Link, Neighbour, Netlink};

/// Follows the next hops of a data plane's destinations.
#[derive(Default)]
pub struct NextHopResolver {
    /// (device, neighbour) that the kernel was asked to keep resolved.
    managed: BTreeMap<(u32, IpAddr), ()>,
    /// Why a destination has none, by address.
    errors: BTreeMap<IpAddr, String>,
    /// Some of them only wait for an answer.
    pending: bool,
}

impl NextHopResolver {
    /// Looks every destination up again and writes what changed. Returns how many changed.
    pub fn refresh(&mut self, netlink: &mut Netlink, plane: &MapWriter) -> Result<usize> {
        let links = netlink.links()?;
        let neighbours = netlink.neighbours()?;
        let mut wanted = BTreeMap::new();
        let mut changed = 0;
        self.errors.clear();
        self.pending = false;
        let mut found: BTreeMap<IpAddr, Option<DestPath>> = BTreeMap::new();
        for (id, addr) in plane.dest_addresses() {
            let path = match found.get(&addr) {
                Some(path) => *path,
                None => {
                    let path = self.resolve_path(netlink, &links, &neighbours, addr, &mut wanted)?;
                    found.insert(addr, path);
                    path
                }
            };
            // A neighbour that stops answering keeps its last address: it may be back before anybody needs another.
            if path.is_some_and(|p| plane.set_dest_path(id, p)) {
                changed += 1;
            }
        }
        for &(ifindex, addr) in wanted.keys() {
            if !self.managed.contains_key(&(ifindex, addr))
                && let Err(e) = netlink.manage_neighbour(ifindex, addr)
            {
                tracing::warn!("{e}");
            }
        }
        for &(ifindex, addr) in self.managed.keys().filter(|k| !wanted.contains_key(*k)) {
            let _ = netlink.unmanage_neighbour(ifindex, addr);
        }
        self.managed = wanted;
        Ok(changed)
    }

    fn resolve_path(
        &mut self,
        netlink: &mut Netlink,
        links: &[Link],
        neighbours: &[Neighbour],
        addr: IpAddr,
        wanted: &mut BTreeMap<(u32, IpAddr), ()>,
    ) -> Result<Option<DestPath>> {
        let Some(route) = netlink.lookup_route(addr)? else {
            self.errors.insert(addr, "no route to it".into());
            return Ok(None);
        };
        if route.local {
            return Ok(Some(DestPath::Local));
        }
        let next = route.gateway.unwrap_or(addr);
        let known = neighbours.iter().find(|n| n.ifindex == route.oif && n.addr == next);
        // What somebody has written down needs no asking, and is not ours to manage.
        if known.is_none_or(|n| !n.permanent) {
            wanted.insert((route.oif, next), ());
        }
        let Some(link) = links.iter().find(|l| l.index == route.oif) else { return Ok(None) };
        let Some(n) = known else {
            self.pending = true;
            let asked = if next.is_ipv4() { "ARP" } else { "neighbour solicitations" };
            self.errors.insert(addr, format!("{next} does not answer {asked} on {}", link.name));
            return Ok(None);
        };
        let hop = NextHop { ifindex: link.index, dmac: n.mac, smac: link.mac };
        Ok(Some(DestPath::Via { hop, mtu: route.mtu.unwrap_or(link.mtu), source: route.source }))
    }

    /// Is there a destination whose next hop has been asked for and has not answered yet?
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// Why an address has no next hop.
    pub fn error(&self, addr: IpAddr) -> Option<&str> {
        self.errors.get(&addr).map(String::as_str)
    }

    /// The kernel may forget every neighbour again; for a clean stop.
    pub fn release_neighbours(&mut self, netlink: &mut Netlink) {
        for (ifindex, addr) in std::mem::take(&mut self.managed).into_keys() {
            let _ = netlink.unmanage_neighbour(ifindex, addr);
        }
    }
}
