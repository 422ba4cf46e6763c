//! A configuration, devices and addresses to engines and their sockets.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use evenkeel_core::model::{
    AdvertDestination, Family, SyncGroup, TrackResult, TrackedObject, Transport, VipSpec, Vrid, VrrpInstance,
};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::{Input, PreviousState, Router};
use evenkeel_sys::clock;
use evenkeel_sys::sysctl;
use evenkeel_sys::wire::VrrpSocket;

use super::{Port, RouterConfig, RouterEntry, RouterThread, mastership_key};

/// Room for strangers' adverts, bytes: some hundred.
const UNKNOWN_SOCKET_BUFFER: usize = 256 << 10;

impl RouterThread {
    pub(super) fn configure(&mut self, setup: RouterConfig) {
        let RouterConfig {
            instances,
            groups,
            bfd,
            announce_gaps: gaps,
            link_delays,
            statics,
            log_unknown_vrids: tells_strangers,
        } = setup;
        self.unknown_vrids.configure(tells_strangers);
        self.configure_bfd(&bfd);
        self.link_debounce.configure(link_delays);
        let promoting = instances.iter().filter(|i| i.promote_secondaries).flat_map(|i| i.all_vips());
        self.set_promote_secondaries(&promoting.map(|v| v.dev.clone()).collect());
        let old_statics = std::mem::replace(&mut self.statics, statics);
        let gone = |v: &&VipSpec| !self.statics.addresses.contains(v);
        let gone: Vec<VipSpec> = old_statics.addresses.iter().filter(gone).cloned().collect();
        self.remove_vips(&gone);
        let now = clock::now();
        self.has_routes = instances.iter().any(|i| !i.routes.is_empty() || !i.rules.is_empty());
        self.route_watch.set_enabled(!self.has_no_routes());
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
                if let Some(place) = e.will_slot {
                    self.will_store.store_will(place, None);
                    self.free_will_slots.push(place);
                }
                gone.push((e.router.clone(), e.owns_addresses));
            }
            stays
        });
        for (mut router, owns) in gone {
            self.send_final_outputs(&mut router, true); // while its port is still there
            let vips: Vec<VipSpec> = router.config().all_vips().cloned().collect();
            if !owns {
                self.remove_vips(&vips);
            }
        }
        self.deadlines.clear();
        self.ports.retain(|(name, t), _| instances.iter().any(|c| c.receive_device() == name && c.transport() == *t));
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
                    self.remove_vips(&dropped);
                    e.queued_deadline = None;
                    self.entries.push(e);
                }
                None => {
                    let key = mastership_key(&cfg);
                    fresh.push(self.entries.len());
                    let mut router = Router::new(cfg, now);
                    router.resume_sequence(clock::unix_seconds());
                    self.entries.push(RouterEntry {
                        router,
                        keeps_found_addresses: true,
                        owns_addresses: false,
                        key,
                        queued_deadline: None,
                        will_slot: None,
                    });
                }
            }
        }
        self.set_wall_clock();
        self.apply_network_state();
        for i in fresh {
            self.start_router(i, now);
        }
        if std::mem::take(&mut self.ignores_previous_state) {
            self.reconcile_addresses();
        }
        self.sync_groups(); // before anything is told, so that a group is told of first, as by keepalived
        for i in 0..self.entries.len() {
            self.apply_outputs(i);
        }
    }

    /// Starts a router; as master at once if it was one so short a time ago that no peer can have taken over.
    pub(super) fn start_router(&mut self, i: usize, now: Instant) {
        let e = &mut self.entries[i];
        let cfg = e.router.config();
        let patience = cfg.advert_int * u32::from(cfg.down_timer_adverts);
        let lately = |at: Instant| at <= now && now.duration_since(at) < patience;
        let past = if self.ignores_previous_state {
            PreviousState::Unknown
        } else if self.mastership.last_advert(e.key).is_some_and(lately) {
            PreviousState::Master
        } else if self.resigned.iter().any(|(key, at)| *key == e.key && lately(*at)) {
            PreviousState::Resigned
        } else {
            PreviousState::Unknown
        };
        e.keeps_found_addresses = cfg.all_vips().any(|v| self.observed.has_address(v)) && !self.ignores_previous_state;
        // What a crash left is not the host's own.
        e.owns_addresses =
            e.keeps_found_addresses && cfg.priority == 255 && self.mastership.last_advert(e.key).is_none();
        e.router.handle(now, Input::Start(past));
    }

    /// Tells the engines of devices and addresses; puts back what somebody took away.
    pub(super) fn apply_network_state(&mut self) {
        let wanted: BTreeSet<(String, Transport)> = self
            .entries
            .iter()
            .map(|e| e.router.config())
            .map(|c| (c.receive_device().to_owned(), c.transport()))
            .collect();
        for key in wanted {
            let Some(link) = self.observed.links.get(&key.0) else {
                self.ports.remove(&key);
                continue;
            };
            let groups = self.multicast_groups(&key);
            if self.ports.get(&key).is_none_or(|p| p.ifindex != link.index || p.socket.groups() != groups) {
                match VrrpSocket::new(key.1, &key.0, link.index, &groups) {
                    Ok(socket) => {
                        let strangers = VrrpSocket::new(key.1, &key.0, link.index, &[]).ok();
                        let port =
                            Port { ifindex: link.index, socket, routers: BTreeMap::new(), unknown_socket: strangers };
                        self.ports.insert(key.clone(), port);
                    }
                    Err(e) => tracing::error!("{e}"),
                }
            }
            let here = |e: &RouterEntry| {
                (e.router.config().receive_device() == key.0) && e.router.config().transport() == key.1
            };
            let routers = self.entries.iter().enumerate().filter(|(_, e)| here(e));
            let routers: BTreeMap<Vrid, usize> = routers.map(|(i, e)| (e.router.config().vrid, i)).collect();
            if let Some(port) = self.ports.get_mut(&key) {
                if !port.routers.keys().eq(routers.keys()) {
                    let known: Vec<u8> = routers.keys().map(|v| v.get()).collect();
                    let strangers = port.unknown_socket.iter().map(|s| {
                        s.set_receive_buffer(UNKNOWN_SOCKET_BUFFER);
                        s.set_vrid_filter(&known, true)
                    });
                    let heard = strangers.chain([port.socket.set_vrid_filter(&known, false)]);
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
                let is = self.observed.links.get(name).is_some_and(|l| l.running);
                self.link_debounce.update_link(now, name, is)
            };
            let up = running(&cfg.interface)
                && cfg.vmac.as_ref().is_none_or(|v| running(&v.name))
                && self.ports.contains_key(&(cfg.receive_device().to_owned(), cfg.transport()));
            let source = self.source_address(cfg, &vips);
            self.entries[i].router.handle(now, Input::Link(up));
            self.entries[i].router.handle(now, Input::SourceAddress(source));
            let tracked = self.entries[i].router.config().tracks.iter().map(|t| &t.object);
            let interfaces: Vec<TrackedObject> =
                tracked.filter(|o| matches!(o, TrackedObject::Interface(_))).cloned().collect();
            for object in interfaces {
                let TrackedObject::Interface(name) = &object else { continue };
                let is = self.observed.links.get(name).is_some_and(|l| l.running);
                let found = TrackResult::Good(self.link_debounce.update_link(now, name, is));
                self.entries[i].router.handle(now, Input::TrackResult { object: &object, result: found });
            }
            self.apply_bfd_states(i);
            self.apply_outputs(i);
            self.update_will(i);
        }
        self.reconcile_addresses();
        self.report_static_objects();
    }

    /// Tells those that track something static whether it is there.
    pub(super) fn report_static_objects(&mut self) {
        let now = clock::now();
        let there = |v: &VipSpec| (TrackedObject::Address(v.to_string()), self.observed.has_address(v));
        let mut all: Vec<(TrackedObject, bool)> = self.statics.addresses.iter().map(there).collect();
        all.extend(self.static_routes());
        for (object, good) in all {
            for i in 0..self.entries.len() {
                let found = TrackResult::Good(good);
                self.entries[i].router.handle(now, Input::TrackResult { object: &object, result: found });
                self.apply_outputs(i);
            }
        }
    }

    /// `promote_secondaries`: has the kernel keep the other addresses of these interfaces when their first goes
    /// (its ip-sysctl), and sets others to what they were.
    pub(super) fn set_promote_secondaries(&mut self, wanted: &BTreeSet<String>) {
        const SETTING: &str = "promote_secondaries";
        for dev in wanted {
            let Some(was @ 0) = sysctl::get_conf(Family::V4, dev, SETTING) else { continue };
            match sysctl::set_conf(Family::V4, dev, SETTING, 1) {
                Ok(()) => drop(self.saved_promote_secondaries.insert(dev.clone(), was)),
                Err(e) => tracing::warn!("{e}"),
            }
        }
        let idle: Vec<String> =
            self.saved_promote_secondaries.keys().filter(|dev| !wanted.contains(*dev)).cloned().collect();
        for dev in idle {
            let was = self.saved_promote_secondaries.remove(&dev).unwrap_or_default();
            sysctl::set_conf(Family::V4, &dev, SETTING, was).unwrap_or_else(|e| tracing::warn!("{e}"));
        }
    }

    /// The groups that instances on an interface speak to, each once.
    fn multicast_groups(&self, (interface, transport): &(String, Transport)) -> Vec<IpAddr> {
        let here = self.entries.iter().map(|e| e.router.config());
        let here = here.filter(|c| c.receive_device() == interface && c.transport() == *transport);
        let mut groups: Vec<IpAddr> = here
            .filter_map(|c| match &c.advert_destination {
                AdvertDestination::Multicast(group) => Some(*group),
                AdvertDestination::Unicast(_) => None,
            })
            .collect();
        groups.sort();
        groups.dedup();
        groups
    }

    /// The configured source address; or the interface's first address that is not a virtual one, over IPv6 its first
    /// link-local one (RFC 9568, 5.1.2.1).
    fn source_address(&self, cfg: &VrrpInstance, vips: &HashSet<IpAddr>) -> Option<IpAddr> {
        if let Some(source) = cfg.source_address {
            let there = || self.observed.addresses.values().any(|a| a.addr == source);
            return (!cfg.track_source || there()).then_some(source);
        }
        let index = self.observed.links.get(&cfg.interface)?.index;
        let fits = |a: &IpAddr| Family::from_addr(*a) == cfg.family && matches!(a, IpAddr::V4(_)) | is_link_local(a);
        let on_it = || {
            let usable = self.observed.addresses.values().filter(move |a| a.ifindex == index && a.usable);
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
