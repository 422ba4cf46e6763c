//! Service records: health and history of each virtual service and its real servers, as the control thread knows them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use evenkeel_core::health::{
    ActiveServers, CheckConfig, CheckId, HealthEvent, Phase, ProbeResult, ServiceHealth, Verdict, WeightEffect,
};
use evenkeel_core::ipc::HealthTransition;
use evenkeel_core::model::{Check, CheckKind, Config, ServerKey, ServiceKey, VirtualServer, Weight};
use evenkeel_core::plan::{Services, desired_services};
use evenkeel_core::time::Instant;

/// Maximum number of transitions kept of a service or server.
const HISTORY_LENGTH: usize = 16;

/// Real servers that an earlier daemon had found down.
pub type DownServers = BTreeSet<(ServiceKey, ServerKey)>;

/// A transition of a service or server.
struct Transition {
    at: Instant,
    up: bool,
    reason: String,
    phase: Option<Phase>,
}

/// The transitions of a service or server, the newest at the end.
pub struct History {
    since: Instant,
    transitions: VecDeque<Transition>,
}

impl History {
    fn new(now: Instant) -> History {
        History { since: now, transitions: VecDeque::new() }
    }

    fn record(&mut self, now: Instant, up: bool, (reason, phase): (&str, Option<Phase>)) {
        self.since = now;
        if self.transitions.len() == HISTORY_LENGTH {
            self.transitions.pop_front();
        }
        self.transitions.push_back(Transition { at: now, up, reason: reason.to_owned(), phase });
    }

    /// Time since the last transition, or since the start, ms.
    pub fn since_ms(&self, now: Instant) -> u64 {
        now.duration_since(self.since).as_millis() as u64
    }

    /// The transitions, the newest first.
    pub fn transitions(&self, now: Instant) -> Vec<HealthTransition> {
        let view = |t: &Transition| HealthTransition {
            ago_ms: now.duration_since(t.at).as_millis() as u64,
            up: t.up,
            reason: t.reason.clone(),
            phase: t.phase,
        };
        self.transitions.iter().rev().map(view).collect()
    }
}

/// A virtual service.
pub struct MonitoredService {
    /// Its quorum, its servers and their checks.
    pub health: ServiceHealth,
    /// Its transitions.
    pub history: History,
    /// The transitions of each real server.
    pub server_history: BTreeMap<ServerKey, History>,
    /// The last result of each passive check, by server and index of the check.
    pub passive_results: BTreeMap<(ServerKey, usize), ProbeResult>,
}

impl MonitoredService {
    fn new(health: ServiceHealth, now: Instant) -> MonitoredService {
        let history = History::new(now);
        MonitoredService { health, history, server_history: BTreeMap::new(), passive_results: BTreeMap::new() }
    }

    fn record_event(&mut self, event: HealthEvent, now: Instant, reason: (&str, Option<Phase>)) {
        match event {
            HealthEvent::Server { key, up } => {
                if let Some(h) = self.server_history.get_mut(&key) {
                    h.record(now, up, reason);
                }
            }
            HealthEvent::Quorum { up, .. } => self.history.record(now, up, (&quorum_message(event), None)),
        }
    }
}

/// The records of all virtual services.
#[derive(Default)]
pub struct MonitoredServices(BTreeMap<ServiceKey, MonitoredService>);

/// What a new configuration changed.
#[derive(Default)]
pub struct ConfigureOutcome {
    /// Health events of services and servers.
    pub events: Vec<(ServiceKey, HealthEvent)>,
    /// Services that the old configuration did not have.
    pub added: Vec<ServiceKey>,
}

impl MonitoredServices {
    /// The record of a service.
    pub fn get(&self, service: ServiceKey) -> Option<&MonitoredService> {
        self.0.get(&service)
    }

