//! A service in IPVS's terms.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::{Rates, Stats};
use crate::model::Protocol;

/// IP_VS_SVC_F_PERSISTENT: the service is persistent.
pub const SVC_F_PERSISTENT: u32 = 0x01;
/// IP_VS_SVC_F_HASHED: the service is in the kernel's table. Only replies have this flag.
pub const SVC_F_HASHED: u32 = 0x02;
/// IP_VS_SVC_F_ONEPACKET: each datagram is a connection of its own.
pub const SVC_F_ONEPACKET: u32 = 0x04;
/// IP_VS_SVC_F_SCHED1: `sh-fallback`, `mh-fallback`, `flag-1`.
pub const SVC_F_SCHED1: u32 = 0x08;
/// IP_VS_SVC_F_SCHED2: `sh-port`, `mh-port`, `flag-2`.
pub const SVC_F_SCHED2: u32 = 0x10;
/// IP_VS_SVC_F_SCHED3: `flag-3`.
pub const SVC_F_SCHED3: u32 = 0x20;

/// The key of a service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceId {
    /// Packets to an address.
    Address {
        /// The layer-4 protocol.
        protocol: Protocol,
        /// The virtual address.
        addr: IpAddr,
        /// The virtual port; 0: all ports.
        port: u16,
    },
    /// Packets with a firewall mark.
    Fwmark {
        /// The firewall mark, not 0.
        mark: u32,
        /// IPv6 packets, not IPv4 packets.
        ipv6: bool,
    },
}

impl ServiceId {
    /// Whether the service is for IPv6 packets.
    pub fn is_ipv6(&self) -> bool {
        match self {
            ServiceId::Address { addr, .. } => addr.is_ipv6(),
            ServiceId::Fwmark { ipv6, .. } => *ipv6,
        }
    }

    /// The port; 0 for a firewall mark.
    pub fn port(&self) -> u16 {
        match self {
            ServiceId::Address { port, .. } => *port,
            ServiceId::Fwmark { .. } => 0,
        }
    }

    /// The default netmask of a service: the full address.
    pub fn full_netmask(&self) -> u32 {
        if self.is_ipv6() { 128 } else { u32::MAX }
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceId::Address { protocol, addr, port } => write!(f, "{protocol} {}", SocketAddr::new(*addr, *port)),
            ServiceId::Fwmark { mark, ipv6: false } => write!(f, "FWM {mark}"),
            ServiceId::Fwmark { mark, ipv6: true } => write!(f, "FWM {mark} IPv6"),
        }
    }
}

/// A service without its destinations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Service {
    /// The key.
    pub id: ServiceId,
    /// The scheduler's name; `none`: no scheduler.
    pub scheduler: String,
    /// Flags: [`SVC_F_PERSISTENT`] and the others.
    pub flags: u32,
    /// The timeout of a persistence template, in seconds.
    pub timeout_s: u32,
    /// The bits of a client's address that persistence compares: a mask for IPv4, a prefix length for IPv6.
    pub netmask: u32,
    /// The name of the persistence engine; empty if there is none.
    pub persistence_engine: String,
}

impl Service {
    /// A service with default settings.
    pub fn new(id: ServiceId, scheduler: &str) -> Service {
        let scheduler = scheduler.to_owned();
        let (netmask, persistence_engine) = (id.full_netmask(), String::new());
        Service { id, scheduler, flags: 0, timeout_s: 0, netmask, persistence_engine }
    }

    /// Whether one of these flags is set.
    pub fn has_flag(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// A service in a table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServiceEntry {
    /// The service.
    #[serde(flatten)]
    pub service: Service,
    /// Statistics.
    pub stats: Stats,
    /// Rates.
    pub rates: Rates,
}
