//! Forwarding methods: the frames that they make, for IPv4 and IPv6: addresses, ports, every checksum, outer headers.

use std::net::IpAddr;
use std::process::Command;

use evenkeel_core::model::{
    ForwardingMethod, Protocol, Scheduler, ServerKey, ServiceKey, Tunnel, TunnelChecksum, TunnelKind, Weight,
};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_sys::bpf::{DestPath, NextHop};
use evenkeel_testkit::frames::{self, Endpoint, TcpFlags, parse_frame, parse_icmp};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;
use evenkeel_testkit::routed_namespace::{self, GATEWAY_MAC};

use crate::plane::{TestPlane, XDP_PASS, XDP_REDIRECT, XDP_TX, can_load, test_plane};

/// Runs a test in a network namespace of its own, whose route to clients goes by a gateway on `d0`.
pub fn with_client_route(test: impl FnOnce() + Send + 'static) {
    if can_load() {
        routed_namespace::run_in_routed_namespace(test).expect("a network");
    }
}

pub fn endpoint(text: &str) -> Endpoint {
    let at: std::net::SocketAddr = text.parse().expect("an address");
    (at.ip(), at.port())
}

/// (client, service, real server) of each family.
pub fn families() -> [[&'static str; 3]; 2] {
    [
        ["10.1.1.1:40000", "10.2.0.100:80", "10.2.0.21:8080"],
        ["[fd00:1:1::1]:40000", "[fd00:2::100]:80", "[fd00:2::21]:8080"],
    ]
}

fn setup(plane: &mut TestPlane, option: &str, service: &str, server: &str, how: &str) {
    let steps = [format!("-A {option} {service} -s rr"), format!("-a {option} {service} -r {server} {how} -w 1")];
    plane.apply(&steps.map(|s| parse_ipvsadm_command(&s).expect("a step")));
}

fn plane(option: &str, service: &str, server: &str, how: &str) -> TestPlane {
    let mut plane = test_plane(4096).expect("root");
    setup(&mut plane, option, service, server, how);
    plane
}

pub fn frame(option: &str, from: Endpoint, to: Endpoint, payload: &[u8]) -> Vec<u8> {
    match option {
        "-t" => frames::tcp(from, to, TcpFlags::parse("S"), 64, payload),
        "-u" => frames::udp(from, to, 64, payload),
        _ => frames::sctp(from, to, 1, payload), // INIT
    }
}

#[test]
fn nat_translates_there_and_back() {
    with_client_route(|| {
        let mut plane = test_plane(4096).expect("root");
        for [client, service, server] in families() {
            for option in ["-t", "-u", "--sctp-service"] {
                setup(&mut plane, option, service, server, "-m");
                let (client, service, server) = (endpoint(client), endpoint(service), endpoint(server));
                for payload in [&b""[..], b"x", b"hello", &[7; 1301]] {
                    let (code, out) = plane.run(&frame(option, client, service, payload));
                    assert_eq!(code, XDP_TX, "{option} {client:?}");
                    let seen = parse_frame(&out);
                    assert_eq!((seen.from, seen.to, seen.ttl), (client, server, 63));
                    // Twice: by the kernel's routes, then by the cached reply route.
                    for _ in 0..2 {
                        let (code, out) = plane.run(&frame(option, server, client, payload));
                        assert_eq!(code, XDP_REDIRECT, "{option} {client:?}");
                        let seen = parse_frame(&out);
                        assert_eq!((seen.from, seen.to, seen.ttl), (service, client, 63));
                        assert_eq!(seen.dmac, GATEWAY_MAC);
                    }
                }
                let other = (client.0, client.1 + 1);
                let reply = frame(option, server, other, b"");
                assert_eq!(plane.run(&reply), (XDP_PASS, reply), "a reply without a connection is passed");
                let view = plane.plane.maps().service_records();
                assert_eq!((view[0].stats.in_packets, view[0].stats.out_packets), (4, 8));
                plane.remove_all();
            }
        }
    });
}

#[test]
fn udp_without_a_checksum_stays_without_one() {
    with_client_route(|| {
        let [client, service, server] = families()[0];
        let plane = plane("-u", service, server, "-m");
        let mut f = frame("-u", endpoint(client), endpoint(service), b"x");
        f[14 + 20 + 6..14 + 20 + 8].fill(0);
        let (code, out) = plane.run(&f);
        assert_eq!((code, &out[14 + 20 + 6..14 + 20 + 8]), (XDP_TX, &[0, 0][..]));
    });
}

#[test]
fn one_real_server_of_two_services_answers_for_the_right_one() {
    with_client_route(|| {
        let mut plane = test_plane(4096).expect("root");
        let (client, server) = (endpoint("10.1.1.1:40000"), endpoint("10.2.0.21:8080"));
        let services = ["10.2.0.100:80", "10.2.0.101:80", "10.2.0.102:8080"];
        for s in services {
            let steps = [format!("-A -t {s} -s rr"), format!("-a -t {s} -r 10.2.0.21:8080 -m")];
            plane.apply(&steps.map(|s| parse_ipvsadm_command(&s).expect("a step")));
        }
        let reply_source = |plane: &TestPlane, port: u16| {
            let (code, out) = plane.run(&frame("-t", server, (client.0, port), b""));
            (code == XDP_REDIRECT).then(|| parse_frame(&out).from)
        };
        for (n, s) in services.iter().enumerate() {
            let port = client.1 + n as u16;
            assert_eq!(plane.run(&frame("-t", (client.0, port), endpoint(s), b"")).0, XDP_TX);
            assert_eq!(reply_source(&plane, port), Some(endpoint(s)));
        }
        let gone = [format!("-d -t {} -r 10.2.0.21:8080", services[1])];
        plane.apply(&gone.map(|s| parse_ipvsadm_command(&s).expect("a step")));
        for (n, s) in services.iter().enumerate() {
            assert_eq!(
                reply_source(&plane, client.1 + n as u16),
                Some(endpoint(s)),
                "replies of a removed server are still translated"
            );
        }
    });
}

/// The inner packet is unchanged but for the TTL.
fn assert_inner(before: &[u8], inner: &[u8]) {
    let mut eth = before[..14].to_vec();
    eth.extend(inner);
    let (a, b) = (parse_frame(before), parse_frame(&eth));
    assert_eq!((a.from, a.to, a.ttl - 1), (b.from, b.to, b.ttl));
    assert_eq!(before.len(), eth.len());
}

/// The ones' complement sum of data with a valid checksum is ~0.
fn is_checksum_valid(parts: &[&[u8]]) -> bool {
    let bytes = parts.concat();
    let word = |c: &[u8]| u32::from(c[0]) << 8 | c.get(1).map_or(0, |b| u32::from(*b));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

#[test]
fn tunnels_encapsulate_packets() {
    with_client_route(|| {
        let mut plane = test_plane(4096).expect("root");
        let outer = ["10.2.0.21:80", "[fd00:2::21]:80"].map(endpoint);
        let kinds = [TunnelKind::Ipip, TunnelKind::Gre, TunnelKind::Gue(6080)];
        let checksums = [TunnelChecksum::None, TunnelChecksum::Full];
        let mut port = 100;
        for [client, service, _] in families() {
            for (server, kind, checksum, option) in combinations(&outer, &kinds, &checksums, &["-t", "-u"]) {
                port += 1;
                let (client, service) = (endpoint(client), (endpoint(service).0, port));
                let protocol = if option == "-t" { Protocol::Tcp } else { Protocol::Udp };
                let key = ServiceKey::new(protocol, service.0, port);
                let spec = DestSpec {
                    weight: Weight::DEFAULT,
                    method: ForwardingMethod::Tun(Tunnel { kind, checksum }),
                    u_threshold: 0,
                    l_threshold: 0,
                };
                plane.apply(&[
                    Step::AddService(key, ServiceSpec::with_scheduler(Scheduler::Rr)),
                    Step::AddDest(key, ServerKey { addr: server.0, port }, spec),
                ]);
                // The packet that creates the connection, and packets of the connection, which may take the fast path.
                let first = frame(option, client, service, &[9; 333]);
                let next = match protocol {
                    Protocol::Tcp => frames::tcp(client, service, TcpFlags::parse("A"), 64, &[9; 333]),
                    _ => first.clone(),
                };
                for mut f in [first, next.clone(), next] {
                    if client.0.is_ipv6() {
                        (f[14], f[15]) = (0x6a, 0xb3); // the traffic class, and a part of the flow label
                    }
                    let (code, out) = plane.run(&f);
                    assert_eq!(code, XDP_TX);
                    assert_encapsulated(&f, &out, server.0, kind, checksum == TunnelChecksum::Full);
                }
            }
        }
    });
}

/// Every combination.
fn combinations<A: Copy, B: Copy, C: Copy, D: Copy>(a: &[A], b: &[B], c: &[C], d: &[D]) -> Vec<(A, B, C, D)> {
    let mut all = Vec::new();
    for &a in a {
        for &b in b {
            for &c in c {
                all.extend(d.iter().map(|&d| (a, b, c, d)));
            }
        }
    }
    all
}

fn assert_encapsulated(before: &[u8], out: &[u8], server: IpAddr, kind: TunnelKind, summed: bool) {
    let inner_v6 = before[12] == 0x86;
    let v6 = server.is_ipv6();
    assert_eq!(out[12..14], if v6 { [0x86, 0xdd] } else { [8, 0] });
    let ip = &out[14..];
    let (header, protocol, source, destination, ttl, length) = if v6 {
        (40, ip[6], &ip[8..24], &ip[24..40], ip[7], u16::from_be_bytes([ip[4], ip[5]]) as usize + 40)
    } else {
        assert!(is_checksum_valid(&[&ip[..20]]), "outer header checksum");
        (20, ip[9], &ip[12..16], &ip[16..20], ip[8], u16::from_be_bytes([ip[2], ip[3]]) as usize)
    };
    assert_eq!(length, ip.len(), "outer length");
    let class = |v6: bool, ip: &[u8]| if v6 { (u16::from_be_bytes([ip[0], ip[1]]) >> 4) as u8 } else { ip[1] };
    assert_eq!(class(v6, ip), class(inner_v6, &before[14..]), "traffic class");
    assert!(!v6 || ip[1] & 15 == 0 && ip[2..4] == [0, 0], "flow label");
    assert_eq!(ttl, 63, "the inner TTL after it was decremented");
    match server {
        IpAddr::V4(a) => assert_eq!((source, destination), (&[10, 2, 0, 10][..], &a.octets()[..])),
        IpAddr::V6(a) => assert_eq!(destination, a.octets()),
    }
    let rest = &ip[header..];
    let next = if inner_v6 { 41 } else { 4 };
    match kind {
        TunnelKind::Ipip => {
            assert_eq!(protocol, next);
            assert_inner(before, rest);
        }
        TunnelKind::Gre => {
            assert_eq!((protocol, rest[0], rest[1]), (47, if summed { 0x80 } else { 0 }, 0));
            assert_eq!(rest[2..4], before[12..14], "the inner Ethertype");
            assert!(!summed || is_checksum_valid(&[rest]), "GRE checksum");
            assert_inner(before, &rest[if summed { 8 } else { 4 }..]);
        }
        TunnelKind::Gue(port) => {
            assert_eq!((protocol, &rest[2..4]), (17, &port.to_be_bytes()[..]));
            assert_eq!(u16::from_be_bytes([rest[4], rest[5]]) as usize, rest.len());
            assert_eq!(rest[8..12], [0, next, 0, 0]);
            let len = (rest.len() as u32).to_be_bytes();
            if summed {
                assert!(is_checksum_valid(&[source, destination, &[0, 17], &len, rest]), "UDP checksum");
            } else {
                assert_eq!(rest[6..8], [0, 0]);
            }
            assert_inner(before, &rest[12..]);
        }
    }
}

#[test]
fn a_packet_above_the_path_mtu_is_answered_with_the_mtu() {
    with_client_route(|| {
        for ([client, service, _], server, kind, largest) in
            [(families()[0], "10.2.0.21:80", (3, 4), 1480), (families()[1], "[fd00:2::21]:80", (2, 0), 1460)]
        {
            let plane = plane("-t", service, server, "-i");
            let (client, service) = (endpoint(client), endpoint(service));
            let header = if client.0.is_ipv6() { 60 } else { 40 };
            // The path MTU is 1,500 bytes, less the tunnel's overhead.
            let fits = vec![1; largest - header];
            assert_eq!(plane.run(&frame("-t", client, service, &fits)).0, XDP_TX);
            let mut f = frame("-t", client, service, &[&fits[..], &[1]].concat());
            if client.0.is_ipv4() {
                frames::set_dont_fragment(&mut f, false); // whether it may be fragmented does not matter
            }
            let (code, out) = plane.run(&f);
            let error = parse_icmp(&out).expect("an error");
            assert_eq!((code, error.kind, error.rest), (XDP_TX, kind, largest as u32));
            assert_eq!((error.from, error.to), (service.0, client.0));
            assert_eq!(error.quote, f[14..14 + 128], "128 bytes of the packet are quoted");
            assert_eq!(plane.packet_count("too_big"), 1);
        }
    });
}

#[test]
fn a_reply_above_the_path_mtu_is_reported_to_the_real_server() {
    with_client_route(|| {
        let done = Command::new("ip").args(["link", "set", "d0", "mtu", "1300"]).status().expect("ip runs");
        assert!(done.success());
        for [client, service, server] in families() {
            let (c, v, r) = (endpoint(client), endpoint(service), endpoint(server));
            let plane = plane("-u", service, server, "-m");
            assert_eq!(plane.run(&frame("-u", c, v, b"?")).0, XDP_TX);
            let header = if c.0.is_ipv6() { 48 } else { 28 };
            // By the kernel's routes, then by the cached reply route.
            for _ in 0..2 {
                let (code, out) = plane.run(&frame("-u", r, c, &vec![1; 1300 - header]));
                assert_eq!((code, parse_frame(&out).from), (XDP_REDIRECT, v));
                let f = frame("-u", r, c, &vec![1; 1301 - header]);
                let (code, out) = plane.run(&f);
                let error = parse_icmp(&out).expect("an error");
                let kind = if c.0.is_ipv6() { (2, 0) } else { (3, 4) };
                assert_eq!((code, error.kind, error.rest, error.to), (XDP_TX, kind, 1300, r.0));
                assert_eq!(error.quote[..header], f[14..14 + header]);
            }
        }
    });
}

#[test]
fn jumbo_frames_lie_in_several_buffers() {
    with_client_route(|| {
        let mut plane = test_plane(4096).expect("root");
        let outer = [9000 - 40, 9000 - 60];
        for ([client, service, server], largest) in families().into_iter().zip(outer) {
            for (port, how) in [(81, "-g"), (82, "-m"), (83, "-i"), (84, "-i --tun-type gue --tun-port 6080")] {
                let (c, v) = (endpoint(client), (endpoint(service).0, port));
                let (at, r) = (std::net::SocketAddr::from(v).to_string(), (endpoint(server).0, port));
                setup(&mut plane, "-u", &at, &std::net::SocketAddr::from(r).to_string(), how);
                for (id, _) in plane.plane.dest_addresses() {
                    let hop = NextHop { ifindex: 1, dmac: [2, 9, 9, 9, 9, 9], smac: [2; 6] };
                    let source = if c.0.is_ipv6() { "2001:db8::d" } else { "10.2.0.10" };
                    plane.plane.set_dest_path(id, DestPath::Via { hop, mtu: 9000, source: source.parse().ok() });
                }
                for size in [3000, 8000, largest - 8 - 60] {
                    let f = frame("-u", c, v, &vec![7; size]);
                    let (code, out) = plane.run(&f);
                    assert_eq!(code, XDP_TX, "{how} {size}");
                    let seen = parse_frame(&[&f[..14], &out[out.len() - f.len() + 14..]].concat());
                    assert_eq!((seen.from, seen.to), (c, if how == "-m" { r } else { v }), "{how} {size}");
                }
                let (_, out) = plane.run(&frame("-u", c, v, &[7; 9000]));
                let error = parse_icmp(&out).expect("an error");
                assert!(error.rest <= 9000 && error.rest > 8900, "{how}: {}", error.rest);
            }
        }
    });
}

#[test]
fn errors_about_replies_reach_the_real_server() {
    with_client_route(|| {
        for [client, service, server] in families() {
            let (c, v, r) = (endpoint(client), endpoint(service), endpoint(server));
            let router: IpAddr = if v.0.is_ipv6() { "fd00:9::9" } else { "10.9.9.9" }.parse().expect("an address");
            let kind = if v.0.is_ipv6() { (2, 0) } else { (3, 4) };
            for (how, shown) in [("-g", v), ("-m", r)] {
                let server = if how == "-g" { (r.0, v.1) } else { r };
                let plane = plane("-t", service, &std::net::SocketAddr::from(server).to_string(), how);
                let about = frame("-t", v, c, &[1; 900]);
                let error = frames::icmp_error(router, v.0, kind, 1400, &about[14..14 + 100]);
                assert_eq!(plane.run(&error), (XDP_PASS, error.clone()), "without a connection it is passed");
                assert_eq!(plane.run(&frame("-t", c, v, b"")).0, XDP_TX);
                let (code, out) = plane.run(&error);
                let got = parse_icmp(&out).expect("an error");
                assert_eq!((code, got.from, got.to, got.kind, got.rest), (XDP_TX, router, shown.0, kind, 1400));
                // The quoted addresses and ports are those of the packet that the real server sent.
                let sent = frame("-t", shown, c, &[1; 900]);
                let ports = if v.0.is_ipv6() { 44 } else { 24 };
                assert_eq!(got.quote[..ports], sent[14..14 + ports]);
            }
        }
    });
}

#[test]
fn errors_about_requests_reach_the_client_behind_nat() {
    with_client_route(|| {
        for [client, service, server] in families() {
            let (c, v, r) = (endpoint(client), endpoint(service), endpoint(server));
            let plane = plane("-u", service, server, "-m");
            let kind = if v.0.is_ipv6() { (1, 4) } else { (3, 3) };
            let (code, request) = plane.run(&frame("-u", c, v, b"hello"));
            assert_eq!(code, XDP_TX);
            let error = frames::icmp_error(r.0, c.0, kind, 0, &request[14..]);
            let (code, out) = plane.run(&error);
            let got = parse_icmp(&out).expect("an error");
            assert_eq!((code, got.from, got.to, got.kind), (XDP_REDIRECT, v.0, c.0, kind));
            let expected = frame("-u", c, v, b"hello");
            let header = if v.0.is_ipv6() { 40 } else { 20 };
            assert_eq!(
                got.quote[header - 8..header + 4],
                expected[14 + header - 8..14 + header + 4],
                "addresses and ports"
            );
            assert_eq!(got.dmac, GATEWAY_MAC);
        }
    });
}

#[test]
fn later_fragments_go_where_the_first_one_goes() {
    with_client_route(|| {
        for [client, service, server] in families() {
            let (c, v, r) = (endpoint(client), endpoint(service), endpoint(server));
            let mut plane = test_plane(4096).expect("root");
            for n in 21..25 {
                let server = server.replace("21", &n.to_string());
                if n == 21 {
                    setup(&mut plane, "-u", service, &server, "-m");
                } else {
                    let add = format!("-a -u {service} -r {server} -m");
                    plane.apply(&[parse_ipvsadm_command(&add).expect("a step")]);
                }
            }
            let whole = frame("-u", c, v, &[5; 3000]);
            let fragments = frames::fragments(&whole, 1200);
            assert_eq!(fragments.len(), 3);
            assert_eq!(plane.run(&fragments[1]), (XDP_PASS, fragments[1].clone()), "its first fragment was not seen");
            let sent: Vec<_> = fragments.iter().map(|p| plane.run(p)).collect();
            assert!(sent.iter().all(|(code, _)| *code == XDP_TX));
            let frames: Vec<_> = sent.into_iter().map(|(_, f)| f).collect();
            let seen = parse_frame(&frames::reassemble(&frames)); // verifies the checksum of the whole packet
            assert_eq!((seen.from, seen.to.1), (c, r.1));
            let reply = frames::fragments(&frame("-u", seen.to, c, &[6; 2000]), 1200);
            let back: Vec<_> = reply.iter().map(|p| plane.run(p)).collect();
            assert!(back.iter().all(|(code, _)| *code == XDP_REDIRECT), "{:?}", back[1].0);
            let frames: Vec<_> = back.into_iter().map(|(_, f)| f).collect();
            let seen = parse_frame(&frames::reassemble(&frames));
            assert_eq!((seen.from, seen.to), (v, c));
        }
    });
}
