//! Health checks: what a probe costs beside the same system calls in a bare loop, whether each comes in time, and whether
//! VRRP notices. One daemon in a namespace checks addresses of its own loopback, all of which one listener answers.

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

/// What is checked, how many of it, how often, and for how long it is watched.
struct Load {
    check: &'static str,
    servers: usize,
    per_service: usize,
    loop_s: f64,
    seconds: u64,
}

const LOADS: [Load; 7] = [
    Load { check: "tcp", servers: 100, per_service: 100, loop_s: 1.0, seconds: 15 },
    Load { check: "tcp", servers: 1000, per_service: 100, loop_s: 1.0, seconds: 15 },
    Load { check: "tcp", servers: 5000, per_service: 100, loop_s: 1.0, seconds: 15 },
    Load { check: "tcp", servers: 10_000, per_service: 100, loop_s: 1.0, seconds: 15 },
    Load { check: "http", servers: 1000, per_service: 100, loop_s: 1.0, seconds: 15 },
    Load { check: "misc", servers: 500, per_service: 100, loop_s: 1.0, seconds: 15 },
    Load { check: "tcp", servers: 20_000, per_service: 20, loop_s: 60.0, seconds: 62 },
];

const PAGE: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 12\r\n\r\nhello world\n";

fn server(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x7f01_0000 + n as u32 + 1)
}

/// With or without its checks; everything else costs what it costs.
fn config(load: &Load, checked: bool) -> String {
    let mut t = "global_defs {\nscript_user root\nconnection_table_size 16384\n}\n\
        vrrp_instance V {\ninterface eth0\nvirtual_router_id 7\npriority 200\nversion 3\nadvert_int 0.01\n\
        virtual_ipaddress {\n10.99.0.9/32\n}\n}\n"
        .to_owned();
    for n in 0..load.servers {
        if n % load.per_service == 0 {
            let vip = Ipv4Addr::from(0x0a00_0000 + (n / load.per_service) as u32 + 1);
            let _ = write!(
                t,
                "virtual_server {vip} 80 {{\ndelay_loop {}\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\n",
                load.loop_s
            );
        }
        let check = match load.check {
            _ if !checked => String::new(),
            "http" => "HTTP_GET {\nurl {\npath /x\n}\n}".to_owned(),
            "misc" => format!("MISC_CHECK {{\nmisc_path \"/bin/true {n}\"\n}}"),
            _ => "TCP_CHECK {\n}".to_owned(),
        };
        let _ = write!(t, "real_server {} 80 {{\n{check}\n}}\n", server(n));
        if n % load.per_service == load.per_service - 1 {
            t += "}\n";
        }
    }
    t
}

/// When each server was asked.
#[derive(Default)]
struct Asked {
    last: HashMap<IpAddr, Instant>,
    /// Distances between two probes of one server, ms.
    gaps: Vec<f64>,
    probes: u64,
}

struct Bench {
    lan: Lan,
    asked: Arc<Mutex<Asked>>,
    /// The longest gap between two adverts, µs.
    gap: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
}

impl Bench {
    /// Answers every connection to port 80.
    fn listen(&self) {
        let asked = self.asked.clone();
        self.lan.spawn_thread_in("a", move || {
            let Ok(listener) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)) else { return eprintln!("port 80") };
            // The standard library listens with 128 only.
            if let Err(e) = nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXALLOWABLE) {
                eprintln!("{e}");
            }
            for mut stream in listener.incoming().flatten() {
                let now = Instant::now();
                let Ok(to) = stream.local_addr() else { continue };
                if let Ok(mut a) = asked.lock() {
                    a.probes += 1;
                    if let Some(before) = a.last.insert(to.ip(), now) {
                        let ms = (now - before).as_secs_f64() * 1000.0;
                        a.gaps.push(ms);
                    }
                }
                let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
                // A connection that is only looked at ends without a word.
                if matches!(stream.read(&mut [0; 512]), Ok(n) if n > 0) {
                    let _ = stream.write_all(PAGE);
                }
            }
        });
    }

    /// Watches the adverts.
    fn watch(&self) {
        let (gap, end) = (self.gap.clone(), self.end.clone());
        self.lan.spawn_thread_in("b", move || {
            let Ok(mut sniffer) = Sniffer::new(Duration::from_millis(50)) else { return };
            let (mut frame, mut last) = ([0u8; 96], None::<Instant>);
            while !end.load(Ordering::Relaxed) {
                let Some(f) = sniffer.next_frame(&mut frame) else { continue };
                if f.len() > 34 && f[12..14] == [8, 0] && f[23] == 112 {
                    let now = Instant::now();
                    if let Some(before) = last.replace(now) {
                        gap.fetch_max((now - before).as_micros() as u64, Ordering::Relaxed);
                    }
                }
            }
        });
    }

    fn reset(&self) {
        if let Ok(mut a) = self.asked.lock() {
            *a = Asked::default();
        }
        self.gap.store(0, Ordering::Relaxed);
    }
}

