//! Services with many servers, whose scans cache the best server of each block of the list: their choices are the
//! same as those of a full scan.

use std::net::{IpAddr, Ipv4Addr};

use evenkeel_core::model::{ForwardingMethod, Protocol, Scheduler, ServerKey, ServiceKey, Weight};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_core::schedulers::{ServerLoad, select_by_scan};
use evenkeel_testkit::frames::{self, TcpFlags};
use evenkeel_testkit::rng::Rng;

use crate::plane::{TestPlane, Verdict, test_plane};
use crate::table::client;

const SERVERS: u64 = 150;

fn service_key() -> ServiceKey {
    ServiceKey::new(Protocol::Tcp, Ipv4Addr::new(10, 2, 0, 100).into(), 80)
}

fn server_key(n: u64) -> ServerKey {
    ServerKey { addr: Ipv4Addr::from(0x0a02_0100 + n as u32).into(), port: 80 }
}

/// The choice of a full scan with the present counts.
fn expected_server(plane: &TestPlane) -> Option<IpAddr> {
    let view = plane.plane.maps().service_record(service_key()).expect("the service");
    let load = |d: &evenkeel_sys::bpf::DestRecord| ServerLoad {
        weight: d.spec.weight.get(),
        active: d.active,
        inactive: d.inactive,
        overload: d.overload,
    };
    let list: Vec<ServerLoad> = view.dests.iter().map(load).collect();
    select_by_scan(view.spec.scheduler, &list).map(|at| view.dests[at].key.addr)
}

/// Opens a connection, which must go to the server that a full scan chooses.
fn open_connection(plane: &TestPlane, n: u32, scheduler: Scheduler) {
    let (expected, fate) = (expected_server(plane), plane.send_tcp(client(n), (service_key().addr, 80), "S"));
    match expected {
        Some(server) => assert_eq!(fate, Verdict::Forwarded(server), "{scheduler:?}, connection {n}"),
        None => {
            assert!(
                !matches!(fate, Verdict::Forwarded(_)),
                "{scheduler:?}, connection {n}: {fate:?}, though no server is available"
            )
        }
    }
}

fn random_dest_spec(dice: &mut Rng) -> DestSpec {
    let weight = Weight::new(dice.below(5) as u32).expect("a weight");
    let u_threshold = if dice.chance(25) { 1 + dice.below(40) as u32 } else { 0 };
    DestSpec { weight, method: ForwardingMethod::Dr, u_threshold, l_threshold: 0 }
}

