//! The router thread: VRRP engines, their sockets, their addresses.
//!
//! One loop around ppoll: read what came, tell the engines, do what they want. Packets are read before timers fire, so
//! that a thread that was kept waiting does not take over from a master whose adverts lie unread. Addresses are set from
//! this thread, in the same turn as the change of state and behind its advert. No name is looked up here, nothing is
//! listed, and no file is written but one mapped word.

mod addresses;
mod apply;
mod bfd;
mod configure;
mod hold_until_frame;
mod last_will;
mod log_queue;
mod observer;
mod routes;
mod unknown_vrids;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use evenkeel_core::ipc::{BfdStatus, InstanceStatus};
use evenkeel_core::model::{
    AnnounceIntervals, BfdInstance, Config, Family, NotifyConfig, Statics, SyncGroup, TrackResult, TrackedObject,
    Transport, Vrid, VrrpInstance,
};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::debounce::{LinkDebounce, LinkDelays};
use evenkeel_core::vrrp::packet::peek_vrid;
use evenkeel_core::vrrp::{AnnounceQueue, Input, Router, State, TransitionReason};
use evenkeel_sys::clock;
use evenkeel_sys::last_will::{MAX_WILLS, WillStore};
use evenkeel_sys::mastership_record::MastershipRecord;
use evenkeel_sys::netlink::{Deletion, DeletionSubscription, Netlink};
use evenkeel_sys::sched;
use evenkeel_sys::signals::EventFd;
use evenkeel_sys::wire::{FrameSocket, Sniffer, VrrpSocket};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tokio::sync::mpsc::UnboundedSender;

use crate::args::Args;
use crate::firewall;
use crate::supervisor::WorkerContext;
use bfd::BfdSessions;
use observer::Observation;
use unknown_vrids::UnknownVrids;

/// What the router thread is told.
pub enum Command {
    /// What should be; instances of the same identity keep their state.
    Configure(Box<RouterConfig>),
    /// How a tracked object was found.
    TrackChanged { object: TrackedObject, result: TrackResult },
    /// Devices and addresses as they are now.
    Observed(Observation),
    /// Somebody took these routes and rules out.
    RoutesRemoved(Vec<Deletion>),
    /// Everything that `status` shows.
    Snapshot(Sender<Snapshot>),
    /// Count from here on.
    ClearCounters,
    /// Give up every address, say so to the peers, and end.
    Stop { release: bool },
    /// End and leave everything as it is, for the next daemon.
    HandOver,
}

/// How the router thread is run.
pub struct ThreadConfig {
    /// SCHED_RR, 1 to 99.
    pub priority: u8,
    /// `vrrp_cpu_affinity`; all if there are none.
    pub cpus: Vec<u16>,
}

/// What of a configuration is the router thread's.
pub struct RouterConfig {
    pub instances: Vec<VrrpInstance>,
    pub groups: Vec<SyncGroup>,
    pub bfd: Vec<BfdInstance>,
    pub announce_gaps: AnnounceIntervals,
    pub link_delays: LinkDelays,
    pub statics: Statics,
    /// `log_unknown_vrids`
    pub log_unknown_vrids: bool,
}

impl RouterConfig {
    /// Out of a whole one.
    pub fn from_config(config: &Config) -> Box<RouterConfig> {
        let (instances, groups) = (config.instances.clone(), config.sync_groups.clone());
        let (gaps, statics) = (config.announce_intervals.clone(), config.statics.clone());
        let (bfd, link_delays) = (config.bfd.clone(), config.link_delays.clone());
        let tells_strangers = config.global.log_unknown_vrids;
        Box::new(RouterConfig {
            instances,
            groups,
            bfd,
            announce_gaps: gaps,
            link_delays,
            statics,
            log_unknown_vrids: tells_strangers,
        })
    }
}

/// What the router thread does at one moment.
#[derive(Default)]
pub struct Snapshot {
    /// Every instance.
    pub instances: Vec<InstanceStatus>,
    /// Every BFD session.
    pub bfd: Vec<BfdStatus>,
    /// Adverts for virtual routers that nobody here knows.
    pub unknown_vrids: u64,
}

