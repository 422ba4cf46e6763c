//! Nanoseconds per packet of the packet path, through the kernel's test-run facility, beside two floors in the same run:
//! `rewrite` (parse and rewrite, no state) and `kernel maps` (the same work on the kernel's hash and LRU hash).
//!
//! Figures are medians of nine rounds, net of the wrapper and an empty program. What matters are the ratios.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use evenkeel_core::model::{ForwardingMethod, Protocol, Scheduler, ServerKey, ServiceKey, Tunnel, Weight};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_sys::bpf::{NextHop, Path, XdpPlane};
use libbpf_rs::{MapCore, MapFlags, Object, ObjectBuilder, ProgramInput};

pub const FLOORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/floor.bpf.o"));
const VIP: Ipv4Addr = Ipv4Addr::new(10, 200, 1, 1);
pub const ROUNDS: usize = 9;
pub const SYN: u32 = 0x02;
pub const ACK: u32 = 0x10;

pub struct Bench {
    floors: Object,
    /// IPv4 and IPv6.
    frames: [Vec<u8>; 2],
}

const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x100);

/// How packets are forwarded in a row of the table.
#[derive(Clone, Copy)]
pub enum Way {
    Dr,
    Nat,
    Tun,
    Dr6,
}

impl Way {
    fn method(self) -> ForwardingMethod {
        match self {
            Way::Dr | Way::Dr6 => ForwardingMethod::Dr,
            Way::Nat => ForwardingMethod::Nat,
            Way::Tun => ForwardingMethod::Tun(Tunnel::default()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Way::Dr => "DR",
            Way::Nat => "NAT, to the server",
            Way::Tun => "TUN (ipip)",
            Way::Dr6 => "DR, IPv6",
        }
    }
}

impl Bench {
    pub fn new() -> Result<Bench> {
        let floors = ObjectBuilder::default().name("floors")?.open_memory(FLOORS)?.load()?;
        let mut frame = vec![0u8; 14 + 20 + 20];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14] = 0x45;
        frame[17] = 40;
        frame[22] = 64;
        frame[23] = 6;
        frame[30..34].copy_from_slice(&VIP.octets());
        frame[36..38].copy_from_slice(&80u16.to_be_bytes());
        frame[46] = 0x50;
        let mut six = vec![0u8; 14 + 40 + 20];
        six[12..14].copy_from_slice(&[0x86, 0xdd]);
        six[14] = 0x60;
        six[19] = 20;
        six[20] = 6;
        six[22..24].copy_from_slice(&[0xfd, 0]);
        six[38..54].copy_from_slice(&VIP6.octets());
        six[56..58].copy_from_slice(&80u16.to_be_bytes());
        six[66] = 0x50;
        let b = Bench { floors, frames: [frame, six] };
        let key = [&VIP.octets()[..], &80u16.to_be_bytes(), &[6, 0]].concat();
        b.map("kernel_services")?.update(&key, &1u32.to_ne_bytes(), MapFlags::ANY)?;
        Ok(b)
    }

    fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>> {
        self.floors.maps().find(|m| m.name() == OsStr::new(name)).with_context(|| format!("map {name}"))
    }

    /// A floor.
    pub fn fd(&self, name: &str) -> Result<i32> {
        let p =
            self.floors.progs().find(|p| p.name() == OsStr::new(name)).with_context(|| format!("program {name}"))?;
        Ok(p.as_fd().as_raw_fd())
    }

    /// Mean nanoseconds of one run of a program behind the wrapper.
    pub fn once(&self, v6: bool, program: i32, flows: u32, flags: u32, first: u64, repeat: u32) -> Result<f64> {
        const XDP_TX: u32 = 3;
        match self.run(v6, program, (flows, flags), first, repeat)? {
            (XDP_TX, ns) => Ok(ns),
            (other, _) => bail!("verdict {other} instead of XDP_TX"),
        }
    }

