//! The kernel's IPVS as a data plane, over generic netlink, as keepalived drives it.
//!
//! A service belongs to this daemon if it added it, or if it is configured. The keys of its services are recorded in a
//! file, so that the next daemon knows which ones to remove after a crash. Services of others are external.

mod errors;
mod import;
mod observe;
mod record;
mod sync_daemons;
mod tuning;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use evenkeel_core::ipc::DataPlaneStatus;
use evenkeel_core::ipvs::{Change, Connection, Dest, Service};
use evenkeel_core::model::{Config, ServiceKey};
use evenkeel_core::plan::{Services, Step};
use evenkeel_sys::bpf::ServiceRecord;
use evenkeel_sys::ipvs::Ipvs;
use evenkeel_sys::ipvs_backend::IpvsBackend;
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::{Error, Result};

use self::errors::explain_step_error;
use self::record::OwnServices;
use self::sync_daemons::SyncDaemons;
use self::tuning::AppliedTuning;
use super::data_plane::{DataPlane, PlaneKind, PlaneObservation, PlanePaths, UpdateReason};

/// IPVS in one network namespace.
pub struct IpvsDataPlane {
    ipvs: Ipvs,
    namespace: Option<PathBuf>,
    own: OwnServices,
    is_inherited: bool,
    tuning: AppliedTuning,
    sync: SyncDaemons,
}

impl IpvsDataPlane {
    /// Opens IPVS. The services of an earlier daemon are this daemon's.
    pub fn open(config: &Config, paths: &PlanePaths) -> Result<IpvsDataPlane> {
        let namespace = config.ipvs_namespace.as_ref().map(|name| match name.as_str() {
            "" => PathBuf::from("/proc/1/ns/net"),
            name => Path::new("/run/netns").join(name),
        });
        let ipvs = match &namespace {
            Some(path) => Ipvs::open_in_netns(path)?,
            None => Ipvs::open()?,
        };
        let own = OwnServices::load(&paths.services_record);
        let is_inherited = !own.is_empty();
        let (tuning, sync) = (AppliedTuning::default(), SyncDaemons::default());
        Ok(IpvsDataPlane { ipvs, namespace, own, is_inherited, tuning, sync })
    }
}

/// A step as a change of IPVS.
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

impl DataPlane for IpvsDataPlane {
    fn kind(&self) -> PlaneKind {
        PlaneKind::Ipvs
    }

    fn is_inherited(&self) -> bool {
        self.is_inherited
    }

    fn observe(&mut self, desired: &Services) -> Result<PlaneObservation> {
        let entries = self.ipvs.services_with_dests()?;
        // A service that somebody removed is not this daemon's if it comes back.
        let existing: BTreeSet<ServiceKey> = entries.iter().map(|(e, _)| e.service.id.service_key()).collect();
        self.own.retain(|k| existing.contains(k) || desired.contains_key(k));
        let mut out = PlaneObservation::default();
        for (entry, dests) in &entries {
            let key = entry.service.id.service_key();
            if !desired.contains_key(&key) && !self.own.contains(&key) {
                out.external.insert(key);
            } else {
                out.services.insert(key, observe::service_state(entry, dests, desired.get(&key)));
            }
        }
        Ok(out)
    }

    fn claim(&mut self, desired: &Services) {
        self.own.add(desired.keys());
    }

    fn apply(&mut self, steps: &[Step]) -> Vec<Error> {
        // Recorded before they are added: a daemon that dies in between leaves no service that no record has.
        self.own.add(steps.iter().filter_map(|s| match s {
            Step::AddService(k, _) => Some(k),
            _ => None,
        }));
        let changes: Vec<Change> = steps.iter().map(to_ipvs_change).collect();
        let results = self.ipvs.apply_changes(&changes);
        let mut removed = BTreeSet::new();
        let mut errors = Vec::new();
        for (step, result) in steps.iter().zip(results) {
            match (step, result) {
                (Step::RemoveService(k), Ok(())) => drop(removed.insert(*k)),
                (_, Ok(())) => {}
                (_, Err(e)) => errors.push(explain_step_error(step, e)),
            }
        }
        self.own.retain(|k| !removed.contains(k));
        errors
    }

    fn flush(&mut self) -> Vec<Error> {
        let error = self.ipvs.apply_change(&Change::Flush).err();
        if error.is_none() {
            self.own.clear();
        }
        error.into_iter().collect()
    }

    fn tune(&mut self, config: &Config) -> Vec<Error> {
        if config.virtual_servers.iter().any(|v| !v.mark_rules.is_empty()) {
            tracing::warn!("`member` has no effect with IPVS: only netfilter can set its firewall marks");
        }
        self.tuning.apply(&mut self.ipvs, &config.global.tuning)
    }

    fn service_records(&mut self) -> Vec<ServiceRecord> {
        let Ok(entries) = self.ipvs.services_with_dests() else { return Vec::new() };
        entries.iter().filter_map(|(entry, dests)| observe::service_record(entry, dests)).collect()
    }

    fn connections(&mut self) -> Result<Vec<Connection>> {
        self.ipvs.connections()
    }

    fn set_standby(&mut self, _: bool) {}

    fn import_connections(&mut self, connections: &[Connection]) -> Result<usize> {
        import::import_connections(&mut self.ipvs, connections)
    }

    // IPVS hooks into netfilter of every device, and uses the kernel's routes.

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
            maps_reused: self.is_inherited,
            ..DataPlaneStatus::default()
        }
    }

    fn installed(&self) -> Vec<String> {
        self.sync.installed()
    }

    fn update_connection_sync(&mut self, config: &Config, is_master: Option<bool>) -> Vec<Error> {
        self.sync.configure(&mut self.ipvs, config.global.sync.as_ref(), is_master)
    }

    fn release(mut self: Box<Self>, _: &mut Netlink, all: bool) {
        self.sync.stop(&mut self.ipvs);
        let errors = if all {
            self.flush()
        } else {
            let existing = match self.ipvs.services() {
                Ok(existing) => existing,
                // The record stays, so that the next daemon removes them.
                Err(e) => return tracing::error!("the services of this daemon stay in IPVS: {e}"),
            };
            let own = existing.iter().map(|s| s.service.id).filter(|id| self.own.contains(&id.service_key()));
            let changes: Vec<Change> = own.map(Change::RemoveService).collect();
            let errors = self.ipvs.apply_changes(&changes).into_iter().filter_map(Result::err).collect();
            self.own.clear();
            errors
        };
        for e in errors {
            tracing::warn!("cannot remove a service from IPVS: {e}");
        }
    }
}
