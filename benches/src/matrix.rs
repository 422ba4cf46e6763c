//! Nanoseconds per packet of the packet path, by forwarding method, family, kind of packet and number of flows, beside three
//! floors in the same run: `rewrite` (parse and rewrite, no state), `kernel maps` (a balancer's work on the kernel's hash and LRU
//! hash) and `one line` (a table of lines and nothing else).
//!
//! Figures are medians of nine rounds, net of the wrapper and an empty program. What matters are the ratios. The floors know
//! IPv4 alone, and have it in every row.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Result, ensure};
use evenkeel_core::model::{Persistence, Scheduler};
use evenkeel_core::plan::{ServiceSpec, Step};
use evenkeel_testkit::routed_namespace::run_in_routed_namespace;

use crate::memory::{self, Latency};
use crate::packets::{ACK, Bench, Kind, ROUNDS, STEADY, SYN, Way, median, plane};

/// Of every flow that the wrapper can make.
const ALL_FLOWS: u32 = 1 << 24;
const SERVERS: u32 = 100;

/// A row's name, and nanoseconds net of nothing at all.
pub struct Row {
    name: String,
    rewrite: f64,
    kernel: f64,
    line: f64,
    ours: f64,
}

/// All rows, and what a look into memory cost before and after them.
pub struct Table {
    rows: Vec<Row>,
    memory: [Latency; 2],
}

/// How the packets of a flow follow each other; it matters to ours, which does most for a flow's first packets within four seconds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Without a pause, and for so long that what is done once in a while has its share.
    Steady,
    /// None in the four seconds before.
    Seldom,
    /// Each is its flow's first one.
    First,
}

/// A spell of ours (bpf/conn/flow_cache.h), with kernels of HZ 250 and 1000.
const PAUSE: Duration = Duration::from_millis(4200);

/// What a row is measured of.
struct Load {
    kind: Kind,
    flows: u32,
    flags: u32,
    rounds: usize,
    repeat: u32,
    pace: Pace,
    /// The floor that does as much as the way asks for.
    line: &'static str,
}

/// The programs in turn, some rounds of them, so that what disturbs one disturbs all.
fn row(b: &Bench, name: &str, ours: i32, l: &Load) -> Result<Row> {
    let floor = Kind { foreign: l.kind.foreign, udp: l.kind.udp, ..Kind::USUAL };
    let (nothing, of) = (b.fd("nothing")?, (l.flows, l.flags));
    let programs = [
        (floor, nothing),
        (floor, b.fd("rewrite")?),
        (floor, b.fd("kernel_maps")?),
        (floor, b.fd(l.line)?),
        (l.kind, ours),
        (l.kind, nothing),
    ];
    let mut ns: [Vec<f64>; 6] = Default::default();
    for round in 0..l.rounds {
        let first = if l.pace == Pace::First { round as u64 * u64::from(l.repeat) } else { 0 };
        for (v, (kind, program)) in ns.iter_mut().zip(programs) {
            let repeat = if program == ours && l.pace == Pace::Steady { STEADY } else { l.repeat };
            if program == ours && l.pace == Pace::Seldom {
                std::thread::sleep(PAUSE);
            }
            v.push(b.once(kind, program, of, first, repeat)?);
        }
    }
    let [nothing, rewrite, kernel, line, ours, beside] = ns.map(median);
    let name = name.to_owned();
    let row =
        Row { name, rewrite: rewrite - nothing, kernel: kernel - nothing, line: line - nothing, ours: ours - beside };
    eprintln!("{}", row.text()); // minutes pass until all are there
    Ok(row)
}

fn family(v6: bool) -> &'static str {
    if v6 { ", IPv6" } else { "" }
}

