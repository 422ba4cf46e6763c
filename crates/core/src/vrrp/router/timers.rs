//! VRRP timing: the intervals of RFC 9568, 6.1, the timers of a router, and what happens when each of them expires.

use std::time::Duration;

use super::Router;
use crate::model::VrrpVersion;
use crate::time::Instant;
use crate::vrrp::{Output, State, TransitionReason};

/// The running timers, each with the time at which it expires.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Timers {
    /// Adver_Timer: the next advert of a master.
    pub(super) advert: Option<Instant>,
    /// Active_Down_Timer (Master_Down_Timer): a backup takes over when it expires.
    pub(super) master_down: Option<Instant>,
    /// The router does nothing before this (`vrrp_startup_delay`, `vrrp_delay_after_boot`).
    pub(super) startup_hold: Option<Instant>,
    /// The router does nothing until a frame is received, or until this (`vrrp_hold_until_frame`).
    pub(super) frame_hold: Option<Instant>,
    /// The second block of announcements of a new master (`garp_master_delay`).
    pub(super) announce_again: Option<Instant>,
    /// Periodic announcements (`garp_master_refresh`).
    pub(super) announce_refresh: Option<Instant>,
    /// The second block after an advert of lower priority (`garp_lower_prio_delay`).
    pub(super) announce_lower_priority: Option<Instant>,
    /// Periodic announcements on other interfaces (`garp_extra_if`).
    pub(super) announce_extra_interfaces: Option<Instant>,
}

impl Timers {
    /// The timers of a new master.
    pub(super) fn for_master(cfg: &crate::model::VrrpInstance, now: Instant) -> Timers {
        let after = |delay: Duration| (!delay.is_zero()).then_some(now + delay);
        Timers {
            advert: Some(now + cfg.advert_int),
            announce_again: after(cfg.garp.master_delay),
            announce_refresh: after(cfg.garp.master_refresh),
            announce_extra_interfaces: after(cfg.garp_extra_if_interval),
            ..Timers::default()
        }
    }

    /// When the first of them expires.
    fn next(&self) -> Option<Instant> {
        let Timers {
            advert,
            master_down,
            startup_hold,
            frame_hold,
            announce_again,
            announce_refresh,
            announce_lower_priority,
            announce_extra_interfaces,
        } = *self;
        let holds = [startup_hold, frame_hold];
        let announcements = [announce_again, announce_refresh, announce_lower_priority, announce_extra_interfaces];
        [advert, master_down].into_iter().chain(holds).chain(announcements).flatten().min()
    }
}

impl Router {
    /// Skew_Time (RFC 9568, 6.1; RFC 3768, 6.1): a backup of lower priority waits a little longer.
    pub fn skew_time(&self) -> Duration {
        self.skew_time_for(self.priority, self.master_interval)
    }

    fn skew_time_for(&self, priority: u8, master_interval: Duration) -> Duration {
        match self.cfg.version {
            VrrpVersion::V2 => skewed(priority, Duration::from_secs(1)),
            VrrpVersion::V3 => skewed(priority, master_interval),
        }
    }

    /// The skew time if the skewed interval were `interval`.
    pub(super) fn skew_of(&self, interval: Duration) -> Duration {
        skewed(self.priority, interval)
    }

    /// An upper bound of the skew time of any peer.
    pub(super) fn longest_skew_time(&self) -> Duration {
        match self.cfg.version {
            VrrpVersion::V2 => Duration::from_secs(1),
            VrrpVersion::V3 => self.cfg.advert_int,
        }
    }

    /// Active_Down_Interval (Master_Down_Interval; RFC 9568, 6.1): the master is considered down after this time
    /// without an advert. The factor is 3 in the RFC, and `down_timer_adverts` here.
    pub fn master_down_interval(&self) -> Duration {
        self.master_interval * u32::from(self.cfg.down_timer_adverts) + self.skew_time()
    }

    /// The interval of the master's adverts as far as it is known, else the configured one.
    pub fn master_interval(&self) -> Duration {
        if self.state == State::Master { self.cfg.advert_int } else { self.master_interval }
    }

