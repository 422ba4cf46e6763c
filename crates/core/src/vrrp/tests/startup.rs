//! Starts, holds and new configurations.

use super::*;

#[test]
fn a_resumed_master_is_master_at_once() {
    let mut r = start_router(config("priority 100"), ME, PreviousState::Master);
    assert_eq!(r.state(), State::Master);
    assert_eq!(sent_priorities(&drain_outputs(&mut r)), [100]);
}

#[test]
fn startup_delay_holds_the_start_back() {
    let mut cfg = config("priority 100");
    cfg.startup_delay = ms(10_000);
    let mut r = start_router(cfg, ME, PreviousState::Unknown);
    r.handle(at_ms(5000), Input::Link(false));
    r.handle(at_ms(6000), Input::Link(true));
    assert_eq!((r.state(), r.next_deadline()), (State::Init, Some(at_ms(10_000))));
    receive(&mut r, at_ms(9000), 50);
    r.handle_deadline(at_ms(10_000));
    assert_eq!((r.state(), r.next_deadline()), (State::Backup, Some(at_ms(13_609) + Duration::from_micros(375))));
}

#[test]
fn a_router_waits_for_a_frame_or_for_the_hold_time() {
    let hold = || {
        let cfg = VrrpInstance { hold_until_frame: ms(40_000), ..config("priority 255\nstate MASTER") };
        start_router(cfg, ME, PreviousState::Unknown)
    };
    let mut r = hold();
    assert_eq!((r.state(), r.next_deadline()), (State::Init, Some(at_ms(40_000))));
    r.handle(at_ms(2000), Input::FrameReceived);
    assert_eq!(r.state(), State::Master);
    // The link goes down, and comes back while the switch port does not forward yet.
    r.handle(at_ms(3000), Input::Link(false));
    r.handle(at_ms(3100), Input::Link(true));
    assert_eq!((r.state(), r.is_waiting_for_frame()), (State::Fault, true));
    r.handle_deadline(at_ms(43_100));
    assert_eq!(r.state(), State::Master);
    let mut r = hold();
    r.handle_deadline(at_ms(40_000));
    assert_eq!(r.state(), State::Master, "no frame within the hold time");
}

#[test]
fn an_owner_may_ignore_adverts_and_unicast_without_a_peer_may_be_a_fault() {
    let mut r = started_router("priority 255\nstate MASTER\nowner_ignore_adverts true");
    receive(&mut r, at_ms(100), 255);
    assert_eq!((r.state(), r.priority(), r.counters().adverts_received), (State::Master, 255, 0));
    let r = started_router("priority 100\nunicast_src_ip 10.0.0.1\nunicast_fault_no_peer");
    assert_eq!((r.state(), r.last_transition().1), (State::Fault, &TransitionReason::NoUnicastPeer));
}

#[test]
fn accept_mode_is_on_unless_no_accept_or_strict_mode_turns_it_off() {
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
fn a_new_configuration_keeps_the_state() {
    let mut r = started_router("priority 100");
    r.handle_deadline(at_ms(4000));
    drain_outputs(&mut r);
    r.reconfigure(at_ms(4100), config("priority 150"));
    assert_eq!((r.state(), r.priority()), (State::Master, 150));
    r.handle_deadline(at_ms(4100));
    assert_eq!(sent_priorities(&drain_outputs(&mut r)), [150], "peers learn of the change at once");
    r.reconfigure(at_ms(4200), config("priority 150"));
    assert!(drain_outputs(&mut r).is_empty(), "the same configuration changes nothing");
}
