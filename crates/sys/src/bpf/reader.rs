//! Services and real servers as they stand in the maps.

use std::collections::BTreeSet;
use std::mem::{offset_of, size_of};

use evenkeel_core::ipvs::Stats;
use evenkeel_core::model::{
    ForwardingMethod, Persistence, Protocol, RemovalPolicy, SchedulerFlags, ServerKey, ServiceKey, Tunnel,
    TunnelChecksum, TunnelKind, Weight,
};
use evenkeel_core::plan::{DestSpec, ServiceSpec, ServiceState, Services};
use libbpf_rs::{MapCore, MapFlags, MapHandle, num_possible_cpus};

use super::abi::*;
use super::packet_path::Maps;
use super::schedulers;
use super::service_table::{family_number, from_wire_addr, to_wire_addr};

/// How a packet reaches its next hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop {
    /// The device it leaves by.
    pub ifindex: u32,
    /// The next hop's address.
    pub dmac: [u8; 6],
    /// The device's own.
    pub smac: [u8; 6],
}

/// A destination as it is in the maps.
#[derive(Clone, Debug)]
pub struct DestRecord {
    /// Its index in the map.
    pub id: u32,
    /// Its name.
    pub key: ServerKey,
    /// What it is.
    pub spec: DestSpec,
    /// Active connections.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
    /// Closed by its upper threshold.
    pub overload: bool,
    /// Where its packets go.
    pub hop: Option<NextHop>,
    /// The largest packet that its way takes, bytes; 0: not known.
    pub mtu: u32,
    /// It is this director itself.
    pub local: bool,
    /// Connections, packets and bytes so far.
    pub stats: Stats,
}

/// A service as it is in the maps.
#[derive(Clone, Debug)]
pub struct ServiceRecord {
    /// Its name.
    pub key: ServiceKey,
    /// What it is.
    pub spec: ServiceSpec,
    /// Connections, packets and bytes so far.
    pub stats: Stats,
    /// Newest first, the kernel's order.
    pub dests: Vec<DestRecord>,
}

/// Names of enum reason, in its order.
pub const COUNTER_NAMES: [&str; REASONS as usize] = [
    "not_ours",
    "forwarded",
    "replied",
    "local",
    "fragment",
    "no_conn",
    "no_server",
    "dest_unavailable",
    "no_next_hop",
    "ttl",
    "table_full",
    "insert_race",
    "no_headroom",
    "no_route",
    "too_big",
    "icmp",
    "drained",
    "rejected",
    "standby",
    "cache_bypass",
    "unexpected_reply",
    "evicted",
];

pub(super) fn service_key(s: &service) -> Option<ServiceKey> {
    if s.mark != 0 {
        return Some(ServiceKey::from_fwmark(s.mark, s.family == 6));
    }
    Some(ServiceKey::new(Protocol::from_number(s.protocol)?, from_wire_addr(s.family, s.addr), u16::from_be(s.port)))
}

pub(super) fn service_spec(s: &service) -> ServiceSpec {
    let has = |flag| s.flags & flag != 0;
    let persistence = has(SERVICE_PERSISTENT)
        .then(|| Persistence { timeout_s: s.persist_seconds, mask: from_wire_addr(s.family, s.persist_mask) });
    let on_removal = match u32::from(s.removal_policy) {
        REMOVAL_DRAIN => RemovalPolicy::Drain(s.drain_seconds),
        REMOVAL_REJECT => RemovalPolicy::Reject,
        REMOVAL_RESCHEDULE => RemovalPolicy::Reschedule,
        _ => RemovalPolicy::Drop,
    };
    ServiceSpec {
        removal_policy: on_removal,
        scheduler: schedulers::scheduler_from_number(s.scheduler),
        flags: SchedulerFlags { fallback: has(SERVICE_FALLBACK), port: has(SERVICE_PORT), flag3: has(SERVICE_FLAG3) },
        one_packet: has(SERVICE_ONE_PACKET),
        persistence,
        persistence_engine: None,
    }
}

pub(super) fn write_service_spec(s: &mut service, spec: ServiceSpec, hz: u32) {
    s.scheduler = schedulers::scheduler_number(spec.scheduler);
    s.flags = SERVICE_LIVE | s.flags & SERVICE_EXTERNAL;
    for (yes, flag) in [
        (spec.flags.fallback, SERVICE_FALLBACK),
        (spec.flags.port, SERVICE_PORT),
        (spec.flags.flag3, SERVICE_FLAG3),
        (spec.one_packet, SERVICE_ONE_PACKET),
        (spec.persistence.is_some(), SERVICE_PERSISTENT),
    ] {
        s.flags |= if yes { flag } else { 0 };
    }
    // Times are compared by signed difference.
    let jiffies = |seconds: u32| seconds.saturating_mul(hz).min(i32::MAX as u32 / 2);
    (s.drain_seconds, s.drain_timeout) = (0, 0);
    s.removal_policy = match spec.removal_policy {
        RemovalPolicy::Drop => REMOVAL_DROP,
        RemovalPolicy::Drain(seconds) => {
            (s.drain_seconds, s.drain_timeout) = (seconds, jiffies(seconds));
            REMOVAL_DRAIN
        }
        RemovalPolicy::Reject => REMOVAL_REJECT,
        RemovalPolicy::Reschedule => REMOVAL_RESCHEDULE,
    } as u8;
    (s.persist_mask, s.persist_seconds, s.persist_timeout) = ([0; 4], 0, 0);
    if let Some(p) = spec.persistence {
        s.persist_mask = to_wire_addr(p.mask);
        s.persist_seconds = p.timeout_s;
        s.persist_timeout = jiffies(p.timeout_s);
    }
}