/// Packets of known connections.
fn established(wanted: &dyn Fn(&str) -> bool, rows: &mut Vec<Row>) -> Result<()> {
    let ways = [
        ("DR", Way::Dr, false),
        ("NAT, to the server", Way::Nat, false),
        ("NAT, answers", Way::Nat, true),
        ("TUN (ipip)", Way::Tun, false),
    ];
    for (way_name, way, answers) in ways {
        for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
            let protocol = if udp { "UDP" } else { "TCP" };
            let names: Vec<(String, u32, Pace)> = [
                ("1 flow", 1u32, Pace::Steady),
                ("65,536 flows", 1 << 16, Pace::Steady),
                ("1,048,576 flows", 1 << 20, Pace::Steady),
                ("1,048,576 flows, seldom", 1 << 20, Pace::Seldom),
            ]
            .map(|(n, flows, pace)| (format!("established {protocol}, {way_name}{}, {n}", family(v6)), flows, pace))
            .into_iter()
            .filter(|(n, _, pace)| wanted(n) && (*pace != Pace::Seldom || !v6 && !udp))
            .collect();
            if names.is_empty() {
                continue;
            }
            let b = &Bench::new()?; // with an empty LRU hash
            let clients = Kind { v6, udp, ..Kind::USUAL };
            // Room for two million connections, as the LRU hash has; one of IPv6 takes two places. An answer's sender is
            // known if there is only one.
            let (servers, places) = (if answers { 1 } else { SERVERS }, if v6 { 1 << 22 } else { 1 << 21 });
            let (plane, ours) = plane(clients, way, ServiceSpec::with_scheduler(Scheduler::Rr), servers, places)?;
            for (name, flows, pace) in names {
                let begin = [(clients, ours), (Kind { udp, ..Kind::USUAL }, b.fd("kernel_maps")?)];
                for (kind, program) in begin {
                    for flags in [SYN, ACK] {
                        b.once(kind, program, (flows, flags), 0, flows.max(1024))?;
                    }
                }
                let l = Load {
                    kind: Kind { answers, ..clients },
                    flows,
                    flags: ACK,
                    pace,
                    rounds: ROUNDS,
                    repeat: if flows > 1 << 16 { 1 << 20 } else { 500_000 },
                    line: if way == Way::Tun { "one_line_ipip" } else { "one_line" },
                };
                b.once(l.kind, ours, (flows, ACK), 0, flows.max(1024))?;
                b.once(Kind { udp, ..Kind::USUAL }, b.fd(l.line)?, (flows, ACK), 0, flows.max(1024))?;
                rows.push(row(b, &name, ours, &l)?);
            }
            plane.packet_path.unpin();
        }
    }
    Ok(())
}

/// A row of new connections: each packet begins one. Both tables are as they are when they have been in use for a while: the
/// LRU hash full, so that each new flow costs it an old one, and ours half full. The median of some such tables.
fn beginning(
    b: &Bench,
    name: &str,
    (kind, way, spec, servers): (Kind, Way, ServiceSpec, u32),
    (places, fill, tables): (u32, u32, usize),
) -> Result<Row> {
    // What is without an entry goes by classes, of which each is dear for its first packet.
    let repeat = if fill > places { 500_000 } else { 100_000 };
    let floor = Kind { udp: kind.udp, ..Kind::USUAL };
    let kernel = b.fd("kernel_maps")?;
    let mut all = Vec::new();
    for _ in 0..tables {
        // By the quickest scheduler, then by the one that is asked for.
        let quick = ServiceSpec { scheduler: Scheduler::Rr, ..spec };
        let (mut plane, ours) = plane(kind, way, quick, servers, places)?;
        b.once(floor, kernel, (ALL_FLOWS, SYN), 4 << 20, 3 << 20)?;
        b.once(kind, ours, (ALL_FLOWS, SYN), 4 << 20, fill)?;
        let errors = plane.apply_steps(&[Step::EditService(kind.service(), spec)]);
        ensure!(errors.is_empty(), "{errors:?}");
        let l = Load { kind, flows: ALL_FLOWS, flags: SYN, pace: Pace::First, rounds: 3, repeat, line: "one_line" };
        all.push(row(b, name, ours, &l)?);
        plane.packet_path.unpin();
    }
    all.sort_by(|x, y| (x.ours / x.kernel).total_cmp(&(y.ours / y.kernel)));
    let middle = all.len() / 2;
    Ok(all.swap_remove(middle))
}

