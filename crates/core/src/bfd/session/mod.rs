//! Bidirectional forwarding detection: does a neighbour still hear us, and we him? (RFC 5880, asynchronous mode, without
//! authentication and echo; RFC 5881 and RFC 5883 for its packets.)
//!
//! [`Session`] is the state machine of one session, as a value: sockets and clock are the daemon's.

pub mod packet;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

pub use packet::{Diagnostic, Packet, RejectReason, State};

use crate::model::BfdInstance;
use crate::time::Instant;

/// The UDP port of a neighbour on the link (RFC 5881, 4).
pub const SINGLE_HOP_PORT: u16 = 3784;
/// That of one behind routers (RFC 5883, 5).
pub const MULTIHOP_PORT: u16 = 4784;
/// Packets come from ports from here to 65535 (RFC 5881, 4).
pub const MIN_SOURCE_PORT: u16 = 49152;
/// RFC 5880, 6.8.3: while a session is not up, packets are at least so far apart.
const MIN_IDLE_TX: Duration = Duration::from_secs(1);

/// What a session wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this to the neighbour.
    Send([u8; packet::PACKET_LEN]),
    /// It is in another state now.
    Transition {
        /// Before.
        from: State,
        /// Now.
        to: State,
        /// Why it went down, if it did.
        diagnostic: Diagnostic,
        /// The neighbour's operator took it down: nothing has failed (RFC 5882, 3.2).
        admin_down: bool,
    },
}

/// A session with one neighbour.
#[derive(Clone, Debug)]
pub struct Session {
    cfg: BfdInstance,
    state: State,
    since: Instant,
    diagnostic: Diagnostic,
    /// Our number for it (bfd.LocalDiscr).
    local_discr: u32,
    /// The neighbour's (bfd.RemoteDiscr), 0 while nothing is heard.
    remote_discr: u32,
    remote_min_rx: Duration,
    remote_min_tx: Duration,
    remote_multiplier: u8,
    remote_demand: bool,
    /// A change of our intervals that the neighbour has not confirmed (6.5).
    polling: bool,
    /// What held before that change, which the slower of the two must not break (6.8.3).
    previous_intervals: (Duration, Duration),
    transmit_at: Option<Instant>,
    received_at: Option<Instant>,
    /// Draws the jitter.
    jitter_seed: u64,
    /// Packets sent and accepted.
    counters: (u64, u64),
    /// The next change of state is the neighbour's operator's wish.
    admin_down: bool,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A session that begins now. `mine` is its discriminator, another than those of this host's other sessions and hard
    /// to guess (RFC 5880, 6.8.1); 0 is taken for 1.
    pub fn new(cfg: BfdInstance, mine: u32, now: Instant) -> Self {
        let before = (cfg.idle_tx.max(MIN_IDLE_TX), cfg.min_rx);
        let mut s = Session {
            state: State::Down,
            since: now,
            diagnostic: Diagnostic::NONE,
            local_discr: mine.max(1),
            remote_discr: 0,
            remote_min_rx: Duration::from_micros(1),
            remote_min_tx: Duration::ZERO,
            remote_multiplier: 0,
            remote_demand: false,
            polling: false,
            previous_intervals: before,
            transmit_at: None,
            received_at: None,
            jitter_seed: u64::from(mine) << 32 | 0x9e37_79b9,
            counters: (0, 0),
            admin_down: false,
            outputs: VecDeque::new(),
            cfg,
        };
        s.schedule_transmit(now);
        s
    }

    /// Its configuration.
    pub fn config(&self) -> &BfdInstance {
        &self.cfg
    }

    /// Where it stands, since when, and why it went down last.
    pub fn state(&self) -> (State, Instant, Diagnostic) {
        (self.state, self.since, self.diagnostic)
    }

    /// Our discriminator.
    pub fn local_discr(&self) -> u32 {
        self.local_discr
    }

    /// Packets sent and accepted.
    pub fn counters(&self) -> (u64, u64) {
        self.counters
    }

    /// How far apart our packets are, jitter apart (6.8.7).
    pub fn transmit_interval(&self) -> Duration {
        self.desired_min_tx().max(self.remote_min_rx)
    }

    /// Silence for so long means that the neighbour is gone (6.8.4); zero while nothing is heard.
    pub fn detection_time(&self) -> Duration {
        let ours = if self.polling { self.cfg.min_rx.max(self.previous_intervals.1) } else { self.cfg.min_rx };
        ours.max(self.remote_min_tx) * u32::from(self.remote_multiplier)
    }

