//! VRRP beside Debian's keepalived on the same two hosts, one after the other: what many instances cost, whether a peer is
//! ever mistaken for dead, and how long a take-over takes.
//!
//! ```text
//!   a ──eth0..n──┐            every ethN of a and b is plugged into one bridge of sw,
//!                sw           where adverts and gratuitous ARPs are watched
//!   b ──eth0..n──┘
//! ```

mod stress;

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

use crate::packets::median;
use crate::process;

const PEERS: [&str; 2] = ["keepalived", "evenkeel"];
const TRIALS: usize = 5;
/// Virtual routers on one interface.
const EACH: usize = 250;

/// How many virtual routers, and how often each speaks.
struct Load {
    instances: usize,
    interval_ms: u64,
    seconds: u64,
}

const LOADS: [Load; 4] = [
    Load { instances: 250, interval_ms: 1000, seconds: 20 },
    Load { instances: 250, interval_ms: 100, seconds: 20 },
    Load { instances: 250, interval_ms: 10, seconds: 60 },
    Load { instances: 4000, interval_ms: 1000, seconds: 20 },
];

/// What is seen on the bridges.
#[derive(Default)]
struct Seen {
    /// Adverts by sender's last byte.
    adverts: BTreeMap<u8, u64>,
    /// Longest gap between two adverts of a's virtual routers, by bridge and VRID.
    last: BTreeMap<(u8, u8), Instant>,
    gap: Duration,
    /// The same of the one that `stress` measures.
    probe_gap: Duration,
    /// The last advert of a that the bridge passed on, by bridge and VRID, and its priority.
    passed: BTreeMap<(u8, u8), (Instant, u8)>,
    /// The first gratuitous ARP for each address that is not a's, since the last reset.
    announced: BTreeMap<[u8; 4], Instant>,
    /// a's hardware addresses.
    macs: BTreeSet<[u8; 6]>,
}

struct Bench {
    lan: Lan,
    ours: PathBuf,
    seen: Arc<Mutex<Seen>>,
    end: Arc<AtomicBool>,
    /// What bridges pass on is looked at as well.
    bounds: Arc<AtomicBool>,
    interfaces: usize,
}

struct Daemon {
    parent: Pid,
}

fn build(dir: &Path, interfaces: usize) -> Result<Bench> {
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
    let ours = root.join("target/release/evenkeeld");
    if !ours.exists() {
        bail!("{} is missing: cargo build --release --workspace", ours.display());
    }
    Ok(Bench { lan, ours, seen: Arc::default(), end: Arc::default(), bounds: Arc::default(), interfaces })
}