/// What the router thread tells.
#[derive(Debug)]
pub enum Event {
    /// An instance changed its state. `deleted`: because a new configuration has no such instance.
    Transition {
        name: String,
        from: State,
        to: State,
        reason: TransitionReason,
        priority: u8,
        deleted: bool,
        notify: NotifyConfig,
    },
    /// All members of a sync group are in this state; INIT: the daemon stops.
    Group { name: String, to: State, notify: NotifyConfig },
    /// Its priority is another now.
    Priority { name: String, state: State, priority: u8, notify: NotifyConfig },
    /// As master it heard somebody of lower priority.
    LowerPriority { name: String, by: IpAddr, priority: u8, notify: NotifyConfig },
    /// A BFD session came up or went down; `checks`: health checks are to be told.
    Bfd { name: String, up: bool, detail: String, checks: bool },
    /// To be logged.
    Log(log_queue::LogRecord),
    /// The thread has ended.
    Ended,
}

/// A way to speak to the router thread.
#[derive(Clone)]
pub struct Handle {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
}

impl Handle {
    /// Tells the thread something; it wakes at once.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            let _ = self.wake.write(1);
        }
    }

    /// What every instance does, if the thread answers in time.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let (tx, rx) = channel();
        self.send(Command::Snapshot(tx));
        rx.recv_timeout(Duration::from_secs(2)).ok()
    }
}

/// So many frames are sent before packets and timers are looked after again: less than a millisecond's worth.
const ANNOUNCE_BATCH: usize = 64;

/// Starts the thread.
pub fn start(
    thread: ThreadConfig,
    args: &Args,
    charge: WorkerContext,
    firewall: firewall::Handle,
    events: UnboundedSender<Event>,
) -> anyhow::Result<(Handle, std::thread::JoinHandle<()>)> {
    let (commands, inbox) = channel();
    let wake = Arc::new(EventFd::from_flags(nix::sys::eventfd::EfdFlags::EFD_NONBLOCK)?);
    let handle = Handle { commands, wake: wake.clone() };
    let netlink = Netlink::new()?;
    let (seen, route_events) = observer::start(handle.clone(), &netlink)?;
    let shell = RouterThread {
        inbox,
        wake,
        netlink,
        route_watch: route_events,
        frames: FrameSocket::new()?,
        announcer: AnnounceQueue::default(),
        statics: Statics::default(),
        has_routes: false,
        installed: routes::InstalledRoutes::default(),
        mastership: MastershipRecord::open(&args.mastership_file())?,
        ignores_previous_state: args.release_vips,
        will_store: charge.will_store,
        resigned: charge.resigned,
        observed: seen,
        ports: BTreeMap::new(),
        entries: Vec::new(),
        deadlines: BTreeSet::new(),
        free_will_slots: (0..MAX_WILLS).rev().collect(),
        groups: Vec::new(),
        groups_dirty: false,
        events,
        unknown_vrids: UnknownVrids::default(),
        firewall,
        rejected_addresses: BTreeSet::new(),
        bfd: BfdSessions::default(),
        link_debounce: LinkDebounce::default(),
        frame_awaited: false,
        sniffer: None,
        saved_promote_secondaries: BTreeMap::new(),
    };
    let (remarks, level) = (shell.events.clone(), args.log_level());
    let thread = std::thread::Builder::new().name("router".into()).spawn(move || {
        let _handed_on = log_queue::install(remarks, level);
        if let Err(e) = sched::set_realtime_priority(thread.priority) {
            tracing::warn!("VRRP runs without real-time priority: {e}");
        }
        if let Err(e) = sched::set_cpu_affinity(&thread.cpus) {
            tracing::warn!("VRRP runs on every processor: {e}");
        }
        shell.run();
    })?;
    Ok((handle, thread))
}

/// An interface that VRRP is spoken on, in one way.
struct Port {
    ifindex: u32,
    socket: VrrpSocket,
    /// Who speaks here, by virtual router number.
    routers: BTreeMap<Vrid, usize>,
    /// Hears everybody else; looked at now and then, to be counted, unless each is told of.
    unknown_socket: Option<VrrpSocket>,
}

struct RouterEntry {
    router: Router,
    /// Its addresses were there when it started, and nobody has claimed them since: they stay until somebody does.
    keeps_found_addresses: bool,
    /// It owns its addresses (priority 255), and they were there before it: they are the host's, and never taken away.
    owns_addresses: bool,
    key: u64,
    /// The deadline that it stands in the queue with.
    queued_deadline: Option<Instant>,
    /// Where its last words are kept, while it is master.
    will_slot: Option<usize>,
}

