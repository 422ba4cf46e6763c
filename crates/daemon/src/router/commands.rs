//! Commands to the router thread.

use std::collections::BTreeSet;

use evenkeel_core::model::VipSpec;
use evenkeel_core::vrrp::Input;
use evenkeel_sys::clock;

use super::instance_status::instance_status;
use super::messages::{Command, Snapshot};
use super::observation::Observation;
use super::thread::RouterThread;

impl RouterThread {
    /// Handles all commands that wait. True if one of them ends the thread.
    pub(super) fn handle_commands(&mut self) -> bool {
        let _ = self.wake.read();
        let mut is_last = false;
        // Each observation is complete: of several only the last one counts.
        let mut observation = None;
        while let Ok(command) = self.inbox.try_recv() {
            match command {
                Command::Observed(o) => observation = Some(o),
                other => is_last |= self.handle_command(other),
            }
        }
        if let Some(observation) = observation.filter(|_| !is_last) {
            self.handle_observation(observation);
        }
        is_last
    }

    fn handle_command(&mut self, command: Command) -> bool {
        match command {
            Command::Configure(config) => self.configure(*config),
            Command::TrackChanged { object, result } => {
                for i in 0..self.entries.len() {
                    self.entries[i].router.handle(clock::now(), Input::TrackResult { object: &object, result });
                    self.apply_outputs(i);
                }
            }
            Command::Observed(observation) => self.handle_observation(observation),
            Command::RoutesRemoved(deletions) => self.handle_removed_routes(&deletions),
            Command::ClearCounters => self.entries.iter_mut().for_each(|e| e.router.clear_counters()),
            Command::Snapshot(reply) => {
                let _ = reply.send(self.snapshot());
            }
            Command::Stop { release } => {
                self.stop(release);
                return true;
            }
            Command::HandOver => {
                // AdminDown: neighbours do not take the end of the session for a loss.
                self.bfd.stop(clock::now());
                return true;
            }
        }
        false
    }

    fn handle_observation(&mut self, observation: Observation) {
        let old = std::mem::replace(&mut self.observed, observation);
        self.apply_network_state();
        if old.links != self.observed.links || old.addresses != self.observed.addresses {
            self.install_routes(true);
            self.report_static_objects();
            self.announce_new_hardware_addresses(&old);
        }
    }

    /// Has masters announce their addresses again on devices whose hardware address has changed.
    fn announce_new_hardware_addresses(&mut self, old: &Observation) {
        let mac = |o: &Observation, dev: &String| o.links.get(dev).map(|l| (l.index, l.mac));
        for i in 0..self.entries.len() {
            let has_changed = |v: &VipSpec| match (mac(old, &v.dev), mac(&self.observed, &v.dev)) {
                (Some(before), Some(now)) => before != now,
                _ => false,
            };
            if self.entries[i].router.config().all_vips().any(has_changed) {
                self.entries[i].router.handle(clock::now(), Input::HardwareAddressChanged);
                self.apply_outputs(i);
            }
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let unknown_vrids = self.count_unknown_adverts();
        let now = clock::now();
        Snapshot {
            instances: self.entries.iter().map(|e| instance_status(&e.router, now)).collect(),
            bfd: self.bfd.status(now),
            unknown_vrids,
        }
    }

    /// Resigns every mastership; with `release`, also removes addresses, routes and rules.
    fn stop(&mut self, release: bool) {
        for i in 0..self.entries.len() {
            self.entries[i].keeps_found_addresses = false;
            self.entries[i].router.handle(clock::now(), Input::Stop);
            if release {
                self.apply_outputs(i);
            } else {
                let mut router = self.entries[i].router.clone();
                self.send_final_outputs(&mut router, false);
            }
        }
        self.bfd.stop(clock::now());
        if release {
            let statics = std::mem::take(&mut self.statics);
            self.set_promote_secondaries(&BTreeSet::new());
            self.reconcile_addresses(); // also removes what an earlier daemon left and no master claimed
            self.remove_vips(&statics.addresses);
        }
    }
}
