//! A cluster of VRRP routers on one link, in virtual time: seeded loss, delay, duplication, partition, pause and crash.
//!
//! The link carries every message to every router that is on the sender's side of a partition, late, twice or never as
//! the seed says. A paused router reads its packets before its timers fire, as the router thread does. One seed gives one
//! history, byte for byte.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use evenkeel_core::model::{
    Auth, ChecksumOfOld, Destination, Family, GarpTiming, InitialState, Notify, VipSpec, Vrid, VrrpInstance,
    VrrpVersion,
};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::wire::{GROUP, split_ipv4};
use evenkeel_core::vrrp::{Input, Output, Past, Router, State};

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

struct Node {
    router: Router,
    alive: bool,
    /// It does nothing before this; packets wait.
    paused_until: Instant,
    waiting: Vec<Vec<u8>>,
    /// Which side of a partition it is on.
    side: u8,
    holds: bool,
}

/// A packet under way: when it arrives, in which order it was sent, to whom, what.
type Flight = Reverse<(Instant, u64, usize, Vec<u8>)>;

/// The cluster.
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
    let vip = VipSpec {
        addr: Ipv4Addr::new(10, 0, 0, 100).into(),
        prefix: 24,
        dev: "e".into(),
        label: None,
        broadcast: None,
        scope: 0,
    };
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
        preempt: true,
        preempt_delay: Duration::ZERO,
        down_timer_adverts: 3,
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
        tracks: Vec::new(),
        dont_track_primary: false,
        notify: Notify::default(),
        group: None,
    }
}

impl Cluster {
    /// Routers of these instances, started.
    pub fn new(instances: Vec<VrrpInstance>, seed: u64) -> Cluster {
        let interval = instances.iter().map(|c| c.advert_int).max().unwrap_or(Duration::from_secs(1));
        let now = Instant::default();
        let nodes = instances.into_iter().map(|cfg| Node {
            router: Router::new(cfg, now),
            alive: false,
            paused_until: now,
            waiting: Vec::new(),
            side: 0,
            holds: false,
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

    /// How many routers there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Starts a router that is down.
    pub fn boot(&mut self, i: usize) {
        if self.nodes[i].alive {
            return;
        }
        let n = &mut self.nodes[i];
        n.router = Router::new(n.router.config().clone(), self.now);
        n.alive = true;
        n.paused_until = self.now;
        n.waiting.clear();
        n.holds = false;
        n.router.handle(self.now, Input::Link(true));
        n.router.handle(self.now, Input::Address(Some(address(i))));
        n.router.handle(self.now, Input::Start(Past::Nothing));
        self.drain(i);
    }

    /// The power goes: no last word.
    pub fn crash(&mut self, i: usize) {
        self.nodes[i].alive = false;
        self.nodes[i].holds = false;
    }

    /// A clean stop.
    pub fn stop(&mut self, i: usize) {
        if self.nodes[i].alive {
            self.nodes[i].router.handle(self.now, Input::Stop);
            self.drain(i);
            self.nodes[i].alive = false;
        }
    }

    /// It gets no processor for a while; packets wait for it.
    pub fn pause(&mut self, i: usize, length: Duration) {
        self.nodes[i].paused_until = self.now + length;
    }

    /// Puts a router on a side; only those on the same side hear each other.
    pub fn partition(&mut self, i: usize, side: u8) {
        self.nodes[i].side = side;
    }

    /// Every fault ends: all routers up, one link, no weather. Messages under way still arrive.
    pub fn heal(&mut self) {
        self.weather = Weather { delay_ms: 5, ..Weather::default() };
        for i in 0..self.nodes.len() {
            self.nodes[i].side = 0;
            self.nodes[i].paused_until = self.now;
            self.boot(i);
            self.wake(i);
        }
    }

    /// Those that are master and up.
    pub fn masters(&self) -> Vec<usize> {
        let master = |n: &Node| n.alive && n.router.state() == State::Master;
        (0..self.nodes.len()).filter(|&i| master(&self.nodes[i])).collect()
    }

    /// Those that hold the address.
    pub fn holders(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&i| self.nodes[i].alive && self.nodes[i].holds).collect()
    }

    /// A router's priority.
    pub fn priority(&self, i: usize) -> u8 {
        self.nodes[i].router.priority()
    }

    /// After every heal there is one master within this: the longest master-down interval, one advert that settles
    /// what began at once, and the link's delay.
    pub fn bound(&self) -> Duration {
        let down = self.nodes.iter().map(|n| n.router.master_down_interval()).max().unwrap_or_default();
        down + self.interval + Duration::from_millis(20)
    }

    /// Lets time pass.
    pub fn run(&mut self, length: Duration) {
        let until = self.now + length;
        let (sent, limit) = (self.sent, 10_000 * (1 + length.as_secs()));
        while let Some(next) = self.next_moment().filter(|&t| t <= until) {
            self.now = next.max(self.now);
            assert!(self.sent - sent < limit, "a storm of adverts at {}", self.now);
            while self.flights.peek().is_some_and(|Reverse(f)| f.0 <= self.now) {
                let Some(Reverse((_, _, to, packet))) = self.flights.pop() else { break };
                if self.nodes[to].alive {
                    self.nodes[to].waiting.push(packet);
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
            let timer = n.router.next_deadline().map(|d| d.max(n.paused_until));
            waiting.into_iter().chain(timer).min()
        });
        flight.into_iter().chain(timers).min()
    }

    /// A turn of the router thread: packets first, then timers.
    fn wake(&mut self, i: usize) {
        if !self.nodes[i].alive || self.nodes[i].paused_until > self.now {
            return;
        }
        for packet in std::mem::take(&mut self.nodes[i].waiting) {
            let Some((ip, payload)) = split_ipv4(&packet) else { continue };
            self.nodes[i].router.handle(self.now, Input::Packet { ip, payload });
            self.drain(i);
        }
        if self.nodes[i].router.next_deadline().is_some_and(|d| d <= self.now) {
            self.nodes[i].router.handle_deadline(self.now);
            let next = self.nodes[i].router.next_deadline();
            assert!(next.is_none_or(|n| n > self.now), "a deadline that has fired lies ahead again");
            self.drain(i);
        }
    }

    fn drain(&mut self, i: usize) {
        while let Some(output) = self.nodes[i].router.poll_output() {
            match output {
                Output::Send { packet, .. } => self.transmit(i, &packet),
                Output::AddVips => self.nodes[i].holds = true,
                Output::RemoveVips => self.nodes[i].holds = false,
                _ => {}
            }
        }
        let n = &self.nodes[i];
        assert_eq!(n.holds, n.router.state() == State::Master, "who is master holds the address, and nobody else");
    }

    fn transmit(&mut self, from: usize, packet: &[u8]) {
        for to in (0..self.nodes.len()).filter(|&t| t != from) {
            if self.nodes[to].side != self.nodes[from].side {
                continue;
            }
            let copies = if self.rng.percent(self.weather.double) { 2 } else { 1 };
            for _ in 0..copies {
                if self.rng.percent(self.weather.loss) {
                    continue;
                }
                let delay = Duration::from_micros(100 + self.rng.below(1000 * self.weather.delay_ms.max(1)));
                self.sent += 1;
                self.flights.push(Reverse((self.now + delay, self.sent, to, packet.to_vec())));
            }
        }
    }
}
