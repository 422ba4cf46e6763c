//! Diagnostics of keywords: unknown, deprecated or without effect, with missing or extra words.

use super::{MAX_DIAGNOSTICS, Reader, abbreviate};
use crate::config::Diagnostic;
use crate::config::diag::{KeepalivedVerdict, Severity, nearest_word};
use crate::config::keywords::spec::MissingArgument;
use crate::config::keywords::{Block, Keyword, ROOT, Support, entries};
use crate::config::tree::Statement;

impl Reader<'_> {
    /// Reports a keyword of a block without the block.
    pub(super) fn report_missing_block(&mut self, st: &Statement<'_>) {
        let k = st.keyword();
        self.report(
            Diagnostic::error("missing-block", k.span, format!("`{}` needs a block", k.text))
                .label("expected `{` after it")
                .help(format!("write `{} {{ … }}`", st.words.iter().map(|w| &*w.text).collect::<Vec<_>>().join(" "))),
        );
    }

    /// Reports a keyword without the argument that it needs.
    pub(super) fn report_missing_argument(&mut self, k: &'static Keyword, st: &Statement<'_>) {
        let message = format!("`{}` needs an argument", k.name);
        let d = Diagnostic::error("missing-argument", st.keyword().span, message)
            .label("the value is missing")
            .help(format!("write `{} {}`", k.name, k.usage()));
        self.report(match k.missing_argument {
            MissingArgument::Exits => d.verdict(KeepalivedVerdict::Exits(2)),
            MissingArgument::Reports => d,
            MissingArgument::Accepts => {
                Diagnostic { severity: Severity::Warning, ..d.verdict(KeepalivedVerdict::Silent) }
            }
        });
    }

    /// Reports words before a brace that keepalived reports too, and returns false; `read` is the number of words
    /// allowed.
    pub(super) fn reject_extra_words(&mut self, st: &Statement<'_>, allowed: usize) -> bool {
        let Some(extra) = st.args().get(allowed) else { return true };
        let last = st.args().last().map_or(extra.span, |w| w.span);
        let d = Diagnostic::error(
            "extra-words",
            extra.span.to(last),
            format!("too many words after `{}`", st.keyword().text),
        );
        self.report(match allowed {
            0 => d.label("expected `{`"),
            _ => d.label("expected one name").help("put a name with blanks in quotes"),
        });
        false
    }

    /// Reports words after the first `read` arguments. keepalived ignores most of them silently, but a second keyword
    /// on the line is probably a mistake.
    pub(super) fn warn_extra_words(&mut self, st: &Statement<'_>, read: usize) {
        if let Some(extra) = st.args().get(read) {
            let last = st.args().last().map_or(extra.span, |w| w.span);
            let d = Diagnostic::lint(
                "extra-words",
                extra.span.to(last),
                format!("`{}` does not use these words", st.keyword().text),
            )
            .label("ignored")
            .help("put each keyword on a line of its own");
            // The keywords for which keepalived reports extra words.
            const REPORTED: [&str; 4] = ["umask", "kernel_rx_buf_size", "vrrp_rx_bufs_multiplier", "reload_time_file"];
            let reported = REPORTED.contains(&&*st.keyword().text);
            self.report(if reported { d.verdict(KeepalivedVerdict::Reports) } else { d });
        }
    }

    /// Reports a deprecated name, each time, and a keyword without full support, once.
    pub(super) fn report_support(&mut self, k: &'static Keyword, st: &Statement<'_>) {
        let span = st.keyword().span;
        if let Some(old) = k.deprecated.filter(|old| old.reported) {
            let message = format!("`{}` is a deprecated name", k.name);
            let d = Diagnostic::warning("deprecated", span, message).label("deprecated");
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
                Diagnostic::lint("not-in-force", span, format!("`{}` is accepted, but not implemented yet", k.name))
                    .label("no effect in this version")
                    .help(k.doc)
            }
            Support::Refused => {
                Diagnostic::unsupported(span, format!("`{}` is accepted, but not implemented yet", k.name))
                    .label("the file is rejected, because running without it would do harm")
                    .help(k.doc)
            }
            Support::NoEffect(reason) => {
                Diagnostic::lint("never-in-force", span, format!("`{}` is accepted, but has no effect here", k.name))
                    .label("no effect")
                    .help(reason)
            }
        };
        self.report(d);
    }

    /// Reports a word that is no keyword of its block, with the nearest keyword or the block where it belongs. Returns
    /// the keyword that was probably meant.
    pub(super) fn report_unknown_keyword(&mut self, block: &'static Block, st: &Statement<'_>) -> Option<&'static str> {
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
                d.help(format!("`{}` belongs to {first}{more}; check for a missing or an extra `}}` above", word.text))
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

/// Help for keywords of old tutorials that current versions of keepalived do not have.
fn removed_keyword_help(word: &str) -> Option<&'static str> {
    Some(match word {
        "lvs_id" => "keepalived dropped it after 1.1.7; write `router_id`",
        "plugin_dir" | "nat_mask" => "keepalived dropped it after 1.2.19; remove it",
        "CI-LINUX" => "keepalived dropped it after 1.1.4; remove it",
        _ => return None,
    })
}