    /// The last run's verdict, and mean nanoseconds of one.
    pub fn run(
        &self,
        v6: bool,
        program: i32,
        (flows, flags): (u32, u32),
        first: u64,
        repeat: u32,
    ) -> Result<(u32, f64)> {
        self.map("under_test")?.update(&0u32.to_ne_bytes(), &program.to_ne_bytes(), MapFlags::ANY)?;
        let mut plan = first.to_ne_bytes().to_vec();
        plan.extend(flows.to_ne_bytes());
        plan.extend(flags.to_ne_bytes());
        self.map("plan")?.update(&0u32.to_ne_bytes(), &plan, MapFlags::ANY)?;
        let name = if v6 { "wrap6" } else { "wrap" };
        let wrap = self.floors.progs_mut().find(|p| p.name() == OsStr::new(name)).context("the wrapper")?;
        let mut out = vec![0; 256];
        let input = ProgramInput {
            data_in: Some(&self.frames[usize::from(v6)]),
            data_out: Some(&mut out),
            repeat,
            ..Default::default()
        };
        let done = wrap.test_run(input)?;
        Ok((done.return_value, done.duration.as_nanos() as f64))
    }
}

pub fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

/// The packet path with a service of so many servers, and its program.
pub fn plane(way: Way, scheduler: Scheduler, servers: u32, entries: u32) -> Result<(XdpPlane, i32)> {
    let dir = PathBuf::from(format!("/sys/fs/bpf/evenkeel/bench-{}", std::process::id()));
    // What an earlier row has left is not to be taken over.
    let _ = std::fs::remove_dir_all(&dir);
    let v6 = matches!(way, Way::Dr6);
    let mut plane = XdpPlane::load(&dir, entries)?;
    plane.loaded.note_test_device();
    let key = ServiceKey::at(Protocol::Tcp, if v6 { VIP6.into() } else { VIP.into() }, 80);
    let mut steps = vec![Step::AddService(key, ServiceSpec::of(scheduler))];
    for n in 0..servers {
        let addr = if v6 {
            Ipv6Addr::from(0xfd << 120 | u128::from(n)).into()
        } else {
            Ipv4Addr::from(0x0a30_0000 + n).into()
        };
        let server = ServerKey { addr, port: 80 };
        let weight = Weight::new(1).context("a weight")?;
        let spec = DestSpec { weight, method: way.method(), u_threshold: 0, l_threshold: 0 };
        steps.push(Step::AddDest(key, server, spec));
    }
    let errors = plane.apply(&steps);
    anyhow::ensure!(errors.is_empty(), "{errors:?}");
    for (id, _) in plane.dest_addresses() {
        let hop = NextHop { ifindex: 1, dmac: [2; 6], smac: [4; 6] };
        plane.set_path(id, Path::Via { hop, mtu: 1500, source: None });
    }
    let fd = plane.loaded.xdp_program()?;
    Ok((plane, fd))
}

