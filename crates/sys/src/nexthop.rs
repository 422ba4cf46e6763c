//! Next hops of real servers: route, neighbour, hardware address; kept resolved, and followed as they change.
//!
//! The program in the kernel does not look routes up (100 ns a packet); it uses what stands with the destination. When
//! nobody runs, the last known hop holds.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::Result;
use crate::bpf::{NextHop, XdpPlane};
use crate::netlink::{Link, Neighbour, Netlink};

/// Follows the next hops of a data plane's destinations.
#[derive(Default)]
pub struct NextHops {
    /// (device, neighbour) that the kernel was asked to keep resolved.
    managed: BTreeMap<(u32, Ipv4Addr), ()>,
    /// Why a destination has none, by address.
    trouble: BTreeMap<Ipv4Addr, String>,
}

impl NextHops {
    /// Looks every destination up again and writes what changed. Returns how many changed.
    pub fn refresh(&mut self, netlink: &mut Netlink, plane: &XdpPlane) -> Result<usize> {
        let links = netlink.links()?;
        let neighbours = netlink.neighbours()?;
        let mut wanted = BTreeMap::new();
        let mut changed = 0;
        self.trouble.clear();
        let mut found: BTreeMap<Ipv4Addr, Option<NextHop>> = BTreeMap::new();
        for (id, addr) in plane.dest_addresses() {
            let hop = match found.get(&addr) {
                Some(hop) => *hop,
                None => {
                    let hop = self.resolve(netlink, &links, &neighbours, addr, &mut wanted)?;
                    found.insert(addr, hop);
                    hop
                }
            };
            // A neighbour that stops answering keeps its last address: it may be back before anybody needs another.
            if hop.is_some() && plane.set_hop(id, hop) {
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

    fn resolve(
        &mut self,
        netlink: &mut Netlink,
        links: &[Link],
        neighbours: &[Neighbour],
        addr: Ipv4Addr,
        wanted: &mut BTreeMap<(u32, Ipv4Addr), ()>,
    ) -> Result<Option<NextHop>> {
        let Some(route) = netlink.route_to(addr)? else {
            self.trouble.insert(addr, "no route to it".into());
            return Ok(None);
        };
        if route.local {
            self.trouble.insert(addr, "it is an address of this director".into());
            return Ok(None);
        }
        let next = route.gateway.unwrap_or(addr);
        wanted.insert((route.oif, next), ());
        let Some(link) = links.iter().find(|l| l.index == route.oif) else { return Ok(None) };
        let Some(n) = neighbours.iter().find(|n| n.ifindex == route.oif && n.addr == next) else {
            self.trouble.insert(addr, format!("{next} does not answer ARP on {}", link.name));
            return Ok(None);
        };
        Ok(Some(NextHop { ifindex: link.index, dmac: n.mac, smac: link.mac }))
    }

    /// Why an address has no next hop.
    pub fn trouble(&self, addr: Ipv4Addr) -> Option<&str> {
        self.trouble.get(&addr).map(String::as_str)
    }

    /// The kernel may forget every neighbour again; for a clean stop.
    pub fn release(&mut self, netlink: &mut Netlink) {
        for (ifindex, addr) in std::mem::take(&mut self.managed).into_keys() {
            let _ = netlink.unmanage_neighbour(ifindex, addr);
        }
    }
}
