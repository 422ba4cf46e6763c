//! The registry: one entry a keyword, with its arguments, its meaning and what reads it.
//!
//! Each block has a table of `Keyword`s that fill in the block's draft; `walk` goes through a block's statements. A
//! keyword that keepalived knows but that nothing here acts on yet is in `known.tsv`: it is accepted and reported once.

mod checks;
mod global;
mod script;
mod server;
mod vrrp;

pub(crate) use checks::{CheckDraft, TimingDraft};
pub(crate) use global::Globals;
pub(crate) use server::{RealDraft, ServerDraft};
pub(crate) use vrrp::{Broadcast, InstanceDraft, VipDraft};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::tree::{Block, Statement};
use super::{Diagnostic, check, diag};
use crate::model::Config;

/// A keyword that is in force.
pub(crate) struct Keyword<B: 'static> {
    /// As it stands in the file.
    pub name: &'static str,
    /// Its arguments, in the notation of the manual.
    pub args: &'static str,
    /// Its meaning in a sentence.
    pub doc: &'static str,
    /// The keepalived that had it first; `evenkeel` for additions of ours.
    pub since: &'static str,
    /// Reads a statement into the block's draft.
    pub parse: fn(&mut Cx<'_>, &mut B, &Statement),
}

/// What every parse function may use.
pub(crate) struct Cx<'a> {
    diagnostics: &'a mut Vec<Diagnostic>,
    told: BTreeSet<(String, String)>,
    meant: BTreeSet<&'static str>,
}

impl Cx<'_> {
    /// Adds a diagnostic.
    pub fn push(&mut self, d: Diagnostic) {
        self.diagnostics.push(d);
    }

    /// Was this keyword proposed for a misspelt one? Then it is not missing as well.
    pub fn was_meant(&self, keyword: &str) -> bool {
        self.meant.contains(keyword)
    }
}

/// A keyword of keepalived's that nothing here acts on yet.
struct Known {
    since: &'static str,
    doc: &'static str,
}

static KNOWN: LazyLock<BTreeMap<(&'static str, &'static str), Known>> = LazyLock::new(|| {
    include_str!("../known.tsv")
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| {
            let mut f = l.split('\t');
            Some(((f.next()?, f.next()?), Known { since: f.next()?, doc: f.next()? }))
        })
        .collect()
});

/// Reads the statements of a block by its tables. `path` is the block's name in `known.tsv`.
pub(crate) fn walk<B>(cx: &mut Cx<'_>, path: &str, tables: &[&'static [Keyword<B>]], draft: &mut B, block: &Block) {
    for st in &block.items {
        let word = st.keyword();
        let mut keywords = tables.iter().flat_map(|t| t.iter());
        if let Some(k) = keywords.find(|k| k.name == word.text) {
            (k.parse)(cx, draft, st);
        } else {
            not_in_force(cx, path, tables.iter().flat_map(|t| t.iter()).map(|k| k.name), st);
        }
    }
}

/// A keyword without an entry: known to keepalived (a warning, once), or a mistake (an error with the nearest word).
fn not_in_force(cx: &mut Cx<'_>, path: &str, names: impl Iterator<Item = &'static str>, st: &Statement) {
    let word = st.keyword();
    if let Some(((_, name), known)) = KNOWN.get_key_value(&(path, word.text.as_str()) as &(&str, &str)) {
        if cx.told.insert((path.to_owned(), (*name).to_owned())) {
            cx.push(
                Diagnostic::warning("not-in-force", word.span, format!("`{name}` is accepted, but not in force yet"))
                    .label("no effect in this version")
                    .help(format!("{} (keepalived {})", known.doc, known.since)),
            );
        }
        return;
    }
    let all = names.chain(KNOWN.keys().filter(|(p, _)| *p == path).map(|(_, n)| *n));
    let d = Diagnostic::error("unknown-keyword", word.span, format!("unknown keyword `{}`", word.text));
    let place =
        if path == "ROOT" { "here".to_owned() } else { format!("in `{}`", path.rsplit('/').next().unwrap_or(path)) };
    let d = d.label(format!("not a keyword {place}"));
    let near = diag::nearest(&word.text, all);
    cx.meant.extend(near);
    cx.push(match near {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None => d,
    });
}