struct RouterThread {
    inbox: Receiver<Command>,
    wake: Arc<EventFd>,
    netlink: Netlink,
    /// Has routes and rules watched, where there are any.
    route_watch: DeletionSubscription,
    frames: FrameSocket,
    announcer: AnnounceQueue,
    /// What is there whoever is master.
    statics: Statics,
    /// Some instance has routes or rules.
    has_routes: bool,
    /// The routes and rules that were put in.
    installed: routes::InstalledRoutes,
    mastership: MastershipRecord,
    /// What an earlier daemon left is taken away, and none of its states goes on.
    ignores_previous_state: bool,
    /// Where the parent finds what to say if this process dies.
    will_store: Arc<WillStore>,
    /// What a process before this one was master of, until its parent gave up for it.
    resigned: Vec<(u64, Instant)>,
    observed: Observation,
    ports: BTreeMap<(String, Transport), Port>,
    entries: Vec<RouterEntry>,
    /// When an entry wants to be woken, as [`Entry::armed`] has it.
    deadlines: BTreeSet<(Instant, usize)>,
    /// Where nobody keeps last words.
    free_will_slots: Vec<usize>,
    /// Sync groups, and the state that was last told of each.
    groups: Vec<(SyncGroup, Option<State>)>,
    /// A member of a sync group may stand otherwise than the others since it was last looked at.
    groups_dirty: bool,
    events: UnboundedSender<Event>,
    unknown_vrids: UnknownVrids,
    firewall: firewall::Handle,
    /// The addresses to which packets are refused, each with its device.
    rejected_addresses: BTreeSet<(IpAddr, String)>,
    bfd: BfdSessions,
    /// How interfaces count.
    link_debounce: LinkDebounce,
    /// For a frame, since it was last looked.
    frame_awaited: bool,
    /// Opened while somebody waits for a frame.
    sniffer: Option<Sniffer>,
    /// Interfaces whose `promote_secondaries` is on for our sake, and what it was.
    saved_promote_secondaries: BTreeMap<String, i32>,
}

/// Who has something to be read.
#[derive(Default)]
struct ReadyFds {
    commands: bool,
    ports: Vec<(String, Transport)>,
}

