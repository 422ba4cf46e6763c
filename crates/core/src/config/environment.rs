//! What a configuration has to ask of the machine that it is checked on.
//!
//! The core does no I/O: whoever parses a file hands in an [`Environment`]. The one of the running machine is in
//! `evenkeel_sys::environment`; tests and fuzzing use [`Nowhere`].

use std::path::{Path, PathBuf};

/// Where iproute2's tables of names are, if the file says so (`iproute_etc_dir`, `iproute_usr_dir`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IprouteDirs {
    /// Those of the machine, which come first.
    pub etc: Option<PathBuf>,
    /// Those that came with iproute2.
    pub usr: Option<PathBuf>,
}

/// Why a file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// There is none of this name.
    Missing,
    /// It is a directory.
    Directory,
    /// It is executable, or no regular file: keepalived reads neither.
    Executable,
    /// What the system said.
    Other(String),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ReadError::Missing => "there is no such file",
            ReadError::Directory => "it is a directory",
            ReadError::Executable => "it is executable, or not a regular file",
            ReadError::Other(why) => why,
        })
    }
}

/// What is to be said of a program that the configuration names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProgramStatus {
    /// It can be run, and only root can change it.
    Safe,
    /// Nobody knows.
    Unknown,
    /// It cannot be run: why.
    Unusable(String),
    /// Somebody else than root can change it.
    Unsafe {
        /// The part of the path which can be changed.
        element: String,
        /// Who owns it.
        owner: String,
        /// Its mode bits.
        mode: u32,
    },
}

/// The machine. Questions that it cannot answer are answered with `None`.
pub trait Environment {
    /// Reads a file that is regular and not executable.
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, ReadError>;
    /// The files that match a pattern of glob(7), sorted.
    fn glob(&self, pattern: &Path) -> Vec<PathBuf>;
    /// An environment variable.
    fn env_variable(&self, name: &str) -> Option<String>;
    /// The machine's name up to its first dot.
    fn host_name(&self) -> String;
    /// Begins the random numbers of `${_RANDOM}`.
    fn random_seed(&self) -> u64;
    /// Is there such an interface?
    fn has_interface(&self, name: &str) -> Option<bool>;
    /// Is there such a user (a name or a number)?
    fn has_user(&self, name: &str) -> Option<bool>;
    /// Is there such a group (a name or a number)?
    fn has_group(&self, name: &str) -> Option<bool>;
    /// The number that iproute2 has for this name (`main`) in one of its tables (`rt_tables`, `rt_protos`): nothing if it
    /// knows none; nothing at all if there is no such table here.
    fn iproute_id(&self, at: &IprouteDirs, table: &str, name: &str) -> Option<Option<u32>>;
    /// How many processors are there?
    fn cpu_count(&self) -> Option<u32>;
    /// Can this program be run, and by whom changed?
    fn program_status(&self, path: &str) -> ProgramStatus;
    /// Is this address on a link of this machine, by the addresses that it holds now?
    fn is_on_link(&self, addr: std::net::IpAddr) -> Option<bool>;
}

/// A machine of which nothing is known, with no file on it.
pub struct NullEnvironment;

impl Environment for NullEnvironment {
    fn read_file(&self, _: &Path) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::Missing)
    }
    fn glob(&self, _: &Path) -> Vec<PathBuf> {
        Vec::new()
    }
    fn env_variable(&self, _: &str) -> Option<String> {
        None
    }
    fn host_name(&self) -> String {
        String::new()
    }
    fn random_seed(&self) -> u64 {
        1
    }
    fn has_interface(&self, _: &str) -> Option<bool> {
        None
    }
    fn has_user(&self, _: &str) -> Option<bool> {
        None
    }
    fn has_group(&self, _: &str) -> Option<bool> {
        None
    }
    fn iproute_id(&self, _: &IprouteDirs, _: &str, _: &str) -> Option<Option<u32>> {
        None
    }
    fn cpu_count(&self) -> Option<u32> {
        None
    }
    fn program_status(&self, _: &str) -> ProgramStatus {
        ProgramStatus::Unknown
    }
    fn is_on_link(&self, _: std::net::IpAddr) -> Option<bool> {
        None
    }
}
