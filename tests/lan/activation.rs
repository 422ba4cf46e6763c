//! Which packets are balanced: those for addresses that this host serves. All others are the kernel's.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::time::Duration;

use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::VIP;
use evenkeel_testkit::http::{self, Server};
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT, virtual_server, vrrp_instance};
use nix::sys::signal::Signal;

fn request(net: &Net) -> anyhow::Result<http::Response> {
    net.lan.run_in("client", || http::get(SocketAddrV4::new(VIP, 80), Duration::from_secs(2)))?
}

/// The names of the servers that answer 30 requests, each of which must be answered.
fn answering_servers(net: &Net) -> Vec<String> {
    let names: BTreeSet<String> = (0..30).map(|_| request(net).expect("answered").server).collect();
    names.into_iter().collect()
}

fn inactive_reason(net: &Net, host: &str) -> Option<String> {
    net.status(host)?.services.first()?.inactive.clone()
}

/// The set-up of two machines, both directors and both real servers, in which IPVS sends packets to and fro: the backup
/// balances again what the master has sent to it. Here the backup delivers them.
#[test]
fn two_directors_that_are_real_servers_balance_no_packet_twice() {
    let Some(net) = Net::new("two-boxes") else { return };
    let _servers = ["d1", "d2"].map(|d| {
        net.lan.sysctl(d, "net/ipv4/conf/all/arp_ignore", "1").expect("set");
        net.lan.sysctl(d, "net/ipv4/conf/all/arp_announce", "2").expect("set");
        net.lan.ip(d, &format!("addr add {VIP}/32 dev lo")).expect("added");
        Server::start(&net.lan, d, 80)
    });
    let boxes = &[("192.168.1.2", "weight 1"), ("192.168.1.3", "weight 1")];
    let config = |priority| {
        SMALL_TABLE.to_owned()
            + &vrrp_instance(priority, "version 3\nadvert_int 0.1")
            + &virtual_server("lb_algo rr", boxes)
    };
    let d1 = net.start_daemon("d1", &config(150));
    net.start_daemon("d2", &config(100));
    net.wait_state("d1", "V", State::Master);
    net.wait_state("d2", "V", State::Backup);
    eventually("d2 is a real server only", TEST_TIMEOUT, || {
        inactive_reason(&net, "d2").filter(|r| r == "V is not master here")
    });
    eventually("both servers pass", TEST_TIMEOUT, || {
        let s = net.status("d1")?;
        s.services[0].servers.iter().all(|r| r.up && r.effective_weight.is_some()).then_some(())
    });
    eventually("the first answer", TEST_TIMEOUT, || request(&net).ok());
    assert_eq!(answering_servers(&net), ["d1", "d2"]);
    assert_eq!(inactive_reason(&net, "d1"), None);
    assert_eq!(net.status("d2").expect("answers").services[0].conns, 0, "d2 balances nothing");
    // d2 takes over; d1 is still a real server.
    net.lan.signal(d1, Signal::SIGTERM).expect("stops");
    net.wait_state("d2", "V", State::Master);
    eventually("d2 serves the address", TEST_TIMEOUT, || (inactive_reason(&net, "d2").is_none()).then_some(()));
    eventually("the first answer", TEST_TIMEOUT, || request(&net).ok());
    assert_eq!(answering_servers(&net), ["d1", "d2"]);
    // And back: d1 preempts, and d2 is a real server again.
    net.start_daemon("d1", &config(150));
    net.wait_state("d1", "V", State::Master);
    eventually("d2 is a real server only", TEST_TIMEOUT, || inactive_reason(&net, "d2"));
    eventually("the first answer", TEST_TIMEOUT, || request(&net).ok());
    let before = net.status("d2").expect("answers").services[0].conns;
    assert_eq!(answering_servers(&net), ["d1", "d2"]);
    assert_eq!(net.status("d2").expect("answers").services[0].conns, before);
}

/// An address without an instance is served while the kernel would deliver its packets: by an address, a local route of
/// any table, or a rule for marked packets; with `serve_any_address` always.
#[test]
fn an_address_is_served_while_it_is_local() {
    let Some(net) = Net::new("local-address") else { return };
    let _servers = ["r1", "r2"].map(|r| Server::start(&net.lan, r, 80));
    net.lan.ip("router", &format!("route add {VIP}/32 via 192.168.1.2")).expect("a route");
    let servers = virtual_server("lb_algo rr", &[("192.168.1.11", "weight 1"), ("192.168.1.12", "weight 1")]);
    net.start_daemon("d1", &format!("{SMALL_TABLE}{servers}"));
    let not_local = || inactive_reason(&net, "d1").filter(|r| r == "192.168.1.100 is not an address of this host");
    let served = || {
        eventually("it is served", TEST_TIMEOUT, || inactive_reason(&net, "d1").is_none().then_some(()));
        eventually("the first answer", TEST_TIMEOUT, || request(&net).ok());
        assert_eq!(answering_servers(&net), ["r1", "r2"]);
    };
    eventually("it is not served", TEST_TIMEOUT, not_local);
    assert!(request(&net).is_err(), "the kernel has no use for the packet");
    let ways: [&[&str]; 3] = [
        &["addr add 192.168.1.100/32 dev lo"],
        &["route add local 192.168.1.0/25 dev lo table 77", "rule add to 192.168.1.100 table 77 priority 50"],
        &["route add local default dev lo table 78", "rule add fwmark 9 table 78 priority 60"],
    ];
    for way in ways {
        for command in way {
            net.lan.ip("d1", command).expect("added");
        }
        // A rule causes no event of links, addresses or routes; the next look finds it.
        served();
        for command in way.iter().rev() {
            net.lan.ip("d1", &command.replacen(" add ", " del ", 1)).expect("removed");
        }
        eventually("it is not served", TEST_TIMEOUT, not_local);
    }
    net.write_config("d1", &format!("global_defs {{\n connection_table_size 16384\n serve_any_address\n}}\n{servers}"));
    net.reload("d1");
    served();
}
