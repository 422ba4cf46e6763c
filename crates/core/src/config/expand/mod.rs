//! Files to the lines that they mean: includes, conditions, definitions, replacement and repetition.
//!
//! As keepalived's reader does it, before any keyword is looked at (keepalived.conf(5), "include", "conditional
//! configuration", "parameter substitution", "sequences"): a line is taken if its `@id` fits; `$NAME=` defines; `~SEQ`
//! and `~LST` repeat the rest of their line; `$NAME` and `${NAME}` are replaced, late, so that a definition may name what
//! is defined behind it; `include` reads other files. What comes out are lines with places that lead back to the text as
//! written (see [`Sources`]).

mod include;
mod repeat;
mod substitute;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::{Diagnostic, Options, Sources, Span};

/// Lines that expansion may make, and bytes: `~SEQ` inside `~SEQ` can ask for billions.
pub(crate) const MAX_LINES: usize = 1_000_000;
const MAX_BYTES: u32 = 256 << 20;
/// Findings of expansion after which it stops: a repetition can make the same mistake a million times.
const MAX_DIAGNOSTICS: usize = 1_000;
/// Definitions that stand in definitions, files in files, repetitions in repetitions.
const MAX_DEPTH: usize = 32;

/// What the lines of all files come to.
pub(crate) enum ExpandedItem<'a> {
    /// A line with something on it.
    Line {
        /// Without the blanks around it; comments and escapes are still there.
        text: &'a str,
        /// The place of its first byte.
        base: u32,
    },
    /// An included file begins.
    FileStart,
    /// It ends; the word that named it.
    FileEnd(Span),
}

/// What a name stands for.
enum Definition {
    /// Lines of a file, expanded when they are used.
    Lines(Vec<Span>),
    /// A value of `~SEQ` or `~LST`.
    Value(String),
}

/// The state of the reader.
pub(crate) struct Expander<'a, 'd> {
    sources: &'a Sources,
    environment: &'a dyn Environment,
    config_id: String,
    definitions: HashMap<String, Definition>,
    include_check: include::IncludeCheck,
    /// The files that are being read, outermost first.
    open_files: Vec<PathBuf>,
    random_state: u64,
    /// Turns of `~SEQ` and `~LST` so far.
    iterations: usize,
    limit_reached: bool,
    items: Vec<ExpandedItem<'a>>,
    diagnostics: &'d mut Vec<Diagnostic>,
}

/// Reads a file, already in `sources`, to its lines.
pub(crate) fn expand<'a>(
    sources: &'a Sources,
    environment: &'a dyn Environment,
    options: &Options,
    path: &Path,
    file: (&'a str, u32),
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<ExpandedItem<'a>> {
    let mut e = Expander {
        sources,
        environment,
        config_id: options.config_id.clone().unwrap_or_else(|| environment.host_name()),
        definitions: HashMap::new(),
        include_check: include::IncludeCheck::default(),
        open_files: vec![path.to_owned()],
        random_state: environment.random_seed(),
        iterations: 0,
        limit_reached: false,
        items: Vec::new(),
        diagnostics,
    };
    e.expand_file(file.0, file.1);
    e.items
}

/// A slice without the blanks around it, and the place where it begins.
fn trim(text: &str, base: u32) -> (&str, u32) {
    let from_start = text.trim_start();
    (from_start.trim_end(), base + (text.len() - from_start.len()) as u32)
}

fn text_span(text: &str, base: u32) -> Span {
    Span { start: base, end: base + text.len() as u32 }
}

/// A line up to its comment: `#` or `!` outside quotes, without a backslash before it.
fn strip_comment(line: &str) -> &str {
    let bytes = line.as_bytes();
    let (mut quoted, mut i) = (false, 0);
    while let Some(&b) = bytes.get(i) {
        match b {
            b'"' => quoted = !quoted,
            b'\\' if quoted && matches!(bytes.get(i + 1), Some(b'"' | b'\\')) => i += 1,
            b'\\' if !quoted && matches!(bytes.get(i + 1), Some(b'#' | b'!')) => i += 1,
            b'#' | b'!' if !quoted => return line.get(..i).unwrap_or(line),
            _ => {}
        }
        i += 1;
    }
    line
}

/// `$NAME=`: the name and what is behind the `=`.
fn parse_definition(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('$')?.split_once('=')?;
    substitute::is_name(name).then_some((name, value))
}

