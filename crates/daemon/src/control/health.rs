//! What follows from health: who is told, and what changes in the data plane.

use std::collections::BTreeSet;

use evenkeel_core::health::{CheckId, Effect, Happening, ProbeResult};
use evenkeel_core::model::{Check, CheckKind, Found, ServiceKey, TrackedObject, VirtualServer};
use evenkeel_sys::clock;

use super::Control;
use crate::notify::{self, server_name, service_name};
use crate::services::{file, quorum_words};

impl Control {
    /// A check of a real server has come to a verdict.
    pub(super) fn judged(&mut self, id: CheckId, (up, effect): (bool, Effect), result: &ProbeResult) {
        let (service, server, _) = id;
        let word = match result.failed {
            _ if up => "passes".to_owned(),
            Some(phase) => format!("fails at {}", phase.name()),
            None => "fails".to_owned(),
        };
        tracing::info!(%service, %server, "{server} of {service}: check {word}: {}", result.detail);
        let happenings = self.services.judge(id, (up, effect), (&result.detail, result.failed), clock::now());
        let unsettled = self.unsettled.get_or_insert_default();
        unsettled.extend(happenings.into_iter().map(|h| (service, h, result.detail.clone())));
    }

    /// What follows from verdicts is done, once for all that came together. Traffic first: who is told can wait for that.
    pub(super) fn settle(&mut self) {
        let Some(happenings) = self.unsettled.take() else { return };
        self.reconcile();
        self.refresh_hops();
        for (service, h, because) in happenings {
            self.happened(service, h, &because);
        }
    }

    /// The same, of a check that does not probe: it may have been told so before.
    pub(super) fn told(&mut self, id: CheckId, (up, effect): (bool, Effect), result: &ProbeResult) {
        if let Some(s) = self.services.0.get_mut(&id.0) {
            s.told.insert((id.1, id.2), result.clone());
        }
        self.heard(id, (up, effect), result);
    }

    /// A verdict that may be known already.
    pub(super) fn heard(&mut self, id: CheckId, (up, effect): (bool, Effect), result: &ProbeResult) {
        if !self.services.agrees(id, up, effect) {
            self.judged(id, (up, effect), result);
        }
    }

    /// The checks that are of a kind.
    pub(super) fn checks_that(&self, follows: impl Fn(&Check) -> bool) -> Vec<(CheckId, CheckKind)> {
        let all = self.config.virtual_servers.iter().flat_map(|v| v.servers.iter().map(move |r| (v.key, r)));
        let checks = all.flat_map(|(v, r)| r.checks.iter().enumerate().map(move |(n, c)| ((v, r.key, n), c)));
        checks.filter(|(_, c)| follows(c)).map(|(id, c)| (id, c.kind.clone())).collect()
    }

    /// The number in a tracked file is another: so are the weights of those whose FILE_CHECK follows it.
    pub(super) fn file_changed(&mut self, name: &str, number: i32) {
        let follows = |c: &Check| matches!(&c.kind, CheckKind::File { name: n, .. } if n == name);
        for (id, kind) in self.checks_that(follows) {
            let (up, effect) = file(&kind, number);
            let result = ProbeResult::told(up, format!("track_file {name} holds {number}"));
            self.told(id, (up, effect), &result);
        }
    }

    /// Checks that are new follow their files as well.
    pub(super) fn files_as_they_stand(&mut self) {
        let known = |(object, (found, _)): (&TrackedObject, &(Option<Found>, String))| match (object, found) {
            (TrackedObject::File(name), Some(Found::Number(n))) => Some((name.clone(), *n)),
            _ => None,
        };
        let known: Vec<(String, i32)> = self.tracked.iter().filter_map(known).collect();
        for (name, number) in known {
            self.file_changed(&name, number);
        }
    }

    fn virtual_server(&self, service: ServiceKey) -> Option<&VirtualServer> {
        self.config.virtual_servers.iter().find(|v| v.key == service)
    }

    /// Tells everybody who wants to know. Of a group one address speaks for all.
    pub(super) fn happened(&mut self, service: ServiceKey, what: Happening, because: &str) {
        let Some(v) = self.virtual_server(service) else { return };
        if v.group.as_ref().is_some_and(|(_, speaks)| !speaks) {
            return;
        }
        let vs = service_name(v);
        match what {
            Happening::Server { key, up } => {
                let Some(r) = v.servers.iter().find(|r| r.key == key) else { return };
                let (state, rs) = (word(up), server_name(service, key));
                let script = if up { r.notify_up.clone() } else { r.notify_down.clone() };
                let mails = r.mail;
                tracing::info!(%service, server = %key, "{key} of {service} is {state}: {because}");
                self.fifos.server(&rs, &vs, state);
                notify::tell(&self.edge, format!("RS {rs} {vs}"), state, script.into_iter().collect());
                if mails {
                    let about = format!("Realserver {rs} of virtual server {vs} - {state}");
                    self.mail(&about, format!("{because}\n"));
                }
            }
            Happening::Service { up, .. } => {
                let (state, words) = (word(up), quorum_words(what));
                let script = if up { v.quorum_up.clone() } else { v.quorum_down.clone() };
                let mails = v.mail;
                tracing::info!(%service, "{service} is {state}: {words}");
                self.fifos.service(&vs, state);
                notify::tell(&self.edge, format!("VS {vs}"), state, script.into_iter().collect());
                if mails {
                    self.mail(&format!("Virtualserver {vs} - {state}"), format!("{words}\n"));
                }
            }
        }
    }

    /// `rs_init_notifies`: the real servers of new services that are up are told of as well.
    pub(super) fn first_words(&mut self, new: &[ServiceKey]) {
        if !self.config.global.rs_init_notifies {
            return;
        }
        for service in new {
            let Some(s) = self.services.0.get(service) else { continue };
            let up: Vec<_> = s.life.members().iter().filter(|m| m.up()).map(|m| m.key).collect();
            for key in up {
                self.happened(*service, Happening::Server { key, up: true }, "up at start");
            }
        }
    }

    /// `omega`: at stop, what is up is told as going down.
    pub(super) fn last_words(&mut self) {
        let omega: Vec<ServiceKey> = self.config.virtual_servers.iter().filter(|v| v.omega).map(|v| v.key).collect();
        for service in omega {
            let happenings = self.services.0.get(&service).map(|s| s.life.end()).unwrap_or_default();
            for h in happenings {
                self.happened(service, h, "the daemon stops");
            }
        }
    }

    /// `ha_suspend`: checks of a service rest while its address is on no device of this director. `all`: the checks may be
    /// new, and are told either way.
    pub(super) fn suspend(&mut self, all: bool) {
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
        self.edge.suspend(tell);
    }
}

/// keepalived's word for it.
fn word(up: bool) -> &'static str {
    if up { "UP" } else { "DOWN" }
}