/// Processor time of a probe's system calls, made one after the other, µs.
fn floor(lan: &Lan, check: &'static str) -> Result<f64> {
    const PROBES: u32 = 5000;
    lan.run_in("a", move || {
        let tid = nix::unistd::gettid();
        let on_cpu = move || -> u64 {
            let stat = fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).unwrap_or_default();
            stat.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        let before = on_cpu();
        for n in 0..PROBES {
            let to = SocketAddr::from((server(n as usize), 80));
            // socket, connect without waiting, poll, getsockopt, close.
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
            if check == "http" {
                // At once: in pieces the listener would answer the first.
                let host = to.ip();
                let ask = format!("GET /x HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: {host}\r\n\r\n");
                stream.write_all(ask.as_bytes())?;
                while stream.read(&mut [0; 4096])? > 0 {}
            }
        }
        Ok((on_cpu() - before) as f64 / 1000.0 / f64::from(PROBES))
    })?
}

/// The two that are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Evenkeel,
    Keepalived,
}

struct Programs {
    ours: PathBuf,
    /// What stands in for IPVS.
    shim: PathBuf,
}

fn start(b: &Bench, p: &Programs, peer: Peer, config: &str) -> Result<(Pid, Duration)> {
    let file = b.lan.dir.join("a.conf");
    let begun = Instant::now();
    let instance = b.lan.instance("a");
    if peer == Peer::Keepalived {
        fs::write(&file, config.replace("connection_table_size 16384\n", ""))?;
        let file = file.to_string_lossy().into_owned();
        let of = |name: &str| b.lan.dir.join(name).to_string_lossy().into_owned();
        let preload = format!("LD_PRELOAD={}", p.shim.display());
        let (main, vrrp, checker) = (of("k.pid"), of("kv.pid"), of("kc.pid"));
        let args =
            [&*preload, "/usr/sbin/keepalived", "-n", "-l", "-f", &file, "-p", &main, "-r", &vrrp, "-c", &checker];
        let log = b.lan.log("a-keepalived").len();
        let pid = b.lan.spawn("a", "a-keepalived", Path::new("/usr/bin/env"), &args)?;
        let ready = || b.lan.log("a-keepalived")[log..].contains("Startup complete").then_some(());
        wait_for(Duration::from_secs(120), ready).context("keepalived does not start")?;
        return Ok((pid, begun.elapsed()));
    }
    fs::write(&file, config)?;
    let file = file.to_string_lossy().into_owned();
    let pid = b.lan.spawn("a", "a", &p.ours, &["-n", "-l", "-f", &file, "--instance", &instance])?;
    let answers = || read_status(&control_socket(&instance)).ok().filter(|s| s.pid == pid.0);
    wait_for(Duration::from_secs(120), answers).context("the daemon does not answer")?;
    Ok((pid, begun.elapsed()))
}

/// What was measured of one of them.
struct Figures {
    started: f64,
    rate: f64,
    each_us: f64,
    gaps: [f64; 3],
    vrrp_ms: f64,
    mib: f64,
    asked: usize,
}

