//! Health checks: CPU time per probe beside the same system calls in a bare loop, the intervals between probes of a
//! server, and the longest gap between VRRP adverts meanwhile. A daemon in a namespace checks addresses of its own
//! loopback, and one listener answers all of them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use evenkeel_sys::paths::control_socket;
use evenkeel_sys::wire::Sniffer;
use evenkeel_testkit::control::read_status;
use evenkeel_testkit::lan::{Lan, Pid, wait_for};
use nix::sys::signal::Signal;

use crate::process;

/// A case of the benchmark.
struct Load {
    /// Kind of check: `tcp`, `http` or `misc`.
    check: &'static str,
    servers: usize,
    servers_per_service: usize,
    /// Value of `delay_loop`.
    loop_s: f64,
    /// Duration of the measurement.
    seconds: u64,
}

const LOADS: [Load; 7] = [
    Load { check: "tcp", servers: 100, servers_per_service: 100, loop_s: 1.0, seconds: 15 },
    Load { check: "tcp", servers: 1000, servers_per_service: 100, loop_s: 1.0, seconds: 15 },
    Load { check: "tcp", servers: 5000, servers_per_service: 100, loop_s: 1.0, seconds: 15 },
    Load { check: "tcp", servers: 10_000, servers_per_service: 100, loop_s: 1.0, seconds: 15 },
    Load { check: "http", servers: 1000, servers_per_service: 100, loop_s: 1.0, seconds: 15 },
    Load { check: "misc", servers: 500, servers_per_service: 100, loop_s: 1.0, seconds: 15 },
    Load { check: "tcp", servers: 20_000, servers_per_service: 20, loop_s: 60.0, seconds: 62 },
];

const PAGE: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 12\r\n\r\nhello world\n";

fn server_addr(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x7f01_0000 + n as u32 + 1)
}

/// The configuration, with or without the checks.
fn config_text(load: &Load, with_checks: bool) -> String {
    let mut t = "global_defs {\nscript_user root\nconnection_table_size 16384\n}\n\
        vrrp_instance V {\ninterface eth0\nvirtual_router_id 7\npriority 200\nversion 3\nadvert_int 0.01\n\
        virtual_ipaddress {\n10.99.0.9/32\n}\n}\n"
        .to_owned();
    for n in 0..load.servers {
        if n % load.servers_per_service == 0 {
            let vip = Ipv4Addr::from(0x0a00_0000 + (n / load.servers_per_service) as u32 + 1);
            let _ = write!(
                t,
                "virtual_server {vip} 80 {{\ndelay_loop {}\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\n",
                load.loop_s
            );
        }
        let check = match load.check {
            _ if !with_checks => String::new(),
            "http" => "HTTP_GET {\nurl {\npath /x\n}\n}".to_owned(),
            "misc" => format!("MISC_CHECK {{\nmisc_path \"/bin/true {n}\"\n}}"),
            _ => "TCP_CHECK {\n}".to_owned(),
        };
        let _ = write!(t, "real_server {} 80 {{\n{check}\n}}\n", server_addr(n));
        if n % load.servers_per_service == load.servers_per_service - 1 {
            t += "}\n";
        }
    }
    t
}

/// The probes that the listener received.
#[derive(Default)]
struct ReceivedProbes {
    /// Time of the last probe, by server.
    last: HashMap<IpAddr, Instant>,
    /// Intervals between two probes of one server, ms.
    intervals_ms: Vec<f64>,
    count: u64,
}

