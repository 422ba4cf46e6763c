//! Checks of `vrrp_sync_group`, `track_group`, `garp_group` and of lines that name interfaces.

use std::collections::HashMap;

use super::super::derived::counts_member_weights;
use super::super::value::{Line, Section, Value};
use super::super::{Diagnostic, Span};
use super::{CheckContext, FirstSpans, duplicate_definition, undefined_name};

pub(super) fn check(c: &mut CheckContext<'_>) {
    let root = c.root;
    let instances: HashMap<&str, &Section> = root.sections("vrrp_instance").map(|i| (i.name(), i)).collect();
    let mut names = FirstSpans::default();
    let mut members = HashMap::new();
    for s in root.sections("vrrp_sync_group") {
        match names.insert(s.name(), s.span) {
            Some(first) => {
                let message = format!("the sync group `{}` is defined twice", s.name());
                c.report(duplicate_definition(s.span, first, message));
            }
            None => check_sync_group(c, s, &instances, &mut members),
        }
    }
    for s in root.sections("track_group") {
        if s.lines("group").next().is_none() {
            c.report(
                Diagnostic::error("no-members", s.span, format!("track_group `{}` has no members", s.name()))
                    .label("skipped"),
            );
        }
    }
    let mut interfaces = FirstSpans::default();
    for s in root.sections("garp_group") {
        check_garp_group(c, s, &mut interfaces);
    }
    for (span, line) in root.lines("interface_up_down_delays").chain(root.lines("linkbeat_interfaces")) {
        if let Line::Options(o) = line
            && let Some((name, _)) = o.first()
        {
            c.check_interface(name, *span, "this line");
        }
    }
}

/// `members`: the instances that are in a group already, with the group and the span.
fn check_sync_group<'s>(
    c: &mut CheckContext<'_>,
    s: &'s Section,
    instances: &HashMap<&str, &'s Section>,
    members: &mut HashMap<&'s str, (&'s str, Span)>,
) {
    let group = s.name();
    let mut count = 0;
    for (span, line) in s.lines("group") {
        let Line::Name(name) = line else { continue };
        let Some(instance) = instances.get(name.as_str()) else {
            let d = undefined_name("unknown-instance", *span, ("vrrp_instance", name), instances.keys().copied());
            c.report(d.label("skipped in the group"));
            continue;
        };
        match members.get(name.as_str()) {
            Some((other, first)) => c.report(
                Diagnostic::error("duplicate", *span, format!("`{name}` is a member of two sync groups"))
                    .label(format!("it stays in `{other}`"))
                    .note(*first, "first group"),
            ),
            None => {
                members.insert(name, (group, *span));
                count += 1;
                if !counts_member_weights(s) {
                    check_ignored_weights(c, group, instance);
                }
            }
        }
    }
    match count {
        0 if s.is_mentioned("group") && s.lines("group").next().is_some() => {}
        0 => c.report(
            Diagnostic::error("no-members", s.span, format!("vrrp_sync_group `{group}` has no members"))
                .label("expected `group { INSTANCE… }` in it"),
        ),
        1 => c.report(
            Diagnostic::warning("one-member", s.span, format!("vrrp_sync_group `{group}` has only one member"))
                .label("a group of one has no effect"),
        ),
        _ => {}
    }
}

/// keepalived.conf(5), "sync_group_tracking_weight": without it the weights of what a member tracks are ignored, except
/// those of processes, which keepalived applies nevertheless.
fn check_ignored_weights(c: &mut CheckContext<'_>, group: &str, member: &Section) {
    let root = c.root;
    let kinds = [
        ("track_interface", &[][..], 0),
        ("track_script", &["vrrp_script"], 0),
        ("track_file", &["track_file", "vrrp_track_file"], 1),
        ("track_bfd", &["bfd_instance"], 0),
    ];
    for (keyword, blocks, default) in kinds {
        for (span, line) in member.lines(keyword) {
            let Line::Track(name, weight) = line else { continue };
            let own_weight = || {
                let block = blocks.iter().flat_map(|b| root.sections(b)).find(|b| b.name() == name)?;
                match block.get("weight").map(|e| &e.value) {
                    Some(Value::Weight(n, _)) => Some(*n),
                    _ => Some(default),
                }
            };
            if weight.map(|(n, _)| n).or_else(own_weight).is_some_and(|n| n != 0) {
                c.report(
                    Diagnostic::warning("weight-in-group", *span, format!("the weight of `{name}` is ignored"))
                        .label(format!("`{}` is in the sync group `{group}`", member.name()))
                        .help(
                            "write `weight 0` if a failure shall put the group into FAULT, or \
                             `sync_group_tracking_weight` in the group to apply weights",
                        ),
                );
            }
        }
    }
}

fn check_garp_group(c: &mut CheckContext<'_>, s: &Section, seen: &mut FirstSpans<String>) {
    if !s.has("garp_interval") && !s.has("gna_interval") {
        if s.invalid.is_empty() {
            let d = Diagnostic::error("missing-keyword", s.span, "this garp_group has no interval");
            c.report(d.label("expected `garp_interval` or `gna_interval` in it"));
        }
        return;
    }
    let mut interfaces: Vec<(Span, &str)> =
        s.text("interface").map(|n| (s.args_span("interface"), n)).into_iter().collect();
    interfaces.extend(s.lines("interfaces").filter_map(|(span, l)| match l {
        Line::Name(n) => Some((*span, n.as_str())),
        _ => None,
    }));
    for (span, name) in interfaces {
        c.check_interface(name, span, "this group");
        if let Some(first) = seen.insert(name.to_owned(), span) {
            c.report(
                Diagnostic::error("duplicate", span, format!("`{name}` is in two GARP groups"))
                    .label("second group")
                    .note(first, "first group"),
            );
        }
    }
}
