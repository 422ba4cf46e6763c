//! Scripts, and the notifications of an instance or a sync group.

use serde::{Deserialize, Serialize};

/// A program with its arguments, and the user that runs it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ScriptCommand {
    /// The program and its arguments. No shell is involved.
    pub argv: Vec<String>,
    /// The names of user and group, if configured.
    pub user: Option<(String, Option<String>)>,
    /// The program also gets the user's supplementary groups (`set_supplementary_groups`).
    pub groups: bool,
}

/// The notifications of an instance's or a sync group's transitions (`notify…`).
///
/// Programs get the arguments of the configuration. `any` and `deleted` also get the kind of object, its name, its state
/// and its priority (keepalived.conf(5), "notify").
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NotifyConfig {
    /// Runs at the transition to master.
    pub master: Option<ScriptCommand>,
    /// Runs at the transition to backup.
    pub backup: Option<ScriptCommand>,
    /// Runs at the transition to FAULT.
    pub fault: Option<ScriptCommand>,
    /// Runs when the daemon stops.
    pub stop: Option<ScriptCommand>,
    /// Runs at every transition.
    pub any: Option<ScriptCommand>,
    /// If set, removal by a reload is notified as DELETED and not as FAULT, and runs the program if there is one.
    pub deleted: Option<Option<ScriptCommand>>,
    /// Runs when a master receives an advert of lower priority.
    pub lower_priority: Option<ScriptCommand>,
    /// FIFOs also report changed priorities.
    pub priority_changes: bool,
    /// Transitions are reported by mail.
    pub mail: bool,
}