struct Bench {
    lan: Lan,
    received: Arc<Mutex<ReceivedProbes>>,
    /// The longest gap between two VRRP adverts, µs.
    advert_gap_us: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Bench {
    /// Answers every connection to port 80 of every address.
    fn start_listener(&self) {
        let received = self.received.clone();
        self.lan.spawn_thread_in("a", move || {
            let Ok(listener) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)) else {
                return eprintln!("cannot listen on port 80");
            };
            // The standard library's backlog is 128.
            if let Err(e) = nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXALLOWABLE) {
                eprintln!("{e}");
            }
            for mut stream in listener.incoming().flatten() {
                let now = Instant::now();
                let Ok(to) = stream.local_addr() else { continue };
                if let Ok(mut a) = received.lock() {
                    a.count += 1;
                    if let Some(before) = a.last.insert(to.ip(), now) {
                        let ms = (now - before).as_secs_f64() * 1000.0;
                        a.intervals_ms.push(ms);
                    }
                }
                let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
                // A TCP check closes the connection without sending anything.
                if matches!(stream.read(&mut [0; 512]), Ok(n) if n > 0) {
                    let _ = stream.write_all(PAGE);
                }
            }
        });
    }

    /// Measures the gaps between adverts.
    fn start_advert_watch(&self) {
        let (gap_us, stop) = (self.advert_gap_us.clone(), self.stop.clone());
        self.lan.spawn_thread_in("b", move || {
            let Ok(mut sniffer) = Sniffer::new(Duration::from_millis(50)) else { return };
            let (mut frame, mut last) = ([0u8; 96], None::<Instant>);
            while !stop.load(Ordering::Relaxed) {
                let Some(f) = sniffer.next_frame(&mut frame) else { continue };
                if f.len() > 34 && f[12..14] == [8, 0] && f[23] == 112 {
                    let now = Instant::now();
                    if let Some(before) = last.replace(now) {
                        gap_us.fetch_max((now - before).as_micros() as u64, Ordering::Relaxed);
                    }
                }
            }
        });
    }

    fn reset(&self) {
        if let Ok(mut a) = self.received.lock() {
            *a = ReceivedProbes::default();
        }
        self.advert_gap_us.store(0, Ordering::Relaxed);
    }
}

/// CPU time of a probe's system calls in a loop, µs per probe.
fn measure_floor(lan: &Lan, check: &'static str) -> Result<f64> {
    const PROBES: u32 = 5000;
    lan.run_in("a", move || {
        let tid = nix::unistd::gettid();
        let cpu_ns = move || -> u64 {
            let stat = fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).unwrap_or_default();
            stat.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        let before = cpu_ns();
        for n in 0..PROBES {
            let to = SocketAddr::from((server_addr(n as usize), 80));
            // socket, non-blocking connect, poll, getsockopt, close.
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
            if check == "http" {
                // In one write: the listener would answer the first piece.
                let host = to.ip();
                let ask = format!("GET /x HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: {host}\r\n\r\n");
                stream.write_all(ask.as_bytes())?;
                while stream.read(&mut [0; 4096])? > 0 {}
            }
        }
        Ok((cpu_ns() - before) as f64 / 1000.0 / f64::from(PROBES))
    })?
}

/// The daemons that are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DaemonKind {
    Evenkeel,
    Keepalived,
}

struct Programs {
    evenkeeld: PathBuf,
    /// Preloaded into keepalived; takes the place of IPVS.
    ipvs_shim: PathBuf,
}

