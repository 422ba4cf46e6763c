//! Virtual services and real servers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Check, ScriptCommand};
use crate::discovery::NameQuery;
use crate::schedulers::{Scheduler, SchedulerFlags};

/// A layer-4 protocol that services speak.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// RFC 9293
    Tcp,
    /// RFC 768
    Udp,
    /// RFC 9260
    Sctp,
}

impl Protocol {
    /// The IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// Its name in services(5).
    pub const fn lowercase_name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// In capitals, as IPVS prints it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }

    /// The protocol with this IP protocol number, if it is one that services speak.
    pub const fn from_number(n: u8) -> Option<Self> {
        match n {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            132 => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What names a virtual service: IPVS's (protocol, address, port), or a firewall mark.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ServiceKey {
    /// Layer-4 protocol.
    pub protocol: Protocol,
    /// The virtual IP address.
    pub addr: IpAddr,
    /// The virtual port; 0 takes every port and needs persistence.
    pub port: u16,
    /// 0; or the firewall mark of the packets. Then the address is 0.0.0.0 or ::, for the packets' family, the port 0, and
    /// the protocol TCP, which stands for all.
    pub fwmark: u32,
}

impl ServiceKey {
    /// Packets to an address.
    pub const fn new(protocol: Protocol, addr: IpAddr, port: u16) -> ServiceKey {
        ServiceKey { protocol, addr, port, fwmark: 0 }
    }

    /// Packets with a firewall mark, not 0.
    pub const fn from_fwmark(fwmark: u32, ipv6: bool) -> ServiceKey {
        let addr = if ipv6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        ServiceKey { protocol: Protocol::Tcp, addr, port: 0, fwmark }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fwmark {
            0 => write!(f, "{} {}", self.protocol, SocketAddr::new(self.addr, self.port)),
            mark if self.addr.is_ipv6() => write!(f, "FWM {mark} IPv6"),
            mark => write!(f, "FWM {mark}"),
        }
    }
}

/// What names a real server within its service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ServerKey {
    /// The real server's address.
    pub addr: IpAddr,
    /// Its port; DR and TUN cannot map ports, so there it is the service's. 0: the packet's own.
    pub port: u16,
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.addr, self.port).fmt(f)
    }
}

/// What stands between the outer and the inner header of a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelKind {
    /// Nothing (RFC 2003, RFC 4213, RFC 2473).
    #[default]
    Ipip,
    /// Generic UDP encapsulation, to this port.
    Gue(u16),
    /// Generic routing encapsulation (RFC 2784), without key and sequence number.
    Gre,
}

/// Which checksum GRE and GUE carry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelChecksum {
    /// None.
    #[default]
    None,
    /// Over everything.
    Full,
    /// GUE's remote checksum offload, which of whole checksums makes plain ones.
    Remote,
}

/// How packets are wrapped on their way to a real server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Tunnel {
    /// The encapsulation.
    pub kind: TunnelKind,
    /// Its checksum.
    pub checksum: TunnelChecksum,
}

/// How a packet reaches its real server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ForwardingMethod {
    /// Address and port are translated, and back in the answers, which pass this director.
    Nat,
    /// Direct routing: only the frame's destination changes.
    Dr,
    /// The packet as it is, behind a header of its own.
    Tun(Tunnel),
}

impl ForwardingMethod {
    /// What `ipvsadm -L` prints in the column `Forward`.
    pub const fn ipvsadm_name(self) -> &'static str {
        match self {
            ForwardingMethod::Nat => "Masq",
            ForwardingMethod::Dr => "Route",
            ForwardingMethod::Tun(_) => "Tunnel",
        }
    }

    /// Can the real server's port be another than the service's?
    pub const fn may_map_ports(self) -> bool {
        matches!(self, ForwardingMethod::Nat)
    }
}

impl fmt::Display for ForwardingMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |t: &Tunnel| match t.checksum {
            TunnelChecksum::None => "",
            TunnelChecksum::Full => ", checksum",
            TunnelChecksum::Remote => ", remote checksum",
        };
        match self {
            ForwardingMethod::Nat => f.pad("NAT"),
            ForwardingMethod::Dr => f.pad("DR"),
            ForwardingMethod::Tun(t) => match t.kind {
                TunnelKind::Ipip => f.pad("TUN"),
                TunnelKind::Gre => f.pad(&format!("TUN (gre{})", sum(t))),
                TunnelKind::Gue(port) => f.pad(&format!("TUN (gue to {port}{})", sum(t))),
            },
        }
    }
}

/// A real server's weight, 0 to 2^31 - 1; 0 is quiesced: no new connection, the old ones go on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Weight(u32);

impl Weight {
    /// No new connections.
    pub const QUIESCED: Weight = Weight(0);
    /// keepalived's and ipvsadm's default.
    pub const DEFAULT: Weight = Weight(1);

    /// `None` above 2^31 - 1, which the kernel refuses too (ip_vs_add_dest(): ERANGE).
    pub const fn new(w: u32) -> Option<Self> {
        if w <= i32::MAX as u32 { Some(Weight(w)) } else { None }
    }

