//! The daemon on the kernel's IPVS, inside user-mode Linux: what it makes, what it leaves alone, what it says to the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use evenkeel_core::ipc::Reply;
use evenkeel_core::ipvs::{Change, Dest, Service, ServiceId, SyncRole};
use evenkeel_core::model::Protocol;
use evenkeel_core::vrrp::State;
use evenkeel_sys::ipvs::Ipvs;
use evenkeel_sys::ipvs_backend::IpvsBackend;
use evenkeel_testkit::demo_network::{SERVERS, VIP};
use evenkeel_testkit::lan::eventually;
use evenkeel_testkit::{http, uml};
use evenkeel_tests::{Net, TEST_TIMEOUT, program, virtual_server, vrrp_instance};

const MODULES: &[&str] = &["ip_vs", "ip_vs_rr", "ip_vs_wlc", "ip_vs_wrr", "veth", "bridge", "dummy", "ipv6", "nlmon"];

fn run_in_uml(test: &str) {
    if !evenkeel_tests::is_root() {
        return;
    }
    assert!(uml::is_installed(), "package user-mode-linux is missing: make test-deps");
    uml::run_test_in_guest(&format!("daemon::{test}"), &[("INSIDE", test)], MODULES, Duration::from_secs(400));
}

#[test]
fn services_are_made_adopted_repaired_and_left_alone() {
    run_in_uml("guest_services");
}

#[test]
fn one_change_is_one_message_and_none_is_none() {
    run_in_uml("guest_messages");
}

#[test]
fn ipvs_may_be_in_another_namespace_and_tell_a_peer() {
    run_in_uml("guest_namespace_and_sync");
}

#[test]
fn without_ipvs_the_daemon_says_what_to_do() {
    if !evenkeel_tests::is_root() || Ipvs::open().is_ok() {
        return;
    }
    let dir = program("evenkeel").parent().and_then(|p| p.parent()).expect("target").join("cli");
    fs::create_dir_all(&dir).expect("writable");
    let file = dir.join("no-ipvs.conf");
    fs::write(&file, format!("global_defs {{\n dataplane ipvs\n}}\n{}", virtual_server("", &[("192.0.2.1", "")])))
        .expect("writable");
    let instance = format!("noipvs{}", std::process::id());
    let out = std::process::Command::new(program("evenkeeld"))
        .args(["-n", "-l", "--instance", &instance, "-f"])
        .arg(&file)
        .output()
        .expect("runs");
    let _ = fs::remove_dir_all(evenkeel_sys::paths::run_dir(&instance));
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success(), "{text}");
    assert!(text.contains("the kernel's IPVS cannot be used") && text.contains("modprobe ip_vs"), "{text}");
}

fn service_id(port: u16) -> ServiceId {
    ServiceId::Address { protocol: Protocol::Tcp, addr: VIP.into(), port }
}

/// IPVS of a host.
fn with_ipvs<T: Send>(net: &Net, host: &str, work: impl FnOnce(&mut Ipvs) -> T + Send) -> T {
    net.lan.run_in(host, || work(&mut Ipvs::open().expect("IPVS"))).expect("a host")
}

fn server_weights(net: &Net, id: ServiceId) -> Vec<(u8, i32)> {
    with_ipvs(net, "d1", |ipvs| {
        let dests = ipvs.dests(id).expect("a list");
        let mut all: Vec<(u8, i32)> = dests
            .iter()
            .map(|d| (d.dest.addr.to_string().rsplit('.').next().unwrap().parse().unwrap(), d.dest.weight))
            .collect();
        all.sort_unstable();
        all
    })
}

