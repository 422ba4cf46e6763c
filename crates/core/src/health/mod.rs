//! Health: what is probed and when, and what follows from it.
//!
//! [`Probe`] is one question to one server. [`Checker`] is the schedule and the verdict of one check; [`Pool`] holds all
//! of them, asks each question once for all who want it, and never too many at a time. [`Life`] makes verdicts into the
//! state of a virtual server: its real servers' weights, its quorum, its sorry server. None of them does I/O; sockets,
//! programs and the clock are the daemon's.

mod checker;
mod expect;
mod life;
mod pool;
mod probe;
mod syn;
mod wrap;

pub use checker::{Checker, Verdict};
pub use expect::{Expectation, Regex, WITHOUT_EFFECT, compile, hex};
pub use life::{Effect, Happening, Life, Member, Standing};
pub use pool::{CheckId, Checking, Delivered, Pool, Task};
pub use probe::{Ask, Phase, Probe, ProbeResult, Through};
pub use syn::{Answer, Attempt};
pub use wrap::wrap;
