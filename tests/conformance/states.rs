//! TCP states and timeouts of connections of which only the client's half is seen, as recorded from IPVS in DR.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use evenkeel_testkit::sequences::ipvsadm_step;

use crate::plane::{Fate, test_plane};

const VIP: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 2, 0, 100), 80);

#[test]
fn states_and_timeouts_are_ipvss() {
    let Some(mut plane) = test_plane(4096) else { return };
    let setup = ["-A -t 10.2.0.100:80 -s rr", "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1"];
    plane.apply(&setup.map(|c| ipvsadm_step(c).expect("a step")));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/ipvs-sequences/states-dr.tsv");
    let text = fs::read_to_string(path).expect("recordings are part of the project");
    let mut checked = 0;
    'walks: for line in text.lines().filter(|l| !l.starts_with('#') && !l.starts_with("walk")) {
        let (walk, steps) = line.split_once('\t').expect("two columns");
        let from = (Ipv4Addr::new(10, 1, 1, 1), 20_000 + walk.parse::<u16>().expect("a number"));
        for step in steps.split(' ') {
            // Server-to-client packets never pass a director in DR; the recording's are from a probe that the program
            // cannot see.
            let Some(step) = step.strip_prefix("i:") else { continue 'walks };
            let (flags, expected) = step.split_once('=').expect("flags=state");
            let fate = plane.tcp(from, VIP, flags);
            let conns = plane.plane.maps().connections();
            let conn = conns.iter().find(|c| c.client == from);
            match expected.split_once('/') {
                None => {
                    assert_eq!((fate, conn), (Fate::Kernel, None), "walk {walk}: {step}");
                }
                Some((state, seconds)) => {
                    let conn = conn.unwrap_or_else(|| panic!("walk {walk}: {step}: no connection"));
                    assert_eq!(conn.state_name(), state, "walk {walk}: {step}");
                    let seconds: u32 = seconds.parse().expect("seconds");
                    assert!(conn.expires_s.abs_diff(seconds) <= 1, "walk {walk}: {step}: {}", conn.expires_s);
                }
            }
            checked += 1;
        }
    }
    assert!(checked > 300, "only {checked} steps could be checked");
}
