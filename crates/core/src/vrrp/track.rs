//! What tracked objects do: results of scripts to good or bad, good or bad to priority or FAULT.

use crate::model::{ParamMatch, Track, TrackProcess, TrackResult, TrackedObject, VrrpScript};
use crate::time::Instant;

/// The standing of one `vrrp_script`, by keepalived's counter: `rise` successes in a row make it good, `fall` failures
/// in a row make it bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScriptState {
    good: Option<bool>,
    streak: u32,
}

impl ScriptState {
    /// Before its first run: bad with `init_fail`, else not known.
    pub fn new(script: &VrrpScript) -> Self {
        ScriptState { good: script.init_fail.then_some(false), streak: 0 }
    }

    /// As it was found earlier.
    pub fn restored(good: bool) -> Self {
        ScriptState { good: Some(good), streak: 0 }
    }

    /// Good, bad, or not known yet.
    pub fn good(&self) -> Option<bool> {
        self.good
    }

    /// A run has ended. Returns the new standing if it changed.
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

/// What one tracked object does to an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackEffect {
    /// Its first result is not in, and it has weight 0, or is at hand at once: wait with starting.
    Wait,
    /// Weight 0, and it is bad: FAULT.
    Fault,
    /// This much more or less priority.
    Priority(i16),
}

/// keepalived.conf(5), "weight": added while it is good if positive, while it is bad if negative. `reverse` turns the
/// sign of what is added; with weight 0 it swaps good and bad (both as keepalived 2.2.7 does). A number is multiplied by
/// the weight, and below -253 it means FAULT ("VRRP track files").
pub fn track_effect(t: &Track, found: Option<TrackResult>) -> TrackEffect {
    let signed = if t.reverse { -t.weight } else { t.weight };
    match (found, t.weight) {
        (None, 0) => TrackEffect::Wait,
        // keepalived reads files and looks for processes before anything starts, and a script in its own time.
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

/// Whether enough processes of a `vrrp_track_process` run, once they have for long enough.
#[derive(Clone, Copy, Default, Debug)]
pub struct ProcessQuorum {
    good: Option<bool>,
    /// It looks otherwise, and counts then.
    change_at: Option<Instant>,
}

impl ProcessQuorum {
    /// Good, bad, or not known yet.
    pub fn good(&self) -> Option<bool> {
        self.good
    }

    /// When [`Quorum::count`] wants to be called again, whether anything has changed or not.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.change_at
    }

    /// So many run now. Returns the new standing if it changed; the first counts at once.
    pub fn update_count(&mut self, now: Instant, running: u32, of: &TrackProcess) -> Option<bool> {
        let looks = running >= of.quorum && of.quorum_max.is_none_or(|max| running <= max);
        match self.good {
            Some(good) if good == looks => {
                self.change_at = None;
                None
            }
            known => {
                let delay = if looks { of.fork_delay } else { of.terminate_delay };
                if known.is_some() && *self.change_at.get_or_insert(now + delay) > now {
                    return None;
                }
                (self.good, self.change_at) = (Some(looks), None);
                self.good
            }
        }
    }
}

/// The length to which the kernel cuts a process's short name (TASK_COMM_LEN of sched.h, less its zero).
const MAX_COMM_LEN: usize = 15;

/// Is this a process that is tracked? `short` is its name as in /proc/PID/comm, `command` its command line.
pub fn process_matches(of: &TrackProcess, short: &str, command: &[&str]) -> bool {
    let (program, parameters) = command.split_first().map_or(("", &[][..]), |(p, rest)| (*p, rest));
    let named = if of.full_command || of.program.len() > MAX_COMM_LEN {
        program == of.program || program.rsplit('/').next() == Some(&of.program)
    } else {
        short == of.program
    };
    let wanted = &of.parameters;
    let agree = |at: &[&str]| at.len() >= wanted.len() && at.iter().zip(wanted).all(|(a, b)| a == b);
    named
        && match of.param_match {
            ParamMatch::Any => true,
            ParamMatch::Exact => parameters.len() == wanted.len() && agree(parameters),
            ParamMatch::Initial => agree(parameters),
            ParamMatch::Partial => wanted.is_empty() || parameters.windows(wanted.len()).any(agree),
        }
}

/// Base priority plus the sum, within 1 to 254; an owner's 255 stays (keepalived: vrrp_set_effective_priority()).
pub fn effective_priority(base: u8, sum: i32) -> u8 {
    if base == 255 { 255 } else { (i32::from(base) + sum).clamp(1, 254) as u8 }
}
