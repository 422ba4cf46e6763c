//! Checks of the real servers of a virtual server, and of its quorum.

use std::net::IpAddr;

use super::super::super::Diagnostic;
use super::super::super::value::{LvsMethod, Section, Value};
use super::super::{CheckContext, FirstSpans, duplicate_definition};
use super::{ServiceCheck, lvs_method};

impl ServiceCheck<'_> {
    pub(super) fn check_real_servers(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        let mut seen = FirstSpans::default();
        let mut total_weight = 0u64;
        let mut count = 0;
        for r in s.sections("real_server") {
            if let Some(weight) = self.check_real_server(c, r, &mut seen) {
                total_weight = total_weight.saturating_add(weight);
                count += 1;
            }
        }
        if s.sections("real_server").any(|r| matches!(r.name, Value::Host(..))) {
            return; // DNS determines the number of servers.
        }
        if count == 0 {
            if s.sections("real_server").next().is_none() && !s.is_mentioned("real_server") {
                c.report(
                    Diagnostic::warning("no-real-server", s.span, "this virtual server has no real servers")
                        .label("keepalived skips it"),
                );
            }
            return;
        }
        self.check_quorum(c, total_weight);
        if let Some(e) = s.get("sorry_server")
            && let Value::Endpoint(addr, _) = e.value
            && self.is_other_family(addr)
        {
            let message = format!("{addr} belongs to another address family than the virtual server");
            c.report(Diagnostic::error("family", e.args_span, message).label("the sorry server is skipped"));
        }
    }

    /// Returns the weight of a usable real server.
    fn check_real_server(
        &self,
        c: &mut CheckContext<'_>,
        r: &Section,
        seen: &mut FirstSpans<(IpAddr, Option<u16>)>,
    ) -> Option<u64> {
        let s = self.section;
        let Value::Endpoint(addr, port) = r.name else { return None };
        let method = lvs_method(r).or_else(|| lvs_method(s));
        if self.is_other_family(addr) && !matches!(method, Some(LvsMethod::Tun(..))) {
            let message = format!("{addr} belongs to another address family than the virtual server");
            c.report(Diagnostic::error("family", r.span, message).label("only TUN can forward to another family"));
            return None;
        }
        let port = port.filter(|p| *p != 0);
        let keeps_port = !matches!(method, None | Some(LvsMethod::Nat));
        if let (true, Some(own), Some(service)) = (keeps_port, port, self.port)
            && own != service
        {
            let method = if matches!(method, Some(LvsMethod::Dr)) { "direct routing" } else { "a tunnel" };
            c.report(
                Diagnostic::warning("dr-port", r.span, format!("{method} cannot change the port to {own}"))
                    .label(format!("packets arrive at port {service}"))
                    .note(s.span, "the port of the virtual server")
                    .help(format!("write `real_server {addr} {service}`, or `lvs_method NAT`")),
            );
        }
        let port = if keeps_port { self.port } else { port.or(self.port) };
        if let Some(first) = seen.insert((addr, port), r.span) {
            let message = format!("the real server {addr} is defined twice in this virtual server");
            c.report(duplicate_definition(r.span, first, message));
            return None;
        }
        check_thresholds(c, r);
        Some(r.uint("weight").or(s.uint("weight")).unwrap_or(1))
    }

    /// Whether an address belongs to another family than the address of the service.
    fn is_other_family(&self, addr: IpAddr) -> bool {
        self.addr.is_some_and(|v| v.is_ipv4() != addr.is_ipv4())
    }

    fn check_quorum(&self, c: &mut CheckContext<'_>, total_weight: u64) {
        let s = self.section;
        let quorum = s.uint("quorum").unwrap_or(1);
        if quorum > total_weight {
            c.report(
                Diagnostic::warning("quorum", s.args_span("quorum"), format!("the quorum {quorum} cannot be reached"))
                    .label(format!("the weights of all real servers add up to {total_weight}"))
                    .help("raise the weights, or lower the quorum"),
            );
        }
        let limit = quorum.min(total_weight).max(1);
        if let Some(hysteresis) = s.uint("hysteresis").filter(|h| *h >= limit) {
            let message = format!("the hysteresis {hysteresis} is not less than the quorum");
            let d = Diagnostic::warning("quorum", s.args_span("hysteresis"), message);
            c.report(d.label(format!("expected less than {limit}")));
        }
    }
}

fn check_thresholds(c: &mut CheckContext<'_>, r: &Section) {
    let (upper, lower) = (r.uint("uthreshold").unwrap_or(0), r.uint("lthreshold").unwrap_or(0));
    if upper > 0 && lower > upper {
        let message = "`lthreshold` is greater than `uthreshold`";
        c.report(
            Diagnostic::lint("thresholds", r.args_span("lthreshold"), message)
                .label(format!("{lower} is greater than {upper}"))
                .help("write a value below `uthreshold`, so that a full server counts as full until connections end"),
        );
    }
}
