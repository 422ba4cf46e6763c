//! Virtual services and real servers.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Check, ScriptCommand};

/// A layer-4 protocol that services speak.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// RFC 9293
    Tcp,
    /// RFC 768
    Udp,
}

impl Protocol {
    /// The IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// The protocol with this IP protocol number, if it is one that services speak.
    pub const fn from_number(n: u8) -> Option<Self> {
        match n {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        })
    }
}

/// What names a virtual service: IPVS's (protocol, address, port).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ServiceKey {
    /// Layer-4 protocol.
    pub protocol: Protocol,
    /// The virtual IP address.
    pub addr: Ipv4Addr,
    /// The virtual port; 0 takes every port and needs persistence.
    pub port: u16,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}", self.protocol, self.addr, self.port)
    }
}

/// What names a real server within its service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ServerKey {
    /// The real server's address.
    pub addr: Ipv4Addr,
    /// Its port; DR and TUN cannot map ports, so there it is the service's.
    pub port: u16,
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.addr, self.port)
    }
}

/// How a packet reaches its real server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ForwardingMethod {
    /// Direct routing: only the frame's destination changes. The other methods are parsed, and refused until the packet
    /// path has them.
    Dr,
}

impl ForwardingMethod {
    /// What `ipvsadm -L` prints in the column `Forward`.
    pub const fn ipvsadm_name(self) -> &'static str {
        match self {
            ForwardingMethod::Dr => "Route",
        }
    }
}

/// Which real server takes a new connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Weighted least connection.
    Wlc,
}

impl Scheduler {
    /// IPVS's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Scheduler::Rr => "rr",
            Scheduler::Wrr => "wrr",
            Scheduler::Wlc => "wlc",
        }
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scheduler {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        match s {
            "rr" => Ok(Scheduler::Rr),
            "wrr" => Ok(Scheduler::Wrr),
            "wlc" => Ok(Scheduler::Wlc),
            _ => Err(()),
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

/// One client's connections stay with one real server (`persistence_timeout`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Persistence {
    /// How long after its last new connection a client is remembered, in seconds.
    pub timeout_s: u32,
    /// Clients alike under this mask are one (`persistence_granularity`).
    pub mask: Ipv4Addr,
}

/// A `real_server` of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RealServer {
    /// Address and port as packets reach it (for DR: the service's port).
    pub key: ServerKey,
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
pub struct Sorry {
    /// Address and port.
    pub key: ServerKey,
    /// Forwarding method.
    pub method: ForwardingMethod,
    /// `sorry_server_inhibit`: while it is not needed it stays, with weight 0.
    pub inhibit: bool,
}

/// A `virtual_server` of the configuration, or one address of its group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualServer {
    /// What names it.
    pub key: ServiceKey,
    /// The `virtual_server_group` that it is an address of, and whether it is the one that speaks for it.
    pub group: Option<(String, bool)>,
    /// When it is up.
    pub quorum: Quorum,
    /// Who takes over when it is not.
    pub sorry: Option<Sorry>,
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
    /// Persistence, if configured.
    pub persistence: Option<Persistence>,
    /// Interval of health checks that set none of their own.
    pub delay_loop: Duration,
    /// In the order of the configuration.
    pub servers: Vec<RealServer>,
}
