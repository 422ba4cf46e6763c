//! The supervisor: if the worker process dies or hangs, the supervisor resigns mastership for it, a peer takes over at
//! once, and a new worker process starts.

use std::time::{Duration, Instant};

use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::VIP;
use evenkeel_testkit::lan::{Pid, eventually};
use evenkeel_tests::{Net, TEST_TIMEOUT, send_signal, vrrp_instance, worker_pid};
use nix::sys::signal::Signal;

/// Starts d1, master with priority 254, and d2, backup with priority 253 and a skew time of 12 ms.
fn start_pair(name: &str, more: &str) -> Option<(Net, Pid)> {
    let net = Net::directors(name)?;
    let d1 = net.start_daemon("d1", &vrrp_instance(254, more));
    net.wait_state("d1", "V", State::Master);
    net.start_daemon("d2", &vrrp_instance(253, more));
    net.wait_state("d2", "V", State::Backup);
    Some((net, d1))
}

#[test]
fn a_peer_takes_over_at_once_when_the_worker_process_is_killed() {
    for (name, more) in [
        ("guard", ""),
        ("guard-ah", "authentication {\nauth_type AH\nauth_pass secret12\n}"),
        ("guard-v3", "version 3"),
        ("guard-signed", "auth_hmac {\nkey 7 0123456789abcdef0123456789abcdef\nactive_key 7\n}"),
    ] {
        let Some((net, d1)) = start_pair(name, more) else { return };
        let started = Instant::now();
        send_signal(worker_pid(d1), Signal::SIGKILL);
        let i = net.wait_state("d2", "V", State::Master);
        assert_eq!(i.reason, "192.168.1.2 resigned with priority 0");
        // Long before the backup would detect 3 s without adverts. The benchmark measures the exact time.
        assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
        // The next worker belongs to the same supervisor, and takes the address back.
        net.wait_state("d1", "V", State::Master);
        eventually("the address is back", TEST_TIMEOUT, || {
            (net.has_address("d1", VIP) && !net.has_address("d2", VIP)).then_some(())
        });
        assert_eq!(net.status("d1").expect("answers").pid, d1.0);
        assert!(net.lan.log("d1").contains("resigned mastership of 1 virtual routers and removed their addresses"));
    }
}

#[test]
fn without_a_peer_the_address_is_back_soon_after_the_death() {
    let Some(net) = Net::directors("guard-alone") else { return };
    let d1 = net.start_daemon("d1", &vrrp_instance(100, ""));
    net.wait_state("d1", "V", State::Master);
    send_signal(worker_pid(d1), Signal::SIGABRT);
    let i = eventually("it is master again", TEST_TIMEOUT, || {
        net.instance("d1", "V").filter(|i| i.state == State::Master && i.reason.starts_with("no advert"))
    });
    assert_eq!(i.reason, "no advert for 1.000 s", "a peer would have come within its skew time");
}

#[test]
fn a_thread_that_hangs_is_ended() {
    let Some((net, d1)) = start_pair("guard-hang", "") else { return };
    send_signal(worker_pid(d1), Signal::SIGSTOP);
    eventually("the parent notices", TEST_TIMEOUT, || {
        net.lan.log("d1").contains("the VRRP thread hangs").then_some(())
    });
    net.wait_state("d1", "V", State::Master);
    eventually("the address is back", TEST_TIMEOUT, || {
        (net.has_address("d1", VIP) && !net.has_address("d2", VIP)).then_some(())
    });
}

/// As if a hypervisor had paused the virtual machine (keepalived.conf(5), `timer_expired_backup`).
#[test]
fn a_director_that_stood_still_leaves_the_address_where_it_is_now() {
    let more = "state BACKUP\nversion 3\nadvert_int 0.2\nnopreempt\ntimer_expired_backup";
    let Some((net, d1)) = start_pair("guard-pause", more) else { return };
    let all = [d1.0, worker_pid(d1)];
    all.iter().for_each(|p| send_signal(*p, Signal::SIGSTOP));
    net.wait_state("d2", "V", State::Master);
    all.iter().rev().for_each(|p| send_signal(*p, Signal::SIGCONT));
    let i = net.wait_state("d1", "V", State::Backup);
    assert!(i.reason.starts_with("it sent no advert for "), "{}", i.reason);
    eventually("it has removed the address", TEST_TIMEOUT, || {
        (!net.has_address("d1", VIP) && net.has_address("d2", VIP)).then_some(())
    });
    assert!(!net.lan.log("d2").contains("MASTER -> BACKUP"), "{}", net.lan.log("d2"));
}

