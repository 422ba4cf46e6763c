//! Our packet path as a table in IPVS's terms, for `ipvsadm`; with a daemon that runs, or without.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::ipvs::{
    Change, Connection, Dest, DestEntry, Info, Method, Rates, Service, ServiceEntry, ServiceId, Stats, SyncDaemon,
    Timeouts,
};
use evenkeel_core::model::{HookChoice, ServiceKey};
use evenkeel_core::plan::{ServiceState, Step};

use super::edit::Editor;
use super::hook::{self, Hooks};
use super::load::{DEFAULT_CONNS, Loaded, Maps};
use super::view::{self, ServiceView};
use crate::netlink::Netlink;
use crate::nexthop::NextHops;
use crate::table::Table;
use crate::{Error, Result};

/// IPVS's version 1.2.1, which ours is like.
const VERSION: u32 = 0x01_02_01;
/// A server that nobody has spoken with yet is waited for so long, so often: a second and a half, as a device that is new
/// asks nobody by IPv6 before.
const WAIT: Duration = Duration::from_millis(20);
const WAITS: u32 = 75;

/// The packet path's services, connections and settings.
pub struct XdpTable {
    maps: Arc<Maps>,
    /// What is needed to change them.
    editor: Option<Editor>,
    dir: PathBuf,
    run_dir: PathBuf,
    /// Numbers per second, if they have been measured.
    rates: BTreeMap<(ServiceKey, Option<usize>), Rates>,
}

fn errno(what: impl ToString, number: i32) -> Error {
    Error { what: what.to_string(), source: io::Error::from_raw_os_error(number), hint: None }
}

impl XdpTable {
    /// Is there one? Where that cannot be seen for want of permission, opening it says so.
    pub fn is_loaded(dir: &Path) -> bool {
        !matches!(dir.join("settings").metadata(), Err(e) if e.kind() == io::ErrorKind::NotFound)
    }

    /// Opens what is pinned in `dir`, to look at it or to change it; if nobody has loaded the packet path yet, it is
    /// loaded. The daemon's control socket is in `run_dir`, if a daemon runs.
    pub fn open(dir: &Path, run_dir: &Path, change: bool) -> Result<XdpTable> {
        if !XdpTable::is_loaded(dir) {
            Loaded::load(dir, DEFAULT_CONNS)?;
        }
        let maps = Arc::new(Maps::open(dir, change)?);
        let editor = change.then(|| Editor::by_hand(Arc::clone(&maps), dir));
        Ok(XdpTable { maps, editor, dir: dir.to_owned(), run_dir: run_dir.to_owned(), rates: BTreeMap::new() })
    }

    fn views(&self) -> Vec<ServiceView> {
        self.maps.view()
    }

    fn view(&self, id: ServiceId) -> Option<ServiceView> {
        self.maps.view_one(id.key())
    }

    fn entry(&self, v: &ServiceView) -> ServiceEntry {
        let rates = self.rates.get(&(v.key, None)).copied().unwrap_or_default();
        ServiceEntry { service: Service::from_plan(v.key, &v.spec), stats: v.stats, rates }
    }

    fn editor(&mut self, what: &Change) -> Result<&mut Editor> {
        self.editor.as_mut().ok_or_else(|| Error::new(what.to_string(), "the table was opened to look at only"))
    }

