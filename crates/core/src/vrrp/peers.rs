//! What a virtual router remembers of the others: how each computes its checksums, the sequence numbers of its
//! authentication headers, and what was told of it already.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::wire::{Form, Reject};
use crate::time::Instant;

/// More than will ever share a virtual router; bounds what forged source addresses cost.
const MOST: usize = 64;

/// What is told of a peer once only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Remark {
    /// A packet of it was refused.
    Refused(Reject),
    /// It names other addresses.
    Addresses,
    /// Another form of checksum.
    Form(Form),
    /// Another interval in version 3.
    Interval,
}

/// The memory.
#[derive(Clone, Default, Debug)]
pub(super) struct Peers {
    forms: BTreeMap<IpAddr, Form>,
    sequences: BTreeMap<IpAddr, u32>,
    /// The time in the last signature of each.
    stamps: BTreeMap<IpAddr, u64>,
    /// When each was last heard, and with which priority, or why it was refused.
    heard: BTreeMap<IpAddr, (Instant, Result<u8, Reject>)>,
    told: Vec<(IpAddr, Remark)>,
}

impl Peers {
    /// Is this remark new? Bounded, so that a flood of forged sources costs nothing.
    pub(super) fn tell_once(&mut self, of: IpAddr, what: Remark) -> bool {
        if self.told.len() >= MOST || self.told.contains(&(of, what)) {
            return false;
        }
        self.told.push((of, what));
        true
    }

    /// It was heard; returns when it was before.
    pub(super) fn heard(&mut self, of: IpAddr, now: Instant, what: Result<u8, Reject>) -> Option<Instant> {
        if self.heard.len() >= MOST && !self.heard.contains_key(&of) {
            return None;
        }
        self.heard.insert(of, (now, what)).map(|(at, _)| at)
    }

    /// Who was heard since then.
    pub(super) fn since(&self, then: Instant) -> impl Iterator<Item = (IpAddr, Result<u8, Reject>)> {
        self.heard.iter().filter(move |(_, (at, _))| *at >= then).map(|(of, (_, what))| (*of, *what))
    }

    /// It has sent a checksum of this form.
    pub(super) fn heard_form(&mut self, of: IpAddr, form: Form) {
        if self.forms.len() < MOST || self.forms.contains_key(&of) {
            self.forms.insert(of, form);
        }
    }

    /// The form of its last checksum.
    pub(super) fn form(&self, of: IpAddr) -> Option<Form> {
        self.forms.get(&of).copied()
    }

    /// May a genuine authentication header of this sequence number come from there now (RFC 2402, 3.4.3)? Numbers count
    /// for each sender by itself, since two masters for a moment may use the same ones.
    pub(super) fn fresh(&mut self, of: IpAddr, sequence: u32) -> bool {
        later(&mut self.sequences, of, sequence)
    }

    /// The same of a genuine signature of this time.
    pub(super) fn signed_later(&mut self, of: IpAddr, stamp: u64) -> bool {
        later(&mut self.stamps, of, stamp)
    }
}

/// Only who knows the password or the key gets here, so that forged sources take no room.
fn later<N: PartialOrd>(last: &mut BTreeMap<IpAddr, N>, of: IpAddr, number: N) -> bool {
    if last.get(&of).is_some_and(|last| number <= *last) {
        return false;
    }
    last.insert(of, number);
    true
}
