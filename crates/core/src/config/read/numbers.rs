//! Numbers: integers, times, weights and umasks, with the ranges of the registry.

use std::time::Duration;

use super::{Reader, abbreviate};
use crate::config::Diagnostic;
use crate::config::keywords::spec::UNBOUNDED_US;
use crate::config::lex::Word;
use crate::config::tree::Statement;
use crate::config::value::Value;

/// A hundred years, in microseconds. Longer times are cut to it, so that sums of times do not overflow.
const MAX_TIME_US: u64 = 100 * 366 * 86_400 * 1_000_000;

/// Names of `umask` bits (sys/stat.h).
const MODE_BITS: [(&str, u64); 12] = [
    ("IRUSR", 0o400),
    ("IWUSR", 0o200),
    ("IXUSR", 0o100),
    ("IRWXU", 0o700),
    ("IRGRP", 0o40),
    ("IWGRP", 0o20),
    ("IXGRP", 0o10),
    ("IRWXG", 0o70),
    ("IROTH", 0o4),
    ("IWOTH", 0o2),
    ("IXOTH", 0o1),
    ("IRWXO", 0o7),
];

impl Reader<'_> {
    /// Reports that `w` is no valid number. `problem` completes the sentence, `expected` says what is valid.
    fn report_number(&mut self, w: &Word<'_>, code: &'static str, problem: &str, expected: String) {
        self.report(
            Diagnostic::error(code, w.span, format!("`{}` {problem}", abbreviate(w)))
                .label(format!("expected {expected}")),
        );
    }

    /// A decimal number from `min` to `max`. As in keepalived's read_unsigned(), leading blanks and a `+` are allowed.
    pub(super) fn read_unsigned(&mut self, w: &Word<'_>, min: u64, max: u64) -> Option<u64> {
        let text = w.text.trim_start();
        let digits = text.strip_prefix('+').unwrap_or(text);
        let expected = || match (min, max) {
            (0, m) if m >= u64::from(u32::MAX) => "a whole number".to_owned(),
            _ => format!("a whole number, {min} to {max}"),
        };
        // keepalived reads an empty quoted string as 0.
        let digits = if w.text.is_empty() { "0" } else { digits };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            self.report_number(w, "not-a-number", "is not a number", expected());
            return None;
        }
        match digits.parse::<u64>() {
            Ok(n) if (min..=max).contains(&n) => Some(n),
            _ => {
                self.report_number(w, "out-of-range", "is out of range", format!("{min} to {max}"));
                None
            }
        }
    }

    /// A signed decimal number from `min` to `max`.
    pub(super) fn read_signed(&mut self, w: &Word<'_>, min: i64, max: i64) -> Option<i64> {
        let text = w.text.trim_start();
        let text = if w.text.is_empty() { "0" } else { text };
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            self.report_number(w, "not-a-number", "is not a number", format!("a whole number, {min} to {max}"));
            return None;
        }
        match text.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => Some(n),
            _ => {
                self.report_number(w, "out-of-range", "is out of range", format!("{min} to {max}"));
                None
            }
        }
    }

    /// An offset in bytes. keepalived ignores silently what is no number.
    pub(super) fn read_offset(&mut self, w: &Word<'_>) -> Option<u64> {
        let offset = w.text.parse::<u32>().ok().map(u64::from);
        if offset.is_none() {
            let d = Diagnostic::lint("not-a-number", w.span, format!("`{}` is not a number", abbreviate(w)));
            self.report(d.label("ignored: expected a number of bytes"));
        }
        offset
    }

    /// A decimal time such as `3`, `.5` or `1.`, as in keepalived's read_timer(). The range is in microseconds; `unit`
    /// is the number of microseconds that the written number counts: 1,000,000 or 1,000.
    pub(super) fn read_time(&mut self, w: &Word<'_>, min_us: u64, max_us: u64, unit: u64) -> Option<Duration> {
        let name = if unit == 1_000 { "milliseconds" } else { "seconds" };
        let text = if w.text.is_empty() { "0" } else { w.text.trim_start() };
        let Some((us, exact)) = parse_micros(text, unit) else {
            self.report_number(w, "not-a-number", "is not a time", format!("{name}, as 3 or 0.5"));
            return None;
        };
        if !exact {
            let d =
                Diagnostic::error("too-many-decimals", w.span, format!("`{}` has too many decimals", abbreviate(w)));
            self.report(d.label("the smallest unit is a microsecond"));
        }
        if !(min_us..=max_us).contains(&us) {
            let range = match max_us {
                m if m >= UNBOUNDED_US => {
                    format!("at least {} {name}", format_time(min_us, unit))
                }
                m => format!("{} to {} {name}", format_time(min_us, unit), format_time(m, unit)),
            };
            self.report_number(w, "out-of-range", "is out of range", range);
            return None;
        }
        Some(Duration::from_micros(us.min(MAX_TIME_US)))
    }

    /// `N [reverse|noreverse]`
    pub(super) fn read_weight(&mut self, st: &Statement<'_>, w: &Word<'_>, min: i64, max: i64) -> Option<Value> {
        let n = self.read_signed(w, min, max)?;
        let reverse = match st.args().get(1) {
            None => false,
            Some(r) => self.read_choice(r, &["reverse", "noreverse"], false)? == "reverse",
        };
        self.warn_extra_words(st, 2);
        Some(Value::Weight(n, reverse))
    }

    /// A number up to 0777 in the notation of C, or names of mode bits joined by `|`.
    pub(super) fn read_umask(&mut self, w: &Word<'_>) -> Option<Value> {
        let text = &w.text;
        let value = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
            (Some(hex), _) => u32::from_str_radix(hex, 16).ok(),
            (None, Some(octal)) if !octal.is_empty() => u32::from_str_radix(octal, 8).ok(),
            _ => text.parse().ok(),
        };
        let bit =
            |b: &str| MODE_BITS.iter().find(|(name, _)| *name == b.trim().trim_start_matches("S_")).map(|(_, n)| n);
        let bits = || text.split('|').try_fold(0, |all, b| Some(all | bit(b)?));
        match value.map_or_else(bits, |n: u32| Some(u64::from(n))) {
            Some(n) if n <= 0o777 => Some(Value::Uint(n)),
            _ => {
                let d = Diagnostic::error("not-a-number", w.span, format!("`{}` is not a umask", abbreviate(w)));
                self.report(d.label("expected 0 to 0777, or names of bits such as IRGRP|IWGRP"));
                None
            }
        }
    }
}

/// A time in its unit without trailing zeros.
fn format_time(us: u64, unit: u64) -> String {
    format!("{}", us as f64 / unit as f64)
}

/// A decimal number in microseconds, and whether no digits below a microsecond were cut off. `unit` as in
/// [`Reader::read_time`].
fn parse_micros(text: &str, unit: u64) -> Option<(u64, bool)> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let places = if unit == 1_000 { 3 } else { 6 };
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let exact = fraction.len() <= places;
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(places).collect();
    let micros: u64 = kept.parse().ok()?;
    Some((whole.checked_mul(unit)?.checked_add(micros)?, exact))
}
