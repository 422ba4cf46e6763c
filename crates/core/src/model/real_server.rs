//! Real servers as configured.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Check, ForwardingMethod, Quorum, ScriptCommand, ServerKey};

/// A real server's weight, 0 to 2^31 - 1. A server with weight 0 is quiesced: it gets no new connection, and its existing
/// connections continue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Weight(u32);

impl Weight {
    /// Weight 0.
    pub const QUIESCED: Weight = Weight(0);
    /// The default of keepalived and ipvsadm.
    pub const DEFAULT: Weight = Weight(1);

    /// `None` above 2^31 - 1, which the kernel rejects too (ip_vs_add_dest(): ERANGE).
    pub const fn new(w: u32) -> Option<Self> {
        if w <= i32::MAX as u32 { Some(Weight(w)) } else { None }
    }

    /// The weight as a number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A `real_server` of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RealServer {
    /// The address and port that packets are forwarded to (DR and TUN: the service's port).
    pub key: ServerKey,
    /// The name that resolved to this address, if the configuration has a name.
    pub name: Option<String>,
    /// The weight while the server is healthy.
    pub weight: Weight,
    /// The forwarding method.
    pub method: ForwardingMethod,
    /// The upper threshold: at this many connections the server gets no new connection; 0: no limit.
    pub u_threshold: u32,
    /// The lower threshold: below this many connections the server gets new ones again; 0: three quarters of the upper
    /// threshold.
    pub l_threshold: u32,
    /// A failed check sets the weight to 0 and does not remove the server.
    pub inhibit_on_failure: bool,
    /// The server counts as down until its first successful check.
    pub alpha: bool,
    /// An override drains the server: it gets no new connection, whatever its weight is.
    pub drained: bool,
    /// Runs when the server comes up.
    pub notify_up: Option<ScriptCommand>,
    /// Runs when the server goes down.
    pub notify_down: Option<ScriptCommand>,
    /// Both are reported by mail.
    pub mail: bool,
    /// The health checks. The server is up while none of them fails.
    pub checks: Vec<Check>,
}

/// A lookup that discovers real servers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct NameQuery {
    /// The name to look up.
    pub name: String,
    /// Look up SRV records (RFC 2782) instead of addresses.
    pub srv: bool,
}

/// A `real_server` of the configuration with a name in place of an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedServer {
    /// The lookup.
    pub query: NameQuery,
    /// The port in the configuration.
    pub port: Option<u16>,
    /// The settings of every server that the name resolves to. Its key is ignored.
    pub prototype: RealServer,
}

/// The named real servers of a virtual server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedServers {
    /// The servers, in the order of the configuration.
    pub servers: Vec<NamedServer>,
    /// The quorum as configured, not bounded by the weights of the servers.
    pub configured_quorum: Quorum,
}

/// A `sorry_server`: it gets all connections while the quorum is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SorryServer {
    /// Address and port.
    pub key: ServerKey,
    /// The forwarding method.
    pub method: ForwardingMethod,
    /// `sorry_server_inhibit`: while the quorum is reached, the server stays in the service with weight 0.
    pub inhibit: bool,
}
