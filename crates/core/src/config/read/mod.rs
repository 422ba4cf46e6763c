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

use super::diag::{Verdict, nearest};
use super::environment::{Environment, NameTables};
use super::keywords::spec::{Absent, Name};
use super::keywords::{Args, Block, Keyword, ROOT, Standing, entries};
use super::lex::Word;
use super::tree::{Block as Braces, Statement};
use super::value::{Entry, Placed, Section, Value};
use super::{Diagnostic, Sources, Span};

/// Findings after which no more are told.
const MAX_FINDINGS: usize = 10_000;

/// What reading needs, and what it finds.
pub(crate) struct Reader<'r> {
    pub sources: &'r Sources,
    pub environment: &'r dyn Environment,
    /// Where names of routes and rules are looked up.
    tables: &'r NameTables,
    pub diagnostics: &'r mut Vec<Diagnostic>,
    /// Keywords whose standing has been told.
    told: HashSet<(&'static str, &'static str)>,
    /// Inside how many blocks that are not in force?
    dormant: usize,
}

/// Reads the whole file.
pub(crate) fn read(
    tree: &Braces<'_>,
    sources: &Sources,
    environment: &dyn Environment,
    tables: &NameTables,
    diagnostics: &mut Vec<Diagnostic>,
) -> Section {
    let mut reader = Reader { sources, environment, tables, diagnostics, told: HashSet::new(), dormant: 0 };
    reader.section(&ROOT, tree, Value::Present, Span::default())
}

/// They count for the whole file, wherever in it they are named; the last one does.
pub(crate) fn name_tables(tree: &Braces<'_>) -> NameTables {
    let globals = tree.items.iter().filter(|st| st.keyword().text == "global_defs");
    let named = |keyword: &str| {
        let mut all = globals.clone().filter_map(|st| st.block.as_ref()).flat_map(|b| &b.items);
        let st = all.rfind(|st| st.keyword().text == keyword)?;
        st.args().first().map(|w| PathBuf::from(w.text.as_ref()))
    };
    NameTables { etc: named("iproute_etc_dir"), usr: named("iproute_usr_dir") }
}

