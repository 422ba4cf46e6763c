//! A cluster of VRRP routers in virtual time, on one link or several, with seeded faults: loss, delay, duplication and
//! partition of packets; pauses, crashes and reloads of hosts; failures of interfaces and scripts.
//!
//! A link carries every packet to every host on the sender's side of a partition: late, twice or not at all, as the
//! seed decides. A paused host handles its packets before its deadlines, as the router thread does. A seed determines
//! the whole history, byte for byte.
//!
//! Files: this one has the cluster and the passing of time, `host` the hosts and what happens to them, `link` the
//! links.

mod host;
mod instance;
mod link;
mod rng;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use evenkeel_core::model::VrrpInstance;
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::State;

pub use host::tracked_script;
pub use instance::instance;
pub use link::LinkFaults;
pub use rng::SplitMix64;

use host::Host;
use link::InFlightPacket;

/// The cluster. A clone continues from the same moment.
#[derive(Clone)]
pub struct Cluster {
    /// The virtual time.
    pub now: Instant,
    hosts: Vec<Host>,
    in_flight: BinaryHeap<Reverse<InFlightPacket>>,
    /// Packets sent so far.
    sent: u64,
    /// The faults of all links, from now on.
    pub link_faults: LinkFaults,
    rng: SplitMix64,
    /// The longest interval of the instances.
    interval: Duration,
}

fn host_address(i: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 1 + i as u8).into()
}

impl Cluster {
    /// Hosts with one of these instances each, on one link. All hosts are booted.
    pub fn new(instances: Vec<VrrpInstance>, seed: u64) -> Cluster {
        Cluster::with_links(instances.into_iter().map(|i| vec![i]).collect(), seed)
    }

    /// Hosts with an instance on each of several links. All hosts are booted. Instances of a host that name a sync
    /// group are its members.
    pub fn with_links(hosts: Vec<Vec<VrrpInstance>>, seed: u64) -> Cluster {
        let interval = hosts.iter().flatten().map(|c| c.advert_int).max().unwrap_or(Duration::from_secs(1));
        let now = Instant::default();
        let mut c = Cluster {
            now,
            hosts: hosts.into_iter().map(|instances| Host::new(instances, now)).collect(),
            in_flight: BinaryHeap::new(),
            sent: 0,
            link_faults: LinkFaults::default(),
            rng: SplitMix64::new(seed),
            interval,
        };
        for i in 0..c.hosts.len() {
            c.boot(i);
        }
        c
    }

    /// The random numbers of the seed.
    pub fn rng(&mut self) -> &mut SplitMix64 {
        &mut self.rng
    }

    /// The number of hosts.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there are no hosts.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The number of links.
    pub fn links(&self) -> usize {
        self.hosts.first().map_or(0, |n| n.routers.len())
    }

    /// The hosts that are alive and master on a link.
    pub fn masters(&self, link: usize) -> Vec<usize> {
        let is_master = |h: &Host| h.alive && h.routers[link].state() == State::Master;
        (0..self.hosts.len()).filter(|&i| is_master(&self.hosts[i])).collect()
    }

    /// The hosts that are alive and hold a link's address.
    pub fn holders(&self, link: usize) -> Vec<usize> {
        (0..self.hosts.len()).filter(|&i| self.hosts[i].alive && self.hosts[i].holds_vips[link]).collect()
    }

    /// A host's priority on a link.
    pub fn priority(&self, i: usize, link: usize) -> u8 {
        self.hosts[i].routers[link].priority()
    }

    /// Ends every fault: all hosts are up, all links are whole. Packets in flight still arrive.
    pub fn heal(&mut self) {
        self.link_faults = LinkFaults { max_delay_ms: 5, ..LinkFaults::default() };
        for i in 0..self.hosts.len() {
            self.hosts[i].partition_side.fill(0);
            self.hosts[i].paused_until = self.now;
            self.boot(i);
            for l in 0..self.links() {
                self.set_link(i, l, true);
            }
            self.set_script_result(i, true);
            self.run_host(i);
        }
    }

    /// After [`Cluster::heal`] there is exactly one master within this time: the packets in flight have arrived, then
    /// the longest master-down interval, one advert interval for elections that started at the same time, and the delay
    /// of the link. In a sync group one member may start to wait when the other has finished.
    pub fn convergence_bound(&self) -> Duration {
        let arrivals = self.in_flight.iter().map(|Reverse(p)| p.arrival.duration_since(self.now));
        let in_flight = arrivals.max().unwrap_or_default();
        let routers = || self.hosts.iter().flat_map(|h| &h.routers);
        let down = routers().map(|r| r.master_down_interval()).max().unwrap_or_default();
        let once = down + self.interval + Duration::from_millis(20);
        in_flight + if routers().any(|r| r.config().sync_group.is_some()) { 2 * once } else { once }
    }

    /// Lets time pass.
    pub fn run(&mut self, length: Duration) {
        let until = self.now + length;
        let (sent, limit) = (self.sent, 10_000 * (1 + length.as_secs()) * self.links() as u64);
        while let Some(next) = self.next_event_time().filter(|&t| t <= until) {
            self.now = next.max(self.now);
            assert!(self.sent - sent < limit, "a storm of adverts at {}", self.now);
            self.deliver_packets();
            for i in 0..self.hosts.len() {
                self.run_host(i);
            }
        }
        self.now = until;
    }

    fn next_event_time(&self) -> Option<Instant> {
        let arrival = self.in_flight.peek().map(|Reverse(p)| p.arrival);
        arrival.into_iter().chain(self.hosts.iter().filter_map(Host::next_event_time)).min()
    }
}
