//! The keywords of `global_defs`, by subject.

mod daemon;
mod lvs;
mod notifications;
mod process;
mod vrrp;

use super::spec::Block;

pub(crate) static GLOBAL_DEFS: Block = Block {
    path: "global_defs",
    keywords: &[daemon::KEYWORDS, notifications::KEYWORDS, vrrp::KEYWORDS, lvs::KEYWORDS, process::KEYWORDS],
};
