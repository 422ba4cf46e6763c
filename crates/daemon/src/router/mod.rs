//! The router thread: VRRP engines, their sockets, their addresses.
//!
//! One loop around ppoll: read what came, tell the engines, do what they want. Packets are read before timers fire, so
//! that a thread that was kept waiting does not take over from a master whose adverts lie unread. Addresses are set from
//! this thread, in the same turn as the change of state and behind its advert. No name is looked up here, nothing is
//! listed, and no file is written but one mapped word.

mod observer;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use evenkeel_core::ipc::InstanceStatus;
use evenkeel_core::model::{Destination, Notify, SyncGroup, TrackedObject, VipSpec, VrrpInstance};
use evenkeel_core::plan::{VipStep, diff_vips};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::packet::{peek_vrid, split_ip};
use evenkeel_core::vrrp::{Because, Input, Output, Router, State, group};
use evenkeel_sys::clock;
use evenkeel_sys::memo::Memo;
use evenkeel_sys::netlink::{Addr, Netlink};
use evenkeel_sys::rt;
use evenkeel_sys::signals::EventFd;
use evenkeel_sys::wire::{ArpSocket, VrrpSocket};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tokio::sync::mpsc::UnboundedSender;

use observer::Observation;

/// What the router thread is told.
pub enum Command {
    /// The instances and sync groups that should be; instances of the same identity keep their state.
    Configure(Vec<VrrpInstance>, Vec<SyncGroup>),
    /// The standing of a tracked script.
    Script { name: String, good: bool },
    /// Devices and addresses as they are now.
    Observed(Observation),
    /// Everything that `status` shows.
    Snapshot(Sender<Snapshot>),
    /// Give up every address, say so to the peers, and end.
    Stop { release: bool },
    /// End and leave everything as it is, for the next daemon.
    HandOver,
}