    /// The events of services and servers that a new configuration removes: each that is up goes down. Call it before
    /// [`MonitoredServices::configure`].
    pub fn removal_events(&self, old: &Config, new: &Config) -> Vec<(ServiceKey, HealthEvent)> {
        let mut out = Vec::new();
        let kept = by_key(new);
        for v in &old.virtual_servers {
            let Some(record) = self.0.get(&v.key) else { continue };
            match kept.get(&v.key) {
                None => out.extend(record.health.shutdown_events().into_iter().map(|event| (v.key, event))),
                Some(new) => {
                    let servers = record.health.servers().iter();
                    let removed = servers.filter(|s| s.is_up() && !new.servers.iter().any(|r| r.key == s.key));
                    out.extend(removed.map(|s| (v.key, HealthEvent::Server { key: s.key, up: false })));
                }
            }
        }
        out
    }

    /// Applies a new configuration. Services, servers and checks that stay keep their health; `down` names servers of
    /// new services that start as down.
    pub fn configure(&mut self, old: &Config, new: &Config, down: &DownServers, now: Instant) -> ConfigureOutcome {
        let mut out = ConfigureOutcome::default();
        let old_servers = by_key(old);
        let mut old_records = std::mem::take(&mut self.0);
        for v in &new.virtual_servers {
            let (mut record, events) = match old_records.remove(&v.key) {
                Some(mut record) => {
                    let is_same = |key, n| old_servers.get(&v.key).is_some_and(|was| is_same_check(was, v, key, n));
                    let events = record.health.reconfigure(v, &is_same);
                    record.passive_results.retain(|(key, n), _| is_same(*key, *n));
                    (record, events)
                }
                None => {
                    out.added.push(v.key);
                    let (health, events) = ServiceHealth::new(v, &|key| down.contains(&(v.key, key)));
                    (MonitoredService::new(health, now), events)
                }
            };
            record.server_history.retain(|key, _| v.servers.iter().any(|r| r.key == *key));
            for r in &v.servers {
                record.server_history.entry(r.key).or_insert_with(|| History::new(now));
            }
            for event in events {
                record.record_event(event, now, ("the configuration", None));
                out.events.push((v.key, event));
            }
            self.0.insert(v.key, record);
        }
        out
    }

    /// The active checks of a configuration, each with the verdict that holds until its first probe.
    pub fn checks_to_run(&self, config: &Config) -> Vec<CheckConfig> {
        let mut out = Vec::new();
        for v in &config.virtual_servers {
            let service = self.0.get(&v.key).map(|s| &s.health);
            for r in &v.servers {
                let server = service.and_then(|s| s.server(r.key));
                for (n, c) in r.checks.iter().enumerate().filter(|(_, c)| c.kind.sends_probes()) {
                    let up = server.is_none_or(|s| s.is_check_up(n));
                    let alpha = c.alpha.unwrap_or(r.alpha);
                    out.push(CheckConfig { id: (v.key, r.key, n), check: c.clone(), up, alpha });
                }
            }
        }
        out
    }

    /// Records a verdict of a check with its reason; returns the events that follow from it.
    pub fn record_verdict(
        &mut self,
        (service, server, n): CheckId,
        (up, effect): (bool, WeightEffect),
        reason: (&str, Option<Phase>),
        now: Instant,
    ) -> Vec<HealthEvent> {
        let Some(record) = self.0.get_mut(&service) else { return Vec::new() };
        let events = record.health.handle_verdict(server, n, up, effect);
        for event in &events {
            record.record_event(*event, now, reason);
        }
        events
    }

    /// Records the result of a passive check.
    pub fn record_passive_result(&mut self, (service, server, n): CheckId, result: &ProbeResult) {
        if let Some(record) = self.0.get_mut(&service) {
            record.passive_results.insert((server, n), result.clone());
        }
    }

    /// Whether a check has this verdict already. True for a service that is not known.
    pub fn has_verdict(&self, (service, server, n): CheckId, up: bool, effect: WeightEffect) -> bool {
        self.0.get(&service).is_none_or(|s| s.health.has_verdict(server, n, up, effect))
    }

