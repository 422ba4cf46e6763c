//! Gaps between adverts while the daemon or the machine is busy: the longest gap between two adverts of one virtual
//! router with an interval of 100 ms, among a thousand with an interval of a second, beside keepalived's.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::wire::FrameSocket;
use nix::sys::signal::Signal;

use super::{Bench, Capture, DAEMONS, Daemon, ROUTERS_PER_INTERFACE};

/// VRID of the measured virtual router, on eth0. The others have 1 to 250.
const PROBE_VRID: u8 = 251;
/// Number of the other virtual routers.
const OTHERS: usize = 1000;
/// Duration of a measurement.
const SECONDS: u64 = 12;
/// Adverts of an unknown VRID per second.
const FLOOD: u64 = 100_000;

/// The configuration: the probe and `others` further instances, with addresses that depend on `edition`. `more` is put
/// in front, `each` into each of the others.
fn config_text(others: usize, edition: u8, more: &str, each: &str) -> String {
    let mut t = format!(
        "{more}\nvrrp_instance PROBE {{\ninterface eth0\nvirtual_router_id {PROBE_VRID}\npriority 255\nstate MASTER\nversion 3\n\
         advert_int 0.1\ngarp_master_delay 0\nvirtual_ipaddress {{\n10.98.255.1/32\n}}\n}}\n"
    );
    for i in 0..others {
        let (n, vrid) = (i / ROUTERS_PER_INTERFACE, i % ROUTERS_PER_INTERFACE + 1);
        let _ = write!(
            t,
            "vrrp_instance V{i} {{\ninterface eth{n}\nvirtual_router_id {vrid}\npriority 255\nstate MASTER\nversion 3\n\
             advert_int 1\n{each}\nvirtual_ipaddress {{\n10.98.{n}.{vrid}/32\n10.98.{}.{vrid}/32\n}}\n}}\n",
            u8::try_from(n).unwrap_or(0) + 10 * edition
        );
    }
    t
}

struct Run<'b> {
    b: &'b Bench,
    daemon_name: &'static str,
    daemon: Daemon,
}

impl<'b> Run<'b> {
    /// Starts a daemon and waits until the host has `addresses` virtual addresses.
    fn start(b: &'b Bench, daemon_name: &'static str, config: &str, addresses: usize) -> Result<Run<'b>> {
        let daemon = b.start_daemon(daemon_name, "a", config)?;
        b.wait_for("the end of the election", Duration::from_secs(60), || b.count_addresses("a") == addresses)?;
        std::thread::sleep(Duration::from_secs(2));
        b.with_capture(Capture::reset);
        Ok(Run { b, daemon_name, daemon })
    }

    fn reload(&self, config: &str) -> Result<()> {
        fs::write(self.b.lan.dir.join("a.conf"), format!("global_defs {{\n script_user root\n}}\n{config}"))?;
        self.b.lan.signal(self.daemon.parent, Signal::SIGHUP)
    }

    /// Stops the daemon. Returns the probe's longest gap, ms, including the time since its last advert.
    fn stop_and_take_gap_ms(self) -> f64 {
        let gap = self.b.with_capture(|s| {
            let since_last = s.last.get(&(0, PROBE_VRID)).map_or(Duration::MAX, Instant::elapsed);
            s.probe_gap.max(since_last)
        });
        self.daemon.stop(&self.b.lan);
        let stopped = || self.b.lan.exit_status(self.daemon.parent).is_some();
        if self.b.wait_for(self.daemon_name, Duration::from_secs(60), stopped).is_err() {
            let _ = self.b.lan.signal(self.daemon.parent, Signal::SIGKILL);
        }
        self.b.remove_addresses();
        gap.as_secs_f64() * 1000.0
    }
}

fn wait_for_measurement() {
    std::thread::sleep(Duration::from_secs(SECONDS));
}

fn measure_idle(b: &Bench, daemon_name: &'static str) -> Result<f64> {
    let r = Run::start(b, daemon_name, &config_text(OTHERS, 0, "", ""), OTHERS + 1)?;
    wait_for_measurement();
    Ok(r.stop_and_take_gap_ms())
}

/// Three reloads, each of which changes an address of every instance.
fn measure_reloads(b: &Bench, daemon_name: &'static str) -> Result<f64> {
    let r = Run::start(b, daemon_name, &config_text(OTHERS, 1, "", "garp_master_delay 0"), 2 * OTHERS + 1)?;
    for edition in [2, 3, 4] {
        r.reload(&config_text(OTHERS, edition, "", "garp_master_delay 0"))?;
        std::thread::sleep(Duration::from_secs(SECONDS / 3));
    }
    Ok(r.stop_and_take_gap_ms())
}