/// Measures every row whose name holds these words.
pub fn run(only: Option<&str>) -> Result<Vec<Row>> {
    let wanted = |name: &str| only.is_none_or(|o| name.contains(o));
    let b = Bench::new()?;
    let (nothing, rewrite, kernel) = (b.fd("nothing")?, b.fd("rewrite")?, b.fd("kernel_maps")?);
    let mut rows = Vec::new();
    for way in [Way::Dr, Way::Nat, Way::Tun, Way::Dr6] {
        for (name, flows, repeat) in [
            ("1 flow", 1u32, 2_000_000u32),
            ("65,536 flows", 1 << 16, 2_000_000),
            ("1,048,576 flows", 1 << 20, 4_000_000),
        ] {
            let name = format!("established TCP, {}, {name}", way.name());
            if !wanted(&name) {
                continue;
            }
            // Room for two million connections, as the LRU hash has; one of IPv6 takes two places.
            let entries = if matches!(way, Way::Dr6) { 1 << 22 } else { 1 << 21 };
            let (plane, ours) = plane(way, Scheduler::Rr, 100, entries)?;
            for p in [kernel, ours] {
                let v6 = matches!(way, Way::Dr6) && p == ours;
                b.once(v6, p, flows, SYN, 0, flows.max(1024))?;
                b.once(v6, p, flows, ACK, 0, flows.max(1024))?;
            }
            rows.push(row(&b, way, &name, flows, ACK, repeat, [nothing, rewrite, kernel, ours])?);
            plane.loaded.unpin();
        }
    }
    for (name, scheduler, servers) in [
        ("rr, 100 servers", Scheduler::Rr, 100),
        ("wlc, 4 servers", Scheduler::Wlc, 4),
        ("wlc, 64 servers", Scheduler::Wlc, 64),
        ("wlc, 1,024 servers", Scheduler::Wlc, 1024),
        ("wlc, 4,096 servers", Scheduler::Wlc, 4096),
    ] {
        let name = format!("every packet a new connection, {name}");
        if !wanted(&name) {
            continue;
        }
        // Both tables as they are when they have been in use for a while: the LRU hash full, so that each new flow costs an
        // old one, and ours half full.
        let mut all = Vec::new();
        // To fill the table takes long where a connection does.
        for _ in 0..if servers > 100 { 1 } else { 3 } {
            let (plane, ours) = plane(Way::Dr, scheduler, servers, 1 << 22)?;
            b.once(false, kernel, 1 << 24, SYN, 4 << 20, 3 << 20)?;
            b.once(false, ours, 1 << 24, SYN, 4 << 20, 1 << 21)?;
            all.push(row(&b, Way::Dr, &name, 1 << 24, SYN, 100_000, [nothing, rewrite, kernel, ours])?);
            plane.loaded.unpin();
        }
        all.sort_by(|x, y| (x.4 / x.3).total_cmp(&(y.4 / y.3)));
        rows.push(all.swap_remove(all.len() / 2));
    }
    Ok(rows)
}

/// A row's name; nanoseconds of nothing at all, and net of that: rewrite, kernel maps, evenkeel.
pub type Row = (String, f64, f64, f64, f64);

/// For people.
pub fn print(rows: &[Row]) {
    println!(
        "{:<60} {:>8} {:>12} {:>9} {:>18}",
        "ns per packet, net", "rewrite", "kernel maps", "evenkeel", "evenkeel / kernel"
    );
    for (name, _, rewrite, kernel, ours) in rows {
        println!("{name:<60} {rewrite:>8.0} {kernel:>12.0} {ours:>9.0} {:>18.2}", ours / kernel);
    }
}

/// For machines.
pub fn json(rows: &[Row]) -> Vec<serde_json::Value> {
    let one = |(name, _, rewrite, kernel, ours): &Row| {
        serde_json::json!({"case": name, "rewrite_ns": rewrite, "kernel_maps_ns": kernel, "evenkeel_ns": ours,
            "evenkeel_to_kernel_maps": ours / kernel})
    };
    rows.iter().map(one).collect()
}

/// The four programs in turn, nine times, so that what disturbs one disturbs all. Those that know IPv4 alone have it in
/// every row; each is net of an empty program behind its own wrapper.
fn row(b: &Bench, way: Way, name: &str, flows: u32, flags: u32, repeat: u32, programs: [i32; 4]) -> Result<Row> {
    let mut ns: [Vec<f64>; 5] = Default::default();
    let rounds = if flags == SYN { 3 } else { ROUNDS };
    let v6 = matches!(way, Way::Dr6);
    for round in 0..rounds {
        // New connections are new in each round.
        let first = if flags == SYN { round as u64 * u64::from(repeat) } else { 0 };
        let [nothing, rewrite, kernel, ours] = programs;
        for (v, (six, p)) in
            ns.iter_mut().zip([(false, nothing), (false, rewrite), (false, kernel), (v6, ours), (v6, nothing)])
        {
            v.push(b.once(six, p, flows, flags, first, repeat)?);
        }
    }
    let [nothing, rewrite, kernel, ours, beside] = ns.map(median);
    Ok((name.to_owned(), nothing, rewrite - nothing, kernel - nothing, ours - beside))
}
