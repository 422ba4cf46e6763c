//! A configuration, devices and addresses to engines and their sockets.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use evenkeel_core::model::{
    Destination, Family, Found, SyncGroup, TrackedObject, Transport, VipSpec, Vrid, VrrpInstance,
};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::{Input, Past, Router};
use evenkeel_sys::clock;
use evenkeel_sys::sysctl;
use evenkeel_sys::wire::VrrpSocket;

use super::{Entry, Port, Setup, Shell, key_of};

/// Room for strangers' adverts, bytes: some hundred.
const STRANGERS_ROOM: usize = 256 << 10;

impl Shell {
    pub(super) fn configure(&mut self, setup: Setup) {
        let Setup { instances, groups, bfd, gaps, link_delays, statics, tells_strangers } = setup;
        self.strangers.configure(tells_strangers);
        self.configure_bfd(&bfd);
        self.links.configure(link_delays);
        let promoting = instances.iter().filter(|i| i.promote_secondaries).flat_map(|i| i.all_vips());
        self.promote(&promoting.map(|v| v.dev.clone()).collect());
        let old_statics = std::mem::replace(&mut self.statics, statics);
        let gone = |v: &&VipSpec| !self.statics.addresses.contains(v);
        let gone: Vec<VipSpec> = old_statics.addresses.iter().filter(gone).cloned().collect();
        self.remove(&gone);
        let now = clock::now();
        self.has_routes = instances.iter().any(|i| !i.routes.is_empty() || !i.rules.is_empty());
        self.route_events.set(!self.none());
        self.announcer.configure(gaps);
        let told = std::mem::take(&mut self.groups);
        let last = |g: &SyncGroup| told.iter().find(|(t, _)| t.name == g.name).and_then(|(_, state)| *state);
        self.groups = groups.into_iter().map(|g| (last(&g), g)).map(|(state, g)| (g, state)).collect();
        let mut old = std::mem::take(&mut self.entries);
        let mut gone = Vec::new();
        old.retain_mut(|e| {
            let stays = instances.iter().any(|c| c.identity() == e.router.config().identity());
            if !stays {
                e.router.handle(now, Input::Stop);
                if let Some(place) = e.place {
                    self.testament.set(place, None);
                    self.free_places.push(place);
                }
                gone.push((e.router.clone(), e.owns));
            }
            stays
        });
        for (mut router, owns) in gone {
            self.last_word(&mut router, true); // while its port is still there
            let vips: Vec<VipSpec> = router.config().all_vips().cloned().collect();
            if !owns {
                self.remove(&vips);
            }
        }
        self.deadlines.clear();
        self.ports.retain(|(name, t), _| instances.iter().any(|c| c.hears_on() == name && c.transport() == *t));
        let mut fresh = Vec::new();
        for cfg in instances {
            match old.iter().position(|e| e.router.config().identity() == cfg.identity()) {
                Some(i) => {
                    let mut e = old.swap_remove(i);
                    let dropped: Vec<VipSpec> = e
                        .router
                        .config()
                        .all_vips()
                        .filter(|v| !cfg.all_vips().any(|n| (n.addr, n.prefix, &n.dev) == (v.addr, v.prefix, &v.dev)))
                        .cloned()
                        .collect();
                    e.router.reconfigure(now, cfg);
                    self.remove(&dropped);
                    e.armed = None;
                    self.entries.push(e);
                }
                None => {
                    let key = key_of(&cfg);
                    fresh.push(self.entries.len());
                    let mut router = Router::new(cfg, now);
                    router.continue_sequence(clock::unix_seconds());
                    self.entries.push(Entry { router, holds: true, owns: false, key, armed: None, place: None });
                }
            }
        }
        self.tell_time();
        self.circumstances();
        for i in fresh {
            self.begin(i, now);
        }
        if std::mem::take(&mut self.begins_anew) {
            self.set_addresses();
        }
        self.synchronise(); // before anything is told, so that a group is told of first, as by keepalived
        for i in 0..self.entries.len() {
            self.perform(i);
        }
    }

