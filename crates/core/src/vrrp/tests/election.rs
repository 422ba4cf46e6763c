//! Elections: silence, priorities, preemption, owners.

use super::*;

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
fn a_backup_stays_backup_under_equal_or_higher_priority_and_takes_over_from_lower() {
    let mut r = started_router("priority 100");
    for (t, p) in [(1000, 100), (2000, 150)] {
        assert!(receive(&mut r, at_ms(t), p).is_empty());
    }
    assert_eq!(r.master(), Some((PEER, 150)));
    let before = r.next_deadline();
    receive(&mut r, at_ms(3000), 99);
    assert_eq!(r.next_deadline(), before, "a lower priority does not restart the timer");
    let mut r = started_router("priority 100\nnopreempt");
    let before = r.next_deadline();
    receive(&mut r, at_ms(1000), 50);
    assert!(r.next_deadline() > before, "with nopreempt any master is accepted");
}

#[test]
fn preempt_delay_delays_a_takeover() {
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
fn a_master_yields_to_higher_priority_or_equal_with_the_higher_address() {
    for (priority, steps_down) in [(99, false), (100, true), (101, true)] {
        let mut r = started_router("priority 100");
        r.handle_deadline(at_ms(4000));
        drain_outputs(&mut r);
        let out = receive(&mut r, at_ms(4500), priority);
        assert_eq!(r.state() == State::Backup, steps_down, "{priority}");
        if steps_down {
            assert_eq!(out[0], Output::RemoveVips);
        } else {
            assert_eq!(sent_priorities(&out), [100], "it asserts its mastership");
        }
    }
}

#[test]
fn an_owner_is_master_at_once_and_the_lower_of_two_owners_steps_down() {
    let mut r = started_router("priority 255\nstate MASTER");
    assert_eq!(r.state(), State::Master);
    receive(&mut r, at_ms(100), 255);
    assert_eq!((r.state(), r.priority()), (State::Backup, 254));
}

/// keepalived.conf(5), `timer_expired_backup`.
#[test]
fn a_master_that_was_paused_steps_down_where_it_must_not_preempt() {
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
    assert_eq!(r.state(), State::Master, "no backup can have taken over");
    let (mut r, t) = master("timer_expired_backup");
    r.handle_deadline(t + ms(3100));
    assert_eq!((r.state(), r.last_transition().1), (State::Backup, &TransitionReason::AdvertTimerLate { ms: 3100 }));
    let sent = std::iter::from_fn(|| r.poll_output()).any(|o| matches!(o, Output::Send { .. }));
    assert!(!sent, "an advert would preempt the new master");
    // The router thread handles packets before deadlines.
    let (mut r, t) = master("timer_expired_backup");
    assert!(!receive(&mut r, t + ms(60_000), 90).iter().any(|o| matches!(o, Output::Send { .. })));
    assert_eq!((r.state(), r.master()), (State::Backup, Some((PEER, 90))));
    // A backup of priority 1 waits for 3.996 s.
    let (mut r, t) = master("timer_expired_backup 1");
    r.handle_deadline(t + ms(3900));
    assert_eq!(r.state(), State::Master);
    let (mut r, t) = master("");
    r.handle_deadline(t + ms(60_000));
    assert_eq!(r.state(), State::Master, "only with timer_expired_backup");
}

#[test]
fn a_lost_bfd_neighbour_shortens_the_timer_if_it_was_the_master() {
    let mut r = started_router("priority 100");
    r.handle(at_ms(100), Input::BfdNeighbourLost(PEER));
    assert_eq!(r.next_deadline(), started_router("priority 100").next_deadline(), "no master was known");
    receive(&mut r, at_ms(200), 150);
    let silence = r.next_deadline();
    r.handle(at_ms(300), Input::BfdNeighbourLost(Ipv4Addr::new(10, 0, 0, 3).into()));
    assert_eq!(r.next_deadline(), silence, "the lost neighbour is not the master");
    r.handle(at_ms(300), Input::BfdNeighbourLost(PEER));
    assert_eq!(r.next_deadline(), Some(at_ms(300) + r.skew_time()));
    // The master still sends adverts: only the session was lost.
    receive(&mut r, at_ms(400), 150);
    assert_eq!(r.next_deadline(), Some(at_ms(400) + r.master_down_interval()));
    r.handle(at_ms(500), Input::BfdNeighbourLost(PEER));
    r.handle_deadline(at_ms(500) + r.skew_time());
    assert_eq!((r.state(), r.last_transition().1), (State::Master, &TransitionReason::BfdNeighbourLost(PEER)));
}

#[test]
fn a_master_announces_its_addresses_again_when_its_hardware_address_changes() {
    let mut r = started_router("priority 100");
    r.handle(at_ms(100), Input::HardwareAddressChanged);
    assert!(drain_outputs(&mut r).is_empty(), "a backup has nothing to announce");
    r.handle_deadline(at_ms(4000));
    drain_outputs(&mut r);
    r.handle(at_ms(4100), Input::HardwareAddressChanged);
    assert_eq!(drain_outputs(&mut r), [Output::Announce(5)]);
}
