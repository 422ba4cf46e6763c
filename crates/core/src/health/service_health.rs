//! The health of a virtual server: which of its real servers are active, with which weights; its quorum; its sorry
//! server.
//!
//! The rules are keepalived's (keepalived.conf(5), "quorum", and recordings): the weights of healthy servers are added
//! up. With at least `quorum + hysteresis` the service goes up; with less than `quorum - hysteresis` it goes down.
//! While it is down, the sorry server gets all connections, if there is one.

use super::HealthEvent;
use crate::model::{RealServer, ServerKey, VirtualServer, Weight};

/// The effect of a check on its server's weight. The effects of several checks add up, as in keepalived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WeightEffect {
    /// No effect.
    #[default]
    None,
    /// Added to the weight (FILE_CHECK).
    Add(i64),
    /// Replaces the configured weight (MISC_CHECK with `misc_dynamic`).
    Set(u32),
}

impl WeightEffect {
    fn delta(self, base: i64) -> i64 {
        match self {
            WeightEffect::None => 0,
            WeightEffect::Add(n) => n,
            WeightEffect::Set(n) => i64::from(n) - base,
        }
    }
}

/// The verdict of one check. A failed check has no effect on the weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct CheckState {
    up: bool,
    effect: WeightEffect,
}

impl CheckState {
    fn new(up: bool, effect: WeightEffect) -> CheckState {
        CheckState { up, effect: if up { effect } else { WeightEffect::None } }
    }
}

/// The health of one real server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerHealth {
    /// Its address and port.
    pub key: ServerKey,
    base_weight: i64,
    drained: bool,
    inhibit_on_failure: bool,
    checks: Vec<CheckState>,
}

impl ServerHealth {
    /// Whether all of its checks pass.
    pub fn is_up(&self) -> bool {
        self.checks.iter().all(|c| c.up)
    }

    /// Whether this check passes.
    pub fn is_check_up(&self, check: usize) -> bool {
        self.checks.get(check).is_none_or(|c| c.up)
    }

    /// Its weight while it is up: the configured one plus the effects of checks, limited to 0 to 2^31 - 1; 0 if it is
    /// drained.
    pub fn weight(&self) -> Weight {
        if self.drained {
            return Weight::QUIESCED;
        }
        let sum =
            self.checks.iter().fold(self.base_weight, |sum, c| sum.saturating_add(c.effect.delta(self.base_weight)));
        Weight::new(sum.clamp(0, i64::from(i32::MAX)) as u32).unwrap_or(Weight::DEFAULT)
    }
}

/// The active servers of a virtual server: those that the data plane must have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActiveServers {
    /// The real servers with their weights, in the order of the configuration.
    pub servers: Vec<(ServerKey, Weight)>,
    /// The weight of the sorry server, if it is active.
    pub sorry: Option<Weight>,
}

/// The health of a virtual server and of its real servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceHealth {
    /// Quorum and hysteresis.
    quorum: (u64, u64),
    servers: Vec<ServerHealth>,
    has_quorum: bool,
}

impl ServiceHealth {
    /// The health at the start: all servers are up, except for `alpha` servers and those that `is_down` selects.
    /// Returns the events to report: whether the quorum is reached, except that the initial down of an `alpha` service
    /// is no event.
    pub fn new(v: &VirtualServer, is_down: &dyn Fn(ServerKey) -> bool) -> (ServiceHealth, Vec<HealthEvent>) {
        let mut health = ServiceHealth { quorum: (0, 0), servers: Vec::new(), has_quorum: false };
        health.load_config(v, &mut |r, n| !is_down(r.key) && !r.checks[n].alpha.unwrap_or(r.alpha));
        let mut events = health.update_quorum();
        if !health.has_quorum && !v.alpha {
            events.push(health.quorum_event(false));
        }
        (health, events)
    }

    /// Applies a new configuration. Servers and checks that stay keep their state. `is_same` tells whether a check is
    /// the one of before; a changed check of a known server starts with the server's state.
    pub fn reconfigure(&mut self, v: &VirtualServer, is_same: &dyn Fn(ServerKey, usize) -> bool) -> Vec<HealthEvent> {
        let old = std::mem::take(&mut self.servers);
        let known = |key: ServerKey| old.iter().find(|s| s.key == key);
        self.load_config(v, &mut |r, n| match known(r.key) {
            Some(s) if is_same(r.key, n) => s.is_check_up(n),
            Some(s) => s.is_up(),
            None => !r.checks[n].alpha.unwrap_or(r.alpha),
        });
        for s in &mut self.servers {
            let Some(before) = known(s.key) else { continue };
            for (n, c) in s.checks.iter_mut().enumerate().filter(|(n, _)| is_same(before.key, *n)) {
                c.effect = before.checks.get(n).map_or(WeightEffect::None, |b| b.effect);
            }
        }
        self.update_quorum()
    }

