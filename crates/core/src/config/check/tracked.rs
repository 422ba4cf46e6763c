//! Scripts, processes, files and BFD sessions that instances track.

use std::collections::HashMap;

use super::super::value::{Section, Value};
use super::super::{Diagnostic, Span};
use super::{CheckContext, UniqueNames, report_missing};

pub(super) fn check(c: &mut CheckContext<'_>) {
    let root = c.root;
    let mut names = UniqueNames::default();
    for s in root.sections("vrrp_script") {
        // keepalived takes the first of two without a word; here that is worth one.
        if let Some(&first) = names.0.get(s.name()) {
            c.push(
                Diagnostic::lint("duplicate", s.span, format!("the script `{}` is defined twice", s.name()))
                    .label("second definition, which is not used")
                    .note(first, "first defined here"),
            );
        } else {
            names.0.insert(s.name(), s.span);
            report_missing(c, s, "script", &format!("vrrp_script `{}`", s.name()));
        }
    }
    for s in root.sections("vrrp_track_process") {
        check_process(c, s);
    }
    for s in root.sections("track_file") {
        report_missing(c, s, "file", &format!("track_file `{}`", s.name()));
    }
    let mut neighbours = HashMap::new();
    for s in root.sections("bfd_instance") {
        check_bfd(c, s, &mut neighbours);
    }
}

fn check_process(c: &mut CheckContext<'_>, s: &Section) {
    if report_missing(c, s, "process", &format!("vrrp_track_process `{}`", s.name())) {
        return;
    }
    let (quorum, most) = (s.uint("quorum").unwrap_or(1), s.uint("quorum_max"));
    if let Some(max) = most.filter(|max| (1..quorum).contains(max)) {
        c.push(
            Diagnostic::error(
                "quorum",
                s.args_span("quorum_max"),
                format!("quorum_max {max} is less than quorum {quorum}"),
            )
            .label("no number of processes would do"),
        );
    }
}

fn check_bfd(c: &mut CheckContext<'_>, s: &Section, neighbours: &mut HashMap<std::net::IpAddr, Span>) {
    let name = s.name();
    if name.len() > 31 {
        c.push(
            Diagnostic::error("name-length", s.span, "the name of a BFD session has at most 31 characters")
                .label(format!("{} characters", name.len())),
        );
    }
    if report_missing(c, s, "neighbor_ip", &format!("bfd_instance `{name}`")) {
        return;
    }
    let Some(neighbour) = s.address("neighbor_ip") else { return };
    let at = s.args_span("neighbor_ip");
    if let Some(&first) = neighbours.get(&neighbour) {
        c.push(
            Diagnostic::error("duplicate", at, format!("two BFD sessions have the neighbour {neighbour}"))
                .label("second session")
                .note(first, "first session"),
        );
    }
    neighbours.insert(neighbour, at);
    if let Some(source) = s.address("source_ip")
        && source.is_ipv4() != neighbour.is_ipv4()
    {
        c.push(
            Diagnostic::error(
                "family",
                s.args_span("source_ip"),
                format!("{source} and {neighbour} are of two families"),
            )
            .label("expected the neighbour's family")
            .note(at, "the neighbour"),
        );
    }
    let ttl = s.uint(if neighbour.is_ipv4() { "ttl" } else { "hoplimit" }).unwrap_or(if neighbour.is_ipv4() {
        255
    } else {
        64
    });
    if let Some(Value::Int(hops)) = s.get("max_hops").map(|e| &e.value)
        && *hops > ttl as i64
    {
        c.push(
            Diagnostic::error(
                "max-hops",
                s.args_span("max_hops"),
                format!("max_hops {hops} is more than the TTL, {ttl}"),
            )
            .label(format!("expected at most {ttl}")),
        );
    }
}