    /// Starts a router; as master at once if it was one so short a time ago that no peer can have taken over.
    pub(super) fn begin(&mut self, i: usize, now: Instant) {
        let e = &mut self.entries[i];
        let cfg = e.router.config();
        let patience = cfg.advert_int * u32::from(cfg.down_timer_adverts);
        let lately = |at: Instant| at <= now && now.since(at) < patience;
        let past = if self.begins_anew {
            Past::Nothing
        } else if self.memo.last(e.key).is_some_and(lately) {
            Past::Master
        } else if self.gave_up.iter().any(|(key, at)| *key == e.key && lately(*at)) {
            Past::GivenUp
        } else {
            Past::Nothing
        };
        e.holds = cfg.all_vips().any(|v| self.seen.holds(v)) && !self.begins_anew;
        // What a crash left is not the host's own.
        e.owns = e.holds && cfg.priority == 255 && self.memo.last(e.key).is_none();
        e.router.handle(now, Input::Start(past));
    }

    /// Tells the engines of devices and addresses; puts back what somebody took away.
    pub(super) fn circumstances(&mut self) {
        let wanted: BTreeSet<(String, Transport)> =
            self.entries.iter().map(|e| e.router.config()).map(|c| (c.hears_on().to_owned(), c.transport())).collect();
        for key in wanted {
            let Some(link) = self.seen.links.get(&key.0) else {
                self.ports.remove(&key);
                continue;
            };
            let groups = self.groups(&key);
            if self.ports.get(&key).is_none_or(|p| p.ifindex != link.index || p.socket.groups() != groups) {
                match VrrpSocket::new(key.1, &key.0, link.index, &groups) {
                    Ok(socket) => {
                        let strangers = VrrpSocket::new(key.1, &key.0, link.index, &[]).ok();
                        let port = Port { ifindex: link.index, socket, routers: BTreeMap::new(), strangers };
                        self.ports.insert(key.clone(), port);
                    }
                    Err(e) => tracing::error!("{e}"),
                }
            }
            let here = |e: &Entry| (e.router.config().hears_on() == key.0) && e.router.config().transport() == key.1;
            let routers = self.entries.iter().enumerate().filter(|(_, e)| here(e));
            let routers: BTreeMap<Vrid, usize> = routers.map(|(i, e)| (e.router.config().vrid, i)).collect();
            if let Some(port) = self.ports.get_mut(&key) {
                if !port.routers.keys().eq(routers.keys()) {
                    let known: Vec<u8> = routers.keys().map(|v| v.get()).collect();
                    let strangers = port.strangers.iter().map(|s| {
                        s.set_room(STRANGERS_ROOM);
                        s.hear_only(&known, true)
                    });
                    let heard = strangers.chain([port.socket.hear_only(&known, false)]);
                    heard.filter_map(Result::err).for_each(|e| tracing::warn!("{e}"));
                }
                port.routers = routers;
            }
        }
        let now = clock::now();
        let vips: HashSet<IpAddr> =
            self.entries.iter().flat_map(|e| e.router.config().all_vips()).map(|v| v.addr).collect();
        for i in 0..self.entries.len() {
            let cfg = self.entries[i].router.config();
            let mut running = |name: &str| {
                let is = self.seen.links.get(name).is_some_and(|l| l.running);
                self.links.look(now, name, is)
            };
            let up = running(&cfg.interface)
                && cfg.vmac.as_ref().is_none_or(|v| running(&v.name))
                && self.ports.contains_key(&(cfg.hears_on().to_owned(), cfg.transport()));
            let source = self.source_address(cfg, &vips);
            self.entries[i].router.handle(now, Input::Link(up));
            self.entries[i].router.handle(now, Input::Address(source));
            let tracked = self.entries[i].router.config().tracks.iter().map(|t| &t.object);
            let interfaces: Vec<TrackedObject> =
                tracked.filter(|o| matches!(o, TrackedObject::Interface(_))).cloned().collect();
            for object in interfaces {
                let TrackedObject::Interface(name) = &object else { continue };
                let is = self.seen.links.get(name).is_some_and(|l| l.running);
                let found = Found::Good(self.links.look(now, name, is));
                self.entries[i].router.handle(now, Input::Tracked { object: &object, found });
            }
            self.sessions_as_they_stand(i);
            self.perform(i);
            self.leave_words(i);
        }
        self.set_addresses();
        self.statics_as_they_stand();
    }

