//! The state machine of one BFD session (RFC 5880, 6.2 and 6.8). `timers` has all of its timing. Section numbers are
//! RFC 5880's.

mod timers;

use std::collections::VecDeque;
use std::time::Duration;

use super::{Counters, Diagnostic, Input, Output, Packet, State};
use crate::model::BfdInstance;
use crate::time::Instant;
use timers::{LocalIntervals, idle_interval};

/// bfd.RemoteMinRxInterval before the first packet (6.8.1).
const INITIAL_REMOTE_MIN_RX: Duration = Duration::from_micros(1);

/// A session with one neighbour.
#[derive(Clone, Debug)]
pub struct Session {
    cfg: BfdInstance,
    /// bfd.SessionState.
    state: State,
    /// When the state was entered.
    since: Instant,
    /// bfd.LocalDiag.
    diagnostic: Diagnostic,
    /// bfd.LocalDiscr.
    local_discr: u32,
    /// bfd.RemoteDiscr; 0 before the first packet.
    remote_discr: u32,
    /// bfd.RemoteMinRxInterval.
    remote_min_rx: Duration,
    /// The neighbour's Desired Min TX Interval.
    remote_min_tx: Duration,
    /// The neighbour's Detect Mult.
    remote_multiplier: u8,
    /// bfd.RemoteDemandMode, while the neighbour's session is up.
    remote_demand: bool,
    /// A poll sequence is active (6.5): our intervals changed, and the neighbour has not confirmed the change.
    polling: bool,
    /// The intervals before that change. Until it is confirmed, the faster transmit and the slower receive interval
    /// apply (6.8.3).
    confirmed: LocalIntervals,
    /// When the next periodic packet is due.
    transmit_at: Option<Instant>,
    /// When the last packet arrived.
    received_at: Option<Instant>,
    /// The state of the jitter's random numbers.
    jitter_seed: u64,
    counters: Counters,
    /// The neighbour reported AdminDown. Passed on with the next transition.
    admin_down: bool,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A session that starts now in state Down.
    ///
    /// `discriminator` must differ from those of the other sessions of this host, and be hard to guess (6.8.1); 0
    /// becomes 1.
    pub fn new(cfg: BfdInstance, discriminator: u32, now: Instant) -> Self {
        let confirmed = LocalIntervals { min_tx: idle_interval(cfg.idle_tx), min_rx: cfg.min_rx };
        let mut s = Session {
            state: State::Down,
            since: now,
            diagnostic: Diagnostic::NONE,
            local_discr: discriminator.max(1),
            remote_discr: 0,
            remote_min_rx: INITIAL_REMOTE_MIN_RX,
            remote_min_tx: Duration::ZERO,
            remote_multiplier: 0,
            remote_demand: false,
            polling: false,
            confirmed,
            transmit_at: None,
            received_at: None,
            jitter_seed: u64::from(discriminator) << 32 | 0x9e37_79b9,
            counters: Counters::default(),
            admin_down: false,
            outputs: VecDeque::new(),
            cfg,
        };
        s.schedule_transmit(now);
        s
    }

    /// The configuration.
    pub fn config(&self) -> &BfdInstance {
        &self.cfg
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// When the state was entered, and why the session went down last.
    pub fn last_transition(&self) -> (Instant, Diagnostic) {
        (self.since, self.diagnostic)
    }

    /// Our discriminator.
    pub fn local_discr(&self) -> u32 {
        self.local_discr
    }

    /// The counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The next output, in the order in which outputs must be executed. Call this until `None` after each
    /// [`Session::handle`], [`Session::handle_deadline`] and [`Session::reconfigure`].
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Handles one event.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            // 6.8.6, Reception of BFD Control Packets.
            Input::Packet(packet) => self.handle_packet(now, packet),
            // 6.8.16, Administrative Control.
            Input::Stop => self.stop(now),
        }
    }

    /// 6.8.6, from "Set bfd.RemoteDiscr" on. The checks before it are [`Packet::parse`]'s and the caller's.
    fn handle_packet(&mut self, now: Instant, p: &Packet) {
        if self.state == State::AdminDown {
            return;
        }
        self.counters.received += 1;
        self.remote_discr = p.my_discr;
        self.remote_demand = p.demand && p.state == State::Up;
        self.remote_multiplier = p.multiplier;
        self.remote_min_tx = p.desired_min_tx;
        self.received_at = Some(now);
        if p.final_bit && self.polling {
            self.polling = false;
            self.confirmed = self.local_intervals();
        }
        let min_rx_changed = p.required_min_rx != self.remote_min_rx;
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
            _ if min_rx_changed || self.transmit_at.is_none() => self.schedule_transmit(now),
            _ => {}
        }
        if p.poll {
            self.send_packet(false, true); // 6.8.7: the reply to a poll is sent at once
        }
    }

    /// Applies a new configuration of the same neighbour. The session is kept; changed intervals take effect when the
    /// neighbour has confirmed them.
    pub fn reconfigure(&mut self, now: Instant, cfg: BfdInstance) {
        if cfg == self.cfg {
            return;
        }
        let before = self.local_intervals();
        self.cfg = cfg;
        if self.state == State::Up && before != self.local_intervals() {
            (self.polling, self.confirmed) = (true, before);
        }
        self.schedule_transmit(now);
    }

    fn stop(&mut self, now: Instant) {
        self.enter_state(now, State::AdminDown, Diagnostic::ADMIN_DOWN);
        self.transmit_at = None;
        self.received_at = None;
    }

    fn enter_state(&mut self, now: Instant, to: State, diagnostic: Diagnostic) {
        let from = std::mem::replace(&mut self.state, to);
        if from == to {
            return;
        }
        (self.since, self.diagnostic) = (now, diagnostic);
        // 6.8.3: a change of intervals starts a poll sequence. The idle interval ends when the session is up.
        self.polling = to == State::Up;
        self.confirmed = LocalIntervals { min_tx: self.cfg.min_tx, min_rx: self.cfg.min_rx };
        let admin_down = std::mem::take(&mut self.admin_down);
        self.outputs.push_back(Output::Transition { from, to, diagnostic, admin_down });
        // 6.8.7: a packet with new contents may be sent at once.
        if self.may_transmit() {
            self.send_packet(self.polling, false);
        }
        self.schedule_transmit(now);
    }

    /// 6.8.7: whether packets may be sent. The passive side waits for the first packet; a neighbour in demand mode, or
    /// with a Required Min RX Interval of 0, gets none.
    fn may_transmit(&self) -> bool {
        let wanted = !self.remote_min_rx.is_zero() && (!self.remote_demand || self.polling);
        wanted && (self.remote_discr != 0 || !self.cfg.passive)
    }

    fn send_packet(&mut self, poll: bool, final_bit: bool) {
        let desired_min_tx = if self.state == State::Up { self.cfg.min_tx } else { self.desired_min_tx() };
        let packet = Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: poll && !final_bit,
            final_bit,
            demand: false,
            multiplier: self.cfg.multiplier,
            my_discr: self.local_discr,
            your_discr: self.remote_discr,
            desired_min_tx,
            required_min_rx: self.cfg.min_rx,
        };
        self.counters.sent += 1;
        self.outputs.push_back(Output::Send(packet.encode()));
    }
}
