//! The environment: what reading a configuration file needs from the machine.
//!
//! The core does no I/O. The caller of [`super::parse`] passes an [`Environment`]. `evenkeel_sys::environment` has the
//! one of the running machine; tests and fuzzing use [`NullEnvironment`] or their own.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The directories of iproute2's name tables, as `iproute_etc_dir` and `iproute_usr_dir` set them; `None`: the default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IprouteDirs {
    /// The local tables, which take precedence.
    pub etc: Option<PathBuf>,
    /// The tables of iproute2's package.
    pub usr: Option<PathBuf>,
}

/// Why a file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// It does not exist.
    Missing,
    /// It is a directory.
    Directory,
    /// It is executable or not a regular file; keepalived reads neither.
    Executable,
    /// The system's error message.
    Other(String),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ReadError::Missing => "the file does not exist",
            ReadError::Directory => "it is a directory",
            ReadError::Executable => "it is executable, or not a regular file",
            ReadError::Other(message) => message,
        })
    }
}

/// Whether a program of the configuration can be run, and who can modify it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProgramStatus {
    /// It can be run, and only root can modify it.
    Safe,
    /// Unknown.
    Unknown,
    /// It cannot be run; the reason.
    Unusable(String),
    /// A user other than root can modify it.
    Unsafe {
        /// The part of the path that can be modified.
        element: String,
        /// The owner of that part.
        owner: String,
        /// The mode bits of that part.
        mode: u32,
    },
}

/// The machine. A method whose question it cannot answer returns `None`; that is the default of all of them.
pub trait Environment {
    /// Reads a file that is regular and not executable.
    fn read_file(&self, _path: &Path) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::Missing)
    }

    /// The files that match a pattern of glob(7), sorted.
    fn glob(&self, _pattern: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    /// The value of an environment variable.
    fn env_variable(&self, _name: &str) -> Option<String> {
        None
    }

    /// The host name up to its first dot.
    fn host_name(&self) -> String {
        String::new()
    }

    /// The seed of the random numbers of `${_RANDOM}`.
    fn random_seed(&self) -> u64 {
        1
    }

    /// Whether an interface exists.
    fn has_interface(&self, _name: &str) -> Option<bool> {
        None
    }

    /// Whether a user exists, by name or number.
    fn has_user(&self, _name: &str) -> Option<bool> {
        None
    }

    /// Whether a group exists, by name or number.
    fn has_group(&self, _name: &str) -> Option<bool> {
        None
    }

    /// The number of a name (`main`) in one of iproute2's tables (`rt_tables`, `rt_protos`). `None`: the table does not
    /// exist here; `Some(None)`: the table does not have the name.
    fn iproute_id(&self, _dirs: &IprouteDirs, _table: &str, _name: &str) -> Option<Option<u32>> {
        None
    }

    /// The number of CPUs.
    fn cpu_count(&self) -> Option<u32> {
        None
    }

    /// Whether a program can be run, and who can modify it.
    fn program_status(&self, _path: &str) -> ProgramStatus {
        ProgramStatus::Unknown
    }

    /// Whether an address is on a link of the machine, by the addresses that it has now.
    fn is_on_link(&self, _addr: IpAddr) -> Option<bool> {
        None
    }

    /// The interface that the route to an address leads by.
    fn route_interface(&self, _addr: IpAddr) -> Option<String> {
        None
    }
}

/// An environment that knows nothing and has no files.
pub struct NullEnvironment;

impl Environment for NullEnvironment {}
