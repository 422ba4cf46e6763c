//! VLANs under XDP: tags are popped from incoming frames, and the tags of the egress device are pushed.

use std::net::IpAddr;

use evenkeel_sys::bpf::{DestPath, NextHop};
use evenkeel_sys::netlink::{Link, Netlink};
use evenkeel_testkit::frames::{parse_frame, parse_icmp};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;
use evenkeel_testkit::routed_namespace::GATEWAY_MAC;

use crate::methods::{endpoint, frame, with_client_route};
use crate::plane::{TestPlane, XDP_PASS, XDP_TX, can_load, test_plane};

/// Test runs are received by the loopback device, ifindex 1. On it are VLAN 100, VLAN 200, and VLAN 7 in the 802.1ad
/// VLAN 300.
const V100: u32 = 1001;
const V200: u32 = 1002;
const V300: u32 = 1003;
const V300_7: u32 = 1004;

fn links() -> Vec<Link> {
    let vlan = |index, base, vlan| Link { index, lower: Some(base), vlan: Some(vlan), ..Link::default() };
    vec![
        Link { index: 1, loopback: true, ..Link::default() },
        vlan(V100, 1, (0x8100, 100)),
        vlan(V200, 1, (0x8100, 200)),
        vlan(V300, 1, (0x88a8, 300)),
        vlan(V300_7, V300, (0x8100, 7)),
    ]
}

const T100: &[u8] = &[0x81, 0, 0, 100];
const T200: &[u8] = &[0x81, 0, 0, 200];
const T300_7: &[u8] = &[0x88, 0xa8, 0x01, 0x2c, 0x81, 0, 0, 7];

/// Pushes tags with a priority.
fn push_tags(frame: &[u8], tags: &[u8]) -> Vec<u8> {
    let mut tags = tags.to_vec();
    for control in tags.chunks_mut(4) {
        control[2] |= 0xa0;
    }
    [&frame[..12], &tags, &frame[12..]].concat()
}

