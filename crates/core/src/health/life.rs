//! The life of a virtual server: which real servers take connections, with which weights; its quorum; its sorry server.
//!
//! As keepalived has it (keepalived.conf(5), "quorum", and recordings of it): the weights of healthy servers are added up;
//! with `quorum + hysteresis` the service comes up, with less than `quorum - hysteresis` it goes down; while it is down the
//! sorry server takes all connections, if there is one.

use crate::model::{RealServer, ServerKey, VirtualServer, Weight};

/// What everybody is told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happening {
    /// A real server came up or went down.
    Server {
        /// Which.
        key: ServerKey,
        /// Up or down.
        up: bool,
    },
    /// The quorum was reached or lost.
    Service {
        /// Reached or lost.
        up: bool,
        /// The weight of healthy servers.
        live: u64,
        /// What it is compared with.
        threshold: u64,
    },
}

/// What a check does to its server's weight. Several of a server add up, as in keepalived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Effect {
    /// Nothing.
    #[default]
    None,
    /// It is added (FILE_CHECK).
    Add(i64),
    /// It takes the place of the configured weight (MISC_CHECK with `misc_dynamic`).
    Set(u32),
}

impl Effect {
    fn on(self, base: i64) -> i64 {
        match self {
            Effect::None => 0,
            Effect::Add(n) => n,
            Effect::Set(n) => i64::from(n) - base,
        }
    }
}

/// One check, as it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Judged {
    up: bool,
    effect: Effect,
}

impl Judged {
    fn new(up: bool, effect: Effect) -> Judged {
        Judged { up, effect: if up { effect } else { Effect::None } }
    }
}

/// A real server, as it counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Which.
    pub key: ServerKey,
    base: i64,
    drained: bool,
    inhibit: bool,
    checks: Vec<Judged>,
}

impl Member {
    /// It lives only if no check fails.
    pub fn up(&self) -> bool {
        self.checks.iter().all(|c| c.up)
    }

    /// Does this check of it pass?
    pub fn passes(&self, check: usize) -> bool {
        self.checks.get(check).is_none_or(|c| c.up)
    }

    /// Its weight while it is up: the configured one and what checks add to it, 0 to 2^31 - 1; 0 if it is
    /// drained.
    pub fn weight(&self) -> Weight {
        if self.drained {
            return Weight::QUIESCED;
        }
        let sum = self.checks.iter().fold(self.base, |sum, c| sum.saturating_add(c.effect.on(self.base)));
        Weight::new(sum.clamp(0, i64::from(i32::MAX)) as u32).unwrap_or(Weight::DEFAULT)
    }
}

/// What is in force of a virtual server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Real servers in the service, with their weights, in the order of the configuration.
    pub servers: Vec<(ServerKey, Weight)>,
    /// The sorry server's weight, if it is in the service.
    pub sorry: Option<Weight>,
}

/// A virtual server and its real servers, as they count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Life {
    quorum: (u64, u64),
    members: Vec<Member>,
    up: bool,
}

impl Life {
    /// At the start: everything is up but what is `alpha` and what `dead` names. Tells whether the quorum is there, but not
    /// that an `alpha` service begins without.
    pub fn new(v: &VirtualServer, dead: &dyn Fn(ServerKey) -> bool) -> (Life, Vec<Happening>) {
        let mut life = Life { quorum: (0, 0), members: Vec::new(), up: false };
        life.take(v, &mut |r, n| !dead(r.key) && !r.checks[n].alpha.unwrap_or(r.alpha));
        let mut happenings = life.quorum();
        if !life.up && !v.alpha {
            happenings.push(life.said(false));
        }
        (life, happenings)
    }

    /// The configuration has changed. What is known of servers and checks that stay is kept; `same` says whether a check
    /// is the one that it was. Another check of a known server counts as the server did.
    pub fn follow(&mut self, v: &VirtualServer, same: &dyn Fn(ServerKey, usize) -> bool) -> Vec<Happening> {
        let old = std::mem::take(&mut self.members);
        let known = |key: ServerKey| old.iter().find(|m| m.key == key);
        self.take(v, &mut |r, n| match known(r.key) {
            Some(m) if same(r.key, n) => m.passes(n),
            Some(m) => m.up(),
            None => !r.checks[n].alpha.unwrap_or(r.alpha),
        });
        for m in &mut self.members {
            let Some(before) = known(m.key) else { continue };
            for (n, c) in m.checks.iter_mut().enumerate().filter(|(n, _)| same(before.key, *n)) {
                c.effect = before.checks.get(n).map_or(Effect::None, |b| b.effect);
            }
        }
        self.quorum()
    }

