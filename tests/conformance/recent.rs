//! Flows that were seen of late go on as their connections would: to the same server, in the same frames, until something
//! happens to them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use evenkeel_core::model::Protocol;
use evenkeel_sys::bpf::abi::EK_RECENT_FLOWS;
use evenkeel_sys::bpf::conns::ConnView;
use evenkeel_testkit::frames::{self, End, Flags};

use crate::methods::{end, families, with_ways};
use crate::plane::{Fate, TestPlane, test_plane};

const VIP: End = (IpAddr::V4(Ipv4Addr::new(10, 2, 0, 100)), 80);
const OTHER: End = (IpAddr::V4(Ipv4Addr::new(10, 2, 0, 101)), 80);
const R1: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 21));
const R2: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 22));

fn plane_with(entries: u32, commands: &[&str]) -> Option<TestPlane> {
    let mut plane = test_plane(entries)?;
    plane.ipvsadm(commands);
    Some(plane)
}

const ONE: &[&str] = &["-A -t 10.2.0.100:80 -s rr", "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1"];

fn client(n: u32) -> End {
    (Ipv4Addr::from(0x0a01_0000 + n / 50_000).into(), 10_000 + (n % 50_000) as u16)
}

fn known(plane: &TestPlane) -> usize {
    plane.plane.maps().recent_flows()
}

/// Begins a connection, and lets packets come until it is known from then on; a spell may end in between.
fn acquainted(plane: &TestPlane, from: End, to: End, server: IpAddr) {
    let mut before = known(plane);
    assert_eq!(plane.tcp(from, to, "S"), Fate::Sent(server));
    for _ in 0..6 {
        assert_eq!(plane.tcp(from, to, "A"), Fate::Sent(server));
        let now = known(plane);
        if now > before {
            return;
        }
        // With a spell the others' notes end too.
        before = now;
    }
    panic!("it is not known after six packets");
}

/// Of a client's TCP connection to the usual service.
fn state(plane: &TestPlane, from: End) -> &'static str {
    let all = plane.plane.maps().connections();
    let mine = |c: &&ConnView| c.protocol == Protocol::Tcp && (c.client, c.service) == (from, VIP);
    all.iter().find(mine).map_or("none", |c| c.state_name())
}

#[test]
fn what_ends_a_connection_ends_what_is_known_of_it() {
    let Some(plane) = plane_with(4096, ONE) else { return };
    for (n, last, then) in [(1, "FA", "FIN_WAIT"), (2, "R", "CLOSE"), (3, "RA", "CLOSE")] {
        acquainted(&plane, client(n), VIP, R1);
        assert_eq!(plane.tcp(client(n), VIP, "PA"), Fate::Sent(R1));
        assert_eq!(plane.tcp(client(n), VIP, last), Fate::Sent(R1));
        assert_eq!((state(&plane, client(n)), known(&plane)), (then, 0));
        plane.tcp(client(n), VIP, "A");
        plane.tcp(client(n), VIP, "A");
        assert_eq!((state(&plane, client(n)), known(&plane)), (then, 0), "nothing is known of what is at its end");
    }
    // The same client anew, before its spell is over.
    acquainted(&plane, client(2), VIP, R1);
    assert_eq!(state(&plane, client(2)), "ESTABLISHED");
    assert_eq!(plane.plane.maps().end_connections(|c| c.client == client(2)), 1);
    assert_eq!(plane.tcp(client(2), VIP, "A"), Fate::Kernel, "of no connection");
}

#[test]
fn a_client_is_known_for_each_service_by_itself() {
    let mut commands = ONE.to_vec();
    commands.extend(["-A -t 10.2.0.101:80 -s rr", "-a -t 10.2.0.101:80 -r 10.2.0.22:80 -g -w 1"]);
    commands.extend(["-A -u 10.2.0.100:80 -s rr", "-a -u 10.2.0.100:80 -r 10.2.0.22:80 -g -w 1"]);
    let Some(plane) = plane_with(4096, &commands) else { return };
    for n in 0..20 {
        acquainted(&plane, client(n), VIP, R1);
        assert_eq!(plane.tcp(client(n), OTHER, "A"), Fate::Kernel, "known at the one, of no connection at the other");
        plane.tcp(client(n), OTHER, "S");
        for _ in 0..5 {
            assert_eq!(plane.tcp(client(n), OTHER, "A"), Fate::Sent(R2));
            assert_eq!(plane.tcp(client(n), VIP, "A"), Fate::Sent(R1));
            assert_eq!(plane.udp(client(n), VIP), Fate::Sent(R2));
        }
        // What ends at one of them goes on at the others.
        plane.tcp(client(n), VIP, "R");
        assert_eq!((state(&plane, client(n)), plane.udp(client(n), VIP)), ("CLOSE", Fate::Sent(R2)));
        assert_eq!(plane.tcp(client(n), OTHER, "A"), Fate::Sent(R2));
    }
}

#[test]
fn a_removed_server_gets_nothing_of_what_is_known() {
    let Some(mut plane) = plane_with(4096, ONE) else { return };
    acquainted(&plane, client(1), VIP, R1);
    plane.ipvsadm(&["-d -t 10.2.0.100:80 -r 10.2.0.21:80", "-a -t 10.2.0.100:80 -r 10.2.0.22:80 -g -w 1"]);
    assert_eq!(plane.tcp(client(1), VIP, "A"), Fate::Dropped);
    assert_eq!(plane.tcp(client(2), VIP, "S"), Fate::Sent(R2));
    // It comes back, and goes on with what it had.
    plane.ipvsadm(&["-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1"]);
    assert_eq!(plane.tcp(client(1), VIP, "A"), Fate::Sent(R1));
}

