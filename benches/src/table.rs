//! The connection table: insertion from one CPU and from two at once, what a connection takes of memory, how long it takes to
//! list a million.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use evenkeel_core::model::Scheduler;
use evenkeel_core::plan::ServiceSpec;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::packets::{Bench, Kind, SYN, Way, median, plane};

const CONNECTIONS: u32 = 1_000_000;
/// All flows that the wrapper can make.
const FLOWS: u32 = 1 << 24;
const ROUNDS: usize = 5;

/// What was measured.
pub struct Table {
    /// Nanoseconds of a new connection, from one CPU alone; and of each of two at once.
    one: f64,
    two: f64,
    /// Bytes of the table for each place, and for each connection when half of them are taken.
    place: f64,
    /// Milliseconds to list a million connections: as they lie in the table, and with all that is to be read of them.
    array_ms: f64,
    list_ms: f64,
}

/// Inserts so many connections on a CPU: nanoseconds for each, net of an empty program.
fn insert(cpu: usize, program: i32, first: u64, count: u32) -> Result<f64> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    let b = Bench::new()?;
    let nothing = b.once(Kind::USUAL, b.fd("nothing")?, (FLOWS, SYN), 0, 200_000)?;
    Ok(b.once(Kind::USUAL, program, (FLOWS, SYN), first, count)? - nothing)
}

fn threads(program: i32, parts: &[(usize, u64, u32)]) -> Result<Vec<f64>> {
    std::thread::scope(|s| {
        let all: Vec<_> =
            parts.iter().map(|&(cpu, first, count)| s.spawn(move || insert(cpu, program, first, count))).collect();
        all.into_iter().map(|t| t.join().ok().context("a thread")?).collect()
    })
}

/// Measures it.
pub fn run() -> Result<Table> {
    let (mut one, mut two, mut array, mut list) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut place = 0.0;
    for _ in 0..ROUNDS {
        let (p, program) = plane(Kind::USUAL, Way::Dr, ServiceSpec::of(Scheduler::Wlc), 4, 1 << 22)?;
        one.extend(threads(program, &[(0, 0, CONNECTIONS)])?);
        let maps = p.maps();
        let began = Instant::now();
        let raw = maps.raw_entries();
        array.push(began.elapsed().as_secs_f64() * 1000.0);
        drop(raw);
        let began = Instant::now();
        let listed = maps.connections();
        list.push(began.elapsed().as_secs_f64() * 1000.0);
        ensure!(listed.len() > CONNECTIONS as usize / 100 * 99, "{} connections listed", listed.len());
        // A bit for each line of two places stands beside the table.
        place = (maps.connection_bytes() as f64 + maps.conn_capacity() as f64 / 16.0) / maps.conn_capacity() as f64;
        p.loaded.unpin();
        let (p, program) = plane(Kind::USUAL, Way::Dr, ServiceSpec::of(Scheduler::Wlc), 4, 1 << 22)?;
        two.extend(threads(program, &[(0, 0, CONNECTIONS / 2), (1, 1 << 23, CONNECTIONS / 2)])?);
        p.loaded.unpin();
    }
    Ok(Table { one: median(one), two: median(two), place, array_ms: median(array), list_ms: median(list) })
}

impl Table {
    /// For people.
    pub fn print(&self) {
        println!("new connections from one CPU, ns each {:>40.0}", self.one);
        println!("from two CPUs at once, each {:>50.0}", self.two);
        println!("two / one {:>68.2}", self.two / self.one);
        println!(
            "memory, bytes for each place; for each connection at half load {:>9.2} {:>5.1}",
            self.place,
            self.place * 2.0
        );
        println!("1,000,000 connections into an array; and decoded, ms {:>18.0} {:>6.0}", self.array_ms, self.list_ms);
    }

    /// For machines.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({"case": "connection table", "insert_one_cpu_ns": self.one, "insert_two_cpus_ns": self.two,
            "two_to_one": self.two / self.one, "bytes_per_place": self.place, "array_million_ms": self.array_ms, "list_million_ms": self.list_ms})
    }
}
