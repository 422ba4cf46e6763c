//! The reconciler: it owns the open data plane and makes it hold the desired services.
//!
//! The data plane is the only truth about services. `known` caches the services that it held after the last step, so
//! that one change costs one message; `None` means that it must be observed first. Every few seconds
//! [`Reconciler::repair`] observes it again: what differs from the desired services is drift, a change by somebody
//! else, which is set back or only shown (`hand_changes`). Services that are not configured are external: they are
//! shown and never changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evenkeel_core::activation::{InactiveReason, activation};
use evenkeel_core::model::{Config, DriftPolicy, FlushScope, ServiceKey};
use evenkeel_core::plan::{Services, Step, apply, diff};
use evenkeel_core::time::Instant;
use evenkeel_sys::Error;
use evenkeel_sys::clock;
use evenkeel_sys::netlink::Netlink;

use super::monitored_services::{DownServers, servers_found_down};
use crate::plane::{self, DataPlane, PlaneKind, PlanePaths, UpdateReason};

/// Observing a large table takes long. It takes at most one part in this many of the time.
const OBSERVATION_SHARE: u32 = 100;

/// The data plane, and how it differs from what is desired.
pub struct Reconciler {
    /// The open data plane; `None` while there is nothing to balance.
    pub plane: Option<Box<dyn DataPlane>>,
    /// The last error of attaching it to devices.
    pub attach_error: Option<String>,
    /// Why services are not served now.
    pub inactive: BTreeMap<ServiceKey, InactiveReason>,
    /// What others changed.
    pub external: ExternalChanges,
    known: Option<Services>,
    next_observation: Instant,
    is_observation_requested: bool,
    paths: PlanePaths,
}

/// Changes of the data plane by others.
#[derive(Default)]
pub struct ExternalChanges {
    /// Services that this daemon does not configure.
    pub services: BTreeSet<ServiceKey>,
    /// The steps that would set configured services back; empty unless `hand_changes leave`.
    pub drift: Vec<Step>,
    /// Number of steps that set configured services back since the start.
    pub repaired: u64,
}

impl Reconciler {
    /// No data plane is open.
    pub fn new(paths: PlanePaths) -> Reconciler {
        let now = clock::now();
        Reconciler {
            plane: None,
            attach_error: None,
            inactive: BTreeMap::new(),
            external: ExternalChanges::default(),
            known: None,
            next_observation: now,
            is_observation_requested: false,
            paths,
        }
    }

    /// Opens the data plane that a configuration needs, if none is open. Takes over what an earlier daemon left, even
    /// if nothing is to be balanced any more: to remove it. Returns the servers that the earlier daemon had found down.
    pub fn open(&mut self, config: &Config, netlink: &mut Netlink) -> anyhow::Result<DownServers> {
        let is_needed = !config.virtual_servers.is_empty() || plane::has_leftovers(&self.paths);
        if self.plane.is_some() || !is_needed {
            return Ok(DownServers::new());
        }
        let mut down = DownServers::new();
        let mut plane = plane::open(config, &self.paths)?;
        let mut other = plane::open_leftover_plane(plane.kind(), config, &self.paths);
        let inherited = other.as_mut().map_or_else(|| plane.is_inherited().then_some(&mut plane), Some);
        let mut services = Services::new();
        if let Some(inherited) = inherited {
            match inherited.observe(&Services::new()) {
                Ok(observed) => services = observed.services,
                Err(e) => tracing::error!("cannot observe the services of an earlier daemon: {e}"),
            }
            let (count, conns) = (services.len(), inherited.connections().map_or(0, |c| c.len()));
            tracing::info!(services = count, conns, "took over {count} services and {conns} connections");
            down = servers_found_down(config, &services);
        } else if config.global.flush_on_start {
            log_errors("flush the data plane", plane.flush());
        }
        // Health is not known yet: the services move over as they are.
        services.retain(|k, _| config.virtual_servers.iter().any(|v| v.key == *k));
        self.plane = Some(match other {
            Some(old) => plane::switch_plane(old, plane, &services, config, netlink),
            None => plane,
        });
        self.known = None;
        Ok(down)
    }

