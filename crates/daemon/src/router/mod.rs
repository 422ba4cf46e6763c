//! The router thread: VRRP engines, their sockets, their addresses.
//!
//! One loop around ppoll: read what came, tell the engines, do what they want. Packets are read before timers fire, so
//! that a thread that was kept waiting does not take over from a master whose adverts lie unread. Addresses are set from
//! this thread, in the same turn as the change of state and behind its advert. No name is looked up here, nothing is
//! listed, and no file is written but one mapped word.

mod act;
mod addresses;
mod bfd;
mod configure;
mod frames;
mod observer;
mod quiet;
mod routes;
mod strangers;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use evenkeel_core::ipc::{BfdStatus, InstanceStatus};
use evenkeel_core::model::{
    AnnounceGaps, BfdInstance, Config, Family, Found, Notify, Statics, SyncGroup, TrackedObject, Transport, Vrid,
    VrrpInstance,
};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::debounce::{Debounce, Delays};
use evenkeel_core::vrrp::wire::peek_vrid;
use evenkeel_core::vrrp::{Announcer, Because, Input, Router, State};
use evenkeel_sys::clock;
use evenkeel_sys::last_words::{PLACES, Testament};
use evenkeel_sys::memo::Memo;
use evenkeel_sys::netlink::{Interest, Netlink, Vanished};
use evenkeel_sys::rt;
use evenkeel_sys::signals::EventFd;
use evenkeel_sys::wire::{FrameSocket, Sniffer, VrrpSocket};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tokio::sync::mpsc::UnboundedSender;

use crate::args::Args;
use crate::firewall;
use crate::guard::Charge;
use bfd::Sessions;
use observer::Observation;
use strangers::Strangers;

