//! What follows from health: who is told, and what changes in the data plane.

use std::collections::BTreeSet;

use evenkeel_core::health::{CheckId, HealthEvent, ProbeResult, WeightEffect};
use evenkeel_core::model::{Check, CheckKind, ServiceKey, TrackResult, TrackedObject, VirtualServer};
use evenkeel_sys::clock;

use super::Controller;
use crate::notifications::{self, server_name, service_name};
use crate::services::{file_check_verdict, quorum_message};

impl Controller {
    /// A check of a real server has come to a verdict.
    pub(super) fn apply_verdict(&mut self, id: CheckId, (up, effect): (bool, WeightEffect), result: &ProbeResult) {
        let (service, server, _) = id;
        let word = match result.failed {
            _ if up => "passes".to_owned(),
            Some(phase) => format!("fails at {}", phase.name()),
            None => "fails".to_owned(),
        };
        tracing::info!(%service, %server, "{server} of {service}: check {word}: {}", result.detail);
        let happenings = self.services.record_verdict(id, (up, effect), (&result.detail, result.failed), clock::now());
        let unsettled = self.pending_events.get_or_insert_default();
        unsettled.extend(happenings.into_iter().map(|h| (service, h, result.detail.clone())));
    }

    /// What follows from verdicts is done, once for all that came together. Traffic first: who is told can wait for that.
    pub(super) fn commit_verdicts(&mut self) {
        let Some(happenings) = self.pending_events.take() else { return };
        self.reconcile();
        self.refresh_next_hops();
        for (service, h, because) in happenings {
            self.publish_event(service, h, &because);
        }
    }

    /// The same, of a check that does not probe: it may have been told so before.
    pub(super) fn apply_passive_result(
        &mut self,
        id: CheckId,
        (up, effect): (bool, WeightEffect),
        result: &ProbeResult,
    ) {
        if let Some(s) = self.services.0.get_mut(&id.0) {
            s.passive_results.insert((id.1, id.2), result.clone());
        }
        self.apply_verdict_if_new(id, (up, effect), result);
    }

    /// A verdict that may be known already.
    pub(super) fn apply_verdict_if_new(
        &mut self,
        id: CheckId,
        (up, effect): (bool, WeightEffect),
        result: &ProbeResult,
    ) {
        if !self.services.has_verdict(id, up, effect) {
            self.apply_verdict(id, (up, effect), result);
        }
    }

    /// The checks that are of a kind.
    pub(super) fn checks_matching(&self, follows: impl Fn(&Check) -> bool) -> Vec<(CheckId, CheckKind)> {
        let all = self.config.virtual_servers.iter().flat_map(|v| v.servers.iter().map(move |r| (v.key, r)));
        let checks = all.flat_map(|(v, r)| r.checks.iter().enumerate().map(move |(n, c)| ((v, r.key, n), c)));
        checks.filter(|(_, c)| follows(c)).map(|(id, c)| (id, c.kind.clone())).collect()
    }

    /// The number in a tracked file is another: so are the weights of those whose FILE_CHECK follows it.
    pub(super) fn handle_file_change(&mut self, name: &str, number: i32) {
        let follows = |c: &Check| matches!(&c.kind, CheckKind::File { name: n, .. } if n == name);
        for (id, kind) in self.checks_matching(follows) {
            let (up, effect) = file_check_verdict(&kind, number);
            let result = ProbeResult::reported(up, format!("track_file {name} holds {number}"));
            self.apply_passive_result(id, (up, effect), &result);
        }
    }

    /// Checks that are new follow their files as well.
    pub(super) fn apply_file_states(&mut self) {
        let known = |(object, (found, _)): (&TrackedObject, &(Option<TrackResult>, String))| match (object, found) {
            (TrackedObject::File(name), Some(TrackResult::Number(n))) => Some((name.clone(), *n)),
            _ => None,
        };
        let known: Vec<(String, i32)> = self.tracked.iter().filter_map(known).collect();
        for (name, number) in known {
            self.handle_file_change(&name, number);
        }
    }

    fn virtual_server(&self, service: ServiceKey) -> Option<&VirtualServer> {
        self.config.virtual_servers.iter().find(|v| v.key == service)
    }

