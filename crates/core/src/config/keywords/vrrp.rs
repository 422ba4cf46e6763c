//! `vrrp_instance`

use std::net::Ipv4Addr;
use std::time::Duration;

use super::global::{refresh_seconds, repeat, timer, whole_seconds};
use super::script::weight;
use super::{Cx, Keyword, block, walk};
use crate::config::args::{boolean, choice, ipv4, no_more, number, one, seconds};
use crate::config::tree::{Statement, Word};
use crate::config::{Diagnostic, Span};
use crate::model::{AuthPass, InitialState, Vrid, VrrpVersion};

/// An address as written; the device may be the instance's.
pub(crate) struct VipDraft {
    pub at: Span,
    pub addr: Ipv4Addr,
    pub prefix: u8,
    pub dev: Option<String>,
    pub label: Option<String>,
    pub broadcast: Broadcast,
    pub scope: Option<u8>,
}

/// `brd`
#[derive(Clone, Copy)]
pub(crate) enum Broadcast {
    None,
    Computed,
    Given(Ipv4Addr),
}

/// A line of `track_script`.
pub(crate) struct TrackDraft {
    pub at: Span,
    pub name: String,
    pub weight: Option<(i16, bool)>,
}

/// A `vrrp_instance` before its defaults.
#[derive(Default)]
pub(crate) struct InstanceDraft {
    pub name: String,
    pub at: Span,
    pub state: Option<InitialState>,
    pub interface: Option<String>,
    pub vrid: Option<(Vrid, Span)>,
    pub priority: Option<u8>,
    pub advert_int: Option<(Duration, Span)>,
    pub version: Option<VrrpVersion>,
    pub auth_type: Option<Span>,
    pub auth_pass: Option<(AuthPass, Span)>,
    pub nopreempt: Option<Span>,
    pub preempt_delay: Option<(Duration, Span)>,
    pub down_timer_adverts: Option<u8>,
    pub mcast_src_ip: Option<Ipv4Addr>,
    pub v3_checksum_as_v2: Option<bool>,
    pub lower_prio_no_advert: Option<bool>,
    pub higher_prio_send_advert: Option<bool>,
    pub garp_master_delay: Option<Duration>,
    pub garp_master_repeat: Option<u32>,
    pub garp_master_refresh: Option<Duration>,
    pub garp_master_refresh_repeat: Option<u32>,
    pub vips: Vec<VipDraft>,
    pub excluded: Vec<VipDraft>,
    pub track_scripts: Vec<TrackDraft>,
    pub dont_track_primary: bool,
}

pub(crate) fn read(cx: &mut Cx<'_>, st: &Statement) -> Option<InstanceDraft> {
    let name = one(cx, st)?;
    let mut d = InstanceDraft { name: name.text.clone(), at: name.span, ..Default::default() };
    let b = block(cx, st)?;
    walk(cx, "vrrp_instance", &[TABLE], &mut d, b);
    Some(d)
}

fn addresses(cx: &mut Cx<'_>, st: &Statement, out: &mut Vec<VipDraft>) {
    if let Some(b) = block(cx, st) {
        for item in &b.items {
            out.extend(address(cx, item));
        }
    }
}

/// `ADDRESS[/PREFIX] [dev D] [label L] [brd A|+|-] [scope S]`, as keepalived.conf(5)'s `virtual_ipaddress`.
fn address(cx: &mut Cx<'_>, st: &Statement) -> Option<VipDraft> {
    let word = st.keyword();
    let (text, prefix) = word.text.split_once('/').map_or((word.text.as_str(), None), |(a, p)| (a, Some(p)));
    let addr = ipv4(cx, &Word { text: text.to_owned(), span: word.span, quoted: false })?;
    let prefix = match prefix.map(str::parse::<u8>) {
        None => 32,
        Some(Ok(p)) if p <= 32 => p,
        Some(_) => {
            cx.push(
                Diagnostic::error("not-a-prefix", word.span, format!("`{}` has no valid prefix length", word.text))
                    .label("expected /0 to /32"),
            );
            return None;
        }
    };
    let mut vip =
        VipDraft { at: word.span, addr, prefix, dev: None, label: None, broadcast: Broadcast::None, scope: None };
    let mut rest = st.args().iter();
    while let Some(w) = rest.next() {
        let mut value = |cx: &mut Cx<'_>| {
            let v = rest.next();
            if v.is_none() {
                cx.push(
                    Diagnostic::error("missing-argument", w.span, format!("`{}` needs a value", w.text))
                        .label("nothing stands behind it"),
                );
            }
            v
        };
        match w.text.as_str() {
            "dev" => vip.dev = Some(value(cx)?.text.clone()),
            "label" => {
                let l = value(cx)?;
                if l.text.len() > 15 {
                    cx.push(
                        Diagnostic::error("label-length", l.span, "a label has at most 15 characters")
                            .label(format!("{} characters", l.text.len())),
                    );
                }
                vip.label = Some(l.text.clone());
            }
            "brd" | "broadcast" => {
                let v = value(cx)?;
                vip.broadcast = match v.text.as_str() {
                    "+" => Broadcast::Computed,
                    "-" => Broadcast::None,
                    _ => Broadcast::Given(ipv4(cx, v)?),
                };
            }
            "scope" => {
                let v = value(cx)?;
                const SCOPES: &[(&str, u8)] =
                    &[("global", 0), ("site", 200), ("link", 253), ("host", 254), ("nowhere", 255)];
                vip.scope = Some(choice(cx, v, "scope", SCOPES)?);
            }
            "no_track" | "noprefixroute" | "autojoin" | "home" | "-nodad" | "mngtmpaddr" | "use_vmac" | "peer"
            | "preferred_lft" => {
                cx.push(
                    Diagnostic::warning(
                        "not-in-force",
                        w.span,
                        format!("`{}` is accepted, but not in force yet", w.text),
                    )
                    .label("no effect in this version"),
                );
                if matches!(w.text.as_str(), "peer" | "preferred_lft") {
                    value(cx);
                }
            }
            other => {
                let d = Diagnostic::error("unknown-word", w.span, format!("unknown word `{other}` behind an address"))
                    .label("expected dev, label, brd or scope");
                cx.push(if other.parse::<Ipv4Addr>().is_ok() || other.contains('/') {
                    d.help("each address stands on a line of its own")
                } else {
                    d
                });
                return None;
            }
        }
    }
    Some(vip)
}

