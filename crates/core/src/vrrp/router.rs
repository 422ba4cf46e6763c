//! One virtual router: the state machine of RFC 9568 section 6.4 (RFC 3768 section 6.4 for version 2), with keepalived's
//! additions (FAULT, tracking, preempt delay).

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::events::{Because, Counters, Input, Output, Past, State};
use super::group::{Member, Order};
use super::peers::{Peers, Remark};
use super::track::{Effect, effect, effective_priority};
use super::wire::advert::capacity;
use super::wire::{Advert, Form, IpHeader, PROTOCOL, Reject, Rules, TTL};
use crate::model::{
    ChecksumOfOld, Destination, Family, Found, InitialState, Track, TrackedObject, VrrpInstance, VrrpVersion,
};
use crate::time::Instant;

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Timers {
    advert: Option<Instant>,
    master_down: Option<Instant>,
    announce_again: Option<Instant>,
    /// It stands still until then (`vrrp_startup_delay`).
    hold: Option<Instant>,
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
    /// Whom it has heard in the last master-down interval, and what to think of that.
    pub fn hears(&self, now: Instant) -> Vec<String> {
        let patience = self.master_down_interval();
        let then = Instant::from_nanos(now.as_nanos().saturating_sub(patience.as_nanos() as u64));
        let who = |(of, what): (IpAddr, Result<u8, Reject>)| match what {
            Err(why) => format!("{of} speaks as master, and is refused: {why}"),
            Ok(0) => format!("{of} gave up with priority 0"),
            Ok(p) if self.state == State::Master => format!("{of} speaks as master too, with priority {p}"),
            Ok(p) => format!("{of} is master, with priority {p}"),
        };
        self.peers.since(then).map(who).collect()
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
        let share = 256 - u32::from(self.priority);
        match self.cfg.version {
            VrrpVersion::V2 => Duration::from_secs(1) * share / 256,
            VrrpVersion::V3 => self.master_interval * share / 256,
        }
    }

    /// Active_Down_Interval (Master_Down_Interval): silence for so long means that the master is gone.
    pub fn master_down_interval(&self) -> Duration {
        self.master_interval * u32::from(self.cfg.down_timer_adverts) + self.skew()
    }

    /// When [`Router::handle_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let t = &self.timers;
        [t.hold, t.advert, t.master_down, t.announce_again, t.announce_lower, t.announce_refresh]
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
                    let delay = self.cfg.startup_delay;
                    self.timers.hold = (!delay.is_zero()).then_some(now + delay);
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
                self.link = up;
                self.reconsider(now, Because::Recovered);
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
            Input::Packet { ip, payload } => self.packet(now, ip, payload),
            Input::Assert => self.assert(now),
            Input::Group(order, cause) => self.order(now, order, cause),
            Input::Stop => self.stop(now),
        }
    }

    /// Time has come to what [`Router::next_deadline`] said; extra calls do nothing.
    pub fn handle_deadline(&mut self, now: Instant) {
        let due = |t: Option<Instant>| t.is_some_and(|t| t <= now);
        if due(self.timers.hold) {
            self.timers.hold = None;
            self.reconsider(now, Because::Started);
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
            Order::Backup if self.state == State::Master => {
                self.out.push_back(Output::RemoveVips);
                self.timers = Timers::default();
                self.listen(now);
                self.enter(now, State::Backup, Because::Group(None));
            }
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
                if self.waits() {
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

    /// Goes on from this sequence number of authentication headers, so that peers take them as new after a restart; or
    /// from its own, if that is later.
    pub fn continue_sequence(&mut self, from: u32) {
        self.sequence = self.sequence.max(from);
    }

    /// The form of checksum that goes to an address.
    fn form_to(&self, to: IpAddr) -> Form {
        let old = match self.cfg.old_unicast_checksum {
            ChecksumOfOld::Detected => self.peers.form(to) == Some(Form::OldUnicast),
            ChecksumOfOld::Always => true,
            ChecksumOfOld::Never => false,
        };
        match self.cfg.family {
            Family::V6 => Form::PseudoHeader,
            Family::V4 if old && !to.is_multicast() => Form::OldUnicast,
            Family::V4 if self.cfg.v3_checksum_as_v2 => Form::MessageOnly,
            Family::V4 => Form::PseudoHeader,
        }
    }

    /// The addresses that its adverts name.
    fn named(&self) -> impl Iterator<Item = IpAddr> {
        self.cfg.vips.iter().map(|v| v.addr).take(capacity(self.cfg.family == Family::V6))
    }

    fn send(&mut self, priority: u8) {
        let packets = self.packets(priority);
        if !packets.is_empty() {
            self.counters.adverts_sent += 1;
        }
        for (to, ttl, packet) in packets {
            self.sequence = self.sequence.wrapping_add(1);
            self.id = next_id(self.id);
            self.out.push_back(Output::Send { to, ttl, last: priority == 0, packet });
        }
    }

    /// What somebody else has to send, to whom and with which TTL, if this router suddenly is no more.
    pub fn last_words(&self) -> Vec<(IpAddr, u8, Vec<u8>)> {
        self.packets(0)
    }

    /// An advert for each destination, with the numbers that come next.
    fn packets(&self, priority: u8) -> Vec<(IpAddr, u8, Vec<u8>)> {
        let Some(src) = self.address else { return Vec::new() };
        let advert =
            Advert { vrid: self.cfg.vrid, priority, interval: self.cfg.advert_int, addresses: self.named().collect() };
        let (mut sequence, mut id) = (self.sequence, self.id);
        let mut packet = |dst: IpAddr, ttl: u8| {
            sequence = sequence.wrapping_add(1);
            id = next_id(id);
            let ip = IpHeader { src, dst, ttl, protocol: PROTOCOL, id };
            (dst, ttl, advert.packet(self.cfg.version, self.cfg.auth, self.form_to(dst), ip, sequence))
        };
        match &self.cfg.destination {
            Destination::Multicast(group) => vec![packet(*group, TTL)],
            Destination::Unicast(u) => u.peers.iter().map(|p| packet(p.addr, u.ttl)).collect(),
        }
    }

    /// Did a packet come the way that this instance's adverts come? What [`Rules::read`] cannot know.
    ///
    /// RFC 9568, 7.1, demands TTL 255, which holds on one link; of unicast keepalived checks it only where `min_ttl` and
    /// `max_ttl` say so.
    fn arrival(&self, IpHeader { src, dst, ttl, .. }: IpHeader) -> Result<(), Reject> {
        match &self.cfg.destination {
            Destination::Multicast(_) if !dst.is_multicast() => Err(Reject::Unicast),
            Destination::Multicast(_) if ttl != TTL => Err(Reject::Ttl(ttl)),
            Destination::Multicast(_) => Ok(()),
            Destination::Unicast(_) if dst.is_multicast() => Err(Reject::Multicast),
            Destination::Unicast(u) => match u.peers.iter().find(|p| p.addr == src) {
                None if u.check_source => Err(Reject::Stranger),
                Some(p) if !(p.min_ttl..=p.max_ttl).contains(&ttl) => Err(Reject::Ttl(ttl)),
                _ => Ok(()),
            },
        }
    }

    fn packet(&mut self, now: Instant, ip: IpHeader, payload: &[u8]) {
        let src = ip.src;
        if !self.started || Some(src) == self.address || Family::of(src) != self.cfg.family {
            return;
        }
        let rules = Rules {
            version: self.cfg.version,
            auth: self.cfg.auth,
            interval: self.cfg.advert_int,
            old_unicast: self.cfg.old_unicast_checksum,
        };
        let heard = match self.arrival(ip).and_then(|()| rules.read(&ip, payload)) {
            Ok(heard) => heard,
            Err(why) => return self.refuse(now, src, why),
        };
        if self.cfg.owner_ignores_adverts && self.priority == 255 && self.state == State::Master {
            return;
        }
        if let Some(sequence) = heard.sequence {
            if !self.peers.fresh(src, sequence) {
                return self.refuse(now, src, Reject::Replay);
            }
            self.continue_sequence(sequence);
        }
        let advert = heard.advert;
        self.counters.adverts_received += 1;
        if advert.priority == 0 {
            self.counters.priority_zero_received += 1;
        }
        self.remark(src, &advert, heard.form);
        let before = self.peers.heard(src, now, Ok(advert.priority));
        let new = before.is_none_or(|at| now.since(at) > self.master_down_interval());
        let rival = self.state == State::Master && advert.priority != 0 && new;
        match self.state {
            State::Backup => self.advert_as_backup(now, src, &advert),
            State::Master => self.advert_as_master(now, src, &advert),
            State::Init | State::Fault => {}
        }
        if rival {
            self.counters.split_brain += 1;
            self.out.push_back(Output::OtherMaster { by: src, priority: advert.priority });
        }
    }

    /// RFC 9568, 6.4.2 (420 ff.), with nopreempt and preempt_delay.
    fn advert_as_backup(&mut self, now: Instant, src: IpAddr, advert: &Advert) {
        if advert.priority == 0 {
            self.timers.master_down = Some(now + self.skew());
            self.down_because = Because::GaveUp(src);
            return;
        }
        let mut yields = advert.priority >= self.priority || !self.cfg.preempt;
        if yields {
            self.preempt_at = None;
        } else if !self.cfg.preempt_delay.is_zero() {
            let at = *self.preempt_at.get_or_insert(now + self.cfg.preempt_delay);
            yields = now < at;
        }
        if yields {
            self.wants_master = None;
            self.master = Some((src, advert.priority));
            if self.cfg.version == VrrpVersion::V3 {
                self.master_interval = advert.interval.max(Duration::from_millis(10));
            }
            self.listen(now);
        }
    }

    /// RFC 9568, 6.4.3 (725 ff.).
    fn advert_as_master(&mut self, now: Instant, src: IpAddr, advert: &Advert) {
        if advert.priority == 0 {
            self.send(self.priority);
            self.timers.advert = Some(now + self.cfg.advert_int);
            return;
        }
        let outranked = advert.priority > self.priority
            || (advert.priority == self.priority && self.address.is_some_and(|a| src > a));
        if outranked {
            if self.priority == 255 {
                self.owner_yields = true; // two owners: a mistake that one of them must end
                self.weigh();
            }
            if self.cfg.higher_prio_send_advert {
                self.send(self.priority);
            }
            self.out.push_back(Output::RemoveVips);
            self.timers = Timers::default();
            if self.cfg.version == VrrpVersion::V3 {
                self.master_interval = advert.interval.max(Duration::from_millis(10));
            }
            self.listen(now);
            self.enter(now, State::Backup, Because::Outranked { by: src, priority: advert.priority });
            self.master = Some((src, advert.priority));
            return;
        }
        self.out.push_back(Output::LowerPriority { by: src });
        self.assert(now);
    }

    /// Somebody of lower priority speaks as master: those who heard him learn who it is.
    fn assert(&mut self, now: Instant) {
        if self.state != State::Master || self.cfg.lower_prio_no_advert {
            return;
        }
        self.send(self.priority);
        self.timers.advert = Some(now + self.cfg.advert_int);
        let garp = self.cfg.garp;
        if garp.lower_prio_repeat > 0 {
            self.out.push_back(Output::Announce(garp.lower_prio_repeat));
            if !garp.lower_prio_delay.is_zero() {
                self.timers.announce_lower.get_or_insert(now + garp.lower_prio_delay);
            }
        }
    }

    /// Tells once where a peer is not configured as we are, though nothing is wrong with its advert.
    fn remark(&mut self, src: IpAddr, advert: &Advert, form: Form) {
        self.peers.heard_form(src, form);
        let mut ours: Vec<IpAddr> = self.named().collect();
        let mut theirs = advert.addresses.clone();
        ours.sort();
        theirs.sort();
        let known = self.cfg.skip_check_addresses && self.master.is_some_and(|(m, _)| m == src);
        let differ = ours != theirs && advert.priority != 0 && !known;
        self.counters.other_addresses += u64::from(differ);
        if differ && self.peers.tell_once(src, Remark::Addresses) {
            self.out.push_back(Output::VipMismatch { by: src });
        }
        if self.cfg.version == VrrpVersion::V3 {
            if form != self.form_to(src) && self.peers.tell_once(src, Remark::Form(form)) {
                self.out.push_back(Output::ChecksumForm { by: src, form });
            }
            if advert.interval != self.cfg.advert_int && self.peers.tell_once(src, Remark::Interval) {
                self.out.push_back(Output::Interval { by: src, ms: advert.interval.as_millis() as u64 });
            }
        }
    }

    fn refuse(&mut self, now: Instant, src: IpAddr, why: Reject) {
        self.peers.heard(src, now, Err(why));
        *self.counters.refused.entry(format!("{why:?}")).or_default() += 1;
        if self.peers.tell_once(src, Remark::Refused(why)) {
            self.out.push_back(Output::Refused { by: src, why });
        }
    }
}

/// The identification of the next IP packet; 0 would let the kernel choose.
fn next_id(id: u16) -> u16 {
    id.checked_add(1).unwrap_or(1)
}
