//! Virtual MAC interfaces (`use_vmac`), ipvlan, and addresses that accept no packets (`no_accept`).

use std::collections::BTreeSet;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::{SERVERS, VIP};
use evenkeel_testkit::http::{self, Server};
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT, virtual_server, vrrp_instance};
use nix::sys::signal::Signal;

const VMAC: &str = "00:00:5e:00:01:33";

/// The switch port on which the bridge has learned the virtual MAC address.
fn switch_port_of_vmac(net: &Net) -> Option<String> {
    let bridge = net.lan.command("sw", "bridge".as_ref()).args(["fdb", "show", "br", "br0"]).output().expect("runs");
    let text = String::from_utf8_lossy(&bridge.stdout).into_owned();
    let line = text.lines().find(|l| l.starts_with(VMAC))?;
    Some(line.split_whitespace().nth(2)?.to_owned())
}

/// The error of a connection from d2 to the virtual address, where no process listens.
fn connect_error(net: &Net) -> std::io::ErrorKind {
    let to = SocketAddr::from(([192, 168, 1, 100], 9));
    let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(1));
    net.lan.run_in("d2", connect).expect("a thread").expect_err("no process listens there").kind()
}

fn nft_ruleset(net: &Net, host: &str) -> String {
    let nft = net.lan.command(host, "nft".as_ref()).args(["list", "ruleset"]).output().expect("nft runs");
    String::from_utf8_lossy(&nft.stdout).into_owned()
}

#[test]
fn the_switch_sees_the_virtual_mac_address_where_the_master_is_and_nowhere_else() {
    let Some(net) = Net::directors("vmac") else { return };
    net.lan.sysctl("d1", "net/ipv4/conf/eth0/arp_ignore", "0").expect("a setting");
    let arp_ignore = || {
        let read = || std::fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/arp_ignore").expect("readable");
        net.lan.run_in("d1", read).expect("a thread").trim().to_owned()
    };
    let d1 = net.start_daemon("d1", &vrrp_instance(200, "use_vmac\n").replace(" dev eth0 label eth0:0", ""));
    net.wait_state("d1", "V", State::Master);
    let d2 = net.start_daemon("d2", &vrrp_instance(100, "use_vmac\n").replace(" dev eth0 label eth0:0", ""));
    net.wait_state("d2", "V", State::Backup);
    eventually("the switch knows where it is", TEST_TIMEOUT, || switch_port_of_vmac(&net).filter(|p| p == "p-d1"));
    assert!(net.lan.ip("d1", "addr show dev vrrp.51").expect("it is there").contains("192.168.1.100/24"));
    assert_eq!(arp_ignore(), "1", "otherwise the lower device answers ARP for the address, too");
    // The peer resolves the address to the virtual MAC address.
    assert_eq!(connect_error(&net), std::io::ErrorKind::ConnectionRefused);
    let found = net.lan.ip("d2", "neigh show 192.168.1.100").expect("runs");
    assert!(found.contains(VMAC), "{found}");
    // A backup starts and stops without an effect on the switch.
    net.lan.signal(d2, Signal::SIGTERM).expect("stops");
    eventually("its interface is gone", TEST_TIMEOUT, || {
        net.lan.ip("d2", "link show dev vrrp.51").is_err().then_some(())
    });
    net.start_daemon("d2", &vrrp_instance(100, "use_vmac\n").replace(" dev eth0 label eth0:0", ""));
    net.wait_state("d2", "V", State::Backup);
    assert_eq!(switch_port_of_vmac(&net).as_deref(), Some("p-d1"));
    // A deleted interface is created again.
    net.lan.ip("d1", "link del vrrp.51").expect("deleted");
    eventually("it is made anew", TEST_TIMEOUT, || {
        net.lan.ip("d1", "addr show dev vrrp.51").ok().filter(|t| t.contains("192.168.1.100/24"))
    });
    net.lan.signal(d1, Signal::SIGTERM).expect("stops");
    net.wait_state("d2", "V", State::Master);
    eventually("the switch knows where it is now", TEST_TIMEOUT, || switch_port_of_vmac(&net).filter(|p| p == "p-d2"));
    eventually("it is gone", TEST_TIMEOUT, || net.lan.ip("d1", "link show dev vrrp.51").is_err().then_some(()));
    assert_eq!(arp_ignore(), "0", "as it was before");
    assert_eq!(nft_ruleset(&net, "d1"), "");
}

