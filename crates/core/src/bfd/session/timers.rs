//! BFD timing: intervals, detection time, jitter, and what happens when a deadline has passed. Section numbers are RFC
//! 5880's.

use std::time::Duration;

use super::Session;
use crate::bfd::{Diagnostic, State};
use crate::time::Instant;

/// The shortest transmit interval while a session is not up (6.8.3).
const MIN_IDLE_TX: Duration = Duration::from_secs(1);

/// The intervals that this side offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LocalIntervals {
    /// bfd.DesiredMinTxInterval.
    pub(super) min_tx: Duration,
    /// bfd.RequiredMinRxInterval.
    pub(super) min_rx: Duration,
}

/// The transmit interval of a session that is not up: `idle_tx`, and at least one second.
pub(super) fn idle_interval(idle_tx: Duration) -> Duration {
    idle_tx.max(MIN_IDLE_TX)
}

impl Session {
    /// The interval between sent packets, jitter aside (6.8.7).
    pub fn transmit_interval(&self) -> Duration {
        self.desired_min_tx().max(self.remote_min_rx)
    }

    /// The neighbour is considered lost after this time without a packet (6.8.4); zero before its first packet.
    pub fn detection_time(&self) -> Duration {
        let min_rx = if self.polling { self.cfg.min_rx.max(self.confirmed.min_rx) } else { self.cfg.min_rx };
        min_rx.max(self.remote_min_tx) * u32::from(self.remote_multiplier)
    }

    /// When [`Session::handle_deadline`] must be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.transmit_at.into_iter().chain(self.detection_deadline()).min()
    }

    /// Handles the deadlines that have passed. A call before [`Session::next_deadline`] does nothing.
    pub fn handle_deadline(&mut self, now: Instant) {
        // 6.8.4: the detection time has passed.
        if self.detection_deadline().is_some_and(|t| t <= now) {
            self.received_at = None;
            self.remote_discr = 0;
            self.remote_min_rx = super::INITIAL_REMOTE_MIN_RX;
            if matches!(self.state, State::Init | State::Up) {
                self.enter_state(now, State::Down, Diagnostic::TIME_EXPIRED);
            }
        }
        // 6.8.7: the next periodic packet.
        if self.transmit_at.is_some_and(|t| t <= now) {
            self.send_packet(self.polling, false);
            self.schedule_transmit(now);
        }
    }

    /// The current bfd.DesiredMinTxInterval (6.8.3): at least a second while the session is not up, and not slower than
    /// before until the neighbour has confirmed the change.
    pub(super) fn desired_min_tx(&self) -> Duration {
        match self.state {
            State::Up if self.polling => self.cfg.min_tx.min(self.confirmed.min_tx),
            State::Up => self.cfg.min_tx,
            _ => idle_interval(self.cfg.idle_tx),
        }
    }

    /// The current intervals.
    pub(super) fn local_intervals(&self) -> LocalIntervals {
        LocalIntervals { min_tx: self.desired_min_tx(), min_rx: self.cfg.min_rx }
    }

    fn detection_deadline(&self) -> Option<Instant> {
        Some(self.received_at? + self.detection_time())
    }

    /// Sets the time of the next periodic packet (6.8.7): up to a quarter of the interval early, so that neighbours do
    /// not synchronize; with a multiplier of 1 at least a tenth early.
    pub(super) fn schedule_transmit(&mut self, now: Instant) {
        if !self.may_transmit() || self.state == State::AdminDown {
            self.transmit_at = None;
            return;
        }
        // xorshift64 (Marsaglia 2003)
        self.jitter_seed ^= self.jitter_seed << 13;
        self.jitter_seed ^= self.jitter_seed >> 7;
        self.jitter_seed ^= self.jitter_seed << 17;
        let share = (self.jitter_seed >> 11) as f64 / (1u64 << 53) as f64;
        let max = if self.cfg.multiplier == 1 { 0.9 } else { 1.0 };
        self.transmit_at = Some(now + self.transmit_interval().mul_f64(0.75 + share * (max - 0.75)));
    }
}
