//! VRRP beside Debian's keepalived, one after the other on the same two hosts: CPU time and memory of many instances,
//! adverts that a backup sends by mistake, gaps between adverts, and the duration of a fail-over.
//!
//! ```text
//!   a ──eth0..n──┐            ethN of a and b are on bridge brN of sw,
//!                sw           where adverts and gratuitous ARPs are captured
//!   b ──eth0..n──┘
//! ```

mod advert_gaps;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use evenkeel_sys::resolver;
use evenkeel_sys::wire::Sniffer;
use evenkeel_testkit::lan::{Lan, Pid};
use nix::sys::signal::Signal;

use crate::process;
use crate::test_run::median;

/// The daemons that are compared.
const DAEMONS: [&str; 2] = ["keepalived", "evenkeel"];
const TRIALS: usize = 5;
/// Virtual routers on one interface.
const ROUTERS_PER_INTERFACE: usize = 250;

/// A steady load.
struct Load {
    instances: usize,
    /// Advert interval.
    interval_ms: u64,
    /// Duration of the measurement.
    seconds: u64,
}

const LOADS: [Load; 4] = [
    Load { instances: 250, interval_ms: 1000, seconds: 20 },
    Load { instances: 250, interval_ms: 100, seconds: 20 },
    Load { instances: 250, interval_ms: 10, seconds: 60 },
    Load { instances: 4000, interval_ms: 1000, seconds: 20 },
];

/// Adverts and gratuitous ARPs that were captured on the bridges.
#[derive(Default)]
struct Capture {
    /// Number of adverts, by the last byte of the sender.
    adverts: BTreeMap<u8, u64>,
    /// Time of a's last advert, by bridge and VRID.
    last: BTreeMap<(u8, u8), Instant>,
    /// The longest gap between two adverts of one of a's virtual routers.
    longest_gap: Duration,
    /// The same of the virtual router that `advert_gaps` measures.
    probe_gap: Duration,
    /// Time and priority of a's last advert that the bridge forwarded, by bridge and VRID.
    forwarded: BTreeMap<(u8, u8), (Instant, u8)>,
    /// Time of the first gratuitous ARP for each address from another host than a, since the last reset.
    announced: BTreeMap<[u8; 4], Instant>,
    /// a's hardware addresses.
    macs: BTreeSet<[u8; 6]>,
}

struct Bench {
    lan: Lan,
    evenkeeld: PathBuf,
    capture: Arc<Mutex<Capture>>,
    stop: Arc<AtomicBool>,
    /// Frames that the bridges forward are captured, too.
    capture_forwarded: Arc<AtomicBool>,
    interfaces: usize,
}

struct Daemon {
    parent: Pid,
}

fn build_network(dir: &Path, interfaces: usize) -> Result<Bench> {
    let mut lan = Lan::new(dir)?;
    for host in ["sw", "a", "b"] {
        lan.add_host(host)?;
    }
    for n in 0..interfaces {
        lan.ip("sw", &format!("link add br{n} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"))?;
        lan.ip("sw", &format!("link set br{n} up"))?;
        for (host, last) in [("a", 1), ("b", 2)] {
            lan.add_link((host, &format!("eth{n}")), ("sw", &format!("p{host}{n}")))?;
            lan.ip("sw", &format!("link set p{host}{n} master br{n}"))?;
            lan.ip(host, &format!("addr add 10.99.{n}.{last}/24 dev eth{n}"))?;
        }
    }
    let exe = std::env::current_exe()?;
    let root = exe.ancestors().nth(4).context("benches/target/PROFILE/evenkeel-bench")?;
    let evenkeeld = root.join("target/release/evenkeeld");
    if !evenkeeld.exists() {
        bail!("{} is missing: run `cargo build --release --workspace`", evenkeeld.display());
    }
    Ok(Bench {
        lan,
        evenkeeld,
        capture: Arc::default(),
        stop: Arc::default(),
        capture_forwarded: Arc::default(),
        interfaces,
    })
}

impl Bench {
    /// Captures frames on the switch until `stop` is set.
    fn start_capture(&self) -> std::thread::JoinHandle<()> {
        let (capture, stop) = (self.capture.clone(), self.stop.clone());
        let capture_forwarded = self.capture_forwarded.clone();
        self.lan.spawn_thread_in("sw", move || {
            let mut sniffer = match Sniffer::new(Duration::from_millis(50)) {
                Ok(s) => s,
                Err(e) => return eprintln!("{e}"),
            };
            sniffer.set_receive_buffer(64 << 20);
            let mut frame = [0u8; 96];
            let mut bridges = BTreeMap::new();
            while !stop.load(Ordering::Relaxed) {
                let Some((ifindex, f)) = sniffer.next_frame_and_ifindex(&mut frame) else { continue };
                // The sniffer gets a frame from the port that receives it, and again from the bridge.
                let name = || resolver::interface_name(ifindex).unwrap_or_default();
                let bridge = *bridges.entry(ifindex).or_insert_with(|| name().starts_with("br"));
                // Handling each frame twice would slow down the sender.
                if bridge && !capture_forwarded.load(Ordering::Relaxed) {
                    continue;
                }
                let mut capture = capture.lock().unwrap_or_else(|e| e.into_inner());
                if bridge {
                    capture.add_forwarded(f, Instant::now());
                } else {
                    capture.add_frame(f, Instant::now());
                }
            }
        })
    }

