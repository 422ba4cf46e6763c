//! Routes and rules: those of every master, and the static ones.

use std::fmt::Display;

use evenkeel_core::model::{RouteSpec, RuleSpec, TrackedObject};
use evenkeel_core::vrrp::State;
use evenkeel_sys::netlink::Deletion;

use super::{RouterEntry, RouterThread};

/// What was put in.
#[derive(Default)]
pub(super) struct InstalledRoutes {
    routes: Vec<RouteSpec>,
    rules: Vec<RuleSpec>,
    /// Nobody looked yet what an earlier daemon left.
    leftovers_added: bool,
    /// What somebody took out who may (`no_track`): it is not put back until it is to be put in anew.
    released: (Vec<RouteSpec>, Vec<RuleSpec>),
}

impl RouterThread {
    /// The static ones, and those of some instances.
    fn wanted_routes(&self, which: impl Fn(&RouterEntry) -> bool) -> (Vec<RouteSpec>, Vec<RuleSpec>) {
        let mut routes = self.statics.routes.clone();
        let mut rules = self.statics.rules.clone();
        for e in self.entries.iter().filter(|e| which(e)) {
            routes.extend_from_slice(&e.router.config().routes);
            rules.extend_from_slice(&e.router.config().rules);
        }
        (routes, rules)
    }

    /// Nobody has any, which is the usual case.
    pub(super) fn has_no_routes(&self) -> bool {
        let none = |routes: &[RouteSpec], rules: &[RuleSpec]| routes.is_empty() && rules.is_empty();
        none(&self.statics.routes, &self.statics.rules)
            && none(&self.installed.routes, &self.installed.rules)
            && !self.has_routes
    }

    /// Takes out what is not wanted any more: before the addresses go, whose removal takes some of it along.
    pub(super) fn remove_unwanted_routes(&mut self) {
        if self.has_no_routes() {
            return;
        }
        // As with addresses, what an earlier daemon left stays until somebody claims it.
        let (routes, rules) = self.wanted_routes(|e| e.keeps_found_addresses || e.router.state() == State::Master);
        if !std::mem::replace(&mut self.installed.leftovers_added, true) {
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
            match self.netlink.remove_route(&r, &self.observed.links) {
                Ok(true) => tracing::info!("removed route {r}"),
                Ok(false) => {}
                Err(e) => tracing::error!("{e}"),
            }
        }
    }

    /// What one instance has is put in again by the next [`Shell::install`], whoever put it in before: it may be gone.
    pub(super) fn forget_installed(&mut self, i: usize) {
        let cfg = self.entries[i].router.config();
        self.installed.routes.retain(|r| !cfg.routes.contains(r));
        self.installed.rules.retain(|r| !cfg.rules.contains(r));
    }

    /// Somebody took these out: what is ours is put back, unless it may go.
    pub(super) fn handle_removed_routes(&mut self, what: &[Deletion]) {
        let InstalledRoutes { routes, rules, released: let_go, .. } = &mut self.installed;
        let is_route = |r: &RouteSpec| what.iter().any(|v| v.may_be_route(r));
        let is_rule = |r: &RuleSpec| what.iter().any(|v| v.may_be_rule(r));
        // Without it nobody knows whether any of them is gone.
        let known = !what.contains(&Deletion::EventsLost);
        let routes = take_removed(routes, &mut let_go.0, ("route", known), is_route, |r| r.no_track);
        let rules = take_removed(rules, &mut let_go.1, ("rule", known), is_rule, |r| r.no_track);
        if routes || rules {
            self.install_routes(false);
            self.report_static_objects();
        }
    }

    /// The static ones, and whether each is there.
    pub(super) fn static_routes(&self) -> impl Iterator<Item = (TrackedObject, bool)> {
        let there = |r: &RouteSpec| (TrackedObject::Route(r.text.clone()), self.installed.routes.contains(r));
        let routes = self.statics.routes.iter().map(there);
        let there = |r: &RuleSpec| (TrackedObject::Rule(r.text.clone()), self.installed.rules.contains(r));
        routes.chain(self.statics.rules.iter().map(there))
    }

    /// Puts in what is missing: after the addresses, which some of it needs. `again`: the kernel may have dropped what a
    /// device carried that was down.
    pub(super) fn install_routes(&mut self, again: bool) {
        if self.has_no_routes() {
            return;
        }
        let (routes, rules) = self.wanted_routes(|e| e.router.state() == State::Master);
        for r in routes {
            let there = self.installed.routes.contains(&r);
            if there && (!again || self.installed.released.0.contains(&r)) {
                continue;
            }
            match self.netlink.add_route(&r, &self.observed.links) {
                Ok(added) if !there => {
                    tracing::info!("{} route {r}", if added { "added" } else { "kept" });
                    self.installed.released.0.retain(|l| *l != r);
                    self.installed.routes.push(r);
                }
                Ok(_) => {}
                // It is tried again with the next event.
                Err(e) => {
                    // With a device that is down the kernel has dropped it, and says nothing of that.
                    let up = |dev: &String| self.observed.links.get(dev).is_some_and(|l| l.running);
                    if !r.next_hops.iter().filter_map(|h| h.dev.as_ref()).all(up) {
                        self.installed.routes.retain(|i| *i != r);
                    }
                    tracing::warn!("{e}");
                }
            }
        }
        for r in rules {
            let there = self.installed.rules.contains(&r);
            if there && (!again || self.installed.released.1.contains(&r)) {
                continue;
            }
            match self.netlink.add_rule(&r) {
                Ok(_) if there => {}
                Ok(added) => {
                    tracing::info!("{} rule {r}", if added { "added" } else { "kept" });
                    self.installed.released.1.retain(|l| *l != r);
                    self.installed.rules.push(r);
                }
                Err(e) => tracing::error!("{e}"),
            }
        }
    }
}

/// Takes what is gone off the list, so that it is put in again, and notes of what may go that it has gone. Is anything to
/// be put in?
fn take_removed<T: Clone + PartialEq + Display>(
    installed: &mut Vec<T>,
    let_go: &mut Vec<T>,
    (kind, known): (&str, bool),
    gone: impl Fn(&T) -> bool,
    may_go: impl Fn(&T) -> bool,
) -> bool {
    let before = installed.len();
    installed.retain(|r| {
        if !gone(r) || (may_go(r) && !known) {
            return true;
        }
        if may_go(r) {
            tracing::info!("somebody took {kind} {r} out, and may (`no_track`)");
            let_go.extend((!let_go.contains(r)).then(|| r.clone()));
        } else if known {
            tracing::warn!("somebody took {kind} {r} out: it is put back");
        }
        may_go(r)
    });
    installed.len() != before
}
