//! The packet path with each kind of attachment, through restarts of the daemon, and what ipvsadm shows of it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use evenkeel_core::model::AttachChoice;
use evenkeel_core::vrrp::State;
use evenkeel_sys::bpf::{Attachments, XdpPlane};
use evenkeel_sys::netlink::Netlink;
use evenkeel_testkit::demo_network::{HttpLoad, SERVERS, VIP};
use evenkeel_testkit::http::{self, Server};
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT, program, virtual_server, vrrp_instance};
use nix::sys::signal::Signal;

const TWO_SERVERS: &[(&str, &str)] = &[("192.168.1.11", "weight 1"), ("192.168.1.12", "weight 2")];

fn request(net: &Net) -> anyhow::Result<http::Response> {
    net.lan.run_in("client", || http::get(SocketAddrV4::new(VIP, 80), Duration::from_secs(3)))?
}

/// Checks the attachment, and that 30 requests reach both servers, which see the client's address.
fn check_attachment(net: &Net, attachment: &str) {
    net.wait_state("d1", "V", State::Master);
    let attachments = net.status("d1").expect("answers").dataplane.attachments;
    assert!(
        attachments.len() == 1 && attachments[0].device == "eth0" && attachments[0].mode.starts_with(attachment),
        "{attachments:?}"
    );
    eventually("the first answer", TEST_TIMEOUT, || request(net).ok());
    let mut names = BTreeSet::new();
    for _ in 0..30 {
        let a = request(net).expect("answered");
        assert_eq!(a.client_address, "10.77.0.2");
        names.insert(a.server);
    }
    assert_eq!(names.len(), 2, "{names:?}");
}

fn start_servers(net: &Net) -> Vec<Server> {
    SERVERS.iter().map(|(n, _)| Server::start(&net.lan, n, 80)).collect()
}

fn director_config(attachment: &str) -> String {
    format!("global_defs {{\n connection_table_size 16384\n dataplane_interface eth0 {attachment}\n}}\n")
        + &vrrp_instance(100, "version 3\nadvert_int 0.1")
        + &virtual_server("lb_algo wrr", TWO_SERVERS)
}

#[test]
fn tc_is_chosen_on_veth() {
    let Some(net) = Net::new("tc") else { return };
    let _servers = start_servers(&net);
    net.start_daemon("d1", &director_config("auto"));
    check_attachment(&net, "tc ("); // tcx, or clsact before Linux 6.6
}

#[test]
fn generic_xdp_works() {
    let Some(net) = Net::new("generic") else { return };
    let _servers = start_servers(&net);
    net.start_daemon("d1", &director_config("generic"));
    check_attachment(&net, "generic XDP");
}

/// Prepares the switch's port for native XDP on its veth peer, the first director's device: an XDP program on the port,
/// which enables veth's receive ring, complete checksums, and VLAN tags in the frames. The program is detached when the
/// value is dropped.
pub fn prepare_veth_peer_for_xdp(net: &Net) -> XdpPlane {
    let (ns, dir) = (net.lan.namespace("sw"), evenkeel_sys::paths::bpf_dir(&net.lan.instance("sw")));
    let off = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{ns}"))
        .args(["ethtool", "-K", "p-d1", "tx", "off", "txvlan", "off"])
        .output();
    assert!(off.expect("ethtool runs").status.success());
    let peer = net.lan.run_in("sw", || {
        let plane = XdpPlane::load(&dir, 1024)?;
        let link = Netlink::new()?.link_by_name("p-d1")?.expect("the port");
        Attachments::default().attach(&plane.packet_path, &link, AttachChoice::NativeXdp)?;
        Ok::<_, evenkeel_sys::Error>(plane)
    });
    peer.expect("entered").expect("attached")
}

#[test]
fn native_xdp_works() {
    let Some(net) = Net::new("native") else { return };
    let _servers = start_servers(&net);
    let _peer = prepare_veth_peer_for_xdp(&net);
    net.start_daemon("d1", &director_config("xdp"));
    check_attachment(&net, "native XDP");
}