    fn apply(&mut self, change: &Change, step: Step) -> Result<()> {
        match self.editor(change)?.apply(&[step]).pop() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    /// A service that the change needs.
    fn known(&self, id: ServiceId, change: &Change) -> Result<(ServiceKey, ServiceState)> {
        let key = id.key();
        let state = self.maps.observe_one(key).ok_or_else(|| errno(change, libc::ESRCH))?;
        Ok((key, state))
    }

    /// Lets packets come and go, where no daemon does it, or not yet.
    fn connect(&self, new_service: Option<ServiceKey>) -> Result<()> {
        let daemon = UnixStream::connect(self.run_dir.join("control.sock")).is_ok();
        let mut netlink = Netlink::new()?;
        let Some(editor) = self.editor.as_ref().filter(|_| !daemon || new_service.is_some()) else {
            return Ok(()); // it is asked to look, once everything is changed
        };
        if let Some(key) = new_service {
            let links = netlink.links()?;
            let holds = |ifindex| links.iter().find(|l| l.index == ifindex && !l.loopback);
            // Marks are seen in tc, and by any device that packets of their family may come in by.
            let (mark, v6) = (key.mark != 0, key.addr.is_ipv6());
            let choice = if mark { HookChoice::Tc } else { HookChoice::Auto };
            let here = |a: IpAddr| if mark { a.is_ipv6() == v6 } else { a == key.addr };
            let held: BTreeSet<_> = netlink.addresses()?.iter().filter(|a| here(a.addr)).map(|a| a.ifindex).collect();
            let bare: Vec<_> =
                held.into_iter().filter_map(holds).filter(|l| !hook::is_hooked(&self.dir, l.index)).collect();
            if !bare.is_empty() {
                let loaded = Loaded::load(&self.dir, DEFAULT_CONNS)?;
                loaded.maps.note_vlans(&links)?;
                for link in bare {
                    Hooks::default().attach(&loaded, link, choice)?;
                }
            }
        }
        if daemon {
            return Ok(());
        }
        hook::let_answers_pass_by(&self.dir, &self.maps, &netlink.links()?);
        let mut hops = NextHops::default();
        for _ in 0..WAITS {
            hops.refresh(&mut netlink, editor)?;
            if !hops.waits() {
                break;
            }
            std::thread::sleep(WAIT);
        }
        Ok(())
    }
}

/// What a second's difference is.
fn per_second(before: Stats, after: Stats) -> Rates {
    Rates {
        cps: after.conns.saturating_sub(before.conns),
        in_pps: after.in_packets.saturating_sub(before.in_packets),
        out_pps: after.out_packets.saturating_sub(before.out_packets),
        in_bps: after.in_bytes.saturating_sub(before.in_bytes),
        out_bps: after.out_bytes.saturating_sub(before.out_bytes),
    }
}

/// What the kernel refuses in a server (ip_vs_add_dest(), ip_vs_edit_dest()).
fn check_dest(id: ServiceId, d: &Dest, change: &Change) -> Result<()> {
    if d.weight < 0 || d.l_threshold > d.u_threshold {
        return Err(errno(change, libc::ERANGE));
    }
    let unicast = match d.addr {
        IpAddr::V4(a) => !a.is_multicast() && !a.is_broadcast() && !a.is_unspecified(),
        IpAddr::V6(a) => !a.is_multicast() && !a.is_unspecified() && !a.is_unicast_link_local(),
    };
    if !unicast || d.addr.is_ipv6() != id.is_ipv6() && d.method != Method::Tunnel {
        return Err(errno(change, libc::EINVAL));
    }
    Ok(())
}

impl Table for XdpTable {
    fn info(&mut self) -> Result<Info> {
        Ok(Info { version: VERSION, conn_tab_size: u32::try_from(self.maps.conn_capacity()).unwrap_or(u32::MAX) })
    }

    fn services(&mut self) -> Result<Vec<ServiceEntry>> {
        Ok(self.views().iter().map(|v| self.entry(v)).collect())
    }

    fn service(&mut self, id: ServiceId) -> Result<ServiceEntry> {
        let view = self.view(id).ok_or_else(|| errno(format!("look at service {id}"), libc::ESRCH))?;
        Ok(self.entry(&view))
    }