    /// When [`Router::handle_deadline`] must be called next; `None` if no timer runs. A call of `handle`,
    /// `handle_deadline` or `reconfigure` may change it.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Handles all timers that have expired. A call before [`Router::next_deadline`] does nothing.
    pub fn handle_deadline(&mut self, now: Instant) {
        if self.step_down_if_late(now) {
            return;
        }
        let expired = |t: Option<Instant>| t.is_some_and(|t| t <= now);
        if expired(self.timers.startup_hold) {
            self.timers.startup_hold = None;
            self.update_fault_state(now, TransitionReason::Started);
        }
        if expired(self.timers.frame_hold) {
            self.timers.frame_hold = None;
            self.update_fault_state(now, TransitionReason::Recovered);
        }
        // RFC 9568, 6.4.2: the Active_Down_Timer fires.
        if expired(self.timers.master_down) {
            self.timers.master_down = None;
            let reason = self.master_down_reason.clone();
            self.claim_mastership(now, reason);
        }
        // RFC 9568, 6.4.3: the Adver_Timer fires.
        if let Some(due) = self.timers.advert.filter(|&t| t <= now) {
            self.send_advert(self.priority);
            // The next advert counts from the deadline, so that delays do not add up. If a whole interval was missed,
            // it counts from now.
            let next = due + self.cfg.advert_int;
            self.timers.advert = Some(if next > now { next } else { now + self.cfg.advert_int });
        }
        self.handle_announce_timers(now);
    }

    fn handle_announce_timers(&mut self, now: Instant) {
        let expired = |t: Option<Instant>| t.is_some_and(|t| t <= now);
        let garp = self.cfg.garp;
        if expired(self.timers.announce_again) {
            self.timers.announce_again = None;
            self.outputs.push_back(Output::Announce(garp.master_repeat));
        }
        if expired(self.timers.announce_lower_priority) {
            self.timers.announce_lower_priority = None;
            self.outputs.push_back(Output::Announce(garp.lower_prio_repeat));
        }
        if expired(self.timers.announce_refresh) {
            self.timers.announce_refresh = Some(now + garp.master_refresh);
            self.outputs.push_back(Output::Announce(garp.master_refresh_repeat));
        }
        if expired(self.timers.announce_extra_interfaces) {
            self.timers.announce_extra_interfaces = Some(now + self.cfg.garp_extra_if_interval);
            self.outputs.push_back(Output::AnnounceExtraInterfaces);
        }
    }

    /// keepalived.conf(5), `timer_expired_backup`: a master that did not run for a while steps down, because a backup
    /// has taken over and must not be preempted. This must come before an advert is sent: an advert of higher priority
    /// would preempt the new master. Returns whether the router stepped down.
    pub(super) fn step_down_if_late(&mut self, now: Instant) -> bool {
        let (State::Master, Some(highest), Some(due)) = (self.state, self.cfg.timer_expired_backup, self.timers.advert)
        else {
            return false;
        };
        let interval = self.cfg.advert_int;
        let since_advert = now.duration_since(due) + interval;
        if since_advert <= interval * u32::from(self.cfg.down_timer_adverts) + self.skew_time_for(highest, interval) {
            return false;
        }
        self.step_down(now, TransitionReason::AdvertTimerLate { ms: since_advert.as_millis() as u64 });
        true
    }

    /// Starts the master-down timer anew.
    pub(super) fn restart_master_down_timer(&mut self, now: Instant) {
        self.start_master_down_timer(now, self.master_down_interval());
    }

    /// Starts the master-down timer with an interval other than the master-down interval.
    pub(super) fn start_master_down_timer(&mut self, now: Instant, interval: Duration) {
        self.timers.master_down = Some(now + interval);
        self.master_down_reason = TransitionReason::MasterDownTimeout { ms: interval.as_millis() as u64 };
    }

    /// Holds the start back: `vrrp_startup_delay` counts from now, `vrrp_delay_after_boot` from the boot of the
    /// machine, which is the zero of [`Instant`].
    pub(super) fn hold_startup(&mut self, now: Instant) {
        let until = (now + self.cfg.startup_delay).max(Instant::default() + self.cfg.boot_delay);
        self.timers.startup_hold = (until > now).then_some(until);
    }

    pub(super) fn hold_until_frame(&mut self, now: Instant) {
        let hold = self.cfg.hold_until_frame;
        self.timers.frame_hold = (!hold.is_zero()).then_some(now + hold);
    }

    /// Whether the router waits for a frame on its link ([`crate::vrrp::Input::FrameReceived`]).
    pub fn is_waiting_for_frame(&self) -> bool {
        self.timers.frame_hold.is_some()
    }
}

/// The part of an interval that a backup of this priority waits: (256 - priority) / 256.
fn skewed(priority: u8, interval: Duration) -> Duration {
    interval * (256 - u32::from(priority)) / 256
}
