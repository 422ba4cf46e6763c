//! Arguments: words to numbers, times, addresses, names, with a diagnostic at the word that is wrong.

use std::net::IpAddr;
use std::time::Duration;

use super::super::diag::nearest_word;
use super::super::keywords::spec::Family;
use super::super::keywords::{Args, Keyword};
use super::super::lex::Word;
use super::super::tree::Statement;
use super::super::value::Value;
use super::super::{Diagnostic, Span};
use super::{Reader, abbreviate};

/// A hundred years.
const MAX_TIME_US: u64 = 100 * 366 * 86_400 * 1_000_000;

/// May the keyword stand alone?
pub(super) fn may_be_empty(args: Args) -> bool {
    matches!(
        args,
        Args::Flag
            | Args::Bool
            | Args::OptUint(..)
            | Args::OptInt(..)
            | Args::OptText
            | Args::Offset
            | Args::OptChoice(_)
            | Args::AbsolutePath(true)
            | Args::OptScript
            | Args::IncludeCheck
            | Args::InitFile
            | Args::UseVmac
            | Args::UseIpvlan
            | Args::HexMask
            | Args::StatusCodes
            | Args::Words(0, _)
    )
}

/// Seconds without needless zeros.
fn format_time(us: u64, unit: u64) -> String {
    format!("{}", us as f64 / unit as f64)
}