fn real_servers() -> [(&'static str, &'static str); 3] {
    [("192.168.1.11", ""), ("192.168.1.12", ""), ("192.168.1.13", "")]
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn guest_services() {
    let net = Net::new("ipvs-services").expect("root");
    net.lan.ip("d1", &format!("addr add {VIP}/32 dev eth0")).expect("an address");
    net.lan.sysctl("d1", "net/ipv4/ip_forward", "1").expect("a setting");
    let mut http = Vec::new();
    for (host, _) in SERVERS {
        http.push(http::Server::start(&net.lan, host, 80));
    }
    // Somebody has made the very service already, and another one.
    let (mine, other) = (service_id(80), service_id(99));
    with_ipvs(&net, "d1", |ipvs| {
        for (id, scheduler) in [(mine, "wlc"), (other, "rr")] {
            ipvs.apply_change(&Change::AddService(Service::new(id, scheduler))).expect("a service");
        }
        for (_, addr) in SERVERS {
            ipvs.apply_change(&Change::AddDest(mine, Dest::new(addr.into(), 80))).expect("a server");
        }
    });
    let ask = || net.lan.run_in("client", || http::get(std::net::SocketAddrV4::new(VIP, 80), Duration::from_secs(5)));
    ask().expect("the client").expect("an answer");
    let config =
        |more: &str| format!("global_defs {{\n dataplane ipvs\n{more}\n}}\n{}", virtual_server("", &real_servers()));
    let pid = net.start_daemon("d1", &config(""));
    let status = net.status("d1").expect("a status");
    assert_eq!(status.dataplane.kind, "ipvs");
    assert_eq!(status.dataplane.external_services, [other.to_string()]);
    let conns = with_ipvs(&net, "d1", |ipvs| {
        ipvs.dests(mine).expect("a list").iter().map(|d| d.active + d.inactive).sum::<u32>()
    });
    assert_eq!(conns, 1, "the table that was there was not made anew");

    // Health.
    http.pop().expect("a server").stop();
    eventually("the dead server is out", TEST_TIMEOUT, || (server_weights(&net, mine).len() == 2).then_some(()));
    http.push(http::Server::start(&net.lan, "r3", 80));
    eventually("it is back", TEST_TIMEOUT, || (server_weights(&net, mine).len() == 3).then_some(()));

    // By hand: set back, or left.
    let heavy = Dest { weight: 9, ..Dest::new([192, 168, 1, 11].into(), 80) };
    with_ipvs(&net, "d1", |ipvs| ipvs.apply_change(&Change::EditDest(mine, heavy)).expect("changes"));
    eventually("the weight is set back", TEST_TIMEOUT, || (server_weights(&net, mine)[0] == (11, 1)).then_some(()));
    with_ipvs(&net, "d1", |ipvs| ipvs.apply_change(&Change::RemoveService(mine)).expect("changes"));
    eventually("the service is back", TEST_TIMEOUT, || (server_weights(&net, mine).len() == 3).then_some(()));
    assert!(net.status("d1").expect("a status").dataplane.repaired >= 2);
    net.write_config("d1", &config(" hand_changes leave"));
    net.reload("d1");
    with_ipvs(&net, "d1", |ipvs| ipvs.apply_change(&Change::EditDest(mine, heavy)).expect("changes"));
    let drift = eventually("the change is shown", TEST_TIMEOUT, || {
        net.status("d1").map(|s| s.dataplane.drift).filter(|d| !d.is_empty())
    });
    assert_eq!(drift, [format!("change 192.168.1.11:80 of {mine}, weight 1")]);
    assert_eq!(server_weights(&net, mine)[0], (11, 9), "it stays");

    // Somebody else is at it all the time; in the end it is as configured.
    net.write_config("d1", &config(""));
    net.reload("d1");
    with_ipvs(&net, "d1", |ipvs| {
        for n in 0..200u8 {
            let _ = ipvs.apply_change(&Change::RemoveDest(mine, Dest::new([192, 168, 1, 11 + n % 3].into(), 80)));
            let _ = ipvs.apply_change(&Change::AddDest(mine, Dest::new([192, 168, 1, 100 + n % 5].into(), 80)));
            if n % 50 == 0 {
                let _ = ipvs.apply_change(&Change::RemoveService(mine));
                std::thread::sleep(Duration::from_secs(3));
            }
        }
    });
    eventually("it is as configured", TEST_TIMEOUT, || {
        (server_weights(&net, mine) == [(11, 1), (12, 1), (13, 1)]).then_some(())
    });

    // A connection that is ended is refused at its next packet.
    let mut held = net.lan.run_in("client", || {
        let stream = std::net::TcpStream::connect((VIP, 80)).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        stream
    });
    let stream = held.as_mut().expect("the client");
    let from = stream.local_addr().expect("an address");
    let ended = with_ipvs(&net, "d1", |ipvs| {
        ipvs.end_connections(&|c| c.client == (from.ip(), from.port())).expect("IPVS takes it")
    });
    assert_eq!(ended, 1);
    let mut buf = [0; 1];
    let refused = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").and_then(|()| stream.read(&mut buf)).expect_err("a RST");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionReset);

    // A scheduler whose module this kernel does not have.
    net.write_config("d1", &config("").replace("protocol TCP", "protocol TCP\n lvs_sched twos"));
    net.reload("d1");
    eventually("the log says which", TEST_TIMEOUT, || {
        net.lan.log("d1").contains("the module ip_vs_twos cannot be loaded").then_some(())
    });
    assert_eq!(server_weights(&net, mine).len(), 3, "what worked works");

    // What somebody removes, and makes again when it is configured no more, is theirs.
    net.write_config("d1", &config(" hand_changes leave"));
    net.reload("d1");
    with_ipvs(&net, "d1", |ipvs| ipvs.apply_change(&Change::RemoveService(mine)).expect("changes"));
    let held = config("").replace(" 80 {", " 82 {");
    net.write_config("d1", &held);
    net.reload("d1");
    eventually("the other port is there", TEST_TIMEOUT, || {
        (server_weights(&net, service_id(82)).len() == 3).then_some(())
    });
    with_ipvs(&net, "d1", |ipvs| ipvs.apply_change(&Change::AddService(Service::new(mine, "rr"))).expect("a service"));
    let foreign = [mine.to_string(), other.to_string()];
    eventually("it is theirs", TEST_TIMEOUT, || net.status("d1").filter(|s| s.dataplane.external_services == foreign));

    // A stop removes what is ours.
    net.lan.signal(pid, nix::sys::signal::Signal::SIGTERM).expect("it stops");
    let left: Vec<ServiceId> =
        with_ipvs(&net, "d1", |ipvs| ipvs.services().expect("a list").iter().map(|s| s.service.id).collect());
    assert_eq!(left.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([mine, other]));
}

/// The changes of IPVS that a host's netlink carries meanwhile, by their command numbers.
fn recorded_commands(net: &Net, work: impl FnOnce()) -> Vec<u8> {
    let file: PathBuf = net.lan.dir.join("netlink.pcap");
    let _ = fs::remove_file(&file);
    let path = file.to_str().expect("UTF-8");
    let args = ["-i", "nlmon0", "-s", "512", "-B", "65536", "-U", "-Z", "root", "-w", path];
    let pid = net.lan.spawn("d1", "nlmon", &PathBuf::from("tcpdump"), &args).expect("tcpdump");
    eventually("tcpdump listens", TEST_TIMEOUT, || fs::metadata(&file).ok().filter(|m| m.len() >= 24));
    std::thread::sleep(Duration::from_millis(500));
    work();
    std::thread::sleep(Duration::from_secs(1));
    net.lan.signal(pid, nix::sys::signal::Signal::SIGTERM).expect("it stops");
    let pcap = fs::read(&file).expect("a recording");
    let mut rest = &pcap[24..];
    let mut commands = Vec::new();
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().expect("four bytes")) as usize;
        let (head, mut messages) = rest[16..16 + len].split_at(16);
        rest = &rest[16 + len..];
        // NETLINK_GENERIC only.
        if head[14..16] != [0, 16] {
            continue;
        }
        while messages.len() >= 20 {
            let len = u32::from_ne_bytes(messages[..4].try_into().expect("four bytes")) as usize;
            let word = |at: usize| u16::from_ne_bytes(messages[at..at + 2].try_into().expect("two bytes"));
            // Requests of a family that is not the controller's; those that ask are even or dumps.
            let command = messages[16];
            if word(6) & 1 != 0 && word(4) > 16 && matches!(command, 1 | 2 | 3 | 5 | 6 | 7 | 16 | 17) {
                commands.push(command);
            }
            if len < 16 {
                break;
            }
            messages = messages.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    commands
}

/// 10,000 services of four servers each. The time is printed, and not judged: this kernel is emulated.
#[test]
#[ignore = "runs inside user-mode Linux"]
fn guest_messages() {
    let net = Net::directors("ipvs-messages").expect("root");
    net.lan.ip("d1", "link add nlmon0 type nlmon").expect("a device");
    net.lan.ip("d1", "link set nlmon0 up").expect("a device");
    let config = |count: u32, weight: u32| {
        let mut text = String::from("global_defs {\n dataplane ipvs\n}\n");
        for n in 0..count {
            let (a, b) = (n / 250, n % 250);
            text += &format!("virtual_server 10.{}.{}.1 80 {{\n lvs_sched wlc\n lvs_method DR\n protocol TCP\n", a, b);
            for s in 1..=4 {
                let w = if n == 7 && s == 2 { weight } else { 1 };
                text += &format!(" real_server 192.168.2.{s} 80 {{\n  weight {w}\n }}\n");
            }
            text += "}\n";
        }
        text
    };
    let pid = net.start_daemon("d1", &config(20, 1));
    assert_eq!(recorded_commands(&net, || drop(net.reload("d1"))), [0; 0], "an unchanged file");
    net.write_config("d1", &config(20, 5));
    let reload = || assert!(matches!(net.reload("d1"), Reply::Reloaded { .. }));
    assert_eq!(recorded_commands(&net, reload), [6], "one weight is one SET_DEST");
    // The same file once more, as a new text.
    net.write_config("d1", &format!("# another comment\n{}", config(20, 5)));
    assert_eq!(recorded_commands(&net, reload), [0; 0], "nothing but a comment");
    net.lan.signal(pid, nix::sys::signal::Signal::SIGTERM).expect("it stops");

    let count = 10_000;
    net.start_daemon("d1", &config(count, 1));
    let there = with_ipvs(&net, "d1", |ipvs| ipvs.services().expect("a list").len());
    assert_eq!(there, count as usize);
    let began = Instant::now();
    let changes: Vec<Change> = with_ipvs(&net, "d1", |ipvs| {
        let all = ipvs.services().expect("a list");
        let mut changes = Vec::new();
        for s in all {
            for d in ipvs.dests(s.service.id).expect("a list") {
                changes.push(Change::AddDest(s.service.id, d.dest));
            }
            changes.insert(changes.len().saturating_sub(4), Change::AddService(s.service));
        }
        changes
    });
    let looked = began.elapsed();
    assert_eq!(changes.len(), 5 * count as usize);
    let made = with_ipvs(&net, "d2", |ipvs| {
        let began = Instant::now();
        let failed = ipvs.apply_changes(&changes).into_iter().filter_map(Result::err).next();
        (began.elapsed(), failed)
    });
    assert!(made.1.is_none(), "{:?}", made.1);
    println!("{count} services of 4 servers: looked at in {looked:?}, made in {:?}", made.0);
    net.write_config("d1", &config(count, 5));
    assert_eq!(recorded_commands(&net, || drop(net.reload("d1"))), [6], "one weight of 40,000");
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn guest_namespace_and_sync() {
    let net = Net::new("ipvs-sync").expect("root");
    for host in ["d1", "d2"] {
        net.lan.sysctl(host, "net/ipv4/ip_forward", "1").expect("a setting");
    }
    let _servers = SERVERS.map(|(host, _)| http::Server::start(&net.lan, host, 80));
    let sync = "global_defs {\n lvs_sync_daemon eth0 V id 7\n}\n";
    for (host, priority) in [("d1", 150), ("d2", 100)] {
        net.start_daemon(
            host,
            &format!("{sync}{}{}", vrrp_instance(priority, ""), virtual_server("", &real_servers())),
        );
    }
    net.wait_state("d1", "V", State::Master);
    net.wait_state("d2", "V", State::Backup);
    let roles = |host: &str| {
        with_ipvs(&net, host, |ipvs| {
            ipvs.sync_daemons().expect("a list").iter().map(|d| (d.role, d.syncid)).collect::<Vec<_>>()
        })
    };
    let is = |host: &'static str, role| {
        eventually(&format!("{host} is {role}"), TEST_TIMEOUT, || (roles(host) == [(role, 7)]).then_some(()))
    };
    is("d1", SyncRole::Master);
    is("d2", SyncRole::Backup);
    assert_eq!(net.status("d1").expect("a status").dataplane.kind, "ipvs", "auto, because of what only IPVS has");
    // A connection of enough packets is known to the other director.
    let known = || with_ipvs(&net, "d2", |ipvs| ipvs.connections().expect("a list").len());
    eventually("the peer hears of connections", TEST_TIMEOUT, || {
        let _ = net.lan.run_in("client", || http::get(std::net::SocketAddrV4::new(VIP, 80), Duration::from_secs(5)));
        (known() > 0).then_some(())
    });
    net.lan.ip("d1", "link set eth0 down").expect("a device");
    net.wait_state("d2", "V", State::Master);
    is("d2", SyncRole::Master);
    net.lan.ip("d1", "link set eth0 up").expect("a device");

    // Another namespace's IPVS.
    let other = Net::directors("ipvs-namespace").expect("root");
    let text =
        format!("net_namespace_ipvs {}\n{}", other.lan.namespace("d2"), virtual_server("", &[("192.168.1.11", "")]));
    other.start_daemon("d1", &text);
    let count = |host: &str| with_ipvs(&other, host, |ipvs| ipvs.services().expect("a list").len());
    assert_eq!((count("d1"), count("d2")), (0, 1));
    assert!(other.status("d1").expect("a status").dataplane.detail.contains("/run/netns/"));
}
