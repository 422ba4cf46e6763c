//! Lines of routes, as `ip route` writes them.

use super::options::{OptionArg, OptionCursor, OptionSpec};
use crate::config::diag::nearest_word;
use crate::config::keywords::spec::Family;
use crate::config::lex::Word;
use crate::config::read::Reader;
use crate::config::tree::Statement;
use crate::config::value::Line;
use crate::config::{Diagnostic, Span};

const ROUTE_TYPES: &[&str] =
    &["unicast", "local", "broadcast", "multicast", "throw", "unreachable", "prohibit", "blackhole", "nat"];

const ROUTE_OPTIONS: &[OptionSpec] = &[
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

impl Reader<'_> {
    /// `[TYPE] [to] DESTINATION [via ADDRESS] [dev IF] …`
    pub(crate) fn read_route(&mut self, st: &Statement<'_>, is_static: bool) -> Option<Line> {
        let mut c = OptionCursor::new(st);
        let mut has_destination = false;
        while let Some(w) = c.words.next() {
            match &*w.text {
                t if ROUTE_TYPES.contains(&t) && !has_destination => c.push_option(t, None),
                "to" => {
                    let v = self.option_value(w, &mut c)?;
                    has_destination = self.read_destination(v, &mut c)?;
                }
                "as" => {
                    if c.peek_text() == "to" {
                        c.words.next();
                    }
                    self.option_value(w, &mut c)?;
                    let d = Diagnostic::warning("encap", w.span, "`as` is for MPLS routes, and this is a route of IP");
                    self.report(d.label("ignored"));
                }
                "via" | "gw" | "nexthop" | "or" | "encap" => {
                    self.read_next_hop(w, &mut c)?;
                }
                name => match ROUTE_OPTIONS.iter().find(|(n, _)| *n == name) {
                    Some((_, arg)) => self.read_option(w, *arg, &mut c)?,
                    None if !has_destination => has_destination = self.read_destination(w, &mut c)?,
                    None => {
                        let near = nearest_word(name, ROUTE_OPTIONS.iter().map(|(n, _)| *n));
                        self.report_unknown_word(w.span, name, "in a route", "an option of `ip route`", near);
                        return None;
                    }
                },
            }
        }
        if !has_destination {
            let d = Diagnostic::error("missing-argument", st.span(), "a route needs a destination");
            self.report(d.label("expected an address, a network or `default`"));
            return None;
        }
        self.reject_track_group(&c, st.span(), is_static)?;
        self.check_route(&c.options, st.span())?;
        Some(Line::Options(c.options))
    }

    /// Checks that the families of a route agree, and that the daemon can track the route.
    fn check_route(&mut self, options: &[(String, Option<String>)], span: Span) -> Option<()> {
        let family = |n: &str| {
            let mut values = options.iter().filter(|(name, _)| name == n).filter_map(|(_, v)| v.as_deref());
            values.find_map(|v| v.split('/').next()?.parse::<std::net::IpAddr>().ok()).map(|a| a.is_ipv4())
        };
        let has = |n: &str| options.iter().any(|(name, _)| name == n);
        let families: Vec<bool> = ["to", "via", "src"].into_iter().filter_map(family).collect();
        if families.windows(2).any(|w| w[0] != w[1]) {
            let d = Diagnostic::error("family", span, "a route mixes IPv4 and IPv6");
            self.report(d.label("expected addresses of one family"));
            return None;
        }
        if has("pref") && family("to") != Some(false) {
            let d = Diagnostic::error("family", span, "`pref` is for IPv6");
            self.report(d.label("remove it"));
            return None;
        }
        let untracked = has("nexthop") || !(has("dev") || has("oif"));
        if untracked && !has("no_track") {
            self.report(
                Diagnostic::warning("untracked-route", span, "a route without an interface is not tracked")
                    .label("its removal by another program is not noticed")
                    .help("add `dev INTERFACE`, or `no_track` if this is intended"),
            );
        }
        Some(())
    }

    /// A network, an address, or a word for the default route. Returns true.
    fn read_destination(&mut self, w: &Word<'_>, c: &mut OptionCursor<'_, '_>) -> Option<bool> {
        if !matches!(&*w.text, "default" | "any" | "all" | "default6") {
            self.read_prefix(w, Family::Any)?;
        }
        c.push_option("to", Some(w));
        Some(true)
    }

    /// A gateway, the beginning of a next hop of a multipath route, or an encapsulation.
    fn read_next_hop(&mut self, w: &Word<'_>, c: &mut OptionCursor<'_, '_>) -> Option<()> {
        match &*w.text {
            "nexthop" => c.push_option("nexthop", None),
            "encap" => {
                let kind = self.option_value(w, c)?;
                self.read_encap(kind, c)?;
            }
            keyword => {
                if keyword != "via" {
                    let new = if keyword == "gw" { "via" } else { "nexthop via" };
                    let d = Diagnostic::warning("deprecated", w.span, format!("`{keyword}` is a deprecated name"));
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
}
