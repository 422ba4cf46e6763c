//! The transitions of a router: what happens when it enters or leaves INIT, BACKUP, MASTER and FAULT.

use super::{Router, Timers};
use crate::model::InitialState;
use crate::time::Instant;
use crate::vrrp::sync_group::{GroupAction, GroupMember};
use crate::vrrp::{Output, PreviousState, State, TransitionReason};

impl Router {
    /// RFC 9568, 6.4.1, Startup event.
    pub(super) fn start(&mut self, now: Instant, previous: PreviousState) {
        self.started = true;
        if self.priority != self.cfg.priority {
            self.outputs.push_back(Output::PriorityChanged(self.priority));
        }
        if previous == PreviousState::Master && self.own_fault_reason().is_none() {
            return self.become_master(now, TransitionReason::Resumed);
        }
        self.hold_startup(now);
        if previous == PreviousState::Unknown {
            self.hold_until_frame(now);
        }
        self.update_fault_state(now, TransitionReason::Started);
        if previous == PreviousState::Resigned && self.state == State::Backup {
            self.start_master_down_timer(now, self.longest_skew_time());
        }
    }

    /// RFC 9568, 6.4.2 and 6.4.3, Shutdown event.
    pub(super) fn stop(&mut self, now: Instant) {
        if self.state == State::Master {
            self.send_resignation();
        }
        self.timers = Timers::default();
        self.started = false;
        if self.state != State::Init {
            self.enter_state(now, State::Init, TransitionReason::Stopped);
        }
    }

    /// Enters FAULT, or leaves FAULT or INIT, as the current faults require. `recovered`: the reason if FAULT ends.
    pub(super) fn update_fault_state(&mut self, now: Instant, recovered: TransitionReason) {
        if !self.started || self.timers.startup_hold.is_some() {
            return;
        }
        match (self.fault_reason(), self.state) {
            (Some(_), State::Fault) => {}
            (Some(reason), state) => {
                if state == State::Master {
                    self.send_resignation();
                }
                self.timers = Timers::default();
                self.enter_state(now, State::Fault, reason);
            }
            (None, State::Init | State::Fault) => {
                if !self.is_waiting_for_tracks() && self.timers.frame_hold.is_none() {
                    self.leave_fault(now, recovered);
                }
            }
            (None, State::Backup | State::Master) => {}
        }
    }

    /// RFC 9568, 6.4.1 (100) to (165): the owner of the addresses becomes master, all others become backup.
    fn leave_fault(&mut self, now: Instant, recovered: TransitionReason) {
        let reason = if self.state == State::Init { TransitionReason::Started } else { recovered };
        let is_owner = self.priority == 255 && self.cfg.initial_state == InitialState::Master;
        if is_owner && self.cfg.sync_group.is_none() {
            return self.become_master(now, TransitionReason::Owner);
        }
        self.master_interval = self.cfg.advert_int;
        self.restart_master_down_timer(now);
        self.enter_state(now, State::Backup, reason);
        if is_owner {
            self.claim_mastership(now, TransitionReason::Owner);
        }
    }

    /// Becomes master; or, in a sync group, requests it and waits for the other members.
    pub(super) fn claim_mastership(&mut self, now: Instant, reason: TransitionReason) {
        if self.cfg.sync_group.is_none() {
            return self.become_master(now, reason);
        }
        self.restart_master_down_timer(now);
        self.wants_master = Some(reason);
    }

    /// RFC 9568, 6.4.1 and 6.4.2, transition to Active. The order is keepalived's: the advert, the addresses, then
    /// gratuitous ARP.
    fn become_master(&mut self, now: Instant, reason: TransitionReason) {
        self.timers = Timers::for_master(&self.cfg, now);
        self.counters.became_master += 1;
        self.send_advert(self.priority);
        self.outputs.push_back(Output::AddVips);
        self.outputs.push_back(Output::Announce(self.cfg.garp.master_repeat));
        self.enter_state(now, State::Master, reason);
    }

    /// From MASTER to BACKUP, without an advert.
    pub(super) fn step_down(&mut self, now: Instant, reason: TransitionReason) {
        self.outputs.push_back(Output::RemoveVips);
        self.timers = Timers::default();
        self.restart_master_down_timer(now);
        self.enter_state(now, State::Backup, reason);
    }

    /// Sends priority 0 and removes the addresses.
    fn send_resignation(&mut self) {
        self.send_advert(0);
        self.counters.priority_zero_sent += 1;
        self.outputs.push_back(Output::RemoveVips);
    }

    /// Sets the state and reports the transition. Timers, adverts and addresses are the caller's part.
    pub(super) fn enter_state(&mut self, now: Instant, to: State, reason: TransitionReason) {
        let from = std::mem::replace(&mut self.state, to);
        self.counters.released_master += u64::from(from == State::Master && to != State::Master);
        self.since = now;
        self.reason = reason.clone();
        self.preempt_at = None;
        self.wants_master = None;
        if to != State::Backup {
            self.master = None;
        }
        self.outputs.push_back(Output::Transition { from, to, reason });
    }

    /// This router's view for [`crate::vrrp::sync_group`].
    pub fn group_member(&self) -> GroupMember {
        GroupMember {
            state: self.state,
            since: self.since,
            wants_master: self.wants_master.is_some(),
            has_fault: self.started && self.own_fault_reason().is_some(),
        }
    }

    /// Follows its sync group. `cause`: the name of the member that is in FAULT.
    pub(super) fn handle_group_action(&mut self, now: Instant, action: GroupAction, cause: Option<&str>) {
        match action {
            GroupAction::Fault(_) => {
                self.group_fault = cause.map(str::to_owned);
                self.update_fault_state(now, TransitionReason::Recovered);
            }
            GroupAction::Master if self.state == State::Backup => {
                let reason = self.wants_master.take().unwrap_or(TransitionReason::SyncGroup(None));
                self.become_master(now, reason);
            }
            GroupAction::Backup if self.state == State::Master => {
                self.step_down(now, TransitionReason::SyncGroup(None));
            }
            GroupAction::Master | GroupAction::Backup => {}
        }
    }
}
