//! Every forwarding method with an ordinary client and ordinary servers: verified streams in both directions, short
//! connections, datagrams.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use evenkeel_testkit::demo_network::{SERVERS, VIP, VIP6, add_ipv6, route_replies_through_d1};
use evenkeel_testkit::lan::eventually;
use evenkeel_testkit::stream;
use evenkeel_tests::{Net, TEST_TIMEOUT, program};

use crate::forwarding::prepare_veth_peer_for_xdp;

const STREAM_PORT: u16 = 9000;
const ECHO_PORT: u16 = 5300;

/// Starts a UDP server in a host. It replies to a single byte with the host's name and the client's address, and echoes
/// longer datagrams. Replies come from the address that the request was sent to.
fn start_echo_server(net: &Net, host: &'static str, at: SocketAddr) {
    net.lan.spawn_thread_in(host, move || {
        let socket = UdpSocket::bind(at).expect("free");
        let mut buf = vec![0u8; 65_536];
        while let Ok((n, from)) = socket.recv_from(&mut buf) {
            if n == 1 {
                let _ = socket.send_to(format!("{host} {}", from.ip().to_canonical()).as_bytes(), from);
            } else {
                let _ = socket.send_to(&buf[..n], from);
            }
        }
    });
}

fn query_echo_server(to: SocketAddr, question: &[u8]) -> Option<Vec<u8>> {
    let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    socket.send_to(question, to).ok()?;
    let mut buf = vec![0u8; 65_536];
    let (n, from) = socket.recv_from(&mut buf).ok()?;
    assert_eq!(from, to, "replies come from the virtual address");
    Some(buf[..n].to_vec())
}

/// The services of a test: TCP and UDP, on both families; real servers listen `shift` ports above the service.
fn services_config(method: &str, shift: u16) -> String {
    let mut text = "global_defs {\n connection_table_size 131072\n dataplane_interface eth0 auto\n}\n".to_owned();
    for (vip, net) in [(VIP.to_string(), "192.168.1."), (VIP6.to_string(), "fd00:1::")] {
        for (port, protocol) in [(STREAM_PORT, "TCP"), (ECHO_PORT, "UDP")] {
            text +=
                &format!("virtual_server {vip} {port} {{\n lvs_sched rr\n lvs_method {method}\n protocol {protocol}\n");
            text += " delay_loop 1\n warmup 0\n connect_timeout 1\n delay_before_retry 0.2\n";
            let check = if protocol == "TCP" && method != "NAT" { "TCP_CHECK {\n through_service\n }\n" } else { "" };
            for (_, addr) in SERVERS {
                text += &format!(" real_server {net}{} {} {{\n {check} }}\n", addr.octets()[3], port + shift);
            }
            text += "}\n";
        }
    }
    text
}

/// The demo network with IPv6, the virtual addresses on the first director and on no real server.
fn bare_network(name: &str) -> Option<Net> {
    let net = Net::new(name)?;
    add_ipv6(&net.lan).expect("IPv6");
    net.lan.ip("d1", &format!("addr add {VIP}/32 dev eth0")).expect("an address");
    // Deprecated, as addresses of virtual routers are: the director does not use it as a source address.
    net.lan.ip("d1", &format!("addr add {VIP6}/128 dev eth0 nodad preferred_lft 0")).expect("an address");
    for (host, _) in SERVERS {
        net.lan.ip(host, &format!("addr del {VIP}/32 dev lo")).expect("an address");
        net.lan.ip(host, &format!("addr del {VIP6}/128 dev lo")).expect("an address");
        net.lan.sysctl(host, "net/ipv4/conf/all/arp_ignore", "0").expect("a setting");
        net.lan.sysctl(host, "net/ipv4/conf/all/arp_announce", "0").expect("a setting");
    }
    Some(net)
}

/// Starts the servers on every real server.
fn start_servers(net: &Net, method: &str, shift: u16) {
    for (host, addr) in SERVERS {
        stream::start_server(&net.lan, host, STREAM_PORT + shift);
        let own = [IpAddr::V4(addr), format!("fd00:1::{}", addr.octets()[3]).parse().expect("an address")];
        for at in if method == "NAT" { own } else { [VIP.into(), VIP6.into()] } {
            start_echo_server(net, host, (at, ECHO_PORT + shift).into());
        }
    }
}

