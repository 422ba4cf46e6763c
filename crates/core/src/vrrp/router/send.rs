//! Sent adverts: their destinations, priorities, intervals and numbers.

use std::net::IpAddr;
use std::time::Duration;

use super::Router;
use crate::model::{AdvertDestination, Family, OldUnicastChecksum, Signing, VrrpVersion};
use crate::vrrp::packet::advert::max_addresses;
use crate::vrrp::packet::trailer::{Signer, next_timestamp};
use crate::vrrp::packet::{Advert, AdvertAuth, ChecksumForm, IPPROTO_VRRP, IpHeader, VRRP_TTL};
use crate::vrrp::{Output, State};

/// An encoded advert and where it goes.
struct EncodedAdvert {
    priority: u8,
    to: IpAddr,
    ttl: u8,
    packet: Vec<u8>,
}

impl Router {
    /// Raises the sequence number of authentication headers to at least `sequence`, so that peers accept the next ones
    /// after a restart.
    pub fn resume_sequence(&mut self, sequence: u32) {
        self.sequence = self.sequence.max(sequence);
    }

    /// Sets the time since 1970 for signatures. Call this before the other calls of the same moment.
    pub fn set_time_of_day(&mut self, time_of_day: Duration) {
        self.time_of_day = time_of_day;
    }

    /// The checksum form of adverts to this address.
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

    /// The addresses that adverts carry: as many of the configured ones as fit.
    pub(super) fn advertised_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let max = max_addresses(self.cfg.family == Family::V6, self.cfg.signing.is_some());
        self.cfg.vips.iter().map(|v| v.addr).take(max)
    }

    /// Sends an advert of this priority to the group or to each peer; priority 0 resigns.
    pub(super) fn send_advert(&mut self, priority: u8) {
        let adverts = self.adverts_to_send(priority, self.cfg.release_intervals.on_stop);
        let encoded = self.encode_adverts(&adverts);
        if !encoded.is_empty() {
            self.counters.adverts_sent += adverts.len() as u64;
        }
        for EncodedAdvert { priority, to, ttl, packet } in encoded {
            self.sequence = self.sequence.wrapping_add(1);
            self.ip_id = next_ip_id(self.ip_id);
            self.last_timestamp = next_timestamp(self.time_of_day, self.last_timestamp);
            self.outputs.push_back(Output::Send { to, ttl, is_resignation: priority == 0, packet });
        }
    }

    /// The packets that resign mastership, each with its destination and TTL. The supervisor keeps them, and sends them
    /// if the process dies.
    pub fn resignation_packets(&self) -> Vec<(IpAddr, u8, Vec<u8>)> {
        let adverts = self.adverts_to_send(0, self.cfg.release_intervals.on_crash);
        self.encode_adverts(&adverts).into_iter().map(|e| (e.to, e.ttl, e.packet)).collect()
    }

    /// Priority and interval of each advert to send: one, and before a resignation another that shortens the skew time
    /// of peers, if `release` is set and effective ([`crate::model::ReleaseIntervals`]).
    fn adverts_to_send(&self, priority: u8, release: Option<Duration>) -> Vec<(u8, Duration)> {
        let interval = self.cfg.advert_int;
        let release = release.filter(|_| priority == 0 && self.state == State::Master);
        let first = match self.cfg.version {
            VrrpVersion::V2 => release.map(|_| (0, interval)),
            VrrpVersion::V3 => release.filter(|t| *t < interval).map(|t| (self.priority, t)),
        };
        first.into_iter().chain([(priority, interval)]).collect()
    }

    /// Encodes each advert for each destination, with the sequence numbers, identifications and timestamps that come
    /// next.
    fn encode_adverts(&self, adverts: &[(u8, Duration)]) -> Vec<EncodedAdvert> {
        let Some(src) = self.source else { return Vec::new() };
        let (mut sequence, mut id, mut timestamp) = (self.sequence, self.ip_id, self.last_timestamp);
        let key = self.cfg.signing.as_ref().and_then(Signing::signing_key);
        let mut encoded = Vec::new();
        for &(priority, interval) in adverts {
            let advert =
                Advert { vrid: self.cfg.vrid, priority, interval, addresses: self.advertised_addresses().collect() };
            let mut encode_for = |to: IpAddr, ttl: u8| {
                sequence = sequence.wrapping_add(1);
                id = next_ip_id(id);
                timestamp = next_timestamp(self.time_of_day, timestamp);
                let signer = key.map(|key| Signer { key, timestamp });
                let auth = AdvertAuth { auth: self.cfg.auth, sequence, signer };
                let ip = IpHeader { src, dst: to, ttl, protocol: IPPROTO_VRRP, id };
                let packet = advert.encode_packet(self.cfg.version, auth, self.checksum_form_for(to), ip);
                encoded.push(EncodedAdvert { priority, to, ttl, packet });
            };
            match &self.cfg.advert_destination {
                AdvertDestination::Multicast(group) => encode_for(*group, VRRP_TTL),
                AdvertDestination::Unicast(u) => u.peers.iter().for_each(|p| encode_for(p.addr, u.ttl)),
            }
        }
        encoded
    }
}

/// The identification of the next IP packet. It is never 0, for which the kernel would choose one.
fn next_ip_id(id: u16) -> u16 {
    id.checked_add(1).unwrap_or(1)
}