/// What the router thread is told.
pub enum Command {
    /// What should be; instances of the same identity keep their state.
    Configure(Box<Setup>),
    /// How a tracked object was found.
    Tracked { object: TrackedObject, found: Found },
    /// Devices and addresses as they are now.
    Observed(Observation),
    /// Somebody took these routes and rules out.
    Vanished(Vec<Vanished>),
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
pub struct Thread {
    /// SCHED_RR, 1 to 99.
    pub priority: u8,
    /// `vrrp_cpu_affinity`; all if there are none.
    pub cpus: Vec<u16>,
}

/// What of a configuration is the router thread's.
pub struct Setup {
    pub instances: Vec<VrrpInstance>,
    pub groups: Vec<SyncGroup>,
    pub bfd: Vec<BfdInstance>,
    pub gaps: AnnounceGaps,
    pub link_delays: Delays,
    pub statics: Statics,
    /// `log_unknown_vrids`
    pub tells_strangers: bool,
}

impl Setup {
    /// Out of a whole one.
    pub fn of(config: &Config) -> Box<Setup> {
        let (instances, groups) = (config.instances.clone(), config.groups.clone());
        let (gaps, statics) = (config.announce_gaps.clone(), config.statics.clone());
        let (bfd, link_delays) = (config.bfd.clone(), config.link_delays.clone());
        let tells_strangers = config.global.log_unknown_vrids;
        Box::new(Setup { instances, groups, bfd, gaps, link_delays, statics, tells_strangers })
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
    pub strangers: u64,
}

/// What the router thread tells.
#[derive(Debug)]
pub enum Event {
    /// An instance changed its state. `deleted`: because a new configuration has no such instance.
    Transition { name: String, from: State, to: State, because: Because, priority: u8, deleted: bool, notify: Notify },
    /// All members of a sync group are in this state; INIT: the daemon stops.
    Group { name: String, to: State, notify: Notify },
    /// Its priority is another now.
    Priority { name: String, state: State, priority: u8, notify: Notify },
    /// As master it heard somebody of lower priority.
    LowerPriority { name: String, by: IpAddr, priority: u8, notify: Notify },
    /// A BFD session came up or went down; `checks`: health checks are to be told.
    Bfd { name: String, up: bool, detail: String, checks: bool },
    /// To be logged.
    Remark(quiet::Remark),
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
const ANNOUNCED_AT_ONCE: usize = 64;

/// Starts the thread.
pub fn start(
    thread: Thread,
    args: &Args,
    charge: Charge,
    firewall: firewall::Handle,
    events: UnboundedSender<Event>,
) -> anyhow::Result<(Handle, std::thread::JoinHandle<()>)> {
    let (commands, inbox) = channel();
    let wake = Arc::new(EventFd::from_flags(nix::sys::eventfd::EfdFlags::EFD_NONBLOCK)?);
    let handle = Handle { commands, wake: wake.clone() };
    let netlink = Netlink::new()?;
    let (seen, route_events) = observer::start(handle.clone(), &netlink)?;
    let shell = Shell {
        inbox,
        wake,
        netlink,
        route_events,
        frames: FrameSocket::new()?,
        announcer: Announcer::default(),
        statics: Statics::default(),
        has_routes: false,
        installed: routes::Installed::default(),
        memo: Memo::open(&args.memo_file())?,
        begins_anew: args.release_vips,
        testament: charge.testament,
        gave_up: charge.gave_up,
        seen,
        ports: BTreeMap::new(),
        entries: Vec::new(),
        deadlines: BTreeSet::new(),
        free_places: (0..PLACES).rev().collect(),
        groups: Vec::new(),
        unsettled: false,
        events,
        strangers: Strangers::default(),
        firewall,
        refused: BTreeSet::new(),
        bfd: Sessions::default(),
        links: Debounce::default(),
        somebody_waits: false,
        sniffer: None,
        promoted: BTreeMap::new(),
    };
    let (remarks, level) = (shell.events.clone(), args.log_level());
    let thread = std::thread::Builder::new().name("router".into()).spawn(move || {
        let _handed_on = quiet::hand_on(remarks, level);
        if let Err(e) = rt::make_realtime(thread.priority) {
            tracing::warn!("VRRP runs without real-time priority: {e}");
        }
        if let Err(e) = rt::run_on(&thread.cpus) {
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
    strangers: Option<VrrpSocket>,
}

struct Entry {
    router: Router,
    /// Its addresses were there when it started, and nobody has claimed them since: they stay until somebody does.
    holds: bool,
    /// It owns its addresses (priority 255), and they were there before it: they are the host's, and never taken away.
    owns: bool,
    key: u64,
    /// The deadline that it stands in the queue with.
    armed: Option<Instant>,
    /// Where its last words are kept, while it is master.
    place: Option<usize>,
}

struct Shell {
    inbox: Receiver<Command>,
    wake: Arc<EventFd>,
    netlink: Netlink,
    /// Has routes and rules watched, where there are any.
    route_events: Interest,
    frames: FrameSocket,
    announcer: Announcer,
    /// What is there whoever is master.
    statics: Statics,
    /// Some instance has routes or rules.
    has_routes: bool,
    /// The routes and rules that were put in.
    installed: routes::Installed,
    memo: Memo,
    /// What an earlier daemon left is taken away, and none of its states goes on.
    begins_anew: bool,
    /// Where the parent finds what to say if this process dies.
    testament: Arc<Testament>,
    /// What a process before this one was master of, until its parent gave up for it.
    gave_up: Vec<(u64, Instant)>,
    seen: Observation,
    ports: BTreeMap<(String, Transport), Port>,
    entries: Vec<Entry>,
    /// When an entry wants to be woken, as [`Entry::armed`] has it.
    deadlines: BTreeSet<(Instant, usize)>,
    /// Where nobody keeps last words.
    free_places: Vec<usize>,
    /// Sync groups, and the state that was last told of each.
    groups: Vec<(SyncGroup, Option<State>)>,
    /// A member of a sync group may stand otherwise than the others since it was last looked at.
    unsettled: bool,
    events: UnboundedSender<Event>,
    strangers: Strangers,
    firewall: firewall::Handle,
    /// The addresses to which packets are refused, each with its device.
    refused: BTreeSet<(IpAddr, String)>,
    bfd: Sessions,
    /// How interfaces count.
    links: Debounce,
    /// For a frame, since it was last looked.
    somebody_waits: bool,
    /// Opened while somebody waits for a frame.
    sniffer: Option<Sniffer>,
    /// Interfaces whose `promote_secondaries` is on for our sake, and what it was.
    promoted: BTreeMap<String, i32>,
}

/// Who has something to be read.
#[derive(Default)]
struct Ready {
    commands: bool,
    ports: Vec<(String, Transport)>,
}

/// A virtual router's name in the memo: FNV-1a over its identity, the same in every version of this program.
fn key_of(cfg: &VrrpInstance) -> u64 {
    let (interface, family, vrid) = cfg.identity();
    interface
        .bytes()
        .chain([0, vrid.get()])
        .chain((family == Family::V6).then_some(6))
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

impl Shell {
    fn run(mut self) {
        loop {
            let ready = self.wait();
            self.tell_time();
            for key in ready.ports {
                self.receive(&key);
            }
            if self.strangers.tells() {
                self.count_strangers(64);
            }
            let mut end = false;
            if ready.commands {
                let _ = self.wake.read();
                // Of several observations only the last counts: each is of everything.
                let mut seen = None;
                while let Ok(command) = self.inbox.try_recv() {
                    match command {
                        Command::Observed(s) => seen = Some(s),
                        other => end |= self.command(other),
                    }
                }
                if let Some(seen) = seen.filter(|_| !end) {
                    self.command(Command::Observed(seen));
                }
            }
            self.bfd_turn();
            self.listen_for_frames();
            let now = clock::now();
            if self.links.next_deadline().is_some_and(|d| d <= now) {
                self.circumstances();
            }
            let due: Vec<usize> = self.deadlines.range(..=(now, usize::MAX)).map(|(_, i)| *i).collect();
            for i in due {
                self.entries[i].router.handle_deadline(now);
                self.perform(i);
            }
            if std::mem::take(&mut self.unsettled) {
                self.synchronise();
            }
            self.announce();
            if end {
                let _ = self.events.send(Event::Ended);
                return;
            }
        }
    }

    /// Sleeps until a packet, an event, a command or a deadline, and says who has something.
    fn wait(&self) -> Ready {
        let first = self.deadlines.first().map(|(d, _)| *d);
        let first = first.into_iter().chain(self.bfd.next_deadline()).min();
        self.testament.set_awake_by(first);
        let others = self.announcer.next_deadline().into_iter().chain(self.links.next_deadline());
        let deadline = first.into_iter().chain(others).min();
        let timeout = deadline.map(|d| TimeSpec::from(d.since(clock::now())));
        let mut fds = Vec::with_capacity(1 + self.ports.len());
        fds.push(PollFd::new(self.wake.as_fd(), PollFlags::POLLIN));
        fds.extend(self.ports.values().map(|p| PollFd::new(p.socket.as_fd(), PollFlags::POLLIN)));
        // Whether any of these has something is found by reading.
        let strangers = self.ports.values().filter(|_| self.strangers.tells()).filter_map(|p| p.strangers.as_ref());
        fds.extend(strangers.map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.bfd.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        fds.extend(self.sniffer.iter().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
        // An interruption only means an early look.
        if !ppoll(&mut fds, timeout, None).is_ok_and(|n| n > 0) {
            return Ready::default();
        }
        let has = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let ports = fds[1..].iter().zip(self.ports.keys()).filter(|(fd, _)| has(fd)).map(|(_, key)| key.clone());
        Ready { commands: has(&fds[0]), ports: ports.collect() }
    }

    /// Signatures carry the time of day.
    fn tell_time(&mut self) {
        for e in self.entries.iter_mut().filter(|e| e.router.config().signing.is_some()) {
            e.router.tell_time(clock::time_of_day());
        }
    }

    fn receive(&mut self, key: &(String, Transport)) {
        let mut buf = [0u8; 2048];
        // Bounded, so that a flood cannot keep the timers waiting.
        for _ in 0..64 {
            let Some(port) = self.ports.get(key) else { break };
            let Ok(packet) = port.socket.recv(&mut buf) else { break };
            let Some((ip, payload)) = packet else { continue };
            let mine = peek_vrid(&ip, payload).and_then(|vrid| port.routers.get(&vrid));
            let Some(&i) = mine else {
                self.strangers.hear(&key.0, ip.src, peek_vrid(&ip, payload));
                continue;
            };
            self.entries[i].router.handle(clock::now(), Input::Packet { ip, payload });
            if self.entries[i].holds && self.entries[i].router.master().is_some() {
                self.entries[i].holds = false;
                self.set_addresses();
            }
            self.perform(i);
        }
    }

    /// Adverts for virtual routers that nobody here knows; as many as found room since the last look, `most` of a port.
    fn count_strangers(&mut self, most: u32) {
        let mut buf = [0u8; 64];
        for ((device, _), port) in &self.ports {
            let Some(socket) = &port.strangers else { continue };
            for _ in 0..most {
                match socket.recv(&mut buf) {
                    Ok(Some((ip, payload))) => self.strangers.hear(device, ip.src, peek_vrid(&ip, payload)),
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
    }

    fn command(&mut self, command: Command) -> bool {
        match command {
            Command::Configure(setup) => self.configure(*setup),
            Command::Tracked { object, found } => {
                for i in 0..self.entries.len() {
                    self.entries[i].router.handle(clock::now(), Input::Tracked { object: &object, found });
                    self.perform(i);
                }
            }
            Command::Observed(seen) => {
                let was = std::mem::replace(&mut self.seen, seen);
                self.circumstances();
                if was.links != self.seen.links || was.addresses != self.seen.addresses {
                    self.install(true);
                    self.statics_as_they_stand();
                }
            }
            Command::Vanished(what) => self.vanished(&what),
            Command::ClearCounters => self.entries.iter_mut().for_each(|e| e.router.clear_counters()),
            Command::Snapshot(reply) => {
                self.count_strangers(4096);
                let now = clock::now();
                let instances = self.entries.iter().map(|e| act::status(&e.router, now)).collect();
                let bfd = self.bfd.status(now);
                let _ = reply.send(Snapshot { instances, bfd, strangers: self.strangers.heard() });
            }
            Command::Stop { release } => {
                for i in 0..self.entries.len() {
                    self.entries[i].holds = false;
                    self.entries[i].router.handle(clock::now(), Input::Stop);
                    if release {
                        self.perform(i);
                    } else {
                        let mut router = self.entries[i].router.clone();
                        self.last_word(&mut router, false);
                    }
                }
                self.bfd.stop(clock::now());
                if release {
                    let statics = std::mem::take(&mut self.statics);
                    self.promote(&BTreeSet::new());
                    self.set_addresses(); // what an earlier daemon left and nobody claimed
                    self.remove(&statics.addresses);
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
