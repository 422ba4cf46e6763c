//! Tests of both data planes in one kernel: IPVS and evenkeel's packet path behave alike, and a switch from one to the other
//! loses no connection. They need a kernel that has both, such as Debian's under QEMU.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel_core::ipvs::{
    Change, Dest, SVC_F_ONEPACKET, SVC_F_PERSISTENT, SVC_F_SCHED1, SVC_F_SCHED2, Service, ServiceId,
};
use evenkeel_core::model::Protocol;
use evenkeel_sys::bpf::XdpBackend;
use evenkeel_sys::ipvs::Ipvs;
use evenkeel_sys::ipvs_backend::IpvsBackend;
use evenkeel_sys::paths::{bpf_dir, run_dir};
use evenkeel_testkit::demo_network::{SERVERS, VIP};
use evenkeel_testkit::lan::eventually;
use evenkeel_testkit::rng::Rng;
use evenkeel_tests::{Net, TEST_TIMEOUT};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

/// The kernel is emulated and busy.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Starts a thread that echoes on every connection until the test process ends.
fn echo_server(net: &Net, host: &'static str, port: u16) {
    let (tx, rx) = std::sync::mpsc::channel();
    net.lan.spawn_thread_in(host, move || {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let _ = tx.send(());
        let mut all: Vec<TcpStream> = Vec::new();
        loop {
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true).expect("a socket");
                all.push(stream);
            }
            all.retain_mut(|s| {
                let mut buf = [0; 64];
                match s.read(&mut buf) {
                    Ok(0) => false,
                    Ok(n) => s.write_all(&buf[..n]).is_ok(),
                    Err(e) => e.kind() == ErrorKind::WouldBlock,
                }
            });
            std::thread::sleep(Duration::from_millis(3));
        }
    });
    rx.recv().expect("it listens");
}

