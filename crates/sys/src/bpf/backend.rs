//! The packet path as ipvsadm's backend, with or without a running daemon.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::attachments::{Traffic, derive};
use evenkeel_core::ipvs::{
    Change, Connection, Dest, DestEntry, FwdMethod, IpvsInfo, Rates, Service, ServiceEntry, ServiceId, Stats,
    SyncDaemon, Timeouts,
};
use evenkeel_core::model::{AttachChoice, ForwardingMethod, ServiceKey};
use evenkeel_core::plan::{ServiceSpec, ServiceState, Step};

use super::attach::{self, Attachments};
use super::conn_table::ConnEntry;
use super::maps::Maps;
use super::packet_path::{DEFAULT_CONNS, PacketPath};
use super::reader::{DestRecord, ServiceRecord};
use super::writer::MapWriter;
use crate::ipvs_backend::IpvsBackend;
use crate::netlink::{Link, Netlink};
use crate::nexthop::NextHopResolver;
use crate::packet_filter::PacketFilter;
use crate::topology::read_topology;
use crate::{Error, Result};

/// The version of IPVS that the packet path behaves like: 1.2.1.
const IPVS_VERSION: u32 = 0x01_02_01;
/// A new real server's next hop is awaited for up to 1.5 s. A device that is just up sends no neighbour solicitation
/// earlier.
const RESOLVE_INTERVAL: Duration = Duration::from_millis(20);
const RESOLVE_ATTEMPTS: u32 = 75;

/// The services, connections and timeouts of the packet path.
pub struct XdpBackend {
    maps: Arc<Maps>,
    /// `None` if the backend was opened for reading only.
    writer: Option<MapWriter>,
    dir: PathBuf,
    run_dir: PathBuf,
    /// Rates per second by service and destination position, since the last measurement.
    rates: BTreeMap<(ServiceKey, Option<usize>), Rates>,
}

/// An error with the number that IPVS returns for a change.
fn errno_error(operation: impl ToString, errno: i32) -> Error {
    Error::from_errno(operation.to_string(), errno)
}

impl XdpBackend {
    /// True if the packet path is loaded. Also true if the permission to see it is missing; [`XdpBackend::open`] then
    /// fails.
    pub fn is_loaded(dir: &Path) -> bool {
        !matches!(dir.join("settings").metadata(), Err(e) if e.kind() == io::ErrorKind::NotFound)
    }

    /// Opens the maps that are pinned in `dir`, for reading, or for changes too. Loads the packet path if it is not
    /// loaded. `run_dir` is the directory with the control socket of a daemon.
    pub fn open(dir: &Path, run_dir: &Path, write: bool) -> Result<XdpBackend> {
        if !XdpBackend::is_loaded(dir) {
            PacketPath::load(dir, DEFAULT_CONNS)?;
        }
        let maps = Arc::new(Maps::open(dir, write)?);
        let writer = write.then(|| MapWriter::external(Arc::clone(&maps), dir));
        let (dir, run_dir) = (dir.to_owned(), run_dir.to_owned());
        Ok(XdpBackend { maps, writer, dir, run_dir, rates: BTreeMap::new() })
    }

    fn service_record(&self, id: ServiceId) -> Option<ServiceRecord> {
        self.maps.service_record(id.service_key())
    }

    fn service_entry(&self, record: &ServiceRecord) -> ServiceEntry {
        let rates = self.rates.get(&(record.key, None)).copied().unwrap_or_default();
        ServiceEntry { service: Service::from_plan(record.key, &record.spec), stats: record.stats, rates }
    }

    fn writer_for(&mut self, change: &Change) -> Result<&mut MapWriter> {
        self.writer.as_mut().ok_or_else(|| Error::new(change.to_string(), "the maps were opened for reading only"))
    }

    fn apply_steps(&mut self, change: &Change, steps: &[Step]) -> Result<()> {
        self.writer_for(change)?.apply_steps(steps).pop().map_or(Ok(()), Err)
    }

    /// The service that a change refers to; ESRCH if it does not exist.
    fn require_service(&self, id: ServiceId, change: &Change) -> Result<(ServiceKey, ServiceState)> {
        let key = id.service_key();
        let state = self.maps.observe_service(key).ok_or_else(|| errno_error(change, libc::ESRCH))?;
        Ok((key, state))
    }

    fn change_service(&mut self, s: &Service, change: &Change) -> Result<()> {
        let key = s.id.service_key();
        if !s.persistence_engine.is_empty() {
            return Err(errno_error(change, libc::ENOENT));
        }
        let spec = s.to_spec().ok_or_else(|| errno_error(change, libc::ENOENT))?;
        match (change, self.maps.observe_service(key)) {
            (Change::AddService(_), Some(_)) => Err(errno_error(change, libc::EEXIST)),
            (Change::AddService(_), None) => {
                self.apply_steps(change, &[Step::AddService(key, spec)])?;
                self.attach_and_resolve(true, None)
            }
            (_, Some(old)) => {
                // IPVS has no removal policy: the service keeps the one that it has.
                let spec = ServiceSpec { removal_policy: old.spec.removal_policy, ..spec };
                self.apply_steps(change, &[Step::EditService(key, spec)])
            }
            (_, None) => Err(errno_error(change, libc::ESRCH)),
        }
    }

