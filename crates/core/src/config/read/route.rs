//! Lines of `virtual_routes`, `virtual_rules` and their static forms, as `ip route` and `ip rule` write them.
//!
//! Names of tables, protocols and realms are looked up when they are used (they come from iproute2's files, which may be
//! on the directors and not where the file is checked); a word in their place is accepted.

use super::super::diag::nearest;
use super::super::keywords::spec::Family;
use super::super::lex::Word;
use super::super::tree::Statement;
use super::super::value::Line;
use super::super::{Diagnostic, Span};
use super::{Reader, shown};

/// What stands behind an option.
#[derive(Clone, Copy)]
enum Takes {
    Nothing,
    Word,
    Interface,
    Prefix,
    Number(u64),
    /// 1 to 256
    Weight,
    /// A number, perhaps behind `lock`.
    Metric,
    /// A number, or a name of iproute2's table.
    Named(&'static str),
    /// `N`, or `N` and another behind this character.
    Pair(char),
    /// One of some words.
    OneOf(&'static [&'static str]),
    Scope,
}

type Option_ = (&'static str, Takes);

const TYPES: &[&str] =
    &["unicast", "local", "broadcast", "multicast", "throw", "unreachable", "prohibit", "blackhole", "nat"];

const ROUTE: &[Option_] = &[
    ("src", Takes::Prefix),
    ("from", Takes::Prefix),
    ("tos", Takes::Word),
    ("dsfield", Takes::Word),
    ("table", Takes::Named("rt_tables")),
    ("protocol", Takes::Named("rt_protos")),
    ("scope", Takes::Scope),
    ("metric", Takes::Number(u32::MAX as u64)),
    ("priority", Takes::Number(u32::MAX as u64)),
    ("preference", Takes::Number(u32::MAX as u64)),
    ("dev", Takes::Interface),
    ("oif", Takes::Interface),
    ("vrf", Takes::Interface),
    ("mtu", Takes::Metric),
    ("advmss", Takes::Metric),
    ("rtt", Takes::Word),
    ("rttvar", Takes::Word),
    ("rto_min", Takes::Word),
    ("reordering", Takes::Metric),
    ("window", Takes::Metric),
    ("cwnd", Takes::Metric),
    ("ssthresh", Takes::Metric),
    ("hoplimit", Takes::Metric),
    ("initcwnd", Takes::Metric),
    ("initrwnd", Takes::Metric),
    ("quickack", Takes::Number(1)),
    ("fastopen_no_cookie", Takes::Number(1)),
    ("realm", Takes::Word),
    ("realms", Takes::Word),
    ("features", Takes::Word),
    ("congctl", Takes::Word),
    ("expires", Takes::Number(u32::MAX as u64)),
    ("pref", Takes::OneOf(&["low", "medium", "high"])),
    ("ttl-propagate", Takes::Word),
    ("weight", Takes::Weight),
    ("onlink", Takes::Nothing),
    ("pervasive", Takes::Nothing),
    ("add", Takes::Nothing),
    ("append", Takes::Nothing),
    ("prepend", Takes::Nothing),
    ("no_track", Takes::Nothing),
    ("track_group", Takes::Word),
];

const RULE: &[Option_] = &[
    ("not", Takes::Nothing),
    ("from", Takes::Prefix),
    ("to", Takes::Prefix),
    ("table", Takes::Named("rt_tables")),
    ("lookup", Takes::Named("rt_tables")),
    ("goto", Takes::Number(u32::MAX as u64)),
    ("nop", Takes::Nothing),
    ("blackhole", Takes::Nothing),
    ("unreachable", Takes::Nothing),
    ("prohibit", Takes::Nothing),
    ("type", Takes::Word),
    ("preference", Takes::Number(u32::MAX as u64)),
    ("order", Takes::Number(u32::MAX as u64)),
    ("priority", Takes::Number(u32::MAX as u64)),
    ("tos", Takes::Word),
    ("dsfield", Takes::Word),
    ("fwmark", Takes::Pair('/')),
    ("realms", Takes::Word),
    ("iif", Takes::Interface),
    ("dev", Takes::Interface),
    ("oif", Takes::Interface),
    ("tunnel-id", Takes::Word),
    ("uidrange", Takes::Pair('-')),
    ("l3mdev", Takes::Nothing),
    ("protocol", Takes::Word),
    ("ipproto", Takes::Word),
    ("sport", Takes::Pair('-')),
    ("dport", Takes::Pair('-')),
    ("suppress_prefixlength", Takes::Number(128)),
    ("sup_pl", Takes::Number(128)),
    ("suppress_ifgroup", Takes::Word),
    ("sup_group", Takes::Word),
    ("inet", Takes::Nothing),
    ("inet6", Takes::Nothing),
    ("no_track", Takes::Nothing),
    ("track_group", Takes::Word),
];

/// The words of a line, with the options found so far.
pub(super) struct Cursor<'w, 't> {
    pub rest: std::iter::Peekable<std::slice::Iter<'w, Word<'t>>>,
    out: Vec<(String, Option<String>)>,
}

impl<'w, 't> Cursor<'w, 't> {
    fn new(st: &'w Statement<'t>) -> Self {
        Cursor { rest: st.words.iter().peekable(), out: Vec::new() }
    }

    pub fn put(&mut self, name: &str, value: Option<&Word<'_>>) {
        self.out.push((name.to_owned(), value.map(|w| w.text.clone().into_owned())));
    }

    pub fn peek(&mut self) -> &str {
        self.rest.peek().map_or("", |w| &w.text)
    }
}

impl Reader<'_> {
    /// `[TYPE] [to] DESTINATION [via ADDRESS] [dev IF] …`
    pub(super) fn route(&mut self, st: &Statement<'_>, keep: bool) -> Option<Line> {
        let mut c = Cursor::new(st);
        let mut to = false;
        while let Some(w) = c.rest.next() {
            match &*w.text {
                t if TYPES.contains(&t) && !to => c.put(t, None),
                "to" => {
                    let v = self.behind(w, &mut c)?;
                    to = self.destination(v, &mut c)?;
                }
                "as" => {
                    if c.peek() == "to" {
                        c.rest.next();
                    }
                    self.behind(w, &mut c)?;
                    let d = Diagnostic::warning("encap", w.span, "`as` is for MPLS routes, which are none of IP");
                    self.push(d.label("ignored"));
                }
                "via" | "gw" | "nexthop" | "or" | "encap" => {
                    self.way(w, &mut c)?;
                }
                name => match ROUTE.iter().find(|(n, _)| *n == name) {
                    Some((_, takes)) => self.option(w, *takes, &mut c)?,
                    None if !to => to = self.destination(w, &mut c)?,
                    None => {
                        let near = nearest(name, ROUTE.iter().map(|(n, _)| *n));
                        self.unknown_word(w.span, name, "in a route", "an option of `ip route`", near);
                        return None;
                    }
                },
            }
        }
        if !to {
            let d = Diagnostic::error("missing-argument", st.span(), "a route needs a destination");
            self.push(d.label("expected an address, a network or `default`"));
            return None;
        }
        self.only_static(&c.out, st.span(), keep)?;
        self.route_agrees(&c.out, st.span())?;
        Some(Line::Options(c.out))
    }

    /// Families, and what the daemon needs to watch over a route.
    fn route_agrees(&mut self, out: &[(String, Option<String>)], at: Span) -> Option<()> {
        let family = |n: &str| {
            let mut of = out.iter().filter(|(name, _)| name == n).filter_map(|(_, v)| v.as_deref());
            of.find_map(|v| v.split('/').next()?.parse::<std::net::IpAddr>().ok()).map(|a| a.is_ipv4())
        };
        let has = |n: &str| out.iter().any(|(name, _)| name == n);
        let families: Vec<bool> = ["to", "via", "src"].into_iter().filter_map(family).collect();
        if families.windows(2).any(|w| w[0] != w[1]) {
            let d = Diagnostic::error("family", at, "a route mixes IPv4 and IPv6");
            self.push(d.label("expected addresses of one family"));
            return None;
        }
        if has("pref") && family("to") != Some(false) {
            let d = Diagnostic::error("family", at, "`pref` is for IPv6");
            self.push(d.label("remove it"));
            return None;
        }
        let outside = has("nexthop") || !(has("dev") || has("oif"));
        if outside && !has("no_track") {
            self.push(
                Diagnostic::warning(
                    "untracked-route",
                    at,
                    "a route without an interface of its own cannot be watched over",
                )
                .label("if somebody removes it, nobody notices")
                .help("add `dev INTERFACE`, or `no_track` if that is meant"),
            );
        }
        Some(())
    }

    fn destination(&mut self, w: &Word<'_>, c: &mut Cursor<'_, '_>) -> Option<bool> {
        if !matches!(&*w.text, "default" | "any" | "all" | "default6") {
            self.prefix(w, Family::Any)?;
        }
        c.put("to", Some(w));
        Some(true)
    }

    /// Gateways, next hops of a multipath route, encapsulation.
    fn way(&mut self, w: &Word<'_>, c: &mut Cursor<'_, '_>) -> Option<()> {
        match &*w.text {
            "nexthop" => c.put("nexthop", None),
            "encap" => {
                let kind = self.behind(w, c)?;
                self.encap(kind, c)?;
            }
            old => {
                if old != "via" {
                    let new = if old == "gw" { "via" } else { "nexthop via" };
                    let d = Diagnostic::warning("deprecated", w.span, format!("`{old}` is an old name"));
                    self.push(d.label("deprecated").help(format!("write `{new}`")));
                }
                let mut v = self.behind(w, c)?;
                if matches!(&*v.text, "inet" | "inet6") {
                    v = self.behind(w, c)?;
                }
                self.address(v, Family::Any)?;
                c.put("via", Some(v));
            }
        }
        Some(())
    }

    fn option(&mut self, w: &Word<'_>, takes: Takes, c: &mut Cursor<'_, '_>) -> Option<()> {
        let name = &w.text;
        if let Takes::Nothing = takes {
            c.put(name, None);
            return Some(());
        }
        if matches!(takes, Takes::Metric) && c.peek() == "lock" {
            c.rest.next();
            c.put("lock", None);
        }
        let v = self.behind(w, c)?;
        match takes {
            Takes::Interface => {
                self.interface_name(v)?;
            }
            Takes::Prefix => {
                if !matches!(&*v.text, "all" | "any" | "default") {
                    self.prefix(v, Family::Any)?;
                }
            }
            Takes::Number(max) => {
                self.number(v, 0, max)?;
            }
            Takes::Weight => {
                self.number(v, 1, 256)?;
            }
            Takes::Metric => {
                self.number(v, 0, u64::from(u32::MAX))?;
            }
            Takes::Scope => {
                self.scope(v)?;
            }
            Takes::Named(table) => {
                let number = v.text.bytes().all(|b| b.is_ascii_digit()) && !v.text.is_empty();
                if !number && self.environment.routing_number(self.tables, table, &v.text) == Some(None) {
                    self.push(
                        Diagnostic::error("unknown-value", v.span, format!("iproute2 knows no `{}`", shown(v)))
                            .label(format!("expected a number, or a name of /etc/iproute2/{table}")),
                    );
                    return None;
                }
            }
            Takes::Pair(between) => {
                let number = |t: &str| match t.strip_prefix("0x") {
                    Some(hex) => u32::from_str_radix(hex, 16).is_ok(),
                    None => t.parse::<u32>().is_ok(),
                };
                if !v.text.splitn(2, between).all(number) {
                    let d = Diagnostic::error("not-a-number", v.span, format!("`{}` is not a number", shown(v)));
                    self.push(d.label(format!("expected N or N{between}M")));
                    return None;
                }
            }
            Takes::OneOf(words) => {
                self.choice(v, words, false)?;
            }
            Takes::Word | Takes::Nothing => {}
        }
        c.put(name, Some(v));
        Some(())
    }

    /// The word behind an option's name.
    pub(super) fn behind<'w, 't>(&mut self, name: &Word<'_>, c: &mut Cursor<'w, 't>) -> Option<&'w Word<'t>> {
        let v = c.rest.next();
        if v.is_none() {
            self.push(
                Diagnostic::error("missing-argument", name.span, format!("`{}` needs a value", shown(name)))
                    .label("nothing stands behind it")
                    .verdict(super::Verdict::Exits(2)),
            );
        }
        v
    }

    /// `[not] [from NET] [to NET] … table N|goto N|nop|TYPE [preference N]`
    pub(super) fn rule(&mut self, st: &Statement<'_>, keep: bool) -> Option<Line> {
        let mut c = Cursor::new(st);
        while let Some(w) = c.rest.next() {
            match RULE.iter().find(|(n, _)| *n == w.text) {
                Some((_, takes)) => self.option(w, *takes, &mut c)?,
                None => {
                    let near = if w.text == "ip_proto" {
                        Some("ipproto")
                    } else {
                        nearest(&w.text, RULE.iter().map(|(n, _)| *n))
                    };
                    self.unknown_word(w.span, &w.text, "in a rule", "an option of `ip rule`", near);
                    return None;
                }
            }
        }
        const ACTIONS: [&str; 8] = ["table", "lookup", "goto", "nop", "blackhole", "unreachable", "prohibit", "type"];
        if !c.out.iter().any(|(n, _)| ACTIONS.contains(&n.as_str())) && !c.out.iter().any(|(n, _)| n == "l3mdev") {
            let d = Diagnostic::error("missing-argument", st.span(), "a rule needs an action");
            self.push(d.label("expected `table N`, `goto N`, `nop`, `blackhole`, `unreachable` or `prohibit`"));
            return None;
        }
        if !c.out.iter().any(|(n, _)| matches!(n.as_str(), "preference" | "order" | "priority")) {
            self.push(
                Diagnostic::warning(
                    "rule-preference",
                    st.span(),
                    "a rule without a preference is put somewhere by the kernel",
                )
                .label("its place among other rules is left to chance")
                .help("add `preference N`"),
            );
        }
        self.only_static(&c.out, st.span(), keep)?;
        Some(Line::Options(c.out))
    }

    /// `track_group` stands with what is kept at all times.
    fn only_static(&mut self, out: &[(String, Option<String>)], at: Span, keep: bool) -> Option<()> {
        if keep || !out.iter().any(|(n, _)| n == "track_group") {
            return Some(());
        }
        let d =
            Diagnostic::error("unknown-word", at, "`track_group` stands with static addresses, routes and rules alone");
        self.push(d.label("an instance tracks its own"));
        None
    }
}