/// Starts a daemon and waits until it has started. Returns how long that took.
fn start_daemon(b: &Bench, p: &Programs, kind: DaemonKind, config: &str) -> Result<(Pid, Duration)> {
    let file = b.lan.dir.join("a.conf");
    let started_at = Instant::now();
    let instance = b.lan.instance("a");
    if kind == DaemonKind::Keepalived {
        fs::write(&file, config.replace("connection_table_size 16384\n", ""))?;
        let file = file.to_string_lossy().into_owned();
        let of = |name: &str| b.lan.dir.join(name).to_string_lossy().into_owned();
        let preload = format!("LD_PRELOAD={}", p.ipvs_shim.display());
        let (main, vrrp, checker) = (of("k.pid"), of("kv.pid"), of("kc.pid"));
        let args =
            [&*preload, "/usr/sbin/keepalived", "-n", "-l", "-f", &file, "-p", &main, "-r", &vrrp, "-c", &checker];
        let log = b.lan.log("a-keepalived").len();
        let pid = b.lan.spawn("a", "a-keepalived", Path::new("/usr/bin/env"), &args)?;
        let ready = || b.lan.log("a-keepalived")[log..].contains("Startup complete").then_some(());
        wait_for(Duration::from_secs(120), ready).context("keepalived does not report its start")?;
        return Ok((pid, started_at.elapsed()));
    }
    fs::write(&file, config)?;
    let file = file.to_string_lossy().into_owned();
    let pid = b.lan.spawn("a", "a", &p.evenkeeld, &["-n", "-l", "-f", &file, "--instance", &instance])?;
    let answers = || read_status(&control_socket(&instance)).ok().filter(|s| s.pid == pid.0);
    wait_for(Duration::from_secs(120), answers).context("evenkeeld does not answer")?;
    Ok((pid, started_at.elapsed()))
}

/// Figures of one daemon.
struct Figures {
    start_s: f64,
    probes_per_s: f64,
    cpu_us_per_probe: f64,
    /// Intervals between probes of a server, ms: median, 99th percentile, maximum.
    intervals_ms: [f64; 3],
    advert_gap_ms: f64,
    resident_mib: f64,
    /// Different servers that were probed.
    servers: usize,
}

fn measure(b: &Bench, p: &Programs, kind: DaemonKind, load: &Load) -> Result<Figures> {
    // The same daemon without checks, to subtract its CPU time.
    let (idle, _) = start_daemon(b, p, kind, &config_text(load, false))?;
    std::thread::sleep(Duration::from_secs(3));
    let (before, started_at) = (process::cpu_time(idle.0), Instant::now());
    std::thread::sleep(Duration::from_secs(10));
    let idle_share = (process::cpu_time(idle.0) - before).as_secs_f64() / started_at.elapsed().as_secs_f64();
    b.lan.signal(idle, Signal::SIGTERM)?;

    let (pid, start) = start_daemon(b, p, kind, &config_text(load, true))?;
    // Past the warm-up of the checks. A loop of a minute is measured from its start.
    let warm_up_s = if load.loop_s > 10.0 { 0.0 } else { 1.0 + load.loop_s + 1.0 };
    std::thread::sleep(Duration::from_secs_f64(warm_up_s));
    b.reset();
    let (before, started_at) = (process::cpu_time(pid.0), Instant::now());
    std::thread::sleep(Duration::from_secs(load.seconds));
    let took = started_at.elapsed().as_secs_f64();
    let used = (process::cpu_time(pid.0) - before).as_secs_f64() - idle_share * took;
    let (mut intervals, servers, seen) =
        b.received.lock().map(|a| (a.intervals_ms.clone(), a.last.len(), a.count as f64)).unwrap_or_default();
    // Programs are not seen; they are started_at in time.
    let probes = if load.check == "misc" { load.servers as f64 / load.loop_s * took } else { seen };
    intervals.sort_by(f64::total_cmp);
    let quantile =
        |q: f64| intervals.get((intervals.len() as f64 * q) as usize).or(intervals.last()).copied().unwrap_or(f64::NAN);
    let figures = Figures {
        start_s: start.as_secs_f64(),
        probes_per_s: probes / took,
        cpu_us_per_probe: used * 1e6 / probes,
        intervals_ms: [quantile(0.5), quantile(0.99), quantile(1.0)],
        advert_gap_ms: b.advert_gap_us.load(Ordering::Relaxed) as f64 / 1000.0,
        resident_mib: process::resident_kib(pid.0) as f64 / 1024.0,
        servers,
    };
    b.lan.signal(pid, Signal::SIGTERM)?;
    Ok(figures)
}

