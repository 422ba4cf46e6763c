//! The kernel's IPVS, as its generic-netlink interface and `/proc` show it: values, and how they are written and read.
//!
//! Source: `include/uapi/linux/ip_vs.h` and `net/netfilter/ipvs/ip_vs_ctl.c` of Linux 6.1; the exchanges that the tests
//! replay were recorded from such a kernel. Nothing here opens a socket; that is `evenkeel_sys::ipvs`.

mod attr;
mod convert;
pub mod message;
mod proc;
mod states;
pub mod sync;
mod table_model;

pub use proc::parse_connections;
pub use states::{is_active, state_name, state_number};
pub use table_model::TableModel;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Serialize;

use crate::model::Protocol;

/// IP_VS_SVC_F_PERSISTENT: a client stays with its server.
pub const SVC_F_PERSISTENT: u32 = 0x01;
/// IP_VS_SVC_F_HASHED: it is in the kernel's table; only ever in answers.
pub const SVC_F_HASHED: u32 = 0x02;
/// IP_VS_SVC_F_ONEPACKET: each datagram is a connection of its own.
pub const SVC_F_ONEPACKET: u32 = 0x04;
/// IP_VS_SVC_F_SCHED1: `sh-fallback`, `mh-fallback`, `flag-1`.
pub const SVC_F_SCHED1: u32 = 0x08;
/// IP_VS_SVC_F_SCHED2: `sh-port`, `mh-port`, `flag-2`.
pub const SVC_F_SCHED2: u32 = 0x10;
/// IP_VS_SVC_F_SCHED3: `flag-3`.
pub const SVC_F_SCHED3: u32 = 0x20;

/// What names a service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceId {
    /// Packets to an address.
    Address {
        /// Layer-4 protocol.
        protocol: Protocol,
        /// The virtual address.
        addr: IpAddr,
        /// The virtual port; 0: every port.
        port: u16,
    },
    /// Packets with a firewall mark.
    Fwmark {
        /// The mark, not 0.
        mark: u32,
        /// Of IPv6 packets.
        ipv6: bool,
    },
}

impl ServiceId {
    /// Is its family IPv6?
    pub fn is_ipv6(&self) -> bool {
        match self {
            ServiceId::Address { addr, .. } => addr.is_ipv6(),
            ServiceId::Fwmark { ipv6, .. } => *ipv6,
        }
    }

    /// Its port; 0 of a mark.
    pub fn port(&self) -> u16 {
        match self {
            ServiceId::Address { port, .. } => *port,
            ServiceId::Fwmark { .. } => 0,
        }
    }

    /// The netmask of a service that nothing is said of: the whole address.
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

/// A service, its servers apart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Service {
    /// Its name.
    pub id: ServiceId,
    /// The scheduler's name; `none` has none.
    pub scheduler: String,
    /// [`PERSISTENT`] and its like.
    pub flags: u32,
    /// How long a persistence template lives, seconds.
    pub timeout_s: u32,
    /// Which bits of a client's address count: for IPv4 the mask as a number, for IPv6 a prefix length.
    pub netmask: u32,
    /// The persistence engine's name, empty if there is none.
    pub persistence_engine: String,
}

impl Service {
    /// A service that nothing is said of but its name and scheduler.
    pub fn new(id: ServiceId, scheduler: &str) -> Service {
        let scheduler = scheduler.to_owned();
        Service { id, scheduler, flags: 0, timeout_s: 0, netmask: id.full_netmask(), persistence_engine: String::new() }
    }

    /// Is a flag set?
    pub fn has_flag(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// How packets reach a server (IP_VS_CONN_F_FWD_MASK).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FwdMethod {
    /// Network address translation.
    Masq,
    /// The server is this machine.
    Local,
    /// Through a tunnel.
    Tunnel,
    /// Direct routing.
    Route,
    /// To the packet's own destination (transparent caches).
    Bypass,
    /// A number that IPVS did not know when this was written.
    Unknown(u32),
}

impl FwdMethod {
    /// IPVS's number.
    pub const fn number(self) -> u32 {
        match self {
            FwdMethod::Masq => 0,
            FwdMethod::Local => 1,
            FwdMethod::Tunnel => 2,
            FwdMethod::Route => 3,
            FwdMethod::Bypass => 4,
            FwdMethod::Unknown(n) => n,
        }
    }

