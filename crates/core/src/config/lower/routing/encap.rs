//! The `encap` options of a route: lightweight tunnels (ip-route(8), "encap").

use super::options::OptionList;
use crate::config::Span;
use crate::config::lower::LoweringContext;
use crate::config::read::{parse_ila_locator, parse_mpls_labels};
use crate::model::Encap;

impl LoweringContext<'_> {
    /// `encap KIND` of a next hop. `options` are those after the word `encap`; the ones that belong to it begin with
    /// `encap.`.
    pub(super) fn lower_encap(&mut self, span: Span, kind: &str, options: OptionList<'_>) -> Option<Encap> {
        let own = options.iter().take_while(|(name, _)| name.starts_with("encap."));
        let own: Vec<(&str, &str)> =
            own.map(|(name, v)| (name.trim_start_matches("encap."), v.as_deref().unwrap_or(""))).collect();
        let value = |name: &str| own.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| *v);
        match kind {
            "mpls" => return parse_mpls_labels(value("label")?).map(Encap::Mpls),
            "ila" => return parse_ila_locator(value("label")?).map(Encap::Ila),
            _ => {}
        }
        let class = match value("tos").or(value("tc")) {
            Some(word) => self.resolve_name(span, "rt_dsfield", word)? as u8,
            None => 0,
        };
        Some(Encap::Ip {
            ipv6: kind == "ip6",
            id: value("id").and_then(|v| v.trim_start_matches('+').parse().ok()),
            dst: value("dst").and_then(|v| v.parse().ok()),
            src: value("src").and_then(|v| v.parse().ok()),
            class,
            ttl: value("ttl").or(value("hoplimit")).and_then(|v| v.parse().ok()).unwrap_or(0),
            flags: value("flags").and_then(|v| v.parse().ok()).unwrap_or(0),
        })
    }
}
