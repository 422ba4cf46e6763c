//! Consistency checks: between the statements of a block, between blocks, and with the machine.
//!
//! keepalived makes most of these checks too (vrrp_parser.c, check_parser.c). The diagnostics of [`lints`] and all that
//! are made by [`Diagnostic::lint`] are additions. A check reads the typed statements and reports; it changes nothing.
//! `lower` decides afterwards what is skipped.

mod groups;
mod instances;
mod lints;
mod scripts;
mod services;
mod tracked;

use std::collections::HashMap;
use std::hash::Hash;

use super::environment::Environment;
use super::value::{AddressLine, Line, Section, Value};
use super::{Diagnostic, Span, diag};

/// The input and the output of all checks.
pub(crate) struct CheckContext<'c> {
    pub root: &'c Section,
    pub environment: &'c dyn Environment,
    pub diagnostics: &'c mut Vec<Diagnostic>,
}

/// Checks a whole file.
pub(crate) fn check(root: &Section, environment: &dyn Environment, diagnostics: &mut Vec<Diagnostic>) {
    let mut c = CheckContext { root, environment, diagnostics };
    tracked::check(&mut c);
    groups::check(&mut c);
    instances::check(&mut c);
    services::check(&mut c);
    scripts::check(&mut c);
    lints::check(&mut c);
}

impl CheckContext<'_> {
    fn report(&mut self, d: Diagnostic) {
        self.diagnostics.push(d);
    }

    /// A setting of `global_defs`: of several blocks the last one that has the keyword is used.
    fn global_setting<'s, T>(&'s self, read: impl Fn(&'s Section) -> Option<T>) -> Option<T> {
        self.root.get_all("global_defs").rev().find_map(|e| match &e.value {
            Value::Section(s) => read(s),
            _ => None,
        })
    }

    /// Reports an interface that does not exist, unless `dynamic_interfaces` is set. `user` is what needs it.
    fn check_interface(&mut self, name: &str, span: Span, user: &str) {
        let dynamic = self.global_setting(|g| g.get("dynamic_interfaces").map(|_| ())).is_some();
        if !dynamic && self.environment.has_interface(name) == Some(false) {
            self.report(
                Diagnostic::warning("unknown-interface", span, format!("interface `{name}` does not exist here"))
                    .label(format!("{user} needs it"))
                    .help(
                        "`ip link` lists the interfaces; if this one is created later, write `dynamic_interfaces` in \
                         global_defs",
                    ),
            );
        }
    }

    /// Reports a required keyword that is missing, and returns whether it is. A keyword whose value is invalid has been
    /// reported already.
    fn report_missing(&mut self, section: &Section, keyword: &str, block: &str) -> bool {
        self.report_missing_with(section, keyword, block, |d| d)
    }

    /// [`CheckContext::report_missing`] with a change to the diagnostic, such as a help text.
    fn report_missing_with(
        &mut self,
        section: &Section,
        keyword: &str,
        block: &str,
        refine: impl FnOnce(Diagnostic) -> Diagnostic,
    ) -> bool {
        if section.has(keyword) {
            return false;
        }
        if !section.is_mentioned(keyword) {
            let d = Diagnostic::error("missing-keyword", section.span, format!("{block} has no `{keyword}`"))
                .label(format!("`{keyword}` is missing in this block"));
            self.report(refine(d));
        }
        true
    }
}

/// The first span of each key, for what must be unique.
struct FirstSpans<K>(HashMap<K, Span>);

impl<K> Default for FirstSpans<K> {
    fn default() -> Self {
        FirstSpans(HashMap::new())
    }
}

impl<K: Eq + Hash> FirstSpans<K> {
    /// Records a key. Returns the span of its first occurrence if this is not the first one.
    fn insert(&mut self, key: K, span: Span) -> Option<Span> {
        match self.0.entry(key) {
            std::collections::hash_map::Entry::Occupied(first) => Some(*first.get()),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(span);
                None
            }
        }
    }
}

/// The diagnostic for a second definition of what must be unique.
fn duplicate_definition(span: Span, first: Span, message: String) -> Diagnostic {
    Diagnostic::error("duplicate", span, message).label("second definition").note(first, "first defined here")
}

/// The diagnostic for a name that no block of this keyword defines.
fn undefined_name<'a>(
    code: &'static str,
    span: Span,
    (block, name): (&str, &str),
    known: impl IntoIterator<Item = &'a str>,
) -> Diagnostic {
    Diagnostic::error(code, span, format!("no {block} has the name `{name}`"))
        .label("not defined in this file")
        .did_you_mean(diag::nearest_word(name, known))
}

/// The label of a diagnostic about an address of the wrong family.
fn expected_family(ipv6: bool) -> &'static str {
    if ipv6 { "expected an IPv6 address" } else { "expected an IPv4 address" }
}

/// The addresses in the blocks of a keyword.
fn address_lines<'s>(section: &'s Section, keyword: &'s str) -> impl Iterator<Item = (Span, &'s AddressLine)> {
    section.lines(keyword).filter_map(|(span, line)| match line {
        Line::Address(a) => Some((*span, &**a)),
        _ => None,
    })
}
