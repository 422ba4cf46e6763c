//! Routes: lines of `virtual_routes` and `static_routes` to [`RouteSpec`].

use super::names::{RT_TABLE_MAIN, RTPROT_KEEPALIVED};
use super::options::{
    IGNORED_OPTIONS, OptionList, option_lines, options_family, options_text, parse_net, parse_time_metric, track_group,
};
use crate::config::Span;
use crate::config::lower::LoweringContext;
use crate::config::value::Section;
use crate::model::{NextHop, RoutePlacement, RouteSpec, Statics, TrackedObject};

/// RTN_UNICAST of linux/rtnetlink.h.
const RTN_UNICAST: u8 = 1;

/// Route types and their numbers (RTN_… of linux/rtnetlink.h).
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

/// Metrics that are plain numbers, and their attributes (RTAX_… of linux/rtnetlink.h).
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

/// A bit mask of metrics that path MTU discovery and similar mechanisms may not change.
const RTAX_LOCK: u16 = 1;

const RTAX_RTT: u16 = 4;

const RTAX_RTTVAR: u16 = 5;

const RTAX_FEATURES: u16 = 12;

const RTAX_RTO_MIN: u16 = 13;

const RTAX_FEATURE_ECN: u32 = 1;

/// The metrics of a route while its options are read.
#[derive(Default)]
struct Metrics {
    /// Whether the next metric is locked.
    lock_next: bool,
    locked: u32,
    values: Vec<(u16, u32)>,
}

impl Metrics {
    /// Reads `lock` or a metric. `Some(false)`: the option is neither. `None`: its value is invalid.
    fn read(&mut self, name: &str, value: &str) -> Option<bool> {
        if let Some((_, id)) = ROUTE_METRICS.iter().find(|(n, _)| *n == name) {
            if std::mem::take(&mut self.lock_next) {
                self.locked |= 1 << id;
            }
            self.values.push((*id, value.parse().ok()?));
            return Some(true);
        }
        match name {
            "lock" => self.lock_next = true,
            // The kernel counts `rtt` in 1/8 ms and `rttvar` in 1/4 ms.
            "rtt" => self.values.push((RTAX_RTT, parse_time_metric(value, 8)?)),
            "rttvar" => self.values.push((RTAX_RTTVAR, parse_time_metric(value, 4)?)),
            "rto_min" => self.values.push((RTAX_RTO_MIN, parse_time_metric(value, 1)?)),
            "features" if value == "ecn" => self.values.push((RTAX_FEATURES, RTAX_FEATURE_ECN)),
            _ => return Some(false),
        }
        Some(true)
    }

    fn finish(mut self) -> Vec<(u16, u32)> {
        if self.locked != 0 {
            self.values.push((RTAX_LOCK, self.locked));
        }
        self.values
    }
}

impl LoweringContext<'_> {
    /// The routes of a block.
    pub(crate) fn lower_routes(&mut self, s: &Section, keyword: &str) -> Vec<RouteSpec> {
        option_lines(s, keyword).filter_map(|(span, o)| self.lower_route(span, o)).collect()
    }

    /// The static routes and rules with `track_group`, and the name of the group.
    pub(crate) fn tracked_static_routes_and_rules(
        &self,
        statics: &Statics,
    ) -> impl Iterator<Item = (TrackedObject, &str)> {
        let tracked =
            |keyword| option_lines(self.root, keyword).filter_map(|(_, o)| Some((options_text(o), track_group(o)?)));
        let exists = |(text, _): &(String, &str)| statics.routes.iter().any(|r| r.text == *text);
        let routes = tracked("static_routes").filter(exists).map(|(text, group)| (TrackedObject::Route(text), group));
        let exists = |(text, _): &(String, &str)| statics.rules.iter().any(|r| r.text == *text);
        let rules = tracked("static_rules").filter(exists).map(|(text, group)| (TrackedObject::Rule(text), group));
        routes.chain(rules)
    }

    fn lower_route(&mut self, span: Span, options: OptionList<'_>) -> Option<RouteSpec> {
        let mut r = empty_route(options);
        let mut metrics = Metrics::default();
        let mut is_multipath = false;
        for (i, (name, value)) in options.iter().enumerate() {
            let v = value.as_deref().unwrap_or("");
            if metrics.read(name, v)? {
                continue;
            }
            if let (Some((_, kind)), None) = (ROUTE_TYPES.iter().find(|(n, _)| n == name), value) {
                r.kind = *kind;
                continue;
            }
            let encap = if name == "encap" { Some(self.lower_encap(span, v, &options[i + 1..])?) } else { None };
            let hop = r.next_hops.last_mut()?;
            match name.as_str() {
                "encap" => hop.encap = encap,
                option if option.starts_with("encap.") => {} // read with `encap`
                "vrf" => r.vrf = Some(v.to_owned()),
                "to" => r.to = parse_net(v),
                "from" => r.from = parse_net(v),
                "src" => r.src = parse_net(v).map(|(a, _)| a),
                // `via A or B`: a second next hop.
                "via" if hop.via.is_some() => {
                    r.next_hops.push(NextHop { via: v.parse().ok(), weight: 1, ..NextHop::default() });
                }
                "via" => hop.via = v.parse().ok(),
                "dev" | "oif" => hop.dev = Some(v.to_owned()),
                "weight" => hop.weight = v.parse().unwrap_or(1),
                "onlink" => hop.onlink = true,
                "nexthop" => {
                    if std::mem::replace(&mut is_multipath, true) {
                        r.next_hops.push(NextHop { weight: 1, ..NextHop::default() });
                    }
                }
                "table" => r.table = self.resolve_name(span, "rt_tables", v)?,
                "protocol" => r.protocol = self.resolve_name(span, "rt_protos", v)? as u8,
                "scope" => r.scope = Some(self.resolve_name(span, "rt_scopes", v)? as u8),
                "tos" | "dsfield" => r.tos = self.resolve_name(span, "rt_dsfield", v)? as u8,
                "metric" | "priority" | "preference" => r.metric = v.parse().ok(),
                "congctl" => r.congestion = Some(v.to_owned()),
                "realm" | "realms" => r.realms = Some(self.resolve_realms(span, v)?),
                "expires" => r.expires = Some(v.parse().ok()?),
                "ttl-propagate" => r.ttl_propagate = Some(v == "enabled"),
                "pref" => r.preference = Some(router_preference(v)),
                "add" => r.placement = RoutePlacement::Add,
                "append" => r.placement = RoutePlacement::Append,
                "prepend" => r.placement = RoutePlacement::Prepend,
                "no_track" => r.no_track = true,
                option if IGNORED_OPTIONS.contains(&option) => {}
                other => {
                    self.report_not_in_force(span, other);
                    return None;
                }
            }
        }
        r.metrics = metrics.finish();
        Some(r)
    }
}

/// A route with the defaults of keepalived and one next hop, whose options are not read yet.
fn empty_route(options: OptionList<'_>) -> RouteSpec {
    RouteSpec {
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
        placement: RoutePlacement::Prepend,
        no_track: false,
    }
}

/// `pref` as ICMPv6 encodes it (RFC 4191, 2.1: ICMPV6_ROUTER_PREF_…).
fn router_preference(word: &str) -> u8 {
    match word {
        "high" => 1,
        "low" => 3,
        _ => 0,
    }
}