#[test]
fn another_xdp_program_stays_attached_and_is_reported() {
    let Some(net) = Net::new("other-xdp") else { return };
    let _servers = start_servers(&net);
    let other = evenkeel_sys::paths::bpf_dir(&net.lan.instance("other"));
    let plane = net.lan.run_in("d1", || {
        let plane = XdpPlane::load(&other, 1024)?;
        let link = Netlink::new()?.link_by_name("eth0")?.expect("the device");
        Attachments::default().attach(&plane.packet_path, &link, AttachChoice::NativeXdp)?;
        Ok::<_, evenkeel_sys::Error>(plane)
    });
    let plane = plane.expect("entered").expect("attached");
    net.start_daemon("d1", &director_config("xdp"));
    net.wait_state("d1", "V", State::Master);
    assert_eq!(net.status("d1").expect("answers").dataplane.attachments, []);
    assert!(net.lan.log("d1").contains("another XDP program is attached"), "{}", net.lan.log("d1"));
    assert!(net.lan.ip("d1", "link show eth0").expect("shown").contains("xdp"), "it stays attached");
    // Frames that the other program passes reach tc.
    net.write_config("d1", &director_config("tc"));
    net.evenkeel("d1", &["reload"]);
    eventually("an answer", TEST_TIMEOUT, || request(&net).ok());
    assert!(net.lan.ip("d1", "link show eth0").expect("shown").contains("xdp"), "it stays attached");
    for entry in std::fs::read_dir(&other).expect("pinned").flatten() {
        let _ = std::fs::remove_file(entry.path());
    }
    plane.packet_path.unpin();
}

#[test]
fn a_director_is_its_own_real_server() {
    let Some(net) = Net::new("local") else { return };
    let _servers = [Server::start(&net.lan, "d1", 80), Server::start(&net.lan, "r1", 80)];
    let both = [("192.168.1.2", "weight 1"), ("192.168.1.11", "weight 1")];
    net.start_daemon(
        "d1",
        &(SMALL_TABLE.to_owned()
            + &vrrp_instance(100, "version 3\nadvert_int 0.1")
            + &virtual_server("lb_algo rr", &both)),
    );
    net.wait_state("d1", "V", State::Master);
    eventually("the first answer", TEST_TIMEOUT, || request(&net).ok());
    let mut names = Vec::new();
    for _ in 0..20 {
        let a = request(&net).expect("answered");
        assert_eq!(a.client_address, "10.77.0.2");
        names.push(a.server);
    }
    names.sort();
    assert_eq!(
        (names[..10].iter().all(|n| n == "d1"), names[10..].iter().all(|n| n == "r1")),
        (true, true),
        "{names:?}"
    );
}

/// The effect of `removed_server` on a client with a connection to a removed server, when it sends data again.
#[test]
fn clients_of_a_removed_server_are_served_as_removed_server_says() {
    for (policy, is_reset, is_served) in [("drop", false, false), ("drain 60", false, true), ("reject", true, false)] {
        let Some(net) = Net::new(&format!("removed-{}", &policy[..4])) else { return };
        let _servers = start_servers(&net);
        let with = |servers: &[(&str, &str)]| {
            let service = virtual_server("lb_algo rr", servers);
            let service = service.replacen("lb_algo rr", &format!("lb_algo rr\n removed_server {policy}"), 1);
            SMALL_TABLE.to_owned() + &vrrp_instance(100, "version 3\nadvert_int 0.1") + &service
        };
        net.start_daemon("d1", &with(TWO_SERVERS));
        net.wait_state("d1", "V", State::Master);
        eventually("the first answer", TEST_TIMEOUT, || request(&net).ok());
        let connect = || (0..2).map(|_| TcpStream::connect((VIP, 80))).collect::<Result<Vec<_>, _>>();
        let open = net.lan.run_in("client", connect).expect("entered").expect("connected");
        net.write_config("d1", &with(&TWO_SERVERS[..1]));
        net.evenkeel("d1", &["reload"]);
        eventually("the server has left", TEST_TIMEOUT, || {
            (net.status("d1")?.services[0].servers.len() == 1).then_some(())
        });
        // Each of the two connections was to another server.
        let mut outcomes: Vec<String> = Vec::new();
        for mut stream in open {
            stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a time");
            let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
            let mut answer = String::new();
            outcomes.push(match stream.read_to_string(&mut answer) {
                Ok(_) if answer.contains("200") => "served".to_owned(),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => "reset".to_owned(),
                // Or the real server has timed out.
                Ok(_) | Err(_) => "no answer".to_owned(),
            });
        }
        outcomes.sort();
        let other = if is_reset {
            "reset"
        } else if is_served {
            "served"
        } else {
            "no answer"
        };
        let mut expected = ["served", other];
        expected.sort();
        assert_eq!(outcomes, expected, "{policy}");
    }
}