fn track_scripts(cx: &mut Cx<'_>, st: &Statement, out: &mut Vec<TrackDraft>) {
    let Some(b) = block(cx, st) else { return };
    for item in &b.items {
        let weight = match item.args().first() {
            None => None,
            Some(w) if w.text == "weight" => weight(cx, &item.args()[1..]),
            Some(w) => {
                cx.push(
                    Diagnostic::error("unknown-word", w.span, format!("unknown word `{}` behind a script", w.text))
                        .label("expected weight"),
                );
                None
            }
        };
        out.push(TrackDraft { at: item.keyword().span, name: item.keyword().text.clone(), weight });
    }
}

pub(crate) const AUTHENTICATION: &[Keyword<InstanceDraft>] = &[
    Keyword {
        name: "auth_type",
        args: "PASS|AH",
        doc: "Simple password, or an authentication header (not in force yet).",
        since: "v1.0.3",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st)
                && choice(cx, w, "authentication type", &[("PASS", true), ("AH", false)]) == Some(false)
            {
                cx.push(
                    Diagnostic::error("not-supported", w.span, "auth_type AH is not supported yet")
                        .label("PASS is")
                        .help(
                            "IPsec AH gives VRRP no protection worth having (RFC 5798, 9); filter protocol 112 instead",
                        ),
                );
            } else {
                d.auth_type = st.args().first().map(|w| w.span);
            }
        },
    },
    Keyword {
        name: "auth_pass",
        args: "PASSWORD",
        doc: "The shared password; its first eight bytes count.",
        since: "v1.0.3",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st) {
                let mut pass = [0; 8];
                for (to, from) in pass.iter_mut().zip(w.text.bytes()) {
                    *to = from;
                }
                if w.text.len() > 8 {
                    cx.push(
                        Diagnostic::warning("auth-length", w.span, "only the first eight bytes of a password count")
                            .label(format!("{} bytes", w.text.len())),
                    );
                }
                d.auth_pass = Some((AuthPass(pass), w.span));
            }
        },
    },
];

fn flag(cx: &mut Cx<'_>, st: &Statement) -> Option<Span> {
    no_more(cx, st.args(), st);
    Some(st.keyword().span)
}

