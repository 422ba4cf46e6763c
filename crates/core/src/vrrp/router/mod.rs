//! One virtual router: the state machine of RFC 9568 section 6.4 (RFC 3768 section 6.4 for version 2), with keepalived's
//! additions (FAULT, tracking, preempt delay).

mod receive;
mod send;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{AdvertDestination, InitialState, Track, TrackResult, TrackedObject, VrrpInstance, VrrpVersion};
use crate::time::Instant;
use crate::vrrp::events::{Counters, Input, Output, PreviousState, State, TransitionReason};
use crate::vrrp::peers::Peers;
use crate::vrrp::sync_group::{GroupAction, GroupMember};
use crate::vrrp::track::{TrackEffect, effective_priority, track_effect};

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Timers {
    advert: Option<Instant>,
    master_down: Option<Instant>,
    announce_again: Option<Instant>,
    /// It stands still until then (`vrrp_startup_delay`, `vrrp_delay_after_boot`).
    startup_hold: Option<Instant>,
    /// It stands still until a frame is heard, or until then (`vrrp_hold_until_frame`).
    frame_hold: Option<Instant>,
    announce_extra_interfaces: Option<Instant>,
    announce_lower_priority: Option<Instant>,
    announce_refresh: Option<Instant>,
}

/// The state machine of one `vrrp_instance`.
#[derive(Clone, Debug)]
pub struct Router {
    cfg: VrrpInstance,
    state: State,
    since: Instant,
    reason: TransitionReason,
    started: bool,
    link_up: bool,
    source: Option<IpAddr>,
    track_results: BTreeMap<TrackedObject, TrackResult>,
    /// In a sync group: it has heard no master for long enough, and why it says so.
    wants_master: Option<TransitionReason>,
    /// In a sync group: this member cannot take part.
    group_fault: Option<String>,
    /// An owner that met another owner gives way with 254.
    owner_demoted: bool,
    priority: u8,
    /// Version 3: the master's interval; else ours.
    master_interval: Duration,
    master: Option<(IpAddr, u8)>,
    /// When a lower-priority master may be taken over from (`preempt_delay`).
    preempt_at: Option<Instant>,
    /// Why the master-down timer, should it fire, fires.
    master_down_reason: TransitionReason,
    timers: Timers,
    counters: Counters,
    peers: Peers,
    /// Of the last authentication header that was sent or accepted.
    sequence: u32,
    /// Of the last IP header that was sent.
    ip_id: u16,
    /// The time of day, as far as this router was told (`auth_hmac` alone wants it).
    time_of_day: Duration,
    /// The time in the last signature that was sent.
    last_timestamp: u64,
    outputs: VecDeque<Output>,
}

impl Router {
    /// A router that has not started.
    pub fn new(cfg: VrrpInstance, now: Instant) -> Self {
        let master_interval = cfg.advert_int;
        let mut r = Router {
            state: State::Init,
            since: now,
            reason: TransitionReason::Started,
            started: false,
            link_up: false,
            source: None,
            track_results: BTreeMap::new(),
            wants_master: None,
            group_fault: None,
            owner_demoted: false,
            priority: cfg.priority,
            master_interval,
            master: None,
            preempt_at: None,
            master_down_reason: TransitionReason::MasterDownTimeout { ms: 0 },
            timers: Timers::default(),
            counters: Counters::default(),
            peers: Peers::default(),
            sequence: 0,
            ip_id: 0,
            time_of_day: Duration::ZERO,
            last_timestamp: 0,
            outputs: VecDeque::new(),
            cfg,
        };
        r.priority = r.compute_priority();
        r
    }

