//! The state of the router thread, and its loop.
//!
//! One turn: wait in ppoll(2), read what arrived, fire what is due, apply the engines' outputs. Packets are read before
//! timers fire, so that a thread that was delayed does not take over from a master whose adverts are in its socket.
//! Addresses are set in the turn of the transition, after its advert.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use evenkeel_core::model::{Family, Statics, SyncGroup, Transport, Vrid, VrrpInstance};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::debounce::LinkDebounce;
use evenkeel_core::vrrp::{AnnounceQueue, Router, State};
use evenkeel_sys::bpf::ServeAll;
use evenkeel_sys::clock;
use evenkeel_sys::last_will::{MAX_WILLS, WillStore};
use evenkeel_sys::mastership_record::MastershipRecord;
use evenkeel_sys::netlink::{DeletionSubscription, Netlink};
use evenkeel_sys::signals::EventFd;
use evenkeel_sys::wire::{FrameSocket, Sniffer, VrrpSocket};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tokio::sync::mpsc::UnboundedSender;

use super::bfd_sessions::BfdSessions;
use super::installed_routes::InstalledRoutes;
use super::messages::{Command, Event, Handle};
use super::observation::Observation;
use super::observer;
use super::unknown_vrids::UnknownVrids;
use crate::args::Args;
use crate::firewall;
use crate::supervisor::WorkerContext;

/// A port is identified by the device it receives on and its transport.
pub(super) type PortKey = (String, Transport);

/// The sockets of one device and transport.
pub(super) struct Port {
    pub ifindex: u32,
    /// Receives adverts of configured VRIDs; its filter drops others.
    pub socket: VrrpSocket,
    /// The instances of this port by VRID: indexes of [`RouterThread::entries`].
    pub routers: BTreeMap<Vrid, usize>,
    /// Receives adverts of all other VRIDs. They are counted at each snapshot, or logged as they arrive.
    pub unknown_socket: Option<VrrpSocket>,
}

/// A VRRP instance.
pub(super) struct RouterEntry {
    pub router: Router,
    /// Its addresses existed when it started, left by an earlier daemon, and no master has been seen since: they stay
    /// until one is.
    pub keeps_found_addresses: bool,
    /// It owns its addresses (priority 255) and they existed before it: they are the host's and are never removed.
    pub owns_addresses: bool,
    /// Its key in the mastership record.
    pub key: u64,
    /// Its deadline in [`RouterThread::deadlines`].
    pub queued_deadline: Option<Instant>,
    /// The slot of its last will while it is master.
    pub will_slot: Option<usize>,
}

/// Everything that the thread knows.
pub(super) struct RouterThread {
    pub inbox: Receiver<Command>,
    pub wake: Arc<EventFd>,
    pub events: UnboundedSender<Event>,
    pub netlink: Netlink,
    /// Devices and addresses, as last observed.
    pub observed: Observation,
    /// Sends adverts of virtual MAC addresses and announcements.
    pub frames: FrameSocket,
    pub ports: BTreeMap<PortKey, Port>,
    pub entries: Vec<RouterEntry>,
    /// The next deadline of each entry, with its index.
    pub deadlines: BTreeSet<(Instant, usize)>,
    /// Sync groups, each with the last state that was reported.
    pub groups: Vec<(SyncGroup, Option<State>)>,
    /// A member of a sync group may have changed its state since groups were synchronised.
    pub groups_dirty: bool,
    /// Announcements (gratuitous ARP, neighbour advertisements) that are due later.
    pub announcements: AnnounceQueue,
    /// Static addresses, routes and rules.
    pub statics: Statics,
    /// Some instance has routes or rules.
    pub has_routes: bool,
    pub installed: InstalledRoutes,
    /// Subscribes to deletions of routes and rules while there are any.
    pub route_watch: DeletionSubscription,
    pub mastership: MastershipRecord,
    /// `--release-vips`: addresses of an earlier daemon are removed, and none of its masterships is continued.
    pub ignores_previous_state: bool,
    /// Virtual routers that the supervisor resigned for the previous worker.
    pub resigned: Vec<(u64, Instant)>,
    pub will_store: Arc<WillStore>,
    pub free_will_slots: Vec<usize>,
    pub unknown_vrids: UnknownVrids,
    pub firewall: firewall::Handle,
    /// Has services served from the moment that their addresses are here.
    pub serve_all: Arc<ServeAll>,
    /// Addresses whose packets the firewall drops, each with its device.
    pub blocked_addresses: BTreeSet<(IpAddr, String)>,
    pub bfd: BfdSessions,
    pub link_debounce: LinkDebounce,
    /// Some instance waits for a frame (`vrrp_hold_until_frame`).
    pub frame_awaited: bool,
    /// Open while an instance waits for a frame.
    pub sniffer: Option<Sniffer>,
    /// Former values of `promote_secondaries`, by device.
    pub saved_promote_secondaries: BTreeMap<String, i32>,
}

/// What is ready after ppoll(2).
#[derive(Default)]
struct ReadyFds {
    commands: bool,
    ports: Vec<PortKey>,
}

