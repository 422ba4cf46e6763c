//! Packets that fail header validation create no connection, change none and get no error; source routes are the
//! kernel's; and ICMP errors are forwarded if they are valid, by quoted packets with extension headers too.

use std::net::IpAddr;

use evenkeel_testkit::frames::{self, TcpFlags, fragments, icmp_error, internet_checksum, parse_icmp};

use crate::methods::{endpoint, families, frame};
use crate::plane::{TestPlane, Verdict, XDP_DROP, XDP_PASS, XDP_TX, test_plane_with_tc};

type Run = fn(&TestPlane, &[u8]) -> (u32, Vec<u8>);
const PROGRAMS: [(&str, Run); 2] = [("XDP", TestPlane::run), ("tc", TestPlane::run_tc)];

/// Makes the checksum of an IPv4 header right. `header` is its length.
fn repair(f: &mut [u8], header: usize) {
    if f[12] == 8 {
        f[24..26].fill(0);
        let check = !internet_checksum(&[&f[14..14 + header]]);
        f[24..26].copy_from_slice(&check.to_be_bytes());
    }
}

fn set_length(f: &mut [u8], length: u16) {
    let at = if f[12] == 8 { 16 } else { 18 };
    let length = if f[12] == 8 { length } else { length.wrapping_sub(40) };
    f[at..at + 2].copy_from_slice(&length.to_be_bytes());
    repair(f, 20);
}

fn with_options(f: &[u8], options: &[u8]) -> Vec<u8> {
    let mut out = [&f[..34], options, &f[34..]].concat();
    out[14] = 0x45 + (options.len() / 4) as u8;
    let length = out.len() as u16 - 14;
    out[16..18].copy_from_slice(&length.to_be_bytes());
    repair(&mut out, 20 + options.len());
    out
}

/// Packets to a service, each with one header that is wrong.
fn invalid(option: &str, good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let v6 = good[12] != 8;
    let (l4, length) = (if v6 { 54 } else { 34 }, good.len() as u16 - 14);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut f = good.to_vec();
        change(&mut f);
        f
    };
    let mut all = vec![
        ("length beyond the frame", changed(&|f| set_length(f, length + 1))),
        ("length within the headers", changed(&|f| set_length(f, l4 as u16 - 14 + 7))),
    ];
    if !v6 {
        all.push(("checksum", changed(&|f| f[24] ^= 1)));
        all.push(("length below the header", changed(&|f| set_length(f, 19))));
    }
    match option {
        "-t" => {
            all.push(("data offset of 4", changed(&|f| f[l4 + 12] = 0x40)));
            all.push(("data offset beyond the packet", changed(&|f| f[l4 + 12] = 0xf0)));
        }
        "-u" => {
            all.push(("UDP length of 7", changed(&|f| f[l4 + 5] = 7)));
            all.push(("UDP length beyond the packet", changed(&|f| f[l4 + 5] += 1)));
        }
        _ => {}
    }
    all
}

#[test]
fn invalid_headers_create_no_connection_and_get_no_error() {
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    for [client, service, server] in families() {
        let (client, at) = (endpoint(client), endpoint(service));
        for (n, option) in (0..).zip(["-t", "-u", "--sctp-service"]) {
            let no_server = (at.0, at.1 + 1);
            plane.ipvsadm(&[
                &format!("-A {option} {service} -s rr"),
                &format!("-a {option} {service} -r {server} -m"),
                &format!("-A {option} {} -s rr", std::net::SocketAddr::from(no_server)),
            ]);
            for (program, run) in PROGRAMS {
                for to in [at, no_server] {
                    for (what, f) in invalid(option, &frame(option, client, to, b"abcd")) {
                        let before = plane.packet_count("bad_header");
                        assert_eq!(run(&plane, &f).0, XDP_DROP, "{program}, {option} to {to:?}: {what}");
                        assert_eq!(plane.packet_count("bad_header"), before + 1, "{program}, {option}: {what}");
                    }
                }
                assert_eq!(plane.plane.maps().connections().len(), n, "{program}, {option}");
            }
            let (code, _) = plane.run(&frame(option, client, at, b"abcd"));
            assert_eq!(code, XDP_TX, "{option}: a valid packet");
        }
        let maps = plane.plane.maps();
        maps.set_expiry_of_all(-100_000);
        plane.remove_all();
    }
}

#[test]
fn an_invalid_segment_does_not_change_the_state_of_a_connection() {
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    for [client, service, server] in families() {
        let (c, v) = (endpoint(client), endpoint(service));
        plane.ipvsadm(&[&format!("-A -t {service} -s rr"), &format!("-a -t {service} -r {server} -m")]);
        let tcp = |flags| frames::tcp(c, v, TcpFlags::parse(flags), 64, b"x");
        plane.run(&tcp("S"));
        plane.run(&tcp("A"));
        let states = |plane: &TestPlane| plane.plane.maps().connections().iter().map(|c| c.state).collect::<Vec<_>>();
        let before = states(&plane);
        for (program, run) in PROGRAMS {
            for flags in ["R", "F", "S"] {
                for (what, f) in invalid("-t", &tcp(flags)) {
                    assert_eq!(run(&plane, &f).0, XDP_DROP, "{program}, {flags}: {what}");
                }
            }
            assert_eq!(states(&plane), before, "{program}");
        }
        plane.remove_all();
    }
}

