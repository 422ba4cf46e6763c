//! Events of the router thread and the edge thread, passed to the parts that they concern.

use evenkeel_core::health::ProbeResult;
use evenkeel_core::model::{NotifyConfig, TrackResult, TrackedObject};
use evenkeel_core::vrrp::State;

use super::controller::Controller;
use super::monitored_services::weight_effect;
use super::notifications::{VrrpObject, VrrpTransition, send_transition_mail};
use crate::{edge, router};

impl Controller {
    /// Handles an event of the router thread.
    pub(super) fn handle_router_event(&mut self, event: router::Event) {
        match event {
            router::Event::Transition { name, from, to, reason, priority, deleted, notify } => {
                tracing::info!(instance = %name, from = %from, to = %to, priority, "{name}: {from} -> {to}: {reason}");
                let transition = VrrpTransition { object: VrrpObject::Instance(&name), to, deleted, priority };
                let body = format!("{from} -> {to}: {reason}\npriority {priority}\n");
                self.notify_transition(transition, &notify, body);
            }
            router::Event::Group { name, to, notify } => {
                tracing::info!(group = %name, to = %to, "sync group {name}: {to}");
                let object = VrrpObject::Group(&name);
                let transition = VrrpTransition { object, to, deleted: false, priority: 0 };
                self.notify_transition(transition, &notify, format!("every member of the sync group is {to}\n"));
            }
            router::Event::Priority { name, state, priority, notify } => {
                tracing::info!(instance = %name, priority, "{name}: priority is now {priority}");
                // As keepalived: an instance before its first transition counts as a backup.
                let state = if state == State::Init { State::Backup } else { state };
                if notify.priority_changes && state != State::Fault {
                    self.notifications.notify_priority(&name, state, priority);
                }
            }
            router::Event::LowerPriority { name, peer, priority, notify } => {
                tracing::debug!(instance = %name, %peer, "{name}: {peer} advertises a lower priority");
                self.notifications.notify_lower_priority(&self.edge, &name, priority, notify);
            }
            router::Event::Bfd { name, up, detail, checks } => {
                if checks {
                    self.health.handle_bfd_change(&self.configuration.active, &name, (up, &detail));
                }
                self.tracking.record(TrackedObject::Bfd(name), Some(TrackResult::Good(up)), detail);
            }
            router::Event::Log(record) => record.log(),
            router::Event::Ended => {}
        }
    }

    fn notify_transition(&mut self, transition: VrrpTransition<'_>, notify: &NotifyConfig, mail_body: String) {
        self.notifications.notify_transition(&self.edge, transition, notify);
        if notify.mail {
            send_transition_mail(&self.edge, &self.configuration.active, transition.object, transition.to, mail_body);
        }
    }

    /// Handles an event of the edge thread.
    pub(super) fn handle_edge_event(&mut self, event: edge::Event) {
        match event {
            edge::Event::Verdict { id, verdict, result } => {
                self.health.handle_verdict(id, (verdict.up, weight_effect(verdict)), &result);
            }
            edge::Event::CheckStates(states) => {
                for (id, verdict) in states {
                    let result = ProbeResult::reported(verdict.up, "as before the reload".to_owned());
                    self.health.handle_verdict_if_new(id, (verdict.up, weight_effect(verdict)), &result);
                }
            }
            edge::Event::TrackReport { object, result, detail } => {
                tracing::info!(%object, "{object}: {detail}");
                if let (TrackedObject::File(name), Some(TrackResult::Number(n))) = (&object, result) {
                    self.health.handle_file_change(&self.configuration.active, name, n);
                }
                self.tracking.record(object, result, detail);
            }
            edge::Event::TrackChanged { .. } => {} // the edge supervisor sent it to the router thread
            edge::Event::Restarted => {
                self.health.edge_deaths += 1;
                let config = &self.configuration.active;
                self.edge.configure(config, self.health.services.checks_to_run(config));
                self.update_suspended_checks(true);
            }
            edge::Event::Resolved { query, result } => self.apply_resolution(query, result),
            edge::Event::NotifyDone(result) => self.notifications.record_result(result),
            edge::Event::ScriptRan { name, good, changed, detail } => {
                if changed {
                    let outcome = if good == Some(true) { "succeeds" } else { "fails" };
                    tracing::info!(script = %name, "script {name} {outcome}: {detail}");
                }
                self.tracking.record_script_run(&name, good, detail);
            }
        }
    }

    /// Acts on all verdicts since the last call: changes the data plane once, then notifies.
    pub(super) fn commit_verdicts(&mut self) {
        let Some(events) = self.health.take_pending_events() else { return };
        self.reconcile();
        self.refresh_next_hops();
        self.notify_all(events);
    }
}
