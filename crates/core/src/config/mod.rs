//! The configuration language: text, spans, tree, typed configuration.
//!
//! [`parse`] is the way in. It reads the whole file and what it includes, goes on after an error, and returns every
//! finding of one pass. The stages, in order:
//!
//! - `expand`: files to lines. Includes, `@id`, `$NAME`, `~SEQ`, `~LST`; every place leads back to the text as written.
//! - `lex`, `tree`: lines to words, words to statements with their blocks.
//! - `read`: statements to typed values, by the registry in [`keywords`].
//! - `check`: what must agree between statements, and with the machine.
//! - `lower`: what of it is in force, with defaults.
//!
//! The language is keepalived.conf (keepalived.conf(5)), and what keepalived would say of a file is known of each finding
//! ([`diag::Verdict`]).

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
mod read;
mod source;
#[doc(hidden)]
pub mod stages;
mod tree;
pub mod value;

pub use diag::{Diagnostic, KeepalivedVerdict, Severity};
pub use environment::{Environment, IprouteDirs, NullEnvironment};
pub use manual::{compatibility_page, man_page, reference_page};
pub use source::{Sources, Span};
pub use value::Section;

use crate::model::Config;

/// How a file is to be read.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// What `@id` is compared with; the host's name if none is given.
    pub config_id: Option<String>,
}

/// What became of a file.
#[derive(Debug)]
pub struct Parsed {
    /// What of it is in force. Where something is wrong, without that, as keepalived would run it.
    pub config: Config,
    /// Everything that it says, whether something acts on it or not.
    pub typed: Section,
    /// Errors and warnings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that their places are in.
    pub sources: Sources,
}

impl Parsed {
    /// Every finding as a person reads it, with the line and a caret; of many of one kind the first hundred.
    pub fn render(&self, colour: bool) -> String {
        let mut counts = std::collections::BTreeMap::new();
        let mut shown = Vec::new();
        for d in &self.diagnostics {
            let n: &mut usize = counts.entry(d.code).or_default();
            *n += 1;
            if *n <= MAX_RENDERED_PER_CODE {
                shown.push(d.render(&self.sources, colour));
            }
        }
        for (code, n) in counts.into_iter().filter(|(_, n)| *n > MAX_RENDERED_PER_CODE) {
            shown.push(format!("and {} more findings `{code}`\n", n - MAX_RENDERED_PER_CODE));
        }
        shown.join("\n")
    }

    /// How many errors there are.
    pub fn error_count(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// The configuration, if nothing in the file is an error: a reload takes it whole or not at all.
    pub fn valid_config(&self) -> Option<&Config> {
        (self.error_count() == 0).then_some(&self.config)
    }

    /// May a daemon start with it? It may where keepalived would, leaving out what is wrong, unless this version lacks
    /// something without which to run would do harm.
    pub fn may_start(&self) -> bool {
        self.diagnostics.iter().all(|d| d.severity != Severity::Error || d.keepalived_would_start())
            && (self.error_count() == 0 || !self.config.is_empty())
    }

    /// The exit status of `keepalived -t` (by recordings of 2.2.7 and 2.4.3): 0 nothing to say, 2 a parameter is missing,
    /// 4 a file cannot be read, 5 an error, a warning or an old name, 6 unsafe scripts or a missing include.
    pub fn keepalived_exit_status(&self) -> u8 {
        let mut status = 0;
        for d in &self.diagnostics {
            match d.verdict {
                KeepalivedVerdict::Exits(n) => return n,
                KeepalivedVerdict::Reports => status = 5,
                KeepalivedVerdict::ReportsScript if status == 0 => status = 6,
                KeepalivedVerdict::ReportsScript | KeepalivedVerdict::Silent => {}
            }
        }
        status
    }
}

/// Parses and checks a configuration. `name` is the file's path, as diagnostics show it and as relative includes are
/// looked for; `text` is what is in it.
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
    Parsed { config, typed, diagnostics, sources }
}

/// Nobody reads more of one kind.
const MAX_RENDERED_PER_CODE: usize = 100;

/// [`parse`] for a file that needs nothing of the machine: tests, generators.
pub fn parse_text(name: &str, text: &str) -> Parsed {
    parse(name, text.to_owned(), &NullEnvironment, &Options::default())
}

#[cfg(test)]
mod tests;
