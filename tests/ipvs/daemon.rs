//! Tests of the daemon on the kernel's IPVS in user-mode Linux: the services that it creates, the external services that it
//! leaves, and the messages that it sends to the kernel.

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
use evenkeel_testkit::lan::{Pid, eventually};
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

/// Runs a function with the IPVS of a host.
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

/// The configured service of [`guest_services`], and an external one.
const CONFIGURED: u16 = 80;
const EXTERNAL: u16 = 99;

/// A director whose daemon runs on IPVS, with three web servers.
struct IpvsDirector {
    net: Net,
}

impl IpvsDirector {
    fn with_ipvs<T: Send>(&self, work: impl FnOnce(&mut Ipvs) -> T + Send) -> T {
        with_ipvs(&self.net, "d1", work)
    }

    /// Changes IPVS as another program does.
    fn change(&self, change: &Change) {
        self.with_ipvs(|ipvs| ipvs.apply_change(change).expect("IPVS accepts the change"));
    }

    fn config(more: &str) -> String {
        format!("global_defs {{\n dataplane ipvs\n{more}\n}}\n{}", virtual_server("", &real_servers()))
    }

    fn reload(&self, config: &str) {
        self.net.write_config("d1", config);
        self.net.reload("d1");
    }

    fn weights(&self, port: u16) -> Vec<(u8, i32)> {
        server_weights(&self.net, service_id(port))
    }

