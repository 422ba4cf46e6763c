//! The registry: one entry a keyword.
//!
//! It feeds the reader, `evenkeel explain`, the configuration reference, the man page and the table of compatibility, so
//! that none of them can differ from what is read. The keywords are those of keepalived 2.4.3 with its old names, and
//! ours at the end of their block. Each block is a table; `checkers` repeats for every checker what it shares with
//! others, because keepalived got them at different times.

mod checkers;
mod global;
mod reasons;
mod root;
mod server;
pub mod spec;
mod track;
mod vrrp;

pub(crate) use root::ROOT;

use std::sync::LazyLock;

pub use spec::{Args, Block, Keyword, LineKind, Support};

/// Every block, outer ones before inner ones.
pub fn blocks() -> Vec<&'static Block> {
    let mut out: Vec<&'static Block> = vec![&ROOT];
    let mut at = 0;
    while let Some(block) = out.get(at).copied() {
        for k in block.keywords {
            if let Args::Block(inner, _) = k.args
                && !out.iter().any(|b| b.path == inner.path)
            {
                out.push(inner);
            }
        }
        at += 1;
    }
    out
}

/// Every pair of a block and a keyword.
pub fn entries() -> &'static [(&'static Block, &'static Keyword)] {
    static ENTRIES: LazyLock<Vec<(&Block, &Keyword)>> =
        LazyLock::new(|| blocks().into_iter().flat_map(|b| b.keywords.iter().map(move |k| (b, k))).collect());
    &ENTRIES
}

/// Blocks that stand at the top level and nowhere else: one of them inside another block tells of a missing brace.
pub(crate) fn is_top_level_only(name: &str) -> bool {
    name != "track_file" && name != "SSL" && ROOT.keyword(name).is_some_and(Keyword::opens_block)
}

/// The path of the top level.
pub const ROOT_PATH: &str = "ROOT";
