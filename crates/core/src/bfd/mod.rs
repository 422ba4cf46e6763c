//! Bidirectional forwarding detection: does a neighbour still hear us, and we him? (RFC 5880, asynchronous mode, without
//! authentication and echo; RFC 5881 and RFC 5883 for its packets.)
//!
//! [`Session`] is the state machine of one session, as a value: sockets and clock are the daemon's.

pub mod packet;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

pub use packet::{Diagnostic, Packet, Reject, State};

use crate::model::BfdInstance;
use crate::time::Instant;

/// The UDP port of a neighbour on the link (RFC 5881, 4).
pub const PORT: u16 = 3784;
/// That of one behind routers (RFC 5883, 5).
pub const MULTIHOP_PORT: u16 = 4784;
/// Packets come from ports from here to 65535 (RFC 5881, 4).
pub const FIRST_SOURCE_PORT: u16 = 49152;
/// RFC 5880, 6.8.3: while a session is not up, packets are at least so far apart.
const IDLE: Duration = Duration::from_secs(1);

/// What a session wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this to the neighbour.
    Send([u8; packet::LENGTH]),
    /// It is in another state now.
    State {
        /// Before.
        from: State,
        /// Now.
        to: State,
        /// Why it went down, if it did.
        why: Diagnostic,
        /// The neighbour's operator took it down: nothing has failed (RFC 5882, 3.2).
        meant: bool,
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
    mine: u32,
    /// The neighbour's (bfd.RemoteDiscr), 0 while nothing is heard.
    yours: u32,
    remote_min_rx: Duration,
    remote_min_tx: Duration,
    remote_multiplier: u8,
    remote_demand: bool,
    /// A change of our intervals that the neighbour has not confirmed (6.5).
    polling: bool,
    /// What held before that change, which the slower of the two must not break (6.8.3).
    before: (Duration, Duration),
    send_at: Option<Instant>,
    heard_at: Option<Instant>,
    /// Draws the jitter.
    lot: u64,
    /// Packets sent and accepted.
    counts: (u64, u64),
    /// The next change of state is the neighbour's operator's wish.
    meant: bool,
    out: VecDeque<Output>,
}

impl Session {
    /// A session that begins now. `mine` is its discriminator, another than those of this host's other sessions and hard
    /// to guess (RFC 5880, 6.8.1); 0 is taken for 1.
    pub fn new(cfg: BfdInstance, mine: u32, now: Instant) -> Self {
        let before = (cfg.idle_tx.max(IDLE), cfg.min_rx);
        let mut s = Session {
            state: State::Down,
            since: now,
            diagnostic: Diagnostic::NONE,
            mine: mine.max(1),
            yours: 0,
            remote_min_rx: Duration::from_micros(1),
            remote_min_tx: Duration::ZERO,
            remote_multiplier: 0,
            remote_demand: false,
            polling: false,
            before,
            send_at: None,
            heard_at: None,
            lot: u64::from(mine) << 32 | 0x9e37_79b9,
            counts: (0, 0),
            meant: false,
            out: VecDeque::new(),
            cfg,
        };
        s.schedule(now);
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
    pub fn discriminator(&self) -> u32 {
        self.mine
    }

    /// Packets sent and accepted.
    pub fn counts(&self) -> (u64, u64) {
        self.counts
    }

    /// How far apart our packets are, jitter apart (6.8.7).
    pub fn interval(&self) -> Duration {
        self.desired_min_tx().max(self.remote_min_rx)
    }

    /// Silence for so long means that the neighbour is gone (6.8.4); zero while nothing is heard.
    pub fn detection_time(&self) -> Duration {
        let ours = if self.polling { self.cfg.min_rx.max(self.before.1) } else { self.cfg.min_rx };
        ours.max(self.remote_min_tx) * u32::from(self.remote_multiplier)
    }

    /// When [`Session::handle_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.send_at.into_iter().chain(self.expires()).min()
    }

