//! Resignations: priority 0 at a stop, at a fault and after a crash.

use super::*;

#[test]
fn priority_zero_hands_over_after_skew() {
    let mut r = started_router("priority 100");
    receive(&mut r, at_ms(500), 200);
    receive(&mut r, at_ms(1000), 0);
    assert_eq!(r.next_deadline(), Some(at_ms(1000) + r.skew_time()));
    r.handle_deadline(at_ms(1000) + r.skew_time());
    assert_eq!(r.last_transition().1, &TransitionReason::PriorityZero(PEER));
}

#[test]
fn a_master_sends_priority_zero_when_it_stops_or_enters_fault() {
    let mut r = started_router("priority 100");
    r.handle_deadline(at_ms(4000));
    drain_outputs(&mut r);
    let mut faulty = r.clone();
    r.handle(at_ms(5000), Input::Stop);
    let out = drain_outputs(&mut r);
    assert_eq!(sent_priorities(&out), [0]);
    assert_eq!(out[1], Output::RemoveVips);
    assert_eq!(r.next_deadline(), None);
    faulty.handle(at_ms(5000), Input::Link(false));
    assert_eq!(sent_priorities(&drain_outputs(&mut faulty)), [0]);
    assert_eq!(faulty.state(), State::Fault);
    faulty.handle(at_ms(6000), Input::Link(true));
    assert_eq!(faulty.state(), State::Backup);
}

#[test]
fn after_a_resignation_by_the_supervisor_a_router_waits_no_longer_than_the_longest_skew() {
    for (lines, longest) in [("priority 200", 1000), ("version 3\nadvert_int 0.1\npriority 200", 100)] {
        let mut r = start_router(config(lines), ME, PreviousState::Resigned);
        assert_eq!((r.state(), r.next_deadline()), (State::Backup, Some(at_ms(longest))));
        receive(&mut r, at_ms(50), 250);
        assert!(r.next_deadline() > Some(at_ms(longest + 1)), "a peer took over");
    }
    let mut r = started_router("priority 200");
    r.handle_deadline(at_ms(4000));
    drain_outputs(&mut r);
    let last = r.resignation_packets();
    assert_eq!((last.len(), last[0].0, last[0].2[22]), (2, ALL, 0));
}

#[test]
fn the_resignation_of_a_crashed_master_shortens_the_skew_of_backups() {
    let v3 = |more: &str| format!("version 3\nadvert_int 4\n{more}");
    let master = |more: &str| {
        let mut r = started_router(&v3(&format!("priority 200\n{more}")));
        r.handle_deadline(at_ms(16_000));
        drain_outputs(&mut r);
        assert_eq!(r.state(), State::Master);
        r
    };
    // The time that a backup of priority 1, the slowest, waits after these packets.
    let waits = |packets: Vec<Vec<u8>>| {
        let mut r = start_router(config(&v3("priority 1")), PEER, PreviousState::Unknown);
        for p in packets {
            let (ip, payload) = split_ipv4(&p).expect("a packet");
            r.handle(at_ms(100), Input::Packet { ip, payload });
        }
        let reported = drain_outputs(&mut r).into_iter().any(|o| matches!(o, Output::IntervalMismatch { .. }));
        assert!(!reported, "a temporary interval is not reported");
        r.next_deadline().expect("a backup").duration_since(at_ms(100))
    };
    let last = |r: &Router| r.resignation_packets().into_iter().map(|(_, _, packet)| packet).collect::<Vec<_>>();
    let longest = ms(4000) * 255 / 256;
    let short = ms(50) * 255 / 256;
    assert_eq!(waits(last(&master(""))), short);
    assert_eq!(waits(last(&master("release_interval 0"))), longest);
    assert_eq!(waits(last(&master("release_interval 0.1"))), ms(100) * 255 / 256);
    // Without `release_interval` a clean stop is the same as keepalived's.
    let stops = |mut r: Router| {
        r.handle(at_ms(16_100), Input::Stop);
        let sent = drain_outputs(&mut r).into_iter();
        sent.filter_map(|o| if let Output::Send { packet, .. } = o { Some(packet) } else { None }).collect::<Vec<_>>()
    };
    assert_eq!(stops(master("")).len(), 1);
    assert_eq!(waits(stops(master(""))), longest);
    assert_eq!(waits(stops(master("release_interval 0.05"))), short);
}

/// Version 2 has whole seconds only, so that a resignation is priority 0 twice.
#[test]
fn in_version_2_a_second_priority_zero_shortens_the_skew() {
    let master = |more: &str| {
        let mut r = started_router(&format!("priority 200\n{more}"));
        r.handle_deadline(at_ms(4_000));
        drain_outputs(&mut r);
        r.resignation_packets().into_iter().map(|(_, _, packet)| packet).collect::<Vec<_>>()
    };
    let waits = |packets: &[Vec<u8>], apart: u64| {
        let mut r = start_router(config("priority 1"), PEER, PreviousState::Unknown);
        for (p, n) in packets.iter().zip(0..) {
            let (ip, payload) = split_ipv4(p).expect("a packet");
            r.handle(at_ms(100 + n * apart), Input::Packet { ip, payload });
        }
        r.next_deadline().expect("a backup").duration_since(at_ms(100))
    };
    let (last, once) = (master(""), master("release_interval 0"));
    assert_eq!((last.len(), once.len()), (2, 1));
    let (long, short) = (ms(1000) * 255 / 256, ms(50) * 255 / 256);
    assert_eq!((waits(&last, 0), waits(&once, 0)), (short, long));
    assert_eq!(
        waits(&[last.clone(), last.clone()].concat(), 20),
        ms(20) + short,
        "a third one does not restart the timer"
    );
    // Each of the two packets has its own sequence number or timestamp.
    for lines in [
        "authentication {\nauth_type AH\nauth_pass secret\n}",
        "auth_hmac {\nkey 1 0123456789abcdef0123456789abcdef\nactive_key 1\n}",
    ] {
        let mut r = started_router(&format!("priority 1\n{lines}"));
        for p in master(lines) {
            let (ip, payload) = split_ipv4(&p).expect("a packet");
            r.handle(at_ms(100), Input::Packet { ip: IpHeader { src: ME, ..ip }, payload });
        }
        assert!(r.counters().rejected.is_empty(), "{:?}", r.counters().rejected);
    }
}
