//! Options of routes and rules: the arguments that each takes.

use std::iter::Peekable;
use std::slice::Iter;

use crate::config::diag::KeepalivedVerdict;
use crate::config::keywords::spec::Family;
use crate::config::lex::Word;
use crate::config::read::{Reader, abbreviate};
use crate::config::tree::Statement;
use crate::config::{Diagnostic, Span};

/// The argument of an option.
#[derive(Clone, Copy)]
pub(super) enum OptionArg {
    /// None.
    Flag,
    /// Any word.
    Word,
    Interface,
    /// `ADDRESS[/PREFIX]`, or one of `all`, `any` and `default`.
    Prefix,
    /// A number up to this one.
    Number(u64),
    /// The weight of a next hop, 1 to 256.
    Weight,
    /// A number, with `lock` allowed before it.
    Metric,
    /// A number, or a name of this table of iproute2.
    Named(&'static str),
    /// A number, or two with this character between them.
    Pair(char),
    OneOf(&'static [&'static str]),
    Scope,
}

/// The name of an option and its argument.
pub(super) type OptionSpec = (&'static str, OptionArg);

/// The words of a line that are still to be read, and the options read so far.
pub(super) struct OptionCursor<'w, 't> {
    pub words: Peekable<Iter<'w, Word<'t>>>,
    pub options: Vec<(String, Option<String>)>,
}

impl<'w, 't> OptionCursor<'w, 't> {
    /// A cursor at the first word of a line.
    pub fn new(st: &'w Statement<'t>) -> Self {
        OptionCursor { words: st.words.iter().peekable(), options: Vec::new() }
    }

    /// Adds an option with its value.
    pub fn push_option(&mut self, name: &str, value: Option<&Word<'_>>) {
        self.options.push((name.to_owned(), value.map(|w| w.text.clone().into_owned())));
    }

    /// The next word, without taking it; empty at the end of the line.
    pub fn peek_text(&mut self) -> &str {
        self.words.peek().map_or("", |w| &w.text)
    }

    /// Whether the line has an option of this name so far.
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(n, _)| n == name)
    }
}

impl Reader<'_> {
    /// Reads the argument of the option `w`, and adds both to the options of the line.
    pub(super) fn read_option(&mut self, w: &Word<'_>, arg: OptionArg, c: &mut OptionCursor<'_, '_>) -> Option<()> {
        let name = &w.text;
        if let OptionArg::Flag = arg {
            c.push_option(name, None);
            return Some(());
        }
        if matches!(arg, OptionArg::Metric) && c.peek_text() == "lock" {
            c.words.next();
            c.push_option("lock", None);
        }
        let v = self.option_value(w, c)?;
        match arg {
            OptionArg::Interface => {
                self.read_interface_name(v)?;
            }
            OptionArg::Prefix => {
                if !matches!(&*v.text, "all" | "any" | "default") {
                    self.read_prefix(v, Family::Any)?;
                }
            }
            OptionArg::Number(max) => {
                self.read_unsigned(v, 0, max)?;
            }
            OptionArg::Weight => {
                self.read_unsigned(v, 1, 256)?;
            }
            OptionArg::Metric => {
                self.read_unsigned(v, 0, u64::from(u32::MAX))?;
            }
            OptionArg::Scope => {
                self.read_scope(v)?;
            }
            OptionArg::Named(table) => {
                let number = v.text.bytes().all(|b| b.is_ascii_digit()) && !v.text.is_empty();
                if !number && self.environment.iproute_id(self.iproute_dirs, table, &v.text) == Some(None) {
                    self.report(
                        Diagnostic::error("unknown-value", v.span, format!("iproute2 has no name `{}`", abbreviate(v)))
                            .label(format!("expected a number, or a name in /etc/iproute2/{table}")),
                    );
                    return None;
                }
            }
            OptionArg::Pair(separator) => {
                let number = |t: &str| match t.strip_prefix("0x") {
                    Some(hex) => u32::from_str_radix(hex, 16).is_ok(),
                    None => t.parse::<u32>().is_ok(),
                };
                if !v.text.splitn(2, separator).all(number) {
                    let d = Diagnostic::error("not-a-number", v.span, format!("`{}` is not a number", abbreviate(v)));
                    self.report(d.label(format!("expected N or N{separator}M")));
                    return None;
                }
            }
            OptionArg::OneOf(words) => {
                self.read_choice(v, words, false)?;
            }
            OptionArg::Word | OptionArg::Flag => {}
        }
        c.push_option(name, Some(v));
        Some(())
    }

    /// The word after the option `name`. keepalived exits with 2 if it is missing.
    pub(super) fn option_value<'w, 't>(
        &mut self,
        name: &Word<'_>,
        c: &mut OptionCursor<'w, 't>,
    ) -> Option<&'w Word<'t>> {
        let v = c.words.next();
        if v.is_none() {
            self.report(
                Diagnostic::error("missing-argument", name.span, format!("`{}` needs a value", abbreviate(name)))
                    .label("the value is missing")
                    .verdict(KeepalivedVerdict::Exits(2)),
            );
        }
        v
    }

    /// Reports `track_group` in a line that is not static.
    pub(super) fn reject_track_group(&mut self, c: &OptionCursor<'_, '_>, span: Span, is_static: bool) -> Option<()> {
        if is_static || !c.has("track_group") {
            return Some(());
        }
        let d = Diagnostic::error("unknown-word", span, "`track_group` is for static addresses, routes and rules only");
        self.report(d.label("an instance tracks its own routes and rules in any case"));
        None
    }
}
