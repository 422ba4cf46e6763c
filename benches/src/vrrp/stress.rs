//! Do adverts pause while something else keeps the daemon or the machine busy? One virtual router speaks every 100 ms
//! among a thousand that speak every second; the longest gap between two of its adverts is measured, beside keepalived's.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::wire::FrameSocket;
use nix::sys::signal::Signal;

use super::{Bench, Daemon, EACH, PEERS};

/// What is measured speaks with this number on eth0; the others have 1 to 250.
const PROBE: u8 = 251;
const OTHERS: usize = 1000;
const SECONDS: u64 = 12;
/// Frames of others, each second.
const FLOOD: u64 = 100_000;

/// The configuration: the probe, others with this priority, and addresses that differ with `edition`.
fn config(others: usize, edition: u8, more: &str, each: &str) -> String {
    let mut t = format!(
        "{more}\nvrrp_instance PROBE {{\ninterface eth0\nvirtual_router_id {PROBE}\npriority 255\nstate MASTER\nversion 3\n\
         advert_int 0.1\ngarp_master_delay 0\nvirtual_ipaddress {{\n10.98.255.1/32\n}}\n}}\n"
    );
    for i in 0..others {
        let (n, vrid) = (i / EACH, i % EACH + 1);
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
    peer: &'static str,
    daemon: Daemon,
}

impl<'b> Run<'b> {
    /// Starts a daemon and waits until it holds so many addresses.
    fn start(b: &'b Bench, peer: &'static str, config: &str, addresses: usize) -> Result<Run<'b>> {
        let daemon = b.start(peer, "a", config)?;
        b.wait("every address held", Duration::from_secs(60), || b.held("a") == addresses)?;
        std::thread::sleep(Duration::from_secs(2));
        b.seen(super::Seen::reset);
        Ok(Run { b, peer, daemon })
    }

    fn reload(&self, config: &str) -> Result<()> {
        fs::write(self.b.lan.dir.join("a.conf"), format!("global_defs {{\n script_user root\n}}\n{config}"))?;
        self.b.lan.signal(self.daemon.parent, Signal::SIGHUP)
    }

    /// The probe's longest gap so far, ms; the present one counts.
    fn end(self) -> f64 {
        let gap = self.b.seen(|s| {
            let open = s.last.get(&(0, PROBE)).map_or(Duration::MAX, Instant::elapsed);
            s.probe_gap.max(open)
        });
        self.daemon.stop(&self.b.lan);
        let stopped = || self.b.lan.exit_status(self.daemon.parent).is_some();
        if self.b.wait(self.peer, Duration::from_secs(60), stopped).is_err() {
            let _ = self.b.lan.signal(self.daemon.parent, Signal::SIGKILL);
        }
        self.b.clear();
        gap.as_secs_f64() * 1000.0
    }
}

fn rest() {
    std::thread::sleep(Duration::from_secs(SECONDS));
}

fn quiet(b: &Bench, peer: &'static str) -> Result<f64> {
    let r = Run::start(b, peer, &config(OTHERS, 0, "", ""), OTHERS + 1)?;
    rest();
    Ok(r.end())
}

/// Every instance has another address, three times over.
fn reload(b: &Bench, peer: &'static str) -> Result<f64> {
    let r = Run::start(b, peer, &config(OTHERS, 1, "", "garp_master_delay 0"), 2 * OTHERS + 1)?;
    for edition in [2, 3, 4] {
        r.reload(&config(OTHERS, edition, "", "garp_master_delay 0"))?;
        std::thread::sleep(Duration::from_secs(SECONDS / 3));
    }
    Ok(r.end())
}

/// A thousand owners appear, each of which announces its address twenty times.
fn announcements(b: &Bench, peer: &'static str) -> Result<f64> {
    let r = Run::start(b, peer, &config(0, 0, "", ""), 1)?;
    r.reload(&config(OTHERS, 0, "", "garp_master_repeat 20"))?;
    rest();
    Ok(r.end())
}

