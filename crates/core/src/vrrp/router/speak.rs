//! What a virtual router says: adverts, to its group or to each peer.

use std::net::IpAddr;
use std::time::Duration;

use super::Router;
use crate::model::{ChecksumOfOld, Destination, Family, Signing, VrrpVersion};
use crate::vrrp::wire::advert::capacity;
use crate::vrrp::wire::trailer::{Signer, stamp};
use crate::vrrp::wire::{Advert, Form, IpHeader, PROTOCOL, Seal, TTL};
use crate::vrrp::{Output, State};

impl Router {
    /// Goes on from this sequence number of authentication headers, so that peers take them as new after a restart; or
    /// from its own, if that is later.
    pub fn continue_sequence(&mut self, from: u32) {
        self.sequence = self.sequence.max(from);
    }

    /// The time since 1970, which signatures are made and judged with; to be told before everything else of a moment.
    pub fn tell_time(&mut self, time_of_day: Duration) {
        self.time_of_day = time_of_day;
    }

    /// The form of checksum that goes to an address.
    pub(super) fn form_to(&self, to: IpAddr) -> Form {
        let old = match self.cfg.old_unicast_checksum {
            ChecksumOfOld::Detected => self.peers.form(to) == Some(Form::OldUnicast),
            ChecksumOfOld::Always => true,
            ChecksumOfOld::Never => false,
        };
        match self.cfg.family {
            Family::V6 => Form::PseudoHeader,
            Family::V4 if old && !to.is_multicast() => Form::OldUnicast,
            Family::V4 if self.cfg.v3_checksum_as_v2 => Form::MessageOnly,
            Family::V4 => Form::PseudoHeader,
        }
    }

    /// The addresses that its adverts name.
    pub(super) fn named(&self) -> impl Iterator<Item = IpAddr> {
        self.cfg.vips.iter().map(|v| v.addr).take(capacity(self.cfg.family == Family::V6, self.cfg.signing.is_some()))
    }

    pub(super) fn send(&mut self, priority: u8) {
        let says = self.says(priority, self.cfg.release.at_stop);
        let packets = self.packets(&says);
        if !packets.is_empty() {
            self.counters.adverts_sent += says.len() as u64;
        }
        for (priority, to, ttl, packet) in packets {
            self.sequence = self.sequence.wrapping_add(1);
            self.id = next_id(self.id);
            self.stamp = stamp(self.time_of_day, self.stamp);
            self.out.push_back(Output::Send { to, ttl, last: priority == 0, packet });
        }
    }

    /// What somebody else has to send, to whom and with which TTL, if this router suddenly is no more.
    pub fn last_words(&self) -> Vec<(IpAddr, u8, Vec<u8>)> {
        let packets = self.packets(&self.says(0, self.cfg.release.at_death));
        packets.into_iter().map(|(_, to, ttl, packet)| (to, ttl, packet)).collect()
    }

    /// Priorities and the intervals that are said with them: one, and before priority 0 another, if that is of any use
    /// ([`crate::model::Release`]).
    fn says(&self, priority: u8, release: Option<Duration>) -> Vec<(u8, Duration)> {
        let usual = self.cfg.advert_int;
        let release = release.filter(|_| priority == 0 && self.state == State::Master);
        let first = match self.cfg.version {
            VrrpVersion::V2 => release.map(|_| (0, usual)),
            VrrpVersion::V3 => release.filter(|t| *t < usual).map(|t| (self.priority, t)),
        };
        first.into_iter().chain([(priority, usual)]).collect()
    }

    /// An advert of each for each destination, with the numbers that come next; its priority stands before it.
    fn packets(&self, says: &[(u8, Duration)]) -> Vec<(u8, IpAddr, u8, Vec<u8>)> {
        let Some(src) = self.address else { return Vec::new() };
        let (mut sequence, mut id, mut time) = (self.sequence, self.id, self.stamp);
        let key = self.cfg.signing.as_ref().and_then(Signing::own_key);
        let mut all = Vec::new();
        for &(priority, interval) in says {
            let advert = Advert { vrid: self.cfg.vrid, priority, interval, addresses: self.named().collect() };
            let mut packet = |dst: IpAddr, ttl: u8| {
                sequence = sequence.wrapping_add(1);
                id = next_id(id);
                time = stamp(self.time_of_day, time);
                let signer = key.map(|key| Signer { key, stamp: time });
                let seal = Seal { auth: self.cfg.auth, sequence, signer };
                let ip = IpHeader { src, dst, ttl, protocol: PROTOCOL, id };
                let packet = advert.packet(self.cfg.version, seal, self.form_to(dst), ip);
                all.push((priority, dst, ttl, packet));
            };
            match &self.cfg.destination {
                Destination::Multicast(group) => packet(*group, TTL),
                Destination::Unicast(u) => u.peers.iter().for_each(|p| packet(p.addr, u.ttl)),
            }
        }
        all
    }
}

/// The identification of the next IP packet; 0 would let the kernel choose.
fn next_id(id: u16) -> u16 {
    id.checked_add(1).unwrap_or(1)
}