pub(super) fn dest_key_and_spec(d: &dest) -> (ServerKey, DestSpec) {
    let key = ServerKey { addr: from_wire_addr(d.family, d.addr), port: u16::from_be(d.port) };
    let weight = Weight::new(d.weight.max(0) as u32).unwrap_or(Weight::QUIESCED);
    let kind = match u32::from(d.tunnel) {
        TUNNEL_GUE => TunnelKind::Gue(u16::from_be(d.tunnel_port)),
        TUNNEL_GRE => TunnelKind::Gre,
        _ => TunnelKind::Ipip,
    };
    let checksum = match u32::from(d.tunnel_flags) {
        TUNNEL_CSUM => TunnelChecksum::Full,
        TUNNEL_REMCSUM => TunnelChecksum::Remote,
        _ => TunnelChecksum::None,
    };
    let method = match u32::from(d.method) {
        FORWARD_NAT => ForwardingMethod::Nat,
        FORWARD_TUN => ForwardingMethod::Tun(Tunnel { kind, checksum }),
        _ => ForwardingMethod::Dr,
    };
    (key, DestSpec { weight, method, u_threshold: d.u_threshold, l_threshold: d.l_threshold })
}

/// Writes a forwarding method into a destination.
pub(super) fn set_method(d: &mut dest, method: ForwardingMethod) {
    (d.tunnel, d.tunnel_flags, d.tunnel_port) = (0, 0, 0);
    d.method = match method {
        ForwardingMethod::Nat => FORWARD_NAT,
        ForwardingMethod::Dr => FORWARD_DR,
        ForwardingMethod::Tun(t) => {
            let (kind, port) = match t.kind {
                TunnelKind::Ipip => (TUNNEL_IPIP, 0),
                TunnelKind::Gue(port) => (TUNNEL_GUE, port),
                TunnelKind::Gre => (TUNNEL_GRE, 0),
            };
            d.tunnel = kind as u8;
            d.tunnel_port = port.to_be();
            d.tunnel_flags = match t.checksum {
                TunnelChecksum::None => 0,
                TunnelChecksum::Full => TUNNEL_CSUM as u8,
                TunnelChecksum::Remote => TUNNEL_REMCSUM as u8,
            };
            FORWARD_TUN
        }
    } as u8;
}

/// What a method puts in front of a packet, bytes; the outer header is of the real server's family.
pub(super) fn tunnel_overhead(d: &dest) -> u32 {
    if u32::from(d.method) != FORWARD_TUN {
        return 0;
    }
    let outer = if d.family == 6 { 40 } else { 20 };
    outer
        + match u32::from(d.tunnel) {
            TUNNEL_GUE => 12,
            TUNNEL_GRE if d.tunnel_flags != 0 => 8,
            TUNNEL_GRE => 4,
            _ => 0,
        }
}

/// A destination that nobody has used yet.
pub(super) fn new_dest(service: u32, key: ServerKey) -> dest {
    dest {
        addr: to_wire_addr(key.addr),
        family: family_number(key.addr),
        port: key.port.to_be(),
        service,
        ..Default::default()
    }
}

/// The half of a service that is in force.
pub(super) fn active_half(s: &service) -> &service_half {
    &s.half[(s.generation & 1) as usize]
}

impl Maps {
    pub(super) fn read_list(&self, base: u32, len: u32) -> Vec<u32> {
        let end = base.saturating_add(len).min(self.lists.len() as u32);
        (base..end).map(|i| self.lists.read(i as usize)).collect()
    }

    pub(super) fn live_services(&self) -> impl Iterator<Item = (u32, service)> {
        (0..self.services.len()).map(|i| (i as u32, self.services.read(i))).filter(|(_, s)| s.flags & SERVICE_LIVE != 0)
    }

    /// The services and their destinations, oldest first, as plans compare them.
    pub fn observe_services(&self) -> Services {
        let (mut all, by_hand) = self.observe_by_owner();
        all.extend(by_hand);
        all
    }

    /// The same, those that a daemon has made apart from those that somebody has made by hand.
    pub fn observe_by_owner(&self) -> (Services, Services) {
        let (mut ours, mut by_hand) = (Services::new(), Services::new());
        for (_, s) in self.live_services() {
            let Some(key) = service_key(&s) else { continue };
            let made_by = if s.flags & SERVICE_EXTERNAL != 0 { &mut by_hand } else { &mut ours };
            made_by.insert(key, self.service_state(&s));
        }
        (ours, by_hand)
    }

