//! What a virtual router says: adverts, to its group or to each peer.

use std::net::IpAddr;
use std::time::Duration;

use super::Router;
use crate::model::{ChecksumOfOld, Destination, Family};
use crate::vrrp::wire::advert::capacity;
use crate::vrrp::wire::{Advert, Form, IpHeader, PROTOCOL, TTL};
use crate::vrrp::{Output, State};

impl Router {
    /// Goes on from this sequence number of authentication headers, so that peers take them as new after a restart; or
    /// from its own, if that is later.
    pub fn continue_sequence(&mut self, from: u32) {
        self.sequence = self.sequence.max(from);
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
        self.cfg.vips.iter().map(|v| v.addr).take(capacity(self.cfg.family == Family::V6))
    }

    pub(super) fn send(&mut self, priority: u8) {
        if priority == 0
            && let Some(short) = self.shortened(self.cfg.release.at_stop)
        {
            self.send_with(self.priority, short);
        }
        self.send_with(priority, self.cfg.advert_int);
    }

    fn send_with(&mut self, priority: u8, interval: Duration) {
        let packets = self.packets(priority, interval, 1);
        if !packets.is_empty() {
            self.counters.adverts_sent += 1;
        }
        for (to, ttl, packet) in packets {
            self.sequence = self.sequence.wrapping_add(1);
            self.id = next_id(self.id);
            self.out.push_back(Output::Send { to, ttl, last: priority == 0, packet });
        }
    }

    /// What somebody else has to send, to whom and with which TTL, if this router suddenly is no more.
    pub fn last_words(&self) -> Vec<(IpAddr, u8, Vec<u8>)> {
        let Some(short) = self.shortened(self.cfg.release.at_death) else {
            return self.packets(0, self.cfg.advert_int, 1);
        };
        let mut all = self.packets(self.priority, short, 1);
        let more = self.packets(0, self.cfg.advert_int, 1 + all.len() as u16);
        all.extend(more);
        all
    }

    /// The interval that is said before priority 0, if it is of any use.
    fn shortened(&self, to: Option<Duration>) -> Option<Duration> {
        to.filter(|t| *t < self.cfg.advert_int && self.state == State::Master)
    }

    /// An advert for each destination, with the numbers that come next: the first is so many ahead.
    fn packets(&self, priority: u8, interval: Duration, ahead: u16) -> Vec<(IpAddr, u8, Vec<u8>)> {
        let Some(src) = self.address else { return Vec::new() };
        let advert = Advert { vrid: self.cfg.vrid, priority, interval, addresses: self.named().collect() };
        let mut sequence = self.sequence.wrapping_add(u32::from(ahead) - 1);
        let mut id = (1..ahead).fold(self.id, |id, _| next_id(id));
        let mut packet = |dst: IpAddr, ttl: u8| {
            sequence = sequence.wrapping_add(1);
            id = next_id(id);
            let ip = IpHeader { src, dst, ttl, protocol: PROTOCOL, id };
            (dst, ttl, advert.packet(self.cfg.version, self.cfg.auth, self.form_to(dst), ip, sequence))
        };
        match &self.cfg.destination {
            Destination::Multicast(group) => vec![packet(*group, TTL)],
            Destination::Unicast(u) => u.peers.iter().map(|p| packet(p.addr, u.ttl)).collect(),
        }
    }
}

/// The identification of the next IP packet; 0 would let the kernel choose.
fn next_id(id: u16) -> u16 {
    id.checked_add(1).unwrap_or(1)
}