fn check_echo(stream: &mut TcpStream, word: &[u8]) -> std::io::Result<()> {
    stream.write_all(word)?;
    let mut buf = vec![0; word.len()];
    stream.read_exact(&mut buf)?;
    if buf == word { Ok(()) } else { Err(std::io::Error::other("another reply")) }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let at = SocketAddr::V4(SocketAddrV4::new(VIP, port));
    let stream = TcpStream::connect_timeout(&at, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn config(plane: &str) -> String {
    format!(
        "global_defs {{\n dataplane {plane}\n connection_table_size 65536\n dataplane_interface eth0 auto\n}}\n\
         virtual_server {VIP} 7001 {{\n lvs_sched rr\n lvs_method NAT\n protocol TCP\n persistence_timeout 300\n \
         real_server 192.168.1.11 7000 {{\n }}\n real_server 192.168.1.12 7000 {{\n }}\n}}\n\
         virtual_server {VIP} 7002 {{\n lvs_sched wlc\n lvs_method DR\n protocol TCP\n \
         real_server 192.168.1.13 7002 {{\n }}\n}}\n"
    )
}

/// Switches in both directions with a thousand connections that stay open, and with short connections all the time.
#[test]
#[ignore = "needs a kernel with IPVS that takes our packet path as well"]
fn the_data_plane_changes_and_no_connection_is_lost() {
    const HELD: usize = 1000;
    // This process has both ends of all connections.
    setrlimit(Resource::RLIMIT_NOFILE, 8 * HELD as u64, 8 * HELD as u64).expect("root may");
    let Some(net) = Net::new("both-switch") else { return };
    net.lan.ip("d1", &format!("addr add {VIP}/32 dev eth0")).expect("an address");
    net.lan.sysctl("d1", "net/ipv4/ip_forward", "1").expect("a setting");
    net.lan.sysctl("d1", "net/ipv4/conf/all/send_redirects", "0").expect("a setting");
    net.lan.sysctl("d1", "net/ipv4/conf/eth0/send_redirects", "0").expect("a setting");
    // Two servers behind NAT, whose replies go through the director, and one that replies directly.
    for host in ["r1", "r2"] {
        net.lan.ip(host, "route replace default via 192.168.1.2").expect("a route");
        net.lan.ip(host, &format!("addr del {VIP}/32 dev lo")).expect("an address");
        echo_server(&net, host, 7000);
    }
    echo_server(&net, "r3", 7002);
    let pid = net.start_daemon("d1", &config("ipvs"));
    let kind = |wanted: &str| net.status("d1").filter(|s| s.dataplane.kind == wanted).map(|_| ());
    eventually("IPVS forwards", TEST_TIMEOUT, || kind("ipvs"));

    let held = net.lan.run_in("client", || {
        let open = |n: usize| {
            let port = if n.is_multiple_of(2) { 7001 } else { 7002 };
            let mut stream = connect(port)?;
            check_echo(&mut stream, b"begin")?;
            Ok::<_, std::io::Error>(stream)
        };
        (0..HELD).map(|n| open(n).map_err(|e| format!("connection {n}: {e}"))).collect::<Result<Vec<_>, _>>()
    });
    let mut held = held.expect("the client").unwrap_or_else(|e| {
        let seen = net.lan.run_in("d1", || Ipvs::open().expect("IPVS").connections().expect("a list"));
        panic!("{e}\n{:#?}", seen.expect("the director"));
    });

    let stop = Arc::new(AtomicBool::new(false));
    let (sent, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let thread = {
        let (stop, sent, failed) = (stop.clone(), sent.clone(), failed.clone());
        net.lan.spawn_thread_in("client", move || {
            for n in 0usize.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let port = if n.is_multiple_of(2) { 7001 } else { 7002 };
                if let Err(e) = connect(port).and_then(|mut s| check_echo(&mut s, b"short")) {
                    eprintln!("request {n} to port {port}: {e}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    for (round, plane) in ["xdp", "ipvs", "xdp", "ipvs"].into_iter().enumerate() {
        let before = sent.load(Ordering::Relaxed);
        net.write_config("d1", &config(plane));
        // By a signal: the reply to a request would exceed its timeout on the emulated kernel.
        net.lan.signal(pid, Signal::SIGHUP).expect("a reload");
        eventually(&format!("{plane} forwards"), TEST_TIMEOUT, || kind(plane));
        let word = format!("round {round}");
        let lost = held.iter_mut().filter_map(|s| check_echo(s, word.as_bytes()).err()).collect::<Vec<_>>();
        assert!(lost.is_empty(), "{} of {HELD} connections were lost to {plane}: {:?}", lost.len(), lost.first());
        eventually("more requests", TEST_TIMEOUT, || (sent.load(Ordering::Relaxed) > before + 5).then_some(()));
        // The other data plane has no services.
        let other = net.lan.run_in("d1", || match plane {
            "xdp" => Ipvs::open().expect("IPVS").services().expect("a list").len(),
            _ => usize::from(XdpBackend::is_loaded(&bpf_dir(&net.lan.instance("d1")))),
        });
        assert_eq!(other.expect("the director"), 0, "the other plane after the change to {plane}");
    }
    // A switch at the hand-over to a daemon whose configuration has the other data plane.
    net.lan.signal(pid, Signal::SIGQUIT).expect("it hands over");
    net.start_daemon("d1", &config("xdp"));
    let lost = held.iter_mut().filter_map(|s| check_echo(s, b"next daemon").err()).collect::<Vec<_>>();
    assert!(lost.is_empty(), "{} of {HELD} connections were lost at the hand-over: {:?}", lost.len(), lost.first());
    stop.store(true, Ordering::Relaxed);
    thread.join().expect("the requests");
    let (sent, failed) = (sent.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!("{HELD} connections held, {sent} requests meanwhile, {failed} failed");
    assert_eq!(failed, 0, "of {sent} requests");
}

/// A network whose director has one of the data planes. The real servers reply with their names.
struct PlaneUnderTest {
    net: Net,
    kernel: bool,
    held: VecDeque<TcpStream>,
}

impl PlaneUnderTest {
    fn new(name: &str, kernel: bool) -> Option<PlaneUnderTest> {
        let net = Net::new(name)?;
        net.lan.ip("d1", &format!("addr add {VIP}/32 dev eth0")).expect("an address");
        net.lan.sysctl("d1", "net/ipv4/ip_forward", "1").expect("a setting");
        for n in 10..15 {
            net.lan.ip("client", &format!("addr add 10.77.0.{n}/24 dev eth0")).expect("an address");
        }
        for (host, _) in SERVERS {
            for port in [80, 81] {
                start_identity_servers(&net, host, port);
            }
        }
        Some(PlaneUnderTest { net, kernel, held: VecDeque::new() })
    }

    fn with_table<T: Send>(&self, work: impl FnOnce(&mut dyn IpvsBackend) -> T + Send) -> T {
        let instance = self.net.lan.instance("d1");
        let kernel = self.kernel;
        let done = self.net.lan.run_in("d1", move || {
            if kernel {
                work(&mut Ipvs::open().expect("IPVS"))
            } else {
                work(&mut XdpBackend::open(&bpf_dir(&instance), &run_dir(&instance), true).expect("the packet path"))
            }
        });
        done.expect("the director")
    }

    fn apply_change(&self, change: &Change) -> Option<i32> {
        self.with_table(|t| t.apply_change(change).err().map(|e| e.errno().unwrap_or_else(|| panic!("{e}"))))
    }

    /// The contents of `-Ln` and `-Lnc`: services, servers with their counts, connections with their states.
    fn listing(&self) -> Vec<String> {
        self.with_table(|t| {
            let mut lines = Vec::new();
            let mut services = t.services().expect("a list");
            services.sort_by_key(|s| s.service.id);
            for s in services {
                lines.push(format!("{:?}", s.service));
                for d in t.dests(s.service.id).expect("a list") {
                    lines.push(format!("  {:?} {} {} {}", d.dest, d.active, d.inactive, d.persistent));
                }
            }
            let mut all: Vec<String> = t
                .connections()
                .expect("a list")
                .iter()
                .map(|c| format!("{} {:?} {:?} {:?} {}", c.protocol, c.client, c.service, c.dest, c.state))
                .collect();
            all.sort();
            // The kernel's list may repeat the entry at which one read of it ended. The counts above tell a real
            // duplicate.
            all.dedup();
            lines.extend(all);
            lines
        })
    }

    /// The number of connections that each service and server has had.
    fn connection_counts(&self) -> BTreeMap<String, u64> {
        self.with_table(|t| {
            let mut all = BTreeMap::new();
            for s in t.services().expect("a list") {
                all.insert(s.service.id.to_string(), s.stats.conns);
                for d in t.dests(s.service.id).expect("a list") {
                    all.insert(format!("{} {}", s.service.id, d.dest.addr), d.stats.conns);
                }
            }
            all
        })
    }

    /// Closes the oldest connection; `abort`: with a RST, which TCP does not retransmit. Packets to a removed server are
    /// dropped. If the server is added again, a retransmission might arrive on one data plane and not yet on the other.
    fn close_oldest(&mut self, abort: bool) {
        let Some(stream) = self.held.pop_front() else { return };
        if abort {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Sends a request to a service. Returns the name of the server that replied, or the error.
    fn send_request(&mut self, protocol: Protocol, from: SocketAddrV4, port: u16, hold: bool) -> String {
        let to = SocketAddrV4::new(VIP, port);
        let sent = self.net.lan.run_in("client", || match protocol {
            Protocol::Udp => udp_request(from, to).map(|name| (name, None)),
            _ => tcp_request(from, to).map(|(name, stream)| (name, Some(stream))),
        });
        match sent.expect("the client") {
            Ok((name, stream)) => {
                self.held.extend(stream.filter(|_| hold));
                name
            }
            Err(e) => format!("{:?}", e.kind()),
        }
    }
}

fn start_identity_servers(net: &Net, host: &'static str, port: u16) {
    net.lan.spawn_thread_in(host, move || {
        let socket = UdpSocket::bind((VIP, port)).expect("a free port");
        let mut buf = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buf) {
            let _ = socket.send_to(host.as_bytes(), from);
        }
    });
    let (tx, rx) = std::sync::mpsc::channel();
    net.lan.spawn_thread_in(host, move || {
        let listener = TcpListener::bind((VIP, port)).expect("a free port");
        let _ = tx.send(());
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.write_all(host.as_bytes());
                let mut buf = [0; 1];
                let _ = stream.read(&mut buf); // until the client closes
            });
        }
    });
    rx.recv().expect("it listens");
}

fn udp_request(from: SocketAddrV4, to: SocketAddrV4) -> std::io::Result<String> {
    let socket = UdpSocket::bind(from)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.send(b"?")?;
    let mut buf = [0; 64];
    let n = socket.recv(&mut buf)?;
    Ok(String::from_utf8_lossy(&buf[..n]).into_owned())
}

fn tcp_request(from: SocketAddrV4, to: SocketAddrV4) -> std::io::Result<(String, TcpStream)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::V4(from).into())?;
    socket.connect_timeout(&SocketAddr::V4(to).into(), TIMEOUT)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut buf = [0; 2];
    stream.read_exact(&mut buf)?;
    Ok((String::from_utf8_lossy(&buf).into_owned(), stream))
}

/// Random services, servers, changes and clients lead to the same selections, states and counts.
#[test]
#[ignore = "needs a kernel with IPVS that takes our packet path as well"]
fn random_sessions_are_the_same_on_both() {
    let seed = std::env::var("EVENKEEL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_126);
    let steps = std::env::var("EVENKEEL_SESSION").ok().and_then(|s| s.parse().ok()).unwrap_or(160);
    let (Some(a), Some(b)) = (PlaneUnderTest::new("both-ipvs", true), PlaneUnderTest::new("both-xdp", false)) else {
        return;
    };
    let mut sides = [a, b];
    let mut dice = Rng(seed);
    let (mut choices, mut rejected, mut removed) = (0, 0, false);
    let mut port = 20_000;
    let schedulers = ["rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq", "fo", "ovf", "lblc", "lblcr", "dh"];
    let ids = [(Protocol::Tcp, 80), (Protocol::Tcp, 81), (Protocol::Udp, 80), (Protocol::Udp, 81)]
        .map(|(protocol, port)| ServiceId::Address { protocol, addr: VIP.into(), port });
    for step in 0..steps {
        let id = dice.choose(&ids);
        let mut service = Service::new(id, dice.choose(&schedulers));
        if matches!(service.scheduler.as_str(), "sh" | "mh") {
            service.flags |= dice.choose(&[0, SVC_F_SCHED1, SVC_F_SCHED2, SVC_F_SCHED1 | SVC_F_SCHED2]);
        }
        if dice.chance(25) {
            service.flags |= SVC_F_PERSISTENT;
            service.timeout_s = 300;
            service.netmask = dice.choose(&[u32::MAX, 0xffff_ff00]);
        } else if matches!(id, ServiceId::Address { protocol: Protocol::Udp, .. }) && dice.chance(15) {
            service.flags |= SVC_F_ONEPACKET;
        }
        let (_, addr) = dice.choose(&SERVERS);
        let mut dest = Dest::new(IpAddr::V4(addr), id.port());
        dest.weight = dice.choose(&[0, 1, 1, 2, 3, 5]);
        if dice.chance(20) {
            dest.u_threshold = 2 + dice.below(4) as u32;
        }
        let change = match dice.below(100) {
            0..8 => Some(Change::AddService(service)),
            8..11 => Some(Change::EditService(service)),
            11..13 => Some(Change::RemoveService(id)),
            13..28 => Some(Change::AddDest(id, dest)),
            28..34 => Some(Change::EditDest(id, dest)),
            34..38 => Some(Change::RemoveDest(id, dest)),
            _ if step < 8 => Some(Change::AddService(service)),
            _ if step < 20 => Some(Change::AddDest(id, dest)),
            38..45 => {
                sides.iter_mut().for_each(|s| s.close_oldest(removed));
                // The last packets must arrive before the next step, which may remove the server.
                std::thread::sleep(Duration::from_millis(300));
                None
            }
            _ => {
                port += 1;
                let from = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 10 + dice.below(5) as u8), port);
                let ServiceId::Address { protocol, port: to, .. } = id else { continue };
                let hold = dice.chance(60);
                let [ipvs, xdp] = sides.each_mut().map(|s| s.send_request(protocol, from, to, hold));
                assert_eq!(
                    ipvs,
                    xdp,
                    "step {step}, seed {seed}: {protocol} {from} to port {to}\n{:#?}",
                    sides[0].listing()
                );
                choices += 1;
                rejected += usize::from(!ipvs.starts_with('r'));
                None
            }
        };
        if matches!(change, Some(Change::RemoveService(_))) {
            // IPVS sums up its counters every two seconds. Counts that are not summed up yet would go to the next service
            // with this key.
            std::thread::sleep(Duration::from_millis(2500));
        }
        removed |= matches!(change, Some(Change::RemoveService(_) | Change::RemoveDest(..)));
        if let Some(change) = change {
            let [ipvs, xdp] = sides.each_ref().map(|s| s.apply_change(&change));
            assert_eq!(ipvs, xdp, "step {step}, seed {seed}: {change}");
        }
        if step % 8 == 7 {
            // The last packets of closing connections may still be under way.
            let mut seen = Vec::new();
            let same = evenkeel_testkit::lan::wait_for(Duration::from_secs(10), || {
                seen = sides.iter().map(PlaneUnderTest::listing).collect();
                (seen[0] == seen[1]).then_some(())
            });
            assert!(same.is_some(), "step {step}, seed {seed}: IPVS and xdp\n{:#?}\n{:#?}", seen[0], seen[1]);
        }
    }
    // The statistics of IPVS are up to two seconds old.
    std::thread::sleep(Duration::from_secs(3));
    let [ipvs, xdp] = sides.each_ref().map(PlaneUnderTest::connection_counts);
    assert_eq!(ipvs, xdp, "seed {seed}");
    println!("{steps} steps, {choices} clients ({rejected} rejected), {} services and servers: the same", ipvs.len());
    assert!(choices > steps / 4, "too few clients");
}
