use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::packet::{
    Advert, AdvertAuth, ChecksumForm, IPPROTO_VRRP, IpHeader, MULTICAST_GROUP, RejectReason, split_ipv4,
};
use super::track::{ScriptState, TrackEffect, track_effect};
use super::*;
use crate::config::parse_text;
use crate::model::*;
use crate::time::Instant;

pub(super) const ME: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(super) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
pub(super) const ALL: IpAddr = IpAddr::V4(MULTICAST_GROUP);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn at_ms(n: u64) -> Instant {
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
    let parsed = parse_text("t", &text);
    let Some(config) = parsed.valid_config() else { panic!("{}", parsed.render(false)) };
    config.instances[0].clone()
}

pub(super) fn started_router(lines: &str) -> Router {
    let mut r = Router::new(config(lines), at_ms(0));
    r.handle(at_ms(0), Input::Link(true));
    r.handle(at_ms(0), Input::SourceAddress(Some(ME)));
    r.handle(at_ms(0), Input::Start(PreviousState::Unknown));
    drain_outputs(&mut r);
    r
}

pub(super) fn drain_outputs(r: &mut Router) -> Vec<Output> {
    std::iter::from_fn(|| r.poll_output()).collect()
}

pub(super) fn advert(priority: u8, interval: Duration) -> Advert {
    Advert {
        vrid: Vrid::new(51).expect("a VRID"),
        priority,
        interval,
        addresses: vec![Ipv4Addr::new(10, 0, 0, 100).into()],
    }
}

pub(super) fn ip_header(src: IpAddr, dst: IpAddr, ttl: u8) -> IpHeader {
    IpHeader { src, dst, ttl, protocol: IPPROTO_VRRP, id: 0 }
}

fn receive(r: &mut Router, now: Instant, priority: u8) -> Vec<Output> {
    receive_with_form(r, now, priority, ChecksumForm::PseudoHeader)
}

fn receive_with_form(r: &mut Router, now: Instant, priority: u8, form: ChecksumForm) -> Vec<Output> {
    let m = advert(priority, r.config().advert_int).encode_message(r.config().version, Auth::None, form, PEER, ALL);
    r.handle(now, Input::Packet { ip: ip_header(PEER, ALL, 255), payload: &m });
    drain_outputs(r)
}

fn sent_priorities(out: &[Output]) -> Vec<u8> {
    out.iter().filter_map(|o| if let Output::Send { packet, .. } = o { Some(packet[22]) } else { None }).collect()
}

#[test]
fn silence_makes_a_backup_master_after_three_intervals_and_skew() {
    let mut r = started_router("priority 100");
    assert_eq!(r.state(), State::Backup);
    // 3 s + (256 - 100) / 256 s
    let deadline = at_ms(3609) + Duration::from_micros(375);
    assert_eq!(r.next_deadline(), Some(deadline));
    r.handle_deadline(deadline);
    let out = drain_outputs(&mut r);
    assert_eq!(sent_priorities(&out), [100]);
    assert!(
        matches!(out[..4], [Output::Send { .. }, Output::AddVips, Output::Announce(5), Output::Transition { .. }]),
        "{out:?}"
    );
    assert_eq!(r.next_deadline(), Some(deadline + ms(1000)));
    r.handle_deadline(deadline + ms(1000));
    assert_eq!(sent_priorities(&drain_outputs(&mut r)), [100]);
}

#[test]
fn version_3_skews_by_the_masters_interval() {
    let mut r = started_router("version 3\nadvert_int 0.1\npriority 1");
    let mut a = advert(200, ms(40));
    a.priority = 200;
    let m = a.encode_message(VrrpVersion::V3, Auth::None, ChecksumForm::PseudoHeader, PEER, ALL);
    r.handle(at_ms(1000), Input::Packet { ip: ip_header(PEER, ALL, 255), payload: &m });
    assert_eq!(r.skew_time(), ms(40) * 255 / 256);
    assert_eq!(r.next_deadline(), Some(at_ms(1000) + ms(120) + ms(40) * 255 / 256));
}

