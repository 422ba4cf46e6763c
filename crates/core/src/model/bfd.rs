//! BFD sessions, as configured.

use std::net::IpAddr;
use std::time::Duration;

/// A `bfd_instance`: a session with a neighbour (RFC 5880).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BfdInstance {
    /// Its name.
    pub name: String,
    /// The neighbour.
    pub neighbour: IpAddr,
    /// Our address; the kernel's choice if there is none.
    pub source: Option<IpAddr>,
    /// Packets may come so far apart at the least (bfd.RequiredMinRxInterval).
    pub min_rx: Duration,
    /// Packets are sent so far apart at the least while the session is up (bfd.DesiredMinTxInterval).
    pub min_tx: Duration,
    /// The same while it is not up; at least a second (RFC 5880, 6.8.3).
    pub idle_tx: Duration,
    /// The neighbour may miss so many of our packets (bfd.DetectMult), 1 to 255.
    pub multiplier: u8,
    /// It is the neighbour who begins (RFC 5880, 6.1).
    pub passive: bool,
    /// TTL or hop limit of what is sent.
    pub ttl: u8,
    /// How far that of what comes may have fallen; `None`: as far as it likes.
    pub max_hops: Option<u8>,
    /// The neighbour is behind routers: port 4784 (RFC 5883).
    pub multihop: bool,
    /// Virtual routers are told of it.
    pub notifies_vrrp: bool,
    /// Health checks are told of it.
    pub notifies_checks: bool,
}
