//! Debian's keepalived as the other director, in both roles: it follows our adverts and we its, through election,
//! fail-over and return.

mod notify;

use std::path::Path;

use evenkeel_core::vrrp::State;
use evenkeel_testkit::lan::{Pid, eventually};
use evenkeel_testkit::office::VIP;
use evenkeel_tests::{Net, SOON, vrrp};
use nix::sys::signal::Signal;

/// Starts keepalived in the foreground.
pub fn keepalived(net: &Net, host: &str, config: &str) -> Option<Pid> {
    let program = Path::new("/usr/sbin/keepalived");
    if !program.exists() {
        eprintln!("skipped: it needs Debian's keepalived (make test-deps)");
        return None;
    }
    let file = net.write(host, &format!("global_defs {{\n script_user root\n}}\n{config}"));
    let dir = net.lan.dir.join(format!("{host}-keepalived"));
    std::fs::create_dir_all(&dir).expect("writable");
    let pid_file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (p, r, c, b) = (pid_file("p"), pid_file("r"), pid_file("c"), pid_file("b"));
    let config = file.to_string_lossy().into_owned();
    let args = ["-n", "-l", "-P", "-f", &config, "-p", &p, "-r", &r, "-c", &c, "-b", &b];
    Some(net.lan.spawn(host, &format!("{host}-keepalived"), program, &args).expect("starts"))
}

/// Through a whole life: keepalived is master, we take over from it, it takes back.
fn whole_life(name: &str, more: &str) {
    whole_life_with(name, more, more);
}

/// The same where the two differ: what stands in keepalived's instance, and in ours.
fn whole_life_with(name: &str, more: &str, ours: &str) {
    let Some(net) = Net::new(name) else { return };
    // keepalived on d2 is master; we are backup and follow it.
    let Some(k) = keepalived(&net, "d2", &vrrp(150, more)) else { return };
    net.start("d1", &vrrp(100, ours));
    eventually("keepalived holds the address", SOON, || net.holds("d2", VIP).then_some(()));
    let i = eventually("we follow keepalived", SOON, || {
        net.instance("d1", "V").filter(|i| i.state == State::Backup && i.master_priority == Some(150))
    });
    assert_eq!((i.counters.became_master, i.counters.refused.len()), (0, 0), "{:?}", i.counters);

    // It stops cleanly: its priority 0 hands over to us.
    net.lan.signal(k, Signal::SIGTERM).expect("stops");
    let i = net.wait_state("d1", "V", State::Master);
    assert_eq!(i.because, "192.168.1.3 gave up with priority 0");
    eventually("the address is ours", SOON, || (net.holds("d1", VIP) && !net.holds("d2", VIP)).then_some(()));

    // It comes back with the higher priority and takes over; we give way.
    keepalived(&net, "d2", &vrrp(150, more));
    let i = net.wait_state("d1", "V", State::Backup);
    assert_eq!(i.because, "192.168.1.3 advertises priority 150");
    eventually("the address is its", SOON, || (net.holds("d2", VIP) && !net.holds("d1", VIP)).then_some(()));
}

#[test]
fn we_follow_keepalived_and_take_over_from_it_v2() {
    whole_life("interop-v2", "");
}

#[test]
fn we_follow_keepalived_and_take_over_from_it_v2_with_a_password() {
    whole_life("interop-v2-pass", "authentication {\nauth_type PASS\nauth_pass secret12\n}");
}

#[test]
fn we_follow_keepalived_and_take_over_from_it_v3() {
    whole_life("interop-v3", "version 3\nadvert_int 0.2");
}

/// `unicast_peer`, as seen from d1 (.2) and d2 (.3).
fn peers(host: &str) -> &'static str {
    match host {
        "d1" => "unicast_src_ip 192.168.1.2\nunicast_peer {\n192.168.1.3 min_ttl 255\n}\n",
        _ => "unicast_src_ip 192.168.1.3\nunicast_peer {\n192.168.1.2\n}\n",
    }
}

#[test]
fn we_follow_keepalived_and_take_over_from_it_by_unicast_v2() {
    whole_life_with("interop-unicast-v2", peers("d2"), peers("d1"));
}

#[test]
fn we_follow_keepalived_and_take_over_from_it_by_unicast_v3() {
    let fast = |host: &str| peers(host).to_owned() + "version 3\nadvert_int 0.2";
    whole_life_with("interop-unicast-v3", &fast("d2"), &fast("d1"));
}

#[test]
fn we_follow_keepalived_in_another_group() {
    whole_life("interop-group", "mcast_dst_ip 224.0.0.77\nversion 3\nadvert_int 0.2");
}

#[test]
fn keepalived_follows_us_takes_over_when_we_die_and_gives_back() {
    for (name, more) in [("interop-master-v2", ""), ("interop-master-v3", "version 3\nadvert_int 0.2")] {
        let Some(net) = Net::new(name) else { return };
        let d1 = net.start("d1", &vrrp(150, more));
        net.wait_state("d1", "V", State::Master);
        let Some(_k) = keepalived(&net, "d2", &vrrp(100, more)) else { return };
        // It follows: in three of its master-down intervals it does not take the address.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while std::time::Instant::now() < until {
            assert!(!net.holds("d2", VIP), "keepalived does not follow us:\n{}", net.lan.log("d2-keepalived"));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(net.lan.log("d2-keepalived").contains("Entering BACKUP STATE"));
        // We die with our host: after the master-down interval it takes over.
        net.lan.signal(d1, Signal::SIGKILL).expect("killed");
        net.lan.ip("sw", "link set p-d1 down").expect("down");
        eventually("keepalived takes over", SOON, || net.holds("d2", VIP).then_some(()));
        // We come back with the higher priority: it gives way.
        net.lan.ip("d1", "addr del 192.168.1.100/24 dev eth0").expect("the host was switched off");
        net.lan.ip("sw", "link set p-d1 up").expect("up");
        net.start("d1", &vrrp(150, more));
        net.wait_state("d1", "V", State::Master);
        eventually("it gives the address back", SOON, || (!net.holds("d2", VIP) && net.holds("d1", VIP)).then_some(()));
    }
}
