//! Does what engines want, and tells of it.

use std::net::IpAddr;

use evenkeel_core::ipc::InstanceStatus;
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::wire::announce::announcement;
use evenkeel_core::vrrp::wire::multicast_frame;
use evenkeel_core::vrrp::{Because, Input, Output, Router, State, group};
use evenkeel_sys::clock;

use super::{ANNOUNCED_AT_ONCE, Event, Shell, key_of};

impl Shell {
    /// Keeps the members of sync groups in one state, and tells of the groups' own transitions.
    pub(super) fn synchronise(&mut self) {
        for g in 0..self.groups.len() {
            let name = self.groups[g].0.name.clone();
            let mut routers: Vec<&mut Router> = self
                .entries
                .iter_mut()
                .map(|e| &mut e.router)
                .filter(|r| r.config().group.as_deref() == Some(&name))
                .collect();
            let moved = group::settle(&mut routers, clock::now());
            let state = group::state(&routers.iter().map(|r| r.member()).collect::<Vec<_>>());
            if moved {
                for i in 0..self.entries.len() {
                    self.perform(i);
                }
            }
            let to = state.filter(|s| *s != State::Init || self.groups[g].1.is_some());
            if let Some(to) = to.filter(|s| Some(*s) != self.groups[g].1) {
                self.groups[g].1 = Some(to);
                let notify = self.groups[g].0.notify.clone();
                let _ = self.events.send(Event::Group { name, to, notify });
            }
        }
    }

