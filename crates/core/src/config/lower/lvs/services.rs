//! `virtual_server` blocks to virtual services.

use std::collections::HashMap;

use super::inherit::{DEFAULT_DELAY_LOOP, InheritedTiming};
use super::server_groups::ServiceTarget;
use super::service_options::{configured_quorum, effective_quorum, fwmark_is_ipv6, removal_policy, scheduler_flags};
use crate::config::Diagnostic;
use crate::config::lower::LoweringContext;
use crate::config::lower::vrrp::DefaultWeights;
use crate::config::value::{Section, Value};
use crate::discovery::reachable_quorum;
use crate::model::{NamedServer, NamedServers, Protocol, RealServer, Scheduler, ServiceKey, VirtualServer};

impl LoweringContext<'_> {
    /// All virtual services of the file, each key once.
    pub(crate) fn lower_services(&mut self, weights: &DefaultWeights) -> Vec<VirtualServer> {
        let mut out: Vec<VirtualServer> = Vec::new();
        let mut indices = HashMap::new();
        let all: Vec<VirtualServer> =
            self.root.sections("virtual_server").flat_map(|s| self.lower_virtual_server(s, weights)).collect();
        for v in all {
            match indices.get(&v.key).and_then(|n: &usize| out.get_mut(*n)) {
                // As in keepalived, a second block of the same service adds its servers to the first block.
                Some(first) => {
                    let new: Vec<RealServer> =
                        v.servers.into_iter().filter(|r| !first.servers.iter().any(|f| f.key == r.key)).collect();
                    first.servers.extend(new);
                }
                None => {
                    indices.insert(v.key, out.len());
                    out.push(v);
                }
            }
        }
        out
    }

    /// One block: one service, or one for each member of its group.
    fn lower_virtual_server(&mut self, s: &Section, weights: &DefaultWeights) -> Vec<VirtualServer> {
        match &s.name {
            Value::Endpoint(a, p) => {
                let target = ServiceTarget::Address(*a, p.unwrap_or(0));
                self.lower_service(s, target, None, weights).into_iter().collect()
            }
            Value::Fwmark(mark) => {
                let target = ServiceTarget::Fwmark(*mark, None);
                self.lower_service(s, target, None, weights).into_iter().collect()
            }
            Value::Group(name) => {
                let mut out = Vec::new();
                let targets = self.group_targets(name);
                if s.has("member") && !targets.iter().any(|a| matches!(a, ServiceTarget::Fwmark(..))) {
                    let d = Diagnostic::lint(
                        "fwmark",
                        s.args_span("member"),
                        "`member` needs a firewall mark, and this group has none",
                    );
                    self.diagnostics.push(d.label("ignored").help("add `fwmark N` to the group"));
                }
                for target in targets {
                    let tag = (name.clone(), out.is_empty());
                    // A diagnostic of the block is reported for its first member only.
                    let reported = self.diagnostics.len();
                    let service = self.lower_service(s, target, Some(tag), weights);
                    if !out.is_empty() {
                        self.diagnostics.truncate(reported);
                    }
                    let Some(service) = service else { break };
                    out.push(service);
                }
                out
            }
            _ => Vec::new(),
        }
    }

    /// The service of one target. `group` is the name of its group, and whether it is the group's first member.
    fn lower_service(
        &mut self,
        s: &Section,
        target: ServiceTarget,
        group: Option<(String, bool)>,
        weights: &DefaultWeights,
    ) -> Option<VirtualServer> {
        if let ServiceTarget::Fwmark(0, _) = target {
            let message = "firewall mark 0 means that a packet has no mark".to_owned();
            self.report_unsupported(s.span, message, "expected 1 to 4294967295");
            return None;
        }
        // keepalived uses UDP where no protocol is given; `check` has reported it.
        let protocol = match s.text("protocol").map(str::to_ascii_uppercase).as_deref() {
            Some("TCP") => Protocol::Tcp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Udp,
        };
        let scheduler = self.scheduler(s)?;
        let key = match target {
            ServiceTarget::Address(addr, port) => ServiceKey::new(protocol, addr, port),
            ServiceTarget::Fwmark(mark, ipv6) => {
                ServiceKey::from_fwmark(mark, ipv6.unwrap_or_else(|| fwmark_is_ipv6(s)))
            }
        };
        let persistence = self.persistence(s, key.addr.is_ipv6());
        if key.fwmark == 0 && key.port == 0 && persistence.is_none() {
            return None; // `check` has reported it
        }
        let persistence_engine = self.persistence_engine(s)?;
        let mark_rules = if key.fwmark != 0 { self.mark_rules(s) } else { Vec::new() };
        let timing = InheritedTiming::inherit(s, InheritedTiming::default());
        let (servers, names) = self.lower_real_servers(s, key, &timing, weights);
        let configured_quorum = configured_quorum(s);
        Some(VirtualServer {
            key,
            quorum: if names.is_empty() {
                effective_quorum(configured_quorum, &servers)
            } else {
                reachable_quorum(configured_quorum, &servers)
            },
            named_servers: (!names.is_empty()).then(|| Box::new(NamedServers { servers: names, configured_quorum })),
            sorry_server: self.sorry_server(s, key),
            alpha: timing.alpha.unwrap_or(false),
            omega: s.has("omega"),
            ha_suspend: s.has("ha_suspend"),
            quorum_up: self.script_command(s, "quorum_up"),
            quorum_down: self.script_command(s, "quorum_down"),
            mail: self.sends_mail_alerts(s, "smtp_alert_checker", false),
            group,
            mark_rules,
            scheduler,
            scheduler_flags: scheduler_flags(s, scheduler),
            one_packet: s.has("ops") && (protocol == Protocol::Udp || key.fwmark != 0),
            persistence,
            persistence_engine,
            removal_policy: removal_policy(s),
            delay_loop: timing.delay_loop.unwrap_or(DEFAULT_DELAY_LOOP),
            servers,
        })
    }

    /// The real servers of a block: those with an address, each key once, and those with a host name.
    fn lower_real_servers(
        &mut self,
        s: &Section,
        key: ServiceKey,
        timing: &InheritedTiming,
        weights: &DefaultWeights,
    ) -> (Vec<RealServer>, Vec<NamedServer>) {
        let mut servers: Vec<RealServer> = Vec::new();
        let mut names = Vec::new();
        for r in s.sections("real_server") {
            match &r.name {
                Value::Host(name, port, srv) => {
                    names.extend(self.lower_named_server([s, r], key, (name, *port, *srv), (timing, weights)));
                }
                Value::Endpoint(addr, port) => {
                    if let Some(server) = self.lower_real_server([s, r], key, (*addr, *port), (timing, weights))
                        && !servers.iter().any(|e| e.key == server.key)
                    {
                        servers.push(server);
                    }
                }
                _ => {}
            }
        }
        (servers, names)
    }

    /// `lvs_sched`; wlc if none is given. `None` if no scheduler has this name.
    fn scheduler(&mut self, s: &Section) -> Option<Scheduler> {
        let Some(name) = s.text("lvs_sched") else { return Some(Scheduler::Wlc) };
        let scheduler = name.parse().ok();
        if scheduler.is_none() {
            let known = Scheduler::ALL.map(Scheduler::name).join(", ");
            self.report_unsupported(s.args_span("lvs_sched"), format!("no scheduler is named `{name}`"), &known);
        }
        scheduler
    }
}