impl Bench {
    fn watch(&self) -> std::thread::JoinHandle<()> {
        let (seen, end, bounds) = (self.seen.clone(), self.end.clone(), self.bounds.clone());
        self.lan.spawn_thread_in("sw", move || {
            let mut sniffer = match Sniffer::new(Duration::from_millis(50)) {
                Ok(s) => s,
                Err(e) => return eprintln!("{e}"),
            };
            sniffer.set_receive_buffer(64 << 20);
            let mut frame = [0u8; 96];
            let mut bridges = BTreeMap::new();
            while !end.load(Ordering::Relaxed) {
                let Some((ifindex, f)) = sniffer.next_frame_and_ifindex(&mut frame) else { continue };
                // A frame comes in by a port, and again by its bridge.
                let name = || resolver::interface_name(ifindex).unwrap_or_default();
                let bridge = *bridges.entry(ifindex).or_insert_with(|| name().starts_with("br"));
                // Looking at each frame twice would cost whoever sends them.
                if bridge && !bounds.load(Ordering::Relaxed) {
                    continue;
                }
                let mut seen = seen.lock().unwrap_or_else(|e| e.into_inner());
                if bridge {
                    seen.passed(f, Instant::now());
                } else {
                    seen.frame(f, Instant::now());
                }
            }
        })
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(|e| e.into_inner()))
    }

    fn start(&self, peer: &'static str, host: &str, config: &str) -> Result<Daemon> {
        let file = self.lan.dir.join(format!("{host}.conf"));
        fs::write(&file, format!("global_defs {{\n script_user root\n}}\n{config}"))?;
        let file = file.to_string_lossy().into_owned();
        let in_dir = |name: &str| self.lan.dir.join(format!("{host}.{name}")).to_string_lossy().into_owned();
        let (p, r) = (in_dir("pid"), in_dir("vrrp.pid"));
        for f in [&p, &r] {
            let _ = fs::remove_file(f);
        }
        let instance = self.lan.instance(host);
        let parent = if peer == "keepalived" {
            let args = ["-n", "-l", "-P", "-B", "-f", &file, "-p", &p, "-r", &r];
            self.lan.spawn(host, &format!("{host}-{peer}"), Path::new("/usr/sbin/keepalived"), &args)?
        } else {
            let args = ["-n", "-l", "-f", &file, "-p", &p, "--instance", &instance];
            self.lan.spawn(host, &format!("{host}-{peer}"), &self.ours, &args)?
        };
        Ok(Daemon { parent })
    }

    fn held(&self, host: &str) -> usize {
        let text = self.lan.ip(host, "-o -4 addr show").unwrap_or_default();
        text.lines().filter(|l| l.contains("inet 10.98.")).count()
    }

    fn wait(&self, what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Result<()> {
        let until = Instant::now() + limit;
        while !done() {
            if Instant::now() > until {
                bail!("{what}: not within {limit:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends whatever runs, when a measurement failed.
    fn abandon(&self) {
        for host in ["a", "b"] {
            let pids = self.lan.dir.join(format!("{host}.pid"));
            if let Some(pid) = fs::read_to_string(pids).ok().and_then(|p| p.trim().parse().ok()) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        std::thread::sleep(Duration::from_secs(2));
        self.clear();
    }

    /// Both hosts without daemons and addresses.
    fn clear(&self) {
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

impl Seen {
    fn reset(&mut self) {
        let (macs, passed) = (std::mem::take(&mut self.macs), std::mem::take(&mut self.passed));
        *self = Seen { macs, passed, ..Seen::default() };
    }

    fn passed(&mut self, f: &[u8], now: Instant) {
        if f.len() >= 37 && f[12..14] == [8, 0] && f[23] == 112 && f[29] == 1 {
            self.passed.insert((f[28], f[35]), (now, f[36]));
        }
    }

    /// How much later than the protocol's bound the last address was announced, ms: three adverts and the skew time behind
    /// the last advert that passed, or the skew time behind priority 0 (RFC 9568, 6.1, 6.4.2).
    fn beyond_the_bound(&self, priority: u8) -> f64 {
        let skew = Duration::from_secs(1) * (256 - u32::from(priority)) / 256;
        let late = |(addr, at): (&[u8; 4], &Instant)| {
            let (last, said) = *self.passed.get(&(addr[2], addr[3]))?;
            let bound = last + skew + if said == 0 { Duration::ZERO } else { Duration::from_secs(3) };
            Some(at.saturating_duration_since(bound).as_secs_f64() * 1000.0)
        };
        self.announced.iter().filter_map(late).fold(0.0, f64::max)
    }

    fn frame(&mut self, f: &[u8], now: Instant) {
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
                    self.gap = self.gap.max(now - last);
                    if (link, vrid) == (0, 251) {
                        self.probe_gap = self.probe_gap.max(now - last);
                    }
                }
            }
        }
    }
}

fn config(instances: usize, priority: u8, timing: &str) -> String {
    let mut t = String::new();
    for i in 0..instances {
        let (n, vrid) = (i / EACH, i % EACH + 1);
        let _ = write!(
            t,
            "vrrp_instance V{i} {{\ninterface eth{n}\nvirtual_router_id {vrid}\npriority {priority}\n{timing}\n\
             virtual_ipaddress {{\n10.98.{n}.{vrid}/32\n}}\n}}\n"
        );
    }
    t
}

impl Daemon {
    fn cpu(&self) -> Duration {
        process::cpu(self.parent.0)
    }

    fn memory(&self) -> u64 {
        process::memory(self.parent.0)
    }

    fn stop(&self, lan: &Lan) {
        let _ = lan.signal(self.parent, Signal::SIGTERM);
    }

    /// The process that speaks VRRP.
    fn kill_worker(&self) -> Result<()> {
        let worker = *process::family(self.parent.0).get(1).context("no working process")?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker as i32), Signal::SIGKILL)?;
        Ok(())
    }
}

fn steady(b: &Bench, peer: &'static str, load: &Load) -> Result<[f64; 6]> {
    let timing = format!("version 3\nadvert_int {}", load.interval_ms as f64 / 1000.0);
    let backup = b.start(peer, "b", &config(load.instances, 100, &timing))?;
    let master = b.start(peer, "a", &config(load.instances, 150, &timing))?;
    let all = load.instances;
    // keepalived may never get there.
    let _ = b.wait("every address held", Duration::from_secs(30), || b.held("a") == all && b.held("b") == 0);
    std::thread::sleep(Duration::from_secs(7)); // the second block of announcements
    b.seen(Seen::reset);
    let (begun, before) = (Instant::now(), [master.cpu(), backup.cpu()]);
    std::thread::sleep(Duration::from_secs(load.seconds));
    let took = begun.elapsed().as_secs_f64();
    let share = |d: &Daemon, before: Duration| (d.cpu() - before).as_secs_f64() / took * 100.0;
    let (cpu_master, cpu_backup) = (share(&master, before[0]), share(&backup, before[1]));
    let (sent, gap, spurious) = b.seen(|s| {
        let by = |n: u8| s.adverts.get(&n).copied().unwrap_or(0) as f64;
        (by(1) / took, s.gap.as_secs_f64() * 1000.0, by(2))
    });
    let memory = master.memory() as f64 / 1024.0;
    master.stop(&b.lan);
    backup.stop(&b.lan);
    b.clear();
    Ok([cpu_master, cpu_backup, memory, sent, gap, spurious])
}

/// Milliseconds from a fault of a to b's announcement of the last address, and how many of them lie beyond the bound.
fn take_over(b: &Bench, peer: &'static str, case: &Case) -> Result<[f64; 2]> {
    let Case { version, count, priorities, fault } = *case;
    let timing = &format!("version {version}\nadvert_int 1\ngarp_master_delay 0");
    let backup = b.start(peer, "b", &config(count, priorities[1], timing))?;
    let master = b.start(peer, "a", &config(count, priorities[0], timing))?;
    b.wait("every address held", Duration::from_secs(30), || b.held("a") == count && b.held("b") == 0)?;
    std::thread::sleep(Duration::from_millis(1500));
    b.seen(Seen::reset);
    let begun = Instant::now();
    match fault {
        Fault::Daemon => master.kill_worker()?,
        Fault::Node => {
            b.lan.ip("sw", "link set pa0 nomaster")?;
        }
    }
    b.wait("a take-over", Duration::from_secs(30), || b.seen(|s| s.announced.len() >= count))?;
    let last = b.seen(|s| s.announced.values().max().copied()).context("nothing was announced")?;
    let beyond = b.seen(|s| s.beyond_the_bound(priorities[1]));
    if matches!(fault, Fault::Node) {
        b.lan.ip("sw", "link set pa0 master br0")?;
    }
    master.stop(&b.lan);
    backup.stop(&b.lan);
    b.clear();
    Ok([(last - begun).as_secs_f64() * 1000.0, beyond])
}

/// What befalls whom.
struct Case {
    version: u8,
    /// Virtual routers.
    count: usize,
    /// The master's, and the backup's.
    priorities: [u8; 2],
    fault: Fault,
}

#[derive(Clone, Copy)]
enum Fault {
    /// The process that speaks VRRP is killed.
    Daemon,
    /// Nothing of the host is heard any more.
    Node,
}

/// Runs all of it, or what has these words in its name, and prints it.
pub fn run(only: Option<&str>) -> Result<()> {
    let wanted = |name: &str| only.is_none_or(|o| name.contains(o));
    let dir = std::env::temp_dir().join(format!("evenkeel-bench-{}", std::process::id()));
    let b = build(&dir, LOADS.iter().map(|l| l.instances).max().unwrap_or(1).div_ceil(EACH))?;
    let watcher = b.watch();
    println!(
        "{:<34} {:>10} {:>12} {:>12} {:>10} {:>10} {:>12} {:>14}",
        "VRRP, many instances",
        "",
        "CPU master %",
        "CPU backup %",
        "RSS MiB",
        "adverts/s",
        "worst gap ms",
        "false adverts"
    );
    for load in &LOADS {
        let name = format!("{} × {} ms, {} s", load.instances, load.interval_ms, load.seconds);
        if !wanted(&name) {
            continue;
        }
        let mut cpu = Vec::new();
        for peer in PEERS {
            let [master, backup, memory, sent, gap, spurious] = steady(&b, peer, load)?;
            println!(
                "{name:<34} {peer:>10} {master:>12.2} {backup:>12.2} {memory:>10.1} {sent:>10.0} {gap:>12.1} {spurious:>14.0}"
            );
            cpu.push(master);
        }
        if let [theirs, ours] = cpu[..] {
            println!("{:<34} {:>10} {:>12.2}", "", "ratio", ours / theirs);
        }
    }
    println!();
    stress::run(&b, &wanted)?;
    b.bounds.store(true, Ordering::Relaxed);
    println!(
        "{:<58} {:>14} {:>14} {:>8} {:>28}",
        "fault to last announcement, ms (median)", PEERS[0], PEERS[1], "ratio", "beyond the bound, the worst"
    );
    let killed = |count, priorities| Case { version: 3, count, priorities, fault: Fault::Daemon };
    let silent = |count| Case { version: 3, count, priorities: [150, 100], fault: Fault::Node };
    for (name, case) in [
        ("working process killed, backup's priority 253 (skew 12 ms)", killed(1, [254, 253])),
        ("working process killed, backup's priority 100 (609 ms)", killed(1, [150, 100])),
        ("working process killed, version 2, priority 100 (609 ms)", Case { version: 2, ..killed(1, [150, 100]) }),
        ("host silent, 1 instance (2.6 to 3.6 s)", silent(1)),
        ("host silent, 250 instances", silent(250)),
        ("working process killed, 250 instances", killed(250, [150, 100])),
    ] {
        if !wanted(name) {
            continue;
        }
        let (mut ms, mut beyond): ([Vec<f64>; 2], [f64; 2]) = Default::default();
        for _ in 0..TRIALS {
            for (i, peer) in PEERS.into_iter().enumerate() {
                let [took, late] = take_over(&b, peer, &case)?;
                ms[i].push(took);
                beyond[i] = beyond[i].max(late);
            }
        }
        let [theirs, ours] = ms.map(median);
        let beyond = format!("{:.2}, {:.2}", beyond[0], beyond[1]);
        println!("{name:<58} {theirs:>14.1} {ours:>14.1} {:>8.2} {beyond:>28}", ours / theirs);
    }
    b.end.store(true, Ordering::Relaxed);
    let _ = watcher.join();
    let _ = fs::remove_dir_all(&dir);
    Ok(())
}
