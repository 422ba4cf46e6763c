//! What a virtual router hears, and what follows (RFC 9568, 6.4.2, 6.4.3 and 7.1).

use std::net::IpAddr;
use std::time::Duration;

use super::{Router, Timers};
use crate::model::{Destination, Family, Release, VrrpVersion};
use crate::time::Instant;
use crate::vrrp::peers::Remark;
use crate::vrrp::wire::{Advert, Form, IpHeader, Reject, Rules, TTL, trailer};
use crate::vrrp::{Because, Output, State};

impl Router {
    /// Whom it has heard in the last master-down interval, and what to think of that.
    pub fn hears(&self, now: Instant) -> Vec<String> {
        let patience = self.master_down_interval();
        let then = Instant::from_nanos(now.as_nanos().saturating_sub(patience.as_nanos() as u64));
        let who = |(of, what): (IpAddr, Result<u8, Reject>)| match what {
            Err(why) => format!("{of} speaks as master, and is refused: {why}"),
            Ok(0) => format!("{of} gave up with priority 0"),
            Ok(p) if self.state == State::Master => format!("{of} speaks as master too, with priority {p}"),
            Ok(p) => format!("{of} is master, with priority {p}"),
        };
        self.peers.since(then).map(who).collect()
    }

    /// Did a packet come the way that this instance's adverts come? What [`Rules::read`] cannot know.
    ///
    /// RFC 9568, 7.1, demands TTL 255, which holds on one link; of unicast keepalived checks it only where `min_ttl` and
    /// `max_ttl` say so.
    fn arrival(&self, IpHeader { src, dst, ttl, .. }: IpHeader) -> Result<(), Reject> {
        match &self.cfg.destination {
            Destination::Multicast(_) if !dst.is_multicast() => Err(Reject::Unicast),
            Destination::Multicast(_) if ttl != TTL => Err(Reject::Ttl(ttl)),
            Destination::Multicast(_) => Ok(()),
            Destination::Unicast(_) if dst.is_multicast() => Err(Reject::Multicast),
            Destination::Unicast(u) => match u.peers.iter().find(|p| p.addr == src) {
                None if u.check_source => Err(Reject::Stranger),
                Some(p) if !(p.min_ttl..=p.max_ttl).contains(&ttl) => Err(Reject::Ttl(ttl)),
                _ => Ok(()),
            },
        }
    }

    pub(super) fn packet(&mut self, now: Instant, ip: IpHeader, payload: &[u8]) {
        let src = ip.src;
        if !self.started || Some(src) == self.address || Family::of(src) != self.cfg.family {
            return;
        }
        let rules = Rules {
            version: self.cfg.version,
            auth: self.cfg.auth,
            interval: self.cfg.advert_int,
            old_unicast: self.cfg.old_unicast_checksum,
            signing: self.cfg.signing.as_ref(),
        };
        let heard = match self.arrival(ip).and_then(|()| rules.read(&ip, payload)) {
            Ok(heard) => heard,
            Err(why) => return self.refuse(now, src, why),
        };
        if self.cfg.owner_ignores_adverts && self.priority == 255 && self.state == State::Master {
            return;
        }
        if let Some(sequence) = heard.sequence {
            if !self.peers.fresh(src, sequence) {
                return self.refuse(now, src, Reject::Replay);
            }
            self.continue_sequence(sequence);
        }
        if let Some(stamp) = heard.stamp {
            let window = self.cfg.signing.as_ref().and_then(|s| s.window);
            if window.is_some_and(|w| trailer::age(stamp, self.time_of_day) > w) {
                return self.refuse(now, src, Reject::Stale);
            }
            if !self.peers.signed_later(src, stamp) {
                return self.refuse(now, src, Reject::SignedBefore);
            }
        }
        let advert = heard.advert;
        self.counters.adverts_received += 1;
        if advert.priority == 0 {
            self.counters.priority_zero_received += 1;
        }
        self.remark(src, &advert, heard.form);
        let before = self.peers.heard(src, now, Ok(advert.priority));
        let new = before.is_none_or(|at| now.since(at) > self.master_down_interval());
        let rival = self.state == State::Master && advert.priority != 0 && new;
        match self.state {
            State::Backup => self.advert_as_backup(now, src, &advert),
            State::Master => self.advert_as_master(now, src, &advert),
            State::Init | State::Fault => {}
        }
        if rival {
            self.counters.split_brain += 1;
            self.out.push_back(Output::OtherMaster { by: src, priority: advert.priority });
        }
    }