/// A thousand owners are added, each of which announces its address twenty times.
fn measure_announcements(b: &Bench, daemon_name: &'static str) -> Result<f64> {
    let r = Run::start(b, daemon_name, &config_text(0, 0, "", ""), 1)?;
    r.reload(&config_text(OTHERS, 0, "", "garp_master_repeat 20"))?;
    wait_for_measurement();
    Ok(r.stop_and_take_gap_ms())
}

/// The other host sends [`FLOOD`] adverts of an unknown VRID per second. Returns the gap, and the frames sent per
/// second.
fn measure_under_flood(b: &Bench, daemon_name: &'static str) -> Result<(f64, f64)> {
    let r = Run::start(b, daemon_name, &config_text(OTHERS, 0, "", ""), OTHERS + 1)?;
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopped, count) = (stop.clone(), sent.clone());
    let sender = b.lan.spawn_thread_in("b", move || {
        let Ok(Some(link)) = Netlink::new().and_then(|mut n| n.link_by_name("eth0")) else { return };
        let Ok(socket) = FrameSocket::new() else { return };
        // A version 3 advert for VRID 252, which is not configured, with a wrong checksum.
        let mut f = vec![0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
        f.extend(link.mac);
        f.extend([8, 0, 0x45, 0xc0, 0, 32, 0, 1, 0, 0, 255, 112, 0, 0, 10, 99, 0, 9, 224, 0, 0, 18]);
        let sum = !f[14..34].chunks(2).fold(0u32, |s, c| {
            let s = s + u32::from(c[0]) * 256 + u32::from(c[1]);
            (s & 0xffff) + (s >> 16)
        }) as u16;
        f[24..26].copy_from_slice(&sum.to_be_bytes());
        f.extend([0x31, 252, 100, 1, 0, 100, 0, 0, 10, 98, 9, 9]);
        let started = Instant::now();
        while !stopped.load(Ordering::Relaxed) {
            let due = started.elapsed().as_micros() as u64 * FLOOD / 1_000_000;
            let done = count.load(Ordering::Relaxed);
            for _ in done..due.min(done + 1000) {
                let _ = socket.send(link.index, &f);
                count.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    let started = Instant::now();
    wait_for_measurement();
    let rate = sent.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    let gap = r.stop_and_take_gap_ms();
    stop.store(true, Ordering::Relaxed);
    let _ = sender.join();
    Ok((gap, rate))
}

/// Fifty tracked scripts, each of which runs every 100 ms.
fn measure_scripts(b: &Bench, daemon_name: &'static str) -> Result<f64> {
    let mut more = String::new();
    let mut tracked = String::from("track_script {\n");
    for n in 0..50 {
        let _ = write!(more, "vrrp_script s{n} {{\nscript \"/bin/sh -c true\"\ninterval 0.1\nweight 1\n}}\n");
        let _ = writeln!(tracked, "s{n}");
    }
    tracked += "}\n";
    let text = config_text(OTHERS, 0, &more, "").replacen("interface eth1\n", &format!("interface eth1\n{tracked}"), 1);
    let r = Run::start(b, daemon_name, &text, OTHERS + 1)?;
    wait_for_measurement();
    Ok(r.stop_and_take_gap_ms())
}

/// Runs and prints the selected scenarios.
pub fn run(b: &Bench, is_selected: &dyn Fn(&str) -> bool) -> Result<()> {
    type Scenario = fn(&Bench, &'static str) -> Result<f64>;
    let under_flood: Scenario = |b, daemon| {
        let (gap, rate) = measure_under_flood(b, daemon)?;
        println!("{:<58} {rate:>14.0} frames/s sent", "");
        Ok(gap)
    };
    let scenarios: [(&str, Scenario); 5] = [
        ("adverts of 100 ms: nothing else", measure_idle),
        ("adverts of 100 ms: three reloads, 1,000 instances changed", measure_reloads),
        ("adverts of 100 ms: 20,000 gratuitous ARPs", measure_announcements),
        ("adverts of 100 ms: 100,000 adverts of an unknown VRID a second", under_flood),
        ("adverts of 100 ms: 500 scripts a second", measure_scripts),
    ];
    println!("{:<58} {:>14} {:>14} {:>8}", "longest gap between two adverts, ms", DAEMONS[0], DAEMONS[1], "ratio");
    for (name, scenario) in scenarios.into_iter().filter(|(name, _)| is_selected(name)) {
        let mut gaps = Vec::new();
        for daemon in DAEMONS {
            gaps.push(scenario(b, daemon).with_context(|| format!("{name}, {daemon}")).unwrap_or_else(|e| {
                eprintln!("{e:#}");
                b.kill_daemons();
                f64::NAN
            }));
        }
        if let [keepalived, evenkeel] = gaps[..] {
            println!("{name:<58} {keepalived:>14.1} {evenkeel:>14.1} {:>8.2}", evenkeel / keepalived);
        }
    }
    println!();
    Ok(())
}
