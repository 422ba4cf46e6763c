//! Attachments: the decision to which devices the packet path is attached, from the routes and addresses of the host
//! and from what is balanced.
//!
//! IPVS works in netfilter's INPUT, so it sees a packet for a virtual address on whatever device it arrives
//! (ip_vs_in_hook(), called at LOCAL_IN after the routing decision). XDP and tc see the packets of one device. So
//! [`derive()`] attaches to every device that packets for us can come in by, and to no others:
//!
//! | device | why |
//! | --- | --- |
//! | holds a virtual address, or gets it by VRRP | clients send to its MAC address |
//! | leads to a real server behind NAT | replies come in by it, and must be translated |
//! | has a default route or a gateway | clients are behind the router; the only way in if the address is on `lo` |
//! | has an address of a network | clients in that network may have a route to the virtual address by us |
//!
//! No attachment, unless `dataplane_interface` names the device:
//!
//! | device | why not |
//! | --- | --- |
//! | `lo` | what comes in by it is from this host |
//! | port of a bridge, a bond, a team or Open vSwitch | its frames come in by the master once more |
//! | dummy, VRF, ifb | receive no frames from outside |
//! | WireGuard, tun, ipip, sit, gre … | have no Ethernet header, which the programs expect |
//! | only addresses of hosts, or none | containers that are routed one by one (Calico, AWS VPC CNI): thousands of veths would each get a program for clients that rarely exist |
//! | more than [`MAX_CLIENT_DEVICES`] | the same with a network each (micro-VMs with a tap of /30) |
//! | where a firewall drops the packets | the program runs before it and would open what is closed |
//!
//! The lower device of a VLAN, macvlan or ipvlan gets an attachment only for reasons of its own.
//!
//! NICs get native XDP where much traffic is expected: where virtual addresses and real servers are. Devices for
//! clients only get tc, because some NICs reset their link when an XDP program is attached, and lose offloads. But if a
//! virtual address is on no device that receives packets, clients come in by these devices only, and they get XDP too.
//! An XDP program sends by another device with ndo_xdp_xmit() of its driver, which most drivers offer only while they
//! have an XDP program of their own, and bridges and macvlans never. So all devices get tc if a real server is behind a
//! device without XDP. Replies to clients behind such a device are translated by XDP and sent by the kernel.

mod derive;
mod reason;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub use derive::{MAX_CLIENT_DEVICES, derive};
pub use reason::{AttachReason, LeftAloneReason};

use crate::model::{AttachChoice, AttachOverrides, Config, ForwardingMethod, MarkRule, ServiceKey};

/// A network device, as far as the decision needs it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Device {
    /// The index.
    pub index: u32,
    /// The name.
    pub name: String,
    /// The kind of a software device as in `ip link add … type KIND` (IFLA_INFO_KIND); empty for a NIC.
    pub kind: String,
    /// The device is the loopback device.
    pub loopback: bool,
    /// The device is administratively up.
    pub up: bool,
    /// Its frames have an Ethernet header (ARPHRD_ETHER).
    pub ethernet: bool,
    /// Native XDP is better than tc for it: a NIC whose driver supports XDP and leaves VLAN tags in the frames, if it
    /// carries VLANs.
    pub native_xdp: bool,
    /// The index of the lower device, of a VLAN for example.
    pub lower: Option<u32>,
    /// The index of the master, if the device is a port or belongs to a VRF.
    pub master: Option<u32>,
}

/// A gateway, or a default route without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GatewayRoute {
    /// The index of the output device.
    pub ifindex: u32,
    /// The gateway.
    pub gateway: Option<IpAddr>,
    /// The route is a default route.
    pub default: bool,
}

/// The network of the host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topology {
    /// All devices.
    pub devices: Vec<Device>,
    /// All addresses: device, address, prefix length.
    pub addresses: Vec<(u32, IpAddr, u8)>,
    /// Default routes and gateways, of all routing tables.
    pub gateways: Vec<GatewayRoute>,
    /// The output device of the route to each real server, by the server's address.
    pub server_devices: BTreeMap<IpAddr, u32>,
}

impl Topology {
    /// Whether an IPv4 default route leads by the device.
    pub fn has_default_route(&self, ifindex: u32) -> bool {
        self.gateways.iter().any(|g| g.default && g.ifindex == ifindex && g.gateway.is_none_or(|a| a.is_ipv4()))
    }
}

/// What is balanced, and what the configuration says about devices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// The addresses of services.
    pub addresses: BTreeSet<IpAddr>,
    /// The address ranges of services on firewall marks.
    pub ranges: Vec<(IpAddr, IpAddr)>,
    /// There is a service on a firewall mark without a range: any address may be one of its.
    pub any_address: bool,
    /// The addresses that instances put on devices: device, address.
    pub vrrp_addresses: BTreeSet<(String, IpAddr)>,
    /// The real servers: true if they are behind NAT in a service.
    pub servers: BTreeMap<IpAddr, bool>,
    /// `dataplane_interface`
    pub overrides: AttachOverrides,
}

impl Traffic {
    /// What a configuration balances.
    pub fn from_config(config: &Config) -> Traffic {
        let mut t = Traffic { overrides: config.global.dataplane_interfaces.clone(), ..Traffic::default() };
        for v in &config.virtual_servers {
            t.add_service(v.key, &v.mark_rules);
            for r in &v.servers {
                t.add_server(r.key.addr, r.method);
            }
            if let Some(s) = &v.sorry_server {
                t.add_server(s.key.addr, s.method);
            }
        }
        let vips = config.instances.iter().flat_map(|i| i.all_vips());
        t.vrrp_addresses.extend(vips.map(|v| (v.dev.clone(), v.addr)));
        t
    }

    /// Adds a service: its address, or the addresses of the rules of its mark.
    pub fn add_service(&mut self, key: ServiceKey, rules: &[MarkRule]) {
        if key.fwmark == 0 {
            self.addresses.insert(key.addr);
        }
        self.any_address |= key.fwmark != 0 && rules.is_empty();
        self.ranges.extend(rules.iter().map(|r| (r.first, r.last)));
    }

    /// Adds a real server.
    pub fn add_server(&mut self, addr: IpAddr, method: ForwardingMethod) {
        *self.servers.entry(addr).or_default() |= method == ForwardingMethod::Nat;
    }

    /// True if nothing is balanced.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.ranges.is_empty() && !self.any_address
    }

    /// True if a service may have this address.
    fn is_served(&self, addr: IpAddr) -> bool {
        self.addresses.contains(&addr) || self.ranges.iter().any(|(first, last)| *first <= addr && addr <= *last)
    }
}

/// The devices by index, with and without an attachment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttachDecision {
    /// The devices to attach to, how, and why.
    pub attached: BTreeMap<u32, (AttachChoice, AttachReason)>,
    /// The devices that get no attachment although packets might come in by them.
    pub left_alone: BTreeMap<u32, LeftAlone>,
    /// No device gets XDP without being named: a real server is behind a device that XDP cannot send by.
    pub is_xdp_ruled_out: bool,
    /// Real servers that `dataplane_interface … xdp` makes unreachable: each with its device, which XDP programs of other
    /// devices cannot send by.
    pub unreachable_by_xdp: Vec<(IpAddr, u32)>,
}

/// A device without an attachment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftAlone {
    /// Why.
    pub reason: LeftAloneReason,
    /// What the attachment would be needed for; `None` if nothing that is balanced certainly needs it.
    pub needed: Option<AttachReason>,
}
