//! Scripts, and the users that run them.
//!
//! A script is a word, or a quoted string that is split again: `'` and `"` keep blanks, and a backslash begins one of
//! `\a \b \e \f \n \r \t \v \nnn \xXX \cC` or escapes the next character (keepalived.conf(5), "quoted strings").
//! The user and the group that run the script follow it.

use super::{Reader, abbreviate};
use crate::config::lex::Word;
use crate::config::tree::Statement;
use crate::config::value::{Script, Value};
use crate::config::{Diagnostic, KeepalivedVerdict, Severity};

impl Reader<'_> {
    /// `SCRIPT [USER [[:]GROUP]]`. With `strict`, a user that does not exist is an error.
    pub(super) fn read_script(&mut self, st: &Statement<'_>, w: &Word<'_>, strict: bool) -> Option<Value> {
        let argv = match w.quoted {
            true => {
                // The text as written: the lexer has removed backslashes that count here.
                let raw = self.sources.text(w.span);
                let inner = raw.strip_prefix('"').unwrap_or(raw);
                split_words(inner.strip_suffix('"').unwrap_or(inner))
            }
            false => vec![w.text.clone().into_owned()],
        };
        if argv.first().is_none_or(String::is_empty) {
            let d = Diagnostic::lint(
                "missing-argument",
                w.span,
                format!("`{}` has an empty program name", st.keyword().text),
            );
            self.report(d.label("expected the path of a program"));
            return None;
        }
        let user = match st.args().get(1) {
            None => None,
            Some(u) if strict => Some(self.read_user(st, u, 2)?),
            Some(u) => {
                if !w.quoted && self.environment.has_user(&u.text) == Some(false) {
                    self.report(
                        Diagnostic::lint(
                            "script-quotes",
                            w.span.to(u.span),
                            "a script with arguments must be in quotes",
                        )
                        .label("the word after the path is read as the user that runs it")
                        .help(format!("write `\"{} {}…\"`", w.text, u.text)),
                    );
                    Some((u.text.clone().into_owned(), None))
                } else {
                    Some(self.read_user_leniently(st, u, 2))
                }
            }
        };
        Some(Value::Script(Box::new(Script { argv, user })))
    }

    /// A user and group whose errors are only warnings: keepalived checks them when it runs the script.
    pub(super) fn read_user_leniently(
        &mut self,
        st: &Statement<'_>,
        u: &Word<'_>,
        n: usize,
    ) -> (String, Option<String>) {
        let before = self.diagnostics.len();
        let found = self.read_user(st, u, n);
        for d in self.diagnostics.iter_mut().skip(before) {
            (d.severity, d.verdict) = (Severity::Warning, KeepalivedVerdict::Silent);
        }
        found.unwrap_or_else(|| (u.text.clone().into_owned(), None))
    }

    /// `USER [[:]GROUP]`; the group is the argument of index `n`. A lone `:` means the groups of the user.
    pub(super) fn read_user(
        &mut self,
        st: &Statement<'_>,
        user: &Word<'_>,
        n: usize,
    ) -> Option<(String, Option<String>)> {
        let group = st.args().get(n);
        self.warn_extra_words(st, n + 1);
        if self.environment.has_user(&user.text) == Some(false) {
            self.report(
                Diagnostic::error("unknown-user", user.span, format!("there is no user `{}`", abbreviate(user)))
                    .label("not on this machine"),
            );
            return None;
        }
        let Some(g) = group else { return Some((user.text.clone().into_owned(), None)) };
        let name = g.text.strip_prefix(':').unwrap_or(&g.text);
        if !name.is_empty() && self.environment.has_group(name) == Some(false) {
            self.report(
                Diagnostic::error("unknown-user", g.span, format!("there is no group `{}`", abbreviate(g)))
                    .label("not on this machine"),
            );
            return None;
        }
        Some((user.text.clone().into_owned(), (!name.is_empty()).then(|| name.to_owned())))
    }
}

/// Splits a quoted script into words.
fn split_words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => push_escape(&mut chars, word.get_or_insert_default()),
            (c, Some(q)) if c == q => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => out.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

/// Appends the character that the escape sequence after a backslash stands for.
fn push_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    let Some(c) = chars.next() else { return out.push('\\') };
    let mut digits = |radix: u32, most: usize, first: u32| {
        let mut n = first;
        for _ in 0..most {
            let Some(d) = chars.peek().and_then(|c| c.to_digit(radix)) else { break };
            n = n * radix + d;
            chars.next();
        }
        char::from_u32(n).unwrap_or('\u{fffd}')
    };
    out.push(match c {
        'a' => '\x07',
        'b' => '\x08',
        'e' | 'E' => '\x1b',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        'x' => digits(16, 2, 0),
        '0'..='7' => digits(8, 2, c.to_digit(8).unwrap_or(0)),
        'c' => match chars.next() {
            Some(k) if k.is_ascii() => char::from((k.to_ascii_uppercase() as u8) ^ 0x40),
            Some(k) => k,
            None => 'c',
        },
        other => other,
    });
}
