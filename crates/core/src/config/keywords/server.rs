//! `virtual_server` and `real_server`

use std::net::Ipv4Addr;

use super::checks::{self, CheckDraft, HasTiming, Timing, TimingDraft};
use super::{Cx, Keyword, block, walk};
use crate::config::args::{boolean, choice, first, ipv4, no_more, number, one};
use crate::config::tree::Statement;
use crate::config::{Diagnostic, Span, diag};
use crate::model::{ForwardingMethod, Persistence, Protocol, Scheduler, Weight};

/// A `virtual_server` before its defaults.
pub(crate) struct ServerDraft {
    pub at: Span,
    pub addr: Ipv4Addr,
    pub port: u16,
    pub protocol: Option<Protocol>,
    /// `protocol` and `lb_kind` stood there, even if what they said was an error.
    pub protocol_seen: bool,
    pub method_seen: bool,
    pub scheduler: Option<Scheduler>,
    pub method: Option<ForwardingMethod>,
    pub persist_s: Option<u32>,
    pub persist_mask: Option<Ipv4Addr>,
    pub weight: Option<Weight>,
    pub inhibit: bool,
    pub timing: TimingDraft,
    pub virtualhost: Option<String>,
    pub servers: Vec<RealDraft>,
}

/// A `real_server` before its defaults.
pub(crate) struct RealDraft {
    pub at: Span,
    pub addr: Ipv4Addr,
    pub port: Option<u16>,
    pub weight: Option<Weight>,
    pub method: Option<ForwardingMethod>,
    pub u_threshold: u32,
    pub l_threshold: u32,
    pub inhibit: Option<bool>,
    pub timing: TimingDraft,
    pub virtualhost: Option<String>,
    pub checks: Vec<CheckDraft>,
}

impl HasTiming for ServerDraft {
    fn timing(&mut self) -> &mut TimingDraft {
        &mut self.timing
    }
}

impl HasTiming for RealDraft {
    fn timing(&mut self) -> &mut TimingDraft {
        &mut self.timing
    }
}

/// `ADDRESS [PORT]`
fn endpoint(cx: &mut Cx<'_>, st: &Statement) -> Option<(Ipv4Addr, Option<u16>)> {
    let w = first(cx, st)?;
    let addr = ipv4(cx, w)?;
    let port = match st.args().get(1) {
        None => None,
        Some(p) => Some(number(cx, p, 0, 65535)? as u16),
    };
    no_more(cx, st.args().get(2..).unwrap_or_default(), st);
    Some((addr, port))
}

pub(crate) fn read(cx: &mut Cx<'_>, st: &Statement) -> Option<ServerDraft> {
    let w = first(cx, st)?;
    if w.text == "fwmark" || w.text == "group" {
        cx.push(
            Diagnostic::error("not-supported", w.span, format!("`virtual_server {}` is not supported yet", w.text))
                .label("write an address and a port"),
        );
        return None;
    }
    let (addr, port) = endpoint(cx, st)?;
    let at = st.args().iter().fold(w.span, |s, w| s.to(w.span));
    let mut d = ServerDraft {
        at,
        addr,
        port: port.unwrap_or(0),
        protocol: None,
        protocol_seen: false,
        method_seen: false,
        scheduler: None,
        method: None,
        persist_s: None,
        persist_mask: None,
        weight: None,
        inhibit: false,
        timing: TimingDraft::default(),
        virtualhost: None,
        servers: Vec::new(),
    };
    let b = block(cx, st)?;
    walk(cx, "virtual_server", &[TABLE, Timing::TABLE], &mut d, b);
    Some(d)
}

impl ServerDraft {
    /// Persistence, if some is configured.
    pub fn persistence(&self) -> Option<Persistence> {
        self.persist_s
            .map(|timeout_s| Persistence { timeout_s, mask: self.persist_mask.unwrap_or(Ipv4Addr::BROADCAST) })
    }
}