    /// Its configuration.
    pub fn config(&self) -> &VrrpInstance {
        &self.cfg
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when, and why.
    pub fn last_transition(&self) -> (Instant, &TransitionReason) {
        (self.since, &self.reason)
    }

    /// The priority that it advertises now.
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// The master as it knows it: address and priority; itself if it is the one.
    pub fn master(&self) -> Option<(IpAddr, u8)> {
        if self.state == State::Master { self.source.map(|a| (a, self.priority)) } else { self.master }
    }

    /// Its numbers.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts from here on.
    pub fn clear_counters(&mut self) {
        self.counters = Counters::default();
    }

    /// The interval of the master's adverts, as far as it is known; else ours.
    pub fn master_interval(&self) -> Duration {
        if self.state == State::Master { self.cfg.advert_int } else { self.master_interval }
    }

    /// The address that it sends from.
    pub fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// Skew_Time (RFC 9568, 6.1; RFC 3768, 6.1): lower priorities wait a little longer.
    pub fn skew_time(&self) -> Duration {
        self.skew_time_for(self.priority, self.master_interval)
    }

    fn skew_time_for(&self, priority: u8, master_interval: Duration) -> Duration {
        match self.cfg.version {
            VrrpVersion::V2 => share_of_time(priority, Duration::from_secs(1)),
            VrrpVersion::V3 => share_of_time(priority, master_interval),
        }
    }

    /// A time of which lower priorities wait for more.
    fn priority_share(&self, time: Duration) -> Duration {
        share_of_time(self.priority, time)
    }

    /// Active_Down_Interval (Master_Down_Interval): silence for so long means that the master is gone.
    pub fn master_down_interval(&self) -> Duration {
        self.master_interval * u32::from(self.cfg.down_timer_adverts) + self.skew_time()
    }

    /// When [`Router::handle_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let t = &self.timers;
        [
            t.startup_hold,
            t.frame_hold,
            t.advert,
            t.master_down,
            t.announce_again,
            t.announce_lower_priority,
            t.announce_refresh,
            t.announce_extra_interfaces,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What it wants done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Something happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Start(past) => {
                self.started = true;
                if self.priority != self.cfg.priority {
                    self.outputs.push_back(Output::PriorityChanged(self.priority));
                }
                if past == PreviousState::Master && self.own_fault_reason().is_none() {
                    self.become_master(now, TransitionReason::Resumed);
                } else {
                    // The clock began with the machine.
                    let until = (now + self.cfg.startup_delay).max(Instant::default() + self.cfg.boot_delay);
                    self.timers.startup_hold = (until > now).then_some(until);
                    if past == PreviousState::Unknown {
                        self.hold_until_frame(now);
                    }
                    self.update_fault_state(now, TransitionReason::Started);
                }
                if past == PreviousState::Resigned && self.state == State::Backup {
                    let longest_skew = match self.cfg.version {
                        VrrpVersion::V2 => Duration::from_secs(1),
                        VrrpVersion::V3 => self.cfg.advert_int,
                    };
                    self.timers.master_down = Some(now + longest_skew);
                    self.master_down_reason =
                        TransitionReason::MasterDownTimeout { ms: longest_skew.as_millis() as u64 };
                }
            }
            Input::Link(up) => {
                let was = std::mem::replace(&mut self.link_up, up);
                if up && !was && self.started && self.state == State::Fault {
                    self.hold_until_frame(now);
                }
                self.update_fault_state(now, TransitionReason::Recovered);
            }
            Input::FrameReceived => {
                if self.timers.frame_hold.take().is_some() {
                    self.update_fault_state(now, TransitionReason::Recovered);
                }
            }
            Input::SourceAddress(a) => {
                self.source = a;
                self.update_fault_state(now, TransitionReason::Recovered);
            }
            Input::TrackResult { object, result: found } => {
                let known = self.cfg.tracks.iter().any(|t| t.object == *object);
                if !known || self.track_results.insert(object.clone(), found) == Some(found) {
                    return;
                }
                self.update_priority();
                self.update_fault_state(now, TransitionReason::Recovered);
            }
            Input::BfdNeighbourLost(a) => self.handle_bfd_neighbour_lost(now, a),
            Input::Packet { ip, payload } => {
                self.step_down_if_late(now);
                self.handle_packet(now, ip, payload);
            }
            Input::AssertMastership => self.assert_mastership(now),
            Input::SyncGroup(order, cause) => self.handle_group_action(now, order, cause),
            Input::Stop => self.stop(now),
        }
    }

