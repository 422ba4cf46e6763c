//! A cluster of VRRP routers on one link or several, in virtual time: seeded loss, delay, duplication, partition, pause,
//! crash, failing links and scripts, reloads.
//!
//! The link carries every message to every router that is on the sender's side of a partition, late, twice or never as
//! the seed says. A paused router reads its packets before its timers fire, as the router thread does. One seed gives one
//! history, byte for byte.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use evenkeel_core::model::{
    AdvertDestination, Auth, Family, GarpTiming, InitialState, NotifyConfig, OldUnicastChecksum, ReleaseIntervals,
    TrackResult, TrackedObject, VipSpec, Vrid, VrrpInstance, VrrpVersion,
};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::packet::{MULTICAST_GROUP, split_ipv4};
use evenkeel_core::vrrp::{Input, Output, PreviousState, Router, State, sync_group};

/// A small generator of numbers (SplitMix64), so that a seed means the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next_u64() % n.max(1)
    }

    /// True once in so many per cent.
    pub fn chance(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

/// What the link does to messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkFaults {
    /// Lost, per cent.
    pub loss_percent: u64,
    /// Doubled, per cent.
    pub duplicate_percent: u64,
    /// The longest delay, ms.
    pub max_delay_ms: u64,
}

#[derive(Clone)]
struct Host {
    /// One on each link.
    routers: Vec<Router>,
    alive: bool,
    /// It does nothing before this; packets wait.
    paused_until: Instant,
    /// By link.
    inbox: Vec<(usize, Vec<u8>)>,
    /// Which side of a partition it is on, on each link.
    partition_side: Vec<u8>,
    /// Its interface to each link is up.
    link_up: Vec<bool>,
    /// What all of its routers track, as far as anybody looked.
    script_good: bool,
    holds_vips: Vec<bool>,
}

/// What a router of a simulation tracks, if it tracks anything.
pub fn tracked_script() -> TrackedObject {
    TrackedObject::Script("s".into())
}

/// A packet under way: when it arrives, in which order it was sent, to whom, by which link, what.
type InFlightPacket = Reverse<(Instant, u64, usize, usize, Vec<u8>)>;

/// The cluster. A copy goes on from the same moment.
#[derive(Clone)]
pub struct Cluster {
    /// The virtual time.
    pub now: Instant,
    hosts: Vec<Host>,
    in_flight: BinaryHeap<InFlightPacket>,
    sent: u64,
    /// What the link does now.
    pub link_faults: LinkFaults,
    rng: Rng,
    interval: Duration,
}

fn host_address(i: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 1 + i as u8).into()
}

/// An instance as a simulation needs it.
pub fn instance(priority: u8, version: VrrpVersion, advert_int: Duration) -> VrrpInstance {
    let vip = VipSpec::new(Ipv4Addr::new(10, 0, 0, 100).into(), 24, "e".into());
    VrrpInstance {
        name: "V".into(),
        interface: "e".into(),
        vrid: Vrid::new(51).unwrap_or_else(|| unreachable!()),
        initial_state: InitialState::Backup,
        priority,
        advert_int,
        version,
        family: Family::V4,
        auth: Auth::None,
        signing: None,
        preempt: true,
        preempt_delay: Duration::ZERO,
        down_timer_adverts: 3,
        release_intervals: ReleaseIntervals::DEFAULT,
        timer_expired_backup: None,
        advert_destination: AdvertDestination::Multicast(MULTICAST_GROUP.into()),
        source_address: None,
        v3_checksum_as_v2: false,
        old_unicast_checksum: OldUnicastChecksum::Detected,
        lower_prio_no_advert: false,
        higher_prio_send_advert: false,
        garp: GarpTiming {
            master_delay: Duration::from_secs(5),
            master_repeat: 5,
            master_refresh: Duration::ZERO,
            master_refresh_repeat: 1,
            lower_prio_delay: Duration::from_secs(5),
            lower_prio_repeat: 5,
        },
        vips: vec![vip],
        vips_excluded: Vec::new(),
        routes: Vec::new(),
        rules: Vec::new(),
        tracks: Vec::new(),
        dont_track_primary: false,
        track_source: false,
        owner_ignores_adverts: false,
        skip_check_addresses: false,
        fault_without_peer: false,
        startup_delay: Duration::ZERO,
        notify: NotifyConfig::default(),
        bfd_takeover_session: None,
        boot_delay: Duration::ZERO,
        hold_until_frame: Duration::ZERO,
        garp_extra_if_interval: Duration::ZERO,
        garp_extra_if_vips: Vec::new(),
        promote_secondaries: false,
        vmac: None,
        accept_mode: true,
        strict_mode: false,
        sync_group: None,
    }
}