    /// From IPVS's number; the bits above the method are other flags.
    pub const fn from_number(n: u32) -> FwdMethod {
        match n & 7 {
            0 => FwdMethod::Masq,
            1 => FwdMethod::Local,
            2 => FwdMethod::Tunnel,
            3 => FwdMethod::Route,
            4 => FwdMethod::Bypass,
            n => FwdMethod::Unknown(n),
        }
    }
}

/// IP_VS_CONN_F_TUNNEL_TYPE_IPIP
pub const TUNNEL_TYPE_IPIP: u8 = 0;
/// IP_VS_CONN_F_TUNNEL_TYPE_GUE
pub const TUNNEL_TYPE_GUE: u8 = 1;
/// IP_VS_CONN_F_TUNNEL_TYPE_GRE
pub const TUNNEL_TYPE_GRE: u8 = 2;
/// IP_VS_TUNNEL_ENCAP_FLAG_CSUM
pub const TUNNEL_FLAG_CSUM: u16 = 1;
/// IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM
pub const TUNNEL_FLAG_REMCSUM: u16 = 2;

/// A real server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Dest {
    /// Its address; of another family than the service's only through a tunnel.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
    /// How packets reach it.
    pub method: FwdMethod,
    /// Its weight. The kernel refuses a negative one.
    pub weight: i32,
    /// [`IPIP`], [`GUE`] or [`GRE`].
    pub tunnel_type: u8,
    /// GUE's port.
    pub tunnel_port: u16,
    /// [`TUNNEL_CSUM`] and [`TUNNEL_REMCSUM`].
    pub tunnel_flags: u16,
    /// Upper threshold of connections; 0: none.
    pub u_threshold: u32,
    /// Lower threshold; 0: three quarters of the upper one.
    pub l_threshold: u32,
}

impl Dest {
    /// A server by direct routing with weight 1.
    pub fn new(addr: IpAddr, port: u16) -> Dest {
        Dest {
            addr,
            port,
            method: FwdMethod::Route,
            weight: 1,
            tunnel_type: TUNNEL_TYPE_IPIP,
            tunnel_port: 0,
            tunnel_flags: 0,
            u_threshold: 0,
            l_threshold: 0,
        }
    }
}

/// Numbers since the start or the last zeroing.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Stats {
    /// Connections scheduled.
    pub conns: u64,
    /// Packets to servers.
    pub in_packets: u64,
    /// Packets from servers.
    pub out_packets: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Their bytes.
    pub out_bytes: u64,
}

/// The same per second, averaged by the kernel's estimator.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Rates {
    /// Connections.
    pub cps: u64,
    /// Packets to servers.
    pub in_pps: u64,
    /// Packets from servers.
    pub out_pps: u64,
    /// Bytes to servers.
    pub in_bps: u64,
    /// Bytes from servers.
    pub out_bps: u64,
}

/// A service as it is in a table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServiceEntry {
    /// The service.
    #[serde(flatten)]
    pub service: Service,
    /// Numbers.
    pub stats: Stats,
    /// Numbers per second.
    pub rates: Rates,
}

/// A server as it is in a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct DestEntry {
    /// The server.
    #[serde(flatten)]
    pub dest: Dest,
    /// Active connections.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
    /// Numbers.
    pub stats: Stats,
    /// Numbers per second.
    pub rates: Rates,
}

/// How long idle connections live, seconds; 0 in a change leaves one as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Timeouts {
    /// TCP, established.
    pub tcp_s: u32,
    /// TCP after a FIN.
    pub tcpfin_s: u32,
    /// UDP.
    pub udp_s: u32,
}

/// Which end of connection synchronisation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncRole {
    /// Tells.
    Master,
    /// Listens.
    Backup,
}

impl SyncRole {
    /// IP_VS_STATE_MASTER, IP_VS_STATE_BACKUP
    pub const fn number(self) -> u32 {
        match self {
            SyncRole::Master => 1,
            SyncRole::Backup => 2,
        }
    }
}

impl fmt::Display for SyncRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SyncRole::Master => "master",
            SyncRole::Backup => "backup",
        })
    }
}

