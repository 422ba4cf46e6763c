//! Many services on one real server behind NAT: their replies are found, by trying the services and by reply tuples.

use std::net::IpAddr;

use evenkeel_core::model::{ForwardingMethod, Protocol, Scheduler, ServerKey, ServiceKey, Weight};
use evenkeel_core::oracle::{Oracle, Packet, PacketVerdict};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_sys::bpf::abi::settings;
use evenkeel_testkit::frames::{self, Endpoint, TcpFlags, parse_frame, parse_icmp};
use evenkeel_testkit::rng::Rng;

use crate::emulate::emulate;
use crate::methods::with_client_route;
use crate::plane::{TestPlane, XDP_PASS, XDP_REDIRECT, XDP_TX, test_plane, test_plane_with_tc};

const SYN: u8 = 2;
const ACK: u8 = 0x10;
const RST: u8 = 4;

fn addr(v6: bool, net: u8, host: usize) -> IpAddr {
    if v6 { format!("fd00:{net}::{host:x}") } else { format!("10.{net}.0.{host}") }.parse().expect("an address")
}

fn service(v6: bool, n: usize) -> ServiceKey {
    ServiceKey::new(Protocol::Tcp, addr(v6, 3, n + 1), 80)
}

fn client(v6: bool, port: u16) -> Endpoint {
    (if v6 { "fd00:1:1::1" } else { "10.1.1.1" }.parse().expect("an address"), port)
}

fn nat() -> DestSpec {
    DestSpec { weight: Weight::DEFAULT, method: ForwardingMethod::Nat, u_threshold: 0, l_threshold: 0 }
}

fn segment(p: &Packet) -> Vec<u8> {
    let has = |bit| p.event & bit != 0;
    let flags = TcpFlags { fin: has(1), syn: has(SYN), rst: has(RST), ack: has(ACK) };
    frames::tcp(p.src, p.dst, flags, 64, b"x")
}

/// A server that `count` services share, each with the server alone.
fn plane_with_services(v6: bool, count: usize) -> (TestPlane, ServerKey) {
    let mut plane = test_plane(1 << 14).expect("root");
    let server = ServerKey { addr: addr(v6, 2, 21), port: 8080 };
    let spec = ServiceSpec::with_scheduler(Scheduler::Rr);
    let steps =
        (0..count).flat_map(|n| [Step::AddService(service(v6, n), spec), Step::AddDest(service(v6, n), server, nat())]);
    plane.apply(&steps.collect::<Vec<_>>());
    (plane, server)
}

#[test]
fn a_hundred_services_share_a_nat_server() {
    with_client_route(|| {
        for v6 in [false, true] {
            let (plane, server) = plane_with_services(v6, 100);
            // No second passes, after which reply routes would be looked up again.
            let maps = plane.plane.maps();
            maps.settings.write(0, settings { second_shift: 25, ..maps.settings.read(0) });
            let server = (server.addr, server.port);
            let tcp = |src, dst, event| segment(&Packet { protocol: Protocol::Tcp, src, dst, event });
            let mut worst = 0;
            for n in 0..100 {
                let (vip, c) = ((service(v6, n).addr, 80), client(v6, 4000 + n as u16));
                let (code, out) = plane.run(&tcp(c, vip, SYN));
                assert_eq!((code, parse_frame(&out).to), (XDP_TX, server), "service {n}");
                for event in [SYN | ACK, ACK] {
                    let (code, out) = plane.run(&tcp(server, c, event));
                    let seen = parse_frame(&out); // verifies the checksums
                    assert_eq!((code, seen.from, seen.to), (XDP_REDIRECT, vip, c), "service {n}");
                }
                // The reply route is cached now.
                worst = worst.max(emulate(&plane, &tcp(server, c, ACK), 1).2.instructions);
            }
            println!("a reply among 100 services: at most {worst} instructions");
            assert!(worst < 12_000, "{worst} instructions");
            let other = tcp(server, client(v6, 999), ACK);
            assert_eq!(plane.run(&other), (XDP_PASS, other), "a reply without a connection");
        }
    });
}

/// The same client and port to several services of one server: the oracle says which service a reply comes from.
#[test]
fn random_histories_of_services_that_share_servers_agree_with_the_oracle() {
    with_client_route(|| {
        let mut plane = test_plane_with_tc(1 << 14).expect("root");
        for seed in 1..=12u64 {
            let mut dice = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let v6 = dice.chance(50);
            let mut oracle = Oracle::default();
            plane.remove_all();
            let maps = plane.plane.maps();
            maps.settings.write(0, settings { error_limit: u32::MAX, ..maps.settings.read(0) });
            let apply = |plane: &mut TestPlane, oracle: &mut Oracle, step: Step| {
                oracle.apply_step(&step, 0);
                plane.apply(&[step]);
            };
            let count = 14 + dice.below(12);
            let servers = [21, 22].map(|n| ServerKey { addr: addr(v6, 2, n), port: 8080 });
            let mut present = Vec::new();
            for n in 0..count {
                apply(
                    &mut plane,
                    &mut oracle,
                    Step::AddService(service(v6, n), ServiceSpec::with_scheduler(Scheduler::Rr)),
                );
                for s in servers {
                    apply(&mut plane, &mut oracle, Step::AddDest(service(v6, n), s, nat()));
                    present.push((service(v6, n), s, true));
                }
            }
            for step in 0..300 {
                if dice.chance(8) {
                    let n = dice.below(present.len());
                    let (key, server, is_present) = present[n];
                    present[n].2 = !is_present;
                    let change =
                        if is_present { Step::RemoveDest(key, server) } else { Step::AddDest(key, server, nat()) };
                    apply(&mut plane, &mut oracle, change);
                    continue;
                }
                let (c, vip) = (client(v6, 4000 + dice.below(6) as u16), (service(v6, dice.below(count)).addr, 80));
                let server = dice.choose(&servers);
                let (src, dst) = if dice.chance(50) { (c, vip) } else { ((server.addr, server.port), c) };
                let p = Packet { protocol: Protocol::Tcp, src, dst, event: dice.choose(&[SYN, ACK, ACK, RST]) };
                let want = oracle.handle_packet(&p, 0);
                let (code, out) = if dice.chance(50) { plane.run(&segment(&p)) } else { plane.run_tc(&segment(&p)) };
                let have = match code {
                    XDP_PASS => PacketVerdict::Pass,
                    XDP_TX if parse_icmp(&out).is_some() => PacketVerdict::Unreachable,
                    XDP_TX | XDP_REDIRECT => {
                        let seen = parse_frame(&out);
                        match servers.iter().find(|s| (s.addr, s.port) == seen.to) {
                            Some(server) => PacketVerdict::Forward(*server),
                            None => PacketVerdict::Reply(seen.from),
                        }
                    }
                    _ => PacketVerdict::Drop,
                };
                assert_eq!(have, want, "seed {seed}, step {step}: {p:?}");
            }
        }
    });
}
