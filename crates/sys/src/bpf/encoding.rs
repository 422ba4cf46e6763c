//! Encoding: `struct service` and `struct dest` of bpf/abi.h as the types of `evenkeel_core::plan`, and back.

use evenkeel_core::model::{
    ForwardingMethod, Persistence, Protocol, RemovalPolicy, SchedulerFlags, ServerKey, ServiceKey, Tunnel,
    TunnelChecksum, TunnelKind, Weight,
};
use evenkeel_core::plan::{DestSpec, ServiceSpec};

use super::abi::*;
use super::address::{family_number, from_wire_addr, to_wire_addr};
use super::schedulers::{scheduler_from_number, scheduler_number};

/// Converts seconds to jiffies. The result is at most half of the largest signed difference, because the program
/// compares times by signed difference.
pub(super) fn seconds_to_jiffies(seconds: u32, hz: u32) -> u32 {
    seconds.saturating_mul(hz).min(i32::MAX as u32 / 2)
}

/// The key of a service; `None` if its protocol is unknown.
pub(super) fn service_key(s: &service) -> Option<ServiceKey> {
    if s.mark != 0 {
        return Some(ServiceKey::from_fwmark(s.mark, s.family == 6));
    }
    Some(ServiceKey::new(Protocol::from_number(s.protocol)?, from_wire_addr(s.family, s.addr), u16::from_be(s.port)))
}

/// The scheduler, flags, persistence and removal policy of a service.
pub(super) fn service_spec(s: &service) -> ServiceSpec {
    let has = |flag| s.flags & flag != 0;
    let persistence = has(SERVICE_PERSISTENT)
        .then(|| Persistence { timeout_s: s.persist_seconds, mask: from_wire_addr(s.family, s.persist_mask) });
    let removal_policy = match u32::from(s.removal_policy) {
        REMOVAL_DRAIN => RemovalPolicy::Drain(s.drain_seconds),
        REMOVAL_REJECT => RemovalPolicy::Reject,
        REMOVAL_RESCHEDULE => RemovalPolicy::Reschedule,
        _ => RemovalPolicy::Drop,
    };
    ServiceSpec {
        removal_policy,
        scheduler: scheduler_from_number(s.scheduler),
        flags: SchedulerFlags { fallback: has(SERVICE_FALLBACK), port: has(SERVICE_PORT), flag3: has(SERVICE_FLAG3) },
        one_packet: has(SERVICE_ONE_PACKET),
        persistence,
        persistence_engine: None,
    }
}

/// Writes a specification into a service. `hz` is the number of jiffies in a second.
pub(super) fn write_service_spec(s: &mut service, spec: ServiceSpec, hz: u32) {
    s.scheduler = scheduler_number(spec.scheduler);
    s.flags = SERVICE_LIVE | s.flags & (SERVICE_EXTERNAL | SERVICE_INACTIVE);
    for (yes, flag) in [
        (spec.flags.fallback, SERVICE_FALLBACK),
        (spec.flags.port, SERVICE_PORT),
        (spec.flags.flag3, SERVICE_FLAG3),
        (spec.one_packet, SERVICE_ONE_PACKET),
        (spec.persistence.is_some(), SERVICE_PERSISTENT),
    ] {
        s.flags |= if yes { flag } else { 0 };
    }
    let jiffies = |seconds: u32| seconds_to_jiffies(seconds, hz);
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

/// The key, weight, forwarding method and thresholds of a destination.
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

/// Writes a forwarding method and its tunnel parameters into a destination.
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

/// The number of bytes that a destination's forwarding method adds in front of a packet. The outer header has the
/// family of the real server's address.
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

/// A new destination of the service with this index: no weight, no forwarding method, no next hop.
pub(super) fn new_dest(service: u32, key: ServerKey) -> dest {
    dest {
        addr: to_wire_addr(key.addr),
        family: family_number(key.addr),
        port: key.port.to_be(),
        service,
        ..Default::default()
    }
}

/// The half of a service that packets use.
pub(super) fn active_half(s: &service) -> &service_half {
    &s.half[(s.generation & 1) as usize]
}
