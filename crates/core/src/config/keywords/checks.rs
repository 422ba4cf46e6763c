//! TCP_CHECK and HTTP_GET

use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::global::timer;
use super::{Cx, Keyword, block, walk};
use crate::config::args::{boolean, first, ipv4, no_more, number, one};
use crate::config::tree::Statement;
use crate::config::{Diagnostic, Span};
use crate::model::{HttpUrl, StatusRange};

/// Timing that virtual server, real server and checker inherit from each other.
#[derive(Default, Clone)]
pub(crate) struct TimingDraft {
    pub delay_loop: Option<Duration>,
    pub connect_timeout: Option<Duration>,
    pub retry: Option<u32>,
    pub delay_before_retry: Option<Duration>,
    pub warmup: Option<Duration>,
    pub alpha: Option<bool>,
}

impl TimingDraft {
    /// What is not set here comes from the block around it.
    pub fn or(&self, outer: &TimingDraft) -> TimingDraft {
        TimingDraft {
            delay_loop: self.delay_loop.or(outer.delay_loop),
            connect_timeout: self.connect_timeout.or(outer.connect_timeout),
            retry: self.retry.or(outer.retry),
            delay_before_retry: self.delay_before_retry.or(outer.delay_before_retry),
            warmup: self.warmup.or(outer.warmup),
            alpha: self.alpha.or(outer.alpha),
        }
    }
}

/// A checker before its defaults.
#[derive(Default)]
pub(crate) struct CheckDraft {
    pub http: bool,
    pub at: Span,
    pub timing: TimingDraft,
    pub connect_ip: Option<Ipv4Addr>,
    pub connect_port: Option<u16>,
    pub bindto: Option<Ipv4Addr>,
    pub virtualhost: Option<String>,
    pub urls: Vec<HttpUrl>,
}

pub(crate) fn read(cx: &mut Cx<'_>, st: &Statement) -> Option<CheckDraft> {
    let http = st.keyword().text == "HTTP_GET";
    let mut d = CheckDraft { http, at: st.keyword().span, ..Default::default() };
    let b = block(cx, st)?;
    if http {
        walk(cx, "virtual_server/real_server/HTTP_GET", &[HTTP_GET, COMMON, Timing::TABLE], &mut d, b);
        if d.urls.is_empty() {
            cx.push(
                Diagnostic::error("missing-keyword", d.at, "HTTP_GET has no `url`").label("what is it to ask for?"),
            );
            return None;
        }
    } else {
        walk(cx, "virtual_server/real_server/TCP_CHECK", &[COMMON, Timing::TABLE], &mut d, b);
    }
    Some(d)
}

const FOREVER_US: u64 = 4_294_967_295_000_000;

fn port(cx: &mut Cx<'_>, st: &Statement) -> Option<u16> {
    let w = one(cx, st)?;
    number(cx, w, 1, 65535).map(|n| n as u16)
}

fn address(cx: &mut Cx<'_>, st: &Statement) -> Option<Ipv4Addr> {
    let w = one(cx, st)?;
    ipv4(cx, w)
}

/// A block whose checks inherit timing from it.
pub(crate) trait HasTiming {
    /// What it sets.
    fn timing(&mut self) -> &mut TimingDraft;
}

impl HasTiming for CheckDraft {
    fn timing(&mut self) -> &mut TimingDraft {
        &mut self.timing
    }
}

/// The keywords of timing, which virtual server, real server and checker share.
pub(crate) struct Timing<B>(PhantomData<B>);

impl<B: HasTiming + 'static> Timing<B> {
    pub(crate) const TABLE: &'static [Keyword<B>] = &[
        Keyword {
            name: "delay_loop",
            args: "SECONDS",
            doc: "Between probes of a healthy server (60).",
            since: "v1.0.3",
            parse: |cx, d, st| d.timing().delay_loop = timer(cx, st, 1, FOREVER_US),
        },
        Keyword {
            name: "connect_timeout",
            args: "SECONDS",
            doc: "A probe that takes longer has failed (5).",
            since: "v1.0.3",
            parse: |cx, d, st| d.timing().connect_timeout = timer(cx, st, 1, 4_294_967_295),
        },
        Keyword {
            name: "retry",
            args: "N",
            doc: "Failed probes forgiven before the server counts as dead (1).",
            since: "v1.2.20",
            parse: |cx, d, st| d.timing().retry = retries(cx, st),
        },
        Keyword {
            name: "delay_before_retry",
            args: "SECONDS",
            doc: "Between such repeated probes (1; HTTP_GET 3).",
            since: "v1.2.20",
            parse: |cx, d, st| d.timing().delay_before_retry = timer(cx, st, 0, FOREVER_US),
        },
        Keyword {
            name: "warmup",
            args: "SECONDS",
            doc: "The first probe starts up to this much later (delay_loop).",
            since: "v1.2.13",
            parse: |cx, d, st| d.timing().warmup = timer(cx, st, 0, FOREVER_US),
        },
    ];
}

