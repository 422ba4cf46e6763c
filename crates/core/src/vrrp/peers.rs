//! What a virtual router remembers of the others: how each computes its checksums, the sequence numbers of its
//! authentication headers, and what was told of it already.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::packet::{ChecksumForm, RejectReason};
use crate::time::Instant;

/// More than will ever share a virtual router; bounds what forged source addresses cost.
const MAX_PEERS: usize = 64;

/// What is told of a peer once only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum PeerWarning {
    /// A packet of it was refused.
    Rejected(RejectReason),
    /// It names other addresses.
    AddressMismatch,
    /// Another form of checksum.
    ChecksumMismatch(ChecksumForm),
    /// Another interval in version 3.
    IntervalMismatch,
}

/// The memory.
#[derive(Clone, Default, Debug)]
pub(super) struct Peers {
    checksum_forms: BTreeMap<IpAddr, ChecksumForm>,
    sequences: BTreeMap<IpAddr, u32>,
    /// The time in the last signature of each.
    timestamps: BTreeMap<IpAddr, u64>,
    /// When each was last heard, and with which priority, or why it was refused.
    last_packets: BTreeMap<IpAddr, (Instant, Result<u8, RejectReason>)>,
    warned: Vec<(IpAddr, PeerWarning)>,
}

impl Peers {
    /// Is this remark new? Bounded, so that a flood of forged sources costs nothing.
    pub(super) fn warn_once(&mut self, of: IpAddr, what: PeerWarning) -> bool {
        if self.warned.len() >= MAX_PEERS || self.warned.contains(&(of, what)) {
            return false;
        }
        self.warned.push((of, what));
        true
    }

    /// It was heard; returns when it was before.
    pub(super) fn record_packet(
        &mut self,
        of: IpAddr,
        now: Instant,
        what: Result<u8, RejectReason>,
    ) -> Option<Instant> {
        if self.last_packets.len() >= MAX_PEERS && !self.last_packets.contains_key(&of) {
            return None;
        }
        self.last_packets.insert(of, (now, what)).map(|(at, _)| at)
    }

    /// Who was heard since then.
    pub(super) fn received_since(&self, then: Instant) -> impl Iterator<Item = (IpAddr, Result<u8, RejectReason>)> {
        self.last_packets.iter().filter(move |(_, (at, _))| *at >= then).map(|(of, (_, what))| (*of, *what))
    }

    /// It has sent a checksum of this form.
    pub(super) fn record_checksum_form(&mut self, of: IpAddr, form: ChecksumForm) {
        if self.checksum_forms.len() < MAX_PEERS || self.checksum_forms.contains_key(&of) {
            self.checksum_forms.insert(of, form);
        }
    }

    /// The form of its last checksum.
    pub(super) fn checksum_form(&self, of: IpAddr) -> Option<ChecksumForm> {
        self.checksum_forms.get(&of).copied()
    }

    /// May a genuine authentication header of this sequence number come from there now (RFC 2402, 3.4.3)? Numbers count
    /// for each sender by itself, since two masters for a moment may use the same ones.
    pub(super) fn accept_sequence(&mut self, of: IpAddr, sequence: u32) -> bool {
        accept_if_greater(&mut self.sequences, of, sequence)
    }

    /// The same of a genuine signature of this time.
    pub(super) fn accept_timestamp(&mut self, of: IpAddr, stamp: u64) -> bool {
        accept_if_greater(&mut self.timestamps, of, stamp)
    }
}

/// Only who knows the password or the key gets here, so that forged sources take no room.
fn accept_if_greater<N: PartialOrd>(last: &mut BTreeMap<IpAddr, N>, of: IpAddr, number: N) -> bool {
    if last.get(&of).is_some_and(|last| number <= *last) {
        return false;
    }
    last.insert(of, number);
    true
}
