//! What the other threads tell, and who is told of it in turn.

use evenkeel_core::health::{ProbeResult, WeightEffect};
use evenkeel_core::model::{Check, CheckKind, TrackResult, TrackedObject};
use evenkeel_core::vrrp::State;

use super::Controller;
use crate::services::weight_effect;
use crate::{edge, notifications, router};

impl Controller {
    pub(super) fn handle_router_event(&mut self, event: router::Event) {
        match event {
            router::Event::Transition { name, from, to, reason: because, priority, deleted, notify } => {
                tracing::info!(instance = %name, from = %from, to = %to, priority, "{name}: {from} -> {to}: {because}");
                notifications::notify_transition(
                    &mut self.fifos,
                    &self.edge,
                    ("INSTANCE", &name),
                    (to, deleted),
                    priority,
                    &notify,
                );
                if notify.mail && self.sends_mail_for(to) {
                    let body = format!("{from} -> {to}: {because}\npriority {priority}\n");
                    self.send_mail(&format!("VRRP Instance {name} - Entering {to} state"), body);
                }
            }
            router::Event::Group { name, to, notify } => {
                tracing::info!(group = %name, to = %to, "sync group {name}: {to}");
                notifications::notify_transition(
                    &mut self.fifos,
                    &self.edge,
                    ("GROUP", &name),
                    (to, false),
                    0,
                    &notify,
                );
                if notify.mail && self.sends_mail_for(to) {
                    let body = format!("every member of the sync group is {to}\n");
                    self.send_mail(&format!("VRRP Group {name} - Entering {to} state"), body);
                }
            }
            router::Event::Priority { name, state, priority, notify } => {
                tracing::info!(instance = %name, priority, "{name}: its priority is {priority} now");
                // As keepalived: before its first transition it is told of as a backup.
                let state = if state == State::Init { State::Backup } else { state };
                if notify.priority_changes && state != State::Fault {
                    self.fifos.write_vrrp("INSTANCE", &name, &format!("{state}_PRIORITY"), priority);
                }
            }
            router::Event::LowerPriority { name, by, priority, notify } => {
                tracing::debug!(instance = %name, peer = %by, "{name}: {by} advertises a lower priority");
                self.fifos.write_vrrp("INSTANCE", &name, edge::LOWER_PRIORITY, priority);
                let programs: Vec<_> = notify.lower_priority.into_iter().collect();
                notifications::run_notify_scripts(
                    &self.edge,
                    format!("INSTANCE {name}"),
                    edge::LOWER_PRIORITY,
                    programs,
                );
            }
            router::Event::Bfd { name, up, detail, checks } => self.handle_bfd_change(&name, (up, &detail), checks),
            router::Event::Log(remark) => remark.log(),
            router::Event::Ended => {}
        }
    }

    pub(super) fn handle_edge_event(&mut self, event: edge::Event) {
        match event {
            edge::Event::Verdict { id, verdict, result } => {
                self.apply_verdict(id, (verdict.up, weight_effect(verdict)), &result);
            }
            edge::Event::CheckStates(standing) => {
                for (id, verdict) in standing {
                    let result = ProbeResult::reported(verdict.up, "as it was before the reload".to_owned());
                    self.apply_verdict_if_new(id, (verdict.up, weight_effect(verdict)), &result);
                }
            }
            edge::Event::TrackReport { object, result: found, detail } => {
                tracing::info!(%object, "{object}: {detail}");
                self.tracked.insert(object.clone(), (found, detail));
                if let (TrackedObject::File(name), Some(TrackResult::Number(n))) = (object, found) {
                    self.handle_file_change(&name, n);
                }
            }
            edge::Event::TrackChanged { .. } => {} // the router has it
            edge::Event::Restarted => {
                self.edge_deaths += 1;
                self.edge.configure(&self.config, self.services.checks_to_run(&self.config));
                self.update_suspended_checks(true);
            }
            edge::Event::Resolved { query: asked, result } => self.apply_resolution(asked, result),
            edge::Event::NotifyDone(n) => {
                self.notify_results.insert((n.object.clone(), n.program.clone()), n);
            }
            edge::Event::ScriptRan { name, good, changed, detail: last } => {
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
    fn sends_mail_for(&self, to: State) -> bool {
        let faults = || self.config.global.mail.as_ref().is_some_and(|m| m.faults);
        to != State::Init && (to != State::Fault || faults())
    }

    /// Sends a mail, if mail is configured; `about` becomes its subject behind this director's name, as keepalived has it.
    pub(super) fn send_mail(&self, about: &str, body: String) {
        let Some(mail) = self.config.global.mail.clone() else { return };
        let subject = format!("[{}] {about}", self.router_id());
        self.edge.send_mail(edge::MailMessage { mail, subject, body });
    }

    /// Checks that are new to a session which is down follow it as well.
    pub(super) fn apply_bfd_states(&mut self) {
        let told: Vec<&str> = self.config.bfd.iter().filter(|b| b.notifies_checks).map(|b| b.name.as_str()).collect();
        let down = |(object, state): (&TrackedObject, &(Option<TrackResult>, String))| match (object, state) {
            (TrackedObject::Bfd(name), (Some(TrackResult::Good(false)), detail)) if told.contains(&name.as_str()) => {
                Some((name.clone(), detail.clone()))
            }
            _ => None,
        };
        let down: Vec<(String, String)> = self.tracked.iter().filter_map(down).collect();
        for (name, detail) in down {
            self.handle_bfd_change(&name, (false, &detail), true);
        }
    }

    /// A BFD session came up or went down: so do those whose BFD_CHECK follows it.
    fn handle_bfd_change(&mut self, name: &str, (up, detail): (bool, &str), checks: bool) {
        let (object, found) = (TrackedObject::Bfd(name.to_owned()), Some(TrackResult::Good(up)));
        self.tracked.insert(object, (found, detail.to_owned()));
        if !checks {
            return;
        }
        let follows = |c: &Check| matches!(&c.kind, CheckKind::Bfd(session) if session == name);
        let result = ProbeResult::reported(up, format!("BFD session {name} is {detail}"));
        for (id, _) in self.checks_matching(follows) {
            self.apply_passive_result(id, (up, WeightEffect::None), &result);
        }
    }
}