/// The other host sends adverts of a virtual router that nobody has, as fast as is wanted.
fn flood(b: &Bench, peer: &'static str) -> Result<(f64, f64)> {
    let r = Run::start(b, peer, &config(OTHERS, 0, "", ""), OTHERS + 1)?;
    let (end, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (ends, count) = (end.clone(), sent.clone());
    let sender = b.lan.spawn_thread_in("b", move || {
        let Ok(Some(link)) = Netlink::new().and_then(|mut n| n.link_by_name("eth0")) else { return };
        let Ok(socket) = FrameSocket::new() else { return };
        // A version 3 advert for VRID 252 whose checksum is wrong: it is nobody's in any case.
        let mut f = vec![0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
        f.extend(link.mac);
        f.extend([8, 0, 0x45, 0xc0, 0, 32, 0, 1, 0, 0, 255, 112, 0, 0, 10, 99, 0, 9, 224, 0, 0, 18]);
        let sum = !f[14..34].chunks(2).fold(0u32, |s, c| {
            let s = s + u32::from(c[0]) * 256 + u32::from(c[1]);
            (s & 0xffff) + (s >> 16)
        }) as u16;
        f[24..26].copy_from_slice(&sum.to_be_bytes());
        f.extend([0x31, 252, 100, 1, 0, 100, 0, 0, 10, 98, 9, 9]);
        let begun = Instant::now();
        while !ends.load(Ordering::Relaxed) {
            let due = begun.elapsed().as_micros() as u64 * FLOOD / 1_000_000;
            let done = count.load(Ordering::Relaxed);
            for _ in done..due.min(done + 1000) {
                let _ = socket.send(link.index, &f);
                count.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    let begun = Instant::now();
    rest();
    let rate = sent.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    let gap = r.end();
    end.store(true, Ordering::Relaxed);
    let _ = sender.join();
    Ok((gap, rate))
}

/// Fifty tracked scripts, each every tenth of a second.
fn scripts(b: &Bench, peer: &'static str) -> Result<f64> {
    let mut more = String::new();
    let mut tracked = String::from("track_script {\n");
    for n in 0..50 {
        let _ = write!(more, "vrrp_script s{n} {{\nscript \"/bin/sh -c true\"\ninterval 0.1\nweight 1\n}}\n");
        let _ = writeln!(tracked, "s{n}");
    }
    tracked += "}\n";
    let text = config(OTHERS, 0, &more, "").replacen("interface eth1\n", &format!("interface eth1\n{tracked}"), 1);
    let r = Run::start(b, peer, &text, OTHERS + 1)?;
    rest();
    Ok(r.end())
}

/// Everything, and prints it.
pub fn run(b: &Bench, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    type Scenario = fn(&Bench, &'static str) -> Result<f64>;
    let flooded: Scenario = |b, peer| {
        let (gap, rate) = flood(b, peer)?;
        println!("{:<58} {rate:>14.0} frames/s were sent", "");
        Ok(gap)
    };
    let scenarios: [(&str, Scenario); 5] = [
        ("adverts of 100 ms: nothing else", quiet),
        ("adverts of 100 ms: three reloads, 1,000 instances changed", reload),
        ("adverts of 100 ms: 20,000 gratuitous ARPs", announcements),
        ("adverts of 100 ms: 100,000 foreign adverts a second", flooded),
        ("adverts of 100 ms: 500 scripts a second", scripts),
    ];
    println!("{:<58} {:>14} {:>14} {:>8}", "longest gap between two adverts, ms", PEERS[0], PEERS[1], "ratio");
    for (name, scenario) in scenarios.into_iter().filter(|(name, _)| wanted(name)) {
        let mut gaps = Vec::new();
        for peer in PEERS {
            gaps.push(scenario(b, peer).with_context(|| format!("{name}, {peer}")).unwrap_or_else(|e| {
                eprintln!("{e:#}");
                b.abandon();
                f64::NAN
            }));
        }
        if let [theirs, ours] = gaps[..] {
            println!("{name:<58} {theirs:>14.1} {ours:>14.1} {:>8.2}", ours / theirs);
        }
    }
    println!();
    Ok(())
}
