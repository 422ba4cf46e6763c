//! Virtual servers as the control loop knows them: their lives, and what has happened to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use evenkeel_core::health::{CheckId, Checking, Effect, Happening, Life, Phase, ProbeResult, Standing, Verdict};
use evenkeel_core::ipc::Turn;
use evenkeel_core::model::{Check, CheckKind, Config, ServerKey, ServiceKey, VirtualServer};
use evenkeel_core::time::Instant;

/// So many transitions of a real server are remembered.
const REMEMBERED: usize = 16;

/// Servers that an earlier daemon had found dead.
pub type Dead = BTreeSet<(ServiceKey, ServerKey)>;

/// One transition.
struct Past {
    at: Instant,
    up: bool,
    because: String,
    phase: Option<Phase>,
}

/// What has happened to a service or a server, the last at the end.
pub struct History {
    since: Instant,
    past: VecDeque<Past>,
}

impl History {
    fn new(now: Instant) -> History {
        History { since: now, past: VecDeque::new() }
    }

    fn add(&mut self, now: Instant, up: bool, (because, phase): (&str, Option<Phase>)) {
        self.since = now;
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(Past { at: now, up, because: because.to_owned(), phase });
    }

    /// How long things have been as they are, in ms.
    pub fn since_ms(&self, now: Instant) -> u64 {
        now.since(self.since).as_millis() as u64
    }

    /// The transitions, the last one first.
    pub fn turns(&self, now: Instant) -> Vec<Turn> {
        let turn = |p: &Past| Turn {
            ago_ms: now.since(p.at).as_millis() as u64,
            up: p.up,
            because: p.because.clone(),
            phase: p.phase,
        };
        self.past.iter().rev().map(turn).collect()
    }
}

/// A virtual server.
pub struct Service {
    /// How it counts.
    pub life: Life,
    /// What has happened to it.
    pub history: History,
    /// And to its real servers.
    pub servers: BTreeMap<ServerKey, History>,
    /// What checks that do not probe were told last.
    pub told: BTreeMap<(ServerKey, usize), ProbeResult>,
}

/// All of them.
#[derive(Default)]
pub struct Services(pub BTreeMap<ServiceKey, Service>);

/// What a new configuration has done.
#[derive(Default)]
pub struct Followed {
    /// What everybody is told of.
    pub happenings: Vec<(ServiceKey, Happening)>,
    /// Services that were not there before.
    pub new: Vec<ServiceKey>,
}

impl Services {
    /// What goes with the configuration that is to come: everything of it that is up goes down.
    pub fn leaving(&self, old: &Config, new: &Config) -> Vec<(ServiceKey, Happening)> {
        let mut out = Vec::new();
        let kept: BTreeMap<ServiceKey, &VirtualServer> = new.virtual_servers.iter().map(|v| (v.key, v)).collect();
        for v in &old.virtual_servers {
            let Some(service) = self.0.get(&v.key) else { continue };
            match kept.get(&v.key) {
                None => out.extend(service.life.end().into_iter().map(|h| (v.key, h))),
                Some(now) => {
                    let gone = service.life.members().iter().filter(|m| !now.servers.iter().any(|r| r.key == m.key));
                    let down = |key| (v.key, Happening::Server { key, up: false });
                    out.extend(gone.filter(|m| m.up()).map(|m| down(m.key)));
                }
            }
        }
        out
    }

    /// Follows a new configuration.
    pub fn follow(&mut self, old: &Config, new: &Config, dead: &Dead, now: Instant) -> Followed {
        let mut out = Followed::default();
        let before: BTreeMap<ServiceKey, &VirtualServer> = old.virtual_servers.iter().map(|v| (v.key, v)).collect();
        let mut had = std::mem::take(&mut self.0);
        for v in &new.virtual_servers {
            let (mut service, happenings) = match had.remove(&v.key) {
                Some(mut service) => {
                    let was = before.get(&v.key);
                    let same = |key, n| was.is_some_and(|was| check(was, key, n) == check(v, key, n));
                    let happenings = service.life.follow(v, &same);
                    service.told.retain(|(key, n), _| same(*key, *n));
                    (service, happenings)
                }
                None => {
                    let (life, happenings) = Life::new(v, &|key| dead.contains(&(v.key, key)));
                    out.new.push(v.key);
                    let (servers, told) = (BTreeMap::new(), BTreeMap::new());
                    (Service { life, history: History::new(now), servers, told }, happenings)
                }
            };
            service.servers.retain(|key, _| v.servers.iter().any(|r| r.key == *key));
            for r in &v.servers {
                service.servers.entry(r.key).or_insert_with(|| History::new(now));
            }
            self.0.insert(v.key, service);
            for h in happenings {
                self.remember(v.key, h, now, ("the configuration", None));
                out.happenings.push((v.key, h));
            }
        }
        out
    }

