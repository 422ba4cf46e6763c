//! Parameter substitution: `$NAME`, `${NAME}` and the predefined names (keepalived.conf(5), "parameter substitution").

use super::super::source::Segment;
use super::super::{Diagnostic, Span};
use super::{Definition, Expander, MAX_DEPTH, text_span};

/// The most bytes of one line after substitution.
const MAX_LINE_BYTES: usize = 1 << 20;
/// The most names that are looked up for one line.
const MAX_LOOKUPS: usize = 100_000;

/// Whether a text is a name: a letter or `_`, then letters, digits and `_`.
pub(super) fn is_name(s: &str) -> bool {
    let mut bytes = s.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A line after substitution, with its source map.
#[derive(Default)]
struct SubstitutedText {
    text: String,
    segments: Vec<Segment>,
    /// Whether a name was substituted.
    substituted: bool,
    /// The number of names looked up. Definitions that double each other take exponential time even if they produce no
    /// text.
    lookups: usize,
}

impl SubstitutedText {
    /// Appends `text`, which is at offset `base`: part of the line itself, or of a definition that replaces
    /// `reference`.
    fn push_text(&mut self, text: &str, base: u32, reference: Option<Span>) {
        if text.is_empty() {
            return;
        }
        let at = self.text.len() as u32;
        self.segments.push(match reference {
            None => Segment { start: at, origin: text_span(text, base), verbatim: true, definition: None },
            Some(origin) => Segment { start: at, origin, verbatim: false, definition: Some(text_span(text, base)) },
        });
        self.text.push_str(text);
    }

    /// Appends a value without a location, which replaces `reference`.
    fn push_value(&mut self, text: &str, reference: Span) {
        self.substituted = true;
        let at = self.text.len() as u32;
        self.segments.push(Segment { start: at, origin: reference, verbatim: false, definition: None });
        self.text.push_str(text);
    }
}

/// The name, with its arguments, of `${NAME}` or `$NAME` at the beginning of a text, and the length of the reference. A
/// name without braces ends at a blank, a comma, a closing parenthesis or the end.
fn parse_reference(text: &str) -> Option<(&str, usize)> {
    let rest = text.strip_prefix('$')?;
    if let Some(braced) = rest.strip_prefix('{') {
        let (name, _) = braced.split_once('}')?;
        let first = name.split_whitespace().next()?;
        return is_name(first).then_some((name, name.len() + 3));
    }
    let len = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let (name, after) = rest.split_at(len);
    let ends = after.is_empty() || after.starts_with([' ', '\t', ',', ')']);
    (is_name(name) && ends).then_some((name, len + 1))
}

impl<'a> Expander<'a, '_> {
    /// Substitutes all names of a line, and returns the new text with its offset; `None` if there is nothing to
    /// substitute.
    pub(super) fn substitute_line(&mut self, text: &str, base: u32) -> Option<(&'a str, u32)> {
        let mut made = SubstitutedText::default();
        self.substitute_into(text, base, None, &mut made, 0);
        if !made.substituted {
            return None;
        }
        self.sources.add_expanded(made.text, made.segments)
    }

    /// Substitutes all names of a text that is not kept.
    pub(super) fn substitute_text(&mut self, text: &str, base: u32) -> String {
        let mut made = SubstitutedText::default();
        self.substitute_into(text, base, None, &mut made, 0);
        made.text
    }

    /// Appends `text` with its names substituted. `reference` is the reference in the line that `text` replaces, if it
    /// is a definition.
    fn substitute_into(
        &mut self,
        text: &str,
        base: u32,
        reference: Option<Span>,
        made: &mut SubstitutedText,
        depth: usize,
    ) {
        let mut from = 0;
        if self.limit_reached {
            return; // checked for each line of a definition, since each may refer to a definition of many lines
        }
        while let Some(found) = text.get(from..).and_then(|t| t.find('$')) {
            let at = from + found;
            let Some((name, len)) = text.get(at..).and_then(parse_reference) else {
                made.push_text(text.get(from..=at).unwrap_or(""), base + from as u32, reference);
                from = at + 1;
                continue;
            };
            made.push_text(text.get(from..at).unwrap_or(""), base + from as u32, reference);
            let here = Span { start: base + at as u32, end: base + (at + len) as u32 };
            let outer = reference.unwrap_or(here);
            if !self.substitute_name(name, outer, made, depth) {
                made.push_text(text.get(at..at + len).unwrap_or(""), base + at as u32, reference);
            }
            made.lookups += 1;
            if made.text.len() > MAX_LINE_BYTES || made.lookups > MAX_LOOKUPS {
                return self.report_limit(outer, "1 MiB or 100,000 names on one line");
            }
            if self.limit_reached {
                return;
            }
            from = at + len;
        }
        made.push_text(text.get(from..).unwrap_or(""), base + from as u32, reference);
    }

    /// Appends the value of a name; `false` if it is not defined.
    fn substitute_name(&mut self, name: &str, reference: Span, made: &mut SubstitutedText, depth: usize) -> bool {
        if name.starts_with('_')
            && let Some(value) = self.predefined_value(name, reference)
        {
            made.push_value(&value, reference);
            return true;
        }
        let sources = self.sources;
        let lines = match self.definitions.get(name.trim()) {
            None => return false,
            Some(Definition::Value(v)) => {
                made.push_value(v, reference);
                return true;
            }
            Some(Definition::Lines(lines)) => lines.clone(),
        };
        made.substituted = true;
        if depth >= MAX_DEPTH {
            self.report_limit(reference, "32 nested definitions; does one refer to itself?");
            return true;
        }
        for (n, line) in lines.iter().enumerate() {
            if n > 0 {
                made.push_value("\n", reference);
            }
            self.substitute_into(sources.text(*line), line.start, Some(reference), made, depth + 1);
        }
        true
    }

    /// The value of a predefined name.
    fn predefined_value(&mut self, name: &str, at: Span) -> Option<String> {
        let mut words = name.split_whitespace();
        Some(match words.next()? {
            "_PWD" => self.current_directory().display().to_string(),
            "_INSTANCE" => self.config_id.clone(),
            "_HASH" => "#".into(),
            "_BANG" => "!".into(),
            "_ENV" => words.next().and_then(|n| self.environment.env_variable(n)).unwrap_or_default(),
            "_RANDOM" => {
                let mut bound = |default: u64| words.next().map_or(Some(default), |w| w.parse().ok());
                let (min, max) = (bound(0), bound(32767));
                match (min, max) {
                    (Some(min), Some(max)) if min <= max => self.next_random(min, max).to_string(),
                    _ => {
                        self.report(
                            Diagnostic::error("bad-random", at, "`${_RANDOM}` takes a minimum and a maximum")
                                .label("expected ${_RANDOM}, ${_RANDOM MIN} or ${_RANDOM MIN MAX}"),
                        );
                        String::new()
                    }
                }
            }
            _ => return None,
        })
    }

    /// A number from `min` to `max` by splitmix64, which is good enough for priorities and delays and repeatable by its
    /// seed.
    fn next_random(&mut self, min: u64, max: u64) -> u64 {
        self.random_state = self.random_state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random_state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        match (max - min).checked_add(1) {
            Some(n) => min + z % n,
            None => z,
        }
    }
}
