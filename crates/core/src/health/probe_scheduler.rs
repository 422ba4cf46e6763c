//! The probe scheduler: which probe is due, how many run at a time, and which checks its result is for.
//!
//! A probe that several checks need runs once. Its result is for the check that was due, and for all others that wait
//! for their next deadline. So virtual servers that share real servers cost as much as one of them, and each check
//! keeps its own retries and verdict.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Checker, Input, Output, Probe, ProbeId, ProbeResult, Verdict};
use crate::model::{Check, ServerKey, ServiceKey};
use crate::time::Instant;

/// The identity of a check: service, real server, and its index among the server's checks.
pub type CheckId = (ServiceKey, ServerKey, usize);

/// A configured check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckConfig {
    /// Its identity.
    pub id: CheckId,
    /// The check.
    pub check: Check,
    /// The verdict before its first probe.
    pub up: bool,
    /// `alpha`: the server is down at the start, and its first failure is reported.
    pub alpha: bool,
}

/// The state of a check, for `status`.
#[derive(Clone, Copy, Debug)]
pub struct CheckReport<'a> {
    /// Its identity.
    pub id: CheckId,
    /// Its verdict.
    pub verdict: Verdict,
    /// The number of retries since its last passed probe.
    pub retries_used: u32,
    /// Its last result.
    pub last_result: Option<&'a ProbeResult>,
    /// The number of checks that share its probe, itself included.
    pub shared_by: usize,
}

/// The load of the scheduler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SchedulerLoad {
    /// The number of checks.
    pub checks: usize,
    /// The number of different probes of these checks.
    pub probes: usize,
    /// The number of probes that run now.
    pub running: usize,
    /// The number of probes started since the start of the scheduler.
    pub started: u64,
}

struct CheckEntry {
    id: CheckId,
    check: Check,
    checker: Checker,
    /// The index in [`ProbeScheduler::probes`] of each of its URLs.
    probes: Vec<ProbeId>,
    suspended: bool,
    last_result: Option<Arc<ProbeResult>>,
}

/// A probe and the checks that need it, by their indices in [`ProbeScheduler::checks`].
struct SharedProbe {
    probe: Arc<Probe>,
    checks: Vec<usize>,
    /// The checks whose deadline started the probe that is queued or runs.
    waiting: Vec<usize>,
    running: bool,
}

/// The schedule of all checks.
pub struct ProbeScheduler {
    checks: Vec<Option<CheckEntry>>,
    by_id: HashMap<CheckId, usize>,
    free_checks: Vec<usize>,
    probes: Vec<Option<SharedProbe>>,
    by_probe: HashMap<Arc<Probe>, ProbeId>,
    free_probes: Vec<ProbeId>,
    /// Deadlines of checks. An entry that differs from its checker's deadline is outdated, and ignored.
    deadlines: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Probes that are due, and since when.
    queue: VecDeque<(ProbeId, Instant)>,
    /// Results that [`ProbeScheduler::poll_output`] has not returned yet.
    results: VecDeque<Output>,
    running: usize,
    max_running: usize,
    started: u64,
}

impl ProbeScheduler {
    /// A scheduler without checks. At most `max_running` probes run at a time.
    pub fn new(max_running: usize) -> ProbeScheduler {
        ProbeScheduler {
            checks: Vec::new(),
            by_id: HashMap::new(),
            free_checks: Vec::new(),
            probes: Vec::new(),
            by_probe: HashMap::new(),
            free_probes: Vec::new(),
            deadlines: BinaryHeap::new(),
            queue: VecDeque::new(),
            results: VecDeque::new(),
            running: 0,
            max_running: max_running.max(1),
            started: 0,
        }
    }

    /// Limits how many probes run at a time.
    pub fn set_max_running(&mut self, max_running: usize) {
        self.max_running = max_running.max(1);
    }

