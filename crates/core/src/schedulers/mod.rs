//! Schedulers: weights to lookup tables, and the plain-Rust twin of what the program in the kernel chooses.
//!
//! Table schedulers (rr, wrr) are the kernel's own walk, replayed: user space writes the order of one whole cycle, the
//! program walks it with a counter and passes over servers that cannot take a connection. After a change the walk must go
//! on where the kernel's would: [`place`] reads off the counter where it stands, [`change`] moves that over one change
//! after the other, and [`table`] begins there.
//!
//! Lists are newest server first, as ip_vs_add_dest() keeps them.

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
}

/// How far a table was walked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walked {
    /// The counter.
    pub next: u32,
    /// Its first value.
    pub start: u32,
    /// The [`Place`] that belongs to the first value.
    pub place: Place,
}

/// Where the kernel's own walk stands: rr: id + 1 of the last choice, 0 for none; wrr: the round's weight (its `cw`), 0
/// before the first.
pub type Place = u32;

/// A table to be walked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// Ids in the order of one cycle; empty for scan schedulers.
    pub entries: Vec<u32>,
    /// Where the walk begins.
    pub start: u32,
}

/// Where the walk over a list stands.
pub fn place(scheduler: Scheduler, list: &[Server], walked: Walked) -> Place {
    if walked.next == walked.start {
        return walked.place;
    }
    let last = walked.next.wrapping_sub(1);
    match scheduler {
        Scheduler::Rr => {
            let entries = eligible(list);
            if entries.is_empty() { walked.place } else { entries[last as usize % entries.len()] + 1 }
        }
        Scheduler::Wrr => {
            let r = Rounds::of(list);
            if r.cycle == 0 {
                return walked.place;
            }
            let last = last % r.cycle;
            r.begins().take_while(|(_, begin)| *begin <= last).last().map_or(0, |(cw, _)| cw)
        }
        Scheduler::Wlc => 0,
    }
}

/// Where it stands after one change of the list: a server added, edited or removed.
pub fn change(scheduler: Scheduler, was: Place, old: &[Server], new: &[Server]) -> Place {
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
            let r = Rounds::of(new);
            if was > r.mw || was == 0 {
                r.mw
            } else if r.di > 1 {
                was / r.di * r.di + 1
            } else {
                was
            }
        }
        Scheduler::Wlc => 0,
    }
}

/// The table for a list, to be walked on from a place.
pub fn table(scheduler: Scheduler, list: &[Server], place: Place) -> Table {
    match scheduler {
        // ip_vs_rr_schedule(): the next one behind the last choice, whatever its weight, if it is more than 0.
        Scheduler::Rr => {
            let last = place.checked_sub(1).and_then(|id| list.iter().position(|s| s.id == id));
            let start = list[..last.map_or(0, |i| i + 1)].iter().filter(|s| s.weight > 0).count();
            let entries = eligible(list);
            let start = if entries.is_empty() { 0 } else { (start % entries.len()) as u32 };
            Table { entries, start }
        }
        Scheduler::Wrr => {
            let r = Rounds::of(list);
            let start = r.begins().find(|(cw, _)| *cw == place).map_or(0, |(_, begin)| begin);
            let entries = r.begins().flat_map(|(cw, _)| r.list.iter().filter(move |s| s.weight >= cw).map(|s| s.id));
            Table { entries: entries.collect(), start }
        }
        Scheduler::Wlc => Table::default(),
    }
}

fn eligible(list: &[Server]) -> Vec<u32> {
    list.iter().filter(|s| s.weight > 0).map(|s| s.id).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What ip_vs_wrr keeps of a service: `di` and `mw`; one cycle has rounds from `mw` down in steps of `di`, and in each
/// round every server at least as heavy.
struct Rounds {
    list: Vec<Server>,
    di: u32,
    mw: u32,
    cycle: u32,
}

impl Rounds {
    fn of(list: &[Server]) -> Rounds {
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
        let cycle = (total(&list) / u64::from(di)) as u32;
        Rounds { di, mw: max.saturating_sub(di - 1), cycle, list }
    }

    /// (the round's weight, where it begins in the cycle)
    fn begins(&self) -> impl Iterator<Item = (u32, u32)> {
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

/// A server as a scan scheduler sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Its weight.
    pub weight: u32,
    /// Active connections.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// Over its upper threshold, and not yet below the lower one.
    pub overload: bool,
}

impl Load {
    /// Can it take a new connection?
    pub fn eligible(&self) -> bool {
        self.weight > 0 && !self.overload
    }
}

/// The twin of the program's wlc (ip_vs_wlc_schedule()): least (active * 256 + inactive) / weight; the newer on equal
/// terms. Returns the position in the list.
pub fn wlc(list: &[Load]) -> Option<usize> {
    let mut best: Option<(usize, i64, i64)> = None;
    for (i, s) in list.iter().enumerate().filter(|(_, s)| s.eligible()) {
        let overhead = i64::from(s.active) * 256 + i64::from(s.inactive);
        let weight = i64::from(s.weight);
        if best.is_none_or(|(_, o, w)| o * weight > overhead * w) {
            best = Some((i, overhead, weight));
        }
    }
    best.map(|(i, ..)| i)
}

/// The twin of the program's walk: the next entry whose server can take a connection. Moves `next` on.
pub fn walk(table: &[u32], next: &mut u32, eligible: impl Fn(u32) -> bool) -> Option<u32> {
    for _ in 0..table.len() {
        let id = table[*next as usize % table.len()];
        *next = next.wrapping_add(1);
        if eligible(id) {
            return Some(id);
        }
    }
    None
}
