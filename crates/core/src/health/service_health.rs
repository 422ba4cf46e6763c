//! The life of a virtual server: which real servers take connections, with which weights; its quorum; its sorry server.
//!
//! As keepalived has it (keepalived.conf(5), "quorum", and recordings of it): the weights of healthy servers are added up;
//! with `quorum + hysteresis` the service comes up, with less than `quorum - hysteresis` it goes down; while it is down the
//! sorry server takes all connections, if there is one.

use crate::model::{RealServer, ServerKey, VirtualServer, Weight};

/// What everybody is told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthEvent {
    /// A real server came up or went down.
    Server {
        /// Which.
        key: ServerKey,
        /// Up or down.
        up: bool,
    },
    /// The quorum was reached or lost.
    Quorum {
        /// Reached or lost.
        up: bool,
        /// The weight of healthy servers.
        live_weight: u64,
        /// What it is compared with.
        threshold: u64,
    },
}

/// What a check does to its server's weight. Several of a server add up, as in keepalived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WeightEffect {
    /// Nothing.
    #[default]
    None,
    /// It is added (FILE_CHECK).
    Add(i64),
    /// It takes the place of the configured weight (MISC_CHECK with `misc_dynamic`).
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

/// One check, as it counts.
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

/// A real server, as it counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerHealth {
    /// Which.
    pub key: ServerKey,
    base_weight: i64,
    drained: bool,
    inhibit_on_failure: bool,
    checks: Vec<CheckState>,
}

impl ServerHealth {
    /// It lives only if no check fails.
    pub fn is_up(&self) -> bool {
        self.checks.iter().all(|c| c.up)
    }

    /// Does this check of it pass?
    pub fn is_check_up(&self, check: usize) -> bool {
        self.checks.get(check).is_none_or(|c| c.up)
    }

    /// Its weight while it is up: the configured one and what checks add to it, 0 to 2^31 - 1; 0 if it is
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

/// What is in force of a virtual server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActiveServers {
    /// Real servers in the service, with their weights, in the order of the configuration.
    pub servers: Vec<(ServerKey, Weight)>,
    /// The sorry server's weight, if it is in the service.
    pub sorry: Option<Weight>,
}

/// A virtual server and its real servers, as they count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceHealth {
    quorum: (u64, u64),
    servers: Vec<ServerHealth>,
    has_quorum: bool,
}

impl ServiceHealth {
    /// At the start: everything is up but what is `alpha` and what `dead` names. Tells whether the quorum is there, but not
    /// that an `alpha` service begins without.
    pub fn new(v: &VirtualServer, dead: &dyn Fn(ServerKey) -> bool) -> (ServiceHealth, Vec<HealthEvent>) {
        let mut life = ServiceHealth { quorum: (0, 0), servers: Vec::new(), has_quorum: false };
        life.load_config(v, &mut |r, n| !dead(r.key) && !r.checks[n].alpha.unwrap_or(r.alpha));
        let mut happenings = life.update_quorum();
        if !life.has_quorum && !v.alpha {
            happenings.push(life.quorum_event(false));
        }
        (life, happenings)
    }

    /// The configuration has changed. What is known of servers and checks that stay is kept; `same` says whether a check
    /// is the one that it was. Another check of a known server counts as the server did.
    pub fn reconfigure(&mut self, v: &VirtualServer, same: &dyn Fn(ServerKey, usize) -> bool) -> Vec<HealthEvent> {
        let old = std::mem::take(&mut self.servers);
        let known = |key: ServerKey| old.iter().find(|m| m.key == key);
        self.load_config(v, &mut |r, n| match known(r.key) {
            Some(m) if same(r.key, n) => m.is_check_up(n),
            Some(m) => m.is_up(),
            None => !r.checks[n].alpha.unwrap_or(r.alpha),
        });
        for m in &mut self.servers {
            let Some(before) = known(m.key) else { continue };
            for (n, c) in m.checks.iter_mut().enumerate().filter(|(n, _)| same(before.key, *n)) {
                c.effect = before.checks.get(n).map_or(WeightEffect::None, |b| b.effect);
            }
        }
        self.update_quorum()
    }

