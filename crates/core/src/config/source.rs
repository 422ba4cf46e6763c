//! The source map: all texts of a configuration, and locations in them that survive expansion.
//!
//! All texts share one range of offsets, so a location is two numbers ([`Span`]). A text is a file, or expansion has
//! made it from one (`$NAME`, `~SEQ`, `~LST`). An expanded text keeps, segment by segment, where it comes from, so that
//! [`Sources::written_location`] can follow a location back to the line of the file.

use std::cell::{Cell, OnceCell};

use elsa::FrozenVec;

/// A range of bytes in [`Sources`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// From the beginning of this span to the end of `other`.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end.max(self.end) }
    }
}

/// A segment of an expanded text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    /// Its first byte in the expanded text.
    pub start: u32,
    /// Where it comes from: its own text if `verbatim`, or else the reference that it replaces.
    pub origin: Span,
    /// Whether it is the text at its origin, byte for byte.
    pub verbatim: bool,
    /// Where the text that replaces the reference is defined.
    pub definition: Option<Span>,
}

/// A file, or a text that expansion has made.
#[derive(Debug)]
struct SourceText {
    start: u32,
    name: String,
    text: String,
    segments: Vec<Segment>,
    included_from: Option<Span>,
    /// The offset of each line, computed when a line number is needed.
    line_starts: OnceCell<Vec<u32>>,
}

/// A location as written in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenLocation {
    /// The location in the file.
    pub span: Span,
    /// The line that expansion made of it, if it did.
    pub expanded_line: Option<String>,
    /// The definition of the reference at this location.
    pub definition: Option<Span>,
}

/// All texts of a configuration: the file, the files that it includes, and the lines that expansion makes.
#[derive(Default)]
pub struct Sources {
    texts: FrozenVec<Box<SourceText>>,
    end: Cell<u32>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.texts.iter().map(|t| &t.name)).finish()
    }
}

impl Sources {
    /// Adds a file, and returns its text and its first offset. `name` is shown in diagnostics; `included` is the word
    /// in another file that names it. `None` if all texts together would exceed 4 GiB.
    pub(crate) fn add_file(&self, name: &str, text: String, included: Option<Span>) -> Option<(&str, u32)> {
        self.add(SourceText {
            start: 0,
            name: name.to_owned(),
            text,
            segments: Vec::new(),
            included_from: included,
            line_starts: OnceCell::new(),
        })
    }

    /// Adds a text that expansion has made of `segments`. `None` as for [`Sources::add_file`].
    pub(crate) fn add_expanded(&self, text: String, segments: Vec<Segment>) -> Option<(&str, u32)> {
        self.add(SourceText {
            start: 0,
            name: String::new(),
            text,
            segments,
            included_from: None,
            line_starts: OnceCell::new(),
        })
    }

    fn add(&self, mut text: SourceText) -> Option<(&str, u32)> {
        let start = self.end.get();
        // One byte between texts, so that no location belongs to two of them.
        let end = start.checked_add(u32::try_from(text.text.len()).ok()?)?.checked_add(1)?;
        text.start = start;
        self.end.set(end);
        Some((&self.texts.push_get(Box::new(text)).text, start))
    }

    /// The size of all texts in bytes.
    pub(crate) fn total_size(&self) -> u32 {
        self.end.get()
    }

    fn text_at(&self, offset: u32) -> Option<&SourceText> {
        let (mut low, mut high) = (0, self.texts.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.texts.get(middle)?.start <= offset { low = middle + 1 } else { high = middle }
        }
        self.texts.get(low.checked_sub(1)?)
    }

    /// Name, text and first offset of the text that a location is in.
    pub fn containing_text(&self, span: Span) -> (&str, &str, u32) {
        self.text_at(span.start).map_or(("", "", 0), |t| (&t.name, &t.text, t.start))
    }

    /// The text at a location; empty if it is not inside one text.
    pub fn text(&self, span: Span) -> &str {
        let Some(t) = self.text_at(span.start) else { return "" };
        t.text.get((span.start - t.start) as usize..span.end.saturating_sub(t.start) as usize).unwrap_or("")
    }

