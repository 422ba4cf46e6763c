//! One virtual router: the state machine of RFC 9568, 6.4 (version 2: RFC 3768, 6.4), with keepalived's additions
//! (FAULT, tracking, preempt delay, sync groups).
//!
//! [`Router::handle`] is the list of all inputs and what each leads to. The rest of the machine is in four files:
//!
//! - `timers`: intervals, skew time, and what happens when each timer expires. All VRRP timing is there.
//! - `transitions`: entering and leaving MASTER, BACKUP and FAULT.
//! - `tracking`: what tracked objects do to priority and FAULT.
//! - `receive` and `send`: adverts in and out.

mod receive;
mod send;
mod timers;
mod tracking;
mod transitions;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{TrackResult, TrackedObject, VrrpInstance};
use crate::time::Instant;
use crate::vrrp::events::{Counters, Input, Output, State, TransitionReason};
use crate::vrrp::peers::Peers;
use timers::Timers;

/// The state machine of one `vrrp_instance`.
#[derive(Clone, Debug)]
pub struct Router {
    cfg: VrrpInstance,
    state: State,
    /// When the state was entered.
    since: Instant,
    /// Why the state was entered.
    reason: TransitionReason,
    started: bool,
    link_up: bool,
    /// The source address of adverts, if the interface has one.
    source: Option<IpAddr>,
    track_results: BTreeMap<TrackedObject, TrackResult>,
    /// In a sync group: the master-down timer has expired, for this reason; mastership waits for the other members.
    wants_master: Option<TransitionReason>,
    /// In a sync group: the name of the member whose fault keeps the group in FAULT.
    group_fault: Option<String>,
    /// The owner of the addresses met another owner, and has priority 254 from then on.
    owner_demoted: bool,
    /// The current priority, tracked objects included.
    priority: u8,
    /// Version 3: the interval in the master's adverts. Else, and before the first advert: the configured one.
    master_interval: Duration,
    /// In BACKUP: the master's address and priority.
    master: Option<(IpAddr, u8)>,
    /// When a master of lower priority may be preempted (`preempt_delay`).
    preempt_at: Option<Instant>,
    /// The transition reason if the master-down timer expires.
    master_down_reason: TransitionReason,
    timers: Timers,
    counters: Counters,
    peers: Peers,
    /// The highest sequence number of an authentication header that was sent or accepted.
    sequence: u32,
    /// The identification of the last IP header that was sent.
    ip_id: u16,
    /// The time since 1970 as of the last [`Router::set_time_of_day`]; only `auth_hmac` uses it.
    time_of_day: Duration,
    /// The timestamp of the last signature that was sent.
    last_timestamp: u64,
    outputs: VecDeque<Output>,
}

impl Router {
    /// A router in INIT. It does nothing before [`Input::Start`].
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

    /// The configuration.
    pub fn config(&self) -> &VrrpInstance {
        &self.cfg
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// When the state was entered, and why.
    pub fn last_transition(&self) -> (Instant, &TransitionReason) {
        (self.since, &self.reason)
    }

    /// The priority that adverts carry now.
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// Address and priority of the master: this router's own in MASTER; `None` while no master is known.
    pub fn master(&self) -> Option<(IpAddr, u8)> {
        if self.state == State::Master { self.source.map(|a| (a, self.priority)) } else { self.master }
    }

    /// The counters since the start or the last [`Router::clear_counters`].
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sets all counters to zero.
    pub fn clear_counters(&mut self) {
        self.counters = Counters::default();
    }

    /// The source address of adverts.
    pub fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// The next output, in the order in which outputs must be executed. Call this until `None` after each
    /// [`Router::handle`], [`Router::handle_deadline`] and [`Router::reconfigure`].
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Handles one event. This is the whole protocol; the section numbers are RFC 9568's.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            // 6.4.1, Startup event.
            Input::Start(previous) => self.start(now, previous),
            // 6.4.2 and 6.4.3, Shutdown event.
            Input::Stop => self.stop(now),
            // 7.1 (checks), then 6.4.2 (420 ff.) in BACKUP and 6.4.3 (725 ff.) in MASTER.
            Input::Packet { ip, payload } => {
                self.step_down_if_late(now);
                self.handle_packet(now, ip, payload);
            }
            // keepalived: FAULT while the interface is down.
            Input::Link(up) => {
                let was_up = std::mem::replace(&mut self.link_up, up);
                if up && !was_up && self.started && self.state == State::Fault {
                    self.hold_until_frame(now);
                }
                self.update_fault_state(now, TransitionReason::Recovered);
            }
            // keepalived: FAULT while there is no source address.
            Input::SourceAddress(address) => {
                self.source = address;
                self.update_fault_state(now, TransitionReason::Recovered);
            }
            // 6.4.3 (610, 615): as after the transition to MASTER.
            Input::HardwareAddressChanged => {
                if self.state == State::Master {
                    self.outputs.push_back(Output::Announce(self.cfg.garp.master_repeat));
                }
            }
            // keepalived.conf(5), "track_script" and others: priority or FAULT.
            Input::TrackResult { object, result } => self.handle_track_result(now, object, result),
            // keepalived.conf(5), "vrrp_sync_group".
            Input::SyncGroup(action, cause) => self.handle_group_action(now, action, cause),
            Input::AssertMastership => self.assert_mastership(now),
            // Additions of ours: `bfd_takeover`, `vrrp_hold_until_frame`.
            Input::BfdNeighbourLost(neighbour) => self.handle_bfd_neighbour_lost(now, neighbour),
            Input::FrameReceived => {
                if self.timers.frame_hold.take().is_some() {
                    self.update_fault_state(now, TransitionReason::Recovered);
                }
            }
        }
    }

    /// Applies a new configuration of the same instance. The state is kept.
    pub fn reconfigure(&mut self, now: Instant, cfg: VrrpInstance) {
        if cfg == self.cfg {
            return;
        }
        let interval_changed = cfg.advert_int != self.cfg.advert_int;
        let vips_changed = !cfg.all_vips().eq(self.cfg.all_vips());
        if cfg.sync_group != self.cfg.sync_group {
            // The state of the former group has no meaning in the new one.
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
                self.timers.advert = Some(now); // peers learn of the change at once
            }
            State::Backup if interval_changed => self.restart_master_down_timer(now),
            _ => {}
        }
        self.update_fault_state(now, TransitionReason::Recovered);
    }
}
