//! `virtual_server` to virtual services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::super::Diagnostic;
use super::super::value::{Entry, LvsMethod, Section, Value};
use super::checkers::CheckedServer;
use super::{DefaultWeights, LoweringContext};
use crate::model::{
    DataPlaneMode, ForwardingMethod, MarkRule, NamedServer, NamedServers, Persistence, PersistenceEngine, Protocol,
    Quorum, RealServer, RemovalPolicy, Scheduler, SchedulerFlags, ServerKey, ServiceKey, SorryServer, Tunnel,
    TunnelChecksum, TunnelKind, VirtualServer, Weight,
};

use crate::discovery::{NameQuery, reachable_quorum};

/// keepalived.conf(5), "delay_loop".
pub(super) const DEFAULT_DELAY_LOOP: Duration = Duration::from_secs(60);

/// What virtual server, real server and checker inherit from each other.
#[derive(Clone, Copy, Default)]
pub(super) struct InheritedTiming {
    pub delay_loop: Option<Duration>,
    pub connect_timeout: Option<Duration>,
    pub retry: Option<u32>,
    pub delay_before_retry: Option<Duration>,
    pub warmup: Option<Duration>,
    pub alpha: Option<bool>,
}

impl InheritedTiming {
    /// What a block sets, and what the block around it set.
    pub fn inherit(s: &Section, outer: InheritedTiming) -> InheritedTiming {
        InheritedTiming {
            delay_loop: s.time("delay_loop").or(outer.delay_loop),
            // A program is not connected to.
            connect_timeout: s
                .block
                .keyword("connect_timeout")
                .and_then(|_| s.time("connect_timeout"))
                .or(outer.connect_timeout),
            retry: s.uint("retry").map(|n| n as u32).or(outer.retry),
            delay_before_retry: s.time("delay_before_retry").or(outer.delay_before_retry),
            warmup: s.time("warmup").or(outer.warmup),
            alpha: s.flag("alpha").or(outer.alpha),
        }
    }
}

/// What packets a service is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ServiceTarget {
    /// Those to an address and port.
    Address(IpAddr, u16),
    /// Those with a mark; is their family IPv6, if that is written?
    Fwmark(u32, Option<bool>),
}

/// The family of a mark's packets where none is written: that of the first real server.
fn fwmark_is_ipv6(s: &Section) -> bool {
    match s.text("ip_family") {
        Some(family) => family == "inet6",
        None => s.sections("real_server").any(|r| matches!(r.name, Value::Endpoint(IpAddr::V6(_), _))),
    }
}

/// As it is written, whether it can be reached or not.
fn configured_quorum(s: &Section) -> Quorum {
    let number = |keyword, default| s.uint(keyword).map_or(default, |n| n as u32);
    Quorum { weight: number("quorum", 1), hysteresis: number("hysteresis", 0) }
}

/// keepalived takes a quorum that cannot be reached for the sum of the weights, and a hysteresis that leaves nothing for
/// one less than the quorum.
fn effective_quorum(s: &Section, servers: &[RealServer]) -> Quorum {
    let sum = servers.iter().fold(0u32, |sum, r| sum.saturating_add(r.weight.get()));
    let weight = s.uint("quorum").map_or(1, |n| n as u32).min(sum);
    let hysteresis = s.uint("hysteresis").map_or(0, |n| n as u32).min(weight.saturating_sub(1));
    Quorum { weight, hysteresis }
}

/// The kernel ignores the port of a destination that is not behind NAT; ipvsadm replaces it by the service's.
fn destination_port(method: ForwardingMethod, port: Option<u16>, service: ServiceKey) -> u16 {
    let port = port.filter(|p| *p != 0);
    if method.may_map_ports() { port.unwrap_or(service.port) } else { service.port }
}

/// `sh-port` and its like, each for its scheduler; `flag-N` are the same bits by other names, and any scheduler's
/// (keepalived.conf(5): flag-1 is fallback, flag-2 is port).
fn scheduler_flags(s: &Section, scheduler: Scheduler) -> SchedulerFlags {
    let own = |flag: &str| match scheduler {
        Scheduler::Sh => s.has(&format!("sh-{flag}")),
        Scheduler::Mh => s.has(&format!("mh-{flag}")),
        _ => false,
    };
    let has = |flag: &str, bit: &str| own(flag) || s.has(bit);
    SchedulerFlags { fallback: has("fallback", "flag-1"), port: has("port", "flag-2"), flag3: s.has("flag-3") }
}

