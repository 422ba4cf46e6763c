use std::net::Ipv4Addr;
use std::time::Duration;

use super::packet::{Advert, GROUP, Reject, V3Checksum};
use super::track::{Effect, Standing, effect};
use super::*;
use crate::config::parse_file;
use crate::model::*;
use crate::time::Instant;

const ME: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn at(n: u64) -> Instant {
    Instant::from_nanos(n * 1_000_000)
}

/// `lines` go into the instance; `WEIGHT n` as the first of them tracks a script with that weight.
fn config(lines: &str) -> VrrpInstance {
    let (track, lines) = match lines.strip_prefix("WEIGHT ") {
        Some(rest) => {
            let (weight, rest) = rest.split_once('\n').unwrap_or((rest, ""));
            (format!("track_script {{\ns weight {weight}\n}}"), rest)
        }
        None => (String::new(), lines),
    };
    let text = format!(
        "vrrp_script s {{\nscript /bin/true\n}}\nvrrp_instance V {{\ninterface e\nvirtual_router_id 51\n\
         virtual_ipaddress {{\n10.0.0.100\n}}\n{track}\n{lines}\n}}\n"
    );
    let parsed = parse_file("t", &text);
    let Some(config) = parsed.clean() else { panic!("{}", parsed.render(false)) };
    config.instances[0].clone()
}

fn started(lines: &str) -> Router {
    let mut r = Router::new(config(lines), at(0));
    r.handle(at(0), Input::Link(true));
    r.handle(at(0), Input::Address(Some(ME)));
    r.handle(at(0), Input::Start { resume: false });
    drain(&mut r);
    r
}

fn drain(r: &mut Router) -> Vec<Output> {
    std::iter::from_fn(|| r.poll_output()).collect()
}

fn advert(priority: u8, interval: Duration) -> Advert {
    Advert {
        vrid: Vrid::new(51).expect("a VRID"),
        priority,
        interval,
        addresses: vec![Ipv4Addr::new(10, 0, 0, 100)],
        auth: None,
    }
}

fn hear(r: &mut Router, now: Instant, priority: u8) -> Vec<Output> {
    let version = r.config().version;
    let m = advert(priority, r.config().advert_int).encode(version, V3Checksum::PseudoHeader, PEER, GROUP);
    r.handle(now, Input::Packet { ip: (PEER, GROUP, 255), message: &m });
    drain(r)
}

fn sent_priorities(out: &[Output]) -> Vec<u8> {
    out.iter().filter_map(|o| if let Output::Send { message, .. } = o { Some(message[2]) } else { None }).collect()
}

fn hex(s: &str) -> Vec<u8> {
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).expect("hex")).collect()
}

#[test]
fn adverts_equal_keepaliveds_to_the_byte() {
    // Recorded from keepalived: no authentication; PASS "1111"; version 3 with pseudo-header; version 3 without.
    let src = Ipv4Addr::new(10, 99, 0, 1);
    let mut a = advert(100, Duration::from_secs(1));
    a.addresses = vec![Ipv4Addr::new(10, 99, 200, 1)];
    for (version, v3, auth, bytes, centiseconds) in include!("wire_cases.rs") {
        a.auth = auth.map(AuthPass);
        a.interval = ms(10 * centiseconds);
        let wire = a.encode(version, v3, src, GROUP);
        assert_eq!(wire, hex(bytes), "{version:?} {v3:?}");
        let back = Advert::decode(&wire, (src, GROUP, 255), version, v3, a.auth, a.interval).expect("its own advert");
        assert_eq!(back, a);
    }
}

