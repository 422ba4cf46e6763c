//! The reader: services and destinations as they are in the maps.

use std::collections::BTreeSet;

use evenkeel_core::answers::AnswerCounts;
use evenkeel_core::ipvs::Stats;
use evenkeel_core::model::{Protocol, ServerKey, ServiceKey};
use evenkeel_core::plan::{DestSpec, ServiceSpec, ServiceState, Services};

use super::abi::*;
use super::counters::read_stats;
use super::encoding::{active_half, dest_key_and_spec, service_key, service_spec};
use super::maps::Maps;
use super::service_table::EndpointKey;

/// The Ethernet next hop of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop {
    /// The output device.
    pub ifindex: u32,
    /// The destination MAC address: the next hop's.
    pub dmac: [u8; 6],
    /// The source MAC address: the output device's.
    pub smac: [u8; 6],
}

/// A destination as it is in the maps.
#[derive(Clone, Debug)]
pub struct DestRecord {
    /// Its index in the map.
    pub id: u32,
    /// Its address and port.
    pub key: ServerKey,
    /// Its weight, forwarding method and thresholds.
    pub spec: DestSpec,
    /// Active connections.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
    /// It has more connections than its upper threshold, and gets no new ones.
    pub overload: bool,
    /// Its next hop, if that is known.
    pub hop: Option<NextHop>,
    /// Its path MTU in bytes, less what a tunnel adds; 0 if unknown.
    pub mtu: u32,
    /// The destination is this director.
    pub local: bool,
    /// Connections, packets and bytes since the counters were cleared.
    pub stats: Stats,
}

/// A service as it is in the maps.
#[derive(Clone, Debug)]
pub struct ServiceRecord {
    /// Its protocol, address and port, or its firewall mark.
    pub key: ServiceKey,
    /// Its scheduler, flags and persistence.
    pub spec: ServiceSpec,
    /// Its packets are balanced; otherwise they pass to the kernel.
    pub active: bool,
    /// Connections, packets and bytes since the counters were cleared.
    pub stats: Stats,
    /// Its destinations, newest first, which is the kernel's order.
    pub dests: Vec<DestRecord>,
}

impl Maps {
    /// The destination indices in `len` words of `lists` from `base` on.
    pub(super) fn read_list(&self, base: u32, len: u32) -> Vec<u32> {
        let end = base.saturating_add(len).min(self.lists.len() as u32);
        (base..end).map(|i| self.lists.read(i as usize)).collect()
    }

    /// The destination indices in the active half of a service, newest first.
    pub(super) fn active_dests(&self, s: &service) -> Vec<u32> {
        let half = active_half(s);
        let mut ids = self.read_list(half.list_base, half.list_len);
        ids.retain(|&id| (id as usize) < self.dests.len());
        ids
    }

    /// All services with their indices.
    pub(super) fn live_services(&self) -> impl Iterator<Item = (u32, service)> {
        (0..self.services.len()).map(|i| (i as u32, self.services.read(i))).filter(|(_, s)| s.flags & SERVICE_LIVE != 0)
    }

    /// All services and their destinations, oldest first, as plans compare them.
    pub fn observe_services(&self) -> Services {
        let (mut all, external) = self.observe_by_owner();
        all.extend(external);
        all
    }

    /// As [`Maps::observe_services`], in two parts: the services of a daemon's configuration, and external services,
    /// which ipvsadm has added.
    pub fn observe_by_owner(&self) -> (Services, Services) {
        let (mut configured, mut external) = (Services::new(), Services::new());
        for (_, s) in self.live_services() {
            let Some(key) = service_key(&s) else { continue };
            let part = if s.flags & SERVICE_EXTERNAL != 0 { &mut external } else { &mut configured };
            part.insert(key, self.service_state(&s));
        }
        (configured, external)
    }

    /// One service, as plans compare it.
    pub fn observe_service(&self, key: ServiceKey) -> Option<ServiceState> {
        self.find_service(key).map(|(_, s)| self.service_state(&s))
    }

