//! What a virtual router hears, and what follows (RFC 9568, 6.4.2, 6.4.3 and 7.1).

use std::net::IpAddr;
use std::time::Duration;

use super::{Router, Timers};
use crate::model::{AdvertDestination, Family, ReleaseIntervals, VrrpVersion};
use crate::time::Instant;
use crate::vrrp::packet::{Advert, AdvertRules, ChecksumForm, IpHeader, RejectReason, VRRP_TTL, trailer};
use crate::vrrp::peers::PeerWarning;
use crate::vrrp::{Output, State, TransitionReason};

impl Router {
    /// Whom it has heard in the last master-down interval, and what to think of that.
    pub fn describe_peers(&self, now: Instant) -> Vec<String> {
        let patience = self.master_down_interval();
        let then = Instant::from_nanos(now.as_nanos().saturating_sub(patience.as_nanos() as u64));
        let who = |(of, what): (IpAddr, Result<u8, RejectReason>)| match what {
            Err(why) => format!("{of} speaks as master, and is refused: {why}"),
            Ok(0) => format!("{of} gave up with priority 0"),
            Ok(p) if self.state == State::Master => format!("{of} speaks as master too, with priority {p}"),
            Ok(p) => format!("{of} is master, with priority {p}"),
        };
        self.peers.received_since(then).map(who).collect()
    }

    /// Did a packet come the way that this instance's adverts come? What [`Rules::read`] cannot know.
    ///
    /// RFC 9568, 7.1, demands TTL 255, which holds on one link; of unicast keepalived checks it only where `min_ttl` and
    /// `max_ttl` say so.
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

    pub(super) fn handle_packet(&mut self, now: Instant, ip: IpHeader, payload: &[u8]) {
        let src = ip.src;
        if !self.started || Some(src) == self.source || Family::from_addr(src) != self.cfg.family {
            return;
        }
        let rules = AdvertRules {
            version: self.cfg.version,
            auth: self.cfg.auth,
            interval: self.cfg.advert_int,
            old_unicast_checksum: self.cfg.old_unicast_checksum,
            signing: self.cfg.signing.as_ref(),
        };
        let heard = match self.check_arrival(ip).and_then(|()| rules.parse(&ip, payload)) {
            Ok(heard) => heard,
            Err(why) => return self.reject_packet(now, src, why),
        };
        if self.cfg.owner_ignores_adverts && self.priority == 255 && self.state == State::Master {
            return;
        }
        if let Some(sequence) = heard.sequence {
            if !self.peers.accept_sequence(src, sequence) {
                return self.reject_packet(now, src, RejectReason::Replay);
            }
            self.resume_sequence(sequence);
        }
        if let Some(stamp) = heard.timestamp {
            let window = self.cfg.signing.as_ref().and_then(|s| s.window);
            if window.is_some_and(|w| trailer::timestamp_age(stamp, self.time_of_day) > w) {
                return self.reject_packet(now, src, RejectReason::Stale);
            }
            if !self.peers.accept_timestamp(src, stamp) {
                return self.reject_packet(now, src, RejectReason::SignatureReplay);
            }
        }
        let advert = heard.advert;
        self.counters.adverts_received += 1;
        if advert.priority == 0 {
            self.counters.priority_zero_received += 1;
        }
        self.warn_about_mismatches(src, &advert, heard.form);
        let before = self.peers.record_packet(src, now, Ok(advert.priority));
        let new = before.is_none_or(|at| now.duration_since(at) > self.master_down_interval());
        let rival = self.state == State::Master && advert.priority != 0 && new;
        match self.state {
            State::Backup => self.handle_advert_as_backup(now, src, &advert),
            State::Master => self.handle_advert_as_master(now, src, &advert),
            State::Init | State::Fault => {}
        }
        if rival {
            self.counters.split_brain += 1;
            self.outputs.push_back(Output::OtherMaster { peer: src, priority: advert.priority });
        }
    }

