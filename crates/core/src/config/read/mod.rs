//! The reading stage: the tree of statements to the typed configuration, by the keyword registry.
//!
//! Each statement is looked up in the table of its block ([`crate::config::keywords`]), which says what its arguments
//! are. A statement that cannot be read is reported and left out, as in keepalived, and the rest of the file is still
//! read.
//!
//! - `arguments`: one keyword's arguments, by the kind that the registry gives; `words`, `numbers`, `address`,
//!   `script`, `bytes`, `vmac` and `lvs` hold the kinds by subject.
//! - `lines`: blocks whose lines are no keywords; `address_line` and `routing` hold the longer ones.
//! - `reports`: diagnostics of keywords, e.g. unknown, misplaced or deprecated ones.

mod address;
mod address_line;
mod arguments;
mod bytes;
mod lines;
mod lvs;
mod numbers;
mod reports;
mod routing;
mod script;
mod vmac;
mod words;

pub(super) use routing::{parse_ila_locator, parse_mpls_labels};

use std::collections::HashSet;
use std::path::PathBuf;

use super::diag::KeepalivedVerdict;
use super::environment::{Environment, IprouteDirs};
use super::keywords::spec::BlockName;
use super::keywords::{Args, Block, Keyword, ROOT, Support};
use super::lex::Word;
use super::tree::{Statement, StatementBlock};
use super::value::{Entry, Section, SpannedLines, Value};
use super::{Diagnostic, Sources, Span};

/// The number of diagnostics after which reading reports no more.
const MAX_DIAGNOSTICS: usize = 10_000;

/// The state of the reading stage.
pub(crate) struct Reader<'r> {
    sources: &'r Sources,
    environment: &'r dyn Environment,
    /// The directories in which iproute2's names of routes and rules are looked up.
    iproute_dirs: &'r IprouteDirs,
    diagnostics: &'r mut Vec<Diagnostic>,
    /// Name and origin of the keywords whose missing support is reported already.
    reported: HashSet<(&'static str, &'static str)>,
    /// The number of blocks around the current statement whose keyword has no full support.
    inactive_depth: usize,
}

/// Reads a whole file. The result holds every statement that could be read, whether it has an effect or not.
pub(crate) fn read(
    tree: &StatementBlock<'_>,
    sources: &Sources,
    environment: &dyn Environment,
    iproute_dirs: &IprouteDirs,
    diagnostics: &mut Vec<Diagnostic>,
) -> Section {
    let reported = HashSet::new();
    let mut reader = Reader { sources, environment, iproute_dirs, diagnostics, reported, inactive_depth: 0 };
    reader.read_section(&ROOT, tree, Value::Present, Span::default())
}

/// The directories of `iproute_etc_dir` and `iproute_usr_dir`. They apply to the whole file, wherever they are set, so
/// they are looked for before the file is read; the last one decides.
pub(crate) fn find_iproute_dirs(tree: &StatementBlock<'_>) -> IprouteDirs {
    let globals = tree.statements.iter().filter(|st| st.keyword().text == "global_defs");
    let directory = |keyword: &str| {
        let mut all = globals.clone().filter_map(|st| st.block.as_ref()).flat_map(|b| &b.statements);
        let st = all.rfind(|st| st.keyword().text == keyword)?;
        st.args().first().map(|w| PathBuf::from(w.text.as_ref()))
    };
    IprouteDirs { etc: directory("iproute_etc_dir"), usr: directory("iproute_usr_dir") }
}

