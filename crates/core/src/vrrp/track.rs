//! What tracked objects do: results of scripts to good or bad, good or bad to priority or FAULT.

use crate::model::{Track, VrrpScript};

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

/// What one tracked object does to an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Weight 0, and its first result is not in: wait with starting.
    Wait,
    /// Weight 0, and it is bad: FAULT.
    Fault,
    /// This much more or less priority.
    Priority(i16),
}

/// keepalived.conf(5), "weight": added while it is good if positive, while it is bad if negative. `reverse` turns the
/// sign of what is added; with weight 0 it swaps good and bad (both as keepalived 2.2.7 does).
pub fn effect(t: &Track, good: Option<bool>) -> Effect {
    let signed = if t.reverse { -t.weight } else { t.weight };
    match (good, t.weight) {
        (None, 0) => Effect::Wait,
        (Some(good), 0) if good == t.reverse => Effect::Fault,
        (Some(true), w) if w > 0 => Effect::Priority(signed),
        (Some(false), w) if w < 0 => Effect::Priority(signed),
        _ => Effect::Priority(0),
    }
}

/// Base priority plus the sum, within 1 to 254; an owner's 255 stays (keepalived: vrrp_set_effective_priority()).
pub fn effective_priority(base: u8, sum: i32) -> u8 {
    if base == 255 { 255 } else { (i32::from(base) + sum).clamp(1, 254) as u8 }
}
