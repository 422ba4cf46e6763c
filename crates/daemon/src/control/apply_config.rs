//! Applying a configuration: every part gets it, in the order below.
//!
//! The order matters. Interfaces and firewall rules exist before the router thread joins multicast groups on them. The
//! data plane changes before notifications are sent: traffic comes first. Nothing is changed before the data plane is
//! open, so that a configuration whose data plane cannot be opened is rejected as a whole.

use evenkeel_core::health::HealthEvent;
use evenkeel_core::model::{Config, ServiceKey};
use evenkeel_core::vrrp::State;
use evenkeel_sys::{clock, limits};

use super::controller::Controller;
use super::health::PendingEvent;
use crate::plane::UpdateReason;
use crate::router;

impl Controller {
    /// Applies a file's configuration, with resolved servers and overrides. Returns the steps of the data plane as
    /// text.
    pub(super) fn apply_file(&mut self, file: Config) -> anyhow::Result<Vec<String>> {
        let config = self.configuration.with_file(&file);
        let steps = self.apply_config(config)?;
        self.configuration.discovery.retain_configured(&file);
        self.configuration.file = file;
        Ok(steps)
    }

    /// Applies a configuration. Returns the steps of the data plane as text.
    pub(super) fn apply_config(&mut self, config: Config) -> anyhow::Result<Vec<String>> {
        let netlink = &mut self.network.netlink;
        let (services, active) = (&self.health.services, &self.configuration.active);
        self.reconciler.switch(&config, || services.desired_with_config(active, &config), netlink)?;
        let down = self.reconciler.open(&config, netlink)?;
        // Removed services and servers are looked up in the old configuration.
        let removed = self.health.services.removal_events(&self.configuration.active, &config);
        self.notify_all(with_reason(removed, "removed from the configuration"));
        let old = std::mem::replace(&mut self.configuration.active, config);
        let config = &self.configuration.active;
        self.network.configure(config);
        self.tracking.configure(config);
        self.notifications.configure(config);
        let outcome = self.health.services.configure(&old, config, &down, clock::now());
        drop(old);
        self.start_passive_checks();
        let pending = self.health.take_pending_events().unwrap_or_default();
        let steps = self.reconcile_new_config();
        let config = &self.configuration.active;
        self.will_store.set_stop_timeout(config.global.child_wait);
        self.router.send(router::Command::Configure(router::RouterConfig::from_config(config)));
        self.edge.configure(config, self.health.services.checks_to_run(config));
        self.update_suspended_checks(true);
        let initial = self.health.initial_events(&self.configuration.active, &outcome.added);
        self.notify_all(with_reason(outcome.events, "the configuration").chain(pending).chain(initial));
        // Reading a large file takes many times the memory that its configuration keeps.
        limits::trim_heap();
        Ok(steps)
    }

    /// Applies present results to passive checks: those that the new configuration added have none yet.
    fn start_passive_checks(&mut self) {
        let config = &self.configuration.active;
        for (name, detail) in self.tracking.down_sessions(config) {
            self.health.handle_bfd_change(config, &name, (false, &detail));
        }
        for (name, number) in self.tracking.file_numbers() {
            self.health.handle_file_change(config, &name, number);
        }
    }

    /// Attaches and tunes the data plane for a new configuration and reconciles it, observing it first.
    fn reconcile_new_config(&mut self) -> Vec<String> {
        let (config, netlink) = (&self.configuration.active, &mut self.network.netlink);
        self.reconciler.update_attachments(config, netlink, UpdateReason::NewConfig);
        self.reconciler.tune(config);
        self.reconciler.forget_known_services();
        let steps = self.reconciler.reconcile(&self.health.desired_services(config));
        self.update_activation();
        self.sample_answers(); // what an earlier daemon counted is no connection of the last minute
        self.update_connection_sync();
        self.refresh_next_hops();
        steps.iter().map(ToString::to_string).collect()
    }

    /// Has the data plane serve the addresses that this host holds.
    pub(super) fn update_activation(&mut self) {
        self.reconciler.update_activation(&self.configuration.active, &mut self.network.netlink);
    }

    /// Makes the data plane hold the servers that are up.
    pub(super) fn reconcile(&mut self) {
        self.reconciler.reconcile(&self.health.desired_services(&self.configuration.active));
    }

    /// Finds changes of the data plane by others: sets them back, or shows them.
    pub(super) fn repair_drift(&mut self) {
        let start = clock::now();
        if self.reconciler.has_unopened_services(&self.configuration.active) {
            // Somebody made services where none is configured. An open data plane keeps them forwarding: next hops,
            // attachments.
            if let Err(e) = self.apply_config(self.configuration.active.clone()) {
                tracing::error!("cannot serve the services made by others: {e:#}");
            }
        }
        if self.reconciler.is_observation_due(start) {
            let desired = self.health.desired_services(&self.configuration.active);
            self.reconciler.repair(&desired, &self.configuration.active, &mut self.network.netlink);
        }
    }

    /// Starts or stops connection synchronisation, by the state of the instance that it is bound to.
    pub(super) fn update_connection_sync(&mut self) {
        if self.reconciler.plane.is_none() {
            return;
        }
        let config = &self.configuration.active;
        let instance = config.global.sync.as_ref().and_then(|s| s.instance.as_ref());
        let is_master = instance.map(|name| {
            let instances = self.router.snapshot().unwrap_or_default().instances;
            instances.iter().any(|i| i.name == *name && i.state == State::Master)
        });
        self.reconciler.update_connection_sync(config, is_master);
    }

    pub(super) fn refresh_next_hops(&mut self) {
        self.reconciler.refresh_next_hops(&mut self.network.netlink);
    }

    /// `ha_suspend`: suspends and resumes checks. `all`: the edge process may not know the suspended services.
    pub(super) fn update_suspended_checks(&mut self, all: bool) {
        let network = &mut self.network;
        let changes = self.health.update_suspended(&self.configuration.active, all, || network.addresses());
        if let Some(changes) = changes {
            self.edge.set_suspended(changes);
        }
    }

    /// Logs health events and notifies FIFOs, scripts and mail.
    pub(super) fn notify_all(&mut self, events: impl IntoIterator<Item = PendingEvent>) {
        for event in events {
            self.notifications.notify_health(&self.edge, &self.configuration.active, &event);
        }
    }
}

fn with_reason(events: Vec<(ServiceKey, HealthEvent)>, reason: &str) -> impl Iterator<Item = PendingEvent> {
    events.into_iter().map(move |(service, event)| PendingEvent { service, event, reason: reason.to_owned() })
}
