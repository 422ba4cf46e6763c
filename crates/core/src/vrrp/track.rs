//! Object tracking: from script results and process counts to good or bad, and from good, bad or a number to priority
//! or FAULT.

use crate::model::{ParamMatch, Track, TrackProcess, TrackResult, TrackedObject, VrrpScript};
use crate::time::Instant;

/// The state of a `vrrp_script`. As in keepalived, `rise` consecutive successes make it good, and `fall` consecutive
/// failures make it bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScriptState {
    good: Option<bool>,
    /// Consecutive results that differ from `good`.
    streak: u32,
}

impl ScriptState {
    /// The state before the first run: bad with `init_fail`, else not known.
    pub fn new(script: &VrrpScript) -> Self {
        ScriptState { good: script.init_fail.then_some(false), streak: 0 }
    }

    /// The state that an earlier process recorded.
    pub fn restored(good: bool) -> Self {
        ScriptState { good: Some(good), streak: 0 }
    }

    /// True if good, false if bad, `None` if not known yet.
    pub fn good(&self) -> Option<bool> {
        self.good
    }

    /// Records the result of a run. Returns the new state if it changed.
    pub fn record_result(&mut self, ok: bool, rise: u32, fall: u32) -> Option<bool> {
        let Some(good) = self.good else {
            // The first result counts at once.
            self.good = Some(ok);
            self.streak = 0;
            return self.good;
        };
        if ok == good {
            self.streak = 0;
            return None;
        }
        self.streak += 1;
        if self.streak < if ok { rise } else { fall } {
            return None;
        }
        self.streak = 0;
        self.good = Some(ok);
        self.good
    }
}

/// The effect of a tracked object on an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackEffect {
    /// There is no result yet, and the start of the instance waits for it.
    Wait,
    /// FAULT.
    Fault,
    /// Added to the priority.
    Priority(i16),
}

/// The effect of a result, or of no result yet.
///
/// keepalived.conf(5), "weight": a positive weight is added while the object is good, a negative one while it is bad;
/// with weight 0 a bad object means FAULT. `reverse` inverts the sign of what is added, and with weight 0 swaps good
/// and bad (both as in keepalived 2.2.7). A number is multiplied by the weight; a product below -253 means FAULT ("VRRP
/// track files").
pub fn track_effect(t: &Track, result: Option<TrackResult>) -> TrackEffect {
    let signed = if t.reverse { -t.weight } else { t.weight };
    match (result, t.weight) {
        (None, 0) => TrackEffect::Wait,
        // keepalived reads files and searches processes before the instances start. Scripts run later.
        (None, _) if matches!(t.object, TrackedObject::File(_) | TrackedObject::Process(_)) => TrackEffect::Wait,
        (Some(TrackResult::Number(n)), 0) => {
            if n == 0 {
                TrackEffect::Priority(0)
            } else {
                TrackEffect::Fault
            }
        }
        (Some(TrackResult::Number(n)), _) => match i64::from(n) * i64::from(signed) {
            ..-253 => TrackEffect::Fault,
            product => TrackEffect::Priority(product.min(253) as i16),
        },
        (Some(TrackResult::Good(good)), 0) if good == t.reverse => TrackEffect::Fault,
        (Some(TrackResult::Good(true)), w) if w > 0 => TrackEffect::Priority(signed),
        (Some(TrackResult::Good(false)), w) if w < 0 => TrackEffect::Priority(signed),
        _ => TrackEffect::Priority(0),
    }
}

/// The state of a `vrrp_track_process`: whether enough of its processes run. A change takes effect after `fork_delay`
/// or `terminate_delay`.
#[derive(Clone, Copy, Default, Debug)]
pub struct ProcessQuorum {
    good: Option<bool>,
    /// The count requires another state, which takes effect at this time.
    change_at: Option<Instant>,
}

impl ProcessQuorum {
    /// True if good, false if bad, `None` if not known yet.
    pub fn good(&self) -> Option<bool> {
        self.good
    }

    /// When [`ProcessQuorum::update_count`] must be called again, even if the count has not changed.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.change_at
    }

    /// Updates the number of running processes. Returns the new state if it changed; the first count takes effect at
    /// once.
    pub fn update_count(&mut self, now: Instant, running: u32, process: &TrackProcess) -> Option<bool> {
        let is_met = running >= process.quorum && process.quorum_max.is_none_or(|max| running <= max);
        match self.good {
            Some(good) if good == is_met => {
                self.change_at = None;
                None
            }
            before => {
                let delay = if is_met { process.fork_delay } else { process.terminate_delay };
                if before.is_some() && *self.change_at.get_or_insert(now + delay) > now {
                    return None;
                }
                (self.good, self.change_at) = (Some(is_met), None);
                self.good
            }
        }
    }
}

/// The longest name in /proc/PID/comm (TASK_COMM_LEN of sched.h, without the terminating zero).
const MAX_COMM_LEN: usize = 15;

/// Whether a process is one of a `vrrp_track_process`. `comm`: its name in /proc/PID/comm. `command`: its command line.
pub fn process_matches(process: &TrackProcess, comm: &str, command: &[&str]) -> bool {
    let (program, parameters) = command.split_first().map_or(("", &[][..]), |(p, rest)| (*p, rest));
    let has_name = if process.full_command || process.program.len() > MAX_COMM_LEN {
        program == process.program || program.rsplit('/').next() == Some(&process.program)
    } else {
        comm == process.program
    };
    let wanted = &process.parameters;
    let begins_with_wanted = |p: &[&str]| p.len() >= wanted.len() && p.iter().zip(wanted).all(|(a, b)| a == b);
    has_name
        && match process.param_match {
            ParamMatch::Any => true,
            ParamMatch::Exact => parameters.len() == wanted.len() && begins_with_wanted(parameters),
            ParamMatch::Initial => begins_with_wanted(parameters),
            ParamMatch::Partial => wanted.is_empty() || parameters.windows(wanted.len()).any(begins_with_wanted),
        }
}

/// The base priority plus the sum of all effects, limited to 1 to 254. An owner's 255 does not change (keepalived:
/// vrrp_set_effective_priority()).
pub fn effective_priority(base: u8, sum: i32) -> u8 {
    if base == 255 { 255 } else { (i32::from(base) + sum).clamp(1, 254) as u8 }
}
