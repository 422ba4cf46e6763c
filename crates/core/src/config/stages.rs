//! The first stages of reading a file, one by one, for fuzzing: their invariants are asserted before a later stage can
//! hide a violation.

use std::path::{Path, PathBuf};

use super::environment::{Environment, ReadError};
use super::{Options, Sources, Span, expand, lex};

/// The words of a text. Asserts that each word has a span of its own within the text, in ascending order.
pub fn lex_words(text: &str) -> Vec<String> {
    let (mut tokens, mut diagnostics, mut base) = (Vec::new(), Vec::new(), 0);
    for line in text.split('\n') {
        lex::lex_line(line, base, &mut tokens, &mut diagnostics);
        base += line.len() as u32 + 1;
    }
    let mut end = 0;
    let mut out = Vec::new();
    for t in tokens {
        let (span, word) = match t {
            lex::Token::Word(w) => (w.span, w.text.into_owned()),
            lex::Token::OpenBrace(span) => (span, "{".to_owned()),
            lex::Token::CloseBrace(span) => (span, "}".to_owned()),
        };
        assert!(
            span.start >= end && span.end > span.start && text.get(span.start as usize..span.end as usize).is_some()
        );
        end = span.end;
        out.push(word);
    }
    out
}

/// Files in memory, for includes.
pub trait FileSource {
    /// The text of a file, if it exists.
    fn text(&self, name: &str) -> Option<&'static str>;
}

struct MemoryEnvironment<'f>(&'f dyn FileSource);

impl Environment for MemoryEnvironment<'_> {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        let text = path.to_str().and_then(|p| self.0.text(p)).ok_or(ReadError::Missing)?;
        Ok(text.as_bytes().to_vec())
    }

    /// One pattern with two matches is sufficient to make includes multiply.
    fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        let matches = if pattern.to_str() == Some("[ab]") { ["a", "b"].as_slice() } else { &[] };
        matches.iter().map(PathBuf::from).collect()
    }

    fn env_variable(&self, _: &str) -> Option<String> {
        Some("$A".to_owned())
    }

    fn host_name(&self) -> String {
        "id".to_owned()
    }
}

/// The lines of a text after its expansion. Asserts that each line leads back to a location in a file.
pub fn expand_lines(text: &str, files: &dyn FileSource) -> Vec<String> {
    let sources = Sources::default();
    let mut diagnostics = Vec::new();
    let Some(file) = sources.add_file("fuzz.conf", text.to_owned(), None) else { return Vec::new() };
    let path = Path::new("fuzz.conf");
    let memory = MemoryEnvironment(files);
    let items = expand::expand(&sources, &memory, &Options::default(), path, file, &mut diagnostics);
    let mut out = Vec::new();
    for item in items {
        if let expand::ExpandedItem::Line { text, base } = item {
            let written = sources.written_location(Span { start: base, end: base + text.len() as u32 });
            let (name, _, _) = sources.containing_text(written.span);
            assert!(!name.is_empty() && written.span.start <= written.span.end, "{text}: {written:?}");
            out.push(text.to_owned());
        }
    }
    out
}
