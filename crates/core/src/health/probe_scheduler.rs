//! All checks of a director: which probe is to be made now, how many at a time, and who takes its result.
//!
//! A probe that several checks want is made once, whoever of them is due; all who wait for their next turn take its
//! result. So virtual servers that share real servers cost what one of them costs, and each keeps its own rules.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Checker, Probe, ProbeResult, Verdict};
use crate::model::{Check, ServerKey, ServiceKey};
use crate::time::Instant;

/// Which check of which real server.
pub type CheckId = (ServiceKey, ServerKey, usize);

/// A check that is wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckConfig {
    /// Whose.
    pub id: CheckId,
    /// What.
    pub check: Check,
    /// What it counts as until its first probe.
    pub up: bool,
    /// `alpha`
    pub alpha: bool,
}

/// A probe to be made now.
#[derive(Clone, Debug)]
pub struct ProbeTask {
    /// What [`Pool::finish`] wants to hear.
    pub id: usize,
    /// The probe.
    pub probe: Arc<Probe>,
}

/// A result, as one check took it.
#[derive(Clone, Debug)]
pub struct CheckResult {
    /// The check.
    pub id: CheckId,
    /// What is new.
    pub verdict: Option<Verdict>,
    /// How the probe ended.
    pub result: Arc<ProbeResult>,
    /// `log_all_failures`
    pub log_failure: bool,
}

struct CheckEntry {
    id: CheckId,
    check: Check,
    checker: Checker,
    /// The subject of each of its urls.
    probes: Vec<usize>,
    suspended: bool,
    last_result: Option<Arc<ProbeResult>>,
}

/// A probe, and who wants it.
struct SharedProbe {
    probe: Arc<Probe>,
    checks: Vec<usize>,
    /// Those who wait for the probe that is queued or under way.
    waiting: Vec<usize>,
    running: bool,
}

/// All checks, their turns, and the probes under way.
pub struct ProbeScheduler {
    checks: Vec<Option<CheckEntry>>,
    by_id: HashMap<CheckId, usize>,
    free_checks: Vec<usize>,
    probes: Vec<Option<SharedProbe>>,
    by_probe: HashMap<Arc<Probe>, usize>,
    free_probes: Vec<usize>,
    /// Turns; one that does not agree with its checker any more is void.
    deadlines: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Probes whose time has come, and when it had.
    queue: VecDeque<(usize, Instant)>,
    running: usize,
    max_running: usize,
    started: u64,
}

impl ProbeScheduler {
    /// Nothing is checked; `most` probes at a time.
    pub fn new(most: usize) -> ProbeScheduler {
        ProbeScheduler {
            checks: Vec::new(),
            by_id: HashMap::new(),
            free_checks: Vec::new(),
            probes: Vec::new(),
            by_probe: HashMap::new(),
            free_probes: Vec::new(),
            deadlines: BinaryHeap::new(),
            queue: VecDeque::new(),
            running: 0,
            max_running: most.max(1),
            started: 0,
        }
    }

    /// How many probes may be under way at a time.
    pub fn set_max_running(&mut self, most: usize) {
        self.max_running = most.max(1);
    }

    /// These and no other checks from now on. What is there already goes on undisturbed. `appeared`: what is new has its
    /// retries from its first probe on.
    pub fn configure(&mut self, now: Instant, wanted: Vec<CheckConfig>, appeared: bool) {
        let stays: HashSet<CheckId> = wanted.iter().map(|w| w.id).collect();
        let gone: Vec<CheckId> = self.by_id.keys().filter(|id| !stays.contains(id)).copied().collect();
        for id in gone {
            self.remove_check(id);
        }
        for w in wanted {
            let known = self.by_id.get(&w.id).and_then(|n| self.checks[*n].as_ref());
            if known.is_some_and(|e| e.check == w.check) {
                continue;
            }
            self.remove_check(w.id);
            self.add_check(now, w, appeared);
        }
    }

    fn add_check(&mut self, now: Instant, w: CheckConfig, appeared: bool) {
        let probes = Probe::for_check(&w.check, w.id.0, w.id.1);
        if probes.is_empty() {
            return;
        }
        let n = self.free_checks.pop().unwrap_or_else(|| {
            self.checks.push(None);
            self.checks.len() - 1
        });
        let subjects: Vec<usize> = probes.into_iter().map(|p| self.join_probe(p, n)).collect();
        // Equal probes begin at the same time, so that they are one from the beginning.
        let spread = subjects.first().and_then(|s| self.probes[*s].as_ref()).map_or(0.0, |s| warmup_fraction(&s.probe));
        let checker = Checker::new(&w.check, now, spread, (w.up, w.alpha), appeared);
        if let Some(at) = checker.next_deadline() {
            self.deadlines.push(Reverse((at, n)));
        }
        self.by_id.insert(w.id, n);
        self.checks[n] = Some(CheckEntry {
            id: w.id,
            check: w.check,
            checker,
            probes: subjects,
            suspended: false,
            last_result: None,
        });
    }

