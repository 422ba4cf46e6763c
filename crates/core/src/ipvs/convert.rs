//! Between IPVS's terms and the plan's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Dest, GRE, GUE, IPIP, Method, ONE_PACKET, PERSISTENT, SCHED1, SCHED2, SCHED3, Service, ServiceId, TUNNEL_CSUM,
    TUNNEL_REMCSUM,
};
use crate::model::{
    ForwardingMethod, OnRemoval, Persistence, PersistenceEngine, Scheduler, SchedulerFlags, ServerKey, ServiceKey,
    Tunnel, TunnelChecksum, TunnelKind, Weight,
};
use crate::plan::{DestSpec, ServiceSpec};

impl From<ServiceKey> for ServiceId {
    fn from(k: ServiceKey) -> ServiceId {
        match k.mark {
            0 => ServiceId::At { protocol: k.protocol, addr: k.addr, port: k.port },
            mark => ServiceId::Mark { mark, ipv6: k.addr.is_ipv6() },
        }
    }
}

impl ServiceId {
    /// Its name in the plan.
    pub fn key(self) -> ServiceKey {
        match self {
            ServiceId::At { protocol, addr, port } => ServiceKey::at(protocol, addr, port),
            ServiceId::Mark { mark, ipv6 } => ServiceKey::marked(mark, ipv6),
        }
    }
}

impl Service {
    /// A service of the plan in IPVS's terms.
    pub fn from_plan(key: ServiceKey, spec: &ServiceSpec) -> Service {
        let mut s = Service::of(key.into(), spec.scheduler.name());
        for (yes, flag) in [
            (spec.flags.fallback, SCHED1),
            (spec.flags.port, SCHED2),
            (spec.flags.third, SCHED3),
            (spec.one_packet, ONE_PACKET),
            (spec.persistence.is_some(), PERSISTENT),
        ] {
            s.flags |= if yes { flag } else { 0 };
        }
        s.engine = spec.engine.map_or_else(String::new, |e| e.name().to_owned());
        if let Some(p) = spec.persistence {
            s.timeout_s = p.timeout_s;
            s.netmask = match p.mask {
                IpAddr::V4(m) => m.into(),
                IpAddr::V6(m) => u128::from(m).leading_ones(),
            };
        }
        s
    }

    /// The plan's terms of it, if there are any: not of a scheduler, an engine or a flag that the plan does not know.
    pub fn spec(&self) -> Option<ServiceSpec> {
        let scheduler = match self.scheduler.as_str() {
            "" | "none" => Scheduler::None,
            name => name.parse().ok()?,
        };
        let mask = if self.id.is_ipv6() {
            let bits = 128u32.checked_sub(self.netmask)?;
            IpAddr::V6(Ipv6Addr::from(u128::MAX.checked_shl(bits).unwrap_or(0)))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.netmask))
        };
        let known = SCHED1 | SCHED2 | SCHED3 | ONE_PACKET | PERSISTENT;
        let engine = match self.engine.as_str() {
            "" => None,
            "sip" => Some(PersistenceEngine::Sip),
            _ => return None,
        };
        (self.flags & !known == 0).then(|| ServiceSpec {
            scheduler,
            flags: SchedulerFlags { fallback: self.has(SCHED1), port: self.has(SCHED2), third: self.has(SCHED3) },
            one_packet: self.has(ONE_PACKET),
            persistence: self.has(PERSISTENT).then_some(Persistence { timeout_s: self.timeout_s, mask }),
            engine,
            on_removal: OnRemoval::Drop,
        })
    }
}

impl Dest {
    /// A destination of the plan in IPVS's terms.
    pub fn from_plan(key: ServerKey, spec: &DestSpec) -> Dest {
        let mut d = Dest {
            weight: i32::try_from(spec.weight.get()).unwrap_or(i32::MAX),
            u_threshold: spec.u_threshold,
            l_threshold: spec.l_threshold,
            ..Dest::of(key.addr, key.port)
        };
        d.method = match spec.method {
            ForwardingMethod::Nat => Method::Masq,
            ForwardingMethod::Dr => Method::Route,
            ForwardingMethod::Tun(t) => {
                (d.tunnel, d.tunnel_port) = match t.kind {
                    TunnelKind::Ipip => (IPIP, 0),
                    TunnelKind::Gue(port) => (GUE, port),
                    TunnelKind::Gre => (GRE, 0),
                };
                d.tunnel_flags = match t.checksum {
                    TunnelChecksum::None => 0,
                    TunnelChecksum::Full => TUNNEL_CSUM,
                    TunnelChecksum::Remote => TUNNEL_REMCSUM,
                };
                Method::Tunnel
            }
        };
        d
    }

    /// Its name in the plan.
    pub fn key(&self) -> ServerKey {
        ServerKey { addr: self.addr, port: self.port }
    }

    /// The plan's terms of it, if there are any. A server that is this machine itself has lost its method
    /// ([`Method::Local`], `__ip_vs_update_dest()`).
    pub fn spec(&self) -> Option<DestSpec> {
        let method = match self.method {
            Method::Masq => ForwardingMethod::Nat,
            Method::Route => ForwardingMethod::Dr,
            Method::Tunnel => ForwardingMethod::Tun(Tunnel {
                kind: match self.tunnel {
                    IPIP => TunnelKind::Ipip,
                    GUE => TunnelKind::Gue(self.tunnel_port),
                    GRE => TunnelKind::Gre,
                    _ => return None,
                },
                checksum: match self.tunnel_flags {
                    0 => TunnelChecksum::None,
                    TUNNEL_CSUM => TunnelChecksum::Full,
                    TUNNEL_REMCSUM => TunnelChecksum::Remote,
                    _ => return None,
                },
            }),
            Method::Local | Method::Bypass | Method::Unknown(_) => return None,
        };
        Some(DestSpec {
            weight: Weight::new(u32::try_from(self.weight).ok()?)?,
            method,
            u_threshold: self.u_threshold,
            l_threshold: self.l_threshold,
        })
    }
}