    /// Time has come to what [`Router::next_deadline`] said; extra calls do nothing.
    pub fn handle_deadline(&mut self, now: Instant) {
        if self.step_down_if_late(now) {
            return;
        }
        let due = |t: Option<Instant>| t.is_some_and(|t| t <= now);
        if due(self.timers.startup_hold) {
            self.timers.startup_hold = None;
            self.update_fault_state(now, TransitionReason::Started);
        }
        if due(self.timers.frame_hold) {
            self.timers.frame_hold = None;
            self.update_fault_state(now, TransitionReason::Recovered);
        }
        if due(self.timers.master_down) {
            self.timers.master_down = None;
            let because = self.master_down_reason.clone();
            self.claim_mastership(now, because);
        }
        if let Some(at) = self.timers.advert.filter(|&t| t <= now) {
            self.send_advert(self.priority);
            // From the deadline, not from now, so that lateness does not add up; unless a whole interval was missed.
            let next = at + self.cfg.advert_int;
            self.timers.advert = Some(if next > now { next } else { now + self.cfg.advert_int });
        }
        if due(self.timers.announce_again) {
            self.timers.announce_again = None;
            self.outputs.push_back(Output::Announce(self.cfg.garp.master_repeat));
        }
        if due(self.timers.announce_lower_priority) {
            self.timers.announce_lower_priority = None;
            self.outputs.push_back(Output::Announce(self.cfg.garp.lower_prio_repeat));
        }
        if due(self.timers.announce_refresh) {
            self.timers.announce_refresh = Some(now + self.cfg.garp.master_refresh);
            self.outputs.push_back(Output::Announce(self.cfg.garp.master_refresh_repeat));
        }
        if due(self.timers.announce_extra_interfaces) {
            self.timers.announce_extra_interfaces = Some(now + self.cfg.garp_extra_if_interval);
            self.outputs.push_back(Output::AnnounceExtraInterfaces);
        }
    }

    /// keepalived.conf(5), `timer_expired_backup`: a machine that was paused finds another master, which must not be
    /// preempted. Before anything is sent, as an advert of higher priority would do just that.
    fn step_down_if_late(&mut self, now: Instant) -> bool {
        let (State::Master, Some(highest), Some(due)) = (self.state, self.cfg.timer_expired_backup, self.timers.advert)
        else {
            return false;
        };
        let interval = self.cfg.advert_int;
        let silent = now.duration_since(due) + interval;
        if silent <= interval * u32::from(self.cfg.down_timer_adverts) + self.skew_time_for(highest, interval) {
            return false;
        }
        self.step_down(now, TransitionReason::AdvertTimerLate { ms: silent.as_millis() as u64 });
        true
    }

    fn step_down(&mut self, now: Instant, because: TransitionReason) {
        self.outputs.push_back(Output::RemoveVips);
        self.timers = Timers::default();
        self.restart_master_down_timer(now);
        self.enter_state(now, State::Backup, because);
    }

    /// Whether it waits to hear any frame on its link.
    pub fn is_waiting_for_frame(&self) -> bool {
        self.timers.frame_hold.is_some()
    }

    fn hold_until_frame(&mut self, now: Instant) {
        let hold = self.cfg.hold_until_frame;
        self.timers.frame_hold = (!hold.is_zero()).then_some(now + hold);
    }