impl Reader<'_> {
    /// Reads what stands behind a keyword that has no block.
    pub(super) fn read_argument(&mut self, k: &'static Keyword, st: &Statement<'_>) -> Option<Value> {
        let first = st.args().first();
        let Some(w) = first else { return self.read_special(k, st, None) };
        let value = match k.args {
            Args::Flag => {
                self.warn_extra_words(st, 0);
                return Some(Value::Present);
            }
            Args::Bool => Value::Bool(self.read_boolean(w)?),
            Args::Uint(min, max) | Args::OptUint(min, max) => Value::Uint(self.read_unsigned(w, min, max)?),
            Args::Offset => match w.text.parse::<u32>() {
                Ok(n) => Value::Uint(u64::from(n)),
                Err(_) => {
                    let d = Diagnostic::lint("not-a-number", w.span, format!("`{}` is not a number", abbreviate(w)));
                    self.report(d.label("expected a number of bytes; ignored"));
                    return None;
                }
            },
            Args::Int(min, max) | Args::OptInt(min, max) => Value::Int(self.read_signed(w, min, max)?),
            Args::Seconds(min, max) => Value::Time(self.read_time(w, min, max, 1_000_000)?),
            Args::Millis(min, max) => Value::Time(self.read_time(w, min, max, 1_000)?),
            Args::Text | Args::OptText => Value::Text(w.text.clone().into_owned()),
            Args::Choice(words) => Value::Text(self.read_choice(w, words, false)?.to_owned()),
            Args::ChoiceAnyCase(words) => Value::Text(self.read_choice(w, words, true)?.to_owned()),
            Args::OptChoice(words) => Value::Text(self.read_choice(w, words, false)?.to_owned()),
            Args::Address => Value::Address(self.read_address(w, Family::Any)?),
            Args::Multicast(family) => {
                let addr = self.read_address(w, family)?;
                if !addr.is_multicast() {
                    let d = Diagnostic::error("not-an-address", w.span, format!("`{addr}` is not a multicast address"));
                    self.report(d.label("expected an address of 224.0.0.0/4 or ff00::/8"));
                    return None;
                }
                Value::Address(addr)
            }
            Args::InterfaceUnchecked if w.text.len() <= 15 => Value::Text(w.text.clone().into_owned()),
            Args::Interface | Args::InterfaceUnchecked => Value::Text(self.read_interface_name(w)?),
            _ => return self.read_special(k, st, Some(w)),
        };
        self.warn_extra_words(st, 1);
        Some(value)
    }

    fn report_number(&mut self, w: &Word<'_>, code: &'static str, what: &str, expected: String) {
        self.report(
            Diagnostic::error(code, w.span, format!("`{}` {what}", abbreviate(w)))
                .label(format!("expected {expected}")),
        );
    }

    /// A decimal number in a range, as keepalived's read_unsigned(): digits, a `+` and leading blanks allowed.
    pub(super) fn read_unsigned(&mut self, w: &Word<'_>, min: u64, max: u64) -> Option<u64> {
        let text = w.text.trim_start();
        let digits = text.strip_prefix('+').unwrap_or(text);
        let expected = || match (min, max) {
            (0, m) if m >= u64::from(u32::MAX) => "a whole number".to_owned(),
            _ => format!("a whole number, {min} to {max}"),
        };
        // An empty string in quotes is 0 to keepalived.
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

    /// A signed decimal number in a range.
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

    /// A decimal time with up to six decimals (`.5`, `1.`), as keepalived's read_timer(). The range is in microseconds,
    /// `unit` says how many of them the number counts.
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
            self.report(d.label("a microsecond is the finest"));
        }
        if !(min_us..=max_us).contains(&us) {
            let range = match max_us {
                m if m >= super::super::keywords::spec::UNBOUNDED_US => {
                    format!("at least {} {name}", format_time(min_us, unit))
                }
                m => format!("{} to {} {name}", format_time(min_us, unit), format_time(m, unit)),
            };
            self.report_number(w, "out-of-range", "is out of range", range);
            return None;
        }
        // What is longer than a lifetime is not told apart, and sums of such times must not overflow.
        Some(Duration::from_micros(us.min(MAX_TIME_US)))
    }

    /// An address.
    pub(super) fn read_address(&mut self, w: &Word<'_>, family: Family) -> Option<IpAddr> {
        let wrong = |what: String, label: &str| {
            Diagnostic::error("not-an-address", w.span, what).label(format!("expected {label}"))
        };
        let example = match family {
            Family::V4 => "an address as 192.0.2.1",
            Family::V6 => "an address as 2001:db8::1",
            Family::Any => "an address as 192.0.2.1 or 2001:db8::1",
        };
        match w.text.parse::<IpAddr>() {
            Ok(a) if family == Family::Any || (family == Family::V4) == a.is_ipv4() => Some(a),
            Ok(a) => {
                self.report(wrong(format!("`{a}` is of the wrong family"), example));
                None
            }
            Err(_)
                if w.text
                    .split_once('/')
                    .is_some_and(|(a, n)| a.parse::<IpAddr>().is_ok() && n.parse::<u8>().is_ok()) =>
            {
                // keepalived leaves the prefix length out, in silence.
                let addr = w.text.split('/').next().unwrap_or("");
                self.report(
                    Diagnostic::lint("extra-words", w.span, format!("`{}` has a prefix length", abbreviate(w)))
                        .label("ignored: an address alone belongs here")
                        .help(format!("write `{addr}`")),
                );
                let bare = Word { text: addr.to_owned().into(), span: w.span, quoted: w.quoted };
                self.read_address(&bare, family)
            }
            Err(_) => {
                let mut d = wrong(format!("`{}` is not an address", abbreviate(w)), example);
                if let Some(better) = suggest_address(&w.text) {
                    d = d.help(better);
                }
                self.report(d);
                None
            }
        }
    }

    /// `on`, `off` and their like.
    pub(super) fn read_boolean(&mut self, w: &Word<'_>) -> Option<bool> {
        match &*w.text {
            "on" | "true" | "yes" => Some(true),
            "off" | "false" | "no" => Some(false),
            other => {
                let lower = other.to_ascii_lowercase();
                let near = ["on", "true", "yes", "off", "false", "no"].into_iter().find(|n| *n == lower);
                self.report(
                    Diagnostic::error("not-a-boolean", w.span, format!("`{}` is neither on nor off", abbreviate(w)))
                        .label("expected on, off, true, false, yes or no")
                        .did_you_mean(near),
                );
                None
            }
        }
    }

    /// One of some words.
    pub(super) fn read_choice(
        &mut self,
        w: &Word<'_>,
        words: &'static [&'static str],
        any_case: bool,
    ) -> Option<&'static str> {
        let same = |n: &&&str| **n == w.text || (any_case && n.eq_ignore_ascii_case(&w.text));
        if let Some(found) = words.iter().find(same) {
            return Some(found);
        }
        let list = match words {
            [only] => format!("`{only}`"),
            [start @ .., last] => format!("{} or {last}", start.join(", ")),
            [] => String::new(),
        };
        self.report(
            Diagnostic::error("unknown-value", w.span, format!("unknown value `{}`", abbreviate(w)))
                .label(format!("expected {list}"))
                .did_you_mean(nearest_word(&w.text, words.iter().copied())),
        );
        None
    }

    /// The name of an interface: at most 15 bytes, none of them a blank or a slash (dev_valid_name() of Linux).
    pub(super) fn read_interface_name(&mut self, w: &Word<'_>) -> Option<String> {
        let name = &w.text;
        if name.is_empty() || name.len() > 15 || name.contains(['/', ':']) || *name == "." || *name == ".." {
            self.report(
                Diagnostic::error(
                    "not-an-interface",
                    w.span,
                    format!("`{}` cannot be the name of an interface", abbreviate(w)),
                )
                .label("expected 1 to 15 characters without `/` and `:`"),
            );
            return None;
        }
        Some(name.clone().into_owned())
    }

    /// `NAME [PORT]` or `srv NAME`, an addition: a name has a dot and a letter, and is no address.
    pub(super) fn read_host_name(&mut self, st: &Statement<'_>) -> Option<Value> {
        let first = st.args().first()?;
        let (word, srv) = match st.args().get(1) {
            Some(name) if first.text == "srv" => (name, true),
            _ => (first, false),
        };
        let label = |l: &str| {
            let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !l.is_empty() && l.len() < 64 && l.chars().all(good)
        };
        let text = word.text.strip_suffix('.').unwrap_or(&word.text);
        let letters = text.rsplit('.').next().is_some_and(|l| l.chars().any(|c| c.is_ascii_alphabetic()));
        if !letters || !text.contains('.') || text.len() > 253 || !text.split('.').all(label) {
            return None;
        }
        let port = match st.args().get(1).filter(|_| !srv) {
            None => None,
            Some(p) => Some(self.read_unsigned(p, 1, 65535)? as u16),
        };
        self.warn_extra_words(st, 2);
        Some(Value::Host(text.to_owned(), port, srv))
    }

    /// `ADDRESS [PORT]` from the n-th argument on.
    pub(super) fn read_endpoint(&mut self, st: &Statement<'_>, n: usize) -> Option<Value> {
        let w = st.args().get(n)?;
        let addr = self.read_address(w, Family::Any)?;
        let port = match st.args().get(n + 1) {
            None => None,
            Some(p) => Some(self.read_unsigned(p, 0, 65535)? as u16),
        };
        self.warn_extra_words(st, n + 2);
        Some(Value::Endpoint(addr, port))
    }

    /// The word behind an option's name; tells if there is none (keepalived exits with 2).
    pub(super) fn next_argument<'w, 't>(
        &mut self,
        name: &Word<'_>,
        rest: &mut std::slice::Iter<'w, Word<'t>>,
    ) -> Option<&'w Word<'t>> {
        let next = rest.next();
        if next.is_none() {
            self.report(
                Diagnostic::error("missing-argument", name.span, format!("`{}` needs a value", abbreviate(name)))
                    .label("nothing stands behind it")
                    .verdict(super::KeepalivedVerdict::Exits(2)),
            );
        }
        next
    }

    /// A word that has no place where it stands.
    pub(super) fn report_unknown_word(
        &mut self,
        span: Span,
        word: &str,
        behind: &str,
        expected: &str,
        near: Option<&str>,
    ) {
        let short: String = word.chars().take(60).collect();
        self.report(
            Diagnostic::error("unknown-word", span, format!("unknown word `{short}` {behind}"))
                .label(format!("expected {expected}"))
                .did_you_mean(near),
        );
    }
}

/// Microseconds, and whether the number had no more than six decimals of its unit's second.
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

/// What somebody probably meant by an address that is none.
fn suggest_address(text: &str) -> Option<String> {
    if let Some((addr, port)) = text.rsplit_once(':')
        && addr.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        && port.parse::<u16>().is_ok()
    {
        return Some(format!("address and port are two words: `{} {port}`", addr.trim_matches(['[', ']'])));
    }
    let parts: Vec<&str> = text.split('.').collect();
    let numbers = parts.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    if numbers && parts.len() != 4 {
        return Some(format!("an IPv4 address has four numbers, this has {}", parts.len()));
    }
    if numbers && let Some(big) = parts.iter().find(|p| p.parse::<u8>().is_err()) {
        return Some(format!("each number is at most 255, not {big}"));
    }
    if numbers && let Some(zero) = parts.iter().find(|p| p.len() > 1 && p.starts_with('0')) {
        return Some(format!("write {zero} without its leading zero; it could mean an octal number"));
    }
    text.starts_with(|c: char| c.is_alphabetic()).then(|| "names are not resolved here; write the address".to_owned())
}
