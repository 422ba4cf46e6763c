//! Clients on the director itself: balanced where their sockets connect and send, as IPVS does at its local output.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::{VIP, VIP6, add_ipv6};
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, TEST_TIMEOUT, vrrp_instance};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(5);
/// The services' ports by method, and the port of the servers.
const METHODS: [(&str, u16, u16); 3] = [("NAT", 8001, 9001), ("DR", 8002, 8002), ("TUN", 8003, 8003)];
const SERVERS: [(&str, u8); 2] = [("r1", 11), ("r2", 12)];

/// The servers of one host: TCP and UDP on its own addresses. They reply with the host's name and the client's address.
fn start_servers(net: &Net, host: &'static str, number: u8, ports: &[u16]) {
    let addresses = [IpAddr::from([192, 168, 1, number]), format!("fd00:1::{number}").parse().expect("an address")];
    for at in addresses.iter().flat_map(|a| ports.iter().map(|p| SocketAddr::new(*a, *p))) {
        let (bound, is_bound) = std::sync::mpsc::channel();
        net.lan.spawn_thread_in(host, move || {
            let tcp = TcpListener::bind(at).expect("free");
            let udp = UdpSocket::bind(at).expect("free");
            let _ = bound.send(());
            std::thread::spawn(move || {
                let mut held = Vec::new();
                for mut stream in tcp.incoming().flatten() {
                    let from = stream.peer_addr().map(|a| a.ip().to_string()).unwrap_or_default();
                    let _ = stream.write_all(format!("{host} {from}\n").as_bytes());
                    held.push(stream); // the client closes first
                }
            });
            let mut buf = [0; 64];
            while let Ok((_, from)) = udp.recv_from(&mut buf) {
                let _ = udp.send_to(format!("{host} {}\n", from.ip()).as_bytes(), from);
            }
        });
        is_bound.recv_timeout(LIMIT).expect("the server listens");
    }
}

/// A server's reply: its host, and the client's address as it saw it.
fn parse_reply(text: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(text);
    let (host, client) = text.trim().split_once(' ').expect("a reply");
    (host.to_owned(), client.to_owned())
}

/// Connects; the connection, and the reply.
fn connect(to: SocketAddr) -> io::Result<(TcpStream, (String, String))> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    assert_eq!(stream.peer_addr()?, to, "getpeername() has the service's address");
    let mut reply = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
        reply.push(byte[0]);
    }
    Ok((stream, parse_reply(&reply)))
}

/// How often each server replies to `count` clients.
fn spread(count: u32, mut client: impl FnMut() -> (String, String)) -> BTreeMap<String, u32> {
    let mut out = BTreeMap::new();
    for _ in 0..count {
        *out.entry(client().0).or_default() += 1;
    }
    out
}

fn expected(of_r1: u32, of_r2: u32) -> BTreeMap<String, u32> {
    [("r1", of_r1), ("r2", of_r2)].into_iter().filter(|(_, n)| *n > 0).map(|(h, n)| (h.to_owned(), n)).collect()
}

fn bind_client(v6: bool) -> UdpSocket {
    let socket = UdpSocket::bind(if v6 { "[::]:0" } else { "0.0.0.0:0" }).expect("a socket");
    socket.set_read_timeout(Some(LIMIT)).expect("set");
    socket
}

/// Sends a datagram by sendto() and receives the reply by recvfrom().
fn query(socket: &UdpSocket, to: SocketAddr) -> (String, String) {
    let mut buf = [0; 64];
    socket.send_to(b"?", to).expect("sent");
    let (n, from) = socket.recv_from(&mut buf).expect("a reply");
    assert_eq!(from, to, "recvfrom() has the service's address");
    parse_reply(&buf[..n])
}

