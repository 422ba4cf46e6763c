//! The oracle: a reference model of the packet path in plain Rust. It decides which real server a packet goes to, what
//! happens to the packet's connection, and what is counted. `tests/conformance/oracle.rs` compares the packet path in the
//! kernel with it, packet by packet over random histories.
//!
//! The model is written to be read. It stores nothing compactly, works on no bytes but in [`frame`], and takes the time in
//! whole seconds as an argument. It leaves out what depends on chance (the scheduler twos), on lack of room (a full
//! connection table), and what is not a decision: frame addresses, tunnels, fragments, ICMP errors. Tests of their own
//! compare those byte for byte.
//!
//! | question | file |
//! | --- | --- |
//! | Which packet is in this frame? | `frame.rs` |
//! | Which service is a packet for, and which server does the scheduler select? | `services.rs` |
//! | When is a connection created, reused, expired? | `connections.rs` |
//! | Which server does a persistent client get? | `templates.rs` |
//! | What happens to a packet of a removed server? | `removal.rs` |
//! | Which connection does a reply of a NAT server belong to? | `replies.rs` |
//! | Which state and timeout does a packet lead to? | `states.rs` |

mod connections;
pub mod frame;
mod removal;
mod replies;
mod services;
pub mod states;
mod templates;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use connections::{Conn, ConnKey};
pub use services::{ConnCounts, Dest};

use crate::model::{MarkRule, Protocol, ServerKey, ServiceKey, Tuning};
use services::Service;
use states::Direction;
use templates::Template;

/// Address and port.
pub type Endpoint = (IpAddr, u16);

/// The fields of a packet that decisions depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Layer-4 protocol.
    pub protocol: Protocol,
    /// Source.
    pub src: Endpoint,
    /// Destination.
    pub dst: Endpoint,
    /// The flags of a TCP segment, or the type of an SCTP packet's first chunk.
    pub event: u8,
}

/// What the validation of a packet's headers says (ip_rcv_core(), ip_rcv_options(), ip6_rcv_core()).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderCheck {
    /// The headers are valid.
    Valid,
    /// The packet creates no connection, changes the state of none, and causes no error.
    Invalid,
    /// The packet's IPv4 options have a source route or are malformed: the kernel decides.
    ForKernel,
}

impl Packet {
    /// Whether the packet may change the state of its connection by itself. Others only refresh it.
    fn is_state_event(&self) -> bool {
        match self.protocol {
            Protocol::Tcp => self.event & 7 != 0,
            Protocol::Udp => false,
            Protocol::Sctp => matches!(self.event, 1 | 2 | 6..=11 | 14),
        }
    }

    /// Whether the source names a single other host. Other packets create no connection (RFC 1812, 5.3.7).
    fn is_from_single_host(&self) -> bool {
        let source = self.src.0;
        let is_reserved = match source {
            IpAddr::V4(a) => matches!(a.octets()[0], 0 | 127 | 224..),
            IpAddr::V6(a) => a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.to_ipv4_mapped().is_some(),
        };
        !is_reserved && source != self.dst.0
    }
}

/// What the packet path does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketVerdict {
    /// The packet is passed to the kernel unchanged.
    Pass,
    /// The packet is forwarded to this real server.
    Forward(ServerKey),
    /// The packet is a reply; it is sent on with this source, the service's.
    Reply(Endpoint),
    /// The sender gets an ICMP error: port unreachable.
    Unreachable,
    /// The sender gets a RST.
    Reset,
    /// The packet is dropped.
    Drop,
}

/// A destination: its service, and its index in [`Service::dests`].
type DestRef = (ServiceKey, usize);

/// The packet path of a director.
#[derive(Default)]
pub struct Oracle {
    services: BTreeMap<ServiceKey, Service>,
    conns: BTreeMap<ConnKey, Conn>,
    /// By number, so that a template that no client finds any more keeps its connections.
    templates: BTreeMap<u64, Template>,
    next_template: u64,
    /// The destinations that a reply with this source may come from, newest first: replies are tried in this order.
    nat_dests: BTreeMap<(Protocol, IpAddr, u16), Vec<DestRef>>,
    /// Reply tuples of connections of services on a firewall mark, and of destinations that `nat_dests` does not have:
    /// (protocol, client, real server). The newest connection with a tuple has it.
    reply_tuples: BTreeMap<(Protocol, Endpoint, Endpoint), ConnKey>,
    /// The rules that give packets a firewall mark; the first rule that matches applies.
    pub mark_rules: Vec<(u32, MarkRule)>,
    /// Settings of the whole data plane.
    pub tuning: Tuning,
}

impl Oracle {
    /// Processes a packet with valid headers. `now` is in seconds.
    pub fn handle_packet(&mut self, p: &Packet, now: u64) -> PacketVerdict {
        self.handle_checked_packet(p, HeaderCheck::Valid, now)
    }

    /// Processes a packet whose headers were validated. Data of a known connection is forwarded in any case.
    pub fn handle_checked_packet(&mut self, p: &Packet, check: HeaderCheck, now: u64) -> PacketVerdict {
        let key = (p.protocol, p.src, p.dst);
        let is_concerned = match self.find_service(p) {
            Some(_) => p.is_state_event() || !self.conns.contains_key(&key),
            None => p.is_state_event() && self.find_conn_of_reply(p).is_some(),
        };
        match check {
            HeaderCheck::Invalid if is_concerned => return PacketVerdict::Drop,
            HeaderCheck::ForKernel if is_concerned => return PacketVerdict::Pass,
            _ => {}
        }
        match self.find_service(p) {
            Some(service) => self.handle_request(service, p, now),
            None => self.handle_reply(p, now),
        }
    }

    /// A packet to a service.
    fn handle_request(&mut self, service: ServiceKey, p: &Packet, now: u64) -> PacketVerdict {
        let key = (p.protocol, p.src, p.dst);
        if let Some(conn) = self.conns.get(&key).cloned()
            && self.is_reuse(p, &conn)
        {
            self.remove_conn(&key);
        }
        if let Some(conn) = self.conns.get(&key).cloned() {
            if let Some(server) = self.usable_server(&conn, now) {
                self.update_state(&key, Direction::Input, p.event, now);
                return PacketVerdict::Forward(server);
            }
            if let Some(verdict) = self.dest_unavailable(&key, &conn, p) {
                return verdict;
            }
        }
        if !p.is_from_single_host() {
            return PacketVerdict::Drop;
        }
        if !self.may_create(p) {
            return PacketVerdict::Pass;
        }
        self.create_conn(service, p, now)
    }

    /// Removes the connections and templates that have expired at `now`.
    pub fn expire(&mut self, now: u64) {
        self.expire_conns(now);
        self.expire_templates(now);
    }

    /// The destinations in the list of a service, newest first.
    pub fn dests(&self, service: ServiceKey) -> Vec<Dest> {
        let s = self.services.get(&service);
        s.map_or_else(Vec::new, |s| s.list.iter().map(|n| s.dests[*n].clone()).collect())
    }

    /// Every connection: its key, its server, the number of its state.
    pub fn conns(&self) -> Vec<(ConnKey, ServerKey, u32)> {
        let server = |c: &Conn| self.services.get(&c.dest.0).map(|s| s.dests[c.dest.1].key);
        self.conns.iter().filter_map(|(k, c)| Some((*k, server(c)?, c.state))).collect()
    }

    fn dest_mut(&mut self, (service, n): DestRef) -> Option<&mut Dest> {
        self.services.get_mut(&service)?.dests.get_mut(n)
    }
}
