//! Option lists: a line of `ip route` or `ip rule` as pairs of a name and a value, and parsers of values.

use std::net::{IpAddr, Ipv4Addr};

use crate::config::Span;
use crate::config::value::{Line, Section};
use crate::model::{Family, Prefix};

/// Options that say how the daemon treats a line; they are no options of the route or rule itself.
pub(super) const IGNORED_OPTIONS: &[&str] = &["no_track", "track_group", "inet", "inet6"];

pub(super) type OptionList<'o> = &'o [(String, Option<String>)];

/// The lines of a block of routes or rules.
pub(super) fn option_lines<'s>(s: &'s Section, keyword: &'s str) -> impl Iterator<Item = (Span, OptionList<'s>)> {
    s.lines(keyword).filter_map(|(at, l)| match l {
        Line::Options(o) => Some((*at, o.as_slice())),
        _ => None,
    })
}

/// A line as `ip` accepts it, without [`IGNORED_OPTIONS`]; it identifies the route or rule in `track_group` and in
/// logs.
pub(super) fn options_text(options: OptionList<'_>) -> String {
    let word = |(name, value): &(String, Option<String>)| match (name.as_str(), value) {
        ("to" | "encap.label", Some(v)) => v.clone(),
        (n, Some(v)) => format!("{} {v}", n.trim_start_matches("encap.")),
        (n, None) => n.to_owned(),
    };
    options.iter().filter(|(n, _)| !IGNORED_OPTIONS.contains(&n.as_str())).map(word).collect::<Vec<_>>().join(" ")
}

/// The value of `track_group`.
pub(super) fn track_group(options: OptionList<'_>) -> Option<&str> {
    options.iter().find(|(n, _)| n == "track_group").and_then(|(_, group)| group.as_deref())
}

/// `ADDRESS[/LENGTH|/NETMASK]`; `None` for `default`, `any` and `all`.
pub(super) fn parse_net(text: &str) -> Option<Prefix> {
    let (addr, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let addr: IpAddr = addr.parse().ok()?;
    let whole = if addr.is_ipv6() { 128 } else { 32 };
    let length = match length {
        None => whole,
        Some(l) => l.parse().ok().or_else(|| l.parse::<Ipv4Addr>().ok().map(|m| u32::from(m).count_ones() as u8))?,
    };
    Some((addr, length.min(whole)))
}

/// A number in decimal, or in hexadecimal after `0x`.
pub(super) fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A time metric as in ip-route(8), in units of 1/`parts` ms: a bare number counts these units, one with `s`, `ms` or
/// `us` is converted and rounded up.
pub(super) fn parse_time_metric(text: &str, parts: u32) -> Option<u32> {
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

/// `A-B`, or `A` for both ends.
pub(super) fn parse_range<T: std::str::FromStr + Copy>(text: &str) -> Option<(T, T)> {
    match text.split_once('-') {
        Some((a, b)) => Some((a.parse().ok()?, b.parse().ok()?)),
        None => text.parse().ok().map(|n| (n, n)),
    }
}

/// The family of a line: IPv6 if any of its addresses is, or if it has `inet6` or `default6`.
pub(super) fn options_family(options: OptionList<'_>) -> Family {
    let v6 = options.iter().filter(|(n, _)| !n.starts_with("encap.")).any(|(n, v)| {
        n == "inet6"
            || v.as_deref() == Some("default6")
            || v.as_deref().and_then(parse_net).is_some_and(|(a, _)| a.is_ipv6())
    });
    if v6 { Family::V6 } else { Family::V4 }
}
