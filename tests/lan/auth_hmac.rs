//! `auth_hmac` between two directors: IPv4 and IPv6, key changes, and a peer with another key.

use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::VIP;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, TEST_TIMEOUT, vrrp_instance};
use nix::sys::signal::Signal;

const OLD_KEY: &str = "key 1 hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
const NEW_KEY: &str = "key 2 0123456789abcdef0123456789abcdef\n";

fn auth_hmac_config(keys: &str, active: u8, more: &str) -> String {
    format!("version 3\nadvert_int 0.2\nauth_hmac {{\n{keys}active_key {active}\n{more}\n}}")
}

#[test]
fn signing_is_introduced_and_keys_are_changed_without_a_second_master() {
    let Some(net) = Net::directors("signed") else { return };
    // From unsigned adverts to a new key, one director after the other.
    let steps = [
        "version 3\nadvert_int 0.2".to_owned(),
        auth_hmac_config(OLD_KEY, 1, "mode receive-only"),
        auth_hmac_config(OLD_KEY, 1, "mode permissive"),
        auth_hmac_config(OLD_KEY, 1, ""),
        auth_hmac_config(&format!("{OLD_KEY}{NEW_KEY}"), 1, ""),
        auth_hmac_config(&format!("{OLD_KEY}{NEW_KEY}"), 2, ""),
        auth_hmac_config(NEW_KEY, 2, ""),
    ];
    let mut pids = Vec::new();
    for (host, priority) in [("d1", 150), ("d2", 100)] {
        pids.push((host, priority, net.start_daemon(host, &vrrp_instance(priority, &steps[0]))));
    }
    net.wait_state("d1", "V", State::Master);
    net.wait_state("d2", "V", State::Backup);
    for step in &steps[1..] {
        for (host, priority, pid) in &pids {
            let before = net.lan.log(host).matches("reloaded").count();
            net.write_config(host, &vrrp_instance(*priority, step));
            net.lan.signal(*pid, Signal::SIGHUP).expect("reloads");
            eventually("reloaded", TEST_TIMEOUT, || {
                (net.lan.log(host).matches("reloaded").count() > before).then_some(())
            });
            // Longer than the other director waits for an advert with a valid signature.
            std::thread::sleep(std::time::Duration::from_millis(900));
        }
    }
    for (host, state) in [("d1", State::Master), ("d2", State::Backup)] {
        let i = net.instance(host, "V").expect("answers");
        assert_eq!((i.state, i.counters.rejected.len()), (state, 0), "{host}: {:?}", i.counters.rejected);
        assert_eq!(net.lan.log(host).matches("-> MASTER").count(), usize::from(host == "d1"), "{}", net.lan.log(host));
    }
    assert_eq!(net.instance("d2", "V").expect("answers").senders, ["192.168.1.2 is master, with priority 150"]);
}

#[test]
fn a_director_with_another_key_is_rejected_and_reported() {
    let Some(net) = Net::directors("signed-otherwise") else { return };
    let other = "key 1 another-key-another-key-another-key\n";
    net.start_daemon("d1", &vrrp_instance(150, &auth_hmac_config(OLD_KEY, 1, "")));
    net.start_daemon("d2", &vrrp_instance(100, &auth_hmac_config(other, 1, "")));
    for host in ["d1", "d2"] {
        net.wait_state(host, "V", State::Master);
    }
    let why = eventually("the reason is in the status", TEST_TIMEOUT, || {
        let senders = net.instance("d1", "V")?.senders;
        senders.into_iter().find(|h| h.contains("rejected"))
    });
    assert_eq!(why, "adverts from 192.168.1.3 are rejected: its signature does not match the key of auth_hmac");
    assert!(net.has_address("d1", VIP) && net.has_address("d2", VIP), "routers with different keys are both master");
}

#[test]
fn adverts_over_ipv6_are_signed_too() {
    let Some(net) = Net::directors("signed-6") else { return };
    let config = |priority: u8| {
        format!(
            "vrrp_instance V {{\ninterface eth0\nvirtual_router_id 51\npriority {priority}\n{}\n\
             virtual_ipaddress {{\nfe80::99/64\n}}\n}}\n",
            auth_hmac_config(OLD_KEY, 1, "anti_replay monotonic")
        )
    };
    for (host, priority) in [("d1", 150), ("d2", 100)] {
        net.lan.sysctl(host, "net/ipv6/conf/eth0/disable_ipv6", "0").expect("IPv6");
        net.start_daemon(host, &config(priority));
        net.wait_state(host, "V", if host == "d1" { State::Master } else { State::Backup });
    }
    let received = || net.instance("d2", "V").map(|i| i.counters).filter(|c| c.adverts_received > 5);
    let counters = eventually("it receives adverts", TEST_TIMEOUT, received);
    assert!(counters.rejected.is_empty(), "{:?}", counters.rejected);
    assert_eq!(net.instance("d2", "V").expect("answers").state, State::Backup);
}
