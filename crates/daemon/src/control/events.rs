//! What the other threads tell, and who is told of it in turn.

use evenkeel_core::health::{Effect, ProbeResult};
use evenkeel_core::model::{Check, CheckKind, Found, TrackedObject};
use evenkeel_core::vrrp::State;

use super::Control;
use crate::services::effect;
use crate::{edge, notify, router};

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
            edge::Event::Judged { id, verdict, result } => {
                self.judged(id, (verdict.up, effect(verdict)), &result);
            }
            edge::Event::Standing(standing) => {
                for (id, verdict) in standing {
                    let result = ProbeResult::told(verdict.up, "as it was before the reload".to_owned());
                    self.heard(id, (verdict.up, effect(verdict)), &result);
                }
            }
            edge::Event::Tracked { object, found, detail } => {
                tracing::info!(%object, "{object}: {detail}");
                self.tracked.insert(object.clone(), (found, detail));
                if let (TrackedObject::File(name), Some(Found::Number(n))) = (object, found) {
                    self.file_changed(&name, n);
                }
            }
            edge::Event::Found { .. } => {} // the router has it
            edge::Event::Reborn => {
                self.edge_deaths += 1;
                self.edge.configure(&self.config, self.services.checks(&self.config));
                self.suspend(true);
            }
            edge::Event::Named { asked, result } => self.named(asked, result),
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
    pub(super) fn mail(&self, about: &str, body: String) {
        let Some(mail) = self.config.global.mail.clone() else { return };
        let subject = format!("[{}] {about}", self.router_id());
        self.edge.mail(edge::Letter { mail, subject, body });
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
        let result = ProbeResult::told(up, format!("BFD session {name} is {detail}"));
        for (id, _) in self.checks_that(follows) {
            self.told(id, (up, Effect::None), &result);
        }
    }
}
