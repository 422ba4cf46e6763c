//! Health checks: which probes are due, what their results mean, and which real servers are active.
//!
//! From the bottom up:
//!
//! - [`probe`]: [`Probe`], one request to one real server, and its [`ProbeResult`]. `expectation`: what an HTTP
//!   response must be. `syn_probe` and `encap`: probes that are built as packets (`through_service`).
//! - [`Checker`]: schedule and verdict of one check (retries, recovery).
//! - [`ProbeScheduler`]: all checks. It starts probes, shares equal ones, and limits their number.
//! - [`ServiceHealth`]: verdicts to weights, quorum and sorry server of one virtual server.
//! - [`events`]: inputs and outputs of the above.
//!
//! Nothing here does I/O. `crates/probe` executes probes, in the daemon's edge process.
//!
//! # A new checker
//!
//! A network checker with one request and one reply touches three files besides its keyword:
//!
//! 1. `model/check.rs`: a variant of [`Exchange`](crate::model::Exchange) with its options, and its keyword.
//! 2. `crates/probe/src/NAME.rs`: `run`, which executes it and reports the phase of a failure. `connect.rs` and
//!    `tls.rs` there have connections and TLS.
//! 3. `crates/probe/src/lib.rs`: one line in `run_exchange`.
//!
//! Its keyword is an entry in `config/keywords/server.rs`, its block in `config/keywords/checkers.rs`, and an arm in
//! `config/lower/lvs/checkers.rs`. Scheduling, retries, sharing, weights, `status` and notifications need no change.

mod checker;
mod encap;
pub mod events;
mod expectation;
pub mod probe;
mod probe_scheduler;
mod service_health;
mod syn_probe;

pub use checker::{Checker, Verdict};
pub use encap::encapsulate;
pub use events::{HealthEvent, Input, Output, ProbeId};
pub use expectation::{Expectation, IGNORED_OPTIONS, Regex, compile_regex, to_hex};
pub use probe::{ForwardingPath, Phase, Probe, ProbeKind, ProbeResult};
pub use probe_scheduler::{CheckConfig, CheckId, CheckReport, ProbeScheduler, SchedulerLoad};
pub use service_health::{ActiveServers, ServerHealth, ServiceHealth, WeightEffect};
pub use syn_probe::{SynProbe, SynReply, is_forwarded};