#[test]
fn a_backup_keeps_quiet_under_equal_or_higher_priority_and_takes_over_from_lower() {
    let mut r = started_router("priority 100");
    for (t, p) in [(1000, 100), (2000, 150)] {
        assert!(receive(&mut r, at_ms(t), p).is_empty());
    }
    assert_eq!(r.master(), Some((PEER, 150)));
    let before = r.next_deadline();
    receive(&mut r, at_ms(3000), 99);
    assert_eq!(r.next_deadline(), before, "a lower priority does not put it off");
    let mut r = started_router("priority 100\nnopreempt");
    let before = r.next_deadline();
    receive(&mut r, at_ms(1000), 50);
    assert!(r.next_deadline() > before, "nopreempt obeys any master");
}

/// keepalived.conf(5), `timer_expired_backup`.
#[test]
fn a_master_that_stood_still_steps_down_where_it_must_not_preempt() {
    let master = |more: &str| {
        let mut r = started_router(&format!("priority 100\nnopreempt\n{more}"));
        let t = r.next_deadline().expect("the master is silent");
        r.handle_deadline(t);
        assert_eq!(r.state(), State::Master);
        let t = r.next_deadline().expect("an advert");
        r.handle_deadline(t); // sent at t
        let _ = std::iter::from_fn(|| r.poll_output()).count();
        (r, t)
    };
    // Three intervals and the skew of priority 254: 3.007 s after the last advert.
    let (mut r, t) = master("timer_expired_backup");
    r.handle_deadline(t + ms(3000));
    assert_eq!(r.state(), State::Master, "nobody can have taken over");
    let (mut r, t) = master("timer_expired_backup");
    r.handle_deadline(t + ms(3100));
    assert_eq!((r.state(), r.last_transition().1), (State::Backup, &TransitionReason::AdvertTimerLate { ms: 3100 }));
    let sent = std::iter::from_fn(|| r.poll_output()).any(|o| matches!(o, Output::Send { .. }));
    assert!(!sent, "an advert would have taken the addresses back");
    // What came in meanwhile is read before any deadline is looked at.
    let (mut r, t) = master("timer_expired_backup");
    assert!(!receive(&mut r, t + ms(60_000), 90).iter().any(|o| matches!(o, Output::Send { .. })));
    assert_eq!((r.state(), r.master()), (State::Backup, Some((PEER, 90))));
    // The one backup there is has priority 1, and waits for 3.996 s.
    let (mut r, t) = master("timer_expired_backup 1");
    r.handle_deadline(t + ms(3900));
    assert_eq!(r.state(), State::Master);
    let (mut r, t) = master("");
    r.handle_deadline(t + ms(60_000));
    assert_eq!(r.state(), State::Master, "only if asked for");
}

