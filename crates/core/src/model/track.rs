//! What instances track.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ScriptCommand;

/// What an instance can track.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum TrackedObject {
    /// The `vrrp_script` of this name: good while it succeeds.
    Script(String),
    /// The network interface of this name: good while it is up and has a carrier.
    Interface(String),
    /// The `track_file` of this name, whose number counts.
    File(String),
    /// The `vrrp_track_process` of this name: good while enough of its processes run.
    Process(String),
    /// The `bfd_instance` of this name: good while the session is up.
    Bfd(String),
    /// The static address that is written so: good while it is there.
    Address(String),
    /// The static route that is written so.
    Route(String),
    /// The static rule that is written so.
    Rule(String),
}

impl fmt::Display for TrackedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrackedObject::Script(n) => write!(f, "script {n}"),
            TrackedObject::Interface(n) => write!(f, "interface {n}"),
            TrackedObject::File(n) => write!(f, "file {n}"),
            TrackedObject::Process(n) => write!(f, "process {n}"),
            TrackedObject::Bfd(n) => write!(f, "BFD session {n}"),
            TrackedObject::Address(n) => write!(f, "address {n}"),
            TrackedObject::Route(n) => write!(f, "route {n}"),
            TrackedObject::Rule(n) => write!(f, "rule {n}"),
        }
    }
}

/// How a tracked object was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TrackResult {
    /// As it should be, or not.
    Good(bool),
    /// With this number in it.
    Number(i32),
}

/// What an instance tracks, and what that does to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Track {
    /// What.
    pub object: TrackedObject,
    /// -254 to 254: added while it is good if positive, while it is bad if negative; 0: FAULT while it is bad. A number is
    /// multiplied by it; 0: FAULT while the number is not 0.
    pub weight: i16,
    /// What is added is subtracted instead; with 0: FAULT while it is good.
    pub reverse: bool,
}

/// A `vrrp_script`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VrrpScript {
    /// Its name.
    pub name: String,
    /// What is run.
    pub command: ScriptCommand,
    /// From one start to the next.
    pub interval: Duration,
    /// It has failed if it runs longer.
    pub timeout: Duration,
    /// Successes in a row that make it good.
    pub rise: u32,
    /// Failures in a row that make it bad.
    pub fall: u32,
    /// It counts as failed until it has succeeded.
    pub init_fail: bool,
}

/// A `track_file`, or `vrrp_track_file`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrackFile {
    /// Its name.
    pub name: String,
    /// The file, which holds one whole number.
    pub path: String,
    /// It is made at start with this number if it is not there; or even if it is.
    pub init: Option<(i32, bool)>,
}

/// How the parameters of a process are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ParamMatch {
    /// Not at all: none are configured.
    Any,
    /// They are the same.
    Exact,
    /// They begin with the configured ones.
    Initial,
    /// The configured ones are among them, in their order.
    Partial,
}

/// A `vrrp_track_process`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrackProcess {
    /// Its name.
    pub name: String,
    /// The program.
    pub program: String,
    /// Its parameters.
    pub parameters: Vec<String>,
    /// How they are compared.
    pub param_match: ParamMatch,
    /// The program is compared with the whole command, not with the process's short name.
    pub full_command: bool,
    /// So many there must be.
    pub quorum: u32,
    /// So many there may be.
    pub quorum_max: Option<u32>,
    /// It has been good for so long before that counts.
    pub fork_delay: Duration,
    /// It has been bad for so long before that counts.
    pub terminate_delay: Duration,
}
