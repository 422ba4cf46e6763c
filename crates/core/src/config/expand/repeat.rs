//! Repetition: `~SEQ`, `~SEQx` and `~LST` (keepalived.conf(5), "sequences" and "lists").

use super::super::{Diagnostic, Span};
use super::{Definition, Expander, MAX_LINES, substitute, text_span, trim};

/// The values of the names in one iteration.
type Bindings = Vec<(String, String)>;

impl<'a> Expander<'a, '_> {
    /// `~SEQ(NAME, [[FIRST,] STEP,] LAST) LINE` and `~LST(NAME, VALUE…) LINE`.
    pub(super) fn expand_repetition(&mut self, text: &'a str, base: u32, depth: usize) {
        let (kind, spec, rest) = match split_repetition(text) {
            Some(parts) => parts,
            None => {
                let head = text.split_whitespace().next().unwrap_or(text);
                return self.report_bad_repetition(
                    text_span(head, base),
                    "expected ~SEQ(NAME, FIRST, STEP, LAST) or ~LST(NAME, VALUE…)",
                );
            }
        };
        let spec_at = base + kind.len() as u32 + 1;
        let at = Span { start: base, end: spec_at + spec.len() as u32 + 1 };
        let spec = self.substitute_text(spec, spec_at);
        let (rest, rest_at) = trim(rest, base + (text.len() - rest.len()) as u32);
        if kind == "~LST" {
            match parse_list(&spec) {
                Ok(turns) => {
                    for t in turns {
                        if !self.limit_reached {
                            self.expand_iteration(t, rest, rest_at, depth);
                        }
                    }
                }
                Err(problem) => self.report_bad_repetition(at, problem),
            }
            return;
        }
        match Sequence::parse(&spec) {
            Ok(s) if s.len() > MAX_LINES as u64 => self.report_limit(at, "1,000,000 lines"),
            Ok(s) => {
                for n in 0..s.len() {
                    let value = s.first + s.step * n as i64;
                    let shown = match (kind, value < 0) {
                        ("~SEQx", false) => format!("{value:x}"),
                        ("~SEQx", true) => format!("-{:x}", value.unsigned_abs()),
                        _ => value.to_string(),
                    };
                    self.expand_iteration(vec![(s.name.clone(), shown)], rest, rest_at, depth);
                    if self.limit_reached {
                        return;
                    }
                }
            }
            Err(problem) => self.report_bad_repetition(at, problem),
        }
    }

    /// Expands the rest of the line with the values of one iteration.
    fn expand_iteration(&mut self, turn: Bindings, rest: &'a str, rest_at: u32, depth: usize) {
        self.iterations += 1;
        if self.iterations > MAX_LINES {
            return self.report_limit(text_span(rest, rest_at), "1,000,000 lines");
        }
        for (name, value) in turn {
            self.definitions.insert(name, Definition::Value(value));
        }
        self.expand_line(rest, rest_at, depth + 1);
    }

    fn report_bad_repetition(&mut self, at: Span, problem: &str) {
        self.report(Diagnostic::error("bad-repetition", at, "invalid repetition").label(problem));
    }
}

/// Kind, arguments and rest of `~SEQ(ARGUMENTS) REST`.
fn split_repetition(text: &str) -> Option<(&str, &str, &str)> {
    let (kind, after) = text.split_once('(')?;
    let (spec, rest) = after.split_once(')')?;
    matches!(kind, "~SEQ" | "~SEQx" | "~LST").then_some((kind, spec, rest))
}

struct Sequence {
    name: String,
    first: i64,
    step: i64,
    last: i64,
}

impl Sequence {
    fn parse(spec: &str) -> Result<Self, &'static str> {
        let mut parts = spec.split(',').map(str::trim);
        let name = parts.next().unwrap_or("").to_owned();
        let mut numbers = Vec::new();
        for p in parts {
            numbers.push(parse_number(p).ok_or("expected whole numbers of at most nine digits")?);
        }
        let (first, step, last) = match numbers[..] {
            [last] => (if last < 0 { -1 } else { 1 }, None, last),
            [first, last] => (first, None, last),
            [first, step, last] => (first, Some(step), last),
            _ => return Err("expected a name and one to three numbers"),
        };
        let step = step.unwrap_or(if first > last { -1 } else { 1 });
        if step == 0 {
            return Err("the step must not be 0");
        }
        if (step > 0) != (last >= first) && first != last {
            return Err("the step leads away from the last number");
        }
        Ok(Sequence { name, first, step, last })
    }

    fn len(&self) -> u64 {
        (self.last - self.first).unsigned_abs() / self.step.unsigned_abs() + 1
    }
}

/// A decimal number, or a hexadecimal one after `0x`.
fn parse_number(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |d| (-1, d));
    let n = match digits.strip_prefix("0x") {
        Some(hex) if hex.len() <= 8 && !hex.starts_with('+') => i64::from_str_radix(hex, 16).ok()?,
        None if digits.len() <= 9 && digits.starts_with(|c: char| c.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    Some(sign * n)
}

/// `NAME, VALUE…` or `{NAME, NAME…}, {VALUE, VALUE…}…`. Missing values are empty.
fn parse_list(spec: &str) -> Result<Vec<Bindings>, &'static str> {
    let mut groups = Vec::new();
    let mut rest = spec.trim();
    while !rest.is_empty() {
        let (group, after) = match rest.strip_prefix('{') {
            Some(inner) => {
                let (group, after) = inner.split_once('}').ok_or("a `}` is missing")?;
                (group.split(',').map(|v| v.trim().to_owned()).collect(), after.trim_start())
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (value, after) = rest.split_at(end);
                (vec![value.trim().to_owned()], after)
            }
        };
        groups.push(group);
        rest = match after.strip_prefix(',') {
            Some(r) => r.trim_start(),
            None if after.is_empty() => after,
            None => return Err("expected a comma"),
        };
    }
    let mut groups: std::vec::IntoIter<Vec<String>> = groups.into_iter();
    let names = groups.next().ok_or("expected a name")?;
    if !names.iter().all(|n| substitute::is_name(n)) {
        return Err("expected names of letters, digits and _");
    }
    if groups.len() == 0 {
        return Err("expected at least one value");
    }
    let turn = |values: Vec<String>| {
        let mut values = values.into_iter();
        names.iter().map(|n| (n.clone(), values.next().unwrap_or_default())).collect()
    };
    Ok(groups.map(turn).collect())
}