    /// When [`Session::handle_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.transmit_at.into_iter().chain(self.detection_deadline()).min()
    }

    /// What it wants done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A packet that is for this session: its `yours` is ours, or it is 0 and comes from the neighbour (6.8.6).
    pub fn handle(&mut self, now: Instant, p: &Packet) {
        if self.state == State::AdminDown {
            return;
        }
        self.counters.1 += 1;
        self.remote_discr = p.my_discr;
        self.remote_demand = p.demand && p.state == State::Up;
        self.remote_multiplier = p.multiplier;
        self.remote_min_tx = p.desired_min_tx;
        self.received_at = Some(now);
        if p.final_bit && self.polling {
            self.polling = false;
            self.previous_intervals = (self.desired_min_tx(), self.cfg.min_rx);
        }
        let slower = p.required_min_rx != self.remote_min_rx;
        self.remote_min_rx = p.required_min_rx;
        match (p.state, self.state) {
            (State::AdminDown, State::Init | State::Up) => {
                self.admin_down = true;
                self.enter_state(now, State::Down, Diagnostic::NEIGHBOUR_DOWN);
            }
            (State::Down, State::Down) => self.enter_state(now, State::Init, self.diagnostic),
            (State::Init, State::Down) | (State::Init | State::Up, State::Init) => {
                self.enter_state(now, State::Up, Diagnostic::NONE);
            }
            (State::Down, State::Up) => self.enter_state(now, State::Down, Diagnostic::NEIGHBOUR_DOWN),
            _ if slower || self.transmit_at.is_none() => self.schedule_transmit(now),
            _ => {}
        }
        if p.poll {
            self.send_packet(false, true); // the answer waits for no timer
        }
    }

    /// Time has come to what [`Session::next_deadline`] said; extra calls do nothing.
    pub fn handle_deadline(&mut self, now: Instant) {
        if self.detection_deadline().is_some_and(|t| t <= now) {
            self.received_at = None;
            self.remote_discr = 0;
            self.remote_min_rx = Duration::from_micros(1);
            if matches!(self.state, State::Init | State::Up) {
                self.enter_state(now, State::Down, Diagnostic::TIME_EXPIRED);
            }
        }
        if self.transmit_at.is_some_and(|t| t <= now) {
            self.send_packet(self.polling, false);
            self.schedule_transmit(now);
        }
    }

    /// A new configuration of the same neighbour; the session stays.
    pub fn reconfigure(&mut self, now: Instant, cfg: BfdInstance) {
        if cfg == self.cfg {
            return;
        }
        let before = (self.desired_min_tx(), self.cfg.min_rx);
        self.cfg = cfg;
        if self.state == State::Up && before != (self.desired_min_tx(), self.cfg.min_rx) {
            (self.polling, self.previous_intervals) = (true, before);
        }
        self.schedule_transmit(now);
    }

    /// It ends, and says so (6.8.16).
    pub fn stop(&mut self, now: Instant) {
        self.enter_state(now, State::AdminDown, Diagnostic::ADMIN_DOWN);
        self.transmit_at = None;
        self.received_at = None;
    }

    /// 6.8.3: at least a second while it is not up; and no slower than before until the neighbour knows.
    fn desired_min_tx(&self) -> Duration {
        match self.state {
            State::Up if self.polling => self.cfg.min_tx.min(self.previous_intervals.0),
            State::Up => self.cfg.min_tx,
            _ => self.cfg.idle_tx.max(MIN_IDLE_TX),
        }
    }

    fn detection_deadline(&self) -> Option<Instant> {
        Some(self.received_at? + self.detection_time())
    }

    fn enter_state(&mut self, now: Instant, to: State, why: Diagnostic) {
        let from = std::mem::replace(&mut self.state, to);
        if from == to {
            return;
        }
        (self.since, self.diagnostic) = (now, why);
        // 6.8.3: an interval that becomes another while the session is up is made known by polling.
        (self.polling, self.previous_intervals) = (to == State::Up, (self.cfg.min_tx, self.cfg.min_rx));
        let meant = std::mem::take(&mut self.admin_down);
        self.outputs.push_back(Output::Transition { from, to, diagnostic: why, admin_down: meant });
        // 6.8.7: a packet that says something new need not wait.
        if self.may_transmit() {
            self.send_packet(self.polling, false);
        }
        self.schedule_transmit(now);
    }

    /// 6.8.7: a passive one does not begin, and nobody is sent what he does not want.
    fn may_transmit(&self) -> bool {
        let wanted = !self.remote_min_rx.is_zero() && (!self.remote_demand || self.polling);
        wanted && (self.remote_discr != 0 || !self.cfg.passive)
    }

    /// 6.8.7: up to a quarter earlier, so that neighbours do not fall into step; with a multiplier of 1 at least a tenth.
    fn schedule_transmit(&mut self, now: Instant) {
        if !self.may_transmit() || self.state == State::AdminDown {
            self.transmit_at = None;
            return;
        }
        self.jitter_seed ^= self.jitter_seed << 13;
        self.jitter_seed ^= self.jitter_seed >> 7;
        self.jitter_seed ^= self.jitter_seed << 17;
        let share = (self.jitter_seed >> 11) as f64 / (1u64 << 53) as f64;
        let most = if self.cfg.multiplier == 1 { 0.9 } else { 1.0 };
        self.transmit_at = Some(now + self.transmit_interval().mul_f64(0.75 + share * (most - 0.75)));
    }

    fn send_packet(&mut self, poll: bool, last: bool) {
        let desired_min_tx = if self.state == State::Up { self.cfg.min_tx } else { self.desired_min_tx() };
        let packet = Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: poll && !last,
            final_bit: last,
            demand: false,
            multiplier: self.cfg.multiplier,
            my_discr: self.local_discr,
            your_discr: self.remote_discr,
            desired_min_tx,
            required_min_rx: self.cfg.min_rx,
        };
        self.counters.0 += 1;
        self.outputs.push_back(Output::Send(packet.encode()));
    }
}
