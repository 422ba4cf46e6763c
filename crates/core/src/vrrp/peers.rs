//! The peers of a virtual router: their checksum forms, their last sequence numbers and timestamps (replay protection),
//! when their last packet arrived, and which warnings about them were reported.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::packet::{ChecksumForm, RejectReason};
use crate::time::Instant;

/// The largest number of peers that are recorded. No virtual router has as many, and forged source addresses cannot use
/// up memory.
const MAX_PEERS: usize = 64;

/// A warning about a peer that is reported once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum PeerWarning {
    /// A packet was rejected.
    Rejected(RejectReason),
    /// Its adverts contain other addresses.
    AddressMismatch,
    /// Its checksums have another form.
    ChecksumMismatch(ChecksumForm),
    /// Version 3: its interval differs.
    IntervalMismatch,
}

/// All peers by address.
#[derive(Clone, Default, Debug)]
pub(super) struct Peers {
    checksum_forms: BTreeMap<IpAddr, ChecksumForm>,
    sequences: BTreeMap<IpAddr, u32>,
    /// The timestamp in the last signature of each peer.
    timestamps: BTreeMap<IpAddr, u64>,
    /// When the last packet of each peer arrived, and its priority or why it was rejected.
    last_packets: BTreeMap<IpAddr, (Instant, Result<u8, RejectReason>)>,
    warned: Vec<(IpAddr, PeerWarning)>,
}

impl Peers {
    /// Returns true the first time that a warning occurs; false, too, once the table of warnings is full.
    pub(super) fn warn_once(&mut self, peer: IpAddr, warning: PeerWarning) -> bool {
        if self.warned.len() >= MAX_PEERS || self.warned.contains(&(peer, warning)) {
            return false;
        }
        self.warned.push((peer, warning));
        true
    }

    /// Records a packet: its priority, or why it was rejected. Returns when the packet before it arrived.
    pub(super) fn record_packet(
        &mut self,
        peer: IpAddr,
        now: Instant,
        outcome: Result<u8, RejectReason>,
    ) -> Option<Instant> {
        if self.last_packets.len() >= MAX_PEERS && !self.last_packets.contains_key(&peer) {
            return None;
        }
        self.last_packets.insert(peer, (now, outcome)).map(|(at, _)| at)
    }

    /// The peers whose last packet arrived at or after `start`, with that packet's outcome.
    pub(super) fn received_since(&self, start: Instant) -> impl Iterator<Item = (IpAddr, Result<u8, RejectReason>)> {
        self.last_packets.iter().filter(move |(_, (at, _))| *at >= start).map(|(peer, (_, outcome))| (*peer, *outcome))
    }

    /// Records the form of a peer's checksum.
    pub(super) fn record_checksum_form(&mut self, peer: IpAddr, form: ChecksumForm) {
        if self.checksum_forms.len() < MAX_PEERS || self.checksum_forms.contains_key(&peer) {
            self.checksum_forms.insert(peer, form);
        }
    }

    /// The form of a peer's last checksum.
    pub(super) fn checksum_form(&self, peer: IpAddr) -> Option<ChecksumForm> {
        self.checksum_forms.get(&peer).copied()
    }

    /// Accepts the sequence number of a verified authentication header if it is greater than the peer's last one (RFC
    /// 2402, 3.4.3). Each sender has its own numbers, since two masters may use the same ones for a moment.
    pub(super) fn accept_sequence(&mut self, peer: IpAddr, sequence: u32) -> bool {
        accept_if_greater(&mut self.sequences, peer, sequence)
    }

    /// Accepts the timestamp of a verified signature if it is greater than the peer's last one.
    pub(super) fn accept_timestamp(&mut self, peer: IpAddr, timestamp: u64) -> bool {
        accept_if_greater(&mut self.timestamps, peer, timestamp)
    }
}

/// Needs no bound: only senders that have the password or the key get here, so that forged sources add no entries.
fn accept_if_greater<N: PartialOrd>(last: &mut BTreeMap<IpAddr, N>, peer: IpAddr, number: N) -> bool {
    if last.get(&peer).is_some_and(|last| number <= *last) {
        return false;
    }
    last.insert(peer, number);
    true
}
