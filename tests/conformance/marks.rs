//! Firewall marks without a firewall: which packets get a mark, where they are forwarded, and how their replies are
//! translated.

use std::net::IpAddr;
use std::time::Duration;

use evenkeel_core::model::{MarkRule, Protocol};
use evenkeel_testkit::frames::{self, Endpoint, TcpFlags, parse_frame, parse_icmp};
use evenkeel_testkit::lan::eventually;
use evenkeel_testkit::routed_namespace::GATEWAY_MAC;

use crate::methods::{endpoint, frame, with_client_route};
use crate::plane::{TestPlane, Verdict, XDP_PASS, XDP_REDIRECT, XDP_TX, test_plane, test_plane_with_tc};

fn member(range: &str, protocol: Option<Protocol>, ports: (u16, u16)) -> MarkRule {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let addr = |a: &str| a.parse().expect("an address");
    MarkRule { first: addr(first), last: addr(last), protocol, ports }
}

fn sent(n: u8) -> Verdict {
    Verdict::Forwarded(IpAddr::from([10, 2, 0, n]))
}

#[test]
fn packets_are_marked_by_address_protocol_and_port() {
    let Some(mut plane) = test_plane(4096) else { return };
    let set = |plane: &TestPlane, all: &[(u32, MarkRule)]| plane.plane.maps().write_mark_rules(all).expect("room");
    for (mark, server) in [(1, 21), (2, 22), (3, 23)] {
        let [add, dest] = [format!("-A -f {mark} -s rr"), format!("-a -f {mark} -r 10.2.0.{server}:0 -g")];
        plane.ipvsadm(&[&add, &dest]);
    }
    plane.ipvsadm(&["-A -f 3 -6 -s rr", "-a -f 3 -6 -r [fd00:2::21]:0 -g"]);
    plane.ipvsadm(&["-A -t 10.2.0.100:80 -s rr", "-a -t 10.2.0.100:80 -r 10.2.0.29:80 -g"]);
    let c: Endpoint = endpoint("10.1.1.1:4000");
    let tcp = |plane: &TestPlane, to: &str| {
        let fate = plane.send_tcp(c, endpoint(to), "S");
        plane.send_tcp(c, endpoint(to), "R");
        fate
    };
    assert_eq!(tcp(&plane, "10.2.0.100:80"), sent(29), "there are no rules yet");
    set(
        &plane,
        &[
            (1, member("10.2.0.100-10.2.0.120", Some(Protocol::Tcp), (80, 90))),
            (2, member("10.2.0.0-10.2.0.255", Some(Protocol::Udp), (53, 53))),
            (3, member("10.2.0.0-10.2.255.255", None, (443, 443))),
            (3, member("fd00:9::-fd00:9::ffff", None, (0, 65535))),
        ],
    );
    for (to, fate) in [
        ("10.2.0.100:81", sent(21)),
        ("10.2.0.120:90", sent(21)),
        ("10.2.0.100:91", Verdict::Passed),
        ("10.2.0.121:80", Verdict::Passed),
        ("10.2.0.99:80", Verdict::Passed),
        ("10.2.0.110:443", sent(23)),
        ("10.2.77.1:443", sent(23)),
        ("10.2.77.1:53", Verdict::Passed),
        ("10.3.0.1:443", Verdict::Passed),
    ] {
        assert_eq!(tcp(&plane, to), fate, "{to}");
    }
    assert_eq!(plane.send_udp(c, endpoint("10.2.0.7:53")), sent(22));
    assert_eq!(plane.send_udp(c, endpoint("10.2.0.7:443")), sent(23));
    let six = plane.send_udp(endpoint("[fd00:1::1]:4000"), endpoint("[fd00:9::77]:7"));
    assert_eq!(six, Verdict::Forwarded("fd00:2::21".parse().expect("an address")));
    // ip_vs_service_find(): the mark is looked up first. The existing connection keeps its server.
    assert_eq!(plane.send_tcp((c.0, 4001), endpoint("10.2.0.100:80"), "S"), sent(21));
    // If the mark has no service, the packet goes to a service on its address.
    set(&plane, &[(9, member("10.2.0.100", None, (0, 65535)))]);
    assert_eq!(plane.send_tcp((c.0, 4002), endpoint("10.2.0.100:80"), "S"), sent(29));
    assert_eq!(plane.send_tcp(c, endpoint("10.2.0.110:443"), "S"), Verdict::Passed, "the rule is gone");
    set(&plane, &[]);
    assert_eq!(plane.send_tcp((c.0, 4003), endpoint("10.2.0.100:80"), "S"), sent(29));
}