/// Router, director and real servers in VLAN 100, two of the servers in VLAN 7 within it. The director's program is
/// attached to the lower device.
#[test]
fn native_xdp_carries_vlans() {
    let Some(net) = Net::new("vlans") else { return };
    if let Err(e) = net.lan.ip("sw", "link add link br0 name probe type vlan id 1") {
        eprintln!("skipped, as this kernel has no VLANs: {e}");
        return;
    }
    let vlan = |host: &str, dev: &str, number: u16, addr: &str| {
        let name = format!("{dev}.{number}");
        net.lan.ip(host, &format!("link add link {dev} name {name} type vlan id {number}")).expect("a VLAN");
        net.lan.ip(host, &format!("link set {name} up")).expect("up");
        net.lan.ip(host, &format!("addr add {addr} dev {name}")).expect("an address");
    };
    vlan("router", "eth1", 100, "192.168.5.1/24");
    vlan("d1", "eth0", 100, "192.168.5.2/24");
    vlan("d1", "eth0.100", 7, "192.168.7.2/24");
    vlan("r1", "eth0", 100, "192.168.5.11/24");
    for (host, addr) in [("r2", "192.168.7.12/24"), ("r3", "192.168.7.13/24")] {
        vlan(host, "eth0", 100, "192.168.6.1/24");
        vlan(host, "eth0.100", 7, addr);
    }
    net.lan.ip("client", "route add 192.168.5.0/24 via 10.77.0.1").expect("a route");
    net.lan.ip("d1", "addr add 192.168.5.100/32 dev eth0.100").expect("the address");
    for (host, _) in SERVERS {
        net.lan.ip(host, "addr add 192.168.5.100/32 dev lo").expect("the address");
    }
    let _servers = start_servers(&net);
    let _peer = prepare_veth_peer_for_xdp(&net);
    net.start_daemon(
        "d1",
        "global_defs {\n connection_table_size 16384\n dataplane_interface eth0 xdp\n}\n\
         virtual_server 192.168.5.100 80 {\n lb_algo rr\n lb_kind DR\n protocol TCP\n\
         real_server 192.168.5.11 80 {\n}\n real_server 192.168.7.12 80 {\n}\n real_server 192.168.7.13 80 {\n}\n}\n",
    );
    let at = SocketAddrV4::new([192, 168, 5, 100].into(), 80);
    let ask = || net.lan.run_in("client", || http::get(at, Duration::from_secs(3))).expect("entered");
    for _ in 0..3 {
        eventually("an answer", TEST_TIMEOUT, || ask().ok());
    }
    let attachments = net.status("d1").expect("answers").dataplane.attachments;
    assert!(
        attachments.iter().any(|a| (a.device.as_str(), a.mode.as_str()) == ("eth0", "native XDP")),
        "{attachments:?}"
    );
    let received = || {
        let path = "/sys/class/net/eth0.100/statistics/rx_packets";
        let seen =
            Command::new("ip").args(["netns", "exec", &net.lan.namespace("d1"), "cat", path]).output().expect("runs");
        String::from_utf8_lossy(&seen.stdout).trim().parse::<u64>().expect("a number")
    };
    let before = received();
    let names: BTreeSet<String> = (0..60).map(|_| ask().expect("answered").server).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let more = received() - before;
    assert!(more < 60, "the VLAN device received {more} packets of 60 requests");
}

