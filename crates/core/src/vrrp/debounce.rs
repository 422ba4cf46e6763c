//! `interface_up_down_delays`: an interface counts as down, or up again, only when it has been so for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Instant;

/// How long an interface must be down, and up, before it counts as that.
pub type Delays = BTreeMap<String, (Duration, Duration)>;

#[derive(Clone, Copy, Debug)]
struct Seen {
    counts_as: bool,
    /// It looks otherwise, and counts as that then.
    changes: Option<Instant>,
}

/// How interfaces count.
#[derive(Clone, Debug, Default)]
pub struct Debounce {
    delays: Delays,
    seen: BTreeMap<String, Seen>,
}

impl Debounce {
    /// Other delays from now on.
    pub fn configure(&mut self, delays: Delays) {
        self.seen.retain(|name, _| delays.contains_key(name));
        self.delays = delays;
    }

    /// An interface looks like this now; the result is how it counts. The first look counts at once.
    pub fn look(&mut self, now: Instant, name: &str, up: bool) -> bool {
        let Some((down_delay, up_delay)) = self.delays.get(name) else { return up };
        let delay = if up { *up_delay } else { *down_delay };
        let seen = self.seen.entry(name.to_owned()).or_insert(Seen { counts_as: up, changes: None });
        if seen.counts_as == up {
            seen.changes = None;
        } else if *seen.changes.get_or_insert(now + delay) <= now {
            *seen = Seen { counts_as: up, changes: None };
        }
        seen.counts_as
    }

    /// When interfaces want to be looked at again, whether anything has happened or not.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.seen.values().filter_map(|s| s.changes).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_counts() {
        let s = |n| Instant::default() + Duration::from_secs(n);
        let mut d = Debounce::default();
        d.configure([("eth0".to_owned(), (Duration::from_secs(3), Duration::from_secs(5)))].into());
        assert!(d.look(s(0), "eth0", true));
        assert!(d.look(s(10), "eth0", false), "it may come back");
        assert_eq!(d.next_deadline(), Some(s(13)));
        assert!(d.look(s(12), "eth0", true) && d.next_deadline().is_none());
        assert!(d.look(s(20), "eth0", false) && !d.look(s(23), "eth0", false));
        assert!(!d.look(s(24), "eth0", true) && d.look(s(29), "eth0", true));
        assert!(!d.look(s(30), "eth1", false), "an interface without delays is as it is");
    }
}
