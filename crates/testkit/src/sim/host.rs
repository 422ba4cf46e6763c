//! The hosts of a simulation: their routers, one step of a host, and what can happen to it (boot, crash, pause, link
//! and script failures, reload).

use std::time::Duration;

use evenkeel_core::model::{TrackResult, TrackedObject, VrrpInstance};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::packet::split_ipv4;
use evenkeel_core::vrrp::{Input, Output, PreviousState, Router, State, sync_group};

use super::{Cluster, host_address};

/// A host with a router on each link.
#[derive(Clone)]
pub(super) struct Host {
    /// By link.
    pub(super) routers: Vec<Router>,
    pub(super) alive: bool,
    /// The host does nothing before this time; packets wait in its inbox.
    pub(super) paused_until: Instant,
    /// Received packets, each with its link.
    pub(super) inbox: Vec<(usize, Vec<u8>)>,
    /// The side of the partition of each link that the host is on.
    pub(super) partition_side: Vec<u8>,
    /// Whether its interface to each link is up.
    pub(super) link_up: Vec<bool>,
    /// The result of the script that its routers may track.
    pub(super) script_good: bool,
    /// Whether it holds the address of each link.
    pub(super) holds_vips: Vec<bool>,
}

impl Host {
    /// A host that is down.
    pub(super) fn new(instances: Vec<VrrpInstance>, now: Instant) -> Host {
        let n = instances.len();
        Host {
            routers: instances.into_iter().map(|cfg| Router::new(cfg, now)).collect(),
            alive: false,
            paused_until: now,
            inbox: Vec::new(),
            partition_side: vec![0; n],
            link_up: vec![true; n],
            script_good: true,
            holds_vips: vec![false; n],
        }
    }

    /// When the host has something to do, if it is alive.
    pub(super) fn next_event_time(&self) -> Option<Instant> {
        if !self.alive {
            return None;
        }
        let packets = (!self.inbox.is_empty()).then_some(self.paused_until);
        let deadline = self.routers.iter().filter_map(Router::next_deadline).min();
        packets.into_iter().chain(deadline.map(|d| d.max(self.paused_until))).min()
    }
}

/// The object that a simulated router tracks, if it tracks anything.
pub fn tracked_script() -> TrackedObject {
    TrackedObject::Script("s".into())
}

/// What can happen to a host.
impl Cluster {
    /// Boots a host that is down.
    pub fn boot(&mut self, i: usize) {
        if self.hosts[i].alive {
            return;
        }
        let now = self.now;
        let host = &mut self.hosts[i];
        host.alive = true;
        host.paused_until = now;
        host.inbox.clear();
        host.holds_vips.fill(false);
        let (link_up, good) = (host.link_up.clone(), host.script_good);
        self.for_each_router(i, |l, r, now| {
            *r = Router::new(r.config().clone(), now);
            r.handle(now, Input::Link(link_up[l]));
            r.handle(now, Input::SourceAddress(Some(host_address(i))));
            r.handle(now, Input::TrackResult { object: &tracked_script(), result: TrackResult::Good(good) });
            r.handle(now, Input::Start(PreviousState::Unknown));
        });
    }

    /// Crashes a host: no resignation is sent.
    pub fn crash(&mut self, i: usize) {
        self.hosts[i].alive = false;
        self.hosts[i].holds_vips.fill(false);
    }

    /// Kills the worker process of a host: the supervisor sends its resignation packets.
    pub fn kill_process(&mut self, i: usize) {
        if !self.hosts[i].alive {
            return;
        }
        for l in 0..self.links() {
            let r = &self.hosts[i].routers[l];
            let packets = if r.state() == State::Master { r.resignation_packets() } else { Vec::new() };
            packets.iter().for_each(|(_, _, packet)| self.transmit(i, l, packet));
        }
        self.crash(i);
    }

    /// Stops the daemon of a host.
    pub fn stop(&mut self, i: usize) {
        if self.hosts[i].alive {
            self.for_each_router(i, |_, r, now| r.handle(now, Input::Stop));
            self.hosts[i].alive = false;
        }
    }

