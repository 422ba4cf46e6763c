//! Checks of what instances and sync groups track.

use std::collections::HashSet;

use super::super::super::Diagnostic;
use super::super::super::value::{Line, Section};
use super::super::{CheckContext, undefined_name};

/// The names of the objects that the file defines.
pub(super) struct DefinedObjects<'s> {
    scripts: HashSet<&'s str>,
    processes: HashSet<&'s str>,
    files: HashSet<&'s str>,
    bfd: HashSet<&'s str>,
}

impl<'s> DefinedObjects<'s> {
    pub(super) fn new(root: &'s Section) -> Self {
        let names = |keyword| -> HashSet<&str> { root.sections(keyword).map(Section::name).collect() };
        // A session with `checker` alone is not reported to VRRP.
        let reported_to_vrrp = |b: &&Section| b.has("vrrp") || !b.has("checker");
        DefinedObjects {
            scripts: names("vrrp_script"),
            processes: names("vrrp_track_process"),
            files: names("track_file"),
            bfd: root.sections("bfd_instance").filter(reported_to_vrrp).map(Section::name).collect(),
        }
    }
}

/// Checks the `track_…` blocks of an instance or a sync group. `own_interface`: the interface of the instance.
pub(super) fn check_tracking(
    c: &mut CheckContext<'_>,
    s: &Section,
    own_interface: Option<&str>,
    defined: &DefinedObjects<'_>,
) {
    let kinds = [
        ("track_script", "vrrp_script", "undefined-script", &defined.scripts),
        ("track_process", "vrrp_track_process", "undefined-name-tracked", &defined.processes),
        ("track_file", "track_file", "undefined-name-tracked", &defined.files),
        ("track_bfd", "bfd_instance", "undefined-name-tracked", &defined.bfd),
    ];
    for (keyword, block, code, names) in kinds {
        let mut seen = HashSet::new();
        for (span, line) in s.lines(keyword) {
            let Line::Track(name, _) = line else { continue };
            if !names.contains(name.as_str()) {
                c.report(undefined_name(code, *span, (block, name), names.iter().copied()));
            } else if !seen.insert(name) {
                c.report(tracked_twice(*span, name));
            }
        }
    }
    let mut seen = HashSet::new();
    for (span, line) in s.lines("track_interface") {
        let Line::Track(name, _) = line else { continue };
        if own_interface == Some(name) {
            c.report(
                Diagnostic::warning("own-interface", *span, format!("`{name}` is the instance's own interface"))
                    .label("always tracked, so this line has no effect")
                    .help("remove this line"),
            );
        } else if !seen.insert(name) {
            c.report(tracked_twice(*span, name));
        } else {
            c.check_interface(name, *span, "tracking");
        }
    }
}

fn tracked_twice(span: super::super::Span, name: &str) -> Diagnostic {
    Diagnostic::error("duplicate", span, format!("`{name}` is tracked twice")).label("second time")
}

/// Checks the name of a BFD session in `bfd_takeover`.
pub(super) fn check_bfd_takeover(c: &mut CheckContext<'_>, s: &Section, defined: &DefinedObjects<'_>) {
    if let Some(name) = s.text("bfd_takeover").filter(|n| !defined.bfd.contains(n)) {
        let span = s.args_span("bfd_takeover");
        let known = defined.bfd.iter().copied();
        c.report(undefined_name("undefined-name-tracked", span, ("bfd_instance", name), known));
    }
}