#[test]
fn a_client_keeps_its_server_over_all_members_of_a_mark() {
    let Some(mut plane) = test_plane(4096) else { return };
    plane.ipvsadm(&["-A -f 7 -s rr -p 60", "-a -f 7 -r 10.2.0.21:0 -g", "-a -f 7 -r 10.2.0.22:0 -g"]);
    let all = [(7, member("10.2.0.100-10.2.0.101", None, (0, 65535)))];
    plane.plane.maps().write_mark_rules(&all).expect("room");
    for client in ["10.1.1.1", "10.1.1.2", "10.1.1.3"] {
        let c = |port: u16| (client.parse::<IpAddr>().expect("an address"), port);
        let first = plane.send_tcp(c(1000), endpoint("10.2.0.100:80"), "S");
        assert!(matches!(first, Verdict::Forwarded(_)));
        for (port, to) in [(1001, "10.2.0.101:443"), (1002, "10.2.0.100:8080")] {
            assert_eq!(plane.send_tcp(c(port), endpoint(to), "S"), first, "{client} {to}");
        }
        assert_eq!(plane.send_udp(c(1003), endpoint("10.2.0.101:53")), first, "of every protocol");
    }
    let templates: Vec<_> = plane.plane.maps().connections().into_iter().filter(|c| c.is_template()).collect();
    assert_eq!(templates.len(), 3, "one for each client: {templates:?}");
    let shown = templates[0].to_ipvs();
    assert_eq!((shown.protocol.as_str(), shown.service), ("IP", endpoint("0.0.0.7:0")), "as ipvsadm -Lc shows it");
}

