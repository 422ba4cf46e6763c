//! `virtual_server` to virtual services.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::super::value::{Method, Section, Value};
use super::{Lower, Usual};
use crate::model::{
    ForwardingMethod, Persistence, Protocol, Quorum, RealServer, Scheduler, ServerKey, ServiceKey, Sorry,
    VirtualServer, Weight,
};

/// keepalived.conf(5), "delay_loop".
pub(super) const DELAY_LOOP: Duration = Duration::from_secs(60);

/// What virtual server, real server and checker inherit from each other.
#[derive(Clone, Copy, Default)]
pub(super) struct Timing {
    pub delay_loop: Option<Duration>,
    pub connect_timeout: Option<Duration>,
    pub retry: Option<u32>,
    pub delay_before_retry: Option<Duration>,
    pub warmup: Option<Duration>,
    pub alpha: Option<bool>,
}

impl Timing {
    /// What a block sets, and what the block around it set.
    pub fn of(s: &Section, outer: Timing) -> Timing {
        Timing {
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

/// keepalived takes a quorum that cannot be reached for the sum of the weights, and a hysteresis that leaves nothing for
/// one less than the quorum.
fn quorum(s: &Section, servers: &[RealServer]) -> Quorum {
    let sum = servers.iter().fold(0u32, |sum, r| sum.saturating_add(r.weight.get()));
    let weight = s.uint("quorum").map_or(1, |n| n as u32).min(sum);
    let hysteresis = s.uint("hysteresis").map_or(0, |n| n as u32).min(weight.saturating_sub(1));
    Quorum { weight, hysteresis }
}

impl Lower<'_> {
    pub(super) fn services(&mut self, usual: &Usual) -> Vec<VirtualServer> {
        let mut out: Vec<VirtualServer> = Vec::new();
        let mut places = std::collections::HashMap::new();
        let all: Vec<VirtualServer> = self.root.sections("virtual_server").flat_map(|s| self.block(s, usual)).collect();
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
    fn block(&mut self, s: &Section, usual: &Usual) -> Vec<VirtualServer> {
        match &s.name {
            Value::Endpoint(IpAddr::V4(a), p) => {
                self.service(s, (*a, p.unwrap_or(0)), None, usual).into_iter().collect()
            }
            Value::Endpoint(a, _) => {
                self.unsupported(s.at, format!("{a}: services of IPv6 are not supported yet"), "IPv4 is");
                Vec::new()
            }
            Value::Mark(_) => {
                let what = "`virtual_server fwmark` is not supported yet".to_owned();
                self.unsupported(s.at, what, "expected an address and a port, or a group");
                Vec::new()
            }
            Value::Group(name) => {
                let mut out = Vec::new();
                for at in self.group_addresses(name) {
                    let tag = (name.clone(), out.is_empty());
                    // What is wrong with the block is told once, not for each address.
                    let known = self.diagnostics.len();
                    let service = self.service(s, at, Some(tag), usual);
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

    fn service(
        &mut self,
        s: &Section,
        (addr, port): (Ipv4Addr, u16),
        group: Option<(String, bool)>,
        usual: &Usual,
    ) -> Option<VirtualServer> {
        // keepalived takes UDP where none is written, and says so.
        let protocol = match s.text("protocol").map(str::to_ascii_uppercase).as_deref() {
            Some("TCP") => Protocol::Tcp,
            Some("SCTP") => {
                self.unsupported(s.place("protocol"), "SCTP is not supported yet".to_owned(), "TCP and UDP are");
                return None;
            }
            _ => Protocol::Udp,
        };
        let scheduler = match s.text("lvs_sched") {
            None => Scheduler::Wlc,
            Some(name) => match name.parse() {
                Ok(known) => known,
                Err(()) => {
                    let what = format!("the scheduler `{name}` is not supported yet");
                    self.unsupported(s.place("lvs_sched"), what, "rr, wrr and wlc are");
                    return None;
                }
            },
        };
        let persistence = self.persistence(s);
        if port == 0 && persistence.is_none() {
            return None; // told already
        }
        let timing = Timing::of(s, Timing::default());
        let key = ServiceKey { protocol, addr, port };
        let mut servers: Vec<RealServer> = Vec::new();
        for r in s.sections("real_server") {
            if let Some(server) = self.real_server(s, r, key, (&timing, usual))
                && !servers.iter().any(|e| e.key == server.key)
            {
                servers.push(server);
            }
        }
        Some(VirtualServer {
            key,
            quorum: quorum(s, &servers),
            sorry: self.sorry(s, key),
            alpha: timing.alpha.unwrap_or(false),
            omega: s.has("omega"),
            ha_suspend: s.has("ha_suspend"),
            quorum_up: self.command(s, "quorum_up"),
            quorum_down: self.command(s, "quorum_down"),
            mail: self.mails(s, "smtp_alert_checker", false),
            group,
            scheduler,
            persistence,
            delay_loop: timing.delay_loop.unwrap_or(DELAY_LOOP),
            servers,
        })
    }

    fn persistence(&mut self, s: &Section) -> Option<Persistence> {
        let e = s.get("persistence_timeout")?;
        let timeout_s = match e.value {
            Value::Uint(n) => n as u32,
            _ => 360,
        };
        let mask = match s.get("persistence_granularity").map(|e| &e.value) {
            Some(Value::Mask(IpAddr::V4(m))) => *m,
            Some(Value::Prefix(n)) if *n <= 32 => Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(*n)).unwrap_or(0)),
            _ => Ipv4Addr::BROADCAST,
        };
        Some(Persistence { timeout_s, mask })
    }

    /// The forwarding method of the first of these that names one.
    fn method(&mut self, places: [(&Section, &str); 2]) -> Option<ForwardingMethod> {
        let (of, keyword, entry) = places.iter().find_map(|(s, k)| Some((s, *k, s.get(k)?)))?;
        match &entry.value {
            Value::Method(m) if **m == Method::Dr => Some(ForwardingMethod::Dr),
            Value::Method(m) => {
                let name = if **m == Method::Nat { "NAT" } else { "TUN" };
                let at = of.place(keyword);
                let what = format!("forwarding by {name} is not supported yet");
                // The service's own method is told once, not for each of its servers.
                if !self.diagnostics.iter().rev().take(8).any(|d| d.span == at && d.message == what) {
                    self.unsupported(at, what, "DR is");
                }
                None
            }
            _ => None, // told already
        }
    }

    fn sorry(&mut self, s: &Section, service: ServiceKey) -> Option<Sorry> {
        let Value::Endpoint(IpAddr::V4(addr), _) = s.get("sorry_server")?.value else { return None };
        let method = self.method([(s, "sorry_server_lvs_method"), (s, "lvs_method")])?;
        let key = ServerKey { addr, port: service.port };
        Some(Sorry { key, method, inhibit: s.has("sorry_server_inhibit") })
    }

    fn real_server(
        &mut self,
        s: &Section,
        r: &Section,
        service: ServiceKey,
        (outer, usual): (&Timing, &Usual),
    ) -> Option<RealServer> {
        let Value::Endpoint(addr, port) = r.name else { return None };
        let method = self.method([(r, "lvs_method"), (s, "lvs_method")])?;
        let IpAddr::V4(addr) = addr else { return None };
        let timing = Timing::of(r, *outer);
        let weight = r.uint("weight").or(s.uint("weight")).and_then(|n| Weight::new(n as u32));
        let port = port.filter(|p| *p != 0);
        let checks = r.entries.iter().filter_map(|e| if let Value::Section(k) = &e.value { Some(&**k) } else { None });
        let checks = checks.flat_map(|k| self.checks([s, r, k], &timing, port, usual)).collect();
        Some(RealServer {
            // The kernel ignores a DR destination's port as well; ipvsadm replaces it by the service's.
            key: ServerKey { addr, port: service.port },
            weight: weight.unwrap_or(Weight::DEFAULT),
            method,
            u_threshold: r.uint("uthreshold").unwrap_or(0) as u32,
            l_threshold: r.uint("lthreshold").unwrap_or(0) as u32,
            inhibit_on_failure: r.flag("inhibit_on_failure").unwrap_or(s.has("inhibit_on_failure")),
            alpha: timing.alpha.unwrap_or(false),
            drained: false,
            notify_up: self.command(r, "notify_up"),
            notify_down: self.command(r, "notify_down"),
            mail: self.mails(r, "smtp_alert_checker", true),
            checks,
        })
    }
}
