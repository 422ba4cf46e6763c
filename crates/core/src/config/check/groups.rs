//! Sync groups, track groups, groups of gratuitous ARP.

use std::collections::HashMap;

use super::super::lower::counts_member_weights;
use super::super::value::{Line, Section, Value};
use super::super::{Diagnostic, Span};
use super::{CheckContext, UniqueNames, with_suggestion};

pub(super) fn check(c: &mut CheckContext<'_>) {
    let root = c.root;
    let instances: HashMap<&str, &Section> = root.sections("vrrp_instance").map(|i| (i.name(), i)).collect();
    let mut names = UniqueNames::default();
    let mut members = HashMap::new();
    for s in root.sections("vrrp_sync_group") {
        if names.insert_unique(c, "sync group", s.name(), s.span) {
            check_sync_group(c, s, &instances, &mut members);
        }
    }
    for s in root.sections("track_group") {
        if s.lines("group").next().is_none() {
            c.push(
                Diagnostic::error("no-members", s.span, format!("track_group `{}` has no members", s.name()))
                    .label("left out"),
            );
        }
    }
    let mut interfaces = HashMap::new();
    for s in root.sections("garp_group") {
        check_garp_group(c, s, &mut interfaces);
    }
    for (at, line) in root.lines("interface_up_down_delays").chain(root.lines("linkbeat_interfaces")) {
        if let Line::Options(o) = line
            && let Some((name, _)) = o.first()
        {
            c.check_interface(name, *at, "this line");
        }
    }
}

fn check_sync_group<'s>(
    c: &mut CheckContext<'_>,
    s: &'s Section,
    instances: &HashMap<&str, &'s Section>,
    taken: &mut HashMap<&'s str, (&'s str, Span)>,
) {
    let group = s.name();
    let mut members = 0;
    for (at, line) in s.lines("group") {
        let Line::Name(name) = line else { continue };
        let Some(instance) = instances.get(name.as_str()) else {
            let d = Diagnostic::error("unknown-instance", *at, format!("no vrrp_instance is named `{name}`"));
            let d = d.label("left out of the group");
            c.push(with_suggestion(d, name, instances.keys().copied()));
            continue;
        };
        match taken.get(name.as_str()) {
            Some((other, first)) => c.push(
                Diagnostic::error("duplicate", *at, format!("`{name}` is in two sync groups"))
                    .label(format!("it stays in `{other}`"))
                    .note(*first, "first here"),
            ),
            None => {
                taken.insert(name, (group, *at));
                members += 1;
                if !counts_member_weights(s) {
                    check_ignored_weights(c, group, instance);
                }
            }
        }
    }
    match members {
        0 if s.is_mentioned("group") && s.lines("group").next().is_some() => {}
        0 => c.push(
            Diagnostic::error("no-members", s.span, format!("vrrp_sync_group `{group}` has no members"))
                .label("expected `group { INSTANCE… }` in it"),
        ),
        1 => c.push(
            Diagnostic::warning("one-member", s.span, format!("vrrp_sync_group `{group}` has only one member"))
                .label("nothing is synchronised with it"),
        ),
        _ => {}
    }
}

/// keepalived.conf(5), "sync_group_tracking_weight": without it, weights of what a member tracks do not count. Those of
/// processes keepalived counts all the same.
fn check_ignored_weights(c: &mut CheckContext<'_>, group: &str, member: &Section) {
    let root = c.root;
    let kinds = [
        ("track_interface", &[][..], 0),
        ("track_script", &["vrrp_script"], 0),
        ("track_file", &["track_file", "vrrp_track_file"], 1),
        ("track_bfd", &["bfd_instance"], 0),
    ];
    for (keyword, blocks, usual) in kinds {
        for (at, line) in member.lines(keyword) {
            let Line::Track(name, weight) = line else { continue };
            let own = || {
                let block = blocks.iter().flat_map(|b| root.sections(b)).find(|b| b.name() == name)?;
                match block.get("weight").map(|e| &e.value) {
                    Some(Value::Weight(n, _)) => Some(*n),
                    _ => Some(usual),
                }
            };
            if weight.map(|(n, _)| n).or_else(own).is_some_and(|n| n != 0) {
                c.push(
                    Diagnostic::warning("weight-in-group", *at, format!("the weight of `{name}` does not count"))
                        .label(format!("`{}` is in the sync group `{group}`", member.name()))
                        .help(
                            "write `weight 0` to have a failure put the group into FAULT, or \
                             `sync_group_tracking_weight` in the group to have weights count",
                        ),
                );
            }
        }
    }
}

fn check_garp_group(c: &mut CheckContext<'_>, s: &Section, taken: &mut HashMap<String, Span>) {
    if !s.has("garp_interval") && !s.has("gna_interval") {
        if s.invalid.is_empty() {
            let d = Diagnostic::error("missing-keyword", s.span, "this garp_group sets no interval");
            c.push(d.label("expected `garp_interval` or `gna_interval` in it"));
        }
        return;
    }
    let mut interfaces: Vec<(Span, &str)> =
        s.text("interface").map(|n| (s.args_span("interface"), n)).into_iter().collect();
    interfaces.extend(s.lines("interfaces").filter_map(|(at, l)| match l {
        Line::Name(n) => Some((*at, n.as_str())),
        _ => None,
    }));
    for (at, name) in interfaces {
        c.check_interface(name, at, "this group");
        match taken.get(name) {
            Some(&first) => c.push(
                Diagnostic::error("duplicate", at, format!("`{name}` is in two groups"))
                    .label("second group")
                    .note(first, "first group"),
            ),
            None => {
                taken.insert(name.to_owned(), at);
            }
        }
    }
}
