//! The next hops of real servers: looked up by route and neighbour, kept resolved, and written into the maps.
//!
//! The packet path looks up no routes, which would cost 100 ns for each packet. It uses the next hop in the
//! destination's entry. While no daemon runs, the last next hop stays there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::Result;
use crate::bpf::{DestPath, MapWriter, NextHop};
use crate::netlink::{Link, Neighbour, Netlink};

/// Resolves the next hops of the destinations in the maps.
#[derive(Default)]
pub struct NextHopResolver {
    /// The neighbours that the kernel keeps resolved for us: device index and address.
    managed: BTreeSet<(u32, IpAddr)>,
    /// Why a destination has no next hop, by its address.
    errors: BTreeMap<IpAddr, String>,
    /// Some neighbours have not answered yet.
    pending: bool,
}

impl NextHopResolver {
    /// Looks up all destinations, and writes changed next hops. Returns the number of changes.
    pub fn refresh(&mut self, netlink: &mut Netlink, writer: &MapWriter) -> Result<usize> {
        let links = netlink.links()?;
        let neighbours = netlink.neighbours()?;
        let mut wanted = BTreeSet::new();
        let mut changed = 0;
        self.errors.clear();
        self.pending = false;
        let mut found: BTreeMap<IpAddr, Option<DestPath>> = BTreeMap::new();
        for (id, addr) in writer.dest_addresses() {
            let path = match found.get(&addr) {
                Some(path) => *path,
                None => {
                    let path = self.resolve_path(netlink, &links, &neighbours, addr, &mut wanted)?;
                    found.insert(addr, path);
                    path
                }
            };
            // If a neighbour does not answer any more, its last MAC address is kept: it may answer again soon.
            if path.is_some_and(|p| writer.set_dest_path(id, p)) {
                changed += 1;
            }
        }
        for &(ifindex, addr) in &wanted {
            if !self.managed.contains(&(ifindex, addr))
                && let Err(e) = netlink.manage_neighbour(ifindex, addr)
            {
                tracing::warn!("{e}");
            }
        }
        for &(ifindex, addr) in self.managed.difference(&wanted) {
            let _ = netlink.unmanage_neighbour(ifindex, addr);
        }
        self.managed = wanted;
        Ok(changed)
    }

    /// The path to a destination; `None` if it is unknown. Adds the neighbour to resolve to `wanted`.
    fn resolve_path(
        &mut self,
        netlink: &mut Netlink,
        links: &[Link],
        neighbours: &[Neighbour],
        addr: IpAddr,
        wanted: &mut BTreeSet<(u32, IpAddr)>,
    ) -> Result<Option<DestPath>> {
        let Some(route) = netlink.lookup_route(addr)? else {
            self.errors.insert(addr, "there is no route to it".into());
            return Ok(None);
        };
        if route.local {
            return Ok(Some(DestPath::Local));
        }
        let next = route.gateway.unwrap_or(addr);
        let known = neighbours.iter().find(|n| n.ifindex == route.oif && n.addr == next);
        // A permanent neighbour needs no resolution, and is not ours to manage.
        if known.is_none_or(|n| !n.permanent) {
            wanted.insert((route.oif, next));
        }
        let Some(link) = links.iter().find(|l| l.index == route.oif) else { return Ok(None) };
        let Some(n) = known else {
            self.pending = true;
            let protocol = if next.is_ipv4() { "ARP" } else { "neighbour solicitations" };
            self.errors.insert(addr, format!("{next} does not answer {protocol} on {}", link.name));
            return Ok(None);
        };
        let hop = NextHop { ifindex: link.index, dmac: n.mac, smac: link.mac };
        Ok(Some(DestPath::Via { hop, mtu: route.mtu.unwrap_or(link.mtu), source: route.source }))
    }

    /// True if the next hop of a destination is being resolved.
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// Why a destination has no next hop.
    pub fn error(&self, addr: IpAddr) -> Option<&str> {
        self.errors.get(&addr).map(String::as_str)
    }

    /// Stops keeping neighbours resolved, for a clean stop.
    pub fn release_neighbours(&mut self, netlink: &mut Netlink) {
        for (ifindex, addr) in std::mem::take(&mut self.managed) {
            let _ = netlink.unmanage_neighbour(ifindex, addr);
        }
    }
}
