//! The flow cache: cached flows are forwarded as their connections would be, to the same server and in the same
//! frames, until a packet changes their state.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use evenkeel_core::model::Protocol;
use evenkeel_sys::bpf::abi::EK_FLOW_CACHE_ENTRIES;
use evenkeel_sys::bpf::conn_table::ConnEntry;
use evenkeel_testkit::frames::{self, Endpoint, TcpFlags};

use crate::methods::{endpoint, families, with_client_route};
use crate::plane::{TestPlane, Verdict, test_plane};

const VIP: Endpoint = (IpAddr::V4(Ipv4Addr::new(10, 2, 0, 100)), 80);
const OTHER: Endpoint = (IpAddr::V4(Ipv4Addr::new(10, 2, 0, 101)), 80);
const R1: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 21));
const R2: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 22));

fn plane_with(entries: u32, commands: &[&str]) -> Option<TestPlane> {
    let mut plane = test_plane(entries)?;
    plane.ipvsadm(commands);
    Some(plane)
}

const ONE_SERVER: &[&str] = &["-A -t 10.2.0.100:80 -s rr", "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1"];

fn client(n: u32) -> Endpoint {
    (Ipv4Addr::from(0x0a01_0000 + n / 50_000).into(), 10_000 + (n % 50_000) as u16)
}

fn cached_flows(plane: &TestPlane) -> usize {
    plane.plane.maps().flow_cache_entries()
}

/// Opens a connection, and sends packets until its flow is cached. An epoch may end meanwhile.
fn open_until_cached(plane: &TestPlane, from: Endpoint, to: Endpoint, server: IpAddr) {
    let mut before = cached_flows(plane);
    assert_eq!(plane.send_tcp(from, to, "S"), Verdict::Forwarded(server));
    for _ in 0..6 {
        assert_eq!(plane.send_tcp(from, to, "A"), Verdict::Forwarded(server));
        let now = cached_flows(plane);
        if now > before {
            return;
        }
        // At the end of an epoch the cache is empty.
        before = now;
    }
    panic!("the flow is not cached after six packets");
}

/// The state of a client's TCP connection to the service at VIP.
fn conn_state(plane: &TestPlane, from: Endpoint) -> &'static str {
    let all = plane.plane.maps().connections();
    let is_it = |c: &&ConnEntry| c.protocol == Protocol::Tcp && (c.client, c.service) == (from, VIP);
    all.iter().find(is_it).map_or("none", |c| c.state_name())
}

#[test]
fn the_end_of_a_connection_removes_its_cache_entry() {
    let Some(plane) = plane_with(4096, ONE_SERVER) else { return };
    for (n, last, then) in [(1, "FA", "FIN_WAIT"), (2, "R", "CLOSE"), (3, "RA", "CLOSE")] {
        open_until_cached(&plane, client(n), VIP, R1);
        assert_eq!(plane.send_tcp(client(n), VIP, "PA"), Verdict::Forwarded(R1));
        assert_eq!(plane.send_tcp(client(n), VIP, last), Verdict::Forwarded(R1));
        assert_eq!((conn_state(&plane, client(n)), cached_flows(&plane)), (then, 0));
        plane.send_tcp(client(n), VIP, "A");
        plane.send_tcp(client(n), VIP, "A");
        assert_eq!(
            (conn_state(&plane, client(n)), cached_flows(&plane)),
            (then, 0),
            "a closing connection is not cached"
        );
    }
    // The same client connects again in the same epoch.
    open_until_cached(&plane, client(2), VIP, R1);
    assert_eq!(conn_state(&plane, client(2)), "ESTABLISHED");
    assert_eq!(plane.plane.maps().end_connections(|c| c.client == client(2)), 1);
    assert_eq!(plane.send_tcp(client(2), VIP, "A"), Verdict::Passed, "it has no connection");
}

#[test]
fn a_client_has_a_cache_entry_for_each_service() {
    let mut commands = ONE_SERVER.to_vec();
    commands.extend(["-A -t 10.2.0.101:80 -s rr", "-a -t 10.2.0.101:80 -r 10.2.0.22:80 -g -w 1"]);
    commands.extend(["-A -u 10.2.0.100:80 -s rr", "-a -u 10.2.0.100:80 -r 10.2.0.22:80 -g -w 1"]);
    let Some(plane) = plane_with(4096, &commands) else { return };
    for n in 0..20 {
        open_until_cached(&plane, client(n), VIP, R1);
        assert_eq!(
            plane.send_tcp(client(n), OTHER, "A"),
            Verdict::Passed,
            "cached for one service, without a connection at the other"
        );
        plane.send_tcp(client(n), OTHER, "S");
        for _ in 0..5 {
            assert_eq!(plane.send_tcp(client(n), OTHER, "A"), Verdict::Forwarded(R2));
            assert_eq!(plane.send_tcp(client(n), VIP, "A"), Verdict::Forwarded(R1));
            assert_eq!(plane.send_udp(client(n), VIP), Verdict::Forwarded(R2));
        }
        // The end of one connection does not end the others.
        plane.send_tcp(client(n), VIP, "R");
        assert_eq!((conn_state(&plane, client(n)), plane.send_udp(client(n), VIP)), ("CLOSE", Verdict::Forwarded(R2)));
        assert_eq!(plane.send_tcp(client(n), OTHER, "A"), Verdict::Forwarded(R2));
    }
}

