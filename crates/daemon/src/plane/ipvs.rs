//! The kernel's IPVS: services and servers over generic netlink, as keepalived drives it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use evenkeel_core::ipc::DataPlaneStatus;
use evenkeel_core::ipvs::sync::SyncEntry;
use evenkeel_core::ipvs::{Change, Connection, Dest, FwdMethod, Service, ServiceEntry, SyncDaemon, SyncRole, Timeouts};
use evenkeel_core::model::{Config, ServiceKey, SyncConfig, Tuning};
use evenkeel_core::plan::{DestSpec, ServiceState, Services, Step};
use evenkeel_sys::bpf::{DestRecord, ServiceRecord};
use evenkeel_sys::ipvs::Ipvs;
use evenkeel_sys::ipvs_backend::IpvsBackend;
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::{Context, Error, Result, fsutil};

use super::{DataPlane, PlaneKind, PlaneObservation, PlanePaths, UpdateReason};

/// IPVS in one namespace, and which of its services are ours.
pub struct IpvsDataPlane {
    ipvs: Ipvs,
    namespace: Option<PathBuf>,
    /// The services that we made; written down, so that the next daemon knows.
    ours: BTreeSet<ServiceKey>,
    record_path: PathBuf,
    adopted: bool,
    /// What was set of it, so that it is set once.
    applied_tuning: Option<Tuning>,
    /// The daemons of connection synchronisation that we started.
    sync_daemons: Vec<SyncDaemon>,
}

impl IpvsDataPlane {
    /// Opens it; services that an earlier daemon made are ours.
    pub fn open(config: &Config, places: &PlanePaths) -> Result<IpvsDataPlane> {
        let namespace = config.ipvs_namespace.as_ref().map(|name| match name.as_str() {
            "" => PathBuf::from("/proc/1/ns/net"),
            name => Path::new("/run/netns").join(name),
        });
        let ipvs = match &namespace {
            Some(path) => Ipvs::open_in_netns(path)?,
            None => Ipvs::open()?,
        };
        let known = fs::read(&places.services_record).ok();
        let ours: BTreeSet<ServiceKey> = known.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let (adopted, record) = (!ours.is_empty(), places.services_record.clone());
        Ok(IpvsDataPlane {
            ipvs,
            namespace,
            ours,
            record_path: record,
            adopted,
            applied_tuning: None,
            sync_daemons: Vec::new(),
        })
    }

    /// Writes down which services are ours, if that is news.
    fn save_record(&self) {
        let written = if self.ours.is_empty() {
            match fs::remove_file(&self.record_path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context(|| "forget the services".into()),
                _ => Ok(()),
            }
        } else {
            let text = serde_json::to_vec(&self.ours).unwrap_or_default();
            fsutil::write_atomically(&self.record_path, &text)
        };
        if let Err(e) = written {
            tracing::warn!("{e}; after a crash, services that are not configured any more would stay");
        }
    }

    fn claim_keys<'a>(&mut self, keys: impl Iterator<Item = &'a ServiceKey>) {
        let known = self.ours.len();
        self.ours.extend(keys);
        if self.ours.len() != known {
            self.save_record();
        }
    }

    /// A step in IPVS's terms.
    fn to_ipvs_change(step: &Step) -> Change {
        match step {
            Step::AddService(k, spec) => Change::AddService(Service::from_plan(*k, spec)),
            Step::EditService(k, spec) => Change::EditService(Service::from_plan(*k, spec)),
            Step::RemoveService(k) => Change::RemoveService((*k).into()),
            Step::AddDest(k, d, spec) => Change::AddDest((*k).into(), Dest::from_plan(*d, spec)),
            Step::EditDest(k, d, spec) => Change::EditDest((*k).into(), Dest::from_plan(*d, spec)),
            Step::RemoveDest(k, d) => Change::RemoveDest((*k).into(), Dest::new(d.addr, d.port)),
        }
    }

    fn set_sysctls(&self, t: &Tuning) -> Vec<Error> {
        let again = self.applied_tuning.is_some();
        // Only what differs from IPVS's own: nothing is set that nobody asked for.
        let asked = sysctl_values(t)
            .into_iter()
            .zip(sysctl_values(&Tuning::default()))
            .filter(|(now, usual)| again || now != usual);
        asked.filter_map(|((name, value), _)| self.ipvs.set_sysctl(name, &value).err()).collect()
    }

    fn wanted_sync_daemons(setup: &SyncConfig, master: Option<bool>) -> Vec<SyncDaemon> {
        let daemon = |role| SyncDaemon {
            role,
            interface: setup.interface.clone(),
            syncid: setup.syncid.unwrap_or(0).into(),
            maxlen: setup.maxlen,
            group: setup.group,
            port: setup.port,
            ttl: setup.ttl,
        };
        match master {
            Some(true) => vec![daemon(SyncRole::Master)],
            Some(false) => vec![daemon(SyncRole::Backup)],
            None => vec![daemon(SyncRole::Master), daemon(SyncRole::Backup)],
        }
    }
}

