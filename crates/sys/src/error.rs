//! The crate's error: the operation and its object, the kernel's error number, and the kernel's extended ACK text.

use std::fmt;
use std::io;

/// A failed operation. It is displayed as one sentence: `OPERATION OBJECT: ERRNO TEXT: EXTENDED ACK (HINT)`.
#[derive(Debug)]
pub struct Error {
    /// The operation and its object, for example `attach native XDP to eth0`.
    pub operation: String,
    /// The kernel's error number, or the reason in words.
    pub source: io::Error,
    /// The text of the kernel's extended netlink ACK (NLMSGERR_ATTR_MSG), if it sent one.
    pub extack: Option<String>,
    /// What the operator can do about it, if that is known.
    pub hint: Option<&'static str>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.source)?;
        if let Some(text) = &self.extack {
            write!(f, ": {text}")?;
        }
        match self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

// Display contains the source's text, so source() returns nothing.
impl std::error::Error for Error {}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that is not the kernel's: an operation and the reason of its failure.
    pub fn new(operation: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::from_io(operation, io::Error::other(reason.into()))
    }

    /// An error of the kernel.
    pub fn from_io(operation: impl Into<String>, source: io::Error) -> Self {
        Error { operation: operation.into(), source, extack: None, hint: None }
    }

    /// An error number of the kernel.
    pub fn from_errno(operation: impl Into<String>, errno: i32) -> Self {
        Error::from_io(operation, io::Error::from_raw_os_error(errno))
    }

    /// The error number, if the kernel returned one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// Adds what the operator can do about it.
    pub fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Adds the text of an extended ACK.
    pub fn with_extack(mut self, extack: Option<String>) -> Self {
        self.extack = extack;
        self
    }
}

/// Adds the operation and its object to an error.
pub trait Context<T> {
    /// `operation` returns the operation and its object. It is called only on failure.
    fn context(self, operation: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, operation: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::from_io(operation(), e.into()))
    }
}