    fn load_config(&mut self, v: &VirtualServer, is_up: &mut dyn FnMut(&RealServer, usize) -> bool) {
        self.quorum = (v.quorum.weight.into(), v.quorum.hysteresis.into());
        let server = |r: &RealServer| ServerHealth {
            key: r.key,
            base_weight: r.weight.get().into(),
            drained: r.drained,
            inhibit_on_failure: r.inhibit_on_failure,
            checks: (0..r.checks.len()).map(|n| CheckState::new(is_up(r, n), WeightEffect::None)).collect(),
        };
        self.servers = v.servers.iter().map(server).collect();
    }

    /// Handles the verdict of a check: up or down, and its effect on the server's weight.
    pub fn handle_verdict(
        &mut self,
        server: ServerKey,
        check: usize,
        up: bool,
        effect: WeightEffect,
    ) -> Vec<HealthEvent> {
        let Some(s) = self.servers.iter_mut().find(|s| s.key == server) else { return Vec::new() };
        let was_up = s.is_up();
        let Some(c) = s.checks.get_mut(check) else { return Vec::new() };
        // The first failure of an `alpha` check is reported, although the server was down before.
        let is_first_failure = !up && !c.up;
        *c = CheckState::new(up, effect);
        let mut events = Vec::new();
        if s.is_up() != was_up || is_first_failure {
            events.push(HealthEvent::Server { key: server, up: s.is_up() });
        }
        events.extend(self.update_quorum());
        events
    }

    /// Whether a check has this verdict already.
    pub fn has_verdict(&self, server: ServerKey, check: usize, up: bool, effect: WeightEffect) -> bool {
        let c = self.server(server).and_then(|s| s.checks.get(check));
        c.is_none_or(|c| *c == CheckState::new(up, effect))
    }

    /// Whether the quorum is reached.
    pub fn has_quorum(&self) -> bool {
        self.has_quorum
    }

    /// The sum of the weights of the healthy servers.
    pub fn healthy_weight(&self) -> u64 {
        self.servers.iter().filter(|s| s.is_up()).map(|s| u64::from(s.weight().get())).sum()
    }

    /// The real servers.
    pub fn servers(&self) -> &[ServerHealth] {
        &self.servers
    }

    /// A real server by its key.
    pub fn server(&self, key: ServerKey) -> Option<&ServerHealth> {
        self.servers.iter().find(|s| s.key == key)
    }

    /// The events of an end with `omega`: all that is up goes down.
    pub fn shutdown_events(&self) -> Vec<HealthEvent> {
        let up = self.servers.iter().filter(|s| s.is_up());
        let mut events: Vec<HealthEvent> = up.map(|s| HealthEvent::Server { key: s.key, up: false }).collect();
        if self.has_quorum {
            events.push(self.quorum_event(false));
        }
        events
    }

    fn quorum_threshold(&self, up: bool) -> u64 {
        let (weight, hysteresis) = self.quorum;
        if up { weight + hysteresis } else { weight.saturating_sub(hysteresis) }
    }

    fn quorum_event(&self, up: bool) -> HealthEvent {
        HealthEvent::Quorum { up, healthy_weight: self.healthy_weight(), threshold: self.quorum_threshold(up) }
    }

    fn update_quorum(&mut self) -> Vec<HealthEvent> {
        let healthy = self.healthy_weight();
        let up = healthy >= self.quorum_threshold(!self.has_quorum);
        if up == self.has_quorum {
            return Vec::new();
        }
        self.has_quorum = up;
        vec![self.quorum_event(up)]
    }

    /// The active servers: real servers that are up, or have `inhibit_on_failure`; the sorry server while the quorum is
    /// lost.
    pub fn active_servers(&self, v: &VirtualServer) -> ActiveServers {
        let uses_sorry_server = !self.has_quorum && v.sorry_server.is_some();
        let weight = |s: &ServerHealth| match (s.is_up() && !uses_sorry_server, s.inhibit_on_failure) {
            (true, _) => Some(s.weight()),
            (false, true) => Some(Weight::QUIESCED),
            (false, false) => None,
        };
        ActiveServers {
            servers: self.servers.iter().filter_map(|s| Some((s.key, weight(s)?))).collect(),
            sorry: match v.sorry_server {
                Some(_) if uses_sorry_server => Some(Weight::DEFAULT),
                Some(s) if s.inhibit => Some(Weight::QUIESCED),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
#[path = "service_health_tests.rs"]
mod tests;
