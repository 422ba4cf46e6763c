//! `virtual_server` to virtual services.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::super::value::{Method, Section, Value};
use super::Lower;
use crate::model::{
    Check, CheckKind, CheckTiming, ForwardingMethod, HttpUrl, Persistence, Protocol, RealServer, Scheduler, ServerKey,
    ServiceKey, StatusRange, VirtualServer, Weight,
};

/// keepalived.conf(5), "delay_loop".
const DELAY_LOOP: Duration = Duration::from_secs(60);

/// What virtual server, real server and checker inherit from each other.
#[derive(Clone, Copy, Default)]
struct Timing {
    delay_loop: Option<Duration>,
    connect_timeout: Option<Duration>,
    retry: Option<u32>,
    delay_before_retry: Option<Duration>,
    warmup: Option<Duration>,
    alpha: Option<bool>,
}

impl Timing {
    /// What a block sets, and what the block around it set.
    fn of(s: &Section, outer: Timing) -> Timing {
        Timing {
            delay_loop: s.time("delay_loop").or(outer.delay_loop),
            connect_timeout: s.time("connect_timeout").or(outer.connect_timeout),
            retry: s.uint("retry").map(|n| n as u32).or(outer.retry),
            delay_before_retry: s.time("delay_before_retry").or(outer.delay_before_retry),
            warmup: s.time("warmup").or(outer.warmup),
            alpha: s.flag("alpha").or(outer.alpha),
        }
    }
}

impl Lower<'_> {
    pub(super) fn services(&mut self) -> Vec<VirtualServer> {
        let mut out: Vec<VirtualServer> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for s in self.root.sections("virtual_server") {
            let Some(v) = self.service(s) else { continue };
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

    fn service(&mut self, s: &Section) -> Option<VirtualServer> {
        let (addr, port) = match &s.name {
            Value::Endpoint(IpAddr::V4(a), p) => (*a, p.unwrap_or(0)),
            Value::Endpoint(a, _) => {
                self.unsupported(s.at, format!("{a}: services of IPv6 are not supported yet"), "IPv4 is");
                return None;
            }
            Value::Mark(_) | Value::Group(_) => {
                let kind = if matches!(s.name, Value::Mark(_)) { "fwmark" } else { "group" };
                self.unsupported(
                    s.at,
                    format!("`virtual_server {kind}` is not supported yet"),
                    "expected an address and a port",
                );
                return None;
            }
            _ => return None,
        };
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
            if let Some(server) = self.real_server(s, r, key, &timing)
                && !servers.iter().any(|e| e.key == server.key)
            {
                servers.push(server);
            }
        }
        Some(VirtualServer {
            key,
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

    fn real_server(&mut self, s: &Section, r: &Section, service: ServiceKey, outer: &Timing) -> Option<RealServer> {
        let Value::Endpoint(addr, port) = r.name else { return None };
        let (of, entry) = match r.get("lvs_method") {
            Some(e) => (r, Some(e)),
            None => (s, s.get("lvs_method")),
        };
        match entry.map(|e| &e.value) {
            Some(Value::Method(m)) if **m == Method::Dr => {}
            Some(Value::Method(m)) => {
                let name = if **m == Method::Nat { "NAT" } else { "TUN" };
                let at = of.place("lvs_method");
                let what = format!("forwarding by {name} is not supported yet");
                // The service's own method is told once, not for each of its servers.
                if !self.diagnostics.iter().rev().take(8).any(|d| d.span == at && d.message == what) {
                    self.unsupported(at, what, "DR is");
                }
                return None;
            }
            _ => return None, // told already
        }
        let IpAddr::V4(addr) = addr else { return None };
        let timing = Timing::of(r, *outer);
        let weight = r.uint("weight").or(s.uint("weight")).and_then(|n| Weight::new(n as u32));
        let port = port.filter(|p| *p != 0);
        let mut checks = Vec::new();
        for e in &r.entries {
            if let (Value::Section(k), "TCP_CHECK" | "HTTP_GET" | "BFD_CHECK") = (&e.value, e.keyword.name) {
                checks.extend(self.check(s, r, k, &timing, port));
            }
        }
        Some(RealServer {
            // The kernel ignores a DR destination's port as well; ipvsadm replaces it by the service's.
            key: ServerKey { addr, port: service.port },
            weight: weight.unwrap_or(Weight::DEFAULT),
            method: ForwardingMethod::Dr,
            u_threshold: r.uint("uthreshold").unwrap_or(0) as u32,
            l_threshold: r.uint("lthreshold").unwrap_or(0) as u32,
            inhibit_on_failure: r.flag("inhibit_on_failure").unwrap_or(s.has("inhibit_on_failure")),
            alpha: timing.alpha.unwrap_or(false),
            notify_up: self.command(r, "notify_up"),
            notify_down: self.command(r, "notify_down"),
            mail: self.mails(r, "smtp_alert_checker", true),
            checks,
        })
    }

    fn check(&mut self, s: &Section, r: &Section, k: &Section, outer: &Timing, port: Option<u16>) -> Option<Check> {
        let http = k.block.name() == "HTTP_GET";
        if k.block.name() == "BFD_CHECK" {
            return Some(Check { alpha: k.flag("alpha"), ..Check::bfd(k.text("name")?.to_owned()) });
        }
        let timing = Timing::of(k, *outer);
        let delay_loop = timing.delay_loop.unwrap_or(DELAY_LOOP);
        let kind = if http {
            let virtualhost =
                k.text("virtualhost").or(r.text("virtualhost")).or(s.text("virtualhost")).map(str::to_owned);
            let urls: Vec<HttpUrl> = k.sections("url").filter_map(url).collect();
            if urls.is_empty() {
                return None; // told already
            }
            CheckKind::Http { urls, virtualhost }
        } else {
            CheckKind::Tcp
        };
        let mut address = |keyword: &str| match k.address(keyword) {
            Some(IpAddr::V4(a)) => Some(a),
            Some(IpAddr::V6(a)) => {
                let what = format!("{a}: checks over IPv6 are not supported yet");
                self.diagnostics.push(super::Diagnostic::unsupported(k.place(keyword), what).label("IPv4 is"));
                None
            }
            None => None,
        };
        let (connect_ip, bindto) = (address("connect_ip"), address("bindto"));
        Some(Check {
            kind,
            timing: CheckTiming {
                delay_loop,
                connect_timeout: timing.connect_timeout.unwrap_or(Duration::from_secs(5)),
                retry: timing.retry.unwrap_or(1),
                delay_before_retry: timing.delay_before_retry.unwrap_or(Duration::from_secs(if http { 3 } else { 1 })),
                warmup: timing.warmup.unwrap_or(delay_loop),
            },
            connect_ip,
            connect_port: k.uint("connect_port").map(|n| n as u16).or(port),
            bindto,
            alpha: k.flag("alpha"),
        })
    }
}

fn url(u: &Section) -> Option<HttpUrl> {
    let status = match u.get("status_code").map(|e| &e.value) {
        Some(Value::Ranges(r)) => r.iter().map(|(from, to)| StatusRange { from: *from, to: *to }).collect(),
        _ => vec![StatusRange { from: 200, to: 299 }],
    };
    Some(HttpUrl { path: u.text("path")?.to_owned(), status, virtualhost: u.text("virtualhost").map(str::to_owned) })
}
