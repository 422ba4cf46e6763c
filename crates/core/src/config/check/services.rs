//! `virtual_server`, `virtual_server_group` and their real servers.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::super::lower::regex_pattern;
use super::super::value::{LvsMethod, Section, Value};
use super::super::{Diagnostic, Span};
use super::{CheckContext, report_missing};
use crate::health::{IGNORED_OPTIONS, compile_regex};

pub(super) fn check(c: &mut CheckContext<'_>) {
    let root = c.root;
    let mut groups: HashMap<&str, Span> = HashMap::new();
    for e in root.get_all("virtual_server_group") {
        let Value::Lines(group) = &e.value else { continue };
        let (Some(name), lines) = &**group else { continue };
        groups.insert(name, e.args_span);
        if lines.0.is_empty() {
            let d =
                Diagnostic::error("no-members", e.args_span, format!("virtual_server_group `{name}` has no members"));
            c.push(d.label("left out"));
        }
    }
    let files: HashSet<&str> = root.sections("track_file").map(Section::name).collect();
    let bfd: HashSet<&str> = root.sections("bfd_instance").map(Section::name).collect();
    let mut services = HashMap::new();
    for s in root.sections("virtual_server") {
        let v = ServiceCheck::new(s);
        v.check(c, &groups, &mut services);
        for r in s.sections("real_server") {
            for e in &r.entries {
                let Value::Section(checker) = &e.value else { continue };
                check_checker(c, checker, &files, &bfd);
                check_source_address(c, checker, r);
                check_link_local(c, checker);
                if checker.block.name() == "SMTP_CHECK" {
                    checker.sections("host").for_each(|host| check_source_address(c, host, r));
                }
            }
        }
    }
}

struct ServiceCheck<'s> {
    section: &'s Section,
    addr: Option<IpAddr>,
    port: Option<u16>,
    persistent: bool,
}

fn lvs_method(s: &Section, keyword: &str) -> Option<LvsMethod> {
    match &s.get(keyword)?.value {
        Value::LvsMethod(m) => Some((**m).clone()),
        _ => None,
    }
}

impl<'s> ServiceCheck<'s> {
    fn new(section: &'s Section) -> Self {
        let (addr, port) = match section.name {
            Value::Endpoint(a, p) => (Some(a), p.filter(|p| *p != 0)),
            _ => (None, None),
        };
        ServiceCheck { section, addr, port, persistent: section.has("persistence_timeout") }
    }

    fn check(
        &self,
        c: &mut CheckContext<'_>,
        groups: &HashMap<&str, Span>,
        taken: &mut HashMap<(String, String), Span>,
    ) {
        let s = self.section;
        let marked = matches!(s.name, Value::Fwmark(_));
        if let Value::Group(g) = &s.name
            && !groups.contains_key(g.as_str())
        {
            let d = Diagnostic::lint("undefined-group", s.span, format!("no virtual_server_group is named `{g}`"));
            c.push(super::with_suggestion(d.label("not defined in this file"), g, groups.keys().copied()));
        }
        if self.addr.is_some() && s.has("member") {
            let d = Diagnostic::warning("fwmark", s.args_span("member"), "only a firewall mark has members");
            c.push(d.label("ignored").help("write `virtual_server fwmark N` for a set of addresses"));
        }
        if marked && s.has("protocol") {
            let d = Diagnostic::warning("fwmark", s.args_span("protocol"), "a firewall mark stands for any protocol");
            c.push(d.label("ignored").help("remove this line"));
        }
        if !marked && report_missing(c, s, "protocol", "this virtual_server") && !s.is_mentioned("protocol") {
            set_last_help(c, "without it keepalived takes UDP, which is rarely meant; write `protocol TCP`");
        }
        if report_missing(c, s, "lvs_sched", "this virtual_server") && !s.is_mentioned("lvs_sched") {
            demote_last_to_warning(c, "without it the scheduler is wlc; write `lvs_sched wlc`");
        }
        if report_missing(c, s, "lvs_method", "this virtual_server") && !s.is_mentioned("lvs_method") {
            set_last_help(c, "without it keepalived takes NAT; write `lvs_method NAT`, or DR or TUN if that is meant");
        }
        let key = (format!("{:?}", s.name), s.text("protocol").unwrap_or_default().to_ascii_uppercase());
        match taken.get(&key) {
            // keepalived is silent and joins the two.
            Some(&first) => c.push(
                Diagnostic::lint("duplicate", s.span, "this virtual server is defined twice")
                    .label("second definition")
                    .note(first, "first defined here"),
            ),
            None => {
                taken.insert(key, s.span);
            }
        }
        if self.addr.is_some() && self.port.is_none() && !self.persistent && !s.is_mentioned("persistence_timeout") {
            c.push(
                Diagnostic::error("port-zero", s.span, "a service without a port needs persistence")
                    .label("takes every port")
                    .help("add `persistence_timeout`, or name the port"),
            );
        }
        self.check_flags(c);
        self.check_real_servers(c);
    }

