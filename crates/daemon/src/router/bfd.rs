//! BFD sessions: their sockets and their events. They run in the router thread because virtual routers act on a lost neighbour at
//! once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use evenkeel_core::bfd::{
    Diagnostic, Input as BfdInput, MULTIHOP_PORT, Output, Packet, RejectReason, SINGLE_HOP_PORT, Session, State,
};
use evenkeel_core::ipc::BfdStatus;
use evenkeel_core::model::{BfdInstance, TrackResult, TrackedObject};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::Input;
use evenkeel_sys::clock;
use evenkeel_sys::wire::{BfdListener, BfdSender};

use super::messages::Event;
use super::thread::RouterThread;

/// Maximum number of packets that are read from one socket in a turn.
const PACKETS_PER_TURN: usize = 64;

/// A session with its socket.
struct SessionEntry {
    session: Session,
    /// Opened again when it is needed, if it could not be opened.
    sender: Option<BfdSender>,
    /// Rejected packets by reason.
    rejected: BTreeMap<RejectReason, u64>,
}

/// All sessions, and the sockets that receive for them.
#[derive(Default)]
pub struct BfdSessions {
    entries: Vec<SessionEntry>,
    /// By family (true: IPv6) and port.
    listeners: BTreeMap<(bool, u16), BfdListener>,
    /// Number of packets from addresses without a session.
    unknown_peer_packets: u64,
    /// Low byte of the last local discriminator.
    next_discriminator: u32,
}

/// A session came up or went down.
struct SessionChange {
    index: usize,
    up: bool,
    /// The neighbour's operator took it down: it does not count as lost.
    admin_down: bool,
    detail: String,
}

const fn bfd_port(cfg: &BfdInstance) -> u16 {
    if cfg.multihop { MULTIHOP_PORT } else { SINGLE_HOP_PORT }
}

fn open_sender(cfg: &BfdInstance) -> Option<BfdSender> {
    BfdSender::new(cfg.neighbour, bfd_port(cfg), cfg.source, cfg.ttl)
        .map_err(|e| tracing::error!(session = %cfg.name, "{e}"))
        .ok()
}

impl BfdSessions {
    /// The sockets to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.values().map(BfdListener::as_fd)
    }

    /// The next deadline of a session.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|e| e.session.next_deadline()).min()
    }

    /// Applies a configuration: sessions with the same name and neighbour continue, others are stopped and started.
    fn configure(&mut self, now: Instant, wanted: &[BfdInstance]) {
        let is_same =
            |a: &BfdInstance, b: &BfdInstance| (&a.name, a.neighbour, a.multihop) == (&b.name, b.neighbour, b.multihop);
        self.entries.retain_mut(|e| {
            let stays = wanted.iter().any(|w| is_same(w, e.session.config()));
            if !stays {
                e.session.handle(now, BfdInput::Stop);
                e.send_outputs();
            }
            stays
        });
        for w in wanted {
            match self.entries.iter_mut().find(|e| is_same(w, e.session.config())) {
                Some(e) => {
                    let was = e.session.config();
                    if (was.source, was.ttl) != (w.source, w.ttl) {
                        e.sender = open_sender(w);
                    }
                    e.session.reconfigure(now, w.clone());
                }
                None => {
                    // RFC 5880, 6.8.1: unique on this system, and hard to guess.
                    let mix = now.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
                    self.next_discriminator = (self.next_discriminator + 1) & 0xff;
                    let session = Session::new(w.clone(), (mix as u32) << 8 | self.next_discriminator, now);
                    self.entries.push(SessionEntry { session, sender: open_sender(w), rejected: BTreeMap::new() });
                }
            }
        }
        let ports: Vec<(bool, u16)> = wanted.iter().map(|w| (w.neighbour.is_ipv6(), bfd_port(w))).collect();
        self.listeners.retain(|key, _| ports.contains(key));
        for (ipv6, port) in ports {
            let Entry::Vacant(vacant) = self.listeners.entry((ipv6, port)) else { continue };
            match BfdListener::new(ipv6, port) {
                Ok(l) => {
                    vacant.insert(l);
                }
                Err(e) => tracing::error!("{e}"),
            }
        }
    }

    /// Reads packets that have arrived, a limited number.
    fn receive_packets(&mut self, now: Instant) {
        let mut buf = [0; 256];
        for (key, listener) in &self.listeners {
            for _ in 0..PACKETS_PER_TURN {
                let Ok(got) = listener.recv(&mut buf) else { break };
                let Some((from, ttl, n)) = got else { continue };
                let Some(e) = find_session(&mut self.entries, from, key.1) else {
                    self.unknown_peer_packets += 1;
                    continue;
                };
                if let Err(why) = e.handle_packet(now, ttl, &buf[..n]) {
                    if !e.rejected.contains_key(&why) {
                        let name = &e.session.config().name;
                        tracing::warn!(session = %name, peer = %from, "BFD session {name}: rejected a packet of {from}: {why:?}");
                    }
                    *e.rejected.entry(why).or_default() += 1;
                }
            }
        }
    }

    fn handle_deadlines(&mut self, now: Instant) {
        for e in &mut self.entries {
            if e.session.next_deadline().is_some_and(|d| d <= now) {
                e.session.handle_deadline(now);
            }
        }
    }

    /// Sends the packets that are due; returns the sessions that came up or went down.
    fn take_changes(&mut self) -> Vec<SessionChange> {
        let mut out = Vec::new();
        for (of, e) in self.entries.iter_mut().enumerate() {
            for (from, to, why, meant) in e.send_outputs() {
                if (from == State::Up) == (to == State::Up) {
                    continue; // between Down, AdminDown and Init
                }
                let detail = match (to, meant) {
                    (State::Up, _) => "up".to_owned(),
                    (_, true) => {
                        "down: the neighbour's operator took it down (AdminDown), which does not count as a loss"
                            .to_owned()
                    }
                    _ => format!("down: {why}"),
                };
                out.push(SessionChange { index: of, up: to == State::Up, admin_down: meant, detail });
            }
        }
        out
    }

    /// Stops all sessions: sends AdminDown to the neighbours.
    pub fn stop(&mut self, now: Instant) {
        for e in &mut self.entries {
            e.session.handle(now, BfdInput::Stop);
            e.send_outputs();
        }
    }

    /// The status of all sessions.
    pub fn status(&self, now: Instant) -> Vec<BfdStatus> {
        let one = |e: &SessionEntry| {
            let (since, why) = e.session.last_transition();
            let counters = e.session.counters();
            BfdStatus {
                name: e.session.config().name.clone(),
                neighbour: e.session.config().neighbour,
                state: e.session.state(),
                since_ms: now.duration_since(since).as_millis() as u64,
                last_down_reason: (why.0 != 0).then(|| why.to_string()),
                interval_us: e.session.transmit_interval().as_micros() as u64,
                detection_time_us: e.session.detection_time().as_micros() as u64,
                sent: counters.sent,
                received: counters.received,
                rejected: e.rejected.iter().map(|(why, n)| (format!("{why:?}"), *n)).collect(),
            }
        };
        self.entries.iter().map(one).collect()
    }
}

