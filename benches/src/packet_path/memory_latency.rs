//! Memory latency of this machine at this moment: dependent loads over working sets of several sizes.
//!
//! With many flows the benchmark's ratios depend on it as much as on the programs: a machine that shares its cache with
//! others has more of it at one time than at another.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use evenkeel_testkit::rng::Rng;

const LINE_BYTES: usize = 64;
const WORKING_SETS_MIB: [usize; 5] = [1, 4, 8, 16, 64];
const LOADS: usize = 1 << 20;

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line([u64; LINE_BYTES / 8]);

/// Nanoseconds of a dependent load, by the size of the working set in MiB.
pub struct MemoryLatency(Vec<(usize, f64)>);

/// Lines each of which holds the index of the next, in one cycle through all of them (Sattolo's algorithm), which no
/// prefetcher predicts.
fn random_cycle(lines: usize) -> Vec<Line> {
    let mut next: Vec<u32> = (0..lines as u32).collect();
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
    for i in (1..lines).rev() {
        next.swap(i, rng.below(i));
    }
    next.iter().map(|&n| Line([u64::from(n); LINE_BYTES / 8])).collect()
}

fn load_ns(mib: usize) -> f64 {
    let lines = random_cycle((mib << 20) / LINE_BYTES);
    let mut index = 0;
    let mut walk = |loads| {
        for _ in 0..loads {
            index = lines[index].0[0] as usize;
        }
        black_box(index);
    };
    walk(lines.len());
    let started = Instant::now();
    walk(LOADS);
    started.elapsed().as_nanos() as f64 / LOADS as f64
}

impl MemoryLatency {
    /// Takes half a second.
    pub fn measure() -> MemoryLatency {
        MemoryLatency(WORKING_SETS_MIB.into_iter().map(|mib| (mib, load_ns(mib))).collect())
    }

    pub fn to_line(&self) -> String {
        let mut text = "a dependent load, ns:".to_owned();
        for (mib, ns) in &self.0 {
            let _ = write!(text, "  {ns:.0} within {mib} MiB");
        }
        text
    }

    pub fn to_json(&self) -> serde_json::Value {
        let within: serde_json::Map<_, _> =
            self.0.iter().map(|(mib, ns)| (format!("{mib}_mib"), (*ns).into())).collect();
        serde_json::json!({"case": "a dependent load, ns", "within": within})
    }
}