/// A virtual router's name in the memo: FNV-1a over its identity, the same in every version of this program.
fn mastership_key(cfg: &VrrpInstance) -> u64 {
    let (interface, family, vrid) = cfg.identity();
    interface
        .bytes()
        .chain([0, vrid.get()])
        .chain((family == Family::V6).then_some(6))
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

impl RouterThread {
    fn run(mut self) {
        loop {
            let ready = self.wait();
            self.set_wall_clock();
            for key in ready.ports {
                self.receive_adverts(&key);
            }
            if self.unknown_vrids.is_logging() {
                self.drain_unknown_adverts(64);
            }
            let mut end = false;
            if ready.commands {
                let _ = self.wake.read();
                // Of several observations only the last counts: each is of everything.
                let mut seen = None;
                while let Ok(command) = self.inbox.try_recv() {
                    match command {
                        Command::Observed(s) => seen = Some(s),
                        other => end |= self.handle_command(other),
                    }
                }
                if let Some(seen) = seen.filter(|_| !end) {
                    self.handle_command(Command::Observed(seen));
                }
            }
            self.run_bfd();
            self.listen_for_frames();
            let now = clock::now();
            if self.link_debounce.next_deadline().is_some_and(|d| d <= now) {
                self.apply_network_state();
            }
            let due: Vec<usize> = self.deadlines.range(..=(now, usize::MAX)).map(|(_, i)| *i).collect();
            for i in due {
                self.entries[i].router.handle_deadline(now);
                self.apply_outputs(i);
            }
            if std::mem::take(&mut self.groups_dirty) {
                self.sync_groups();
            }
            self.send_announcements();
            if end {
                let _ = self.events.send(Event::Ended);
                return;
            }
        }
    }

    /// Sleeps until a packet, an event, a command or a deadline, and says who has something.
    fn wait(&self) -> ReadyFds {
        let first = self.deadlines.first().map(|(d, _)| *d);
        let first = first.into_iter().chain(self.bfd.next_deadline()).min();
        self.will_store.set_wake_deadline(first);
        let others = self.announcer.next_deadline().into_iter().chain(self.link_debounce.next_deadline());
        let deadline = first.into_iter().chain(others).min();
        let timeout = deadline.map(|d| TimeSpec::from(d.duration_since(clock::now())));
        let mut fds = Vec::with_capacity(1 + self.ports.len());
        fds.push(PollFd::new(self.wake.as_fd(), PollFlags::POLLIN));
        fds.extend(self.ports.values().map(|p| PollFd::new(p.socket.as_fd(), PollFlags::POLLIN)));
        // Whether any of these has something is found by reading.
        let strangers =
            self.ports.values().filter(|_| self.unknown_vrids.is_logging()).filter_map(|p| p.unknown_socket.as_ref());
        fds.extend(strangers.map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.bfd.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        fds.extend(self.sniffer.iter().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
        // An interruption only means an early look.
        if !ppoll(&mut fds, timeout, None).is_ok_and(|n| n > 0) {
            return ReadyFds::default();
        }
        let has = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let ports = fds[1..].iter().zip(self.ports.keys()).filter(|(fd, _)| has(fd)).map(|(_, key)| key.clone());
        ReadyFds { commands: has(&fds[0]), ports: ports.collect() }
    }

    /// Signatures carry the time of day.
    fn set_wall_clock(&mut self) {
        for e in self.entries.iter_mut().filter(|e| e.router.config().signing.is_some()) {
            e.router.set_time_of_day(clock::time_of_day());
        }
    }

    fn receive_adverts(&mut self, key: &(String, Transport)) {
        let mut buf = [0u8; 2048];
        // Bounded, so that a flood cannot keep the timers waiting.
        for _ in 0..64 {
            let Some(port) = self.ports.get(key) else { break };
            let Ok(packet) = port.socket.recv(&mut buf) else { break };
            let Some((ip, payload)) = packet else { continue };
            let mine = peek_vrid(&ip, payload).and_then(|vrid| port.routers.get(&vrid));
            let Some(&i) = mine else {
                self.unknown_vrids.record(&key.0, ip.src, peek_vrid(&ip, payload));
                continue;
            };
            self.entries[i].router.handle(clock::now(), Input::Packet { ip, payload });
            if self.entries[i].keeps_found_addresses && self.entries[i].router.master().is_some() {
                self.entries[i].keeps_found_addresses = false;
                self.reconcile_addresses();
            }
            self.apply_outputs(i);
        }
    }

    /// Adverts for virtual routers that nobody here knows; as many as found room since the last look, `most` of a port.
    fn drain_unknown_adverts(&mut self, most: u32) {
        let mut buf = [0u8; 64];
        for ((device, _), port) in &self.ports {
            let Some(socket) = &port.unknown_socket else { continue };
            for _ in 0..most {
                match socket.recv(&mut buf) {
                    Ok(Some((ip, payload))) => self.unknown_vrids.record(device, ip.src, peek_vrid(&ip, payload)),
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
    }

    fn handle_command(&mut self, command: Command) -> bool {
        match command {
            Command::Configure(setup) => self.configure(*setup),
            Command::TrackChanged { object, result: found } => {
                for i in 0..self.entries.len() {
                    self.entries[i].router.handle(clock::now(), Input::TrackResult { object: &object, result: found });
                    self.apply_outputs(i);
                }
            }
            Command::Observed(seen) => {
                let was = std::mem::replace(&mut self.observed, seen);
                self.apply_network_state();
                if was.links != self.observed.links || was.addresses != self.observed.addresses {
                    self.install_routes(true);
                    self.report_static_objects();
                }
            }
            Command::RoutesRemoved(what) => self.handle_removed_routes(&what),
            Command::ClearCounters => self.entries.iter_mut().for_each(|e| e.router.clear_counters()),
            Command::Snapshot(reply) => {
                self.drain_unknown_adverts(4096);
                let now = clock::now();
                let instances = self.entries.iter().map(|e| apply::instance_status(&e.router, now)).collect();
                let bfd = self.bfd.status(now);
                let _ = reply.send(Snapshot { instances, bfd, unknown_vrids: self.unknown_vrids.count() });
            }
            Command::Stop { release } => {
                for i in 0..self.entries.len() {
                    self.entries[i].keeps_found_addresses = false;
                    self.entries[i].router.handle(clock::now(), Input::Stop);
                    if release {
                        self.apply_outputs(i);
                    } else {
                        let mut router = self.entries[i].router.clone();
                        self.send_final_outputs(&mut router, false);
                    }
                }
                self.bfd.stop(clock::now());
                if release {
                    let statics = std::mem::take(&mut self.statics);
                    self.set_promote_secondaries(&BTreeSet::new());
                    self.reconcile_addresses(); // what an earlier daemon left and nobody claimed
                    self.remove_vips(&statics.addresses);
                }
                return true;
            }
            Command::HandOver => {
                // Neighbours take it for what is wanted, and not for a loss.
                self.bfd.stop(clock::now());
                return true;
            }
        }
        false
    }
}
