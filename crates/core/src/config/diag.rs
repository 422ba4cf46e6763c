//! Diagnostics: what is wrong, where, and how to mend it.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::{Sources, Span};

/// What our own judgement of it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is not right; `evenkeel check` and a reload refuse it.
    Error,
    /// The file is used.
    Warning,
}

/// What keepalived does about it, and so what `evenkeeld -t` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeepalivedVerdict {
    /// Nothing: the finding is ours alone.
    Silent,
    /// It reports, leaves out what is wrong, and starts; `-t` exits with 5.
    Reports,
    /// It exits at once with this status: 2 a missing parameter, 4 an unreadable file, 6 a strict include.
    Exits(u8),
    /// It reports, and `-t` exits with 6: a script that is missing or not safe.
    ReportsScript,
}

/// One finding in a configuration file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// keepalived's view of it.
    pub verdict: KeepalivedVerdict,
    /// May a daemon not start with it, although keepalived would?
    pub blocks_start: bool,
    /// Stable name, as `unknown-keyword`; [`super::codes`] explains each.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What belongs at that place.
    pub label: String,
    /// How to mend it.
    pub help: Option<String>,
    /// Other places that have to do with it, and why.
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

    /// What keepalived reports as well.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic::new(Severity::Error, code, span, message, KeepalivedVerdict::Reports)
    }

    /// What keepalived reports, and what is harmless.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic::new(Severity::Warning, code, span, message, KeepalivedVerdict::Reports)
    }

    /// What keepalived is silent about.
    pub fn lint(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic::new(Severity::Warning, code, span, message, KeepalivedVerdict::Silent)
    }

    /// What this version cannot do, and could not leave undone without harm: keepalived accepts it, we refuse.
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

    /// Says what belongs there.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Says how to mend it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Proposes a word, if there is one.
    pub fn did_you_mean(self, word: Option<&str>) -> Self {
        match word {
            Some(w) => self.help(format!("did you mean `{w}`?")),
            None => self,
        }
    }

    /// Points at a second place.
    pub fn note(mut self, span: Span, text: impl Into<String>) -> Self {
        self.notes.push((span, text.into()));
        self
    }

    /// Would keepalived start all the same?
    pub fn keepalived_would_start(&self) -> bool {
        !self.blocks_start && !matches!(self.verdict, KeepalivedVerdict::Exits(_))
    }

    /// As a person reads it: file, line, column, the line itself and a caret.
    pub fn render(&self, sources: &Sources, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let written = sources.written_location(self.span);
        // Places in one file share a snippet; others get their own.
        let mut places = vec![(written.span, AnnotationKind::Primary, self.label.as_str())];
        for (span, text) in &self.notes {
            places.push((sources.written_location(*span).span, AnnotationKind::Context, text.as_str()));
        }
        if let Some(defined) = written.definition {
            places.push((
                sources.written_location(defined).span,
                AnnotationKind::Context,
                "what replaces it stands here",
            ));
        }
        if let Some(from) = sources.included_from(written.span) {
            places.push((sources.written_location(from).span, AnnotationKind::Context, "included from here"));
        }
        let title = level.primary_title(self.message.as_str()).id(self.code);
        let mut snippets = Vec::new();
        while let Some(&(first, ..)) = places.first() {
            let (name, _, start) = sources.containing_text(first);
            let near = |span: &Span| {
                sources.containing_text(*span).2 == start && span.start.abs_diff(first.start) < SNIPPET_DISTANCE
            };
            // Only the lines that are shown: a large file is not looked through again for each finding.
            let all = places
                .iter()
                .map(|(span, ..)| span)
                .filter(|s| near(s))
                .fold(first, |all, s| Span { start: all.start.min(s.start), end: all.end.max(s.end) });
            let (start, line, text) = sources.lines_around(all);
            let mut snippet =
                Snippet::source(text).line_start(line).path(if name.is_empty() { None } else { Some(name) });
            places.retain(|(span, kind, label)| {
                if !near(span) {
                    return true;
                }
                let mut a = kind.span(byte_range(*span, start, text));
                if !label.is_empty() {
                    a = a.label(*label);
                }
                snippet = std::mem::replace(&mut snippet, Snippet::source("")).annotation(a);
                false
            });
            snippets.push(snippet);
        }
        let mut group: Group<'_> = title.elements(snippets);
        let became = written.expanded_line.map(|b| format!("the line became `{}`", truncate_line(&b)));
        if let Some(b) = &became {
            group = group.element(Level::NOTE.message(b.as_str()));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        format!("{}\n", renderer.render(&[group]))
    }

    /// As a program reads it. Lines and columns count from 1, columns in characters.
    pub fn to_json(&self, sources: &Sources) -> serde_json::Value {
        let written = sources.written_location(self.span);
        let place = |span: Span| {
            let span = sources.written_location(span).span;
            let (file, line, column) = sources.position(span.start);
            let (_, end_line, end_column) = sources.position(span.end);
            serde_json::json!({
                "file": file, "line": line, "column": column, "end_line": end_line, "end_column": end_column,
            })
        };
        let mut v = place(self.span);
        let notes: Vec<_> = self
            .notes
            .iter()
            .map(|(span, text)| {
                let mut n = place(*span);
                n["text"] = text.as_str().into();
                n
            })
            .collect();
        v["severity"] = serde_json::json!(self.severity);
        v["code"] = self.code.into();
        v["message"] = self.message.as_str().into();
        v["label"] = self.label.as_str().into();
        v["help"] = self.help.as_deref().into();
        v["expanded"] = written.expanded_line.into();
        v["notes"] = notes.into();
        v
    }
}

/// Places less than so many bytes apart are shown in one piece.
const SNIPPET_DISTANCE: u32 = 20_000;

/// A place as a range of its file's bytes, on character boundaries and within the text.
fn byte_range(span: Span, start: u32, text: &str) -> std::ops::Range<usize> {
    let clamp = |at: u32| {
        let mut at = (at.saturating_sub(start) as usize).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    clamp(span.start)..clamp(span.end).max(clamp(span.start))
}

/// At most 120 characters of a line.
fn truncate_line(line: &str) -> String {
    match line.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or("")),
        None => line.to_owned(),
    }
}

/// The nearest of some words, if one is near enough to be meant.
pub fn nearest_word<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A word of kilobytes is not a slip of the finger, and its distance costs its length squared.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let near = |c: &str| (c.len() / 3).max(1);
    candidates
        .into_iter()
        .filter(|c| c.len().abs_diff(word.len()) <= near(c))
        .map(|c| (strsim::damerau_levenshtein(&word, &c.to_ascii_lowercase()), c))
        .filter(|&(d, c)| d <= near(c))
        .min() // of two equally near the first by name, so that a file is always told of in the same words
        .map(|(_, c)| c)
}
