//! The connection table as user space sees it: its entries listed, and ended.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use evenkeel_core::ipvs;
use evenkeel_core::model::{Protocol, ServerKey};

use super::abi::*;
use super::address::from_wire_addr;
use super::maps::Maps;

/// A connection or a persistence template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnEntry {
    /// TCP, UDP or SCTP. TCP for the template of a firewall mark, which covers all protocols.
    pub protocol: Protocol,
    /// The firewall mark of the service; 0 for other services. A template of a mark also has it in `service`.
    pub mark: u32,
    /// The client's address and port. For a template: the client's network, and port 0.
    pub client: (IpAddr, u16),
    /// The service's address and port.
    pub service: (IpAddr, u16),
    /// The destination's index, and its address and port.
    pub dest: (u32, Option<ServerKey>),
    /// `enum tcp_state` or `enum sctp_state`; 0 for UDP and templates.
    pub state: u32,
    /// `enum conn_flags`.
    pub flags: u32,
    /// Seconds until the entry expires.
    pub expires_s: u32,
    /// For a template: the number of connections that it controls.
    pub control: u32,
}

impl ConnEntry {
    /// True for a persistence template.
    pub fn is_template(&self) -> bool {
        self.flags & CONN_TEMPLATE != 0
    }

    /// The name of the state as `ipvsadm -Lc` prints it (ip_vs_state_name()).
    pub fn state_name(&self) -> &'static str {
        match (self.is_template(), self.flags & CONN_ASSURED != 0) {
            (true, true) => "ASSURED",
            (true, false) => "NONE",
            (false, _) => ipvs::state_name(self.protocol, self.state),
        }
    }

    /// The entry as a connection of IPVS.
    pub fn to_ipvs(&self) -> ipvs::Connection {
        // A real server on port 0 gets packets on their original port.
        let dest = self.dest.1.map_or((IpAddr::from([0; 4]), 0), |d| {
            (d.addr, if self.is_template() || d.port != 0 { d.port } else { self.service.1 })
        });
        ipvs::Connection {
            protocol: if self.mark != 0 && self.is_template() { "IP".into() } else { self.protocol.to_string() },
            client: self.client,
            service: self.service,
            dest,
            state: self.state_name().to_owned(),
            expires_s: self.expires_s.into(),
            persistence_engine: None,
            controls: self.is_template().then_some(self.control),
            fwmark: self.mark,
        }
    }
}

/// True for the key of an entry; false for KEY_FREE, KEY_BUSY and KEY_TAIL of bpf/abi.h.
pub(super) fn is_whole_key(key1: u64) -> bool {
    key1 != 0 && key1 < u64::MAX - 1
}

/// True for the key of an IPv6 entry (KEY_V6).
fn is_ipv6_key(key1: u64) -> bool {
    key1 & (1 << 47) != 0
}

/// The addresses of client and service of an entry in a line.
fn entry_addresses(c: &conn, line: &conn_line) -> (IpAddr, IpAddr) {
    if !is_ipv6_key(c.key1) {
        return (from_wire_addr(4, [c.key0 as u32, 0, 0, 0]), from_wire_addr(4, [(c.key0 >> 32) as u32, 0, 0, 0]));
    }
    // An IPv6 entry takes the whole line: struct conn_tail overlays the second entry.
    let t = &line.entry[1];
    let six = |a: u64, b: u64| {
        let mut o = [0; 16];
        o[..8].copy_from_slice(&a.to_ne_bytes());
        o[8..].copy_from_slice(&b.to_ne_bytes());
        IpAddr::V6(Ipv6Addr::from(o))
    };
    let pair = |a: u32, b: u32| u64::from(a) | u64::from(b) << 32;
    (six(c.key0, t.key0), six(pair(t.dest, t.expires), pair(t.status, t.control)))
}

/// The context for parsing entries. It caches the key and the firewall mark of each destination, because many entries
/// have the same destination.
struct ParseContext<'m> {
    maps: &'m Maps,
    cached: Vec<Option<(Option<ServerKey>, u32)>>,
    now: u32,
    settings: settings,
}

impl ParseContext<'_> {
    fn new(maps: &Maps) -> ParseContext<'_> {
        ParseContext {
            maps,
            cached: vec![None; maps.dests.len()],
            now: maps.jiffies(),
            settings: maps.settings.read(0),
        }
    }

    fn lookup_dest(&mut self, id: u32) -> (Option<ServerKey>, u32) {
        let maps = self.maps;
        match self.cached.get_mut(id as usize) {
            Some(cached) => *cached.get_or_insert_with(|| (maps.dest_key(id), maps.mark_of_dest(id))),
            None => (None, 0),
        }
    }
}

/// The limit for the remaining time of an entry in jiffies: its timeout. For flows in the flow cache the program counts
/// the timeout from the end of the epoch (bpf/conn/flow_cache.h), which is not shown.
fn max_remaining(s: &settings, protocol: Protocol, c: &conn) -> u32 {
    match (protocol, c.status & 0xff) {
        _ if (c.status >> 8) & CONN_TEMPLATE != 0 => u32::MAX,
        (Protocol::Tcp, TCP_ESTABLISHED) => s.timeout_tcp[TCP_ESTABLISHED as usize],
        (Protocol::Udp, _) => s.timeout_udp,
        _ => u32::MAX,
    }
}

