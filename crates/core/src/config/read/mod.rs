//! The tree of a file to its typed configuration, by the registry.

mod address;
pub(super) mod encap;
mod lines;
mod route;
mod scalar;
mod script;
mod special;

use std::collections::HashSet;
use std::path::PathBuf;

use super::diag::{KeepalivedVerdict, nearest_word};
use super::environment::{Environment, IprouteDirs};
use super::keywords::spec::{BlockName, MissingArgument};
use super::keywords::{Args, Block, Keyword, ROOT, Support, entries};
use super::lex::Word;
use super::tree::{Statement, StatementBlock as Braces};
use super::value::{Entry, Section, SpannedLines, Value};
use super::{Diagnostic, Sources, Span};

/// Findings after which no more are told.
const MAX_DIAGNOSTICS: usize = 10_000;

/// What reading needs, and what it finds.
pub(crate) struct Reader<'r> {
    pub sources: &'r Sources,
    pub environment: &'r dyn Environment,
    /// Where names of routes and rules are looked up.
    name_tables: &'r IprouteDirs,
    pub diagnostics: &'r mut Vec<Diagnostic>,
    /// Keywords whose standing has been told.
    reported: HashSet<(&'static str, &'static str)>,
    /// Inside how many blocks that are not in force?
    inactive_depth: usize,
}

/// Reads the whole file.
pub(crate) fn read(
    tree: &Braces<'_>,
    sources: &Sources,
    environment: &dyn Environment,
    tables: &IprouteDirs,
    diagnostics: &mut Vec<Diagnostic>,
) -> Section {
    let mut reader =
        Reader { sources, environment, name_tables: tables, diagnostics, reported: HashSet::new(), inactive_depth: 0 };
    reader.read_section(&ROOT, tree, Value::Present, Span::default())
}

/// They count for the whole file, wherever in it they are named; the last one does.
pub(crate) fn find_name_tables(tree: &Braces<'_>) -> IprouteDirs {
    let globals = tree.statements.iter().filter(|st| st.keyword().text == "global_defs");
    let named = |keyword: &str| {
        let mut all = globals.clone().filter_map(|st| st.block.as_ref()).flat_map(|b| &b.statements);
        let st = all.rfind(|st| st.keyword().text == keyword)?;
        st.args().first().map(|w| PathBuf::from(w.text.as_ref()))
    };
    IprouteDirs { etc: named("iproute_etc_dir"), usr: named("iproute_usr_dir") }
}