#[test]
fn what_is_not_an_advert_is_refused_for_its_reason() {
    let v2 = advert(100, Duration::from_secs(1)).encode(VrrpVersion::V2, V3Checksum::PseudoHeader, PEER, GROUP);
    let decode = |m: &[u8], ttl, version| {
        Advert::decode(m, (PEER, GROUP, ttl), version, V3Checksum::PseudoHeader, None, Duration::from_secs(1))
            .map(|_| ())
    };
    assert_eq!(decode(&v2, 255, VrrpVersion::V2), Ok(()));
    assert_eq!(decode(&v2, 254, VrrpVersion::V2), Err(Reject::Ttl(254)));
    assert_eq!(decode(&v2, 255, VrrpVersion::V3), Err(Reject::Version(2)));
    assert_eq!(decode(&v2[..7], 255, VrrpVersion::V2), Err(Reject::Length));
    assert_eq!(decode(&v2[..12], 255, VrrpVersion::V2), Err(Reject::Length));
    for i in 0..v2.len() {
        let mut bad = v2.clone();
        bad[i] ^= 1;
        assert!(decode(&bad, 255, VrrpVersion::V2).is_err(), "byte {i} flipped");
    }
    let mut padded = v2.clone();
    padded.extend([0xee; 26]);
    assert_eq!(decode(&padded, 255, VrrpVersion::V2), Ok(()), "Ethernet padding");
    let pass = |p: Option<AuthPass>| {
        Advert::decode(&v2, (PEER, GROUP, 255), VrrpVersion::V2, V3Checksum::PseudoHeader, p, Duration::from_secs(1))
            .map(|_| ())
    };
    assert_eq!(pass(Some(AuthPass(*b"1111\0\0\0\0"))), Err(Reject::AuthType(0)));
    let slow = Advert::decode(
        &v2,
        (PEER, GROUP, 255),
        VrrpVersion::V2,
        V3Checksum::PseudoHeader,
        None,
        Duration::from_secs(2),
    );
    assert_eq!(slow.map(|_| ()), Err(Reject::Interval));
}

#[test]
fn no_bytes_make_the_decoder_panic() {
    use proptest::prelude::*;
    proptest!(|(m in prop::collection::vec(any::<u8>(), 0..80), v3 in any::<bool>())| {
        let version = if v3 { VrrpVersion::V3 } else { VrrpVersion::V2 };
        let _ = Advert::decode(&m, (PEER, GROUP, 255), version, V3Checksum::MessageOnly, None, Duration::from_secs(1));
        let _ = packet::split_ip(&m);
    });
}

#[test]
fn silence_makes_a_backup_master_after_three_intervals_and_skew() {
    let mut r = started("priority 100");
    assert_eq!(r.state(), State::Backup);
    // 3 s + (256 - 100) / 256 s
    let deadline = at(3609) + Duration::from_micros(375);
    assert_eq!(r.next_deadline(), Some(deadline));
    r.handle_deadline(deadline);
    let out = drain(&mut r);
    assert_eq!(sent_priorities(&out), [100]);
    assert!(
        matches!(out[..4], [Output::Send { .. }, Output::AddVips, Output::Garp(5), Output::Transition { .. }]),
        "{out:?}"
    );
    assert_eq!(r.next_deadline(), Some(deadline + ms(1000)));
    r.handle_deadline(deadline + ms(1000));
    assert_eq!(sent_priorities(&drain(&mut r)), [100]);
}

#[test]
fn version_3_skews_by_the_masters_interval() {
    let mut r = started("version 3\nadvert_int 0.1\npriority 1");
    let mut a = advert(200, ms(40));
    a.priority = 200;
    let m = a.encode(VrrpVersion::V3, V3Checksum::PseudoHeader, PEER, GROUP);
    r.handle(at(1000), Input::Packet { ip: (PEER, GROUP, 255), message: &m });
    assert_eq!(r.skew(), ms(40) * 255 / 256);
    assert_eq!(r.next_deadline(), Some(at(1000) + ms(120) + ms(40) * 255 / 256));
}

