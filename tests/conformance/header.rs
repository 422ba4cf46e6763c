//! What the packet path believes of a packet's headers: its length when the frame is padded, and its source.

use std::net::IpAddr;

use evenkeel_core::model::{
    ForwardingMethod, Protocol, RemovalPolicy, Scheduler, ServerKey, ServiceKey, Tunnel, TunnelChecksum, TunnelKind,
    Weight,
};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_testkit::frames::{Endpoint, TcpFlags, tcp, udp};

use crate::methods::{endpoint, families, frame};
use crate::plane::{TestPlane, Verdict, test_plane, test_plane_with_tc};

/// The shortest frame on a wire, without its check sequence (IEEE 802.3, 3.2.8).
const MIN_FRAME_LEN: usize = 60;

type Run = fn(&TestPlane, &[u8]) -> (u32, Vec<u8>);
const PROGRAMS: [(&str, Run); 2] = [("XDP", TestPlane::run), ("tc", TestPlane::run_tc)];

fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(MIN_FRAME_LEN), 0);
    frame
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[test]
fn padding_is_no_part_of_a_tunnelled_packet() {
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    let [client, service, server] = families()[0].map(endpoint);
    let kinds = [
        (TunnelKind::Ipip, TunnelChecksum::None, 20),
        (TunnelKind::Gre, TunnelChecksum::Full, 28),
        (TunnelKind::Gue(6080), TunnelChecksum::Full, 32),
    ];
    for (port, (kind, checksum, outer)) in (100..).zip(kinds) {
        let key = ServiceKey::new(Protocol::Udp, service.0, port);
        let method = ForwardingMethod::Tun(Tunnel { kind, checksum });
        let spec = DestSpec { weight: Weight::DEFAULT, method, u_threshold: 0, l_threshold: 0 };
        plane.apply(&[
            Step::AddService(key, ServiceSpec::with_scheduler(Scheduler::Rr)),
            Step::AddDest(key, ServerKey { addr: server.0, port }, spec),
        ]);
        for (program, run) in PROGRAMS {
            // The packet that creates the connection, and one of the connection, which may take the fast path.
            for _ in 0..2 {
                // 20 bytes of IPv4, 8 of UDP, 1 of payload.
                let (_, out) = run(&plane, &padded(frame("-u", client, (service.0, port), b"x")));
                assert_eq!(be16(&out, 16), outer + 29, "{program}, {kind:?}: outer length");
                if matches!(kind, TunnelKind::Gue(_)) {
                    assert_eq!(be16(&out, 38), outer - 20 + 29, "{program}: length of the outer UDP header");
                }
            }
        }
    }
}

#[test]
fn a_reset_acknowledges_no_padding() {
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    let (client, service): (Endpoint, Endpoint) = (endpoint("10.1.1.1:40000"), endpoint("10.2.0.100:80"));
    let key = ServiceKey::new(Protocol::Tcp, service.0, service.1);
    let spec = ServiceSpec { removal_policy: RemovalPolicy::Reject, ..ServiceSpec::with_scheduler(Scheduler::Rr) };
    plane.apply(&[Step::AddService(key, spec)]);
    for (program, run) in PROGRAMS {
        plane.ipvsadm(&["-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g"]);
        assert_eq!(plane.send_tcp(client, service, "S"), Verdict::Forwarded(IpAddr::from([10, 2, 0, 21])));
        plane.ipvsadm(&["-d -t 10.2.0.100:80 -r 10.2.0.21:80"]);
        let fin = padded(tcp(client, service, TcpFlags::parse("F"), 64, b""));
        let (_, out) = run(&plane, &fin);
        let number = |f: &[u8], at: usize| u32::from_be_bytes(f[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(out[14 + 20 + 13] & 4, 4, "{program}: a RST");
        assert_eq!(
            number(&out, 14 + 20 + 8),
            number(&fin, 14 + 20 + 4) + 1,
            "{program}: the FIN alone is acknowledged"
        );
    }
}

#[test]
fn sources_that_are_no_single_host_create_no_connection() {
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    let sources = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "224.0.0.18",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "10.2.0.100",
        "::",
        "::1",
        "ff02::1",
        "fd00:2::100",
    ];
    for [_, service, server] in families() {
        let service_at = endpoint(service);
        for option in ["-t", "-u"] {
            plane.ipvsadm(&[&format!("-A {option} {service} -s rr"), &format!("-a {option} {service} -r {server} -g")]);
        }
        for source in sources.map(|s| s.parse::<IpAddr>().expect("an address")) {
            if source.is_ipv4() != service_at.0.is_ipv4() {
                continue;
            }
            for (program, run) in PROGRAMS {
                for option in ["-t", "-u"] {
                    let f = frame(option, (source, 40_000), service_at, b"x");
                    let before = plane.packet_count("martian");
                    let (code, _) = run(&plane, &f);
                    assert_eq!(code, 1, "XDP_DROP: {program}, {option} from {source}");
                    assert_eq!(plane.packet_count("martian"), before + 1, "{program}, {option} from {source}");
                }
            }
        }
        assert_eq!(plane.plane.maps().connections().len(), 0);
    }
}

#[test]
fn no_error_is_sent_to_a_source_that_is_no_single_host() {
    let Some(mut plane) = test_plane(4096) else { return };
    plane.ipvsadm(&["-A -u 10.2.0.100:53 -s rr"]);
    let service = endpoint("10.2.0.100:53");
    assert_eq!(plane.forward(&udp(endpoint("10.1.1.1:999"), service, 64, b"x")), Verdict::IcmpError(3, 3));
    for source in ["224.0.0.1:999", "255.255.255.255:999", "0.0.0.0:999", "127.0.0.1:999", "10.2.0.100:999"] {
        assert_eq!(plane.forward(&udp(endpoint(source), service, 64, b"x")), Verdict::Dropped, "{source}");
    }
}
