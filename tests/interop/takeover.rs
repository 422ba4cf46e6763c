//! How soon keepalived takes over from us when we give up.

use std::time::{Duration, Instant};

use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::VIP;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, TEST_TIMEOUT};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::start_keepalived;

/// Version 3, an advert every four seconds: keepalived's skew, with priority 100, is 2.4 s.
fn instance_config(priority: u8, more: &str) -> String {
    format!(
        "vrrp_instance V {{\ninterface eth0\nvirtual_router_id 51\npriority {priority}\nversion 3\nadvert_int 4\n{more}\n\
         virtual_ipaddress {{\n{VIP}/24\n}}\n}}\n"
    )
}

/// In version 2 the parent says priority 0 twice, which to keepalived is as good as once.
#[test]
fn keepalived_takes_over_when_we_die_in_version_2() {
    let Some(net) = Net::directors("takeover-v2") else { return };
    let d1 = net.start_daemon("d1", &evenkeel_tests::vrrp_instance(200, ""));
    net.wait_state("d1", "V", State::Master);
    if start_keepalived(&net, "d2", &evenkeel_tests::vrrp_instance(100, "")).is_none() {
        return;
    }
    let log = || net.lan.log("d2-keepalived");
    eventually("keepalived follows", TEST_TIMEOUT, || log().contains("(V) Entering BACKUP STATE").then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    let begun = Instant::now();
    kill_worker(d1);
    eventually("keepalived is master", TEST_TIMEOUT, || log().contains("(V) Entering MASTER STATE").then_some(()));
    // Its skew is 0.6 s, and silence would have taken 3.6 s.
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
}

/// Its parent is to speak, and not to start it again before we have looked.
fn kill_worker(parent: evenkeel_testkit::lan::Pid) {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", parent.0)).expect("it lives");
    let worker: i32 = children.split_whitespace().next().and_then(|c| c.parse().ok()).expect("a child");
    nix::sys::signal::kill(Pid::from_raw(worker), Signal::SIGKILL).expect("it lives");
}

#[test]
fn keepalived_takes_over_long_before_its_skew_when_we_die_or_are_told_to() {
    for (name, more, dies) in [("died", "", true), ("released", "release_interval 0.05", false)] {
        let Some(net) = Net::directors(&format!("takeover-{name}")) else { return };
        let d1 = net.start_daemon("d1", &instance_config(200, more));
        net.wait_state("d1", "V", State::Master);
        if start_keepalived(&net, "d2", &instance_config(100, "")).is_none() {
            return;
        }
        let log = || net.lan.log("d2-keepalived");
        eventually("keepalived follows", TEST_TIMEOUT, || log().contains("(V) Entering BACKUP STATE").then_some(()));
        // An advert must have come: keepalived's first interval is its own.
        std::thread::sleep(Duration::from_secs(5));
        let begun = Instant::now();
        if dies {
            kill_worker(d1);
        } else {
            net.lan.signal(d1, Signal::SIGTERM).expect("stops");
        }
        eventually("keepalived is master", TEST_TIMEOUT, || log().contains("(V) Entering MASTER STATE").then_some(()));
        assert!(begun.elapsed() < Duration::from_millis(1500), "{name}: {:?}", begun.elapsed());
    }
}