fn scheduler(cx: &mut Cx<'_>, d: &mut ServerDraft, st: &Statement) {
    let Some(w) = one(cx, st) else { return };
    d.scheduler = w.text.parse().ok();
    if d.scheduler.is_none() {
        const LATER: &[&str] = &["lc", "lblc", "lblcr", "sh", "mh", "dh", "fo", "ovf", "sed", "nq", "twos"];
        cx.push(if LATER.contains(&w.text.as_str()) {
            Diagnostic::error("not-supported", w.span, format!("the scheduler `{}` is not supported yet", w.text))
                .label("rr, wrr and wlc are")
        } else {
            let d = Diagnostic::error("unknown-value", w.span, format!("unknown scheduler `{}`", w.text))
                .label("expected rr, wrr or wlc");
            match diag::nearest(&w.text, ["rr", "wrr", "wlc"]) {
                Some(n) => d.help(format!("did you mean `{n}`?")),
                None => d,
            }
        });
    }
}

fn method(cx: &mut Cx<'_>, st: &Statement) -> Option<ForwardingMethod> {
    let w = first(cx, st)?;
    let known = [("DR", Some(ForwardingMethod::Dr)), ("NAT", None), ("TUN", None)];
    let m = choice(cx, w, "forwarding method", &known)?;
    if m.is_none() {
        cx.push(
            Diagnostic::error("not-supported", w.span, format!("forwarding by {} is not supported yet", w.text))
                .label("DR is"),
        );
    }
    m
}

fn service_method(cx: &mut Cx<'_>, d: &mut ServerDraft, st: &Statement) {
    d.method_seen = true;
    d.method = method(cx, st);
}

fn weight(cx: &mut Cx<'_>, st: &Statement, min: u64) -> Option<Weight> {
    let w = one(cx, st)?;
    Weight::new(number(cx, w, min, i32::MAX as u64)? as u32)
}

pub(crate) const TABLE: &[Keyword<ServerDraft>] = &[
    Keyword { name: "lvs_sched", args: "rr|wrr|wlc", doc: "Scheduler (wlc).", since: "v1.1.5", parse: scheduler },
    Keyword { name: "lb_algo", args: "rr|wrr|wlc", doc: "Old name of `lvs_sched`.", since: "v1.0.3", parse: scheduler },
    Keyword { name: "lvs_method", args: "DR", doc: "Forwarding method.", since: "v1.1.5", parse: service_method },
    Keyword { name: "lb_kind", args: "DR", doc: "Old name of `lvs_method`.", since: "v1.0.3", parse: service_method },
    Keyword {
        name: "protocol",
        args: "TCP|UDP",
        doc: "Layer-4 protocol.",
        since: "v1.0.3",
        parse: |cx, d, st| {
            d.protocol_seen = true;
            let Some(w) = one(cx, st) else { return };
            match w.text.to_ascii_uppercase().as_str() {
                "TCP" => d.protocol = Some(Protocol::Tcp),
                "UDP" => d.protocol = Some(Protocol::Udp),
                "SCTP" => cx.push(
                    Diagnostic::error("not-supported", w.span, "SCTP is not supported yet").label("TCP and UDP are"),
                ),
                _ => {
                    choice::<()>(cx, w, "protocol", &[("TCP", ()), ("UDP", ())]);
                }
            }
        },
    },
    Keyword {
        name: "persistence_timeout",
        args: "[SECONDS]",
        doc: "A client's connections stay with one real server, so long after its last new one (360).",
        since: "v1.0.3",
        parse: |cx, d, st| {
            d.persist_s = match st.args().first() {
                None => Some(360),
                Some(w) => number(cx, w, 1, 2_678_400).map(|n| n as u32),
            };
            no_more(cx, st.args().get(1..).unwrap_or_default(), st);
        },
    },
    Keyword {
        name: "persistence_granularity",
        args: "NETMASK",
        doc: "Clients alike under this mask are one (255.255.255.255).",
        since: "v1.0.3",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st)
                && let Some(mask) = ipv4(cx, w)
            {
                let m = u32::from(mask);
                if m == 0 || m.leading_ones() + m.trailing_zeros() != 32 {
                    cx.push(
                        Diagnostic::error("not-a-netmask", w.span, format!("`{mask}` is not a netmask"))
                            .label("expected ones, then zeros, as 255.255.255.0"),
                    );
                } else {
                    d.persist_mask = Some(mask);
                }
            }
        },
    },
    Keyword {
        name: "alpha",
        args: "",
        doc: "Its real servers count as dead until their first good check.",
        since: "v1.1.16",
        parse: |_, d, _| d.timing.alpha = Some(true),
    },
    Keyword {
        name: "inhibit_on_failure",
        args: "",
        doc: "A failed real server gets weight 0 instead of being removed.",
        since: "v1.3.7",
        parse: |_, d, _| d.inhibit = true,
    },
    Keyword {
        name: "weight",
        args: "N",
        doc: "Default weight of its real servers (1).",
        since: "v1.3.7",
        parse: |cx, d, st| d.weight = weight(cx, st, 1),
    },
    Keyword {
        name: "virtualhost",
        args: "NAME",
        doc: "Default Host header of its HTTP_GETs.",
        since: "v1.0.3",
        parse: |cx, d, st| d.virtualhost = one(cx, st).map(|w| w.text.clone()),
    },
    Keyword {
        name: "real_server",
        args: "ADDRESS [PORT] { … }",
        doc: "A server behind the service.",
        since: "v1.0.3",
        parse: |cx, d, st| d.servers.extend(read_real(cx, st)),
    },
];

