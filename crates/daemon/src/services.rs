//! Virtual servers as the control loop knows them: their lives, and what has happened to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use evenkeel_core::health::{
    ActiveServers, CheckConfig, CheckId, HealthEvent, Phase, ProbeResult, ServiceHealth, Verdict, WeightEffect,
};
use evenkeel_core::ipc::HealthTransition;
use evenkeel_core::model::{Check, CheckKind, Config, ServerKey, ServiceKey, VirtualServer};
use evenkeel_core::time::Instant;

/// So many transitions of a real server are remembered.
const HISTORY_LENGTH: usize = 16;

/// Servers that an earlier daemon had found dead.
pub type DownServers = BTreeSet<(ServiceKey, ServerKey)>;

/// One transition.
struct Transition {
    at: Instant,
    up: bool,
    reason: String,
    phase: Option<Phase>,
}

/// What has happened to a service or a server, the last at the end.
pub struct History {
    since: Instant,
    transitions: VecDeque<Transition>,
}

impl History {
    fn new(now: Instant) -> History {
        History { since: now, transitions: VecDeque::new() }
    }

    fn record(&mut self, now: Instant, up: bool, (because, phase): (&str, Option<Phase>)) {
        self.since = now;
        if self.transitions.len() == HISTORY_LENGTH {
            self.transitions.pop_front();
        }
        self.transitions.push_back(Transition { at: now, up, reason: because.to_owned(), phase });
    }

    /// How long things have been as they are, in ms.
    pub fn since_ms(&self, now: Instant) -> u64 {
        now.duration_since(self.since).as_millis() as u64
    }

    /// The transitions, the last one first.
    pub fn transitions(&self, now: Instant) -> Vec<HealthTransition> {
        let turn = |p: &Transition| HealthTransition {
            ago_ms: now.duration_since(p.at).as_millis() as u64,
            up: p.up,
            reason: p.reason.clone(),
            phase: p.phase,
        };
        self.transitions.iter().rev().map(turn).collect()
    }
}

/// A virtual server.
pub struct ServiceRecord {
    /// How it counts.
    pub health: ServiceHealth,
    /// What has happened to it.
    pub history: History,
    /// And to its real servers.
    pub server_history: BTreeMap<ServerKey, History>,
    /// What checks that do not probe were told last.
    pub passive_results: BTreeMap<(ServerKey, usize), ProbeResult>,
}

/// All of them.
#[derive(Default)]
pub struct ServiceRecords(pub BTreeMap<ServiceKey, ServiceRecord>);

/// What a new configuration has done.
#[derive(Default)]
pub struct ConfigureOutcome {
    /// What everybody is told of.
    pub events: Vec<(ServiceKey, HealthEvent)>,
    /// Services that were not there before.
    pub added: Vec<ServiceKey>,
}

impl ServiceRecords {
    /// What goes with the configuration that is to come: everything of it that is up goes down.
    pub fn removal_events(&self, old: &Config, new: &Config) -> Vec<(ServiceKey, HealthEvent)> {
        let mut out = Vec::new();
        let kept: BTreeMap<ServiceKey, &VirtualServer> = new.virtual_servers.iter().map(|v| (v.key, v)).collect();
        for v in &old.virtual_servers {
            let Some(service) = self.0.get(&v.key) else { continue };
            match kept.get(&v.key) {
                None => out.extend(service.health.shutdown_events().into_iter().map(|h| (v.key, h))),
                Some(now) => {
                    let gone = service.health.servers().iter().filter(|m| !now.servers.iter().any(|r| r.key == m.key));
                    let down = |key| (v.key, HealthEvent::Server { key, up: false });
                    out.extend(gone.filter(|m| m.is_up()).map(|m| down(m.key)));
                }
            }
        }
        out
    }

    /// Follows a new configuration.
    pub fn configure(&mut self, old: &Config, new: &Config, dead: &DownServers, now: Instant) -> ConfigureOutcome {
        let mut out = ConfigureOutcome::default();
        let before: BTreeMap<ServiceKey, &VirtualServer> = old.virtual_servers.iter().map(|v| (v.key, v)).collect();
        let mut had = std::mem::take(&mut self.0);
        for v in &new.virtual_servers {
            let (mut service, happenings) = match had.remove(&v.key) {
                Some(mut service) => {
                    let was = before.get(&v.key);
                    let same = |key, n| was.is_some_and(|was| find_check(was, key, n) == find_check(v, key, n));
                    let happenings = service.health.reconfigure(v, &same);
                    service.passive_results.retain(|(key, n), _| same(*key, *n));
                    (service, happenings)
                }
                None => {
                    let (life, happenings) = ServiceHealth::new(v, &|key| dead.contains(&(v.key, key)));
                    out.added.push(v.key);
                    let (servers, told) = (BTreeMap::new(), BTreeMap::new());
                    (
                        ServiceRecord {
                            health: life,
                            history: History::new(now),
                            server_history: servers,
                            passive_results: told,
                        },
                        happenings,
                    )
                }
            };
            service.server_history.retain(|key, _| v.servers.iter().any(|r| r.key == *key));
            for r in &v.servers {
                service.server_history.entry(r.key).or_insert_with(|| History::new(now));
            }
            self.0.insert(v.key, service);
            for h in happenings {
                self.record_event(v.key, h, now, ("the configuration", None));
                out.events.push((v.key, h));
            }
        }
        out
    }