    fn take(&mut self, v: &VirtualServer, up: &mut dyn FnMut(&RealServer, usize) -> bool) {
        self.quorum = (v.quorum.weight.into(), v.quorum.hysteresis.into());
        let member = |r: &RealServer| Member {
            key: r.key,
            base: r.weight.get().into(),
            drained: r.drained,
            inhibit: r.inhibit_on_failure,
            checks: (0..r.checks.len()).map(|n| Judged::new(up(r, n), Effect::None)).collect(),
        };
        self.members = v.servers.iter().map(member).collect();
    }

    /// A check has come to a verdict: good or bad, and what it does to the server's weight.
    pub fn judge(&mut self, server: ServerKey, check: usize, up: bool, effect: Effect) -> Vec<Happening> {
        let Some(m) = self.members.iter_mut().find(|m| m.key == server) else { return Vec::new() };
        let was = m.up();
        let Some(c) = m.checks.get_mut(check) else { return Vec::new() };
        // A check that begins as dead tells its first failure, although nothing changes by it.
        let again = !up && !c.up;
        *c = Judged::new(up, effect);
        let mut out = Vec::new();
        if m.up() != was || again {
            out.push(Happening::Server { key: server, up: m.up() });
        }
        out.extend(self.quorum());
        out
    }

    /// Does it count so already?
    pub fn agrees(&self, server: ServerKey, check: usize, up: bool, effect: Effect) -> bool {
        let m = self.members.iter().find(|m| m.key == server);
        let c = m.and_then(|m| m.checks.get(check));
        c.is_none_or(|c| *c == Judged::new(up, effect))
    }

    /// Is the quorum there?
    pub fn up(&self) -> bool {
        self.up
    }

    /// The weights of healthy servers.
    pub fn live(&self) -> u64 {
        self.members.iter().filter(|m| m.up()).map(|m| u64::from(m.weight().get())).sum()
    }

    /// Its real servers.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One of them.
    pub fn member(&self, key: ServerKey) -> Option<&Member> {
        self.members.iter().find(|m| m.key == key)
    }

    /// `omega`: everything that is up goes down, for it is over.
    pub fn end(&self) -> Vec<Happening> {
        let up = self.members.iter().filter(|m| m.up());
        let mut out: Vec<Happening> = up.map(|m| Happening::Server { key: m.key, up: false }).collect();
        if self.up {
            out.push(self.said(false));
        }
        out
    }

    fn threshold(&self, up: bool) -> u64 {
        let (weight, hysteresis) = self.quorum;
        if up { weight + hysteresis } else { weight.saturating_sub(hysteresis) }
    }

    fn said(&self, up: bool) -> Happening {
        Happening::Service { up, live: self.live(), threshold: self.threshold(up) }
    }

    fn quorum(&mut self) -> Vec<Happening> {
        let live = self.live();
        let up = live >= self.threshold(!self.up);
        if up == self.up {
            return Vec::new();
        }
        self.up = up;
        vec![self.said(up)]
    }

    /// What is in force.
    pub fn standing(&self, v: &VirtualServer) -> Standing {
        let sorry_for_all = !self.up && v.sorry.is_some();
        let weight = |m: &Member| match (m.up() && !sorry_for_all, m.inhibit) {
            (true, _) => Some(m.weight()),
            (false, true) => Some(Weight::QUIESCED),
            (false, false) => None,
        };
        Standing {
            servers: self.members.iter().filter_map(|m| Some((m.key, weight(m)?))).collect(),
            sorry: match v.sorry {
                Some(_) if sorry_for_all => Some(Weight::DEFAULT),
                Some(s) if s.inhibit => Some(Weight::QUIESCED),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
#[path = "life_tests.rs"]
mod tests;