fn measure(b: &Bench, p: &Programs, peer: Peer, load: &Load) -> Result<Figures> {
    // What the same daemon costs that checks nothing.
    let (idle, _) = start(b, p, peer, &config(load, false))?;
    std::thread::sleep(Duration::from_secs(3));
    let (before, begun) = (process::cpu(idle.0), Instant::now());
    std::thread::sleep(Duration::from_secs(10));
    let idle_share = (process::cpu(idle.0) - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    b.lan.signal(idle, Signal::SIGTERM)?;

    let (pid, started) = start(b, p, peer, &config(load, true))?;
    // Through the warm-up; what takes a minute is watched from its start.
    let settle = if load.loop_s > 10.0 { 0.0 } else { 1.0 + load.loop_s + 1.0 };
    std::thread::sleep(Duration::from_secs_f64(settle));
    b.reset();
    let (before, begun) = (process::cpu(pid.0), Instant::now());
    std::thread::sleep(Duration::from_secs(load.seconds));
    let took = begun.elapsed().as_secs_f64();
    let used = (process::cpu(pid.0) - before).as_secs_f64() - idle_share * took;
    let (mut gaps, asked, seen) =
        b.asked.lock().map(|a| (a.gaps.clone(), a.last.len(), a.probes as f64)).unwrap_or_default();
    // Programs are not seen; they are begun in time.
    let probes = if load.check == "misc" { load.servers as f64 / load.loop_s * took } else { seen };
    gaps.sort_by(f64::total_cmp);
    let at = |q: f64| gaps.get((gaps.len() as f64 * q) as usize).or(gaps.last()).copied().unwrap_or(f64::NAN);
    let figures = Figures {
        started: started.as_secs_f64(),
        rate: probes / took,
        each_us: used * 1e6 / probes,
        gaps: [at(0.5), at(0.99), at(1.0)],
        vrrp_ms: b.gap.load(Ordering::Relaxed) as f64 / 1000.0,
        mib: process::memory(pid.0) as f64 / 1024.0,
        asked,
    };
    b.lan.signal(pid, Signal::SIGTERM)?;
    Ok(figures)
}

fn row(b: &Bench, p: &Programs, load: &Load, both: bool) -> Result<()> {
    let floor = if load.check == "misc" { f64::NAN } else { floor(&b.lan, load.check)? };
    let print = |name: &str, f: &Figures| {
        let gaps = f.gaps.map(|g| format!("{g:.0}")).join("/");
        println!(
            "{:<5} {:>6} {:>6} {name:<10} {:>8.2} {:>9.0} {:>8.1} {:>7.1} {gaps:>18} {:>8.1} {:>7.1} {:>7}",
            load.check, load.servers, load.loop_s, f.started, f.rate, f.each_us, floor, f.vrrp_ms, f.mib, f.asked
        );
    };
    let ours = measure(b, p, Peer::Evenkeel, load)?;
    print("evenkeel", &ours);
    if both {
        let theirs = measure(b, p, Peer::Keepalived, load)?;
        print("keepalived", &theirs);
        println!("{:>31} evenkeel / keepalived, processor time of a probe: {:.2}", "", ours.each_us / theirs.each_us);
    }
    Ok(())
}

/// Runs the loads whose name holds `only`: `tcp`, `http`, `misc`.
pub fn run(only: Option<&str>) -> Result<()> {
    let exe = std::env::current_exe()?;
    let root = exe.ancestors().nth(4).context("benches/target/PROFILE/evenkeel-bench")?;
    let ours = root.join("target/release/evenkeeld");
    if !ours.exists() {
        bail!("{} is missing: cargo build --release --workspace", ours.display());
    }
    let mut lan = Lan::new(&root.join("target/lan/bench-checks"))?;
    for host in ["a", "b"] {
        lan.add_host(host)?;
    }
    lan.add_link(("a", "eth0"), ("b", "eth0"))?;
    lan.ip("a", "addr add 10.99.0.1/24 dev eth0")?;
    // Ports of connections that were closed must not run out.
    lan.sysctl("a", "net/ipv4/tcp_tw_reuse", "1")?;
    lan.sysctl("a", "net/ipv4/ip_local_port_range", "1024 65535")?;
    lan.sysctl("a", "net/core/somaxconn", "65535")?;
    let b = Bench { lan, asked: Arc::default(), gap: Arc::default(), end: Arc::default() };
    b.listen();
    b.watch();
    let shim = b.lan.dir.join("no_ipvs.so");
    let source = root.join("benches/peer/no_ipvs.c");
    let built =
        Command::new("clang-19").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&shim).arg(source).arg("-ldl").status();
    let both = built.is_ok_and(|s| s.success()) && Path::new("/usr/sbin/keepalived").exists();
    let programs = Programs { ours, shim };
    println!(
        "{:<5} {:>6} {:>6} {:<10} {:>8} {:>9} {:>8} {:>7} {:>18} {:>8} {:>7} {:>7}",
        "check",
        "number",
        "loop s",
        "",
        "start s",
        "probes/s",
        "µs each",
        "floor",
        "gap p50/p99/max ms",
        "VRRP ms",
        "MiB",
        "asked"
    );
    for load in LOADS.iter().filter(|l| only.is_none_or(|o| l.check == o)) {
        row(&b, &programs, load, both)?;
    }
    b.end.store(true, Ordering::Relaxed);
    println!(
        "\nµs each: processor time of all of the daemon's threads by probe, less what the same daemon takes that checks \
         nothing. floor: the same\nsystem calls one after the other. VRRP ms: the longest gap between two adverts that are due \
         every 10 ms. asked: different servers."
    );
    Ok(())
}
