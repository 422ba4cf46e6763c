//! Listings: connections as in `ipvsadm -Lc`, statistics and packet counters; and the limits of the verifier.

use std::net::{IpAddr, Ipv4Addr};

use evenkeel_testkit::frames::{self, TcpFlags};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;

use crate::plane::{NO_TC, TestPlane, Verdict, test_plane, test_plane_with_tc};

const VIP: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(10, 2, 0, 100)), 80);
const R1: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 21));

fn client(port: u16) -> (IpAddr, u16) {
    (IpAddr::from([10, 1, 1, 1]), port)
}

fn plane_with(commands: &[&str]) -> Option<TestPlane> {
    let mut plane = test_plane(4096)?;
    let steps: Vec<_> = commands.iter().map(|c| parse_ipvsadm_command(c).expect("a step")).collect();
    plane.apply(&steps);
    Some(plane)
}

const ONE_SERVER: &[&str] = &["-A -t 10.2.0.100:80 -s rr", "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1"];

#[test]
fn packets_to_no_service_are_passed_unchanged() {
    let Some(plane) = plane_with(ONE_SERVER) else { return };
    assert_eq!(plane.send_tcp(client(1000), (VIP.0, 81), "S"), Verdict::Passed);
    assert_eq!(plane.send_udp(client(1000), VIP), Verdict::Passed);
    assert_eq!(plane.send_tcp(client(1000), (IpAddr::from([10, 2, 0, 101]), 80), "S"), Verdict::Passed);
    assert_eq!(plane.send_tcp(client(1000), VIP, "A"), Verdict::Passed, "neither a connection nor a SYN");
    let arp = [&[0xff; 6][..], &[2; 6], &[8, 6], &[0; 46]].concat();
    let (code, out) = plane.plane.packet_path.test_run("evenkeel_xdp", &arp).expect("runs");
    assert_eq!((code, out), (2, arp));
    let mut other_host = frames::tcp(client(1000), VIP, TcpFlags::parse("S"), 64, b"");
    other_host[0] = 6;
    assert_eq!(plane.forward(&other_host), Verdict::Passed, "a frame for another host");
    assert!(plane.plane.maps().connections().is_empty());
}

#[test]
fn connections_are_ended_by_filter() {
    let Some(plane) = plane_with(ONE_SERVER) else { return };
    for port in 1000..1010 {
        plane.send_tcp(client(port), VIP, "S");
    }
    let ended = plane.plane.maps().end_connections(|c| c.client.1 < 1003);
    assert_eq!((ended, plane.plane.maps().connections().len()), (3, 7));
    assert_eq!(plane.send_tcp(client(1000), VIP, "A"), Verdict::Passed, "it has no connection");
    assert_eq!(plane.send_tcp(client(1005), VIP, "A"), Verdict::Forwarded(R1));
}

/// The verifier's own limit is a million.
const INSTRUCTION_BUDGET: u32 = 350_000;

#[test]
fn the_verifier_takes_the_programs_within_their_budget() {
    let Some(plane) = test_plane_with_tc(4096) else { return };
    for program in ["evenkeel_xdp", "evenkeel_tc"] {
        let n = plane.plane.packet_path.verified_instructions(program).expect("known");
        println!("{program}: {n} instructions verified");
        assert!(n > 0 && n <= INSTRUCTION_BUDGET, "{program}: {n}");
    }
}

#[test]
fn truncated_frames_are_passed_or_dropped() {
    let Some(plane) = plane_with(ONE_SERVER) else { return };
    let whole = frames::tcp(client(1000), VIP, TcpFlags::parse("S"), 64, b"hello");
    for len in 14..whole.len() {
        let (code, _) = plane.plane.packet_path.test_run("evenkeel_xdp", &whole[..len]).expect("runs");
        // What is shorter than the headers is the kernel's.
        assert_eq!(code, if len < 54 { 2 } else { 1 }, "cut to {len}");
    }
}

#[test]
fn a_packet_whose_ttl_expires_is_answered_with_time_exceeded() {
    let Some(plane) = plane_with(ONE_SERVER) else { return };
    let frame = frames::tcp(client(1000), VIP, TcpFlags::parse("S"), 1, b"");
    assert_eq!((plane.forward(&frame), plane.packet_count("ttl")), (Verdict::IcmpError(11, 0), 1));
}

#[test]
fn statistics_count_connections_packets_and_bytes() {
    let Some(plane) = plane_with(ONE_SERVER) else { return };
    for port in 1000..1010 {
        assert_eq!(plane.send_tcp(client(port), VIP, "S"), Verdict::Forwarded(R1));
        assert_eq!(plane.send_tcp(client(port), VIP, "A"), Verdict::Forwarded(R1));
    }
    let view = plane.plane.maps().service_records();
    let s = view[0].stats;
    assert_eq!((s.conns, s.in_packets, s.in_bytes), (10, 20, 20 * 41));
    assert_eq!(view[0].dests[0].stats, s);
    assert_eq!(plane.packet_count("forwarded"), 20);
}

#[test]
fn packets_of_a_removed_server_are_dropped_and_its_connections_come_back_with_it() {
    let Some(mut plane) = plane_with(ONE_SERVER) else { return };
    assert_eq!(plane.send_tcp(client(1000), VIP, "S"), Verdict::Forwarded(R1));
    plane.apply(&[parse_ipvsadm_command("-d -t 10.2.0.100:80 -r 10.2.0.21:80").expect("a step")]);
    let ack = frames::tcp(client(1000), VIP, TcpFlags::parse("A"), 64, b"");
    assert_eq!(plane.forward(&ack), Verdict::Dropped);
    assert_eq!(plane.send_tcp(client(1001), VIP, "S"), Verdict::IcmpError(3, 3), "no server is available");
    assert_eq!(plane.packet_count("no_server"), 1);
    plane.apply(&[parse_ipvsadm_command("-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1").expect("a step")]);
    assert_eq!(plane.forward(&ack), Verdict::Forwarded(R1));
    assert_eq!(plane.plane.maps().service_records()[0].dests[0].active, 1, "its counters are kept");
}

#[test]
fn the_next_daemon_finds_services_and_connections() {
    let Some(mut first) = plane_with(ONE_SERVER) else { return };
    assert_eq!(first.send_tcp(client(1000), VIP, "S"), Verdict::Forwarded(R1));
    let services = first.plane.maps().observe_services();
    let dir = first.plane.packet_path.dir.clone();
    let second = evenkeel_sys::bpf::XdpPlane::load_without_programs(&dir, 4096, NO_TC).expect("adopts");
    assert!(second.packet_path.reused_maps);
    assert_eq!(second.maps().observe_services(), services);
    assert_eq!(second.maps().connections().len(), 1);
    // Both programs use the same maps.
    first.apply(&[parse_ipvsadm_command("-A -u 10.2.0.100:53 -s wlc").expect("a step")]);
    assert_eq!(second.maps().observe_services().len(), 2);
}
