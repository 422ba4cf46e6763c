//! Words: choices, booleans, names, paths, and helpers for options of the form `NAME VALUE`.

use super::{Reader, abbreviate};
use crate::config::diag::{KeepalivedVerdict, nearest_word};
use crate::config::keywords::Keyword;
use crate::config::lex::Word;
use crate::config::tree::Statement;
use crate::config::value::Value;
use crate::config::{Diagnostic, Span};

/// Words as they are.
pub(super) fn words_value(words: &[Word<'_>]) -> Value {
    Value::Words(words.iter().map(|w| w.text.clone().into_owned()).collect())
}

impl Reader<'_> {
    /// `on`, `true`, `yes`, `off`, `false` or `no`.
    pub(super) fn read_boolean(&mut self, w: &Word<'_>) -> Option<bool> {
        match &*w.text {
            "on" | "true" | "yes" => Some(true),
            "off" | "false" | "no" => Some(false),
            other => {
                let lower = other.to_ascii_lowercase();
                let near = ["on", "true", "yes", "off", "false", "no"].into_iter().find(|n| *n == lower);
                self.report(
                    Diagnostic::error("not-a-boolean", w.span, format!("`{}` is not a boolean", abbreviate(w)))
                        .label("expected on, off, true, false, yes or no")
                        .did_you_mean(near),
                );
                None
            }
        }
    }

    /// One of `words`, in any case if `any_case` is set. Returns it as `words` spells it.
    pub(super) fn read_choice(
        &mut self,
        w: &Word<'_>,
        words: &'static [&'static str],
        any_case: bool,
    ) -> Option<&'static str> {
        let same = |n: &&&str| **n == w.text || (any_case && n.eq_ignore_ascii_case(&w.text));
        if let Some(found) = words.iter().find(same) {
            return Some(found);
        }
        let list = match words {
            [only] => format!("`{only}`"),
            [start @ .., last] => format!("{} or {last}", start.join(", ")),
            [] => String::new(),
        };
        self.report(
            Diagnostic::error("unknown-value", w.span, format!("unknown value `{}`", abbreviate(w)))
                .label(format!("expected {list}"))
                .did_you_mean(nearest_word(&w.text, words.iter().copied())),
        );
        None
    }

    /// The name of an interface: 1 to 15 bytes without slashes and colons, neither `.` nor `..` (dev_valid_name() of
    /// Linux).
    pub(super) fn read_interface_name(&mut self, w: &Word<'_>) -> Option<String> {
        let name = &w.text;
        if name.is_empty() || name.len() > 15 || name.contains(['/', ':']) || *name == "." || *name == ".." {
            self.report(
                Diagnostic::error(
                    "not-an-interface",
                    w.span,
                    format!("`{}` is not a valid interface name", abbreviate(w)),
                )
                .label("expected 1 to 15 characters without `/` and `:`"),
            );
            return None;
        }
        Some(name.clone().into_owned())
    }

    /// `NAME [PORT]` or `srv NAME`, an extension of evenkeel. `None` if it is an address: a host name has a dot, and a
    /// letter in its last label.
    pub(super) fn read_host_name(&mut self, st: &Statement<'_>) -> Option<Value> {
        let first = st.args().first()?;
        let (word, srv) = match st.args().get(1) {
            Some(name) if first.text == "srv" => (name, true),
            _ => (first, false),
        };
        let is_label = |l: &str| {
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !l.is_empty() && l.len() < 64 && l.chars().all(is_allowed)
        };
        let text = word.text.strip_suffix('.').unwrap_or(&word.text);
        let has_letter = text.rsplit('.').next().is_some_and(|l| l.chars().any(|c| c.is_ascii_alphabetic()));
        if !has_letter || !text.contains('.') || text.len() > 253 || !text.split('.').all(is_label) {
            return None;
        }
        let port = match st.args().get(1).filter(|_| !srv) {
            None => None,
            Some(p) => Some(self.read_unsigned(p, 1, 65535)? as u16),
        };
        self.warn_extra_words(st, 2);
        Some(Value::Host(text.to_owned(), port, srv))
    }

    /// A domain name: labels of 1 to 63 bytes, 253 in all (RFC 1035, 2.3.4). A lone dot is the root.
    pub(super) fn read_dns_name(&mut self, w: &Word<'_>) -> Option<Value> {
        let name = w.text.strip_suffix('.').unwrap_or(&w.text);
        let is_invalid = !name.is_empty() && name.split('.').any(|l| l.is_empty() || l.len() > 63);
        if is_invalid || name.len() > 253 {
            let d = Diagnostic::error("not-a-domain", w.span, format!("`{}` is not a domain name", abbreviate(w)));
            self.report(d.label("expected labels of 1 to 63 characters, 253 in all"));
            return None;
        }
        Some(Value::Text(w.text.clone().into_owned()))
    }

    /// The name of a process; more than 15 characters are cut (TASK_COMM_LEN of Linux).
    pub(super) fn read_process_name(&mut self, st: &Statement<'_>, w: &Word<'_>) -> Value {
        self.warn_extra_words(st, 1);
        if w.text.len() > 15 {
            let d = Diagnostic::warning("name-length", w.span, "a process name has at most 15 characters");
            self.report(d.label(format!("{} characters; the rest is cut off", w.text.len())));
        }
        Value::Text(w.text.clone().into_owned())
    }

    /// A path that begins with `/`. For `reload_time_file`, keepalived accepts any path.
    pub(super) fn read_absolute_path(&mut self, k: &Keyword, st: &Statement<'_>, w: &Word<'_>) -> Option<Value> {
        self.warn_extra_words(st, 1);
        if !w.text.starts_with('/') {
            let message = format!("`{}` is not an absolute path", abbreviate(w));
            if k.name != "reload_time_file" {
                let d = Diagnostic::error("not-a-path", w.span, message);
                self.report(d.label("expected a path that begins with `/`"));
                return None;
            }
            let d = Diagnostic::lint("not-a-path", w.span, message);
            self.report(d.label("it depends on the directory in which the daemon is started"));
        }
        Some(Value::Text(w.text.clone().into_owned()))
    }

    /// The words of `include_check`, which `expand` has acted on.
    pub(super) fn read_include_check(&mut self, st: &Statement<'_>) -> Value {
        const CHECKS: &[&str] = &["read", "match", "wildcard_match", "brace_match"];
        for w in st.args() {
            let name = w.text.strip_prefix(['+', '-']).unwrap_or(&w.text);
            if !CHECKS.contains(&name) {
                let near = nearest_word(name, CHECKS.iter().copied());
                self.report_unknown_word(w.span, &w.text, "in include_check", &CHECKS.join(", "), near);
            }
        }
        words_value(st.args())
    }

    /// The word after the option `name`. keepalived exits with 2 if it is missing.
    pub(super) fn next_argument<'w, 't>(
        &mut self,
        name: &Word<'_>,
        rest: &mut std::slice::Iter<'w, Word<'t>>,
    ) -> Option<&'w Word<'t>> {
        let next = rest.next();
        if next.is_none() {
            self.report(
                Diagnostic::error("missing-argument", name.span, format!("`{}` needs a value", abbreviate(name)))
                    .label("the value is missing")
                    .verdict(KeepalivedVerdict::Exits(2)),
            );
        }
        next
    }

    /// Reports a word that is not allowed where it is. `place` says where, `near` is the word that was probably meant.
    pub(super) fn report_unknown_word(
        &mut self,
        span: Span,
        word: &str,
        place: &str,
        expected: &str,
        near: Option<&str>,
    ) {
        let short: String = word.chars().take(60).collect();
        self.report(
            Diagnostic::error("unknown-word", span, format!("unknown word `{short}` {place}"))
                .label(format!("expected {expected}"))
                .did_you_mean(near),
        );
    }
}
