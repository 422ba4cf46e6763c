//! The connection table, listed and audited.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use evenkeel_core::ipvs;
use evenkeel_core::model::{Protocol, ServerKey};

use super::abi::*;
use super::packet_path::Maps;
use super::service_table::from_wire_addr;

/// A connection or a persistence template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnEntry {
    /// TCP, UDP or SCTP; of the template of a firewall mark TCP, which stands for all.
    pub protocol: Protocol,
    /// 0; or the firewall mark of its service. A template has it as its service's address too.
    pub mark: u32,
    /// The client; a template's is its network, port 0.
    pub client: (IpAddr, u16),
    /// The service's address and port.
    pub service: (IpAddr, u16),
    /// The destination's index and name.
    pub dest: (u32, Option<ServerKey>),
    /// enum tcp_state or sctp_state; 0 for UDP and templates.
    pub state: u32,
    /// enum conn_flags.
    pub flags: u32,
    /// How long it still lives, seconds.
    pub expires_s: u32,
    /// A template: how many connections it controls.
    pub control: u32,
}

impl ConnEntry {
    /// Is it a persistence template?
    pub fn is_template(&self) -> bool {
        self.flags & CONN_TEMPLATE != 0
    }

    /// ip_vs_state_name(): what `ipvsadm -Lc` prints.
    pub fn state_name(&self) -> &'static str {
        match (self.is_template(), self.flags & CONN_ASSURED != 0) {
            (true, true) => "ASSURED",
            (true, false) => "NONE",
            (false, _) => ipvs::state_name(self.protocol, self.state),
        }
    }

    /// In IPVS's terms.
    pub fn to_ipvs(&self) -> ipvs::Connection {
        // A server without a port of its own keeps the packet's.
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

/// Is it a whole key, and not one of KEY_FREE, KEY_BUSY and KEY_TAIL of abi.h?
fn is_whole_key(key1: u64) -> bool {
    key1 != 0 && key1 < u64::MAX - 1
}

/// KEY_V6
fn is_ipv6_key(key1: u64) -> bool {
    key1 & (1 << 47) != 0
}

/// The client's and the service's address of the entry whose line this is.
fn entry_addresses(c: &conn, line: &conn_line) -> (IpAddr, IpAddr) {
    if !is_ipv6_key(c.key1) {
        return (from_wire_addr(4, [c.key0 as u32, 0, 0, 0]), from_wire_addr(4, [(c.key0 >> 32) as u32, 0, 0, 0]));
    }
    // struct conn_tail lies over the second entry
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

/// What of destinations each of their connections repeats: names and marks, looked up once.
struct DestCache<'m> {
    maps: &'m Maps,
    cached: Vec<Option<(Option<ServerKey>, u32)>>,
    now: u32,
    settings: settings,
}

impl DestCache<'_> {
    fn new(maps: &Maps) -> DestCache<'_> {
        DestCache { maps, cached: vec![None; maps.dests.len()], now: maps.jiffies(), settings: maps.settings.read(0) }
    }

    fn lookup(&mut self, id: u32) -> (Option<ServerKey>, u32) {
        let maps = self.maps;
        match self.cached.get_mut(id as usize) {
            Some(known) => *known.get_or_insert_with(|| (maps.dest_key(id), maps.mark_of_dest(id))),
            None => (None, 0),
        }
    }
}

/// No connection lives longer than its timeout, as far as anybody sees: some have it from the end of a spell, see bpf/conn/flow_cache.h.
fn max_remaining(s: &settings, protocol: Protocol, c: &conn) -> u32 {
    match (protocol, c.status & 0xff) {
        _ if (c.status >> 8) & CONN_TEMPLATE != 0 => u32::MAX,
        (Protocol::Tcp, TCP_ESTABLISHED) => s.timeout_tcp[TCP_ESTABLISHED as usize],
        (Protocol::Udp, _) => s.timeout_udp,
        _ => u32::MAX,
    }
}

fn parse_entry(named: &mut DestCache<'_>, c: &conn, line: &conn_line) -> Option<ConnEntry> {
    let (now, hz) = (named.now, named.settings.hz.max(1));
    let kind = (c.key1 >> 40) as u32 & 0x7f;
    if !is_whole_key(c.key1) || !matches!(kind, KIND_CONN | KIND_TEMPLATE | KIND_DEAD_TEMPLATE) {
        return None;
    }
    let left = c.expires.wrapping_sub(now) as i32;
    let flags = (c.status >> 8) & 0xff;
    let controls = flags & CONN_TEMPLATE != 0 && c.control > 0;
    if left <= 0 && !controls {
        return None; // past its time: absent, whether the sweep has come by or not
    }
    let port = |shift: u32| u16::from_be((c.key1 >> shift) as u16);
    let (client, service) = entry_addresses(c, line);
    let protocol = (c.key1 >> 32) as u8;
    let (server, mark) = named.lookup(c.dest);
    let mark_template = protocol == 0 && flags & CONN_TEMPLATE != 0;
    let protocol = if mark_template { Protocol::Tcp } else { Protocol::from_number(protocol)? };
    let most = max_remaining(&named.settings, protocol, c);
    Some(ConnEntry {
        protocol,
        mark,
        client: (client, port(0)),
        service: (service, port(16)),
        dest: (c.dest, server),
        state: c.status & 0xff,
        flags,
        expires_s: (left.max(0) as u32).min(most) / hz,
        control: if flags & CONN_TEMPLATE != 0 { c.control } else { 0 },
    })
}

impl Maps {
    /// Everything in the connection table.
    pub fn connections(&self) -> Vec<ConnEntry> {
        let mut named = DestCache::new(self);
        let mut all = Vec::with_capacity(self.estimated_count());
        self.for_each_line(|line| all.extend(line.entry.iter().filter_map(|c| parse_entry(&mut named, c, line))));
        all
    }