#[test]
fn no_accept_refuses_packets_while_the_address_is_held_and_leaves_nothing_behind() {
    let Some(net) = Net::directors("no-accept") else { return };
    let d1 = net.start_daemon("d1", &vrrp_instance(200, "no_accept\n"));
    net.wait_state("d1", "V", State::Master);
    eventually("the table is there", TEST_TIMEOUT, || nft_ruleset(&net, "d1").contains("192.168.1.100").then_some(()));
    assert_eq!(connect_error(&net), std::io::ErrorKind::TimedOut);
    assert!(net.lan.ip("d2", "neigh show 192.168.1.100").expect("runs").contains("lladdr"), "it is still found");
    let shown = String::from_utf8(net.evenkeel("d1", &["status"]).stdout).expect("UTF-8");
    assert!(shown.contains("packets to its addresses are dropped (no_accept)"), "{shown}");
    // A reload without the keyword accepts packets again.
    net.write_config("d1", &vrrp_instance(200, ""));
    net.reload("d1");
    eventually("they are taken in", TEST_TIMEOUT, || {
        (connect_error(&net) == std::io::ErrorKind::ConnectionRefused).then_some(())
    });
    // A daemon whose supervisor was killed leaves the nftables table; the next daemon removes it.
    net.write_config("d1", &vrrp_instance(200, "no_accept\n"));
    net.reload("d1");
    eventually("they are dropped", TEST_TIMEOUT, || nft_ruleset(&net, "d1").contains("192.168.1.100").then_some(()));
    net.lan.signal(d1, Signal::SIGKILL).expect("dies");
    let d1 = net.start_daemon("d1", &vrrp_instance(200, ""));
    eventually("the table is gone", TEST_TIMEOUT, || nft_ruleset(&net, "d1").is_empty().then_some(()));
    net.write_config("d1", &vrrp_instance(200, "no_accept\n"));
    net.reload("d1");
    eventually("they are dropped again", TEST_TIMEOUT, || {
        nft_ruleset(&net, "d1").contains("192.168.1.100").then_some(())
    });
    net.lan.signal(d1, Signal::SIGTERM).expect("stops");
    eventually("stopped, nothing is left", TEST_TIMEOUT, || nft_ruleset(&net, "d1").is_empty().then_some(()));
}

/// Packets to a service whose address is on a virtual MAC interface are balanced like others.
#[test]
fn a_service_on_a_virtual_mac_address_is_balanced() {
    let Some(net) = Net::new("vmac-service") else { return };
    let _servers: Vec<Server> = SERVERS.iter().map(|(n, _)| Server::start(&net.lan, n, 80)).collect();
    let fast = vrrp_instance(100, "version 3\nadvert_int 0.1\nuse_vmac\n").replace(" dev eth0 label eth0:0", "");
    let servers = virtual_server("lb_algo rr", &[("192.168.1.11", ""), ("192.168.1.12", "")]);
    net.start_daemon("d1", &format!("{SMALL_TABLE}{fast}{servers}"));
    net.wait_state("d1", "V", State::Master);
    let request = || {
        let get = || http::get(SocketAddrV4::new(VIP, 80), Duration::from_secs(3));
        net.lan.run_in("client", get).ok()?.ok()
    };
    eventually("the first answer", TEST_TIMEOUT, request);
    let names: BTreeSet<String> = (0..10).map(|_| request().expect("answered").server).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(net.lan.ip("router", "neigh show 192.168.1.100").expect("runs").contains(VMAC));
}

#[test]
fn an_ipvlan_holds_the_addresses_and_speaks_from_its_own() {
    let Some(net) = Net::directors("ipvlan") else { return };
    if net.lan.ip("d1", "link add try link eth0 type ipvlan mode l2").is_err() {
        eprintln!("skipped: this kernel has no ipvlan");
        return;
    }
    net.lan.ip("d1", "link del try").expect("gone");
    let config = |priority, own: &str| {
        let more = format!("version 3\nadvert_int 0.5\nuse_ipvlan {own}/24\n");
        vrrp_instance(priority, &more).replace(" dev eth0 label eth0:0", "")
    };
    let d1 = net.start_daemon("d1", &config(200, "192.168.1.22"));
    net.wait_state("d1", "V", State::Master);
    net.start_daemon("d2", &config(100, "192.168.1.23"));
    let i =
        eventually("d2 receives its adverts", TEST_TIMEOUT, || net.instance("d2", "V").filter(|i| i.master.is_some()));
    assert_eq!(i.master.map(|m| m.to_string()).as_deref(), Some("192.168.1.22"));
    assert!(net.lan.ip("d1", "addr show dev vrrp.51").expect("shown").contains("192.168.1.100/24"));
    assert_eq!(connect_error(&net), std::io::ErrorKind::ConnectionRefused);
    net.lan.signal(d1, Signal::SIGTERM).expect("stops");
    net.wait_state("d2", "V", State::Master);
    eventually("it is gone", TEST_TIMEOUT, || net.lan.ip("d1", "link show dev vrrp.51").is_err().then_some(()));
}