    fn change_dest(&mut self, id: ServiceId, d: &Dest, change: &Change) -> Result<()> {
        let (key, state) = self.require_service(id, change)?;
        validate_dest(id, d, change)?;
        let spec = d.to_spec().ok_or_else(|| errno_error(change, libc::EINVAL))?;
        let exists = state.dests.iter().any(|(k, _)| *k == d.server_key());
        let step = match (change, exists) {
            (Change::AddDest(..), true) => return Err(errno_error(change, libc::EEXIST)),
            (Change::AddDest(..), false) => Step::AddDest(key, d.server_key(), spec),
            (_, true) => Step::EditDest(key, d.server_key(), spec),
            (_, false) => return Err(errno_error(change, libc::ENOENT)),
        };
        self.apply_steps(change, &[step])?;
        self.attach_and_resolve(false, Some((d.server_key().addr, spec.method)))
    }

    /// Attaches the program where packets of a new service or replies of a new server arrive, and resolves next hops. A
    /// daemon does both: ipvsadm asks it to observe the maps after all changes.
    fn attach_and_resolve(&self, new_service: bool, new_server: Option<(IpAddr, ForwardingMethod)>) -> Result<()> {
        let Some(writer) = &self.writer else { return Ok(()) };
        if UnixStream::connect(self.run_dir.join("control.sock")).is_ok() {
            return Ok(());
        }
        let mut netlink = Netlink::new()?;
        let nat_server = new_server.filter(|(_, method)| *method == ForwardingMethod::Nat);
        if new_service || nat_server.is_some() {
            self.attach(nat_server, &mut netlink)?;
        }
        attach::accept_local_replies_of_pinned(&self.dir, &self.maps, &netlink.links()?);
        let mut hops = NextHopResolver::default();
        for _ in 0..RESOLVE_ATTEMPTS {
            hops.refresh(&mut netlink, writer)?;
            if !hops.is_pending() {
                break;
            }
            std::thread::sleep(RESOLVE_INTERVAL);
        }
        Ok(())
    }

    /// Attaches the program to the devices without an attachment that services and this server need.
    fn attach(&self, server: Option<(IpAddr, ForwardingMethod)>, netlink: &mut Netlink) -> Result<()> {
        let mut traffic = Traffic::default();
        for key in self.maps.observe_services().into_keys() {
            traffic.add_service(key, &[]);
        }
        if let Some((addr, method)) = server {
            traffic.add_server(addr, method);
        }
        let links = netlink.links()?;
        let topology = read_topology(netlink, &links, &traffic, &|_| false)?;
        let mut filter = PacketFilter::default();
        filter.refresh();
        let services: Vec<ServiceKey> = self.maps.observe_services().into_keys().collect();
        let decision = derive(&topology, &traffic, &mut |device| {
            filter.closes(&device.name, topology.has_default_route(device.index), &services)
        });
        let devices = decision.attached.iter().filter(|(i, _)| !attach::is_pinned(&self.dir, **i));
        let unattached: Vec<(&Link, AttachChoice)> =
            devices.filter_map(|(i, (choice, _))| Some((links.iter().find(|l| l.index == *i)?, *choice))).collect();
        if unattached.is_empty() {
            return Ok(()); // the device table is as the last attachment left it
        }
        let path = PacketPath::load(&self.dir, DEFAULT_CONNS)?;
        path.maps.record_vlans(&links)?;
        for (link, choice) in unattached {
            Attachments::default().attach(&path, link, choice)?;
        }
        attach::record_devices(&self.dir, &path.maps, &links);
        Ok(())
    }
}

/// The rates of one second: the difference of two readings.
fn rates_between(before: Stats, after: Stats) -> Rates {
    Rates {
        cps: after.conns.saturating_sub(before.conns),
        in_pps: after.in_packets.saturating_sub(before.in_packets),
        out_pps: after.out_packets.saturating_sub(before.out_packets),
        in_bps: after.in_bytes.saturating_sub(before.in_bytes),
        out_bps: after.out_bytes.saturating_sub(before.out_bytes),
    }
}

