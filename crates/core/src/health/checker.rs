//! The checker: schedule and verdict of one check.
//!
//! The rules are keepalived's, derived from recordings:
//!
//! - A server is up at the start unless it is `alpha`.
//! - The first probe after the start takes a server down without retries; later failures are retried `retry` times.
//! - A server that is down goes up with one passed probe; for HTTP, when all URLs have passed again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Check, CheckKind, CheckTiming};
use crate::time::Instant;

use super::ProbeResult;

/// The jitter of the probe interval is at most this part of it. Without jitter, probes that coincide once would always
/// coincide.
const JITTER_DIVISOR: u32 = 64;
/// The upper bound of the jitter.
const MAX_JITTER: Duration = Duration::from_millis(100);

/// The verdict of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the check passes.
    pub up: bool,
    /// The weight that the check sets for the server; `None`: the configured one.
    pub weight: Option<u32>,
}

/// Schedule and verdict of one check.
#[derive(Clone, Debug)]
pub struct Checker {
    timing: CheckTiming,
    is_http: bool,
    fast_recovery: bool,
    url_count: usize,
    verdict: Verdict,
    /// A probe has ended since the start, so that retries apply.
    has_run: bool,
    /// The check started as down (`alpha`), and its first failure is not reported yet.
    initial_down_unreported: bool,
    /// Consecutive failures that were retried.
    failures: u32,
    /// The index of the URL of the next probe.
    url: usize,
    /// Not all URLs have been probed yet.
    first_round: bool,
    /// HTTP, down: how many URLs have passed since the failed one passed; `None` before that.
    urls_recovered: Option<usize>,
    /// When the next probe is due; `None` while one runs.
    next_probe: Option<Instant>,
    /// The state of the jitter's random numbers.
    jitter_seed: u64,
}

impl Checker {
    /// A check that starts now.
    ///
    /// `spread`, 0 to 1: the place of its first probe in the warm-up. `up`: its verdict before that. `alpha`: if it
    /// starts as down, its first failure is reported nevertheless. `is_new`: the server was added by a reload, so that
    /// retries apply from the first probe on.
    pub fn new(check: &Check, now: Instant, spread: f64, (up, alpha): (bool, bool), is_new: bool) -> Self {
        let (url_count, fast_recovery) = match &check.kind {
            CheckKind::Http { urls, fast_recovery, .. } => (urls.len().max(1), *fast_recovery),
            _ => (1, false),
        };
        let warmup = check.timing.warmup.mul_f64(spread.clamp(0.0, 1.0));
        Checker {
            timing: check.timing.clone(),
            is_http: matches!(check.kind, CheckKind::Http { .. }),
            fast_recovery,
            url_count,
            verdict: Verdict { up, weight: None },
            has_run: is_new,
            initial_down_unreported: alpha && !up,
            failures: 0,
            url: 0,
            first_round: true,
            urls_recovered: Some(0),
            next_probe: Some(now + Duration::from_secs(1) + warmup),
            jitter_seed: spread.to_bits() | 1,
        }
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The number of retries since the last passed probe.
    pub fn retries_used(&self) -> u32 {
        self.failures
    }

    /// When [`Checker::handle_deadline`] must be called next; `None` while a probe runs.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_probe
    }

    /// Starts a probe if it is due. Returns the index of its URL (0 for checks without URLs).
    pub fn handle_deadline(&mut self, now: Instant) -> Option<usize> {
        self.next_probe.filter(|&t| t <= now)?;
        self.next_probe = None;
        Some(self.url)
    }

    /// Moves the next probe to `at`, whatever the schedule is.
    pub fn postpone(&mut self, at: Instant) {
        self.next_probe = Some(at);
    }

    /// The configured interval between probes.
    pub fn interval(&self) -> Duration {
        self.timing.delay_loop
    }

    /// Handles the result of its probe. Returns the verdict if it changed or must be reported.
    pub fn handle_result(&mut self, now: Instant, result: &ProbeResult) -> Option<Verdict> {
        let first = !std::mem::replace(&mut self.has_run, true);
        let before = self.verdict;
        let wait = match (result.passed(), before.up) {
            (true, true) => {
                self.failures = 0;
                self.url = (self.url + 1) % self.url_count;
                self.first_round &= self.url != 0;
                self.verdict.weight = result.weight;
                if self.fast_recovery && self.first_round { Duration::ZERO } else { self.jittered_delay_loop() }
            }
            (true, false) => {
                self.count_recovery();
                if self.verdict.up {
                    self.verdict.weight = result.weight;
                }
                if self.fast_recovery && !self.verdict.up { Duration::ZERO } else { self.jittered_delay_loop() }
            }
            (false, true) if !first && self.failures < self.timing.retry => {
                self.failures += 1;
                self.timing.delay_before_retry
            }
            (false, _) => {
                self.verdict = Verdict { up: false, weight: None };
                self.failures = 0;
                self.first_round = false;
                self.urls_recovered = None;
                self.jittered_delay_loop()
            }
        };
        self.next_probe = Some(now + wait);
        let report_down = std::mem::take(&mut self.initial_down_unreported);
        (before != self.verdict || report_down && !self.verdict.up).then_some(self.verdict)
    }

    /// Handles the result of an equal probe that another check started. It counts as the result of an own probe, except
    /// that a failure during retries is ignored: each check has its own number and interval of retries.
    pub fn handle_shared_result(&mut self, now: Instant, url: usize, result: &ProbeResult) -> Option<Verdict> {
        let is_same_url = self.next_probe.is_some() && self.url == url;
        if !is_same_url || (self.failures > 0 && !result.passed()) {
            return None;
        }
        self.handle_result(now, result)
    }

    /// Counts a passed probe of a server that is down. For HTTP, the URL that failed must pass first, and then all in
    /// turn.
    fn count_recovery(&mut self) {
        match self.urls_recovered {
            None if self.is_http => {
                self.urls_recovered = Some(0);
                self.url = 0;
            }
            Some(passed) if passed + 1 < self.url_count => {
                self.urls_recovered = Some(passed + 1);
                self.url += 1;
            }
            _ => {
                self.verdict.up = true;
                self.first_round = false;
                self.url = 0;
            }
        }
    }

    /// `delay_loop` with jitter.
    fn jittered_delay_loop(&mut self) -> Duration {
        // xorshift64 (Marsaglia 2003): the numbers need not be unpredictable.
        self.jitter_seed ^= self.jitter_seed << 13;
        self.jitter_seed ^= self.jitter_seed >> 7;
        self.jitter_seed ^= self.jitter_seed << 17;
        let max = (self.timing.delay_loop / JITTER_DIVISOR).min(MAX_JITTER);
        self.timing.delay_loop - max / 2 + max.mul_f64((self.jitter_seed >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
