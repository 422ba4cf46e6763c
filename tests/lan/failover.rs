//! Mastership and addresses: election, hand-over, crash, repair, scripts, sync groups, owners, tracked processes.

use std::net::Ipv4Addr;
use std::time::Duration;

use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::VIP;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, TEST_TIMEOUT, vrrp_instance};
use nix::sys::signal::Signal;

#[test]
fn a_clean_stop_hands_over_at_once_and_leaves_nothing_behind() {
    let Some(net) = Net::new("clean-stop") else { return };
    let d1 = net.start_daemon(
        "d1",
        &(evenkeel_tests::SMALL_TABLE.to_owned() + &vrrp_instance(150, "") + &evenkeel_tests::virtual_server("", &[])),
    );
    net.wait_state("d1", "V", State::Master);
    net.start_daemon("d2", &vrrp_instance(100, ""));
    eventually("d2 has received an advert", TEST_TIMEOUT, || net.instance("d2", "V")?.master);
    assert!(net.has_address("d1", VIP));
    let label = net.lan.ip("d1", "-4 addr show dev eth0").expect("lists");
    assert!(label.contains("eth0:0"), "{label}");
    net.lan.signal(d1, Signal::SIGTERM).expect("stops");
    let i = net.wait_state("d2", "V", State::Master);
    assert_eq!(i.reason, "192.168.1.2 resigned with priority 0");
    assert!(!net.has_address("d1", VIP) && net.has_address("d2", VIP));
    let pins = evenkeel_sys::paths::bpf_dir(&net.lan.instance("d1"));
    assert!(!pins.exists(), "{} is still there", pins.display());
}

#[test]
fn the_higher_priority_takes_over_and_the_lower_gives_way() {
    let Some(net) = Net::new("preempt") else { return };
    net.start_daemon("d2", &vrrp_instance(100, "version 3\nadvert_int 0.1"));
    net.wait_state("d2", "V", State::Master);
    net.start_daemon("d1", &vrrp_instance(150, "version 3\nadvert_int 0.1"));
    net.wait_state("d1", "V", State::Master);
    let i = net.wait_state("d2", "V", State::Backup);
    assert_eq!(i.reason, "192.168.1.2 advertises priority 150");
    eventually("only d1 holds the address", TEST_TIMEOUT, || {
        (net.has_address("d1", VIP) && !net.has_address("d2", VIP)).then_some(())
    });
}

#[test]
fn a_killed_daemon_that_is_back_in_time_stays_master() {
    let Some(net) = Net::new("resume") else { return };
    // An owner becomes master at once. A long interval gives a slow machine enough time to restart within three of
    // them.
    let config = vrrp_instance(255, "state MASTER\nadvert_int 60");
    let d1 = net.start_daemon("d1", &config);
    net.wait_state("d1", "V", State::Master);
    net.start_daemon("d2", &vrrp_instance(50, "advert_int 60"));
    net.lan.signal(d1, Signal::SIGKILL).expect("killed");
    assert!(net.has_address("d1", VIP), "a crash takes no address away");
    net.start_daemon("d1", &config);
    let i = net.instance("d1", "V").expect("there");
    assert_eq!((i.state, i.reason.as_str()), (State::Master, "it was master before the daemon was restarted"));
    assert_eq!(net.instance("d2", "V").expect("there").counters.became_master, 0);
}

#[test]
fn an_address_left_by_a_crash_stays_until_another_master_is_heard() {
    let Some(net) = Net::new("left-behind") else { return };
    // This host was not master before, but it has the address.
    net.lan.ip("d1", "addr add 192.168.1.100/24 dev eth0").expect("added");
    net.start_daemon("d1", &vrrp_instance(50, "advert_int 2"));
    assert_eq!(net.instance("d1", "V").expect("there").state, State::Backup);
    assert!(net.has_address("d1", VIP), "no advert of another master was received");
    net.start_daemon("d2", &vrrp_instance(255, "advert_int 2\nstate MASTER\nmcast_src_ip 192.168.1.3"));
    eventually("d1 removes it", TEST_TIMEOUT, || (!net.has_address("d1", VIP)).then_some(()));
}