#[test]
fn a_backup_keeps_quiet_under_equal_or_higher_priority_and_takes_over_from_lower() {
    let mut r = started("priority 100");
    for (t, p) in [(1000, 100), (2000, 150)] {
        assert!(hear(&mut r, at(t), p).is_empty());
    }
    assert_eq!(r.master(), Some((PEER, 150)));
    let before = r.next_deadline();
    hear(&mut r, at(3000), 99);
    assert_eq!(r.next_deadline(), before, "a lower priority does not put it off");
    let mut r = started("priority 100\nnopreempt");
    let before = r.next_deadline();
    hear(&mut r, at(1000), 50);
    assert!(r.next_deadline() > before, "nopreempt obeys any master");
}

#[test]
fn preempt_delay_puts_a_take_over_off() {
    let mut r = started("priority 100\npreempt_delay 10");
    let mut t = 1000;
    while r.state() == State::Backup && t < 60_000 {
        hear(&mut r, at(t), 50);
        t += 1000;
        if r.next_deadline().is_some_and(|d| d <= at(t)) {
            r.handle_deadline(at(t));
        }
    }
    assert!((11_000..16_000).contains(&t), "master at {t} ms");
}

#[test]
fn priority_zero_hands_over_after_skew() {
    let mut r = started("priority 100");
    hear(&mut r, at(500), 200);
    hear(&mut r, at(1000), 0);
    assert_eq!(r.next_deadline(), Some(at(1000) + r.skew()));
    r.handle_deadline(at(1000) + r.skew());
    assert_eq!(r.since().1, &Because::GaveUp(PEER));
}

#[test]
fn a_master_yields_to_higher_priority_or_equal_with_the_higher_address() {
    for (priority, yields) in [(99, false), (100, true), (101, true)] {
        let mut r = started("priority 100");
        r.handle_deadline(at(4000));
        drain(&mut r);
        let out = hear(&mut r, at(4500), priority);
        assert_eq!(r.state() == State::Backup, yields, "{priority}");
        if yields {
            assert_eq!(out[0], Output::RemoveVips);
        } else {
            assert_eq!(sent_priorities(&out), [100], "it asserts itself");
        }
    }
}

#[test]
fn it_says_priority_zero_when_it_stops_or_faults() {
    let mut r = started("priority 100");
    r.handle_deadline(at(4000));
    drain(&mut r);
    let mut faulty = r.clone();
    r.handle(at(5000), Input::Stop);
    let out = drain(&mut r);
    assert_eq!(sent_priorities(&out), [0]);
    assert_eq!(out[1], Output::RemoveVips);
    assert_eq!(r.next_deadline(), None);
    faulty.handle(at(5000), Input::Link(false));
    assert_eq!(sent_priorities(&drain(&mut faulty)), [0]);
    assert_eq!(faulty.state(), State::Fault);
    faulty.handle(at(6000), Input::Link(true));
    assert_eq!(faulty.state(), State::Backup);
}

#[test]
fn an_owner_is_master_at_once_and_two_owners_end_it() {
    let mut r = started("priority 255\nstate MASTER");
    assert_eq!(r.state(), State::Master);
    hear(&mut r, at(100), 255);
    assert_eq!((r.state(), r.priority()), (State::Backup, 254));
}

#[test]
fn a_resumed_master_goes_on_at_once() {
    let mut r = Router::new(config("priority 100"), at(0));
    r.handle(at(0), Input::Link(true));
    r.handle(at(0), Input::Address(Some(ME)));
    r.handle(at(0), Input::Start { resume: true });
    assert_eq!(r.state(), State::Master);
    assert_eq!(sent_priorities(&drain(&mut r)), [100]);
}

