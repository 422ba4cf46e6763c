//! What must agree between statements: within a block, across blocks, and with the machine.
//!
//! Most of it keepalived checks as well (vrrp_parser.c and check_parser.c, by what they report); [`wishes`] holds what it
//! does not and what its users would have been glad of.

mod groups;
mod instances;
mod lints;
mod scripts;
mod services;
mod tracked;

use std::collections::HashMap;

use super::environment::Environment;
use super::value::Section;
use super::{Diagnostic, Span, diag};

/// What checks need, and what they find.
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
    fn push(&mut self, d: Diagnostic) {
        self.diagnostics.push(d);
    }

    /// `global_defs`, wherever it stands: the last one that has a keyword decides.
    fn global_setting<'s, T>(&'s self, read: impl Fn(&'s Section) -> Option<T>) -> Option<T> {
        self.root.get_all("global_defs").rev().find_map(|e| match &e.value {
            super::value::Value::Section(s) => read(s),
            _ => None,
        })
    }

    /// Says of an interface that it does not exist, unless interfaces may come and go.
    fn check_interface(&mut self, name: &str, at: Span, what: &str) {
        let dynamic = self.global_setting(|g| g.get("dynamic_interfaces").map(|_| ())).is_some();
        if !dynamic && self.environment.has_interface(name) == Some(false) {
            self.push(
                Diagnostic::warning("unknown-interface", at, format!("there is no interface `{name}` here"))
                    .label(format!("{what} needs it"))
                    .help(
                        "see `ip link` for the names, or write `dynamic_interfaces` in global_defs if it comes later",
                    ),
            );
        }
    }
}

/// Names that may stand once: where each stood first.
#[derive(Default)]
struct UniqueNames<'s>(HashMap<&'s str, Span>);

impl<'s> UniqueNames<'s> {
    /// Is this name new? If not, tells where it stood first.
    fn insert_unique(&mut self, c: &mut CheckContext<'_>, what: &str, name: &'s str, at: Span) -> bool {
        match self.0.get(name) {
            None => {
                self.0.insert(name, at);
                true
            }
            Some(&first) => {
                c.push(
                    Diagnostic::error("duplicate", at, format!("the {what} `{name}` is defined twice"))
                        .label("second definition")
                        .note(first, "first defined here"),
                );
                false
            }
        }
    }
}

/// Says that a keyword is missing in a block, unless it stands there wrong, which is told already.
fn report_missing(c: &mut CheckContext<'_>, s: &Section, keyword: &str, what: &str) -> bool {
    if s.has(keyword) {
        return false;
    }
    if !s.is_mentioned(keyword) {
        c.push(
            Diagnostic::error("missing-keyword", s.span, format!("{what} has no `{keyword}`"))
                .label(format!("`{keyword}` is missing in this block")),
        );
    }
    true
}

/// The nearest of some names as help.
fn with_suggestion<'a>(d: Diagnostic, word: &str, names: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    d.did_you_mean(diag::nearest_word(word, names))
}
