//! Checks of the tracked objects: scripts, processes, files and BFD sessions.

use std::net::IpAddr;

use super::super::Diagnostic;
use super::super::value::Section;
use super::{CheckContext, FirstSpans, duplicate_definition, expected_family};

pub(super) fn check(c: &mut CheckContext<'_>) {
    let root = c.root;
    let mut names = FirstSpans::default();
    for s in root.sections("vrrp_script") {
        match names.insert(s.name(), s.span) {
            // keepalived uses the first one without a message.
            Some(first) => c.report(
                Diagnostic::lint("duplicate", s.span, format!("the script `{}` is defined twice", s.name()))
                    .label("the second definition is not used")
                    .note(first, "first defined here"),
            ),
            None => {
                c.report_missing(s, "script", &format!("vrrp_script `{}`", s.name()));
            }
        }
    }
    for s in root.sections("vrrp_track_process") {
        check_process(c, s);
    }
    for s in root.sections("track_file") {
        c.report_missing(s, "file", &format!("track_file `{}`", s.name()));
    }
    let mut neighbours = FirstSpans::default();
    for s in root.sections("bfd_instance") {
        check_bfd(c, s, &mut neighbours);
    }
}

fn check_process(c: &mut CheckContext<'_>, s: &Section) {
    if c.report_missing(s, "process", &format!("vrrp_track_process `{}`", s.name())) {
        return;
    }
    let quorum = s.uint("quorum").unwrap_or(1);
    if let Some(max) = s.uint("quorum_max").filter(|max| (1..quorum).contains(max)) {
        let message = format!("quorum_max {max} is less than quorum {quorum}");
        c.report(
            Diagnostic::error("quorum", s.args_span("quorum_max"), message)
                .label("no number of processes meets both limits"),
        );
    }
}

fn check_bfd(c: &mut CheckContext<'_>, s: &Section, neighbours: &mut FirstSpans<IpAddr>) {
    let name = s.name();
    if name.len() > 31 {
        c.report(
            Diagnostic::error("name-length", s.span, "the name of a bfd_instance has more than 31 characters")
                .label(format!("{} characters", name.len())),
        );
    }
    if c.report_missing(s, "neighbor_ip", &format!("bfd_instance `{name}`")) {
        return;
    }
    let Some(neighbour) = s.address("neighbor_ip") else { return };
    let span = s.args_span("neighbor_ip");
    if let Some(first) = neighbours.insert(neighbour, span) {
        let message = format!("two BFD sessions have the neighbour {neighbour}");
        c.report(duplicate_definition(span, first, message).label("second session"));
    }
    if let Some(source) = s.address("source_ip")
        && source.is_ipv4() != neighbour.is_ipv4()
    {
        let message = format!("{source} and {neighbour} belong to different address families");
        c.report(
            Diagnostic::error("family", s.args_span("source_ip"), message)
                .label(expected_family(neighbour.is_ipv6()))
                .note(span, "the neighbour"),
        );
    }
    check_max_hops(c, s, neighbour);
}

fn check_max_hops(c: &mut CheckContext<'_>, s: &Section, neighbour: IpAddr) {
    // The defaults are keepalived's, so that the verdict is the same.
    let (keyword, default) = if neighbour.is_ipv4() { ("ttl", 255) } else { ("hoplimit", 64) };
    let ttl = s.uint(keyword).unwrap_or(default);
    if let Some(hops) = s.int("max_hops").filter(|hops| *hops > ttl as i64) {
        let message = format!("max_hops {hops} is greater than the TTL, {ttl}");
        c.report(
            Diagnostic::error("max-hops", s.args_span("max_hops"), message).label(format!("expected at most {ttl}")),
        );
    }
}
