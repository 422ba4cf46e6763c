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
pub struct Checking {
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
pub struct Task {
    /// What [`Pool::finish`] wants to hear.
    pub number: usize,
    /// The probe.
    pub probe: Arc<Probe>,
}

/// A result, as one check took it.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The check.
    pub id: CheckId,
    /// What is new.
    pub verdict: Option<Verdict>,
    /// How the probe ended.
    pub result: Arc<ProbeResult>,
    /// `log_all_failures`
    pub log: bool,
}

struct Entry {
    id: CheckId,
    check: Check,
    checker: Checker,
    /// The subject of each of its urls.
    subjects: Vec<usize>,
    suspended: bool,
    last: Option<Arc<ProbeResult>>,
}

/// A probe, and who wants it.
struct Subject {
    probe: Arc<Probe>,
    members: Vec<usize>,
    /// Those who wait for the probe that is queued or under way.
    asked: Vec<usize>,
    running: bool,
}

/// All checks, their turns, and the probes under way.
pub struct Pool {
    entries: Vec<Option<Entry>>,
    by_id: HashMap<CheckId, usize>,
    free: Vec<usize>,
    subjects: Vec<Option<Subject>>,
    by_probe: HashMap<Arc<Probe>, usize>,
    free_subjects: Vec<usize>,
    /// Turns; one that does not agree with its checker any more is void.
    turns: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Probes whose time has come, and when it had.
    queue: VecDeque<(usize, Instant)>,
    running: usize,
    most: usize,
    begun: u64,
}

impl Pool {
    /// Nothing is checked; `most` probes at a time.
    pub fn new(most: usize) -> Pool {
        Pool {
            entries: Vec::new(),
            by_id: HashMap::new(),
            free: Vec::new(),
            subjects: Vec::new(),
            by_probe: HashMap::new(),
            free_subjects: Vec::new(),
            turns: BinaryHeap::new(),
            queue: VecDeque::new(),
            running: 0,
            most: most.max(1),
            begun: 0,
        }
    }

    /// How many probes may be under way at a time.
    pub fn set_most(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// These and no other checks from now on. What is there already goes on undisturbed. `appeared`: what is new has its
    /// retries from its first probe on.
    pub fn configure(&mut self, now: Instant, wanted: Vec<Checking>, appeared: bool) {
        let stays: HashSet<CheckId> = wanted.iter().map(|w| w.id).collect();
        let gone: Vec<CheckId> = self.by_id.keys().filter(|id| !stays.contains(id)).copied().collect();
        for id in gone {
            self.remove(id);
        }
        for w in wanted {
            let known = self.by_id.get(&w.id).and_then(|n| self.entries[*n].as_ref());
            if known.is_some_and(|e| e.check == w.check) {
                continue;
            }
            self.remove(w.id);
            self.add(now, w, appeared);
        }
    }

    fn add(&mut self, now: Instant, w: Checking, appeared: bool) {
        let probes = Probe::of(&w.check, w.id.0, w.id.1);
        if probes.is_empty() {
            return;
        }
        let n = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        let subjects: Vec<usize> = probes.into_iter().map(|p| self.join(p, n)).collect();
        // Equal probes begin at the same time, so that they are one from the beginning.
        let spread = subjects.first().and_then(|s| self.subjects[*s].as_ref()).map_or(0.0, |s| spread(&s.probe));
        let checker = Checker::new(&w.check, now, spread, (w.up, w.alpha), appeared);
        if let Some(at) = checker.next_deadline() {
            self.turns.push(Reverse((at, n)));
        }
        self.by_id.insert(w.id, n);
        self.entries[n] = Some(Entry { id: w.id, check: w.check, checker, subjects, suspended: false, last: None });
    }

    fn join(&mut self, probe: Probe, member: usize) -> usize {
        let at = match self.by_probe.get(&probe) {
            Some(&at) => at,
            None => {
                let probe = Arc::new(probe);
                let at = self.free_subjects.pop().unwrap_or_else(|| {
                    self.subjects.push(None);
                    self.subjects.len() - 1
                });
                self.by_probe.insert(probe.clone(), at);
                self.subjects[at] = Some(Subject { probe, members: Vec::new(), asked: Vec::new(), running: false });
                at
            }
        };
        if let Some(s) = &mut self.subjects[at]
            && !s.members.contains(&member)
        {
            s.members.push(member);
        }
        at
    }

    fn remove(&mut self, id: CheckId) {
        let Some(n) = self.by_id.remove(&id) else { return };
        let Some(entry) = self.entries[n].take() else { return };
        self.free.push(n);
        for at in entry.subjects {
            let Some(s) = &mut self.subjects[at] else { continue };
            s.members.retain(|m| *m != n);
            s.asked.retain(|m| *m != n);
            self.forget(at);
        }
    }

    /// Nobody wants it, and it is not under way.
    fn forget(&mut self, at: usize) {
        if let Some(s) = &self.subjects[at]
            && s.members.is_empty()
            && !s.running
        {
            self.by_probe.remove(&s.probe);
            self.subjects[at] = None;
            self.free_subjects.push(at);
            self.queue.retain(|(n, _)| *n != at);
        }
    }

    /// `ha_suspend`: no probes for a service while its address is elsewhere, and at once when it is here.
    pub fn suspend(&mut self, now: Instant, service: ServiceKey, suspended: bool) {
        for n in 0..self.entries.len() {
            let Some(e) = self.entries[n].as_mut().filter(|e| e.id.0 == service) else { continue };
            let was = std::mem::replace(&mut e.suspended, suspended);
            if was && !suspended && e.checker.next_deadline().is_some() {
                e.checker.postpone(now);
                self.turns.push(Reverse((now, n)));
            }
        }
    }

    /// When [`Pool::handle_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.turns.peek().map(|Reverse((at, _))| *at)
    }

