//! Random services, servers, packets and histories, run through the programs and through the oracle, the reference
//! model of the packet path.
//!
//! `EVENKEEL_HISTORIES=10000` runs more of them. A failure prints its seed, and `EVENKEEL_SEED` runs that history
//! alone.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use evenkeel_core::model::{
    ForwardingMethod, MarkRule, Persistence, Protocol, RemovalPolicy, Scheduler, SchedulerFlags, ServerKey, ServiceKey,
    Tuning, Tunnel, Weight,
};
use evenkeel_core::oracle::{ConnCounts, Oracle, Packet, PacketVerdict};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_testkit::frames::{self, Endpoint, TcpFlags, parse_frame, parse_icmp};
use evenkeel_testkit::lan::eventually;
use evenkeel_testkit::rng::Rng;

use crate::methods::with_client_route;
use crate::plane::{TestPlane, XDP_DROP, XDP_PASS, server_mac, test_plane_with_tc};

/// How late an established connection may expire, seconds: an epoch of the flow cache, with any HZ of the kernel.
const MAX_LATE_S: u64 = 7;

struct History {
    dice: Rng,
    plane: TestPlane,
    oracle: Oracle,
    now: u64,
    began: Instant,
    services: Vec<(ServiceKey, ServiceSpec)>,
    servers: Vec<(ServiceKey, ServerKey, ForwardingMethod, bool)>,
    log: Vec<String>,
    /// The last packet, which is often followed by another one of its connection.
    last: Option<Packet>,
    compared: u64,
    /// Flows that were in the flow cache.
    cached: usize,
}

fn test_addr(v6: bool, net: u8, host: usize) -> IpAddr {
    if v6 { format!("fd00:{net}::{host:x}") } else { format!("10.{net}.0.{host}") }.parse().expect("an address")
}

impl History {
    fn random_service_spec(&mut self, key: ServiceKey) -> ServiceSpec {
        let d = &mut self.dice;
        let v6 = key.addr.is_ipv6();
        let masks = if v6 {
            ["ffff:ffff:ffff:ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"]
        } else {
            ["255.255.255.255", "255.255.255.254"]
        };
        // twos chooses at random.
        let schedulers: Vec<Scheduler> = Scheduler::ALL.into_iter().filter(|s| *s != Scheduler::Twos).collect();
        let needs = key.fwmark == 0 && (key.port == 0 || key.port == 21);
        let persistent = needs || d.chance(25);
        let mask = d.choose(&masks).parse().expect("a mask");
        // Longer than any history: a template and a connection that expire in one turn of the timer do so in any order.
        let timeout_s = d.choose(&[50_000, 90_000]);
        ServiceSpec {
            scheduler: d.choose(&schedulers),
            flags: SchedulerFlags { fallback: d.chance(50), port: d.chance(50), flag3: false },
            one_packet: (key.protocol == Protocol::Udp || key.fwmark != 0) && d.chance(20),
            persistence: persistent.then_some(Persistence { timeout_s, mask }),
            persistence_engine: None,
            removal_policy: d.choose(&[
                RemovalPolicy::Drop,
                RemovalPolicy::Reject,
                RemovalPolicy::Reschedule,
                RemovalPolicy::Drain(40),
            ]),
        }
    }

    fn random_dest_spec(&mut self, method: ForwardingMethod) -> DestSpec {
        let d = &mut self.dice;
        let u_threshold = if d.chance(25) { 1 + d.below(6) as u32 } else { 0 };
        let l_threshold = if u_threshold > 1 && d.chance(50) { 1 + d.below(u_threshold as usize) as u32 } else { 0 };
        let weight = Weight::new(d.choose(&[0, 1, 1, 2, 3, 5, 10])).expect("a weight");
        DestSpec { weight, method, u_threshold, l_threshold }
    }

    fn apply(&mut self, step: Step) {
        self.log.push(format!("{step}"));
        self.oracle.apply_step(&step, self.now);
        self.plane.apply(&[step]);
    }