/// A service with two servers, of these weights; a server with the weight -1 is left out.
fn service(vip: IpAddr, port: u16, protocol: &str, method: &str, options: &str, weights: [i32; 2]) -> String {
    let (_, _, server_port) = METHODS.into_iter().find(|(m, ..)| *m == method).expect("a method");
    let server_port = if method == "NAT" { server_port } else { port };
    let net = if vip.is_ipv6() { "fd00:1::" } else { "192.168.1." };
    let mut text = format!("virtual_server {vip} {port} {{\n lvs_method {method}\n protocol {protocol}\n{options}\n");
    for ((_, number), weight) in SERVERS.into_iter().zip(weights).filter(|(_, w)| *w >= 0) {
        text += &format!(" real_server {net}{number} {server_port} {{\n weight {weight}\n }}\n");
    }
    text + "}\n"
}

fn globals(more: &str) -> String {
    format!("global_defs {{\n dataplane xdp\n connection_table_size 16384\n{more}\n}}\n")
}

/// The demo network with IPv6, the virtual addresses on the first director, and servers that have their own addresses only.
fn network(name: &str) -> Option<Net> {
    let net = Net::new(name)?;
    add_ipv6(&net.lan).expect("IPv6");
    net.lan.ip("d1", &format!("addr add {VIP}/32 dev eth0")).expect("an address");
    net.lan.ip("d1", &format!("addr add {VIP6}/128 dev eth0 nodad preferred_lft 0")).expect("an address");
    for (host, number) in SERVERS {
        start_servers(&net, host, number, &[9001, 8002, 8003]);
    }
    Some(net)
}

fn wait_balanced(net: &Net, host: &str) {
    eventually("local clients are balanced", TEST_TIMEOUT, || {
        let s = net.status(host)?;
        let served = s.services.iter().all(|v| v.inactive.is_none() && v.servers.iter().all(|r| r.up));
        (s.dataplane.local_clients == "balanced" && served).then_some(())
    });
}

fn in_director<T: Send>(net: &Net, work: impl FnOnce() -> T + Send) -> T {
    net.lan.run_in("d1", work).expect("entered")
}