/// Clients whose notes belong into one line; as recent_of() in bpf/recent.h has it.
fn neighbours(plane: &TestPlane) -> impl Iterator<Item = End> {
    let settings = plane.plane.maps().settings.get(0);
    let (bits, secret) = (settings.recent_bits, settings.secret);
    assert_eq!(bits, 16, "the two first bytes of an address");
    (0u64..).filter_map(move |n| {
        let rest = 0x0201 + (n << 16);
        let h = (rest ^ secret[0]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let h = (h ^ h >> 32).wrapping_add(secret[1]).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32;
        let [a, b, ..] = (h as u32).to_le_bytes();
        let port = (n as u16).swap_bytes();
        (port != 0 && (1..=126).contains(&a)).then(|| (Ipv4Addr::new(a, b, 1, 2).into(), port))
    })
}

#[test]
fn what_finds_no_place_among_the_known_goes_its_way() {
    let Some(plane) = plane_with(4096, ONE) else { return };
    let places = EK_RECENT_FLOWS as usize;
    let all: Vec<End> = neighbours(&plane).take(places + 6).collect();
    for from in &all {
        assert_eq!(plane.tcp(*from, VIP, "S"), Fate::Sent(R1));
    }
    // A spell may end meanwhile, and on a slow machine it does.
    for _ in 0..20 {
        for from in all.iter().cycle().take(all.len() * 4) {
            assert_eq!(plane.tcp(*from, VIP, "A"), Fate::Sent(R1));
            assert!(known(&plane) <= places);
        }
        if known(&plane) == places {
            break;
        }
    }
    assert_eq!(known(&plane), places, "as many as there is room for");
    // Who is at his end is known no more, nor is anybody in his place; the others go on.
    assert_eq!(plane.tcp(all[0], VIP, "R"), Fate::Sent(R1));
    for from in all.iter().chain(&all) {
        assert_eq!(plane.tcp(*from, VIP, "A"), Fate::Sent(R1));
    }
    assert_eq!(state(&plane, all[0]), "CLOSE");
    assert!(all[1..].iter().all(|&from| state(&plane, from) == "ESTABLISHED"));
}

#[test]
fn a_timeout_counts_from_the_last_packet_and_is_never_short() {
    let Some(plane) = plane_with(4096, ONE) else { return };
    let maps = plane.plane.maps();
    acquainted(&plane, client(1), VIP, R1);
    let left = || maps.connections().first().map_or(0, |c| c.expires_s);
    assert!((895..=900).contains(&left()), "{} s", left());
    maps.shift_time(890);
    assert_eq!(plane.tcp(client(1), VIP, "A"), Fate::Sent(R1));
    assert!((895..=900).contains(&left()), "{} s: it was used", left());
    maps.shift_time(909);
    assert_eq!(plane.tcp(client(1), VIP, "A"), Fate::Kernel, "idle for longer than its timeout");
    // A short timeout is kept to the jiffy, and nothing is known beside it.
    plane.plane.set_timeouts(20, 0, 0);
    plane.tcp(client(2), VIP, "S");
    for _ in 0..5 {
        plane.tcp(client(2), VIP, "A");
    }
    assert!(known(&plane) == 0 && (19..=20).contains(&left()), "{} known, {} s", known(&plane), left());
}

#[test]
fn known_flows_leave_in_the_same_frames() {
    with_ways(|| {
        for (method, name) in [("-g", "DR"), ("-m", "NAT"), ("-i", "ipip")] {
            let [client, service, server] = families()[0];
            let server_port = if method == "-m" { server.to_owned() } else { format!("{}:80", end(server).0) };
            let add = [format!("-A -t {service} -s rr"), format!("-a -t {service} -r {server_port} {method} -w 1")];
            let Some(plane) = plane_with(4096, &add.each_ref().map(String::as_str)) else { return };
            let segment = |from, to, flags| frames::tcp(end(from), end(to), Flags::of(flags), 64, b"hello, and more");
            plane.run(&segment(client, service, "S"));
            if method == "-m" {
                plane.run(&segment(server, client, "SA"));
            }
            let mut ways = vec![segment(client, service, "A")];
            if method == "-m" {
                ways.push(segment(server, client, "A"));
            }
            let first: Vec<_> = ways.iter().map(|f| plane.run(f)).collect();
            let counted = || {
                let all = plane.plane.maps().view();
                let s = all[0].dests[0].stats;
                (s.in_packets, s.out_packets, s.in_bytes, s.out_bytes)
            };
            let mut were_known = false;
            for n in 0..20 {
                // An answer's way is looked up anew in another second.
                if method == "-m" && n > 10 {
                    std::thread::sleep(Duration::from_millis(150));
                }
                let before = counted();
                for (frame, was) in ways.iter().zip(&first) {
                    assert_eq!(&plane.run(frame), was, "{name}");
                }
                let after = counted();
                let answers = ways.len() as u64 - 1;
                assert_eq!((after.0 - before.0, after.1 - before.1), (1, answers), "{name}: each is counted");
                assert_eq!((after.2 - before.2, after.3 - before.3), (55, 55 * answers), "{name}");
                // Not at the end only: a spell may just have ended.
                were_known |= known(&plane) != 0;
            }
            assert!(were_known, "{name}");
        }
    });
}
