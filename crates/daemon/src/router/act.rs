//! Does what engines want, and tells of it.

use std::net::Ipv4Addr;

use evenkeel_core::ipc::InstanceStatus;
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::{Because, Output, Router, State, group};
use evenkeel_sys::clock;

use super::{Event, Shell, key_of};

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
                Output::Send { to, ttl, message } => self.send(i, to, ttl, &message),
                Output::AddVips | Output::RemoveVips => self.set_addresses(),
                Output::Garp(rounds) => self.announce(i, rounds),
                Output::Transition { from, to, because } => {
                    if to != State::Master {
                        self.memo.note(self.entries[i].key, None);
                    }
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
                Output::LowerPriority { by } => {
                    let r = &self.entries[i].router;
                    let (name, priority, notify) = (r.config().name.clone(), r.priority(), r.config().notify.clone());
                    let _ = self.events.send(Event::LowerPriority { name, by, priority, notify });
                }
                Output::Refused { by, why } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "a VRRP packet from {by} was refused: {why}");
                }
                Output::VipMismatch { by } => {
                    let name = &self.entries[i].router.config().name;
                    tracing::warn!(instance = %name, peer = %by, "{by} advertises other addresses than ours");
                }
            }
        }
    }

    /// What a router that has stopped still wants said; it is not master any more, so that no later daemon resumes it.
    pub(super) fn last_word(&self, router: &mut Router, deleted: bool) {
        while let Some(output) = router.poll_output() {
            match output {
                Output::Send { to, ttl, message } => self.transmit(router, to, ttl, &message),
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

    pub(super) fn send(&self, i: usize, to: Ipv4Addr, ttl: u8, message: &[u8]) {
        let e = &self.entries[i];
        self.transmit(&e.router, to, ttl, message);
        if e.router.state() == State::Master && message.get(2) != Some(&0) {
            self.memo.note(e.key, Some(clock::now()));
        }
    }

    pub(super) fn transmit(&self, router: &Router, to: Ipv4Addr, ttl: u8, message: &[u8]) {
        let cfg = router.config();
        let (Some(port), Some(from)) = (self.ports.get(&cfg.interface), router.address()) else { return };
        if let Err(e) = port.socket.send(from, to, ttl, message) {
            tracing::debug!(instance = %cfg.name, "send an advert on {}: {e}", cfg.interface);
        }
    }

    pub(super) fn announce(&self, i: usize, rounds: u32) {
        let cfg = self.entries[i].router.config();
        for _ in 0..rounds {
            for vip in cfg.all_vips() {
                let Some(link) = self.seen.links.get(&vip.dev) else { continue };
                if let Err(e) = self.arp.announce(link.index, link.mac, vip.addr) {
                    tracing::debug!("announce {vip}: {e}");
                }
            }
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
        master_down_ms: r.master_down_interval().as_millis() as u64,
        vips: cfg.all_vips().map(ToString::to_string).collect(),
        counters: r.counters().clone(),
    }
}
