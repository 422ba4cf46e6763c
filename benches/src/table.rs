//! The connection table: insertion from one CPU and from two at once, what a connection takes of memory, how long it takes to
//! list a million.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use evenkeel_core::model::Scheduler;
use evenkeel_core::plan::ServiceSpec;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::packets::{ACK, Bench, Kind, ROUNDS, SYN, Way, median, plane};

const CONNECTIONS: u32 = 1_000_000;
/// All flows that the wrapper can make.
const FLOWS: u32 = 1 << 24;

/// What was measured.
pub struct Table {
    /// Nanoseconds of a new connection, from one CPU alone; and of each of two at once.
    one: f64,
    two: f64,
    /// Bytes of the table for each place; and the part of the places that are taken when the first connection finds none, when one
    /// in a thousand has found none, and one in a hundred.
    place: f64,
    taken: [f64; 3],
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

/// How full a table is when the first connection has found no place, when one in a thousand has, and one in a hundred.
fn filled() -> Result<[f64; 3]> {
    const PLACES: u32 = 1 << 20;
    const STEP: u32 = PLACES / 256;
    let (p, program) = plane(Kind::USUAL, Way::Dr, ServiceSpec::with_scheduler(Scheduler::Rr), 4, PLACES)?;
    let b = Bench::new()?;
    let without = || p.maps().packet_counters().iter().find(|(n, _)| *n == "table_full").map_or(0, |(_, n)| *n);
    let mut taken = [1.0; 3];
    let mut begun = 0u32;
    while begun < PLACES {
        b.once(Kind::USUAL, program, (FLOWS, SYN), u64::from(begun), STEP)?;
        begun += STEP;
        // What has a place already is not pushed out by what begins: it is established.
        b.once(Kind::USUAL, program, (FLOWS, ACK), u64::from(begun - STEP), STEP)?;
        // Each that has none was counted twice.
        let without = without() / 2;
        let load = f64::from(begun - without as u32) / f64::from(PLACES);
        for (taken, most) in taken.iter_mut().zip([0, begun / 1000, begun / 100]) {
            if without > u64::from(most) && *taken > load {
                *taken = load;
            }
        }
    }
    p.packet_path.unpin();
    Ok(taken)
}

/// Measures it.
pub fn run() -> Result<Table> {
    let (mut one, mut two, mut array, mut list) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut place = 0.0;
    for _ in 0..ROUNDS {
        let (p, program) = plane(Kind::USUAL, Way::Dr, ServiceSpec::with_scheduler(Scheduler::Wlc), 4, 1 << 22)?;
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
        // A bit for each line of two places stands beside the table, and what was seen of late.
        let bytes = (maps.conn_table_bytes() + maps.flow_cache_bytes()) as f64;
        place = bytes / maps.conn_capacity() as f64 + 1.0 / 16.0;
        p.packet_path.unpin();
        let (p, program) = plane(Kind::USUAL, Way::Dr, ServiceSpec::with_scheduler(Scheduler::Wlc), 4, 1 << 22)?;
        two.extend(threads(program, &[(0, 0, CONNECTIONS / 2), (1, 1 << 23, CONNECTIONS / 2)])?);
        p.packet_path.unpin();
    }
    let taken = filled()?;
    Ok(Table { one: median(one), two: median(two), place, taken, array_ms: median(array), list_ms: median(list) })
}

impl Table {
    /// For people.
    pub fn print(&self) {
        println!("new connections from one CPU, ns each {:>40.0}", self.one);
        println!("from two CPUs at once, each {:>50.0}", self.two);
        println!("two / one {:>68.2}", self.two / self.one);
        println!("memory, bytes for each place {:>49.2}", self.place);
        for (who, taken) in ["the first", "one in 1000", "one in 100"].into_iter().zip(self.taken) {
            let name = format!("places taken, bytes a connection, when {who} finds none");
            println!("{name:<62} {:>8.2} {:>6.1}", taken, self.place / taken);
        }
        println!("1,000,000 connections into an array; and decoded, ms {:>18.0} {:>6.0}", self.array_ms, self.list_ms);
    }

    /// For machines.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({"case": "connection table", "insert_one_cpu_ns": self.one, "insert_two_cpus_ns": self.two,
            "two_to_one": self.two / self.one, "bytes_per_place": self.place, "places_taken": self.taken, "array_million_ms": self.array_ms, "list_million_ms": self.list_ms})
    }
}
