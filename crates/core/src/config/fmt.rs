//! `evenkeel fmt`: the formatter of configuration files. It keeps comments, and the meaning of the file.
//!
//! The format: four spaces of indentation for each block, one space between words, an opening brace on the line of its
//! keyword, at most one empty line in a row. Only whitespace between words changes. Quoted strings, conditions,
//! definitions, `~SEQ` and includes stay as they are. The caller verifies the result by reading both files.

/// Formats a file.
pub fn format_text(text: &str) -> String {
    let mut out = Formatter::default();
    let mut definition = false;
    for raw in text.lines() {
        let line = raw.trim();
        // The lines of a definition stay as they are: its spaces belong to the value.
        if definition || is_definition(line) {
            out.push_line(line, out.depth);
            out.is_last_line_closed = true;
            definition = line.ends_with('\\');
            continue;
        }
        out.format_line(line);
    }
    out.out
}

/// Whether a line starts with `$NAME=`, after an optional `@id`.
fn is_definition(line: &str) -> bool {
    let line = match line.strip_prefix('@').and_then(|l| l.split_once(char::is_whitespace)) {
        Some((_, rest)) => rest.trim_start(),
        None => line,
    };
    line.starts_with('$')
        && line.split_once('=').is_some_and(|(n, _)| n.bytes().skip(1).all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

#[derive(Default)]
struct Formatter {
    out: String,
    /// The number of open blocks.
    depth: usize,
    /// An empty line comes before the next line.
    pending_blank_line: bool,
    /// Nothing may be appended to the last line.
    is_last_line_closed: bool,
}

/// A part of a line.
enum Part<'t> {
    Word(&'t str),
    Open,
    Close,
    Comment(&'t str),
}

/// Splits a line. Quoted strings, `${…}`, the parentheses of `~SEQ` and escape sequences are not split.
fn split_parts(line: &str) -> Vec<Part<'_>> {
    let bytes = line.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        let from = at;
        match b {
            b if b.is_ascii_whitespace() || b == 0x0b => at += 1,
            b'#' | b'!' => {
                out.push(Part::Comment(line.get(from..).unwrap_or("")));
                return out;
            }
            b'{' => {
                out.push(Part::Open);
                at += 1;
            }
            b'}' => {
                out.push(Part::Close);
                at += 1;
            }
            _ => {
                at = word_end(bytes, from);
                out.push(Part::Word(line.get(from..at).unwrap_or("")));
            }
        }
    }
    out
}

/// The end of the word that starts at `from`. Adjacent strings without a space form one word.
fn word_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'"' => {
                at += 1;
                while let Some(&q) = bytes.get(at) {
                    at += 1;
                    match q {
                        b'\\' if matches!(bytes.get(at), Some(b'"' | b'\\')) => at += 1,
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'\\' if matches!(bytes.get(at + 1), Some(b'#' | b'!')) => at += 2,
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                while bytes.get(at).is_some_and(|b| *b != b'}') {
                    at += 1;
                }
                at += 1;
            }
            b'(' if bytes.get(from) == Some(&b'~') => {
                while bytes.get(at).is_some_and(|b| *b != b')') {
                    at += 1;
                }
                at += 1;
            }
            b'{' | b'}' | b'#' | b'!' => break,
            b if b.is_ascii_whitespace() || b == 0x0b => break,
            _ => at += 1,
        }
    }
    at.min(bytes.len())
}

