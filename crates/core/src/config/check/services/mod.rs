//! Checks of `virtual_server` and `virtual_server_group`.

mod checkers;
mod servers;

use std::collections::HashSet;
use std::net::IpAddr;

use super::super::diag::KeepalivedVerdict;
use super::super::value::{LvsMethod, Section, Value};
use super::super::{Diagnostic, Severity};
use super::{CheckContext, FirstSpans, undefined_name};

pub(super) fn check(c: &mut CheckContext<'_>) {
    let root = c.root;
    let groups = check_groups(c);
    let files: HashSet<&str> = root.sections("track_file").map(Section::name).collect();
    let bfd: HashSet<&str> = root.sections("bfd_instance").map(Section::name).collect();
    let mut seen = FirstSpans::default();
    for s in root.sections("virtual_server") {
        ServiceCheck::new(s).check(c, &groups, &mut seen);
        for r in s.sections("real_server") {
            checkers::check(c, r, &files, &bfd);
        }
    }
}

/// Reports groups without members. Returns the names of all groups.
fn check_groups<'s>(c: &mut CheckContext<'s>) -> HashSet<&'s str> {
    let root = c.root;
    let mut names = HashSet::new();
    for e in root.get_all("virtual_server_group") {
        let Value::Lines(group) = &e.value else { continue };
        let (Some(name), lines) = &**group else { continue };
        names.insert(name.as_str());
        if lines.0.is_empty() {
            let message = format!("virtual_server_group `{name}` has no members");
            c.report(Diagnostic::error("no-members", e.args_span, message).label("skipped"));
        }
    }
    names
}

/// The forwarding method that a block sets.
fn lvs_method(s: &Section) -> Option<&LvsMethod> {
    match &s.get("lvs_method")?.value {
        Value::LvsMethod(m) => Some(m),
        _ => None,
    }
}

/// What identifies a virtual server: its name and its protocol.
type ServiceId = (String, String);

/// A virtual server, with what follows from several of its statements.
struct ServiceCheck<'s> {
    section: &'s Section,
    /// Address and port; neither for a firewall mark and a group.
    addr: Option<IpAddr>,
    port: Option<u16>,
    fwmark: bool,
    persistent: bool,
}

impl<'s> ServiceCheck<'s> {
    fn new(section: &'s Section) -> Self {
        let (addr, port) = match section.name {
            Value::Endpoint(a, p) => (Some(a), p.filter(|p| *p != 0)),
            _ => (None, None),
        };
        let fwmark = matches!(section.name, Value::Fwmark(_));
        ServiceCheck { section, addr, port, fwmark, persistent: section.has("persistence_timeout") }
    }

    fn check(&self, c: &mut CheckContext<'_>, groups: &HashSet<&str>, seen: &mut FirstSpans<ServiceId>) {
        let s = self.section;
        if let Value::Group(g) = &s.name
            && !groups.contains(g.as_str())
        {
            let names = groups.iter().copied();
            let d = undefined_name("undefined-group", s.span, ("virtual_server_group", g), names);
            c.report(Diagnostic { severity: Severity::Warning, ..d.verdict(KeepalivedVerdict::Silent) });
        }
        self.check_fwmark(c);
        self.check_required(c);
        let id = (format!("{:?}", s.name), s.text("protocol").unwrap_or_default().to_ascii_uppercase());
        if let Some(first) = seen.insert(id, s.span) {
            // keepalived merges the two without a message.
            c.report(
                Diagnostic::lint("duplicate", s.span, "this virtual server is defined twice")
                    .label("second definition")
                    .note(first, "first defined here"),
            );
        }
        if self.addr.is_some() && self.port.is_none() && !self.persistent && !s.is_mentioned("persistence_timeout") {
            c.report(
                Diagnostic::error("port-zero", s.span, "a virtual server without a port requires persistence")
                    .label("accepts all ports")
                    .help("add `persistence_timeout`, or a port"),
            );
        }
        self.check_flags(c);
        self.check_real_servers(c);
    }

    fn check_fwmark(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        if self.addr.is_some() && s.has("member") {
            let message = "`member` requires a virtual server on a firewall mark";
            let d = Diagnostic::warning("fwmark", s.args_span("member"), message);
            c.report(d.label("ignored").help("write `virtual_server fwmark N` for a set of addresses"));
        }
        if self.fwmark && s.has("protocol") {
            let message = "a virtual server on a firewall mark accepts all protocols";
            let d = Diagnostic::warning("fwmark", s.args_span("protocol"), message);
            c.report(d.label("ignored").help("remove this line"));
        }
    }

    /// Keywords that keepalived requires, although it has defaults for them.
    fn check_required(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        let block = "this virtual_server";
        if !self.fwmark {
            c.report_missing_with(s, "protocol", block, |d| {
                d.help("keepalived then uses UDP, which is rarely intended; write `protocol TCP`")
            });
        }
        // The default is a sensible one.
        c.report_missing_with(s, "lvs_sched", block, |d| Diagnostic {
            severity: Severity::Warning,
            ..d.help("the default is wlc; write `lvs_sched wlc`")
        });
        c.report_missing_with(s, "lvs_method", block, |d| {
            d.help("keepalived then uses NAT; write `lvs_method NAT`, or DR or TUN if that is intended")
        });
    }

    /// Scheduler flags and one-packet scheduling.
    fn check_flags(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        let scheduler = s.text("lvs_sched").unwrap_or("wlc");
        for (flag, owner) in
            [("sh-port", "sh"), ("sh-fallback", "sh"), ("mh-port", "mh"), ("mh-fallback", "mh"), ("hashed", "sh")]
        {
            if let Some(e) = s.get(flag)
                && scheduler != owner
            {
                let message = format!("`{flag}` is a flag of the scheduler {owner}");
                let d = Diagnostic::warning("scheduler-flag", e.keyword_span, message);
                c.report(d.label(format!("ignored with {scheduler}")));
            }
        }
        if let Some(e) = s.get("ops")
            && !self.fwmark
            && s.text("protocol").is_some_and(|p| p != "UDP")
        {
            let message = "one-packet scheduling requires UDP";
            c.report(Diagnostic::warning("ops", e.keyword_span, message).label("ignored"));
        }
    }
}