    fn with_capture<T>(&self, read: impl FnOnce(&mut Capture) -> T) -> T {
        read(&mut self.capture.lock().unwrap_or_else(|e| e.into_inner()))
    }

    fn start_daemon(&self, daemon: &'static str, host: &str, config: &str) -> Result<Daemon> {
        let file = self.lan.dir.join(format!("{host}.conf"));
        fs::write(&file, format!("global_defs {{\n script_user root\n}}\n{config}"))?;
        let file = file.to_string_lossy().into_owned();
        let in_dir = |name: &str| self.lan.dir.join(format!("{host}.{name}")).to_string_lossy().into_owned();
        let (p, r) = (in_dir("pid"), in_dir("vrrp.pid"));
        for f in [&p, &r] {
            let _ = fs::remove_file(f);
        }
        let instance = self.lan.instance(host);
        let parent = if daemon == "keepalived" {
            let args = ["-n", "-l", "-P", "-B", "-f", &file, "-p", &p, "-r", &r];
            self.lan.spawn(host, &format!("{host}-{daemon}"), Path::new("/usr/sbin/keepalived"), &args)?
        } else {
            let args = ["-n", "-l", "-f", &file, "-p", &p, "--instance", &instance];
            self.lan.spawn(host, &format!("{host}-{daemon}"), &self.evenkeeld, &args)?
        };
        Ok(Daemon { parent })
    }

    /// How many virtual addresses a host has.
    fn count_addresses(&self, host: &str) -> usize {
        let text = self.lan.ip(host, "-o -4 addr show").unwrap_or_default();
        text.lines().filter(|l| l.contains("inet 10.98.")).count()
    }