    fn join_probe(&mut self, probe: Probe, member: usize) -> usize {
        let at = match self.by_probe.get(&probe) {
            Some(&at) => at,
            None => {
                let probe = Arc::new(probe);
                let at = self.free_probes.pop().unwrap_or_else(|| {
                    self.probes.push(None);
                    self.probes.len() - 1
                });
                self.by_probe.insert(probe.clone(), at);
                self.probes[at] = Some(SharedProbe { probe, checks: Vec::new(), waiting: Vec::new(), running: false });
                at
            }
        };
        if let Some(s) = &mut self.probes[at]
            && !s.checks.contains(&member)
        {
            s.checks.push(member);
        }
        at
    }

    fn remove_check(&mut self, id: CheckId) {
        let Some(n) = self.by_id.remove(&id) else { return };
        let Some(entry) = self.checks[n].take() else { return };
        self.free_checks.push(n);
        for at in entry.probes {
            let Some(s) = &mut self.probes[at] else { continue };
            s.checks.retain(|m| *m != n);
            s.waiting.retain(|m| *m != n);
            self.drop_unused_probe(at);
        }
    }

    /// Nobody wants it, and it is not under way.
    fn drop_unused_probe(&mut self, at: usize) {
        if let Some(s) = &self.probes[at]
            && s.checks.is_empty()
            && !s.running
        {
            self.by_probe.remove(&s.probe);
            self.probes[at] = None;
            self.free_probes.push(at);
            self.queue.retain(|(n, _)| *n != at);
        }
    }

    /// `ha_suspend`: no probes for a service while its address is elsewhere, and at once when it is here.
    pub fn suspend(&mut self, now: Instant, service: ServiceKey, suspended: bool) {
        for n in 0..self.checks.len() {
            let Some(e) = self.checks[n].as_mut().filter(|e| e.id.0 == service) else { continue };
            let was = std::mem::replace(&mut e.suspended, suspended);
            if was && !suspended && e.checker.next_deadline().is_some() {
                e.checker.postpone(now);
                self.deadlines.push(Reverse((now, n)));
            }
        }
    }

    /// When [`Pool::handle_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    /// Time has come: those whose turn it is queue up.
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
            let Some(&subject) = e.probes.get(url) else { continue };
            let Some(s) = &mut self.probes[subject] else { continue };
            if s.waiting.is_empty() && !s.running {
                self.queue.push_back((subject, at));
            }
            s.waiting.push(n);
        }
    }

    /// A probe to be made now, if one waits and not too many are under way.
    pub fn poll_probe(&mut self) -> Option<ProbeTask> {
        if self.running >= self.max_running {
            return None;
        }
        while let Some((number, _)) = self.queue.pop_front() {
            let Some(s) = self.probes[number].as_mut().filter(|s| !s.waiting.is_empty() && !s.running) else {
                continue;
            };
            s.running = true;
            self.running += 1;
            self.started += 1;
            return Some(ProbeTask { id: number, probe: s.probe.clone() });
        }
        None
    }

    /// A probe has ended.
    pub fn handle_result(&mut self, now: Instant, number: usize, result: ProbeResult) -> Vec<CheckResult> {
        let Some(s) = self.probes.get_mut(number).and_then(Option::as_mut).filter(|s| s.running) else {
            return Vec::new();
        };
        self.running -= 1;
        s.running = false;
        let (asked, members) = (std::mem::take(&mut s.waiting), s.checks.clone());
        let result = Arc::new(result);
        let mut out = Vec::new();
        for n in members {
            let Some(e) = &mut self.checks[n] else { continue };
            let verdict = if asked.contains(&n) {
                e.checker.handle_result(now, &result)
            } else {
                let Some(url) = e.probes.iter().position(|s| *s == number).filter(|_| !e.suspended) else { continue };
                let before = e.checker.next_deadline();
                let verdict = e.checker.handle_shared_result(now, url, &result);
                if e.checker.next_deadline() == before {
                    continue; // it has not taken it
                }
                verdict
            };
            e.last_result = Some(result.clone());
            if let Some(at) = e.checker.next_deadline() {
                self.deadlines.push(Reverse((at, n)));
            }
            out.push(CheckResult { id: e.id, verdict, result: result.clone(), log_failure: e.check.log_all_failures });
        }
        self.drop_unused_probe(number);
        out
    }

    /// How late the oldest probe is that waits for its turn.
    pub fn queue_lag(&self, now: Instant) -> Duration {
        self.queue.front().map_or(Duration::ZERO, |(_, due)| now.duration_since(*due))
    }

    /// How many checks there are, how many different probes they make, how many of those are under way, and how many have
    /// been begun so far.
    pub fn load(&self) -> (usize, usize, usize, u64) {
        (self.by_id.len(), self.by_probe.len(), self.running, self.started)
    }

    /// Where every check stands: its verdict, how many failures it is being forgiven, its last result, and how many
    /// checks share its probe.
    pub fn check_statuses(&self) -> impl Iterator<Item = (CheckId, Verdict, u32, Option<&ProbeResult>, usize)> {
        self.checks.iter().flatten().map(|e| {
            let shared = e.probes.first().and_then(|s| self.probes[*s].as_ref()).map_or(1, |s| s.checks.len());
            (e.id, e.checker.verdict(), e.checker.retries_used(), e.last_result.as_deref(), shared)
        })
    }
}

/// Where in its warm-up a probe begins: spread by a hash of what it is, so that probes neither burst nor wander.
fn warmup_fraction(probe: &Probe) -> f64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut h = DefaultHasher::new();
    probe.hash(&mut h);
    (h.finish() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
#[path = "probe_scheduler_tests.rs"]
mod tests;