    /// Does what an engine wants, in its order.
    pub(super) fn perform(&mut self, i: usize) {
        while let Some(output) = self.entries[i].router.poll_output() {
            match output {
                Output::Send { to, ttl, last, packet } => {
                    self.send(i, (to, ttl, last), &packet);
                    self.age_words(i);
                }
                Output::AddVips => {
                    self.leave_words(i); // first: addresses that are there are never nobody's
                    self.add_addresses(i);
                    self.doubt(i);
                    self.install(false);
                    self.refuse();
                }
                Output::RemoveVips => {
                    self.announcer.cancel(self.entries[i].key);
                    self.withdraw();
                    self.drop_addresses(i);
                    self.refuse();
                }
                Output::Announce(rounds) => {
                    let e = &self.entries[i];
                    let targets = e.router.config().all_vips().map(|v| (v.dev.clone(), v.addr));
                    self.announcer.announce(e.key, targets, rounds);
                }
                Output::AnnounceElsewhere => {
                    let e = &self.entries[i];
                    self.announcer.announce(e.key, e.router.config().vips_elsewhere.iter().cloned(), 1);
                }
                Output::Transition { from, to, because } => {
                    if to != State::Master {
                        self.memo.note(self.entries[i].key, None);
                    }
                    self.leave_words(i);
                    if matches!(to, State::Master | State::Fault) {
                        self.entries[i].holds = false;
                    }
                    self.told(&self.entries[i].router, (from, to), because, false);
                }
                Output::Priority(priority) => {
                    let r = &self.entries[i].router;
                    let (name, state, notify) = (r.config().name.clone(), r.state(), r.config().notify.clone());
                    let _ = self.events.send(Event::Priority { name, state, priority, notify });
                }
                Output::OtherMaster { by, priority } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "master, and hears another master: {by}, priority \
                        {priority}; was the link between them cut, or is the virtual router number used twice?");
                }
                Output::LowerPriority { by } => {
                    let r = &self.entries[i].router;
                    let (name, priority, notify) = (r.config().name.clone(), r.priority(), r.config().notify.clone());
                    let group = r.config().group.clone();
                    let _ = self.events.send(Event::LowerPriority { name, by, priority, notify });
                    self.assert_group(i, group);
                }
                Output::Refused { by, why } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "a VRRP packet from {by} was refused: {why}");
                }
                Output::ChecksumForm { by, form } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "{by} makes its checksums {form}, and we do not: \
                        it may refuse our adverts; mend it with v3_checksum_as_v2 on the one or the other");
                }
                Output::Interval { by, ms } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "{by} has another advert_int than ours: {}.{:02} s",
                        ms / 1000, ms % 1000 / 10);
                }
                Output::VipMismatch { by } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "{by} advertises other addresses than ours");
                }
            }
        }
        self.somebody_waits |= self.entries[i].router.waits_for_frame();
        self.unsettled |= self.entries[i].router.config().group.is_some();
        self.arm(i);
    }

    /// What a router that has stopped still wants said; it is not master any more, so that no later daemon resumes it.
    pub(super) fn last_word(&self, router: &mut Router, deleted: bool) {
        while let Some(output) = router.poll_output() {
            match output {
                Output::Send { to, ttl, packet, .. } => self.transmit(router, to, ttl, &packet),
                Output::Transition { from, to, because } => self.told(router, (from, to), because, deleted),
                _ => {}
            }
        }
        self.memo.note(key_of(router.config()), None);
    }

    pub(super) fn told(&self, router: &Router, (from, to): (State, State), because: Because, deleted: bool) {
        let (name, priority, notify) =
            (router.config().name.clone(), router.priority(), router.config().notify.clone());
        let _ = self.events.send(Event::Transition { name, from, to, because, priority, deleted, notify });
    }

    fn send(&self, i: usize, (to, ttl, last): (IpAddr, u8, bool), packet: &[u8]) {
        let e = &self.entries[i];
        self.transmit(&e.router, to, ttl, packet);
        if e.router.state() == State::Master && !last {
            self.memo.note(e.key, Some(clock::now()));
        }
    }

    fn transmit(&self, router: &Router, to: IpAddr, ttl: u8, packet: &[u8]) {
        let cfg = router.config();
        let port = self.ports.get(&(cfg.hears_on().to_owned(), cfg.transport()));
        let (Some(port), Some(from)) = (port, router.address()) else { return };
        let through = cfg.speaks_through().and_then(|dev| self.seen.links.get(dev));
        let framed = through.and_then(|l| Some((l.index, multicast_frame(l.mac, from, to, ttl, packet)?)));
        let sent = match framed {
            Some((index, frame)) => self.frames.send(index, &frame),
            None => port.socket.send(from, to, ttl, packet),
        };
        if let Err(e) = sent {
            tracing::debug!(instance = %cfg.name, "send an advert on {}: {e}", cfg.interface);
        }
    }

    /// The other members of a sync group assert themselves as well: whoever speaks against one was cut off from all.
    fn assert_group(&mut self, i: usize, group: Option<String>) {
        let Some(group) = group else { return };
        for j in (0..self.entries.len()).filter(|j| *j != i) {
            if self.entries[j].router.config().group.as_ref() == Some(&group) {
                self.entries[j].router.handle(clock::now(), Input::Assert);
                self.perform(j);
            }
        }
    }

    /// Sends what may be announced now, but not so much that anything else is late.
    pub(super) fn announce(&mut self) {
        for _ in 0..ANNOUNCED_AT_ONCE {
            let Some((dev, addr)) = self.announcer.next(clock::now()) else { return };
            let Some(link) = self.seen.links.get(&dev) else { continue };
            let frame = announcement(link.mac, addr, self.seen.routers.contains(&link.index));
            if let Err(e) = self.frames.send(link.index, &frame) {
                tracing::debug!("announce {addr} on {dev}: {e}");
            }
        }
    }

    /// Puts an entry's next deadline into the queue.
    fn arm(&mut self, i: usize) {
        let e = &mut self.entries[i];
        let next = e.router.next_deadline();
        if next != e.armed {
            if let Some(old) = std::mem::replace(&mut e.armed, next) {
                self.deadlines.remove(&(old, i));
            }
            self.deadlines.extend(next.map(|d| (d, i)));
        }
    }
}

/// What `status` shows of an engine.
pub(super) fn status(r: &Router, now: Instant) -> InstanceStatus {
    let cfg = r.config();
    let (since, because) = r.since();
    InstanceStatus {
        name: cfg.name.clone(),
        interface: cfg.interface.clone(),
        vrid: cfg.vrid.get(),
        version: cfg.version.number(),
        state: r.state(),
        since_ms: now.since(since).as_millis() as u64,
        because: because.to_string(),
        base_priority: cfg.priority,
        priority: r.priority(),
        master: r.master().map(|m| m.0),
        master_priority: r.master().map(|m| m.1),
        hears: r.hears(now),
        address: r.address(),
        master_interval_ms: r.master_interval().as_millis() as u64,
        master_down_ms: r.master_down_interval().as_millis() as u64,
        vmac: cfg.vmac.as_ref().map(|v| v.name.clone()),
        accepts: cfg.accept,
        vips: cfg.all_vips().map(ToString::to_string).collect(),
        counters: r.counters().clone(),
    }
}
