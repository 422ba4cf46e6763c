//! Health: what is probed and when, and what follows from it.
//!
//! [`Probe`] is one question to one server. [`Checker`] is the schedule and the verdict of one check; [`Pool`] holds all
//! of them, asks each question once for all who want it, and never too many at a time. [`Life`] makes verdicts into the
//! state of a virtual server: its real servers' weights, its quorum, its sorry server. None of them does I/O; sockets,
//! programs and the clock are the daemon's.

mod checker;
mod encap;
mod expectation;
mod probe;
mod probe_scheduler;
mod service_health;
mod syn_probe;

pub use checker::{Checker, Verdict};
pub use encap::encapsulate;
pub use expectation::{Expectation, IGNORED_OPTIONS, Regex, compile_regex, to_hex};
pub use probe::{ForwardingPath, Phase, Probe, ProbeKind, ProbeResult};
pub use probe_scheduler::{CheckConfig, CheckId, CheckResult, ProbeScheduler, ProbeTask};
pub use service_health::{ActiveServers, HealthEvent, ServerHealth, ServiceHealth, WeightEffect};
pub use syn_probe::{SynProbe, SynReply};