    /// Time has come: those whose turn it is queue up.
    pub fn handle_deadline(&mut self, now: Instant) {
        while let Some(&Reverse((at, n))) = self.turns.peek().filter(|Reverse((at, _))| *at <= now) {
            self.turns.pop();
            let Some(e) = self.entries[n].as_mut().filter(|e| e.checker.next_deadline() == Some(at)) else { continue };
            if e.suspended {
                let later = now + e.checker.interval().max(Duration::from_millis(1));
                e.checker.postpone(later);
                self.turns.push(Reverse((later, n)));
                continue;
            }
            let Some(url) = e.checker.handle_deadline(now) else { continue };
            let Some(&subject) = e.subjects.get(url) else { continue };
            let Some(s) = &mut self.subjects[subject] else { continue };
            if s.asked.is_empty() && !s.running {
                self.queue.push_back((subject, at));
            }
            s.asked.push(n);
        }
    }

    /// A probe to be made now, if one waits and not too many are under way.
    pub fn start(&mut self) -> Option<Task> {
        if self.running >= self.most {
            return None;
        }
        while let Some((number, _)) = self.queue.pop_front() {
            let Some(s) = self.subjects[number].as_mut().filter(|s| !s.asked.is_empty() && !s.running) else {
                continue;
            };
            s.running = true;
            self.running += 1;
            self.begun += 1;
            return Some(Task { number, probe: s.probe.clone() });
        }
        None
    }

    /// A probe has ended.
    pub fn finish(&mut self, now: Instant, number: usize, result: ProbeResult) -> Vec<Delivered> {
        let Some(s) = self.subjects.get_mut(number).and_then(Option::as_mut).filter(|s| s.running) else {
            return Vec::new();
        };
        self.running -= 1;
        s.running = false;
        let (asked, members) = (std::mem::take(&mut s.asked), s.members.clone());
        let result = Arc::new(result);
        let mut out = Vec::new();
        for n in members {
            let Some(e) = &mut self.entries[n] else { continue };
            let verdict = if asked.contains(&n) {
                e.checker.handle_result(now, &result)
            } else {
                let Some(url) = e.subjects.iter().position(|s| *s == number).filter(|_| !e.suspended) else { continue };
                let before = e.checker.next_deadline();
                let verdict = e.checker.offer(now, url, &result);
                if e.checker.next_deadline() == before {
                    continue; // it has not taken it
                }
                verdict
            };
            e.last = Some(result.clone());
            if let Some(at) = e.checker.next_deadline() {
                self.turns.push(Reverse((at, n)));
            }
            out.push(Delivered { id: e.id, verdict, result: result.clone(), log: e.check.log_all_failures });
        }
        self.forget(number);
        out
    }

    /// How late the oldest probe is that waits for its turn.
    pub fn lag(&self, now: Instant) -> Duration {
        self.queue.front().map_or(Duration::ZERO, |(_, due)| now.since(*due))
    }

    /// How many checks there are, how many different probes they make, how many of those are under way, and how many have
    /// been begun so far.
    pub fn load(&self) -> (usize, usize, usize, u64) {
        (self.by_id.len(), self.by_probe.len(), self.running, self.begun)
    }

    /// Where every check stands: its verdict, how many failures it is being forgiven, its last result, and how many
    /// checks share its probe.
    pub fn standings(&self) -> impl Iterator<Item = (CheckId, Verdict, u32, Option<&ProbeResult>, usize)> {
        self.entries.iter().flatten().map(|e| {
            let shared = e.subjects.first().and_then(|s| self.subjects[*s].as_ref()).map_or(1, |s| s.members.len());
            (e.id, e.checker.verdict(), e.checker.forgiven(), e.last.as_deref(), shared)
        })
    }
}

/// Where in its warm-up a probe begins: spread by a hash of what it is, so that probes neither burst nor wander.
fn spread(probe: &Probe) -> f64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut h = DefaultHasher::new();
    probe.hash(&mut h);
    (h.finish() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
