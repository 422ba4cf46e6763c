//! Diagnostics: what is wrong in a configuration file, where, and how to correct it.

mod render;

use serde::Serialize;

use super::Span;

/// What evenkeel does about a diagnostic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is rejected by `evenkeel check` and by a reload.
    Error,
    /// The file is accepted.
    Warning,
}

/// What keepalived does about it, and therefore what `evenkeeld -t` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeepalivedVerdict {
    /// Nothing: keepalived has no such diagnostic.
    Silent,
    /// It reports it, skips the affected statement, and starts. `-t` exits with status 5.
    Reports,
    /// It exits with this status: 2 for a missing argument, 4 for an unreadable file, 6 for a strict include.
    Exits(u8),
    /// It reports a script that is missing or unsafe. `-t` exits with status 6.
    ReportsScript,
}

/// A diagnostic of a configuration file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What keepalived does about it.
    pub verdict: KeepalivedVerdict,
    /// Whether the daemon does not start with the file, although keepalived would.
    pub blocks_start: bool,
    /// Its stable name, such as `unknown-keyword`; [`super::codes`] explains it.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where it is.
    pub span: Span,
    /// What is expected there, or what the consequence is.
    pub label: String,
    /// How to correct it.
    pub help: Option<String>,
    /// Related spans, each with a text.
    pub notes: Vec<(Span, String)>,
}

impl Diagnostic {
    fn new(
        severity: Severity,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        verdict: KeepalivedVerdict,
    ) -> Self {
        debug_assert!(super::codes::find(code).is_some(), "`{code}` is not explained in codes.rs");
        Diagnostic {
            severity,
            verdict,
            blocks_start: false,
            code,
            message: message.into(),
            span,
            label: String::new(),
            help: None,
            notes: Vec::new(),
        }
    }

    /// An error that keepalived reports as well.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic::new(Severity::Error, code, span, message, KeepalivedVerdict::Reports)
    }

    /// A warning about what keepalived reports too, and what is harmless.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic::new(Severity::Warning, code, span, message, KeepalivedVerdict::Reports)
    }

    /// A warning about what keepalived accepts without a message.
    pub fn lint(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic::new(Severity::Warning, code, span, message, KeepalivedVerdict::Silent)
    }

    /// An error about what keepalived accepts, what this version does not implement, and what would do harm if it were
    /// ignored. The daemon does not start with it.
    pub fn unsupported(span: Span, message: impl Into<String>) -> Self {
        let mut d = Diagnostic::new(Severity::Error, "not-supported", span, message, KeepalivedVerdict::Silent);
        d.blocks_start = true;
        d
    }

    /// Sets what keepalived does about it.
    pub fn verdict(mut self, verdict: KeepalivedVerdict) -> Self {
        self.verdict = verdict;
        self
    }

    /// Sets the label of the span.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the help text.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Suggests a word in the help text, if there is one.
    pub fn did_you_mean(self, word: Option<&str>) -> Self {
        match word {
            Some(w) => self.help(format!("did you mean `{w}`?")),
            None => self,
        }
    }

    /// Adds a related span.
    pub fn note(mut self, span: Span, text: impl Into<String>) -> Self {
        self.notes.push((span, text.into()));
        self
    }

    /// Whether keepalived would start with the file, and the daemon may do so too.
    pub fn keepalived_would_start(&self) -> bool {
        !self.blocks_start && !matches!(self.verdict, KeepalivedVerdict::Exits(_))
    }
}

/// The most similar candidate, if it is similar enough to be what was meant.
///
/// At most a third of the candidate's letters may differ. Of several equally similar ones the result is the first in
/// alphabetical order, so that it does not depend on the order of a hash map.
pub fn nearest_word<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance takes quadratic time, and a word of this length is not a typing error.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let max_distance = |c: &str| (c.len() / 3).max(1);
    candidates
        .into_iter()
        .filter(|c| c.len().abs_diff(word.len()) <= max_distance(c))
        .map(|c| (strsim::damerau_levenshtein(&word, &c.to_ascii_lowercase()), c))
        .filter(|&(distance, c)| distance <= max_distance(c))
        .min()
        .map(|(_, c)| c)
}