    /// A new configuration of the same identity; the state stays.
    pub fn reconfigure(&mut self, now: Instant, cfg: VrrpInstance) {
        if cfg == self.cfg {
            return;
        }
        let interval_changed = cfg.advert_int != self.cfg.advert_int;
        let vips_changed = !cfg.all_vips().eq(self.cfg.all_vips());
        if cfg.sync_group != self.cfg.sync_group {
            // What another group said of it holds no longer.
            self.group_fault = None;
            self.wants_master = None;
        }
        self.cfg = cfg;
        self.track_results.retain(|object, _| self.cfg.tracks.iter().any(|t| t.object == *object));
        self.update_priority();
        if interval_changed {
            self.master_interval = self.cfg.advert_int;
        }
        match self.state {
            State::Master => {
                if vips_changed {
                    self.outputs.push_back(Output::AddVips);
                    self.outputs.push_back(Output::Announce(self.cfg.garp.master_repeat));
                }
                self.timers.advert = Some(now); // peers learn at once
            }
            State::Backup if interval_changed => self.restart_master_down_timer(now),
            _ => {}
        }
        self.update_fault_state(now, TransitionReason::Recovered);
    }

    /// Takes the priority that circumstances give it.
    fn update_priority(&mut self) {
        let effects = |t: &Track| track_effect(t, self.track_results.get(&t.object).copied());
        if self.cfg.tracks.iter().any(|t| t.weight != 0 && effects(t) == TrackEffect::Fault) {
            return; // it keeps the priority of before, as in keepalived, and takes part in nothing
        }
        let now = self.compute_priority();
        let before = std::mem::replace(&mut self.priority, now);
        // keepalived does not tell of it in FAULT: the transition out of it will.
        if self.started && self.state != State::Fault && before != self.priority {
            self.outputs.push_back(Output::PriorityChanged(self.priority));
        }
    }

    fn compute_priority(&self) -> u8 {
        let base = if self.owner_demoted { 254 } else { self.cfg.priority };
        let sum = self.cfg.tracks.iter().map(|t| match track_effect(t, self.track_results.get(&t.object).copied()) {
            TrackEffect::Priority(p) => i32::from(p),
            _ => 0,
        });
        effective_priority(base, sum.sum())
    }

    /// What keeps it from taking part.
    fn fault_reason(&self) -> Option<TransitionReason> {
        self.own_fault_reason().or_else(|| self.group_fault.clone().map(|name| TransitionReason::SyncGroup(Some(name))))
    }

    /// How it stands in its sync group.
    pub fn group_member(&self) -> GroupMember {
        GroupMember {
            state: self.state,
            since: self.since,
            wants_master: self.wants_master.is_some(),
            has_fault: self.started && self.own_fault_reason().is_some(),
        }
    }

    /// Nobody is master: it becomes one, or, in a sync group, says that it would.
    fn claim_mastership(&mut self, now: Instant, because: TransitionReason) {
        if self.cfg.sync_group.is_none() {
            return self.become_master(now, because);
        }
        self.restart_master_down_timer(now);
        self.wants_master = Some(because);
    }

    fn handle_group_action(&mut self, now: Instant, order: GroupAction, cause: Option<&str>) {
        match order {
            GroupAction::Fault(_) => {
                self.group_fault = cause.map(str::to_owned);
                self.update_fault_state(now, TransitionReason::Recovered);
            }
            GroupAction::Master if self.state == State::Backup => {
                let because = self.wants_master.take().unwrap_or(TransitionReason::SyncGroup(None));
                self.become_master(now, because);
            }
            GroupAction::Backup if self.state == State::Master => {
                self.step_down(now, TransitionReason::SyncGroup(None))
            }
            GroupAction::Master | GroupAction::Backup => {}
        }
    }

    /// What of its own keeps it from taking part.
    fn own_fault_reason(&self) -> Option<TransitionReason> {
        if !self.link_up && !self.cfg.dont_track_primary {
            return Some(TransitionReason::LinkDown);
        }
        if self.source.is_none() {
            return Some(TransitionReason::NoAddress);
        }
        if self.cfg.fault_without_peer && matches!(self.cfg.advert_destination, AdvertDestination::Multicast(_)) {
            return Some(TransitionReason::NoUnicastPeer);
        }
        let failing = self
            .cfg
            .tracks
            .iter()
            .find(|t| track_effect(t, self.track_results.get(&t.object).copied()) == TrackEffect::Fault);
        failing.map(|t| {
            let found = self.track_results.get(&t.object).copied().unwrap_or(TrackResult::Good(false));
            TransitionReason::TrackedObject(t.object.clone(), found)
        })
    }

