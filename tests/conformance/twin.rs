//! Random services, servers, packets and histories through the programs and through their twin in plain Rust.
//!
//! `EVENKEEL_HISTORIES=10000` runs more of them; what fails says its seed, and `EVENKEEL_SEED` runs that one alone.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use evenkeel_core::model::{
    ForwardingMethod, Member, OnRemoval, Persistence, Protocol, Scheduler, SchedulerFlags, ServerKey, ServiceKey,
    Tuning, Tunnel, Weight,
};
use evenkeel_core::oracle::{Fate, Oracle, Packet};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_testkit::dice::Dice;
use evenkeel_testkit::frames::{self, End, Flags, look, look_icmp};
use evenkeel_testkit::lan::eventually;

use crate::methods::with_ways;
use crate::plane::{TestPlane, XDP_DROP, XDP_PASS, mac_of, test_plane_with_tc};

/// How late a settled connection may end, seconds: a spell of the program, whatever the kernel's HZ.
const LATE_S: u64 = 7;

struct History {
    dice: Dice,
    plane: TestPlane,
    twin: Oracle,
    now: u64,
    began: Instant,
    services: Vec<(ServiceKey, ServiceSpec)>,
    servers: Vec<(ServiceKey, ServerKey, ForwardingMethod, bool)>,
    log: Vec<String>,
    /// The last packet; connections carry more than one.
    last: Option<Packet>,
    compared: u64,
    /// Flows that the program has known of late.
    known: usize,
}

fn addr(v6: bool, net: u8, host: usize) -> IpAddr {
    if v6 { format!("fd00:{net}::{host:x}") } else { format!("10.{net}.0.{host}") }.parse().expect("an address")
}

impl History {
    fn spec(&mut self, key: ServiceKey) -> ServiceSpec {
        let d = &mut self.dice;
        let v6 = key.addr.is_ipv6();
        let masks = if v6 {
            ["ffff:ffff:ffff:ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"]
        } else {
            ["255.255.255.255", "255.255.255.254"]
        };
        // Chance decides what twos does.
        let schedulers: Vec<Scheduler> = Scheduler::ALL.into_iter().filter(|s| *s != Scheduler::Twos).collect();
        let needs = key.mark == 0 && (key.port == 0 || key.port == 21);
        let persistent = needs || d.chance(25);
        let mask = d.of(&masks).parse().expect("a mask");
        // Longer than any history: of a template and a connection that expire in one turn of the sweep either may be first.
        let timeout_s = d.of(&[50_000, 90_000]);
        ServiceSpec {
            scheduler: d.of(&schedulers),
            flags: SchedulerFlags { fallback: d.chance(50), port: d.chance(50), third: false },
            one_packet: (key.protocol == Protocol::Udp || key.mark != 0) && d.chance(20),
            persistence: persistent.then_some(Persistence { timeout_s, mask }),
            engine: None,
            on_removal: d.of(&[OnRemoval::Drop, OnRemoval::Reject, OnRemoval::Reschedule, OnRemoval::Drain(40)]),
        }
    }

    fn dest(&mut self, method: ForwardingMethod) -> DestSpec {
        let d = &mut self.dice;
        let u_threshold = if d.chance(25) { 1 + d.roll(6) as u32 } else { 0 };
        let l_threshold = if u_threshold > 1 && d.chance(50) { 1 + d.roll(u_threshold as usize) as u32 } else { 0 };
        let weight = Weight::new(d.of(&[0, 1, 1, 2, 3, 5, 10])).expect("a weight");
        DestSpec { weight, method, u_threshold, l_threshold }
    }

    fn apply(&mut self, step: Step) {
        self.log.push(format!("{step}"));
        self.twin.apply(&step, self.now);
        self.plane.apply(&[step]);
    }

