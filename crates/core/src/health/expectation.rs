//! The expectation of an HTTP response body: its digest, and the regular expression that it must or must not match.

use std::sync::Arc;

use md5::{Digest, Md5};
use pcre2::bytes::RegexBuilder;

use crate::model::{HttpUrl, Pattern};

/// A compiled regular expression.
pub type Regex = pcre2::bytes::Regex;

/// The expression is searched in the first bytes of a body, up to this number.
pub const MAX_SEARCHED_BYTES: usize = 4 << 20;

/// A response body as it arrives, and what it must be.
pub struct Expectation<'e> {
    url: &'e HttpUrl,
    regex: Option<Arc<Regex>>,
    md5: Md5,
    body: Vec<u8>,
    length: u64,
}

impl<'e> Expectation<'e> {
    /// An empty body. `regex`: the compiled pattern of `url`.
    pub fn new(url: &'e HttpUrl, regex: Option<Arc<Regex>>) -> Self {
        Expectation { url, regex, md5: Md5::new(), body: Vec::new(), length: 0 }
    }

    /// Appends bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if self.url.digest.is_some() {
            self.md5.update(bytes);
        }
        if self.regex.is_some() {
            let room = MAX_SEARCHED_BYTES - self.body.len();
            self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// The number of bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The URL.
    pub fn url(&self) -> &'e HttpUrl {
        self.url
    }

    /// The MD5 of the bytes so far if the URL has a digest; else the MD5 of nothing.
    pub fn digest(self) -> [u8; 16] {
        self.md5.finalize().into()
    }

    /// Compares the complete body. An error says what is not as expected.
    pub fn finish(self) -> Result<(), String> {
        if let Some(wanted) = self.url.digest {
            let found: [u8; 16] = self.md5.finalize().into();
            if found != wanted {
                return Err(format!("the body's digest is {}, expected {}", to_hex(&found), to_hex(&wanted)));
            }
        }
        let (Some(regex), Some(pattern)) = (self.regex, &self.url.pattern) else { return Ok(()) };
        match (regex_matches(&regex, pattern, &self.body)?, pattern.inverted) {
            (true, false) | (false, true) => Ok(()),
            (false, false) => Err(format!("the body ({} bytes) does not match \"{}\"", self.length, pattern.source)),
            (true, true) => Err(format!("the body matches \"{}\"", pattern.source)),
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn regex_matches(regex: &Regex, pattern: &Pattern, body: &[u8]) -> Result<bool, String> {
    if pattern.min_offset > body.len() {
        return Ok(false);
    }
    let found = regex.find_at(body, pattern.min_offset).map_err(|e| format!("the search of the body failed: {e}"))?;
    Ok(found.is_some_and(|m| pattern.max_offset.is_none_or(|max| m.start() <= max)))
}

/// keepalived's option words that become part of the expression (pcre2pattern(3), "INTERNAL OPTION SETTING" and the
/// items at the start of a pattern).
const INLINE_OPTIONS: [(&str, &str); 7] = [
    ("extended_more", "(?xx)"),
    ("dupnames", "(?J)"),
    ("no_auto_capture", "(?n)"),
    ("ungreedy", "(?U)"),
    ("no_auto_possess", "(*NO_AUTO_POSSESS)"),
    ("no_start_optimize", "(*NO_START_OPT)"),
    ("no_dotstar_anchor", "(*NO_DOTSTAR_ANCHOR)"),
];

/// keepalived's option words that have no effect here, because no syntax in an expression sets them.
pub const IGNORED_OPTIONS: [&str; 10] = [
    "allow_empty_class",
    "alt_bsux",
    "alt_circumflex",
    "alt_verbnames",
    "dollar_endonly",
    "firstline",
    "match_unset_backref",
    "never_backslash_c",
    "never_ucp",
    "never_utf",
];

/// Compiles a pattern with its options. An error says what is wrong, and where.
pub fn compile_regex(pattern: &Pattern) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new();
    builder.jit_if_available(true);
    builder.max_jit_stack_size(pattern.stack);
    let (mut start, mut inner, mut end, mut literal) = (String::new(), String::new(), "", false);
    for option in &pattern.options {
        match option.as_str() {
            "caseless" => drop(builder.caseless(true)),
            "dotall" => drop(builder.dotall(true)),
            "extended" => drop(builder.extended(true)),
            "multiline" => drop(builder.multi_line(true)),
            "ucp" => drop(builder.ucp(true)),
            "utf" => drop(builder.utf(true)),
            "literal" => literal = true,
            other if IGNORED_OPTIONS.contains(&other) => {}
            "anchored" => inner = format!("\\G{inner}"),
            "endanchored" => end = "\\z",
            other => match INLINE_OPTIONS.iter().find(|(name, _)| *name == other) {
                Some((_, text)) if text.starts_with("(*") => start += text,
                Some((_, text)) => inner += text,
                None => return Err(format!("the option `{other}` is unknown")),
            },
        }
    }
    let source = if literal { pcre2::escape(&pattern.source) } else { pattern.source.clone() };
    let text = format!("{start}{inner}(?:{source}){end}");
    let prefix = start.len() + inner.len() + 3;
    builder.build(&text).map_err(|e| match e.offset() {
        Some(at) => format!(
            "{} (after \"{}\")",
            regex_error_text(&e),
            prefix_before(&pattern.source, at.saturating_sub(prefix))
        ),
        None => regex_error_text(&e),
    })
}

/// The message of PCRE2, without its offset, which counts in the expression with options.
fn regex_error_text(e: &pcre2::Error) -> String {
    let text = e.to_string();
    text.split_once(": ").filter(|(head, _)| head.starts_with("PCRE2")).map_or(text.clone(), |(_, t)| t.to_owned())
}

fn prefix_before(source: &str, at: usize) -> &str {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    &source[..at]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StatusRange;

    fn url(pattern: Option<Pattern>, digest: Option<[u8; 16]>) -> HttpUrl {
        let status = vec![StatusRange { from: 200, to: 299 }];
        HttpUrl { path: "/".into(), status, virtualhost: None, digest, pattern }
    }

    fn pattern(source: &str, options: &[&str]) -> Pattern {
        let options = options.iter().map(|o| (*o).to_owned()).collect();
        Pattern { source: source.into(), options, inverted: false, min_offset: 0, max_offset: None, stack: None }
    }

    fn check_body(p: Pattern, body: &str) -> Result<(), String> {
        let regex = compile_regex(&p).expect("compiles");
        let url = url(Some(p), None);
        let mut e = Expectation::new(&url, Some(Arc::new(regex)));
        body.as_bytes().chunks(3).for_each(|c| e.feed(c));
        e.finish()
    }

    #[test]
    fn a_body_is_searched_as_pcre2_does_it() {
        assert_eq!(check_body(pattern("hel+o", &[]), "say hello"), Ok(()));
        assert_eq!(check_body(pattern("(?<=say )HELLO(?!x)", &["caseless"]), "say hello"), Ok(()));
        assert!(check_body(pattern("^hello", &[]), "say\nhello").is_err());
        assert_eq!(check_body(pattern("^hello", &["multiline"]), "say\nhello"), Ok(()));
        assert!(check_body(pattern("hello", &["anchored"]), "say hello").is_err());
        assert!(check_body(pattern("hello", &["endanchored"]), "hello you").is_err());
        assert_eq!(check_body(Pattern { inverted: true, ..pattern("bad", &[]) }, "good"), Ok(()));
        assert!(check_body(Pattern { inverted: true, ..pattern("bad", &[]) }, "bad").is_err());
        assert!(check_body(Pattern { min_offset: 2, ..pattern("hello", &[]) }, "hello").is_err());
        assert!(check_body(Pattern { max_offset: Some(2), ..pattern("hello", &[]) }, "say hello").is_err());
        assert!(check_body(Pattern { min_offset: 99, ..pattern("h", &[]) }, "h").is_err(), "beyond the body");
    }

    #[test]
    fn an_invalid_expression_is_reported_with_its_reason() {
        let why = compile_regex(&pattern("he(llo", &[])).expect_err("no end");
        assert!(why.contains("parenthes"), "{why}");
        let why = compile_regex(&pattern("x", &["casless"])).expect_err("misspelt");
        assert!(why.contains("casless"), "{why}");
    }

    /// The digest of the recorded run `http_multi_url`, whose body is "hello world\n".
    #[test]
    fn a_digest_is_what_genhash_prints() {
        let wanted: Vec<u8> = (0..16)
            .map(|n| u8::from_str_radix(&"6f5902ac237024bdd0c176cb93063dc4"[2 * n..2 * n + 2], 16).expect("hex"))
            .collect();
        let url = url(None, Some(wanted.try_into().expect("16")));
        let mut e = Expectation::new(&url, None);
        e.feed(b"hello ");
        e.feed(b"world\n");
        assert_eq!(e.finish(), Ok(()));
        let mut e = Expectation::new(&url, None);
        e.feed(b"hello");
        assert!(e.finish().is_err_and(|w| w.contains("expected 6f5902ac")));
    }
}
