//! Arguments: words to numbers, durations, addresses, with a diagnostic at the word that is wrong.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::keywords::Cx;
use super::tree::{Statement, Word};
use super::{Diagnostic, diag};

/// The single argument of a statement; tells if it is missing, and warns of words that nobody reads.
pub(crate) fn one<'a>(cx: &mut Cx<'_>, st: &'a Statement) -> Option<&'a Word> {
    let first = first(cx, st)?;
    no_more(cx, &st.args()[1..], st);
    Some(first)
}

/// The first argument; tells if it is missing.
pub(crate) fn first<'a>(cx: &mut Cx<'_>, st: &'a Statement) -> Option<&'a Word> {
    let first = st.args().first();
    if first.is_none() {
        let k = st.keyword();
        cx.push(
            Diagnostic::error("missing-argument", k.span, format!("`{}` needs an argument", k.text))
                .label("nothing stands behind it"),
        );
    }
    first
}

/// keepalived reads no further either; but a second keyword on the line is a mistake worth telling.
pub(crate) fn no_more(cx: &mut Cx<'_>, rest: &[Word], st: &Statement) {
    if let Some(extra) = rest.first() {
        let last = rest.last().unwrap_or(extra);
        cx.push(
            Diagnostic::warning(
                "extra-words",
                extra.span.to(last.span),
                format!("`{}` does not read this far", st.keyword().text),
            )
            .label("ignored")
            .help("each keyword stands on a line of its own"),
        );
    }
}

/// A decimal number in a range, as keepalived's read_unsigned(): digits only, a `+` allowed.
pub(crate) fn number(cx: &mut Cx<'_>, word: &Word, min: u64, max: u64) -> Option<u64> {
    let digits = word.text.strip_prefix('+').unwrap_or(&word.text);
    let value = (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse::<u64>().ok());
    match value.flatten() {
        Some(n) if (min..=max).contains(&n) => Some(n),
        Some(_) => {
            cx.push(
                Diagnostic::error("out-of-range", word.span, format!("`{}` is out of range", word.text))
                    .label(format!("expected {min} to {max}")),
            );
            None
        }
        None => {
            cx.push(
                Diagnostic::error("not-a-number", word.span, format!("`{}` is not a number", word.text))
                    .label(format!("expected a whole number, {min} to {max}")),
            );
            None
        }
    }
}

/// A signed decimal number in a range.
pub(crate) fn signed(cx: &mut Cx<'_>, word: &Word, min: i64, max: i64) -> Option<i64> {
    match word.text.parse::<i64>() {
        Ok(n) if (min..=max).contains(&n) => Some(n),
        _ => {
            cx.push(
                Diagnostic::error("out-of-range", word.span, format!("`{}` is not such a number", word.text))
                    .label(format!("expected a whole number, {min} to {max}")),
            );
            None
        }
    }
}

/// Decimal seconds with up to six decimals (`.5`, `1.`), as keepalived's read_timer(). The range is in microseconds.
pub(crate) fn seconds(cx: &mut Cx<'_>, word: &Word, min_us: u64, max_us: u64) -> Option<Duration> {
    let show = |us: u64| format!("{}", us as f64 / 1e6);
    let micros = parse_micros(&word.text);
    match micros {
        Some(us) if (min_us..=max_us).contains(&us) => Some(Duration::from_micros(us)),
        Some(_) => {
            cx.push(
                Diagnostic::error("out-of-range", word.span, format!("`{}` is out of range", word.text))
                    .label(format!("expected {} to {} seconds", show(min_us), show(max_us))),
            );
            None
        }
        None => {
            cx.push(
                Diagnostic::error("not-a-number", word.span, format!("`{}` is not a time", word.text))
                    .label("expected seconds, as 3 or 0.5"),
            );
            None
        }
    }
}

fn parse_micros(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let micros: u64 = format!("{fraction:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(micros)
}

/// An IPv4 address.
pub(crate) fn ipv4(cx: &mut Cx<'_>, word: &Word) -> Option<Ipv4Addr> {
    match word.text.parse() {
        Ok(a) => Some(a),
        Err(_) => {
            let d = Diagnostic::error("not-an-address", word.span, format!("`{}` is not an IPv4 address", word.text));
            let d = d.label("expected an address as 192.0.2.1");
            cx.push(if word.text.contains(':') { d.help("IPv6 is not supported yet") } else { d });
            None
        }
    }
}

/// `on`, `off` and their like; nothing means on.
pub(crate) fn boolean(cx: &mut Cx<'_>, st: &Statement) -> Option<bool> {
    let Some(word) = st.args().first() else { return Some(true) };
    match word.text.as_str() {
        "on" | "true" | "yes" => Some(true),
        "off" | "false" | "no" => Some(false),
        other => {
            cx.push(
                Diagnostic::error("not-a-boolean", word.span, format!("`{other}` is neither on nor off"))
                    .label("expected on, off, true, false, yes or no"),
            );
            None
        }
    }
}

/// One of some words.
pub(crate) fn choice<T: Copy>(cx: &mut Cx<'_>, word: &Word, what: &str, choices: &[(&str, T)]) -> Option<T> {
    if let Some((_, v)) = choices.iter().find(|(name, _)| *name == word.text) {
        return Some(*v);
    }
    let names: Vec<&str> = choices.iter().map(|(n, _)| *n).collect();
    let d = Diagnostic::error("unknown-value", word.span, format!("unknown {what} `{}`", word.text))
        .label(format!("expected {}", names.join(", ")));
    let near = diag::nearest(&word.text, names.iter().copied())
        .or_else(|| names.iter().copied().find(|n| n.eq_ignore_ascii_case(&word.text)));
    cx.push(match near {
        Some(n) => d.help(format!("did you mean `{n}`?")),
        None => d,
    });
    None
}

/// A script: a path with arguments, quoted or not, split into words.
pub(crate) fn script_words(word: &Word, rest: &[Word]) -> Vec<String> {
    let mut argv = if word.quoted { split_quoted(&word.text) } else { vec![word.text.clone()] };
    if !word.quoted {
        argv.extend(rest.iter().map(|w| w.text.clone()));
    }
    argv
}

/// Splits a quoted script at blanks; single quotes keep words together.
fn split_quoted(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.get_or_insert_default().extend(chars.next()),
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