#[test]
fn a_clean_stop_a_hand_over_and_a_killed_parent_are_left_alone() {
    let Some(net) = Net::directors("guard-clean") else { return };
    let config = vrrp_instance(100, "");
    for signal in [Signal::SIGQUIT, Signal::SIGKILL] {
        let d1 = net.start_daemon("d1", &config);
        net.wait_state("d1", "V", State::Master);
        let child = worker_pid(d1);
        net.lan.signal(d1, signal).expect("ends");
        let gone = || (!std::path::Path::new(&format!("/proc/{child}")).exists()).then_some(());
        eventually("the worker process is gone, too", TEST_TIMEOUT, gone);
        assert!(net.has_address("d1", VIP), "{signal}: the address stays for the next daemon");
    }
    let d1 = net.start_daemon("d1", &config);
    let i = net.wait_state("d1", "V", State::Master);
    assert_eq!(i.reason, "it was master before the daemon was restarted");
    net.lan.signal(d1, Signal::SIGTERM).expect("ends");
    assert!(!net.has_address("d1", VIP));
    assert!(!net.lan.log("d1").contains("resigned mastership of"), "{}", net.lan.log("d1"));
}

#[test]
fn routes_and_rules_stay_through_a_hand_over_and_go_when_another_is_master() {
    let Some(net) = Net::directors("guard-routes") else { return };
    let more = "version 3\nadvert_int 0.5\nvirtual_routes {\n10.7.0.0/16 via 192.168.1.1 dev eth0\n}\n\
        virtual_rules {\nfrom 10.7.0.0/16 table 100 priority 1001\n}";
    let there = |net: &Net| {
        let routes = net.lan.ip("d1", "route show proto keepalived").expect("shown");
        routes.contains("10.7.0.0/16") && net.lan.ip("d1", "rule show").expect("shown").contains("1001:")
    };
    let first = net.start_daemon("d1", &vrrp_instance(100, more));
    eventually("master", TEST_TIMEOUT, || there(&net).then_some(()));
    net.lan.signal(first, Signal::SIGQUIT).expect("ends");
    let second = net.start_daemon("d1", &vrrp_instance(100, more));
    net.wait_state("d1", "V", State::Master);
    assert!(there(&net) && !net.lan.log("d1").contains("removed r"), "{}", net.lan.log("d1"));
    // While d1 is down d2 becomes master.
    net.lan.signal(second, Signal::SIGKILL).expect("dies");
    net.start_daemon("d2", &vrrp_instance(200, "version 3\nadvert_int 0.5"));
    net.wait_state("d2", "V", State::Master);
    net.start_daemon("d1", &vrrp_instance(100, more));
    eventually("what was left is gone", TEST_TIMEOUT, || (!there(&net) && !net.has_address("d1", VIP)).then_some(()));
}

#[test]
fn a_stop_takes_no_longer_than_child_wait_time() {
    let Some(net) = Net::directors("child-wait") else { return };
    let d1 = net.start_daemon("d1", &("child_wait_time 1\n".to_owned() + &vrrp_instance(254, "")));
    net.wait_state("d1", "V", State::Master);
    send_signal(worker_pid(d1), Signal::SIGSTOP);
    send_signal(d1.0, Signal::SIGTERM);
    eventually("the end", TEST_TIMEOUT, || net.lan.exit_status(d1));
    assert!(net.lan.log("d1").contains("the worker did not stop within child_wait_time"), "{}", net.lan.log("d1"));
    // The supervisor has resigned for it and removed its addresses.
    assert!(!net.has_address("d1", VIP));
}
