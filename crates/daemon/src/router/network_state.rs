//! The network's state as input of the engines: links, source addresses, tracked interfaces and static objects. Also
//! the ports, which follow the devices.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use evenkeel_core::model::{AdvertDestination, Family, TrackResult, TrackedObject, VipSpec, Vrid, VrrpInstance};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::Input;
use evenkeel_sys::clock;
use evenkeel_sys::wire::VrrpSocket;

use super::thread::{Port, PortKey, RouterThread};

/// Receive buffer for adverts of unknown VRIDs, bytes: some hundred adverts.
const UNKNOWN_SOCKET_BUFFER: usize = 256 << 10;

fn port_key(cfg: &VrrpInstance) -> PortKey {
    (cfg.receive_device().to_owned(), cfg.transport())
}

impl RouterThread {
    /// Gives the observed links and addresses to the engines, opens ports, and puts back addresses that somebody
    /// removed.
    pub(super) fn apply_network_state(&mut self) {
        let ports: BTreeSet<PortKey> = self.entries.iter().map(|e| port_key(e.router.config())).collect();
        for key in ports {
            self.update_port(&key);
        }
        let now = clock::now();
        let vips: HashSet<IpAddr> =
            self.entries.iter().flat_map(|e| e.router.config().all_vips()).map(|v| v.addr).collect();
        for i in 0..self.entries.len() {
            self.update_links(i, &vips, now);
            self.apply_bfd_states(i);
            self.apply_outputs(i);
            self.update_will(i);
        }
        self.reconcile_addresses();
        self.report_static_objects();
    }

    /// Opens a port again if its device or its multicast groups changed, and closes it if the device is gone.
    fn update_port(&mut self, key: &PortKey) {
        let Some(link) = self.observed.links.get(&key.0) else {
            self.ports.remove(key);
            return;
        };
        let groups = self.multicast_groups(key);
        if self.ports.get(key).is_none_or(|p| p.ifindex != link.index || p.socket.groups() != groups) {
            match VrrpSocket::new(key.1, &key.0, link.index, &groups) {
                Ok(socket) => {
                    let unknown_socket = VrrpSocket::new(key.1, &key.0, link.index, &[]).ok();
                    let port = Port { ifindex: link.index, socket, routers: BTreeMap::new(), unknown_socket };
                    self.ports.insert(key.clone(), port);
                }
                Err(e) => tracing::error!(device = %key.0, "{e}"),
            }
        }
        let here = self.entries.iter().enumerate().filter(|(_, e)| port_key(e.router.config()) == *key);
        let routers: BTreeMap<Vrid, usize> = here.map(|(i, e)| (e.router.config().vrid, i)).collect();
        let Some(port) = self.ports.get_mut(key) else { return };
        if !port.routers.keys().eq(routers.keys()) {
            let vrids: Vec<u8> = routers.keys().map(|v| v.get()).collect();
            let unknown = port.unknown_socket.iter().map(|s| {
                s.set_receive_buffer(UNKNOWN_SOCKET_BUFFER);
                s.set_vrid_filter(&vrids, true)
            });
            for e in unknown.chain([port.socket.set_vrid_filter(&vrids, false)]).filter_map(Result::err) {
                tracing::warn!(device = %key.0, "{e}");
            }
        }
        port.routers = routers;
    }

    /// Gives an engine the state of its link, its source address and the interfaces that it tracks.
    fn update_links(&mut self, i: usize, vips: &HashSet<IpAddr>, now: Instant) {
        let cfg = self.entries[i].router.config();
        let mut is_up = |name: &str| {
            let is_running = self.observed.links.get(name).is_some_and(|l| l.running);
            self.link_debounce.update_link(now, name, is_running)
        };
        let link_up = is_up(&cfg.interface)
            && cfg.vmac.as_ref().is_none_or(|v| is_up(&v.name))
            && self.ports.contains_key(&port_key(cfg));
        let tracked = cfg.tracks.iter().filter_map(|t| match &t.object {
            TrackedObject::Interface(name) => Some((t.object.clone(), TrackResult::Good(is_up(name)))),
            _ => None,
        });
        let tracked: Vec<(TrackedObject, TrackResult)> = tracked.collect();
        let source = self.source_address(cfg, vips);
        let router = &mut self.entries[i].router;
        router.handle(now, Input::Link(link_up));
        router.handle(now, Input::SourceAddress(source));
        for (object, result) in &tracked {
            router.handle(now, Input::TrackResult { object, result: *result });
        }
    }

    /// Tells the instances that track static addresses, routes and rules whether each exists.
    pub(super) fn report_static_objects(&mut self) {
        let now = clock::now();
        let exists = |v: &VipSpec| (TrackedObject::Address(v.to_string()), self.observed.has_address(v));
        let mut all: Vec<(TrackedObject, bool)> = self.statics.addresses.iter().map(exists).collect();
        all.extend(self.static_routes());
        for (object, exists) in all {
            for i in 0..self.entries.len() {
                let result = TrackResult::Good(exists);
                self.entries[i].router.handle(now, Input::TrackResult { object: &object, result });
                self.apply_outputs(i);
            }
        }
    }

    /// The multicast groups of a port's instances, each once.
    fn multicast_groups(&self, key: &PortKey) -> Vec<IpAddr> {
        let here = self.entries.iter().map(|e| e.router.config()).filter(|c| port_key(c) == *key);
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

    /// The source address of an instance's adverts: the configured one; otherwise the interface's primary address, which is
    /// the first one in the kernel's order that is not virtual, over IPv6 the first link-local one (RFC 9568, 5.1.2.1).
    fn source_address(&self, cfg: &VrrpInstance, vips: &HashSet<IpAddr>) -> Option<IpAddr> {
        if let Some(source) = cfg.source_address {
            let exists = || self.observed.addresses.values().any(|a| a.addr == source);
            return (!cfg.track_source || exists()).then_some(source);
        }
        let index = self.observed.links.get(&cfg.interface)?.index;
        let is_candidate = |a: &IpAddr| Family::from_addr(*a) == cfg.family && (a.is_ipv4() || is_link_local(a));
        let in_order = self.observed.addresses_in_order.get(&index).map_or(&[][..], Vec::as_slice);
        let candidates = || in_order.iter().copied().filter(is_candidate);
        let own = candidates().find(|a| !vips.contains(a));
        // An address owner's virtual addresses are the interface's own.
        own.or_else(|| (cfg.priority == 255).then(|| candidates().next()).flatten())
    }
}

fn is_link_local(a: &IpAddr) -> bool {
    matches!(a, IpAddr::V6(a) if a.is_unicast_link_local())
}