    /// Tells those that track something static whether it is there.
    pub(super) fn statics_as_they_stand(&mut self) {
        let now = clock::now();
        let there = |v: &VipSpec| (TrackedObject::Address(v.to_string()), self.seen.holds(v));
        let mut all: Vec<(TrackedObject, bool)> = self.statics.addresses.iter().map(there).collect();
        all.extend(self.static_routes());
        for (object, good) in all {
            for i in 0..self.entries.len() {
                let found = Found::Good(good);
                self.entries[i].router.handle(now, Input::Tracked { object: &object, found });
                self.perform(i);
            }
        }
    }

    /// `promote_secondaries`: has the kernel keep the other addresses of these interfaces when their first goes
    /// (its ip-sysctl), and sets others to what they were.
    pub(super) fn promote(&mut self, wanted: &BTreeSet<String>) {
        const SETTING: &str = "promote_secondaries";
        for dev in wanted {
            let Some(was @ 0) = sysctl::get(Family::V4, dev, SETTING) else { continue };
            match sysctl::set(Family::V4, dev, SETTING, 1) {
                Ok(()) => drop(self.promoted.insert(dev.clone(), was)),
                Err(e) => tracing::warn!("{e}"),
            }
        }
        let idle: Vec<String> = self.promoted.keys().filter(|dev| !wanted.contains(*dev)).cloned().collect();
        for dev in idle {
            let was = self.promoted.remove(&dev).unwrap_or_default();
            sysctl::set(Family::V4, &dev, SETTING, was).unwrap_or_else(|e| tracing::warn!("{e}"));
        }
    }

    /// The groups that instances on an interface speak to, each once.
    fn groups(&self, (interface, transport): &(String, Transport)) -> Vec<IpAddr> {
        let here = self.entries.iter().map(|e| e.router.config());
        let here = here.filter(|c| c.hears_on() == interface && c.transport() == *transport);
        let mut groups: Vec<IpAddr> = here
            .filter_map(|c| match &c.destination {
                Destination::Multicast(group) => Some(*group),
                Destination::Unicast(_) => None,
            })
            .collect();
        groups.sort();
        groups.dedup();
        groups
    }

    /// The configured source address; or the interface's first address that is not a virtual one, over IPv6 its first
    /// link-local one (RFC 9568, 5.1.2.1).
    fn source_address(&self, cfg: &VrrpInstance, vips: &HashSet<IpAddr>) -> Option<IpAddr> {
        if let Some(source) = cfg.source {
            let there = || self.seen.addresses.values().any(|a| a.addr == source);
            return (!cfg.track_source || there()).then_some(source);
        }
        let index = self.seen.links.get(&cfg.interface)?.index;
        let fits = |a: &IpAddr| Family::of(*a) == cfg.family && matches!(a, IpAddr::V4(_)) | is_link_local(a);
        let on_it = || {
            let usable = self.seen.addresses.values().filter(move |a| a.ifindex == index && a.usable);
            usable.map(|a| a.addr).filter(fits)
        };
        let own = on_it().find(|a| !vips.contains(a));
        // An owner's virtual address is its interface's own.
        own.or_else(|| (cfg.priority == 255).then(|| on_it().next()).flatten())
    }
}

fn is_link_local(a: &IpAddr) -> bool {
    matches!(a, IpAddr::V6(a) if a.is_unicast_link_local())
}