impl Reader<'_> {
    /// Adds a finding; of more than anybody will mend, only that there are more.
    pub fn report(&mut self, d: Diagnostic) {
        match self.diagnostics.len() {
            n if n < MAX_DIAGNOSTICS => self.diagnostics.push(d),
            MAX_DIAGNOSTICS => self.diagnostics.push(
                Diagnostic::error(
                    "too-many-findings",
                    d.span,
                    format!("{MAX_DIAGNOSTICS} findings, and more from here on"),
                )
                .label("the rest of the file is read, and not told of"),
            ),
            _ => {}
        }
    }

    /// Reads the statements of a block.
    fn read_section(&mut self, block: &'static Block, braces: &Braces<'_>, name: Value, at: Span) -> Section {
        let entries = Vec::with_capacity(braces.statements.len());
        let mut section = Section { block, name, span: at, entries, invalid: Vec::new() };
        for st in &braces.statements {
            match block.keyword(&st.keyword().text) {
                Some(k) => match self.read_statement(k, st, braces) {
                    Some(value) => {
                        let (at, args) = (st.keyword().span, st.args_span());
                        section.entries.push(Entry { keyword: k, keyword_span: at, args_span: args, value });
                    }
                    None => section.invalid.push(k.canonical_name()),
                },
                None => section.invalid.extend(self.report_unknown_keyword(block, st)),
            }
        }
        section
    }

    fn read_statement(&mut self, k: &'static Keyword, st: &Statement<'_>, around: &Braces<'_>) -> Option<Value> {
        self.report_support(k, st);
        if let (Some(b), false) = (&st.block, k.opens_block()) {
            self.report(
                Diagnostic::error("unexpected-brace", b.open, format!("`{}` has no block", k.name))
                    .label("this block belongs to no keyword"),
            );
        }
        let dormant = k.support != Support::Full;
        self.inactive_depth += usize::from(dormant);
        let value = self.read_value(k, st, around);
        self.inactive_depth -= usize::from(dormant);
        value
    }

    fn read_value(&mut self, k: &'static Keyword, st: &Statement<'_>, around: &Braces<'_>) -> Option<Value> {
        if let Args::Block(inner, name) = k.args {
            let name = self.read_block_name(name, st)?;
            let Some(b) = &st.block else {
                self.report_missing_block(st);
                return None;
            };
            return Some(Value::Section(Box::new(self.read_section(inner, b, name, st.args_span()))));
        }
        if let Args::Lines(kind) | Args::NamedLines(kind) = k.args {
            let name = match k.args {
                Args::NamedLines(_) => match self.read_block_name(BlockName::OneNameStrict, st)? {
                    Value::Text(t) => Some(t),
                    _ => None,
                },
                _ => {
                    self.reject_extra_words(st, 0);
                    None
                }
            };
            let Some(b) = &st.block else {
                // As the last word of its block keepalived takes it for empty; elsewhere it reads what follows into it.
                let last =
                    around.statements.last().is_some_and(|l| std::ptr::eq(l, st)) && around.close != Span::default();
                if last {
                    self.report(
                        Diagnostic::lint("missing-block", st.keyword().span, format!("`{}` has no block", k.name))
                            .label("nothing is in it")
                            .help("add `{ … }`, or remove the line"),
                    );
                    return Some(Value::Lines(Box::new((name, SpannedLines::default()))));
                }
                self.report_missing_block(st);
                return None;
            };
            return Some(Value::Lines(Box::new((name, SpannedLines(self.read_lines(kind, b))))));
        }
        if st.args().is_empty() && !scalar::may_be_empty(k.args) {
            return self.report_missing_argument(k, st);
        }
        self.read_argument(k, st)
    }

    fn report_missing_block(&mut self, st: &Statement<'_>) {
        let k = st.keyword();
        self.report(
            Diagnostic::error("missing-block", k.span, format!("`{}` needs a block", k.text))
                .label("expected `{` behind it")
                .help(format!("write `{} {{ … }}`", st.words.iter().map(|w| &*w.text).collect::<Vec<_>>().join(" "))),
        );
    }

    /// A keyword that needs an argument has none.
    fn report_missing_argument(&mut self, k: &'static Keyword, st: &Statement<'_>) -> Option<Value> {
        let what = format!("`{}` needs an argument", k.name);
        let d = Diagnostic::error("missing-argument", st.keyword().span, what)
            .label("nothing stands behind it")
            .help(format!("write `{} {}`", k.name, k.usage()));
        self.report(match k.missing_argument {
            MissingArgument::Exits => d.verdict(KeepalivedVerdict::Exits(2)),
            MissingArgument::Reports => d,
            MissingArgument::Accepts => {
                Diagnostic { severity: super::Severity::Warning, ..d.verdict(KeepalivedVerdict::Silent) }
            }
        });
        None
    }

    /// What stands between a keyword and its brace.
    fn read_block_name(&mut self, name: BlockName, st: &Statement<'_>) -> Option<Value> {
        if name == BlockName::None {
            self.warn_extra_words(st, 0);
            return Some(Value::Present);
        }
        let Some(first) = st.args().first() else {
            let k = st.keyword();
            let d = Diagnostic::error("missing-argument", k.span, format!("`{}` needs a name", k.text));
            self.report(d.label("expected a name behind it"));
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
                let mark = st.args().get(1).and_then(|w| self.read_unsigned(w, 0, u64::from(u32::MAX)));
                match mark {
                    Some(n) => Some(Value::Fwmark(n as u32)),
                    None => {
                        if st.args().len() < 2 {
                            let d = Diagnostic::error("missing-argument", first.span, "`fwmark` needs a number");
                            self.report(d.label("nothing stands behind it").verdict(KeepalivedVerdict::Exits(2)));
                        }
                        None
                    }
                }
            }
            BlockName::Service if first.text == "group" => match st.args().get(1) {
                Some(g) => Some(Value::Group(g.text.clone().into_owned())),
                None => {
                    let d = Diagnostic::error("missing-argument", first.span, "`group` needs a name");
                    self.report(d.label("nothing stands behind it").verdict(KeepalivedVerdict::Exits(2)));
                    None
                }
            },
            BlockName::Service => self.read_endpoint(st, 0),
        }
    }

    /// Words before a brace that cannot be there; keepalived reports them.
    fn reject_extra_words(&mut self, st: &Statement<'_>, read: usize) -> bool {
        let Some(extra) = st.args().get(read) else { return true };
        let last = st.args().last().map_or(extra.span, |w| w.span);
        let d = Diagnostic::error(
            "extra-words",
            extra.span.to(last),
            format!("too many words behind `{}`", st.keyword().text),
        );
        self.report(match read {
            0 => d.label("expected `{`"),
            _ => d.label("expected one name").help("a name with blanks stands in quotes"),
        });
        false
    }

    /// keepalived reads no further either; but a second keyword on the line is a mistake worth telling.
    fn warn_extra_words(&mut self, st: &Statement<'_>, read: usize) {
        if let Some(extra) = st.args().get(read) {
            let last = st.args().last().map_or(extra.span, |w| w.span);
            let d = Diagnostic::lint(
                "extra-words",
                extra.span.to(last),
                format!("`{}` does not read this far", st.keyword().text),
            )
            .label("ignored")
            .help("each keyword stands on a line of its own");
            // The few that keepalived reports.
            const COUNTED: [&str; 4] = ["umask", "kernel_rx_buf_size", "vrrp_rx_bufs_multiplier", "reload_time_file"];
            let counted = COUNTED.contains(&&*st.keyword().text);
            self.report(if counted { d.verdict(KeepalivedVerdict::Reports) } else { d });
        }
    }

    /// Says of a keyword that it is old, or not in force; each once.
    fn report_support(&mut self, k: &'static Keyword, st: &Statement<'_>) {
        let at = st.keyword().span;
        if let Some(old) = k.deprecated.filter(|old| old.reported) {
            let d = Diagnostic::warning("deprecated", at, format!("`{}` is an old name", k.name)).label("deprecated");
            self.report(match old.replacement {
                None => d.help("remove it"),
                Some(new) => d.help(format!("write `{new}`")),
            });
        }
        if self.inactive_depth > 0 || k.support == Support::Full || !self.reported.insert((k.name, k.since)) {
            return;
        }
        let d = match k.support {
            Support::Full => return,
            Support::NotYet => {
                Diagnostic::lint("not-in-force", at, format!("`{}` is accepted, not in force yet", k.name))
                    .label("no effect in this version")
                    .help(k.doc)
            }
            Support::Refused => Diagnostic::unsupported(at, format!("`{}` is accepted, not in force yet", k.name))
                .label("without it this would do harm, so the file is not taken")
                .help(k.doc),
            Support::NoEffect(why) => {
                Diagnostic::lint("never-in-force", at, format!("`{}` is accepted, and does nothing here", k.name))
                    .label("no effect")
                    .help(why)
            }
        };
        self.report(d);
    }

    /// A word that is no keyword of its block: the nearest one, or the block where it belongs. Returns what was meant.
    fn report_unknown_keyword(&mut self, block: &'static Block, st: &Statement<'_>) -> Option<&'static str> {
        if self.diagnostics.len() > MAX_DIAGNOSTICS {
            return None;
        }
        let word = st.keyword();
        let place =
            if block.path == ROOT.path { "at the top level".to_owned() } else { format!("in `{}`", block.name()) };
        let d = Diagnostic::error("unknown-keyword", word.span, format!("unknown keyword `{}`", abbreviate(word)))
            .label(format!("not a keyword {place}"));
        let elsewhere = || {
            let mut blocks: Vec<&str> = entries()
                .iter()
                .filter(|(_, k)| k.name == word.text)
                .map(|(b, _)| if b.path == ROOT.path { "the top level" } else { b.name() })
                .collect();
            blocks.dedup();
            blocks
        };
        let near = nearest_word(&word.text, block.keywords().map(|k| k.name));
        let meant = near.and_then(|n| block.keyword(n)).map(Keyword::canonical_name);
        let blocks = elsewhere();
        let d = match (near, blocks.as_slice()) {
            (_, [first, rest @ ..]) => {
                let more = if rest.is_empty() { "" } else { " and others" };
                let first = if *first == "the top level" { (*first).to_owned() } else { format!("`{first}`") };
                d.help(format!("`{}` belongs to {first}{more}; is a `}}` missing above, or one too many?", word.text))
            }
            (Some(n), []) => d.help(format!("did you mean `{n}`?")),
            (None, []) => match removed_keyword_help(&word.text) {
                Some(instead) => d.help(instead),
                None => d,
            },
        };
        self.report(d);
        if blocks.is_empty() { meant } else { None }
    }
}

/// Keywords of howtos that no keepalived of today has.
fn removed_keyword_help(word: &str) -> Option<&'static str> {
    Some(match word {
        "lvs_id" => "keepalived dropped it after 1.1.7; write `router_id`",
        "plugin_dir" | "nat_mask" => "keepalived dropped it after 1.2.19; remove it",
        "CI-LINUX" => "keepalived dropped it after 1.1.4; remove it",
        _ => return None,
    })
}

/// A word for a message: not more of it than anybody reads.
pub(super) fn abbreviate(word: &Word<'_>) -> String {
    let mut text: String = word.text.chars().take(60).collect();
    if text.len() < word.text.len() {
        text.push('…');
    }
    text
}
