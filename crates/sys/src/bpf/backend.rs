//! Our packet path as a table in IPVS's terms, for `ipvsadm`; with a daemon that runs, or without.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::ipvs::{
    Change, Connection, Dest, DestEntry, FwdMethod, IpvsInfo, Rates, Service, ServiceEntry, ServiceId, Stats,
    SyncDaemon, Timeouts,
};
use evenkeel_core::model::{AttachChoice, ServiceKey};
use evenkeel_core::plan::{ServiceState, Step};

use super::attach::{self, Attachments};
use super::packet_path::{DEFAULT_CONNS, Maps, PacketPath};
use super::reader::{self, ServiceRecord};
use super::writer::MapWriter;
use crate::ipvs_backend::IpvsBackend;
use crate::netlink::Netlink;
use crate::nexthop::NextHopResolver;
use crate::{Error, Result};

/// IPVS's version 1.2.1, which ours is like.
const IPVS_VERSION: u32 = 0x01_02_01;
/// A server that nobody has spoken with yet is waited for so long, so often: a second and a half, as a device that is new
/// asks nobody by IPv6 before.
const RESOLVE_INTERVAL: Duration = Duration::from_millis(20);
const RESOLVE_ATTEMPTS: u32 = 75;

/// The packet path's services, connections and settings.
pub struct XdpBackend {
    maps: Arc<Maps>,
    /// What is needed to change them.
    writer: Option<MapWriter>,
    dir: PathBuf,
    run_dir: PathBuf,
    /// Numbers per second, if they have been measured.
    rates: BTreeMap<(ServiceKey, Option<usize>), Rates>,
}

fn errno_error(what: impl ToString, number: i32) -> Error {
    Error { operation: what.to_string(), source: io::Error::from_raw_os_error(number), hint: None }
}

impl XdpBackend {
    /// Is there one? Where that cannot be seen for want of permission, opening it says so.
    pub fn is_loaded(dir: &Path) -> bool {
        !matches!(dir.join("settings").metadata(), Err(e) if e.kind() == io::ErrorKind::NotFound)
    }

    /// Opens what is pinned in `dir`, to look at it or to change it; if nobody has loaded the packet path yet, it is
    /// loaded. The daemon's control socket is in `run_dir`, if a daemon runs.
    pub fn open(dir: &Path, run_dir: &Path, change: bool) -> Result<XdpBackend> {
        if !XdpBackend::is_loaded(dir) {
            PacketPath::load(dir, DEFAULT_CONNS)?;
        }
        let maps = Arc::new(Maps::open(dir, change)?);
        let editor = change.then(|| MapWriter::external(Arc::clone(&maps), dir));
        Ok(XdpBackend {
            maps,
            writer: editor,
            dir: dir.to_owned(),
            run_dir: run_dir.to_owned(),
            rates: BTreeMap::new(),
        })
    }

    fn service_records(&self) -> Vec<ServiceRecord> {
        self.maps.service_records()
    }

    fn service_record(&self, id: ServiceId) -> Option<ServiceRecord> {
        self.maps.service_record(id.service_key())
    }

    fn service_entry(&self, v: &ServiceRecord) -> ServiceEntry {
        let rates = self.rates.get(&(v.key, None)).copied().unwrap_or_default();
        ServiceEntry { service: Service::from_plan(v.key, &v.spec), stats: v.stats, rates }
    }

    fn writer_for(&mut self, what: &Change) -> Result<&mut MapWriter> {
        self.writer.as_mut().ok_or_else(|| Error::new(what.to_string(), "the table was opened to look at only"))
    }

