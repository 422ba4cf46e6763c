//! TCP states and timeouts, as recorded from IPVS: with DR, where replies do not pass the director, and with NAT.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use evenkeel_core::model::Tuning;
use evenkeel_testkit::frames::{self, TcpFlags};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;
use evenkeel_testkit::recordings::is_selected;

use crate::plane::test_plane;

const VIP: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(10, 2, 0, 100)), 80);

#[test]
fn states_and_timeouts_of_direct_routing_are_as_recorded() {
    replay("states-dr", "-g");
}

#[test]
fn states_and_timeouts_of_nat_are_as_recorded() {
    replay("states-nat", "-m");
}

#[test]
fn states_and_timeouts_with_secure_tcp_are_as_recorded() {
    replay("states-dr-secure", "-g");
    replay("states-nat-secure", "-m");
}

/// Replays walks through the state machine: `i:` are packets of the client, `o:` those of the real server.
fn replay(name: &str, how: &str) {
    if !is_selected(name) {
        return;
    }
    let Some(mut plane) = test_plane(4096) else { return };
    let add = format!("-a -t 10.2.0.100:80 -r 10.2.0.21:80 {how} -w 1");
    plane.apply(&["-A -t 10.2.0.100:80 -s rr", &add].map(|c| parse_ipvsadm_command(c).expect("a step")));
    plane.plane.apply_tuning(&Tuning { secure_tcp: name.ends_with("-secure"), ..Tuning::default() });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("conformance/ipvs-sequences/{name}.tsv"));
    let text = fs::read_to_string(path).expect("recordings are part of the project");
    let server = (IpAddr::from([10, 2, 0, 21]), 80);
    let mut checked = 0;
    'walks: for line in text.lines().filter(|l| !l.starts_with('#') && !l.starts_with("walk")) {
        let (walk, steps) = line.split_once('\t').expect("two columns");
        let from = (IpAddr::from([10, 1, 1, 1]), 20_000 + walk.parse::<u16>().expect("a number"));
        for step in steps.split(' ') {
            let (side, step) = step.split_once(':').expect("side:step");
            let (flags, expected) = step.split_once('=').expect("flags=state");
            let frame = |a, b| frames::tcp(a, b, TcpFlags::parse(flags), 64, b"x");
            match side {
                "i" => plane.run(&frame(from, VIP)),
                // With DR no reply passes the director; in the recording they come from a probe that the program does
                // not see.
                _ if how == "-g" => continue 'walks,
                _ => plane.run(&frame(server, from)),
            };
            let conns = plane.plane.maps().connections();
            let conn = conns.iter().find(|c| c.client == from);
            match expected.split_once('/') {
                None => assert_eq!(conn, None, "walk {walk}: {step}"),
                Some((state, seconds)) => {
                    let conn = conn.unwrap_or_else(|| panic!("walk {walk}: {step}: no connection"));
                    assert_eq!(conn.state_name(), state, "walk {walk}: {side}:{step}");
                    let seconds: u32 = seconds.parse().expect("seconds");
                    assert!(conn.expires_s.abs_diff(seconds) <= 1, "walk {walk}: {step}: {}", conn.expires_s);
                }
            }
            checked += 1;
        }
    }
    assert!(checked > 300, "only {checked} steps could be checked");
}
