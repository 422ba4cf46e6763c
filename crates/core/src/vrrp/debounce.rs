//! `interface_up_down_delays`: an interface counts as down, or up again, only when it has been so for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Instant;

/// How long an interface must be down, and up, before it counts as that.
pub type LinkDelays = BTreeMap<String, (Duration, Duration)>;

#[derive(Clone, Copy, Debug)]
struct LinkState {
    debounced_up: bool,
    /// It looks otherwise, and counts as that then.
    change_at: Option<Instant>,
}

/// How interfaces count.
#[derive(Clone, Debug, Default)]
pub struct LinkDebounce {
    delays: LinkDelays,
    links: BTreeMap<String, LinkState>,
}

impl LinkDebounce {
    /// Other delays from now on.
    pub fn configure(&mut self, delays: LinkDelays) {
        self.links.retain(|name, _| delays.contains_key(name));
        self.delays = delays;
    }

    /// An interface looks like this now; the result is how it counts. The first look counts at once.
    pub fn update_link(&mut self, now: Instant, name: &str, up: bool) -> bool {
        let Some((down_delay, up_delay)) = self.delays.get(name) else { return up };
        let delay = if up { *up_delay } else { *down_delay };
        let seen = self.links.entry(name.to_owned()).or_insert(LinkState { debounced_up: up, change_at: None });
        if seen.debounced_up == up {
            seen.change_at = None;
        } else if *seen.change_at.get_or_insert(now + delay) <= now {
            *seen = LinkState { debounced_up: up, change_at: None };
        }
        seen.debounced_up
    }

    /// When interfaces want to be looked at again, whether anything has happened or not.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.links.values().filter_map(|s| s.change_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_counts() {
        let s = |n| Instant::default() + Duration::from_secs(n);
        let mut d = LinkDebounce::default();
        d.configure([("eth0".to_owned(), (Duration::from_secs(3), Duration::from_secs(5)))].into());
        assert!(d.update_link(s(0), "eth0", true));
        assert!(d.update_link(s(10), "eth0", false), "it may come back");
        assert_eq!(d.next_deadline(), Some(s(13)));
        assert!(d.update_link(s(12), "eth0", true) && d.next_deadline().is_none());
        assert!(d.update_link(s(20), "eth0", false) && !d.update_link(s(23), "eth0", false));
        assert!(!d.update_link(s(24), "eth0", true) && d.update_link(s(29), "eth0", true));
        assert!(!d.update_link(s(30), "eth1", false), "an interface without delays is as it is");
    }
}
