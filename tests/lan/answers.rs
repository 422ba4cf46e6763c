//! Real servers that pass their checks and answer no client are named; floods and scans of healthy ones are not.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use evenkeel_core::ipc::{Finding, Severity};
use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::{CLIENT, VIP};
use evenkeel_testkit::frames::{TcpFlags, tcp};
use evenkeel_testkit::http::{self, Server};
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT, virtual_server, vrrp_instance};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, sendto, socket};

const SERVERS: &[(&str, &str)] = &[("192.168.1.11", "weight 1"), ("192.168.1.12", "weight 1")];

/// A director with two servers.
fn start(name: &str, more: &str) -> Option<(Net, Vec<Server>)> {
    let net = Net::new(name)?;
    let servers = ["r1", "r2"].map(|r| Server::start(&net.lan, r, 80));
    let service = virtual_server(&format!("lb_algo rr\n{more}"), SERVERS);
    net.start_daemon("d1", &(SMALL_TABLE.to_owned() + &vrrp_instance(150, "version 3\nadvert_int 0.1") + &service));
    net.wait_state("d1", "V", State::Master);
    Some((net, servers.into()))
}

fn unanswered(net: &Net) -> Vec<Finding> {
    net.status("d1").expect("answers").findings.into_iter().filter(|f| f.id == "unanswered").collect()
}

/// Opens connections at once, each of which waits long enough for one more SYN (RFC 6298: after a second).
fn connect(net: &Net, n: usize) {
    let one = || TcpStream::connect_timeout(&SocketAddrV4::new(VIP, 80).into(), Duration::from_millis(1800));
    let work = || std::thread::scope(|s| (0..n).map(|_| drop(s.spawn(one))).count());
    net.lan.run_in("client", work).expect("entered");
}

fn get(net: &Net) -> Option<http::Response> {
    net.lan.run_in("client", || http::get(SocketAddrV4::new(VIP, 80), Duration::from_millis(900))).ok()?.ok()
}

#[test]
fn a_server_without_the_address_is_named_until_it_answers() {
    let Some((net, _servers)) = start("no-vip", "") else { return };
    eventually("an answer", TEST_TIMEOUT, || get(&net));
    assert_eq!(unanswered(&net), []);
    net.lan.ip("r2", "addr del 192.168.1.100/32 dev lo").expect("the address is gone");
    let named = eventually("it is named", TEST_TIMEOUT, || {
        connect(&net, 8);
        unanswered(&net).into_iter().next().filter(|f| f.reason.ends_with("none of them went beyond SYN"))
    });
    assert_eq!(
        (named.severity, named.subject.as_str()),
        (Severity::Warning, "192.168.1.12:80 of TCP 192.168.1.100:80")
    );
    assert!(named.remedy.contains("on its lo"), "{named}");
    let status = net.status("d1").expect("answers");
    assert!(status.services[0].servers.iter().all(|r| r.up), "all checks pass");
    net.lan.ip("r2", "addr add 192.168.1.100/32 dev lo").expect("the address is back");
    eventually("it answers", TEST_TIMEOUT, || {
        connect(&net, 4);
        unanswered(&net).is_empty().then_some(())
    });
}

/// NAT whose servers send their answers past the director: no server answers, which is critical.
#[test]
fn nat_servers_with_another_gateway_are_named() {
    let Some((net, _servers)) = start("no-gateway", "lb_kind NAT") else { return };
    net.lan.sysctl("d1", "net/ipv4/ip_forward", "1").expect("set");
    let named = eventually("both are named", TEST_TIMEOUT, || {
        connect(&net, 10);
        Some(unanswered(&net)).filter(|all| all.len() == 2)
    });
    for f in named {
        assert!(f.severity == Severity::Critical && f.remedy.contains("gateway"), "{f}");
    }
}

/// Sends SYNs from these addresses and ports, as a tool with a raw socket does.
fn send_syns(net: &Net, sources: impl Iterator<Item = (Ipv4Addr, u16)> + Send) {
    let send = || {
        let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), None);
        let raw = raw.or_else(|_| {
            socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), nix::sys::socket::SockProtocol::Raw)
        });
        let raw = raw.expect("a raw socket");
        for (addr, port) in sources {
            let frame = tcp((addr.into(), port), (IpAddr::V4(VIP), 80), TcpFlags::parse("S"), 64, b"");
            let to = SockaddrIn::from(SocketAddrV4::new(VIP, 0));
            let _ = sendto(std::os::fd::AsRawFd::as_raw_fd(&raw), &frame[14..], &to, MsgFlags::empty());
        }
    };
    net.lan.run_in("client", send).expect("entered");
}

#[test]
fn a_flood_and_a_scan_name_no_server() {
    let Some((net, _servers)) = start("flood", "") else { return };
    for dev in ["all", "eth0"] {
        net.lan.sysctl("router", &format!("net/ipv4/conf/{dev}/rp_filter"), "0").expect("set");
    }
    eventually("an answer", TEST_TIMEOUT, || get(&net));
    let servers = |net: &Net| net.status("d1").expect("answers").services.remove(0).servers;
    let forged = (0..3000u32).map(|n| (Ipv4Addr::from(0xc612_0000 + n), 1024 + (n % 500) as u16));
    send_syns(&net, forged);
    eventually("the flood arrived", TEST_TIMEOUT, || {
        servers(&net).iter().all(|r| r.new_last_minute > 1000).then_some(())
    });
    // A scan from the client's own address: its kernel rejects the answers by RST.
    send_syns(&net, (20_000..20_100).map(|port| (CLIENT, port)));
    eventually("the scan was answered", TEST_TIMEOUT, || {
        servers(&net).iter().all(|r| r.answered_last_minute >= 50).then_some(())
    });
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(7) {
        assert_eq!(unanswered(&net), []);
        assert!(get(&net).is_some());
    }
    assert!(servers(&net).iter().all(|r| r.retried_last_minute == 0), "{:?}", servers(&net));
}
