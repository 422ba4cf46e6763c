//! The network of the host as the decision about attachments needs it (`evenkeel_core::attachments`).

use std::collections::BTreeMap;

use evenkeel_core::attachments::{Device, Topology, Traffic};

use crate::Result;
use crate::bpf::ethtool::strips_vlan_tags;
use crate::bpf::prefers_native_xdp;
use crate::netlink::{Link, Netlink};

/// Reads addresses, gateways, and the routes to the real servers. `without_xdp`: indices of NICs whose driver has
/// rejected XDP.
pub fn read_topology(
    netlink: &mut Netlink,
    links: &[Link],
    traffic: &Traffic,
    without_xdp: &dyn Fn(u32) -> bool,
) -> Result<Topology> {
    // Under XDP, frames of its VLANs would look like its own.
    let carries_vlans = |l: &Link| links.iter().any(|v| v.vlan.is_some() && v.lower == Some(l.index));
    let hides_vlans = |l: &Link| carries_vlans(l) && strips_vlan_tags(&l.name);
    let devices = links.iter().map(|l| Device {
        index: l.index,
        name: l.name.clone(),
        kind: l.kind.clone(),
        loopback: l.loopback,
        up: l.up,
        ethernet: l.ethernet,
        native_xdp: !without_xdp(l.index) && prefers_native_xdp(l) && !hides_vlans(l),
        lower: l.lower,
        master: l.master,
    });
    let devices = devices.collect();
    let addresses = netlink.addresses()?.into_iter().map(|a| (a.ifindex, a.addr, a.prefix_len)).collect();
    let gateways = netlink.gateways()?;
    let mut server_devices = BTreeMap::new();
    for addr in traffic.servers.keys() {
        if let Some(route) = netlink.lookup_route(*addr)? {
            server_devices.insert(*addr, route.oif);
        }
    }
    Ok(Topology { devices, addresses, gateways, server_devices })
}
