//! Byte strings and codes: hexadecimal data, HMAC keys, HTTP status codes.

use super::{Reader, abbreviate};
use crate::config::Diagnostic;
use crate::config::lex::Word;
use crate::config::tree::Statement;
use crate::config::value::Value;

impl Reader<'_> {
    /// `ID TEXT|hex:DIGITS|file:PATH`, a key of 32 to 64 bytes. The value is the id as one byte, followed by the key.
    pub(super) fn read_hmac_key(&mut self, st: &Statement<'_>, id: &Word<'_>) -> Option<Value> {
        let id = self.read_unsigned(id, 1, 255)?;
        let Some(w) = st.args().get(1) else {
            let d = Diagnostic::error("missing-argument", st.span(), "`key` needs an id and a key");
            self.report(d.label("the key is missing"));
            return None;
        };
        let key = if let Some(hex) = w.text.strip_prefix("hex:") {
            parse_hex(hex, false).unwrap_or_default()
        } else if let Some(path) = w.text.strip_prefix("file:") {
            match self.environment.read_file(std::path::Path::new(path)) {
                Ok(bytes) => bytes.trim_ascii_end().to_vec(),
                Err(error) => {
                    let d =
                        Diagnostic::error("unreadable-file", w.span, format!("the key file `{path}` cannot be read"));
                    self.report(d.label(error.to_string()));
                    return None;
                }
            }
        } else {
            w.text.as_bytes().to_vec()
        };
        if !(32..=64).contains(&key.len()) {
            let d = Diagnostic::error("bad-key", w.span, "a key is 32 to 64 bytes long");
            self.report(d.label(format!("this key has {} bytes", key.len())));
            return None;
        }
        let mut out = vec![id as u8];
        out.extend(key);
        Some(Value::Bytes(out))
    }

    /// `CODE` or `FROM-TO`, from 100 to 999.
    pub(super) fn read_status_codes(&mut self, st: &Statement<'_>) -> Option<Value> {
        let mut out = Vec::new();
        for w in st.args() {
            let (from, to) = w.text.split_once('-').unwrap_or((&w.text, &w.text));
            let code = |s: &str| s.parse::<u16>().ok().filter(|c| (100..=999).contains(c));
            match (code(from), code(to)) {
                (Some(from), Some(to)) if from <= to => out.push((from, to)),
                _ => {
                    let d = Diagnostic::error(
                        "not-a-status",
                        w.span,
                        format!("`{}` is not an HTTP status code", abbreviate(w)),
                    );
                    self.report(d.label("expected 100 to 999, or a range such as 200-299"));
                    return None;
                }
            }
        }
        Some(if out.is_empty() { Value::Present } else { Value::Ranges(out) })
    }

    /// Hexadecimal digits to bytes; with `mask` they stay text, and `X` is allowed for any digit.
    pub(super) fn read_hex(&mut self, st: &Statement<'_>, w: &Word<'_>, mask: bool) -> Option<Value> {
        let digits: String = st.args().iter().map(|w| &*w.text).collect();
        // keepalived reads an odd digit at the end as a byte.
        let even = if digits.len() % 2 == 1 {
            format!("{}0{}", &digits[..digits.len() - 1], &digits[digits.len() - 1..])
        } else {
            digits.clone()
        };
        match parse_hex(&even, mask) {
            Some(_) if mask => Some(Value::Text(digits)),
            Some(bytes) => Some(Value::Bytes(bytes)),
            None => {
                let expected = if mask {
                    "an even number of hexadecimal digits, X for any digit"
                } else {
                    "an even number of hexadecimal digits"
                };
                let d = Diagnostic::error("not-hex", st.args_span(), format!("`{}` is not hexadecimal", abbreviate(w)));
                self.report(d.label(format!("expected {expected}")));
                None
            }
        }
    }
}

/// Hexadecimal digits to bytes; with `mask`, `X` is allowed and counts as 0.
fn parse_hex(text: &str, mask: bool) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| match c {
            'x' | 'X' if mask => Some(0),
            c => c.to_digit(16).map(|d| d as u8),
        })
        .collect();
    let digits = digits?;
    (digits.len() % 2 == 0).then(|| digits.chunks(2).map(|p| p.iter().fold(0, |n, d| n << 4 | d)).collect())
}
