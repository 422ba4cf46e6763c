//! Health checks: when to probe, and when a real server counts as dead.
//!
//! [`Checker`] is the schedule of one check. It says when to probe and is told how the probe ended; sockets are the
//! daemon's. The rules are keepalived's, read off recordings of it: a server is up at start unless `alpha`; the first
//! probe alone can take it down; later ones are repeated `retry` times; a dead server comes back with one success, or,
//! for HTTP, once the whole list of urls has passed again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Check, CheckKind, CheckTiming};
use crate::time::Instant;

/// In which phase a probe failed, so that "why is it down" has an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The connection did not come about.
    Connect,
    /// The request could not be sent.
    Send,
    /// No answer began.
    FirstByte,
    /// An answer came, but not the one expected.
    Expect,
}

/// How a probe ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProbeResult {
    /// `None`: it passed.
    pub failed: Option<Phase>,
    /// What was seen, in words.
    pub detail: String,
    /// How long it took, microseconds.
    pub took_us: u64,
}

/// What a checker wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Probe now; the number names the url (0 for TCP_CHECK).
    Probe(usize),
    /// The server's standing in this check changed.
    Changed {
        /// Good or bad.
        up: bool,
    },
}

/// The schedule and the verdict of one check.
#[derive(Clone, Debug)]
pub struct Checker {
    timing: CheckTiming,
    http: bool,
    urls: usize,
    up: bool,
    /// A probe has ended since the start.
    has_run: bool,
    failures: u32,
    url: usize,
    /// HTTP, down: how many urls in a row have passed since the failing one did; `None` before that.
    recovering: Option<usize>,
    /// When to probe; `None` while a probe is under way.
    due: Option<Instant>,
}

impl Checker {
    /// A check that starts now. `spread` (0 to 1) is where in the warm-up its first probe falls. `alpha`: the server
    /// counts as dead at first. `is_new`: the server appeared at a reload, so that retries apply from the first probe.
    pub fn new(check: &Check, now: Instant, spread: f64, alpha: bool, is_new: bool) -> Self {
        let urls = match &check.kind {
            CheckKind::Tcp | CheckKind::Bfd(_) => 1,
            CheckKind::Http { urls, .. } => urls.len().max(1),
        };
        let warmup = check.timing.warmup.mul_f64(spread.clamp(0.0, 1.0));
        Checker {
            timing: check.timing.clone(),
            http: matches!(check.kind, CheckKind::Http { .. }),
            urls,
            up: !alpha,
            has_run: is_new,
            failures: 0,
            url: 0,
            recovering: Some(0),
            due: Some(now + Duration::from_secs(1) + warmup),
        }
    }

    /// Good or bad.
    pub fn up(&self) -> bool {
        self.up
    }

    /// When [`Checker::handle_deadline`] wants to be called; `None` while a probe is under way.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Time has come: what to probe, if it really is due.
    pub fn handle_deadline(&mut self, now: Instant) -> Option<Output> {
        self.due.filter(|&t| t <= now)?;
        self.due = None;
        Some(Output::Probe(self.url))
    }

    /// The probe has ended.
    pub fn handle_result(&mut self, now: Instant, passed: bool) -> Option<Output> {
        let first = !std::mem::replace(&mut self.has_run, true);
        let was = self.up;
        let wait = match (passed, self.up) {
            (true, true) => {
                self.failures = 0;
                self.url = (self.url + 1) % self.urls;
                self.timing.delay_loop
            }
            (true, false) => {
                self.recover();
                self.timing.delay_loop
            }
            (false, true) if !first && self.failures < self.timing.retry => {
                self.failures += 1;
                self.timing.delay_before_retry
            }
            (false, _) => {
                self.up = false;
                self.failures = 0;
                self.recovering = None;
                self.timing.delay_loop
            }
        };
        self.due = Some(now + wait);
        (was != self.up).then_some(Output::Changed { up: self.up })
    }

    /// A dead server passed a probe. For HTTP_GET the url that failed must pass first, and then all of them in turn.
    fn recover(&mut self) {
        match self.recovering {
            None if self.http => {
                self.recovering = Some(0);
                self.url = 0;
            }
            Some(passed) if passed + 1 < self.urls => {
                self.recovering = Some(passed + 1);
                self.url += 1;
            }
            _ => {
                self.up = true;
                self.url = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests;
