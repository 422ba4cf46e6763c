//! Addresses and interfaces of virtual routers: virtual IP addresses, interfaces with a virtual MAC address, static
//! addresses, routes and rules.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::model::{RouteSpec, RuleSpec};

/// An address that a master adds to a device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct VipSpec {
    /// The virtual IP address.
    pub addr: IpAddr,
    /// The prefix length; 32 or 128 if the configuration has none.
    pub prefix: u8,
    /// The device that the address is added to.
    pub dev: String,
    /// The label, as in `ip addr add … label`.
    pub label: Option<String>,
    /// The broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// The scope by the kernel's numbers (0 global, 253 link, 254 host).
    pub scope: u8,
    /// The peer address of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// The preferred lifetime in seconds, after which the host uses the address for no new connection; `u32::MAX`:
    /// forever. The default for an IPv6 address with prefix length 128 is 0.
    pub preferred: Option<u32>,
    /// IFA_F_… of if_addr.h: `home`, `mngtmpaddr`, `noprefixroute`, `autojoin`.
    pub flags: u32,
    /// A master does not react if others remove the address (`no_track`).
    pub no_track: bool,
}

impl VipSpec {
    /// An address on a device, without options.
    pub fn new(addr: IpAddr, prefix: u8, dev: String) -> Self {
        let (label, broadcast, peer, preferred) = (None, None, None, None);
        VipSpec { addr, prefix, dev, label, broadcast, scope: 0, peer, preferred, flags: 0, no_track: false }
    }
}

impl fmt::Display for VipSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} dev {}", self.addr, self.prefix, self.dev)?;
        if let Some(label) = &self.label {
            write!(f, " label {label}")?;
        }
        Ok(())
    }
}

/// An interface that has only a virtual router's addresses: a macvlan in private mode with the virtual router's MAC address
/// (RFC 9568, 7.3), or an ipvlan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vmac {
    /// The interface's name.
    pub name: String,
    /// The interface's kind.
    pub kind: VmacKind,
    /// The lower device, which sends and receives the interface's frames.
    pub base: String,
    /// The device group, by the numbers of `ip link`.
    pub group: u32,
    /// The interface gets IPv6 addresses.
    pub ipv6: bool,
}

/// The kinds of interfaces that an instance can have for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmacKind {
    /// A macvlan with this MAC address (`use_vmac`).
    Macvlan([u8; 6]),
    /// An ipvlan in mode L2, which has the MAC address of its lower device (`use_ipvlan`).
    Ipvlan {
        /// IFLA_IPVLAN_FLAGS of if_link.h: 0 bridge, 1 private, 2 vepa.
        flags: u16,
        /// The source address of adverts and its prefix length. The interface always has this address.
        address: Option<(IpAddr, u8)>,
    },
}

impl Vmac {
    /// The interface's own MAC address, if it has one.
    pub fn mac(&self) -> Option<[u8; 6]> {
        if let VmacKind::Macvlan(mac) = self.kind { Some(mac) } else { None }
    }
}

/// How an instance uses its [`Vmac`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VmacUse {
    /// The interface's name.
    pub name: String,
    /// Adverts are sent on the lower device, with that device's MAC address (`vmac_xmit_base`).
    pub xmit_base: bool,
}

/// Addresses, routes and rules that do not depend on any virtual router: `static_ipaddress`, `static_routes`,
/// `static_rules`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Statics {
    /// Addresses.
    pub addresses: Vec<VipSpec>,
    /// Routes.
    pub routes: Vec<RouteSpec>,
    /// Rules.
    pub rules: Vec<RuleSpec>,
}
