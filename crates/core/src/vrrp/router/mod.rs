//! One virtual router: the state machine of RFC 9568 section 6.4 (RFC 3768 section 6.4 for version 2), with keepalived's
//! additions (FAULT, tracking, preempt delay).

mod hear;
mod speak;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{Destination, Found, InitialState, Track, TrackedObject, VrrpInstance, VrrpVersion};
use crate::time::Instant;
use crate::vrrp::events::{Because, Counters, Input, Output, Past, State};
use crate::vrrp::group::{Member, Order};
use crate::vrrp::peers::Peers;
use crate::vrrp::track::{Effect, effect, effective_priority};

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Timers {
    advert: Option<Instant>,
    master_down: Option<Instant>,
    announce_again: Option<Instant>,
    /// It stands still until then (`vrrp_startup_delay`, `vrrp_delay_after_boot`).
    hold: Option<Instant>,
    /// It stands still until a frame is heard, or until then (`vrrp_hold_until_frame`).
    frame: Option<Instant>,
    announce_elsewhere: Option<Instant>,
    announce_lower: Option<Instant>,
    announce_refresh: Option<Instant>,
}

/// The state machine of one `vrrp_instance`.
#[derive(Clone, Debug)]
pub struct Router {
    cfg: VrrpInstance,
    state: State,
    since: Instant,
    because: Because,
    started: bool,
    link: bool,
    address: Option<IpAddr>,
    standing: BTreeMap<TrackedObject, Found>,
    /// In a sync group: it has heard no master for long enough, and why it says so.
    wants_master: Option<Because>,
    /// In a sync group: this member cannot take part.
    group_fault: Option<String>,
    /// An owner that met another owner gives way with 254.
    owner_yields: bool,
    priority: u8,
    /// Version 3: the master's interval; else ours.
    master_interval: Duration,
    master: Option<(IpAddr, u8)>,
    /// When a lower-priority master may be taken over from (`preempt_delay`).
    preempt_at: Option<Instant>,
    /// Why the master-down timer, should it fire, fires.
    down_because: Because,
    timers: Timers,
    counters: Counters,
    peers: Peers,
    /// Of the last authentication header that was sent or accepted.
    sequence: u32,
    /// Of the last IP header that was sent.
    id: u16,
    /// The time of day, as far as this router was told (`auth_hmac` alone wants it).
    time_of_day: Duration,
    /// The time in the last signature that was sent.
    stamp: u64,
    out: VecDeque<Output>,
}