    /// The services that the data plane would hold with another configuration and the present health.
    pub fn desired_with_config(&self, old: &Config, new: &Config) -> Services {
        let old_servers = by_key(old);
        let active_servers = |v: &VirtualServer| {
            let health = match (self.0.get(&v.key), old_servers.get(&v.key)) {
                (Some(record), Some(was)) => {
                    let mut health = record.health.clone();
                    health.reconfigure(v, &|key, n| is_same_check(was, v, key, n));
                    health
                }
                _ => ServiceHealth::new(v, &|_| false).0,
            };
            Some(health.active_servers(v))
        };
        desired_services(&new.virtual_servers, &active_servers)
    }

    /// The servers of a service that take connections now, with their weights.
    pub fn active_servers(&self, v: &VirtualServer) -> Option<ActiveServers> {
        self.0.get(&v.key).map(|s| s.health.active_servers(v))
    }
}

/// The checked servers that an earlier daemon had taken out of their services, or had set to weight 0
/// (`inhibit_on_failure`). They start as down: a passing check brings them back, not a restart of the daemon.
pub fn servers_found_down(config: &Config, observed: &Services) -> DownServers {
    let mut down = DownServers::new();
    for v in &config.virtual_servers {
        let Some(service) = observed.get(&v.key) else { continue };
        for r in v.servers.iter().filter(|r| !r.checks.is_empty()) {
            let weight = service.dests.iter().find(|(k, _)| *k == r.key).map(|(_, d)| d.weight);
            let is_inhibited =
                r.inhibit_on_failure && !r.drained && weight == Some(Weight::QUIESCED) && r.weight != Weight::QUIESCED;
            if weight.is_none() || is_inhibited {
                down.insert((v.key, r.key));
            }
        }
    }
    down
}

fn by_key(config: &Config) -> BTreeMap<ServiceKey, &VirtualServer> {
    config.virtual_servers.iter().map(|v| (v.key, v)).collect()
}

/// Whether a check is the same in the old and the new configuration of a service.
fn is_same_check(old: &VirtualServer, new: &VirtualServer, server: ServerKey, n: usize) -> bool {
    find_check(old, server, n) == find_check(new, server, n)
}

fn find_check(v: &VirtualServer, key: ServerKey, n: usize) -> Option<&Check> {
    v.servers.iter().find(|r| r.key == key)?.checks.get(n)
}

/// A quorum event as text; the words are keepalived's.
pub fn quorum_message(event: HealthEvent) -> String {
    match event {
        HealthEvent::Quorum { up: true, healthy_weight, threshold } => {
            format!("gained quorum {threshold} <= {healthy_weight}")
        }
        HealthEvent::Quorum { up: false, healthy_weight, threshold } => {
            format!("lost quorum {threshold} > {healthy_weight}")
        }
        HealthEvent::Server { .. } => String::new(),
    }
}

/// The effect of the weight in a verdict.
pub fn weight_effect(verdict: Verdict) -> WeightEffect {
    verdict.weight.map_or(WeightEffect::None, WeightEffect::Set)
}

/// The verdict of a FILE_CHECK for the number in its file, by keepalived's rules (recorded run `file_check`). With
/// weight 0 the number must be 0, or with `reverse` must not. Otherwise the number, multiplied by the weight, is added
/// to the server's weight; a product of -2^31 + 1 or less means down.
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
    fn the_number_in_a_file_changes_the_weight_or_takes_the_server_down() {
        let kind = |weight| CheckKind::File { name: "f".into(), weight, reverse: false };
        assert_eq!(file_check_verdict(&kind(1), 5), (true, WeightEffect::Add(5)));
        assert_eq!(file_check_verdict(&kind(1), -3), (true, WeightEffect::Add(-3)));
        assert_eq!(file_check_verdict(&kind(1), i32::MIN), (false, WeightEffect::None));
        assert_eq!((file_check_verdict(&kind(0), 5).0, file_check_verdict(&kind(0), 0).0), (false, true));
    }
}