#[test]
fn choices_among_many_servers_are_those_of_a_full_scan() {
    // With few random histories, two schedulers are enough.
    let most = std::env::var("EVENKEEL_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let all = [Scheduler::Wlc, Scheduler::Ovf, Scheduler::Lc, Scheduler::Sed, Scheduler::Nq, Scheduler::Fo];
    for scheduler in all.into_iter().take(most) {
        let Some(mut plane) = test_plane(1 << 16) else { return };
        let mut dice = Rng(7);
        plane.apply(&[Step::AddService(service_key(), ServiceSpec::with_scheduler(scheduler))]);
        let all: Vec<Step> =
            (0..SERVERS).map(|n| Step::AddDest(service_key(), server_key(n), random_dest_spec(&mut dice))).collect();
        plane.apply(&all);
        let (mut opened, mut there) = (0, vec![true; SERVERS as usize]);
        for _ in 0..1500 {
            let old = client(dice.below(opened.max(1) as usize) as u32);
            match dice.below(40) {
                0..28 => {
                    open_connection(&plane, opened, scheduler);
                    opened += 1;
                }
                // Known connections become established, or inactive.
                28..34 => drop(plane.send_tcp(old, (service_key().addr, 80), "A")),
                34..38 => drop(plane.send_tcp(old, (service_key().addr, 80), "F")),
                _ => {
                    let n = dice.below(SERVERS as usize) as u64;
                    let gone = !there[n as usize];
                    let step = match dice.below(3) {
                        _ if gone => Step::AddDest(service_key(), server_key(n), random_dest_spec(&mut dice)),
                        0 => Step::RemoveDest(service_key(), server_key(n)),
                        _ => Step::EditDest(service_key(), server_key(n), random_dest_spec(&mut dice)),
                    };
                    there[n as usize] = !matches!(step, Step::RemoveDest(..));
                    plane.apply(&[step]);
                }
            }
        }
        // Another scheduler for the same servers; then so few servers that each of them is scanned.
        plane.apply(&[Step::EditService(service_key(), ServiceSpec::with_scheduler(Scheduler::Lc))]);
        (0..100).for_each(|n| open_connection(&plane, opened + n, Scheduler::Lc));
        let most: Vec<Step> = (20..SERVERS)
            .filter(|n| there[*n as usize])
            .map(|n| Step::RemoveDest(service_key(), server_key(n)))
            .collect();
        plane.apply(&most);
        (100..200).for_each(|n| open_connection(&plane, opened + n, Scheduler::Lc));
    }
}

#[test]
fn twos_loads_many_servers_by_their_weights() {
    const FLOWS: u32 = 20_000;
    let Some(mut plane) = test_plane(1 << 17) else { return };
    plane.apply(&[Step::AddService(service_key(), ServiceSpec::with_scheduler(Scheduler::Twos))]);
    let weight = |n: u64| DestSpec {
        weight: Weight::new((n % 5) as u32).expect("a weight"),
        method: ForwardingMethod::Dr,
        u_threshold: 0,
        l_threshold: 0,
    };
    let all: Vec<Step> = (0..SERVERS).map(|n| Step::AddDest(service_key(), server_key(n), weight(n))).collect();
    plane.apply(&all);
    let open_connections = |plane: &TestPlane, flows: std::ops::Range<u32>| {
        for n in flows {
            assert!(matches!(plane.send_tcp(client(n), (service_key().addr, 80), "S"), Verdict::Forwarded(_)));
        }
    };
    let connections = |plane: &TestPlane| -> Vec<u32> {
        let view = plane.plane.maps().service_record(service_key()).expect("the service");
        let one = |n| view.dests.iter().find(|d| d.key == server_key(n)).map_or(0, |d| d.active + d.inactive);
        (0..SERVERS).map(one).collect()
    };
    open_connections(&plane, 0..FLOWS);
    let each = connections(&plane);
    for (n, seen) in each.iter().enumerate() {
        // 300 is the sum of the weights, which are 2 on average.
        let wanted = FLOWS / 300 * (n as u32 % 5);
        assert!(seen.abs_diff(wanted) <= wanted / 4, "server {n} has {seen} of {wanted}: {each:?}");
    }
    // Blocks of weight 0, and one server with more weight than all others.
    let mut changes: Vec<Step> = (40..110)
        .map(|n| {
            Step::EditDest(service_key(), server_key(n), DestSpec { weight: Weight::new(0).expect("0"), ..weight(0) })
        })
        .collect();
    let heavy = DestSpec { weight: Weight::new(60_000).expect("a weight"), ..weight(0) };
    changes.push(Step::EditDest(service_key(), server_key(3), heavy));
    plane.apply(&changes);
    open_connections(&plane, FLOWS..FLOWS + 2000);
    let after = connections(&plane);
    assert!((40..110).all(|n| after[n] == each[n]), "no connection goes to a server of weight 0");
    assert!(after[3] - each[3] > 1950, "{} of 2000 go to the heavy one", after[3] - each[3]);
}

#[test]
fn what_two_cpus_store_as_best_at_once_is_right_afterwards() {
    const FLOWS: u32 = 20_000;
    let Some(mut plane) = test_plane(1 << 19) else { return };
    plane.apply(&[Step::AddService(service_key(), ServiceSpec::with_scheduler(Scheduler::Wlc))]);
    let same = DestSpec { weight: Weight::DEFAULT, method: ForwardingMethod::Dr, u_threshold: 0, l_threshold: 0 };
    let all: Vec<Step> = (0..SERVERS).map(|n| Step::AddDest(service_key(), server_key(n), same)).collect();
    plane.apply(&all);
    let plane = &plane;
    for round in 0..5 {
        std::thread::scope(|s| {
            for t in 0..2u32 {
                s.spawn(move || {
                    for n in (t..FLOWS).step_by(2) {
                        let syn = frames::tcp(
                            client(round * FLOWS + n),
                            (service_key().addr, 80),
                            TcpFlags::parse("S"),
                            64,
                            b"",
                        );
                        assert!(matches!(plane.forward(&syn), Verdict::Forwarded(_)));
                        // Every other connection is established and begins to close. None expires, which could happen
                        // at any time.
                        if n & 2 != 0 {
                            plane.send_tcp(client(round * FLOWS + n), (service_key().addr, 80), "A");
                            plane.send_tcp(client(round * FLOWS + n), (service_key().addr, 80), "F");
                        }
                    }
                });
            }
        });
        for n in 0..300 {
            open_connection(plane, 1 << 20 | round << 10 | n, Scheduler::Wlc);
        }
    }
}
