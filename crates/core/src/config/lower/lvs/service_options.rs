//! Options of a virtual service: quorum, scheduler flags, removal policy, persistence, mark rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::Diagnostic;
use crate::config::lower::LoweringContext;
use crate::config::value::{Entry, Section, Value};
use crate::model::{
    DataPlaneMode, MarkRule, Persistence, PersistenceEngine, Quorum, RealServer, RemovalPolicy, Scheduler,
    SchedulerFlags,
};

/// Whether the packets of a mark are IPv6: by `ip_family`, or else if any real server has an IPv6 address.
pub(super) fn fwmark_is_ipv6(s: &Section) -> bool {
    match s.text("ip_family") {
        Some(family) => family == "inet6",
        None => s.sections("real_server").any(|r| matches!(r.name, Value::Endpoint(IpAddr::V6(_), _))),
    }
}

/// The quorum and the hysteresis as the file gives them, whether the servers can reach them or not.
pub(super) fn configured_quorum(s: &Section) -> Quorum {
    let number = |keyword, default| s.uint(keyword).map_or(default, |n| n as u32);
    Quorum { weight: number("quorum", 1), hysteresis: number("hysteresis", 0) }
}

/// The quorum in effect. As in keepalived, a quorum above the sum of the weights becomes that sum, and a hysteresis of
/// the quorum or more becomes one less than the quorum.
pub(super) fn effective_quorum(configured: Quorum, servers: &[RealServer]) -> Quorum {
    let sum = servers.iter().fold(0u32, |sum, r| sum.saturating_add(r.weight.get()));
    let weight = configured.weight.min(sum);
    Quorum { weight, hysteresis: configured.hysteresis.min(weight.saturating_sub(1)) }
}

/// `sh-fallback`, `sh-port`, `mh-fallback` and `mh-port`, each for its own scheduler, and `flag-N`, which set the same
/// bits for any scheduler (keepalived.conf(5): flag-1 is fallback, flag-2 is port).
pub(super) fn scheduler_flags(s: &Section, scheduler: Scheduler) -> SchedulerFlags {
    let own = |flag: &str| match scheduler {
        Scheduler::Sh => s.has(&format!("sh-{flag}")),
        Scheduler::Mh => s.has(&format!("mh-{flag}")),
        _ => false,
    };
    let has = |flag: &str, bit: &str| own(flag) || s.has(bit);
    SchedulerFlags { fallback: has("fallback", "flag-1"), port: has("port", "flag-2"), flag3: s.has("flag-3") }
}

/// `removed_server drop|drain SECONDS|reject|reschedule`
pub(super) fn removal_policy(s: &Section) -> RemovalPolicy {
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
    /// The `member` lines of a service on a firewall mark. Reports where they, or their absence, leave the service
    /// without packets.
    pub(super) fn mark_rules(&mut self, s: &Section) -> Vec<MarkRule> {
        let mark_rule = |e: &Entry| match &e.value {
            Value::FwmarkMember(m) => Some(**m),
            _ => None,
        };
        let all: Vec<MarkRule> = s.get_all("member").filter_map(mark_rule).collect();
        let (span, message, label) = match self.dataplane_choice() {
            DataPlaneMode::Ipvs if !all.is_empty() => {
                (s.args_span("member"), "IPVS sees only marks that netfilter sets", "no effect with `dataplane ipvs`")
            }
            DataPlaneMode::Xdp if all.is_empty() => (
                s.span,
                "no packet gets this mark",
                "the service gets packets only if tc, or nftables on a lower device, sets the mark",
            ),
            _ => return all,
        };
        let d = Diagnostic::lint("fwmark", span, message).label(label);
        let help = "write `member ADDRESSES PROTOCOL PORTS` and `dataplane xdp`, or set the mark with nftables";
        self.diagnostics.push(d.help(help));
        all
    }

    /// `persistence_engine`. The outer `None` says that no engine has this name, which is reported.
    pub(super) fn persistence_engine(&mut self, s: &Section) -> Option<Option<PersistenceEngine>> {
        match s.text("persistence_engine") {
            None => Some(None),
            Some("sip") if self.dataplane_choice() == DataPlaneMode::Xdp => {
                self.report_not_in_force(s.args_span("persistence_engine"), "persistence_engine");
                Some(None)
            }
            Some("sip") => Some(Some(PersistenceEngine::Sip)),
            Some(name) => {
                let message = format!("no persistence engine is named `{name}`");
                self.report_unsupported(s.args_span("persistence_engine"), message, "expected sip");
                None
            }
        }
    }

    /// `persistence_timeout` and `persistence_granularity`. The timeout is 360 s if the keyword has no argument, and
    /// the mask covers the whole address by default.
    pub(super) fn persistence(&mut self, s: &Section, v6: bool) -> Option<Persistence> {
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
}
