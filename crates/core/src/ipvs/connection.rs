//! A connection in IPVS's terms.

use std::net::IpAddr;

use serde::Serialize;

use crate::model::Protocol;

/// An entry of the connection table: a connection or a persistence template.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Connection {
    /// `TCP`, `UDP`, `SCTP`; `IP` for the template of a firewall mark.
    pub protocol: String,
    /// The client; a template has port 0.
    pub client: (IpAddr, u16),
    /// The virtual address. The template of a firewall mark has the mark as its address.
    pub service: (IpAddr, u16),
    /// The real server.
    pub dest: (IpAddr, u16),
    /// The state.
    pub state: String,
    /// The seconds until the entry expires if no packet arrives.
    pub expires_s: u64,
    /// The persistence engine and its data.
    pub persistence_engine: Option<(String, String)>,
    /// The number of connections that a template controls, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controls: Option<u32>,
    /// The firewall mark of the service, if known; otherwise 0.
    #[serde(skip)]
    pub fwmark: u32,
}

impl Connection {
    /// The protocol; `None` for the template of a firewall mark.
    pub fn protocol(&self) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|p| p.as_str() == self.protocol)
    }

    /// The ports that the connection's service may have: the connection's own port, FTP's for a data connection, and 0
    /// (ip_vs_service_find()).
    pub fn candidate_service_ports(&self) -> [u16; 3] {
        [self.service.1, 21, 0]
    }

    /// Whether the entry is a persistence template. Only templates have client port 0.
    pub fn is_template(&self) -> bool {
        self.client.1 == 0 && matches!(self.state.as_str(), "NONE" | "ASSURED")
    }
}