/// `removed_server drop|drain SECONDS|reject|reschedule`
fn on_removal(s: &Section) -> RemovalPolicy {
    let Some(Value::Words(words)) = s.get("removed_server").map(|e| &e.value) else { return RemovalPolicy::Drop };
    let mut words = words.iter().map(String::as_str);
    match (words.next(), words.next()) {
        (Some("drain"), seconds) => RemovalPolicy::Drain(seconds.and_then(|n| n.parse().ok()).unwrap_or(0)),
        (Some("reject"), _) => RemovalPolicy::Reject,
        (Some("reschedule"), _) => RemovalPolicy::Reschedule,
        _ => RemovalPolicy::Drop,
    }
}

impl LoweringContext<'_> {
    pub(super) fn lower_services(&mut self, usual: &DefaultWeights) -> Vec<VirtualServer> {
        let mut out: Vec<VirtualServer> = Vec::new();
        let mut places = std::collections::HashMap::new();
        let all: Vec<VirtualServer> =
            self.root.sections("virtual_server").flat_map(|s| self.lower_virtual_server(s, usual)).collect();
        for v in all {
            match places.get(&v.key).and_then(|n: &usize| out.get_mut(*n)) {
                // As with keepalived, a second block of the same service adds its servers to the first one's.
                Some(first) => {
                    let new: Vec<RealServer> =
                        v.servers.into_iter().filter(|r| !first.servers.iter().any(|f| f.key == r.key)).collect();
                    first.servers.extend(new);
                }
                None => {
                    places.insert(v.key, out.len());
                    out.push(v);
                }
            }
        }
        out
    }

    /// A block: one service, or one for each address of its group.
    fn lower_virtual_server(&mut self, s: &Section, usual: &DefaultWeights) -> Vec<VirtualServer> {
        match &s.name {
            Value::Endpoint(a, p) => {
                let at = ServiceTarget::Address(*a, p.unwrap_or(0));
                self.lower_service(s, at, None, usual).into_iter().collect()
            }
            Value::Fwmark(mark) => {
                let at = ServiceTarget::Fwmark(*mark, None);
                self.lower_service(s, at, None, usual).into_iter().collect()
            }
            Value::Group(name) => {
                let mut out = Vec::new();
                let addresses = self.group_targets(name);
                if s.has("member") && !addresses.iter().any(|a| matches!(a, ServiceTarget::Fwmark(..))) {
                    let d = Diagnostic::lint("fwmark", s.args_span("member"), "only a firewall mark has members");
                    self.diagnostics.push(d.label("ignored").help("write `fwmark N` into the group"));
                }
                for at in addresses {
                    let tag = (name.clone(), out.is_empty());
                    // What is wrong with the block is told once, not for each address.
                    let known = self.diagnostics.len();
                    let service = self.lower_service(s, at, Some(tag), usual);
                    if !out.is_empty() {
                        self.diagnostics.truncate(known);
                    }
                    let Some(service) = service else { break };
                    out.push(service);
                }
                out
            }
            _ => Vec::new(),
        }
    }

    fn lower_service(
        &mut self,
        s: &Section,
        at: ServiceTarget,
        group: Option<(String, bool)>,
        usual: &DefaultWeights,
    ) -> Option<VirtualServer> {
        if let ServiceTarget::Fwmark(0, _) = at {
            self.report_unsupported(s.span, "a firewall mark of 0 is none".to_owned(), "expected 1 to 4294967295");
            return None;
        }
        // keepalived takes UDP where none is written, and says so.
        let protocol = match s.text("protocol").map(str::to_ascii_uppercase).as_deref() {
            Some("TCP") => Protocol::Tcp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Udp,
        };
        let scheduler = match s.text("lvs_sched") {
            None => Scheduler::Wlc,
            Some(name) => match name.parse() {
                Ok(known) => known,
                Err(()) => {
                    let known = Scheduler::ALL.map(Scheduler::name).join(", ");
                    self.report_unsupported(
                        s.args_span("lvs_sched"),
                        format!("no scheduler is called `{name}`"),
                        &known,
                    );
                    return None;
                }
            },
        };
        let key = match at {
            ServiceTarget::Address(addr, port) => ServiceKey::new(protocol, addr, port),
            ServiceTarget::Fwmark(mark, ipv6) => {
                ServiceKey::from_fwmark(mark, ipv6.unwrap_or_else(|| fwmark_is_ipv6(s)))
            }
        };
        let persistence = self.persistence(s, key.addr.is_ipv6());
        if key.fwmark == 0 && key.port == 0 && persistence.is_none() {
            return None; // told already
        }
        let engine = self.persistence_engine(s)?;
        let members = if key.fwmark != 0 { self.fwmark_members(s) } else { Vec::new() };
        let timing = InheritedTiming::inherit(s, InheritedTiming::default());
        let mut servers: Vec<RealServer> = Vec::new();
        let mut names: Vec<NamedServer> = Vec::new();
        for r in s.sections("real_server") {
            if let Value::Host(name, port, srv) = &r.name {
                let family =
                    if key.addr.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
                let asked = NameQuery { name: name.clone(), srv: *srv };
                let like = self.lower_server(s, r, key, (family, *port), (&timing, usual));
                names.extend(like.map(|like| NamedServer { query: asked, port: *port, prototype: like }));
                continue;
            }
            if let Some(server) = self.lower_real_server(s, r, key, (&timing, usual))
                && !servers.iter().any(|e| e.key == server.key)
            {
                servers.push(server);
            }
        }
        Some(VirtualServer {
            key,
            quorum: if names.is_empty() {
                effective_quorum(s, &servers)
            } else {
                reachable_quorum(configured_quorum(s), &servers)
            },
            named_servers: (!names.is_empty())
                .then(|| Box::new(NamedServers { servers: names, configured_quorum: configured_quorum(s) })),
            sorry_server: self.sorry_server(s, key),
            alpha: timing.alpha.unwrap_or(false),
            omega: s.has("omega"),
            ha_suspend: s.has("ha_suspend"),
            quorum_up: self.script_command(s, "quorum_up"),
            quorum_down: self.script_command(s, "quorum_down"),
            mail: self.sends_mail_alerts(s, "smtp_alert_checker", false),
            group,
            mark_rules: members,
            scheduler,
            scheduler_flags: scheduler_flags(s, scheduler),
            one_packet: s.has("ops") && (protocol == Protocol::Udp || key.fwmark != 0),
            persistence,
            persistence_engine: engine,
            removal_policy: on_removal(s),
            delay_loop: timing.delay_loop.unwrap_or(DEFAULT_DELAY_LOOP),
            servers,
        })
    }

    /// Whom a mark is for; where that has no effect, it is told.
    fn fwmark_members(&mut self, s: &Section) -> Vec<MarkRule> {
        let member = |e: &Entry| match &e.value {
            Value::FwmarkMember(m) => Some(**m),
            _ => None,
        };
        let all: Vec<MarkRule> = s.get_all("member").filter_map(member).collect();
        let (at, what, label) = match self.dataplane_choice() {
            DataPlaneMode::Ipvs if !all.is_empty() => {
                (s.args_span("member"), "IPVS sees the marks of netfilter only", "no effect with `dataplane ipvs`")
            }
            DataPlaneMode::Xdp if all.is_empty() => (
                s.span,
                "nothing gives packets this mark",
                "seen only if tc, or nftables on a lower device, has set it",
            ),
            _ => return all,
        };
        let d = Diagnostic::lint("fwmark", at, what).label(label);
        let help = "write `member ADDRESSES PROTOCOL PORTS` and `dataplane xdp`, or set the mark by nftables";
        self.diagnostics.push(d.help(help));
        all
    }

    /// The outer `None`: there is no such engine, which was told.
    fn persistence_engine(&mut self, s: &Section) -> Option<Option<PersistenceEngine>> {
        match s.text("persistence_engine") {
            None => Some(None),
            Some("sip") if self.dataplane_choice() == DataPlaneMode::Xdp => {
                self.report_not_in_force(s.args_span("persistence_engine"), "persistence_engine");
                Some(None)
            }
            Some("sip") => Some(Some(PersistenceEngine::Sip)),
            Some(name) => {
                let what = format!("no persistence engine is called `{name}`");
                self.report_unsupported(s.args_span("persistence_engine"), what, "expected sip");
                None
            }
        }
    }

    fn persistence(&mut self, s: &Section, v6: bool) -> Option<Persistence> {
        let e = s.get("persistence_timeout")?;
        let timeout_s = match e.value {
            Value::Uint(n) => n as u32,
            _ => 360,
        };
        let v4 = |n: u8| Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(n)).unwrap_or(0)).into();
        let mask = match s.get("persistence_granularity").map(|e| &e.value) {
            Some(Value::Mask(m)) if m.is_ipv6() == v6 => *m,
            Some(Value::Prefix(n)) if v6 => {
                Ipv6Addr::from(u128::MAX.checked_shl(128 - u32::from(*n).min(128)).unwrap_or(0)).into()
            }
            Some(Value::Prefix(n)) if *n <= 32 => v4(*n),
            _ if v6 => Ipv6Addr::from(u128::MAX).into(),
            _ => Ipv4Addr::BROADCAST.into(),
        };
        Some(Persistence { timeout_s, mask })
    }

    /// The forwarding method of the first of these that names one.
    fn forwarding_method(&mut self, places: [(&Section, &str); 2]) -> Option<ForwardingMethod> {
        // keepalived takes NAT where none is written, and the check has said so.
        let Some(entry) = places.iter().find_map(|(s, k)| s.get(k)) else { return Some(ForwardingMethod::Nat) };
        let Value::LvsMethod(m) = &entry.value else { return None };
        Some(match **m {
            LvsMethod::Nat => ForwardingMethod::Nat,
            LvsMethod::Dr => ForwardingMethod::Dr,
            LvsMethod::Tun(kind, port, checksum) => ForwardingMethod::Tun(Tunnel {
                kind: match (kind, port) {
                    ("gue", Some(port)) => TunnelKind::Gue(port),
                    ("gre", _) => TunnelKind::Gre,
                    _ => TunnelKind::Ipip,
                },
                checksum: match checksum {
                    Some("csum") => TunnelChecksum::Full,
                    Some("remcsum") => TunnelChecksum::Remote,
                    _ => TunnelChecksum::None,
                },
            }),
        })
    }

    fn sorry_server(&mut self, s: &Section, service: ServiceKey) -> Option<SorryServer> {
        let Value::Endpoint(addr, port) = s.get("sorry_server")?.value else { return None };
        let method = self.forwarding_method([(s, "sorry_server_lvs_method"), (s, "lvs_method")])?;
        if addr.is_ipv6() != service.addr.is_ipv6() && !matches!(method, ForwardingMethod::Tun(_)) {
            return None; // told already
        }
        let key = ServerKey { addr, port: destination_port(method, port, service) };
        Some(SorryServer { key, method, inhibit: s.has("sorry_server_inhibit") })
    }

    fn lower_real_server(
        &mut self,
        s: &Section,
        r: &Section,
        service: ServiceKey,
        (outer, usual): (&InheritedTiming, &DefaultWeights),
    ) -> Option<RealServer> {
        let Value::Endpoint(addr, port) = r.name else { return None };
        self.lower_server(s, r, service, (addr, port), (outer, usual))
    }

    fn lower_server(
        &mut self,
        s: &Section,
        r: &Section,
        service: ServiceKey,
        (addr, port): (IpAddr, Option<u16>),
        (outer, usual): (&InheritedTiming, &DefaultWeights),
    ) -> Option<RealServer> {
        let method = self.forwarding_method([(r, "lvs_method"), (s, "lvs_method")])?;
        if addr.is_ipv6() != service.addr.is_ipv6() && !matches!(method, ForwardingMethod::Tun(_)) {
            return None; // told already
        }
        let timing = InheritedTiming::inherit(r, *outer);
        let weight = r.uint("weight").or(s.uint("weight")).and_then(|n| Weight::new(n as u32));
        let port = port.filter(|p| *p != 0);
        let checks = r.entries.iter().filter_map(|e| if let Value::Section(k) = &e.value { Some(&**k) } else { None });
        let key = ServerKey { addr, port: destination_port(method, port, service) };
        let way = CheckedServer { service, server: key, method, port };
        let checks = checks.flat_map(|k| self.lower_checks([s, r, k], &timing, &way, usual)).collect();
        Some(RealServer {
            key,
            name: None,
            weight: weight.unwrap_or(Weight::DEFAULT),
            method,
            u_threshold: r.uint("uthreshold").unwrap_or(0) as u32,
            l_threshold: r.uint("lthreshold").unwrap_or(0) as u32,
            inhibit_on_failure: r.flag("inhibit_on_failure").unwrap_or(s.has("inhibit_on_failure")),
            alpha: timing.alpha.unwrap_or(false),
            drained: false,
            notify_up: self.script_command(r, "notify_up"),
            notify_down: self.script_command(r, "notify_down"),
            mail: self.sends_mail_alerts(r, "smtp_alert_checker", true),
            checks,
        })
    }
}
