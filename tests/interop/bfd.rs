//! BFD with Debian's BIRD, FRR and keepalived. A session comes up, is lost when the neighbour dies, comes back, and
//! ends when evenkeel stops.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use evenkeel_core::bfd::State;
use evenkeel_core::ipc::BfdStatus;
use evenkeel_testkit::lan::{Pid, eventually};
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT, virtual_server};
use nix::sys::signal::Signal;

/// A BFD neighbour on d2.
trait Neighbour {
    fn start(&self, net: &Net, local_addr: &str) -> Option<Vec<Pid>>;
    fn is_up(&self, net: &Net) -> bool;
}

fn find_program(path: &str, package: &str) -> Option<PathBuf> {
    let found = Path::new(path).exists().then(|| path.into());
    if found.is_none() {
        eprintln!("skipped: this test needs Debian's {package} (make test-deps)");
    }
    found
}

fn run_in_host(net: &Net, host: &str, program: &str, args: &[&str]) -> String {
    let out = net.lan.command(host, program.as_ref()).args(args).output().expect("runs");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A directory for sockets, with a short path: the length of a socket's path is limited.
fn socket_dir(net: &Net) -> PathBuf {
    let dir = std::env::temp_dir().join(net.lan.instance("bfd"));
    fs::create_dir_all(&dir).expect("writable");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("permissions");
    dir
}

struct Bird;

/// Starts BIRD on a host, with a session to this address.
fn start_bird(net: &Net, host: &str, local_addr: &str) -> Option<Pid> {
    let bird = find_program("/usr/sbin/bird", "bird2")?;
    let text = format!(
        "router id 192.168.1.3;\nprotocol device {{\n}}\nprotocol bfd {{\n interface \"*\" {{\n  min rx interval 60 ms;\n  \
         min tx interval 50 ms;\n  multiplier 4;\n }};\n neighbor {local_addr} dev \"eth0\";\n}}\n"
    );
    let config = net.write_config(&format!("{host}-bird"), &text);
    let socket = socket_dir(net).join(format!("{host}.ctl"));
    let _ = fs::remove_file(&socket);
    let args = ["-f", "-c", config.to_str().expect("UTF-8"), "-s", socket.to_str().expect("UTF-8")];
    Some(net.lan.spawn(host, &format!("{host}-bird"), &bird, &args).expect("starts"))
}

impl Neighbour for Bird {
    fn start(&self, net: &Net, local_addr: &str) -> Option<Vec<Pid>> {
        Some(vec![start_bird(net, "d2", local_addr)?])
    }

    fn is_up(&self, net: &Net) -> bool {
        let socket = socket_dir(net).join("d2.ctl");
        let shown =
            run_in_host(net, "d2", "/usr/sbin/birdc", &["-s", socket.to_str().expect("UTF-8"), "show bfd sessions"]);
        shown.lines().any(|l| l.split_whitespace().any(|w| w == "Up"))
    }
}

struct Frr;

impl Neighbour for Frr {
    fn start(&self, net: &Net, local_addr: &str) -> Option<Vec<Pid>> {
        let (zebra, bfdd) = (find_program("/usr/lib/frr/zebra", "frr")?, find_program("/usr/lib/frr/bfdd", "frr")?);
        let dir = socket_dir(net);
        let path = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
        for name in ["zebra.vty", "bfdd.vty", "zserv", "bfdd.sock"] {
            let _ = fs::remove_file(dir.join(name));
        }
        let session = " receive-interval 60\n  transmit-interval 50\n  detect-multiplier 4\n";
        fs::write(dir.join("bfdd.conf"), format!("bfd\n peer {local_addr} interface eth0\n {session} exit\nexit\n"))
            .expect("writable");
        fs::write(dir.join("zebra.conf"), "\n").expect("writable");
        let mut pids = Vec::new();
        for (name, program) in [("zebra", &zebra), ("bfdd", &bfdd)] {
            let (conf, zserv, pid, vty) =
                (path(&format!("{name}.conf")), path("zserv"), path(&format!("{name}.pid")), path(""));
            let mut args = vec!["-f", &conf, "-z", &zserv, "-i", &pid, "--vty_socket", &vty, "-P", "0"];
            let bfdctl = path("bfdd.sock");
            if name == "bfdd" {
                args.extend(["--bfdctl", &bfdctl]);
            }
            pids.push(net.lan.spawn("d2", &format!("d2-{name}"), program, &args).expect("starts"));
            if name == "zebra" {
                eventually("zebra listens", TEST_TIMEOUT, || dir.join("zserv").exists().then_some(()));
            }
        }
        Some(pids)
    }

    fn is_up(&self, net: &Net) -> bool {
        let dir = socket_dir(net);
        let args = ["--vty_socket", dir.to_str().expect("UTF-8"), "-d", "bfdd", "-c", "show bfd peers brief"];
        run_in_host(net, "d2", "/usr/bin/vtysh", &args).lines().any(|l| l.split_whitespace().last() == Some("up"))
    }
}

struct Keepalived;

impl Neighbour for Keepalived {
    fn start(&self, net: &Net, local_addr: &str) -> Option<Vec<Pid>> {
        // It starts its BFD process only if an object tracks the session.
        let source = if local_addr.contains(':') { "fd99::3" } else { "192.168.1.3" };
        let config = format!(
            "bfd_instance b {{\nneighbor_ip {local_addr}\nsource_ip {source}\nhoplimit 255\nmin_rx 60\nmin_tx 50\n\
             multiplier 4\n}}\nvrrp_instance V {{\ninterface eth0\nvirtual_router_id 51\npriority 100\n\
             track_bfd {{\nb\n}}\nvirtual_ipaddress {{\n192.168.1.100/24\n}}\n}}\n"
        );
        crate::start_keepalived(net, "d2", &config).map(|p| vec![p])
    }

    /// Its virtual router sees a session that is lost, but not one that the neighbour ends (RFC 5882, 3.2).
    fn is_up(&self, net: &Net) -> bool {
        let log = fs::read_to_string(net.lan.dir.join("d2-keepalived.log")).unwrap_or_default();
        log.lines().rfind(|l| l.contains("(b) Entering")).is_some_and(|l| l.contains("Up state"))
    }
}

/// Waits for the end of keepalived's children, which hold its pid files.
fn wait_for_keepalived_children(net: &Net) {
    for file in ["r", "b"] {
        let Ok(pid) = fs::read_to_string(net.lan.dir.join("d2-keepalived").join(file)) else { continue };
        let gone = || (!Path::new("/proc").join(pid.trim()).exists()).then_some(());
        eventually("keepalived's children are gone", TEST_TIMEOUT, gone);
    }
}

fn bfd_session(net: &Net) -> Option<BfdStatus> {
    net.status("d1")?.bfd_sessions.into_iter().next()
}

fn wait_for_session(net: &Net, state: State) -> BfdStatus {
    let is = |s: &BfdStatus| (s.state == State::Up) == (state == State::Up);
    eventually(&format!("the session is {state}"), TEST_TIMEOUT, || bfd_session(net).filter(is))
}

fn check_interoperation(name: &str, peer: &dyn Neighbour, ipv6: bool) {
    let Some(net) = Net::directors(&format!("bfd-{name}")) else { return };
    net.add_ipv6_to_directors();
    let (local_addr, neighbour_addr) = if ipv6 { ("fd99::2", "fd99::3") } else { ("192.168.1.2", "192.168.1.3") };
    let Some(pids) = peer.start(&net, local_addr) else { return };
    let config = format!(
        "bfd_instance b {{\n neighbor_ip {neighbour_addr}\n source_ip {local_addr}\n min_rx 60\n min_tx 50\n multiplier 4\n}}\n\
         vrrp_instance W {{\n interface eth0\n virtual_router_id 52\n priority 100\n track_bfd {{\n  b weight -10\n }}\n \
         virtual_ipaddress {{\n  192.168.1.99/24\n }}\n}}\n"
    );
    let d1 = net.start_daemon("d1", &config);
    let up = wait_for_session(&net, State::Up);
    assert!(up.rejected.is_empty(), "{name}: {up:?}");
    eventually("the session is up at the neighbour", TEST_TIMEOUT, || peer.is_up(&net).then_some(()));
    // The negotiated interval is 60 ms; the session is lost after four of them.
    let agreed =
        eventually("the intervals hold", TEST_TIMEOUT, || bfd_session(&net).filter(|s| s.interval_us == 60_000));
    assert_eq!(agreed.detection_time_us, 240_000, "{name}: {agreed:?}");
    assert_eq!(net.instance("d1", "W").expect("answers").priority, 100);
    // The neighbour dies.
    for pid in &pids {
        net.lan.signal(*pid, Signal::SIGKILL).expect("dies");
    }
    wait_for_keepalived_children(&net);
    let down = wait_for_session(&net, State::Down);
    assert_eq!(down.last_down_reason.as_deref(), Some("control detection time expired"), "{name}");
    eventually("the priority follows", TEST_TIMEOUT, || net.instance("d1", "W").filter(|i| i.priority == 90));
    // It returns, and evenkeel stops.
    let _ = net.lan.ip("d2", "addr del 192.168.1.100/24 dev eth0");
    let pids = peer.start(&net, local_addr).expect("it was there before");
    wait_for_session(&net, State::Up);
    eventually("the session is up at the neighbour", TEST_TIMEOUT, || peer.is_up(&net).then_some(()));
    net.lan.signal(d1, Signal::SIGTERM).expect("stops");
    eventually("the session is down at the neighbour", TEST_TIMEOUT, || (!peer.is_up(&net)).then_some(()));
    for pid in pids {
        let _ = net.lan.signal(pid, Signal::SIGTERM);
    }
    let _ = fs::remove_dir_all(socket_dir(&net));
}

#[test]
fn bird_over_ipv4() {
    check_interoperation("bird", &Bird, false);
}

#[test]
fn bird_over_ipv6() {
    check_interoperation("bird6", &Bird, true);
}

#[test]
fn frr_over_ipv4() {
    check_interoperation("frr", &Frr, false);
}

#[test]
fn frr_over_ipv6() {
    check_interoperation("frr6", &Frr, true);
}

#[test]
fn keepalived_over_ipv4() {
    check_interoperation("keepalived", &Keepalived, false);
}

#[test]
fn keepalived_over_ipv6() {
    check_interoperation("keepalived6", &Keepalived, true);
}

/// BFD_CHECK: a real server is up while its session is up.
#[test]
fn a_real_server_leaves_with_its_session_and_comes_back() {
    let Some(net) = Net::new("bfd-check") else { return };
    let Some(r1) = start_bird(&net, "r1", "192.168.1.2") else { return };
    let session = "bfd_instance r1 {\n neighbor_ip 192.168.1.11\n min_rx 60\n min_tx 50\n}\n";
    let servers = virtual_server("", &[("192.168.1.11", "")]).replace("TCP_CHECK {\n", "BFD_CHECK {\n   name r1\n");
    net.start_daemon("d1", &format!("{SMALL_TABLE}{session}{servers}"));
    let r1_is = |up: bool| move |s: evenkeel_core::ipc::ServerStatus| (s.up == up).then_some(s);
    let look = |up: bool| net.real_server("d1", "192.168.1.11".parse().expect("an address")).and_then(r1_is(up));
    wait_for_session(&net, State::Up);
    look(true).expect("it is up from the start");
    net.lan.signal(r1, Signal::SIGKILL).expect("dies");
    let s = eventually("it is taken out", TEST_TIMEOUT, || look(false));
    assert_eq!(s.effective_weight, None);
    let why = s.checks[0].last_probe.as_ref().expect("a result").detail.clone();
    assert!(why.starts_with("BFD session r1 is down: control detection time expired"), "{why}");
    start_bird(&net, "r1", "192.168.1.2").expect("it was there before");
    eventually("it is back", TEST_TIMEOUT, || look(true));
}
