//! An observation: the devices and addresses of this host at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evenkeel_core::model::VipSpec;
use evenkeel_sys::Result;
use evenkeel_sys::netlink::{InterfaceAddr, Link, Netlink};
use evenkeel_sys::netns;

/// Devices and addresses.
#[derive(Default)]
pub struct Observation {
    /// Devices by name.
    pub links: BTreeMap<String, Link>,
    /// Addresses by interface index, address and prefix length.
    pub addresses: BTreeMap<(u32, IpAddr, u8), InterfaceAddr>,
    /// The usable addresses of each device in the kernel's order: of IPv4 the primary ones first.
    pub addresses_in_order: BTreeMap<u32, Vec<IpAddr>>,
    /// Interface indexes of the devices that forward IPv6: their neighbour advertisements have the router flag.
    pub ipv6_forwarding: BTreeSet<u32>,
}

impl Observation {
    /// Lists devices and addresses.
    pub fn read(netlink: &mut Netlink) -> Result<Observation> {
        let links: BTreeMap<String, Link> = netlink.links()?.into_iter().map(|l| (l.name.clone(), l)).collect();
        let forwarding = links.values().filter(|l| netns::is_ipv6_forwarding(&l.name));
        let ipv6_forwarding = forwarding.map(|l| l.index).collect();
        let all = netlink.addresses()?;
        let mut addresses_in_order: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
        for a in all.iter().filter(|a| a.usable) {
            addresses_in_order.entry(a.ifindex).or_default().push(a.addr);
        }
        let addresses = all.into_iter().map(|a| ((a.ifindex, a.addr, a.prefix_len), a)).collect();
        Ok(Observation { links, addresses, addresses_in_order, ipv6_forwarding })
    }

    /// Whether a virtual address exists on its device.
    pub fn has_address(&self, v: &VipSpec) -> bool {
        let index = self.links.get(&v.dev).map(|l| l.index);
        index.is_some_and(|i| self.addresses.contains_key(&(i, v.addr, v.prefix)))
    }
}