/// The block of a statement that needs one.
pub(crate) fn block<'a>(cx: &mut Cx<'_>, st: &'a Statement) -> Option<&'a Block> {
    if st.block.is_none() {
        let k = st.keyword();
        cx.push(
            Diagnostic::error("missing-block", k.span, format!("`{}` needs a block", k.text))
                .label("expected `{` behind it"),
        );
    }
    st.block.as_ref()
}

/// Everything that is read before names are resolved.
#[derive(Default)]
pub(crate) struct Draft {
    pub global: global::Globals,
    pub scripts: Vec<script::ScriptDraft>,
    pub instances: Vec<vrrp::InstanceDraft>,
    pub servers: Vec<server::ServerDraft>,
}

const ROOT: &[Keyword<Draft>] = &[
    Keyword {
        name: "global_defs",
        args: "{ … }",
        doc: "Settings of the whole daemon.",
        since: "v1.0.3",
        parse: |cx, d, st| {
            if let Some(b) = block(cx, st) {
                walk(cx, "global_defs", &[global::TABLE], &mut d.global, b);
            }
        },
    },
    Keyword {
        name: "vrrp_script",
        args: "NAME { … }",
        doc: "A script that VRRP instances track.",
        since: "v1.1.13",
        parse: |cx, d, st| d.scripts.extend(script::read(cx, st)),
    },
    Keyword {
        name: "vrrp_instance",
        args: "NAME { … }",
        doc: "A virtual router.",
        since: "v1.0.3",
        parse: |cx, d, st| d.instances.extend(vrrp::read(cx, st)),
    },
    Keyword {
        name: "virtual_server",
        args: "ADDRESS PORT { … }",
        doc: "A virtual service and its real servers.",
        since: "v1.0.3",
        parse: |cx, d, st| d.servers.extend(server::read(cx, st)),
    },
];

/// The tree of a file to a typed configuration.
pub(crate) fn read(tree: &[Statement], diagnostics: &mut Vec<Diagnostic>) -> Config {
    let mut cx = Cx { diagnostics, told: BTreeSet::new(), meant: BTreeSet::new() };
    let mut draft = Draft::default();
    walk(&mut cx, "ROOT", &[ROOT], &mut draft, &Block { items: tree.to_vec(), open: Default::default() });
    check::finish(&mut cx, draft)
}

/// A keyword as the manual and `evenkeel explain` show it.
pub struct Entry {
    /// The block that it stands in.
    pub block: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub args: &'static str,
    /// Its meaning.
    pub doc: &'static str,
    /// Since which keepalived.
    pub since: &'static str,
}

/// Every keyword that is in force.
pub fn entries() -> Vec<Entry> {
    fn of<B>(block: &'static str, table: &'static [Keyword<B>]) -> impl Iterator<Item = Entry> {
        table.iter().map(move |k| Entry { block, name: k.name, args: k.args, doc: k.doc, since: k.since })
    }
    of("", ROOT)
        .chain(of("global_defs", global::TABLE))
        .chain(of("vrrp_script", script::TABLE))
        .chain(of("vrrp_instance", vrrp::TABLE))
        .chain(of("authentication", vrrp::AUTHENTICATION))
        .chain(of("virtual_server", server::TABLE))
        .chain(of("virtual_server", checks::Timing::<server::ServerDraft>::TABLE))
        .chain(of("real_server", server::REAL_SERVER))
        .chain(of("real_server", checks::Timing::<server::RealDraft>::TABLE))
        .chain(of("TCP_CHECK, HTTP_GET", checks::COMMON))
        .chain(of("TCP_CHECK, HTTP_GET", checks::Timing::<checks::CheckDraft>::TABLE))
        .chain(of("HTTP_GET", checks::HTTP_GET))
        .chain(of("url", checks::URL))
        .collect()
}