    fn apply_step(&mut self, change: &Change, step: Step) -> Result<()> {
        match self.writer_for(change)?.apply_steps(&[step]).pop() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    /// A service that the change needs.
    fn require_service(&self, id: ServiceId, change: &Change) -> Result<(ServiceKey, ServiceState)> {
        let key = id.service_key();
        let state = self.maps.observe_service(key).ok_or_else(|| errno_error(change, libc::ESRCH))?;
        Ok((key, state))
    }

    /// Lets packets come and go, where no daemon does it, or not yet.
    fn attach_and_resolve(&self, new_service: Option<ServiceKey>) -> Result<()> {
        let daemon = UnixStream::connect(self.run_dir.join("control.sock")).is_ok();
        let mut netlink = Netlink::new()?;
        let Some(editor) = self.writer.as_ref().filter(|_| !daemon || new_service.is_some()) else {
            return Ok(()); // it is asked to look, once everything is changed
        };
        if let Some(key) = new_service {
            let links = netlink.links()?;
            let holds = |ifindex| links.iter().find(|l| l.index == ifindex && !l.loopback);
            // Marks are seen in tc, and by any device that packets of their family may come in by.
            let (mark, v6) = (key.fwmark != 0, key.addr.is_ipv6());
            let choice = if mark { AttachChoice::Tc } else { AttachChoice::Auto };
            let here = |a: IpAddr| if mark { a.is_ipv6() == v6 } else { a == key.addr };
            let held: BTreeSet<_> = netlink.addresses()?.iter().filter(|a| here(a.addr)).map(|a| a.ifindex).collect();
            let bare: Vec<_> =
                held.into_iter().filter_map(holds).filter(|l| !attach::is_pinned(&self.dir, l.index)).collect();
            if !bare.is_empty() {
                let loaded = PacketPath::load(&self.dir, DEFAULT_CONNS)?;
                loaded.maps.record_vlans(&links)?;
                for link in bare {
                    Attachments::default().attach(&loaded, link, choice)?;
                }
            }
        }
        if daemon {
            return Ok(());
        }
        attach::accept_local_replies_of_pinned(&self.dir, &self.maps, &netlink.links()?);
        let mut hops = NextHopResolver::default();
        for _ in 0..RESOLVE_ATTEMPTS {
            hops.refresh(&mut netlink, editor)?;
            if !hops.is_pending() {
                break;
            }
            std::thread::sleep(RESOLVE_INTERVAL);
        }
        Ok(())
    }
}

/// What a second's difference is.
fn rates_between(before: Stats, after: Stats) -> Rates {
    Rates {
        cps: after.conns.saturating_sub(before.conns),
        in_pps: after.in_packets.saturating_sub(before.in_packets),
        out_pps: after.out_packets.saturating_sub(before.out_packets),
        in_bps: after.in_bytes.saturating_sub(before.in_bytes),
        out_bps: after.out_bytes.saturating_sub(before.out_bytes),
    }
}

/// What the kernel refuses in a server (ip_vs_add_dest(), ip_vs_edit_dest()).
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
        Ok(IpvsInfo {
            version: IPVS_VERSION,
            conn_tab_size: u32::try_from(self.maps.conn_capacity()).unwrap_or(u32::MAX),
        })
    }

    fn services(&mut self) -> Result<Vec<ServiceEntry>> {
        Ok(self.service_records().iter().map(|v| self.service_entry(v)).collect())
    }

    fn service(&mut self, id: ServiceId) -> Result<ServiceEntry> {
        let view = self.service_record(id).ok_or_else(|| errno_error(format!("look at service {id}"), libc::ESRCH))?;
        Ok(self.service_entry(&view))
    }

    fn dests(&mut self, id: ServiceId) -> Result<Vec<DestEntry>> {
        let Some(v) = self.service_record(id) else { return Ok(Vec::new()) };
        let entry = |(n, d): (usize, &reader::DestRecord)| {
            let dest = Dest::from_plan(d.key, &d.spec);
            let rates = self.rates.get(&(v.key, Some(n))).copied().unwrap_or_default();
            let (active, inactive, persistent) = (d.active, d.inactive, d.persistent);
            DestEntry { dest, active, inactive, persistent, stats: d.stats, rates }
        };
        Ok(v.dests.iter().enumerate().map(entry).collect())
    }

    /// Sorted: a hash table's own order says nothing.
    fn connections(&mut self) -> Result<Vec<Connection>> {
        let mut all = self.maps.connections();
        all.sort_by_key(|c| (c.protocol, c.service, c.client));
        Ok(all.iter().map(super::conn_table::ConnEntry::to_ipvs).collect())
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
        let before = self.service_records();
        std::thread::sleep(Duration::from_secs(1));
        self.rates.clear();
        for v in self.service_records() {
            let Some(was) = before.iter().find(|b| b.key == v.key) else { continue };
            self.rates.insert((v.key, None), rates_between(was.stats, v.stats));
            for (n, d) in v.dests.iter().enumerate() {
                if let Some(old) = was.dests.iter().find(|o| o.id == d.id) {
                    self.rates.insert((v.key, Some(n)), rates_between(old.stats, d.stats));
                }
            }
        }
        Ok(())
    }

    fn apply_change(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::AddService(s) | Change::EditService(s) => {
                let key = s.id.service_key();
                if !s.persistence_engine.is_empty() {
                    return Err(errno_error(change, libc::ENOENT));
                }
                let spec = s.to_spec().ok_or_else(|| errno_error(change, libc::ENOENT))?;
                let known = self.maps.observe_service(key);
                match (change, known) {
                    (Change::AddService(_), Some(_)) => Err(errno_error(change, libc::EEXIST)),
                    (Change::AddService(_), None) => {
                        self.apply_step(change, Step::AddService(key, spec))?;
                        self.attach_and_resolve(Some(key))
                    }
                    (_, Some(had)) => {
                        let spec = evenkeel_core::plan::ServiceSpec { removal_policy: had.spec.removal_policy, ..spec };
                        self.apply_step(change, Step::EditService(key, spec))
                    }
                    (_, None) => Err(errno_error(change, libc::ESRCH)),
                }
            }
            Change::RemoveService(id) => {
                let (key, _) = self.require_service(*id, change)?;
                self.apply_step(change, Step::RemoveService(key))
            }
            Change::AddDest(id, d) | Change::EditDest(id, d) => {
                let (key, state) = self.require_service(*id, change)?;
                validate_dest(*id, d, change)?;
                let spec = d.to_spec().ok_or_else(|| errno_error(change, libc::EINVAL))?;
                let there = state.dests.iter().any(|(k, _)| *k == d.server_key());
                match (change, there) {
                    (Change::AddDest(..), true) => Err(errno_error(change, libc::EEXIST)),
                    (Change::AddDest(..), false) => {
                        self.apply_step(change, Step::AddDest(key, d.server_key(), spec))?;
                        self.attach_and_resolve(None)
                    }
                    (_, true) => {
                        self.apply_step(change, Step::EditDest(key, d.server_key(), spec))?;
                        self.attach_and_resolve(None)
                    }
                    (_, false) => Err(errno_error(change, libc::ENOENT)),
                }
            }
            Change::RemoveDest(id, d) => {
                let (key, state) = self.require_service(*id, change)?;
                if !state.dests.iter().any(|(k, _)| *k == d.server_key()) {
                    return Err(errno_error(change, libc::ENOENT));
                }
                self.apply_step(change, Step::RemoveDest(key, d.server_key()))
            }
            Change::SetTimeouts(t) => {
                self.writer_for(change)?.set_timeouts(t.tcp_s, t.tcpfin_s, t.udp_s);
                Ok(())
            }
            Change::StartDaemon(_) => {
                Err(Error::new(change.to_string(), "the packet path does not tell others of its connections")
                    .with_hint("the kernel's IPVS does: --dataplane ipvs"))
            }
            Change::StopDaemon(_) => Err(errno_error(change, libc::ESRCH)),
            Change::Zero(id) => {
                let key = match id {
                    Some(id) => Some(self.require_service(*id, change)?.0),
                    None => None,
                };
                self.writer_for(change)?.zero_stats(key);
                Ok(())
            }
            Change::Flush => {
                let steps: Vec<Step> = self.maps.observe_services().keys().map(|k| Step::RemoveService(*k)).collect();
                match self.writer_for(change)?.apply_steps(&steps).pop() {
                    Some(e) => Err(e),
                    None => Ok(()),
                }
            }
        }
    }
}
