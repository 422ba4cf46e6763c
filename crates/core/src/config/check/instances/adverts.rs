//! Checks of what concerns adverts: version, interval, preemption, source and destination.

use std::net::IpAddr;
use std::time::Duration;

use super::super::super::Diagnostic;
use super::super::super::value::Line;
use super::super::{CheckContext, expected_family};
use super::InstanceCheck;

impl InstanceCheck<'_> {
    /// RFC 3768, 5.3.7: whole seconds; RFC 9568, 5.2.7: twelve bits of centiseconds.
    pub(super) fn check_version(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        if self.ipv6 && s.uint("version") == Some(2) {
            c.report(
                Diagnostic::error("version", s.args_span("version"), "VRRPv2 does not support IPv6")
                    .label("expected version 3, since the addresses are IPv6"),
            );
        }
        let Some(interval) = s.time("advert_int") else { return };
        let span = s.args_span("advert_int");
        let invalid =
            |message: &str, label: &str| Diagnostic::error("advert-int", span, message).label(label.to_owned());
        if self.version == 2 && interval.subsec_nanos() != 0 {
            c.report(
                invalid("VRRPv2 advertisement intervals are whole seconds", "not a whole number")
                    .help("write `version 3` on all directors for shorter intervals"),
            );
        }
        if self.version == 3 && interval > Duration::from_millis(40_950) {
            c.report(invalid("VRRPv3 advertisement intervals are at most 40.95 seconds", "too long"));
        } else if self.version == 3 && interval.as_micros() % 10_000 != 0 {
            c.report(invalid("VRRPv3 advertisement intervals are multiples of 0.01 seconds", "too precise"));
        }
    }

    /// keepalived.conf(5): nopreempt needs `state BACKUP`; preempt_delay goes with neither MASTER nor nopreempt.
    pub(super) fn check_preemption(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        let nopreempt = s.get("nopreempt").filter(|n| s.get("preempt").is_none_or(|p| p.keyword_span < n.keyword_span));
        if let Some(e) = nopreempt
            && (self.master || self.priority == 255)
        {
            let message = "`nopreempt` conflicts with state MASTER or priority 255";
            c.report(
                Diagnostic::warning("nopreempt", e.keyword_span, message)
                    .label("ignored")
                    .help("write `state BACKUP` on all directors"),
            );
        }
        if let Some(delay) = s.time("preempt_delay")
            && !delay.is_zero()
            && (self.master || nopreempt.is_some())
        {
            let message = "`preempt_delay` conflicts with state MASTER or `nopreempt`";
            c.report(Diagnostic::warning("preempt-delay", s.args_span("preempt_delay"), message).label("ignored"));
        }
        if self.priority == 255 && s.flag("owner_ignore_adverts") == Some(false) {
            let span = s.args_span("owner_ignore_adverts");
            c.report(
                Diagnostic::warning("strict", span, "an address owner (priority 255) ignores adverts")
                    .label("required by RFC 9568, 6.4.3")
                    .help("remove this line"),
            );
        }
    }

    pub(super) fn check_unicast(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        let mut peers = 0;
        for (span, line) in s.lines("unicast_peer") {
            let Line::Options(o) = line else { continue };
            let Some(addr) = o.first().and_then(|(a, _)| a.parse::<IpAddr>().ok()) else { continue };
            if addr.is_ipv6() == self.ipv6 {
                peers += 1;
            } else {
                c.report(self.other_family(*span, addr).label("adverts cannot be sent to this peer"));
            }
        }
        let unicast = ["unicast_src_ip", "unicast_peer"].into_iter().find(|k| s.has(k));
        if let (Some(keyword), 0) = (unicast, peers)
            && !s.has("unicast_fault_no_peer")
        {
            c.report(
                Diagnostic::warning("no-peer", s.args_span(keyword), "unicast is configured without a peer")
                    .label("adverts go to the multicast group")
                    .help("add `unicast_peer { ADDRESS }`, or remove this line"),
            );
        }
        for keyword in ["mcast_src_ip", "unicast_src_ip", "mcast_dst_ip"] {
            if let Some(addr) = s.address(keyword).filter(|a| a.is_ipv6() != self.ipv6) {
                c.report(self.other_family(s.args_span(keyword), addr).label(expected_family(self.ipv6)));
            }
        }
    }

    fn other_family(&self, span: super::super::Span, addr: IpAddr) -> Diagnostic {
        let family = if self.ipv6 { "IPv6" } else { "IPv4" };
        Diagnostic::error("family", span, format!("the instance uses {family}, and {addr} does not fit"))
    }
}
