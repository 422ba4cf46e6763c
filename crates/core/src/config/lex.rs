//! The lexer: a line to words and braces. keepalived.conf is a language of lines.
//!
//! The rules are those of keepalived's reader (keepalived.conf(5), "comments", "quoted strings"):
//!
//! - `#` and `!` begin a comment outside quotes, even inside a word. A backslash before them makes them ordinary.
//! - `"…"` is one word with its blanks. It cannot span lines, and is a word of its own even without blanks around it.
//! - Braces are tokens of their own, even without blanks around them.

use std::borrow::Cow;

use super::{Diagnostic, Span};

/// A token of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Token<'a> {
    /// A word, or a quoted string without its quotes.
    Word(Word<'a>),
    /// `{`
    OpenBrace(Span),
    /// `}`
    CloseBrace(Span),
}

/// A word with its location.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Word<'a> {
    /// The text, without quotes and escapes.
    pub text: Cow<'a, str>,
    /// The location, quotes included.
    pub span: Span,
    /// Whether it was in quotes.
    pub quoted: bool,
}

/// Appends the tokens of a line to `out`. `base` is the offset of its first byte in [`super::Sources`].
pub(crate) fn lex_line<'a>(line: &'a str, base: u32, out: &mut Vec<Token<'a>>, diagnostics: &mut Vec<Diagnostic>) {
    let mut lexer = Lexer { line, base, pos: 0 };
    while let Some(token) = lexer.next_token(diagnostics) {
        out.push(token);
    }
}

struct Lexer<'a> {
    line: &'a str,
    base: u32,
    pos: usize,
}

impl<'a> Lexer<'a> {
    fn span(&self, from: usize) -> Span {
        Span { start: self.base + from as u32, end: self.base + self.pos as u32 }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.line.as_bytes().get(self.pos + ahead).copied()
    }

    fn next_token(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Option<Token<'a>> {
        let rest = self.line.get(self.pos..)?;
        self.pos += rest.len() - rest.trim_start().len();
        let from = self.pos;
        match self.peek(0)? {
            b'#' | b'!' => None,
            b'{' => {
                self.pos += 1;
                Some(Token::OpenBrace(self.span(from)))
            }
            b'}' => {
                self.pos += 1;
                Some(Token::CloseBrace(self.span(from)))
            }
            b'"' => Some(Token::Word(self.lex_quoted(diagnostics))),
            _ => Some(Token::Word(self.lex_plain(diagnostics))),
        }
    }

    fn lex_quoted(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Word<'a> {
        let from = self.pos;
        self.pos += 1;
        let mut escaped = false;
        loop {
            match self.peek(0) {
                Some(b'"') => break,
                Some(b'\\') if matches!(self.peek(1), Some(b'"' | b'\\')) => {
                    escaped = true;
                    self.pos += 2;
                }
                Some(_) => self.pos += 1,
                None => {
                    diagnostics.push(
                        Diagnostic::error(
                            "unterminated-string",
                            self.span(from),
                            "a quoted string is not closed on its line",
                        )
                        .label("the closing `\"` is missing"),
                    );
                    break;
                }
            }
        }
        let inner = self.line.get(from + 1..self.pos).unwrap_or("");
        self.pos = (self.pos + 1).min(self.line.len());
        let text = if escaped { unescape(inner, b"\"\\") } else { Cow::Borrowed(inner) };
        Word { text, span: self.span(from), quoted: true }
    }

    fn lex_plain(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Word<'a> {
        let from = self.pos;
        let mut escaped = false;
        while let Some(b) = self.peek(0) {
            match b {
                b'\\' if matches!(self.peek(1), Some(b'#' | b'!')) => {
                    escaped = true;
                    self.pos += 2;
                }
                b'$' if self.peek(1) == Some(b'{') => self.report_undefined_name(diagnostics),
                b'{' | b'}' | b'"' | b'#' | b'!' => break,
                b if b.is_ascii_whitespace() || b == 0x0b => break,
                b if b < 0x80 => self.pos += 1,
                _ => {
                    let Some(c) = self.line.get(self.pos..).and_then(|l| l.chars().next()) else { break };
                    if c.is_whitespace() {
                        break;
                    }
                    self.pos += c.len_utf8();
                }
            }
        }
        let raw = self.line.get(from..self.pos).unwrap_or("");
        let text = if escaped { unescape(raw, b"#!") } else { Cow::Borrowed(raw) };
        Word { text, span: self.span(from), quoted: false }
    }

    /// Reports a `${…}` without a definition, and skips it. keepalived would take its braces for those of a block.
    fn report_undefined_name(&mut self, diagnostics: &mut Vec<Diagnostic>) {
        let from = self.pos;
        let rest = self.line.get(self.pos..).unwrap_or("");
        let end = rest.find(['}', ' ', '"', '#', '!']).unwrap_or(rest.len());
        self.pos += end + usize::from(rest.as_bytes().get(end) == Some(&b'}'));
        let what = self.line.get(from..self.pos).unwrap_or("");
        diagnostics.push(
            Diagnostic::error("undefined-name", self.span(from), format!("`{what}` is not defined"))
                .label("no definition of this name before this line")
                .help("define it above, on a line of its own: `$NAME=value`"),
        );
    }
}

/// Removes the backslash before the bytes `which`.
fn unescape<'a>(text: &'a str, which: &[u8]) -> Cow<'a, str> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(&n)) if n.is_ascii() && which.contains(&(n as u8)) => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}
