//! The schedule and the verdict of one check.
//!
//! The rules are keepalived's, read off recordings of it: a server is up at start unless `alpha`; the first probe alone
//! can take it down; later ones are repeated `retry` times; a dead server comes back with one success, or, for HTTP, once
//! the whole list of urls has passed again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Check, CheckKind, CheckTiming};
use crate::time::Instant;

use super::ProbeResult;

/// Probes of one check wander by this part of their interval at most, so that those which met once part again.
const JITTER_DIVISOR: u32 = 64;
/// And by no more than this.
const MAX_JITTER: Duration = Duration::from_millis(100);

/// What follows from a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// Good or bad.
    pub up: bool,
    /// The weight that the server is to have; none: its configured one.
    pub weight: Option<u32>,
}

/// The schedule and the verdict of one check.
#[derive(Clone, Debug)]
pub struct Checker {
    timing: CheckTiming,
    is_http: bool,
    fast_recovery: bool,
    url_count: usize,
    verdict: Verdict,
    /// A probe has ended since the start.
    has_run: bool,
    /// It began as dead, and nobody was told so yet.
    initial_down_unreported: bool,
    failures: u32,
    url: usize,
    /// The list of urls has not been through once.
    first_round: bool,
    /// HTTP, down: how many urls in a row have passed since the failing one did; `None` before that.
    urls_recovered: Option<usize>,
    /// When to probe; `None` while a probe is under way.
    next_probe: Option<Instant>,
    /// What jitter is drawn from.
    jitter_seed: u64,
}

impl Checker {
    /// A check that starts now. `spread` (0 to 1) is where in the warm-up its first probe falls. `up`: what it counts as
    /// until then. `alpha`: if it does not, its first failure is told nevertheless. `is_new`: the server appeared at a
    /// reload, so that retries apply from the first probe.
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

    /// Where it stands.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Failed probes that it has forgiven since the last good one.
    pub fn retries_used(&self) -> u32 {
        self.failures
    }

    /// When [`Checker::handle_deadline`] wants to be called; `None` while a probe is under way.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_probe
    }

    /// Time has come: which url to probe (0 for all that have none), if it really is due.
    pub fn handle_deadline(&mut self, now: Instant) -> Option<usize> {
        self.next_probe.filter(|&t| t <= now)?;
        self.next_probe = None;
        Some(self.url)
    }

    /// No probe now, whatever the schedule says; the next one falls at `at`.
    pub fn postpone(&mut self, at: Instant) {
        self.next_probe = Some(at);
    }

    /// How far ahead the next regular probe lies.
    pub fn interval(&self) -> Duration {
        self.timing.delay_loop
    }

    /// Its probe has ended. Returns what is new.
    pub fn handle_result(&mut self, now: Instant, result: &ProbeResult) -> Option<Verdict> {
        let first = !std::mem::replace(&mut self.has_run, true);
        let was = self.verdict;
        let wait = match (result.passed(), was.up) {
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
        let told = std::mem::take(&mut self.initial_down_unreported);
        (was != self.verdict || told && !self.verdict.up).then_some(self.verdict)
    }

    /// The same probe, made for another check, has ended. It is as good as one's own, but for a check that is being
    /// forgiven failures: their number and their distance are its own.
    pub fn handle_shared_result(&mut self, now: Instant, url: usize, result: &ProbeResult) -> Option<Verdict> {
        let waits = self.next_probe.is_some() && self.url == url;
        if !waits || (self.failures > 0 && !result.passed()) {
            return None;
        }
        self.handle_result(now, result)
    }

    /// A dead server passed a probe. For HTTP the url that failed must pass first, and then all of them in turn.
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

    /// `delay_loop`, a little less or more.
    fn jittered_delay_loop(&mut self) -> Duration {
        // xorshift64 (Marsaglia 2003): spread matters here, not secrecy.
        self.jitter_seed ^= self.jitter_seed << 13;
        self.jitter_seed ^= self.jitter_seed >> 7;
        self.jitter_seed ^= self.jitter_seed << 17;
        let most = (self.timing.delay_loop / JITTER_DIVISOR).min(MAX_JITTER);
        self.timing.delay_loop - most / 2 + most.mul_f64((self.jitter_seed >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
