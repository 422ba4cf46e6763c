//! The keyword registry: one entry for each keyword of each block.
//!
//! The registry is the only description of the language. The reader, `evenkeel explain`, docs/configuration.md,
//! docs/compatibility-keywords.md and evenkeel.conf(5) are generated from it or driven by it, so that documentation and
//! behaviour cannot differ. It contains all keywords of keepalived 2.4.3, with their old names, and the additions of
//! evenkeel.
//!
//! # Adding a keyword
//!
//! A keyword whose argument has an existing form ([`Args`]) touches three files:
//!
//! 1. The file of its block here (`global/`, `vrrp.rs`, `track.rs`, `server.rs`, `checkers.rs`): add a [`spec::kw`]
//!    entry with name, argument, default, `"evenkeel"` and a sentence of documentation. From then on the keyword is
//!    read, checked against its range, and documented. A keyword that several blocks share is a function in
//!    `shared.rs`.
//! 2. `crate::model`: add the field that carries its value.
//! 3. `lower/`: set the field, by `section.uint("NAME")` or one of its siblings in [`super::value::Section`].
//!
//! A field of an instance also stands in `crates/testkit/src/sim/instance.rs`, and `plan/config_changes.rs` may name its
//! change in `evenkeel plan`.
//!
//! Then regenerate the pages: `EVENKEEL_BLESS=1 cargo test -p evenkeel-tests --test config generated`.
//!
//! A new form of argument needs a variant of [`Args`] (`spec.rs`), its notation (`usage.rs`) and its parser (`read/`).
//! A condition between several keywords is a function in `check/`. A keyword of keepalived that is not implemented on
//! purpose gets `Keyword::no_effect` with a reason from `reasons.rs`.

mod checkers;
mod global;
mod reasons;
mod root;
mod server;
mod shared;
pub mod spec;
mod track;
mod usage;
mod vrrp;

pub(crate) use root::ROOT;

use std::sync::LazyLock;

pub use spec::{Args, Block, Deprecation, Keyword, LineKind, Support};

/// All blocks, each before the blocks inside of it.
pub fn blocks() -> Vec<&'static Block> {
    let mut out: Vec<&'static Block> = vec![&ROOT];
    let mut next = 0;
    while let Some(block) = out.get(next).copied() {
        for k in block.keywords() {
            if let Args::Block(inner, _) = k.args
                && !out.iter().any(|b| b.path == inner.path)
            {
                out.push(inner);
            }
        }
        next += 1;
    }
    out
}

/// All keywords, each with its block.
pub fn entries() -> &'static [(&'static Block, &'static Keyword)] {
    static ENTRIES: LazyLock<Vec<(&Block, &Keyword)>> =
        LazyLock::new(|| blocks().into_iter().flat_map(|b| b.keywords().map(move |k| (b, k))).collect());
    &ENTRIES
}

/// Whether a block is valid at the top level only. Inside of another block it is a sign of a missing `}` above.
pub(crate) fn is_top_level_only(name: &str) -> bool {
    name != "track_file" && name != "SSL" && ROOT.keyword(name).is_some_and(Keyword::opens_block)
}

/// The path of the top level.
pub const ROOT_PATH: &str = "ROOT";