/// The same services by firewall marks, one for each family.
fn fwmark_config(method: &str) -> String {
    let mut text =
        "global_defs {\n dataplane xdp\n connection_table_size 131072\n dataplane_interface eth0 auto\n}\n".to_owned();
    for (mark, vip, net) in [(5, VIP.to_string(), "192.168.1."), (6, VIP6.to_string(), "fd00:1::")] {
        text += &format!("virtual_server fwmark {mark} {{\n lvs_sched rr\n lvs_method {method}\n");
        text += &format!(" member {vip} tcp {STREAM_PORT}\n member {vip} udp {}-{}\n", ECHO_PORT - 1, ECHO_PORT + 1);
        for (_, addr) in SERVERS {
            text += &format!(" real_server {net}{} 0 {{\n }}\n", addr.octets()[3]);
        }
        text += "}\n";
    }
    text
}

/// Builds the network, with servers and a director.
fn start_network(name: &str, method: &str, shift: u16) -> Option<Net> {
    start_network_with(name, method, shift, &services_config(method, shift))
}

fn start_network_with(name: &str, method: &str, shift: u16, config: &str) -> Option<Net> {
    let net = bare_network(name)?;
    if method == "NAT" {
        route_replies_through_d1(&net.lan).expect("routes");
    } else {
        for (host, _) in SERVERS {
            let (done, text) = run_real_server_command(&net, host, &["up", &VIP.to_string(), &VIP6.to_string()]);
            assert!(done, "{text}");
        }
    }
    start_servers(&net, method, shift);
    net.start_daemon("d1", config);
    Some(net)
}