#[test]
fn the_example_runs_as_it_stands_and_persistence_holds() {
    let Some(net) = Net::new("example") else { return };
    let _servers = start_servers(&net);
    // The file of packaging/examples unchanged: it uses the addresses and the device of the demo network.
    net.start_daemon("d1", include_str!("../../packaging/examples/keepalived.conf"));
    net.wait_state("d1", "VI_1", State::Master);
    eventually("an answer", TEST_TIMEOUT, || request(&net).ok());
    let first = request(&net).expect("answered").server;
    for _ in 0..20 {
        assert_eq!(request(&net).expect("answered").server, first, "one client stays with one server");
    }
    let list = net.evenkeel("d1", &["ipvsadm", "-Ln"]);
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "IP Virtual Server version 1.2.1 (size=1048576)");
    assert_eq!(lines[1], "Prot LocalAddress:Port Scheduler Flags");
    assert_eq!(lines[2], "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn");
    assert_eq!(lines[3], "TCP  192.168.1.100:80 wrr persistent 50");
    assert!(lines[4].starts_with("  -> 192.168.1.11:80              Route   1      "), "{text}");
    assert!(lines[5].starts_with("  -> 192.168.1.12:80              Route   2      "), "{text}");
    let conns = net.evenkeel("d1", &["ipvsadm", "-Lnc"]);
    let conns = String::from_utf8_lossy(&conns.stdout).into_owned();
    let template =
        conns.lines().find(|l| l.contains("10.77.0.2:0 ")).unwrap_or_else(|| panic!("no template:\n{conns}"));
    assert!(template.starts_with("TCP 00:") && template.contains(" ASSURED "), "{template}");
    let stats = net.evenkeel("d1", &["ipvsadm", "-Ln", "--stats"]);
    let stats = String::from_utf8_lossy(&stats.stdout).into_owned();
    assert!(stats.lines().nth(3).is_some_and(|l| l.starts_with("TCP  192.168.1.100:80       ")), "{stats}");
}

