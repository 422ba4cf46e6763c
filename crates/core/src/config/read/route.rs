//! Lines of `virtual_routes`, `virtual_rules` and their static forms, as `ip route` and `ip rule` write them.
//!
//! Names of tables, protocols and realms are looked up when they are used (they come from iproute2's files, which may be
//! on the directors and not where the file is checked); a word in their place is accepted.

use super::super::diag::nearest_word;
use super::super::keywords::spec::Family;
use super::super::lex::Word;
use super::super::tree::Statement;
use super::super::value::Line;
use super::super::{Diagnostic, Span};
use super::{Reader, abbreviate};

/// What stands behind an option.
#[derive(Clone, Copy)]
enum OptionArg {
    Flag,
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

type RouteOption = (&'static str, OptionArg);

const ROUTE_TYPES: &[&str] =
    &["unicast", "local", "broadcast", "multicast", "throw", "unreachable", "prohibit", "blackhole", "nat"];

const ROUTE_OPTIONS: &[RouteOption] = &[
    ("src", OptionArg::Prefix),
    ("from", OptionArg::Prefix),
    ("tos", OptionArg::Word),
    ("dsfield", OptionArg::Word),
    ("table", OptionArg::Named("rt_tables")),
    ("protocol", OptionArg::Named("rt_protos")),
    ("scope", OptionArg::Scope),
    ("metric", OptionArg::Number(u32::MAX as u64)),
    ("priority", OptionArg::Number(u32::MAX as u64)),
    ("preference", OptionArg::Number(u32::MAX as u64)),
    ("dev", OptionArg::Interface),
    ("oif", OptionArg::Interface),
    ("vrf", OptionArg::Interface),
    ("mtu", OptionArg::Metric),
    ("advmss", OptionArg::Metric),
    ("rtt", OptionArg::Word),
    ("rttvar", OptionArg::Word),
    ("rto_min", OptionArg::Word),
    ("reordering", OptionArg::Metric),
    ("window", OptionArg::Metric),
    ("cwnd", OptionArg::Metric),
    ("ssthresh", OptionArg::Metric),
    ("hoplimit", OptionArg::Metric),
    ("initcwnd", OptionArg::Metric),
    ("initrwnd", OptionArg::Metric),
    ("quickack", OptionArg::Number(1)),
    ("fastopen_no_cookie", OptionArg::Number(1)),
    ("realm", OptionArg::Word),
    ("realms", OptionArg::Word),
    ("features", OptionArg::Word),
    ("congctl", OptionArg::Word),
    ("expires", OptionArg::Number(u32::MAX as u64)),
    ("pref", OptionArg::OneOf(&["low", "medium", "high"])),
    ("ttl-propagate", OptionArg::Word),
    ("weight", OptionArg::Weight),
    ("onlink", OptionArg::Flag),
    ("pervasive", OptionArg::Flag),
    ("add", OptionArg::Flag),
    ("append", OptionArg::Flag),
    ("prepend", OptionArg::Flag),
    ("no_track", OptionArg::Flag),
    ("track_group", OptionArg::Word),
];

const RULE_OPTIONS: &[RouteOption] = &[
    ("not", OptionArg::Flag),
    ("from", OptionArg::Prefix),
    ("to", OptionArg::Prefix),
    ("table", OptionArg::Named("rt_tables")),
    ("lookup", OptionArg::Named("rt_tables")),
    ("goto", OptionArg::Number(u32::MAX as u64)),
    ("nop", OptionArg::Flag),
    ("blackhole", OptionArg::Flag),
    ("unreachable", OptionArg::Flag),
    ("prohibit", OptionArg::Flag),
    ("type", OptionArg::Word),
    ("preference", OptionArg::Number(u32::MAX as u64)),
    ("order", OptionArg::Number(u32::MAX as u64)),
    ("priority", OptionArg::Number(u32::MAX as u64)),
    ("tos", OptionArg::Word),
    ("dsfield", OptionArg::Word),
    ("fwmark", OptionArg::Pair('/')),
    ("realms", OptionArg::Word),
    ("iif", OptionArg::Interface),
    ("dev", OptionArg::Interface),
    ("oif", OptionArg::Interface),
    ("tunnel-id", OptionArg::Word),
    ("uidrange", OptionArg::Pair('-')),
    ("l3mdev", OptionArg::Flag),
    ("protocol", OptionArg::Word),
    ("ipproto", OptionArg::Word),
    ("sport", OptionArg::Pair('-')),
    ("dport", OptionArg::Pair('-')),
    ("suppress_prefixlength", OptionArg::Number(128)),
    ("sup_pl", OptionArg::Number(128)),
    ("suppress_ifgroup", OptionArg::Word),
    ("sup_group", OptionArg::Word),
    ("inet", OptionArg::Flag),
    ("inet6", OptionArg::Flag),
    ("no_track", OptionArg::Flag),
    ("track_group", OptionArg::Word),
];

/// The words of a line, with the options found so far.
pub(super) struct OptionCursor<'w, 't> {
    pub words: std::iter::Peekable<std::slice::Iter<'w, Word<'t>>>,
    options: Vec<(String, Option<String>)>,
}

impl<'w, 't> OptionCursor<'w, 't> {
    fn new(st: &'w Statement<'t>) -> Self {
        OptionCursor { words: st.words.iter().peekable(), options: Vec::new() }
    }

    pub fn push_option(&mut self, name: &str, value: Option<&Word<'_>>) {
        self.options.push((name.to_owned(), value.map(|w| w.text.clone().into_owned())));
    }

    pub fn peek_text(&mut self) -> &str {
        self.words.peek().map_or("", |w| &w.text)
    }
}

impl Reader<'_> {
    /// `[TYPE] [to] DESTINATION [via ADDRESS] [dev IF] …`
    pub(super) fn read_route(&mut self, st: &Statement<'_>, keep: bool) -> Option<Line> {
        let mut c = OptionCursor::new(st);
        let mut to = false;
        while let Some(w) = c.words.next() {
            match &*w.text {
                t if ROUTE_TYPES.contains(&t) && !to => c.push_option(t, None),
                "to" => {
                    let v = self.option_value(w, &mut c)?;
                    to = self.read_destination(v, &mut c)?;
                }
                "as" => {
                    if c.peek_text() == "to" {
                        c.words.next();
                    }
                    self.option_value(w, &mut c)?;
                    let d = Diagnostic::warning("encap", w.span, "`as` is for MPLS routes, which are none of IP");
                    self.report(d.label("ignored"));
                }
                "via" | "gw" | "nexthop" | "or" | "encap" => {
                    self.read_next_hop(w, &mut c)?;
                }
                name => match ROUTE_OPTIONS.iter().find(|(n, _)| *n == name) {
                    Some((_, takes)) => self.read_option(w, *takes, &mut c)?,
                    None if !to => to = self.read_destination(w, &mut c)?,
                    None => {
                        let near = nearest_word(name, ROUTE_OPTIONS.iter().map(|(n, _)| *n));
                        self.report_unknown_word(w.span, name, "in a route", "an option of `ip route`", near);
                        return None;
                    }
                },
            }
        }
        if !to {
            let d = Diagnostic::error("missing-argument", st.span(), "a route needs a destination");
            self.report(d.label("expected an address, a network or `default`"));
            return None;
        }
        self.reject_track_group(&c.options, st.span(), keep)?;
        self.check_route(&c.options, st.span())?;
        Some(Line::Options(c.options))
    }

    /// Families, and what the daemon needs to watch over a route.
    fn check_route(&mut self, out: &[(String, Option<String>)], at: Span) -> Option<()> {
        let family = |n: &str| {
            let mut of = out.iter().filter(|(name, _)| name == n).filter_map(|(_, v)| v.as_deref());
            of.find_map(|v| v.split('/').next()?.parse::<std::net::IpAddr>().ok()).map(|a| a.is_ipv4())
        };
        let has = |n: &str| out.iter().any(|(name, _)| name == n);
        let families: Vec<bool> = ["to", "via", "src"].into_iter().filter_map(family).collect();
        if families.windows(2).any(|w| w[0] != w[1]) {
            let d = Diagnostic::error("family", at, "a route mixes IPv4 and IPv6");
            self.report(d.label("expected addresses of one family"));
            return None;
        }
        if has("pref") && family("to") != Some(false) {
            let d = Diagnostic::error("family", at, "`pref` is for IPv6");
            self.report(d.label("remove it"));
            return None;
        }
        let outside = has("nexthop") || !(has("dev") || has("oif"));
        if outside && !has("no_track") {
            self.report(
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

    fn read_destination(&mut self, w: &Word<'_>, c: &mut OptionCursor<'_, '_>) -> Option<bool> {
        if !matches!(&*w.text, "default" | "any" | "all" | "default6") {
            self.read_prefix(w, Family::Any)?;
        }
        c.push_option("to", Some(w));
        Some(true)
    }

    /// Gateways, next hops of a multipath route, encapsulation.
    fn read_next_hop(&mut self, w: &Word<'_>, c: &mut OptionCursor<'_, '_>) -> Option<()> {
        match &*w.text {
            "nexthop" => c.push_option("nexthop", None),
            "encap" => {
                let kind = self.option_value(w, c)?;
                self.read_encap(kind, c)?;
            }
            old => {
                if old != "via" {
                    let new = if old == "gw" { "via" } else { "nexthop via" };
                    let d = Diagnostic::warning("deprecated", w.span, format!("`{old}` is an old name"));
                    self.report(d.label("deprecated").help(format!("write `{new}`")));
                }
                let mut v = self.option_value(w, c)?;
                if matches!(&*v.text, "inet" | "inet6") {
                    v = self.option_value(w, c)?;
                }
                self.read_address(v, Family::Any)?;
                c.push_option("via", Some(v));
            }
        }
        Some(())
    }

    fn read_option(&mut self, w: &Word<'_>, takes: OptionArg, c: &mut OptionCursor<'_, '_>) -> Option<()> {
        let name = &w.text;
        if let OptionArg::Flag = takes {
            c.push_option(name, None);
            return Some(());
        }
        if matches!(takes, OptionArg::Metric) && c.peek_text() == "lock" {
            c.words.next();
            c.push_option("lock", None);
        }
        let v = self.option_value(w, c)?;
        match takes {
            OptionArg::Interface => {
                self.read_interface_name(v)?;
            }
            OptionArg::Prefix => {
                if !matches!(&*v.text, "all" | "any" | "default") {
                    self.read_prefix(v, Family::Any)?;
                }
            }
            OptionArg::Number(max) => {
                self.read_unsigned(v, 0, max)?;
            }
            OptionArg::Weight => {
                self.read_unsigned(v, 1, 256)?;
            }
            OptionArg::Metric => {
                self.read_unsigned(v, 0, u64::from(u32::MAX))?;
            }
            OptionArg::Scope => {
                self.read_scope(v)?;
            }
            OptionArg::Named(table) => {
                let number = v.text.bytes().all(|b| b.is_ascii_digit()) && !v.text.is_empty();
                if !number && self.environment.iproute_id(self.name_tables, table, &v.text) == Some(None) {
                    self.report(
                        Diagnostic::error("unknown-value", v.span, format!("iproute2 knows no `{}`", abbreviate(v)))
                            .label(format!("expected a number, or a name of /etc/iproute2/{table}")),
                    );
                    return None;
                }
            }
            OptionArg::Pair(between) => {
                let number = |t: &str| match t.strip_prefix("0x") {
                    Some(hex) => u32::from_str_radix(hex, 16).is_ok(),
                    None => t.parse::<u32>().is_ok(),
                };
                if !v.text.splitn(2, between).all(number) {
                    let d = Diagnostic::error("not-a-number", v.span, format!("`{}` is not a number", abbreviate(v)));
                    self.report(d.label(format!("expected N or N{between}M")));
                    return None;
                }
            }
            OptionArg::OneOf(words) => {
                self.read_choice(v, words, false)?;
            }
            OptionArg::Word | OptionArg::Flag => {}
        }
        c.push_option(name, Some(v));
        Some(())
    }

    /// The word behind an option's name.
    pub(super) fn option_value<'w, 't>(
        &mut self,
        name: &Word<'_>,
        c: &mut OptionCursor<'w, 't>,
    ) -> Option<&'w Word<'t>> {
        let v = c.words.next();
        if v.is_none() {
            self.report(
                Diagnostic::error("missing-argument", name.span, format!("`{}` needs a value", abbreviate(name)))
                    .label("nothing stands behind it")
                    .verdict(super::KeepalivedVerdict::Exits(2)),
            );
        }
        v
    }

    /// `[not] [from NET] [to NET] … table N|goto N|nop|TYPE [preference N]`
    pub(super) fn read_rule(&mut self, st: &Statement<'_>, keep: bool) -> Option<Line> {
        let mut c = OptionCursor::new(st);
        while let Some(w) = c.words.next() {
            match RULE_OPTIONS.iter().find(|(n, _)| *n == w.text) {
                Some((_, takes)) => self.read_option(w, *takes, &mut c)?,
                None => {
                    let near = if w.text == "ip_proto" {
                        Some("ipproto")
                    } else {
                        nearest_word(&w.text, RULE_OPTIONS.iter().map(|(n, _)| *n))
                    };
                    self.report_unknown_word(w.span, &w.text, "in a rule", "an option of `ip rule`", near);
                    return None;
                }
            }
        }
        const ACTIONS: [&str; 8] = ["table", "lookup", "goto", "nop", "blackhole", "unreachable", "prohibit", "type"];
        if !c.options.iter().any(|(n, _)| ACTIONS.contains(&n.as_str()))
            && !c.options.iter().any(|(n, _)| n == "l3mdev")
        {
            let d = Diagnostic::error("missing-argument", st.span(), "a rule needs an action");
            self.report(d.label("expected `table N`, `goto N`, `nop`, `blackhole`, `unreachable` or `prohibit`"));
            return None;
        }
        if !c.options.iter().any(|(n, _)| matches!(n.as_str(), "preference" | "order" | "priority")) {
            self.report(
                Diagnostic::warning(
                    "rule-preference",
                    st.span(),
                    "a rule without a preference is put somewhere by the kernel",
                )
                .label("its place among other rules is left to chance")
                .help("add `preference N`"),
            );
        }
        self.reject_track_group(&c.options, st.span(), keep)?;
        Some(Line::Options(c.options))
    }

    /// `track_group` stands with what is kept at all times.
    fn reject_track_group(&mut self, out: &[(String, Option<String>)], at: Span, keep: bool) -> Option<()> {
        if keep || !out.iter().any(|(n, _)| n == "track_group") {
            return Some(());
        }
        let d =
            Diagnostic::error("unknown-word", at, "`track_group` stands with static addresses, routes and rules alone");
        self.report(d.label("an instance tracks its own"));
        None
    }
}
