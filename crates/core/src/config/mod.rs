//! The configuration language: text, spans, tree, typed configuration.
//!
//! [`parse_file`] is the way in. It reads the whole file, goes on after an error at the next line, and returns every
//! diagnostic of one pass. A configuration comes back only if nothing in the file is an error: it is taken whole or not
//! at all.
//!
//! The language is keepalived.conf (keepalived.conf(5)); [`keywords`] is its registry, one entry a keyword.

mod args;
mod check;
pub mod diag;
pub mod keywords;
mod lex;
mod source;
mod tree;

pub use diag::{Diagnostic, Severity};
pub use source::{Source, Span};

use crate::model::Config;

/// What became of a file.
#[derive(Debug)]
pub struct Parsed {
    /// The configuration, if nothing in the file is an error.
    pub config: Option<Config>,
    /// Errors and warnings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The text that their spans point into.
    pub source: Source,
}

impl Parsed {
    /// Every diagnostic as a person reads it, with the line and a caret.
    pub fn render(&self, colour: bool) -> String {
        self.diagnostics.iter().map(|d| d.render(&self.source, colour)).collect::<Vec<_>>().join("\n")
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Error).count()
    }
}

/// Parses and checks a configuration. `name` is the file's path, as diagnostics are to show it.
pub fn parse_file(name: &str, text: &str) -> Parsed {
    let source = Source::new(name, text);
    let mut diagnostics = Vec::new();
    let lines = lex::lex(&source, &mut diagnostics);
    let tree = tree::build(&lines, &mut diagnostics);
    let config = keywords::read(&tree, &mut diagnostics);
    diagnostics.sort_by_key(|d| (d.span.start, d.span.end));
    diagnostics.dedup();
    let clean = diagnostics.iter().all(|d| d.severity != Severity::Error);
    Parsed { config: clean.then_some(config), diagnostics, source }
}

#[cfg(test)]
mod tests;
