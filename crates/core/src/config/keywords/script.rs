//! `vrrp_script`

use std::time::Duration;

use super::global::{timer, user_group};
use super::{Cx, Keyword, block, walk};
use crate::config::args::{choice, first, no_more, number, one, script_words, signed};
use crate::config::tree::{Statement, Word};
use crate::config::{Diagnostic, Span};

/// A `vrrp_script` before its defaults.
pub(crate) struct ScriptDraft {
    pub name: String,
    pub at: Span,
    pub argv: Vec<String>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub weight: i16,
    pub reverse: bool,
    pub rise: u32,
    pub fall: u32,
    pub user: Option<(String, Option<String>)>,
    pub init_fail: bool,
}

/// `N [reverse|noreverse]`, as in `weight` and in tracking blocks.
pub(crate) fn weight(cx: &mut Cx<'_>, words: &[Word]) -> Option<(i16, bool)> {
    let n = signed(cx, words.first()?, -253, 253)? as i16;
    let reverse = match words.get(1) {
        None => false,
        Some(w) => choice(cx, w, "word", &[("reverse", true), ("noreverse", false)])?,
    };
    Some((n, reverse))
}

pub(crate) fn read(cx: &mut Cx<'_>, st: &Statement) -> Option<ScriptDraft> {
    let name = one(cx, st)?;
    let mut d = ScriptDraft {
        name: name.text.clone(),
        at: name.span,
        argv: Vec::new(),
        interval: None,
        timeout: None,
        weight: 0,
        reverse: false,
        rise: 1,
        fall: 1,
        user: None,
        init_fail: false,
    };
    let b = block(cx, st)?;
    walk(cx, "vrrp_script", &[TABLE], &mut d, b);
    if d.argv.is_empty() {
        cx.push(
            Diagnostic::error("missing-keyword", name.span, format!("vrrp_script `{}` has no `script`", name.text))
                .label("what is it to run?"),
        );
        return None;
    }
    Some(d)
}

const DAY_US: u64 = 86_400_000_000;

fn counter(cx: &mut Cx<'_>, st: &Statement) -> Option<u32> {
    let w = one(cx, st)?;
    number(cx, w, 1, i32::MAX as u64).map(|n| n as u32)
}

pub(crate) const TABLE: &[Keyword<ScriptDraft>] = &[
    Keyword {
        name: "script",
        args: "PATH|\"PATH ARGUMENT…\"",
        doc: "What is run; its exit status 0 is success.",
        since: "v1.1.13",
        parse: |cx, d, st| {
            if let Some(w) = first(cx, st) {
                d.argv = script_words(w, &st.args()[1..]);
                if d.argv.first().is_some_and(|p| !p.starts_with('/')) {
                    cx.push(
                        Diagnostic::error("script-path", w.span, "a script needs its whole path")
                            .label("does not begin with `/`"),
                    );
                }
            }
        },
    },
    Keyword {
        name: "interval",
        args: "SECONDS",
        doc: "From one start to the next.",
        since: "v1.1.13",
        parse: |cx, d, st| d.interval = timer(cx, st, 1000, DAY_US),
    },
    Keyword {
        name: "timeout",
        args: "SECONDS",
        doc: "A run that takes longer has failed; the interval if not set.",
        since: "v1.2.6",
        parse: |cx, d, st| d.timeout = timer(cx, st, 1000, DAY_US),
    },
    Keyword {
        name: "weight",
        args: "-253..253 [reverse|noreverse]",
        doc: "Added to the priority while it succeeds (positive) or fails (negative); 0: FAULT while it fails.",
        since: "v1.1.13",
        parse: |cx, d, st| {
            if first(cx, st).is_some()
                && let Some((w, r)) = weight(cx, st.args())
            {
                (d.weight, d.reverse) = (w, r);
            }
        },
    },
    Keyword {
        name: "rise",
        args: "N",
        doc: "Successes in a row that make it good.",
        since: "v1.1.18",
        parse: |cx, d, st| d.rise = counter(cx, st).unwrap_or(1),
    },
    Keyword {
        name: "fall",
        args: "N",
        doc: "Failures in a row that make it bad.",
        since: "v1.1.18",
        parse: |cx, d, st| d.fall = counter(cx, st).unwrap_or(1),
    },
    Keyword {
        name: "user",
        args: "USER [GROUP]",
        doc: "Who runs it.",
        since: "v1.3.0",
        parse: |cx, d, st| d.user = user_group(cx, st),
    },
    Keyword {
        name: "init_fail",
        args: "",
        doc: "It counts as failed until it has succeeded.",
        since: "v1.3.2",
        parse: |cx, d, st| {
            no_more(cx, st.args(), st);
            d.init_fail = true;
        },
    },
];