    fn set_up(&mut self) {
        let tuning = Tuning {
            conn_reuse_mode: self.dice.roll(4) as u32,
            expire_nodest_conn: self.dice.chance(25),
            expire_quiescent_template: self.dice.chance(25),
            sloppy_tcp: self.dice.chance(15),
            sloppy_sctp: self.dice.chance(15),
            secure_tcp: self.dice.chance(25),
            cache_bypass: self.dice.chance(25),
            ..Tuning::default()
        };
        self.log.push(format!("{tuning:?}"));
        self.plane.plane.tune(&tuning);
        self.twin.tuning = tuning;
        for n in 0..3 {
            let v6 = self.dice.chance(50);
            let protocol = self.dice.of(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
            let port = self.dice.of(&[80, 80, 80, 443, 0, 21]);
            let port = if port == 21 && protocol != Protocol::Tcp { 53 } else { port };
            let marked = self.dice.chance(30);
            let key =
                if marked { self.mark(n, v6, protocol) } else { ServiceKey::at(protocol, addr(v6, 2, 100 + n), port) };
            let port = if marked { 0 } else { port };
            let spec = self.spec(key);
            self.log.push(format!("{spec:?}"));
            self.services.push((key, spec));
            self.apply(Step::AddService(key, spec));
            for m in 0..1 + self.dice.roll(4) {
                let nat = self.dice.chance(40);
                let tunnel = ForwardingMethod::Tun(Tunnel::default());
                let method = if nat { ForwardingMethod::Nat } else { self.dice.of(&[ForwardingMethod::Dr, tunnel]) };
                let port = if nat && port != 0 && port != 21 { self.dice.of(&[port, 8080]) } else { port };
                let port = if nat && marked { self.dice.of(&[0, 8080]) } else { port };
                let server = ServerKey { addr: addr(v6, 2, 10 + 10 * n + m), port };
                let spec = self.dest(method);
                self.servers.push((key, server, method, true));
                self.apply(Step::AddDest(key, server, spec));
            }
        }
    }

    /// A mark of two addresses of its own, and perhaps of one that another service has.
    fn mark(&mut self, n: usize, v6: bool, protocol: Protocol) -> ServiceKey {
        let d = &mut self.dice;
        let mark = 70 + n as u32;
        let (protocol, ports) = (d.of(&[None, Some(protocol)]), d.of(&[(0, 65535), (80, 443), (80, 80)]));
        let first = 150 + 2 * n;
        let mut ranges = vec![(first, first + 1)];
        if d.chance(30) {
            ranges.push((100, 101));
        }
        for (first, last) in ranges {
            let member = Member { first: addr(v6, 2, first), last: addr(v6, 2, last), protocol, ports };
            self.log.push(format!("mark {mark}: {member:?}"));
            self.twin.members.push((mark, member));
        }
        self.plane.plane.maps().set_members(&self.twin.members).expect("room");
        ServiceKey::marked(mark, v6)
    }

    fn change(&mut self) {
        if self.servers.is_empty() {
            return;
        }
        let n = self.dice.roll(self.servers.len());
        let (service, server, method, there) = self.servers[n];
        let spec = self.dest(method);
        match (there, self.dice.chance(50)) {
            (true, true) => self.apply(Step::EditDest(service, server, spec)),
            (true, false) => {
                self.servers[n].3 = false;
                self.apply(Step::RemoveDest(service, server));
            }
            (false, _) => {
                self.servers[n].3 = true;
                self.apply(Step::AddDest(service, server, spec));
            }
        }
    }

    /// Lets time pass, to when no connection has just ended: the twin is exact where the program may be late.
    fn pass(&mut self) {
        let mut seconds = self.dice.of(&[1, 3, 20, 70, 150]);
        while self.twin.just_ended(self.now + seconds, LATE_S) {
            seconds += 1;
        }
        self.log.push(format!("{seconds} s pass"));
        self.now += seconds;
        self.twin.sweep(self.now);
        let maps = self.plane.plane.maps();
        self.known += maps.recent_flows();
        maps.shift_time(seconds as u32);
        // The sweep frees what has expired, and makes templates that control connections live on.
        let done = || maps.raw_entries().iter().all(|c| c.expires.wrapping_sub(maps.jiffies()) as i32 > 0);
        eventually("a sweep", Duration::from_secs(60), || done().then_some(()));
    }

    fn client(&mut self, v6: bool) -> End {
        (addr(v6, 1, 1 + self.dice.roll(5)), self.dice.of(&[20, 1024, 1025, 1026, 40_000]))
    }

    fn packet(&mut self) -> Packet {
        if let Some(last) = self.last.filter(|_| self.dice.chance(50)) {
            return Packet { event: if last.protocol == Protocol::Tcp { 0x10 } else { last.event }, ..last };
        }
        let (service, _) = self.services[self.dice.roll(self.services.len())];
        let v6 = service.addr.is_ipv6();
        let client = self.client(v6);
        let port =
            if service.port == 0 || service.port == 21 { self.dice.of(&[21, 20, 80, 2000]) } else { service.port };
        let mut to = (service.addr, if self.dice.chance(95) { port } else { 81 });
        let mut protocol = if self.dice.chance(97) { service.protocol } else { Protocol::Udp };
        if service.mark != 0 {
            to.0 = addr(v6, 2, 150 + 2 * (service.mark as usize - 70) + self.dice.roll(2));
            protocol = self.dice.of(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
        }
        let flags = [0x02, 0x02, 0x10, 0x10, 0x18, 0x11, 0x01, 0x04, 0x14, 0x12, 0x00];
        let event = match protocol {
            Protocol::Tcp => self.dice.of(&flags),
            Protocol::Udp => 0,
            Protocol::Sctp => self.dice.of(&[1, 1, 0, 2, 3, 6, 7, 8, 9, 10, 11, 14]),
        };
        let of_it: Vec<ServerKey> = self.servers.iter().filter(|s| s.0 == service).map(|s| s.1).collect();
        if self.dice.chance(25) && !of_it.is_empty() {
            let server = self.dice.of(&of_it);
            let own = server.port != 0 && service.port != 0 && service.port != 21;
            let own = own || service.mark != 0 && server.port != 0 && self.dice.chance(70);
            let from = (server.addr, if own { server.port } else { port });
            return Packet { protocol, from, to: client, event };
        }
        Packet { protocol, from: client, to, event }
    }

    /// What the program does with a packet; those for the two hooks take turns.
    fn fate(&self, p: &Packet) -> Fate {
        let frame = match p.protocol {
            Protocol::Tcp => {
                let has = |bit| p.event & bit != 0;
                let flags = Flags { fin: has(1), syn: has(2), rst: has(4), ack: has(16) };
                frames::tcp(p.from, p.to, flags, 64, b"x")
            }
            Protocol::Udp => frames::udp(p.from, p.to, 64, b"x"),
            Protocol::Sctp => frames::sctp(p.from, p.to, p.event, b"xxxx"),
        };
        let (code, out) =
            if self.compared.is_multiple_of(2) { self.plane.run(&frame) } else { self.plane.run_in_tc(&frame) };
        if code == XDP_DROP {
            return Fate::Dropped;
        }
        if code == XDP_PASS {
            assert_eq!(out, frame, "what goes to the kernel is untouched");
            return Fate::Kernel;
        }
        if look_icmp(&out).is_some() {
            return Fate::Refused;
        }
        let mac: [u8; 6] = out[..6].try_into().expect("a frame");
        match self.servers.iter().find(|s| mac_of(s.1.addr) == mac) {
            Some((service, server, method, _)) => {
                if !matches!(method, ForwardingMethod::Tun(_)) {
                    let seen = look(&out); // verifies the checksums
                    let nat = *method == ForwardingMethod::Nat;
                    let spec = self.services.iter().find(|(k, _)| k == service).expect("known").1;
                    let own = if service.mark != 0 { spec.persistence.is_none() } else { p.to.1 == service.port };
                    let port = if server.port != 0 && own { server.port } else { p.to.1 };
                    let to = if nat { (server.addr, port) } else { p.to };
                    assert_eq!((seen.from, seen.to, seen.ttl), (p.from, to, 63), "{method}");
                }
                Fate::Sent(*server)
            }
            None => {
                let seen = look(&out);
                if (seen.from, seen.to) == (p.to, p.from) { Fate::Reset } else { Fate::Replied(seen.from) }
            }
        }
    }

    /// Counts and connections are the same.
    fn compare(&self, seed: u64) {
        let maps = self.plane.plane.maps();
        for s in maps.view() {
            let have: Vec<_> =
                s.dests.iter().map(|d| (d.key, (d.active, d.inactive, d.persistent), d.overload)).collect();
            let want: Vec<_> = self.twin.dests(s.key).iter().map(|d| (d.key, d.counts, d.overload)).collect();
            assert_eq!(have, want, "seed {seed}: servers of {}\n{}", s.key, self.tail());
        }
        let conns = maps.connections();
        let mut have: Vec<_> = conns
            .iter()
            .filter(|c| !c.is_template())
            .filter_map(|c| Some(((c.protocol, c.client, c.service), c.dest.1?, c.state)))
            .collect();
        have.sort();
        assert_eq!(have, self.twin.conns(), "seed {seed}: connections\n{}", self.tail());
    }

    /// False if the machine was so slow that whole seconds are not what they seem.
    fn run(&mut self, seed: u64, steps: usize) -> bool {
        self.set_up();
        for n in 0..steps {
            match self.dice.roll(100) {
                0..90 => {
                    let p = self.packet();
                    self.last = Some(p);
                    self.log.push(format!("{p:?}"));
                    let want = self.twin.packet(&p, self.now);
                    let have = self.fate(&p);
                    if self.began.elapsed() > Duration::from_millis(900) {
                        return false;
                    }
                    self.compared += 1;
                    assert_eq!(have, want, "seed {seed}, step {n}: {p:?}\n{}", self.tail());
                }
                90..98 => self.change(),
                _ => self.pass(),
            }
            if n % 25 == 0 {
                self.compare(seed);
            }
        }
        if self.began.elapsed() > Duration::from_millis(900) {
            return false;
        }
        self.compare(seed);
        true
    }

    fn tail(&self) -> String {
        let skip = self.log.len().saturating_sub(60);
        [&self.log[..self.log.len().min(14)], &self.log[skip.max(14).min(self.log.len())..]].concat().join("\n")
    }
}

#[test]
fn the_program_and_its_twin_agree_over_random_histories() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let histories = number("EVENKEEL_HISTORIES").unwrap_or(60);
    let seeds = number("EVENKEEL_SEED").map_or(1..histories + 1, |s| s..s + 1);
    with_ways(move || {
        let mut plane = Some(test_plane_with_tc(1 << 16).expect("root"));
        let (mut whole, mut compared, mut known) = (0, 0, 0);
        for seed in seeds {
            let mut p = plane.take().expect("given back");
            p.clear();
            p.plane.maps().set_members(&[]).expect("room");
            p.plane
                .maps()
                .settings
                .word(0, std::mem::offset_of!(evenkeel_sys::bpf::abi::settings, error_limit))
                .store(u32::MAX, std::sync::atomic::Ordering::Relaxed);
            let mut h = History {
                dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
                plane: p,
                twin: Oracle::default(),
                now: 1000,
                began: Instant::now(),
                services: Vec::new(),
                servers: Vec::new(),
                log: Vec::new(),
                last: None,
                compared: 0,
                known: 0,
            };
            whole += u64::from(h.run(seed, 150));
            compared += h.compared;
            known += h.known;
            plane = Some(h.plane);
        }
        // On a slow machine histories are left before whole seconds are not what they seem.
        println!("{whole} whole histories, {compared} packets, {known} flows known of late");
        assert!(compared > 50, "the machine is too slow for any history");
    });
}
