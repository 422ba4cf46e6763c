//! What tracked scripts do: results to good or bad, good or bad to priority or FAULT.

use crate::model::{TrackedScript, VrrpScript};

/// The standing of one `vrrp_script`, by keepalived's counter: `rise` successes in a row make it good, `fall` failures
/// in a row make it bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    good: Option<bool>,
    streak: u32,
}

impl Standing {
    /// Before its first run: bad with `init_fail`, else not known.
    pub fn new(script: &VrrpScript) -> Self {
        Standing { good: script.init_fail.then_some(false), streak: 0 }
    }

    /// Good, bad, or not known yet.
    pub fn good(&self) -> Option<bool> {
        self.good
    }

    /// A run has ended. Returns the new standing if it changed.
    pub fn result(&mut self, ok: bool, rise: u32, fall: u32) -> Option<bool> {
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

/// What one tracked script does to an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Weight 0, and its first result is not in: wait with starting.
    Wait,
    /// Weight 0, and it fails: FAULT.
    Fault,
    /// This much more or less priority.
    Priority(i16),
}

/// keepalived.conf(5), "weight": added while it succeeds if positive, subtracted while it fails if negative; `reverse`
/// swaps success and failure.
pub fn effect(t: &TrackedScript, good: Option<bool>) -> Effect {
    let good = match (good, t.weight) {
        (None, 0) => return Effect::Wait,
        (None, _) => return Effect::Priority(0),
        (Some(g), _) => g != t.reverse,
    };
    match (t.weight, good) {
        (0, true) => Effect::Priority(0),
        (0, false) => Effect::Fault,
        (w, true) if w > 0 => Effect::Priority(w),
        (w, false) if w < 0 => Effect::Priority(w),
        _ => Effect::Priority(0),
    }
}

/// Base priority plus the sum, within 1 to 254; an owner's 255 stays (keepalived: vrrp_set_effective_priority()).
pub fn effective_priority(base: u8, sum: i32) -> u8 {
    if base == 255 { 255 } else { (i32::from(base) + sum).clamp(1, 254) as u8 }
}