impl Reader<'_> {
    /// Adds a finding; of more than anybody will mend, only that there are more.
    pub fn push(&mut self, d: Diagnostic) {
        match self.diagnostics.len() {
            n if n < MAX_FINDINGS => self.diagnostics.push(d),
            MAX_FINDINGS => self.diagnostics.push(
                Diagnostic::error(
                    "too-many-findings",
                    d.span,
                    format!("{MAX_FINDINGS} findings, and more from here on"),
                )
                .label("the rest of the file is read, and not told of"),
            ),
            _ => {}
        }
    }

    /// Reads the statements of a block.
    fn section(&mut self, block: &'static Block, braces: &Braces<'_>, name: Value, at: Span) -> Section {
        let entries = Vec::with_capacity(braces.items.len());
        let mut section = Section { block, name, at, entries, wrong: Vec::new() };
        for st in &braces.items {
            match block.keyword(&st.keyword().text) {
                Some(k) => match self.statement(k, st, braces) {
                    Some(value) => {
                        let (at, args) = (st.keyword().span, st.args_span());
                        section.entries.push(Entry { keyword: k, at, args, value });
                    }
                    None => section.wrong.push(k.canonical()),
                },
                None => section.wrong.extend(self.unknown(block, st)),
            }
        }
        section
    }

    fn statement(&mut self, k: &'static Keyword, st: &Statement<'_>, around: &Braces<'_>) -> Option<Value> {
        self.standing(k, st);
        if let (Some(b), false) = (&st.block, k.opens_block()) {
            self.push(
                Diagnostic::error("unexpected-brace", b.open, format!("`{}` has no block", k.name))
                    .label("this block belongs to no keyword"),
            );
        }
        let dormant = k.standing != Standing::InForce;
        self.dormant += usize::from(dormant);
        let value = self.value(k, st, around);
        self.dormant -= usize::from(dormant);
        value
    }

    fn value(&mut self, k: &'static Keyword, st: &Statement<'_>, around: &Braces<'_>) -> Option<Value> {
        if let Args::Block(inner, name) = k.args {
            let name = self.name(name, st)?;
            let Some(b) = &st.block else {
                self.missing_block(st);
                return None;
            };
            return Some(Value::Section(Box::new(self.section(inner, b, name, st.args_span()))));
        }
        if let Args::Lines(kind) | Args::NamedLines(kind) = k.args {
            let name = match k.args {
                Args::NamedLines(_) => match self.name(Name::Only, st)? {
                    Value::Text(t) => Some(t),
                    _ => None,
                },
                _ => {
                    self.no_name(st, 0);
                    None
                }
            };
            let Some(b) = &st.block else {
                // As the last word of its block keepalived takes it for empty; elsewhere it reads what follows into it.
                let last = around.items.last().is_some_and(|l| std::ptr::eq(l, st)) && around.close != Span::default();
                if last {
                    self.push(
                        Diagnostic::lint("missing-block", st.keyword().span, format!("`{}` has no block", k.name))
                            .label("nothing is in it")
                            .help("add `{ … }`, or remove the line"),
                    );
                    return Some(Value::Lines(Box::new((name, Placed::default()))));
                }
                self.missing_block(st);
                return None;
            };
            return Some(Value::Lines(Box::new((name, Placed(self.lines(kind, b))))));
        }
        if st.args().is_empty() && !scalar::may_be_empty(k.args) {
            return self.absent(k, st);
        }
        self.argument(k, st)
    }

    fn missing_block(&mut self, st: &Statement<'_>) {
        let k = st.keyword();
        self.push(
            Diagnostic::error("missing-block", k.span, format!("`{}` needs a block", k.text))
                .label("expected `{` behind it")
                .help(format!("write `{} {{ … }}`", st.words.iter().map(|w| &*w.text).collect::<Vec<_>>().join(" "))),
        );
    }

    /// A keyword that needs an argument has none.
    fn absent(&mut self, k: &'static Keyword, st: &Statement<'_>) -> Option<Value> {
        let what = format!("`{}` needs an argument", k.name);
        let d = Diagnostic::error("missing-argument", st.keyword().span, what)
            .label("nothing stands behind it")
            .help(format!("write `{} {}`", k.name, k.usage()));
        self.push(match k.absent {
            Absent::Exits => d.verdict(Verdict::Exits(2)),
            Absent::Reported => d,
            Absent::Fine => Diagnostic { severity: super::Severity::Warning, ..d.verdict(Verdict::Ours) },
        });
        None
    }

    /// What stands between a keyword and its brace.
    fn name(&mut self, name: Name, st: &Statement<'_>) -> Option<Value> {
        if name == Name::None {
            self.no_more(st, 0);
            return Some(Value::Present);
        }
        let Some(first) = st.args().first() else {
            let k = st.keyword();
            let d = Diagnostic::error("missing-argument", k.span, format!("`{}` needs a name", k.text));
            self.push(d.label("expected a name behind it"));
            return None;
        };
        match name {
            Name::None => None,
            Name::One => {
                self.no_more(st, 1);
                Some(Value::Text(first.text.clone().into_owned()))
            }
            Name::Only => {
                if !self.no_name(st, 1) {
                    return None;
                }
                Some(Value::Text(first.text.clone().into_owned()))
            }
            Name::Endpoint => self.host(st).or_else(|| self.endpoint(st, 0)),
            Name::Service if first.text == "fwmark" => {
                let mark = st.args().get(1).and_then(|w| self.number(w, 0, u64::from(u32::MAX)));
                match mark {
                    Some(n) => Some(Value::Mark(n as u32)),
                    None => {
                        if st.args().len() < 2 {
                            let d = Diagnostic::error("missing-argument", first.span, "`fwmark` needs a number");
                            self.push(d.label("nothing stands behind it").verdict(Verdict::Exits(2)));
                        }
                        None
                    }
                }
            }
            Name::Service if first.text == "group" => match st.args().get(1) {
                Some(g) => Some(Value::Group(g.text.clone().into_owned())),
                None => {
                    let d = Diagnostic::error("missing-argument", first.span, "`group` needs a name");
                    self.push(d.label("nothing stands behind it").verdict(Verdict::Exits(2)));
                    None
                }
            },
            Name::Service => self.endpoint(st, 0),
        }
    }

    /// Words before a brace that cannot be there; keepalived reports them.
    fn no_name(&mut self, st: &Statement<'_>, read: usize) -> bool {
        let Some(extra) = st.args().get(read) else { return true };
        let last = st.args().last().map_or(extra.span, |w| w.span);
        let d = Diagnostic::error(
            "extra-words",
            extra.span.to(last),
            format!("too many words behind `{}`", st.keyword().text),
        );
        self.push(match read {
            0 => d.label("expected `{`"),
            _ => d.label("expected one name").help("a name with blanks stands in quotes"),
        });
        false
    }

    /// keepalived reads no further either; but a second keyword on the line is a mistake worth telling.
    fn no_more(&mut self, st: &Statement<'_>, read: usize) {
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
            self.push(if counted { d.verdict(Verdict::Reports) } else { d });
        }
    }

    /// Says of a keyword that it is old, or not in force; each once.
    fn standing(&mut self, k: &'static Keyword, st: &Statement<'_>) {
        let at = st.keyword().span;
        if let Some((new, true)) = k.old {
            let d = Diagnostic::warning("deprecated", at, format!("`{}` is an old name", k.name)).label("deprecated");
            self.push(match new {
                "" => d.help("remove it"),
                _ => d.help(format!("write `{new}`")),
            });
        }
        if self.dormant > 0 || k.standing == Standing::InForce || !self.told.insert((k.name, k.since)) {
            return;
        }
        let d = match k.standing {
            Standing::InForce => return,
            Standing::Later => {
                Diagnostic::lint("not-in-force", at, format!("`{}` is accepted, not in force yet", k.name))
                    .label("no effect in this version")
                    .help(k.doc)
            }
            Standing::Needed => Diagnostic::unsupported(at, format!("`{}` is accepted, not in force yet", k.name))
                .label("without it this would do harm, so the file is not taken")
                .help(k.doc),
            Standing::Never(why) => {
                Diagnostic::lint("never-in-force", at, format!("`{}` is accepted, and does nothing here", k.name))
                    .label("no effect")
                    .help(why)
            }
        };
        self.push(d);
    }

    /// A word that is no keyword of its block: the nearest one, or the block where it belongs. Returns what was meant.
    fn unknown(&mut self, block: &'static Block, st: &Statement<'_>) -> Option<&'static str> {
        if self.diagnostics.len() > MAX_FINDINGS {
            return None;
        }
        let word = st.keyword();
        let place =
            if block.path == ROOT.path { "at the top level".to_owned() } else { format!("in `{}`", block.name()) };
        let d = Diagnostic::error("unknown-keyword", word.span, format!("unknown keyword `{}`", shown(word)))
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
        let near = nearest(&word.text, block.keywords.iter().map(|k| k.name));
        let meant = near.and_then(|n| block.keyword(n)).map(Keyword::canonical);
        let blocks = elsewhere();
        let d = match (near, blocks.as_slice()) {
            (_, [first, rest @ ..]) => {
                let more = if rest.is_empty() { "" } else { " and others" };
                let first = if *first == "the top level" { (*first).to_owned() } else { format!("`{first}`") };
                d.help(format!("`{}` belongs to {first}{more}; is a `}}` missing above, or one too many?", word.text))
            }
            (Some(n), []) => d.help(format!("did you mean `{n}`?")),
            (None, []) => match removed(&word.text) {
                Some(instead) => d.help(instead),
                None => d,
            },
        };
        self.push(d);
        if blocks.is_empty() { meant } else { None }
    }
}

/// Keywords of howtos that no keepalived of today has.
fn removed(word: &str) -> Option<&'static str> {
    Some(match word {
        "lvs_id" => "keepalived dropped it after 1.1.7; write `router_id`",
        "plugin_dir" | "nat_mask" => "keepalived dropped it after 1.2.19; remove it",
        "CI-LINUX" => "keepalived dropped it after 1.1.4; remove it",
        _ => return None,
    })
}

/// A word for a message: not more of it than anybody reads.
pub(super) fn shown(word: &Word<'_>) -> String {
    let mut text: String = word.text.chars().take(60).collect();
    if text.len() < word.text.len() {
        text.push('…');
    }
    text
}
