//! A table of virtual services in IPVS's terms, whoever keeps it: what `ipvsadm` works on.

use evenkeel_core::ipvs::{Change, Connection, DestEntry, IpvsInfo, ServiceEntry, ServiceId, SyncDaemon, Timeouts};

use crate::Result;

/// The kernel's IPVS, or our own packet path.
///
/// Errors carry the number that IPVS has for them ([`crate::Error::errno`]): ESRCH for a service that is not there, ENOENT
/// for a server, scheduler or engine that is not, EEXIST for what is there already.
pub trait IpvsBackend {
    /// Its version and size.
    fn info(&mut self) -> Result<IpvsInfo>;
    /// All services, in the table's order.
    fn services(&mut self) -> Result<Vec<ServiceEntry>>;
    /// One service.
    fn service(&mut self, id: ServiceId) -> Result<ServiceEntry>;
    /// A service's servers, the newest first.
    fn dests(&mut self, id: ServiceId) -> Result<Vec<DestEntry>>;
    /// All services with their servers, in the table's order.
    fn services_with_dests(&mut self) -> Result<Vec<(ServiceEntry, Vec<DestEntry>)>> {
        let services = self.services()?;
        services.into_iter().map(|s| self.dests(s.service.id).map(|d| (s, d))).collect()
    }
    /// Connections and persistence templates, in the table's order.
    fn connections(&mut self) -> Result<Vec<Connection>>;
    /// Ends connections, templates apart; returns how many.
    fn end_connections(&mut self, wanted: &dyn Fn(&Connection) -> bool) -> Result<usize>;
    /// How long idle connections live.
    fn timeouts(&mut self) -> Result<Timeouts>;
    /// The daemons of connection synchronisation that run, the master first.
    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>>;
    /// Makes numbers per second current, where nobody keeps them: takes a second.
    fn measure_rates(&mut self) -> Result<()> {
        Ok(())
    }
    /// Changes it.
    fn apply_change(&mut self, change: &Change) -> Result<()>;
}
