//! What a route's packets are put into.

use super::super::Span;
use super::super::read::encap::{parse_ila_locator, parse_mpls_labels};
use super::LoweringContext;
use super::routes::OptionList;
use crate::model::Encap;

impl LoweringContext<'_> {
    /// `encap TYPE` of a next hop, with the options that stand behind it.
    pub(super) fn lower_encap(&mut self, at: Span, kind: &str, behind: OptionList<'_>) -> Option<Encap> {
        let own = behind.iter().take_while(|(name, _)| name.starts_with("encap."));
        let own: Vec<(&str, &str)> =
            own.map(|(name, v)| (name.trim_start_matches("encap."), v.as_deref().unwrap_or(""))).collect();
        let of = |name: &str| own.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| *v);
        match kind {
            "mpls" => return parse_mpls_labels(of("label")?).map(Encap::Mpls),
            "ila" => return parse_ila_locator(of("label")?).map(Encap::Ila),
            _ => {}
        }
        let class = match of("tos").or(of("tc")) {
            Some(word) => self.resolve_name(at, "rt_dsfield", word)? as u8,
            None => 0,
        };
        Some(Encap::Ip {
            ipv6: kind == "ip6",
            id: of("id").and_then(|v| v.trim_start_matches('+').parse().ok()),
            dst: of("dst").and_then(|v| v.parse().ok()),
            src: of("src").and_then(|v| v.parse().ok()),
            class,
            ttl: of("ttl").or(of("hoplimit")).and_then(|v| v.parse().ok()).unwrap_or(0),
            flags: of("flags").and_then(|v| v.parse().ok()).unwrap_or(0),
        })
    }
}