#[test]
fn a_removed_server_gets_no_packets_of_cached_flows() {
    let Some(mut plane) = plane_with(4096, ONE_SERVER) else { return };
    open_until_cached(&plane, client(1), VIP, R1);
    plane.ipvsadm(&["-d -t 10.2.0.100:80 -r 10.2.0.21:80", "-a -t 10.2.0.100:80 -r 10.2.0.22:80 -g -w 1"]);
    assert_eq!(plane.send_tcp(client(1), VIP, "A"), Verdict::Dropped);
    assert_eq!(plane.send_tcp(client(2), VIP, "S"), Verdict::Forwarded(R2));
    // The server is added again, and gets its connections.
    plane.ipvsadm(&["-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1"]);
    assert_eq!(plane.send_tcp(client(1), VIP, "A"), Verdict::Forwarded(R1));
}

/// Clients whose flows belong to one line of the cache: flow_cache_key_make() in bpf/conn/flow_cache.h.
fn clients_of_one_line(plane: &TestPlane) -> impl Iterator<Item = Endpoint> {
    let settings = plane.plane.maps().settings.read(0);
    let (bits, secret) = (settings.flow_cache_bits, settings.secret);
    assert_eq!(bits, 16, "the first two bytes of an address");
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
fn flows_without_a_free_cache_entry_are_forwarded() {
    let Some(plane) = plane_with(4096, ONE_SERVER) else { return };
    let entries = EK_FLOW_CACHE_ENTRIES as usize;
    let all: Vec<Endpoint> = clients_of_one_line(&plane).take(entries + 6).collect();
    for from in &all {
        assert_eq!(plane.send_tcp(*from, VIP, "S"), Verdict::Forwarded(R1));
    }
    // An epoch may end meanwhile, and on a slow machine it does.
    for _ in 0..20 {
        for from in all.iter().cycle().take(all.len() * 4) {
            assert_eq!(plane.send_tcp(*from, VIP, "A"), Verdict::Forwarded(R1));
            assert!(cached_flows(&plane) <= entries);
        }
        if cached_flows(&plane) == entries {
            break;
        }
    }
    assert_eq!(cached_flows(&plane), entries, "the line is full");
    // A closing connection is not cached, and its entry is not used again in this epoch; the others continue.
    assert_eq!(plane.send_tcp(all[0], VIP, "R"), Verdict::Forwarded(R1));
    for from in all.iter().chain(&all) {
        assert_eq!(plane.send_tcp(*from, VIP, "A"), Verdict::Forwarded(R1));
    }
    assert_eq!(conn_state(&plane, all[0]), "CLOSE");
    assert!(all[1..].iter().all(|&from| conn_state(&plane, from) == "ESTABLISHED"));
}

#[test]
fn a_timeout_counts_from_the_last_packet_and_is_never_too_short() {
    let Some(plane) = plane_with(4096, ONE_SERVER) else { return };
    let maps = plane.plane.maps();
    open_until_cached(&plane, client(1), VIP, R1);
    let left = || maps.connections().first().map_or(0, |c| c.expires_s);
    assert!((895..=900).contains(&left()), "{} s", left());
    maps.shift_time(890);
    assert_eq!(plane.send_tcp(client(1), VIP, "A"), Verdict::Forwarded(R1));
    assert!((895..=900).contains(&left()), "{} s: it was used", left());
    maps.shift_time(909);
    assert_eq!(plane.send_tcp(client(1), VIP, "A"), Verdict::Passed, "idle for longer than its timeout");
    // A connection with a short timeout expires exactly, and is not cached.
    plane.plane.set_timeouts(20, 0, 0);
    plane.send_tcp(client(2), VIP, "S");
    for _ in 0..5 {
        plane.send_tcp(client(2), VIP, "A");
    }
    assert!(cached_flows(&plane) == 0 && (19..=20).contains(&left()), "{} cached, {} s", cached_flows(&plane), left());
}

#[test]
fn cached_flows_leave_in_the_same_frames() {
    with_client_route(|| {
        for (method, name) in [("-g", "DR"), ("-m", "NAT"), ("-i", "ipip")] {
            let [client, service, server] = families()[0];
            let server_port = if method == "-m" { server.to_owned() } else { format!("{}:80", endpoint(server).0) };
            let add = [format!("-A -t {service} -s rr"), format!("-a -t {service} -r {server_port} {method} -w 1")];
            let Some(plane) = plane_with(4096, &add.each_ref().map(String::as_str)) else { return };
            let segment = |from, to, flags| {
                frames::tcp(endpoint(from), endpoint(to), TcpFlags::parse(flags), 64, b"hello, and more")
            };
            plane.run(&segment(client, service, "S"));
            if method == "-m" {
                plane.run(&segment(server, client, "SA"));
            }
            let mut directions = vec![segment(client, service, "A")];
            if method == "-m" {
                directions.push(segment(server, client, "A"));
            }
            let first: Vec<_> = directions.iter().map(|f| plane.run(f)).collect();
            let counted = || {
                let all = plane.plane.maps().service_records();
                let s = all[0].dests[0].stats;
                (s.in_packets, s.out_packets, s.in_bytes, s.out_bytes)
            };
            let mut were_cached = false;
            for n in 0..20 {
                // In another second the reply route is looked up again.
                if method == "-m" && n > 10 {
                    std::thread::sleep(Duration::from_millis(150));
                }
                let before = counted();
                for (frame, was) in directions.iter().zip(&first) {
                    assert_eq!(&plane.run(frame), was, "{name}");
                }
                let after = counted();
                let replies = directions.len() as u64 - 1;
                assert_eq!((after.0 - before.0, after.1 - before.1), (1, replies), "{name}: each is counted");
                assert_eq!((after.2 - before.2, after.3 - before.3), (55, 55 * replies), "{name}");
                // Not only at the end: an epoch may just have ended.
                were_cached |= cached_flows(&plane) != 0;
            }
            assert!(were_cached, "{name}");
        }
    });
}