    fn wait_for(&self, what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Result<()> {
        let until = Instant::now() + limit;
        while !done() {
            if Instant::now() > until {
                bail!("{what} did not happen within {limit:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills the daemons after a measurement that failed.
    fn kill_daemons(&self) {
        for host in ["a", "b"] {
            let pids = self.lan.dir.join(format!("{host}.pid"));
            if let Some(pid) = fs::read_to_string(pids).ok().and_then(|p| p.trim().parse().ok()) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        std::thread::sleep(Duration::from_secs(2));
        self.remove_addresses();
    }

    /// Removes the virtual addresses that are left on both hosts.
    fn remove_addresses(&self) {
        for host in ["a", "b"] {
            for n in 0..self.interfaces {
                let text = self.lan.ip(host, &format!("-o -4 addr show dev eth{n}")).unwrap_or_default();
                for vip in text.split_whitespace().filter(|w| w.starts_with("10.98.")) {
                    let _ = self.lan.ip(host, &format!("addr del {vip} dev eth{n}"));
                }
            }
        }
    }
}

impl Capture {
    fn reset(&mut self) {
        let (macs, forwarded) = (std::mem::take(&mut self.macs), std::mem::take(&mut self.forwarded));
        *self = Capture { macs, forwarded, ..Capture::default() };
    }

    fn add_forwarded(&mut self, f: &[u8], now: Instant) {
        if f.len() >= 37 && f[12..14] == [8, 0] && f[23] == 112 && f[29] == 1 {
            self.forwarded.insert((f[28], f[35]), (now, f[36]));
        }
    }

    /// By how many ms the announcement of an address exceeds the protocol's bound at most: three advert intervals and
    /// the skew time after the last forwarded advert, or the skew time after priority 0 (RFC 9568, 6.1, 6.4.2).
    fn max_excess_ms(&self, priority: u8) -> f64 {
        let skew = Duration::from_secs(1) * (256 - u32::from(priority)) / 256;
        let late = |(addr, at): (&[u8; 4], &Instant)| {
            let (last, last_priority) = *self.forwarded.get(&(addr[2], addr[3]))?;
            let bound = last + skew + if last_priority == 0 { Duration::ZERO } else { Duration::from_secs(3) };
            Some(at.saturating_duration_since(bound).as_secs_f64() * 1000.0)
        };
        self.announced.iter().filter_map(late).fold(0.0, f64::max)
    }

    fn add_frame(&mut self, f: &[u8], now: Instant) {
        if f.len() >= 42 && f[12..14] == [8, 6] && f[28..32] == f[38..42] {
            let addr = [f[28], f[29], f[30], f[31]];
            if !f.first_chunk::<12>().is_some_and(|h| self.macs.iter().any(|m| h[6..] == *m)) {
                self.announced.entry(addr).or_insert(now);
            }
        } else if f.len() >= 37 && f[12..14] == [8, 0] && f[23] == 112 {
            let (link, sender, vrid) = (f[28], f[29], f[35]);
            *self.adverts.entry(sender).or_default() += 1;
            if sender == 1 {
                self.macs.extend(<[u8; 6]>::try_from(&f[6..12]));
                if let Some(last) = self.last.insert((link, vrid), now) {
                    self.longest_gap = self.longest_gap.max(now - last);
                    if (link, vrid) == (0, 251) {
                        self.probe_gap = self.probe_gap.max(now - last);
                    }
                }
            }
        }
    }
}

fn config_text(instances: usize, priority: u8, timing: &str) -> String {
    let mut t = String::new();
    for i in 0..instances {
        let (n, vrid) = (i / ROUTERS_PER_INTERFACE, i % ROUTERS_PER_INTERFACE + 1);
        let _ = write!(
            t,
            "vrrp_instance V{i} {{\ninterface eth{n}\nvirtual_router_id {vrid}\npriority {priority}\n{timing}\n\
             virtual_ipaddress {{\n10.98.{n}.{vrid}/32\n}}\n}}\n"
        );
    }
    t
}

impl Daemon {
    fn cpu_time(&self) -> Duration {
        process::cpu_time(self.parent.0)
    }

    fn resident_kib(&self) -> u64 {
        process::resident_kib(self.parent.0)
    }

    fn stop(&self, lan: &Lan) {
        let _ = lan.signal(self.parent, Signal::SIGTERM);
    }

    /// Kills the worker process, which runs VRRP.
    fn kill_worker(&self) -> Result<()> {
        let worker = *process::process_family(self.parent.0).get(1).context("no worker process")?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker as i32), Signal::SIGKILL)?;
        Ok(())
    }
}

/// Returns CPU % of master and backup, MiB of the master, adverts per second, the longest gap in ms, and adverts of the
/// backup.
fn measure_steady(b: &Bench, daemon: &'static str, load: &Load) -> Result<[f64; 6]> {
    let timing = format!("version 3\nadvert_int {}", load.interval_ms as f64 / 1000.0);
    let backup = b.start_daemon(daemon, "b", &config_text(load.instances, 100, &timing))?;
    let master = b.start_daemon(daemon, "a", &config_text(load.instances, 150, &timing))?;
    let all = load.instances;
    // keepalived may never complete the election.
    let _ = b.wait_for("the end of the election", Duration::from_secs(30), || {
        b.count_addresses("a") == all && b.count_addresses("b") == 0
    });
    std::thread::sleep(Duration::from_secs(7)); // past the second block of gratuitous ARPs
    b.with_capture(Capture::reset);
    let (started, before) = (Instant::now(), [master.cpu_time(), backup.cpu_time()]);
    std::thread::sleep(Duration::from_secs(load.seconds));
    let elapsed_s = started.elapsed().as_secs_f64();
    let share = |d: &Daemon, before: Duration| (d.cpu_time() - before).as_secs_f64() / elapsed_s * 100.0;
    let (cpu_master, cpu_backup) = (share(&master, before[0]), share(&backup, before[1]));
    let (sent, gap, false_adverts) = b.with_capture(|s| {
        let by = |n: u8| s.adverts.get(&n).copied().unwrap_or(0) as f64;
        (by(1) / elapsed_s, s.longest_gap.as_secs_f64() * 1000.0, by(2))
    });
    let memory = master.resident_kib() as f64 / 1024.0;
    master.stop(&b.lan);
    backup.stop(&b.lan);
    b.remove_addresses();
    Ok([cpu_master, cpu_backup, memory, sent, gap, false_adverts])
}

/// Returns milliseconds from a fault of a to b's announcement of the last address, and the largest excess over the
/// protocol's bound, ms.
fn measure_failover(b: &Bench, daemon: &'static str, case: &Case) -> Result<[f64; 2]> {
    let Case { version, count, priorities, fault } = *case;
    let timing = &format!("version {version}\nadvert_int 1\ngarp_master_delay 0");
    let backup = b.start_daemon(daemon, "b", &config_text(count, priorities[1], timing))?;
    let master = b.start_daemon(daemon, "a", &config_text(count, priorities[0], timing))?;
    b.wait_for("the end of the election", Duration::from_secs(30), || {
        b.count_addresses("a") == count && b.count_addresses("b") == 0
    })?;
    std::thread::sleep(Duration::from_millis(1500));
    b.with_capture(Capture::reset);
    let started = Instant::now();
    match fault {
        Fault::WorkerKilled => master.kill_worker()?,
        Fault::HostSilent => {
            b.lan.ip("sw", "link set pa0 nomaster")?;
        }
    }
    b.wait_for("the fail-over", Duration::from_secs(30), || b.with_capture(|s| s.announced.len() >= count))?;
    let last = b.with_capture(|s| s.announced.values().max().copied()).context("nothing was announced")?;
    let excess_ms = b.with_capture(|s| s.max_excess_ms(priorities[1]));
    if matches!(fault, Fault::HostSilent) {
        b.lan.ip("sw", "link set pa0 master br0")?;
    }
    master.stop(&b.lan);
    backup.stop(&b.lan);
    b.remove_addresses();
    Ok([(last - started).as_secs_f64() * 1000.0, excess_ms])
}

/// A fail-over to measure.
struct Case {
    version: u8,
    /// Virtual routers.
    count: usize,
    /// Priority of the master, and of the backup.
    priorities: [u8; 2],
    fault: Fault,
}

#[derive(Clone, Copy)]
enum Fault {
    /// The worker process is killed.
    WorkerKilled,
    /// The host loses its link.
    HostSilent,
}

/// Runs and prints all rows, or those whose name contains `filter`.
pub fn run(filter: Option<&str>) -> Result<()> {
    let is_selected = |name: &str| filter.is_none_or(|f| name.contains(f));
    let dir = std::env::temp_dir().join(format!("evenkeel-bench-{}", std::process::id()));
    let b = build_network(&dir, LOADS.iter().map(|l| l.instances).max().unwrap_or(1).div_ceil(ROUTERS_PER_INTERFACE))?;
    let capture = b.start_capture();
    println!(
        "{:<34} {:>10} {:>12} {:>12} {:>10} {:>10} {:>12} {:>14}",
        "VRRP, many instances",
        "",
        "CPU master %",
        "CPU backup %",
        "RSS MiB",
        "adverts/s",
        "max gap ms",
        "false adverts"
    );
    for load in &LOADS {
        let name = format!("{} × {} ms, {} s", load.instances, load.interval_ms, load.seconds);
        if !is_selected(&name) {
            continue;
        }
        let mut cpu = Vec::new();
        for daemon in DAEMONS {
            let [master, backup, memory, sent, gap, false_adverts] = measure_steady(&b, daemon, load)?;
            println!(
                "{name:<34} {daemon:>10} {master:>12.2} {backup:>12.2} {memory:>10.1} {sent:>10.0} {gap:>12.1} {false_adverts:>14.0}"
            );
            cpu.push(master);
        }
        if let [keepalived, evenkeel] = cpu[..] {
            println!("{:<34} {:>10} {:>12.2}", "", "ratio", evenkeel / keepalived);
        }
    }
    println!();
    advert_gaps::run(&b, &is_selected)?;
    b.capture_forwarded.store(true, Ordering::Relaxed);
    println!(
        "{:<58} {:>14} {:>14} {:>8} {:>28}",
        "fault to last announcement, ms (median)", DAEMONS[0], DAEMONS[1], "ratio", "max excess over the bound"
    );
    let worker_killed = |count, priorities| Case { version: 3, count, priorities, fault: Fault::WorkerKilled };
    let host_silent = |count| Case { version: 3, count, priorities: [150, 100], fault: Fault::HostSilent };
    for (name, case) in [
        ("worker process killed, backup's priority 253 (skew 12 ms)", worker_killed(1, [254, 253])),
        ("worker process killed, backup's priority 100 (609 ms)", worker_killed(1, [150, 100])),
        (
            "worker process killed, version 2, priority 100 (609 ms)",
            Case { version: 2, ..worker_killed(1, [150, 100]) },
        ),
        ("host silent, 1 instance (2.6 to 3.6 s)", host_silent(1)),
        ("host silent, 250 instances", host_silent(250)),
        ("worker process killed, 250 instances", worker_killed(250, [150, 100])),
    ] {
        if !is_selected(name) {
            continue;
        }
        let (mut ms, mut excess): ([Vec<f64>; 2], [f64; 2]) = Default::default();
        for _ in 0..TRIALS {
            for (i, daemon) in DAEMONS.into_iter().enumerate() {
                let [failover_ms, excess_ms] = measure_failover(&b, daemon, &case)?;
                ms[i].push(failover_ms);
                excess[i] = excess[i].max(excess_ms);
            }
        }
        let [keepalived, evenkeel] = ms.map(median);
        let excess = format!("{:.2}, {:.2}", excess[0], excess[1]);
        println!("{name:<58} {keepalived:>14.1} {evenkeel:>14.1} {:>8.2} {excess:>28}", evenkeel / keepalived);
    }
    b.stop.store(true, Ordering::Relaxed);
    let _ = capture.join();
    let _ = fs::remove_dir_all(&dir);
    Ok(())
}