    /// Switches to the other kind of data plane if a configuration asks for it. `desired` gives the services to begin
    /// with.
    pub fn switch(
        &mut self,
        config: &Config,
        desired: impl FnOnce() -> Services,
        netlink: &mut Netlink,
    ) -> anyhow::Result<()> {
        let Some(kind) = self.plane.as_ref().map(|p| p.kind()).filter(|k| !plane::is_suitable(*k, config)) else {
            return Ok(());
        };
        let new = plane::open(config, &self.paths)?;
        if new.kind() == kind {
            return Ok(()); // the other kind is not available
        }
        if let Some(old) = self.plane.take() {
            self.plane = Some(plane::switch_plane(old, new, &desired(), config, netlink));
        }
        self.known = None;
        self.attach_error = None;
        Ok(())
    }

    /// Whether the packet path holds services of others although this daemon has none configured and none open.
    pub fn has_unopened_services(&self, config: &Config) -> bool {
        self.plane.is_none() && plane::has_manual_services(config, &self.paths)
    }

    /// Makes the data plane hold the desired services; returns the steps.
    pub fn reconcile(&mut self, desired: &Services) -> Vec<Step> {
        if self.known.is_none() {
            self.known = self.observe(desired);
        }
        let (Some(plane), Some(known)) = (&mut self.plane, &mut self.known) else { return Vec::new() };
        let steps = diff(desired, known);
        for step in &steps {
            tracing::info!(service = %step.service(), "{step}");
        }
        let errors = plane.apply(&steps);
        if errors.is_empty() {
            apply(&steps, known);
        } else {
            // Which of the steps were done is not known.
            self.known = None;
        }
        log_errors("change the data plane", errors);
        steps
    }

    /// Makes the next [`Reconciler::reconcile`] observe the data plane first.
    pub fn forget_known_services(&mut self) {
        self.known = None;
    }

    fn observe(&mut self, desired: &Services) -> Option<Services> {
        let plane = self.plane.as_mut()?;
        plane.claim(desired);
        match plane.observe(desired) {
            Ok(observed) => {
                self.external.services = observed.external;
                Some(observed.services)
            }
            Err(e) => {
                tracing::error!("cannot observe the data plane: {e}");
                None
            }
        }
    }

    /// A client changed the data plane: it shall be observed as soon as enough time has passed since the last
    /// observation.
    pub fn request_observation(&mut self) {
        self.is_observation_requested = true;
    }

    /// When the requested observation is due; `None` without a request.
    pub fn requested_observation_time(&self) -> Option<Instant> {
        self.is_observation_requested.then_some(self.next_observation)
    }

    /// Whether enough time has passed since the last observation.
    pub fn is_observation_due(&self, now: Instant) -> bool {
        now >= self.next_observation
    }

    /// Postpones the next observation by a multiple of the time since `start`, when this one began.
    pub fn postpone_observation(&mut self, start: Instant) {
        self.is_observation_requested = false;
        self.next_observation = start + clock::now().duration_since(start) * OBSERVATION_SHARE;
    }

    /// Observes the data plane, if one is open, and sets drift back or shows it.
    pub fn repair(&mut self, desired: &Services, config: &Config, netlink: &mut Netlink) {
        if self.plane.is_none() {
            return;
        }
        let start = clock::now();
        let had_external = !self.external.services.is_empty();
        let observed = self.observe(desired);
        if had_external || !self.external.services.is_empty() {
            // Packets of external services, and replies of their servers, may arrive on other devices.
            self.update_attachments(config, netlink, UpdateReason::NetworkEvent);
        }
        let drift = observed.as_ref().map_or_else(Vec::new, |o| diff(desired, o));
        match config.global.drift_policy {
            DriftPolicy::Leave => {
                if drift != self.external.drift && !drift.is_empty() {
                    let steps = drift.len();
                    tracing::warn!(steps, "drift: {steps} changes by others stay (hand_changes leave)");
                }
                self.external.drift = drift;
            }
            DriftPolicy::Repair => {
                self.external.repaired += drift.len() as u64;
                self.external.drift.clear();
                self.known = observed;
            }
        }
        self.reconcile(desired);
        self.postpone_observation(start);
    }