/// A daemon of connection synchronisation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SyncDaemon {
    /// Which end.
    pub role: SyncRole,
    /// The interface.
    pub interface: String,
    /// Tells groups of directors apart, 0 to 255; a backup with 0 hears all.
    pub syncid: u32,
    /// The longest datagram, bytes; `None`: by the interface's MTU.
    pub maxlen: Option<u16>,
    /// The multicast group; `None`: 224.0.0.81.
    pub group: Option<IpAddr>,
    /// The port; `None`: 8848.
    pub port: Option<u16>,
    /// The datagrams' time to live; `None`: 1.
    pub ttl: Option<u8>,
}

/// The group if none is named.
pub const SYNC_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 81);
/// The port if none is named.
pub const SYNC_PORT: u16 = 8848;

/// What IPVS says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct IpvsInfo {
    /// Its version, a byte for each number: 0x010201 is 1.2.1.
    pub version: u32,
    /// Buckets of its connection table; of a table without buckets, its entries.
    pub conn_tab_size: u32,
}

/// An entry of the connection table: a connection or a persistence template.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Connection {
    /// `TCP`, `UDP`, `SCTP`; `IP` for the template of a mark.
    pub protocol: String,
    /// The client; port 0 in a template.
    pub client: (IpAddr, u16),
    /// The virtual address; of the template of a mark, the mark as an address.
    pub service: (IpAddr, u16),
    /// The real server.
    pub dest: (IpAddr, u16),
    /// Its state.
    pub state: String,
    /// Seconds until it is forgotten, if nothing comes.
    pub expires_s: u64,
    /// The persistence engine and what it remembers.
    pub persistence_engine: Option<(String, String)>,
    /// A template: how many connections it holds, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controls: Option<u32>,
    /// The firewall mark that it came by, where that is known; else 0.
    #[serde(skip)]
    pub fwmark: u32,
}

impl Connection {
    /// Its protocol; `None` for the template of a mark.
    pub fn protocol(&self) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|p| p.as_str() == self.protocol)
    }

    /// The ports under which its service may stand: its own, FTP's for a data connection, every port (ip_vs_service_find()).
    pub fn candidate_service_ports(&self) -> [u16; 3] {
        [self.service.1, 21, 0]
    }

    /// Is it a persistence template? Only they have no client's port.
    pub fn is_template(&self) -> bool {
        self.client.1 == 0 && matches!(self.state.as_str(), "NONE" | "ASSURED")
    }
}

/// One change of a table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A service without servers.
    AddService(Service),
    /// All of it is replaced, its servers apart.
    EditService(Service),
    /// With its servers.
    RemoveService(ServiceId),
    /// At the head of the service's list.
    AddDest(ServiceId, Dest),
    /// All of it is replaced, thresholds included; it stays where it is in the list.
    EditDest(ServiceId, Dest),
    /// Only address and port count.
    RemoveDest(ServiceId, Dest),
    /// What is 0 stays as it is.
    SetTimeouts(Timeouts),
    /// Connection synchronisation begins.
    StartDaemon(SyncDaemon),
    /// It ends; only the role counts.
    StopDaemon(SyncDaemon),
    /// Numbers begin from 0 again: a service's and its servers', or all.
    Zero(Option<ServiceId>),
    /// All services go.
    Flush,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = |d: &Dest| SocketAddr::new(d.addr, d.port);
        match self {
            Change::AddService(s) => write!(f, "add service {} {}", s.id, s.scheduler),
            Change::EditService(s) => write!(f, "change service {} to {}", s.id, s.scheduler),
            Change::RemoveService(id) => write!(f, "remove service {id}"),
            Change::AddDest(id, d) => write!(f, "add {} to {id}, weight {}", server(d), d.weight),
            Change::EditDest(id, d) => write!(f, "change {} of {id}, weight {}", server(d), d.weight),
            Change::RemoveDest(id, d) => write!(f, "remove {} from {id}", server(d)),
            Change::SetTimeouts(t) => write!(f, "set the timeouts to {} {} {}", t.tcp_s, t.tcpfin_s, t.udp_s),
            Change::StartDaemon(d) => write!(f, "start the {} of connection synchronisation", d.role),
            Change::StopDaemon(d) => write!(f, "stop the {} of connection synchronisation", d.role),
            Change::Zero(None) => f.write_str("zero all numbers"),
            Change::Zero(Some(id)) => write!(f, "zero the numbers of {id}"),
            Change::Flush => f.write_str("remove all services"),
        }
    }
}
