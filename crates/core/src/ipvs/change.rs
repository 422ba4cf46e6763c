//! A change of a table in IPVS's terms: what `ipvsadm` and the daemon ask for.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use super::{Dest, Service, ServiceId, SyncDaemon, Timeouts};

/// A change of a table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Adds a service without destinations.
    AddService(Service),
    /// Replaces the settings of a service; its destinations stay.
    EditService(Service),
    /// Removes a service and its destinations.
    RemoveService(ServiceId),
    /// Adds a destination at the head of the service's list.
    AddDest(ServiceId, Dest),
    /// Replaces the settings of a destination, thresholds included. Its place in the list stays.
    EditDest(ServiceId, Dest),
    /// Removes the destination with this address and port.
    RemoveDest(ServiceId, Dest),
    /// Sets the timeouts that are not 0.
    SetTimeouts(Timeouts),
    /// Starts a sync daemon.
    StartDaemon(SyncDaemon),
    /// Stops the sync daemon with this role.
    StopDaemon(SyncDaemon),
    /// Resets the statistics of a service and its destinations to 0, or all statistics.
    Zero(Option<ServiceId>),
    /// Removes all services.
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
            Change::StartDaemon(d) => write!(f, "start the {} sync daemon", d.role),
            Change::StopDaemon(d) => write!(f, "stop the {} sync daemon", d.role),
            Change::Zero(None) => f.write_str("reset all statistics"),
            Change::Zero(Some(id)) => write!(f, "reset the statistics of {id}"),
            Change::Flush => f.write_str("remove all services"),
        }
    }
}