    fn dests(&mut self, id: ServiceId) -> Result<Vec<DestEntry>> {
        let Some(v) = self.view(id) else { return Ok(Vec::new()) };
        let entry = |(n, d): (usize, &view::DestView)| {
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
        Ok(all.iter().map(super::conns::ConnView::to_ipvs).collect())
    }

    fn end_connections(&mut self, wanted: &dyn Fn(&Connection) -> bool) -> Result<usize> {
        Ok(self.maps.end_connections(|c| wanted(&c.to_ipvs())))
    }

    fn timeouts(&mut self) -> Result<Timeouts> {
        let (tcp_s, tcpfin_s, udp_s) = self.maps.timeouts();
        Ok(Timeouts { tcp_s, tcpfin_s, udp_s })
    }

    fn daemons(&mut self) -> Result<Vec<SyncDaemon>> {
        Ok(Vec::new())
    }

    fn measure_rates(&mut self) -> Result<()> {
        let before = self.views();
        std::thread::sleep(Duration::from_secs(1));
        self.rates.clear();
        for v in self.views() {
            let Some(was) = before.iter().find(|b| b.key == v.key) else { continue };
            self.rates.insert((v.key, None), per_second(was.stats, v.stats));
            for (n, d) in v.dests.iter().enumerate() {
                if let Some(old) = was.dests.iter().find(|o| o.id == d.id) {
                    self.rates.insert((v.key, Some(n)), per_second(old.stats, d.stats));
                }
            }
        }
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::AddService(s) | Change::EditService(s) => {
                let key = s.id.key();
                if !s.engine.is_empty() {
                    return Err(errno(change, libc::ENOENT));
                }
                let spec = s.spec().ok_or_else(|| errno(change, libc::ENOENT))?;
                let known = self.maps.observe_one(key);
                match (change, known) {
                    (Change::AddService(_), Some(_)) => Err(errno(change, libc::EEXIST)),
                    (Change::AddService(_), None) => {
                        self.apply(change, Step::AddService(key, spec))?;
                        self.connect(Some(key))
                    }
                    (_, Some(had)) => {
                        let spec = evenkeel_core::plan::ServiceSpec { on_removal: had.spec.on_removal, ..spec };
                        self.apply(change, Step::EditService(key, spec))
                    }
                    (_, None) => Err(errno(change, libc::ESRCH)),
                }
            }
            Change::RemoveService(id) => {
                let (key, _) = self.known(*id, change)?;
                self.apply(change, Step::RemoveService(key))
            }
            Change::AddDest(id, d) | Change::EditDest(id, d) => {
                let (key, state) = self.known(*id, change)?;
                check_dest(*id, d, change)?;
                let spec = d.spec().ok_or_else(|| errno(change, libc::EINVAL))?;
                let there = state.dests.iter().any(|(k, _)| *k == d.key());
                match (change, there) {
                    (Change::AddDest(..), true) => Err(errno(change, libc::EEXIST)),
                    (Change::AddDest(..), false) => {
                        self.apply(change, Step::AddDest(key, d.key(), spec))?;
                        self.connect(None)
                    }
                    (_, true) => {
                        self.apply(change, Step::EditDest(key, d.key(), spec))?;
                        self.connect(None)
                    }
                    (_, false) => Err(errno(change, libc::ENOENT)),
                }
            }
            Change::RemoveDest(id, d) => {
                let (key, state) = self.known(*id, change)?;
                if !state.dests.iter().any(|(k, _)| *k == d.key()) {
                    return Err(errno(change, libc::ENOENT));
                }
                self.apply(change, Step::RemoveDest(key, d.key()))
            }
            Change::SetTimeouts(t) => {
                self.editor(change)?.set_timeouts(t.tcp_s, t.tcpfin_s, t.udp_s);
                Ok(())
            }
            Change::StartDaemon(_) => {
                Err(Error::new(change.to_string(), "the packet path does not tell others of its connections")
                    .hint("the kernel's IPVS does: --dataplane ipvs"))
            }
            Change::StopDaemon(_) => Err(errno(change, libc::ESRCH)),
            Change::Zero(id) => {
                let key = match id {
                    Some(id) => Some(self.known(*id, change)?.0),
                    None => None,
                };
                self.editor(change)?.zero(key);
                Ok(())
            }
            Change::Flush => {
                let steps: Vec<Step> = self.maps.observe().keys().map(|k| Step::RemoveService(*k)).collect();
                match self.editor(change)?.apply(&steps).pop() {
                    Some(e) => Err(e),
                    None => Ok(()),
                }
            }
        }
    }
}
