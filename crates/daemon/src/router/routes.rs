//! Routes and rules: virtual ones, installed while their instance is master, and static ones.
//!
//! They are installed after the addresses that they need and removed before them, because the kernel deletes routes
//! with the address that they use. What somebody else deletes is installed again, unless it has `no_track`.

use evenkeel_core::model::{RTPROT_KEEPALIVED, RouteSpec, RuleSpec, TrackedObject};
use evenkeel_core::vrrp::State;
use evenkeel_sys::netlink::Deletion;

use super::installed_routes::{InstalledRoutes, remove_item, take_removed};
use super::thread::{RouterEntry, RouterThread};

impl RouterThread {
    /// The static routes and rules, and those of the entries that match.
    fn wanted_routes(&self, matches: impl Fn(&RouterEntry) -> bool) -> (Vec<RouteSpec>, Vec<RuleSpec>) {
        let mut routes = self.statics.routes.clone();
        let mut rules = self.statics.rules.clone();
        for e in self.entries.iter().filter(|e| matches(e)) {
            routes.extend_from_slice(&e.router.config().routes);
            rules.extend_from_slice(&e.router.config().rules);
        }
        (routes, rules)
    }

    /// Whether no route and no rule is configured or installed, which is the usual case.
    pub(super) fn has_no_routes(&self) -> bool {
        let none = |routes: &[RouteSpec], rules: &[RuleSpec]| routes.is_empty() && rules.is_empty();
        none(&self.statics.routes, &self.statics.rules)
            && none(&self.installed.routes, &self.installed.rules)
            && !self.has_routes
    }

    /// Removes routes and rules that are not wanted any more. Call it before addresses are removed.
    pub(super) fn remove_unwanted_routes(&mut self) {
        if self.has_no_routes() {
            return;
        }
        // As for addresses: what an earlier daemon left stays until a master is seen.
        let (routes, rules) = self.wanted_routes(|e| e.keeps_found_addresses || e.router.state() == State::Master);
        if !std::mem::replace(&mut self.installed.leftovers_added, true) {
            // With another protocol they cannot be told from those of others, and stay.
            for e in &self.entries {
                let config = e.router.config();
                let own_routes = config.routes.iter().filter(|r| r.protocol == RTPROT_KEEPALIVED);
                let own_rules = config.rules.iter().filter(|r| r.protocol == RTPROT_KEEPALIVED);
                self.installed.routes.extend(own_routes.cloned());
                self.installed.rules.extend(own_rules.cloned());
            }
        }
        let (gone, stay) = std::mem::take(&mut self.installed.rules).into_iter().partition(|r| !rules.contains(r));
        self.installed.rules = stay;
        for r in gone {
            if remove_item(&mut self.installed.found.1, &r) {
                continue;
            }
            match self.netlink.remove_rule(&r) {
                Ok(true) => tracing::info!("removed rule {r}"),
                Ok(false) => {}
                Err(e) => tracing::error!("{e}"),
            }
        }
        let (gone, stay) = std::mem::take(&mut self.installed.routes).into_iter().partition(|r| !routes.contains(r));
        self.installed.routes = stay;
        for r in gone {
            if remove_item(&mut self.installed.found.0, &r) {
                continue;
            }
            match self.netlink.remove_route(&r, &self.observed.links) {
                Ok(true) => tracing::info!("removed route {r}"),
                Ok(false) => {}
                Err(e) => tracing::error!("{e}"),
            }
        }
    }

    /// Makes the next [`RouterThread::install_routes`] install the routes and rules of an entry, even if they are in
    /// the list: they may be gone.
    pub(super) fn forget_installed(&mut self, i: usize) {
        let cfg = self.entries[i].router.config();
        self.installed.routes.retain(|r| !cfg.routes.contains(r));
        self.installed.rules.retain(|r| !cfg.rules.contains(r));
    }

    /// Somebody else deleted routes or rules: installs those of masters again, unless they have `no_track`.
    pub(super) fn handle_removed_routes(&mut self, deletions: &[Deletion]) {
        let InstalledRoutes { routes, rules, released, .. } = &mut self.installed;
        let is_route = |r: &RouteSpec| deletions.iter().any(|d| d.may_be_route(r));
        let is_rule = |r: &RuleSpec| deletions.iter().any(|d| d.may_be_rule(r));
        // After lost events any of them may be deleted, and it is not known which.
        let is_certain = !deletions.contains(&Deletion::EventsLost);
        let routes = take_removed(routes, &mut released.0, ("route", is_certain), is_route, |r| r.no_track);
        let rules = take_removed(rules, &mut released.1, ("rule", is_certain), is_rule, |r| r.no_track);
        if routes || rules {
            self.install_routes(false);
            self.report_static_objects();
        }
    }

    /// The static routes and rules, and whether each is installed.
    pub(super) fn static_routes(&self) -> impl Iterator<Item = (TrackedObject, bool)> {
        let route = |r: &RouteSpec| (TrackedObject::Route(r.text.clone()), self.installed.routes.contains(r));
        let rule = |r: &RuleSpec| (TrackedObject::Rule(r.text.clone()), self.installed.rules.contains(r));
        self.statics.routes.iter().map(route).chain(self.statics.rules.iter().map(rule))
    }

    /// Installs the routes and rules of masters that are missing. Call it after addresses are added. `again`: also
    /// those in the list, because the kernel may have deleted routes of a device that was down.
    pub(super) fn install_routes(&mut self, again: bool) {
        if self.has_no_routes() {
            return;
        }
        let (routes, rules) = self.wanted_routes(|e| e.router.state() == State::Master);
        for r in routes {
            let is_installed = self.installed.routes.contains(&r);
            if is_installed && (!again || self.installed.released.0.contains(&r)) {
                continue;
            }
            match self.netlink.add_route(&r, &self.observed.links) {
                Ok(added) if !is_installed => {
                    tracing::info!("{} route {r}", if added { "added" } else { "kept" });
                    self.installed.released.0.retain(|l| *l != r);
                    if !added && r.protocol != RTPROT_KEEPALIVED {
                        self.installed.found.0.push(r.clone());
                    }
                    self.installed.routes.push(r);
                }
                Ok(_) => {}
                // The next observation tries it again.
                Err(e) => {
                    // When a device goes down the kernel deletes its routes without an event.
                    let is_up = |dev: &String| self.observed.links.get(dev).is_some_and(|l| l.running);
                    if !r.next_hops.iter().filter_map(|h| h.dev.as_ref()).all(is_up) {
                        self.installed.routes.retain(|i| *i != r);
                    }
                    tracing::warn!("{e}");
                }
            }
        }
        for r in rules {
            let is_installed = self.installed.rules.contains(&r);
            if is_installed && (!again || self.installed.released.1.contains(&r)) {
                continue;
            }
            match self.netlink.add_rule(&r) {
                Ok(_) if is_installed => {}
                Ok(added) => {
                    tracing::info!("{} rule {r}", if added { "added" } else { "kept" });
                    self.installed.released.1.retain(|l| *l != r);
                    if !added && r.protocol != RTPROT_KEEPALIVED {
                        self.installed.found.1.push(r.clone());
                    }
                    self.installed.rules.push(r);
                }
                Err(e) => tracing::error!("{e}"),
            }
        }
    }
}