    /// The checks to be made, each with what it counts as until its first probe.
    pub fn checks(&self, config: &Config) -> Vec<Checking> {
        let mut out = Vec::new();
        for v in &config.virtual_servers {
            let life = self.0.get(&v.key).map(|s| &s.life);
            for r in &v.servers {
                let member = life.and_then(|l| l.member(r.key));
                for (n, c) in r.checks.iter().enumerate().filter(|(_, c)| c.kind.probes()) {
                    let up = member.is_none_or(|m| m.passes(n));
                    let alpha = c.alpha.unwrap_or(r.alpha);
                    out.push(Checking { id: (v.key, r.key, n), check: c.clone(), up, alpha });
                }
            }
        }
        out
    }

    /// A check has come to a verdict. Returns what follows from it, if anything.
    pub fn judge(
        &mut self,
        (service, server, n): CheckId,
        (up, effect): (bool, Effect),
        why: (&str, Option<Phase>),
        now: Instant,
    ) -> Vec<Happening> {
        let Some(s) = self.0.get_mut(&service) else { return Vec::new() };
        let happenings = s.life.judge(server, n, up, effect);
        for h in &happenings {
            self.remember(service, *h, now, why);
        }
        happenings
    }

    fn remember(&mut self, service: ServiceKey, what: Happening, now: Instant, why: (&str, Option<Phase>)) {
        let Some(s) = self.0.get_mut(&service) else { return };
        match what {
            Happening::Server { key, up } => {
                if let Some(h) = s.servers.get_mut(&key) {
                    h.add(now, up, why);
                }
            }
            Happening::Service { up, .. } => s.history.add(now, up, (&quorum_words(what), None)),
        }
    }

    /// Does a check count so already?
    pub fn agrees(&self, (service, server, n): CheckId, up: bool, effect: Effect) -> bool {
        self.0.get(&service).is_none_or(|s| s.life.agrees(server, n, up, effect))
    }

    /// The services that another configuration would make of what is known now.
    pub fn planned(&self, old: &Config, new: &Config) -> evenkeel_core::plan::Services {
        let was: BTreeMap<ServiceKey, &VirtualServer> = old.virtual_servers.iter().map(|v| (v.key, v)).collect();
        let standing = |v: &VirtualServer| {
            let life = self.0.get(&v.key).map(|s| s.life.clone());
            let life = match (life, was.get(&v.key)) {
                (Some(mut life), Some(was)) => {
                    life.follow(v, &|key, n| check(was, key, n) == check(v, key, n));
                    life
                }
                _ => Life::new(v, &|_| false).0,
            };
            Some(life.standing(v))
        };
        evenkeel_core::plan::desired_services(&new.virtual_servers, &standing)
    }

    /// What is in force of a virtual server.
    pub fn standing(&self, v: &VirtualServer) -> Option<Standing> {
        self.0.get(&v.key).map(|s| s.life.standing(v))
    }
}

/// A check of a service's server.
fn check(v: &VirtualServer, key: ServerKey, n: usize) -> Option<&Check> {
    v.servers.iter().find(|r| r.key == key)?.checks.get(n)
}

/// A quorum in words, as keepalived has them.
pub fn quorum_words(h: Happening) -> String {
    match h {
        Happening::Service { up: true, live, threshold } => format!("gained quorum {threshold} <= {live}"),
        Happening::Service { up: false, live, threshold } => format!("lost quorum {threshold} > {live}"),
        Happening::Server { .. } => String::new(),
    }
}

/// What the weight in a verdict does.
pub fn effect(verdict: Verdict) -> Effect {
    verdict.weight.map_or(Effect::None, Effect::Set)
}

/// What the number in a tracked file does to a server that a FILE_CHECK follows it for: keepalived's rules, recorded. With
/// weight 0 it must be 0; else it is added, so many times; at -2^31 + 1 and below the server is dead.
pub fn file(kind: &CheckKind, number: i32) -> (bool, Effect) {
    let CheckKind::File { weight, reverse, .. } = kind else { return (true, Effect::None) };
    if *weight == 0 {
        return ((number == 0) != *reverse, Effect::None);
    }
    let product = i64::from(number) * weight * if *reverse { -1 } else { 1 };
    if product <= -i64::from(i32::MAX) { (false, Effect::None) } else { (true, Effect::Add(product)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recorded run `file_check`.
    #[test]
    fn a_file_s_number_is_a_weight_or_a_death() {
        let kind = |weight| CheckKind::File { name: "f".into(), weight, reverse: false };
        assert_eq!(file(&kind(1), 5), (true, Effect::Add(5)));
        assert_eq!(file(&kind(1), -3), (true, Effect::Add(-3)));
        assert_eq!(file(&kind(1), i32::MIN), (false, Effect::None));
        assert_eq!((file(&kind(0), 5).0, file(&kind(0), 0).0), (false, true));
    }
}