#[test]
fn scripts_change_the_priority_or_bring_fault() {
    let script = || TrackedObject::Script("s".into());
    let tracked = |weight, reverse| Track { object: script(), weight, reverse };
    for (weight, reverse, good, expected) in [
        (2, false, true, Effect::Priority(2)),
        (2, false, false, Effect::Priority(0)),
        (-20, false, true, Effect::Priority(0)),
        (-20, false, false, Effect::Priority(-20)),
        (2, true, true, Effect::Priority(-2)),
        (2, true, false, Effect::Priority(0)),
        (-20, true, false, Effect::Priority(20)),
        (0, true, false, Effect::Priority(0)),
        (0, false, false, Effect::Fault),
        (0, true, true, Effect::Fault),
    ] {
        assert_eq!(effect(&tracked(weight, reverse), Some(good)), expected, "{weight} {reverse} {good}");
    }
    let mut r = started("WEIGHT -60\npriority 100");
    r.handle(at(10), Input::Tracked { object: &script(), good: false });
    assert_eq!(r.priority(), 40);
    r.handle(at(20), Input::Tracked { object: &script(), good: true });
    assert_eq!(r.priority(), 100);
    let mut r = started("WEIGHT 0\npriority 100");
    assert_eq!(r.state(), State::Init, "it waits for the first result");
    r.handle(at(10), Input::Tracked { object: &script(), good: true });
    assert_eq!(r.state(), State::Backup);
    r.handle(at(20), Input::Tracked { object: &script(), good: false });
    assert_eq!(r.since().1, &Because::Tracked(script(), false));
}

#[test]
fn rise_and_fall_count_results_in_a_row() {
    let script = VrrpScript {
        name: "s".into(),
        command: ScriptCommand { argv: vec![], user: None },
        interval: ms(1000),
        timeout: ms(1000),
        weight: 0,
        reverse: false,
        rise: 2,
        fall: 3,
        init_fail: false,
    };
    let mut s = Standing::new(&script);
    let mut feed = |results: &str| {
        results.chars().filter_map(|c| s.result(c == '+', script.rise, script.fall)).collect::<Vec<_>>()
    };
    assert_eq!(feed("+"), [true], "the first result counts at once");
    assert!(feed("--+--").is_empty(), "not three in a row");
    assert_eq!(feed("-"), [false]);
    assert!(feed("+-+").is_empty());
    assert_eq!(feed("+"), [true]);
}

#[test]
fn a_new_configuration_keeps_the_state() {
    let mut r = started("priority 100");
    r.handle_deadline(at(4000));
    drain(&mut r);
    r.reconfigure(at(4100), config("priority 150"));
    assert_eq!((r.state(), r.priority()), (State::Master, 150));
    r.handle_deadline(at(4100));
    assert_eq!(sent_priorities(&drain(&mut r)), [150], "peers learn at once");
    r.reconfigure(at(4200), config("priority 150"));
    assert!(drain(&mut r).is_empty(), "the same configuration changes nothing");
}

#[test]
fn forged_packets_are_counted_and_told_once() {
    let mut r = started("priority 100");
    for _ in 0..1000 {
        r.handle(at(10), Input::Packet { ip: (PEER, GROUP, 1), message: &[0x21; 20] });
    }
    assert_eq!(drain(&mut r), [Output::Refused { by: PEER, why: Reject::Ttl(1) }]);
    assert_eq!(r.counters().refused.values().sum::<u64>(), 1000);
}

fn unicast(lines: &str) -> Router {
    started(&format!("version 3\nadvert_int 0.5\nunicast_peer {{\n10.0.0.3\n10.0.0.4 {lines}\n}}\nunicast_ttl 64"))
}

#[test]
fn unicast_goes_to_each_peer_with_a_checksum_of_its_own() {
    let mut r = unicast("");
    r.handle_deadline(at(100_000));
    let mut sent = Vec::new();
    while let Some(o) = r.poll_output() {
        if let Output::Send { to, ttl, message } = o {
            sent.push((to, ttl, message));
        }
    }
    let to: Vec<_> = sent.iter().map(|(to, ttl, _)| (to.octets()[3], *ttl)).collect();
    assert_eq!(to, [(3, 64), (4, 64)]);
    assert_ne!(sent[0].2, sent[1].2, "the peer's address is in the checksum");
    // As recorded from keepalived 2.4.3 in unicast: 10.99.0.1 to 10.99.0.3, advert_int 0.5.
    let a = Advert {
        vrid: Vrid::new(51).expect("a VRID"),
        priority: 100,
        interval: ms(500),
        addresses: vec!["10.99.200.1".parse().expect("an address")],
        auth: None,
    };
    let (src, dst) = ("10.99.0.1".parse().expect("an address"), "10.99.0.3".parse().expect("an address"));
    assert_eq!(a.encode(VrrpVersion::V3, V3Checksum::PseudoHeader, src, dst), hex("31336401003282ee0a63c801"));
}

