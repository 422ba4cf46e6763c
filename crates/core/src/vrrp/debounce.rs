//! The link debounce of `interface_up_down_delays`: an interface counts as down or up only after it has been so for a
//! configured time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Instant;

/// The delays of each interface, by name: before it counts as down, and before it counts as up.
pub type LinkDelays = BTreeMap<String, (Duration, Duration)>;

#[derive(Clone, Copy, Debug)]
struct LinkState {
    debounced_up: bool,
    /// The link state differs from `debounced_up`, and is taken over at this time.
    change_at: Option<Instant>,
}

/// The debounced state of all interfaces that have delays.
#[derive(Clone, Debug, Default)]
pub struct LinkDebounce {
    delays: LinkDelays,
    links: BTreeMap<String, LinkState>,
}

impl LinkDebounce {
    /// Replaces the delays.
    pub fn configure(&mut self, delays: LinkDelays) {
        self.links.retain(|name, _| delays.contains_key(name));
        self.delays = delays;
    }

    /// Reports the link state of an interface. Returns its debounced state, which is `up` for the first report and for
    /// an interface without delays.
    pub fn update_link(&mut self, now: Instant, name: &str, up: bool) -> bool {
        let Some((down_delay, up_delay)) = self.delays.get(name) else { return up };
        let delay = if up { *up_delay } else { *down_delay };
        let link = self.links.entry(name.to_owned()).or_insert(LinkState { debounced_up: up, change_at: None });
        if link.debounced_up == up {
            link.change_at = None;
        } else if *link.change_at.get_or_insert(now + delay) <= now {
            *link = LinkState { debounced_up: up, change_at: None };
        }
        link.debounced_up
    }

    /// When [`LinkDebounce::update_link`] must be called again, even if no link has changed.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.links.values().filter_map(|s| s.change_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lasting_change_of_a_link_counts() {
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
