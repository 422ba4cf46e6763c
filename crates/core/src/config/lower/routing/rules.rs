//! Policy rules: lines of `virtual_rules` and `static_rules` to [`RuleSpec`].

use std::collections::BTreeMap;

use super::names::RTPROT_KEEPALIVED;
use super::options::{
    IGNORED_OPTIONS, OptionList, option_lines, options_family, options_text, parse_net, parse_number, parse_range,
};
use crate::config::Span;
use crate::config::lower::LoweringContext;
use crate::config::value::Section;
use crate::model::{Family, RuleAction, RuleSpec};

/// The preference of the first rule that has none (RULE_START_PRIORITY of keepalived).
const FIRST_PREFERENCE: u32 = 16_384;

/// The preferences of the rules that have none, by the span of their line: as keepalived counts them down in the order of
/// the file, for each family. Without a preference the kernel would choose another one each time, so that the same rule
/// could be added again.
pub(crate) fn rule_preferences(root: &Section) -> BTreeMap<Span, u32> {
    let instances = root.sections("vrrp_instance").flat_map(|s| option_lines(s, "virtual_rules"));
    let has_none = |options: OptionList<'_>| {
        !options.iter().any(|(n, _)| matches!(n.as_str(), "preference" | "order" | "priority"))
    };
    let mut rules: Vec<_> =
        option_lines(root, "static_rules").chain(instances).filter(|(_, options)| has_none(options)).collect();
    rules.sort_by_key(|(span, _)| *span);
    let mut counts: BTreeMap<Family, u32> = BTreeMap::new();
    let preference = |(span, options): (Span, OptionList<'_>)| {
        let n = counts.entry(options_family(options)).or_default();
        *n += 1;
        (span, FIRST_PREFERENCE.saturating_sub(*n - 1).max(1))
    };
    rules.into_iter().map(preference).collect()
}

impl LoweringContext<'_> {
    /// The rules of a block.
    pub(crate) fn lower_rules(&mut self, s: &Section, keyword: &str) -> Vec<RuleSpec> {
        option_lines(s, keyword)
            .filter_map(|(span, o)| {
                let mut rule = self.lower_rule(span, o)?;
                rule.preference = rule.preference.or_else(|| self.rule_preferences.get(&span).copied());
                Some(rule)
            })
            .collect()
    }

    fn lower_rule(&mut self, span: Span, options: OptionList<'_>) -> Option<RuleSpec> {
        let mut r = RuleSpec {
            text: options_text(options),
            family: options_family(options),
            not: false,
            from: None,
            to: None,
            iif: None,
            oif: None,
            tos: 0,
            fwmark: None,
            ip_protocol: None,
            sport: None,
            dport: None,
            uids: None,
            suppress_prefix: None,
            suppress_group: None,
            tunnel: None,
            realms: None,
            l3mdev: false,
            preference: None,
            protocol: RTPROT_KEEPALIVED,
            action: RuleAction::Nop,
            no_track: false,
        };
        for (name, value) in options {
            let v = value.as_deref().unwrap_or("");
            match name.as_str() {
                "not" => r.not = true,
                "from" => r.from = parse_net(v),
                "to" => r.to = parse_net(v),
                "iif" | "dev" => r.iif = Some(v.to_owned()),
                "oif" => r.oif = Some(v.to_owned()),
                "tos" | "dsfield" => r.tos = self.resolve_name(span, "rt_dsfield", v)? as u8,
                "fwmark" => {
                    let (mark, mask) = v.split_once('/').map_or((v, None), |(m, k)| (m, Some(k)));
                    r.fwmark = Some((parse_number(mark)?, mask.and_then(parse_number)));
                }
                "ipproto" => r.ip_protocol = Some(protocol_number(v).or_else(|| v.parse().ok())?),
                "sport" => r.sport = Some(parse_range(v)?),
                "dport" => r.dport = Some(parse_range(v)?),
                "uidrange" => r.uids = Some(parse_range(v)?),
                "suppress_prefixlength" | "sup_pl" => r.suppress_prefix = v.parse().ok(),
                "suppress_ifgroup" | "sup_group" => r.suppress_group = Some(self.resolve_name(span, "group", v)?),
                "tunnel-id" => r.tunnel = Some(v.parse().ok()?),
                "realms" | "realm" => r.realms = Some(self.resolve_realms(span, v)?),
                "l3mdev" => r.l3mdev = true,
                "preference" | "order" | "priority" => r.preference = v.parse().ok(),
                "protocol" => r.protocol = self.resolve_name(span, "rt_protos", v)? as u8,
                "table" | "lookup" => r.action = RuleAction::Table(self.resolve_name(span, "rt_tables", v)?),
                "goto" => r.action = RuleAction::Goto(v.parse().ok()?),
                "nop" => r.action = RuleAction::Nop,
                "blackhole" => r.action = RuleAction::Blackhole,
                "unreachable" => r.action = RuleAction::Unreachable,
                "prohibit" => r.action = RuleAction::Prohibit,
                "no_track" => r.no_track = true,
                option if IGNORED_OPTIONS.contains(&option) => {}
                other => {
                    self.report_not_in_force(span, other);
                    return None;
                }
            }
        }
        if r.l3mdev && r.action == RuleAction::Nop {
            r.action = RuleAction::Table(0);
        }
        Some(r)
    }
}

/// The IP protocols that a rule may name.
fn protocol_number(name: &str) -> Option<u8> {
    Some(match name {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "ipv6-icmp" | "icmp6" => 58,
        "sctp" => 132,
        _ => return None,
    })
}
