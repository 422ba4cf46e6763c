//! How adverts are sent: destinations, transport, checksums, and the adverts that release mastership.

use std::net::IpAddr;
use std::time::Duration;

/// How adverts are encapsulated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// IP protocol 112 over IPv4.
    Ipv4,
    /// IPv4 with an authentication header, IP protocol 51.
    Ipv4Ah,
    /// IP protocol 112 over IPv6.
    Ipv6,
}

/// The destination of an instance's adverts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AdvertDestination {
    /// This multicast group, with TTL 255 (RFC 9568, 5.1.1.2 and 5.1.1.3).
    Multicast(IpAddr),
    /// Each peer separately, for networks without multicast (`unicast_peer`).
    Unicast(UnicastConfig),
}

/// `unicast_peer` and its options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnicastConfig {
    /// The peers, in the order of the configuration.
    pub peers: Vec<UnicastPeer>,
    /// The TTL of own adverts.
    pub ttl: u8,
    /// Adverts of other senders than the peers are rejected.
    pub known_peers_only: bool,
}

/// A peer of `unicast_peer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnicastPeer {
    /// The peer's address.
    pub addr: IpAddr,
    /// The least TTL that its adverts may arrive with.
    pub min_ttl: u8,
    /// The greatest TTL that its adverts may arrive with.
    pub max_ttl: u8,
}

/// `old_unicast_checksum`: the checksum of unicast adverts of version 3 as keepalived up to 1.3.6 computes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OldUnicastChecksum {
    /// Sent to the peers that send it.
    Detected,
    /// Sent to all peers.
    Always,
    /// Neither sent nor accepted.
    Never,
}

/// The release interval: what a master sends immediately before priority 0, so that backups wait for less than their skew
/// time (`release_interval`, an extension of evenkeel).
///
/// In version 3, the master sends an advert with this interval. Backups adopt the interval, so that their skew time is at
/// most as long (RFC 9568, 6.4.2 (430) and 6.1). In version 2, intervals are whole seconds and have to agree. There the
/// master sends priority 0 twice. An evenkeel that receives it twice knows that the master does not only pause, and waits
/// for its share of [`ReleaseIntervals::SHORT`], whatever is configured; other programs wait as usual.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReleaseIntervals {
    /// At a stop and at a fault.
    pub on_stop: Option<Duration>,
    /// When the worker process dies and the supervisor resigns for it.
    pub on_crash: Option<Duration>,
}

impl ReleaseIntervals {
    /// Without `release_interval`. An orderly stop sends the same bytes as keepalived's. A crash may send more, because
    /// keepalived sends nothing at all then.
    pub const DEFAULT: ReleaseIntervals = ReleaseIntervals { on_stop: None, on_crash: Some(ReleaseIntervals::SHORT) };

    /// Short for every priority, while two backups whose priorities differ by ten are still 2 ms apart.
    pub const SHORT: Duration = Duration::from_millis(50);
}
