//! `$NAME`, `${NAME}` and the predefined names (keepalived.conf(5), "parameter substitution").

use super::super::source::Piece;
use super::super::{Diagnostic, Span};
use super::{Definition, Expander, MAX_DEPTH, span_of};

/// One line may grow to this many bytes.
const MAX_LINE: usize = 1 << 20;
/// Names that one line may come to use.
const MAX_STEPS: usize = 100_000;

/// A name: a letter or `_`, then letters, digits and `_`.
pub(super) fn is_name(s: &str) -> bool {
    let mut bytes = s.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A text in the making.
#[derive(Default)]
struct Made {
    text: String,
    pieces: Vec<Piece>,
    replaced: bool,
    /// Names looked up so far: definitions that double each other grow in time even where they make no text.
    steps: usize,
}

/// What is being replaced: the reference as written, and where the text in hand is defined.
#[derive(Clone, Copy)]
struct Inside {
    reference: Span,
}

impl Made {
    fn push(&mut self, text: &str, base: u32, inside: Option<Inside>) {
        if text.is_empty() {
            return;
        }
        let at = self.text.len() as u32;
        self.pieces.push(match inside {
            None => Piece { at, origin: span_of(text, base), verbatim: true, defined: None },
            Some(i) => Piece { at, origin: i.reference, verbatim: false, defined: Some(span_of(text, base)) },
        });
        self.text.push_str(text);
    }

    fn value(&mut self, text: &str, reference: Span) {
        self.replaced = true;
        let at = self.text.len() as u32;
        self.pieces.push(Piece { at, origin: reference, verbatim: false, defined: None });
        self.text.push_str(text);
    }
}

/// `${NAME}` or `$NAME` at the beginning of a text: the name with its arguments, and the length of the reference. A name
/// without braces ends before a blank, a comma, a closing parenthesis or the end.
fn reference(text: &str) -> Option<(&str, usize)> {
    let rest = text.strip_prefix('$')?;
    if let Some(braced) = rest.strip_prefix('{') {
        let (name, _) = braced.split_once('}')?;
        let first = name.split_whitespace().next()?;
        return is_name(first).then_some((name, name.len() + 3));
    }
    let len = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let (name, behind) = rest.split_at(len);
    let ends = behind.is_empty() || behind.starts_with([' ', '\t', ',', ')']);
    (is_name(name) && ends).then_some((name, len + 1))
}

impl<'a> Expander<'a, '_> {
    /// Replaces what a line names; `None` if that is nothing.
    pub(super) fn replace(&mut self, text: &str, base: u32) -> Option<(&'a str, u32)> {
        let mut made = Made::default();
        self.replace_into(text, base, None, &mut made, 0);
        if !made.replaced {
            return None;
        }
        self.sources.add_made(made.text, made.pieces)
    }

    /// The same for a piece of a line that is read at once.
    pub(super) fn replaced_text(&mut self, text: &str, base: u32) -> String {
        let mut made = Made::default();
        self.replace_into(text, base, None, &mut made, 0);
        made.text
    }

    fn replace_into(&mut self, text: &str, base: u32, inside: Option<Inside>, made: &mut Made, depth: usize) {
        let mut from = 0;
        if self.full {
            return; // each line of a definition comes here, and each may name a definition of many lines
        }
        while let Some(found) = text.get(from..).and_then(|t| t.find('$')) {
            let at = from + found;
            let Some((name, len)) = text.get(at..).and_then(reference) else {
                made.push(text.get(from..=at).unwrap_or(""), base + from as u32, inside);
                from = at + 1;
                continue;
            };
            made.push(text.get(from..at).unwrap_or(""), base + from as u32, inside);
            let here = Span { start: base + at as u32, end: base + (at + len) as u32 };
            let outer = inside.map_or(here, |i| i.reference);
            if !self.put(name, outer, made, depth) {
                made.push(text.get(at..at + len).unwrap_or(""), base + at as u32, inside);
            }
            made.steps += 1;
            if made.text.len() > MAX_LINE || made.steps > MAX_STEPS {
                return self.overflow(outer, "1 MiB or 100,000 names on one line");
            }
            if self.full {
                return;
            }
            from = at + len;
        }
        made.push(text.get(from..).unwrap_or(""), base + from as u32, inside);
    }

    /// Appends what a name stands for; `false` if it stands for nothing.
    fn put(&mut self, name: &str, reference: Span, made: &mut Made, depth: usize) -> bool {
        if name.starts_with('_')
            && let Some(value) = self.predefined(name, reference)
        {
            made.value(&value, reference);
            return true;
        }
        let sources = self.sources;
        let lines = match self.definitions.get(name.trim()) {
            None => return false,
            Some(Definition::Value(v)) => {
                made.value(v, reference);
                return true;
            }
            Some(Definition::Written(lines)) => lines.clone(),
        };
        made.replaced = true;
        if depth >= MAX_DEPTH {
            self.overflow(reference, "32 definitions deep; does it name itself?");
            return true;
        }
        for (n, line) in lines.iter().enumerate() {
            if n > 0 {
                made.value("\n", reference);
            }
            self.replace_into(sources.text(*line), line.start, Some(Inside { reference }), made, depth + 1);
        }
        true
    }

    fn predefined(&mut self, name: &str, at: Span) -> Option<String> {
        let mut words = name.split_whitespace();
        Some(match words.next()? {
            "_PWD" => self.directory().display().to_string(),
            "_INSTANCE" => self.config_id.clone(),
            "_HASH" => "#".into(),
            "_BANG" => "!".into(),
            "_ENV" => words.next().and_then(|n| self.environment.variable(n)).unwrap_or_default(),
            "_RANDOM" => {
                let mut bound = |usual: u64| words.next().map_or(Some(usual), |w| w.parse().ok());
                let (min, max) = (bound(0), bound(32767));
                match (min, max) {
                    (Some(min), Some(max)) if min <= max => self.random(min, max).to_string(),
                    _ => {
                        self.push(
                            Diagnostic::error("bad-random", at, "`${_RANDOM}` takes a lowest and a highest number")
                                .label("expected ${_RANDOM}, ${_RANDOM MIN} or ${_RANDOM MIN MAX}"),
                        );
                        String::new()
                    }
                }
            }
            _ => return None,
        })
    }

    /// splitmix64: good enough for priorities and delays, and the same for the same seed.
    fn random(&mut self, min: u64, max: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        match (max - min).checked_add(1) {
            Some(n) => min + z % n,
            None => z,
        }
    }
}