fn retries(cx: &mut Cx<'_>, st: &Statement) -> Option<u32> {
    let w = one(cx, st)?;
    number(cx, w, 0, u64::from(u32::MAX)).map(|n| n as u32)
}

pub(crate) const COMMON: &[Keyword<CheckDraft>] = &[
    Keyword {
        name: "connect_ip",
        args: "ADDRESS",
        doc: "Probed address; the real server's if not set.",
        since: "v1.2.13",
        parse: |cx, d, st| d.connect_ip = address(cx, st),
    },
    Keyword {
        name: "connect_port",
        args: "PORT",
        doc: "Probed port; the real server's if not set.",
        since: "v1.0.3",
        parse: |cx, d, st| d.connect_port = port(cx, st),
    },
    Keyword {
        name: "bindto",
        args: "ADDRESS",
        doc: "Source address of probes.",
        since: "v1.1.2",
        parse: |cx, d, st| d.bindto = address(cx, st),
    },
    Keyword {
        name: "nb_get_retry",
        args: "N",
        doc: "Old name of `retry`.",
        since: "v1.0.3",
        parse: |cx, d, st| d.timing.retry = retries(cx, st),
    },
    Keyword {
        name: "alpha",
        args: "[on|off]",
        doc: "The server counts as dead until its first good check.",
        since: "v1.3.7",
        parse: |cx, d, st| d.timing.alpha = boolean(cx, st),
    },
];

pub(crate) const HTTP_GET: &[Keyword<CheckDraft>] = &[
    Keyword {
        name: "url",
        args: "{ path, status_code, … }",
        doc: "A request that must be answered as expected; several are tried in turn.",
        since: "v1.0.3",
        parse: url,
    },
    Keyword {
        name: "virtualhost",
        args: "NAME",
        doc: "The Host header.",
        since: "v1.3.6",
        parse: |cx, d, st| d.virtualhost = request_word(cx, st),
    },
];

fn url(cx: &mut Cx<'_>, d: &mut CheckDraft, st: &Statement) {
    let Some(b) = block(cx, st) else { return };
    let mut u = UrlDraft::default();
    walk(cx, "virtual_server/real_server/HTTP_GET/url", &[URL], &mut u, b);
    let Some(path) = u.path else {
        let at = st.keyword().span;
        cx.push(Diagnostic::error("missing-keyword", at, "this `url` has no `path`").label("expected a `path`"));
        return;
    };
    if u.status.is_empty() {
        u.status.push(StatusRange { from: 200, to: 299 });
    }
    d.urls.push(HttpUrl { path, status: u.status, virtualhost: u.virtualhost });
}

/// A `url` before its defaults.
#[derive(Default)]
pub(crate) struct UrlDraft {
    path: Option<String>,
    status: Vec<StatusRange>,
    virtualhost: Option<String>,
}

/// A request target or a host name goes into a request line: no blanks, no control characters.
fn request_word(cx: &mut Cx<'_>, st: &Statement) -> Option<String> {
    let w = one(cx, st)?;
    if w.text.chars().any(|c| c.is_control() || c == ' ') {
        cx.push(
            Diagnostic::error(
                "bad-request-word",
                w.span,
                "blanks and control characters cannot stand in a request line",
            )
            .label("write %20 for a blank"),
        );
        return None;
    }
    Some(w.text.clone())
}

pub(crate) const URL: &[Keyword<UrlDraft>] = &[
    Keyword {
        name: "path",
        args: "PATH",
        doc: "What is asked for.",
        since: "v1.0.3",
        parse: |cx, d, st| d.path = request_word(cx, st),
    },
    Keyword {
        name: "status_code",
        args: "N|N-M …",
        doc: "Accepted status codes (200-299).",
        since: "v1.0.3",
        parse: |cx, d, st| {
            first(cx, st);
            for w in st.args() {
                let (a, b) = w.text.split_once('-').unwrap_or((&w.text, &w.text));
                match (a.parse::<u16>(), b.parse::<u16>()) {
                    (Ok(from), Ok(to)) if (100..=999).contains(&from) && (from..=999).contains(&to) => {
                        d.status.push(StatusRange { from, to });
                    }
                    _ => cx.push(
                        Diagnostic::error("not-a-status", w.span, format!("`{}` is no status code or range", w.text))
                            .label("expected 100 to 999, as 200 or 200-299"),
                    ),
                }
            }
        },
    },
    Keyword {
        name: "virtualhost",
        args: "NAME",
        doc: "The Host header of this request.",
        since: "v1.3.6",
        parse: |cx, d, st| {
            d.virtualhost = request_word(cx, st);
            no_more(cx, st.args().get(1..).unwrap_or_default(), st);
        },
    },
];