    fn find_service(&self, key: ServiceKey) -> Option<(u32, service)> {
        let index = self.service_table.find(EndpointKey::from_service(key))?;
        Some((index, self.services.read(index as usize)))
    }

    fn service_state(&self, s: &service) -> ServiceState {
        let oldest_first = self.active_dests(s).into_iter().rev();
        let dests = oldest_first.map(|id| dest_key_and_spec(&self.dests.read(id as usize))).collect();
        ServiceState { spec: service_spec(s), dests }
    }

    /// The external services: those that ipvsadm has added.
    pub fn external_services(&self) -> BTreeSet<ServiceKey> {
        let external = self.live_services().filter(|(_, s)| s.flags & SERVICE_EXTERNAL != 0);
        external.filter_map(|(_, s)| service_key(&s)).collect()
    }

    /// All services with their destinations, counters and next hops, in the order of their keys.
    pub fn service_records(&self) -> Vec<ServiceRecord> {
        let mut out: Vec<ServiceRecord> = self.live_services().filter_map(|(i, s)| self.read_service(i, &s)).collect();
        out.sort_by_key(|s| s.key);
        out
    }

    /// One service with its destinations, counters and next hops.
    pub fn service_record(&self, key: ServiceKey) -> Option<ServiceRecord> {
        self.find_service(key).and_then(|(index, s)| self.read_service(index, &s))
    }

    fn read_service(&self, index: u32, s: &service) -> Option<ServiceRecord> {
        let dests = self.active_dests(s).into_iter().map(|id| self.read_dest(id)).collect();
        let stats = read_stats(&self.service_stats, index);
        let active = s.flags & SERVICE_INACTIVE == 0;
        Some(ServiceRecord { key: service_key(s)?, spec: service_spec(s), active, stats, dests })
    }

    /// The connections of each server, as far as their protocol has a handshake.
    pub fn answer_counts(&self) -> Vec<((ServiceKey, ServerKey), AnswerCounts)> {
        let mut out = Vec::new();
        for (_, s) in self.live_services() {
            let Some(service) = service_key(&s).filter(|k| k.fwmark != 0 || k.protocol != Protocol::Udp) else {
                continue;
            };
            for id in self.active_dests(&s) {
                let d = self.dests.read(id as usize);
                let counts = AnswerCounts { new: d.created, answered: d.answered, retried: d.retried };
                out.push(((service, dest_key_and_spec(&d).0), counts));
            }
        }
        out
    }

    fn read_dest(&self, id: u32) -> DestRecord {
        let d = self.dests.read(id as usize);
        let (key, spec) = dest_key_and_spec(&d);
        let hop = match d.hop {
            n @ (1 | 2) => Some(d.hops[n as usize - 1]),
            _ => None,
        };
        DestRecord {
            id,
            key,
            spec,
            active: d.active,
            inactive: d.inactive,
            persistent: d.persistent,
            overload: d.overload != 0,
            hop: hop.map(|h| NextHop { ifindex: h.ifindex & !EK_HOP_VLAN, dmac: h.dmac, smac: h.smac }),
            mtu: d.mtu,
            local: d.hop == HOP_LOCAL,
            stats: read_stats(&self.dest_stats, id),
        }
    }

    /// The firewall mark of a destination's service; 0 if the service has none.
    pub(super) fn mark_of_dest(&self, id: u32) -> u32 {
        if id as usize >= self.dests.len() {
            return 0;
        }
        let service = self.dests.read(id as usize).service as usize;
        if service < self.services.len() { self.services.read(service).mark } else { 0 }
    }

    /// The address and port of a destination, also of one that was removed from its service.
    pub fn dest_key(&self, id: u32) -> Option<ServerKey> {
        ((id as usize) < self.dests.len()).then(|| dest_key_and_spec(&self.dests.read(id as usize)).0)
    }
}