/// A number from the environment, for longer runs: `EVENKEEL_BULK_MIB=1024`, `EVENKEEL_SHORT=10000`,
/// `EVENKEEL_HOLD_S=180`.
fn env_or(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Checks datagrams, streams and short connections to every virtual address.
fn check_traffic(net: &Net) {
    for (vip, seen) in [(IpAddr::V4(VIP), "10.77.0.2"), (IpAddr::V6(VIP6), "fd00:77::2")] {
        let done = net.lan.run_in("client", || {
            eventually("the first answer", TEST_TIMEOUT, || query_echo_server((vip, ECHO_PORT).into(), b"?"));
            let mut servers = BTreeSet::new();
            for _ in 0..9 {
                let answer = eventually("an answer", TEST_TIMEOUT, || query_echo_server((vip, ECHO_PORT).into(), b"?"));
                let answer = String::from_utf8(answer).expect("text");
                let (name, client) = answer.split_once(' ').expect("two words");
                assert_eq!(client, seen, "real servers see the client");
                servers.insert(name.to_owned());
            }
            assert_eq!(servers.len(), 3, "round robin reaches all: {servers:?}");
            for size in [1400, 20_000] {
                let large = vec![7; size]; // the second one is fragmented in both directions
                assert_eq!(
                    eventually("a large answer", TEST_TIMEOUT, || query_echo_server((vip, ECHO_PORT).into(), &large)),
                    large
                );
            }
            stream::exchange((vip, STREAM_PORT).into(), env_or("EVENKEEL_BULK_MIB", 64))?;
            stream::exchange_slowly((vip, STREAM_PORT).into(), Duration::from_secs(env_or("EVENKEEL_HOLD_S", 1)))?;
            for _ in 0..env_or("EVENKEEL_SHORT", 200) {
                stream::exchange((vip, STREAM_PORT).into(), 0)?;
            }
            Ok::<_, anyhow::Error>(())
        });
        done.expect("entered").unwrap_or_else(|e| panic!("{vip}: {e:#}"));
    }
}

#[test]
fn direct_routing_carries_both_families() {
    let Some(net) = start_network("method-dr", "DR", 0) else { return };
    check_traffic(&net);
    let seen = wait_for_check_results(&net, true);
    assert!(seen[0].contains("also at 192.168.1.100:9000") && seen[1].contains("at [fd00:1::100]:9000"), "{seen:?}");
    net.lan.ip("r1", &format!("addr del {VIP}/32 dev lo")).expect("an address");
    net.lan.ip("r1", &format!("addr del {VIP6}/128 dev lo")).expect("an address");
    let seen = wait_for_check_results(&net, false);
    assert!(seen.iter().all(|s| s.contains("does it hold that address on `lo`?")), "{seen:?}");
}

#[test]
fn nat_carries_both_families_and_maps_ports() {
    let Some(net) = start_network("method-nat", "NAT", 7) else { return };
    check_traffic(&net);
    assert_eq!(net.status("d1").expect("answers").findings, []);
    net.lan.sysctl("d1", "net/ipv4/ip_forward", "0").expect("a setting");
    let findings = net.status("d1").expect("answers").findings;
    assert!(findings.len() == 1 && findings[0].remedy.contains("net.ipv4.ip_forward=1"), "{findings:?}");
    let list = net.evenkeel("d1", &["ipvsadm", "-Ln"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("  -> 192.168.1.11:9007            Masq    1      "), "{list}");
    assert!(list.contains("TCP  [fd00:1::100]:9000 rr\n  -> [fd00:1::11]:9007"), "{list}");
    let conns = net.evenkeel("d1", &["ipvsadm", "-Lnc"]);
    let conns = String::from_utf8_lossy(&conns.stdout).into_owned();
    let closed = conns.lines().filter(|l| l.starts_with("TCP 0") && l.contains(" TIME_WAIT ")).count();
    assert!(closed > 300, "both halves are seen, so closed connections wait: {closed}\n{conns}");
    let stats = net.evenkeel("d1", &["ipvsadm", "-Ln", "--stats", "--exact"]);
    let stats = String::from_utf8_lossy(&stats.stdout).into_owned();
    let line = stats.lines().find(|l| l.starts_with("TCP  192.168.1.100:9000")).expect("the service");
    let numbers: Vec<u64> = line.split_whitespace().skip(2).map(|n| n.parse().expect("a number")).collect();
    assert!(
        numbers[0] == 2 + env_or("EVENKEEL_SHORT", 200) && numbers[3] > 64 << 20 && numbers[4] > 64 << 20,
        "{line}"
    );
}

/// The director has no neighbour entry for the client's router, and the router does not resolve the director: the
/// kernel has to resolve the next hop of the reply.
#[test]
fn replies_find_a_client_that_the_director_has_not_resolved() {
    let Some(net) = bare_network("method-unmet") else { return };
    route_replies_through_d1(&net.lan).expect("routes");
    start_servers(&net, "NAT", 7);
    let _peer = prepare_veth_peer_for_xdp(&net);
    net.start_daemon("d1", &services_config("NAT", 7).replacen("eth0 auto", "eth0 xdp", 1));
    let mac = net.lan.ip("d1", "-br link show eth0").expect("shown");
    let mac = mac.split_whitespace().nth(2).expect("an address");
    net.lan.ip("router", &format!("neigh replace {VIP} lladdr {mac} dev eth1 nud permanent")).expect("known");
    let _ = net.lan.ip("d1", "neigh del 192.168.1.1 dev eth0");
    let answer = || eventually("an answer", TEST_TIMEOUT, || query_echo_server((VIP, ECHO_PORT).into(), b"?"));
    net.lan.run_in("client", answer).expect("entered");
}

/// Where the kernel has no SCTP: `KERNEL_COMMAND="target/debug/deps/lan-… methods::sctp" tests/kernel/run` (a minute).
#[test]
fn sctp_is_carried_by_every_method() {
    const PORT: u16 = 9100;
    for (method, name) in [("DR", "dr"), ("NAT", "nat"), ("TUN", "tun")] {
        let Some(net) = bare_network(&format!("sctp-{name}")) else { return };
        if method == "NAT" {
            route_replies_through_d1(&net.lan).expect("routes");
        }
        let vips = [VIP.to_string(), VIP6.to_string()];
        let mut text = "global_defs {\n connection_table_size 131072\n dataplane_interface eth0 auto\n}\n".to_owned();
        for (vip, prefix) in [(IpAddr::V4(VIP), "192.168.1."), (IpAddr::V6(VIP6), "fd00:1::")] {
            text += &format!("virtual_server {vip} {PORT} {{\n lvs_sched rr\n lvs_method {method}\n protocol SCTP\n");
            for (_, addr) in SERVERS {
                text += &format!(" real_server {prefix}{} {PORT} {{\n }}\n", addr.octets()[3]);
            }
            text += "}\n";
        }
        for (host, addr) in SERVERS {
            if method != "NAT" {
                let mut args = vec!["up", &vips[0], &vips[1], "--dev", "eth0"];
                args.extend((method == "TUN").then_some("--tunnel"));
                let (done, text) = run_real_server_command(&net, host, &args);
                assert!(done, "{text}");
            }
            let own = [IpAddr::V4(addr), format!("fd00:1::{}", addr.octets()[3]).parse().expect("an address")];
            for at in if method == "NAT" { own } else { [VIP.into(), VIP6.into()] } {
                if !stream::start_sctp_server(&net.lan, host, (at, PORT).into()).expect("bound") {
                    eprintln!("skipped: this kernel has no SCTP");
                    return;
                }
            }
        }
        net.start_daemon("d1", &text);
        for (from, vip) in [("10.77.0.2", IpAddr::V4(VIP)), ("fd00:77::2", IpAddr::V6(VIP6))] {
            let from = from.parse().expect("an address");
            let done = net.lan.run_in("client", || {
                eventually("an association", TEST_TIMEOUT, || stream::sctp_exchange(from, (vip, PORT).into(), 0).ok());
                (0..6).try_for_each(|n| stream::sctp_exchange(from, (vip, PORT).into(), u64::from(n == 0)))
            });
            done.expect("entered").unwrap_or_else(|e| panic!("{method} {vip}: {e:#}"));
        }
        let list = net.evenkeel("d1", &["ipvsadm", "-Ln", "--stats"]);
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let used = list.lines().filter(|l| l.contains("->") && !l.contains(" 0        0 ")).count();
        assert!(list.contains("SCTP 192.168.1.100:9100") && used >= 6, "{list}");
    }
}

#[test]
fn marks_carry_all_their_members_to_the_same_servers() {
    for method in ["DR", "NAT"] {
        let Some(net) = start_network_with(&format!("marks-{method}"), method, 0, &fwmark_config(method)) else {
            return;
        };
        check_traffic(&net);
        let list = net.evenkeel("d1", &["ipvsadm", "-Ln"]);
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        assert!(list.contains("FWM  5 rr\n  -> 192.168.1.11:0") && list.contains("FWM  6 IPv6 rr\n"), "{list}");
        let status = net.evenkeel("d1", &["status"]);
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.contains("\nFWM 5  rr  ") && status.contains("\nFWM 6 IPv6  rr  "), "{status}");
        assert!(status.contains(" [fd00:1::11]:0"), "{status}");
        // A reload removes a member: packets to it are for the director itself again, where no process listens.
        let fewer = fwmark_config(method).replace(&format!(" member {VIP} tcp {STREAM_PORT}\n"), "");
        net.write_config("d1", &fewer);
        assert_eq!(net.plan_reload("d1"), ["change the members of FWM 5, new number 1"]);
        net.reload("d1");
        let refused = net.lan.run_in("client", || stream::exchange((VIP, STREAM_PORT).into(), 0)).expect("entered");
        assert!(format!("{:#}", refused.expect_err("no process listens")).contains("refused"), "{method}");
    }
}

#[test]
fn a_smaller_path_mtu_is_reported_to_the_client() {
    for method in ["DR", "NAT"] {
        let Some(net) = start_network(&format!("narrow-{method}"), method, 0) else { return };
        // The director's route to its real servers has a smaller MTU than the client's first packets.
        net.lan.ip("d1", "route replace 192.168.1.0/24 dev eth0 src 192.168.1.2 mtu 1300").expect("a route");
        net.lan.ip("d1", "-6 route replace fd00:1::/64 dev eth0 metric 256 mtu 1300").expect("a route");
        for vip in [IpAddr::V4(VIP), IpAddr::V6(VIP6)] {
            let done = net.lan.run_in("client", || {
                eventually("a stream", TEST_TIMEOUT, || stream::exchange((vip, STREAM_PORT).into(), 1).ok());
                stream::exchange((vip, STREAM_PORT).into(), 8)
            });
            done.expect("entered").unwrap_or_else(|e| panic!("{method} {vip}: {e:#}"));
            let known = net.lan.ip("client", &format!("route get {vip}")).expect("a route");
            assert!(known.contains("mtu 1300"), "{method} {vip}: {known}");
        }
    }
}

/// Waits until the last probes of the first real server, in the TCP services of both families, have `passed` or failed.
/// Returns their details.
fn wait_for_check_results(net: &Net, passed: bool) -> Vec<String> {
    eventually(&format!("both passed: {passed}"), TEST_TIMEOUT, || {
        let services = net.status("d1")?.services;
        let lasts: Vec<_> = services
            .iter()
            .filter_map(|s| s.servers[0].checks.first()?.last_probe.clone())
            .map(|l| (l.passed(), l))
            .collect();
        let right = lasts.len() == 2 && lasts.iter().all(|(p, _)| *p == passed);
        right.then(|| lasts.into_iter().map(|(_, l)| l.detail).collect())
    })
}

/// Runs `evenkeel real-server ARGS` on a host. Returns whether it succeeded, and its output.
fn run_real_server_command(net: &Net, host: &str, args: &[&str]) -> (bool, String) {
    let done = net
        .lan
        .command(host, &program("evenkeel"))
        .args(["--instance", &net.lan.instance(host), "real-server"])
        .args(args)
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.success(), text)
}