#[test]
fn an_address_that_somebody_deletes_comes_back() {
    let Some(net) = Net::new("repair") else { return };
    net.start_daemon("d1", &vrrp_instance(100, "version 3\nadvert_int 0.1"));
    net.wait_state("d1", "V", State::Master);
    eventually("the address", TEST_TIMEOUT, || net.has_address("d1", VIP).then_some(()));
    net.lan.ip("d1", "addr del 192.168.1.100/24 dev eth0").expect("deleted");
    eventually("the address is back", TEST_TIMEOUT, || net.has_address("d1", VIP).then_some(()));
}

#[test]
fn a_link_that_goes_down_is_a_fault_and_comes_back() {
    let Some(net) = Net::new("link") else { return };
    net.start_daemon("d1", &vrrp_instance(100, "version 3\nadvert_int 0.1"));
    net.wait_state("d1", "V", State::Master);
    net.lan.ip("sw", "link set p-d1 down").expect("down");
    let i = net.wait_state("d1", "V", State::Fault);
    assert_eq!(i.reason, "its interface is down");
    net.lan.ip("sw", "link set p-d1 up").expect("up");
    net.wait_state("d1", "V", State::Master);
}

#[test]
fn scripts_move_the_address_and_hanging_ones_are_killed() {
    let Some(net) = Net::new("scripts") else { return };
    let flag = net.lan.dir.join("flag");
    let script = format!(
        "global_defs {{\n script_user root\n}}\nvrrp_script chk {{\n script \"/usr/bin/test ! -e {}\"\n interval 0.2\n \
         fall 2\n rise 2\n weight -60\n}}\nvrrp_script slow {{\n script \"/bin/sleep 1000\"\n interval 0.3\n weight 5\n}}\n",
        flag.display()
    );
    let track = "version 3\nadvert_int 0.1\ntrack_script {\nchk\nslow\n}";
    net.start_daemon("d1", &(script + &vrrp_instance(100, track)));
    net.wait_state("d1", "V", State::Master);
    net.start_daemon("d2", &vrrp_instance(80, "version 3\nadvert_int 0.1"));
    net.wait_state("d2", "V", State::Backup);
    let slow = eventually("the hanging script was killed", TEST_TIMEOUT, || {
        net.status("d1")?.scripts.into_iter().find(|s| s.name == "slow").filter(|s| s.good == Some(false))
    });
    assert_eq!(slow.last_result, "still running after 0.3 s");
    assert_eq!(
        net.instance("d1", "V").expect("there").priority,
        100,
        "a failing script of positive weight adds nothing"
    );
    std::fs::write(&flag, "").expect("writable");
    net.wait_state("d2", "V", State::Master);
    assert_eq!(net.instance("d1", "V").expect("there").priority, 40);
    std::fs::remove_file(&flag).expect("there");
    net.wait_state("d1", "V", State::Master);
    std::thread::sleep(Duration::from_millis(100));
    assert!(net.has_address("d1", VIP) && !net.has_address("d2", VIP));
}

