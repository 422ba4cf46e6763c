//! What the other threads tell, and who is told of it in turn.

use evenkeel_core::health::{Phase, ProbeResult};
use evenkeel_core::model::{Check, CheckKind, Found, TrackedObject};
use evenkeel_core::vrrp::State;
use evenkeel_sys::clock;

use super::Control;
use crate::edge::{self, CheckId};
use crate::{notify, router};

impl Control {
    pub(super) fn router_event(&mut self, event: router::Event) {
        match event {
            router::Event::Transition { name, from, to, because, priority, deleted, notify } => {
                tracing::info!(instance = %name, from = %from, to = %to, priority, "{name}: {from} -> {to}: {because}");
                notify::transition(&mut self.fifos, &self.edge, ("INSTANCE", &name), (to, deleted), priority, &notify);
                if notify.mail && self.mails(to) {
                    let body = format!("{from} -> {to}: {because}\npriority {priority}\n");
                    self.mail(&format!("VRRP Instance {name} - Entering {to} state"), body);
                }
            }
            router::Event::Group { name, to, notify } => {
                tracing::info!(group = %name, to = %to, "sync group {name}: {to}");
                notify::transition(&mut self.fifos, &self.edge, ("GROUP", &name), (to, false), 0, &notify);
                if notify.mail && self.mails(to) {
                    let body = format!("every member of the sync group is {to}\n");
                    self.mail(&format!("VRRP Group {name} - Entering {to} state"), body);
                }
            }
            router::Event::Priority { name, state, priority, notify } => {
                tracing::info!(instance = %name, priority, "{name}: its priority is {priority} now");
                // As keepalived: before its first transition it is told of as a backup.
                let state = if state == State::Init { State::Backup } else { state };
                if notify.priority_changes && state != State::Fault {
                    self.fifos.vrrp("INSTANCE", &name, &format!("{state}_PRIORITY"), priority);
                }
            }
            router::Event::LowerPriority { name, by, priority, notify } => {
                tracing::debug!(instance = %name, peer = %by, "{name}: {by} advertises a lower priority");
                self.fifos.vrrp("INSTANCE", &name, edge::LOWER_PRIORITY, priority);
                let programs: Vec<_> = notify.lower_priority.into_iter().collect();
                notify::tell(&self.edge, format!("INSTANCE {name}"), edge::LOWER_PRIORITY, programs);
            }
            router::Event::Bfd { name, up, detail, checks } => self.session_changed(&name, (up, &detail), checks),
            router::Event::Remark(remark) => remark.log(),
            router::Event::Ended => {}
        }
    }

    pub(super) fn edge_event(&mut self, event: edge::Event) {
        match event {
            edge::Event::Probed { id, up, changed, result } => self.probed(id, (up, changed), result),
            edge::Event::Tracked { object, found, detail } => {
                tracing::info!(%object, "{object}: {detail}");
                self.tracked.insert(object, (found, detail));
            }
            edge::Event::Notified(n) => {
                self.notified.insert((n.of.clone(), n.program.clone()), n);
            }
            edge::Event::ScriptRan { name, good, changed, last } => {
                if changed {
                    tracing::info!(script = %name, "script {name} {}: {last}", if good == Some(true) { "succeeds" } else { "fails" });
                }
                if let Some(s) = self.scripts.get_mut(&name) {
                    s.runs += 1;
                    (s.good, s.last) = (good, last);
                }
            }
        }
    }

    /// Is mail sent of this state?
    fn mails(&self, to: State) -> bool {
        let faults = || self.config.global.mail.as_ref().is_some_and(|m| m.faults);
        to != State::Init && (to != State::Fault || faults())
    }

    /// Sends a mail, if mail is configured; `about` becomes its subject behind this director's name, as keepalived has it.
    fn mail(&self, about: &str, body: String) {
        let Some(mail) = self.config.global.mail.clone() else { return };
        let subject = format!("[{}] {about}", self.router_id());
        self.edge.mail(edge::Letter { mail, subject, body });
    }

    /// A check of a real server has a result.
    fn probed(&mut self, (service, server, n): CheckId, (up, changed): (bool, bool), result: ProbeResult) {
        let now = clock::now();
        let Some(state) = self.servers.get_mut(&(service, server)) else { return };
        let was = state.up();
        state.probed(n, up, result.clone(), now);
        let is = state.up();
        if changed {
            let word = if up { "passes" } else { "fails" };
            tracing::info!(service = %service, server = %server, "{server} of {service}: check {word}: {}", result.detail);
        }
        if is == was {
            return;
        }
        let state = if is { "UP" } else { "DOWN" };
        let (rs, vs) = self.fifos.server(service, server, state);
        let servers = self.config.virtual_servers.iter().filter(|v| v.key == service).flat_map(|v| &v.servers);
        let concerned = servers.filter(|r| r.key == server).collect::<Vec<_>>();
        let script = concerned.iter().find_map(|r| if is { r.notify_up.clone() } else { r.notify_down.clone() });
        let mails = concerned.iter().any(|r| r.mail);
        notify::tell(&self.edge, format!("RS {rs} {vs}"), state, script.into_iter().collect());
        if mails {
            let about = format!("Realserver {rs} of virtual server {vs} - {state}");
            self.mail(&about, format!("{}\n", result.detail));
        }
        self.reconcile();
        self.refresh_hops();
    }

    /// Checks that are new to a session which is down follow it as well.
    pub(super) fn sessions_as_they_stand(&mut self) {
        let told: Vec<&str> = self.config.bfd.iter().filter(|b| b.tells_checks).map(|b| b.name.as_str()).collect();
        let down = |(object, state): (&TrackedObject, &(Option<Found>, String))| match (object, state) {
            (TrackedObject::Bfd(name), (Some(Found::Good(false)), detail)) if told.contains(&name.as_str()) => {
                Some((name.clone(), detail.clone()))
            }
            _ => None,
        };
        let down: Vec<(String, String)> = self.tracked.iter().filter_map(down).collect();
        for (name, detail) in down {
            self.session_changed(&name, (false, &detail), true);
        }
    }

    /// A BFD session came up or went down: so do those whose BFD_CHECK follows it.
    fn session_changed(&mut self, name: &str, (up, detail): (bool, &str), checks: bool) {
        let (object, found) = (TrackedObject::Bfd(name.to_owned()), Some(Found::Good(up)));
        self.tracked.insert(object, (found, detail.to_owned()));
        if !checks {
            return;
        }
        let follows = |c: &Check| matches!(&c.kind, CheckKind::Bfd(session) if session == name);
        let all = self.config.virtual_servers.iter().flat_map(|v| v.servers.iter().map(move |r| (v.key, r)));
        let checks = all.flat_map(|(v, r)| r.checks.iter().enumerate().map(move |(n, c)| ((v, r.key, n), c)));
        let concerned: Vec<CheckId> = checks.filter(|(_, c)| follows(c)).map(|(id, _)| id).collect();
        for id in concerned {
            let failed = (!up).then_some(Phase::Expect);
            let result = ProbeResult { failed, detail: format!("BFD session {name} is {detail}"), took_us: 0 };
            self.probed(id, (up, true), result);
        }
    }
}
