//! Migration: an upgrade to a version with another map layout keeps services and connections, while the older program
//! still forwards. The later version is this one with its structures rearranged (tests/build.rs).

use std::path::Path;

use evenkeel_sys::bpf::XdpPlane;
use evenkeel_sys::bpf::abi::{EK_ABI, EK_OLDEST_ABI};
use evenkeel_sys::bpf::object::BpfObject;
use evenkeel_testkit::frames::{TcpFlags, parse_frame, tcp};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;

use crate::methods::{endpoint, frame, with_client_route};
use crate::plane::{NO_TC, TestPlane, XDP_PASS, XDP_REDIRECT, XDP_TX, can_load, server_mac, test_plane};

const LATER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/later.bpf.o"));
const REJECTED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rejected.bpf.o"));
/// The number of the later layout, and the oldest layout that it can migrate.
const LATER_ABI: (u32, u32) = (EK_ABI + 1, EK_OLDEST_ABI);

fn busy_plane() -> TestPlane {
    let mut plane = test_plane(4096).expect("root");
    let mut commands = Vec::new();
    for (service, servers, how) in [
        ("-t 10.2.0.100:80 -s rr", ["10.2.0.21:80", "10.2.0.22:80", "10.2.0.23:80"], "-g"),
        ("-t 10.2.0.101:80 -s wlc", ["10.2.0.31:8080", "10.2.0.32:8080", "10.2.0.33:8080"], "-m"),
        ("-t 10.2.0.102:80 -s rr -p 300", ["10.2.0.41:80", "10.2.0.42:80", "10.2.0.43:80"], "-g"),
        ("-t [fd00:2::100]:80 -s rr", ["[fd00:2::21]:80", "[fd00:2::22]:80", "[fd00:2::23]:80"], "-g"),
    ] {
        commands.push(format!("-A {service}"));
        let at = service.split(" -s").next().expect("an address");
        commands.extend(servers.iter().map(|s| format!("-a {at} -r {s} {how}")));
    }
    let steps: Vec<_> = commands.iter().map(|c| parse_ipvsadm_command(c).expect("a step")).collect();
    plane.apply(&steps);
    plane
}

const SERVICES: [&str; 4] = ["10.2.0.100:80", "10.2.0.101:80", "10.2.0.102:80", "[fd00:2::100]:80"];

fn client(service: &str, n: u16) -> (std::net::IpAddr, u16) {
    endpoint(&if service.starts_with('[') { format!("[fd00:1::{n}]:4000") } else { format!("10.1.1.{n}:4000") })
}

