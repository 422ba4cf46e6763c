//! ESP and AH belong to the connection of UDP port 500 between the same two hosts, in both directions, and create none
//! (ip_vs_proto_ah_esp.c).

use evenkeel_testkit::frames::{self, parse_frame};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;

use crate::methods::{endpoint, frame, with_client_route};
use crate::plane::{Verdict, XDP_PASS, XDP_REDIRECT, XDP_TX, server_mac, test_plane};

#[test]
fn esp_goes_with_its_key_exchange() {
    with_client_route(|| {
        let mut plane = test_plane(4096).expect("root");
        for (client, prefix) in [("10.1.1.1:500", "10.2.0."), ("[fd00:1::1]:500", "[fd00:2::")] {
            for (n, how) in ["-g", "-m", "-i"].into_iter().enumerate() {
                let at = |host: usize| format!("{prefix}{host}{}:500", if client.starts_with('[') { "]" } else { "" });
                let (service, servers) = (at(100 + n), [at(21 + 2 * n), at(22 + 2 * n)]);
                let add = |s: &str| format!("-a -u {service} -r {s} {how}");
                let steps = [format!("-A -u {service} -s rr"), add(&servers[0]), add(&servers[1])];
                plane.apply(&steps.map(|s| parse_ipvsadm_command(&s).expect("a step")));
                let service = service.as_str();
                let servers = [servers[0].as_str(), servers[1].as_str()];
                let (c, v) = (endpoint(client), endpoint(service));
                for payload in [40, 1200] {
                    let f = frames::esp(c.0, v.0, &vec![9; payload]);
                    assert_eq!(plane.run(&f), (XDP_PASS, f), "without a key exchange it is passed");
                }
                // A key exchange of another client advances the scheduler.
                plane.run(&frame("-u", (c.0, 501), v, b"x"));
                let (code, out) = plane.run(&frame("-u", c, v, b"ike"));
                assert_eq!(code, XDP_TX);
                let mac: [u8; 6] = out[..6].try_into().expect("a frame");
                let server = *servers.map(endpoint).iter().find(|s| server_mac(s.0) == mac).expect("one of them");
                let f = frames::esp(c.0, v.0, &[9; 40]);
                let (code, out) = plane.run(&f);
                assert_eq!((code, &out[..6]), (XDP_TX, &mac[..]), "{how}");
                let inner = if how == "-i" { [&out[..14], &out[out.len() - f.len() + 14..]].concat() } else { out };
                let seen = parse_frame(&inner);
                assert_eq!((seen.from.0, seen.to.0), (c.0, if how == "-m" { server.0 } else { v.0 }), "{how}");
                assert_eq!(inner[inner.len() - 48..], f[f.len() - 48..], "its payload is unchanged");
                if how == "-m" {
                    let (code, out) = plane.run(&frames::esp(server.0, c.0, &[8; 40]));
                    assert_eq!(code, XDP_REDIRECT);
                    assert_eq!((parse_frame(&out).from.0, parse_frame(&out).to.0), (v.0, c.0));
                }
                let fragments = frames::fragments(&frames::esp(c.0, v.0, &[7; 2000]), 1200);
                let there = fragments.iter().all(|p| plane.run(p).1[..6] == mac);
                assert!(there, "{how}: its fragments go to the same server");
            }
        }
    });
}

#[test]
fn esp_that_nobody_balances_is_left_alone() {
    let Some(mut plane) = test_plane(4096) else { return };
    let steps = ["-A -t 10.2.0.100:80 -s rr", "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g"];
    plane.apply(&steps.map(|s| parse_ipvsadm_command(s).expect("a step")));
    let f = frames::esp(endpoint("10.1.1.1:0").0, endpoint("10.2.0.100:0").0, &[1; 40]);
    assert_eq!(plane.forward(&f), Verdict::Passed);
}
