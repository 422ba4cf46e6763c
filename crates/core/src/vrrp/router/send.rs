//! What a virtual router says: adverts, to its group or to each peer.

use std::net::IpAddr;
use std::time::Duration;

use super::Router;
use crate::model::{AdvertDestination, Family, OldUnicastChecksum, Signing, VrrpVersion};
use crate::vrrp::packet::advert::max_addresses;
use crate::vrrp::packet::trailer::{Signer, next_timestamp};
use crate::vrrp::packet::{Advert, AdvertAuth, ChecksumForm, IPPROTO_VRRP, IpHeader, VRRP_TTL};
use crate::vrrp::{Output, State};

impl Router {
    /// Goes on from this sequence number of authentication headers, so that peers take them as new after a restart; or
    /// from its own, if that is later.
    pub fn resume_sequence(&mut self, from: u32) {
        self.sequence = self.sequence.max(from);
    }

    /// The time since 1970, which signatures are made and judged with; to be told before everything else of a moment.
    pub fn set_time_of_day(&mut self, time_of_day: Duration) {
        self.time_of_day = time_of_day;
    }

    /// The form of checksum that goes to an address.
    pub(super) fn checksum_form_for(&self, to: IpAddr) -> ChecksumForm {
        let old = match self.cfg.old_unicast_checksum {
            OldUnicastChecksum::Detected => self.peers.checksum_form(to) == Some(ChecksumForm::OldUnicast),
            OldUnicastChecksum::Always => true,
            OldUnicastChecksum::Never => false,
        };
        match self.cfg.family {
            Family::V6 => ChecksumForm::PseudoHeader,
            Family::V4 if old && !to.is_multicast() => ChecksumForm::OldUnicast,
            Family::V4 if self.cfg.v3_checksum_as_v2 => ChecksumForm::MessageOnly,
            Family::V4 => ChecksumForm::PseudoHeader,
        }
    }

    /// The addresses that its adverts name.
    pub(super) fn advertised_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.cfg
            .vips
            .iter()
            .map(|v| v.addr)
            .take(max_addresses(self.cfg.family == Family::V6, self.cfg.signing.is_some()))
    }

    pub(super) fn send_advert(&mut self, priority: u8) {
        let says = self.adverts_to_send(priority, self.cfg.release_intervals.on_stop);
        let packets = self.encode_adverts(&says);
        if !packets.is_empty() {
            self.counters.adverts_sent += says.len() as u64;
        }
        for (priority, to, ttl, packet) in packets {
            self.sequence = self.sequence.wrapping_add(1);
            self.ip_id = next_ip_id(self.ip_id);
            self.last_timestamp = next_timestamp(self.time_of_day, self.last_timestamp);
            self.outputs.push_back(Output::Send { to, ttl, is_resignation: priority == 0, packet });
        }
    }

    /// What somebody else has to send, to whom and with which TTL, if this router suddenly is no more.
    pub fn resignation_packets(&self) -> Vec<(IpAddr, u8, Vec<u8>)> {
        let packets = self.encode_adverts(&self.adverts_to_send(0, self.cfg.release_intervals.on_crash));
        packets.into_iter().map(|(_, to, ttl, packet)| (to, ttl, packet)).collect()
    }

    /// Priorities and the intervals that are said with them: one, and before priority 0 another, if that is of any use
    /// ([`crate::model::Release`]).
    fn adverts_to_send(&self, priority: u8, release: Option<Duration>) -> Vec<(u8, Duration)> {
        let usual = self.cfg.advert_int;
        let release = release.filter(|_| priority == 0 && self.state == State::Master);
        let first = match self.cfg.version {
            VrrpVersion::V2 => release.map(|_| (0, usual)),
            VrrpVersion::V3 => release.filter(|t| *t < usual).map(|t| (self.priority, t)),
        };
        first.into_iter().chain([(priority, usual)]).collect()
    }

    /// An advert of each for each destination, with the numbers that come next; its priority stands before it.
    fn encode_adverts(&self, says: &[(u8, Duration)]) -> Vec<(u8, IpAddr, u8, Vec<u8>)> {
        let Some(src) = self.source else { return Vec::new() };
        let (mut sequence, mut id, mut time) = (self.sequence, self.ip_id, self.last_timestamp);
        let key = self.cfg.signing.as_ref().and_then(Signing::signing_key);
        let mut all = Vec::new();
        for &(priority, interval) in says {
            let advert =
                Advert { vrid: self.cfg.vrid, priority, interval, addresses: self.advertised_addresses().collect() };
            let mut packet = |dst: IpAddr, ttl: u8| {
                sequence = sequence.wrapping_add(1);
                id = next_ip_id(id);
                time = next_timestamp(self.time_of_day, time);
                let signer = key.map(|key| Signer { key, timestamp: time });
                let seal = AdvertAuth { auth: self.cfg.auth, sequence, signer };
                let ip = IpHeader { src, dst, ttl, protocol: IPPROTO_VRRP, id };
                let packet = advert.encode_packet(self.cfg.version, seal, self.checksum_form_for(dst), ip);
                all.push((priority, dst, ttl, packet));
            };
            match &self.cfg.advert_destination {
                AdvertDestination::Multicast(group) => packet(*group, VRRP_TTL),
                AdvertDestination::Unicast(u) => u.peers.iter().for_each(|p| packet(p.addr, u.ttl)),
            }
        }
        all
    }
}

/// The identification of the next IP packet; 0 would let the kernel choose.
fn next_ip_id(id: u16) -> u16 {
    id.checked_add(1).unwrap_or(1)
}
