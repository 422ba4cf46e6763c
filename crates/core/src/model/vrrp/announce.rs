//! The timing of gratuitous ARPs and unsolicited neighbour advertisements.

use std::time::Duration;

/// The timing of an instance's gratuitous ARPs. The fields have keepalived's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GarpTiming {
    /// A second block is sent this long after the transition to master; zero: no second block.
    pub master_delay: Duration,
    /// How often each block announces all addresses.
    pub master_repeat: u32,
    /// A master repeats its announcements at this interval; zero: it does not.
    pub master_refresh: Duration,
    /// How often each such repetition announces all addresses.
    pub master_refresh_repeat: u32,
    /// A second block is sent this long after an advert of lower priority; zero: no second block.
    pub lower_prio_delay: Duration,
    /// How often each block after an advert of lower priority announces all addresses; 0: no such block.
    pub lower_prio_repeat: u32,
}

/// The minimum intervals between announcements on an interface; zero: no interval.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AnnounceIntervals {
    /// Between gratuitous ARPs (`vrrp_garp_interval`).
    pub garp: Duration,
    /// Between unsolicited neighbour advertisements (`vrrp_gna_interval`).
    pub gna: Duration,
    /// Interfaces that share their intervals.
    pub groups: Vec<GarpGroup>,
}

/// A `garp_group`: interfaces with common intervals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GarpGroup {
    /// The interfaces of the group.
    pub interfaces: Vec<String>,
    /// Between gratuitous ARPs.
    pub garp: Duration,
    /// Between unsolicited neighbour advertisements.
    pub gna: Duration,
}
