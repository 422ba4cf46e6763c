//! Conversion between IPVS's terms and the plan's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Dest, FwdMethod, SVC_F_ONEPACKET, SVC_F_PERSISTENT, SVC_F_SCHED1, SVC_F_SCHED2, SVC_F_SCHED3, Service, ServiceId,
    TUNNEL_FLAG_CSUM, TUNNEL_FLAG_REMCSUM, TUNNEL_TYPE_GRE, TUNNEL_TYPE_GUE, TUNNEL_TYPE_IPIP,
};
use crate::model::{
    ForwardingMethod, Persistence, PersistenceEngine, RemovalPolicy, Scheduler, SchedulerFlags, ServerKey, ServiceKey,
    Tunnel, TunnelChecksum, TunnelKind, Weight,
};
use crate::plan::{DestSpec, ServiceSpec};

impl From<ServiceKey> for ServiceId {
    fn from(k: ServiceKey) -> ServiceId {
        match k.fwmark {
            0 => ServiceId::Address { protocol: k.protocol, addr: k.addr, port: k.port },
            mark => ServiceId::Fwmark { mark, ipv6: k.addr.is_ipv6() },
        }
    }
}

impl ServiceId {
    /// The key of the service in the plan.
    pub fn service_key(self) -> ServiceKey {
        match self {
            ServiceId::Address { protocol, addr, port } => ServiceKey::new(protocol, addr, port),
            ServiceId::Fwmark { mark, ipv6 } => ServiceKey::from_fwmark(mark, ipv6),
        }
    }
}

impl Service {
    /// Converts a service of the plan.
    pub fn from_plan(key: ServiceKey, spec: &ServiceSpec) -> Service {
        let mut s = Service::new(key.into(), spec.scheduler.name());
        for (is_set, flag) in [
            (spec.flags.fallback, SVC_F_SCHED1),
            (spec.flags.port, SVC_F_SCHED2),
            (spec.flags.flag3, SVC_F_SCHED3),
            (spec.one_packet, SVC_F_ONEPACKET),
            (spec.persistence.is_some(), SVC_F_PERSISTENT),
        ] {
            s.flags |= if is_set { flag } else { 0 };
        }
        s.persistence_engine = spec.persistence_engine.map_or_else(String::new, |e| e.name().to_owned());
        if let Some(p) = spec.persistence {
            s.timeout_s = p.timeout_s;
            s.netmask = match p.mask {
                IpAddr::V4(m) => m.into(),
                IpAddr::V6(m) => u128::from(m).leading_ones(),
            };
        }
        s
    }

    /// Converts to the plan; `None` if the service has a scheduler, a persistence engine or a flag that the plan does not
    /// have.
    pub fn to_spec(&self) -> Option<ServiceSpec> {
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
        let known = SVC_F_SCHED1 | SVC_F_SCHED2 | SVC_F_SCHED3 | SVC_F_ONEPACKET | SVC_F_PERSISTENT;
        let engine = match self.persistence_engine.as_str() {
            "" => None,
            "sip" => Some(PersistenceEngine::Sip),
            _ => return None,
        };
        (self.flags & !known == 0).then(|| ServiceSpec {
            scheduler,
            flags: self.scheduler_flags(),
            one_packet: self.has_flag(SVC_F_ONEPACKET),
            persistence: self.has_flag(SVC_F_PERSISTENT).then_some(Persistence { timeout_s: self.timeout_s, mask }),
            persistence_engine: engine,
            removal_policy: RemovalPolicy::Drop,
        })
    }
}

impl Service {
    /// The scheduler's flags.
    pub fn scheduler_flags(&self) -> SchedulerFlags {
        SchedulerFlags {
            fallback: self.has_flag(SVC_F_SCHED1),
            port: self.has_flag(SVC_F_SCHED2),
            flag3: self.has_flag(SVC_F_SCHED3),
        }
    }
}

impl Dest {
    /// Converts a destination of the plan.
    pub fn from_plan(key: ServerKey, spec: &DestSpec) -> Dest {
        let mut d = Dest {
            weight: i32::try_from(spec.weight.get()).unwrap_or(i32::MAX),
            u_threshold: spec.u_threshold,
            l_threshold: spec.l_threshold,
            ..Dest::new(key.addr, key.port)
        };
        d.method = match spec.method {
            ForwardingMethod::Nat => FwdMethod::Masq,
            ForwardingMethod::Dr => FwdMethod::Route,
            ForwardingMethod::Tun(t) => {
                (d.tunnel_type, d.tunnel_port) = match t.kind {
                    TunnelKind::Ipip => (TUNNEL_TYPE_IPIP, 0),
                    TunnelKind::Gue(port) => (TUNNEL_TYPE_GUE, port),
                    TunnelKind::Gre => (TUNNEL_TYPE_GRE, 0),
                };
                d.tunnel_flags = match t.checksum {
                    TunnelChecksum::None => 0,
                    TunnelChecksum::Full => TUNNEL_FLAG_CSUM,
                    TunnelChecksum::Remote => TUNNEL_FLAG_REMCSUM,
                };
                FwdMethod::Tunnel
            }
        };
        d
    }

    /// The key of the destination in the plan.
    pub fn server_key(&self) -> ServerKey {
        ServerKey { addr: self.addr, port: self.port }
    }

    /// Converts to the plan; `None` if the plan has no such destination. The kernel replaces the method of a destination
    /// that is the director itself ([`FwdMethod::Local`], `__ip_vs_update_dest()`).
    pub fn to_spec(&self) -> Option<DestSpec> {
        let method = match self.method {
            FwdMethod::Masq => ForwardingMethod::Nat,
            FwdMethod::Route => ForwardingMethod::Dr,
            FwdMethod::Tunnel => ForwardingMethod::Tun(Tunnel {
                kind: match self.tunnel_type {
                    TUNNEL_TYPE_IPIP => TunnelKind::Ipip,
                    TUNNEL_TYPE_GUE => TunnelKind::Gue(self.tunnel_port),
                    TUNNEL_TYPE_GRE => TunnelKind::Gre,
                    _ => return None,
                },
                checksum: match self.tunnel_flags {
                    0 => TunnelChecksum::None,
                    TUNNEL_FLAG_CSUM => TunnelChecksum::Full,
                    TUNNEL_FLAG_REMCSUM => TunnelChecksum::Remote,
                    _ => return None,
                },
            }),
            FwdMethod::Local | FwdMethod::Bypass | FwdMethod::Unknown(_) => return None,
        };
        Some(DestSpec {
            weight: Weight::new(u32::try_from(self.weight).ok()?)?,
            method,
            u_threshold: self.u_threshold,
            l_threshold: self.l_threshold,
        })
    }
}