/// A frame's tags without their priorities, and the frame without tags.
fn pop_tags(frame: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut at = 12;
    while matches!(frame[at..at + 2], [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
    }
    let mut tags = frame[12..at].to_vec();
    tags.chunks_mut(4).for_each(|t| t[2] &= 0x0f);
    (tags, [&frame[..12], &frame[at..]].concat())
}

fn plane(services: &[(&str, &str, &str)]) -> TestPlane {
    let mut plane = test_plane(4096).expect("root");
    plane.plane.maps().record_vlans(&links()).expect("recorded");
    for (service, server, how) in services {
        let steps = [format!("-A -t {service} -s rr"), format!("-a -t {service} -r {server} {how}")];
        plane.apply(&steps.map(|s| parse_ipvsadm_command(&s).expect("a step")));
    }
    plane
}

/// Makes a device the egress device of every real server.
fn route_servers_via(plane: &TestPlane, out: u32) {
    for (id, addr) in plane.plane.dest_addresses() {
        let source = if addr.is_ipv6() { "2001:db8::d" } else { "10.2.0.10" };
        let hop = NextHop { ifindex: out, dmac: [2, 9, 9, 9, 9, 9], smac: [2; 6] };
        plane.plane.set_dest_path(id, DestPath::Via { hop, mtu: 1500, source: source.parse().ok() });
    }
}

#[test]
fn frames_leave_with_the_tags_of_where_they_go() {
    let services = [
        ("10.2.0.100:80", "10.2.0.21:80", "-g"),
        ("10.2.0.101:80", "10.2.0.22:80", "-m"),
        ("10.2.0.102:80", "10.2.0.23:80", "-i"),
        ("[fd00:2::100]:80", "[fd00:2::21]:80", "-g"),
        ("[fd00:2::101]:80", "[fd00:2::22]:80", "-m"),
        ("[fd00:2::102]:80", "[fd00:2::23]:80", "-i"),
    ];
    with_client_route(move || {
        let plane = plane(&services);
        for (out, wanted) in [(1, &[][..]), (V100, T100), (V200, T200), (V300_7, T300_7)] {
            route_servers_via(&plane, out);
            for (came, (service, server, how)) in
                [&[][..], T100, T200, T300_7].into_iter().flat_map(|c| services.map(|s| (c, s)))
            {
                let client = endpoint(if service.starts_with('[') { "[fd00:1::1]:4000" } else { "10.1.1.1:4000" });
                let f = frame("-t", client, endpoint(service), b"hello");
                let (code, got) = plane.run(&push_tags(&f, came));
                assert_eq!(code, XDP_TX, "{service} from {came:?} to {wanted:?}");
                let (tags, bare) = pop_tags(&got);
                assert_eq!((&tags[..], &bare[..6]), (wanted, &[2, 9, 9, 9, 9, 9][..]), "{service} from {came:?}");
                let header = bare.len() - f.len();
                let seen = parse_frame(&[&f[..14], &bare[14 + header..]].concat());
                let to = if how == "-m" { endpoint(server) } else { endpoint(service) };
                assert_eq!((seen.from, seen.to, seen.ttl), (client, to, 63));
            }
        }
    });
}

#[test]
fn what_is_not_ours_keeps_its_tags() {
    if !can_load() {
        return;
    }
    let plane = plane(&[("10.2.0.100:80", "10.2.0.21:80", "-g")]);
    let (c, v) = (endpoint("10.1.1.1:4000"), endpoint("10.2.0.100:80"));
    let ours = frame("-t", c, v, b"x");
    let other = frame("-t", c, (v.0, 81), b"x");
    for f in [
        push_tags(&ours, &[0x81, 0, 0, 101]), // a VLAN that this host does not have
        push_tags(&ours, &[0x81, 0, 0, 100, 0x81, 0, 0, 7]), // another VLAN in it
        push_tags(&ours, &[0x88, 0xa8, 0, 100]), // the same VLAN ID with another Ethertype
        push_tags(&other, T100),
        push_tags(&other, T300_7),
        push_tags(&frame("-t", c, v, b"x")[..40], T100), // a header that is not whole
        push_tags(&ours, &[0x81, 0, 0, 100])[..16].to_vec(),
    ] {
        assert_eq!(plane.run(&f), (XDP_PASS, f.clone()), "{f:02x?}");
    }
    // Of a VLAN of this host, but to another host.
    let mut f = push_tags(&ours, T100);
    f[0] = 2;
    assert_eq!(plane.run(&f), (XDP_PASS, f.clone()));
    plane.plane.maps().record_vlans(&links()[..1]).expect("recorded");
    let f = push_tags(&ours, T100);
    assert_eq!(plane.run(&f), (XDP_PASS, f.clone()), "the VLAN was removed");
}

#[test]
fn errors_and_replies_go_back_by_the_vlan() {
    with_client_route(|| {
        let plane = plane(&[("10.2.0.100:80", "10.2.0.21:8080", "-m")]);
        // A route goes by a device that the kernel knows; it plays the servers' VLAN.
        let d0 = Netlink::new().and_then(|mut n| n.link_by_name("d0")).expect("netlink").expect("a link").index;
        let real = |l: Link| if l.index == V200 { Link { index: d0, ..l } } else { l };
        plane.plane.maps().record_vlans(&links().into_iter().map(real).collect::<Vec<_>>()).expect("recorded");
        let (c, v, r) = (endpoint("10.1.1.1:4000"), endpoint("10.2.0.100:80"), endpoint("10.2.0.21:8080"));
        let mut old = frame("-t", c, v, b"x");
        old[14 + 8] = 1; // the TTL, and its checksum
        let sum = u16::from_be_bytes([old[24], old[25]]).checked_add(63 << 8).expect("no carry");
        old[24..26].copy_from_slice(&sum.to_be_bytes());
        let (code, out) = plane.run(&push_tags(&old, T100));
        let (tags, bare) = pop_tags(&out);
        let error = parse_icmp(&bare).expect("an error");
        assert_eq!((code, &tags[..], error.kind, error.to), (XDP_TX, T100, (11, 0), c.0));
        // A reply arrives by the servers' VLAN and leaves by the route to the client.
        assert_eq!(plane.run(&push_tags(&frame("-t", c, v, b"x"), T100)).0, XDP_TX);
        for _ in 0..2 {
            let (code, out) = plane.run(&push_tags(&frame("-t", r, c, b"y"), T200));
            let (tags, bare) = pop_tags(&out);
            assert_eq!((code, &tags[..]), (XDP_TX, T200));
            assert_eq!((parse_frame(&bare).from, parse_frame(&bare).dmac), (v, GATEWAY_MAC));
        }
        let stray: (IpAddr, u16) = (c.0, 4444);
        let f = push_tags(&frame("-t", r, stray, b"y"), T200);
        assert_eq!(plane.run(&f), (XDP_PASS, f.clone()), "of no connection");
    });
}