    fn load_config(&mut self, v: &VirtualServer, up: &mut dyn FnMut(&RealServer, usize) -> bool) {
        self.quorum = (v.quorum.weight.into(), v.quorum.hysteresis.into());
        let member = |r: &RealServer| ServerHealth {
            key: r.key,
            base_weight: r.weight.get().into(),
            drained: r.drained,
            inhibit_on_failure: r.inhibit_on_failure,
            checks: (0..r.checks.len()).map(|n| CheckState::new(up(r, n), WeightEffect::None)).collect(),
        };
        self.servers = v.servers.iter().map(member).collect();
    }

    /// A check has come to a verdict: good or bad, and what it does to the server's weight.
    pub fn handle_verdict(
        &mut self,
        server: ServerKey,
        check: usize,
        up: bool,
        effect: WeightEffect,
    ) -> Vec<HealthEvent> {
        let Some(m) = self.servers.iter_mut().find(|m| m.key == server) else { return Vec::new() };
        let was = m.is_up();
        let Some(c) = m.checks.get_mut(check) else { return Vec::new() };
        // A check that begins as dead tells its first failure, although nothing changes by it.
        let again = !up && !c.up;
        *c = CheckState::new(up, effect);
        let mut out = Vec::new();
        if m.is_up() != was || again {
            out.push(HealthEvent::Server { key: server, up: m.is_up() });
        }
        out.extend(self.update_quorum());
        out
    }

    /// Does it count so already?
    pub fn has_verdict(&self, server: ServerKey, check: usize, up: bool, effect: WeightEffect) -> bool {
        let m = self.servers.iter().find(|m| m.key == server);
        let c = m.and_then(|m| m.checks.get(check));
        c.is_none_or(|c| *c == CheckState::new(up, effect))
    }

    /// Is the quorum there?
    pub fn has_quorum(&self) -> bool {
        self.has_quorum
    }

    /// The weights of healthy servers.
    pub fn live_weight(&self) -> u64 {
        self.servers.iter().filter(|m| m.is_up()).map(|m| u64::from(m.weight().get())).sum()
    }

    /// Its real servers.
    pub fn servers(&self) -> &[ServerHealth] {
        &self.servers
    }

    /// One of them.
    pub fn server(&self, key: ServerKey) -> Option<&ServerHealth> {
        self.servers.iter().find(|m| m.key == key)
    }

    /// `omega`: everything that is up goes down, for it is over.
    pub fn shutdown_events(&self) -> Vec<HealthEvent> {
        let up = self.servers.iter().filter(|m| m.is_up());
        let mut out: Vec<HealthEvent> = up.map(|m| HealthEvent::Server { key: m.key, up: false }).collect();
        if self.has_quorum {
            out.push(self.quorum_event(false));
        }
        out
    }

    fn quorum_threshold(&self, up: bool) -> u64 {
        let (weight, hysteresis) = self.quorum;
        if up { weight + hysteresis } else { weight.saturating_sub(hysteresis) }
    }

    fn quorum_event(&self, up: bool) -> HealthEvent {
        HealthEvent::Quorum { up, live_weight: self.live_weight(), threshold: self.quorum_threshold(up) }
    }

    fn update_quorum(&mut self) -> Vec<HealthEvent> {
        let live = self.live_weight();
        let up = live >= self.quorum_threshold(!self.has_quorum);
        if up == self.has_quorum {
            return Vec::new();
        }
        self.has_quorum = up;
        vec![self.quorum_event(up)]
    }

    /// What is in force.
    pub fn active_servers(&self, v: &VirtualServer) -> ActiveServers {
        let sorry_for_all = !self.has_quorum && v.sorry_server.is_some();
        let weight = |m: &ServerHealth| match (m.is_up() && !sorry_for_all, m.inhibit_on_failure) {
            (true, _) => Some(m.weight()),
            (false, true) => Some(Weight::QUIESCED),
            (false, false) => None,
        };
        ActiveServers {
            servers: self.servers.iter().filter_map(|m| Some((m.key, weight(m)?))).collect(),
            sorry: match v.sorry_server {
                Some(_) if sorry_for_all => Some(Weight::DEFAULT),
                Some(s) if s.inhibit => Some(Weight::QUIESCED),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
#[path = "service_health_tests.rs"]
mod tests;
