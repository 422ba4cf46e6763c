//! BFD sessions, on the router thread: a neighbour that is lost concerns virtual routers at once.

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

use super::{Event, RouterThread};

struct SessionEntry {
    session: Session,
    sender: Option<BfdSender>,
    rejected: BTreeMap<RejectReason, u64>,
}

/// All sessions, and where they are heard.
#[derive(Default)]
pub struct BfdSessions {
    entries: Vec<SessionEntry>,
    /// By family (IPv6?) and port.
    listeners: BTreeMap<(bool, u16), BfdListener>,
    /// Packets from nobody that a session is with.
    unknown_peer_packets: u64,
    /// The next discriminator.
    next_discriminator: u32,
}

/// A session came up or went down.
struct SessionChange {
    index: usize,
    up: bool,
    /// The neighbour's operator took it down: nobody takes it for lost.
    admin_down: bool,
    detail: String,
}

const fn bfd_port(cfg: &BfdInstance) -> u16 {
    if cfg.multihop { MULTIHOP_PORT } else { SINGLE_HOP_PORT }
}

fn open_sender(cfg: &BfdInstance) -> Option<BfdSender> {
    BfdSender::new(cfg.neighbour, bfd_port(cfg), cfg.source, cfg.ttl).map_err(|e| tracing::error!("{e}")).ok()
}

impl BfdSessions {
    /// Sockets to be waited for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.values().map(BfdListener::as_fd)
    }

    /// When a session wants to be woken.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|e| e.session.next_deadline()).min()
    }

    /// Keeps sessions with the same neighbour, ends and begins others.
    fn configure(&mut self, now: Instant, wanted: &[BfdInstance]) {
        let same =
            |a: &BfdInstance, b: &BfdInstance| (&a.name, a.neighbour, a.multihop) == (&b.name, b.neighbour, b.multihop);
        self.entries.retain_mut(|e| {
            let stays = wanted.iter().any(|w| same(w, e.session.config()));
            if !stays {
                e.session.handle(now, BfdInput::Stop);
                e.send_outputs();
            }
            stays
        });
        for w in wanted {
            match self.entries.iter_mut().find(|e| same(w, e.session.config())) {
                Some(e) => {
                    let was = e.session.config();
                    if (was.source, was.ttl) != (w.source, w.ttl) {
                        e.sender = open_sender(w);
                    }
                    e.session.reconfigure(now, w.clone());
                }
                None => {
                    // RFC 5880, 6.8.1: not to be guessed, and no other session's.
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
            let Entry::Vacant(place) = self.listeners.entry((ipv6, port)) else { continue };
            match BfdListener::new(ipv6, port) {
                Ok(l) => {
                    place.insert(l);
                }
                Err(e) => tracing::error!("{e}"),
            }
        }
    }

    /// Reads what has come, but not so much that anything else is late.
    fn receive_packets(&mut self, now: Instant) {
        let mut buf = [0; 256];
        for (key, listener) in &self.listeners {
            for _ in 0..64 {
                let Ok(got) = listener.recv(&mut buf) else { break };
                let Some((from, ttl, n)) = got else { continue };
                let Some(e) = find_session(&mut self.entries, from, key.1) else {
                    self.unknown_peer_packets += 1;
                    continue;
                };
                if let Err(why) = e.handle_packet(now, ttl, &buf[..n]) {
                    if !e.rejected.contains_key(&why) {
                        let name = &e.session.config().name;
                        tracing::warn!(session = %name, peer = %from, "BFD session {name}: a packet of {from} was refused: {why:?}");
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

    /// Sends what is to be sent, and says what has changed.
    fn take_changes(&mut self) -> Vec<SessionChange> {
        let mut out = Vec::new();
        for (of, e) in self.entries.iter_mut().enumerate() {
            for (from, to, why, meant) in e.send_outputs() {
                if (from == State::Up) == (to == State::Up) {
                    continue; // between Down and Init
                }
                let detail = match (to, meant) {
                    (State::Up, _) => "up".to_owned(),
                    (_, true) => "down: the neighbour's operator took it down, so nothing counts as lost".to_owned(),
                    _ => format!("down: {why}"),
                };
                out.push(SessionChange { index: of, up: to == State::Up, admin_down: meant, detail });
            }
        }
        out
    }

    /// Ends all of them, and says so.
    pub fn stop(&mut self, now: Instant) {
        for e in &mut self.entries {
            e.session.handle(now, BfdInput::Stop);
            e.send_outputs();
        }
    }

    /// What `status` shows.
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

/// Whose packet this is: a neighbour has one session on a port.
fn find_session(entries: &mut [SessionEntry], from: IpAddr, at: u16) -> Option<&mut SessionEntry> {
    entries.iter_mut().find(|e| e.session.config().neighbour == from && bfd_port(e.session.config()) == at)
}

impl SessionEntry {
    /// RFC 5880, 6.8.6; RFC 5881, 5 for its TTL, which a packet from the link has kept.
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

    /// Sends, and returns its changes of state.
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
                    // A neighbour that is not there yet is no news.
                    if let Some(Err(e)) = self.sender.as_ref().map(|s| s.send(&packet)) {
                        tracing::debug!("BFD to {}: {e}", self.session.config().neighbour);
                    }
                }
            }
        }
        changes
    }
}

impl RouterThread {
    /// Reads what has come, fires what is due, and tells of what has changed.
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

    pub(super) fn configure_bfd(&mut self, wanted: &[BfdInstance]) {
        self.bfd.configure(clock::now(), wanted);
    }

    /// Tells virtual routers of it.
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

    /// The sessions that a virtual router tracks, as they stand.
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
