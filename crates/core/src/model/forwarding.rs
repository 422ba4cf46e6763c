//! Forwarding methods: how a packet reaches its real server.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The encapsulation of a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelKind {
    /// IP in IP, without another header (RFC 2003, RFC 4213, RFC 2473).
    #[default]
    Ipip,
    /// Generic UDP encapsulation to this port.
    Gue(u16),
    /// Generic routing encapsulation (RFC 2784), without key and sequence number.
    Gre,
}

/// The checksum of GRE and GUE.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelChecksum {
    /// No checksum.
    #[default]
    None,
    /// A checksum of the whole payload.
    Full,
    /// GUE's remote checksum offload.
    Remote,
}

/// How packets are encapsulated on the way to a real server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Tunnel {
    /// The encapsulation.
    pub kind: TunnelKind,
    /// The checksum.
    pub checksum: TunnelChecksum,
}

/// How a packet reaches its real server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ForwardingMethod {
    /// Network address translation: destination address and port are translated, and translated back in replies, which
    /// pass this director.
    Nat,
    /// Direct routing: only the frame's destination MAC address changes.
    Dr,
    /// Tunnelling: the unchanged packet is encapsulated.
    Tun(Tunnel),
}

impl ForwardingMethod {
    /// The name in the column `Forward` of `ipvsadm -L`.
    pub const fn ipvsadm_name(self) -> &'static str {
        match self {
            ForwardingMethod::Nat => "Masq",
            ForwardingMethod::Dr => "Route",
            ForwardingMethod::Tun(_) => "Tunnel",
        }
    }

    /// Whether the real server's port may differ from the service's.
    pub const fn may_map_ports(self) -> bool {
        matches!(self, ForwardingMethod::Nat)
    }
}

impl fmt::Display for ForwardingMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checksum = |t: &Tunnel| match t.checksum {
            TunnelChecksum::None => "",
            TunnelChecksum::Full => ", checksum",
            TunnelChecksum::Remote => ", remote checksum",
        };
        match self {
            ForwardingMethod::Nat => f.pad("NAT"),
            ForwardingMethod::Dr => f.pad("DR"),
            ForwardingMethod::Tun(t) => match t.kind {
                TunnelKind::Ipip => f.pad("TUN"),
                TunnelKind::Gre => f.pad(&format!("TUN (gre{})", checksum(t))),
                TunnelKind::Gue(port) => f.pad(&format!("TUN (gue to {port}{})", checksum(t))),
            },
        }
    }
}