#[test]
fn a_packet_must_come_the_way_that_adverts_come() {
    let why = |r: &mut Router, ip: (Ipv4Addr, Ipv4Addr, u8)| {
        let m = advert(200, ms(500)).encode(VrrpVersion::V3, V3Checksum::PseudoHeader, ip.0, ip.1);
        r.handle(at(10), Input::Packet { ip, message: &m });
        let mut told = None;
        while let Some(o) = r.poll_output() {
            if let Output::Refused { why, .. } = o {
                told = Some(why);
            }
        }
        told
    };
    let (third, fourth, fifth) = (Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 4), Ipv4Addr::new(10, 0, 0, 5));
    assert_eq!(why(&mut unicast(""), (third, GROUP, 255)), Some(Reject::Multicast));
    assert_eq!(why(&mut unicast(""), (third, ME, 3)), None, "unicast passes routers");
    assert_eq!(why(&mut unicast(""), (fifth, ME, 255)), None, "and keepalived hears strangers, unless told otherwise");
    assert_eq!(why(&mut unicast("min_ttl 250"), (fifth, ME, 255)), Some(Reject::Stranger));
    assert_eq!(why(&mut unicast("min_ttl 250"), (fourth, ME, 249)), Some(Reject::Ttl(249)));
    assert_eq!(why(&mut unicast("min_ttl 250"), (fourth, ME, 250)), None);
    assert_eq!(why(&mut started("version 3\nadvert_int 0.5"), (third, ME, 255)), Some(Reject::Unicast));
}

/// A member of the sync group `G`.
fn member(name: &str) -> Router {
    let cfg = VrrpInstance { name: name.into(), group: Some("G".into()), ..config("priority 100") };
    let mut r = Router::new(cfg, at(0));
    r.handle(at(0), Input::Link(true));
    r.handle(at(0), Input::Address(Some(ME)));
    r.handle(at(0), Input::Start { resume: false });
    r
}

#[test]
fn members_of_a_group_rise_and_fall_together_and_leave_its_faults_behind_with_it() {
    let (mut a, mut b) = (member("A"), member("B"));
    assert!(!group::settle(&mut [&mut a, &mut b], at(0)));
    a.handle_deadline(at(4_000));
    group::settle(&mut [&mut a, &mut b], at(4_000));
    assert_eq!((a.state(), b.state()), (State::Backup, State::Backup), "one alone does not rise");
    b.handle_deadline(at(4_001));
    group::settle(&mut [&mut a, &mut b], at(4_001));
    assert_eq!((a.state(), b.state()), (State::Master, State::Master));
    a.handle(at(5_000), Input::Link(false));
    group::settle(&mut [&mut a, &mut b], at(5_000));
    assert_eq!((a.state(), b.state()), (State::Fault, State::Fault));
    assert_eq!(b.since().1, &Because::Group(Some("A".into())));
    b.reconfigure(at(6_000), VrrpInstance { group: None, ..b.config().clone() });
    assert_eq!((a.state(), b.state()), (State::Fault, State::Backup), "the other's fault is the group's");
    assert!(!group::settle(&mut [&mut a], at(6_000)));
    a.handle(at(7_000), Input::Link(true));
    hear(&mut b, at(7_000), 200);
    b.handle_deadline(at(20_000));
    assert_eq!(b.state(), State::Master, "on its own it waits for nobody");
}
