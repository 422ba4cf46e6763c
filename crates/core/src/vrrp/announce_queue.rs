//! What is still to be announced, and when: gratuitous ARPs and neighbour advertisements wait here, so that no advert ever
//! waits for them.
//!
//! A block is one round or several over the addresses of an instance. Where gaps are configured (`vrrp_garp_interval`,
//! `vrrp_gna_interval`, `garp_group`), announcements on one interface, or on all interfaces of a group, keep their
//! distance; blocks that wait for the same gap take turns round by round, so that every address is told once before any is
//! told twice.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::AnnounceIntervals;
use crate::time::Instant;

/// What shares one gap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum GapScope {
    /// No gap at all.
    Unlimited,
    /// A `garp_group`, by its place; for IPv6 or not.
    Group(usize, bool),
    /// An interface; for IPv6 or not.
    Interface(String, bool),
}

#[derive(Clone, Debug)]
struct AnnounceBlock {
    owner: u64,
    targets: Vec<(String, IpAddr)>,
    rounds: u32,
    next_target: usize,
}

#[derive(Clone, Default, Debug)]
struct ScopeQueue {
    blocks: VecDeque<AnnounceBlock>,
    gap: Duration,
    ready_at: Instant,
}

/// The queue.
#[derive(Clone, Default, Debug)]
pub struct AnnounceQueue {
    gaps: AnnounceIntervals,
    queues: BTreeMap<GapScope, ScopeQueue>,
}

impl AnnounceQueue {
    /// Other gaps, from the next block on.
    pub fn configure(&mut self, gaps: AnnounceIntervals) {
        self.gaps = gaps;
    }

    /// Announces (interface, address) so many times each, in this order; `owner` is who can take it back.
    pub fn push(&mut self, owner: u64, targets: impl Iterator<Item = (String, IpAddr)>, rounds: u32) {
        let mut blocks: BTreeMap<GapScope, (Duration, Vec<(String, IpAddr)>)> = BTreeMap::new();
        for (interface, addr) in targets {
            let (gate, gap) = self.gap_scope(&interface, addr);
            blocks.entry(gate).or_insert((gap, Vec::new())).1.push((interface, addr));
        }
        for (gate, (gap, targets)) in blocks {
            let queue = self.queues.entry(gate).or_default();
            queue.gap = gap;
            if rounds > 0 {
                queue.blocks.push_back(AnnounceBlock { owner, targets, rounds, next_target: 0 });
            }
        }
    }

    /// Forgets what this owner still wanted announced: it does not hold the addresses any more.
    pub fn cancel(&mut self, owner: u64) {
        for q in self.queues.values_mut() {
            q.blocks.retain(|b| b.owner != owner);
        }
    }

    /// When [`Announcer::next`] has something again; a time that has passed: now.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queues.values().filter(|q| !q.blocks.is_empty()).map(|q| q.ready_at).min()
    }

    /// What is to be announced now, if anything.
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
        let (gate, pair) = match group.and_then(|i| Some((i, self.gaps.groups.get(i)?))) {
            Some((i, g)) => (GapScope::Group(i, v6), (g.garp, g.gna)),
            None => (GapScope::Interface(interface.to_owned(), v6), (self.gaps.garp, self.gaps.gna)),
        };
        let gap = if v6 { pair.1 } else { pair.0 };
        if gap.is_zero() { (GapScope::Unlimited, gap) } else { (gate, gap) }
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

    /// Everything, with the time of each, ms.
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
    fn gaps_hold_for_an_interface_or_a_whole_group_and_for_each_family() {
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
    fn who_gives_up_announces_nothing_more() {
        let mut a = AnnounceQueue::default();
        push_block(&mut a, 1, "e", &["10.0.0.1"], 5);
        push_block(&mut a, 2, "e", &["10.0.0.2"], 1);
        assert!(a.pop_due(Instant::default()).is_some());
        a.cancel(1);
        assert_eq!(pop_all(&mut a).len(), 1);
    }
}
