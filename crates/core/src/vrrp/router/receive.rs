//! Received adverts: which are accepted, and what a backup and a master do about them (RFC 9568, 7.1, 6.4.2 and 6.4.3).

use std::net::IpAddr;
use std::time::Duration;

use super::Router;
use crate::model::{AdvertDestination, Family, ReleaseIntervals, VrrpVersion};
use crate::time::Instant;
use crate::vrrp::packet::advert::ReceivedAdvert;
use crate::vrrp::packet::{Advert, AdvertRules, ChecksumForm, IpHeader, RejectReason, VRRP_TTL, trailer};
use crate::vrrp::peers::PeerWarning;
use crate::vrrp::{Output, State, TransitionReason};

/// The shortest interval that is taken over from a version 3 advert: one centisecond.
const MIN_MASTER_INTERVAL: Duration = Duration::from_millis(10);

impl Router {
    /// One sentence about each sender of the last master-down interval, for `status`.
    pub fn describe_peers(&self, now: Instant) -> Vec<String> {
        let interval = self.master_down_interval();
        let start = Instant::from_nanos(now.as_nanos().saturating_sub(interval.as_nanos() as u64));
        let sentence = |(peer, last): (IpAddr, Result<u8, RejectReason>)| match last {
            Err(reason) => format!("adverts from {peer} are rejected: {reason}"),
            Ok(0) => format!("{peer} resigned with priority 0"),
            Ok(p) if self.state == State::Master => format!("{peer} is master too, with priority {p}"),
            Ok(p) => format!("{peer} is master, with priority {p}"),
        };
        self.peers.received_since(start).map(sentence).collect()
    }

    /// RFC 9568, 7.1: checks a packet, and handles the advert in it.
    pub(super) fn handle_packet(&mut self, now: Instant, ip: IpHeader, payload: &[u8]) {
        let src = ip.src;
        if !self.started || Some(src) == self.source || Family::from_addr(src) != self.cfg.family {
            return;
        }
        let received = match self.check_arrival(ip).and_then(|()| self.advert_rules().parse(&ip, payload)) {
            Ok(received) => received,
            Err(reason) => return self.reject_packet(now, src, reason),
        };
        if self.cfg.owner_ignores_adverts && self.priority == 255 && self.state == State::Master {
            return;
        }
        if let Err(reason) = self.check_replay(src, &received) {
            return self.reject_packet(now, src, reason);
        }
        let advert = received.advert;
        self.counters.adverts_received += 1;
        if advert.priority == 0 {
            self.counters.priority_zero_received += 1;
        }
        self.warn_about_mismatches(src, &advert, received.form);
        let before = self.peers.record_packet(src, now, Ok(advert.priority));
        let is_new = before.is_none_or(|t| now.duration_since(t) > self.master_down_interval());
        let is_second_master = self.state == State::Master && advert.priority != 0 && is_new;
        match self.state {
            State::Backup => self.handle_advert_as_backup(now, src, &advert),
            State::Master => self.handle_advert_as_master(now, src, &advert),
            State::Init | State::Fault => {}
        }
        if is_second_master {
            self.counters.split_brain += 1;
            self.outputs.push_back(Output::OtherMaster { peer: src, priority: advert.priority });
        }
    }

    /// Checks destination, source and TTL, which [`AdvertRules::parse`] does not see.
    ///
    /// RFC 9568, 7.1, requires TTL 255, which proves that the packet passed no router. keepalived checks the TTL of
    /// unicast packets only against `min_ttl` and `max_ttl`.
    fn check_arrival(&self, IpHeader { src, dst, ttl, .. }: IpHeader) -> Result<(), RejectReason> {
        match &self.cfg.advert_destination {
            AdvertDestination::Multicast(_) if !dst.is_multicast() => Err(RejectReason::Unicast),
            AdvertDestination::Multicast(_) if ttl != VRRP_TTL => Err(RejectReason::Ttl(ttl)),
            AdvertDestination::Multicast(_) => Ok(()),
            AdvertDestination::Unicast(_) if dst.is_multicast() => Err(RejectReason::Multicast),
            AdvertDestination::Unicast(u) => match u.peers.iter().find(|p| p.addr == src) {
                None if u.known_peers_only => Err(RejectReason::UnknownPeer),
                Some(p) if !(p.min_ttl..=p.max_ttl).contains(&ttl) => Err(RejectReason::Ttl(ttl)),
                _ => Ok(()),
            },
        }
    }

