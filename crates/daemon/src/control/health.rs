//! The health part: which real servers are up, which services have their quorum, and which checks are suspended.
//!
//! A verdict of a check becomes health events ([`Health::handle_verdict`]). Events wait until all verdicts that arrived
//! together are handled: then the data plane changes once, and only afterwards FIFOs, scripts and mail are notified.
//! Traffic comes first.
//!
//! Checks are of two kinds. Active checks send probes from the edge process. Passive checks send none: BFD_CHECK
//! follows a BFD session and FILE_CHECK follows a tracked file ([`Health::handle_bfd_change`],
//! [`Health::handle_file_change`]).

use std::collections::BTreeSet;
use std::net::IpAddr;

use evenkeel_core::health::{CheckId, HealthEvent, ProbeResult, WeightEffect};
use evenkeel_core::model::{Check, CheckKind, Config, ServiceKey};
use evenkeel_core::plan::{Services, desired_services};
use evenkeel_sys::clock;

use super::monitored_services::{MonitoredServices, file_check_verdict};

/// A health event with its service and its reason.
pub struct PendingEvent {
    /// The virtual service.
    pub service: ServiceKey,
    /// What happened to it or to one of its servers.
    pub event: HealthEvent,
    /// Why.
    pub reason: String,
}

/// The health of all virtual services.
#[derive(Default)]
pub struct Health {
    /// Health and history of each virtual service.
    pub services: MonitoredServices,
    /// Services whose checks are suspended (`ha_suspend`).
    pub suspended: BTreeSet<ServiceKey>,
    /// How often the edge process died since the start.
    pub edge_deaths: u64,
    /// Events that the data plane does not have yet; `None` if no verdict arrived.
    pending: Option<Vec<PendingEvent>>,
}

impl Health {
    /// The services that the data plane should hold.
    pub fn desired_services(&self, config: &Config) -> Services {
        desired_services(&config.virtual_servers, &|v| self.services.active_servers(v))
    }

    /// Handles a verdict of a check: up or down, and its effect on the server's weight. The events wait for
    /// [`Health::take_pending_events`].
    pub fn handle_verdict(&mut self, id: CheckId, (up, effect): (bool, WeightEffect), result: &ProbeResult) {
        let (service, server, _) = id;
        let outcome = match result.failed {
            _ if up => "passes".to_owned(),
            Some(phase) => format!("fails at {}", phase.name()),
            None => "fails".to_owned(),
        };
        tracing::info!(%service, %server, "{server} of {service}: check {outcome}: {}", result.detail);
        let reason = (result.detail.as_str(), result.failed);
        let events = self.services.record_verdict(id, (up, effect), reason, clock::now());
        let pending = |event| PendingEvent { service, event, reason: result.detail.clone() };
        self.pending.get_or_insert_default().extend(events.into_iter().map(pending));
    }

    /// Handles a verdict that may be the present one.
    pub fn handle_verdict_if_new(&mut self, id: CheckId, (up, effect): (bool, WeightEffect), result: &ProbeResult) {
        if !self.services.has_verdict(id, up, effect) {
            self.handle_verdict(id, (up, effect), result);
        }
    }

    /// Takes the events of all verdicts since the last call; `None` if there was no verdict.
    pub fn take_pending_events(&mut self) -> Option<Vec<PendingEvent>> {
        self.pending.take()
    }

    /// The number in a tracked file changed: applies it to every FILE_CHECK that follows the file.
    pub fn handle_file_change(&mut self, config: &Config, name: &str, number: i32) {
        let follows = |c: &Check| matches!(&c.kind, CheckKind::File { name: n, .. } if n == name);
        for (id, kind) in checks_matching(config, follows) {
            self.handle_passive_verdict(
                id,
                file_check_verdict(&kind, number),
                format!("track_file {name} holds {number}"),
            );
        }
    }

    /// A BFD session came up or went down: applies it to every BFD_CHECK that follows the session.
    pub fn handle_bfd_change(&mut self, config: &Config, name: &str, (up, detail): (bool, &str)) {
        let follows = |c: &Check| matches!(&c.kind, CheckKind::Bfd(session) if session == name);
        for (id, _) in checks_matching(config, follows) {
            self.handle_passive_verdict(id, (up, WeightEffect::None), format!("BFD session {name} is {detail}"));
        }
    }

    fn handle_passive_verdict(&mut self, id: CheckId, (up, effect): (bool, WeightEffect), detail: String) {
        let result = ProbeResult::reported(up, detail);
        self.services.record_passive_result(id, &result);
        self.handle_verdict_if_new(id, (up, effect), &result);
    }

    /// `ha_suspend`: suspends the checks of services whose address is on no device of this director, and resumes the
    /// others. Returns the services whose state changed, true for suspended; with `all`, which a new configuration
    /// needs, every service that has `ha_suspend`. `addresses` lists the addresses of this director.
    pub fn update_suspended(
        &mut self,
        config: &Config,
        all: bool,
        addresses: impl FnOnce() -> Option<BTreeSet<IpAddr>>,
    ) -> Option<Vec<(ServiceKey, bool)>> {
        let concerned = config.virtual_servers.iter().filter(|v| v.ha_suspend);
        let concerned: BTreeSet<ServiceKey> = concerned.map(|v| v.key).collect();
        self.suspended.retain(|s| concerned.contains(s));
        if concerned.is_empty() {
            return None;
        }
        let addresses = addresses()?;
        let mut out = Vec::new();
        for service in concerned {
            let suspend = !addresses.contains(&service.addr);
            let changed = if suspend { self.suspended.insert(service) } else { self.suspended.remove(&service) };
            if changed {
                let (verb, place) = if suspend { ("suspended", "not on") } else { ("resumed", "on") };
                tracing::info!(%service, "checks of {service} {verb}: its address is {place} this director");
            }
            if changed || all {
                out.push((service, suspend));
            }
        }
        Some(out)
    }

    /// `rs_init_notifies`: an event for each server that is up in services that were added.
    pub fn initial_events(&self, config: &Config, added: &[ServiceKey]) -> Vec<PendingEvent> {
        if !config.global.rs_init_notifies {
            return Vec::new();
        }
        let mut out = Vec::new();
        for service in added {
            let Some(record) = self.services.get(*service) else { continue };
            for server in record.health.servers().iter().filter(|s| s.is_up()) {
                let event = HealthEvent::Server { key: server.key, up: true };
                out.push(PendingEvent { service: *service, event, reason: "up at start".to_owned() });
            }
        }
        out
    }

    /// `omega`: at stop, everything that is up goes down.
    pub fn omega_events(&self, config: &Config) -> Vec<PendingEvent> {
        let mut out = Vec::new();
        for service in config.virtual_servers.iter().filter(|v| v.omega).map(|v| v.key) {
            let events = self.services.get(service).map(|record| record.health.shutdown_events()).unwrap_or_default();
            let reason = "the daemon stops";
            out.extend(events.into_iter().map(|event| PendingEvent { service, event, reason: reason.to_owned() }));
        }
        out
    }
}

/// The checks of a configuration that match, with their kinds.
fn checks_matching(config: &Config, matches: impl Fn(&Check) -> bool) -> Vec<(CheckId, CheckKind)> {
    let servers = config.virtual_servers.iter().flat_map(|v| v.servers.iter().map(move |r| (v.key, r)));
    let checks = servers.flat_map(|(v, r)| r.checks.iter().enumerate().map(move |(n, c)| ((v, r.key, n), c)));
    checks.filter(|(_, c)| matches(c)).map(|(id, c)| (id, c.kind.clone())).collect()
}
