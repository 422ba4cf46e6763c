//! The events of health checking: inputs and outputs of the probe scheduler, and what a virtual server reports.

use std::sync::Arc;

use super::{CheckId, Probe, ProbeResult, Verdict};
use crate::model::{ServerKey, ServiceKey};

/// The number of a probe that was started, for [`Input::ProbeFinished`].
pub type ProbeId = usize;

/// An event for the [`ProbeScheduler`](super::ProbeScheduler).
#[derive(Clone, Debug)]
pub enum Input {
    /// A probe of [`Output::StartProbe`] has ended.
    ProbeFinished {
        /// Its number.
        id: ProbeId,
        /// How it ended.
        result: ProbeResult,
    },
    /// `ha_suspend`: suspend the checks of a service, or resume them. Resumed checks are due at once.
    Suspend {
        /// The service.
        service: ServiceKey,
        /// Suspend or resume.
        suspended: bool,
    },
}

/// What the caller must do for the [`ProbeScheduler`](super::ProbeScheduler).
#[derive(Clone, Debug)]
pub enum Output {
    /// Start this probe, and report its end with this number.
    StartProbe {
        /// The number.
        id: ProbeId,
        /// The probe.
        probe: Arc<Probe>,
    },
    /// A check has a result: its own probe's, or one that it shares with another check.
    CheckResult {
        /// The check.
        id: CheckId,
        /// The new verdict, if it changed or must be reported.
        verdict: Option<Verdict>,
        /// How the probe ended.
        result: Arc<ProbeResult>,
        /// `log_all_failures`: log the result if it is a failure.
        log_failure: bool,
    },
}

/// A change of a virtual server that FIFOs, scripts and mails report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthEvent {
    /// A real server went up or down.
    Server {
        /// The real server.
        key: ServerKey,
        /// Up or down.
        up: bool,
    },
    /// The quorum was reached or lost.
    Quorum {
        /// Reached or lost.
        up: bool,
        /// The sum of the weights of the healthy servers.
        healthy_weight: u64,
        /// The threshold that it is compared with.
        threshold: u64,
    },
}
