//! Does what engines want, and tells of it.

use std::net::IpAddr;

use evenkeel_core::ipc::InstanceStatus;
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::packet::announce::announcement_frame;
use evenkeel_core::vrrp::packet::multicast_frame;
use evenkeel_core::vrrp::{Input, Output, Router, State, TransitionReason, sync_group};
use evenkeel_sys::clock;

use super::{ANNOUNCE_BATCH, Event, RouterThread, mastership_key};

impl RouterThread {
    /// Keeps the members of sync groups in one state, and tells of the groups' own transitions.
    pub(super) fn sync_groups(&mut self) {
        for g in 0..self.groups.len() {
            let name = self.groups[g].0.name.clone();
            let mut routers: Vec<&mut Router> = self
                .entries
                .iter_mut()
                .map(|e| &mut e.router)
                .filter(|r| r.config().sync_group.as_deref() == Some(&name))
                .collect();
            let moved = sync_group::synchronize(&mut routers, clock::now());
            let state = sync_group::group_state(&routers.iter().map(|r| r.group_member()).collect::<Vec<_>>());
            if moved {
                for i in 0..self.entries.len() {
                    self.apply_outputs(i);
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
    pub(super) fn apply_outputs(&mut self, i: usize) {
        while let Some(output) = self.entries[i].router.poll_output() {
            match output {
                Output::Send { to, ttl, is_resignation: last, packet } => {
                    self.send_advert(i, (to, ttl, last), &packet);
                    self.refresh_signed_will(i);
                }
                Output::AddVips => {
                    self.update_will(i); // first: addresses that are there are never nobody's
                    self.add_addresses(i);
                    self.forget_installed(i);
                    self.install_routes(false);
                    self.update_rejected_addresses();
                }
                Output::RemoveVips => {
                    self.announcer.cancel(self.entries[i].key);
                    self.remove_unwanted_routes();
                    self.remove_addresses(i);
                    self.update_rejected_addresses();
                }
                Output::Announce(rounds) => {
                    let e = &self.entries[i];
                    let targets = e.router.config().all_vips().map(|v| (v.dev.clone(), v.addr));
                    self.announcer.push(e.key, targets, rounds);
                }
                Output::AnnounceExtraInterfaces => {
                    let e = &self.entries[i];
                    self.announcer.push(e.key, e.router.config().garp_extra_if_vips.iter().cloned(), 1);
                }
                Output::Transition { from, to, reason: because } => {
                    if to != State::Master {
                        self.mastership.set_last_advert(self.entries[i].key, None);
                    }
                    self.update_will(i);
                    if matches!(to, State::Master | State::Fault) {
                        self.entries[i].keeps_found_addresses = false;
                    }
                    self.report_transition(&self.entries[i].router, (from, to), because, false);
                }
                Output::PriorityChanged(priority) => {
                    let r = &self.entries[i].router;
                    let (name, state, notify) = (r.config().name.clone(), r.state(), r.config().notify.clone());
                    let _ = self.events.send(Event::Priority { name, state, priority, notify });
                }
                Output::OtherMaster { peer: by, priority } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "master, and hears another master: {by}, priority \
                        {priority}; was the link between them cut, or is the virtual router number used twice?");
                }
                Output::LowerPriorityMaster { peer: by } => {
                    let r = &self.entries[i].router;
                    let (name, priority, notify) = (r.config().name.clone(), r.priority(), r.config().notify.clone());
                    let group = r.config().sync_group.clone();
                    let _ = self.events.send(Event::LowerPriority { name, by, priority, notify });
                    self.assert_group(i, group);
                }
                Output::PacketRejected { peer: by, reason: why } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "a VRRP packet from {by} was refused: {why}");
                }
                Output::ChecksumMismatch { peer: by, form } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "{by} makes its checksums {form}, and we do not: \
                        it may refuse our adverts; mend it with v3_checksum_as_v2 on the one or the other");
                }
                Output::IntervalMismatch { peer: by, ms } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "{by} has another advert_int than ours: {}.{:02} s",
                        ms / 1000, ms % 1000 / 10);
                }
                Output::AddressMismatch { peer: by } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "{by} advertises other addresses than ours");
                }
            }
        }
        self.frame_awaited |= self.entries[i].router.is_waiting_for_frame();
        self.groups_dirty |= self.entries[i].router.config().sync_group.is_some();
        self.queue_deadline(i);
    }

    /// What a router that has stopped still wants said; it is not master any more, so that no later daemon resumes it.
    pub(super) fn send_final_outputs(&self, router: &mut Router, deleted: bool) {
        while let Some(output) = router.poll_output() {
            match output {
                Output::Send { to, ttl, packet, .. } => self.transmit_packet(router, to, ttl, &packet),
                Output::Transition { from, to, reason: because } => {
                    self.report_transition(router, (from, to), because, deleted)
                }
                _ => {}
            }
        }
        self.mastership.set_last_advert(mastership_key(router.config()), None);
    }

    pub(super) fn report_transition(
        &self,
        router: &Router,
        (from, to): (State, State),
        because: TransitionReason,
        deleted: bool,
    ) {
        let (name, priority, notify) =
            (router.config().name.clone(), router.priority(), router.config().notify.clone());
        let _ = self.events.send(Event::Transition { name, from, to, reason: because, priority, deleted, notify });
    }

    fn send_advert(&self, i: usize, (to, ttl, last): (IpAddr, u8, bool), packet: &[u8]) {
        let e = &self.entries[i];
        self.transmit_packet(&e.router, to, ttl, packet);
        if e.router.state() == State::Master && !last {
            self.mastership.set_last_advert(e.key, Some(clock::now()));
        }
    }

    fn transmit_packet(&self, router: &Router, to: IpAddr, ttl: u8, packet: &[u8]) {
        let cfg = router.config();
        let port = self.ports.get(&(cfg.receive_device().to_owned(), cfg.transport()));
        let (Some(port), Some(from)) = (port, router.source()) else { return };
        let through = cfg.transmit_device().and_then(|dev| self.observed.links.get(dev));
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
            if self.entries[j].router.config().sync_group.as_ref() == Some(&group) {
                self.entries[j].router.handle(clock::now(), Input::AssertMastership);
                self.apply_outputs(j);
            }
        }
    }

    /// Sends what may be announced now, but not so much that anything else is late.
    pub(super) fn send_announcements(&mut self) {
        for _ in 0..ANNOUNCE_BATCH {
            let Some((dev, addr)) = self.announcer.pop_due(clock::now()) else { return };
            let Some(link) = self.observed.links.get(&dev) else { continue };
            let frame = announcement_frame(link.mac, addr, self.observed.ipv6_forwarding.contains(&link.index));
            if let Err(e) = self.frames.send(link.index, &frame) {
                tracing::debug!("announce {addr} on {dev}: {e}");
            }
        }
    }

    /// Puts an entry's next deadline into the queue.
    fn queue_deadline(&mut self, i: usize) {
        let e = &mut self.entries[i];
        let next = e.router.next_deadline();
        if next != e.queued_deadline {
            if let Some(old) = std::mem::replace(&mut e.queued_deadline, next) {
                self.deadlines.remove(&(old, i));
            }
            self.deadlines.extend(next.map(|d| (d, i)));
        }
    }
}

/// What `status` shows of an engine.
pub(super) fn instance_status(r: &Router, now: Instant) -> InstanceStatus {
    let cfg = r.config();
    let (since, because) = r.last_transition();
    InstanceStatus {
        name: cfg.name.clone(),
        interface: cfg.interface.clone(),
        vrid: cfg.vrid.get(),
        version: cfg.version.number(),
        state: r.state(),
        since_ms: now.duration_since(since).as_millis() as u64,
        reason: because.to_string(),
        base_priority: cfg.priority,
        priority: r.priority(),
        master: r.master().map(|m| m.0),
        master_priority: r.master().map(|m| m.1),
        accepted_senders: r.describe_peers(now),
        source_address: r.source(),
        master_interval_ms: r.master_interval().as_millis() as u64,
        master_down_ms: r.master_down_interval().as_millis() as u64,
        vmac: cfg.vmac.as_ref().map(|v| v.name.clone()),
        accept_mode: cfg.accept_mode,
        vips: cfg.all_vips().map(ToString::to_string).collect(),
        counters: r.counters().clone(),
    }
}
