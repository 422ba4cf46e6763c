//! The output executor: carries out the outputs of an instance's engine, in their order.

use evenkeel_core::vrrp::{Output, Router, State, TransitionReason};

use super::messages::Event;
use super::thread::{RouterThread, mastership_key};

impl RouterThread {
    /// Carries out the outputs of an entry, and queues its next deadline. Must be called after every input of the
    /// engine.
    pub(super) fn apply_outputs(&mut self, i: usize) {
        while let Some(output) = self.entries[i].router.poll_output() {
            match output {
                Output::Send { to, ttl, is_resignation, packet } => {
                    self.send_advert(i, (to, ttl, is_resignation), &packet);
                    self.refresh_signed_will(i);
                }
                Output::AddVips => {
                    self.update_will(i); // first: whatever exists must be in a will
                    self.serve_all.begin();
                    self.add_addresses(i);
                    self.serve_all.end();
                    self.forget_installed(i);
                    self.install_routes(false);
                    self.update_blocked_addresses();
                }
                Output::RemoveVips => {
                    self.announcements.cancel(self.entries[i].key);
                    self.remove_unwanted_routes();
                    self.remove_addresses(i);
                    self.update_blocked_addresses();
                }
                Output::Announce(rounds) => {
                    let e = &self.entries[i];
                    let targets = e.router.config().all_vips().map(|v| (v.dev.clone(), v.addr));
                    self.announcements.push(e.key, targets, rounds);
                }
                Output::AnnounceExtraInterfaces => {
                    let e = &self.entries[i];
                    self.announcements.push(e.key, e.router.config().garp_extra_if_vips.iter().cloned(), 1);
                }
                Output::Transition { from, to, reason } => self.apply_transition(i, (from, to), reason),
                Output::PriorityChanged(priority) => {
                    let r = &self.entries[i].router;
                    let (name, state, notify) = (r.config().name.clone(), r.state(), r.config().notify.clone());
                    let _ = self.events.send(Event::Priority { name, state, priority, notify });
                }
                Output::LowerPriorityMaster { peer } => {
                    let r = &self.entries[i].router;
                    let (name, priority, notify) = (r.config().name.clone(), r.priority(), r.config().notify.clone());
                    let _ = self.events.send(Event::LowerPriority { name, peer, priority, notify });
                    self.assert_group(i);
                }
                warning => log_warning(&self.entries[i].router.config().name, &warning),
            }
        }
        self.frame_awaited |= self.entries[i].router.is_waiting_for_frame();
        self.groups_dirty |= self.entries[i].router.config().sync_group.is_some();
        self.queue_deadline(i);
    }

    fn apply_transition(&mut self, i: usize, (from, to): (State, State), reason: TransitionReason) {
        if to != State::Master {
            self.mastership.set_last_advert(self.entries[i].key, None);
        }
        self.update_will(i);
        if matches!(to, State::Master | State::Fault) {
            self.entries[i].keeps_found_addresses = false;
        }
        self.report_transition(&self.entries[i].router, (from, to), reason, false);
    }

    /// Sends the last packets of an instance that has stopped, and reports its transition. It is not recorded as master
    /// any more, so that no later daemon continues its mastership.
    pub(super) fn send_final_outputs(&self, router: &mut Router, deleted: bool) {
        while let Some(output) = router.poll_output() {
            match output {
                Output::Send { to, ttl, packet, .. } => self.transmit_packet(router, to, ttl, &packet),
                Output::Transition { from, to, reason } => self.report_transition(router, (from, to), reason, deleted),
                _ => {}
            }
        }
        self.mastership.set_last_advert(mastership_key(router.config()), None);
    }

    fn report_transition(&self, router: &Router, (from, to): (State, State), reason: TransitionReason, deleted: bool) {
        let cfg = router.config();
        let (name, priority, notify) = (cfg.name.clone(), router.priority(), cfg.notify.clone());
        let _ = self.events.send(Event::Transition { name, from, to, reason, priority, deleted, notify });
    }
}

/// Logs an output that is a warning about a peer. The engine gives each once for a peer.
fn log_warning(name: &str, output: &Output) {
    match output {
        Output::OtherMaster { peer, priority } => tracing::warn!(
            instance = %name, %peer, priority,
            "{name}: master, and receives adverts of another master, {peer}, priority {priority}: check the link \
             between them, and whether the virtual_router_id is used twice"
        ),
        Output::PacketRejected { peer, reason } => {
            tracing::warn!(instance = %name, %peer, "{name}: rejected a VRRP packet of {peer}: {reason}")
        }
        Output::ChecksumMismatch { peer, form } => tracing::warn!(
            instance = %name, %peer,
            "{name}: {peer} computes its checksums {form}, unlike this director, whose adverts it may reject: set \
             v3_checksum_as_v2 alike on both"
        ),
        Output::IntervalMismatch { peer, ms } => tracing::warn!(
            instance = %name, %peer,
            "{name}: advert_int of {peer} is {}.{:02} s, unlike this director's: set it alike on both",
            ms / 1000, ms % 1000 / 10
        ),
        Output::AddressMismatch { peer } => tracing::warn!(
            instance = %name, %peer,
            "{name}: {peer} advertises other virtual addresses than this director: compare the configurations"
        ),
        other => tracing::debug!(instance = %name, "{name}: {other:?}"),
    }
}
