//! Findings: what an operator should know about a director, or do something about.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much a finding matters, in the order of the exit statuses of monitoring plugins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something does not work as configured, or will not. Exit status 1.
    Warning,
    /// A service, a device or a virtual router does not work. Exit status 2.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        })
    }
}

/// A finding. Two findings with the same `id` and `subject` are the same one at two moments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Its kind, a word in kebab case: `no-next-hop`.
    pub id: String,
    /// How much it matters.
    pub severity: Severity,
    /// The object: a service, a real server, a device; empty if it is the director.
    pub subject: String,
    /// What is wrong and why.
    pub reason: String,
    /// What to do about it; empty if the reason says it.
    pub remedy: String,
    /// How long the finding has stood, in ms.
    pub since_ms: u64,
}

impl Finding {
    /// A finding that begins now.
    pub fn new(id: &str, severity: Severity, subject: impl fmt::Display, reason: impl fmt::Display) -> Finding {
        let (id, subject, reason) = (id.to_owned(), subject.to_string(), reason.to_string());
        Finding { id, severity, subject, reason, remedy: String::new(), since_ms: 0 }
    }

    /// The same finding with what to do about it.
    pub fn with_remedy(self, remedy: impl fmt::Display) -> Finding {
        Finding { remedy: remedy.to_string(), ..self }
    }
}

/// `SUBJECT: REASON: REMEDY`, without what is empty.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.subject, &self.reason, &self.remedy];
        let parts: Vec<&str> = parts.into_iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
        f.write_str(&parts.join(": "))
    }
}