    fn set_up(&mut self) {
        let tuning = Tuning {
            conn_reuse_mode: self.dice.below(4) as u32,
            expire_nodest_conn: self.dice.chance(25),
            expire_quiescent_template: self.dice.chance(25),
            sloppy_tcp: self.dice.chance(15),
            sloppy_sctp: self.dice.chance(15),
            secure_tcp: self.dice.chance(25),
            cache_bypass: self.dice.chance(25),
            ..Tuning::default()
        };
        self.log.push(format!("{tuning:?}"));
        self.plane.plane.apply_tuning(&tuning);
        self.oracle.tuning = tuning;
        for n in 0..3 {
            let v6 = self.dice.chance(50);
            let protocol = self.dice.choose(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
            let port = self.dice.choose(&[80, 80, 80, 443, 0, 21]);
            let port = if port == 21 && protocol != Protocol::Tcp { 53 } else { port };
            let marked = self.dice.chance(30);
            let key = if marked {
                self.add_mark(n, v6, protocol)
            } else {
                ServiceKey::new(protocol, test_addr(v6, 2, 100 + n), port)
            };
            let port = if marked { 0 } else { port };
            let spec = self.random_service_spec(key);
            self.log.push(format!("{spec:?}"));
            self.services.push((key, spec));
            self.apply(Step::AddService(key, spec));
            for m in 0..1 + self.dice.below(4) {
                let nat = self.dice.chance(40);
                let tunnel = ForwardingMethod::Tun(Tunnel::default());
                let method =
                    if nat { ForwardingMethod::Nat } else { self.dice.choose(&[ForwardingMethod::Dr, tunnel]) };
                let port = if nat && port != 0 && port != 21 { self.dice.choose(&[port, 8080]) } else { port };
                let port = if nat && marked { self.dice.choose(&[0, 8080]) } else { port };
                let server = ServerKey { addr: test_addr(v6, 2, 10 + 10 * n + m), port };
                let spec = self.random_dest_spec(method);
                self.servers.push((key, server, method, true));
                self.apply(Step::AddDest(key, server, spec));
            }
        }
    }

    /// A mark for two addresses of its own, and perhaps for an address of another service.
    fn add_mark(&mut self, n: usize, v6: bool, protocol: Protocol) -> ServiceKey {
        let d = &mut self.dice;
        let mark = 70 + n as u32;
        let (protocol, ports) = (d.choose(&[None, Some(protocol)]), d.choose(&[(0, 65535), (80, 443), (80, 80)]));
        let first = 150 + 2 * n;
        let mut ranges = vec![(first, first + 1)];
        if d.chance(30) {
            ranges.push((100, 101));
        }
        for (first, last) in ranges {
            let member = MarkRule { first: test_addr(v6, 2, first), last: test_addr(v6, 2, last), protocol, ports };
            self.log.push(format!("mark {mark}: {member:?}"));
            self.oracle.mark_rules.push((mark, member));
        }
        self.plane.plane.maps().write_mark_rules(&self.oracle.mark_rules).expect("room");
        ServiceKey::from_fwmark(mark, v6)
    }

    fn change_server(&mut self) {
        if self.servers.is_empty() {
            return;
        }
        let n = self.dice.below(self.servers.len());
        let (service, server, method, there) = self.servers[n];
        let spec = self.random_dest_spec(method);
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

    /// Lets time pass, to a moment at which no connection has just expired: the program may be late, and the oracle
    /// is not.
    fn pass_time(&mut self) {
        let mut seconds = self.dice.choose(&[1, 3, 20, 70, 150]);
        while self.oracle.has_just_expired(self.now + seconds, MAX_LATE_S) {
            seconds += 1;
        }
        self.log.push(format!("{seconds} s pass"));
        self.now += seconds;
        self.oracle.expire(self.now);
        let maps = self.plane.plane.maps();
        self.cached += maps.flow_cache_entries();
        maps.shift_time(seconds as u32);
        // The expiry timer frees expired entries, and renews templates that control connections.
        let done = || maps.raw_entries().iter().all(|c| c.expires.wrapping_sub(maps.jiffies()) as i32 > 0);
        eventually("the expiry of all expired entries", Duration::from_secs(60), || done().then_some(()));
    }

    fn random_client(&mut self, v6: bool) -> Endpoint {
        (test_addr(v6, 1, 1 + self.dice.below(5)), self.dice.choose(&[20, 1024, 1025, 1026, 40_000]))
    }

    fn random_packet(&mut self) -> Packet {
        if let Some(last) = self.last.filter(|_| self.dice.chance(50)) {
            return Packet { event: if last.protocol == Protocol::Tcp { 0x10 } else { last.event }, ..last };
        }
        let (service, _) = self.services[self.dice.below(self.services.len())];
        let v6 = service.addr.is_ipv6();
        let client = self.random_client(v6);
        let port =
            if service.port == 0 || service.port == 21 { self.dice.choose(&[21, 20, 80, 2000]) } else { service.port };
        let mut to = (service.addr, if self.dice.chance(95) { port } else { 81 });
        let mut protocol = if self.dice.chance(97) { service.protocol } else { Protocol::Udp };
        if service.fwmark != 0 {
            to.0 = test_addr(v6, 2, 150 + 2 * (service.fwmark as usize - 70) + self.dice.below(2));
            protocol = self.dice.choose(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
        }
        let flags = [0x02, 0x02, 0x10, 0x10, 0x18, 0x11, 0x01, 0x04, 0x14, 0x12, 0x00];
        let event = match protocol {
            Protocol::Tcp => self.dice.choose(&flags),
            Protocol::Udp => 0,
            Protocol::Sctp => self.dice.choose(&[1, 1, 0, 2, 3, 6, 7, 8, 9, 10, 11, 14]),
        };
        let of_it: Vec<ServerKey> = self.servers.iter().filter(|s| s.0 == service).map(|s| s.1).collect();
        if self.dice.chance(25) && !of_it.is_empty() {
            let server = self.dice.choose(&of_it);
            let own = server.port != 0 && service.port != 0 && service.port != 21;
            let own = own || service.fwmark != 0 && server.port != 0 && self.dice.chance(70);
            let from = (server.addr, if own { server.port } else { port });
            return Packet { protocol, src: from, dst: client, event };
        }
        Packet { protocol, src: client, dst: to, event }
    }

    /// The verdict of the program on a packet. The XDP and the tc program take turns.
    fn send(&self, p: &Packet) -> PacketVerdict {
        let frame = match p.protocol {
            Protocol::Tcp => {
                let has = |bit| p.event & bit != 0;
                let flags = TcpFlags { fin: has(1), syn: has(2), rst: has(4), ack: has(16) };
                frames::tcp(p.src, p.dst, flags, 64, b"x")
            }
            Protocol::Udp => frames::udp(p.src, p.dst, 64, b"x"),
            Protocol::Sctp => frames::sctp(p.src, p.dst, p.event, b"xxxx"),
        };
        let (code, out) =
            if self.compared.is_multiple_of(2) { self.plane.run(&frame) } else { self.plane.run_tc(&frame) };
        if code == XDP_DROP {
            return PacketVerdict::Drop;
        }
        if code == XDP_PASS {
            assert_eq!(out, frame, "a packet that is passed is unchanged");
            return PacketVerdict::Pass;
        }
        if parse_icmp(&out).is_some() {
            return PacketVerdict::Unreachable;
        }
        let mac: [u8; 6] = out[..6].try_into().expect("a frame");
        match self.servers.iter().find(|s| server_mac(s.1.addr) == mac) {
            Some((service, server, method, _)) => {
                if !matches!(method, ForwardingMethod::Tun(_)) {
                    let seen = parse_frame(&out); // verifies the checksums
                    let nat = *method == ForwardingMethod::Nat;
                    let spec = self.services.iter().find(|(k, _)| k == service).expect("known").1;
                    let own = if service.fwmark != 0 { spec.persistence.is_none() } else { p.dst.1 == service.port };
                    let port = if server.port != 0 && own { server.port } else { p.dst.1 };
                    let to = if nat { (server.addr, port) } else { p.dst };
                    assert_eq!((seen.from, seen.to, seen.ttl), (p.src, to, 63), "{method}");
                }
                PacketVerdict::Forward(*server)
            }
            None => {
                let seen = parse_frame(&out);
                if (seen.from, seen.to) == (p.dst, p.src) {
                    PacketVerdict::Reset
                } else {
                    PacketVerdict::Reply(seen.from)
                }
            }
        }
    }

    /// Compares counts and connections.
    fn compare_state(&self, seed: u64) {
        let maps = self.plane.plane.maps();
        for s in maps.service_records() {
            let counts = |d: &evenkeel_sys::bpf::DestRecord| ConnCounts {
                active: d.active,
                inactive: d.inactive,
                templates: d.persistent,
            };
            let have: Vec<_> = s.dests.iter().map(|d| (d.key, counts(d), d.overload)).collect();
            let want: Vec<_> = self.oracle.dests(s.key).iter().map(|d| (d.key, d.counts, d.overload)).collect();
            assert_eq!(have, want, "seed {seed}: servers of {}\n{}", s.key, self.log_tail());
        }
        let conns = maps.connections();
        let mut have: Vec<_> = conns
            .iter()
            .filter(|c| !c.is_template())
            .filter_map(|c| Some(((c.protocol, c.client, c.service), c.dest.1?, c.state)))
            .collect();
        have.sort();
        assert_eq!(have, self.oracle.conns(), "seed {seed}: connections\n{}", self.log_tail());
    }

    /// False if the machine was so slow that the seconds of the program and of the oracle differ.
    fn run(&mut self, seed: u64, steps: usize) -> bool {
        self.set_up();
        for n in 0..steps {
            match self.dice.below(100) {
                0..90 => {
                    let p = self.random_packet();
                    self.last = Some(p);
                    self.log.push(format!("{p:?}"));
                    let want = self.oracle.handle_packet(&p, self.now);
                    let have = self.send(&p);
                    if self.began.elapsed() > Duration::from_millis(900) {
                        return false;
                    }
                    self.compared += 1;
                    assert_eq!(have, want, "seed {seed}, step {n}: {p:?}\n{}", self.log_tail());
                }
                90..98 => self.change_server(),
                _ => self.pass_time(),
            }
            if n % 25 == 0 {
                self.compare_state(seed);
            }
        }
        if self.began.elapsed() > Duration::from_millis(900) {
            return false;
        }
        self.compare_state(seed);
        true
    }

    fn log_tail(&self) -> String {
        let skip = self.log.len().saturating_sub(60);
        [&self.log[..self.log.len().min(14)], &self.log[skip.max(14).min(self.log.len())..]].concat().join("\n")
    }
}

#[test]
fn the_program_and_the_oracle_agree_over_random_histories() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let histories = number("EVENKEEL_HISTORIES").unwrap_or(60);
    let seeds = number("EVENKEEL_SEED").map_or(1..histories + 1, |s| s..s + 1);
    with_client_route(move || {
        let mut plane = Some(test_plane_with_tc(1 << 16).expect("root"));
        let (mut whole, mut compared, mut cached) = (0, 0, 0);
        for seed in seeds {
            let mut p = plane.take().expect("given back");
            p.remove_all();
            p.plane.maps().write_mark_rules(&[]).expect("room");
            p.plane
                .maps()
                .settings
                .atomic_u32(0, std::mem::offset_of!(evenkeel_sys::bpf::abi::settings, error_limit))
                .store(u32::MAX, std::sync::atomic::Ordering::Relaxed);
            let mut h = History {
                dice: Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
                plane: p,
                oracle: Oracle::default(),
                now: 1000,
                began: Instant::now(),
                services: Vec::new(),
                servers: Vec::new(),
                log: Vec::new(),
                last: None,
                compared: 0,
                cached: 0,
            };
            whole += u64::from(h.run(seed, 150));
            compared += h.compared;
            cached += h.cached;
            plane = Some(h.plane);
        }
        // On a slow machine histories end early.
        println!("{whole} whole histories, {compared} packets, {cached} flows in the flow cache");
        assert!(compared > 50, "the machine is too slow for any history");
    });
}
