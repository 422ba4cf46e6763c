//! BFD sessions as configured.

use std::net::IpAddr;
use std::time::Duration;

/// A `bfd_instance`: a BFD session with a neighbour (RFC 5880).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BfdInstance {
    /// The session's name.
    pub name: String,
    /// The neighbour's address.
    pub neighbour: IpAddr,
    /// The local address; `None`: the kernel selects it.
    pub source: Option<IpAddr>,
    /// The minimum interval of received packets (bfd.RequiredMinRxInterval).
    pub min_rx: Duration,
    /// The minimum interval of sent packets while the session is up (bfd.DesiredMinTxInterval).
    pub min_tx: Duration,
    /// The minimum interval of sent packets while the session is not up; at least a second (RFC 5880, 6.8.3).
    pub idle_tx: Duration,
    /// The detection multiplier, 1 to 255: how many packets the neighbour may miss (bfd.DetectMult).
    pub multiplier: u8,
    /// The passive role: the neighbour sends the first packet (RFC 5880, 6.1).
    pub passive: bool,
    /// The TTL or hop limit of sent packets.
    pub ttl: u8,
    /// How many hops a received packet may have passed, by its TTL; `None`: any number.
    pub max_hops: Option<u8>,
    /// The neighbour is behind routers: port 4784 (RFC 5883).
    pub multihop: bool,
    /// VRRP instances track the session.
    pub notifies_vrrp: bool,
    /// Health checks use the session.
    pub notifies_checks: bool,
}
