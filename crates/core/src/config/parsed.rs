//! The result of parsing: configuration, diagnostics, and what keepalived would do with the file.

use std::collections::BTreeMap;

use super::{Diagnostic, KeepalivedVerdict, Section, Severity, Sources};
use crate::model::Config;

/// The most diagnostics of one code that are rendered.
const MAX_RENDERED_PER_CODE: usize = 100;

/// A parsed file.
#[derive(Debug)]
pub struct Parsed {
    /// The configuration in effect, without what is invalid: what keepalived would run.
    pub config: Config,
    /// Every statement that could be read, whether it has an effect or not.
    pub typed: Section,
    /// Errors and warnings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that spans refer to.
    pub sources: Sources,
}

impl Parsed {
    /// All diagnostics for a terminal, each with its line and a caret; at most 100 of each code.
    pub fn render(&self, colour: bool) -> String {
        let mut counts = BTreeMap::new();
        let mut shown = Vec::new();
        for d in &self.diagnostics {
            let n: &mut usize = counts.entry(d.code).or_default();
            *n += 1;
            if *n <= MAX_RENDERED_PER_CODE {
                shown.push(d.render(&self.sources, colour));
            }
        }
        for (code, n) in counts.into_iter().filter(|(_, n)| *n > MAX_RENDERED_PER_CODE) {
            shown.push(format!("and {} more diagnostics `{code}`\n", n - MAX_RENDERED_PER_CODE));
        }
        shown.join("\n")
    }

    /// The number of errors.
    pub fn error_count(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// The configuration, if the file has no error. A reload applies a file as a whole or not at all.
    pub fn valid_config(&self) -> Option<&Config> {
        (self.error_count() == 0).then_some(&self.config)
    }

    /// Whether a daemon may start with the file: where keepalived would start, leaving out what is invalid, unless this
    /// version lacks something without which running would do harm.
    pub fn may_start(&self) -> bool {
        self.diagnostics.iter().all(|d| d.severity != Severity::Error || d.keepalived_would_start())
            && (self.error_count() == 0 || !self.config.is_empty())
    }

    /// The exit status of `keepalived -t`, as recorded of 2.2.7 and 2.4.3: 0 without messages, 2 for a missing
    /// parameter, 4 for an unreadable file, 5 for an error, a warning or a deprecated name, 6 for unsafe scripts or a
    /// missing include.
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
