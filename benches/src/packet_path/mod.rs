//! The packet path's benchmark: nanoseconds per packet by forwarding method, address family, kind of packet and number
//! of flows, beside three floors in the same run: `rewrite` (parse and rewrite, no state), `kernel maps` (a balancer's
//! work on the kernel's hash and LRU hash) and `one line` (a connection table of 64-byte lines and nothing else).
//!
//! Figures are medians of nine rounds, net of the wrapper and an empty program. Compare ratios, not nanoseconds. The
//! floors handle IPv4 only, and get IPv4 packets in every row.

mod memory_latency;
mod rows;

use std::time::Duration;

use anyhow::{Result, ensure};
use evenkeel_core::model::{ForwardingMethod, Scheduler};
use evenkeel_core::plan::{ServiceSpec, Step};
use evenkeel_testkit::routed_namespace::run_in_routed_namespace;

use self::memory_latency::MemoryLatency;
use self::rows::{Established, NewConnections, RowLoad, RowSpec, SERVERS, all_rows};
use crate::test_run::{ACK, Flows, PacketKind, ROUNDS, STEADY_PACKETS, SYN, TestRun, load_packet_path, median};

/// A measured row: nanoseconds per packet, net of an empty program.
pub struct Row {
    name: String,
    rewrite: f64,
    kernel_maps: f64,
    one_line: f64,
    evenkeel: f64,
}

/// All rows, and the memory latency before and after them.
pub struct Report {
    rows: Vec<Row>,
    memory: [MemoryLatency; 2],
}

/// How the packets of a flow follow each other. evenkeel's program does most for a flow's first packets in an epoch of
/// the flow cache.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Without a pause, and long enough for periodic work to have its share.
    Steady,
    /// After an epoch without packets.
    Idle,
    /// Each packet is the first of its flow.
    FirstPackets,
}

/// Longer than an epoch of the flow cache (bpf/conn/flow_cache.h), with kernels of HZ 250 and of HZ 1000.
const IDLE_TIME: Duration = Duration::from_millis(4200);

/// How one row is measured.
struct Measurement {
    kind: PacketKind,
    flows: Flows,
    rounds: usize,
    repeat: u32,
    pace: Pace,
    /// The floor `one line` that does as much as the forwarding method does.
    line_floor: &'static str,
}

/// Measures evenkeel's program and the floors in turn, so that a disturbance of the machine affects all of them.
fn measure_row(run: &TestRun, name: &str, evenkeel: i32, m: &Measurement) -> Result<Row> {
    let floor_kind = PacketKind { not_ours: m.kind.not_ours, udp: m.kind.udp, ..PacketKind::TCP_V4 };
    let nothing = run.floor_fd("nothing")?;
    let programs = [
        (floor_kind, nothing),
        (floor_kind, run.floor_fd("rewrite")?),
        (floor_kind, run.floor_fd("kernel_maps")?),
        (floor_kind, run.floor_fd(m.line_floor)?),
        (m.kind, evenkeel),
        (m.kind, nothing),
    ];
    let mut ns: [Vec<f64>; 6] = Default::default();
    for round in 0..m.rounds {
        let first = if m.pace == Pace::FirstPackets { round as u64 * u64::from(m.repeat) } else { 0 };
        for (samples, (kind, program)) in ns.iter_mut().zip(programs) {
            let repeat = if program == evenkeel && m.pace == Pace::Steady { STEADY_PACKETS } else { m.repeat };
            if program == evenkeel && m.pace == Pace::Idle {
                std::thread::sleep(IDLE_TIME);
            }
            samples.push(run.measure(kind, program, m.flows, first, repeat)?);
        }
    }
    let [nothing, rewrite, kernel_maps, one_line, evenkeel, nothing_of_kind] = ns.map(median);
    let row = Row {
        name: name.to_owned(),
        rewrite: rewrite - nothing,
        kernel_maps: kernel_maps - nothing,
        one_line: one_line - nothing,
        evenkeel: evenkeel - nothing_of_kind,
    };
    eprintln!("{}", row.to_line()); // the whole table takes minutes
    Ok(row)
}

