//! Routes and routing rules: those that a master adds, and static ones.

use std::fmt;
use std::net::IpAddr;

use super::Family;

/// A network: an address and a prefix length.
pub type Prefix = (IpAddr, u8);

/// The encapsulation of a next hop (lightweight tunnel).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Encap {
    /// IPv4 or IPv6, through a tunnel device that takes the remote end from the route.
    Ip {
        /// The outer header is IPv6.
        ipv6: bool,
        /// The tunnel key.
        id: Option<u64>,
        /// The remote end.
        dst: Option<IpAddr>,
        /// The local end.
        src: Option<IpAddr>,
        /// Type of service, or traffic class.
        class: u8,
        /// TTL or hop limit; 0: that of the device.
        ttl: u8,
        /// TUNNEL_… of the kernel's ip_tunnels.h, host byte order.
        flags: u16,
    },
    /// MPLS labels, outermost first.
    Mpls(Vec<u32>),
    /// Identifier-locator addressing with this locator.
    Ila(u64),
}

/// A next hop of a route.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NextHop {
    /// The gateway.
    pub via: Option<IpAddr>,
    /// The device.
    pub dev: Option<String>,
    /// The weight among several next hops, 1 to 256.
    pub weight: u16,
    /// The gateway is on the link even if no route says so.
    pub onlink: bool,
    /// The encapsulation of packets.
    pub encap: Option<Encap>,
}

/// The routing protocol of the daemon's routes and rules (RTPROT_KEEPALIVED of linux/rtnetlink.h), unless the file has
/// another one. It tells them from those of others, also after a restart.
pub const RTPROT_KEEPALIVED: u8 = 18;

/// What happens if a route to the same destination exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoutePlacement {
    /// The new route is not added.
    Add,
    /// The new route is added after it.
    Append,
    /// The new route is added before it.
    Prepend,
}

/// A route with the options of `ip route`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteSpec {
    /// The line of the configuration.
    pub text: String,
    /// The address family.
    pub family: Family,
    /// The route type by the kernel's numbers (RTN_…); 1 is unicast.
    pub kind: u8,
    /// The destination; `None`: the default route.
    pub to: Option<Prefix>,
    /// The source prefix of packets that use the route (IPv6).
    pub from: Option<Prefix>,
    /// The preferred source address of the host's own packets.
    pub src: Option<IpAddr>,
    /// The next hops; several share the load.
    pub next_hops: Vec<NextHop>,
    /// The routing table.
    pub table: u32,
    /// The VRF whose table has the route instead.
    pub vrf: Option<String>,
    /// The origin of the route (RTPROT_…); 18 is keepalived, and evenkeel uses it too.
    pub protocol: u8,
    /// The scope, if configured.
    pub scope: Option<u8>,
    /// Type of service.
    pub tos: u8,
    /// The metric: the route with the least metric is used.
    pub metric: Option<u32>,
    /// Metrics: RTAX_… and the value.
    pub metrics: Vec<(u16, u32)>,
    /// The congestion control of connections over the route (RTAX_CC_ALGO).
    pub congestion: Option<String>,
    /// The realms of source and destination.
    pub realms: Option<(u16, u16)>,
    /// The lifetime in seconds (IPv6).
    pub expires: Option<u32>,
    /// The TTL is copied into and out of MPLS.
    pub ttl_propagate: Option<bool>,
    /// The preference of an IPv6 router (RFC 4191): 0 medium, 1 high, 3 low.
    pub preference: Option<u8>,
    /// What happens if a route to the same destination exists.
    pub placement: RoutePlacement,
    /// A master does not react if others remove the route (`no_track`).
    pub no_track: bool,
}

/// What a rule does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleAction {
    /// Look up this table.
    Table(u32),
    /// Continue at the rule with this preference.
    Goto(u32),
    /// Do nothing.
    Nop,
    /// Drop it.
    Blackhole,
    /// Reject it: network unreachable.
    Unreachable,
    /// Reject it: administratively prohibited.
    Prohibit,
}

/// A rule with the options of `ip rule`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleSpec {
    /// The line of the configuration.
    pub text: String,
    /// The address family.
    pub family: Family,
    /// The rule applies to packets that do not match.
    pub not: bool,
    /// The source prefix.
    pub from: Option<Prefix>,
    /// The destination prefix.
    pub to: Option<Prefix>,
    /// The incoming device.
    pub iif: Option<String>,
    /// The outgoing device.
    pub oif: Option<String>,
    /// Type of service.
    pub tos: u8,
    /// The firewall mark and its mask.
    pub fwmark: Option<(u32, Option<u32>)>,
    /// IP protocol.
    pub ip_protocol: Option<u8>,
    /// The first and last source port.
    pub sport: Option<(u16, u16)>,
    /// The first and last destination port.
    pub dport: Option<(u16, u16)>,
    /// The first and last user ID.
    pub uids: Option<(u32, u32)>,
    /// Routes with a prefix of at most this length are ignored.
    pub suppress_prefix: Option<u32>,
    /// Routes over devices of this group are ignored.
    pub suppress_group: Option<u32>,
    /// The key of the tunnel that the packet came through.
    pub tunnel: Option<u64>,
    /// The realms of source and destination.
    pub realms: Option<(u16, u16)>,
    /// Look up the table of the packet's VRF.
    pub l3mdev: bool,
    /// The preference of the rule.
    pub preference: Option<u32>,
    /// The origin of the rule (RTPROT_…).
    pub protocol: u8,
    /// The action.
    pub action: RuleAction,
    /// A master does not react if others remove the rule (`no_track`).
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