#[test]
fn preempt_delay_puts_a_take_over_off() {
    let mut r = started_router("priority 100\npreempt_delay 10");
    let mut t = 1000;
    while r.state() == State::Backup && t < 60_000 {
        receive(&mut r, at_ms(t), 50);
        t += 1000;
        if r.next_deadline().is_some_and(|d| d <= at_ms(t)) {
            r.handle_deadline(at_ms(t));
        }
    }
    assert!((11_000..16_000).contains(&t), "master at {t} ms");
}

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
fn a_master_yields_to_higher_priority_or_equal_with_the_higher_address() {
    for (priority, yields) in [(99, false), (100, true), (101, true)] {
        let mut r = started_router("priority 100");
        r.handle_deadline(at_ms(4000));
        drain_outputs(&mut r);
        let out = receive(&mut r, at_ms(4500), priority);
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
fn an_owner_is_master_at_once_and_two_owners_end_it() {
    let mut r = started_router("priority 255\nstate MASTER");
    assert_eq!(r.state(), State::Master);
    receive(&mut r, at_ms(100), 255);
    assert_eq!((r.state(), r.priority()), (State::Backup, 254));
}

#[test]
fn a_resumed_master_goes_on_at_once() {
    let mut r = Router::new(config("priority 100"), at_ms(0));
    r.handle(at_ms(0), Input::Link(true));
    r.handle(at_ms(0), Input::SourceAddress(Some(ME)));
    r.handle(at_ms(0), Input::Start(PreviousState::Master));
    assert_eq!(r.state(), State::Master);
    assert_eq!(sent_priorities(&drain_outputs(&mut r)), [100]);
}

#[test]
fn who_was_given_up_waits_for_a_peers_skew_and_no_longer() {
    for (lines, longest) in [("priority 200", 1000), ("version 3\nadvert_int 0.1\npriority 200", 100)] {
        let mut r = Router::new(config(lines), at_ms(0));
        r.handle(at_ms(0), Input::Link(true));
        r.handle(at_ms(0), Input::SourceAddress(Some(ME)));
        r.handle(at_ms(0), Input::Start(PreviousState::Resigned));
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
fn a_master_that_dies_shortens_the_skew_of_those_it_leaves() {
    let v3 = |more: &str| format!("version 3\nadvert_int 4\n{more}");
    let master = |more: &str| {
        let mut r = started_router(&v3(&format!("priority 200\n{more}")));
        r.handle_deadline(at_ms(16_000));
        drain_outputs(&mut r);
        assert_eq!(r.state(), State::Master);
        r
    };
    // How long a backup of priority 1, the worst there is, waits after it has heard these packets.
    let waits = |packets: Vec<Vec<u8>>| {
        let mut r = Router::new(config(&v3("priority 1")), at_ms(0));
        r.handle(at_ms(0), Input::Link(true));
        r.handle(at_ms(0), Input::SourceAddress(Some(PEER)));
        r.handle(at_ms(0), Input::Start(PreviousState::Unknown));
        for p in packets {
            let (ip, payload) = split_ipv4(&p).expect("a packet");
            r.handle(at_ms(100), Input::Packet { ip, payload });
        }
        let told = drain_outputs(&mut r).into_iter().any(|o| matches!(o, Output::IntervalMismatch { .. }));
        assert!(!told, "nobody is told of an interval that is meant once");
        r.next_deadline().expect("a backup").duration_since(at_ms(100))
    };
    let last = |r: &Router| r.resignation_packets().into_iter().map(|(_, _, packet)| packet).collect::<Vec<_>>();
    let longest = ms(4000) * 255 / 256;
    let short = ms(50) * 255 / 256;
    assert_eq!(waits(last(&master(""))), short);
    assert_eq!(waits(last(&master("release_interval 0"))), longest);
    assert_eq!(waits(last(&master("release_interval 0.1"))), ms(100) * 255 / 256);
    // A stop is as keepalived's, unless the configuration wants it otherwise.
    let stops = |mut r: Router| {
        r.handle(at_ms(16_100), Input::Stop);
        let sent = drain_outputs(&mut r).into_iter();
        sent.filter_map(|o| if let Output::Send { packet, .. } = o { Some(packet) } else { None }).collect::<Vec<_>>()
    };
    assert_eq!(stops(master("")).len(), 1);
    assert_eq!(waits(stops(master(""))), longest);
    assert_eq!(waits(stops(master("release_interval 0.05"))), short);
}

/// Intervals of version 2 cannot say it, so that priority 0 is said twice.
#[test]
fn in_version_2_too_a_death_shortens_the_skew() {
    let master = |more: &str| {
        let mut r = started_router(&format!("priority 200\n{more}"));
        r.handle_deadline(at_ms(4_000));
        drain_outputs(&mut r);
        r.resignation_packets().into_iter().map(|(_, _, packet)| packet).collect::<Vec<_>>()
    };
    let waits = |packets: &[Vec<u8>], apart: u64| {
        let mut r = Router::new(config("priority 1"), at_ms(0));
        r.handle(at_ms(0), Input::Link(true));
        r.handle(at_ms(0), Input::SourceAddress(Some(PEER)));
        r.handle(at_ms(0), Input::Start(PreviousState::Unknown));
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
    assert_eq!(waits(&[last.clone(), last.clone()].concat(), 20), ms(20) + short, "nor does it wait again for a third");
    // Each word of signatures and authentication headers has a number of its own.
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

#[test]
fn an_owner_may_ignore_others_and_unicast_without_a_peer_may_be_a_fault() {
    let mut r = started_router("priority 255\nstate MASTER\nowner_ignore_adverts true");
    receive(&mut r, at_ms(100), 255);
    assert_eq!((r.state(), r.priority(), r.counters().adverts_received), (State::Master, 255, 0));
    let r = started_router("priority 100\nunicast_src_ip 10.0.0.1\nunicast_fault_no_peer");
    assert_eq!((r.state(), r.last_transition().1), (State::Fault, &TransitionReason::NoUnicastPeer));
}

#[test]
fn a_start_may_be_held_back() {
    let mut cfg = config("priority 100");
    cfg.startup_delay = ms(10_000);
    let mut r = Router::new(cfg, at_ms(0));
    r.handle(at_ms(0), Input::Link(true));
    r.handle(at_ms(0), Input::SourceAddress(Some(ME)));
    r.handle(at_ms(0), Input::Start(PreviousState::Unknown));
    r.handle(at_ms(5000), Input::Link(false));
    r.handle(at_ms(6000), Input::Link(true));
    assert_eq!((r.state(), r.next_deadline()), (State::Init, Some(at_ms(10_000))));
    receive(&mut r, at_ms(9000), 50);
    r.handle_deadline(at_ms(10_000));
    assert_eq!((r.state(), r.next_deadline()), (State::Backup, Some(at_ms(13_609) + Duration::from_micros(375))));
}

#[test]
fn packets_are_taken_in_unless_somebody_says_otherwise() {
    for (lines, accepts) in [
        ("", true),
        ("no_accept", false),
        ("no_accept\naccept", true),
        ("no_accept\npriority 255", true),
        ("strict_mode on", false),
        ("strict_mode on\naccept", false),
        ("strict_mode on\nversion 3\naccept", true),
        ("strict_mode on\npriority 255\nstate MASTER", true),
    ] {
        assert_eq!(config(lines).accept_mode, accepts, "{lines}");
    }
    let strict = config("strict_mode on\npreempt_delay 5\nunicast_peer {\n10.0.0.2\n}\nhigher_prio_send_advert on");
    assert_eq!(strict.advert_destination, AdvertDestination::Multicast(ALL));
    assert!(strict.preempt_delay.is_zero() && strict.lower_prio_no_advert && !strict.higher_prio_send_advert);
    assert_eq!(strict.garp.lower_prio_repeat, 0);
}

#[test]
fn a_lost_neighbour_is_taken_over_from_if_it_was_the_master() {
    let mut r = started_router("priority 100");
    r.handle(at_ms(100), Input::BfdNeighbourLost(PEER));
    assert_eq!(r.next_deadline(), started_router("priority 100").next_deadline(), "nobody was master yet");
    receive(&mut r, at_ms(200), 150);
    let silence = r.next_deadline();
    r.handle(at_ms(300), Input::BfdNeighbourLost(Ipv4Addr::new(10, 0, 0, 3).into()));
    assert_eq!(r.next_deadline(), silence, "somebody else was lost");
    r.handle(at_ms(300), Input::BfdNeighbourLost(PEER));
    assert_eq!(r.next_deadline(), Some(at_ms(300) + r.skew_time()));
    // It speaks after all: the session was lost for a reason of its own.
    receive(&mut r, at_ms(400), 150);
    assert_eq!(r.next_deadline(), Some(at_ms(400) + r.master_down_interval()));
    r.handle(at_ms(500), Input::BfdNeighbourLost(PEER));
    r.handle_deadline(at_ms(500) + r.skew_time());
    assert_eq!((r.state(), r.last_transition().1), (State::Master, &TransitionReason::BfdNeighbourLost(PEER)));
}

#[test]
fn it_stands_still_until_a_frame_is_heard_or_for_long_enough() {
    let hold = || {
        let cfg = VrrpInstance { hold_until_frame: ms(40_000), ..config("priority 255\nstate MASTER") };
        let mut r = Router::new(cfg, at_ms(0));
        r.handle(at_ms(0), Input::Link(true));
        r.handle(at_ms(0), Input::SourceAddress(Some(ME)));
        r.handle(at_ms(0), Input::Start(PreviousState::Unknown));
        r
    };
    let mut r = hold();
    assert_eq!((r.state(), r.next_deadline()), (State::Init, Some(at_ms(40_000))));
    r.handle(at_ms(2000), Input::FrameReceived);
    assert_eq!(r.state(), State::Master);
    // The link goes, and comes back behind a port that does not forward yet.
    r.handle(at_ms(3000), Input::Link(false));
    r.handle(at_ms(3100), Input::Link(true));
    assert_eq!((r.state(), r.is_waiting_for_frame()), (State::Fault, true));
    r.handle_deadline(at_ms(43_100));
    assert_eq!(r.state(), State::Master);
    let mut r = hold();
    r.handle_deadline(at_ms(40_000));
    assert_eq!(r.state(), State::Master, "nobody else is there");
}

#[test]
fn scripts_change_the_priority_or_bring_fault() {
    let script = || TrackedObject::Script("s".into());
    let tracked = |weight, reverse| Track { object: script(), weight, reverse };
    for (weight, reverse, good, expected) in [
        (2, false, true, TrackEffect::Priority(2)),
        (2, false, false, TrackEffect::Priority(0)),
        (-20, false, true, TrackEffect::Priority(0)),
        (-20, false, false, TrackEffect::Priority(-20)),
        (2, true, true, TrackEffect::Priority(-2)),
        (2, true, false, TrackEffect::Priority(0)),
        (-20, true, false, TrackEffect::Priority(20)),
        (0, true, false, TrackEffect::Priority(0)),
        (0, false, false, TrackEffect::Fault),
        (0, true, true, TrackEffect::Fault),
    ] {
        assert_eq!(
            track_effect(&tracked(weight, reverse), Some(TrackResult::Good(good))),
            expected,
            "{weight} {reverse} {good}"
        );
    }
    let mut r = started_router("WEIGHT -60\npriority 100");
    r.handle(at_ms(10), Input::TrackResult { object: &script(), result: TrackResult::Good(false) });
    assert_eq!(r.priority(), 40);
    r.handle(at_ms(20), Input::TrackResult { object: &script(), result: TrackResult::Good(true) });
    assert_eq!(r.priority(), 100);
    let mut r = started_router("WEIGHT 0\npriority 100");
    assert_eq!(r.state(), State::Init, "it waits for the first result");
    r.handle(at_ms(10), Input::TrackResult { object: &script(), result: TrackResult::Good(true) });
    assert_eq!(r.state(), State::Backup);
    r.handle(at_ms(20), Input::TrackResult { object: &script(), result: TrackResult::Good(false) });
    assert_eq!(r.last_transition().1, &TransitionReason::TrackedObject(script(), TrackResult::Good(false)));
}

#[test]
fn a_number_in_a_file_is_weighed_or_brings_fault() {
    let file = || TrackedObject::File("f".into());
    let weighed =
        |weight, reverse, n| track_effect(&Track { object: file(), weight, reverse }, Some(TrackResult::Number(n)));
    for (weight, reverse, n, expected) in [
        (1, false, 20, TrackEffect::Priority(20)),
        (2, false, -20, TrackEffect::Priority(-40)),
        (2, true, -20, TrackEffect::Priority(40)),
        (1, false, -253, TrackEffect::Priority(-253)),
        (1, false, -254, TrackEffect::Fault),
        (1, false, i32::MAX, TrackEffect::Priority(253)),
        (-254, false, i32::MAX, TrackEffect::Fault),
        (0, false, 0, TrackEffect::Priority(0)),
        (0, false, 1, TrackEffect::Fault),
    ] {
        assert_eq!(weighed(weight, reverse, n), expected, "{weight} {reverse} {n}");
    }
}

fn process(parameters: &str, param_match: ParamMatch) -> TrackProcess {
    TrackProcess {
        name: "p".into(),
        program: "haproxy".into(),
        parameters: parameters.split_whitespace().map(str::to_owned).collect(),
        param_match,
        full_command: false,
        quorum: 2,
        quorum_max: Some(3),
        fork_delay: ms(500),
        terminate_delay: ms(200),
    }
}

#[test]
fn processes_are_told_by_name_and_parameters() {
    use super::track::process_matches;
    let command = ["/usr/sbin/haproxy", "-W", "-f", "/etc/h.cfg"];
    for (parameters, how, tracked) in [
        ("", ParamMatch::Any, true),
        ("-W -f /etc/h.cfg", ParamMatch::Exact, true),
        ("-W -f", ParamMatch::Exact, false),
        ("-W -f", ParamMatch::Initial, true),
        ("-f /etc/h.cfg", ParamMatch::Initial, false),
        ("-f /etc/h.cfg", ParamMatch::Partial, true),
        ("-f -W", ParamMatch::Partial, false),
        ("-W -f /etc/h.cfg -D", ParamMatch::Partial, false),
    ] {
        assert_eq!(process_matches(&process(parameters, how), "haproxy", &command), tracked, "{parameters} {how:?}");
    }
    assert!(!process_matches(&process("", ParamMatch::Any), "haproxy2", &command));
    let full = TrackProcess { full_command: true, ..process("", ParamMatch::Any) };
    assert!(process_matches(&full, "other", &command) && process_matches(&full, "other", &["haproxy"]));
    assert!(!process_matches(&full, "haproxy", &[]), "a kernel thread has no command line");
}

#[test]
fn processes_count_once_they_have_run_or_been_gone_for_long_enough() {
    use super::track::ProcessQuorum;
    let p = process("", ParamMatch::Any);
    let mut q = ProcessQuorum::default();
    assert_eq!(q.update_count(at_ms(0), 1, &p), Some(false), "the first look counts at once");
    assert_eq!((q.update_count(at_ms(100), 2, &p), q.next_deadline()), (None, Some(at_ms(600))));
    assert_eq!(q.update_count(at_ms(300), 1, &p), None, "it was too short");
    assert_eq!(q.update_count(at_ms(400), 2, &p), None);
    assert_eq!(q.update_count(at_ms(900), 3, &p), Some(true));
    assert_eq!((q.update_count(at_ms(1000), 4, &p), q.next_deadline()), (None, Some(at_ms(1200))), "too many");
    assert_eq!(q.update_count(at_ms(1200), 4, &p), Some(false));
}

#[test]
fn rise_and_fall_count_results_in_a_row() {
    let script = VrrpScript {
        name: "s".into(),
        command: ScriptCommand { argv: vec![], user: None, groups: false },
        interval: ms(1000),
        timeout: ms(1000),
        rise: 2,
        fall: 3,
        init_fail: false,
    };
    let mut s = ScriptState::new(&script);
    let mut feed = |results: &str| {
        results.chars().filter_map(|c| s.record_result(c == '+', script.rise, script.fall)).collect::<Vec<_>>()
    };
    assert_eq!(feed("+"), [true], "the first result counts at once");
    assert!(feed("--+--").is_empty(), "not three in a row");
    assert_eq!(feed("-"), [false]);
    assert!(feed("+-+").is_empty());
    assert_eq!(feed("+"), [true]);
}

#[test]
fn a_new_configuration_keeps_the_state() {
    let mut r = started_router("priority 100");
    r.handle_deadline(at_ms(4000));
    drain_outputs(&mut r);
    r.reconfigure(at_ms(4100), config("priority 150"));
    assert_eq!((r.state(), r.priority()), (State::Master, 150));
    r.handle_deadline(at_ms(4100));
    assert_eq!(sent_priorities(&drain_outputs(&mut r)), [150], "peers learn at once");
    r.reconfigure(at_ms(4200), config("priority 150"));
    assert!(drain_outputs(&mut r).is_empty(), "the same configuration changes nothing");
}

#[test]
fn forged_packets_are_counted_and_told_once() {
    let mut r = started_router("priority 100");
    for _ in 0..1000 {
        r.handle(at_ms(10), Input::Packet { ip: ip_header(PEER, ALL, 1), payload: &[0x21; 20] });
    }
    assert_eq!(drain_outputs(&mut r), [Output::PacketRejected { peer: PEER, reason: RejectReason::Ttl(1) }]);
    assert_eq!(r.counters().rejected.values().sum::<u64>(), 1000);
}

fn unicast(lines: &str) -> Router {
    started_router(&format!(
        "version 3\nadvert_int 0.5\nunicast_peer {{\n10.0.0.3\n10.0.0.4 {lines}\n}}\nunicast_ttl 64"
    ))
}

#[test]
fn unicast_goes_to_each_peer_with_a_checksum_of_its_own() {
    let mut r = unicast("");
    r.handle_deadline(at_ms(100_000));
    let sent: Vec<_> = drain_outputs(&mut r)
        .into_iter()
        .filter_map(|o| if let Output::Send { to, ttl, packet, .. } = o { Some((to, ttl, packet)) } else { None })
        .collect();
    let to: Vec<_> = sent.iter().map(|(to, ttl, _)| (to.to_string(), *ttl)).collect();
    assert_eq!(to, [("10.0.0.3".to_owned(), 64), ("10.0.0.4".to_owned(), 64)]);
    for (to, ttl, packet) in &sent {
        let (ip, message) = split_ipv4(packet).expect("a packet");
        assert_eq!((ip.src, ip.dst, ip.ttl), (ME, *to, *ttl));
        assert_eq!(ChecksumForm::PseudoHeader.compute(ME, *to, message), 0, "the peer's address is in the checksum");
    }
}

#[test]
fn forms_of_checksum_are_recognised_and_told_and_an_old_peer_is_answered_in_its_own() {
    let mut r = started_router("version 3\npriority 100");
    let told = |form| [Output::ChecksumMismatch { peer: PEER, form }];
    assert_eq!(receive_with_form(&mut r, at_ms(10), 200, ChecksumForm::MessageOnly), told(ChecksumForm::MessageOnly));
    assert_eq!(receive_with_form(&mut r, at_ms(20), 200, ChecksumForm::MessageOnly), [], "once");
    assert_eq!(r.master(), Some((PEER, 200)), "it is heard all the same");
    let mut r = unicast("");
    let third = IpAddr::from([10, 0, 0, 3]);
    let m = advert(0, ms(500)).encode_message(VrrpVersion::V3, Auth::None, ChecksumForm::OldUnicast, third, ME);
    r.handle(at_ms(10), Input::Packet { ip: ip_header(third, ME, 255), payload: &m });
    r.handle_deadline(at_ms(100_000));
    let forms: Vec<bool> = drain_outputs(&mut r)
        .iter()
        .filter_map(|o| if let Output::Send { to, packet, .. } = o { Some((*to, packet)) } else { None })
        .map(|(to, packet)| ChecksumForm::OldUnicast.compute(ME, to, &packet[20..]) == 0)
        .collect();
    assert_eq!(forms, [true, false], "the old one and nobody else");
}

#[test]
fn an_authentication_header_is_wanted_genuine_and_new() {
    let lines = "authentication {\nauth_type AH\nauth_pass secret\n}\npriority 100";
    let mut r = started_router(lines);
    assert_eq!(
        receive(&mut r, at_ms(10), 200),
        [Output::PacketRejected { peer: PEER, reason: RejectReason::AhMissing }]
    );
    let Auth::Ah(key) = r.config().auth else { panic!("AH") };
    let packet = |key, sequence, priority| {
        let a = advert(priority, Duration::from_secs(1));
        let seal = AdvertAuth { sequence, ..AdvertAuth::unsigned(Auth::Ah(key)) };
        a.encode_packet(VrrpVersion::V2, seal, ChecksumForm::MessageOnly, ip_header(PEER, ALL, 255))
    };
    let hear = |r: &mut Router, packet: &[u8]| {
        let (ip, payload) = split_ipv4(packet).expect("a packet");
        r.handle(at_ms(20), Input::Packet { ip, payload });
        let refused = |o: &Output| if let Output::PacketRejected { reason: why, .. } = o { Some(*why) } else { None };
        drain_outputs(r).iter().find_map(refused)
    };
    let good = packet(key, 7, 200);
    assert_eq!(hear(&mut r, &good), None);
    assert_eq!(r.master(), Some((PEER, 200)));
    assert_eq!(hear(&mut r, &good), Some(RejectReason::Replay));
    assert_eq!(hear(&mut r, &packet(key, 6, 0)), None, "told once");
    assert_eq!(r.counters().rejected["Replay"], 2, "an older one is refused too");
    assert_eq!(hear(&mut r, &packet(AuthPass(*b"guessed\0"), 9, 0)), Some(RejectReason::AhDigest));
    for i in 0..good.len() {
        let mut bad = packet(key, 8, 200);
        bad[i] ^= 1;
        if let Some((ip, payload)) = split_ipv4(&bad) {
            let before = r.counters().adverts_received;
            r.handle(at_ms(30), Input::Packet { ip, payload });
            // Routers may change TOS, flags, fragment offset and checksum.
            let free = matches!(i, 1 | 6 | 7 | 10 | 11);
            assert_eq!(r.counters().adverts_received > before, free && i == 1, "byte {i}");
        }
    }
    // Its own come after what it heard, so that the others take them as new.
    r.handle_deadline(at_ms(100_000));
    let own = drain_outputs(&mut r)
        .into_iter()
        .find_map(|o| if let Output::Send { packet, .. } = o { Some(packet) } else { None });
    let own = own.expect("an advert");
    assert_eq!(u32::from_be_bytes([own[28], own[29], own[30], own[31]]), 9);
}

#[test]
fn a_packet_must_come_the_way_that_adverts_come() {
    let why = |r: &mut Router, (src, dst, ttl): (IpAddr, IpAddr, u8)| {
        let m = advert(200, ms(500)).encode_message(VrrpVersion::V3, Auth::None, ChecksumForm::PseudoHeader, src, dst);
        r.handle(at_ms(10), Input::Packet { ip: ip_header(src, dst, ttl), payload: &m });
        let mut told = None;
        while let Some(o) = r.poll_output() {
            if let Output::PacketRejected { reason: why, .. } = o {
                told = Some(why);
            }
        }
        told
    };
    let [third, fourth, fifth] = [3, 4, 5].map(|n| IpAddr::from([10, 0, 0, n]));
    assert_eq!(why(&mut unicast(""), (third, ALL, 255)), Some(RejectReason::Multicast));
    assert_eq!(why(&mut unicast(""), (third, ME, 3)), None, "unicast passes routers");
    assert_eq!(why(&mut unicast(""), (fifth, ME, 255)), None, "and keepalived hears strangers, unless told otherwise");
    assert_eq!(why(&mut unicast("min_ttl 250"), (fifth, ME, 255)), Some(RejectReason::UnknownPeer));
    assert_eq!(why(&mut unicast("min_ttl 250"), (fourth, ME, 249)), Some(RejectReason::Ttl(249)));
    assert_eq!(why(&mut unicast("min_ttl 250"), (fourth, ME, 250)), None);
    assert_eq!(why(&mut started_router("version 3\nadvert_int 0.5"), (third, ME, 255)), Some(RejectReason::Unicast));
}

/// A member of the sync group `G`.
fn member(name: &str) -> Router {
    let cfg = VrrpInstance { name: name.into(), sync_group: Some("G".into()), ..config("priority 100") };
    let mut r = Router::new(cfg, at_ms(0));
    r.handle(at_ms(0), Input::Link(true));
    r.handle(at_ms(0), Input::SourceAddress(Some(ME)));
    r.handle(at_ms(0), Input::Start(PreviousState::Unknown));
    r
}

#[test]
fn members_of_a_group_rise_and_fall_together_and_leave_its_faults_behind_with_it() {
    let (mut a, mut b) = (member("A"), member("B"));
    assert!(!sync_group::synchronize(&mut [&mut a, &mut b], at_ms(0)));
    a.handle_deadline(at_ms(4_000));
    sync_group::synchronize(&mut [&mut a, &mut b], at_ms(4_000));
    assert_eq!((a.state(), b.state()), (State::Backup, State::Backup), "one alone does not rise");
    b.handle_deadline(at_ms(4_001));
    sync_group::synchronize(&mut [&mut a, &mut b], at_ms(4_001));
    assert_eq!((a.state(), b.state()), (State::Master, State::Master));
    a.handle(at_ms(5_000), Input::Link(false));
    sync_group::synchronize(&mut [&mut a, &mut b], at_ms(5_000));
    assert_eq!((a.state(), b.state()), (State::Fault, State::Fault));
    assert_eq!(b.last_transition().1, &TransitionReason::SyncGroup(Some("A".into())));
    b.reconfigure(at_ms(6_000), VrrpInstance { sync_group: None, ..b.config().clone() });
    assert_eq!((a.state(), b.state()), (State::Fault, State::Backup), "the other's fault is the group's");
    assert!(!sync_group::synchronize(&mut [&mut a], at_ms(6_000)));
    a.handle(at_ms(7_000), Input::Link(true));
    receive(&mut b, at_ms(7_000), 200);
    b.handle_deadline(at_ms(20_000));
    assert_eq!(b.state(), State::Master, "on its own it waits for nobody");
}
