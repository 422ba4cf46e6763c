//! The messages of the router thread: commands to it, events from it, and the handle that sends commands.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use evenkeel_core::ipc::{BfdStatus, InstanceStatus};
use evenkeel_core::model::{
    AnnounceIntervals, BfdInstance, Config, NotifyConfig, Statics, SyncGroup, TrackResult, TrackedObject, VrrpInstance,
};
use evenkeel_core::vrrp::debounce::LinkDelays;
use evenkeel_core::vrrp::{State, TransitionReason};
use evenkeel_sys::netlink::Deletion;
use evenkeel_sys::signals::EventFd;

use super::log_queue::LogRecord;
use super::observation::Observation;

/// Maximum time that a caller waits for a snapshot.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(2);

/// A command to the router thread.
pub enum Command {
    /// Apply a configuration. Instances with the same identity (interface, family, VRID) keep their state.
    Configure(Box<RouterConfig>),
    /// The result of a tracked object changed.
    TrackChanged { object: TrackedObject, result: TrackResult },
    /// Devices and addresses as they are now.
    Observed(Observation),
    /// Somebody else deleted these routes and rules.
    RoutesRemoved(Vec<Deletion>),
    /// Return the state of all instances and sessions.
    Snapshot(Sender<Snapshot>),
    /// Reset the counters of all instances to 0.
    ClearCounters,
    /// Resign every mastership and end; with `release`, also remove addresses and routes.
    Stop { release: bool },
    /// End, and leave everything in place for the next daemon.
    HandOver,
}

/// How the router thread runs.
pub struct ThreadConfig {
    /// Real-time priority (SCHED_RR), 1 to 99.
    pub priority: u8,
    /// `vrrp_cpu_affinity`; empty: all processors.
    pub cpus: Vec<u16>,
}

/// The part of a configuration that concerns the router thread.
pub struct RouterConfig {
    /// VRRP instances.
    pub instances: Vec<VrrpInstance>,
    /// Sync groups.
    pub groups: Vec<SyncGroup>,
    /// BFD sessions.
    pub bfd: Vec<BfdInstance>,
    /// Minimum intervals between announcements of addresses, by interface.
    pub announce_intervals: AnnounceIntervals,
    /// Delays before a link counts as up or down.
    pub link_delays: LinkDelays,
    /// Static addresses, routes and rules.
    pub statics: Statics,
    /// `log_unknown_vrids`: log adverts of unknown VRIDs.
    pub log_unknown_vrids: bool,
}

impl RouterConfig {
    /// Takes the part from a configuration.
    pub fn from_config(config: &Config) -> Box<RouterConfig> {
        Box::new(RouterConfig {
            instances: config.instances.clone(),
            groups: config.sync_groups.clone(),
            bfd: config.bfd.clone(),
            announce_intervals: config.announce_intervals.clone(),
            link_delays: config.link_delays.clone(),
            statics: config.statics.clone(),
            log_unknown_vrids: config.global.log_unknown_vrids,
        })
    }
}

/// The state of the router thread at one moment.
#[derive(Default)]
pub struct Snapshot {
    /// Every instance.
    pub instances: Vec<InstanceStatus>,
    /// Every BFD session.
    pub bfd: Vec<BfdStatus>,
    /// Number of adverts received for unknown VRIDs.
    pub unknown_vrids: u64,
}

/// An event of the router thread.
#[derive(Debug)]
pub enum Event {
    /// An instance changed its state. `deleted`: because the new configuration does not have it.
    Transition {
        name: String,
        from: State,
        to: State,
        reason: TransitionReason,
        priority: u8,
        deleted: bool,
        notify: NotifyConfig,
    },
    /// All members of a sync group are in this state. INIT: the daemon stops.
    Group { name: String, to: State, notify: NotifyConfig },
    /// The priority of an instance changed.
    Priority { name: String, state: State, priority: u8, notify: NotifyConfig },
    /// A master received an advert of a lower priority.
    LowerPriority { name: String, peer: IpAddr, priority: u8, notify: NotifyConfig },
    /// A BFD session came up or went down. `checks`: health checks may follow it.
    Bfd { name: String, up: bool, detail: String, checks: bool },
    /// A log line to write.
    Log(LogRecord),
    /// The thread has ended.
    Ended,
}

/// Sends commands to the router thread.
#[derive(Clone)]
pub struct Handle {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
}

impl Handle {
    /// A handle that sends to `commands` and wakes the thread by `wake`.
    pub(super) fn new(commands: Sender<Command>, wake: Arc<EventFd>) -> Handle {
        Handle { commands, wake }
    }

    /// Sends a command and wakes the thread.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            let _ = self.wake.write(1);
        }
    }

    /// The state of all instances and sessions; `None` if the thread does not answer in time.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let (tx, rx) = channel();
        self.send(Command::Snapshot(tx));
        rx.recv_timeout(SNAPSHOT_TIMEOUT).ok()
    }
}
