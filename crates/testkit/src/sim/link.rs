//! The links of a simulation: loss, duplication, delay and partitions of packets.

use std::cmp::Reverse;
use std::time::Duration;

use evenkeel_core::time::Instant;

use super::Cluster;

/// The faults of all links.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkFaults {
    /// Packets lost, per cent.
    pub loss_percent: u64,
    /// Packets duplicated, per cent.
    pub duplicate_percent: u64,
    /// The longest delay of a packet, ms.
    pub max_delay_ms: u64,
}

/// A packet in flight. The order is that of arrival, then that of sending.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InFlightPacket {
    pub(super) arrival: Instant,
    number: u64,
    to: usize,
    link: usize,
    packet: Vec<u8>,
}

impl Cluster {
    /// Puts a host on a side of a link's partition. Only hosts on the same side receive each other's packets.
    pub fn partition(&mut self, i: usize, link: usize, side: u8) {
        self.hosts[i].partition_side[link] = side;
    }

    /// Sends a packet to all other hosts of a link, with the link's faults.
    pub(super) fn transmit(&mut self, from: usize, link: usize, packet: &[u8]) {
        if !self.hosts[from].link_up[link] {
            return;
        }
        for to in (0..self.hosts.len()).filter(|&t| t != from) {
            if self.hosts[to].partition_side[link] != self.hosts[from].partition_side[link] {
                continue;
            }
            let copies = if self.rng.chance(self.link_faults.duplicate_percent) { 2 } else { 1 };
            for _ in 0..copies {
                if self.rng.chance(self.link_faults.loss_percent) {
                    continue;
                }
                let delay = Duration::from_micros(100 + self.rng.below(1000 * self.link_faults.max_delay_ms.max(1)));
                self.sent += 1;
                let (arrival, number) = (self.now + delay, self.sent);
                self.in_flight.push(Reverse(InFlightPacket { arrival, number, to, link, packet: packet.to_vec() }));
            }
        }
    }

    /// Moves packets that have arrived to the inboxes of their hosts.
    pub(super) fn deliver_packets(&mut self) {
        while self.in_flight.peek().is_some_and(|Reverse(p)| p.arrival <= self.now) {
            let Some(Reverse(InFlightPacket { to, link, packet, .. })) = self.in_flight.pop() else { break };
            if self.hosts[to].alive && self.hosts[to].link_up[link] {
                self.hosts[to].inbox.push((link, packet));
            }
        }
    }
}