#[test]
fn tunnels_carry_both_families_to_servers_that_the_command_prepared() {
    let vips = [VIP.to_string(), VIP6.to_string()];
    for (name, method, more) in [
        ("ipip", "TUN", &["--tunnel"][..]),
        ("gre", "TUN type gre csum", &["--tunnel"]),
        ("gue", "TUN type gue port 6080 csum", &["--gue-port", "6080"]),
    ] {
        let all = |command| [&[command, vips[0].as_str(), vips[1].as_str(), "--dev", "eth0"][..], more].concat();
        let Some(net) = bare_network(&format!("method-{name}")) else { return };
        for (host, _) in SERVERS {
            let (ready, text) = run_real_server_command(&net, host, &all("check"));
            assert!(
                !ready && text.contains("192.168.1.100 is not on this host") && text.contains("arp_ignore is 0"),
                "{text}"
            );
            let (done, text) = run_real_server_command(&net, host, &all("up"));
            assert!(done && text.contains("tunnels are decapsulated on eth0"), "{text}");
            let (ready, text) = run_real_server_command(&net, host, &all("check"));
            assert!(ready, "{text}");
        }
        start_servers(&net, method, 0);
        net.start_daemon("d1", &services_config(method, 0));
        check_traffic(&net);
        let (ready, text) = run_real_server_command(&net, "r1", &all("check"));
        assert!(ready && !text.contains(" 0 packets decapsulated"), "{text}");
        let before = net.lan.ip("r1", "addr show dev lo").expect("addresses");
        assert!(before.contains(&vips[0]) && before.contains(&vips[1]), "{before}");
        wait_for_check_results(&net, true);
        let (done, text) = run_real_server_command(&net, "r1", &["down"]);
        assert!(done, "{text}");
        let seen = wait_for_check_results(&net, false);
        assert!(seen.iter().all(|s| s.contains("does it decapsulate tunnels")), "{name}: {seen:?}");
        let after = net.lan.ip("r1", "addr show dev lo").expect("addresses");
        assert!(!after.contains(&vips[0]) && !after.contains(&vips[1]), "{after}");
        let (done, text) = run_real_server_command(&net, "r1", &["down"]);
        assert!(!done && text.contains("has changed nothing here"), "{text}");
    }
}