#[test]
fn the_packet_path_needs_no_daemon() {
    let Some(net) = Net::new("no-daemon") else { return };
    let _servers = start_servers(&net);
    let pid =
        net.start_daemon("d1", &(SMALL_TABLE.to_owned() + &vrrp_instance(100, "") + &virtual_server("", TWO_SERVERS)));
    net.wait_state("d1", "V", State::Master);
    eventually("the first answer", TEST_TIMEOUT, || request(&net).ok());
    let load = HttpLoad::start(&net.lan, 80, 2, Duration::from_secs(3));
    std::thread::sleep(Duration::from_millis(300));
    net.lan.signal(pid, Signal::SIGKILL).expect("killed");
    let done = load.finished_requests();
    eventually("500 requests without a daemon", TEST_TIMEOUT, || (load.finished_requests() > done + 500).then_some(()));
    let failed: Vec<_> = load.finish().into_iter().filter(|s| s.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let list = net.evenkeel("d1", &["ipvsadm", "-Ln"]);
    assert!(
        String::from_utf8_lossy(&list.stdout).contains("TCP  192.168.1.100:80 wlc"),
        "ipvsadm needs no daemon either"
    );
}

/// `EVENKEEL_EARLIER=/path/to/evenkeeld`: the first daemon is of an earlier version, as in an upgrade.
#[test]
fn a_hand_over_loses_nothing() {
    let Some(net) = Net::new("hand-over") else { return };
    let _servers = start_servers(&net);
    let config = SMALL_TABLE.to_owned() + &vrrp_instance(100, "") + &virtual_server("lb_algo rr", TWO_SERVERS);
    let first = std::env::var_os("EVENKEEL_EARLIER").map_or_else(|| program("evenkeeld"), PathBuf::from);
    let pid = net.start_daemon_program("d1", &config, &first);
    net.wait_state("d1", "V", State::Master);
    eventually("the first answer", TEST_TIMEOUT, || request(&net).ok());
    // Connections without traffic during the hand-over.
    let connect = || (0..20).map(|_| TcpStream::connect((VIP, 80))).collect::<Result<Vec<_>, _>>();
    let opened = Instant::now();
    let open = net.lan.run_in("client", connect).expect("entered").expect("connected");
    let load = HttpLoad::start(&net.lan, 80, 2, Duration::from_secs(3));
    std::thread::sleep(Duration::from_millis(300));
    net.lan.signal(pid, Signal::SIGQUIT).expect("ends"); // the signal of a restart by systemd
    assert!(net.has_address("d1", VIP));
    net.start_daemon("d1", &config);
    let s = net.status("d1").expect("answers");
    assert!(s.dataplane.maps_reused);
    // In an emulated machine the start takes longer than the real servers' read timeout.
    let in_time = opened.elapsed() < Duration::from_secs(2);
    for mut stream in open.into_iter().filter(|_| in_time) {
        stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("a time");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.contains("200"), "{answer}");
    }
    assert!(net.has_address("d1", VIP), "whether or not it was back in time to stay master");
    net.wait_state("d1", "V", State::Master);
    let done = load.finished_requests();
    eventually("more requests", TEST_TIMEOUT, || (load.finished_requests() > done + 100).then_some(()));
    let failed: Vec<_> = load.finish().into_iter().filter(|s| s.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn udp_is_balanced_and_a_client_keeps_its_server() {
    use std::net::UdpSocket;
    let Some(net) = Net::new("udp") else { return };
    for (host, _) in SERVERS {
        net.lan.spawn_thread_in(host, move || {
            let socket = UdpSocket::bind((VIP, 5300)).expect("the virtual address is on lo");
            let _ = socket.set_read_timeout(Some(TEST_TIMEOUT));
            let mut buf = [0u8; 64];
            while let Ok((_, from)) = socket.recv_from(&mut buf) {
                let _ = socket.send_to(format!("{host} {from}").as_bytes(), from);
            }
        });
    }
    let mut config = SMALL_TABLE.to_owned() + &vrrp_instance(100, "version 3\nadvert_int 0.1");
    config += "virtual_server 192.168.1.100 5300 {\n lb_algo rr\n lb_kind DR\n protocol UDP\n";
    for (_, addr) in SERVERS {
        config += &format!(" real_server {addr} 5300 {{\n }}\n");
    }
    net.start_daemon("d1", &(config + "}\n"));
    net.wait_state("d1", "V", State::Master);
    let ask = |socket: &UdpSocket| {
        socket.send_to(b"?", (VIP, 5300)).ok()?;
        let mut buf = [0u8; 64];
        let (n, from) = socket.recv_from(&mut buf).ok()?;
        assert_eq!(from.ip(), VIP, "replies come from the virtual address");
        String::from_utf8(buf[..n].to_vec()).ok()
    };
    let client = || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("free");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("settable");
        socket
    };
    let servers = net.lan.run_in("client", || {
        let mut servers = BTreeSet::new();
        for _ in 0..9 {
            let socket = client();
            let first = eventually("an answer", TEST_TIMEOUT, || ask(&socket));
            assert!(first.contains("10.77.0.2:"), "{first}");
            for _ in 0..5 {
                assert_eq!(eventually("an answer", TEST_TIMEOUT, || ask(&socket)), first, "one flow, one server");
            }
            servers.insert(first.split(' ').next().unwrap_or_default().to_owned());
        }
        servers
    });
    assert_eq!(servers.expect("entered").len(), 3, "round robin reaches all");
    let list = net.evenkeel("d1", &["ipvsadm", "-Lnc"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.lines().skip(2).all(|l| l.starts_with("UDP 0") && l.contains(" UDP ")), "{list}");
}