impl Cluster {
    /// Routers of these instances on one link, started.
    pub fn new(instances: Vec<VrrpInstance>, seed: u64) -> Cluster {
        Cluster::with_links(instances.into_iter().map(|i| vec![i]).collect(), seed)
    }

    /// Hosts with an instance on each of some links, started. Instances of a host that name a sync group are in it.
    pub fn with_links(hosts: Vec<Vec<VrrpInstance>>, seed: u64) -> Cluster {
        let interval = hosts.iter().flatten().map(|c| c.advert_int).max().unwrap_or(Duration::from_secs(1));
        let now = Instant::default();
        let nodes = hosts.into_iter().map(|instances| {
            let n = instances.len();
            Host {
                routers: instances.into_iter().map(|cfg| Router::new(cfg, now)).collect(),
                alive: false,
                paused_until: now,
                inbox: Vec::new(),
                partition_side: vec![0; n],
                link_up: vec![true; n],
                script_good: true,
                holds_vips: vec![false; n],
            }
        });
        let mut c = Cluster {
            now,
            hosts: nodes.collect(),
            in_flight: BinaryHeap::new(),
            sent: 0,
            link_faults: LinkFaults::default(),
            rng: Rng::new(seed),
            interval,
        };
        for i in 0..c.hosts.len() {
            c.boot(i);
        }
        c
    }