/// What is a sysctl of IPVS, and its value.
fn sysctl_values(t: &Tuning) -> [(&'static str, String); 12] {
    let yes = |b: bool, on: &str| if b { on.to_owned() } else { "0".to_owned() };
    [
        ("conn_reuse_mode", t.conn_reuse_mode.to_string()),
        ("expire_nodest_conn", yes(t.expire_nodest_conn, "1")),
        ("expire_quiescent_template", yes(t.expire_quiescent_template, "1")),
        ("sloppy_tcp", yes(t.sloppy_tcp, "1")),
        ("sloppy_sctp", yes(t.sloppy_sctp, "1")),
        ("secure_tcp", yes(t.secure_tcp, "3")),
        ("schedule_icmp", yes(t.schedule_icmp, "1")),
        ("nat_icmp_send", yes(t.nat_icmp_send, "1")),
        ("pmtu_disc", yes(t.pmtu_disc, "1")),
        ("cache_bypass", yes(t.cache_bypass, "1")),
        ("lblc_expiration", t.lblc_expiration_s.to_string()),
        ("lblcr_expiration", t.lblcr_expiration_s.to_string()),
    ]
}

/// A destination in the plan's terms. Where IPVS has lost its method, because it is this machine, it is the one that
/// should be.
fn dest_spec(d: &Dest, should: Option<&DestSpec>) -> DestSpec {
    let as_routed = Dest { method: FwdMethod::Route, ..*d };
    let known = match d.method {
        FwdMethod::Local => {
            as_routed.to_spec().map(|s| DestSpec { method: should.map_or(s.method, |w| w.method), ..s })
        }
        _ => d.to_spec(),
    };
    // What the plan has no words for differs from everything: weight 2^31 - 1 and no limit that anybody would set.
    known.unwrap_or(DestSpec {
        weight: evenkeel_core::model::Weight::new(i32::MAX as u32).unwrap_or(evenkeel_core::model::Weight::QUIESCED),
        method: evenkeel_core::model::ForwardingMethod::Nat,
        u_threshold: u32::MAX,
        l_threshold: u32::MAX,
    })
}

impl DataPlane for IpvsDataPlane {
    fn kind(&self) -> PlaneKind {
        PlaneKind::Ipvs
    }

    fn adopted(&self) -> bool {
        self.adopted
    }

    fn observe(&mut self, desired: &Services) -> Result<PlaneObservation> {
        let mut out = PlaneObservation::default();
        let entries = self.ipvs.services_with_dests()?;
        // What somebody has removed is not ours if it comes back.
        let there: BTreeSet<ServiceKey> = entries.iter().map(|(e, _)| e.service.id.service_key()).collect();
        let known = self.ours.len();
        self.ours.retain(|k| there.contains(k) || desired.contains_key(k));
        if self.ours.len() != known {
            self.save_record();
        }
        for (entry, dests) in entries {
            let key = entry.service.id.service_key();
            let should = desired.get(&key);
            if should.is_none() && !self.ours.contains(&key) {
                out.external.insert(key);
                continue;
            }
            // A service that the plan has no words for is changed as a whole, if it is ours.
            let mut spec = entry.service.to_spec().unwrap_or_else(|| {
                evenkeel_core::plan::ServiceSpec::with_scheduler(evenkeel_core::model::Scheduler::None)
            });
            if let Some(w) = should {
                spec.removal_policy = w.spec.removal_policy;
            }
            let dest = |d: &evenkeel_core::ipvs::DestEntry| {
                let key = d.dest.server_key();
                let should = should.and_then(|s| s.dests.iter().find(|(k, _)| *k == key)).map(|(_, s)| s);
                (key, dest_spec(&d.dest, should))
            };
            out.services.insert(key, ServiceState { spec, dests: dests.iter().rev().map(dest).collect() });
        }
        Ok(out)
    }

    fn claim(&mut self, desired: &Services) {
        self.claim_keys(desired.keys());
    }

    fn apply(&mut self, steps: &[Step]) -> Vec<Error> {
        // Before they are there: a daemon that dies in between leaves nothing that nobody knows of.
        self.claim_keys(steps.iter().filter_map(|s| match s {
            Step::AddService(k, _) => Some(k),
            _ => None,
        }));
        let changes: Vec<Change> = steps.iter().map(IpvsDataPlane::to_ipvs_change).collect();
        let results = self.ipvs.apply_changes(&changes);
        let mut gone = false;
        let mut errors = Vec::new();
        for (step, result) in steps.iter().zip(results) {
            match (step, result.map_err(|e| explain_step(step, e))) {
                (Step::RemoveService(k), Ok(())) => gone |= self.ours.remove(k),
                (_, Ok(())) => {}
                (_, Err(e)) => errors.push(e),
            }
        }
        if gone {
            self.save_record();
        }
        errors
    }

    fn flush(&mut self) -> Vec<Error> {
        let error = self.ipvs.apply_change(&Change::Flush).err();
        if error.is_none() {
            self.ours.clear();
            self.save_record();
        }
        error.into_iter().collect()
    }

    fn tune(&mut self, config: &Config) -> Vec<Error> {
        let t = config.global.tuning;
        if config.virtual_servers.iter().any(|v| !v.mark_rules.is_empty()) {
            tracing::warn!("`member` has no effect here: IPVS sees the marks of netfilter only");
        }
        if self.applied_tuning == Some(t) {
            return Vec::new();
        }
        let usual = Tuning::default();
        let mut errors = self.set_sysctls(&t);
        // 0 leaves a timeout as it is.
        let set = |now: u32, usual: u32| if now == usual && self.applied_tuning.is_none() { 0 } else { now };
        let timeouts = Timeouts {
            tcp_s: set(t.tcp_s, usual.tcp_s),
            tcpfin_s: set(t.tcpfin_s, usual.tcpfin_s),
            udp_s: set(t.udp_s, usual.udp_s),
        };
        if timeouts != (Timeouts { tcp_s: 0, tcpfin_s: 0, udp_s: 0 }) {
            errors.extend(self.ipvs.apply_change(&Change::SetTimeouts(timeouts)).err());
        }
        self.applied_tuning = Some(t);
        errors
    }

    fn views(&mut self) -> Vec<ServiceRecord> {
        let Ok(entries) = self.ipvs.services_with_dests() else { return Vec::new() };
        let dest = |d: &evenkeel_core::ipvs::DestEntry| DestRecord {
            id: 0,
            key: d.dest.server_key(),
            spec: dest_spec(&d.dest, None),
            active: d.active,
            inactive: d.inactive,
            persistent: d.persistent,
            overload: false,
            hop: None,
            mtu: 0,
            local: d.dest.method == FwdMethod::Local,
            stats: d.stats,
        };
        let view = |(s, dests): &(ServiceEntry, Vec<evenkeel_core::ipvs::DestEntry>)| {
            let spec = s.service.to_spec();
            Some(ServiceRecord {
                key: s.service.id.service_key(),
                spec: spec?,
                stats: s.stats,
                dests: dests.iter().map(dest).collect(),
            })
        };
        entries.iter().filter_map(view).collect()
    }

    fn connections(&mut self) -> Result<Vec<Connection>> {
        self.ipvs.connections()
    }

    fn set_standby(&mut self, _: bool) {}

    fn import_connections(&mut self, connections: &[Connection]) -> Result<usize> {
        // How packets reach a server is said with the connection.
        let mut methods = BTreeMap::new();
        for (s, dests) in self.ipvs.services_with_dests()? {
            for d in dests {
                methods.insert((s.service.id.service_key(), d.dest.addr), d.dest.method);
            }
        }
        let method = |c: &Connection| {
            if c.fwmark != 0 {
                return methods.get(&(ServiceKey::from_fwmark(c.fwmark, c.client.0.is_ipv6()), c.dest.0)).copied();
            }
            let protocol = c.protocol()?;
            let service = |port| ServiceKey::new(protocol, c.service.0, port);
            c.candidate_service_ports().into_iter().find_map(|p| methods.get(&(service(p), c.dest.0))).copied()
        };
        let entries: Vec<SyncEntry> =
            connections.iter().filter_map(|c| SyncEntry::from_connection(c, method(c)?)).collect();
        Ok(connections.len() - entries.len() + self.ipvs.export_connections(&entries)?)
    }

    fn update_attachments(&mut self, _: &mut Netlink, _: &Config, _: UpdateReason) -> Vec<String> {
        Vec::new()
    }

    fn refresh_next_hops(&mut self, _: &mut Netlink) -> bool {
        true
    }

    fn unreachable_reason(&self, _: IpAddr) -> Option<String> {
        None
    }

    fn status(&mut self) -> DataPlaneStatus {
        let info = self.ipvs.info().ok();
        let version = info.map_or_else(String::new, |i| {
            let [_, a, b, c] = i.version.to_be_bytes();
            format!(" {a}.{b}.{c}")
        });
        DataPlaneStatus {
            kind: PlaneKind::Ipvs.name().to_owned(),
            detail: match &self.namespace {
                None => format!("the kernel's IPVS{version}"),
                Some(path) => format!("the kernel's IPVS{version} in {}", path.display()),
            },
            maps_reused: self.adopted,
            ..DataPlaneStatus::default()
        }
    }

    fn installed(&self) -> Vec<String> {
        let daemon = |d: &SyncDaemon| format!("connection synchronisation as {} on {}", d.role, d.interface);
        self.sync_daemons.iter().map(daemon).collect()
    }

    fn update_connection_sync(&mut self, config: &Config, master: Option<bool>) -> Vec<Error> {
        let wanted =
            config.global.sync.as_ref().map_or_else(Vec::new, |s| IpvsDataPlane::wanted_sync_daemons(s, master));
        if wanted == self.sync_daemons {
            return Vec::new();
        }
        let mut errors = Vec::new();
        let (stay, go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.sync_daemons).into_iter().partition(|d| wanted.contains(d));
        for d in go {
            errors.extend(self.ipvs.apply_change(&Change::StopDaemon(d)).err());
        }
        self.sync_daemons = stay;
        for d in wanted {
            if self.sync_daemons.contains(&d) {
                continue;
            }
            // What an earlier daemon left is ended first: it may have been of another role or interface.
            let _ = self.ipvs.apply_change(&Change::StopDaemon(d.clone()));
            match self.ipvs.apply_change(&Change::StartDaemon(d.clone())) {
                Ok(()) => {
                    tracing::info!("connections are synchronised as {} on {}", d.role, d.interface);
                    self.sync_daemons.push(d);
                }
                Err(e) => errors.push(explain_errno(e)),
            }
        }
        errors
    }

    fn release(mut self: Box<Self>, _: &mut Netlink, all: bool) {
        for d in std::mem::take(&mut self.sync_daemons) {
            let _ = self.ipvs.apply_change(&Change::StopDaemon(d));
        }
        let errors = if all {
            self.flush()
        } else {
            let there = match self.ipvs.services() {
                Ok(there) => there,
                // The record stays: the next daemon removes them.
                Err(e) => return tracing::error!("{e}; the services stay"),
            };
            let ours = there.iter().map(|s| s.service.id).filter(|id| self.ours.contains(&id.service_key()));
            let changes: Vec<Change> = ours.map(Change::RemoveService).collect();
            let errors = self.ipvs.apply_changes(&changes).into_iter().filter_map(Result::err).collect();
            self.ours.clear();
            self.save_record();
            errors
        };
        for e in errors {
            tracing::warn!("{e}");
        }
    }
}

fn explain_step(step: &Step, e: Error) -> Error {
    if let (Step::AddService(_, spec) | Step::EditService(_, spec), Some(2)) = (step, e.errno()) {
        let (what, hint) = (e.operation, "load it, or choose another scheduler; it is tried again all the time");
        let why = match spec.persistence_engine {
            None => format!("the module ip_vs_{} cannot be loaded", spec.scheduler),
            Some(engine) => {
                format!("the module ip_vs_{} or ip_vs_pe_{} cannot be loaded", spec.scheduler, engine.name())
            }
        };
        return Error::new(what, why).with_hint(hint);
    }
    explain_errno(e)
}

/// What an error number of IPVS means, and how to mend it.
fn explain_errno(e: Error) -> Error {
    const HINTS: [(i32, &str); 6] = [
        (1, "it needs root, or CAP_NET_ADMIN"),
        (2, "there is no such server any more: somebody else changes the table"),
        (3, "the service is gone: somebody else changes the table"),
        (17, "it is there already: somebody else changes the table"),
        (19, "the interface is not there"),
        (22, "IPVS refuses it: a server must be a unicast address of the service's family, or behind a tunnel"),
    ];
    match HINTS.iter().find(|(n, _)| e.errno() == Some(*n)) {
        Some((_, hint)) => e.with_hint(hint),
        None => e,
    }
}