fn read_real(cx: &mut Cx<'_>, st: &Statement) -> Option<RealDraft> {
    let (addr, port) = endpoint(cx, st)?;
    let mut d = RealDraft {
        at: st.span(),
        addr,
        port,
        weight: None,
        method: None,
        u_threshold: 0,
        l_threshold: 0,
        inhibit: None,
        timing: TimingDraft::default(),
        virtualhost: None,
        checks: Vec::new(),
    };
    let b = block(cx, st)?;
    walk(cx, "virtual_server/real_server", &[REAL_SERVER, Timing::TABLE], &mut d, b);
    if d.u_threshold > 0 && d.l_threshold > d.u_threshold {
        cx.push(
            Diagnostic::error("thresholds", d.at, "`lthreshold` is above `uthreshold`")
                .label(format!("{} is more than {}", d.l_threshold, d.u_threshold)),
        );
    }
    Some(d)
}

fn threshold(cx: &mut Cx<'_>, st: &Statement) -> u32 {
    one(cx, st).and_then(|w| number(cx, w, 0, u64::from(u32::MAX))).unwrap_or(0) as u32
}

pub(crate) const REAL_SERVER: &[Keyword<RealDraft>] = &[
    Keyword {
        name: "weight",
        args: "N",
        doc: "Weight; 0: no new connections.",
        since: "v1.0.3",
        parse: |cx, d, st| d.weight = weight(cx, st, 0),
    },
    Keyword {
        name: "lvs_method",
        args: "DR",
        doc: "Forwarding method, if not the service's.",
        since: "v1.3.6",
        parse: |cx, d, st| d.method = method(cx, st),
    },
    Keyword {
        name: "uthreshold",
        args: "N",
        doc: "No new connections at this many.",
        since: "v1.1.13",
        parse: |cx, d, st| d.u_threshold = threshold(cx, st),
    },
    Keyword {
        name: "lthreshold",
        args: "N",
        doc: "New connections again below this many.",
        since: "v1.1.13",
        parse: |cx, d, st| d.l_threshold = threshold(cx, st),
    },
    Keyword {
        name: "inhibit_on_failure",
        args: "[on|off]",
        doc: "Weight 0 instead of removal when it fails.",
        since: "v1.0.3",
        parse: |cx, d, st| d.inhibit = boolean(cx, st),
    },
    Keyword {
        name: "alpha",
        args: "[on|off]",
        doc: "It counts as dead until its first good check.",
        since: "v1.3.7",
        parse: |cx, d, st| d.timing.alpha = boolean(cx, st),
    },
    Keyword {
        name: "virtualhost",
        args: "NAME",
        doc: "Default Host header of its HTTP_GETs.",
        since: "v1.3.6",
        parse: |cx, d, st| d.virtualhost = one(cx, st).map(|w| w.text.clone()),
    },
    Keyword {
        name: "TCP_CHECK",
        args: "{ … }",
        doc: "It lives while a TCP connection to it comes about.",
        since: "v1.0.3",
        parse: |cx, d, st| d.checks.extend(checks::read(cx, st)),
    },
    Keyword {
        name: "HTTP_GET",
        args: "{ url { … } … }",
        doc: "It lives while it answers HTTP requests as expected.",
        since: "v1.0.3",
        parse: |cx, d, st| d.checks.extend(checks::read(cx, st)),
    },
];
