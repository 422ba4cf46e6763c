//! The configuration language: the text of keepalived.conf to [`Config`](crate::model::Config), the
//! model that the daemon runs.
//!
//! [`parse`] runs six stages. Each reads the whole file, goes on after an error and appends to one list of diagnostics.
//!
//! | stage | file | from → to | what it does |
//! | --- | --- | --- | --- |
//! | expand | `expand/` | files → lines | `include`, `@id` conditions, `$NAME` definitions, `~SEQ` and `~LST` |
//! | lex | `lex.rs` | line → `Token`s | words, quoted strings, braces; removes comments |
//! | tree | `tree.rs` | tokens → `Statement`s | nests blocks by their braces, finds missing ones |
//! | read | `read/` | statements → [`Section`] | looks keywords up in [`keywords`], parses their arguments to [`value::Value`] |
//! | check | `check/` | [`Section`] → diagnostics | what must agree between statements, and with the machine |
//! | lower | `lower/` | [`Section`] → `Config` | defaults, inheritance between blocks, what is in effect |
//!
//! - `source.rs` holds the texts; a [`Span`] is a range of bytes in them, and leads from an expanded line back to the
//!   file.
//! - `diag.rs` is a diagnostic, with our severity and with what keepalived reports ([`diag::KeepalivedVerdict`]);
//!   `codes.rs` explains each code.
//! - `environment.rs` is what the language asks of the machine: files, interfaces, users.
//! - `redact.rs` keeps passwords and keys out of diagnostics.
//! - `manual.rs` makes the reference pages of the registry, and `fmt.rs` formats a file.
//!
//! The language is that of keepalived.conf(5), with additions that the registry marks.

mod check;
pub mod codes;
mod derived;
pub mod diag;
pub mod environment;
mod expand;
pub mod fmt;
pub mod keywords;
mod lex;
mod lower;
mod manual;
mod parsed;
mod read;
mod redact;
mod source;
#[doc(hidden)]
pub mod stages;
mod tree;
pub mod value;

pub use diag::{Diagnostic, KeepalivedVerdict, Severity};
pub use environment::{Environment, IprouteDirs, NullEnvironment};
pub use manual::{compatibility_page, man_page, reference_page};
pub use parsed::Parsed;
pub use source::{Sources, Span};
pub use value::Section;

/// How a file is read.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// What `@id` conditions are compared with; the host name if `None`.
    pub config_id: Option<String>,
}

/// Parses and checks a configuration.
///
/// `name` is the path of the file: diagnostics show it, and relative includes start from its directory. `text` is its
/// content.
pub fn parse(name: &str, text: String, environment: &dyn Environment, options: &Options) -> Parsed {
    let sources = Sources::default();
    let mut diagnostics = Vec::new();
    let mut iproute_dirs = IprouteDirs::default();
    let typed = match sources.add_file(name, text, None) {
        Some(file) => {
            let path = std::path::Path::new(name);
            let items = expand::expand(&sources, environment, options, path, file, &mut diagnostics);
            let tree = tree::build_tree(&sources, &items, &mut diagnostics);
            iproute_dirs = read::find_iproute_dirs(&tree);
            read::read(&tree, &sources, environment, &iproute_dirs, &mut diagnostics)
        }
        None => {
            diagnostics.push(Diagnostic::error("expansion-limit", Span::default(), "the file is larger than 4 GiB"));
            read::read(&Default::default(), &sources, environment, &iproute_dirs, &mut diagnostics)
        }
    };
    check::check(&typed, environment, &mut diagnostics);
    let config = lower::lower(&typed, environment, &iproute_dirs, &mut diagnostics);
    diagnostics.sort_by_key(|d| (sources.written_location(d.span).span, d.span));
    diagnostics.dedup();
    let redactor = redact::Redactor::new(&sources);
    let diagnostics = diagnostics.into_iter().map(|d| d.redacted(&redactor)).collect();
    Parsed { config, typed, diagnostics, sources }
}

/// [`parse`] for a text that needs nothing of the machine, e.g. in tests.
pub fn parse_text(name: &str, text: &str) -> Parsed {
    parse(name, text.to_owned(), &NullEnvironment, &Options::default())
}

#[cfg(test)]
mod tests;
