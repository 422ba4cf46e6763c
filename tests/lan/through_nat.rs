//! `through_service` with NAT: a server whose answers do not return through the director fails its check.

use evenkeel_core::health::Phase;
use evenkeel_testkit::http::Server;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT};

/// The result of a check: the phase in which it failed, and its detail.
fn wait_for_result(net: &Net, service: usize, server: usize, failed: Option<Phase>, detail: &str) {
    let what = format!("server {server} of service {service}: {failed:?}, {detail}");
    eventually(&what, TEST_TIMEOUT, || {
        let status = net.status("d1")?;
        let last = status.services[service].servers[server].checks.first()?.last_probe.clone()?;
        (last.failed == failed && last.detail.contains(detail)).then_some(())
    });
}

#[test]
fn a_nat_server_with_another_gateway_fails_its_check() {
    let Some(net) = Net::new("through-nat") else { return };
    let _servers = ["r1", "r2"].map(|r| Server::start(&net.lan, r, 80));
    net.lan.sysctl("d1", "net/ipv4/ip_forward", "1").expect("set");
    for dev in ["all", "eth1"] {
        net.lan.sysctl("router", &format!("net/ipv4/conf/{dev}/send_redirects"), "0").expect("set");
    }
    net.lan.ip("r1", "route replace default via 192.168.1.2").expect("a gateway");
    net.lan.ip("d1", "addr add 192.0.2.100/32 dev lo").expect("an address");
    net.lan.ip("d1", "addr add 192.168.1.101/32 dev eth0").expect("an address");
    let service = |vip: &str, servers: &[&str]| {
        let options =
            "lvs_sched rr\n lvs_method NAT\n protocol TCP\n delay_loop 1\n warmup 0\n connect_timeout 1\n retry 0";
        let server = |s: &&str| format!(" real_server {s} 80 {{\n TCP_CHECK {{\n through_service\n }}\n }}\n");
        format!("virtual_server {vip} 80 {{\n {options}\n{}}}\n", servers.iter().map(server).collect::<String>())
    };
    let both = ["192.168.1.11", "192.168.1.12"];
    let services =
        [service("192.0.2.100", &both), service("192.168.1.101", &both[1..]), service("192.0.2.101", &both[1..])];
    net.start_daemon("d1", &(SMALL_TABLE.to_owned() + &services.concat()));

    wait_for_result(&net, 0, 0, None, "connected, also from 192.0.2.100");
    wait_for_result(&net, 0, 1, Some(Phase::FirstByte), "is this director its gateway?");
    wait_for_result(&net, 1, 0, None, "its gateway was not tested");
    wait_for_result(&net, 2, 0, None, "192.0.2.101 is not on this host");

    // The answers arrive, but by the router, which sends those to clients past the director.
    net.lan.ip("router", "route add 192.0.2.100 via 192.168.1.2").expect("a route");
    wait_for_result(&net, 0, 1, Some(Phase::Expect), "its answers return by another router");

    net.lan.ip("r2", "route replace default via 192.168.1.2").expect("a gateway");
    wait_for_result(&net, 0, 1, None, "connected, also from 192.0.2.100");
}