#[test]
fn a_later_layout_migrates_the_maps_of_an_earlier_one() {
    with_client_route(|| {
        let plane = busy_plane();
        let dir = plane.plane.packet_path.dir.clone();
        // Each service has connections, and their servers do not follow from a hash.
        let mut had = Vec::new();
        for service in SERVICES {
            for n in 1..=20 {
                let (code, out) = plane.run(&frame("-t", client(service, n), endpoint(service), b"x"));
                assert_eq!(code, XDP_TX);
                had.push((service, n, out[..6].to_vec()));
            }
        }
        let (later, taken) = BpfObject::load(LATER, LATER_ABI, &dir, 1024, NO_TC).expect("loaded");
        assert!(taken);
        let run = |f: &[u8]| later.test_run("evenkeel_xdp", f).expect("runs");
        let segment = |service, n| tcp(client(service, n), endpoint(service), TcpFlags::parse("A"), 64, b"y");
        for (service, n, mac) in &had {
            // The older program and the later one.
            for (code, out) in [plane.run(&segment(service, *n)), run(&segment(service, *n))] {
                assert_eq!((code, &out[..6]), (XDP_TX, &mac[..]), "{service} {n}");
            }
        }
        // Each program knows the connections that the other one creates.
        let (_, by_old) = plane.run(&frame("-t", client(SERVICES[0], 50), endpoint(SERVICES[0]), b""));
        assert_eq!(run(&segment(SERVICES[0], 50)).1[..6], by_old[..6]);
        let (_, by_new) = run(&frame("-t", client(SERVICES[0], 51), endpoint(SERVICES[0]), b""));
        assert_eq!(plane.run(&segment(SERVICES[0], 51)).1[..6], by_new[..6]);
        // A template keeps its client, replies are translated, and round robin continues.
        let (service, _, mac) = &had[45];
        let again = tcp((client(service, 6).0, 4001), endpoint(service), TcpFlags::parse("S"), 64, b"");
        assert_eq!(run(&again).1[..6], mac[..]);
        let server = ["10.2.0.31:8080", "10.2.0.32:8080", "10.2.0.33:8080"];
        let of = server.map(endpoint).into_iter().find(|s| server_mac(s.0)[..] == had[20].2[..]).expect("one of them");
        let (code, out) = run(&frame("-t", of, client(SERVICES[1], 1), b"reply"));
        assert_eq!((code, parse_frame(&out).from), (XDP_REDIRECT, endpoint(SERVICES[1])));
        let next: Vec<Vec<u8>> = (60..63)
            .map(|n| run(&frame("-t", client(SERVICES[3], n), endpoint(SERVICES[3]), b"")).1[..6].to_vec())
            .collect();
        assert_eq!(next, [had[62].2.clone(), had[60].2.clone(), had[61].2.clone()], "after twenty of three");
        // Packets to no service are passed.
        let other = frame("-t", client(SERVICES[0], 1), endpoint("10.2.0.100:81"), b"");
        assert_eq!(run(&other), (XDP_PASS, other));

        // The later version starts again, with maps of its own layout.
        let (again, taken) = BpfObject::load(LATER, LATER_ABI, &dir, 1024, NO_TC).expect("loaded");
        assert!(taken);
        let (_, out) = again.test_run("evenkeel_xdp", &segment(SERVICES[0], 51)).expect("runs");
        assert_eq!(out[..6], by_new[..6]);
    });
}

fn assert_starts_empty(dir: &Path) {
    let plane = XdpPlane::load_without_programs(dir, 1024, NO_TC).expect("loaded");
    assert!(!plane.packet_path.reused_maps && plane.maps().observe_services().is_empty());
}

#[test]
fn maps_that_cannot_be_migrated_are_replaced_by_empty_ones() {
    if !can_load() {
        return;
    }
    // A later layout, found by an earlier version.
    let plane = busy_plane();
    let dir = plane.plane.packet_path.dir.clone();
    drop(BpfObject::load(LATER, LATER_ABI, &dir, 1024, NO_TC).expect("loaded"));
    assert_starts_empty(&dir);
    // A layout whose contents mean something else.
    let plane = busy_plane();
    let dir = plane.plane.packet_path.dir.clone();
    let (_, taken) = BpfObject::load(LATER, (LATER_ABI.0, LATER_ABI.0), &dir, 1024, NO_TC).expect("loaded");
    assert!(!taken);
    assert_starts_empty(&dir);
    // A map that is not one of ours.
    let plane = busy_plane();
    let dir = plane.plane.packet_path.dir.clone();
    std::fs::rename(dir.join("services"), dir.join("settings")).expect("renamed");
    assert_starts_empty(&dir);
}

#[test]
fn a_program_that_the_verifier_rejects_leaves_the_maps_unchanged() {
    if !can_load() {
        return;
    }
    let plane = busy_plane();
    let (service, n) = (SERVICES[0], 7);
    let (_, out) = plane.run(&frame("-t", client(service, n), endpoint(service), b""));
    let e = BpfObject::load(REJECTED, LATER_ABI, &plane.plane.packet_path.dir, 1024, NO_TC).err().expect("rejected");
    let text = e.to_string();
    assert!(text.contains("the kernel's verifier rejects it: R"), "{text}");
    assert!(e.hint.is_some_and(|h| h.contains("-D")), "{e:?}");
    let again = XdpPlane::load_without_programs(&plane.plane.packet_path.dir, 1024, NO_TC).expect("adopted");
    assert!(again.packet_path.reused_maps);
    let ack = tcp(client(service, n), endpoint(service), TcpFlags::parse("A"), 64, b"");
    assert_eq!(plane.run(&ack).1[..6], out[..6]);
}