impl<'a> Expander<'a, '_> {
    fn report(&mut self, d: Diagnostic) {
        let at = d.span;
        if !self.diagnostics.contains(&d) {
            self.diagnostics.push(d);
        }
        if self.diagnostics.len() > MAX_DIAGNOSTICS {
            self.report_limit(at, "1,000 mistakes");
        }
    }

    /// Says once that expansion makes too much, and stops it.
    fn report_limit(&mut self, at: Span, what: &str) {
        if !self.limit_reached {
            self.limit_reached = true;
            self.diagnostics.push(
                Diagnostic::error("expansion-limit", at, format!("this expands to more than {what}"))
                    .label("expansion stops here")
                    .help("a shorter ~SEQ, or a definition that does not name itself"),
            );
        }
    }

    /// All lines of a text.
    fn expand_file(&mut self, text: &'a str, base: u32) {
        let (text, mut at) = match text.strip_prefix('\u{feff}') {
            None => (text, base),
            Some(rest) => {
                let mark = Span { start: base, end: base + 3 };
                self.report(
                    Diagnostic::warning("byte-order-mark", mark, "the file begins with a byte order mark")
                        .label("keepalived takes it for a part of the first word, and loses the first block")
                        .help("save the file as UTF-8 without it"),
                );
                (rest, base + 3)
            }
        };
        let mut lines = text.split('\n');
        while let Some(raw) = lines.next() {
            let here = at;
            at += raw.len() as u32 + 1;
            if self.limit_reached {
                return;
            }
            if raw.as_bytes().contains(&0) {
                let nul = raw.find('\0').unwrap_or(0) as u32;
                self.report(
                    Diagnostic::error(
                        "nul-byte",
                        Span { start: here + nul, end: here + nul + 1 },
                        "a NUL byte in a line",
                    )
                    .label("the line is left out"),
                );
                continue;
            }
            let (line, place) = trim(strip_comment(raw), here);
            let Some((line, place)) = self.strip_condition(line, place) else { continue };
            if let Some((name, value)) = parse_definition(line) {
                // A value goes on as long as its lines end in a backslash; the first may hold nothing else.
                let mut parts = Vec::new();
                let (mut part, mut part_at) = (value, place + (line.len() - value.len()) as u32);
                loop {
                    let (rest, goes_on) = part.strip_suffix('\\').map_or((part, false), |r| (r, true));
                    let (kept, kept_at) = trim(rest, part_at);
                    if !(kept.is_empty() && parts.is_empty() && goes_on) {
                        parts.push(text_span(kept, kept_at));
                    }
                    if !goes_on {
                        break;
                    }
                    let Some(next) = lines.next() else { break };
                    (part, part_at) = trim(strip_comment(next), at);
                    at += next.len() as u32 + 1;
                }
                self.definitions.insert(name.to_owned(), Definition::Lines(parts));
                continue;
            }
            self.expand_line(line, place, 0);
        }
    }

    /// Takes `@id` and `@^id` from the beginning of a line; `None` if the line is not for this machine.
    fn strip_condition<'t>(&self, line: &'t str, base: u32) -> Option<(&'t str, u32)> {
        let Some(rest) = line.strip_prefix('@') else { return Some((line, base)) };
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (id, behind) = rest.split_at(end);
        let fits = match id.strip_prefix('^') {
            Some(other) => other != self.config_id,
            None => !id.is_empty() && id == self.config_id,
        };
        fits.then(|| trim(behind, base + (line.len() - behind.len()) as u32))
    }

    /// A line that is neither left out nor a definition: repeated, replaced, included, or taken as it is.
    fn expand_line(&mut self, text: &'a str, base: u32, depth: usize) {
        if text.is_empty() || self.limit_reached {
            return;
        }
        if self.items.len() >= MAX_LINES || self.sources.total_size() > MAX_BYTES || depth > MAX_DEPTH {
            return self.report_limit(text_span(text, base), "1,000,000 lines");
        }
        if text.starts_with("~SEQ") || text.starts_with("~LST") {
            return self.expand_repetition(text, base, depth);
        }
        if text.contains('$')
            && let Some((made, start)) = self.substitute_line(text, base)
        {
            let mut at = start;
            for piece in made.split('\n') {
                let (piece_text, place) = trim(piece, at);
                self.emit_line(piece_text, place, depth + 1);
                at += piece.len() as u32 + 1;
            }
            return;
        }
        self.emit_line(text, base, depth);
    }

    /// A line in which nothing is left to replace.
    fn emit_line(&mut self, text: &'a str, base: u32, depth: usize) {
        if text.is_empty() || self.limit_reached {
            return;
        }
        if text.starts_with("~SEQ") || text.starts_with("~LST") {
            return self.expand_line(text, base, depth + 1);
        }
        if text.starts_with("inc") && self.try_include(text, base) {
            return;
        }
        if let Some(n) = text.strip_prefix("random_seed").and_then(|n| n.trim().parse().ok()) {
            self.random_state = n;
        }
        if self.items.len() >= MAX_LINES {
            return self.report_limit(text_span(text, base), "1,000,000 lines");
        }
        self.items.push(ExpandedItem::Line { text, base });
    }
}
