//! The stages one by one, for fuzzing: what they promise can be looked at before the next one hides it.

use std::path::{Path, PathBuf};

use super::environment::{Environment, IprouteDirs, NullEnvironment, ProgramStatus, ReadError};
use super::{Options, Sources, expand, lex};

/// The words of a text, line by line.
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

/// Files in memory.
pub trait FileSource {
    /// What is in a file, if it is there.
    fn text(&self, name: &str) -> Option<&'static str>;
}

struct MemoryEnvironment<'f>(&'f dyn FileSource);

impl Environment for MemoryEnvironment<'_> {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        let name = path.to_str().and_then(|p| self.0.text(p)).ok_or(ReadError::Missing)?;
        Ok(name.as_bytes().to_vec())
    }
    fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        // One pattern is enough to have files come in twos.
        let two = ["a", "b"].iter().map(PathBuf::from).collect();
        if pattern.to_str() == Some("[ab]") { two } else { Vec::new() }
    }
    fn env_variable(&self, _: &str) -> Option<String> {
        Some("$A".to_owned())
    }
    fn host_name(&self) -> String {
        "id".to_owned()
    }
    fn random_seed(&self) -> u64 {
        1
    }
    fn has_interface(&self, name: &str) -> Option<bool> {
        NullEnvironment.has_interface(name)
    }
    fn has_user(&self, name: &str) -> Option<bool> {
        NullEnvironment.has_user(name)
    }
    fn has_group(&self, name: &str) -> Option<bool> {
        NullEnvironment.has_group(name)
    }
    fn iproute_id(&self, at: &IprouteDirs, table: &str, name: &str) -> Option<Option<u32>> {
        NullEnvironment.iproute_id(at, table, name)
    }
    fn cpu_count(&self) -> Option<u32> {
        None
    }
    fn program_status(&self, path: &str) -> ProgramStatus {
        NullEnvironment.program_status(path)
    }
    fn is_on_link(&self, addr: std::net::IpAddr) -> Option<bool> {
        NullEnvironment.is_on_link(addr)
    }
}

/// The lines that a text comes to; each is checked to lead back to a place in a file.
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
            let written = sources.written_location(super::Span { start: base, end: base + text.len() as u32 });
            let (name, _, _) = sources.containing_text(written.span);
            assert!(!name.is_empty() && written.span.start <= written.span.end, "{text}: {written:?}");
            out.push(text.to_owned());
        }
    }
    out
}