/// Parses an entry of a line. Returns `None` for free, expired and auxiliary entries.
fn parse_entry(context: &mut ParseContext<'_>, c: &conn, line: &conn_line) -> Option<ConnEntry> {
    let (now, hz) = (context.now, context.settings.hz.max(1));
    let kind = (c.key1 >> 40) as u32 & 0x7f;
    if !is_whole_key(c.key1) || !matches!(kind, KIND_CONN | KIND_TEMPLATE | KIND_DEAD_TEMPLATE) {
        return None;
    }
    let left = c.expires.wrapping_sub(now) as i32;
    let flags = (c.status >> 8) & 0xff;
    let controls = flags & CONN_TEMPLATE != 0 && c.control > 0;
    if left <= 0 && !controls {
        return None; // expired, even if the expiry timer has not freed it yet
    }
    let port = |shift: u32| u16::from_be((c.key1 >> shift) as u16);
    let (client, service) = entry_addresses(c, line);
    let protocol = (c.key1 >> 32) as u8;
    let (server, mark) = context.lookup_dest(c.dest);
    let mark_template = protocol == 0 && flags & CONN_TEMPLATE != 0;
    let protocol = if mark_template { Protocol::Tcp } else { Protocol::from_number(protocol)? };
    let limit = max_remaining(&context.settings, protocol, c);
    Some(ConnEntry {
        protocol,
        mark,
        client: (client, port(0)),
        service: (service, port(16)),
        dest: (c.dest, server),
        state: c.status & 0xff,
        flags,
        expires_s: (left.max(0) as u32).min(limit) / hz,
        control: if flags & CONN_TEMPLATE != 0 { c.control } else { 0 },
    })
}

impl Maps {
    /// All connections and persistence templates.
    pub fn connections(&self) -> Vec<ConnEntry> {
        let mut context = ParseContext::new(self);
        let mut all = Vec::with_capacity(self.estimated_count());
        self.for_each_line(|line| all.extend(line.entry.iter().filter_map(|c| parse_entry(&mut context, c, line))));
        all
    }

    /// The number of connections and templates by the counters of the destinations, with some reserve.
    fn estimated_count(&self) -> usize {
        let count = |i: usize, at: usize| self.dests.atomic_u32(i, at).load(Ordering::Relaxed) as usize;
        let live = (0..self.dests.len()).filter(|i| count(*i, offset_of!(dest, flags)) != 0);
        let counts = live.map(|i| {
            count(i, offset_of!(dest, active))
                + count(i, offset_of!(dest, inactive))
                + count(i, offset_of!(dest, persistent))
        });
        // The counters are no upper limit that can be trusted; the table's size is.
        counts.sum::<usize>().saturating_add(64).min(self.conns.len() * 2)
    }

    /// Calls `f` with each line that has an entry.
    fn for_each_line(&self, mut f: impl FnMut(&conn_line)) {
        for i in 0..self.conns.len() {
            // Most lines are empty, which two words show.
            let key = |entry: usize| self.conns.atomic_u64(i, entry + offset_of!(conn, key1)).load(Ordering::Relaxed);
            if key(0) != 0 || key(size_of::<conn>()) != 0 {
                f(&self.conns.read(i));
            }
        }
    }

    /// The memory of the entries in bytes, without the overflow bits.
    pub fn conn_table_bytes(&self) -> usize {
        self.conns.len() * size_of::<conn_line>()
    }

    /// Ends the wanted connections, but no templates: each entry expires now. Packets treat it as absent, and the
    /// expiry timer updates the counters and frees it. Returns the number of ended connections.
    pub fn end_connections(&self, wanted: impl Fn(&ConnEntry) -> bool) -> usize {
        let mut context = ParseContext::new(self);
        let now = context.now;
        let mut ended = 0;
        for i in 0..self.conns.len() {
            let line = self.conns.read(i);
            for (e, c) in line.entry.iter().enumerate() {
                let entry = parse_entry(&mut context, c, &line).filter(|v| !v.is_template());
                if entry.is_some_and(|v| wanted(&v)) {
                    let word = offset_of!(conn_line, entry) + e * size_of::<conn>() + offset_of!(conn, expires);
                    // If a packet has changed the time meanwhile, the entry may belong to another connection.
                    let done = self.conns.atomic_u32(i, word).compare_exchange(
                        c.expires,
                        now.wrapping_sub(1),
                        Ordering::AcqRel,
                        Ordering::Relaxed,
                    );
                    ended += usize::from(done.is_ok());
                }
            }
        }
        if ended > 0 {
            // Packets that found their entry before the change are processed by then.
            std::thread::sleep(Duration::from_millis(1));
            self.invalidate_flow_cache();
        }
        ended
    }

    /// All entries as they are in the table, expired ones included. This is faster than [`Maps::connections`].
    pub fn raw_entries(&self) -> Vec<conn> {
        let mut all = Vec::with_capacity(self.estimated_count());
        self.for_each_line(|line| all.extend(line.entry.iter().filter(|c| is_whole_key(c.key1))));
        all
    }
}
