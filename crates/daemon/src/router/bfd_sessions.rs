//! BFD sessions with their sockets.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use evenkeel_core::bfd::{
    Diagnostic, Input, MULTIHOP_PORT, Output, Packet, RejectReason, SINGLE_HOP_PORT, Session, State,
};
use evenkeel_core::ipc::BfdStatus;
use evenkeel_core::model::BfdInstance;
use evenkeel_core::time::Instant;
use evenkeel_sys::wire::{BfdListener, BfdSender};

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

/// A session that came up or went down.
pub struct SessionChange {
    /// The session.
    pub config: BfdInstance,
    /// Up or down.
    pub up: bool,
    /// The neighbour's operator took it down: it does not count as lost.
    pub admin_down: bool,
    /// A description.
    pub detail: String,
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
    pub fn configure(&mut self, now: Instant, wanted: &[BfdInstance]) {
        let is_same =
            |a: &BfdInstance, b: &BfdInstance| (&a.name, a.neighbour, a.multihop) == (&b.name, b.neighbour, b.multihop);
        self.entries.retain_mut(|e| {
            let stays = wanted.iter().any(|w| is_same(w, e.session.config()));
            if !stays {
                e.session.handle(now, Input::Stop);
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
    pub fn receive_packets(&mut self, now: Instant) {
        let mut buf = [0; 256];
        for (key, listener) in &self.listeners {
            for _ in 0..PACKETS_PER_TURN {
                let Ok(got) = listener.recv(&mut buf) else { break };
                let Some((from, ttl, n)) = got else { continue };
                let Some(e) = find_session(&mut self.entries, from, key.1) else {
                    self.unknown_peer_packets += 1;
                    continue;
                };
                if let Err(reason) = e.handle_packet(now, ttl, &buf[..n]) {
                    if !e.rejected.contains_key(&reason) {
                        let name = &e.session.config().name;
                        tracing::warn!(
                            session = %name, peer = %from,
                            "BFD session {name}: rejected a packet of {from}: {reason:?}"
                        );
                    }
                    *e.rejected.entry(reason).or_default() += 1;
                }
            }
        }
    }

    /// Fires the deadlines that are due.
    pub fn handle_deadlines(&mut self, now: Instant) {
        for e in &mut self.entries {
            if e.session.next_deadline().is_some_and(|d| d <= now) {
                e.session.handle_deadline(now);
            }
        }
    }

    /// Sends the packets that are due; returns the sessions that came up or went down.
    pub fn take_changes(&mut self) -> Vec<SessionChange> {
        let mut out = Vec::new();
        for e in &mut self.entries {
            for (from, to, diagnostic, admin_down) in e.send_outputs() {
                if (from == State::Up) == (to == State::Up) {
                    continue; // between Down, AdminDown and Init
                }
                let detail = match (to, admin_down) {
                    (State::Up, _) => "up".to_owned(),
                    (_, true) => {
                        "down: the neighbour's operator took it down (AdminDown), which does not count as a loss"
                            .to_owned()
                    }
                    _ => format!("down: {diagnostic}"),
                };
                let config = e.session.config().clone();
                out.push(SessionChange { config, up: to == State::Up, admin_down, detail });
            }
        }
        out
    }

    /// Stops all sessions: sends AdminDown to the neighbours.
    pub fn stop(&mut self, now: Instant) {
        for e in &mut self.entries {
            e.session.handle(now, Input::Stop);
            e.send_outputs();
        }
    }

    /// Whether the session of this name is up.
    pub fn is_up(&self, name: &str) -> bool {
        self.entries.iter().any(|e| e.session.config().name == name && e.session.state() == State::Up)
    }

    /// The status of all sessions.
    pub fn status(&self, now: Instant) -> Vec<BfdStatus> {
        let status = |e: &SessionEntry| {
            let (since, diagnostic) = e.session.last_transition();
            let counters = e.session.counters();
            BfdStatus {
                name: e.session.config().name.clone(),
                neighbour: e.session.config().neighbour,
                state: e.session.state(),
                since_ms: now.duration_since(since).as_millis() as u64,
                last_down_reason: (diagnostic.0 != 0).then(|| diagnostic.to_string()),
                interval_us: e.session.transmit_interval().as_micros() as u64,
                detection_time_us: e.session.detection_time().as_micros() as u64,
                sent: counters.sent,
                received: counters.received,
                rejected: e.rejected.iter().map(|(reason, n)| (format!("{reason:?}"), *n)).collect(),
            }
        };
        self.entries.iter().map(status).collect()
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
        if cfg.max_hops.is_some_and(|max| cfg.ttl.saturating_sub(ttl) > max) {
            return Err(RejectReason::Hops);
        }
        let packet = Packet::parse(bytes)?;
        if packet.your_discr != 0 && packet.your_discr != self.session.local_discr() {
            return Err(RejectReason::Discriminator);
        }
        self.session.handle(now, Input::Packet(&packet));
        Ok(())
    }

    /// Sends the packets that are due; returns the changes of state.
    fn send_outputs(&mut self) -> Vec<(State, State, Diagnostic, bool)> {
        let mut changes = Vec::new();
        while let Some(o) = self.session.poll_output() {
            match o {
                Output::Transition { from, to, diagnostic, admin_down } => {
                    changes.push((from, to, diagnostic, admin_down))
                }
                Output::Send(packet) => {
                    if self.sender.is_none() {
                        self.sender = open_sender(self.session.config());
                    }
                    // An unreachable neighbour is what the session detects: no warning.
                    if let Some(Err(e)) = self.sender.as_ref().map(|s| s.send(&packet)) {
                        let (name, peer) = (&self.session.config().name, self.session.config().neighbour);
                        tracing::debug!(session = %name, %peer, "BFD session {name}: cannot send to {peer}: {e}");
                    }
                }
            }
        }
        changes
    }
}
