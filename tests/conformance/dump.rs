//! What is listed: connections as `ipvsadm -Lc` counts them, statistics, reasons.

use std::net::{IpAddr, Ipv4Addr};

use evenkeel_testkit::frames::{self, Flags};
use evenkeel_testkit::sequences::ipvsadm_step;

use crate::plane::{Fate, NO_TC, TestPlane, test_plane, test_plane_with_tc};

const VIP: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(10, 2, 0, 100)), 80);
const R1: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 21));

fn client(port: u16) -> (IpAddr, u16) {
    (IpAddr::from([10, 1, 1, 1]), port)
}

fn plane_with(commands: &[&str]) -> Option<TestPlane> {
    let mut plane = test_plane(4096)?;
    let steps: Vec<_> = commands.iter().map(|c| ipvsadm_step(c).expect("a step")).collect();
    plane.apply(&steps);
    Some(plane)
}

const ONE: &[&str] = &["-A -t 10.2.0.100:80 -s rr", "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1"];

#[test]
fn what_is_not_ours_goes_to_the_kernel_untouched() {
    let Some(plane) = plane_with(ONE) else { return };
    assert_eq!(plane.tcp(client(1000), (VIP.0, 81), "S"), Fate::Kernel);
    assert_eq!(plane.udp(client(1000), VIP), Fate::Kernel);
    assert_eq!(plane.tcp(client(1000), (IpAddr::from([10, 2, 0, 101]), 80), "S"), Fate::Kernel);
    assert_eq!(plane.tcp(client(1000), VIP, "A"), Fate::Kernel, "no connection, no SYN");
    let arp = [&[0xff; 6][..], &[2; 6], &[8, 6], &[0; 46]].concat();
    let (code, out) = plane.plane.loaded.run("evenkeel_xdp", &arp).expect("runs");
    assert_eq!((code, out), (2, arp));
    let mut other_host = frames::tcp(client(1000), VIP, Flags::of("S"), 64, b"");
    other_host[0] = 6;
    assert_eq!(plane.frame(&other_host), Fate::Kernel, "a frame for another host");
    assert!(plane.plane.maps().connections().is_empty());
}

#[test]
fn connections_are_ended_by_filter() {
    let Some(plane) = plane_with(ONE) else { return };
    for port in 1000..1010 {
        plane.tcp(client(port), VIP, "S");
    }
    let ended = plane.plane.maps().end_connections(|c| c.client.1 < 1003);
    assert_eq!((ended, plane.plane.maps().connections().len()), (3, 7));
    assert_eq!(plane.tcp(client(1000), VIP, "A"), Fate::Kernel, "of no connection");
    assert_eq!(plane.tcp(client(1005), VIP, "A"), Fate::Sent(R1));
}

/// The verifier gives up after a million.
const INSTRUCTION_BUDGET: u32 = 350_000;

#[test]
fn the_verifier_takes_the_programs_within_their_budget() {
    let Some(plane) = test_plane_with_tc(4096) else { return };
    for program in ["evenkeel_xdp", "evenkeel_tc"] {
        let n = plane.plane.loaded.verified_instructions(program).expect("known");
        println!("{program}: {n} instructions verified");
        assert!(n > 0 && n <= INSTRUCTION_BUDGET, "{program}: {n}");
    }
}

#[test]
fn no_bytes_confuse_the_program() {
    let Some(plane) = plane_with(ONE) else { return };
    let whole = frames::tcp(client(1000), VIP, Flags::of("S"), 64, b"hello");
    for len in 14..whole.len() {
        let (code, _) = plane.plane.loaded.run("evenkeel_xdp", &whole[..len]).expect("runs");
        assert!(matches!(code, 2 | 3), "cut to {len}: {code}");
    }
}

#[test]
fn a_packet_whose_ttl_is_used_up_is_answered_with_time_exceeded() {
    let Some(plane) = plane_with(ONE) else { return };
    let frame = frames::tcp(client(1000), VIP, Flags::of("S"), 1, b"");
    assert_eq!((plane.frame(&frame), plane.reason("ttl")), (Fate::Refused(11, 0), 1));
}

#[test]
fn statistics_count_connections_packets_and_bytes() {
    let Some(plane) = plane_with(ONE) else { return };
    for port in 1000..1010 {
        assert_eq!(plane.tcp(client(port), VIP, "S"), Fate::Sent(R1));
        assert_eq!(plane.tcp(client(port), VIP, "A"), Fate::Sent(R1));
    }
    let view = plane.plane.maps().view();
    let s = view[0].stats;
    assert_eq!((s.conns, s.in_packets, s.in_bytes), (10, 20, 20 * 41));
    assert_eq!(view[0].dests[0].stats, s);
    assert_eq!(plane.reason("forwarded"), 20);
}

#[test]
fn packets_of_a_removed_server_are_dropped_and_its_connections_come_back_with_it() {
    let Some(mut plane) = plane_with(ONE) else { return };
    assert_eq!(plane.tcp(client(1000), VIP, "S"), Fate::Sent(R1));
    plane.apply(&[ipvsadm_step("-d -t 10.2.0.100:80 -r 10.2.0.21:80").expect("a step")]);
    let ack = frames::tcp(client(1000), VIP, Flags::of("A"), 64, b"");
    assert_eq!(plane.frame(&ack), Fate::Dropped);
    assert_eq!(plane.tcp(client(1001), VIP, "S"), Fate::Refused(3, 3), "no server is left");
    assert_eq!(plane.reason("no_server"), 1);
    plane.apply(&[ipvsadm_step("-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1").expect("a step")]);
    assert_eq!(plane.frame(&ack), Fate::Sent(R1));
    assert_eq!(plane.plane.maps().view()[0].dests[0].active, 1, "its counters came back");
}

#[test]
fn the_next_daemon_finds_services_and_connections() {
    let Some(mut first) = plane_with(ONE) else { return };
    assert_eq!(first.tcp(client(1000), VIP, "S"), Fate::Sent(R1));
    let services = first.plane.maps().observe();
    let dir = first.plane.loaded.dir.clone();
    let second = evenkeel_sys::bpf::XdpPlane::load_without(&dir, 4096, NO_TC).expect("adopts");
    assert!(second.loaded.adopted);
    assert_eq!(second.maps().observe(), services);
    assert_eq!(second.maps().connections().len(), 1);
    // The first one's maps are the second one's.
    first.apply(&[ipvsadm_step("-A -u 10.2.0.100:53 -s wlc").expect("a step")]);
    assert_eq!(second.maps().observe().len(), 2);
}