/// Measures rows of one packet kind and forwarding method, with the same packet path.
fn measure_established(group: &[(&str, &Established)], rows: &mut Vec<Row>) -> Result<()> {
    let Some((_, first)) = group.first() else { return Ok(()) };
    let run = &TestRun::new()?; // its LRU hash is empty
    let (kind, method) = (first.kind, first.method);
    let from_clients = PacketKind { reply: false, ..kind };
    let floor_kind = PacketKind { udp: kind.udp, ..PacketKind::TCP_V4 };
    // Room for two million connections, as the LRU hash has; one of IPv6 takes two entries. With one server only the
    // sender of every reply is known.
    let (servers, capacity) = (if kind.reply { 1 } else { SERVERS }, if kind.v6 { 1 << 22 } else { 1 << 21 });
    let service = ServiceSpec::with_scheduler(Scheduler::Rr);
    let (plane, evenkeel) = load_packet_path(from_clients, method, service, servers, capacity)?;
    for (name, spec) in group {
        let warm_up = spec.flows.max(1024);
        for (kind, program) in [(from_clients, evenkeel), (floor_kind, run.floor_fd("kernel_maps")?)] {
            for flags in [SYN, ACK] {
                run.measure(kind, program, Flows::new(spec.flows, flags), 0, warm_up)?;
            }
        }
        let m = Measurement {
            kind,
            flows: Flows::new(spec.flows, ACK),
            pace: if spec.idle { Pace::Idle } else { Pace::Steady },
            rounds: ROUNDS,
            repeat: if spec.flows > 1 << 16 { 1 << 20 } else { 500_000 },
            line_floor: if matches!(method, ForwardingMethod::Tun(_)) { "one_line_ipip" } else { "one_line" },
        };
        run.measure(kind, evenkeel, m.flows, 0, warm_up)?;
        run.measure(floor_kind, run.floor_fd(m.line_floor)?, m.flows, 0, warm_up)?;
        rows.push(measure_row(run, name, evenkeel, &m)?);
    }
    plane.packet_path.unpin();
    Ok(())
}

/// Measures a row of new connections: each packet creates one. Both tables are as after some time of use: the LRU hash
/// is full, so that each new flow evicts an old one, and evenkeel's table is half full. The row is the median of
/// `spec.tables` such tables.
fn measure_new_connections(run: &TestRun, name: &str, spec: &NewConnections) -> Result<Row> {
    let NewConnections { kind, method, service, servers, capacity, fill, tables } = *spec;
    // In a full table packets are forwarded by flow class, and the first packet of a class is expensive.
    let repeat = if fill > capacity { 500_000 } else { 100_000 };
    let floor_kind = PacketKind { udp: kind.udp, ..PacketKind::TCP_V4 };
    let kernel_maps = run.floor_fd("kernel_maps")?;
    let mut all = Vec::new();
    for _ in 0..tables {
        // The table is filled by the fastest scheduler; then the service gets the one that is measured.
        let fast = ServiceSpec { scheduler: Scheduler::Rr, ..service };
        let (mut plane, evenkeel) = load_packet_path(kind, method, fast, servers, capacity)?;
        let flows = Flows::new(Flows::MAX, SYN);
        run.measure(floor_kind, kernel_maps, flows, 4 << 20, 3 << 20)?;
        run.measure(kind, evenkeel, flows, 4 << 20, fill)?;
        let errors = plane.apply_steps(&[Step::EditService(kind.service(), service)]);
        ensure!(errors.is_empty(), "{errors:?}");
        let m = Measurement { kind, flows, pace: Pace::FirstPackets, rounds: 3, repeat, line_floor: "one_line" };
        all.push(measure_row(run, name, evenkeel, &m)?);
        plane.packet_path.unpin();
    }
    all.sort_by(|x, y| (x.evenkeel / x.kernel_maps).total_cmp(&(y.evenkeel / y.kernel_maps)));
    let middle = all.len() / 2;
    Ok(all.swap_remove(middle))
}

