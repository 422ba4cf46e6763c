//! The reasons for an attachment, and against one, as `evenkeel status` shows them.

use std::fmt;
use std::net::IpAddr;

/// Why a device gets an attachment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttachReason {
    /// `dataplane_interface` names it.
    Configured,
    /// It has the address of a service.
    HoldsAddress(IpAddr),
    /// An instance puts the address on it.
    VrrpAddress(IpAddr),
    /// Replies of this real server behind NAT come in by it.
    NatServer(IpAddr),
    /// A default route leads by it.
    DefaultRoute(Option<IpAddr>),
    /// A route by this gateway leads by it.
    Gateway(IpAddr),
    /// It has an address of this network.
    Network(IpAddr, u8),
}

impl fmt::Display for AttachReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachReason::Configured => f.write_str("dataplane_interface"),
            AttachReason::HoldsAddress(a) => write!(f, "holds {a}"),
            AttachReason::VrrpAddress(a) => write!(f, "gets {a} by VRRP"),
            AttachReason::NatServer(a) => write!(f, "leads to real server {a} (NAT)"),
            AttachReason::DefaultRoute(Some(a)) => write!(f, "default route by {a}"),
            AttachReason::DefaultRoute(None) => f.write_str("default route"),
            AttachReason::Gateway(a) => write!(f, "route by gateway {a}"),
            AttachReason::Network(a, len) => write!(f, "clients in {a}/{len}"),
        }
    }
}

/// Why a device gets no attachment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeftAloneReason {
    /// `dataplane_interface … off`
    Off,
    /// Its frames have no Ethernet header.
    NoEthernetHeader,
    /// The kind of device receives no frames from outside.
    ReceivesNothing(String),
    /// It has no address of a network, and no gateway is behind it.
    NoClients,
    /// Enough devices are attached.
    TooMany,
    /// Another program's rules: an attachment would open what they close.
    WouldOpen(String),
}

impl fmt::Display for LeftAloneReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeftAloneReason::Off => f.write_str("dataplane_interface off"),
            LeftAloneReason::NoEthernetHeader => f.write_str("its packets have no Ethernet header"),
            LeftAloneReason::ReceivesNothing(kind) => write!(f, "a {kind} device receives no packets from outside"),
            LeftAloneReason::NoClients => f.write_str("it has no address of a network, and no gateway is behind it"),
            LeftAloneReason::TooMany => {
                write!(f, "{} devices for clients are attached already", super::MAX_CLIENT_DEVICES)
            }
            LeftAloneReason::WouldOpen(rule) => write!(f, "an attachment would open it to clients, against {rule}"),
        }
    }
}