    /// Attaches the data plane to the devices that need it.
    pub fn update_attachments(&mut self, config: &Config, netlink: &mut Netlink, reason: UpdateReason) {
        let Some(plane) = &mut self.plane else { return };
        // What failed before is tried again: the errors are those that stand now.
        self.attach_error = plane.update_attachments(netlink, config, reason).pop();
    }

    /// Attaches again what somebody has detached.
    pub fn repair_attachments(&mut self, config: &Config, netlink: &mut Netlink) {
        let Some(plane) = &mut self.plane else { return };
        plane.repair_attachments(netlink);
        if plane.has_new_filter_rules() {
            self.update_attachments(config, netlink, UpdateReason::NetworkEvent);
        }
    }

    /// Makes services active whose addresses this host serves, and all others inactive.
    pub fn update_activation(&mut self, config: &Config, netlink: &mut Netlink) {
        let Some(plane) = &mut self.plane else { return };
        if plane.kind() != PlaneKind::Xdp {
            return;
        }
        let seen = self.paths.serve_all.look();
        let addresses = match local_addresses(netlink) {
            Ok(addresses) => addresses,
            Err(e) => return tracing::warn!("cannot tell which addresses are local: {e}"),
        };
        let services = config.virtual_servers.iter().map(|v| v.key).chain(self.external.services.iter().copied());
        let mut marks = None;
        let is_local = |addr| netlink.is_local(addr, &mut marks);
        let activation = activation(config, services, &addresses, is_local);
        let active = activation.iter().map(|(k, reason)| (*k, reason.is_none())).collect();
        match plane.set_active_services(&active) {
            Ok(changed) => {
                for (service, active) in changed {
                    let reason = activation.get(&service).and_then(Option::as_ref);
                    let reason = reason.map_or_else(String::new, |r| format!(": {r}"));
                    let state = if active { "active" } else { "inactive" };
                    tracing::info!(%service, "{service} is {state}{reason}");
                }
                if let Some(seen) = seen {
                    self.paths.serve_all.clear(seen);
                }
            }
            Err(e) => tracing::error!("cannot activate services: {e}"),
        }
        self.inactive = activation.into_iter().filter_map(|(k, reason)| Some((k, reason?))).collect();
    }

    /// Sets timeouts and other tuning.
    pub fn tune(&mut self, config: &Config) {
        let Some(plane) = &mut self.plane else { return };
        log_errors("tune the data plane", plane.tune(config));
    }

    /// Starts and stops the synchronisation of connections with another director. `is_master`: whether the instance
    /// that `lvs_sync_daemon` names is master; `None` if it names none.
    pub fn update_connection_sync(&mut self, config: &Config, is_master: Option<bool>) {
        let Some(plane) = &mut self.plane else { return };
        log_errors("synchronise connections", plane.update_connection_sync(config, is_master));
    }

    /// Looks up the next hops of real servers again.
    pub fn refresh_next_hops(&mut self, netlink: &mut Netlink) {
        if let Some(plane) = &mut self.plane {
            plane.refresh_next_hops(netlink);
        }
    }

    /// Removes the services of this daemon and detaches the data plane; with [`FlushScope::All`] external services too.
    pub fn release(&mut self, scope: FlushScope, netlink: &mut Netlink) {
        if let Some(plane) = self.plane.take() {
            plane.release(netlink, scope == FlushScope::All);
        }
    }
}

/// The addresses of this host, with the names of their devices.
fn local_addresses(netlink: &mut Netlink) -> evenkeel_sys::Result<BTreeSet<(IpAddr, String)>> {
    let names: BTreeMap<u32, String> = netlink.links()?.into_iter().map(|l| (l.index, l.name)).collect();
    let all = netlink.addresses()?;
    Ok(all.iter().filter_map(|a| Some((a.addr, names.get(&a.ifindex)?.clone()))).collect())
}

fn log_errors(operation: &str, errors: Vec<Error>) {
    for e in errors {
        tracing::error!("cannot {operation}: {e}");
    }
}