    /// Flags of schedulers, one-packet scheduling.
    fn check_flags(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        let scheduler = s.text("lvs_sched").unwrap_or("wlc");
        for (flag, wanted) in
            [("sh-port", "sh"), ("sh-fallback", "sh"), ("mh-port", "mh"), ("mh-fallback", "mh"), ("hashed", "sh")]
        {
            if let Some(e) = s.get(flag)
                && scheduler != wanted
            {
                let what = format!("`{flag}` belongs to the scheduler {wanted}");
                c.push(
                    Diagnostic::warning("scheduler-flag", e.keyword_span, what)
                        .label(format!("ignored with {scheduler}")),
                );
            }
        }
        if let Some(e) = s.get("ops")
            && !matches!(s.name, Value::Fwmark(_))
            && s.text("protocol").is_some_and(|p| p != "UDP")
        {
            c.push(Diagnostic::warning("ops", e.keyword_span, "one-packet scheduling is for UDP").label("ignored"));
        }
    }

    fn check_real_servers(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        let mut seen: HashMap<(IpAddr, Option<u16>), Span> = HashMap::new();
        let mut weight = 0u64;
        for r in s.sections("real_server") {
            let Value::Endpoint(addr, port) = r.name else { continue };
            let m = lvs_method(r, "lvs_method").or_else(|| lvs_method(s, "lvs_method"));
            if self.addr.is_some_and(|v| v.is_ipv4() != addr.is_ipv4()) && !matches!(m, Some(LvsMethod::Tun(..))) {
                c.push(
                    Diagnostic::error("family", r.span, format!("{addr} is of another family than the service"))
                        .label("only TUN crosses families"),
                );
                continue;
            }
            let port = port.filter(|p| *p != 0);
            let plain = !matches!(m, None | Some(LvsMethod::Nat));
            if let (true, Some(p), Some(v)) = (plain, port, self.port)
                && p != v
            {
                let how = if matches!(m, Some(LvsMethod::Dr)) { "direct routing" } else { "a tunnel" };
                c.push(
                    Diagnostic::warning("dr-port", r.span, format!("{how} cannot change the port to {p}"))
                        .label(format!("packets arrive at port {v}"))
                        .note(s.span, "the service's port")
                        .help(format!("write `real_server {addr} {v}`, or `lvs_method NAT`")),
                );
            }
            let port = if plain { self.port } else { port.or(self.port) };
            if let Some(&first) = seen.get(&(addr, port)) {
                c.push(
                    Diagnostic::error(
                        "duplicate",
                        r.span,
                        format!("the real server {addr} stands in this service twice"),
                    )
                    .label("second definition")
                    .note(first, "first defined here"),
                );
                continue;
            }
            seen.insert((addr, port), r.span);
            weight = weight.saturating_add(r.uint("weight").or(s.uint("weight")).unwrap_or(1));
            let (upper, lower) = (r.uint("uthreshold").unwrap_or(0), r.uint("lthreshold").unwrap_or(0));
            if upper > 0 && lower > upper {
                c.push(
                    Diagnostic::lint("thresholds", r.args_span("lthreshold"), "`lthreshold` is above `uthreshold`")
                        .label(format!("{lower} is more than {upper}"))
                        .help("once full, it would never be full again: write a smaller one"),
                );
            }
        }
        if s.sections("real_server").any(|r| matches!(r.name, Value::Host(..))) {
            return; // how many servers there will be, nobody knows yet
        }
        if seen.is_empty() {
            if s.sections("real_server").next().is_none() && !s.is_mentioned("real_server") {
                c.push(
                    Diagnostic::warning("no-real-server", s.span, "this virtual server has no real servers")
                        .label("keepalived leaves it out"),
                );
            }
            return;
        }
        self.check_quorum(c, weight);
        if let Some(e) = s.get("sorry_server")
            && let Value::Endpoint(a, _) = e.value
            && self.addr.is_some_and(|v| v.is_ipv4() != a.is_ipv4())
        {
            let d = Diagnostic::error("family", e.args_span, format!("{a} is of another family than the service"));
            c.push(d.label("the sorry server is left out"));
        }
    }

    fn check_quorum(&self, c: &mut CheckContext<'_>, weight: u64) {
        let s = self.section;
        let quorum = s.uint("quorum").unwrap_or(1);
        if quorum > weight {
            let at = s.args_span("quorum");
            c.push(
                Diagnostic::warning("quorum", at, format!("a quorum of {quorum} cannot be reached"))
                    .label(format!("all weights together are {weight}"))
                    .help("raise weights, or lower the quorum"),
            );
        }
        if let Some(h) = s.uint("hysteresis").filter(|h| *h >= quorum.min(weight).max(1)) {
            let d = Diagnostic::warning(
                "quorum",
                s.args_span("hysteresis"),
                format!("a hysteresis of {h} is not below the quorum"),
            );
            c.push(d.label(format!("expected less than {}", quorum.min(weight).max(1))));
        }
    }
}

/// Adds help to what [`missing`] has said.
fn set_last_help(c: &mut CheckContext<'_>, help: &str) {
    if let Some(d) = c.diagnostics.last_mut() {
        d.help = Some(help.to_owned());
    }
}

