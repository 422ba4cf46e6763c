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
    Auth, ChecksumOfOld, Destination, Family, Found, GarpTiming, InitialState, Notify, Release, TrackedObject, VipSpec,
    Vrid, VrrpInstance, VrrpVersion,
};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::wire::{GROUP, split_ipv4};
use evenkeel_core::vrrp::{Input, Output, Past, Router, State, group};

/// A small generator of numbers (SplitMix64), so that a seed means the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n.max(1)
    }

    /// True once in so many per cent.
    pub fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

/// What the link does to messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Lost, per cent.
    pub loss: u64,
    /// Doubled, per cent.
    pub double: u64,
    /// The longest delay, ms.
    pub delay_ms: u64,
}

#[derive(Clone)]
struct Node {
    /// One on each link.
    routers: Vec<Router>,
    alive: bool,
    /// It does nothing before this; packets wait.
    paused_until: Instant,
    /// By link.
    waiting: Vec<(usize, Vec<u8>)>,
    /// Which side of a partition it is on, on each link.
    side: Vec<u8>,
    /// Its interface to each link is up.
    link: Vec<bool>,
    /// What all of its routers track, as far as anybody looked.
    tracked: bool,
    holds: Vec<bool>,
}

/// What a router of a simulation tracks, if it tracks anything.
pub fn tracked() -> TrackedObject {
    TrackedObject::Script("s".into())
}

/// A packet under way: when it arrives, in which order it was sent, to whom, by which link, what.
type Flight = Reverse<(Instant, u64, usize, usize, Vec<u8>)>;

/// The cluster. A copy goes on from the same moment.
#[derive(Clone)]
pub struct Cluster {
    /// The virtual time.
    pub now: Instant,
    nodes: Vec<Node>,
    flights: BinaryHeap<Flight>,
    sent: u64,
    /// What the link does now.
    pub weather: Weather,
    rng: Rng,
    interval: Duration,
}

fn address(i: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 1 + i as u8).into()
}

/// An instance as a simulation needs it.
pub fn instance(priority: u8, version: VrrpVersion, advert_int: Duration) -> VrrpInstance {
    let vip = VipSpec::bare(Ipv4Addr::new(10, 0, 0, 100).into(), 24, "e".into());
    VrrpInstance {
        name: "V".into(),
        interface: "e".into(),
        vrid: Vrid::new(51).unwrap_or_else(|| unreachable!()),
        initial: InitialState::Backup,
        priority,
        advert_int,
        version,
        family: Family::V4,
        auth: Auth::None,
        signing: None,
        preempt: true,
        preempt_delay: Duration::ZERO,
        down_timer_adverts: 3,
        release: Release::USUAL,
        timer_expired_backup: None,
        destination: Destination::Multicast(GROUP.into()),
        source: None,
        v3_checksum_as_v2: false,
        old_unicast_checksum: ChecksumOfOld::Detected,
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
        notify: Notify::default(),
        bfd_takeover: None,
        after_boot: Duration::ZERO,
        hold_until_frame: Duration::ZERO,
        garp_elsewhere: Duration::ZERO,
        vips_elsewhere: Vec::new(),
        promote_secondaries: false,
        vmac: None,
        accept: true,
        strict: false,
        group: None,
    }
}

impl Cluster {
    /// Routers of these instances on one link, started.
    pub fn new(instances: Vec<VrrpInstance>, seed: u64) -> Cluster {
        Cluster::of(instances.into_iter().map(|i| vec![i]).collect(), seed)
    }