    /// The line of a location.
    pub(crate) fn line(&self, span: Span) -> &str {
        let Some(t) = self.text_at(span.start) else { return "" };
        let line = t.line_number((span.start - t.start).min(t.text.len() as u32));
        t.text.get(t.line_start(line)..t.line_start(line + 1)).unwrap_or("").trim_end_matches(['\r', '\n'])
    }

    /// All texts.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|t| t.text.as_str())
    }

    /// The word that includes the file of a location; `None` for the main file.
    pub fn included_from(&self, span: Span) -> Option<Span> {
        self.text_at(span.start)?.included_from
    }

    /// The indentation of a location in characters; `None` if other text precedes it on its line.
    pub(crate) fn line_indent(&self, span: Span) -> Option<usize> {
        let t = self.text_at(span.start)?;
        let before = t.text.get(..(span.start - t.start) as usize)?;
        let line = &before[before.rfind('\n').map_or(0, |n| n + 1)..];
        line.chars().all(char::is_whitespace).then(|| line.chars().count())
    }

    /// Follows a location back to the file in which it is written.
    pub fn written_location(&self, span: Span) -> WrittenLocation {
        let mut out = WrittenLocation { span, expanded_line: None, definition: None };
        // Each step leads to a text that was added earlier, so the loop ends.
        while let Some(t) = self.text_at(out.span.start)
            && !t.segments.is_empty()
        {
            let line = |at: u32| {
                let at = (at as usize).min(t.text.len());
                let from = t.text.get(..at).and_then(|s| s.rfind('\n')).map_or(0, |n| n + 1);
                t.text.get(from..).and_then(|s| s.lines().next()).unwrap_or("").trim().to_owned()
            };
            let (start, end) = (out.span.start - t.start, out.span.end.saturating_sub(t.start));
            out.expanded_line.get_or_insert_with(|| line(start));
            let (first, last) = (t.segment_at(start), t.segment_at(end.saturating_sub(1).max(start)));
            out.definition = out.definition.or(first.definition).or(last.definition);
            let from = first.origin.start + if first.verbatim { start - first.start } else { 0 };
            let to = if last.verbatim { last.origin.start + (end - last.start) } else { last.origin.end };
            out.span = Span { start: from, end: to.max(from) };
        }
        out
    }

    /// File name, line and column of an offset in a file; line and column count from 1, the column in characters.
    pub fn position(&self, at: u32) -> (&str, usize, usize) {
        let Some(t) = self.text_at(at) else { return ("", 0, 0) };
        let at = (at - t.start).min(t.text.len() as u32);
        let line = t.line_number(at);
        let column = t.text.get(t.line_start(line)..at as usize).unwrap_or("").chars().count() + 1;
        (&t.name, line + 1, column)
    }

    /// The lines of a location and one line before and after them: the offset of the first line, its number from 1, and
    /// the text.
    pub(crate) fn lines_around(&self, span: Span) -> (u32, usize, &str) {
        let Some(t) = self.text_at(span.start) else { return (0, 1, "") };
        let inside = |at: u32| (at.saturating_sub(t.start)).min(t.text.len() as u32);
        let first = t.line_number(inside(span.start)).saturating_sub(1);
        let from = t.line_start(first);
        let to = t.line_start(t.line_number(inside(span.end)) + 2);
        (t.start + from as u32, first + 1, t.text.get(from..to).unwrap_or(""))
    }
}

impl SourceText {
    fn line_starts(&self) -> &[u32] {
        self.line_starts.get_or_init(|| {
            let ends = self.text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
            std::iter::once(0).chain(ends.map(|(n, _)| n as u32 + 1)).collect()
        })
    }

    /// The number, from 0, of the line of an offset in this text.
    fn line_number(&self, at: u32) -> usize {
        self.line_starts().partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// The offset of a line in this text; its end for lines after the last.
    fn line_start(&self, line: usize) -> usize {
        self.line_starts().get(line).map_or(self.text.len(), |start| *start as usize)
    }

    /// The segment of an offset in this text.
    fn segment_at(&self, at: u32) -> Segment {
        let n = self.segments.partition_point(|p| p.start <= at);
        self.segments.get(n.saturating_sub(1)).copied().unwrap_or(Segment {
            start: 0,
            origin: Span::default(),
            verbatim: false,
            definition: None,
        })
    }
}