impl Reader<'_> {
    /// Adds a diagnostic. After [`MAX_DIAGNOSTICS`] it adds only one more, which says so.
    fn report(&mut self, d: Diagnostic) {
        match self.diagnostics.len() {
            n if n < MAX_DIAGNOSTICS => self.diagnostics.push(d),
            MAX_DIAGNOSTICS => self.diagnostics.push(
                Diagnostic::error(
                    "too-many-findings",
                    d.span,
                    format!("{MAX_DIAGNOSTICS} diagnostics, and more from here on"),
                )
                .label("the rest of the file is read, but its diagnostics are not reported"),
            ),
            _ => {}
        }
    }

    /// Reads the statements of a block.
    fn read_section(
        &mut self,
        block: &'static Block,
        statements: &StatementBlock<'_>,
        name: Value,
        span: Span,
    ) -> Section {
        let entries = Vec::with_capacity(statements.statements.len());
        let mut section = Section { block, name, span, entries, invalid: Vec::new() };
        for st in &statements.statements {
            match block.keyword(&st.keyword().text) {
                Some(k) => match self.read_statement(k, st, statements) {
                    Some(value) => {
                        let (keyword_span, args_span) = (st.keyword().span, st.args_span());
                        section.entries.push(Entry { keyword: k, keyword_span, args_span, value });
                    }
                    None => section.invalid.push(k.canonical_name()),
                },
                None => section.invalid.extend(self.report_unknown_keyword(block, st)),
            }
        }
        section
    }

    /// Reads a statement. `around` is the block that it belongs to; `None` if its value cannot be read.
    fn read_statement(
        &mut self,
        k: &'static Keyword,
        st: &Statement<'_>,
        around: &StatementBlock<'_>,
    ) -> Option<Value> {
        self.report_support(k, st);
        if let (Some(b), false) = (&st.block, k.opens_block()) {
            self.report(
                Diagnostic::error("unexpected-brace", b.open, format!("`{}` has no block", k.name))
                    .label("this block belongs to no keyword"),
            );
        }
        let inactive = k.support != Support::Full;
        self.inactive_depth += usize::from(inactive);
        let value = self.read_value(k, st, around);
        self.inactive_depth -= usize::from(inactive);
        value
    }

    /// The value of a statement: a block of keywords, a block of lines, or arguments.
    fn read_value(&mut self, k: &'static Keyword, st: &Statement<'_>, around: &StatementBlock<'_>) -> Option<Value> {
        match k.args {
            Args::Block(inner, name) => {
                let name = self.read_block_name(name, st)?;
                let Some(b) = &st.block else {
                    self.report_missing_block(st);
                    return None;
                };
                Some(Value::Section(Box::new(self.read_section(inner, b, name, st.args_span()))))
            }
            Args::Lines(_) | Args::NamedLines(_) => self.read_line_block(k, st, around),
            _ if st.args().is_empty() && !arguments::may_be_empty(k.args) => {
                self.report_missing_argument(k, st);
                None
            }
            _ => self.read_argument(k, st),
        }
    }

    /// A block whose lines are no keywords, with its name if it has one.
    fn read_line_block(
        &mut self,
        k: &'static Keyword,
        st: &Statement<'_>,
        around: &StatementBlock<'_>,
    ) -> Option<Value> {
        let (kind, name) = match k.args {
            Args::NamedLines(kind) => match self.read_block_name(BlockName::OneNameStrict, st)? {
                Value::Text(t) => (kind, Some(t)),
                _ => (kind, None),
            },
            Args::Lines(kind) => {
                self.reject_extra_words(st, 0);
                (kind, None)
            }
            _ => return None,
        };
        if let Some(b) = &st.block {
            return Some(Value::Lines(Box::new((name, SpannedLines(self.read_lines(kind, b))))));
        }
        // keepalived treats the keyword as an empty block if it is the last word of the block around it. Elsewhere it
        // reads the following statements as lines of this block.
        let is_last = around.statements.last().is_some_and(|l| std::ptr::eq(l, st)) && around.close != Span::default();
        if !is_last {
            self.report_missing_block(st);
            return None;
        }
        self.report(
            Diagnostic::lint("missing-block", st.keyword().span, format!("`{}` has no block", k.name))
                .label("read as an empty block")
                .help("add `{ … }`, or remove the line"),
        );
        Some(Value::Lines(Box::new((name, SpannedLines::default()))))
    }

    /// The words between the keyword of a block and its brace.
    fn read_block_name(&mut self, name: BlockName, st: &Statement<'_>) -> Option<Value> {
        if name == BlockName::None {
            self.warn_extra_words(st, 0);
            return Some(Value::Present);
        }
        let Some(first) = st.args().first() else {
            let k = st.keyword();
            let d = Diagnostic::error("missing-argument", k.span, format!("`{}` needs a name", k.text));
            self.report(d.label("expected a name after it"));
            return None;
        };
        match name {
            BlockName::None => None,
            BlockName::OneName => {
                self.warn_extra_words(st, 1);
                Some(Value::Text(first.text.clone().into_owned()))
            }
            BlockName::OneNameStrict => {
                if !self.reject_extra_words(st, 1) {
                    return None;
                }
                Some(Value::Text(first.text.clone().into_owned()))
            }
            BlockName::Endpoint => self.read_host_name(st).or_else(|| self.read_endpoint(st, 0)),
            BlockName::Service if first.text == "fwmark" => {
                let mark = self.service_word(st, "`fwmark` needs a number")?;
                self.read_unsigned(mark, 0, u64::from(u32::MAX)).map(|n| Value::Fwmark(n as u32))
            }
            BlockName::Service if first.text == "group" => {
                let group = self.service_word(st, "`group` needs a name")?;
                Some(Value::Group(group.text.clone().into_owned()))
            }
            BlockName::Service => self.read_endpoint(st, 0),
        }
    }

    /// The word after `virtual_server fwmark` or `virtual_server group`. keepalived exits with 2 if it is missing.
    fn service_word<'s, 't>(&mut self, st: &'s Statement<'t>, missing: &str) -> Option<&'s Word<'t>> {
        let word = st.args().get(1);
        if word.is_none() {
            let d = Diagnostic::error("missing-argument", st.args_span(), missing);
            self.report(d.label("the value is missing").verdict(KeepalivedVerdict::Exits(2)));
        }
        word
    }
}

/// A word for a message, cut to 60 characters.
pub(super) fn abbreviate(word: &Word<'_>) -> String {
    let mut text: String = word.text.chars().take(60).collect();
    if text.len() < word.text.len() {
        text.push('…');
    }
    text
}