/// Rejects what the kernel rejects in a real server (ip_vs_add_dest(), ip_vs_edit_dest()).
fn validate_dest(id: ServiceId, d: &Dest, change: &Change) -> Result<()> {
    if d.weight < 0 || d.l_threshold > d.u_threshold {
        return Err(errno_error(change, libc::ERANGE));
    }
    let unicast = match d.addr {
        IpAddr::V4(a) => !a.is_multicast() && !a.is_broadcast() && !a.is_unspecified(),
        IpAddr::V6(a) => !a.is_multicast() && !a.is_unspecified() && !a.is_unicast_link_local(),
    };
    if !unicast || d.addr.is_ipv6() != id.is_ipv6() && d.method != FwdMethod::Tunnel {
        return Err(errno_error(change, libc::EINVAL));
    }
    Ok(())
}

impl IpvsBackend for XdpBackend {
    fn info(&mut self) -> Result<IpvsInfo> {
        let conn_tab_size = u32::try_from(self.maps.conn_capacity()).unwrap_or(u32::MAX);
        Ok(IpvsInfo { version: IPVS_VERSION, conn_tab_size })
    }

    fn services(&mut self) -> Result<Vec<ServiceEntry>> {
        Ok(self.maps.service_records().iter().map(|r| self.service_entry(r)).collect())
    }

    fn service(&mut self, id: ServiceId) -> Result<ServiceEntry> {
        let record = self.service_record(id).ok_or_else(|| errno_error(format!("read service {id}"), libc::ESRCH))?;
        Ok(self.service_entry(&record))
    }

    fn dests(&mut self, id: ServiceId) -> Result<Vec<DestEntry>> {
        let Some(record) = self.service_record(id) else { return Ok(Vec::new()) };
        let entry = |(n, d): (usize, &DestRecord)| {
            let dest = Dest::from_plan(d.key, &d.spec);
            let rates = self.rates.get(&(record.key, Some(n))).copied().unwrap_or_default();
            let (active, inactive, persistent) = (d.active, d.inactive, d.persistent);
            DestEntry { dest, active, inactive, persistent, stats: d.stats, rates }
        };
        Ok(record.dests.iter().enumerate().map(entry).collect())
    }

    /// Sorted, because the order in the hash table has no meaning.
    fn connections(&mut self) -> Result<Vec<Connection>> {
        let mut all = self.maps.connections();
        all.sort_by_key(|c| (c.protocol, c.service, c.client));
        Ok(all.iter().map(ConnEntry::to_ipvs).collect())
    }

    fn end_connections(&mut self, wanted: &dyn Fn(&Connection) -> bool) -> Result<usize> {
        Ok(self.maps.end_connections(|c| wanted(&c.to_ipvs())))
    }

    fn timeouts(&mut self) -> Result<Timeouts> {
        let (tcp_s, tcpfin_s, udp_s) = self.maps.timeouts();
        Ok(Timeouts { tcp_s, tcpfin_s, udp_s })
    }

    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>> {
        Ok(Vec::new())
    }

    fn measure_rates(&mut self) -> Result<()> {
        let before = self.maps.service_records();
        std::thread::sleep(Duration::from_secs(1));
        self.rates.clear();
        for after in self.maps.service_records() {
            let Some(old) = before.iter().find(|b| b.key == after.key) else { continue };
            self.rates.insert((after.key, None), rates_between(old.stats, after.stats));
            for (n, d) in after.dests.iter().enumerate() {
                if let Some(old) = old.dests.iter().find(|o| o.id == d.id) {
                    self.rates.insert((after.key, Some(n)), rates_between(old.stats, d.stats));
                }
            }
        }
        Ok(())
    }

    fn apply_change(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::AddService(s) | Change::EditService(s) => self.change_service(s, change),
            Change::RemoveService(id) => {
                let (key, _) = self.require_service(*id, change)?;
                self.apply_steps(change, &[Step::RemoveService(key)])
            }
            Change::AddDest(id, d) | Change::EditDest(id, d) => self.change_dest(*id, d, change),
            Change::RemoveDest(id, d) => {
                let (key, state) = self.require_service(*id, change)?;
                if !state.dests.iter().any(|(k, _)| *k == d.server_key()) {
                    return Err(errno_error(change, libc::ENOENT));
                }
                self.apply_steps(change, &[Step::RemoveDest(key, d.server_key())])
            }
            Change::SetTimeouts(t) => {
                self.writer_for(change)?.set_timeouts(t.tcp_s, t.tcpfin_s, t.udp_s);
                Ok(())
            }
            Change::StartDaemon(_) => {
                Err(Error::new(change.to_string(), "the packet path does not synchronise connections")
                    .with_hint("the kernel's IPVS does: --dataplane ipvs"))
            }
            Change::StopDaemon(_) => Err(errno_error(change, libc::ESRCH)),
            Change::Zero(id) => {
                let key = id.map(|id| self.require_service(id, change)).transpose()?.map(|(key, _)| key);
                self.writer_for(change)?.zero_stats(key);
                Ok(())
            }
            Change::Flush => {
                let services = self.maps.observe_services();
                let steps: Vec<Step> = services.keys().map(|k| Step::RemoveService(*k)).collect();
                self.apply_steps(change, &steps)
            }
        }
    }
}