    /// Handles one event. Outputs are those of [`ProbeScheduler::poll_output`].
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::ProbeFinished { id, result } => self.handle_result(now, id, result),
            Input::Suspend { service, suspended } => self.suspend(now, service, suspended),
        }
    }

    /// When [`ProbeScheduler::handle_deadline`] must be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    /// Queues the probes of all checks that are due. A call before [`ProbeScheduler::next_deadline`] does nothing.
    pub fn handle_deadline(&mut self, now: Instant) {
        while let Some(&Reverse((at, n))) = self.deadlines.peek().filter(|Reverse((at, _))| *at <= now) {
            self.deadlines.pop();
            let Some(e) = self.checks[n].as_mut().filter(|e| e.checker.next_deadline() == Some(at)) else { continue };
            if e.suspended {
                let later = now + e.checker.interval().max(Duration::from_millis(1));
                e.checker.postpone(later);
                self.deadlines.push(Reverse((later, n)));
                continue;
            }
            let Some(url) = e.checker.handle_deadline(now) else { continue };
            let Some(&id) = e.probes.get(url) else { continue };
            let Some(s) = &mut self.probes[id] else { continue };
            if s.waiting.is_empty() && !s.running {
                self.queue.push_back((id, at));
            }
            s.waiting.push(n);
        }
    }

    /// The next output: results first, then probes as long as not too many run.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.results.pop_front().or_else(|| self.start_probe())
    }

    fn start_probe(&mut self) -> Option<Output> {
        if self.running >= self.max_running {
            return None;
        }
        while let Some((id, _)) = self.queue.pop_front() {
            let Some(s) = self.probes[id].as_mut().filter(|s| !s.waiting.is_empty() && !s.running) else { continue };
            s.running = true;
            self.running += 1;
            self.started += 1;
            return Some(Output::StartProbe { id, probe: s.probe.clone() });
        }
        None
    }

    fn handle_result(&mut self, now: Instant, id: ProbeId, result: ProbeResult) {
        let Some(s) = self.probes.get_mut(id).and_then(Option::as_mut).filter(|s| s.running) else { return };
        self.running -= 1;
        s.running = false;
        let (waiting, checks) = (std::mem::take(&mut s.waiting), s.checks.clone());
        let result = Arc::new(result);
        for n in checks {
            let Some(e) = &mut self.checks[n] else { continue };
            let verdict = if waiting.contains(&n) {
                e.checker.handle_result(now, &result)
            } else {
                let Some(url) = e.probes.iter().position(|p| *p == id).filter(|_| !e.suspended) else { continue };
                let before = e.checker.next_deadline();
                let verdict = e.checker.handle_shared_result(now, url, &result);
                if e.checker.next_deadline() == before {
                    continue; // the checker ignored it
                }
                verdict
            };
            e.last_result = Some(result.clone());
            if let Some(at) = e.checker.next_deadline() {
                self.deadlines.push(Reverse((at, n)));
            }
            let log_failure = e.check.log_all_failures;
            self.results.push_back(Output::CheckResult { id: e.id, verdict, result: result.clone(), log_failure });
        }
        self.drop_unused_probe(id);
    }

    fn suspend(&mut self, now: Instant, service: ServiceKey, suspended: bool) {
        for n in 0..self.checks.len() {
            let Some(e) = self.checks[n].as_mut().filter(|e| e.id.0 == service) else { continue };
            let was_suspended = std::mem::replace(&mut e.suspended, suspended);
            if was_suspended && !suspended && e.checker.next_deadline().is_some() {
                e.checker.postpone(now);
                self.deadlines.push(Reverse((now, n)));
            }
        }
    }

    /// Replaces the set of checks. A check that does not change keeps its state and schedule. `is_reload`: retries
    /// apply from the first probe of a new check on.
    pub fn reconfigure(&mut self, now: Instant, wanted: Vec<CheckConfig>, is_reload: bool) {
        let wanted_ids: HashSet<CheckId> = wanted.iter().map(|w| w.id).collect();
        let removed: Vec<CheckId> = self.by_id.keys().filter(|id| !wanted_ids.contains(id)).copied().collect();
        for id in removed {
            self.remove_check(id);
        }
        for w in wanted {
            let current = self.by_id.get(&w.id).and_then(|n| self.checks[*n].as_ref());
            if current.is_some_and(|e| e.check == w.check) {
                continue;
            }
            self.remove_check(w.id);
            self.add_check(now, w, is_reload);
        }
    }

    fn add_check(&mut self, now: Instant, w: CheckConfig, is_reload: bool) {
        let probes = Probe::for_check(&w.check, w.id.0, w.id.1);
        if probes.is_empty() {
            return;
        }
        let n = self.free_checks.pop().unwrap_or_else(|| {
            self.checks.push(None);
            self.checks.len() - 1
        });
        let probes: Vec<ProbeId> = probes.into_iter().map(|p| self.join_probe(p, n)).collect();
        // Equal probes have the same place in the warm-up, so that they are shared from the start.
        let spread = probes.first().and_then(|p| self.probes[*p].as_ref()).map_or(0.0, |s| warmup_fraction(&s.probe));
        let checker = Checker::new(&w.check, now, spread, (w.up, w.alpha), is_reload);
        if let Some(at) = checker.next_deadline() {
            self.deadlines.push(Reverse((at, n)));
        }
        self.by_id.insert(w.id, n);
        self.checks[n] =
            Some(CheckEntry { id: w.id, check: w.check, checker, probes, suspended: false, last_result: None });
    }

    fn join_probe(&mut self, probe: Probe, check: usize) -> ProbeId {
        let id = match self.by_probe.get(&probe) {
            Some(&id) => id,
            None => {
                let probe = Arc::new(probe);
                let id = self.free_probes.pop().unwrap_or_else(|| {
                    self.probes.push(None);
                    self.probes.len() - 1
                });
                self.by_probe.insert(probe.clone(), id);
                self.probes[id] = Some(SharedProbe { probe, checks: Vec::new(), waiting: Vec::new(), running: false });
                id
            }
        };
        if let Some(s) = &mut self.probes[id]
            && !s.checks.contains(&check)
        {
            s.checks.push(check);
        }
        id
    }

    fn remove_check(&mut self, id: CheckId) {
        let Some(n) = self.by_id.remove(&id) else { return };
        let Some(entry) = self.checks[n].take() else { return };
        self.free_checks.push(n);
        for probe in entry.probes {
            let Some(s) = &mut self.probes[probe] else { continue };
            s.checks.retain(|c| *c != n);
            s.waiting.retain(|c| *c != n);
            self.drop_unused_probe(probe);
        }
    }

    /// Drops a probe that no check needs. A running one is dropped when it ends.
    fn drop_unused_probe(&mut self, id: ProbeId) {
        if let Some(s) = &self.probes[id]
            && s.checks.is_empty()
            && !s.running
        {
            self.by_probe.remove(&s.probe);
            self.probes[id] = None;
            self.free_probes.push(id);
            self.queue.retain(|(queued, _)| *queued != id);
        }
    }

    /// How long the first probe of the queue has been due.
    pub fn queue_delay(&self, now: Instant) -> Duration {
        self.queue.front().map_or(Duration::ZERO, |(_, due)| now.duration_since(*due))
    }

    /// The load.
    pub fn load(&self) -> SchedulerLoad {
        let (checks, probes) = (self.by_id.len(), self.by_probe.len());
        SchedulerLoad { checks, probes, running: self.running, started: self.started }
    }

    /// The state of every check.
    pub fn reports(&self) -> impl Iterator<Item = CheckReport<'_>> {
        self.checks.iter().flatten().map(|e| CheckReport {
            id: e.id,
            verdict: e.checker.verdict(),
            retries_used: e.checker.retries_used(),
            last_result: e.last_result.as_deref(),
            shared_by: e.probes.first().and_then(|p| self.probes[*p].as_ref()).map_or(1, |s| s.checks.len()),
        })
    }
}

/// The place of a probe in the warm-up, 0 to 1: a hash of the probe, so that probes are spread evenly and keep their
/// places.
fn warmup_fraction(probe: &Probe) -> f64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut h = DefaultHasher::new();
    probe.hash(&mut h);
    (h.finish() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
#[path = "probe_scheduler_tests.rs"]
mod tests;