#[test]
fn source_routes_and_malformed_options_are_left_to_the_kernel() {
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    plane.ipvsadm(&["-A -t 10.2.0.100:80 -s rr", "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g"]);
    let (c, v) = (endpoint("10.1.1.1:40000"), endpoint("10.2.0.100:80"));
    let syn = frame("-t", c, v, b"");
    for (program, run) in PROGRAMS {
        for options in [
            &[131, 7, 4, 10, 9, 9, 9, 0][..],
            &[1, 137, 7, 4, 10, 9, 9, 9],
            &[7, 1, 0, 0],
            &[1, 1, 1, 7],
            &[68, 12, 5, 0, 0, 0, 0, 0],
        ] {
            let f = with_options(&syn, options);
            assert_eq!(run(&plane, &f), (XDP_PASS, f), "{program}: {options:?}");
        }
        assert_eq!(plane.plane.maps().connections().len(), 0);
    }
    for options in [&[1, 1, 1, 0][..], &[148, 4, 0, 0], &[0, 131, 7, 4], &[7, 39, 4]] {
        let mut options = options.to_vec();
        options.resize(if options[0] == 7 { 40 } else { 4 }, 0);
        let f = with_options(&syn, &options);
        let (code, out) = plane.run(&f);
        assert_eq!(
            (code, &out[34..], plane.forward(&syn)),
            (XDP_TX, &f[34..], Verdict::Forwarded([10, 2, 0, 21].into()))
        );
    }
}

#[test]
fn an_icmp_error_with_a_wrong_checksum_is_dropped() {
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    for [client, service, server] in families() {
        let (c, v) = (endpoint(client), endpoint(service));
        plane.ipvsadm(&[&format!("-A -u {service} -s rr"), &format!("-a -u {service} -r {server} -m")]);
        plane.run(&frame("-u", c, v, b"x"));
        let router: IpAddr = if v.0.is_ipv6() { "fd00:9::9" } else { "10.9.9.9" }.parse().expect("an address");
        let kind = if v.0.is_ipv6() { (2, 0) } else { (3, 4) };
        for quoted in [60, 128, 129, 548, 1200] {
            let error = icmp_error(router, v.0, kind, 1400, &frame("-u", v, c, &[1; 1300])[14..14 + quoted]);
            for (program, run) in PROGRAMS {
                assert_eq!(run(&plane, &error).0, XDP_TX, "{program}: {quoted} bytes quoted");
                for at in [error.len() - 1, error.len() - 10] {
                    let mut wrong = error.clone();
                    wrong[at] ^= 4;
                    assert_eq!(run(&plane, &wrong).0, XDP_DROP, "{program}: {quoted} bytes quoted");
                }
            }
        }
        plane.remove_all();
    }
}

#[test]
fn errors_about_fragments_and_extension_headers_reach_the_real_server() {
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    let [c, v, r] = families()[1].map(endpoint);
    let router: IpAddr = "fd00:9::9".parse().expect("an address");
    for how in ["-g", "-m"] {
        let server = if how == "-g" { (r.0, v.1) } else { r };
        plane.ipvsadm(&[
            "-A -u [fd00:2::100]:80 -s rr",
            &format!("-a -u [fd00:2::100]:80 -r {} {how}", std::net::SocketAddr::from(server)),
        ]);
        plane.run(&frame("-u", c, v, b"a request"));
        // A large answer leaves in fragments, the first of which exceeds the path MTU.
        let answer = fragments(&frame("-u", v, c, &[7; 3000]), 1400);
        let mut with_options = answer[0].clone();
        with_options[20] = 60; // destination options, before the fragment header
        with_options.splice(54..54, [44, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for (what, about, ports) in [("a fragment", &answer[0], 48), ("destination options", &with_options, 64)] {
            let error = icmp_error(router, v.0, (2, 0), 1280, &about[14..14 + 1000]);
            for (program, run) in PROGRAMS {
                let (code, out) = run(&plane, &error);
                assert_eq!(code, XDP_TX, "{program}, {how}: {what}");
                let got = parse_icmp(&out).expect("an error with a right checksum");
                let to = if how == "-m" { r } else { v };
                assert_eq!((got.from, got.to, got.kind, got.rest), (router, to.0, (2, 0), 1280), "{program}: {what}");
                let port = u16::from_be_bytes([got.quote[ports], got.quote[ports + 1]]);
                assert_eq!(port, to.1, "{program}, {how}: {what}");
            }
        }
        let later = icmp_error(router, v.0, (2, 0), 1280, &answer[1][14..14 + 1000]);
        assert_eq!(plane.run(&later), (XDP_PASS, later), "a later fragment has no ports");
        plane.remove_all();
    }
}