    /// The seed's generator.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.hosts.first().map_or(0, |n| n.routers.len())
    }

    /// Does something to each router of a host, and lets its group settle.
    fn for_each_router(&mut self, i: usize, mut act: impl FnMut(usize, &mut Router, Instant)) {
        let now = self.now;
        for (l, r) in self.hosts[i].routers.iter_mut().enumerate() {
            act(l, r, now);
        }
        for l in 0..self.hosts[i].routers.len() {
            self.drain_outputs(i, l);
        }
        self.synchronize_group(i);
    }

    /// Starts a host that is down.
    pub fn boot(&mut self, i: usize) {
        if self.hosts[i].alive {
            return;
        }
        let now = self.now;
        let n = &mut self.hosts[i];
        n.alive = true;
        n.paused_until = now;
        n.inbox.clear();
        n.holds_vips.fill(false);
        let (link, good) = (n.link_up.clone(), n.script_good);
        self.for_each_router(i, |l, r, now| {
            *r = Router::new(r.config().clone(), now);
            r.handle(now, Input::Link(link[l]));
            r.handle(now, Input::SourceAddress(Some(host_address(i))));
            r.handle(now, Input::TrackResult { object: &tracked_script(), result: TrackResult::Good(good) });
            r.handle(now, Input::Start(PreviousState::Unknown));
        });
    }

    /// The power goes: no last word.
    pub fn crash(&mut self, i: usize) {
        self.hosts[i].alive = false;
        self.hosts[i].holds_vips.fill(false);
    }

    /// The process dies, and its parent says the last words for it.
    pub fn kill_process(&mut self, i: usize) {
        if !self.hosts[i].alive {
            return;
        }
        for l in 0..self.links() {
            let r = &self.hosts[i].routers[l];
            let words = if r.state() == State::Master { r.resignation_packets() } else { Vec::new() };
            words.iter().for_each(|(_, _, packet)| self.transmit(i, l, packet));
        }
        self.crash(i);
    }

    /// A clean stop.
    pub fn stop(&mut self, i: usize) {
        if self.hosts[i].alive {
            self.for_each_router(i, |_, r, now| r.handle(now, Input::Stop));
            self.hosts[i].alive = false;
        }
    }

    /// It gets no processor for a while; packets wait for it. To the host it looks as if the clock had jumped.
    pub fn pause(&mut self, i: usize, length: Duration) {
        self.hosts[i].paused_until = self.now + length;
    }

    /// Puts a host on a side of a link; only those on the same side hear each other there.
    pub fn partition(&mut self, i: usize, link: usize, side: u8) {
        self.hosts[i].partition_side[link] = side;
    }

    /// A host's interface goes down or comes up; nothing passes by it while it is down.
    pub fn set_link(&mut self, i: usize, link: usize, up: bool) {
        self.hosts[i].link_up[link] = up;
        if self.hosts[i].alive {
            self.for_each_router(i, |l, r, now| {
                if l == link {
                    r.handle(now, Input::Link(up))
                }
            });
        }
    }

    /// What a host tracks fails or recovers.
    pub fn set_script_result(&mut self, i: usize, good: bool) {
        self.hosts[i].script_good = good;
        if self.hosts[i].alive {
            let found = TrackResult::Good(good);
            self.for_each_router(i, |_, r, now| {
                r.handle(now, Input::TrackResult { object: &tracked_script(), result: found })
            });
        }
    }

    /// A reload with another configuration of every router of a host; one that is down finds it when it starts.
    pub fn reload(&mut self, i: usize, change: impl Fn(&mut VrrpInstance)) {
        let alive = self.hosts[i].alive;
        let new = |r: &Router| {
            let mut cfg = r.config().clone();
            change(&mut cfg);
            cfg
        };
        if alive {
            self.for_each_router(i, |_, r, now| r.reconfigure(now, new(r)));
        } else {
            let now = self.now;
            self.hosts[i].routers.iter_mut().for_each(|r| *r = Router::new(new(r), now));
        }
    }

    /// Every fault ends: all hosts up, links whole, no weather. Packets under way still arrive.
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

    /// Those that are master on a link, and up.
    pub fn masters(&self, link: usize) -> Vec<usize> {
        let master = |n: &Host| n.alive && n.routers[link].state() == State::Master;
        (0..self.hosts.len()).filter(|&i| master(&self.hosts[i])).collect()
    }

    /// Those that hold a link's address.
    pub fn holders(&self, link: usize) -> Vec<usize> {
        (0..self.hosts.len()).filter(|&i| self.hosts[i].alive && self.hosts[i].holds_vips[link]).collect()
    }

    /// A host's priority on a link.
    pub fn priority(&self, i: usize, link: usize) -> u8 {
        self.hosts[i].routers[link].priority()
    }

    /// After every heal there is one master within this: what was under way has arrived, then the longest master-down
    /// interval, one advert that settles what began at once, and the link's delay. In a group one member may begin to
    /// listen when the other has done.
    pub fn convergence_bound(&self) -> Duration {
        let under_way = self.in_flight.iter().map(|Reverse(f)| f.0.duration_since(self.now)).max().unwrap_or_default();
        let routers = || self.hosts.iter().flat_map(|n| &n.routers);
        let down = routers().map(|r| r.master_down_interval()).max().unwrap_or_default();
        let once = down + self.interval + Duration::from_millis(20);
        under_way + if routers().any(|r| r.config().sync_group.is_some()) { 2 * once } else { once }
    }

    /// Lets time pass.
    pub fn run(&mut self, length: Duration) {
        let until = self.now + length;
        let (sent, limit) = (self.sent, 10_000 * (1 + length.as_secs()) * self.links() as u64);
        while let Some(next) = self.next_event_time().filter(|&t| t <= until) {
            self.now = next.max(self.now);
            assert!(self.sent - sent < limit, "a storm of adverts at {}", self.now);
            while self.in_flight.peek().is_some_and(|Reverse(f)| f.0 <= self.now) {
                let Some(Reverse((_, _, to, link, packet))) = self.in_flight.pop() else { break };
                if self.hosts[to].alive && self.hosts[to].link_up[link] {
                    self.hosts[to].inbox.push((link, packet));
                }
            }
            for i in 0..self.hosts.len() {
                self.run_host(i);
            }
        }
        self.now = until;
    }

    fn next_event_time(&self) -> Option<Instant> {
        let flight = self.in_flight.peek().map(|Reverse(f)| f.0);
        let timers = self.hosts.iter().filter(|n| n.alive).filter_map(|n| {
            let waiting = (!n.inbox.is_empty()).then_some(n.paused_until);
            let deadline = n.routers.iter().filter_map(Router::next_deadline).min();
            let timer = deadline.map(|d| d.max(n.paused_until));
            waiting.into_iter().chain(timer).min()
        });
        flight.into_iter().chain(timers).min()
    }

    /// A turn of the router thread: packets first, then timers, then groups.
    fn run_host(&mut self, i: usize) {
        if !self.hosts[i].alive || self.hosts[i].paused_until > self.now {
            return;
        }
        for (l, packet) in std::mem::take(&mut self.hosts[i].inbox) {
            let Some((ip, payload)) = split_ipv4(&packet) else { continue };
            self.hosts[i].routers[l].handle(self.now, Input::Packet { ip, payload });
            self.drain_outputs(i, l);
        }
        for l in 0..self.links() {
            let r = &mut self.hosts[i].routers[l];
            if r.next_deadline().is_some_and(|d| d <= self.now) {
                r.handle_deadline(self.now);
                let next = r.next_deadline();
                assert!(next.is_none_or(|n| n > self.now), "a deadline that has fired lies ahead again");
                self.drain_outputs(i, l);
            }
        }
        self.synchronize_group(i);
    }

    /// Members of a sync group are in one state after every turn.
    fn synchronize_group(&mut self, i: usize) {
        let mut members: Vec<&mut Router> =
            self.hosts[i].routers.iter_mut().filter(|r| r.config().sync_group.is_some()).collect();
        if members.is_empty() {
            return;
        }
        sync_group::synchronize(&mut members, self.now);
        let masters = members.iter().filter(|r| r.state() == State::Master).count();
        assert!(masters == 0 || masters == members.len(), "{masters} of a group of {} are master", members.len());
        for l in 0..self.links() {
            self.drain_outputs(i, l);
        }
    }

    fn drain_outputs(&mut self, i: usize, l: usize) {
        while let Some(output) = self.hosts[i].routers[l].poll_output() {
            match output {
                Output::Send { packet, .. } => self.transmit(i, l, &packet),
                Output::AddVips => self.hosts[i].holds_vips[l] = true,
                Output::RemoveVips => self.hosts[i].holds_vips[l] = false,
                _ => {}
            }
        }
        let n = &self.hosts[i];
        assert_eq!(
            n.holds_vips[l],
            n.routers[l].state() == State::Master,
            "who is master holds the address, nobody else"
        );
    }

    fn transmit(&mut self, from: usize, link: usize, packet: &[u8]) {
        if !self.hosts[from].link_up[link] {
            return;
        }
        for to in (0..self.hosts.len()).filter(|&t| t != from) {
            if self.hosts[to].partition_side[link] != self.hosts[from].partition_side[link] {
                continue;
            }
            let copies = if self.rng.chance(self.link_faults.duplicate_percent) { 2 } else { 1 };
            for _ in 0..copies {
                if self.rng.chance(self.link_faults.loss_percent) {
                    continue;
                }
                let delay = Duration::from_micros(100 + self.rng.below(1000 * self.link_faults.max_delay_ms.max(1)));
                self.sent += 1;
                self.in_flight.push(Reverse((self.now + delay, self.sent, to, link, packet.to_vec())));
            }
        }
    }
}
