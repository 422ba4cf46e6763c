//! The time that keepalived needs to take over from evenkeel when evenkeel resigns, or when its worker process dies.

use std::time::{Duration, Instant};

use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::VIP;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, TEST_TIMEOUT, send_signal, worker_pid};
use nix::sys::signal::Signal;

use crate::start_keepalived;

/// Version 3, an advert every four seconds. keepalived's skew time with priority 100 is 2.4 s.
fn instance_config(priority: u8, more: &str) -> String {
    format!(
        "vrrp_instance V {{\ninterface eth0\nvirtual_router_id 51\npriority {priority}\nversion 3\nadvert_int 4\n{more}\n\
         virtual_ipaddress {{\n{VIP}/24\n}}\n}}\n"
    )
}

/// In version 2 the supervisor sends priority 0 twice, which has the same effect on keepalived as once.
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
    let started = Instant::now();
    send_signal(worker_pid(d1), Signal::SIGKILL);
    eventually("keepalived is master", TEST_TIMEOUT, || log().contains("(V) Entering MASTER STATE").then_some(()));
    // Its skew time is 0.6 s. Without priority 0 it would have needed 3.6 s.
    assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
}

#[test]
fn keepalived_takes_over_long_before_its_skew_when_we_die_or_resign() {
    for (name, more, dies) in [("died", "", true), ("released", "release_interval 0.05", false)] {
        let Some(net) = Net::directors(&format!("takeover-{name}")) else { return };
        let d1 = net.start_daemon("d1", &instance_config(200, more));
        net.wait_state("d1", "V", State::Master);
        if start_keepalived(&net, "d2", &instance_config(100, "")).is_none() {
            return;
        }
        let log = || net.lan.log("d2-keepalived");
        eventually("keepalived follows", TEST_TIMEOUT, || log().contains("(V) Entering BACKUP STATE").then_some(()));
        // keepalived needs an advert first: until then it uses its own interval.
        std::thread::sleep(Duration::from_secs(5));
        let started = Instant::now();
        if dies {
            send_signal(worker_pid(d1), Signal::SIGKILL);
        } else {
            net.lan.signal(d1, Signal::SIGTERM).expect("stops");
        }
        eventually("keepalived is master", TEST_TIMEOUT, || log().contains("(V) Entering MASTER STATE").then_some(()));
        assert!(started.elapsed() < Duration::from_millis(1500), "{name}: {:?}", started.elapsed());
    }
}
