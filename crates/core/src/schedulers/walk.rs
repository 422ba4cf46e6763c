//! Walk schedulers (rr, wrr): the order of one whole cycle, and where the walk continues after a change of the list.
//!
//! User space writes the cycle into a table. The packet path walks through it with a counter and skips servers that are
//! not eligible. After a change the walk has to continue where the kernel's IPVS would continue: [`walk_position`] reads
//! the position off the counter, [`position_after_change`] moves the position over one change, and [`build_table`](super::build_table) starts
//! the new cycle there.

use super::{Scheduler, SchedulerTable, Server};

/// The longest cycle that is written out. Weights that need a longer cycle are scaled down to fit.
pub const MAX_CYCLE: u64 = 1 << 16;

/// How far a table has been walked.
#[derive(Clone, Copy, Debug, Default)]
pub struct WalkCursor {
    /// The counter.
    pub next: u32,
    /// The counter's first value.
    pub start: u32,
    /// The [`WalkPosition`] that belongs to the first value.
    pub position: WalkPosition,
}

/// The state of the kernel's walk. rr: the id of the last selected server plus 1, 0 if there is none; wrr: the weight of
/// the current round (the kernel's `cw`), 0 before the first round.
pub type WalkPosition = u32;

/// The position of the walk over a list.
pub fn walk_position(scheduler: Scheduler, list: &[Server], cursor: WalkCursor) -> WalkPosition {
    if cursor.next == cursor.start {
        return cursor.position;
    }
    let last = cursor.next.wrapping_sub(1);
    match scheduler {
        Scheduler::Rr => {
            let entries = eligible_ids(list);
            if entries.is_empty() { cursor.position } else { entries[last as usize % entries.len()] + 1 }
        }
        Scheduler::Wrr => {
            let cycle = WrrCycle::new(list);
            if cycle.len == 0 {
                return cursor.position;
            }
            let last = last % cycle.len;
            cycle.rounds().take_while(|(_, first)| *first <= last).last().map_or(0, |(cw, _)| cw)
        }
        _ => 0,
    }
}

/// The position after one change of the list: a server added, edited or removed.
pub fn position_after_change(
    scheduler: Scheduler,
    position: WalkPosition,
    old: &[Server],
    new: &[Server],
) -> WalkPosition {
    match scheduler {
        // ip_vs_rr_del_dest(): if the last selected server is removed, its predecessor takes its place, or the list's head.
        Scheduler::Rr => {
            let is_in_new = |id: u32| new.iter().any(|s| s.id == id);
            let last = position.checked_sub(1).and_then(|id| old.iter().position(|s| s.id == id));
            let walked = last.map_or(&old[..0], |i| &old[..=i]);
            walked.iter().rev().find(|s| is_in_new(s.id)).map_or(0, |s| s.id + 1)
        }
        // ip_vs_wrr_dest_changed(): the walk restarts at the list's head, in the same round brought into range.
        Scheduler::Wrr => {
            let cycle = WrrCycle::new(new);
            if position > cycle.mw || position == 0 {
                cycle.mw
            } else if cycle.di > 1 {
                position / cycle.di * cycle.di + 1
            } else {
                position
            }
        }
        _ => 0,
    }
}

/// The cycle of rr: ip_vs_rr_schedule() selects the next server after the last one whose weight is not 0.
pub(super) fn build_rr_cycle(list: &[Server], position: WalkPosition) -> SchedulerTable {
    let last = position.checked_sub(1).and_then(|id| list.iter().position(|s| s.id == id));
    let passed = list[..last.map_or(0, |i| i + 1)].iter().filter(|s| s.weight > 0).count();
    let entries = eligible_ids(list);
    let start = if entries.is_empty() { 0 } else { (passed % entries.len()) as u32 };
    SchedulerTable { entries, start }
}

/// The cycle of wrr: ip_vs_wrr_schedule().
pub(super) fn build_wrr_cycle(list: &[Server], position: WalkPosition) -> SchedulerTable {
    let cycle = WrrCycle::new(list);
    let start = cycle.rounds().find(|(cw, _)| *cw == position).map_or(0, |(_, first)| first);
    let entries = cycle.rounds().flat_map(|(cw, _)| cycle.list.iter().filter(move |s| s.weight >= cw).map(|s| s.id));
    SchedulerTable { entries: entries.collect(), start }
}

fn eligible_ids(list: &[Server]) -> Vec<u32> {
    list.iter().filter(|s| s.weight > 0).map(|s| s.id).collect()
}

pub(super) fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One cycle of wrr. It has rounds from `mw` down in steps of `di`, as ip_vs_wrr keeps them. A round contains every server
/// whose weight is at least the weight of the round.
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

    /// Each round's weight and the index of its first entry in the cycle.
    fn rounds(&self) -> impl Iterator<Item = (u32, u32)> {
        let mut entries = 0;
        let weights =
            std::iter::successors((self.mw > 0).then_some(self.mw), |cw| cw.checked_sub(self.di).filter(|&c| c > 0));
        weights.map(move |cw| {
            let first = entries;
            entries += self.list.iter().filter(|s| s.weight >= cw).count() as u32;
            (cw, first)
        })
    }
}

/// The next entry of a table whose server is eligible; advances the counter. This is the reference model of
/// schedule_walk() in the packet path.
pub fn walk_table(table: &[u32], next: &mut u32, is_eligible: impl Fn(u32) -> bool) -> Option<u32> {
    for _ in 0..table.len() {
        let id = table[*next as usize % table.len()];
        *next = next.wrapping_add(1);
        if is_eligible(id) {
            return Some(id);
        }
    }
    None
}