    /// How many connections and templates there are, by the counts of their servers; a few more by now.
    fn estimated_count(&self) -> usize {
        let count = |i: usize, at: usize| self.dests.atomic_u32(i, at).load(Ordering::Relaxed) as usize;
        let live = (0..self.dests.len()).filter(|i| count(*i, offset_of!(dest, flags)) != 0);
        let known = live.map(|i| {
            count(i, offset_of!(dest, active))
                + count(i, offset_of!(dest, inactive))
                + count(i, offset_of!(dest, persistent))
        });
        // No more than there are places, whatever the counts say.
        known.sum::<usize>().saturating_add(64).min(self.conns.len() * 2)
    }

    /// Every line in which there is something.
    fn for_each_line(&self, mut see: impl FnMut(&conn_line)) {
        for i in 0..self.conns.len() {
            // Most lines are empty, and seen to be by two words.
            let key = |at: usize| self.conns.atomic_u64(i, at + offset_of!(conn, key1)).load(Ordering::Relaxed);
            if key(0) != 0 || key(size_of::<conn>()) != 0 {
                see(&self.conns.read(i));
            }
        }
    }

    /// How much memory the entries take, in bytes; there is a bit more for every two of them.
    pub fn conn_table_bytes(&self) -> usize {
        self.conns.len() * size_of::<conn_line>()
    }

    /// What the program has kept of entries apart from them (bpf/conn/flow_cache.h) holds no more: whoever changes entries from outside
    /// says so afterwards.
    fn invalidate_flow_cache(&self) {
        for i in 0..self.recent.len() {
            let spell = self.recent.atomic_u32(i, offset_of!(flow_cache_line, epoch));
            loop {
                // Held while a packet writes it: a few instructions.
                let was = spell.load(Ordering::Relaxed) & !EK_FLOW_CACHE_LOCKED;
                if spell.compare_exchange(was, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                    break;
                }
                std::hint::spin_loop();
            }
        }
    }

    /// How much memory is beside them for flows that were seen of late, in bytes.
    pub fn flow_cache_bytes(&self) -> usize {
        self.recent.len() * size_of::<flow_cache_line>()
    }

    /// How many flows the program knows apart from their entries: those of this spell.
    pub fn flow_cache_entries(&self) -> usize {
        let spell = (self.jiffies64() >> self.settings.read(0).epoch_shift << 1) as u32;
        // Most lines are of another spell: only their words are looked at.
        let is_of_now =
            |&i: &usize| self.recent.atomic_u32(i, offset_of!(flow_cache_line, epoch)).load(Ordering::Relaxed) == spell;
        let flows = |i| self.recent.read(i).tag.iter().filter(|&&f| f > EK_FLOW_CACHE_DELETED).count();
        (0..self.recent.len()).filter(is_of_now).map(flows).sum()
    }

    /// Ends connections, templates apart: each is past its time from now on, and so absent for whoever meets it; the sweep
    /// counts it out. Returns how many.
    pub fn end_connections(&self, wanted: impl Fn(&ConnEntry) -> bool) -> usize {
        let mut named = DestCache::new(self);
        let now = named.now;
        let mut ended = 0;
        for i in 0..self.conns.len() {
            let line = self.conns.read(i);
            for (e, c) in line.entry.iter().enumerate() {
                let seen = parse_entry(&mut named, c, &line).filter(|v| !v.is_template());
                if seen.is_some_and(|v| wanted(&v)) {
                    let word = offset_of!(conn_line, entry) + e * size_of::<conn>() + offset_of!(conn, expires);
                    // Only if no packet has renewed it meanwhile: it might be another connection's by now.
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
            // A packet that found its connection before is through by then.
            std::thread::sleep(Duration::from_millis(1));
            self.invalidate_flow_cache();
        }
        ended
    }

    /// Entries that hold their place, past their time or not, as they lie there: the fastest list that there is.
    pub fn raw_entries(&self) -> Vec<conn> {
        let mut all = Vec::with_capacity(self.estimated_count());
        self.for_each_line(|line| all.extend(line.entry.iter().filter(|c| is_whole_key(c.key1))));
        all
    }

    /// Makes everything in the table, and every removal of a server, so much older; for tests of what time does.
    pub fn shift_time(&self, seconds: u32) {
        let by = seconds * self.hz();
        let older = |word: &std::sync::atomic::AtomicU32| {
            word.fetch_sub(by, Ordering::Relaxed);
        };
        for i in 0..self.conns.len() {
            for e in (0..2).filter(|e| is_whole_key(self.conns.read(i).entry[*e].key1)) {
                let base = offset_of!(conn_line, entry) + e * size_of::<conn>();
                older(self.conns.atomic_u32(i, base + offset_of!(conn, expires)));
            }
        }
        self.invalidate_flow_cache();
        for i in 0..self.dests.len() {
            if self.dests.read(i).flags == DEST_LIVE {
                older(self.dests.atomic_u32(i, offset_of!(dest, removed)));
            }
        }
    }

    /// Makes every connection expire `seconds` from now, as if time had passed; for tests of the sweep.
    pub fn set_expiry_of_all(&self, seconds: i32) {
        let at = self.jiffies().wrapping_add_signed(seconds * self.hz() as i32);
        for i in 0..self.conns.len() {
            for e in (0..2).filter(|e| is_whole_key(self.conns.read(i).entry[*e].key1)) {
                let base = offset_of!(conn_line, entry) + e * size_of::<conn>();
                self.conns.atomic_u32(i, base + offset_of!(conn, expires)).store(at, Ordering::Relaxed);
            }
        }
        self.invalidate_flow_cache();
    }
}