    /// Hosts with an instance on each of some links, started. Instances of a host that name a sync group are in it.
    pub fn of(hosts: Vec<Vec<VrrpInstance>>, seed: u64) -> Cluster {
        let interval = hosts.iter().flatten().map(|c| c.advert_int).max().unwrap_or(Duration::from_secs(1));
        let now = Instant::default();
        let nodes = hosts.into_iter().map(|instances| {
            let n = instances.len();
            Node {
                routers: instances.into_iter().map(|cfg| Router::new(cfg, now)).collect(),
                alive: false,
                paused_until: now,
                waiting: Vec::new(),
                side: vec![0; n],
                link: vec![true; n],
                tracked: true,
                holds: vec![false; n],
            }
        });
        let mut c = Cluster {
            now,
            nodes: nodes.collect(),
            flights: BinaryHeap::new(),
            sent: 0,
            weather: Weather::default(),
            rng: Rng::new(seed),
            interval,
        };
        for i in 0..c.nodes.len() {
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
        self.nodes.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.nodes.first().map_or(0, |n| n.routers.len())
    }

    /// Does something to each router of a host, and lets its group settle.
    fn each(&mut self, i: usize, mut act: impl FnMut(usize, &mut Router, Instant)) {
        let now = self.now;
        for (l, r) in self.nodes[i].routers.iter_mut().enumerate() {
            act(l, r, now);
        }
        for l in 0..self.nodes[i].routers.len() {
            self.drain(i, l);
        }
        self.settle(i);
    }

    /// Starts a host that is down.
    pub fn boot(&mut self, i: usize) {
        if self.nodes[i].alive {
            return;
        }
        let now = self.now;
        let n = &mut self.nodes[i];
        n.alive = true;
        n.paused_until = now;
        n.waiting.clear();
        n.holds.fill(false);
        let (link, good) = (n.link.clone(), n.tracked);
        self.each(i, |l, r, now| {
            *r = Router::new(r.config().clone(), now);
            r.handle(now, Input::Link(link[l]));
            r.handle(now, Input::Address(Some(address(i))));
            r.handle(now, Input::Tracked { object: &tracked(), found: Found::Good(good) });
            r.handle(now, Input::Start(Past::Nothing));
        });
    }

    /// The power goes: no last word.
    pub fn crash(&mut self, i: usize) {
        self.nodes[i].alive = false;
        self.nodes[i].holds.fill(false);
    }

    /// The process dies, and its parent says the last words for it.
    pub fn die(&mut self, i: usize) {
        if !self.nodes[i].alive {
            return;
        }
        for l in 0..self.links() {
            let r = &self.nodes[i].routers[l];
            let words = if r.state() == State::Master { r.last_words() } else { Vec::new() };
            words.iter().for_each(|(_, _, packet)| self.transmit(i, l, packet));
        }
        self.crash(i);
    }

    /// A clean stop.
    pub fn stop(&mut self, i: usize) {
        if self.nodes[i].alive {
            self.each(i, |_, r, now| r.handle(now, Input::Stop));
            self.nodes[i].alive = false;
        }
    }

    /// It gets no processor for a while; packets wait for it. To the host it looks as if the clock had jumped.
    pub fn pause(&mut self, i: usize, length: Duration) {
        self.nodes[i].paused_until = self.now + length;
    }

    /// Puts a host on a side of a link; only those on the same side hear each other there.
    pub fn partition(&mut self, i: usize, link: usize, side: u8) {
        self.nodes[i].side[link] = side;
    }

    /// A host's interface goes down or comes up; nothing passes by it while it is down.
    pub fn set_link(&mut self, i: usize, link: usize, up: bool) {
        self.nodes[i].link[link] = up;
        if self.nodes[i].alive {
            self.each(i, |l, r, now| {
                if l == link {
                    r.handle(now, Input::Link(up))
                }
            });
        }
    }

    /// What a host tracks fails or recovers.
    pub fn set_tracked(&mut self, i: usize, good: bool) {
        self.nodes[i].tracked = good;
        if self.nodes[i].alive {
            let found = Found::Good(good);
            self.each(i, |_, r, now| r.handle(now, Input::Tracked { object: &tracked(), found }));
        }
    }

    /// A reload with another configuration of every router of a host; one that is down finds it when it starts.
    pub fn reload(&mut self, i: usize, change: impl Fn(&mut VrrpInstance)) {
        let alive = self.nodes[i].alive;
        let new = |r: &Router| {
            let mut cfg = r.config().clone();
            change(&mut cfg);
            cfg
        };
        if alive {
            self.each(i, |_, r, now| r.reconfigure(now, new(r)));
        } else {
            let now = self.now;
            self.nodes[i].routers.iter_mut().for_each(|r| *r = Router::new(new(r), now));
        }
    }

    /// Every fault ends: all hosts up, links whole, no weather. Packets under way still arrive.
    pub fn heal(&mut self) {
        self.weather = Weather { delay_ms: 5, ..Weather::default() };
        for i in 0..self.nodes.len() {
            self.nodes[i].side.fill(0);
            self.nodes[i].paused_until = self.now;
            self.boot(i);
            for l in 0..self.links() {
                self.set_link(i, l, true);
            }
            self.set_tracked(i, true);
            self.wake(i);
        }
    }

    /// Those that are master on a link, and up.
    pub fn masters(&self, link: usize) -> Vec<usize> {
        let master = |n: &Node| n.alive && n.routers[link].state() == State::Master;
        (0..self.nodes.len()).filter(|&i| master(&self.nodes[i])).collect()
    }

    /// Those that hold a link's address.
    pub fn holders(&self, link: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&i| self.nodes[i].alive && self.nodes[i].holds[link]).collect()
    }

    /// A host's priority on a link.
    pub fn priority(&self, i: usize, link: usize) -> u8 {
        self.nodes[i].routers[link].priority()
    }