/// The session that a packet belongs to: a neighbour has one session on a port.
fn find_session(entries: &mut [SessionEntry], from: IpAddr, port: u16) -> Option<&mut SessionEntry> {
    entries.iter_mut().find(|e| e.session.config().neighbour == from && bfd_port(e.session.config()) == port)
}

impl SessionEntry {
    /// Handles a packet by RFC 5880, 6.8.6. The TTL shows how many hops it took (RFC 5881, 5).
    fn handle_packet(&mut self, now: Instant, ttl: u8, bytes: &[u8]) -> Result<(), RejectReason> {
        let cfg = self.session.config();
        if cfg.max_hops.is_some_and(|most| cfg.ttl.saturating_sub(ttl) > most) {
            return Err(RejectReason::Hops);
        }
        let packet = Packet::parse(bytes)?;
        if packet.your_discr != 0 && packet.your_discr != self.session.local_discr() {
            return Err(RejectReason::Discriminator);
        }
        self.session.handle(now, BfdInput::Packet(&packet));
        Ok(())
    }

    /// Sends the packets that are due; returns the changes of state.
    fn send_outputs(&mut self) -> Vec<(State, State, Diagnostic, bool)> {
        let mut changes = Vec::new();
        while let Some(o) = self.session.poll_output() {
            match o {
                Output::Transition { from, to, diagnostic: why, admin_down: meant } => {
                    changes.push((from, to, why, meant))
                }
                Output::Send(packet) => {
                    if self.sender.is_none() {
                        self.sender = open_sender(self.session.config());
                    }
                    // An unreachable neighbour is what the session detects: no warning.
                    if let Some(Err(e)) = self.sender.as_ref().map(|s| s.send(&packet)) {
                        let cfg = self.session.config();
                        tracing::debug!(session = %cfg.name, "BFD session {}: cannot send to {}: {e}", cfg.name, cfg.neighbour);
                    }
                }
            }
        }
        changes
    }
}

impl RouterThread {
    /// One turn of BFD: reads packets, fires deadlines, and reports changes.
    pub(super) fn run_bfd(&mut self) {
        let now = clock::now();
        self.bfd.receive_packets(now);
        self.bfd.handle_deadlines(now);
        for c in self.bfd.take_changes() {
            let cfg = self.bfd.entries[c.index].session.config().clone();
            tracing::info!(session = %cfg.name, peer = %cfg.neighbour, "BFD session {} with {}: {}", cfg.name, cfg.neighbour, c.detail);
            if c.admin_down {
                continue;
            }
            if cfg.notifies_vrrp {
                self.report_bfd_change(&cfg, c.up);
            }
            let SessionChange { up, detail, .. } = c;
            let _ = self.events.send(Event::Bfd { name: cfg.name, up, detail, checks: cfg.notifies_checks });
        }
    }

    /// Applies the configuration of BFD sessions.
    pub(super) fn configure_bfd(&mut self, wanted: &[BfdInstance]) {
        self.bfd.configure(clock::now(), wanted);
    }

    /// Tells the virtual routers that track a session that it came up or went down.
    fn report_bfd_change(&mut self, cfg: &BfdInstance, up: bool) {
        let object = TrackedObject::Bfd(cfg.name.clone());
        let now = clock::now();
        for i in 0..self.entries.len() {
            let router = &mut self.entries[i].router;
            router.handle(now, Input::TrackResult { object: &object, result: TrackResult::Good(up) });
            if !up && router.config().bfd_takeover_session.as_ref() == Some(&cfg.name) {
                router.handle(now, Input::BfdNeighbourLost(cfg.neighbour));
            }
            self.apply_outputs(i);
        }
    }

    /// Gives an engine the states of the sessions that it tracks.
    pub(super) fn apply_bfd_states(&mut self, i: usize) {
        let now = clock::now();
        let tracked: Vec<TrackedObject> =
            self.entries[i].router.config().tracks.iter().map(|t| t.object.clone()).collect();
        for object in tracked {
            let TrackedObject::Bfd(name) = &object else { continue };
            let session = self.bfd.entries.iter().find(|e| e.session.config().name == *name);
            let up = session.is_some_and(|e| e.session.state() == State::Up);
            self.entries[i].router.handle(now, Input::TrackResult { object: &object, result: TrackResult::Good(up) });
        }
    }
}
