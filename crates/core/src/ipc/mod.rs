//! The protocol of the control socket: requests and replies, one JSON object a line.
//!
//! `evenkeel status -o json` prints [`Status`], so the names of its fields are an interface.

mod finding;
mod status;

use serde::{Deserialize, Serialize};

pub use finding::{Finding, Severity};
pub use status::{
    AttachmentStatus, BfdStatus, CheckLoad, CheckStatus, DataPlaneStatus, DeviceLeftAlone, HealthTransition,
    InstanceStatus, NotificationStatus, ScriptStatus, ServerStatus, ServiceStatus, SorryServerStatus, Status,
    TrackedStatus,
};

use crate::overrides::Override;

/// A request of a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// The state of the director.
    Status,
    /// Reload the configuration file.
    Reload,
    /// Add an override.
    Override {
        /// The override.
        change: Override,
    },
    /// Observe the data plane now, because another program has changed it.
    Observe,
    /// Which steps would a reload with this file take? Nothing is changed.
    Plan {
        /// The absolute path of the file.
        file: String,
    },
}

/// The reply to a request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Reload`]: the new configuration is in force.
    Reloaded {
        /// The steps that the reload has taken.
        steps: Vec<String>,
    },
    /// To [`Request::Override`]: the override is in force.
    Overridden {
        /// The steps that the override has taken.
        steps: Vec<String>,
    },
    /// To [`Request::Observe`].
    Observed,
    /// To [`Request::Plan`].
    Plan {
        /// The steps that a reload would take.
        steps: Vec<String>,
    },
    /// To any request: it is rejected, and nothing has changed.
    Rejected {
        /// The reason.
        error: String,
    },
}
