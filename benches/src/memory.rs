//! What a look into memory costs on this machine at this moment: loads each of which depends on the last one, over so many bytes.
//! With many flows, ratios say as much about this as about programs: a machine that shares its cache with others has more of it
//! at one time than at another.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use evenkeel_testkit::rng::Rng;

const LINE: usize = 64;
const MIB: [usize; 5] = [1, 4, 8, 16, 64];
const LOADS: usize = 1 << 20;

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line([u64; LINE / 8]);

/// ns for each load, by how many MiB there are.
pub struct Latency(Vec<(usize, f64)>);

/// One circle through all lines in an order that no prefetcher guesses (Sattolo's algorithm).
fn circle(lines: usize) -> Vec<Line> {
    let mut next: Vec<u32> = (0..lines as u32).collect();
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
    for i in (1..lines).rev() {
        next.swap(i, rng.below(i));
    }
    next.iter().map(|&n| Line([u64::from(n); LINE / 8])).collect()
}

fn one(mib: usize) -> f64 {
    let all = circle((mib << 20) / LINE);
    let mut at = 0;
    let mut walk = |loads| {
        for _ in 0..loads {
            at = all[at].0[0] as usize;
        }
        black_box(at);
    };
    walk(all.len());
    let began = Instant::now();
    walk(LOADS);
    began.elapsed().as_nanos() as f64 / LOADS as f64
}

/// Takes half a second.
pub fn run() -> Latency {
    Latency(MIB.into_iter().map(|mib| (mib, one(mib))).collect())
}

impl Latency {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = "a dependent load, ns:".to_owned();
        for (mib, ns) in &self.0 {
            let _ = write!(text, "  {ns:.0} within {mib} MiB");
        }
        text
    }

    /// For machines.
    pub fn json(&self) -> serde_json::Value {
        let of: serde_json::Map<_, _> = self.0.iter().map(|(mib, ns)| (format!("{mib}_mib"), (*ns).into())).collect();
        serde_json::json!({"case": "a dependent load, ns", "within": of})
    }
}