impl Formatter {
    fn format_line(&mut self, line: &str) {
        if line.is_empty() {
            self.pending_blank_line = !self.out.is_empty();
            return;
        }
        // Conditions, repetitions and includes apply to their line, so it must stay one line.
        if line.starts_with(['@', '~']) || (line.starts_with("include") && !line.starts_with("include_check")) {
            return self.push_verbatim(line);
        }
        let parts = split_parts(line);
        // The same holds for a word after a brace that has another meaning at the start of a line.
        let is_bound = parts.windows(2).any(|p| match p {
            [Part::Open | Part::Close, Part::Word(w)] => w.starts_with(['$', '@', '~']) || w.starts_with("include"),
            _ => false,
        });
        if is_bound {
            return self.push_verbatim(line);
        }
        let mut words: Vec<&str> = Vec::new();
        let mut parts = parts.into_iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Word(w) => words.push(w),
                Part::Open => self.push_open_brace(&mut words, &mut parts),
                Part::Close => {
                    self.flush_words(&mut words);
                    self.depth = self.depth.saturating_sub(1);
                    self.pending_blank_line = false;
                    self.push_line("}", self.depth);
                }
                Part::Comment(c) if words.is_empty() => self.push_comment(c, line),
                Part::Comment(c) => {
                    let text = format!("{} {c}", words.join(" "));
                    words.clear();
                    self.push_line(&text, self.depth);
                }
            }
        }
        self.flush_words(&mut words);
    }

    /// Writes a line that must not be split.
    fn push_verbatim(&mut self, line: &str) {
        let braces = split_parts(line).iter().fold(0isize, |n, p| match p {
            Part::Open => n + 1,
            Part::Close => n - 1,
            _ => n,
        });
        if braces < 0 {
            self.depth = self.depth.saturating_sub(braces.unsigned_abs());
        }
        self.push_line(line, self.depth);
        self.is_last_line_closed = true;
        if braces > 0 {
            self.depth += braces.unsigned_abs();
        }
    }

    /// Writes a comment on its own line, or after the brace that it follows.
    fn push_comment(&mut self, comment: &str, line: &str) {
        if line.starts_with(['#', '!']) || self.out.is_empty() {
            return self.push_line(comment, self.depth);
        }
        self.append_to_last_line(comment);
    }

    fn append_to_last_line(&mut self, text: &str) {
        self.out.pop();
        self.out.push(' ');
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// Writes the words collected so far as a line.
    fn flush_words(&mut self, words: &mut Vec<&str>) {
        if !words.is_empty() {
            let text = words.join(" ");
            words.clear();
            self.push_line(&text, self.depth);
        }
    }

    /// Writes an opening brace, with its closing brace if the block is empty.
    fn push_open_brace<'t>(
        &mut self,
        words: &mut Vec<&str>,
        parts: &mut std::iter::Peekable<impl Iterator<Item = Part<'t>>>,
    ) {
        let empty = matches!(parts.peek(), Some(Part::Close));
        if empty {
            parts.next();
        }
        let brace = if empty { "{ }" } else { "{" };
        if words.is_empty() && self.may_append_brace() {
            // Its keyword is on the line before.
            self.append_to_last_line(brace);
        } else {
            words.push(brace);
            self.flush_words(words);
        }
        if !empty {
            self.depth += 1;
        }
        self.pending_blank_line = false;
    }

    /// Whether an opening brace may be appended to the last line: not if it ends with a comment, another brace or an
    /// open quote, and not if it is a condition, a definition or a repetition.
    fn may_append_brace(&self) -> bool {
        let last = self.out.trim_end().rsplit('\n').next().unwrap_or("").trim();
        let has_only_words = split_parts(last).iter().all(|p| matches!(p, Part::Word(_)));
        let with_brace = format!("{last} {{");
        let is_outside_quotes = matches!(split_parts(&with_brace).last(), Some(Part::Open));
        !self.pending_blank_line
            && !self.is_last_line_closed
            && !last.is_empty()
            && has_only_words
            && is_outside_quotes
            && !last.starts_with(['@', '$', '~'])
    }

    fn push_line(&mut self, text: &str, depth: usize) {
        self.is_last_line_closed = false;
        if std::mem::take(&mut self.pending_blank_line) {
            self.out.push('\n');
        }
        for _ in 0..depth.min(64) {
            self.out.push_str("    ");
        }
        self.out.push_str(text);
        self.out.push('\n');
    }
}