#[test]
fn local_clients_reach_servers_of_every_method_by_both_protocols_and_families() {
    let Some(net) = network("local-clients") else { return };
    let mut config = globals("");
    for (method, port, _) in METHODS {
        for vip in [VIP.into(), VIP6.into()] {
            for protocol in ["TCP", "UDP"] {
                config += &service(vip, port, protocol, method, "lvs_sched wrr", [1, 2]);
            }
        }
    }
    let pid = net.start_daemon("d1", &config);
    wait_balanced(&net, "d1");
    in_director(&net, || {
        for ((method, port, _), vip) in METHODS.into_iter().flat_map(|m| [(m, VIP.into()), (m, VIP6.into())]) {
            let to = SocketAddr::new(vip, port);
            let own: IpAddr = if to.is_ipv6() { "fd00:1::2" } else { "192.168.1.2" }.parse().expect("an address");
            assert_eq!(connect(to).expect("answered").1.1, own.to_string(), "{method}: the client's address");
            assert_eq!(spread(30, || connect(to).expect("answered").1), expected(10, 20), "{method} to {to} by TCP");
            let unconnected = spread(30, || query(&bind_client(to.is_ipv6()), to));
            assert_eq!(unconnected, expected(10, 20), "{method} to {to} by UDP");
            let connected = spread(30, || {
                let socket = bind_client(to.is_ipv6());
                socket.connect(to).expect("connected");
                assert_eq!(socket.peer_addr().expect("a peer"), to);
                socket.send(b"?").expect("sent");
                let mut buf = [0; 64];
                let (n, from) = socket.recv_from(&mut buf).expect("a reply");
                assert_eq!(from, to);
                parse_reply(&buf[..n])
            });
            assert_eq!(connected, expected(10, 20), "{method} to {to} by connected UDP sockets");
        }
        // An IPv4 service from an IPv6 socket.
        let mapped: Ipv6Addr = VIP.to_ipv6_mapped();
        let to = SocketAddr::new(mapped.into(), 8002);
        assert_eq!(spread(3, || connect(to).expect("answered").1), expected(1, 2));
        assert_eq!(spread(3, || query(&bind_client(true), to)), expected(1, 2));
        // A socket stays with its server, and one that uses two services gets the replies of both.
        let socket = bind_client(false);
        let services = [SocketAddr::new(VIP.into(), 8002), SocketAddr::new(VIP.into(), 8001)];
        let first = services.map(|to| query(&socket, to));
        for _ in 0..5 {
            assert_eq!(services.map(|to| query(&socket, to)), first);
        }
        // What is no service is not touched.
        let refused = TcpStream::connect_timeout(&SocketAddr::new(VIP.into(), 8009), LIMIT);
        assert_eq!(refused.expect_err("nothing listens").kind(), ErrorKind::ConnectionRefused);
    });
    // The same address in another network namespace is not the director's service.
    net.lan.ip("d2", &format!("addr add {VIP}/32 dev lo")).expect("an address");
    let to = SocketAddr::new(VIP.into(), 8002);
    let other = net.lan.run_in("d2", || TcpStream::connect_timeout(&to, LIMIT)).expect("entered");
    assert_eq!(other.expect_err("nothing listens").kind(), ErrorKind::ConnectionRefused);
    // A stop detaches the programs.
    let dir = evenkeel_sys::paths::bpf_dir(&net.lan.instance("d1"));
    let pins = || {
        std::fs::read_dir(&dir)
            .map_or(0, |d| d.flatten().filter(|e| e.file_name().to_string_lossy().contains("cgroup")).count())
    };
    assert_eq!(pins(), 9);
    net.lan.signal(pid, Signal::SIGTERM).expect("stops");
    assert_eq!(pins(), 0);
    let refused = in_director(&net, || connect(to)).expect_err("nobody balances");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn local_connections_count_for_schedulers_until_they_are_closed() {
    let Some(net) = network("local-counts") else { return };
    let vip = IpAddr::from(VIP);
    let config = |weights, more: &str| {
        globals(more)
            + &service(vip, 8001, "TCP", "NAT", "lvs_sched wlc", weights)
            + &service(vip, 8002, "TCP", "DR", "lvs_sched rr\n persistence_timeout 60", weights)
            + &service(vip, 8003, "TCP", "TUN", "lvs_sched lblcr", weights)
            + &format!("virtual_server fwmark 5 {{\n lvs_sched rr\n lvs_method DR\n member {vip} tcp 9001\n")
            + " real_server 192.168.1.11 0 {\n }\n real_server 192.168.1.12 0 {\n }\n}\n"
    };
    let pid = net.start_daemon("d1", &config([1, 1], ""));
    wait_balanced(&net, "d1");
    let counts = |net: &Net| -> Vec<u64> {
        let s = net.status("d1").expect("answers");
        s.services[0].servers.iter().map(|r| u64::from(r.active)).collect()
    };
    let to = |port| SocketAddr::new(vip, port);
    let held = in_director(&net, || (0..10).map(|_| connect(to(8001)).expect("answered")).collect::<Vec<_>>());
    assert_eq!(
        spread(10, {
            let mut all = held.iter();
            move || all.next().expect("ten").1.clone()
        }),
        expected(5, 5)
    );
    assert_eq!(counts(&net), [5, 5]);
    // A hand-over leaves the programs attached, and the next daemon takes over the state of open sockets.
    net.lan.signal(pid, Signal::SIGQUIT).expect("ends");
    in_director(&net, || connect(to(8001))).expect("answered without a daemon");
    net.start_daemon("d1", &config([1, 1], ""));
    wait_balanced(&net, "d1");
    assert!(held.iter().all(|(stream, _)| stream.peer_addr().is_ok_and(|a| a == to(8001))));
    assert_eq!(counts(&net), [5, 5]);
    drop(held);
    eventually("closed connections are not counted", TEST_TIMEOUT, || (counts(&net) == [0, 0]).then_some(()));
    in_director(&net, || {
        assert_eq!(spread(10, || connect(to(8002)).expect("answered").1).len(), 1, "persistence");
        spread(10, || connect(to(8003)).expect("answered").1);
        assert_eq!(spread(10, || connect(to(9001)).expect("answered").1), expected(5, 5), "a firewall mark");
    });
    // A quiesced server gets no new connections.
    net.write_config("d1", &config([0, 1], ""));
    net.reload("d1");
    eventually("the other server gets all", TEST_TIMEOUT, || {
        in_director(&net, || spread(6, || connect(to(8001)).expect("answered").1) == expected(0, 6)).then_some(())
    });
    // Somebody detaches a program: it is attached again.
    let pin = evenkeel_sys::paths::bpf_dir(&net.lan.instance("d1")).join("link-cgroup-connect4");
    if Command::new("bpftool").args(["link", "detach", "pinned"]).arg(&pin).status().is_ok_and(|s| s.success()) {
        eventually("it is repaired", TEST_TIMEOUT, || in_director(&net, || connect(to(8001))).ok());
    }
    // Without a server, as without the programs, connections are refused.
    net.write_config("d1", &config([0, 0], ""));
    net.reload("d1");
    let is_refused = |e: io::Error| (e.kind() == ErrorKind::ConnectionRefused).then_some(());
    eventually("no server", TEST_TIMEOUT, || in_director(&net, || connect(to(8001))).err().and_then(is_refused));
    net.write_config("d1", &config([1, 1], "local_clients off"));
    net.reload("d1");
    eventually("they are off", TEST_TIMEOUT, || {
        let status = net.status("d1")?.dataplane.local_clients;
        status.starts_with("not balanced: `local_clients off`").then_some(())
    });
    assert!(in_director(&net, || connect(to(8001))).is_err());
    net.write_config("d1", &config([1, 1], ""));
    net.reload("d1");
    wait_balanced(&net, "d1");
    eventually("they are on", TEST_TIMEOUT, || in_director(&net, || connect(to(8001))).ok());
}

#[test]
fn a_client_on_the_backup_is_balanced_by_the_master() {
    let Some(net) = Net::new("local-backup") else { return };
    for (host, number) in SERVERS {
        // The master forwards to the virtual address, which the servers have on `lo`.
        net.lan.ip(host, "-6 addr flush dev lo").expect("flushed");
        let listener: SocketAddr = SocketAddr::new(VIP.into(), 8002);
        for at in [listener, SocketAddr::new([192, 168, 1, number].into(), 8002)] {
            net.lan.spawn_thread_in(host, move || {
                for mut stream in TcpListener::bind(at).expect("free").incoming().flatten() {
                    let from = stream.peer_addr().map(|a| a.ip().to_string()).unwrap_or_default();
                    let _ = stream.write_all(format!("{host} {from}\n").as_bytes());
                }
            });
        }
    }
    let config = |priority| {
        globals("")
            + &vrrp_instance(priority, "version 3\nadvert_int 0.1")
            + &service(VIP.into(), 8002, "TCP", "DR", "lvs_sched rr", [1, 1])
    };
    net.start_daemon("d1", &config(150));
    net.wait_state("d1", "V", State::Master);
    net.start_daemon("d2", &config(100));
    net.wait_state("d2", "V", State::Backup);
    eventually("d2 is a backup", TEST_TIMEOUT, || net.status("d2")?.services[0].inactive.clone());
    wait_balanced(&net, "d1");
    let to = SocketAddr::new(VIP.into(), 8002);
    let conns = |host| net.status(host).expect("answers").services[0].conns;
    for (host, address) in [("d1", "192.168.1.2"), ("d2", "192.168.1.3")] {
        let client = || net.lan.run_in(host, || connect(to)).expect("entered");
        eventually("the first answer", TEST_TIMEOUT, || client().ok());
        let before = conns("d1");
        let reply = || client().expect("answered").1;
        assert_eq!(spread(10, reply), expected(5, 5), "from {host}");
        assert_eq!(reply().1, address);
        assert_eq!((conns("d1") - before, conns("d2")), (11, 0), "from {host}");
    }
}
