//! The expansion stage: files to lines, with includes, conditions, definitions, substitution and repetition.
//!
//! It works as keepalived's reader does before it looks at any keyword (keepalived.conf(5), "include", "conditional
//! configuration", "parameter substitution", "sequences"):
//!
//! - a line that begins with `@id` is kept if the id matches this machine;
//! - `$NAME=value` defines a name, and `$NAME` or `${NAME}` stands for its value (`substitute.rs`). Substitution
//!   happens when a line is used, so a definition may refer to names that are defined after it;
//! - `~SEQ` and `~LST` repeat the rest of their line (`repeat.rs`);
//! - `include` reads other files (`include.rs`).
//!
//! The locations of the lines lead back to the file as written (see [`Sources`]).

mod include;
mod repeat;
mod substitute;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::{Diagnostic, Options, Sources, Span};

/// The most lines that expansion makes: nested `~SEQ` could ask for billions.
pub(crate) const MAX_LINES: usize = 1_000_000;
/// The most bytes of all texts, files included.
const MAX_BYTES: u32 = 256 << 20;
/// The number of diagnostics after which expansion stops: a repetition could repeat one mistake a million times.
const MAX_DIAGNOSTICS: usize = 1_000;
/// The deepest nesting of definitions, of included files and of repetitions.
const MAX_DEPTH: usize = 32;

/// A line, or the boundary of an included file.
pub(crate) enum ExpandedItem<'a> {
    /// A line that is not empty.
    Line {
        /// Its text without surrounding blanks and without the comments of the file. Escapes are still there, and so is
        /// a `#` that a substitution made.
        text: &'a str,
        /// The offset of its first byte.
        base: u32,
    },
    /// An included file begins.
    FileStart,
    /// The included file ends; the location of the word that names it.
    FileEnd(Span),
}

/// What a name stands for.
enum Definition {
    /// Lines of a file, which are expanded when the name is used.
    Lines(Vec<Span>),
    /// A value of `~SEQ` or `~LST`.
    Value(String),
}

/// The state of the expansion stage.
pub(crate) struct Expander<'a, 'd> {
    sources: &'a Sources,
    environment: &'a dyn Environment,
    /// What `@id` is compared with.
    config_id: String,
    definitions: HashMap<String, Definition>,
    include_check: include::IncludeCheck,
    /// The files that are being read, the outermost first.
    open_files: Vec<PathBuf>,
    /// The state of the random number generator of `${_RANDOM}`.
    random_state: u64,
    /// The number of iterations of `~SEQ` and `~LST` so far.
    iterations: usize,
    /// Whether a limit is exceeded and reported; nothing more is expanded then.
    limit_reached: bool,
    items: Vec<ExpandedItem<'a>>,
    diagnostics: &'d mut Vec<Diagnostic>,
}

/// Expands a file. `file` is its text and first offset in `sources`.
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

/// A text without surrounding blanks, and its offset.
fn trim(text: &str, base: u32) -> (&str, u32) {
    let from_start = text.trim_start();
    (from_start.trim_end(), base + (text.len() - from_start.len()) as u32)
}

fn text_span(text: &str, base: u32) -> Span {
    Span { start: base, end: base + text.len() as u32 }
}

/// A line up to its comment: `#` or `!` outside quotes and without a backslash before it.
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

/// The name and the value of `$NAME=VALUE`.
fn parse_definition(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('$')?.split_once('=')?;
    substitute::is_name(name).then_some((name, value))
}

/// The lines of a definition's value. It continues as long as its lines end in a backslash; the first line may be empty
/// but for it. `at` is the offset of the line that `lines` returns next.
fn definition_lines<'t>(
    (mut part, mut part_at): (&'t str, u32),
    lines: &mut std::str::Split<'t, char>,
    at: &mut u32,
) -> Vec<Span> {
    let mut parts = Vec::new();
    loop {
        let (rest, continues) = part.strip_suffix('\\').map_or((part, false), |r| (r, true));
        let (kept, kept_at) = trim(rest, part_at);
        if !(kept.is_empty() && parts.is_empty() && continues) {
            parts.push(text_span(kept, kept_at));
        }
        if !continues {
            return parts;
        }
        let Some(next) = lines.next() else { return parts };
        (part, part_at) = trim(strip_comment(next), *at);
        *at += next.len() as u32 + 1;
    }
}

impl<'a> Expander<'a, '_> {
    /// Adds a diagnostic, unless the same is there already.
    fn report(&mut self, d: Diagnostic) {
        let at = d.span;
        if !self.diagnostics.contains(&d) {
            self.diagnostics.push(d);
        }
        if self.diagnostics.len() > MAX_DIAGNOSTICS {
            self.report_limit(at, "1,000 diagnostics");
        }
    }

    /// Reports once that expansion exceeds a limit, and stops it.
    fn report_limit(&mut self, span: Span, limit: &str) {
        if !self.limit_reached {
            self.limit_reached = true;
            self.diagnostics.push(
                Diagnostic::error("expansion-limit", span, format!("this expands to more than {limit}"))
                    .label("expansion stops here")
                    .help("shorten the ~SEQ, or remove the definition that refers to itself"),
            );
        }
    }

    /// Expands all lines of a text.
    fn expand_file(&mut self, text: &'a str, base: u32) {
        let (text, mut at) = match text.strip_prefix('\u{feff}') {
            None => (text, base),
            Some(rest) => {
                let mark = Span { start: base, end: base + 3 };
                self.report(
                    Diagnostic::warning("byte-order-mark", mark, "the file begins with a byte order mark")
                        .label("keepalived reads it as part of the first word, and ignores the first block")
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
                        "the line contains a NUL byte",
                    )
                    .label("the line is ignored"),
                );
                continue;
            }
            let (line, line_at) = trim(strip_comment(raw), here);
            let Some((line, line_at)) = self.strip_condition(line, line_at) else { continue };
            match parse_definition(line) {
                Some((name, value)) => {
                    let value_at = line_at + (line.len() - value.len()) as u32;
                    let parts = definition_lines((value, value_at), &mut lines, &mut at);
                    self.definitions.insert(name.to_owned(), Definition::Lines(parts));
                }
                None => self.expand_line(line, line_at, 0),
            }
        }
    }

    /// Removes `@id` or `@^id` from the beginning of a line; `None` if the line is not for this machine.
    fn strip_condition<'t>(&self, line: &'t str, base: u32) -> Option<(&'t str, u32)> {
        let Some(rest) = line.strip_prefix('@') else { return Some((line, base)) };
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (id, after) = rest.split_at(end);
        let matches = match id.strip_prefix('^') {
            Some(other) => other != self.config_id,
            None => !id.is_empty() && id == self.config_id,
        };
        matches.then(|| trim(after, base + (line.len() - after.len()) as u32))
    }

    /// Expands a line that is no definition: repeats it, substitutes names, and emits what results.
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
                let (piece_text, piece_at) = trim(piece, at);
                self.emit_line(piece_text, piece_at, depth + 1);
                at += piece.len() as u32 + 1;
            }
            return;
        }
        self.emit_line(text, base, depth);
    }

    /// Emits a line without names to substitute, or reads the files that it includes.
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