#[test]
fn checks_go_through_tunnels_across_families() {
    let vips = [VIP.to_string(), VIP6.to_string()];
    for (name, method, more) in [
        ("ipip", "TUN", &["--tunnel"][..]),
        ("gre", "TUN type gre csum", &["--tunnel"]),
        ("gue", "TUN type gue port 6080 csum", &["--gue-port", "6080"]),
    ] {
        let Some(net) = bare_network(&format!("across-{name}")) else { return };
        let up = [&["up", vips[0].as_str(), vips[1].as_str(), "--dev", "eth0"][..], more].concat();
        let (done, text) = run_real_server_command(&net, "r1", &up);
        assert!(done, "{text}");
        stream::start_server(&net.lan, "r1", STREAM_PORT);
        let mut config = "global_defs {\n connection_table_size 131072\n}\n".to_owned();
        for (vip, server) in [(&vips[0], "fd00:1::11"), (&vips[1], "192.168.1.11")] {
            config +=
                &format!("virtual_server {vip} {STREAM_PORT} {{\n lvs_sched rr\n lvs_method {method}\n protocol TCP\n");
            config += " delay_loop 1\n warmup 0\n connect_timeout 1\n delay_before_retry 0.2\n";
            config +=
                &format!(" real_server {server} {STREAM_PORT} {{\n TCP_CHECK {{\n through_service\n }}\n }}\n}}\n");
        }
        net.start_daemon("d1", &config);
        let details = wait_for_check_results(&net, true);
        assert!(details.iter().all(|d| d.starts_with("connected, also at ")), "{name}: {details:?}");
        let (done, text) = run_real_server_command(&net, "r1", &["down"]);
        assert!(done, "{text}");
        let details = wait_for_check_results(&net, false);
        assert!(details.iter().all(|d| d.contains("does it decapsulate tunnels")), "{name}: {details:?}");
    }
}