pub(crate) const TABLE: &[Keyword<InstanceDraft>] = &[
    Keyword {
        name: "state",
        args: "MASTER|BACKUP",
        doc: "What the operator expects at start; only priority 255 really begins as master.",
        since: "v1.0.3",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st) {
                d.state = choice(cx, w, "state", &[("MASTER", InitialState::Master), ("BACKUP", InitialState::Backup)]);
            }
        },
    },
    Keyword {
        name: "interface",
        args: "DEVICE",
        doc: "Where adverts are sent and heard.",
        since: "v1.0.3",
        parse: |cx, d, st| d.interface = one(cx, st).map(|w| w.text.clone()),
    },
    Keyword {
        name: "virtual_router_id",
        args: "1..255",
        doc: "The virtual router's number on its link.",
        since: "v1.0.3",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st)
                && let Some(n) = number(cx, w, 1, 255)
            {
                d.vrid = Vrid::new(n as u8).map(|v| (v, w.span));
            }
        },
    },
    Keyword {
        name: "priority",
        args: "1..255",
        doc: "The highest becomes master; 255 owns the addresses.",
        since: "v1.0.3",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st) {
                d.priority = number(cx, w, 1, 255).map(|n| n as u8);
            }
        },
    },
    Keyword {
        name: "advert_int",
        args: "SECONDS",
        doc: "Between adverts: whole seconds in v2, hundredths up to 40.95 in v3.",
        since: "v1.0.3",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st) {
                d.advert_int = seconds(cx, w, 10_000, 255_000_000).map(|t| (t, w.span));
            }
        },
    },
    Keyword {
        name: "version",
        args: "2|3",
        doc: "Protocol version.",
        since: "v1.2.17",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st) {
                d.version = choice(cx, w, "version", &[("2", VrrpVersion::V2), ("3", VrrpVersion::V3)]);
            }
        },
    },
    Keyword {
        name: "authentication",
        args: "{ auth_type, auth_pass }",
        doc: "VRRPv2's old authentication.",
        since: "v1.0.3",
        parse: |cx, d, st| {
            if let Some(b) = block(cx, st) {
                walk(cx, "vrrp_instance/authentication", &[AUTHENTICATION], d, b);
            }
        },
    },
    Keyword {
        name: "virtual_ipaddress",
        args: "{ ADDRESS[/PREFIX] [dev D] [label L] [brd A|+|-] [scope S] … }",
        doc: "Addresses that the master holds; adverts name them.",
        since: "v1.0.3",
        parse: |cx, d, st| addresses(cx, st, &mut d.vips),
    },
    Keyword {
        name: "virtual_ipaddress_excluded",
        args: "{ ADDRESS[/PREFIX] … }",
        doc: "Addresses that the master holds; adverts do not name them.",
        since: "v1.0.3",
        parse: |cx, d, st| addresses(cx, st, &mut d.excluded),
    },
    Keyword {
        name: "track_script",
        args: "{ NAME [weight -253..253 [reverse|noreverse]] … }",
        doc: "Scripts that change the priority, or bring FAULT.",
        since: "v1.1.13",
        parse: |cx, d, st| track_scripts(cx, st, &mut d.track_scripts),
    },
    Keyword {
        name: "preempt",
        args: "",
        doc: "Take over from a living master of lower priority (the default).",
        since: "v1.0.3",
        parse: |cx, d, st| {
            flag(cx, st);
            d.nopreempt = None;
        },
    },
    Keyword {
        name: "nopreempt",
        args: "",
        doc: "Do not take over from a living master.",
        since: "v1.1.8",
        parse: |cx, d, st| d.nopreempt = flag(cx, st),
    },
    Keyword {
        name: "preempt_delay",
        args: "SECONDS",
        doc: "Wait this long before taking over from a living master of lower priority.",
        since: "v1.1.8",
        parse: |cx, d, st| {
            d.preempt_delay = timer(cx, st, 0, 1_000_000_000).map(|t| (t, st.keyword().span));
        },
    },
    Keyword {
        name: "down_timer_adverts",
        args: "1..100",
        doc: "Adverts missed before the master counts as gone.",
        since: "v2.2.3",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st) {
                d.down_timer_adverts = number(cx, w, 1, 100).map(|n| n as u8);
            }
        },
    },
    Keyword {
        name: "mcast_src_ip",
        args: "ADDRESS",
        doc: "Source address of adverts.",
        since: "v1.0.3",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st) {
                d.mcast_src_ip = ipv4(cx, w);
            }
        },
    },
    Keyword {
        name: "v3_checksum_as_v2",
        args: "[on|off]",
        doc: "VRRPv3 checksum over IPv4 without the pseudo-header.",
        since: "v2.2.8",
        parse: |cx, d, st| d.v3_checksum_as_v2 = boolean(cx, st),
    },
    Keyword {
        name: "lower_prio_no_advert",
        args: "[on|off]",
        doc: "As master, do not answer an advert of lower priority.",
        since: "v1.2.20",
        parse: |cx, d, st| d.lower_prio_no_advert = boolean(cx, st),
    },
    Keyword {
        name: "higher_prio_send_advert",
        args: "[on|off]",
        doc: "As master, send one advert before yielding to a higher priority.",
        since: "v1.3.5",
        parse: |cx, d, st| d.higher_prio_send_advert = boolean(cx, st),
    },
    Keyword {
        name: "garp_master_delay",
        args: "SECONDS",
        doc: "Second block of gratuitous ARPs this long after becoming master; 0: none.",
        since: "v1.0.3",
        parse: |cx, d, st| d.garp_master_delay = whole_seconds(cx, st),
    },
    Keyword {
        name: "garp_master_repeat",
        args: "N",
        doc: "Gratuitous ARPs for each address in a block.",
        since: "v1.2.14",
        parse: |cx, d, st| d.garp_master_repeat = repeat(cx, st),
    },
    Keyword {
        name: "garp_master_refresh",
        args: "SECONDS",
        doc: "Gratuitous ARPs again this often while master; 0: never.",
        since: "v1.2.10",
        parse: |cx, d, st| d.garp_master_refresh = refresh_seconds(cx, st),
    },
    Keyword {
        name: "garp_master_refresh_repeat",
        args: "N",
        doc: "Gratuitous ARPs for each address at each refresh.",
        since: "v1.2.14",
        parse: |cx, d, st| d.garp_master_refresh_repeat = repeat(cx, st),
    },
    Keyword {
        name: "dont_track_primary",
        args: "",
        doc: "Go on although the instance's own interface is down.",
        since: "v1.1.8",
        parse: |cx, d, st| d.dont_track_primary = flag(cx, st).is_some(),
    },
];
