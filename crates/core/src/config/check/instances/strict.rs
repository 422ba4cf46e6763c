//! Checks of strict mode: what RFC 9568 and RFC 3768 do not define (keepalived.conf(5), "strict_mode").

use std::net::IpAddr;

use super::super::super::Diagnostic;
use super::super::{CheckContext, address_lines};
use super::InstanceCheck;

impl InstanceCheck<'_> {
    pub(super) fn check_strict_mode(&self, c: &mut CheckContext<'_>) {
        if !self.strict {
            return;
        }
        let s = self.section;
        let mut conflict = |keyword: &str, consequence: &str| {
            let message = format!("strict mode conflicts with `{keyword}`");
            c.report(Diagnostic::warning("strict", s.args_span(keyword), message).label(consequence.to_owned()));
        };
        if s.has("authentication") && self.version == 2 {
            conflict("authentication", "RFC 3768 has no authentication: ignored");
        }
        if s.time("preempt_delay").is_some_and(|t| !t.is_zero()) {
            conflict("preempt_delay", "not defined by an RFC: ignored");
        }
        if s.has("unicast_peer") {
            conflict("unicast_peer", "not defined by an RFC: adverts go to the multicast group");
        }
        if s.has("accept") && self.version == 2 && self.priority != 255 {
            conflict("accept", "RFC 3768 has no accept mode: ignored");
        }
        if self.master != (self.priority == 255) && s.has("state") {
            conflict("state", "MASTER is the state of the address owner, priority 255, only");
        }
        if s.uint("garp_lower_prio_repeat").is_some_and(|n| n > 0) {
            conflict("garp_lower_prio_repeat", "not defined by an RFC: set to 0");
        }
        if s.flag("higher_prio_send_advert") == Some(true) {
            conflict("higher_prio_send_advert", "not defined by an RFC: set to off");
        }
        if s.has("vmac_xmit_base") {
            conflict("vmac_xmit_base", "adverts must have the virtual MAC address (RFC 9568, 7.3): ignored");
        }
        if self.ipv6 {
            self.check_first_is_link_local(c);
        }
    }

    /// RFC 9568, 5.2.9
    fn check_first_is_link_local(&self, c: &mut CheckContext<'_>) {
        if let Some((span, a)) = address_lines(self.section, "virtual_ipaddress").next()
            && let IpAddr::V6(v6) = a.addr
            && !v6.is_unicast_link_local()
        {
            c.report(
                Diagnostic::error("strict", span, "in strict mode the first IPv6 address must be link-local")
                    .label("expected an address of fe80::/10 (RFC 9568, 5.2.9)"),
            );
        }
    }
}
