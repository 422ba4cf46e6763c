//! Tracked objects: scripts, interfaces, files, processes, BFD sessions and network objects that change the state or the
//! priority of an instance.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ScriptCommand;

/// An object that an instance can track.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum TrackedObject {
    /// The `vrrp_script` of this name: good while the script succeeds.
    Script(String),
    /// The network interface of this name: good while the interface is up and has a carrier.
    Interface(String),
    /// The `track_file` of this name: its result is a number.
    File(String),
    /// The `vrrp_track_process` of this name: good while enough of its processes run.
    Process(String),
    /// The `bfd_instance` of this name: good while the session is up.
    Bfd(String),
    /// The static address with this text: good while it exists.
    Address(String),
    /// The static route with this text.
    Route(String),
    /// The static rule with this text.
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

/// The result of a tracked object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TrackResult {
    /// Good or bad.
    Good(bool),
    /// The number in a tracked file.
    Number(i32),
}

/// A tracked object and its effect on the instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Track {
    /// The object.
    pub object: TrackedObject,
    /// The weight, -254 to 254. A positive weight is added to the priority while the object is good, a negative one while it
    /// is bad; 0: FAULT while it is bad. The number of a file is multiplied by the weight; 0: FAULT while the number is not
    /// 0.
    pub weight: i16,
    /// The weight is subtracted instead of added; with weight 0: FAULT while the object is good.
    pub reverse: bool,
}

/// A `vrrp_script`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VrrpScript {
    /// The script's name.
    pub name: String,
    /// The program.
    pub command: ScriptCommand,
    /// The time from one start to the next.
    pub interval: Duration,
    /// A run that takes longer has failed.
    pub timeout: Duration,
    /// The consecutive successes that make the script good.
    pub rise: u32,
    /// The consecutive failures that make the script bad.
    pub fall: u32,
    /// The script counts as failed until its first success.
    pub init_fail: bool,
}

/// A `track_file`, or `vrrp_track_file`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrackFile {
    /// The name that tracks refer to.
    pub name: String,
    /// The path of the file, which contains one integer.
    pub path: String,
    /// At the start the file is created with this number if it does not exist; with `true` it is overwritten.
    pub init: Option<(i32, bool)>,
}

/// How the parameters of a process are compared with the configured ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ParamMatch {
    /// They are not compared: no parameters are configured.
    Any,
    /// They are equal.
    Exact,
    /// They start with the configured ones.
    Initial,
    /// They contain the configured ones in the same order.
    Partial,
}

/// A `vrrp_track_process`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrackProcess {
    /// The name that tracks refer to.
    pub name: String,
    /// The program.
    pub program: String,
    /// The parameters.
    pub parameters: Vec<String>,
    /// How the parameters are compared.
    pub param_match: ParamMatch,
    /// The program is compared with the full command line and not with the short name of the process.
    pub full_command: bool,
    /// The minimum number of processes.
    pub quorum: u32,
    /// The maximum number of processes.
    pub quorum_max: Option<u32>,
    /// The result changes to good only after it has been good this long.
    pub fork_delay: Duration,
    /// The result changes to bad only after it has been bad this long.
    pub terminate_delay: Duration,
}