    /// After every heal there is one master within this: what was under way has arrived, then the longest master-down
    /// interval, one advert that settles what began at once, and the link's delay. In a group one member may begin to
    /// listen when the other has done.
    pub fn bound(&self) -> Duration {
        let under_way = self.flights.iter().map(|Reverse(f)| f.0.since(self.now)).max().unwrap_or_default();
        let routers = || self.nodes.iter().flat_map(|n| &n.routers);
        let down = routers().map(|r| r.master_down_interval()).max().unwrap_or_default();
        let once = down + self.interval + Duration::from_millis(20);
        under_way + if routers().any(|r| r.config().group.is_some()) { 2 * once } else { once }
    }

    /// Lets time pass.
    pub fn run(&mut self, length: Duration) {
        let until = self.now + length;
        let (sent, limit) = (self.sent, 10_000 * (1 + length.as_secs()) * self.links() as u64);
        while let Some(next) = self.next_moment().filter(|&t| t <= until) {
            self.now = next.max(self.now);
            assert!(self.sent - sent < limit, "a storm of adverts at {}", self.now);
            while self.flights.peek().is_some_and(|Reverse(f)| f.0 <= self.now) {
                let Some(Reverse((_, _, to, link, packet))) = self.flights.pop() else { break };
                if self.nodes[to].alive && self.nodes[to].link[link] {
                    self.nodes[to].waiting.push((link, packet));
                }
            }
            for i in 0..self.nodes.len() {
                self.wake(i);
            }
        }
        self.now = until;
    }

    fn next_moment(&self) -> Option<Instant> {
        let flight = self.flights.peek().map(|Reverse(f)| f.0);
        let timers = self.nodes.iter().filter(|n| n.alive).filter_map(|n| {
            let waiting = (!n.waiting.is_empty()).then_some(n.paused_until);
            let deadline = n.routers.iter().filter_map(Router::next_deadline).min();
            let timer = deadline.map(|d| d.max(n.paused_until));
            waiting.into_iter().chain(timer).min()
        });
        flight.into_iter().chain(timers).min()
    }

    /// A turn of the router thread: packets first, then timers, then groups.
    fn wake(&mut self, i: usize) {
        if !self.nodes[i].alive || self.nodes[i].paused_until > self.now {
            return;
        }
        for (l, packet) in std::mem::take(&mut self.nodes[i].waiting) {
            let Some((ip, payload)) = split_ipv4(&packet) else { continue };
            self.nodes[i].routers[l].handle(self.now, Input::Packet { ip, payload });
            self.drain(i, l);
        }
        for l in 0..self.links() {
            let r = &mut self.nodes[i].routers[l];
            if r.next_deadline().is_some_and(|d| d <= self.now) {
                r.handle_deadline(self.now);
                let next = r.next_deadline();
                assert!(next.is_none_or(|n| n > self.now), "a deadline that has fired lies ahead again");
                self.drain(i, l);
            }
        }
        self.settle(i);
    }

    /// Members of a sync group are in one state after every turn.
    fn settle(&mut self, i: usize) {
        let mut members: Vec<&mut Router> =
            self.nodes[i].routers.iter_mut().filter(|r| r.config().group.is_some()).collect();
        if members.is_empty() {
            return;
        }
        group::settle(&mut members, self.now);
        let masters = members.iter().filter(|r| r.state() == State::Master).count();
        assert!(masters == 0 || masters == members.len(), "{masters} of a group of {} are master", members.len());
        for l in 0..self.links() {
            self.drain(i, l);
        }
    }

    fn drain(&mut self, i: usize, l: usize) {
        while let Some(output) = self.nodes[i].routers[l].poll_output() {
            match output {
                Output::Send { packet, .. } => self.transmit(i, l, &packet),
                Output::AddVips => self.nodes[i].holds[l] = true,
                Output::RemoveVips => self.nodes[i].holds[l] = false,
                _ => {}
            }
        }
        let n = &self.nodes[i];
        assert_eq!(n.holds[l], n.routers[l].state() == State::Master, "who is master holds the address, nobody else");
    }

    fn transmit(&mut self, from: usize, link: usize, packet: &[u8]) {
        if !self.nodes[from].link[link] {
            return;
        }
        for to in (0..self.nodes.len()).filter(|&t| t != from) {
            if self.nodes[to].side[link] != self.nodes[from].side[link] {
                continue;
            }
            let copies = if self.rng.percent(self.weather.double) { 2 } else { 1 };
            for _ in 0..copies {
                if self.rng.percent(self.weather.loss) {
                    continue;
                }
                let delay = Duration::from_micros(100 + self.rng.below(1000 * self.weather.delay_ms.max(1)));
                self.sent += 1;
                self.flights.push(Reverse((self.now + delay, self.sent, to, link, packet.to_vec())));
            }
        }
    }
}