impl Router {
    /// A router that has not started.
    pub fn new(cfg: VrrpInstance, now: Instant) -> Self {
        let master_interval = cfg.advert_int;
        let mut r = Router {
            state: State::Init,
            since: now,
            because: Because::Started,
            started: false,
            link: false,
            address: None,
            standing: BTreeMap::new(),
            wants_master: None,
            group_fault: None,
            owner_yields: false,
            priority: cfg.priority,
            master_interval,
            master: None,
            preempt_at: None,
            down_because: Because::Silence { ms: 0 },
            timers: Timers::default(),
            counters: Counters::default(),
            peers: Peers::default(),
            sequence: 0,
            id: 0,
            time_of_day: Duration::ZERO,
            stamp: 0,
            out: VecDeque::new(),
            cfg,
        };
        r.priority = r.effective();
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
    pub fn since(&self) -> (Instant, &Because) {
        (self.since, &self.because)
    }

    /// The priority that it advertises now.
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// The master as it knows it: address and priority; itself if it is the one.
    pub fn master(&self) -> Option<(IpAddr, u8)> {
        if self.state == State::Master { self.address.map(|a| (a, self.priority)) } else { self.master }
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
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Skew_Time (RFC 9568, 6.1; RFC 3768, 6.1): lower priorities wait a little longer.
    pub fn skew(&self) -> Duration {
        self.skew_of(self.priority, self.master_interval)
    }

    fn skew_of(&self, priority: u8, master_interval: Duration) -> Duration {
        match self.cfg.version {
            VrrpVersion::V2 => share(priority, Duration::from_secs(1)),
            VrrpVersion::V3 => share(priority, master_interval),
        }
    }

    /// A time of which lower priorities wait for more.
    fn share_of(&self, time: Duration) -> Duration {
        share(self.priority, time)
    }

    /// Active_Down_Interval (Master_Down_Interval): silence for so long means that the master is gone.
    pub fn master_down_interval(&self) -> Duration {
        self.master_interval * u32::from(self.cfg.down_timer_adverts) + self.skew()
    }

    /// When [`Router::handle_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let t = &self.timers;
        [
            t.hold,
            t.frame,
            t.advert,
            t.master_down,
            t.announce_again,
            t.announce_lower,
            t.announce_refresh,
            t.announce_elsewhere,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What it wants done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Something happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Start(past) => {
                self.started = true;
                if self.priority != self.cfg.priority {
                    self.out.push_back(Output::Priority(self.priority));
                }
                if past == Past::Master && self.own_fault().is_none() {
                    self.become_master(now, Because::Resumed);
                } else {
                    // The clock began with the machine.
                    let until = (now + self.cfg.startup_delay).max(Instant::default() + self.cfg.after_boot);
                    self.timers.hold = (until > now).then_some(until);
                    if past == Past::Nothing {
                        self.hold_until_frame(now);
                    }
                    self.reconsider(now, Because::Started);
                }
                if past == Past::GivenUp && self.state == State::Backup {
                    let longest_skew = match self.cfg.version {
                        VrrpVersion::V2 => Duration::from_secs(1),
                        VrrpVersion::V3 => self.cfg.advert_int,
                    };
                    self.timers.master_down = Some(now + longest_skew);
                    self.down_because = Because::Silence { ms: longest_skew.as_millis() as u64 };
                }
            }
            Input::Link(up) => {
                let was = std::mem::replace(&mut self.link, up);
                if up && !was && self.started && self.state == State::Fault {
                    self.hold_until_frame(now);
                }
                self.reconsider(now, Because::Recovered);
            }
            Input::Frame => {
                if self.timers.frame.take().is_some() {
                    self.reconsider(now, Because::Recovered);
                }
            }
            Input::Address(a) => {
                self.address = a;
                self.reconsider(now, Because::Recovered);
            }
            Input::Tracked { object, found } => {
                let known = self.cfg.tracks.iter().any(|t| t.object == *object);
                if !known || self.standing.insert(object.clone(), found) == Some(found) {
                    return;
                }
                self.weigh();
                self.reconsider(now, Because::Recovered);
            }
            Input::NeighbourLost(a) => self.neighbour_lost(now, a),
            Input::Packet { ip, payload } => {
                self.stood_still(now);
                self.packet(now, ip, payload);
            }
            Input::Assert => self.assert(now),
            Input::Group(order, cause) => self.order(now, order, cause),
            Input::Stop => self.stop(now),
        }
    }

    /// Time has come to what [`Router::next_deadline`] said; extra calls do nothing.
    pub fn handle_deadline(&mut self, now: Instant) {
        if self.stood_still(now) {
            return;
        }
        let due = |t: Option<Instant>| t.is_some_and(|t| t <= now);
        if due(self.timers.hold) {
            self.timers.hold = None;
            self.reconsider(now, Because::Started);
        }
        if due(self.timers.frame) {
            self.timers.frame = None;
            self.reconsider(now, Because::Recovered);
        }
        if due(self.timers.master_down) {
            self.timers.master_down = None;
            let because = self.down_because.clone();
            self.claim(now, because);
        }
        if let Some(at) = self.timers.advert.filter(|&t| t <= now) {
            self.send(self.priority);
            // From the deadline, not from now, so that lateness does not add up; unless a whole interval was missed.
            let next = at + self.cfg.advert_int;
            self.timers.advert = Some(if next > now { next } else { now + self.cfg.advert_int });
        }
        if due(self.timers.announce_again) {
            self.timers.announce_again = None;
            self.out.push_back(Output::Announce(self.cfg.garp.master_repeat));
        }
        if due(self.timers.announce_lower) {
            self.timers.announce_lower = None;
            self.out.push_back(Output::Announce(self.cfg.garp.lower_prio_repeat));
        }
        if due(self.timers.announce_refresh) {
            self.timers.announce_refresh = Some(now + self.cfg.garp.master_refresh);
            self.out.push_back(Output::Announce(self.cfg.garp.master_refresh_repeat));
        }
        if due(self.timers.announce_elsewhere) {
            self.timers.announce_elsewhere = Some(now + self.cfg.garp_elsewhere);
            self.out.push_back(Output::AnnounceElsewhere);
        }
    }

    /// keepalived.conf(5), `timer_expired_backup`: a machine that was paused finds another master, which must not be
    /// preempted. Before anything is sent, as an advert of higher priority would do just that.
    fn stood_still(&mut self, now: Instant) -> bool {
        let (State::Master, Some(highest), Some(due)) = (self.state, self.cfg.timer_expired_backup, self.timers.advert)
        else {
            return false;
        };
        let interval = self.cfg.advert_int;
        let silent = now.since(due) + interval;
        if silent <= interval * u32::from(self.cfg.down_timer_adverts) + self.skew_of(highest, interval) {
            return false;
        }
        self.step_down(now, Because::StoodStill { ms: silent.as_millis() as u64 });
        true
    }

    fn step_down(&mut self, now: Instant, because: Because) {
        self.out.push_back(Output::RemoveVips);
        self.timers = Timers::default();
        self.listen(now);
        self.enter(now, State::Backup, because);
    }

    /// Whether it waits to hear any frame on its link.
    pub fn waits_for_frame(&self) -> bool {
        self.timers.frame.is_some()
    }

    fn hold_until_frame(&mut self, now: Instant) {
        let hold = self.cfg.hold_until_frame;
        self.timers.frame = (!hold.is_zero()).then_some(now + hold);
    }

    /// A new configuration of the same identity; the state stays.
    pub fn reconfigure(&mut self, now: Instant, cfg: VrrpInstance) {
        if cfg == self.cfg {
            return;
        }
        let interval_changed = cfg.advert_int != self.cfg.advert_int;
        let vips_changed = !cfg.all_vips().eq(self.cfg.all_vips());
        if cfg.group != self.cfg.group {
            // What another group said of it holds no longer.
            self.group_fault = None;
            self.wants_master = None;
        }
        self.cfg = cfg;
        self.standing.retain(|object, _| self.cfg.tracks.iter().any(|t| t.object == *object));
        self.weigh();
        if interval_changed {
            self.master_interval = self.cfg.advert_int;
        }
        match self.state {
            State::Master => {
                if vips_changed {
                    self.out.push_back(Output::AddVips);
                    self.out.push_back(Output::Announce(self.cfg.garp.master_repeat));
                }
                self.timers.advert = Some(now); // peers learn at once
            }
            State::Backup if interval_changed => self.listen(now),
            _ => {}
        }
        self.reconsider(now, Because::Recovered);
    }

    /// Takes the priority that circumstances give it.
    fn weigh(&mut self) {
        let effects = |t: &Track| effect(t, self.standing.get(&t.object).copied());
        if self.cfg.tracks.iter().any(|t| t.weight != 0 && effects(t) == Effect::Fault) {
            return; // it keeps the priority of before, as in keepalived, and takes part in nothing
        }
        let now = self.effective();
        let before = std::mem::replace(&mut self.priority, now);
        // keepalived does not tell of it in FAULT: the transition out of it will.
        if self.started && self.state != State::Fault && before != self.priority {
            self.out.push_back(Output::Priority(self.priority));
        }
    }

    fn effective(&self) -> u8 {
        let base = if self.owner_yields { 254 } else { self.cfg.priority };
        let sum = self.cfg.tracks.iter().map(|t| match effect(t, self.standing.get(&t.object).copied()) {
            Effect::Priority(p) => i32::from(p),
            _ => 0,
        });
        effective_priority(base, sum.sum())
    }

    /// What keeps it from taking part.
    fn fault(&self) -> Option<Because> {
        self.own_fault().or_else(|| self.group_fault.clone().map(|name| Because::Group(Some(name))))
    }

    /// How it stands in its sync group.
    pub fn member(&self) -> Member {
        Member {
            state: self.state,
            since: self.since,
            wants_master: self.wants_master.is_some(),
            faulty: self.started && self.own_fault().is_some(),
        }
    }

    /// Nobody is master: it becomes one, or, in a sync group, says that it would.
    fn claim(&mut self, now: Instant, because: Because) {
        if self.cfg.group.is_none() {
            return self.become_master(now, because);
        }
        self.listen(now);
        self.wants_master = Some(because);
    }

    fn order(&mut self, now: Instant, order: Order, cause: Option<&str>) {
        match order {
            Order::Fault(_) => {
                self.group_fault = cause.map(str::to_owned);
                self.reconsider(now, Because::Recovered);
            }
            Order::Master if self.state == State::Backup => {
                let because = self.wants_master.take().unwrap_or(Because::Group(None));
                self.become_master(now, because);
            }
            Order::Backup if self.state == State::Master => self.step_down(now, Because::Group(None)),
            Order::Master | Order::Backup => {}
        }
    }

    /// What of its own keeps it from taking part.
    fn own_fault(&self) -> Option<Because> {
        if !self.link && !self.cfg.dont_track_primary {
            return Some(Because::LinkDown);
        }
        if self.address.is_none() {
            return Some(Because::NoAddress);
        }
        if self.cfg.fault_without_peer && matches!(self.cfg.destination, Destination::Multicast(_)) {
            return Some(Because::NoPeer);
        }
        let failing =
            self.cfg.tracks.iter().find(|t| effect(t, self.standing.get(&t.object).copied()) == Effect::Fault);
        failing.map(|t| {
            let found = self.standing.get(&t.object).copied().unwrap_or(Found::Good(false));
            Because::Tracked(t.object.clone(), found)
        })
    }

    fn waits(&self) -> bool {
        self.cfg.tracks.iter().any(|t| effect(t, self.standing.get(&t.object).copied()) == Effect::Wait)
    }

    /// Into FAULT, out of it, or out of INIT, as the circumstances are now.
    fn reconsider(&mut self, now: Instant, recovered: Because) {
        if !self.started || self.timers.hold.is_some() {
            return;
        }
        match (self.fault(), self.state) {
            (Some(_), State::Fault) => {}
            (Some(why), was) => {
                if was == State::Master {
                    self.resign();
                }
                self.timers = Timers::default();
                self.enter(now, State::Fault, why);
            }
            (None, State::Init | State::Fault) => {
                if self.waits() || self.timers.frame.is_some() {
                    return;
                }
                let because = if self.state == State::Init { Because::Started } else { recovered };
                let owner = self.priority == 255 && self.cfg.initial == InitialState::Master;
                if owner && self.cfg.group.is_none() {
                    self.become_master(now, Because::Owner);
                } else {
                    self.master_interval = self.cfg.advert_int;
                    self.listen(now);
                    self.enter(now, State::Backup, because);
                    if owner {
                        self.claim(now, Because::Owner);
                    }
                }
            }
            (None, _) => {}
        }
    }

    fn enter(&mut self, now: Instant, to: State, because: Because) {
        let from = std::mem::replace(&mut self.state, to);
        self.counters.released_master += u64::from(from == State::Master && to != State::Master);
        self.since = now;
        self.because = because.clone();
        self.preempt_at = None;
        self.wants_master = None;
        if to != State::Backup {
            self.master = None;
        }
        self.out.push_back(Output::Transition { from, to, because });
    }

    /// (Re)starts the master-down timer.
    fn listen(&mut self, now: Instant) {
        let interval = self.master_down_interval();
        self.timers.master_down = Some(now + interval);
        self.down_because = Because::Silence { ms: interval.as_millis() as u64 };
    }

    /// RFC 9568, 6.4.2: (100) to (165). keepalived's order: the advert first, then addresses, then ARP.
    fn become_master(&mut self, now: Instant, because: Because) {
        self.timers = Timers { advert: Some(now + self.cfg.advert_int), ..Timers::default() };
        let garp = self.cfg.garp;
        if !garp.master_delay.is_zero() {
            self.timers.announce_again = Some(now + garp.master_delay);
        }
        if !garp.master_refresh.is_zero() {
            self.timers.announce_refresh = Some(now + garp.master_refresh);
        }
        if !self.cfg.garp_elsewhere.is_zero() {
            self.timers.announce_elsewhere = Some(now + self.cfg.garp_elsewhere);
        }
        self.counters.became_master += 1;
        self.send(self.priority);
        self.out.push_back(Output::AddVips);
        self.out.push_back(Output::Announce(garp.master_repeat));
        self.enter(now, State::Master, because);
    }

    /// The last word of a master.
    fn resign(&mut self) {
        self.send(0);
        self.counters.priority_zero_sent += 1;
        self.out.push_back(Output::RemoveVips);
    }

    fn stop(&mut self, now: Instant) {
        if self.state == State::Master {
            self.resign();
        }
        self.timers = Timers::default();
        self.started = false;
        if self.state != State::Init {
            self.enter(now, State::Init, Because::Stopped);
        }
    }
}

/// The part of a time that a backup of this priority waits for.
fn share(priority: u8, time: Duration) -> Duration {
    time * (256 - u32::from(priority)) / 256
}
