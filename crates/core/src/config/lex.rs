//! Characters to words, line by line: keepalived.conf is a language of lines.
//!
//! As keepalived's own reader (keepalived.conf(5), "comments", "quoted strings"): `#` and `!` begin a comment anywhere
//! outside quotes, even glued to a word; a backslash takes their meaning away; `"…"` keeps blanks together and does not
//! span lines; braces are words of their own, even glued.

use super::{Diagnostic, Source, Span};

/// What a word is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Token {
    /// A word or a quoted string, without its quotes.
    Word {
        /// Its text.
        text: String,
        /// Was it in quotes?
        quoted: bool,
    },
    /// `{`
    Open,
    /// `}`
    Close,
}

/// A token and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spanned {
    /// What it is.
    pub token: Token,
    /// Where it stands, quotes included.
    pub span: Span,
}

/// The tokens of each line that has some.
pub fn lex(source: &Source, diagnostics: &mut Vec<Diagnostic>) -> Vec<Vec<Spanned>> {
    let mut lines = Vec::new();
    let mut at = 0;
    for line in source.text().split_inclusive('\n') {
        let tokens = lex_line(line, at, diagnostics);
        if !tokens.is_empty() {
            lines.push(tokens);
        }
        at += line.len();
    }
    lines
}

fn lex_line(line: &str, base: usize, diagnostics: &mut Vec<Diagnostic>) -> Vec<Spanned> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    let mut word_start = None;
    let mut chars = line.char_indices().peekable();
    let span = |start: usize, end: usize| Span { start: base + start, end: base + end };
    // Ends the unquoted word that is being read, if there is one.
    fn flush(word: &mut String, start: &mut Option<usize>, end: usize, base: usize, out: &mut Vec<Spanned>) {
        if let Some(s) = start.take() {
            let token = Token::Word { text: std::mem::take(word), quoted: false };
            out.push(Spanned { token, span: Span { start: base + s, end: base + end } });
        }
    }
    while let Some((i, c)) = chars.next() {
        match c {
            '#' | '!' => {
                flush(&mut word, &mut word_start, i, base, &mut tokens);
                return tokens;
            }
            '\\' if matches!(chars.peek(), Some((_, '#' | '!' | '\\' | '"'))) => {
                word_start.get_or_insert(i);
                if let Some((_, escaped)) = chars.next() {
                    word.push(escaped);
                }
            }
            '{' | '}' => {
                flush(&mut word, &mut word_start, i, base, &mut tokens);
                let token = if c == '{' { Token::Open } else { Token::Close };
                tokens.push(Spanned { token, span: span(i, i + 1) });
            }
            '"' => {
                flush(&mut word, &mut word_start, i, base, &mut tokens);
                let mut text = String::new();
                let mut end = None;
                while let Some((j, q)) = chars.next() {
                    match q {
                        '"' => {
                            end = Some(j + 1);
                            break;
                        }
                        '\\' if matches!(chars.peek(), Some((_, '"' | '\\'))) => {
                            text.extend(chars.next().map(|(_, q)| q))
                        }
                        '\n' | '\r' => break,
                        _ => text.push(q),
                    }
                }
                let stop = end.unwrap_or_else(|| line.trim_end().len());
                let at = span(i, stop);
                if end.is_none() {
                    diagnostics.push(
                        Diagnostic::error("unterminated-string", at, "a quoted string does not end on its line")
                            .label("the closing `\"` is missing"),
                    );
                }
                tokens.push(Spanned { token: Token::Word { text, quoted: true }, span: at });
            }
            c if c.is_whitespace() || c == '\0' => {
                flush(&mut word, &mut word_start, i, base, &mut tokens);
                if c == '\0' {
                    diagnostics.push(Diagnostic::error(
                        "nul-byte",
                        span(i, i + 1),
                        "a NUL byte in a configuration line",
                    ));
                }
            }
            '\u{feff}' if base == 0 && i == 0 => {} // a byte order mark means nothing here
            c => {
                word_start.get_or_insert(i);
                word.push(c);
            }
        }
    }
    flush(&mut word, &mut word_start, line.len(), base, &mut tokens);
    tokens
}