    /// The checks to be made, each with what it counts as until its first probe.
    pub fn checks_to_run(&self, config: &Config) -> Vec<CheckConfig> {
        let mut out = Vec::new();
        for v in &config.virtual_servers {
            let life = self.0.get(&v.key).map(|s| &s.health);
            for r in &v.servers {
                let member = life.and_then(|l| l.server(r.key));
                for (n, c) in r.checks.iter().enumerate().filter(|(_, c)| c.kind.sends_probes()) {
                    let up = member.is_none_or(|m| m.is_check_up(n));
                    let alpha = c.alpha.unwrap_or(r.alpha);
                    out.push(CheckConfig { id: (v.key, r.key, n), check: c.clone(), up, alpha });
                }
            }
        }
        out
    }

    /// A check has come to a verdict. Returns what follows from it, if anything.
    pub fn record_verdict(
        &mut self,
        (service, server, n): CheckId,
        (up, effect): (bool, WeightEffect),
        why: (&str, Option<Phase>),
        now: Instant,
    ) -> Vec<HealthEvent> {
        let Some(s) = self.0.get_mut(&service) else { return Vec::new() };
        let happenings = s.health.handle_verdict(server, n, up, effect);
        for h in &happenings {
            self.record_event(service, *h, now, why);
        }
        happenings
    }

    fn record_event(&mut self, service: ServiceKey, what: HealthEvent, now: Instant, why: (&str, Option<Phase>)) {
        let Some(s) = self.0.get_mut(&service) else { return };
        match what {
            HealthEvent::Server { key, up } => {
                if let Some(h) = s.server_history.get_mut(&key) {
                    h.record(now, up, why);
                }
            }
            HealthEvent::Quorum { up, .. } => s.history.record(now, up, (&quorum_message(what), None)),
        }
    }

    /// Does a check count so already?
    pub fn has_verdict(&self, (service, server, n): CheckId, up: bool, effect: WeightEffect) -> bool {
        self.0.get(&service).is_none_or(|s| s.health.has_verdict(server, n, up, effect))
    }

    /// The services that another configuration would make of what is known now.
    pub fn desired_for(&self, old: &Config, new: &Config) -> evenkeel_core::plan::Services {
        let was: BTreeMap<ServiceKey, &VirtualServer> = old.virtual_servers.iter().map(|v| (v.key, v)).collect();
        let standing = |v: &VirtualServer| {
            let life = self.0.get(&v.key).map(|s| s.health.clone());
            let life = match (life, was.get(&v.key)) {
                (Some(mut life), Some(was)) => {
                    life.reconfigure(v, &|key, n| find_check(was, key, n) == find_check(v, key, n));
                    life
                }
                _ => ServiceHealth::new(v, &|_| false).0,
            };
            Some(life.active_servers(v))
        };
        evenkeel_core::plan::desired_services(&new.virtual_servers, &standing)
    }

    /// What is in force of a virtual server.
    pub fn effective_state(&self, v: &VirtualServer) -> Option<ActiveServers> {
        self.0.get(&v.key).map(|s| s.health.active_servers(v))
    }
}

/// A check of a service's server.
fn find_check(v: &VirtualServer, key: ServerKey, n: usize) -> Option<&Check> {
    v.servers.iter().find(|r| r.key == key)?.checks.get(n)
}

/// A quorum in words, as keepalived has them.
pub fn quorum_message(h: HealthEvent) -> String {
    match h {
        HealthEvent::Quorum { up: true, healthy_weight: live, threshold } => {
            format!("gained quorum {threshold} <= {live}")
        }
        HealthEvent::Quorum { up: false, healthy_weight: live, threshold } => {
            format!("lost quorum {threshold} > {live}")
        }
        HealthEvent::Server { .. } => String::new(),
    }
}

/// What the weight in a verdict does.
pub fn weight_effect(verdict: Verdict) -> WeightEffect {
    verdict.weight.map_or(WeightEffect::None, WeightEffect::Set)
}

/// What the number in a tracked file does to a server that a FILE_CHECK follows it for: keepalived's rules, recorded. With
/// weight 0 it must be 0; else it is added, so many times; at -2^31 + 1 and below the server is dead.
pub fn file_check_verdict(kind: &CheckKind, number: i32) -> (bool, WeightEffect) {
    let CheckKind::File { weight, reverse, .. } = kind else { return (true, WeightEffect::None) };
    if *weight == 0 {
        return ((number == 0) != *reverse, WeightEffect::None);
    }
    let product = i64::from(number) * weight * if *reverse { -1 } else { 1 };
    if product <= -i64::from(i32::MAX) { (false, WeightEffect::None) } else { (true, WeightEffect::Add(product)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recorded run `file_check`.
    #[test]
    fn a_file_s_number_is_a_weight_or_a_death() {
        let kind = |weight| CheckKind::File { name: "f".into(), weight, reverse: false };
        assert_eq!(file_check_verdict(&kind(1), 5), (true, WeightEffect::Add(5)));
        assert_eq!(file_check_verdict(&kind(1), -3), (true, WeightEffect::Add(-3)));
        assert_eq!(file_check_verdict(&kind(1), i32::MIN), (false, WeightEffect::None));
        assert_eq!((file_check_verdict(&kind(0), 5).0, file_check_verdict(&kind(0), 0).0), (false, true));
    }
}