    fn is_waiting_for_tracks(&self) -> bool {
        self.cfg.tracks.iter().any(|t| track_effect(t, self.track_results.get(&t.object).copied()) == TrackEffect::Wait)
    }

    /// Into FAULT, out of it, or out of INIT, as the circumstances are now.
    fn update_fault_state(&mut self, now: Instant, recovered: TransitionReason) {
        if !self.started || self.timers.startup_hold.is_some() {
            return;
        }
        match (self.fault_reason(), self.state) {
            (Some(_), State::Fault) => {}
            (Some(why), was) => {
                if was == State::Master {
                    self.send_resignation();
                }
                self.timers = Timers::default();
                self.enter_state(now, State::Fault, why);
            }
            (None, State::Init | State::Fault) => {
                if self.is_waiting_for_tracks() || self.timers.frame_hold.is_some() {
                    return;
                }
                let because = if self.state == State::Init { TransitionReason::Started } else { recovered };
                let owner = self.priority == 255 && self.cfg.initial_state == InitialState::Master;
                if owner && self.cfg.sync_group.is_none() {
                    self.become_master(now, TransitionReason::Owner);
                } else {
                    self.master_interval = self.cfg.advert_int;
                    self.restart_master_down_timer(now);
                    self.enter_state(now, State::Backup, because);
                    if owner {
                        self.claim_mastership(now, TransitionReason::Owner);
                    }
                }
            }
            (None, _) => {}
        }
    }

    fn enter_state(&mut self, now: Instant, to: State, because: TransitionReason) {
        let from = std::mem::replace(&mut self.state, to);
        self.counters.released_master += u64::from(from == State::Master && to != State::Master);
        self.since = now;
        self.reason = because.clone();
        self.preempt_at = None;
        self.wants_master = None;
        if to != State::Backup {
            self.master = None;
        }
        self.outputs.push_back(Output::Transition { from, to, reason: because });
    }

    /// (Re)starts the master-down timer.
    fn restart_master_down_timer(&mut self, now: Instant) {
        let interval = self.master_down_interval();
        self.timers.master_down = Some(now + interval);
        self.master_down_reason = TransitionReason::MasterDownTimeout { ms: interval.as_millis() as u64 };
    }

    /// RFC 9568, 6.4.2: (100) to (165). keepalived's order: the advert first, then addresses, then ARP.
    fn become_master(&mut self, now: Instant, because: TransitionReason) {
        self.timers = Timers { advert: Some(now + self.cfg.advert_int), ..Timers::default() };
        let garp = self.cfg.garp;
        if !garp.master_delay.is_zero() {
            self.timers.announce_again = Some(now + garp.master_delay);
        }
        if !garp.master_refresh.is_zero() {
            self.timers.announce_refresh = Some(now + garp.master_refresh);
        }
        if !self.cfg.garp_extra_if_interval.is_zero() {
            self.timers.announce_extra_interfaces = Some(now + self.cfg.garp_extra_if_interval);
        }
        self.counters.became_master += 1;
        self.send_advert(self.priority);
        self.outputs.push_back(Output::AddVips);
        self.outputs.push_back(Output::Announce(garp.master_repeat));
        self.enter_state(now, State::Master, because);
    }

    /// The last word of a master.
    fn send_resignation(&mut self) {
        self.send_advert(0);
        self.counters.priority_zero_sent += 1;
        self.outputs.push_back(Output::RemoveVips);
    }

    fn stop(&mut self, now: Instant) {
        if self.state == State::Master {
            self.send_resignation();
        }
        self.timers = Timers::default();
        self.started = false;
        if self.state != State::Init {
            self.enter_state(now, State::Init, TransitionReason::Stopped);
        }
    }
}

/// The part of a time that a backup of this priority waits for.
fn share_of_time(priority: u8, time: Duration) -> Duration {
    time * (256 - u32::from(priority)) / 256
}