/// The same, where what is missing has a good default.
fn demote_last_to_warning(c: &mut CheckContext<'_>, help: &str) {
    set_last_help(c, help);
    if let Some(d) = c.diagnostics.last_mut() {
        d.severity = super::super::Severity::Warning;
    }
}

/// A link-local address means something only on a link.
fn check_link_local(c: &mut CheckContext<'_>, k: &Section) {
    if !k.entries.iter().any(|e| e.keyword.name == "connect_ip") || k.has("bind_if") {
        return;
    }
    if let Some(IpAddr::V6(a)) = k.address("connect_ip")
        && a.segments()[0] & 0xffc0 == 0xfe80
    {
        let d = Diagnostic::error("link-local", k.args_span("connect_ip"), format!("{a} is on every link"));
        c.push(d.label("expected `bind_if INTERFACE` as well"));
    }
}

/// A probe's source address must be of the family that it goes to.
fn check_source_address(c: &mut CheckContext<'_>, k: &Section, r: &Section) {
    // keepalived compares them for all checkers but SMTP_CHECK.
    if !k.entries.iter().any(|e| e.keyword.name == "bindto") || k.block.name() == "SMTP_CHECK" {
        return;
    }
    let server = match r.name {
        Value::Endpoint(a, _) => Some(a),
        _ => None,
    };
    if let (Some(source), Some(to)) = (k.address("bindto"), k.address("connect_ip").or(server))
        && source.is_ipv4() != to.is_ipv4()
    {
        c.push(
            Diagnostic::error(
                "family",
                k.args_span("bindto"),
                format!("{source} is of another family than {to}, which is probed"),
            )
            .label(if to.is_ipv4() { "expected an IPv4 address" } else { "expected an IPv6 address" }),
        );
    }
}

/// keepalived takes an expression that is none in silence, and then uses what is left of it (read in its
/// prepare_regex()). Such a check could only ever fail.
fn check_regex(c: &mut CheckContext<'_>, url: &Section) {
    let Some(pattern) = regex_pattern(url) else {
        for keyword in ["regex_options", "regex_no_match", "regex_min_offset", "regex_max_offset", "regex_stack"] {
            if let Some(e) = url.get(keyword) {
                let d = Diagnostic::lint("regex", e.keyword_span, format!("`{keyword}` belongs to a `regex`"));
                c.push(d.label("this url has none"));
            }
        }
        return;
    };
    for word in pattern.options.iter().filter(|o| IGNORED_OPTIONS.contains(&o.as_str())) {
        let d = Diagnostic::lint("regex", url.args_span("regex_options"), format!("the option `{word}` has no effect"));
        c.push(d.label("accepted as keepalived does"));
    }
    if let Err(why) = compile_regex(&pattern) {
        let mut d = Diagnostic::lint("regex", url.args_span("regex"), format!("this is no regular expression: {why}"));
        (d.severity, d.blocks_start) = (super::super::Severity::Error, true);
        c.push(d.label("no page would match"));
    }
}

fn check_checker(c: &mut CheckContext<'_>, k: &Section, files: &HashSet<&str>, bfd: &HashSet<&str>) {
    match k.block.name() {
        "HTTP_GET" | "SSL_GET" => {
            if report_missing(c, k, "url", k.block.name()) {
                return;
            }
            for url in k.sections("url") {
                report_missing(c, url, "path", "this url");
                check_regex(c, url);
            }
        }
        "MISC_CHECK" => {
            report_missing(c, k, "misc_path", "MISC_CHECK");
        }
        "FILE_CHECK" => {
            if report_missing(c, k, "track_file", "FILE_CHECK") {
                return;
            }
            if let Some(f) = k.text("track_file").filter(|f| !files.contains(f)) {
                let d = Diagnostic::error(
                    "undefined-name-tracked",
                    k.args_span("track_file"),
                    format!("no track_file is named `{f}`"),
                );
                c.push(super::with_suggestion(d.label("not defined in this file"), f, files.iter().copied()));
            }
        }
        "BFD_CHECK" => {
            if report_missing(c, k, "name", "BFD_CHECK") {
                return;
            }
            if let Some(b) = k.text("name").filter(|b| !bfd.contains(b)) {
                let d = Diagnostic::error(
                    "undefined-name-tracked",
                    k.args_span("name"),
                    format!("no bfd_instance is named `{b}`"),
                );
                c.push(super::with_suggestion(d.label("not defined in this file"), b, bfd.iter().copied()));
            }
        }
        "UDP_CHECK" => {
            let (least, most) = (k.uint("min_reply_length").unwrap_or(0), k.uint("max_reply_length").unwrap_or(255));
            if least > most {
                let at = k.args_span(if k.has("min_reply_length") { "min_reply_length" } else { "max_reply_length" });
                let d =
                    Diagnostic::error("reply-length", at, format!("a reply of {least} bytes is longer than {most}"));
                c.push(d.label("no reply would do").help("raise `max_reply_length`"));
            }
        }
        _ => {}
    }
}
