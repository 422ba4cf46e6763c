//! The keys of virtual services and real servers, and the settings of a virtual service.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// A layer-4 protocol that a service can have.
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

    /// The protocol's name in services(5).
    pub const fn lowercase_name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// The protocol's name in upper case, as IPVS prints it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }

    /// The protocol with this IP protocol number, if a service can have it.
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

/// The key of a virtual service: (protocol, address, port), or a firewall mark.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The layer-4 protocol.
    pub protocol: Protocol,
    /// The virtual IP address.
    pub addr: IpAddr,
    /// The virtual port; 0: all ports, for persistent services only.
    pub port: u16,
    /// The firewall mark, or 0. With a firewall mark, the address is 0.0.0.0 or :: by the family of the packets, the port
    /// is 0, and the protocol is TCP and stands for all protocols.
    pub fwmark: u32,
}

impl ServiceKey {
    /// The service of packets to an address and port.
    pub const fn new(protocol: Protocol, addr: IpAddr, port: u16) -> ServiceKey {
        ServiceKey { protocol, addr, port, fwmark: 0 }
    }

    /// The service of packets with a firewall mark, which is not 0.
    pub const fn from_fwmark(mark: u32, ipv6: bool) -> ServiceKey {
        let addr = if ipv6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        ServiceKey { protocol: Protocol::Tcp, addr, port: 0, fwmark: mark }
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

/// The key of a real server within its service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ServerKey {
    /// The real server's address.
    pub addr: IpAddr,
    /// The real server's port. DR and TUN cannot map ports: there it is the service's port. 0: the packet's own port.
    pub port: u16,
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.addr, self.port).fmt(f)
    }
}

/// What happens to the connections of a real server that is removed from its service (`removed_server`, an extension of
/// evenkeel).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemovalPolicy {
    /// Their packets are dropped until the connections expire, as IPVS does.
    #[default]
    Drop,
    /// They continue for this many seconds. After that they are rejected.
    Drain(u32),
    /// They are rejected: the client gets a RST or port unreachable.
    Reject,
    /// Their next packet creates a new connection to another server, if it can (UDP, a SYN); otherwise they are rejected.
    Reschedule,
}

/// What identifies a persistent client besides its address (`persistence_engine`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PersistenceEngine {
    /// The Call-ID of SIP over UDP. Only the kernel's IPVS has it.
    Sip,
}

impl PersistenceEngine {
    /// IPVS's name of the engine.
    pub const fn name(self) -> &'static str {
        match self {
            PersistenceEngine::Sip => "sip",
        }
    }
}

/// Persistence: all connections of a client go to the same real server (`persistence_timeout`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Persistence {
    /// How long a client keeps its server after its last new connection, in seconds.
    pub timeout_s: u32,
    /// Addresses that are equal under this mask are one client (`persistence_granularity`). It has the service's family.
    pub mask: IpAddr,
}

/// A rule that gives packets a firewall mark by their destination (the keyword `member`, an extension of evenkeel).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct MarkRule {
    /// The first address.
    pub first: IpAddr,
    /// The last address, of the same family and not less than the first.
    pub last: IpAddr,
    /// The protocol; `None`: any that a service can have.
    pub protocol: Option<Protocol>,
    /// The first and the last port. AH and ESP count as UDP port 500.
    pub ports: (u16, u16),
}