    /// RFC 9568, 6.4.2 (420 ff.), with nopreempt and preempt_delay.
    fn advert_as_backup(&mut self, now: Instant, src: IpAddr, advert: &Advert) {
        if advert.priority == 0 {
            let twice = self.down_because == Because::GaveUp(src) && self.cfg.version == VrrpVersion::V2;
            let wait = if twice { self.share_of(Release::SHORT) } else { self.skew() };
            let at = now + wait;
            // What follows later than the second one does not have it wait again.
            let sooner = self.timers.master_down.filter(|t| twice && *t < at);
            self.timers.master_down = Some(sooner.unwrap_or(at));
            self.down_because = Because::GaveUp(src);
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
            self.listen(now);
        }
    }

    /// Somebody saw the master go before its adverts were missed: as if it had given up, so that of several backups still
    /// the one of highest priority is the first.
    pub(super) fn neighbour_lost(&mut self, now: Instant, neighbour: IpAddr) {
        let at = now + self.skew();
        let from_it = self.master.is_some_and(|(m, _)| m == neighbour);
        if self.state == State::Backup && from_it && self.timers.master_down.is_some_and(|t| t > at) {
            self.timers.master_down = Some(at);
            self.down_because = Because::NeighbourLost(neighbour);
        }
    }

    /// RFC 9568, 6.4.3 (725 ff.).
    fn advert_as_master(&mut self, now: Instant, src: IpAddr, advert: &Advert) {
        if advert.priority == 0 {
            self.send(self.priority);
            self.timers.advert = Some(now + self.cfg.advert_int);
            return;
        }
        let outranked = advert.priority > self.priority
            || (advert.priority == self.priority && self.address.is_some_and(|a| src > a));
        if outranked {
            if self.priority == 255 {
                self.owner_yields = true; // two owners: a mistake that one of them must end
                self.weigh();
            }
            if self.cfg.higher_prio_send_advert {
                self.send(self.priority);
            }
            self.out.push_back(Output::RemoveVips);
            self.timers = Timers::default();
            if self.cfg.version == VrrpVersion::V3 {
                self.master_interval = advert.interval.max(Duration::from_millis(10));
            }
            self.listen(now);
            self.enter(now, State::Backup, Because::Outranked { by: src, priority: advert.priority });
            self.master = Some((src, advert.priority));
            return;
        }
        self.out.push_back(Output::LowerPriority { by: src });
        self.assert(now);
    }

    /// Somebody of lower priority speaks as master: those who heard him learn who it is.
    pub(super) fn assert(&mut self, now: Instant) {
        if self.state != State::Master || self.cfg.lower_prio_no_advert {
            return;
        }
        self.send(self.priority);
        self.timers.advert = Some(now + self.cfg.advert_int);
        let garp = self.cfg.garp;
        if garp.lower_prio_repeat > 0 {
            self.out.push_back(Output::Announce(garp.lower_prio_repeat));
            if !garp.lower_prio_delay.is_zero() {
                self.timers.announce_lower.get_or_insert(now + garp.lower_prio_delay);
            }
        }
    }

    /// Tells once where a peer is not configured as we are, though nothing is wrong with its advert.
    fn remark(&mut self, src: IpAddr, advert: &Advert, form: Form) {
        self.peers.heard_form(src, form);
        let known = self.cfg.skip_check_addresses && self.master.is_some_and(|(m, _)| m == src);
        let differ = advert.priority != 0 && !known && !self.names_alike(&advert.addresses);
        self.counters.other_addresses += u64::from(differ);
        if differ && self.peers.tell_once(src, Remark::Addresses) {
            self.out.push_back(Output::VipMismatch { by: src });
        }
        if self.cfg.version == VrrpVersion::V3 {
            if form != self.form_to(src) && self.peers.tell_once(src, Remark::Form(form)) {
                self.out.push_back(Output::ChecksumForm { by: src, form });
            }
            // Not for the one advert by which a master that gives up shortens the skew time; a backup takes it over.
            let lasts = self.state != State::Backup || self.master_interval == advert.interval;
            if advert.interval != self.cfg.advert_int && lasts && self.peers.tell_once(src, Remark::Interval) {
                self.out.push_back(Output::Interval { by: src, ms: advert.interval.as_millis() as u64 });
            }
        }
    }

    /// The same addresses as ours, in any order; most peers have ours.
    fn names_alike(&self, theirs: &[IpAddr]) -> bool {
        if self.named().eq(theirs.iter().copied()) {
            return true;
        }
        let mut ours: Vec<IpAddr> = self.named().collect();
        let mut theirs = theirs.to_vec();
        ours.sort();
        theirs.sort();
        ours == theirs
    }

    fn refuse(&mut self, now: Instant, src: IpAddr, why: Reject) {
        self.peers.heard(src, now, Err(why));
        *self.counters.refused.entry(format!("{why:?}")).or_default() += 1;
        if self.peers.tell_once(src, Remark::Refused(why)) {
            self.out.push_back(Output::Refused { by: src, why });
        }
    }
}
