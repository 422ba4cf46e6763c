//! `bfd_takeover`: a backup takes over when its BFD session with the master is lost.

use std::time::Duration;

use evenkeel_core::bfd;
use evenkeel_core::vrrp::State;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, TEST_TIMEOUT, vrrp_instance};

fn bfd_instance(neighbour: &str) -> String {
    format!("bfd_instance peer {{\n neighbor_ip {neighbour}\n min_rx 50\n min_tx 50\n multiplier 5\n}}\n")
}

#[test]
fn losing_the_session_with_the_master_starts_the_take_over() {
    let Some(net) = Net::directors("bfd-takeover") else { return };
    // Missing adverts are detected after half a minute, a lost session after a quarter of a second.
    let slow = "advert_int 10\nbfd_takeover peer\n";
    net.start_daemon("d1", &format!("{}{}", bfd_instance("192.168.1.3"), vrrp_instance(255, slow)));
    net.wait_state("d1", "V", State::Master);
    net.start_daemon("d2", &format!("{}{}", bfd_instance("192.168.1.2"), vrrp_instance(200, slow)));
    net.wait_state("d2", "V", State::Backup);
    let both_up = || {
        let up = |host| net.status(host).is_some_and(|s| s.bfd_sessions.iter().all(|b| b.state == bfd::State::Up));
        (up("d1") && up("d2")).then_some(())
    };
    eventually("the session is up", TEST_TIMEOUT, both_up);
    eventually("d2 has received an advert", TEST_TIMEOUT, || net.instance("d2", "V").filter(|i| i.master.is_some()));
    net.lan.ip("sw", "link set p-d1 nomaster").expect("cut");
    let i = net.wait_state("d2", "V", State::Master);
    assert_eq!(i.reason, "the BFD session with the master 192.168.1.2 went down");
    // The loss of a session with another router than the master has no effect.
    net.lan.ip("sw", "link set p-d1 master br0").expect("restored");
    net.wait_state("d2", "V", State::Backup);
    eventually("the session is up again", TEST_TIMEOUT, both_up);
    net.lan.ip("sw", "link set p-d2 nomaster").expect("cut");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(net.instance("d1", "V").map(|i| i.state), Some(State::Master));
}
