//! The connection table's benchmark: insertion from one CPU and from two CPUs at once, memory per connection, and the
//! time to list a million connections.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use evenkeel_core::model::{ForwardingMethod, Scheduler};
use evenkeel_core::plan::ServiceSpec;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::test_run::{ACK, Flows, PacketKind, ROUNDS, SYN, TestRun, load_packet_path, median};

const CONNECTIONS: u32 = 1_000_000;
const SYNS: Flows = Flows { count: Flows::MAX, tcp_flags: SYN };
const ACKS: Flows = Flows { count: Flows::MAX, tcp_flags: ACK };

pub struct Report {
    /// Nanoseconds of a new connection, from one CPU alone and from each of two at once.
    one_cpu_ns: f64,
    two_cpus_ns: f64,
    /// Bytes of the table per entry.
    bytes_per_entry: f64,
    /// The share of entries in use when the first connection finds no free entry, when one in a thousand has found
    /// none, and one in a hundred.
    load_factors: [f64; 3],
    /// Milliseconds to copy a million raw entries, and to list as many connections decoded.
    copy_million_ms: f64,
    list_million_ms: f64,
}

/// Creates `count` connections on one CPU. Returns nanoseconds per connection, net of an empty program.
fn insert_on_cpu(cpu: usize, program: i32, first: u64, count: u32) -> Result<f64> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    let run = TestRun::new()?;
    let nothing = run.measure(PacketKind::TCP_V4, run.floor_fd("nothing")?, SYNS, 0, 200_000)?;
    Ok(run.measure(PacketKind::TCP_V4, program, SYNS, first, count)? - nothing)
}

/// Inserts from one thread for each (CPU, first flow, connections).
fn insert_on_cpus(program: i32, parts: &[(usize, u64, u32)]) -> Result<Vec<f64>> {
    std::thread::scope(|s| {
        let insert =
            |&(cpu, first, count): &(usize, u64, u32)| s.spawn(move || insert_on_cpu(cpu, program, first, count));
        let threads: Vec<_> = parts.iter().map(insert).collect();
        threads.into_iter().map(|t| t.join().ok().context("a thread panicked")?).collect()
    })
}

/// See [`Report::load_factors`].
fn measure_load_factors() -> Result<[f64; 3]> {
    const CAPACITY: u32 = 1 << 20;
    const STEP: u32 = CAPACITY / 256;
    let service = ServiceSpec::with_scheduler(Scheduler::Rr);
    let (plane, program) = load_packet_path(PacketKind::TCP_V4, ForwardingMethod::Dr, service, 4, CAPACITY)?;
    let run = TestRun::new()?;
    let table_full = || plane.maps().packet_counters().iter().find(|(n, _)| *n == "table_full").map_or(0, |(_, n)| *n);
    let mut load_factors = [1.0; 3];
    let mut created = 0u32;
    while created < CAPACITY {
        run.measure(PacketKind::TCP_V4, program, SYNS, u64::from(created), STEP)?;
        created += STEP;
        // Established connections are not evicted by new ones.
        run.measure(PacketKind::TCP_V4, program, ACKS, u64::from(created - STEP), STEP)?;
        // A connection without an entry is counted once for each of its two packets.
        let without_entry = table_full() / 2;
        let load = f64::from(created - without_entry as u32) / f64::from(CAPACITY);
        for (factor, limit) in load_factors.iter_mut().zip([0, created / 1000, created / 100]) {
            if without_entry > u64::from(limit) && *factor > load {
                *factor = load;
            }
        }
    }
    plane.packet_path.unpin();
    Ok(load_factors)
}

pub fn run() -> Result<Report> {
    let (mut one_cpu, mut two_cpus, mut copy, mut list) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut bytes_per_entry = 0.0;
    let service = ServiceSpec::with_scheduler(Scheduler::Wlc);
    let load = || load_packet_path(PacketKind::TCP_V4, ForwardingMethod::Dr, service, 4, 1 << 22);
    for _ in 0..ROUNDS {
        let (plane, program) = load()?;
        one_cpu.extend(insert_on_cpus(program, &[(0, 0, CONNECTIONS)])?);
        let maps = plane.maps();
        let started = Instant::now();
        let raw = maps.raw_entries();
        copy.push(started.elapsed().as_secs_f64() * 1000.0);
        drop(raw);
        let started = Instant::now();
        let listed = maps.connections();
        list.push(started.elapsed().as_secs_f64() * 1000.0);
        ensure!(listed.len() > CONNECTIONS as usize / 100 * 99, "{} connections listed", listed.len());
        // With the flow cache, and one overflow bit for each line of two entries.
        let bytes = (maps.conn_table_bytes() + maps.flow_cache_bytes()) as f64;
        bytes_per_entry = bytes / maps.conn_capacity() as f64 + 1.0 / 16.0;
        plane.packet_path.unpin();
        let (plane, program) = load()?;
        let halves = [(0, 0, CONNECTIONS / 2), (1, 1 << 23, CONNECTIONS / 2)];
        two_cpus.extend(insert_on_cpus(program, &halves)?);
        plane.packet_path.unpin();
    }
    Ok(Report {
        one_cpu_ns: median(one_cpu),
        two_cpus_ns: median(two_cpus),
        bytes_per_entry,
        load_factors: measure_load_factors()?,
        copy_million_ms: median(copy),
        list_million_ms: median(list),
    })
}

impl Report {
    pub fn print(&self) {
        println!("new connections from one CPU, ns each {:>40.0}", self.one_cpu_ns);
        println!("from two CPUs at once, each {:>50.0}", self.two_cpus_ns);
        println!("two / one {:>68.2}", self.two_cpus_ns / self.one_cpu_ns);
        println!("memory, bytes per entry {:>54.2}", self.bytes_per_entry);
        for (which, load) in ["the first", "one in 1000", "one in 100"].into_iter().zip(self.load_factors) {
            let name = format!("load factor, bytes per connection, when {which} finds no entry");
            println!("{name:<66} {:>4.2} {:>6.1}", load, self.bytes_per_entry / load);
        }
        println!(
            "1,000,000 connections copied to an array; and decoded, ms {:>13.0} {:>6.0}",
            self.copy_million_ms, self.list_million_ms
        );
    }

    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"case": "connection table", "insert_one_cpu_ns": self.one_cpu_ns,
            "insert_two_cpus_ns": self.two_cpus_ns, "two_to_one": self.two_cpus_ns / self.one_cpu_ns,
            "bytes_per_entry": self.bytes_per_entry, "load_factors": self.load_factors,
            "copy_million_ms": self.copy_million_ms, "list_million_ms": self.list_million_ms})
    }
}