/// The key of a virtual router in the mastership record: FNV-1a over its identity. It must be the same in every version
/// of this program.
pub(super) fn mastership_key(cfg: &VrrpInstance) -> u64 {
    let (interface, family, vrid) = cfg.identity();
    interface
        .bytes()
        .chain([0, vrid.get()])
        .chain((family == Family::V6).then_some(6))
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

impl RouterThread {
    /// A thread without instances. Starts the observer, which sends observations to `handle`.
    pub(super) fn new(
        args: &Args,
        context: WorkerContext,
        (inbox, wake): (Receiver<Command>, Arc<EventFd>),
        handle: &Handle,
        (firewall, serve_all): (firewall::Handle, Arc<ServeAll>),
        events: UnboundedSender<Event>,
    ) -> anyhow::Result<RouterThread> {
        let netlink = Netlink::new()?;
        let (observed, route_watch) = observer::start(handle.clone(), &netlink)?;
        Ok(RouterThread {
            inbox,
            wake,
            events,
            netlink,
            observed,
            frames: FrameSocket::new()?,
            ports: BTreeMap::new(),
            entries: Vec::new(),
            deadlines: BTreeSet::new(),
            groups: Vec::new(),
            groups_dirty: false,
            announcements: AnnounceQueue::default(),
            statics: Statics::default(),
            has_routes: false,
            installed: InstalledRoutes::default(),
            route_watch,
            mastership: MastershipRecord::open(&args.mastership_file())?,
            ignores_previous_state: args.release_vips,
            resigned: context.resigned,
            will_store: context.will_store,
            free_will_slots: (0..MAX_WILLS).rev().collect(),
            unknown_vrids: UnknownVrids::default(),
            firewall,
            serve_all,
            blocked_addresses: BTreeSet::new(),
            bfd: BfdSessions::default(),
            link_debounce: LinkDebounce::default(),
            frame_awaited: false,
            sniffer: None,
            saved_promote_secondaries: BTreeMap::new(),
        })
    }

    /// Runs until a command ends the thread.
    pub(super) fn run(mut self) {
        loop {
            let ready = self.wait();
            self.set_time_of_day();
            for key in ready.ports {
                self.receive_adverts(&key);
            }
            self.log_unknown_adverts();
            let is_last = ready.commands && self.handle_commands();
            self.run_bfd();
            self.listen_for_frames();
            self.handle_deadlines();
            if std::mem::take(&mut self.groups_dirty) {
                self.sync_groups();
            }
            self.send_announcements();
            if is_last {
                let _ = self.events.send(Event::Ended);
                return;
            }
        }
    }

    /// Sleeps until a packet, a command or a deadline. Also tells the supervisor until when the thread may sleep: only
    /// deadlines of engines count, for the others may be late.
    fn wait(&self) -> ReadyFds {
        let engines = self.deadlines.first().map(|(d, _)| *d).into_iter().chain(self.bfd.next_deadline()).min();
        self.will_store.set_wake_deadline(engines);
        let others = self.announcements.next_deadline().into_iter().chain(self.link_debounce.next_deadline());
        let deadline = engines.into_iter().chain(others).min();
        let timeout = deadline.map(|d| TimeSpec::from(d.duration_since(clock::now())));
        let mut fds = Vec::with_capacity(1 + self.ports.len());
        fds.push(PollFd::new(self.wake.as_fd(), PollFlags::POLLIN));
        fds.extend(self.ports.values().map(|p| PollFd::new(p.socket.as_fd(), PollFlags::POLLIN)));
        // The fds below only end the wait: they are read in every turn.
        let unknown = self.ports.values().filter_map(|p| p.unknown_socket.as_ref());
        let unknown = unknown.filter(|_| self.unknown_vrids.is_logging());
        fds.extend(unknown.map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.bfd.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        fds.extend(self.sniffer.iter().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
        // After EINTR a turn finds nothing to do, and waits again.
        if !ppoll(&mut fds, timeout, None).is_ok_and(|n| n > 0) {
            return ReadyFds::default();
        }
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let ports = fds[1..].iter().zip(self.ports.keys()).filter(|(fd, _)| is_ready(fd)).map(|(_, key)| key.clone());
        ReadyFds { commands: is_ready(&fds[0]), ports: ports.collect() }
    }

    /// Fires the deadlines that are due.
    fn handle_deadlines(&mut self) {
        let now = clock::now();
        if self.link_debounce.next_deadline().is_some_and(|d| d <= now) {
            self.apply_network_state();
        }
        let due: Vec<usize> = self.deadlines.range(..=(now, usize::MAX)).map(|(_, i)| *i).collect();
        for i in due {
            self.entries[i].router.handle_deadline(now);
            self.apply_outputs(i);
        }
    }

    /// Puts the next deadline of an entry into the queue.
    pub(super) fn queue_deadline(&mut self, i: usize) {
        let e = &mut self.entries[i];
        let next = e.router.next_deadline();
        if next != e.queued_deadline {
            if let Some(old) = std::mem::replace(&mut e.queued_deadline, next) {
                self.deadlines.remove(&(old, i));
            }
            self.deadlines.extend(next.map(|d| (d, i)));
        }
    }
}