/// Packets that begin connections.
fn new_connections(b: &Bench, wanted: &dyn Fn(&str) -> bool, rows: &mut Vec<Row>) -> Result<()> {
    const PLACES: u32 = 1 << 22;
    let tcp6 = Kind { v6: true, ..Kind::USUAL };
    for (way_name, way) in [("DR", Way::Dr), ("NAT", Way::Nat), ("TUN (ipip)", Way::Tun)] {
        for kind in [Kind::USUAL, Kind { udp: true, ..Kind::USUAL }, tcp6] {
            let protocol = if kind.udp { "UDP" } else { "TCP" };
            let name = format!("every packet a new connection, {protocol}, {way_name}{}", family(kind.v6));
            if wanted(&name) {
                // Of IPv6 half the places are as many connections.
                let fill = if kind.v6 { PLACES / 4 } else { PLACES / 2 };
                let tables = if kind == Kind::USUAL { 3 } else { 1 };
                rows.push(beginning(
                    b,
                    &name,
                    (kind, way, ServiceSpec::with_scheduler(Scheduler::Rr), SERVERS),
                    (PLACES, fill, tables),
                )?);
            }
        }
    }
    for kind in [Kind::USUAL, tcp6] {
        // 65,536 clients, of whom each has a template when the table is filled.
        let name = format!("persistence hit: a known client's new connection, DR{}", family(kind.v6));
        if wanted(&name) {
            let mask = if kind.v6 { Ipv6Addr::from(u128::MAX).into() } else { Ipv4Addr::BROADCAST.into() };
            let persistence = Some(Persistence { timeout_s: 300, mask });
            let spec = ServiceSpec { persistence, ..ServiceSpec::with_scheduler(Scheduler::Rr) };
            let fill = if kind.v6 { PLACES / 4 } else { PLACES / 2 };
            rows.push(beginning(b, &name, (kind, Way::Dr, spec, SERVERS), (PLACES, fill, 1))?);
        }
        for servers in [4, SERVERS, 1000] {
            let name = format!("SYN flood, the table full, DR{}, {servers} servers", family(kind.v6));
            if wanted(&name) {
                let load = (kind, Way::Dr, ServiceSpec::with_scheduler(Scheduler::Rr), servers);
                rows.push(beginning(b, &name, load, (1 << 20, 4 << 20, 1))?);
            }
        }
    }
    for scheduler in [Scheduler::Wlc, Scheduler::Nq, Scheduler::Twos] {
        for servers in [4, 64, 1024, 4096] {
            let name = format!("every packet a new connection, {scheduler}, {servers} servers");
            if wanted(&name) {
                let load = (Kind::USUAL, Way::Dr, ServiceSpec::with_scheduler(scheduler), servers);
                rows.push(beginning(b, &name, load, (PLACES, PLACES / 2, 1))?);
            }
        }
    }
    Ok(())
}

/// Packets that are for nobody here, while there is a service.
fn foreign(b: &Bench, wanted: &dyn Fn(&str) -> bool, rows: &mut Vec<Row>) -> Result<()> {
    for v6 in [false, true] {
        let name = format!("not ours{}", family(v6));
        if !wanted(&name) {
            continue;
        }
        // A service of another protocol, so that nothing is for it.
        let (plane, ours) = plane(
            Kind { v6, udp: true, ..Kind::USUAL },
            Way::Dr,
            ServiceSpec::with_scheduler(Scheduler::Rr),
            SERVERS,
            1 << 16,
        )?;
        let kind = Kind { v6, foreign: true, ..Kind::USUAL };
        let (flags, rounds, repeat) = (ACK, ROUNDS, 1_000_000);
        let l = Load { kind, flows: 1 << 16, flags, pace: Pace::Steady, rounds, repeat, line: "one_line" };
        rows.push(row(b, &name, ours, &l)?);
        plane.packet_path.unpin();
    }
    Ok(())
}

/// Measures every row whose name holds these words.
pub fn run(only: Option<&str>) -> Result<Table> {
    run_in_routed_namespace(|| {
        let wanted = |name: &str| only.is_none_or(|o| name.contains(o));
        let b = Bench::new()?;
        let (mut rows, begin) = (Vec::new(), memory::run());
        established(&wanted, &mut rows)?;
        new_connections(&b, &wanted, &mut rows)?;
        foreign(&b, &wanted, &mut rows)?;
        Ok(Table { rows, memory: [begin, memory::run()] })
    })?
}

impl Row {
    fn text(&self) -> String {
        let Row { name, rewrite, kernel, line, ours } = self;
        format!(
            "{name:<60} {rewrite:>7.0} {kernel:>11.0} {line:>8.0} {ours:>8.0} {:>8.2} {:>6.2}",
            ours / kernel,
            ours / line
        )
    }
}

/// For people.
pub fn print(table: &Table) {
    println!(
        "{:<60} {:>7} {:>11} {:>8} {:>8} {:>8} {:>6}",
        "ns per packet, net", "rewrite", "kernel maps", "one line", "evenkeel", "/ kernel", "/ line"
    );
    for row in &table.rows {
        println!("{}", row.text());
    }
    for (memory, when) in table.memory.iter().zip(["before", "after"]) {
        println!("{when} it, {}", memory.text());
    }
}

/// For machines.
pub fn json(table: &Table) -> Vec<serde_json::Value> {
    let one = |r: &Row| {
        serde_json::json!({"case": r.name, "rewrite_ns": r.rewrite, "kernel_maps_ns": r.kernel, "one_line_ns": r.line,
            "evenkeel_ns": r.ours, "evenkeel_to_kernel_maps": r.ours / r.kernel, "evenkeel_to_one_line": r.ours / r.line})
    };
    table.rows.iter().map(one).chain(table.memory.iter().map(Latency::json)).collect()
}