    /// One service, as plans compare it.
    pub fn observe_service(&self, key: ServiceKey) -> Option<ServiceState> {
        self.find_service(key).map(|(_, s)| self.service_state(&s))
    }

    fn find_service(&self, key: ServiceKey) -> Option<(u32, service)> {
        let index = self.service_table.find(super::writer::service_table_key(key))?;
        Some((index, self.services.read(index as usize)))
    }

    fn service_state(&self, s: &service) -> ServiceState {
        let half = active_half(s);
        let mut ids = self.read_list(half.list_base, half.list_len);
        ids.reverse();
        let known = ids.iter().filter(|&&i| (i as usize) < self.dests.len());
        ServiceState {
            spec: service_spec(s),
            dests: known.map(|&i| dest_key_and_spec(&self.dests.read(i as usize))).collect(),
        }
    }

    /// Services that somebody has made by hand.
    pub fn external_services(&self) -> BTreeSet<ServiceKey> {
        self.live_services()
            .filter(|(_, s)| s.flags & SERVICE_EXTERNAL != 0)
            .filter_map(|(_, s)| service_key(&s))
            .collect()
    }

    /// The services with everything that there is to see of them, in the order of their keys.
    pub fn service_records(&self) -> Vec<ServiceRecord> {
        let mut out: Vec<ServiceRecord> = self.live_services().filter_map(|(i, s)| self.read_service(i, &s)).collect();
        out.sort_by_key(|s| s.key);
        out
    }

    /// One service with everything that there is to see of it.
    pub fn service_record(&self, key: ServiceKey) -> Option<ServiceRecord> {
        self.find_service(key).and_then(|(index, s)| self.read_service(index, &s))
    }

    fn read_service(&self, index: u32, s: &service) -> Option<ServiceRecord> {
        let half = active_half(s);
        let ids = self.read_list(half.list_base, half.list_len);
        let dests = ids.iter().filter(|&&i| (i as usize) < self.dests.len()).map(|&id| self.read_dest(id));
        let stats = read_stats(&self.service_stats, index);
        Some(ServiceRecord { key: service_key(s)?, spec: service_spec(s), stats, dests: dests.collect() })
    }

    fn read_dest(&self, id: u32) -> DestRecord {
        let d = self.dests.read(id as usize);
        let (key, spec) = dest_key_and_spec(&d);
        let hop = match d.hop {
            n @ (1 | 2) => Some(d.hops[n as usize - 1]),
            _ => None,
        };
        DestRecord {
            id,
            key,
            spec,
            active: d.active,
            inactive: d.inactive,
            persistent: d.persistent,
            overload: d.overload != 0,
            hop: hop.map(|h| NextHop { ifindex: h.ifindex & !EK_HOP_VLAN, dmac: h.dmac, smac: h.smac }),
            mtu: d.mtu,
            local: d.hop == HOP_LOCAL,
            stats: read_stats(&self.dest_stats, id),
        }
    }

    /// How many packets went where, by reason.
    pub fn packet_counters(&self) -> Vec<(&'static str, u64)> {
        let count = |i: usize| {
            let cpus = self.reasons.lookup_percpu(&(i as u32).to_ne_bytes(), MapFlags::ANY).ok().flatten();
            let word = |v: &Vec<u8>| v.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes);
            cpus.map_or(0, |cpus| cpus.iter().map(word).sum())
        };
        COUNTER_NAMES.iter().enumerate().map(|(i, name)| (*name, count(i))).collect()
    }

    /// The firewall mark of a destination's service; 0: it has none.
    pub(super) fn mark_of_dest(&self, id: u32) -> u32 {
        if id as usize >= self.dests.len() {
            return 0;
        }
        let service = self.dests.read(id as usize).service as usize;
        if service < self.services.len() { self.services.read(service).mark } else { 0 }
    }

    /// Address and port of a destination, whether it is still in service or not.
    pub fn dest_key(&self, id: u32) -> Option<ServerKey> {
        ((id as usize) < self.dests.len()).then(|| dest_key_and_spec(&self.dests.read(id as usize)).0)
    }
}

fn read_stats(map: &MapHandle, index: u32) -> Stats {
    let Ok(Some(cpus)) = map.lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY) else { return Stats::default() };
    let mut sum = Stats::default();
    for v in cpus {
        let word = |i: usize| v.get(i..i + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes);
        sum.conns += word(offset_of!(counters, conns));
        sum.in_packets += word(offset_of!(counters, in_packets));
        sum.in_bytes += word(offset_of!(counters, in_bytes));
        sum.out_packets += word(offset_of!(counters, out_packets));
        sum.out_bytes += word(offset_of!(counters, out_bytes));
    }
    sum
}

pub(super) fn clear_stats(map: &MapHandle, index: u32) {
    let zero = vec![vec![0u8; size_of::<counters>()]; num_possible_cpus().unwrap_or(1)];
    if let Err(e) = map.update_percpu(&index.to_ne_bytes(), &zero, MapFlags::ANY) {
        tracing::debug!("clear statistics {index}: {e}");
    }
}
