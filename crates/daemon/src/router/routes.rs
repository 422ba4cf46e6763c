//! Routes and rules: those of every master, and the static ones.

use evenkeel_core::model::{RouteSpec, RuleSpec};
use evenkeel_core::vrrp::State;

use super::{Entry, Shell};

/// What was put in.
#[derive(Default)]
pub(super) struct Installed {
    routes: Vec<RouteSpec>,
    rules: Vec<RuleSpec>,
    /// Nobody looked yet what an earlier daemon left.
    looked: bool,
}

impl Shell {
    /// The static ones, and those of some instances.
    fn of(&self, which: impl Fn(&Entry) -> bool) -> (Vec<RouteSpec>, Vec<RuleSpec>) {
        let mut routes = self.statics.routes.clone();
        let mut rules = self.statics.rules.clone();
        for e in self.entries.iter().filter(|e| which(e)) {
            routes.extend_from_slice(&e.router.config().routes);
            rules.extend_from_slice(&e.router.config().rules);
        }
        (routes, rules)
    }

    /// Nobody has any, which is the usual case.
    fn none(&self) -> bool {
        let none = |routes: &[RouteSpec], rules: &[RuleSpec]| routes.is_empty() && rules.is_empty();
        none(&self.statics.routes, &self.statics.rules)
            && none(&self.installed.routes, &self.installed.rules)
            && !self.has_routes
    }

    /// Takes out what is not wanted any more: before the addresses go, whose removal takes some of it along.
    pub(super) fn withdraw(&mut self) {
        if self.none() {
            return;
        }
        // As with addresses, what an earlier daemon left stays until somebody claims it.
        let (routes, rules) = self.of(|e| e.holds || e.router.state() == State::Master);
        if !std::mem::replace(&mut self.installed.looked, true) {
            // What an earlier daemon may have left.
            for e in &self.entries {
                self.installed.routes.extend_from_slice(&e.router.config().routes);
                self.installed.rules.extend_from_slice(&e.router.config().rules);
            }
        }
        let (gone, stay) = std::mem::take(&mut self.installed.rules).into_iter().partition(|r| !rules.contains(r));
        self.installed.rules = stay;
        for r in gone {
            match self.netlink.remove_rule(&r) {
                Ok(true) => tracing::info!("removed rule {r}"),
                Ok(false) => {}
                Err(e) => tracing::error!("{e}"),
            }
        }
        let (gone, stay) = std::mem::take(&mut self.installed.routes).into_iter().partition(|r| !routes.contains(r));
        self.installed.routes = stay;
        for r in gone {
            let index = |name: &str| self.seen.links.get(name).map(|l| l.index);
            match self.netlink.remove_route(&r, index) {
                Ok(true) => tracing::info!("removed route {r}"),
                Ok(false) => {}
                Err(e) => tracing::error!("{e}"),
            }
        }
    }

    /// What one instance has is put in again by the next [`Shell::install`], whoever put it in before: it may be gone.
    pub(super) fn doubt(&mut self, i: usize) {
        let cfg = self.entries[i].router.config();
        self.installed.routes.retain(|r| !cfg.routes.contains(r));
        self.installed.rules.retain(|r| !cfg.rules.contains(r));
    }

    /// Puts in what is missing: after the addresses, which some of it needs. `again`: the kernel may have dropped what a
    /// device carried that was down.
    pub(super) fn install(&mut self, again: bool) {
        if self.none() {
            return;
        }
        let (routes, rules) = self.of(|e| e.router.state() == State::Master);
        for r in routes {
            let there = self.installed.routes.contains(&r);
            if there && !again {
                continue;
            }
            let index = |name: &str| self.seen.links.get(name).map(|l| l.index);
            match self.netlink.add_route(&r, index) {
                Ok(added) if !there => {
                    tracing::info!("{} route {r}", if added { "added" } else { "kept" });
                    self.installed.routes.push(r);
                }
                Ok(_) => {}
                // It is tried again with the next event.
                Err(e) => tracing::warn!("{e}"),
            }
        }
        for r in rules {
            let there = self.installed.rules.contains(&r);
            if there && !again {
                continue;
            }
            match self.netlink.add_rule(&r) {
                Ok(_) if there => {}
                Ok(added) => {
                    tracing::info!("{} rule {r}", if added { "added" } else { "kept" });
                    self.installed.rules.push(r);
                }
                Err(e) => tracing::error!("{e}"),
            }
        }
    }
}