/// What the router thread does at one moment.
#[derive(Default)]
pub struct Snapshot {
    /// Every instance.
    pub instances: Vec<InstanceStatus>,
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
    LowerPriority { name: String, by: Ipv4Addr, priority: u8, notify: Notify },
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

/// Starts the thread.
pub fn start(
    rt_priority: u8,
    memo_path: PathBuf,
    events: UnboundedSender<Event>,
) -> anyhow::Result<(Handle, std::thread::JoinHandle<()>)> {
    let (commands, inbox) = channel();
    let wake = Arc::new(EventFd::from_flags(nix::sys::eventfd::EfdFlags::EFD_NONBLOCK)?);
    let handle = Handle { commands, wake: wake.clone() };
    let shell = Shell {
        inbox,
        wake,
        netlink: Netlink::new()?,
        arp: ArpSocket::new()?,
        memo: Memo::open(&memo_path)?,
        seen: observer::start(handle.clone())?,
        ports: BTreeMap::new(),
        entries: Vec::new(),
        groups: Vec::new(),
        events,
        strangers: 0,
    };
    let thread = std::thread::Builder::new().name("router".into()).spawn(move || {
        if let Err(e) = rt::make_realtime(rt_priority) {
            tracing::warn!("VRRP runs without real-time priority: {e}");
        }
        shell.run();
    })?;
    Ok((handle, thread))
}

/// An interface that VRRP is spoken on.
struct Port {
    ifindex: u32,
    socket: VrrpSocket,
}

struct Entry {
    router: Router,
    /// Its addresses were there when it started, and nobody has claimed them since: they stay until somebody does.
    holds: bool,
    /// It owns its addresses (priority 255), and they were there before it: they are the host's, and never taken away.
    owns: bool,
    key: u64,
}

struct Shell {
    inbox: Receiver<Command>,
    wake: Arc<EventFd>,
    netlink: Netlink,
    arp: ArpSocket,
    memo: Memo,
    seen: Observation,
    ports: BTreeMap<String, Port>,
    entries: Vec<Entry>,
    /// Sync groups, and the state that was last told of each.
    groups: Vec<(SyncGroup, Option<State>)>,
    events: UnboundedSender<Event>,
    /// Adverts for virtual routers that nobody here knows.
    strangers: u64,
}

/// A virtual router's name in the memo: FNV-1a over its identity, the same in every version of this program.
fn key_of(cfg: &VrrpInstance) -> u64 {
    let (interface, vrid) = cfg.identity();
    interface
        .bytes()
        .chain([0, vrid.get()])
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

impl Shell {
    fn run(mut self) {
        loop {
            self.wait();
            self.receive();
            let mut end = false;
            let _ = self.wake.read();
            while let Ok(command) = self.inbox.try_recv() {
                end |= self.command(command);
            }
            let now = clock::now();
            for i in 0..self.entries.len() {
                if self.entries[i].router.next_deadline().is_some_and(|d| d <= now) {
                    self.entries[i].router.handle_deadline(now);
                    self.perform(i);
                }
            }
            self.synchronise();
            if end {
                let _ = self.events.send(Event::Ended);
                return;
            }
        }
    }

    /// Sleeps until a packet, an event, a command or a deadline.
    fn wait(&self) {
        let deadline = self.entries.iter().filter_map(|e| e.router.next_deadline()).min();
        let timeout = deadline.map(|d| TimeSpec::from(d.since(clock::now())));
        let mut fds = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        for port in self.ports.values() {
            fds.push(PollFd::new(port.socket.as_fd(), PollFlags::POLLIN));
        }
        let _ = ppoll(&mut fds, timeout, None); // an interruption only means an early look
    }

    fn receive(&mut self) {
        let mut buf = [0u8; 2048];
        let names: Vec<String> = self.ports.keys().cloned().collect();
        for name in names {
            // Bounded, so that a flood cannot keep the timers waiting.
            for _ in 0..64 {
                let Some(port) = self.ports.get(&name) else { break };
                let Ok(packet) = port.socket.recv(&mut buf) else { break };
                let Some((ip, message)) = split_ip(packet) else { continue };
                let vrid = peek_vrid(message);
                let mine = self.entries.iter().position(|e| {
                    let cfg = e.router.config();
                    cfg.interface == name && Some(cfg.vrid) == vrid
                });
                let Some(i) = mine else {
                    self.strangers += 1;
                    continue;
                };
                self.entries[i].router.handle(clock::now(), Input::Packet { ip, message });
                if self.entries[i].holds && self.entries[i].router.master().is_some() {
                    self.entries[i].holds = false;
                    self.set_addresses();
                }
                self.perform(i);
            }
        }
    }

    fn command(&mut self, command: Command) -> bool {
        match command {
            Command::Configure(instances, groups) => self.configure(instances, groups),
            Command::Script { name, good } => {
                let object = TrackedObject::Script(name);
                for i in 0..self.entries.len() {
                    self.entries[i].router.handle(clock::now(), Input::Tracked { object: &object, good });
                    self.perform(i);
                }
            }
            Command::Observed(seen) => {
                self.seen = seen;
                self.circumstances();
            }
            Command::Snapshot(reply) => {
                let now = clock::now();
                let instances = self.entries.iter().map(|e| status(&e.router, now)).collect();
                let _ = reply.send(Snapshot { instances, strangers: self.strangers });
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
                if release {
                    self.set_addresses(); // what an earlier daemon left and nobody claimed
                }
                return true;
            }
            Command::HandOver => return true,
        }
        false
    }

    fn configure(&mut self, instances: Vec<VrrpInstance>, groups: Vec<SyncGroup>) {
        let now = clock::now();
        let told = std::mem::take(&mut self.groups);
        let last = |g: &SyncGroup| told.iter().find(|(t, _)| t.name == g.name).and_then(|(_, state)| *state);
        self.groups = groups.into_iter().map(|g| (last(&g), g)).map(|(state, g)| (g, state)).collect();
        let mut old = std::mem::take(&mut self.entries);
        let mut gone = Vec::new();
        old.retain_mut(|e| {
            let stays = instances.iter().any(|c| c.identity() == e.router.config().identity());
            if !stays {
                e.router.handle(now, Input::Stop);
                gone.push((e.router.clone(), e.owns));
            }
            stays
        });
        for (mut router, owns) in gone {
            self.last_word(&mut router, true); // while its port is still there
            let vips: Vec<VipSpec> = router.config().all_vips().cloned().collect();
            if !owns {
                self.remove(&vips);
            }
        }
        self.ports.retain(|name, _| instances.iter().any(|c| c.interface == *name));
        let mut fresh = Vec::new();
        for cfg in instances {
            match old.iter().position(|e| e.router.config().identity() == cfg.identity()) {
                Some(i) => {
                    let mut e = old.swap_remove(i);
                    let dropped: Vec<VipSpec> = e
                        .router
                        .config()
                        .all_vips()
                        .filter(|v| !cfg.all_vips().any(|n| (n.addr, n.prefix, &n.dev) == (v.addr, v.prefix, &v.dev)))
                        .cloned()
                        .collect();
                    e.router.reconfigure(now, cfg);
                    self.remove(&dropped);
                    self.entries.push(e);
                }
                None => {
                    let key = key_of(&cfg);
                    fresh.push(self.entries.len());
                    self.entries.push(Entry { router: Router::new(cfg, now), holds: true, owns: false, key });
                }
            }
        }
        self.circumstances();
        for i in fresh {
            self.begin(i, now);
        }
        self.synchronise(); // before anything is told, so that a group is told of first, as by keepalived
        for i in 0..self.entries.len() {
            self.perform(i);
        }
    }

    /// Starts a router; as master at once if it was one so short a time ago that no peer can have taken over.
    fn begin(&mut self, i: usize, now: Instant) {
        let e = &mut self.entries[i];
        let cfg = e.router.config();
        let patience = cfg.advert_int * u32::from(cfg.down_timer_adverts);
        let resume = self.memo.last(e.key).is_some_and(|last| last <= now && now.since(last) < patience);
        let there = |v: &VipSpec| {
            let index = self.seen.links.get(&v.dev).map(|l| l.index);
            self.seen.addresses.iter().any(|a| Some(a.ifindex) == index && a.addr == v.addr)
        };
        e.holds = cfg.all_vips().any(there);
        // What a crash left is not the host's own.
        e.owns = e.holds && cfg.priority == 255 && self.memo.last(e.key).is_none();
        e.router.handle(now, Input::Start { resume });
    }

    /// Tells the engines of devices and addresses; puts back what somebody took away.
    fn circumstances(&mut self) {
        let wanted: Vec<String> = self.entries.iter().map(|e| e.router.config().interface.clone()).collect();
        for name in wanted {
            let Some(link) = self.seen.links.get(&name) else {
                self.ports.remove(&name);
                continue;
            };
            let groups = self.groups(&name);
            if self.ports.get(&name).is_none_or(|p| p.ifindex != link.index || p.socket.groups() != groups) {
                match VrrpSocket::new(&name, link.index, &groups) {
                    Ok(socket) => {
                        self.ports.insert(name, Port { ifindex: link.index, socket });
                    }
                    Err(e) => tracing::error!("{e}"),
                }
            }
        }
        let now = clock::now();
        for i in 0..self.entries.len() {
            let cfg = self.entries[i].router.config();
            let up = self.seen.links.get(&cfg.interface).is_some_and(|l| l.running)
                && self.ports.contains_key(&cfg.interface);
            let source = self.source_address(cfg);
            self.entries[i].router.handle(now, Input::Link(up));
            self.entries[i].router.handle(now, Input::Address(source));
            let tracked = self.entries[i].router.config().tracks.iter().map(|t| &t.object);
            let interfaces: Vec<TrackedObject> =
                tracked.filter(|o| matches!(o, TrackedObject::Interface(_))).cloned().collect();
            for object in interfaces {
                let TrackedObject::Interface(name) = &object else { continue };
                let good = self.seen.links.get(name).is_some_and(|l| l.running);
                self.entries[i].router.handle(now, Input::Tracked { object: &object, good });
            }
            self.perform(i);
        }
        self.set_addresses();
    }

    /// The groups that instances on an interface speak to, each once.
    fn groups(&self, interface: &str) -> Vec<Ipv4Addr> {
        let here = self.entries.iter().map(|e| e.router.config()).filter(|c| c.interface == interface);
        let mut groups: Vec<Ipv4Addr> = here
            .filter_map(|c| match &c.destination {
                Destination::Multicast(group) => Some(*group),
                Destination::Unicast(_) => None,
            })
            .collect();
        groups.sort();
        groups.dedup();
        groups
    }

    /// The configured source address, or the interface's first address that is not a virtual one.
    fn source_address(&self, cfg: &VrrpInstance) -> Option<Ipv4Addr> {
        if cfg.source.is_some() {
            return cfg.source;
        }
        let index = self.seen.links.get(&cfg.interface)?.index;
        let on_it = || self.seen.addresses.iter().filter(move |a| a.ifindex == index).map(|a| a.addr);
        let is_vip = |a: &Ipv4Addr| {
            self.entries.iter().any(|e| e.router.config().all_vips().any(|v| v.addr == *a))
                || cfg.all_vips().any(|v| v.addr == *a)
        };
        let own = on_it().find(|a| !is_vip(a));
        // An owner's virtual address is its interface's own.
        own.or_else(|| (cfg.priority == 255).then(|| on_it().next()).flatten())
    }

    /// Keeps the members of sync groups in one state, and tells of the groups' own transitions.
    fn synchronise(&mut self) {
        for g in 0..self.groups.len() {
            let name = self.groups[g].0.name.clone();
            let mut routers: Vec<&mut Router> = self
                .entries
                .iter_mut()
                .map(|e| &mut e.router)
                .filter(|r| r.config().group.as_deref() == Some(&name))
                .collect();
            let moved = group::settle(&mut routers, clock::now());
            let state = group::state(&routers.iter().map(|r| r.member()).collect::<Vec<_>>());
            if moved {
                for i in 0..self.entries.len() {
                    self.perform(i);
                }
            }
            let to = state.filter(|s| *s != State::Init || self.groups[g].1.is_some());
            if let Some(to) = to.filter(|s| Some(*s) != self.groups[g].1) {
                self.groups[g].1 = Some(to);
                let notify = self.groups[g].0.notify.clone();
                let _ = self.events.send(Event::Group { name, to, notify });
            }
        }
    }

    /// Does what an engine wants, in its order.
    fn perform(&mut self, i: usize) {
        while let Some(output) = self.entries[i].router.poll_output() {
            match output {
                Output::Send { to, ttl, message } => self.send(i, to, ttl, &message),
                Output::AddVips | Output::RemoveVips => self.set_addresses(),
                Output::Garp(rounds) => self.announce(i, rounds),
                Output::Transition { from, to, because } => {
                    if to != State::Master {
                        self.memo.note(self.entries[i].key, None);
                    }
                    if matches!(to, State::Master | State::Fault) {
                        self.entries[i].holds = false;
                    }
                    self.told(&self.entries[i].router, (from, to), because, false);
                }
                Output::Priority(priority) => {
                    let r = &self.entries[i].router;
                    let (name, state, notify) = (r.config().name.clone(), r.state(), r.config().notify.clone());
                    let _ = self.events.send(Event::Priority { name, state, priority, notify });
                }
                Output::LowerPriority { by } => {
                    let r = &self.entries[i].router;
                    let (name, priority, notify) = (r.config().name.clone(), r.priority(), r.config().notify.clone());
                    let _ = self.events.send(Event::LowerPriority { name, by, priority, notify });
                }
                Output::Refused { by, why } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "a VRRP packet from {by} was refused: {why}");
                }
                Output::VipMismatch { by } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "{by} advertises other addresses than ours");
                }
            }
        }
    }

    /// What a router that has stopped still wants said; it is not master any more, so that no later daemon resumes it.
    fn last_word(&self, router: &mut Router, deleted: bool) {
        while let Some(output) = router.poll_output() {
            match output {
                Output::Send { to, ttl, message } => self.transmit(router, to, ttl, &message),
                Output::Transition { from, to, because } => self.told(router, (from, to), because, deleted),
                _ => {}
            }
        }
        self.memo.note(key_of(router.config()), None);
    }

    fn told(&self, router: &Router, (from, to): (State, State), because: Because, deleted: bool) {
        let (name, priority, notify) =
            (router.config().name.clone(), router.priority(), router.config().notify.clone());
        let _ = self.events.send(Event::Transition { name, from, to, because, priority, deleted, notify });
    }

    fn send(&self, i: usize, to: Ipv4Addr, ttl: u8, message: &[u8]) {
        let e = &self.entries[i];
        self.transmit(&e.router, to, ttl, message);
        if e.router.state() == State::Master && message.get(2) != Some(&0) {
            self.memo.note(e.key, Some(clock::now()));
        }
    }

    fn transmit(&self, router: &Router, to: Ipv4Addr, ttl: u8, message: &[u8]) {
        let cfg = router.config();
        let (Some(port), Some(from)) = (self.ports.get(&cfg.interface), router.address()) else { return };
        if let Err(e) = port.socket.send(from, to, ttl, message) {
            tracing::debug!(instance = %cfg.name, "send an advert on {}: {e}", cfg.interface);
        }
    }

    fn announce(&self, i: usize, rounds: u32) {
        let cfg = self.entries[i].router.config();
        for _ in 0..rounds {
            for vip in cfg.all_vips() {
                let Some(link) = self.seen.links.get(&vip.dev) else { continue };
                if let Err(e) = self.arp.announce(link.index, link.mac, vip.addr) {
                    tracing::debug!("announce {vip}: {e}");
                }
            }
        }
    }

    /// Every address of a master is there, none of another's; nothing else is touched. Works from what the last event
    /// said, so that a take-over waits for no dump; the kernel refuses an addition or removal that came too late.
    fn set_addresses(&mut self) {
        let mut managed: Vec<VipSpec> = Vec::new();
        let mut desired: Vec<VipSpec> = Vec::new();
        for e in &self.entries {
            let cfg = e.router.config();
            if e.router.state() == State::Master {
                desired.extend(cfg.all_vips().cloned());
            }
            if !e.owns && (e.router.state() == State::Master || !e.holds) {
                managed.extend(cfg.all_vips().cloned());
            }
        }
        let names: BTreeMap<u32, &String> = self.seen.links.values().map(|l| (l.index, &l.name)).collect();
        let observed: Vec<VipSpec> = self
            .seen
            .addresses
            .iter()
            .filter_map(|a| {
                let dev = (*names.get(&a.ifindex)?).clone();
                Some(VipSpec { addr: a.addr, prefix: a.prefix, dev, label: a.label.clone(), broadcast: None, scope: 0 })
            })
            .collect();
        let desired: Vec<&VipSpec> = desired.iter().collect();
        let managed: Vec<&VipSpec> = managed.iter().collect();
        for step in diff_vips(&desired, &managed, &observed) {
            let (vip, add) = match &step {
                VipStep::Add(v) => (v, true),
                VipStep::Remove(v) => (v, false),
            };
            let Some(link) = self.seen.links.get(&vip.dev) else { continue };
            let index = link.index;
            let done = if add { self.netlink.add_address(index, vip) } else { self.netlink.remove_address(index, vip) };
            match done {
                Ok(changed) => {
                    // If not, somebody was first, or the observation was old.
                    if changed {
                        tracing::info!(vip = %vip.addr, "{} {vip}", if add { "added" } else { "removed" });
                    }
                    self.seen.addresses.retain(|a| (a.ifindex, a.addr) != (index, vip.addr));
                    if add {
                        let (addr, prefix, label) = (vip.addr, vip.prefix, vip.label.clone());
                        self.seen.addresses.push(Addr { ifindex: index, addr, prefix, label });
                    }
                }
                Err(e) => tracing::error!("{e}"),
            }
        }
    }

    fn remove(&mut self, vips: &[VipSpec]) {
        for vip in vips {
            let Some(link) = self.seen.links.get(&vip.dev) else { continue };
            let there = self.seen.addresses.iter().any(|a| a.ifindex == link.index && a.addr == vip.addr);
            if there && let Err(e) = self.netlink.remove_address(link.index, vip) {
                tracing::error!("{e}");
            }
        }
    }
}

fn status(r: &Router, now: Instant) -> InstanceStatus {
    let cfg = r.config();
    let (since, because) = r.since();
    InstanceStatus {
        name: cfg.name.clone(),
        interface: cfg.interface.clone(),
        vrid: cfg.vrid.get(),
        version: cfg.version.number(),
        state: r.state(),
        since_ms: now.since(since).as_millis() as u64,
        because: because.to_string(),
        base_priority: cfg.priority,
        priority: r.priority(),
        master: r.master().map(|m| m.0),
        master_priority: r.master().map(|m| m.1),
        master_down_ms: r.master_down_interval().as_millis() as u64,
        vips: cfg.all_vips().map(ToString::to_string).collect(),
        counters: r.counters().clone(),
    }
}
