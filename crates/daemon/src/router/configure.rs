//! A new configuration of the router thread. Instances with the same identity keep their state; others are stopped and
//! started.

use std::collections::BTreeSet;

use evenkeel_core::model::{Family, Statics, SyncGroup, VipSpec, VrrpInstance};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::{Input, PreviousState, Router};
use evenkeel_sys::clock;
use evenkeel_sys::sysctl;

use super::messages::RouterConfig;
use super::thread::{RouterEntry, RouterThread, mastership_key};

impl RouterThread {
    /// Applies a configuration.
    pub(super) fn configure(&mut self, config: RouterConfig) {
        let RouterConfig { instances, groups, bfd, announce_intervals, link_delays, statics, log_unknown_vrids } =
            config;
        let now = clock::now();
        self.unknown_vrids.configure(log_unknown_vrids);
        self.configure_bfd(&bfd);
        self.link_debounce.configure(link_delays);
        let promoting = instances.iter().filter(|i| i.promote_secondaries).flat_map(|i| i.all_vips());
        self.set_promote_secondaries(&promoting.map(|v| v.dev.clone()).collect());
        self.configure_statics(statics);
        self.has_routes = instances.iter().any(|i| !i.routes.is_empty() || !i.rules.is_empty());
        self.route_watch.set_enabled(!self.has_no_routes());
        self.announcements.configure(announce_intervals);
        self.configure_groups(groups);
        self.stop_removed_instances(&instances, now);
        self.deadlines.clear();
        self.ports.retain(|(name, t), _| instances.iter().any(|c| c.receive_device() == name && c.transport() == *t));
        let added = self.configure_instances(instances, now);
        self.set_time_of_day();
        self.apply_network_state();
        for i in added {
            self.start_router(i, now);
        }
        if std::mem::take(&mut self.ignores_previous_state) {
            self.reconcile_addresses();
        }
        self.sync_groups(); // first: a group's transition is reported before its members', as by keepalived
        for i in 0..self.entries.len() {
            self.apply_outputs(i);
        }
    }

    /// Removes static addresses that are not configured any more. The new ones are added with those of masters.
    fn configure_statics(&mut self, statics: Statics) {
        let old = std::mem::replace(&mut self.statics, statics);
        let is_gone = |v: &&VipSpec| !self.statics.addresses.contains(v);
        let gone: Vec<VipSpec> = old.addresses.iter().filter(is_gone).cloned().collect();
        self.remove_vips(&gone);
    }

    /// Sets the sync groups; a group that stays keeps the state that was reported.
    fn configure_groups(&mut self, groups: Vec<SyncGroup>) {
        let old = std::mem::take(&mut self.groups);
        let reported = |g: &SyncGroup| old.iter().find(|(o, _)| o.name == g.name).and_then(|(_, state)| *state);
        self.groups = groups.into_iter().map(|g| (reported(&g), g)).map(|(state, g)| (g, state)).collect();
    }

    /// Stops the instances that are not configured any more, while their ports are open, and removes their addresses.
    fn stop_removed_instances(&mut self, instances: &[VrrpInstance], now: Instant) {
        let is_configured = |e: &RouterEntry| instances.iter().any(|c| c.identity() == e.router.config().identity());
        let (kept, removed) = std::mem::take(&mut self.entries).into_iter().partition(is_configured);
        self.entries = kept;
        for mut e in removed {
            e.router.handle(now, Input::Stop);
            if let Some(slot) = e.will_slot {
                self.will_store.store_will(slot, None);
                self.free_will_slots.push(slot);
            }
            self.send_final_outputs(&mut e.router, true);
            if !e.owns_addresses {
                let vips: Vec<VipSpec> = e.router.config().all_vips().cloned().collect();
                self.remove_vips(&vips);
            }
        }
    }

    /// Reconfigures the instances that stay and adds the others, in the order of the configuration. Returns the indexes
    /// of those that were added.
    fn configure_instances(&mut self, instances: Vec<VrrpInstance>, now: Instant) -> Vec<usize> {
        let mut old = std::mem::take(&mut self.entries);
        let mut added = Vec::new();
        for cfg in instances {
            match old.iter().position(|e| e.router.config().identity() == cfg.identity()) {
                Some(i) => {
                    let mut e = old.swap_remove(i);
                    let is_kept =
                        |v: &VipSpec| cfg.all_vips().any(|n| (n.addr, n.prefix, &n.dev) == (v.addr, v.prefix, &v.dev));
                    let dropped: Vec<VipSpec> = e.router.config().all_vips().filter(|v| !is_kept(v)).cloned().collect();
                    e.router.reconfigure(now, cfg);
                    self.remove_vips(&dropped);
                    e.queued_deadline = None;
                    self.entries.push(e);
                }
                None => {
                    let key = mastership_key(&cfg);
                    added.push(self.entries.len());
                    let mut router = Router::new(cfg, now);
                    router.resume_sequence(clock::unix_seconds());
                    self.entries.push(RouterEntry {
                        router,
                        keeps_found_addresses: true,
                        owns_addresses: false,
                        key,
                        queued_deadline: None,
                        will_slot: None,
                    });
                }
            }
        }
        added
    }

    /// Starts an instance. It continues as master if it was master so recently that no peer can have taken over.
    fn start_router(&mut self, i: usize, now: Instant) {
        let e = &mut self.entries[i];
        let cfg = e.router.config();
        let limit = cfg.advert_int * u32::from(cfg.down_timer_adverts);
        let is_recent = |at: Instant| at <= now && now.duration_since(at) < limit;
        let previous = if self.ignores_previous_state {
            PreviousState::Unknown
        } else if self.mastership.last_advert(e.key).is_some_and(is_recent) {
            PreviousState::Master
        } else if self.resigned.iter().any(|(key, at)| *key == e.key && is_recent(*at)) {
            PreviousState::Resigned
        } else {
            PreviousState::Unknown
        };
        e.keeps_found_addresses = cfg.all_vips().any(|v| self.observed.has_address(v)) && !self.ignores_previous_state;
        // Addresses that a crash left are not the host's own: the record tells them apart.
        e.owns_addresses =
            e.keeps_found_addresses && cfg.priority == 255 && self.mastership.last_advert(e.key).is_none();
        e.router.handle(now, Input::Start(previous));
    }

    /// `promote_secondaries` (the kernel's ip-sysctl): the other addresses of a device stay when its primary address is
    /// removed. Sets it on these devices, and restores it on others.
    pub(super) fn set_promote_secondaries(&mut self, wanted: &BTreeSet<String>) {
        const SETTING: &str = "promote_secondaries";
        for dev in wanted {
            let Some(was @ 0) = sysctl::get_conf(Family::V4, dev, SETTING) else { continue };
            match sysctl::set_conf(Family::V4, dev, SETTING, 1) {
                Ok(()) => drop(self.saved_promote_secondaries.insert(dev.clone(), was)),
                Err(e) => tracing::warn!(device = %dev, "{e}"),
            }
        }
        let saved = self.saved_promote_secondaries.keys();
        let unwanted: Vec<String> = saved.filter(|dev| !wanted.contains(*dev)).cloned().collect();
        for dev in unwanted {
            let was = self.saved_promote_secondaries.remove(&dev).unwrap_or_default();
            if let Err(e) = sysctl::set_conf(Family::V4, &dev, SETTING, was) {
                tracing::warn!(device = %dev, "{e}");
            }
        }
    }
}
