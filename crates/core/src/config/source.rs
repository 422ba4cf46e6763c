//! Texts, and places in them that survive expansion.
//!
//! All texts of a configuration share one range of offsets, so a place is two numbers. A text is either a file, or it
//! was made from one by expansion (`$NAME`, `~SEQ`, `~LST`); what was made remembers, piece by piece, where it came from,
//! and a place in it can be followed back to the line as somebody wrote it ([`Sources::written`]).

use std::cell::{Cell, OnceCell};

use elsa::FrozenVec;

/// A range of bytes of the [`Sources`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// From the beginning of this one to the end of another.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end.max(self.end) }
    }
}

/// A piece of a made text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    /// Where it begins in the made text.
    pub start: u32,
    /// Where it stands as written: itself if `verbatim`, else the reference that it replaces.
    pub origin: Span,
    /// Byte for byte as it stands at its origin?
    pub verbatim: bool,
    /// Where what replaces the reference is defined.
    pub definition: Option<Span>,
}

/// One text: a file, or what an expansion made.
#[derive(Debug)]
struct SourceText {
    start: u32,
    name: String,
    text: String,
    segments: Vec<Segment>,
    included_from: Option<Span>,
    /// Where each line begins; made when somebody asks for a line's number.
    line_starts: OnceCell<Vec<u32>>,
}

/// The place of something, as written in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenLocation {
    /// In a file.
    pub span: Span,
    /// The line that an expansion made of it, if one did.
    pub expanded_line: Option<String>,
    /// Where what it was replaced by is defined.
    pub definition: Option<Span>,
}

/// Every text of a configuration: the file itself, what it includes, and what was made of their lines.
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
    /// Adds a file. `name` is what diagnostics call it, `included` the word that named it in another file. `None` if all
    /// texts together would exceed 4 GiB.
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

    /// Adds what an expansion made.
    pub(crate) fn add_expanded(&self, text: String, pieces: Vec<Segment>) -> Option<(&str, u32)> {
        self.add(SourceText {
            start: 0,
            name: String::new(),
            text,
            segments: pieces,
            included_from: None,
            line_starts: OnceCell::new(),
        })
    }

    fn add(&self, mut text: SourceText) -> Option<(&str, u32)> {
        let start = self.end.get();
        // One byte between texts, so that no place belongs to two.
        let end = start.checked_add(u32::try_from(text.text.len()).ok()?)?.checked_add(1)?;
        text.start = start;
        self.end.set(end);
        Some((&self.texts.push_get(Box::new(text)).text, start))
    }

    /// Bytes in all texts.
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

    /// The name and the whole text of the file that a place is in, and where that text starts.
    pub fn containing_text(&self, span: Span) -> (&str, &str, u32) {
        self.text_at(span.start).map_or(("", "", 0), |t| (&t.name, &t.text, t.start))
    }

    /// The text at a place; empty if it spans two texts.
    pub fn text(&self, span: Span) -> &str {
        let Some(t) = self.text_at(span.start) else { return "" };
        t.text.get((span.start - t.start) as usize..span.end.saturating_sub(t.start) as usize).unwrap_or("")
    }

    /// The word that named the file which a place is in, if it was included.
    pub fn included_from(&self, span: Span) -> Option<Span> {
        self.text_at(span.start)?.included_from
    }

    /// How far a place's line is indented, in characters, if the place is the first on its line.
    pub(crate) fn line_indent(&self, span: Span) -> Option<usize> {
        let t = self.text_at(span.start)?;
        let before = t.text.get(..(span.start - t.start) as usize)?;
        let line = &before[before.rfind('\n').map_or(0, |n| n + 1)..];
        line.chars().all(char::is_whitespace).then(|| line.chars().count())
    }

    /// Follows a place back to the line as written.
    pub fn written_location(&self, span: Span) -> WrittenLocation {
        let mut out = WrittenLocation { span, expanded_line: None, definition: None };
        // Each step goes to a text that was there before, so this ends.
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

    /// File, line and column (both from 1; the column counts characters) of a place as written.
    pub fn position(&self, at: u32) -> (&str, usize, usize) {
        let Some(t) = self.text_at(at) else { return ("", 0, 0) };
        let at = (at - t.start).min(t.text.len() as u32);
        let line = t.line_number(at);
        let column = t.text.get(t.line_start(line)..at as usize).unwrap_or("").chars().count() + 1;
        (&t.name, line + 1, column)
    }

    /// The lines of a file that a place is in, from its first to its last and a few around them: where they begin in all
    /// texts, the number of the first, and their text.
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

    /// The number of the line that a byte is in, from 0.
    fn line_number(&self, at: u32) -> usize {
        self.line_starts().partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// Where a line begins; the end of the text for lines behind its last.
    fn line_start(&self, line: usize) -> usize {
        self.line_starts().get(line).map_or(self.text.len(), |start| *start as usize)
    }

    /// The piece that a byte is in.
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