/// Measures packets to no virtual service, beside a service of another protocol.
fn measure_not_ours(run: &TestRun, name: &str, v6: bool) -> Result<Row> {
    let other_service = PacketKind { v6, udp: true, ..PacketKind::TCP_V4 };
    let service = ServiceSpec::with_scheduler(Scheduler::Rr);
    let (plane, evenkeel) = load_packet_path(other_service, ForwardingMethod::Dr, service, SERVERS, 1 << 16)?;
    let m = Measurement {
        kind: PacketKind { v6, not_ours: true, ..PacketKind::TCP_V4 },
        flows: Flows::new(1 << 16, ACK),
        pace: Pace::Steady,
        rounds: ROUNDS,
        repeat: 1_000_000,
        line_floor: "one_line",
    };
    let row = measure_row(run, name, evenkeel, &m);
    plane.packet_path.unpin();
    row
}

fn selected_rows(filter: Option<&str>) -> Vec<RowSpec> {
    all_rows().into_iter().filter(|r| filter.is_none_or(|f| r.name.contains(f))).collect()
}

/// The names of the rows that contain `filter`.
pub fn row_names(filter: Option<&str>) -> Vec<String> {
    selected_rows(filter).into_iter().map(|r| r.name).collect()
}

/// Measures every row whose name contains `filter`.
pub fn run(filter: Option<&str>) -> Result<Report> {
    let specs = selected_rows(filter);
    if let Some(filter) = filter {
        ensure!(!specs.is_empty(), "no row's name contains `{filter}`: --list prints all names");
    }
    run_in_routed_namespace(|| {
        let run = TestRun::new()?;
        let (mut rows, before) = (Vec::new(), MemoryLatency::measure());
        let same_group = |a: &RowSpec, b: &RowSpec| match (&a.load, &b.load) {
            (RowLoad::Established(a), RowLoad::Established(b)) => a.same_group(b),
            _ => false,
        };
        for group in specs.chunk_by(same_group) {
            match &group[0].load {
                RowLoad::Established(_) => {
                    let established = |r| match r {
                        &RowSpec { ref name, load: RowLoad::Established(ref e) } => Some((name.as_str(), e)),
                        _ => None,
                    };
                    let group: Vec<_> = group.iter().filter_map(established).collect();
                    measure_established(&group, &mut rows)?;
                }
                RowLoad::NewConnections(spec) => rows.push(measure_new_connections(&run, &group[0].name, spec)?),
                RowLoad::NotOurs { v6 } => rows.push(measure_not_ours(&run, &group[0].name, *v6)?),
            }
        }
        Ok(Report { rows, memory: [before, MemoryLatency::measure()] })
    })?
}

impl Row {
    fn to_line(&self) -> String {
        let Row { name, rewrite, kernel_maps, one_line, evenkeel } = self;
        format!(
            "{name:<60} {rewrite:>7.0} {kernel_maps:>11.0} {one_line:>8.0} {evenkeel:>8.0} {:>8.2} {:>6.2}",
            evenkeel / kernel_maps,
            evenkeel / one_line
        )
    }
}

impl Report {
    pub fn print(&self) {
        println!(
            "{:<60} {:>7} {:>11} {:>8} {:>8} {:>8} {:>6}",
            "ns per packet, net", "rewrite", "kernel maps", "one line", "evenkeel", "/ kernel", "/ line"
        );
        for row in &self.rows {
            println!("{}", row.to_line());
        }
        for (memory, when) in self.memory.iter().zip(["before", "after"]) {
            println!("{when} the rows: {}", memory.to_line());
        }
    }

    pub fn to_json(&self) -> Vec<serde_json::Value> {
        let row_json = |r: &Row| {
            serde_json::json!({"case": r.name, "rewrite_ns": r.rewrite, "kernel_maps_ns": r.kernel_maps,
                "one_line_ns": r.one_line, "evenkeel_ns": r.evenkeel,
                "evenkeel_to_kernel_maps": r.evenkeel / r.kernel_maps, "evenkeel_to_one_line": r.evenkeel / r.one_line})
        };
        self.rows.iter().map(row_json).chain(self.memory.iter().map(MemoryLatency::to_json)).collect()
    }
}
