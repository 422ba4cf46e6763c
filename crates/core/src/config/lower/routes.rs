//! `virtual_routes`, `virtual_rules` and their static forms: lines as `ip route` and `ip rule` write them.

use std::net::{IpAddr, Ipv4Addr};

use super::super::Span;
use super::super::value::{Line, Section};
use super::LoweringContext;
use crate::model::{Family, NextHop, Prefix, RoutePlacement, RouteSpec, RuleAction, RuleSpec, Statics, TrackedObject};

/// RTPROT_KEEPALIVED of rtnetlink.h.
const RTPROT_KEEPALIVED: u8 = 18;
const RT_TABLE_MAIN: u32 = 254;
const RTN_UNICAST: u8 = 1;

/// Types and their numbers (rtnetlink.h, RTN_…).
const ROUTE_TYPES: &[(&str, u8)] = &[
    ("unicast", RTN_UNICAST),
    ("local", 2),
    ("broadcast", 3),
    ("multicast", 5),
    ("blackhole", 6),
    ("unreachable", 7),
    ("prohibit", 8),
    ("throw", 9),
];

/// Metrics that are plain numbers, and their numbers (rtnetlink.h, RTAX_…).
const ROUTE_METRICS: &[(&str, u16)] = &[
    ("mtu", 2),
    ("window", 3),
    ("ssthresh", 6),
    ("cwnd", 7),
    ("advmss", 8),
    ("reordering", 9),
    ("hoplimit", 10),
    ("initcwnd", 11),
    ("initrwnd", 14),
    ("quickack", 15),
    ("fastopen_no_cookie", 17),
];
/// RTAX_LOCK: a bit for each metric that path MTU discovery and its like leave alone.
const RTAX_LOCK: u16 = 1;

const RTAX_RTT: u16 = 4;
const RTAX_RTTVAR: u16 = 5;
const RTAX_FEATURES: u16 = 12;
const RTAX_RTO_MIN: u16 = 13;
/// RTAX_FEATURE_ECN
const RTAX_FEATURE_ECN: u32 = 1;

/// Words that say how a line is watched over, not what it is.
const IGNORED_OPTIONS: &[&str] = &["no_track", "track_group", "inet", "inet6"];

pub(super) type OptionList<'o> = &'o [(String, Option<String>)];

fn option_lines<'s>(s: &'s Section, keyword: &'s str) -> impl Iterator<Item = (Span, OptionList<'s>)> {
    s.lines(keyword).filter_map(|(at, l)| match l {
        Line::Options(o) => Some((*at, o.as_slice())),
        _ => None,
    })
}

fn options_text(options: OptionList<'_>) -> String {
    let word = |(name, value): &(String, Option<String>)| match (name.as_str(), value) {
        ("to" | "encap.label", Some(v)) => v.clone(),
        (n, Some(v)) => format!("{} {v}", n.trim_start_matches("encap.")),
        (n, None) => n.to_owned(),
    };
    options.iter().filter(|(n, _)| !IGNORED_OPTIONS.contains(&n.as_str())).map(word).collect::<Vec<_>>().join(" ")
}

fn track_group(options: OptionList<'_>) -> Option<&str> {
    options.iter().find(|(n, _)| n == "track_group").and_then(|(_, group)| group.as_deref())
}

/// `ADDRESS[/LENGTH]`; nothing for `default`, `any` and `all`.
fn parse_net(text: &str) -> Option<Prefix> {
    let (addr, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let addr: IpAddr = addr.parse().ok()?;
    let whole = if addr.is_ipv6() { 128 } else { 32 };
    let length = match length {
        None => whole,
        Some(l) => l.parse().ok().or_else(|| l.parse::<Ipv4Addr>().ok().map(|m| u32::from(m).count_ones() as u8))?,
    };
    Some((addr, length.min(whole)))
}

/// A number, decimal or after `0x`.
fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A time as ip-route(8) writes it: a number in units of its own, or with `s`, `ms` or `us` behind it; in parts of a
/// millisecond, of which there are `parts`.
fn parse_time_metric(text: &str, parts: u32) -> Option<u32> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let n: f64 = digits.parse().ok()?;
    let ms = match &text[digits.len()..] {
        "" => return Some(n as u32),
        "s" | "sec" | "secs" => n * 1000.0,
        "ms" | "msec" | "msecs" => n,
        "us" | "usec" | "usecs" => n / 1000.0,
        _ => return None,
    };
    Some((ms * f64::from(parts)).ceil() as u32)
}

/// `A-B`, or `A` alone.
fn parse_range<T: std::str::FromStr + Copy>(text: &str) -> Option<(T, T)> {
    match text.split_once('-') {
        Some((a, b)) => Some((a.parse().ok()?, b.parse().ok()?)),
        None => text.parse().ok().map(|n| (n, n)),
    }
}

