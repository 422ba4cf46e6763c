//! Routes and rules that a master has, or that are always there.

use std::fmt;
use std::net::IpAddr;

use super::Family;

/// A network: an address and a prefix length.
pub type Prefix = (IpAddr, u8);

/// What packets are put into on their way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Encap {
    /// IPv4 or IPv6, by a tunnel device that takes its other end from the route.
    Ip {
        /// It is IPv6.
        ipv6: bool,
        /// The tunnel's key.
        id: Option<u64>,
        /// Its other end.
        dst: Option<IpAddr>,
        /// This end.
        src: Option<IpAddr>,
        /// Type of service, or traffic class.
        class: u8,
        /// TTL or hop limit; 0: the device's.
        ttl: u8,
        /// TUNNEL_… of the kernel's ip_tunnels.h, host byte order.
        flags: u16,
    },
    /// MPLS labels, the outermost first.
    Mpls(Vec<u32>),
    /// Identifier-locator addressing: the locator.
    Ila(u64),
}

/// One way of a route.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NextHop {
    /// The router.
    pub via: Option<IpAddr>,
    /// The device.
    pub dev: Option<String>,
    /// Its share among others, 1 to 256.
    pub weight: u16,
    /// The router is on the link, whatever its address says.
    pub onlink: bool,
    /// What its packets are put into.
    pub encap: Option<Encap>,
}

/// How a route comes in beside one of the same destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoutePlacement {
    /// In its place.
    Replace,
    /// Not at all.
    Add,
    /// Behind it.
    Append,
    /// Before it.
    Prepend,
}

/// A route, as `ip route` knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteSpec {
    /// Its line.
    pub text: String,
    /// Of its addresses.
    pub family: Family,
    /// RTN_…, as the kernel numbers them; 1 is unicast.
    pub kind: u8,
    /// Where to; nothing: everywhere.
    pub to: Option<Prefix>,
    /// For packets from there alone (IPv6).
    pub from: Option<Prefix>,
    /// The source address that it gives to the host's own packets.
    pub src: Option<IpAddr>,
    /// One, or several that share the load.
    pub next_hops: Vec<NextHop>,
    /// Its table.
    pub table: u32,
    /// The VRF whose table it is in, in place of that.
    pub vrf: Option<String>,
    /// Who made it; 18 is keepalived, and so are we.
    pub protocol: u8,
    /// Its scope, if written.
    pub scope: Option<u8>,
    /// Type of service.
    pub tos: u8,
    /// Its place among others of its destination; the least counts.
    pub metric: Option<u32>,
    /// RTAX_… and values.
    pub metrics: Vec<(u16, u32)>,
    /// Congestion control that connections along it have (RTAX_CC_ALGO).
    pub congestion: Option<String>,
    /// Numbers of realms: source and destination.
    pub realms: Option<(u16, u16)>,
    /// It goes by itself after so many seconds (IPv6).
    pub expires: Option<u32>,
    /// TTLs are carried into and out of MPLS.
    pub ttl_propagate: Option<bool>,
    /// IPv6's preference: 0 medium, 1 high, 3 low.
    pub preference: Option<u8>,
    /// Beside one of the same destination.
    pub placement: RoutePlacement,
    /// Whoever takes it out may (`no_track`).
    pub no_track: bool,
}

/// What a rule does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleAction {
    /// Look into this table.
    Table(u32),
    /// Go on at the rule of this preference.
    Goto(u32),
    /// Nothing.
    Nop,
    /// Drop it.
    Blackhole,
    /// Say that there is no way.
    Unreachable,
    /// Say that it is forbidden.
    Prohibit,
}

/// A rule, as `ip rule` knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleSpec {
    /// Its line.
    pub text: String,
    /// Of its addresses.
    pub family: Family,
    /// For all other packets.
    pub not: bool,
    /// From there.
    pub from: Option<Prefix>,
    /// To there.
    pub to: Option<Prefix>,
    /// In by this device.
    pub iif: Option<String>,
    /// Out by this one.
    pub oif: Option<String>,
    /// Type of service.
    pub tos: u8,
    /// Mark and mask.
    pub fwmark: Option<(u32, Option<u32>)>,
    /// IP protocol.
    pub ip_protocol: Option<u8>,
    /// Source ports, both ends included.
    pub sport: Option<(u16, u16)>,
    /// Destination ports.
    pub dport: Option<(u16, u16)>,
    /// Users, by number.
    pub uids: Option<(u32, u32)>,
    /// Routes with a prefix of this length or less do not count.
    pub suppress_prefix: Option<u32>,
    /// Routes by devices of this group do not count.
    pub suppress_group: Option<u32>,
    /// For packets that came by this tunnel.
    pub tunnel: Option<u64>,
    /// Numbers of realms: source and destination.
    pub realms: Option<(u16, u16)>,
    /// The VRF's table.
    pub l3mdev: bool,
    /// Its place among rules.
    pub preference: Option<u32>,
    /// Who made it.
    pub protocol: u8,
    /// What it does.
    pub action: RuleAction,
    /// Whoever takes it out may (`no_track`).
    pub no_track: bool,
}

impl fmt::Display for RouteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for RuleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