/// Measures and prints one load.
fn run_load(b: &Bench, p: &Programs, load: &Load, both: bool) -> Result<()> {
    let floor = if load.check == "misc" { f64::NAN } else { measure_floor(&b.lan, load.check)? };
    let print = |name: &str, f: &Figures| {
        let intervals = f.intervals_ms.map(|g| format!("{g:.0}")).join("/");
        println!(
            "{:<5} {:>6} {:>6} {name:<10} {:>8.2} {:>9.0} {:>8.1} {:>7.1} {intervals:>20} {:>8.1} {:>7.1} {:>7}",
            load.check,
            load.servers,
            load.loop_s,
            f.start_s,
            f.probes_per_s,
            f.cpu_us_per_probe,
            floor,
            f.advert_gap_ms,
            f.resident_mib,
            f.servers
        );
    };
    let evenkeel = measure(b, p, DaemonKind::Evenkeel, load)?;
    print("evenkeel", &evenkeel);
    if both {
        let keepalived = measure(b, p, DaemonKind::Keepalived, load)?;
        print("keepalived", &keepalived);
        println!(
            "{:>31} evenkeel / keepalived, CPU time per probe: {:.2}",
            "",
            evenkeel.cpu_us_per_probe / keepalived.cpu_us_per_probe
        );
    }
    Ok(())
}

/// Runs the loads with this kind of check (`tcp`, `http`, `misc`), or all.
pub fn run(check: Option<&str>) -> Result<()> {
    let exe = std::env::current_exe()?;
    let root = exe.ancestors().nth(4).context("benches/target/PROFILE/evenkeel-bench")?;
    let evenkeeld = root.join("target/release/evenkeeld");
    if !evenkeeld.exists() {
        bail!("{} is missing: run `cargo build --release --workspace`", evenkeeld.display());
    }
    let mut lan = Lan::new(&root.join("target/lan/bench-checks"))?;
    for host in ["a", "b"] {
        lan.add_host(host)?;
    }
    lan.add_link(("a", "eth0"), ("b", "eth0"))?;
    lan.ip("a", "addr add 10.99.0.1/24 dev eth0")?;
    // So that ports of closed connections do not run out.
    lan.sysctl("a", "net/ipv4/tcp_tw_reuse", "1")?;
    lan.sysctl("a", "net/ipv4/ip_local_port_range", "1024 65535")?;
    lan.sysctl("a", "net/core/somaxconn", "65535")?;
    let b = Bench { lan, received: Arc::default(), advert_gap_us: Arc::default(), stop: Arc::default() };
    b.start_listener();
    b.start_advert_watch();
    let ipvs_shim = b.lan.dir.join("no_ipvs.so");
    let source = root.join("benches/peer/no_ipvs.c");
    let built = Command::new("clang-19")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&ipvs_shim)
        .arg(source)
        .arg("-ldl")
        .status();
    let both = built.is_ok_and(|s| s.success()) && Path::new("/usr/sbin/keepalived").exists();
    let programs = Programs { evenkeeld, ipvs_shim };
    println!(
        "{:<5} {:>6} {:>6} {:<10} {:>8} {:>9} {:>8} {:>7} {:>20} {:>8} {:>7} {:>7}",
        "check",
        "number",
        "loop s",
        "",
        "start s",
        "probes/s",
        "µs/probe",
        "floor",
        "interval p50/p99/max",
        "VRRP ms",
        "MiB",
        "servers"
    );
    for load in LOADS.iter().filter(|l| check.is_none_or(|c| l.check == c)) {
        run_load(&b, &programs, load, both)?;
    }
    b.stop.store(true, Ordering::Relaxed);
    println!(
        "\nµs/probe: CPU time of all threads of the daemon per probe, less that of the same daemon without checks. floor: the \
         same\nsystem calls in a loop. interval: ms between two probes of a server. VRRP ms: the longest gap between two \
         adverts, which are\ndue every 10 ms. servers: different servers that were probed."
    );
    Ok(())
}
