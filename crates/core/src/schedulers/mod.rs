//! Schedulers: weights to lookup tables, and the plain-Rust twins of what the program in the kernel chooses.
//!
//! Table schedulers are of two sorts. rr and wrr are the kernel's own walk, replayed: user space writes the order of one
//! whole cycle, the program walks it with a counter and passes over servers that cannot take a connection. After a change
//! the walk must go on where the kernel's would: [`place`] reads off the counter where it stands, [`change`] moves that
//! over one change after the other, and [`table`] begins there. dh, sh and mh have a table of fixed size, into which the
//! program looks at a hash ([`hash`]). The others ([`scan()`]) look at every server.
//!
//! Lists are newest server first, as ip_vs_add_dest() keeps them.

pub mod hash;
mod scan;

pub use scan::{ServerLoad, select_by_scan};

use crate::model::Scheduler;

/// The longest cycle that is written out; weights that need a longer one are scaled down to fit.
pub const MAX_CYCLE: u64 = 1 << 16;

/// A server in its service's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Server {
    /// What the table names it by.
    pub id: u32,
    /// Its weight.
    pub weight: u32,
    /// Its last weight that was not 0; mh keeps a quiesced server's places.
    pub last_weight: u32,
    /// Its address, folded, plus its port, for mh.
    pub hash_key: u32,
}

/// How far a table was walked.
#[derive(Clone, Copy, Debug, Default)]
pub struct WalkCursor {
    /// The counter.
    pub next: u32,
    /// Its first value.
    pub start: u32,
    /// The [`Place`] that belongs to the first value.
    pub position: WalkPosition,
}

/// Where the kernel's own walk stands: rr: id + 1 of the last choice, 0 for none; wrr: the round's weight (its `cw`), 0
/// before the first.
pub type WalkPosition = u32;

/// A table to be walked, or looked into.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SchedulerTable {
    /// Ids: in the order of one cycle, or by hash; empty for scan schedulers.
    pub entries: Vec<u32>,
    /// Where the walk begins.
    pub start: u32,
}

/// Where the walk over a list stands.
pub fn walk_position(scheduler: Scheduler, list: &[Server], walked: WalkCursor) -> WalkPosition {
    if walked.next == walked.start {
        return walked.position;
    }
    let last = walked.next.wrapping_sub(1);
    match scheduler {
        Scheduler::Rr => {
            let entries = eligible_ids(list);
            if entries.is_empty() { walked.position } else { entries[last as usize % entries.len()] + 1 }
        }
        Scheduler::Wrr => {
            let r = WrrCycle::new(list);
            if r.len == 0 {
                return walked.position;
            }
            let last = last % r.len;
            r.rounds().take_while(|(_, begin)| *begin <= last).last().map_or(0, |(cw, _)| cw)
        }
        _ => 0,
    }
}

/// Where it stands after one change of the list: a server added, edited or removed.
pub fn position_after_change(scheduler: Scheduler, was: WalkPosition, old: &[Server], new: &[Server]) -> WalkPosition {
    match scheduler {
        // ip_vs_rr_del_dest(): if the last choice is removed, its predecessor takes the place; or the list's head.
        Scheduler::Rr => {
            let still = |id: u32| new.iter().any(|s| s.id == id);
            let at = was.checked_sub(1).and_then(|id| old.iter().position(|s| s.id == id));
            let left = at.map_or(&old[..0], |i| &old[..=i]);
            left.iter().rev().find(|s| still(s.id)).map_or(0, |s| s.id + 1)
        }
        // ip_vs_wrr_dest_changed(): the walk begins at the list's head, in the round it was in, brought into range.
        Scheduler::Wrr => {
            let r = WrrCycle::new(new);
            if was > r.mw || was == 0 {
                r.mw
            } else if r.di > 1 {
                was / r.di * r.di + 1
            } else {
                was
            }
        }
        _ => 0,
    }
}

/// The table for a list, to be walked on from a place.
pub fn build_table(scheduler: Scheduler, list: &[Server], place: WalkPosition) -> SchedulerTable {
    match scheduler {
        // ip_vs_rr_schedule(): the next one behind the last choice, whatever its weight, if it is more than 0.
        Scheduler::Rr => {
            let last = place.checked_sub(1).and_then(|id| list.iter().position(|s| s.id == id));
            let start = list[..last.map_or(0, |i| i + 1)].iter().filter(|s| s.weight > 0).count();
            let entries = eligible_ids(list);
            let start = if entries.is_empty() { 0 } else { (start % entries.len()) as u32 };
            SchedulerTable { entries, start }
        }
        Scheduler::Wrr => {
            let r = WrrCycle::new(list);
            let start = r.rounds().find(|(cw, _)| *cw == place).map_or(0, |(_, begin)| begin);
            let entries = r.rounds().flat_map(|(cw, _)| r.list.iter().filter(move |s| s.weight >= cw).map(|s| s.id));
            SchedulerTable { entries: entries.collect(), start }
        }
        Scheduler::Dh => SchedulerTable { entries: hash::build_dh_table(list), start: 0 },
        Scheduler::Sh => SchedulerTable { entries: hash::build_sh_table(list), start: 0 },
        Scheduler::Mh => SchedulerTable { entries: hash::build_mh_table(list), start: 0 },
        _ => SchedulerTable::default(),
    }
}

fn eligible_ids(list: &[Server]) -> Vec<u32> {
    list.iter().filter(|s| s.weight > 0).map(|s| s.id).collect()
}

pub(crate) fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What ip_vs_wrr keeps of a service: `di` and `mw`; one cycle has rounds from `mw` down in steps of `di`, and in each
/// round every server at least as heavy.
struct WrrCycle {
    list: Vec<Server>,
    di: u32,
    mw: u32,
    len: u32,
}

impl WrrCycle {
    fn new(list: &[Server]) -> WrrCycle {
        let mut list = list.to_vec();
        let divisor = |l: &[Server]| l.iter().fold(0, |g, s| gcd(g, s.weight)).max(1);
        let total = |l: &[Server]| l.iter().map(|s| u64::from(s.weight)).sum::<u64>();
        if total(&list) / u64::from(divisor(&list)) > MAX_CYCLE {
            let all = total(&list);
            for s in list.iter_mut().filter(|s| s.weight > 0) {
                s.weight = ((u64::from(s.weight) * MAX_CYCLE / all) as u32).max(1);
            }
        }
        let di = divisor(&list);
        let max = list.iter().map(|s| s.weight).max().unwrap_or(0);
        let len = (total(&list) / u64::from(di)) as u32;
        WrrCycle { di, mw: max.saturating_sub(di - 1), len, list }
    }

    /// (the round's weight, where it begins in the cycle)
    fn rounds(&self) -> impl Iterator<Item = (u32, u32)> {
        let mut begin = 0;
        let rounds =
            std::iter::successors((self.mw > 0).then_some(self.mw), |cw| cw.checked_sub(self.di).filter(|&c| c > 0));
        rounds.map(move |cw| {
            let at = begin;
            begin += self.list.iter().filter(|s| s.weight >= cw).count() as u32;
            (cw, at)
        })
    }
}

/// The twin of the program's walk: the next entry whose server can take a connection. Moves `next` on.
pub fn walk_table(table: &[u32], next: &mut u32, eligible: impl Fn(u32) -> bool) -> Option<u32> {
    for _ in 0..table.len() {
        let id = table[*next as usize % table.len()];
        *next = next.wrapping_add(1);
        if eligible(id) {
            return Some(id);
        }
    }
    None
}