    /// RFC 9568, 6.4.2 (420 ff.), with nopreempt and preempt_delay.
    fn handle_advert_as_backup(&mut self, now: Instant, src: IpAddr, advert: &Advert) {
        if advert.priority == 0 {
            let twice =
                self.master_down_reason == TransitionReason::PriorityZero(src) && self.cfg.version == VrrpVersion::V2;
            let wait = if twice { self.priority_share(ReleaseIntervals::SHORT) } else { self.skew_time() };
            let at = now + wait;
            // What follows later than the second one does not have it wait again.
            let sooner = self.timers.master_down.filter(|t| twice && *t < at);
            self.timers.master_down = Some(sooner.unwrap_or(at));
            self.master_down_reason = TransitionReason::PriorityZero(src);
            return;
        }
        let mut yields = advert.priority >= self.priority || !self.cfg.preempt;
        if yields {
            self.preempt_at = None;
        } else if !self.cfg.preempt_delay.is_zero() {
            let at = *self.preempt_at.get_or_insert(now + self.cfg.preempt_delay);
            yields = now < at;
        }
        if yields {
            self.wants_master = None;
            self.master = Some((src, advert.priority));
            if self.cfg.version == VrrpVersion::V3 {
                self.master_interval = advert.interval.max(Duration::from_millis(10));
            }
            self.restart_master_down_timer(now);
        }
    }

    /// Somebody saw the master go before its adverts were missed: as if it had given up, so that of several backups still
    /// the one of highest priority is the first.
    pub(super) fn handle_bfd_neighbour_lost(&mut self, now: Instant, neighbour: IpAddr) {
        let at = now + self.skew_time();
        let from_it = self.master.is_some_and(|(m, _)| m == neighbour);
        if self.state == State::Backup && from_it && self.timers.master_down.is_some_and(|t| t > at) {
            self.timers.master_down = Some(at);
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
        if outranked {
            if self.priority == 255 {
                self.owner_demoted = true; // two owners: a mistake that one of them must end
                self.update_priority();
            }
            if self.cfg.higher_prio_send_advert {
                self.send_advert(self.priority);
            }
            self.outputs.push_back(Output::RemoveVips);
            self.timers = Timers::default();
            if self.cfg.version == VrrpVersion::V3 {
                self.master_interval = advert.interval.max(Duration::from_millis(10));
            }
            self.restart_master_down_timer(now);
            self.enter_state(now, State::Backup, TransitionReason::Outranked { peer: src, priority: advert.priority });
            self.master = Some((src, advert.priority));
            return;
        }
        self.outputs.push_back(Output::LowerPriorityMaster { peer: src });
        self.assert_mastership(now);
    }

    /// Somebody of lower priority speaks as master: those who heard him learn who it is.
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

    /// Tells once where a peer is not configured as we are, though nothing is wrong with its advert.
    fn warn_about_mismatches(&mut self, src: IpAddr, advert: &Advert, form: ChecksumForm) {
        self.peers.record_checksum_form(src, form);
        let known = self.cfg.skip_check_addresses && self.master.is_some_and(|(m, _)| m == src);
        let differ = advert.priority != 0 && !known && !self.has_same_addresses(&advert.addresses);
        self.counters.address_mismatches += u64::from(differ);
        if differ && self.peers.warn_once(src, PeerWarning::AddressMismatch) {
            self.outputs.push_back(Output::AddressMismatch { peer: src });
        }
        if self.cfg.version == VrrpVersion::V3 {
            if form != self.checksum_form_for(src) && self.peers.warn_once(src, PeerWarning::ChecksumMismatch(form)) {
                self.outputs.push_back(Output::ChecksumMismatch { peer: src, form });
            }
            // Not for the one advert by which a master that gives up shortens the skew time; a backup takes it over.
            let lasts = self.state != State::Backup || self.master_interval == advert.interval;
            if advert.interval != self.cfg.advert_int
                && lasts
                && self.peers.warn_once(src, PeerWarning::IntervalMismatch)
            {
                self.outputs.push_back(Output::IntervalMismatch { peer: src, ms: advert.interval.as_millis() as u64 });
            }
        }
    }

    /// The same addresses as ours, in any order; most peers have ours.
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

    fn reject_packet(&mut self, now: Instant, src: IpAddr, why: RejectReason) {
        self.peers.record_packet(src, now, Err(why));
        *self.counters.rejected.entry(format!("{why:?}")).or_default() += 1;
        if self.peers.warn_once(src, PeerWarning::Rejected(why)) {
            self.outputs.push_back(Output::PacketRejected { peer: src, reason: why });
        }
    }
}