    /// As a number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What becomes of the connections of a real server that leaves its service (`removed_server`, an addition of ours).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemovalPolicy {
    /// Their packets are dropped until they end: IPVS's way.
    #[default]
    Drop,
    /// They go on for so many seconds, then they are rejected.
    Drain(u32),
    /// Their clients are told, by a RST or by port unreachable.
    Reject,
    /// Their next packet begins anew at another server if it can (UDP, a SYN); else it is rejected.
    Reschedule,
}

/// What tells clients apart besides their address (`persistence_engine`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PersistenceEngine {
    /// The Call-ID of SIP over UDP; the kernel's IPVS has it.
    Sip,
}

impl PersistenceEngine {
    /// IPVS's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            PersistenceEngine::Sip => "sip",
        }
    }
}

/// One client's connections stay with one real server (`persistence_timeout`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Persistence {
    /// How long after its last new connection a client is remembered, in seconds.
    pub timeout_s: u32,
    /// Clients alike under this mask are one (`persistence_granularity`); of the service's family.
    pub mask: IpAddr,
}

/// A `real_server` of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RealServer {
    /// Address and port as packets reach it (for DR: the service's port).
    pub key: ServerKey,
    /// The name that it is an address of, if the file has a name.
    pub name: Option<String>,
    /// Weight while it is healthy.
    pub weight: Weight,
    /// Forwarding method.
    pub method: ForwardingMethod,
    /// No new connections at this many; 0: no limit.
    pub u_threshold: u32,
    /// New connections again below this many; 0: at three quarters of the upper one.
    pub l_threshold: u32,
    /// A failed check sets weight 0 instead of removing it.
    pub inhibit_on_failure: bool,
    /// It counts as dead until its first successful check.
    pub alpha: bool,
    /// An operator's order: no new connections, whatever its weight.
    pub drained: bool,
    /// Runs when it comes up.
    pub notify_up: Option<ScriptCommand>,
    /// Runs when it goes down.
    pub notify_down: Option<ScriptCommand>,
    /// Mail is sent when it goes down or comes back.
    pub mail: bool,
    /// Its health checks; it lives only if none fails.
    pub checks: Vec<Check>,
}

/// A `real_server` of the configuration that is a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedServer {
    /// The name.
    pub query: NameQuery,
    /// The port that is written with it.
    pub port: Option<u16>,
    /// What each of its addresses is like; its own address means nothing.
    pub prototype: RealServer,
}

/// The names among a service's real servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedServers {
    /// They.
    pub servers: Vec<NamedServer>,
    /// The quorum as it is written, whatever can be reached.
    pub configured_quorum: Quorum,
}

/// When a service counts as up, by the weights of its healthy real servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quorum {
    /// `quorum`: so much weight must be there.
    pub weight: u32,
    /// `hysteresis`: so much more for it to be reached, so much less for it to be lost; less than `weight`.
    pub hysteresis: u32,
}

/// A `sorry_server`: it takes the connections while the quorum is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SorryServer {
    /// Address and port.
    pub key: ServerKey,
    /// Forwarding method.
    pub method: ForwardingMethod,
    /// `sorry_server_inhibit`: while it is not needed it stays, with weight 0.
    pub inhibit: bool,
}

/// Packets that get a firewall mark of us, by where they go to (`member`, an addition of ours).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct MarkRule {
    /// The first address.
    pub first: IpAddr,
    /// The last one, of the same family and not before the first.
    pub last: IpAddr,
    /// Their protocol; `None` for any that services speak.
    pub protocol: Option<Protocol>,
    /// Their first and last port; AH and ESP count as UDP port 500.
    pub ports: (u16, u16),
}

/// A `virtual_server` of the configuration, or one address of its group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualServer {
    /// What names it.
    pub key: ServiceKey,
    /// The `virtual_server_group` that it is an address of, and whether it is the one that speaks for it.
    pub group: Option<(String, bool)>,
    /// Of a service on a firewall mark: the packets that get it; of those of several services, the first one's.
    pub mark_rules: Vec<MarkRule>,
    /// When it is up.
    pub quorum: Quorum,
    /// Who takes over when it is not.
    pub sorry_server: Option<SorryServer>,
    /// It counts as down until its first good check.
    pub alpha: bool,
    /// At stop it is told as going down.
    pub omega: bool,
    /// It is checked only while its address is on this director.
    pub ha_suspend: bool,
    /// Runs when the quorum is reached.
    pub quorum_up: Option<ScriptCommand>,
    /// Runs when it is lost.
    pub quorum_down: Option<ScriptCommand>,
    /// Mail is sent of that.
    pub mail: bool,
    /// Scheduler.
    pub scheduler: Scheduler,
    /// What it is told besides.
    pub scheduler_flags: SchedulerFlags,
    /// `ops`: each UDP packet is a connection of its own.
    pub one_packet: bool,
    /// Persistence, if configured.
    pub persistence: Option<Persistence>,
    /// What it tells clients apart by.
    pub persistence_engine: Option<PersistenceEngine>,
    /// What becomes of the connections of a real server that leaves.
    pub removal_policy: RemovalPolicy,
    /// Interval of health checks that set none of their own.
    pub delay_loop: Duration,
    /// In the order of the configuration.
    pub servers: Vec<RealServer>,
    /// Real servers by name, which are not among those until they have been looked up.
    pub named_servers: Option<Box<NamedServers>>,
}