fn options_family(options: OptionList<'_>) -> Family {
    let v6 = options.iter().filter(|(n, _)| !n.starts_with("encap.")).any(|(n, v)| {
        n == "inet6"
            || v.as_deref() == Some("default6")
            || v.as_deref().and_then(parse_net).is_some_and(|(a, _)| a.is_ipv6())
    });
    if v6 { Family::V6 } else { Family::V4 }
}

impl LoweringContext<'_> {
    /// The routes of a block.
    pub(super) fn lower_routes(&mut self, s: &Section, keyword: &str) -> Vec<RouteSpec> {
        option_lines(s, keyword).filter_map(|(at, o)| self.lower_route(at, o)).collect()
    }

    /// The rules of a block.
    pub(super) fn lower_rules(&mut self, s: &Section, keyword: &str) -> Vec<RuleSpec> {
        option_lines(s, keyword).filter_map(|(at, o)| self.lower_rule(at, o)).collect()
    }

    /// Static routes and rules that a group tracks, and its name.
    pub(super) fn tracked_static_routes_and_rules(
        &self,
        statics: &Statics,
    ) -> impl Iterator<Item = (TrackedObject, &str)> {
        let of =
            |keyword| option_lines(self.root, keyword).filter_map(|(_, o)| Some((options_text(o), track_group(o)?)));
        let there = |(text, _): &(String, &str)| statics.routes.iter().any(|r| r.text == *text);
        let routes = of("static_routes").filter(there).map(|(text, group)| (TrackedObject::Route(text), group));
        let there = |(text, _): &(String, &str)| statics.rules.iter().any(|r| r.text == *text);
        let rules = of("static_rules").filter(there).map(|(text, group)| (TrackedObject::Rule(text), group));
        routes.chain(rules)
    }

    /// A number, or a name of iproute2's.
    pub(super) fn resolve_name(&mut self, at: Span, file: &str, word: &str) -> Option<u32> {
        let known: &[(&str, u32)] = match file {
            "rt_tables" => &[("main", RT_TABLE_MAIN), ("local", 255), ("default", 253)],
            "rt_protos" => &[("kernel", 2), ("boot", 3), ("static", 4), ("keepalived", RTPROT_KEEPALIVED as u32)],
            "rt_scopes" => {
                &[("global", 0), ("universe", 0), ("site", 200), ("link", 253), ("host", 254), ("nowhere", 255)]
            }
            _ => &[],
        };
        let by_name = || known.iter().find(|(n, _)| *n == word).map(|(_, n)| *n);
        let in_file = || self.environment.iproute_id(self.tables, file, word).flatten();
        let found = parse_number(word).or_else(by_name).or_else(in_file);
        if found.is_none() {
            self.report_unsupported(at, format!("iproute2's {file} has no `{word}` here"), "write its number");
        }
        found
    }

    /// `[SOURCE/]DESTINATION`, each a number or a name of iproute2's.
    fn resolve_realms(&mut self, at: Span, text: &str) -> Option<(u16, u16)> {
        let (source, destination) = text.split_once('/').unwrap_or(("0", text));
        let mut one = |word: &str| self.resolve_name(at, "rt_realms", word).map(|n| n as u16);
        Some((one(source)?, one(destination)?))
    }

    fn lower_route(&mut self, at: Span, options: OptionList<'_>) -> Option<RouteSpec> {
        let mut r = RouteSpec {
            text: options_text(options),
            family: options_family(options),
            kind: RTN_UNICAST,
            to: None,
            from: None,
            src: None,
            next_hops: vec![NextHop { weight: 1, ..NextHop::default() }],
            table: RT_TABLE_MAIN,
            vrf: None,
            protocol: RTPROT_KEEPALIVED,
            scope: None,
            tos: 0,
            metric: None,
            metrics: Vec::new(),
            congestion: None,
            realms: None,
            expires: None,
            ttl_propagate: None,
            preference: None,
            placement: RoutePlacement::Replace,
            no_track: false,
        };
        let (mut locked, mut lock, mut several) = (0, false, false);
        for (i, (name, value)) in options.iter().enumerate() {
            let v = value.as_deref().unwrap_or("");
            if let Some((_, id)) = ROUTE_METRICS.iter().find(|(n, _)| n == name) {
                if std::mem::take(&mut lock) {
                    locked |= 1 << id;
                }
                r.metrics.push((*id, v.parse().ok()?));
                continue;
            }
            if let (Some((_, kind)), None) = (ROUTE_TYPES.iter().find(|(n, _)| n == name), value) {
                r.kind = *kind;
                continue;
            }
            if name == "encap" {
                r.next_hops.last_mut()?.encap = Some(self.lower_encap(at, v, &options[i + 1..])?);
                continue;
            }
            let hop = r.next_hops.last_mut()?;
            match name.as_str() {
                "vrf" => r.vrf = Some(v.to_owned()),
                own if own.starts_with("encap.") => {}
                "to" => r.to = parse_net(v),
                "from" => r.from = parse_net(v),
                "src" => r.src = parse_net(v).map(|(a, _)| a),
                "via" => hop.via = v.parse().ok(),
                "dev" | "oif" => hop.dev = Some(v.to_owned()),
                "weight" => hop.weight = v.parse().unwrap_or(1),
                "onlink" => hop.onlink = true,
                "nexthop" => {
                    if std::mem::replace(&mut several, true) {
                        r.next_hops.push(NextHop { weight: 1, ..NextHop::default() });
                    }
                }
                "table" => r.table = self.resolve_name(at, "rt_tables", v)?,
                "protocol" => r.protocol = self.resolve_name(at, "rt_protos", v)? as u8,
                "scope" => r.scope = Some(self.resolve_name(at, "rt_scopes", v)? as u8),
                "tos" | "dsfield" => r.tos = self.resolve_name(at, "rt_dsfield", v)? as u8,
                "metric" | "priority" | "preference" => r.metric = v.parse().ok(),
                // The kernel counts these two in eighths and quarters of a millisecond.
                "rtt" => r.metrics.push((RTAX_RTT, parse_time_metric(v, 8)?)),
                "rttvar" => r.metrics.push((RTAX_RTTVAR, parse_time_metric(v, 4)?)),
                "rto_min" => r.metrics.push((RTAX_RTO_MIN, parse_time_metric(v, 1)?)),
                "features" if v == "ecn" => r.metrics.push((RTAX_FEATURES, RTAX_FEATURE_ECN)),
                "congctl" => r.congestion = Some(v.to_owned()),
                "realm" | "realms" => r.realms = Some(self.resolve_realms(at, v)?),
                "expires" => r.expires = Some(v.parse().ok()?),
                "ttl-propagate" => r.ttl_propagate = Some(v == "enabled"),
                "pref" => {
                    r.preference = Some(match v {
                        "high" => 1,
                        "low" => 3,
                        _ => 0,
                    })
                }
                "add" => r.placement = RoutePlacement::Add,
                "append" => r.placement = RoutePlacement::Append,
                "prepend" => r.placement = RoutePlacement::Prepend,
                "lock" => lock = true,
                "no_track" => r.no_track = true,
                about if IGNORED_OPTIONS.contains(&about) => {}
                other => {
                    self.report_not_in_force(at, other);
                    return None;
                }
            }
        }
        if locked != 0 {
            r.metrics.push((RTAX_LOCK, locked));
        }
        Some(r)
    }

    fn lower_rule(&mut self, at: Span, options: OptionList<'_>) -> Option<RuleSpec> {
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
                "tos" | "dsfield" => r.tos = self.resolve_name(at, "rt_dsfield", v)? as u8,
                "fwmark" => {
                    let (mark, mask) = v.split_once('/').map_or((v, None), |(m, k)| (m, Some(k)));
                    r.fwmark = Some((parse_number(mark)?, mask.and_then(parse_number)));
                }
                "ipproto" => r.ip_protocol = Some(protocol_number(v).or_else(|| v.parse().ok())?),
                "sport" => r.sport = Some(parse_range(v)?),
                "dport" => r.dport = Some(parse_range(v)?),
                "uidrange" => r.uids = Some(parse_range(v)?),
                "suppress_prefixlength" | "sup_pl" => r.suppress_prefix = v.parse().ok(),
                "suppress_ifgroup" | "sup_group" => r.suppress_group = Some(self.resolve_name(at, "group", v)?),
                "tunnel-id" => r.tunnel = Some(v.parse().ok()?),
                "realms" | "realm" => r.realms = Some(self.resolve_realms(at, v)?),
                "l3mdev" => r.l3mdev = true,
                "preference" | "order" | "priority" => r.preference = v.parse().ok(),
                "protocol" => r.protocol = self.resolve_name(at, "rt_protos", v)? as u8,
                "table" | "lookup" => r.action = RuleAction::Table(self.resolve_name(at, "rt_tables", v)?),
                "goto" => r.action = RuleAction::Goto(v.parse().ok()?),
                "nop" => r.action = RuleAction::Nop,
                "blackhole" => r.action = RuleAction::Blackhole,
                "unreachable" => r.action = RuleAction::Unreachable,
                "prohibit" => r.action = RuleAction::Prohibit,
                "no_track" => r.no_track = true,
                about if IGNORED_OPTIONS.contains(&about) => {}
                other => {
                    self.report_not_in_force(at, other);
                    return None;
                }
            }
        }
        if r.l3mdev && r.action == RuleAction::Nop {
            r.action = RuleAction::Table(0);
        }
        Some(r)
    }

    /// `static_ipaddress`
    pub(super) fn static_addresses(&mut self) -> Vec<crate::model::VipSpec> {
        self.address_specs(self.root, "static_ipaddress", "")
    }
}

/// Protocols that rules name.
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
