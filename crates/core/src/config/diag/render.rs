//! The output of a diagnostic: as text with the lines of the file, and as JSON.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use super::super::redact::Redactor;
use super::super::{Sources, Span};
use super::{Diagnostic, Severity};

/// Spans of one file that are closer than this number of bytes are shown in one snippet.
const SNIPPET_DISTANCE: u32 = 20_000;

/// A span as written in a file, with its kind and its label.
type LabelledSpan<'d> = (Span, AnnotationKind, &'d str);

impl Diagnostic {
    /// The text form: message, file, line, column, the lines with carets, and the help text.
    pub fn render(&self, sources: &Sources, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let expanded = sources.written_location(self.span).expanded_line;
        let redactor = Redactor::new(sources);
        let expanded =
            expanded.map(|line| format!("the line expands to `{}`", truncate_line(&redactor.redact_lines(&line))));
        let title = level.primary_title(self.message.as_str()).id(self.code);
        let mut group: Group<'_> = title.elements(snippets(self.labelled_spans(sources), sources, &redactor));
        if let Some(expanded) = &expanded {
            group = group.element(Level::NOTE.message(expanded.as_str()));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        format!("{}\n", renderer.render(&[group]))
    }

    /// All spans to show, the primary one first.
    fn labelled_spans(&self, sources: &Sources) -> Vec<LabelledSpan<'_>> {
        let written = |span: Span| sources.written_location(span).span;
        let primary = sources.written_location(self.span);
        let mut spans = vec![(primary.span, AnnotationKind::Primary, self.label.as_str())];
        spans.extend(self.notes.iter().map(|(span, text)| (written(*span), AnnotationKind::Context, text.as_str())));
        if let Some(definition) = primary.definition {
            spans.push((written(definition), AnnotationKind::Context, "the value is defined here"));
        }
        if let Some(include) = sources.included_from(primary.span) {
            spans.push((written(include), AnnotationKind::Context, "included from here"));
        }
        spans
    }

    /// The JSON form. Lines and columns count from 1, columns in characters; the end is exclusive.
    pub fn to_json(&self, sources: &Sources) -> serde_json::Value {
        let location = |span: Span| {
            let span = sources.written_location(span).span;
            let (file, line, column) = sources.position(span.start);
            let (_, end_line, end_column) = sources.position(span.end);
            serde_json::json!({
                "file": file, "line": line, "column": column, "end_line": end_line, "end_column": end_column,
            })
        };
        let mut v = location(self.span);
        let notes: Vec<_> = self
            .notes
            .iter()
            .map(|(span, text)| {
                let mut note = location(*span);
                note["text"] = text.as_str().into();
                note
            })
            .collect();
        v["severity"] = serde_json::json!(self.severity);
        v["code"] = self.code.into();
        v["message"] = self.message.as_str().into();
        v["label"] = self.label.as_str().into();
        v["help"] = self.help.as_deref().into();
        let expanded = sources.written_location(self.span).expanded_line;
        v["expanded"] = expanded.map(|line| Redactor::new(sources).redact_lines(&line).into_owned()).into();
        v["notes"] = notes.into();
        v
    }
}

/// The snippets that show the spans: one for spans that are near each other in one file.
fn snippets<'a>(
    mut spans: Vec<LabelledSpan<'a>>,
    sources: &'a Sources,
    redactor: &Redactor<'_>,
) -> Vec<Snippet<'a, Annotation<'a>>> {
    let mut snippets = Vec::new();
    while let Some(&(first, ..)) = spans.first() {
        let (name, _, start) = sources.containing_text(first);
        let is_near = |span: &Span| {
            sources.containing_text(*span).2 == start && span.start.abs_diff(first.start) < SNIPPET_DISTANCE
        };
        // Only these lines become the source of the snippet: the renderer searches all of it, which may be large.
        let covered = spans
            .iter()
            .map(|(span, ..)| span)
            .filter(|s| is_near(s))
            .fold(first, |all, s| Span { start: all.start.min(s.start), end: all.end.max(s.end) });
        let (start, line, text) = sources.lines_around(covered);
        let mut snippet = Snippet::source(redactor.redact_lines(text)).line_start(line).path(if name.is_empty() {
            None
        } else {
            Some(name)
        });
        spans.retain(|(span, kind, label)| {
            if !is_near(span) {
                return true;
            }
            let mut annotation = kind.span(byte_range(*span, start, text));
            if !label.is_empty() {
                annotation = annotation.label(*label);
            }
            snippet = std::mem::replace(&mut snippet, Snippet::source("")).annotation(annotation);
            false
        });
        snippets.push(snippet);
    }
    snippets
}

/// A span as a byte range of a text that starts at `start`, within the text and on character boundaries.
fn byte_range(span: Span, start: u32, text: &str) -> std::ops::Range<usize> {
    let clamp = |offset: u32| {
        let mut offset = (offset.saturating_sub(start) as usize).min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    };
    clamp(span.start)..clamp(span.end).max(clamp(span.start))
}

/// The first 120 characters of a line.
fn truncate_line(line: &str) -> String {
    match line.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or("")),
        None => line.to_owned(),
    }
}