#[test]
fn a_tracked_script_of_a_sync_group_moves_both_addresses_at_once() {
    let Some(net) = Net::new("sync-group") else { return };
    let bad = net.lan.dir.join("bad");
    let second = Ipv4Addr::new(192, 168, 1, 101);
    let text = |priority: u8| {
        format!(
            "global_defs {{\n script_user root\n}}\nvrrp_script chk {{\n script \"/usr/bin/test ! -e {}\"\n interval 0.2\n}}\n\
             vrrp_sync_group G {{\n group {{\n  V\n  W\n }}\n track_script {{\n  chk\n }}\n}}\n{}\
             vrrp_instance W {{\n interface eth0\n virtual_router_id 52\n priority {priority}\n version 3\n advert_int 0.1\n \
             virtual_ipaddress {{\n  {second}/24\n }}\n}}\n",
            bad.display(),
            vrrp_instance(priority, "version 3\nadvert_int 0.1"),
        )
    };
    // The second director tracks nothing that fails.
    net.start_daemon("d2", &text(100).replace("test ! -e", "test ! -e /nowhere -o ! -e"));
    net.start_daemon("d1", &text(150));
    let both = |host: &str| {
        eventually(&format!("{host} holds both"), TEST_TIMEOUT, || {
            (net.has_address(host, VIP) && net.has_address(host, second)).then_some(())
        });
    };
    both("d1");
    std::fs::write(&bad, "").expect("writable");
    both("d2");
    let v = net.wait_state("d1", "V", State::Fault);
    assert_eq!(v.reason, "script chk fails");
    assert!(!net.has_address("d1", VIP) && !net.has_address("d1", second));
    std::fs::remove_file(&bad).expect("removed");
    both("d1");
    net.wait_state("d2", "W", State::Backup);
}

#[test]
fn a_reload_that_changes_a_prefix_leaves_no_second_address() {
    let Some(net) = Net::new("prefix") else { return };
    let config = vrrp_instance(100, "version 3\nadvert_int 0.1");
    net.start_daemon("d1", &config);
    net.wait_state("d1", "V", State::Master);
    eventually("the address", TEST_TIMEOUT, || net.has_address("d1", VIP).then_some(()));
    net.write_config("d1", &config.replace("192.168.1.100/24", "192.168.1.100/32"));
    net.reload("d1");
    let addresses = || net.lan.ip("d1", "-4 -o addr show dev eth0").expect("lists");
    eventually("the new prefix", TEST_TIMEOUT, || addresses().contains("192.168.1.100/32").then_some(()));
    assert!(!addresses().contains("192.168.1.100/24"), "{}", addresses());
}

#[test]
fn an_owner_keeps_the_address_that_was_its_hosts() {
    let Some(net) = Net::new("owner") else { return };
    let own = "192.168.1.2".parse().expect("an address");
    let config = vrrp_instance(255, "state MASTER").replace("192.168.1.100/24 dev eth0 label eth0:0", "192.168.1.2/24");
    let d1 = net.start_daemon("d1", &config);
    let i = net.wait_state("d1", "V", State::Master);
    assert_eq!(i.reason, "it owns the addresses (priority 255)");
    net.lan.signal(d1, Signal::SIGTERM).expect("stops");
    assert!(net.has_address("d1", own), "a stop does not take the host's own address away");
}

#[test]
fn a_tracked_process_that_ends_is_noticed_at_once() {
    let Some(net) = Net::directors("track-process") else { return };
    // The daemon sees the processes of all namespaces: this one has a unique parameter.
    let seconds = format!("{}.5", 900_000 + std::process::id());
    let sleep = || std::process::Command::new("sleep").arg(&seconds).spawn().expect("sleeps");
    let mut first = sleep();
    let tracked = format!("vrrp_track_process p {{\n process sleep {seconds}\n}}\n");
    net.start_daemon("d1", &(tracked + &vrrp_instance(100, "version 3\nadvert_int 0.2\ntrack_process {\n p\n}")));
    net.wait_state("d1", "V", State::Master);
    first.kill().expect("it lived");
    first.wait().expect("ended");
    let i = net.wait_state("d1", "V", State::Fault);
    assert_eq!(i.reason, "process p does not meet its quorum");
    let mut second = sleep();
    net.wait_state("d1", "V", State::Master);
    let tracked = net.status("d1").expect("answers").tracked_objects;
    assert_eq!(tracked[0].detail, "1 running");
    second.kill().expect("it lived");
    second.wait().expect("ended");
}