    /// What it wants done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// A packet that is for this session: its `yours` is ours, or it is 0 and comes from the neighbour (6.8.6).
    pub fn handle(&mut self, now: Instant, p: &Packet) {
        if self.state == State::AdminDown {
            return;
        }
        self.counts.1 += 1;
        self.yours = p.mine;
        self.remote_demand = p.demand && p.state == State::Up;
        self.remote_multiplier = p.multiplier;
        self.remote_min_tx = p.desired_min_tx;
        self.heard_at = Some(now);
        if p.last && self.polling {
            self.polling = false;
            self.before = (self.desired_min_tx(), self.cfg.min_rx);
        }
        let slower = p.required_min_rx != self.remote_min_rx;
        self.remote_min_rx = p.required_min_rx;
        match (p.state, self.state) {
            (State::AdminDown, State::Init | State::Up) => {
                self.meant = true;
                self.enter(now, State::Down, Diagnostic::NEIGHBOUR);
            }
            (State::Down, State::Down) => self.enter(now, State::Init, self.diagnostic),
            (State::Init, State::Down) | (State::Init | State::Up, State::Init) => {
                self.enter(now, State::Up, Diagnostic::NONE);
            }
            (State::Down, State::Up) => self.enter(now, State::Down, Diagnostic::NEIGHBOUR),
            _ if slower || self.send_at.is_none() => self.schedule(now),
            _ => {}
        }
        if p.poll {
            self.send(false, true); // the answer waits for no timer
        }
    }

    /// Time has come to what [`Session::next_deadline`] said; extra calls do nothing.
    pub fn handle_deadline(&mut self, now: Instant) {
        if self.expires().is_some_and(|t| t <= now) {
            self.heard_at = None;
            self.yours = 0;
            self.remote_min_rx = Duration::from_micros(1);
            if matches!(self.state, State::Init | State::Up) {
                self.enter(now, State::Down, Diagnostic::EXPIRED);
            }
        }
        if self.send_at.is_some_and(|t| t <= now) {
            self.send(self.polling, false);
            self.schedule(now);
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
            (self.polling, self.before) = (true, before);
        }
        self.schedule(now);
    }

    /// It ends, and says so (6.8.16).
    pub fn stop(&mut self, now: Instant) {
        self.enter(now, State::AdminDown, Diagnostic::ADMINISTRATIVE);
        self.send_at = None;
        self.heard_at = None;
    }

    /// 6.8.3: at least a second while it is not up; and no slower than before until the neighbour knows.
    fn desired_min_tx(&self) -> Duration {
        match self.state {
            State::Up if self.polling => self.cfg.min_tx.min(self.before.0),
            State::Up => self.cfg.min_tx,
            _ => self.cfg.idle_tx.max(IDLE),
        }
    }

    fn expires(&self) -> Option<Instant> {
        Some(self.heard_at? + self.detection_time())
    }

    fn enter(&mut self, now: Instant, to: State, why: Diagnostic) {
        let from = std::mem::replace(&mut self.state, to);
        if from == to {
            return;
        }
        (self.since, self.diagnostic) = (now, why);
        // 6.8.3: an interval that becomes another while the session is up is made known by polling.
        (self.polling, self.before) = (to == State::Up, (self.cfg.min_tx, self.cfg.min_rx));
        let meant = std::mem::take(&mut self.meant);
        self.out.push_back(Output::State { from, to, why, meant });
        // 6.8.7: a packet that says something new need not wait.
        if self.speaks() {
            self.send(self.polling, false);
        }
        self.schedule(now);
    }

    /// 6.8.7: a passive one does not begin, and nobody is sent what he does not want.
    fn speaks(&self) -> bool {
        let wanted = !self.remote_min_rx.is_zero() && (!self.remote_demand || self.polling);
        wanted && (self.yours != 0 || !self.cfg.passive)
    }

    /// 6.8.7: up to a quarter earlier, so that neighbours do not fall into step; with a multiplier of 1 at least a tenth.
    fn schedule(&mut self, now: Instant) {
        if !self.speaks() || self.state == State::AdminDown {
            self.send_at = None;
            return;
        }
        self.lot ^= self.lot << 13;
        self.lot ^= self.lot >> 7;
        self.lot ^= self.lot << 17;
        let share = (self.lot >> 11) as f64 / (1u64 << 53) as f64;
        let most = if self.cfg.multiplier == 1 { 0.9 } else { 1.0 };
        self.send_at = Some(now + self.interval().mul_f64(0.75 + share * (most - 0.75)));
    }

    fn send(&mut self, poll: bool, last: bool) {
        let desired_min_tx = if self.state == State::Up { self.cfg.min_tx } else { self.desired_min_tx() };
        let packet = Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: poll && !last,
            last,
            demand: false,
            multiplier: self.cfg.multiplier,
            mine: self.mine,
            yours: self.yours,
            desired_min_tx,
            required_min_rx: self.cfg.min_rx,
        };
        self.counts.0 += 1;
        self.out.push_back(Output::Send(packet.bytes()));
    }
}
