//! Interfaces that appear after the start, vanish and return; links that flap, and ports that do not forward yet.

use std::time::Duration;

use evenkeel_core::vrrp::State;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, TEST_TIMEOUT, vrrp_instance};

#[test]
fn an_interface_that_appears_late_or_returns_is_used() {
    let Some(net) = Net::directors("late-interface") else { return };
    let config = vrrp_instance(200, "version 3\nadvert_int 0.1\n").replace("eth0", "eth7");
    net.start_daemon("d1", &config);
    let i = net.wait_state("d1", "V", State::Fault);
    assert_eq!(i.reason, "its interface is down");
    let here = || {
        for args in ["link add eth7 type veth peer name eth8", "addr add 192.168.7.2/24 dev eth7", "link set eth7 up"] {
            net.lan.ip("d1", args).expect("made");
        }
        net.lan.ip("d1", "link set eth8 up").expect("up");
    };
    here();
    net.wait_state("d1", "V", State::Master);
    assert!(net.lan.ip("d1", "addr show dev eth7").expect("shown").contains("192.168.1.100/24"));
    net.lan.ip("d1", "link del eth7").expect("gone");
    net.wait_state("d1", "V", State::Fault);
    here();
    net.wait_state("d1", "V", State::Master);
    eventually("its address is there again", TEST_TIMEOUT, || {
        net.lan.ip("d1", "addr show dev eth7").ok().filter(|t| t.contains("192.168.1.100/24"))
    });
}

#[test]
fn a_link_that_flaps_counts_as_up_with_a_delay() {
    let Some(net) = Net::directors("flap") else { return };
    let delays = "interface_up_down_delays {\n eth0 2 0.1\n}\n";
    net.start_daemon("d1", &format!("{delays}{}", vrrp_instance(200, "version 3\nadvert_int 1\n")));
    net.wait_state("d1", "V", State::Master);
    let before = net.instance("d1", "V").expect("answers").counters.became_master;
    for _ in 0..5 {
        net.lan.ip("sw", "link set p-d1 down").expect("cut");
        std::thread::sleep(Duration::from_millis(100));
        net.lan.ip("sw", "link set p-d1 up").expect("restored");
        std::thread::sleep(Duration::from_millis(300));
    }
    let i = net.instance("d1", "V").expect("answers");
    assert_eq!((i.state, i.counters.became_master), (State::Master, before), "{}", i.reason);
    net.lan.ip("sw", "link set p-d1 down").expect("cut");
    net.wait_state("d1", "V", State::Fault);
    net.lan.ip("sw", "link set p-d1 up").expect("restored");
    net.wait_state("d1", "V", State::Master);
}

/// A switch port that is up but does not forward yet: a router behind it receives no adverts, and would become a second
/// master.
#[test]
fn nobody_becomes_master_behind_a_port_that_does_not_forward_yet() {
    let Some(net) = Net::directors("first-frame") else { return };
    let hold = "global_defs {\n vrrp_hold_until_frame 600\n}\n";
    let fast = "version 3\nadvert_int 0.1\n";
    net.start_daemon("d2", &vrrp_instance(200, fast));
    net.wait_state("d2", "V", State::Master);
    net.lan.ip("sw", "link set p-d1 nomaster").expect("it does not forward");
    net.start_daemon("d1", &format!("{hold}{}", vrrp_instance(100, fast)));
    std::thread::sleep(Duration::from_secs(2));
    let i = net.instance("d1", "V").expect("answers");
    assert_eq!((i.state, i.counters.became_master), (State::Init, 0), "{}", i.reason);
    net.lan.ip("sw", "link set p-d1 master br0").expect("it forwards");
    net.wait_state("d1", "V", State::Backup);
    // The port goes down, and is up again without forwarding.
    net.lan.ip("sw", "link set p-d1 nomaster down").expect("cut");
    net.wait_state("d1", "V", State::Fault);
    net.lan.ip("sw", "link set p-d1 up").expect("up");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(net.instance("d1", "V").map(|i| (i.state, i.counters.became_master)), Some((State::Fault, 0)));
    net.lan.ip("sw", "link set p-d1 master br0").expect("it forwards");
    net.wait_state("d1", "V", State::Backup);
}
