//! The settings with the names of the kernel's sysctls (ipvs-sysctl.rst), each off and on.

use evenkeel_core::model::{MarkRule, Tuning};
use evenkeel_testkit::frames::{self, Endpoint, parse_icmp, set_dont_fragment};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;

use crate::methods::{endpoint, families, frame, with_client_route};
use crate::plane::{TestPlane, Verdict, XDP_PASS, XDP_REDIRECT, XDP_TX, can_load, test_plane};

fn plane(commands: &[String]) -> TestPlane {
    let mut plane = test_plane(4096).expect("root");
    let steps: Vec<_> = commands.iter().map(|c| parse_ipvsadm_command(c).expect("a step")).collect();
    plane.apply(&steps);
    plane
}

#[test]
fn schedule_icmp_carries_errors_of_unknown_connections() {
    with_client_route(|| {
        let mut commands = Vec::new();
        for [_, service, server] in families() {
            commands.push(format!("-A -t {service} -s sh"));
            let servers = ["21", "22", "23"].map(|n| server.replace("21", n).replace(":8080", ":80"));
            commands.extend(servers.iter().map(|s| format!("-a -t {service} -r {s} -g")));
        }
        let plane = plane(&commands);
        // A router reports that a reply was too big, of a connection of another director.
        let error_about_reply = |client: &str, service: Endpoint| {
            let (c, v6) = (endpoint(client), service.0.is_ipv6());
            let (router, kind) = if v6 { ("fd00:9::9", (2, 0)) } else { ("10.9.9.9", (3, 4)) };
            let about = frame("-t", service, c, &[1; 900]);
            frames::icmp_error(router.parse().expect("an address"), service.0, kind, 1400, &about[14..14 + 100])
        };
        for [client, service, _] in families() {
            let error = error_about_reply(client, endpoint(service));
            assert_eq!(plane.run(&error), (XDP_PASS, error.clone()));
        }
        plane.plane.apply_tuning(&Tuning { schedule_icmp: true, ..Tuning::default() });
        for [client, service, _] in families() {
            let (c, v) = (endpoint(client), endpoint(service));
            let (code, out) = plane.run(&error_about_reply(client, v));
            assert_eq!((code, parse_icmp(&out).expect("an error").rest), (XDP_TX, 1400));
            let (_, syn) = plane.run(&frame("-t", c, v, b""));
            assert_eq!(out[..6], syn[..6], "the server that the client is sent to");
            let other = error_about_reply(client, (v.0, 81));
            assert_eq!(plane.run(&other), (XDP_PASS, other), "of no service");
        }
    });
}

#[test]
fn nat_icmp_send_answers_a_reply_without_a_connection() {
    with_client_route(|| {
        let set = |[_, service, server]: [&str; 3]| {
            [format!("-A -t {service} -s rr"), format!("-a -t {service} -r {server} -m")]
        };
        let plane = plane(&families().map(set).concat());
        for (n, [client, service, server]) in families().into_iter().enumerate() {
            let (c, v, r) = (endpoint(client), endpoint(service), endpoint(server));
            plane.plane.apply_tuning(&Tuning::default());
            let stray = frame("-t", r, c, b"late");
            assert_eq!(plane.run(&stray), (XDP_PASS, stray.clone()));
            plane.plane.apply_tuning(&Tuning { nat_icmp_send: true, ..Tuning::default() });
            let (code, out) = plane.run(&stray);
            let error = parse_icmp(&out).expect("an error");
            let kind = if c.0.is_ipv6() { (1, 4) } else { (3, 3) };
            assert_eq!((code, error.kind, error.to), (XDP_TX, kind, r.0));
            assert_eq!(plane.packet_count("unexpected_reply"), n as u64 + 1);
            let reset = frames::tcp(r, c, frames::TcpFlags::parse("R"), 64, b"");
            assert_eq!(plane.run(&reset).0, XDP_PASS, "a RST is not rejected");
            let other = frame("-t", (r.0, 9999), c, b"");
            assert_eq!(plane.run(&other).0, XDP_PASS, "nor a packet from another port");
            assert_eq!(plane.run(&frame("-t", c, v, b"")).0, XDP_TX);
            assert_eq!(plane.run(&stray).0, XDP_REDIRECT, "a reply with a connection is translated");
        }
    });
}

#[test]
fn without_pmtu_disc_tunnels_may_be_fragmented() {
    if !can_load() {
        return;
    }
    let kinds = [(80, "-i"), (81, "-i --tun-type gre")];
    let set = |(port, kind)| {
        [format!("-A -u 10.2.0.100:{port} -s rr"), format!("-a -u 10.2.0.100:{port} -r 10.2.0.21:{port} {kind}")]
    };
    let plane = plane(&kinds.map(set).concat());
    for (port, kind) in kinds {
        for (pmtu_disc, inner, outer) in [(true, true, 0x40), (true, false, 0), (false, true, 0), (false, false, 0)] {
            plane.plane.apply_tuning(&Tuning { pmtu_disc, ..Tuning::default() });
            let mut f = frame("-u", endpoint("10.1.1.1:4000"), (endpoint("10.2.0.100:0").0, port), b"x");
            set_dont_fragment(&mut f, inner);
            let (code, out) = plane.run(&f);
            assert_eq!((code, out[14 + 6] & 0x40), (XDP_TX, outer), "{kind} {pmtu_disc} {inner}");
        }
    }
}

#[test]
fn cache_bypass_passes_marked_packets_to_the_kernels_routing() {
    if !can_load() {
        return;
    }
    let plane = plane(&["-A -f 5 -s rr".into(), "-A -t 10.2.0.100:80 -s rr".into()]);
    let [first, last] = ["10.9.0.0", "10.9.0.255"].map(|a| a.parse().expect("an address"));
    let all = [(5, MarkRule { first, last, protocol: None, ports: (80, 80) })];
    plane.plane.maps().write_mark_rules(&all).expect("room");
    let (c, far, vip) = (endpoint("10.1.1.1:4000"), endpoint("10.9.0.7:80"), endpoint("10.2.0.100:80"));
    assert_eq!(
        (plane.send_tcp(c, far, "S"), plane.send_tcp(c, vip, "S")),
        (Verdict::IcmpError(3, 3), Verdict::IcmpError(3, 3))
    );
    plane.plane.apply_tuning(&Tuning { cache_bypass: true, ..Tuning::default() });
    assert_eq!((plane.send_tcp(c, far, "S"), plane.send_tcp(c, vip, "S")), (Verdict::Passed, Verdict::IcmpError(3, 3)));
    assert_eq!(plane.packet_count("cache_bypass"), 1);
}