    /// Pauses a host: it gets no CPU for some time, while packets wait. To the host this looks like a jump of the
    /// clock.
    pub fn pause(&mut self, i: usize, length: Duration) {
        self.hosts[i].paused_until = self.now + length;
    }

    /// Sets a host's interface to a link up or down. No packet passes it while it is down.
    pub fn set_link(&mut self, i: usize, link: usize, up: bool) {
        self.hosts[i].link_up[link] = up;
        if self.hosts[i].alive {
            self.for_each_router(i, |l, r, now| {
                if l == link {
                    r.handle(now, Input::Link(up))
                }
            });
        }
    }

    /// Sets the result of the script that a host's routers track.
    pub fn set_script_result(&mut self, i: usize, good: bool) {
        self.hosts[i].script_good = good;
        if self.hosts[i].alive {
            let result = TrackResult::Good(good);
            self.for_each_router(i, |_, r, now| {
                r.handle(now, Input::TrackResult { object: &tracked_script(), result })
            });
        }
    }

    /// Changes the configuration of every router of a host, by a reload if it is alive, else for its next boot.
    pub fn reload(&mut self, i: usize, change: impl Fn(&mut VrrpInstance)) {
        let changed = |r: &Router| {
            let mut cfg = r.config().clone();
            change(&mut cfg);
            cfg
        };
        if self.hosts[i].alive {
            self.for_each_router(i, |_, r, now| r.reconfigure(now, changed(r)));
        } else {
            let now = self.now;
            self.hosts[i].routers.iter_mut().for_each(|r| *r = Router::new(changed(r), now));
        }
    }
}

/// The steps of a host.
impl Cluster {
    /// One turn of the router thread: packets, then deadlines, then sync groups.
    pub(super) fn run_host(&mut self, i: usize) {
        if !self.hosts[i].alive || self.hosts[i].paused_until > self.now {
            return;
        }
        for (l, packet) in std::mem::take(&mut self.hosts[i].inbox) {
            let Some((ip, payload)) = split_ipv4(&packet) else { continue };
            self.hosts[i].routers[l].handle(self.now, Input::Packet { ip, payload });
            self.drain_outputs(i, l);
        }
        for l in 0..self.links() {
            let r = &mut self.hosts[i].routers[l];
            if r.next_deadline().is_some_and(|d| d <= self.now) {
                r.handle_deadline(self.now);
                let next = r.next_deadline();
                assert!(next.is_none_or(|n| n > self.now), "the next deadline is later than a handled one");
                self.drain_outputs(i, l);
            }
        }
        self.synchronize_group(i);
    }

    /// Calls `act` for each router of a host, and executes what follows.
    fn for_each_router(&mut self, i: usize, mut act: impl FnMut(usize, &mut Router, Instant)) {
        let now = self.now;
        for (l, r) in self.hosts[i].routers.iter_mut().enumerate() {
            act(l, r, now);
        }
        for l in 0..self.links() {
            self.drain_outputs(i, l);
        }
        self.synchronize_group(i);
    }

    /// Synchronizes the sync group of a host. All members are in the same state afterwards.
    fn synchronize_group(&mut self, i: usize) {
        let mut members: Vec<&mut Router> =
            self.hosts[i].routers.iter_mut().filter(|r| r.config().sync_group.is_some()).collect();
        if members.is_empty() {
            return;
        }
        sync_group::synchronize(&mut members, self.now);
        let masters = members.iter().filter(|r| r.state() == State::Master).count();
        assert!(masters == 0 || masters == members.len(), "{masters} of a group of {} are master", members.len());
        for l in 0..self.links() {
            self.drain_outputs(i, l);
        }
    }

    /// Executes the outputs of a router.
    fn drain_outputs(&mut self, i: usize, l: usize) {
        while let Some(output) = self.hosts[i].routers[l].poll_output() {
            match output {
                Output::Send { packet, .. } => self.transmit(i, l, &packet),
                Output::AddVips => self.hosts[i].holds_vips[l] = true,
                Output::RemoveVips => self.hosts[i].holds_vips[l] = false,
                _ => {}
            }
        }
        let host = &self.hosts[i];
        let is_master = host.routers[l].state() == State::Master;
        assert_eq!(host.holds_vips[l], is_master, "the master, and no other router, holds the address");
    }
}
