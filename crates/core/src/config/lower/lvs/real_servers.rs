//! `real_server` and `sorry_server`: destinations of a virtual service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checkers::CheckedServer;
use super::inherit::InheritedTiming;
use crate::config::lower::LoweringContext;
use crate::config::lower::vrrp::DefaultWeights;
use crate::config::value::{LvsMethod, Section, Value};
use crate::discovery::NameQuery;
use crate::model::{
    ForwardingMethod, NamedServer, RealServer, ServerKey, ServiceKey, SorryServer, Tunnel, TunnelChecksum, TunnelKind,
    Weight,
};

/// The port of a destination. Only methods that map ports use the destination's own: IPVS ignores it for the others,
/// and ipvsadm replaces it by the port of the service.
fn destination_port(method: ForwardingMethod, port: Option<u16>, service: ServiceKey) -> u16 {
    let port = port.filter(|p| *p != 0);
    if method.may_map_ports() { port.unwrap_or(service.port) } else { service.port }
}

/// Whether packets to `service` can be forwarded to `addr`: only a tunnel carries one family inside the other.
fn can_forward(service: ServiceKey, addr: IpAddr, method: ForwardingMethod) -> bool {
    addr.is_ipv6() == service.addr.is_ipv6() || matches!(method, ForwardingMethod::Tun(_))
}

impl LoweringContext<'_> {
    /// A real server with a host name: the query to resolve it, and the server that each result is made from.
    pub(super) fn lower_named_server(
        &mut self,
        blocks: [&Section; 2],
        service: ServiceKey,
        (name, port, srv): (&str, Option<u16>, bool),
        outer: (&InheritedTiming, &DefaultWeights),
    ) -> Option<NamedServer> {
        let unspecified: IpAddr =
            if service.addr.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let prototype = self.lower_real_server(blocks, service, (unspecified, port), outer)?;
        Some(NamedServer { query: NameQuery { name: name.to_owned(), srv }, port, prototype })
    }

    /// A real server with an address. `[s, r]` are the blocks of the virtual server and of the real server; `None` if
    /// its method is invalid or cannot reach it, which `read` and `check` have reported.
    pub(super) fn lower_real_server(
        &mut self,
        [s, r]: [&Section; 2],
        service: ServiceKey,
        (addr, port): (IpAddr, Option<u16>),
        (outer, weights): (&InheritedTiming, &DefaultWeights),
    ) -> Option<RealServer> {
        let method = self.forwarding_method([(r, "lvs_method"), (s, "lvs_method")])?;
        if !can_forward(service, addr, method) {
            return None;
        }
        let timing = InheritedTiming::inherit(r, *outer);
        let weight = r.uint("weight").or(s.uint("weight")).and_then(|n| Weight::new(n as u32));
        let port = port.filter(|p| *p != 0);
        let checks = r.entries.iter().filter_map(|e| if let Value::Section(k) = &e.value { Some(&**k) } else { None });
        let key = ServerKey { addr, port: destination_port(method, port, service) };
        let checked = CheckedServer { service, method, port };
        let checks = checks.flat_map(|k| self.lower_checks([s, r, k], &timing, &checked, weights)).collect();
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

    /// `sorry_server`: the destination while no real server is available.
    pub(super) fn sorry_server(&mut self, s: &Section, service: ServiceKey) -> Option<SorryServer> {
        let Value::Endpoint(addr, port) = s.get("sorry_server")?.value else { return None };
        let method = self.forwarding_method([(s, "sorry_server_lvs_method"), (s, "lvs_method")])?;
        if !can_forward(service, addr, method) {
            return None; // `check` has reported it
        }
        let key = ServerKey { addr, port: destination_port(method, port, service) };
        Some(SorryServer { key, method, inhibit: s.has("sorry_server_inhibit") })
    }

    /// The forwarding method by the first of `settings`, pairs of a block and a keyword, that is set.
    fn forwarding_method(&mut self, settings: [(&Section, &str); 2]) -> Option<ForwardingMethod> {
        // keepalived uses NAT where no method is given; `check` has reported it.
        let Some(entry) = settings.iter().find_map(|(s, k)| s.get(k)) else { return Some(ForwardingMethod::Nat) };
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
}
