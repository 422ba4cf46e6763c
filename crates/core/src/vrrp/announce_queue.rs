//! The announcement queue: gratuitous ARPs and neighbour advertisements that are due later. They wait here so that no
//! advert is delayed by them.
//!
//! A block is one or several rounds over the addresses of an instance. `vrrp_garp_interval`, `vrrp_gna_interval` and
//! `garp_group` set a minimum interval between the announcements of one interface, or of all interfaces of a group.
//! Blocks that share such an interval alternate round by round, so that every address is announced once before any is
//! announced twice.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::AnnounceIntervals;
use crate::time::Instant;

/// The set of announcements that share one minimum interval.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum GapScope {
    /// No minimum interval.
    Unlimited,
    /// A `garp_group` by its index, and whether this is its queue for IPv6.
    Group(usize, bool),
    /// An interface, and whether this is its queue for IPv6.
    Interface(String, bool),
}

/// Announcements of one owner, which are repeated `rounds` times.
#[derive(Clone, Debug)]
struct AnnounceBlock {
    owner: u64,
    targets: Vec<(String, IpAddr)>,
    rounds: u32,
    next_target: usize,
}

/// The blocks of one scope. The first block is the current one.
#[derive(Clone, Default, Debug)]
struct ScopeQueue {
    blocks: VecDeque<AnnounceBlock>,
    gap: Duration,
    ready_at: Instant,
}

/// The announcement queue of all instances.
#[derive(Clone, Default, Debug)]
pub struct AnnounceQueue {
    gaps: AnnounceIntervals,
    queues: BTreeMap<GapScope, ScopeQueue>,
}

impl AnnounceQueue {
    /// Sets the minimum intervals. They take effect with the next block.
    pub fn configure(&mut self, gaps: AnnounceIntervals) {
        self.gaps = gaps;
    }

    /// Appends announcements of (interface, address) pairs, repeated `rounds` times in this order. `owner` is the key
    /// for [`AnnounceQueue::cancel`].
    pub fn push(&mut self, owner: u64, targets: impl Iterator<Item = (String, IpAddr)>, rounds: u32) {
        let mut blocks: BTreeMap<GapScope, (Duration, Vec<(String, IpAddr)>)> = BTreeMap::new();
        for (interface, addr) in targets {
            let (scope, gap) = self.gap_scope(&interface, addr);
            blocks.entry(scope).or_insert((gap, Vec::new())).1.push((interface, addr));
        }
        for (scope, (gap, targets)) in blocks {
            let queue = self.queues.entry(scope).or_default();
            queue.gap = gap;
            if rounds > 0 {
                queue.blocks.push_back(AnnounceBlock { owner, targets, rounds, next_target: 0 });
            }
        }
    }

    /// Removes all announcements of an owner, which does not hold the addresses any more.
    pub fn cancel(&mut self, owner: u64) {
        for q in self.queues.values_mut() {
            q.blocks.retain(|b| b.owner != owner);
        }
    }

    /// When [`AnnounceQueue::pop_due`] returns the next announcement. A time in the past means now.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queues.values().filter(|q| !q.blocks.is_empty()).map(|q| q.ready_at).min()
    }

    /// Removes and returns an announcement that is due: interface and address.
    pub fn pop_due(&mut self, now: Instant) -> Option<(String, IpAddr)> {
        let queue = self.queues.values_mut().find(|q| !q.blocks.is_empty() && q.ready_at <= now)?;
        let block = queue.blocks.front_mut()?;
        let target = block.targets.get(block.next_target).cloned();
        block.next_target += 1;
        if block.next_target >= block.targets.len() {
            block.next_target = 0;
            block.rounds -= 1;
            let again = queue.blocks.pop_front().filter(|b| b.rounds > 0);
            queue.blocks.extend(again);
        }
        queue.ready_at = now + queue.gap;
        target
    }

    fn gap_scope(&self, interface: &str, addr: IpAddr) -> (GapScope, Duration) {
        let v6 = addr.is_ipv6();
        let group = self.gaps.groups.iter().position(|g| g.interfaces.iter().any(|i| i == interface));
        let (scope, (garp_gap, gna_gap)) = match group.and_then(|i| Some((i, self.gaps.groups.get(i)?))) {
            Some((i, g)) => (GapScope::Group(i, v6), (g.garp, g.gna)),
            None => (GapScope::Interface(interface.to_owned(), v6), (self.gaps.garp, self.gaps.gna)),
        };
        let gap = if v6 { gna_gap } else { garp_gap };
        if gap.is_zero() { (GapScope::Unlimited, gap) } else { (scope, gap) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GarpGroup;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn push_block(a: &mut AnnounceQueue, owner: u64, dev: &str, addrs: &[&str], rounds: u32) {
        let targets = addrs.iter().map(|a| (dev.to_owned(), a.parse().expect("an address")));
        a.push(owner, targets, rounds);
    }

    /// Pops all announcements. Returns each with its time in ms.
    fn pop_all(a: &mut AnnounceQueue) -> Vec<(u64, String)> {
        let (start, mut out) = (Instant::from_nanos(1_000_000_000), Vec::new());
        let mut now = start;
        while let Some(at) = a.next_deadline() {
            now = now.max(at);
            let (dev, addr) = a.pop_due(now).expect("due");
            out.push((now.duration_since(start).as_millis() as u64, format!("{dev} {addr}")));
        }
        out
    }

    #[test]
    fn without_gaps_rounds_follow_each_other_and_blocks_take_turns() {
        let mut a = AnnounceQueue::default();
        push_block(&mut a, 1, "e", &["10.0.0.1", "fd00::1"], 2);
        push_block(&mut a, 2, "e", &["10.0.0.2"], 1);
        let order: Vec<String> = pop_all(&mut a).into_iter().map(|(_, s)| s).collect();
        assert_eq!(order, ["e 10.0.0.1", "e fd00::1", "e 10.0.0.2", "e 10.0.0.1", "e fd00::1"]);
        assert_eq!(a.next_deadline(), None);
    }

    #[test]
    fn gaps_apply_to_an_interface_or_a_whole_group_and_to_each_family() {
        let group = GarpGroup { interfaces: vec!["f".into(), "g".into()], garp: ms(100), gna: ms(0) };
        let mut a = AnnounceQueue::default();
        a.configure(AnnounceIntervals { garp: ms(10), gna: ms(20), groups: vec![group] });
        push_block(&mut a, 1, "e", &["10.0.0.1", "fd00::1", "10.0.0.2", "fd00::2"], 1);
        push_block(&mut a, 2, "f", &["10.0.0.3"], 1);
        push_block(&mut a, 3, "g", &["10.0.0.4", "fd00::4"], 1);
        let mut got = pop_all(&mut a);
        got.sort();
        let want = [
            (0, "e 10.0.0.1"),
            (0, "e fd00::1"),
            (0, "f 10.0.0.3"),
            (0, "g fd00::4"),
            (10, "e 10.0.0.2"),
            (20, "e fd00::2"),
            (100, "g 10.0.0.4"),
        ];
        assert_eq!(got, want.map(|(t, s)| (t, s.to_owned())));
    }

    #[test]
    fn a_cancelled_owner_announces_nothing_more() {
        let mut a = AnnounceQueue::default();
        push_block(&mut a, 1, "e", &["10.0.0.1"], 5);
        push_block(&mut a, 2, "e", &["10.0.0.2"], 1);
        assert!(a.pop_due(Instant::default()).is_some());
        a.cancel(1);
        assert_eq!(pop_all(&mut a).len(), 1);
    }
}