    fn advert_rules(&self) -> AdvertRules<'_> {
        AdvertRules {
            version: self.cfg.version,
            auth: self.cfg.auth,
            interval: self.cfg.advert_int,
            old_unicast_checksum: self.cfg.old_unicast_checksum,
            signing: self.cfg.signing.as_ref(),
        }
    }

    /// Rejects an advert whose sequence number or timestamp was used before. Only verified numbers get here.
    fn check_replay(&mut self, src: IpAddr, received: &ReceivedAdvert) -> Result<(), RejectReason> {
        if let Some(sequence) = received.sequence {
            if !self.peers.accept_sequence(src, sequence) {
                return Err(RejectReason::Replay);
            }
            self.resume_sequence(sequence);
        }
        if let Some(timestamp) = received.timestamp {
            let window = self.cfg.signing.as_ref().and_then(|s| s.window);
            if window.is_some_and(|w| trailer::timestamp_age(timestamp, self.time_of_day) > w) {
                return Err(RejectReason::Stale);
            }
            if !self.peers.accept_timestamp(src, timestamp) {
                return Err(RejectReason::SignatureReplay);
            }
        }
        Ok(())
    }

    /// RFC 9568, 6.4.2 (420 ff.), with `nopreempt` and `preempt_delay`.
    fn handle_advert_as_backup(&mut self, now: Instant, src: IpAddr, advert: &Advert) {
        if advert.priority == 0 {
            return self.handle_resignation(now, src);
        }
        let mut accepts_master = advert.priority >= self.priority || !self.cfg.preempt;
        if accepts_master {
            self.preempt_at = None;
        } else if !self.cfg.preempt_delay.is_zero() {
            let preempt_at = *self.preempt_at.get_or_insert(now + self.cfg.preempt_delay);
            accepts_master = now < preempt_at;
        }
        if accepts_master {
            self.wants_master = None;
            self.master = Some((src, advert.priority));
            self.take_over_master_interval(advert);
            self.restart_master_down_timer(now);
        }
    }

    /// The master sent priority 0 (RFC 9568, 6.4.2): the master-down timer is set to the skew time. In version 2 a
    /// second priority 0 shortens it to the skew of [`ReleaseIntervals::SHORT`]; further ones must not restart the
    /// timer.
    fn handle_resignation(&mut self, now: Instant, src: IpAddr) {
        let is_second =
            self.master_down_reason == TransitionReason::PriorityZero(src) && self.cfg.version == VrrpVersion::V2;
        let wait = if is_second { self.skew_of(ReleaseIntervals::SHORT) } else { self.skew_time() };
        let deadline = now + wait;
        let earlier = self.timers.master_down.filter(|t| is_second && *t < deadline);
        self.timers.master_down = Some(earlier.unwrap_or(deadline));
        self.master_down_reason = TransitionReason::PriorityZero(src);
    }

    /// A BFD session detected the loss of the master before its adverts were missed. As after priority 0, the timer is
    /// set to the skew time, so that of several backups the one of highest priority is the first.
    pub(super) fn handle_bfd_neighbour_lost(&mut self, now: Instant, neighbour: IpAddr) {
        let deadline = now + self.skew_time();
        let is_master = self.master.is_some_and(|(m, _)| m == neighbour);
        if self.state == State::Backup && is_master && self.timers.master_down.is_some_and(|t| t > deadline) {
            self.timers.master_down = Some(deadline);
            self.master_down_reason = TransitionReason::BfdNeighbourLost(neighbour);
        }
    }

    /// RFC 9568, 6.4.3 (725 ff.).
    fn handle_advert_as_master(&mut self, now: Instant, src: IpAddr, advert: &Advert) {
        if advert.priority == 0 {
            self.send_advert(self.priority);
            self.timers.advert = Some(now + self.cfg.advert_int);
            return;
        }
        let outranked = advert.priority > self.priority
            || (advert.priority == self.priority && self.source.is_some_and(|a| src > a));
        if !outranked {
            self.outputs.push_back(Output::LowerPriorityMaster { peer: src });
            return self.assert_mastership(now);
        }
        if self.priority == 255 {
            // Two owners are a configuration error. One of them must step back, or both would stay master.
            self.owner_demoted = true;
            self.update_priority();
        }
        if self.cfg.higher_prio_send_advert {
            self.send_advert(self.priority);
        }
        self.take_over_master_interval(advert);
        self.step_down(now, TransitionReason::Outranked { peer: src, priority: advert.priority });
        self.master = Some((src, advert.priority));
    }

    /// Version 3: Active_Adver_Interval becomes the interval of the master's adverts.
    fn take_over_master_interval(&mut self, advert: &Advert) {
        if self.cfg.version == VrrpVersion::V3 {
            self.master_interval = advert.interval.max(MIN_MASTER_INTERVAL);
        }
    }

    /// Answers an advert of lower priority with an advert and announcements, so that its receivers learn who the master
    /// is.
    pub(super) fn assert_mastership(&mut self, now: Instant) {
        if self.state != State::Master || self.cfg.lower_prio_no_advert {
            return;
        }
        self.send_advert(self.priority);
        self.timers.advert = Some(now + self.cfg.advert_int);
        let garp = self.cfg.garp;
        if garp.lower_prio_repeat > 0 {
            self.outputs.push_back(Output::Announce(garp.lower_prio_repeat));
            if !garp.lower_prio_delay.is_zero() {
                self.timers.announce_lower_priority.get_or_insert(now + garp.lower_prio_delay);
            }
        }
    }

    /// Reports, once for each peer, settings of a peer that differ from ours although its adverts are accepted.
    fn warn_about_mismatches(&mut self, src: IpAddr, advert: &Advert, form: ChecksumForm) {
        self.peers.record_checksum_form(src, form);
        let skip_check = self.cfg.skip_check_addresses && self.master.is_some_and(|(m, _)| m == src);
        let differ = advert.priority != 0 && !skip_check && !self.has_same_addresses(&advert.addresses);
        self.counters.address_mismatches += u64::from(differ);
        if differ && self.peers.warn_once(src, PeerWarning::AddressMismatch) {
            self.outputs.push_back(Output::AddressMismatch { peer: src });
        }
        if self.cfg.version == VrrpVersion::V2 {
            return;
        }
        if form != self.checksum_form_for(src) && self.peers.warn_once(src, PeerWarning::ChecksumMismatch(form)) {
            self.outputs.push_back(Output::ChecksumMismatch { peer: src, form });
        }
        // A resigning master sends one advert with a short interval (`release_interval`). A backup takes the interval
        // over, so that a lasting interval is the same in a second advert.
        let is_lasting = self.state != State::Backup || self.master_interval == advert.interval;
        if advert.interval != self.cfg.advert_int
            && is_lasting
            && self.peers.warn_once(src, PeerWarning::IntervalMismatch)
        {
            self.outputs.push_back(Output::IntervalMismatch { peer: src, ms: advert.interval.as_millis() as u64 });
        }
    }

    /// Whether the addresses are ours, in any order. The order is usually the same, which is compared first.
    fn has_same_addresses(&self, theirs: &[IpAddr]) -> bool {
        if self.advertised_addresses().eq(theirs.iter().copied()) {
            return true;
        }
        let mut ours: Vec<IpAddr> = self.advertised_addresses().collect();
        let mut theirs = theirs.to_vec();
        ours.sort();
        theirs.sort();
        ours == theirs
    }

    fn reject_packet(&mut self, now: Instant, src: IpAddr, reason: RejectReason) {
        self.peers.record_packet(src, now, Err(reason));
        *self.counters.rejected.entry(format!("{reason:?}")).or_default() += 1;
        if self.peers.warn_once(src, PeerWarning::Rejected(reason)) {
            self.outputs.push_back(Output::PacketRejected { peer: src, reason });
        }
    }
}