    /// Tells everybody who wants to know. Of a group one address speaks for all.
    pub(super) fn publish_event(&mut self, service: ServiceKey, what: HealthEvent, because: &str) {
        let Some(v) = self.virtual_server(service) else { return };
        if v.group.as_ref().is_some_and(|(_, speaks)| !speaks) {
            return;
        }
        let vs = service_name(v);
        match what {
            HealthEvent::Server { key, up } => {
                let Some(r) = v.servers.iter().find(|r| r.key == key) else { return };
                let (state, rs) = (up_or_down(up), server_name(service, key));
                let script = if up { r.notify_up.clone() } else { r.notify_down.clone() };
                let mails = r.mail;
                tracing::info!(%service, server = %key, "{key} of {service} is {state}: {because}");
                self.fifos.write_server(&rs, &vs, state);
                notifications::run_notify_scripts(
                    &self.edge,
                    format!("RS {rs} {vs}"),
                    state,
                    script.into_iter().collect(),
                );
                if mails {
                    let about = format!("Realserver {rs} of virtual server {vs} - {state}");
                    self.send_mail(&about, format!("{because}\n"));
                }
            }
            HealthEvent::Quorum { up, .. } => {
                let (state, words) = (up_or_down(up), quorum_message(what));
                let script = if up { v.quorum_up.clone() } else { v.quorum_down.clone() };
                let mails = v.mail;
                tracing::info!(%service, "{service} is {state}: {words}");
                self.fifos.write_service(&vs, state);
                notifications::run_notify_scripts(&self.edge, format!("VS {vs}"), state, script.into_iter().collect());
                if mails {
                    self.send_mail(&format!("Virtualserver {vs} - {state}"), format!("{words}\n"));
                }
            }
        }
    }

    /// `rs_init_notifies`: the real servers of new services that are up are told of as well.
    pub(super) fn notify_initial_state(&mut self, new: &[ServiceKey]) {
        if !self.config.global.rs_init_notifies {
            return;
        }
        for service in new {
            let Some(s) = self.services.0.get(service) else { continue };
            let up: Vec<_> = s.health.servers().iter().filter(|m| m.is_up()).map(|m| m.key).collect();
            for key in up {
                self.publish_event(*service, HealthEvent::Server { key, up: true }, "up at start");
            }
        }
    }

    /// `omega`: at stop, what is up is told as going down.
    pub(super) fn notify_omega(&mut self) {
        let omega: Vec<ServiceKey> = self.config.virtual_servers.iter().filter(|v| v.omega).map(|v| v.key).collect();
        for service in omega {
            let happenings = self.services.0.get(&service).map(|s| s.health.shutdown_events()).unwrap_or_default();
            for h in happenings {
                self.publish_event(service, h, "the daemon stops");
            }
        }
    }

    /// `ha_suspend`: checks of a service rest while its address is on no device of this director. `all`: the checks may be
    /// new, and are told either way.
    pub(super) fn update_suspended_checks(&mut self, all: bool) {
        let concerned = self.config.virtual_servers.iter().filter(|v| v.ha_suspend);
        let concerned: BTreeSet<ServiceKey> = concerned.map(|v| v.key).collect();
        self.suspended.retain(|s| concerned.contains(s));
        if concerned.is_empty() {
            return;
        }
        let Ok(addresses) = self.netlink.addresses() else { return };
        let here: BTreeSet<std::net::IpAddr> = addresses.into_iter().map(|a| a.addr).collect();
        let mut tell = Vec::new();
        for service in concerned {
            let rests = !here.contains(&service.addr);
            let new = if rests { self.suspended.insert(service) } else { self.suspended.remove(&service) };
            if new {
                let how = if rests { "rest: its address is not here" } else { "are made: its address is here" };
                tracing::info!(%service, "checks of {service} {how}");
            }
            if new || all {
                tell.push((service, rests));
            }
        }
        self.edge.set_suspended(tell);
    }
}

/// keepalived's word for it.
fn up_or_down(up: bool) -> &'static str {
    if up { "UP" } else { "DOWN" }
}
