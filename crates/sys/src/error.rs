//! Errors: operation, object, and what the kernel said.

use std::fmt;
use std::io;

/// What failed.
#[derive(Debug)]
pub struct Error {
    /// Operation and object, as `attach XDP to eth0`.
    pub operation: String,
    /// What the kernel said.
    pub source: io::Error,
    /// How to mend it, where that is known.
    pub hint: Option<&'static str>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.source)?;
        match self.hint {
            Some(h) => write!(f, " ({h})"),
            None => Ok(()),
        }
    }
}

// Display says what the kernel said already, so there is no source() to say it again.
impl std::error::Error for Error {}

/// This crate's results.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of our own making.
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Error { operation: what.into(), source: io::Error::other(why.into()), hint: None }
    }

    /// The error number, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// Adds how to mend it.
    pub fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

/// Says what was being done when an error came up.
pub trait Context<T> {
    /// `what` is operation and object.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error { operation: what(), source: e.into(), hint: None })
    }
}