#[test]
fn replies_of_marked_connections_come_from_the_requested_address() {
    with_client_route(|| {
        for (mark, services, server, clients) in [
            ("-f 5", ["10.2.0.100:80", "10.2.0.101:81"], "10.2.0.21:8080", "10.1.1.1"),
            ("-f 5 -6", ["[fd00:2::100]:80", "[fd00:2::101]:81"], "[fd00:2::21]:8080", "fd00:1:1::1"),
        ] {
            let mut plane = test_plane(4096).expect("root");
            plane.ipvsadm(&[&format!("-A {mark} -s rr"), &format!("-a {mark} -r {server} -m")]);
            let members = ["10.2.0.100-10.2.0.101", "fd00:2::100-fd00:2::101"].map(|m| (5, member(m, None, (1, 100))));
            plane.plane.maps().write_mark_rules(&members).expect("room");
            let (server, client): (Endpoint, IpAddr) = (endpoint(server), clients.parse().expect("an address"));
            for option in ["-t", "-u", "--sctp-service"] {
                for (n, service) in services.map(endpoint).into_iter().enumerate() {
                    let c = (client, 4000 + n as u16);
                    let (code, out) = plane.run(&frame(option, c, service, b"hello"));
                    assert_eq!((code, parse_frame(&out).to), (XDP_TX, server), "{option} {service:?}");
                    for _ in 0..2 {
                        let (code, out) = plane.run(&frame(option, server, c, b"hello"));
                        assert_eq!(code, XDP_REDIRECT, "{option} {service:?}");
                        let seen = parse_frame(&out);
                        assert_eq!((seen.from, seen.to, seen.dmac), (service, c, GATEWAY_MAC));
                    }
                }
            }
            // Fragments and ICMP errors are translated too.
            let (c, service) = ((client, 5000), endpoint(services[1]));
            let fragments = frames::fragments(&frame("-u", c, service, &[5; 3000]), 1200);
            let there: Vec<_> = fragments.iter().map(|p| plane.run(p)).collect();
            assert!(there.iter().all(|(code, _)| *code == XDP_TX));
            let fragments = frames::fragments(&frame("-u", server, c, &[6; 3000]), 1200);
            let back: Vec<_> = fragments.iter().map(|p| plane.run(p)).collect();
            assert!(back.iter().all(|(code, _)| *code == XDP_REDIRECT));
            let back: Vec<_> = back.into_iter().map(|(_, f)| f).collect();
            assert_eq!(parse_frame(&frames::reassemble(&back)).from, service);
            let kind = if client.is_ipv6() { (1, 4) } else { (3, 3) };
            let sent = frame("-u", c, server, b"hello");
            let (code, out) = plane.run(&frames::icmp_error(server.0, client, kind, 0, &sent[14..]));
            assert_eq!((code, parse_icmp(&out).expect("an error").from), (XDP_REDIRECT, service.0));
            // A reply without a connection is passed.
            let stray = frame("-t", server, (client, 4444), b"");
            assert_eq!(plane.run(&stray), (XDP_PASS, stray));
            let counted = plane.plane.maps().service_records()[0].stats;
            assert_eq!((counted.conns, counted.in_packets, counted.out_packets), (7, 9, 16));

            // Reply tuples live as long as their connections.
            let maps = plane.plane.maps();
            assert_eq!(maps.connections().len(), 7);
            let entries = maps.raw_entries().len();
            std::thread::sleep(Duration::from_millis(2500));
            assert_eq!(maps.raw_entries().len(), entries, "the expiry timer has checked them, and kept them");
            assert_eq!(plane.run(&frame("-t", server, (client, 4000), b"")).0, XDP_REDIRECT);
            eventually("an empty table", Duration::from_secs(60), || {
                maps.set_expiry_of_all(-100_000);
                maps.raw_entries().is_empty().then_some(())
            });
        }
    });
}

#[test]
fn one_client_port_at_two_addresses_of_a_mark_gets_the_replies_of_the_latest() {
    with_client_route(|| {
        let mut plane = test_plane(4096).expect("root");
        plane.ipvsadm(&["-A -f 5 -s rr", "-a -f 5 -r 10.2.0.21:80 -m"]);
        let all = [(5, member("10.2.0.100-10.2.0.101", None, (80, 80)))];
        plane.plane.maps().write_mark_rules(&all).expect("room");
        let (client, server) = (endpoint("10.1.1.1:4000"), endpoint("10.2.0.21:80"));
        for service in ["10.2.0.100:80", "10.2.0.101:80"].map(endpoint) {
            assert_eq!(plane.run(&frame("-t", client, service, b"")).0, XDP_TX);
            assert_eq!(parse_frame(&plane.run(&frame("-t", server, client, b"")).1).from, service);
        }
    });
}

#[test]
fn in_tc_the_mark_that_the_packet_carries_counts() {
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    plane.ipvsadm(&["-A -f 5 -s rr", "-a -f 5 -r 10.2.0.21:0 -g"]);
    let run = |port, mark| {
        let f =
            frames::tcp((IpAddr::from([10, 1, 1, 1]), port), endpoint("10.9.9.9:80"), TcpFlags::parse("S"), 64, b"x");
        let (code, out) = plane.plane.packet_path.test_run_marked("evenkeel_tc", &f, mark).expect("runs");
        (code, out != f)
    };
    const TC_ACT_UNSPEC: u32 = u32::MAX;
    const TC_ACT_REDIRECT: u32 = 7;
    assert_eq!(run(1000, 5), (TC_ACT_REDIRECT, true));
    assert_eq!(run(1001, 6), (TC_ACT_UNSPEC, false), "of no service");
    assert_eq!(run(1002, 0), (TC_ACT_UNSPEC, false));
}