    fn wait_server_count(&self, what: &str, port: u16, count: usize) {
        eventually(what, TEST_TIMEOUT, || (self.weights(port).len() == count).then_some(()));
    }
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn guest_services() {
    let director = IpvsDirector { net: Net::new("ipvs-services").expect("root") };
    let net = &director.net;
    net.lan.ip("d1", &format!("addr add {VIP}/32 dev eth0")).expect("an address");
    net.lan.sysctl("d1", "net/ipv4/ip_forward", "1").expect("a setting");
    let mut web_servers: Vec<_> =
        SERVERS.into_iter().map(|(host, _)| http::Server::start(&net.lan, host, 80)).collect();

    let pid = daemon_takes_over_a_service(&director);
    // A failed health check removes the server, and a successful one adds it again.
    web_servers.pop().expect("a server").stop();
    director.wait_server_count("the failed server is removed", CONFIGURED, 2);
    web_servers.push(http::Server::start(&net.lan, "r3", 80));
    director.wait_server_count("the server is added", CONFIGURED, 3);
    drift_is_repaired_or_left(&director);
    many_external_changes_are_repaired(&director);
    an_ended_connection_is_reset(&director);
    a_missing_scheduler_module_is_logged(&director);
    a_service_that_is_not_configured_any_more_may_be_external(&director);
    // A stop removes the daemon's services only.
    net.lan.signal(pid, nix::sys::signal::Signal::SIGTERM).expect("it stops");
    let left: BTreeSet<ServiceId> =
        director.with_ipvs(|ipvs| ipvs.services().expect("a list").iter().map(|s| s.service.id).collect());
    assert_eq!(left, BTreeSet::from([service_id(CONFIGURED), service_id(EXTERNAL)]));
}

/// Another program has created the configured service and an external one. The daemon takes over the first, with its
/// connections. Returns the daemon's process ID.
fn daemon_takes_over_a_service(director: &IpvsDirector) -> Pid {
    let net = &director.net;
    for (port, scheduler) in [(CONFIGURED, "wlc"), (EXTERNAL, "rr")] {
        director.change(&Change::AddService(Service::new(service_id(port), scheduler)));
    }
    for (_, addr) in SERVERS {
        director.change(&Change::AddDest(service_id(CONFIGURED), Dest::new(addr.into(), 80)));
    }
    let get = || http::get(std::net::SocketAddrV4::new(VIP, 80), Duration::from_secs(5));
    net.lan.run_in("client", get).expect("the client").expect("a reply");
    let pid = net.start_daemon("d1", &IpvsDirector::config(""));
    let status = net.status("d1").expect("a status");
    assert_eq!(status.dataplane.kind, "ipvs");
    assert_eq!(status.dataplane.external_services, [service_id(EXTERNAL).to_string()]);
    let conns = director.with_ipvs(|ipvs| {
        let dests = ipvs.dests(service_id(CONFIGURED)).expect("a list");
        dests.iter().map(|d| d.active + d.inactive).sum::<u32>()
    });
    assert_eq!(conns, 1, "the daemon has not created the service again");
    pid
}

fn drift_is_repaired_or_left(director: &IpvsDirector) {
    let id = service_id(CONFIGURED);
    let heavy = Dest { weight: 9, ..Dest::new([192, 168, 1, 11].into(), 80) };
    director.change(&Change::EditDest(id, heavy));
    eventually("the weight is repaired", TEST_TIMEOUT, || (director.weights(CONFIGURED)[0] == (11, 1)).then_some(()));
    director.change(&Change::RemoveService(id));
    director.wait_server_count("the service is repaired", CONFIGURED, 3);
    assert!(director.net.status("d1").expect("a status").dataplane.repaired >= 2);

    director.reload(&IpvsDirector::config(" hand_changes leave"));
    director.change(&Change::EditDest(id, heavy));
    let drift = eventually("the drift is reported", TEST_TIMEOUT, || {
        director.net.status("d1").map(|s| s.dataplane.drift).filter(|d| !d.is_empty())
    });
    assert_eq!(drift, [format!("change 192.168.1.11:80 of {id}, weight 1")]);
    assert_eq!(director.weights(CONFIGURED)[0], (11, 9), "the drift is left");
}

fn many_external_changes_are_repaired(director: &IpvsDirector) {
    director.reload(&IpvsDirector::config(""));
    let id = service_id(CONFIGURED);
    director.with_ipvs(|ipvs| {
        for n in 0..200u8 {
            let _ = ipvs.apply_change(&Change::RemoveDest(id, Dest::new([192, 168, 1, 11 + n % 3].into(), 80)));
            let _ = ipvs.apply_change(&Change::AddDest(id, Dest::new([192, 168, 1, 100 + n % 5].into(), 80)));
            if n % 50 == 0 {
                let _ = ipvs.apply_change(&Change::RemoveService(id));
                std::thread::sleep(Duration::from_secs(3));
            }
        }
    });
    eventually("the service is as configured", TEST_TIMEOUT, || {
        (director.weights(CONFIGURED) == [(11, 1), (12, 1), (13, 1)]).then_some(())
    });
}

fn an_ended_connection_is_reset(director: &IpvsDirector) {
    let mut client = director.net.lan.run_in("client", || {
        let stream = std::net::TcpStream::connect((VIP, 80)).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        stream
    });
    let stream = client.as_mut().expect("the client");
    let from = stream.local_addr().expect("an address");
    let ended = director.with_ipvs(|ipvs| {
        ipvs.end_connections(&|c| c.client == (from.ip(), from.port())).expect("IPVS accepts the datagram")
    });
    assert_eq!(ended, 1);
    let mut buf = [0; 1];
    let error = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").and_then(|()| stream.read(&mut buf)).expect_err("a RST");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

fn a_missing_scheduler_module_is_logged(director: &IpvsDirector) {
    director.reload(&IpvsDirector::config("").replace("protocol TCP", "protocol TCP\n lvs_sched twos"));
    eventually("the log names the module", TEST_TIMEOUT, || {
        director.net.lan.log("d1").contains("the module ip_vs_twos cannot be loaded").then_some(())
    });
    assert_eq!(director.weights(CONFIGURED).len(), 3, "the service keeps its former scheduler");
}

/// Another program removes a configured service, the configuration drops it, and the program adds it again.
fn a_service_that_is_not_configured_any_more_may_be_external(director: &IpvsDirector) {
    let id = service_id(CONFIGURED);
    director.reload(&IpvsDirector::config(" hand_changes leave"));
    director.change(&Change::RemoveService(id));
    director.reload(&IpvsDirector::config("").replace(" 80 {", " 82 {"));
    director.wait_server_count("the service on the other port exists", 82, 3);
    director.change(&Change::AddService(Service::new(id, "rr")));
    let external = [id.to_string(), service_id(EXTERNAL).to_string()];
    eventually("the service is external", TEST_TIMEOUT, || {
        director.net.status("d1").filter(|s| s.dataplane.external_services == external)
    });
}

/// The changes of IPVS that a function sends through netlink on a host, by their command numbers.
fn sent_changes(net: &Net, work: impl FnOnce()) -> Vec<u8> {
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
        // Only NETLINK_GENERIC.
        if head[14..16] != [0, 16] {
            continue;
        }
        while messages.len() >= 20 {
            let len = u32::from_ne_bytes(messages[..4].try_into().expect("four bytes")) as usize;
            let word = |at: usize| u16::from_ne_bytes(messages[at..at + 2].try_into().expect("two bytes"));
            // Only requests, not of the controller's family, with a command that changes something.
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

/// A configuration with this many services of four servers each. One server of the eighth service has this weight.
fn many_services(count: u32, weight: u32) -> String {
    let mut text = String::from("global_defs {\n dataplane ipvs\n}\n");
    for n in 0..count {
        let (a, b) = (n / 250, n % 250);
        text += &format!("virtual_server 10.{a}.{b}.1 80 {{\n lvs_sched wlc\n lvs_method DR\n protocol TCP\n");
        for s in 1..=4 {
            let w = if n == 7 && s == 2 { weight } else { 1 };
            text += &format!(" real_server 192.168.2.{s} 80 {{\n  weight {w}\n }}\n");
        }
        text += "}\n";
    }
    text
}

/// With 10,000 services of four servers each. The time is printed but not checked, because this kernel is emulated.
#[test]
#[ignore = "runs inside user-mode Linux"]
fn guest_messages() {
    let net = Net::directors("ipvs-messages").expect("root");
    net.lan.ip("d1", "link add nlmon0 type nlmon").expect("a device");
    net.lan.ip("d1", "link set nlmon0 up").expect("a device");
    let pid = net.start_daemon("d1", &many_services(20, 1));
    assert_eq!(sent_changes(&net, || drop(net.reload("d1"))), [0; 0], "an unchanged file");
    net.write_config("d1", &many_services(20, 5));
    let reload = || assert!(matches!(net.reload("d1"), Reply::Reloaded { .. }));
    assert_eq!(sent_changes(&net, reload), [6], "one weight is one SET_DEST");
    // The same configuration with another text.
    net.write_config("d1", &format!("# another comment\n{}", many_services(20, 5)));
    assert_eq!(sent_changes(&net, reload), [0; 0], "only a comment is new");
    net.lan.signal(pid, nix::sys::signal::Signal::SIGTERM).expect("it stops");

    let count = 10_000;
    net.start_daemon("d1", &many_services(count, 1));
    let existing = with_ipvs(&net, "d1", |ipvs| ipvs.services().expect("a list").len());
    assert_eq!(existing, count as usize);
    let start = Instant::now();
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
    let observed = start.elapsed();
    assert_eq!(changes.len(), 5 * count as usize);
    let (applied, error) = with_ipvs(&net, "d2", |ipvs| {
        let start = Instant::now();
        let error = ipvs.apply_changes(&changes).into_iter().filter_map(Result::err).next();
        (start.elapsed(), error)
    });
    assert!(error.is_none(), "{error:?}");
    println!("{count} services of 4 servers: observed in {observed:?}, created in {applied:?}");
    net.write_config("d1", &many_services(count, 5));
    assert_eq!(sent_changes(&net, || drop(net.reload("d1"))), [6], "one weight of 40,000");
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
    let wait_role = |host: &'static str, role| {
        eventually(&format!("{host} is {role}"), TEST_TIMEOUT, || (roles(host) == [(role, 7)]).then_some(()))
    };
    wait_role("d1", SyncRole::Master);
    wait_role("d2", SyncRole::Backup);
    assert_eq!(
        net.status("d1").expect("a status").dataplane.kind,
        "ipvs",
        "auto selects IPVS, because only IPVS has sync daemons"
    );
    // IPVS sends a connection to the other director after some packets.
    let known = || with_ipvs(&net, "d2", |ipvs| ipvs.connections().expect("a list").len());
    eventually("the peer receives connections", TEST_TIMEOUT, || {
        let _ = net.lan.run_in("client", || http::get(std::net::SocketAddrV4::new(VIP, 80), Duration::from_secs(5)));
        (known() > 0).then_some(())
    });
    net.lan.ip("d1", "link set eth0 down").expect("a device");
    net.wait_state("d2", "V", State::Master);
    wait_role("d2", SyncRole::Master);
    net.lan.ip("d1", "link set eth0 up").expect("a device");

    // The IPVS of another namespace.
    let other = Net::directors("ipvs-namespace").expect("root");
    let text =
        format!("net_namespace_ipvs {}\n{}", other.lan.namespace("d2"), virtual_server("", &[("192.168.1.11", "")]));
    other.start_daemon("d1", &text);
    let count = |host: &str| with_ipvs(&other, host, |ipvs| ipvs.services().expect("a list").len());
    assert_eq!((count("d1"), count("d2")), (0, 1));
    assert!(other.status("d1").expect("a status").dataplane.detail.contains("/run/netns/"));
}
