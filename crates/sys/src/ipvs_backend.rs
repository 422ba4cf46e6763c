//! The backend that `ipvsadm` works on: the kernel's IPVS, or the packet path.

use evenkeel_core::ipvs::{Change, Connection, DestEntry, IpvsInfo, ServiceEntry, ServiceId, SyncDaemon, Timeouts};

use crate::Result;

/// Virtual services and connections in IPVS's terms.
///
/// Errors have the numbers that IPVS returns ([`crate::Error::errno`]): ESRCH for an unknown service; ENOENT for an
/// unknown real server, scheduler or persistence engine; EEXIST for an object that exists already.
pub trait IpvsBackend {
    /// The version, and the size of the connection table.
    fn info(&mut self) -> Result<IpvsInfo>;
    /// All services, in the backend's order.
    fn services(&mut self) -> Result<Vec<ServiceEntry>>;
    /// One service.
    fn service(&mut self, id: ServiceId) -> Result<ServiceEntry>;
    /// The real servers of a service, newest first.
    fn dests(&mut self, id: ServiceId) -> Result<Vec<DestEntry>>;
    /// All services with their real servers, in the backend's order.
    fn services_with_dests(&mut self) -> Result<Vec<(ServiceEntry, Vec<DestEntry>)>> {
        let services = self.services()?;
        services.into_iter().map(|s| self.dests(s.service.id).map(|d| (s, d))).collect()
    }
    /// All connections and persistence templates, in the backend's order.
    fn connections(&mut self) -> Result<Vec<Connection>>;
    /// Ends the wanted connections, but no templates. Returns their number.
    fn end_connections(&mut self, wanted: &dyn Fn(&Connection) -> bool) -> Result<usize>;
    /// The timeouts of idle connections.
    fn timeouts(&mut self) -> Result<Timeouts>;
    /// The running daemons of connection synchronisation, the master first.
    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>>;
    /// Measures the rates per second for a second, if the backend does not measure them all the time.
    fn measure_rates(&mut self) -> Result<()> {
        Ok(())
    }
    /// Applies a change.
    fn apply_change(&mut self, change: &Change) -> Result<()>;
}
