//! Services and real servers in the maps: observing them, and applying steps to them.

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::Ordering;

use evenkeel_core::model::{ForwardingMethod, Persistence, Protocol, Scheduler, ServerKey, ServiceKey, Weight};
use evenkeel_core::plan::{DestSpec, ServiceSpec, ServiceState, Services, Step};
use evenkeel_core::schedulers::{self, Place, Server, Walked};
use libbpf_rs::{MapCore, MapFlags, MapHandle, num_possible_cpus};

use super::abi::*;
use super::lists::Ranges;
use super::load::{Loaded, Maps};
use super::slots::{self, addr_of_wire, wire_addr};
use crate::{Error, Result};

/// How a packet reaches its next hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop {
    /// The device it leaves by.
    pub ifindex: u32,
    /// The next hop's address.
    pub dmac: [u8; 6],
    /// The device's own.
    pub smac: [u8; 6],
}

/// A destination as it is in the maps.
#[derive(Clone, Debug)]
pub struct DestView {
    /// Its index in the map.
    pub id: u32,
    /// Its name.
    pub key: ServerKey,
    /// What it is.
    pub spec: DestSpec,
    /// Active connections.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
    /// Closed by its upper threshold.
    pub overload: bool,
    /// Where its packets go.
    pub hop: Option<NextHop>,
    /// Connections, packets and bytes so far.
    pub stats: Stats,
}

/// A service as it is in the maps.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Its name.
    pub key: ServiceKey,
    /// What it is.
    pub spec: ServiceSpec,
    /// Connections, packets and bytes so far.
    pub stats: Stats,
    /// Newest first, the kernel's order.
    pub dests: Vec<DestView>,
}

/// Numbers since the service or server was made.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Connections scheduled.
    pub conns: u64,
    /// Packets towards real servers.
    pub in_packets: u64,
    /// Bytes of those IP packets.
    pub in_bytes: u64,
}

/// Names of enum reason, in its order.
pub const REASON_NAMES: [&str; REASONS as usize] = [
    "not_ours",
    "forwarded",
    "fragment",
    "not_first",
    "no_server",
    "dest_gone",
    "no_next_hop",
    "ttl",
    "table_full",
    "race",
];

fn key_of(s: &service) -> Option<ServiceKey> {
    Some(ServiceKey {
        protocol: Protocol::from_number(s.protocol)?,
        addr: addr_of_wire(s.addr),
        port: u16::from_be(s.port),
    })
}

fn scheduler_of(n: u8) -> Scheduler {
    match u32::from(n) {
        SCHED_RR => Scheduler::Rr,
        SCHED_WRR => Scheduler::Wrr,
        _ => Scheduler::Wlc,
    }
}

fn scheduler_number(s: Scheduler) -> u8 {
    (match s {
        Scheduler::Rr => SCHED_RR,
        Scheduler::Wrr => SCHED_WRR,
        Scheduler::Wlc => SCHED_WLC,
    }) as u8
}

fn spec_of(s: &service) -> ServiceSpec {
    let persistence = (s.flags & SERVICE_PERSISTENT != 0)
        .then(|| Persistence { timeout_s: s.persist_seconds, mask: addr_of_wire(s.persist_mask) });
    ServiceSpec { scheduler: scheduler_of(s.scheduler), persistence }
}

fn server_of(d: &dest) -> (ServerKey, DestSpec) {
    let key = ServerKey { addr: addr_of_wire(d.addr), port: u16::from_be(d.port) };
    let weight = Weight::new(d.weight.max(0) as u32).unwrap_or(Weight::QUIESCED);
    let spec =
        DestSpec { weight, method: ForwardingMethod::Dr, u_threshold: d.u_threshold, l_threshold: d.l_threshold };
    (key, spec)
}

/// The half of a service that is in force.
fn in_force(s: &service) -> &service_half {
    &s.half[(s.generation & 1) as usize]
}

impl Maps {
    fn list(&self, base: u32, len: u32) -> Vec<u32> {
        let end = base.saturating_add(len).min(self.lists.len() as u32);
        (base..end).map(|i| self.lists.get(i as usize)).collect()
    }

    fn live_services(&self) -> impl Iterator<Item = (u32, service)> {
        (0..self.services.len()).map(|i| (i as u32, self.services.get(i))).filter(|(_, s)| s.flags & SERVICE_LIVE != 0)
    }

    /// The services and their destinations, oldest first, as plans compare them.
    pub fn observe(&self) -> Services {
        let mut out = BTreeMap::new();
        for (_, s) in self.live_services() {
            let Some(key) = key_of(&s) else { continue };
            let half = in_force(&s);
            let mut ids = self.list(half.list_base, half.list_len);
            ids.reverse();
            let dests = ids
                .iter()
                .filter(|&&i| (i as usize) < self.dests.len())
                .map(|&i| server_of(&self.dests.get(i as usize)));
            out.insert(key, ServiceState { spec: spec_of(&s), dests: dests.collect() });
        }
        out
    }

    /// The services with everything that there is to see of them, in the order of their keys.
    pub fn view(&self) -> Vec<ServiceView> {
        let mut out: Vec<ServiceView> = Vec::new();
        for (index, s) in self.live_services() {
            let Some(key) = key_of(&s) else { continue };
            let half = in_force(&s);
            let ids = self.list(half.list_base, half.list_len);
            let dests = ids.iter().filter(|&&i| (i as usize) < self.dests.len()).map(|&id| self.view_dest(id));
            let stats = stats(&self.service_stats, index);
            out.push(ServiceView { key, spec: spec_of(&s), stats, dests: dests.collect() });
        }
        out.sort_by_key(|s| s.key);
        out
    }

    fn view_dest(&self, id: u32) -> DestView {
        let d = self.dests.get(id as usize);
        let (key, spec) = server_of(&d);
        let hop = match d.hop {
            n @ (1 | 2) => Some(d.hops[n as usize - 1]),
            _ => None,
        };
        DestView {
            id,
            key,
            spec,
            active: d.active,
            inactive: d.inactive,
            persistent: d.persistent,
            overload: d.overload != 0,
            hop: hop.map(|h| NextHop { ifindex: h.ifindex, dmac: h.dmac, smac: h.smac }),
            stats: stats(&self.dest_stats, id),
        }
    }

    /// How many packets went where, by reason.
    pub fn reasons(&self) -> Vec<(&'static str, u64)> {
        let count = |i: usize| {
            let cpus = self.reasons.lookup_percpu(&(i as u32).to_ne_bytes(), MapFlags::ANY).ok().flatten();
            let word = |v: &Vec<u8>| v.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes);
            cpus.map_or(0, |cpus| cpus.iter().map(word).sum())
        };
        REASON_NAMES.iter().enumerate().map(|(i, name)| (*name, count(i))).collect()
    }

    /// Address and port of a destination, whether it is still in service or not.
    pub fn dest_key(&self, id: u32) -> Option<ServerKey> {
        ((id as usize) < self.dests.len()).then(|| server_of(&self.dests.get(id as usize)).0)
    }
}

fn stats(map: &MapHandle, index: u32) -> Stats {
    let Ok(Some(cpus)) = map.lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY) else { return Stats::default() };
    let mut sum = Stats::default();
    for v in cpus {
        let word = |i: usize| v.get(i..i + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes);
        sum.conns += word(offset_of!(counters, conns));
        sum.in_packets += word(offset_of!(counters, in_packets));
        sum.in_bytes += word(offset_of!(counters, in_bytes));
    }
    sum
}

fn clear_stats(map: &MapHandle, index: u32) {
    let zero = vec![vec![0u8; size_of::<counters>()]; num_possible_cpus().unwrap_or(1)];
    if let Err(e) = map.update_percpu(&index.to_ne_bytes(), &zero, MapFlags::ANY) {
        tracing::debug!("clear statistics {index}: {e}");
    }
}

/// The data plane: the program, and what is changed in its maps.
pub struct XdpPlane {
    /// The program and its maps.
    pub loaded: Loaded,
    // What is free; read off the maps once, as this process is their only writer.
    ranges: Ranges,
    free_services: Vec<u32>,
    free_dests: Vec<u32>,
    /// Destinations out of service, whose connections may not have ended yet.
    trash: Vec<u32>,
}

/// A service while steps are applied to it.
struct Editing {
    index: u32,
    list: Vec<u32>,
    removed: Vec<u32>,
    scheduler: Scheduler,
    place: Place,
}

impl XdpPlane {
    /// Loads or adopts; see [`Loaded::load`].
    pub fn load(dir: &Path, conn_entries: u32) -> Result<XdpPlane> {
        let loaded = Loaded::load(dir, conn_entries)?;
        let mut ranges = Ranges::new(loaded.maps.lists.len() as u32);
        for (_, s) in loaded.maps.live_services() {
            for half in &s.half {
                ranges.take(half.list_base, half.list_len + half.table_len);
            }
        }
        let maps = &loaded.maps;
        let indices = |n: usize| (0..n as u32).rev();
        let live = |i: &u32| maps.services.get(*i as usize).flags & SERVICE_LIVE != 0;
        let flags = |i: &u32| maps.dests.get(*i as usize).flags;
        let free_services = indices(maps.services.len()).filter(|i| !live(i)).collect();
        let free_dests = indices(maps.dests.len()).filter(|i| flags(i) & DEST_LIVE == 0).collect();
        let trash = indices(maps.dests.len()).filter(|i| flags(i) == DEST_LIVE).collect();
        Ok(XdpPlane { loaded, ranges, free_services, free_dests, trash })
    }

    /// Destinations that nothing refers to any more are free again.
    fn empty_trash(&mut self) {
        let dests = &self.loaded.maps.dests;
        let (kept, freed): (Vec<u32>, Vec<u32>) = std::mem::take(&mut self.trash).into_iter().partition(|&i| {
            let d = dests.get(i as usize);
            (d.active | d.inactive | d.persistent) != 0
        });
        self.trash = kept;
        for i in freed {
            dests.word(i as usize, offset_of!(dest, flags)).store(0, Ordering::Release);
            self.free_dests.push(i);
        }
    }

    fn discard(&mut self, id: u32) {
        let flags = self.loaded.maps.dests.word(id as usize, offset_of!(dest, flags));
        flags.store(DEST_LIVE, Ordering::Release);
        self.trash.push(id);
    }

    /// The maps.
    pub fn maps(&self) -> &Maps {
        &self.loaded.maps
    }

    /// Applies steps in their order. A service's changes come into force at once, all together. What fails is told and
    /// the rest is done; the next comparison finds what is missing.
    pub fn apply(&mut self, steps: &[Step]) -> Vec<Error> {
        let mut errors = Vec::new();
        let mut rest = steps;
        while let Some(first) = rest.first() {
            let n = rest.iter().take_while(|s| s.service() == first.service()).count();
            let (now, later) = rest.split_at(n);
            if let Err(e) = self.apply_to_service(first.service(), now) {
                errors.push(e);
            }
            rest = later;
        }
        errors
    }

    fn apply_to_service(&mut self, key: ServiceKey, steps: &[Step]) -> Result<()> {
        let mut editing: Option<Editing> = None;
        for step in steps {
            match *step {
                Step::AddService(_, spec) => self.add_service(key, spec)?,
                Step::RemoveService(_) => {
                    self.remove_service(key);
                    editing = None;
                }
                _ => {
                    let e = match &mut editing {
                        Some(e) => e,
                        none => none.insert(self.edit(key)?),
                    };
                    let before = self.weights(&e.list);
                    self.step(e, step)?;
                    if !matches!(step, Step::EditService(..)) {
                        e.place = schedulers::change(e.scheduler, e.place, &before, &self.weights(&e.list));
                    }
                }
            }
        }
        match editing {
            Some(e) => self.commit(e),
            None => Ok(()),
        }
    }

    fn edit(&self, key: ServiceKey) -> Result<Editing> {
        let maps = self.maps();
        let index = slots::find(&maps.slots, key);
        let index = index.ok_or_else(|| Error::new(format!("change service {key}"), "there is no such service"))?;
        let s = maps.services.get(index as usize);
        let half = in_force(&s);
        let list = maps.list(half.list_base, half.list_len);
        let walked = Walked { next: half.next, start: half.start, place: half.place };
        let scheduler = scheduler_of(s.scheduler);
        let place = schedulers::place(scheduler, &self.weights(&list), walked);
        Ok(Editing { index, list, removed: Vec::new(), scheduler, place })
    }

    fn weights(&self, list: &[u32]) -> Vec<Server> {
        let weight = |id: u32| self.maps().dests.get(id as usize).weight.max(0) as u32;
        list.iter().map(|&id| Server { id, weight: weight(id) }).collect()
    }

    fn step(&mut self, e: &mut Editing, step: &Step) -> Result<()> {
        let maps = &self.loaded.maps;
        let named = |list: &[u32], key: ServerKey| {
            list.iter().copied().find(|&id| server_of(&maps.dests.get(id as usize)).0 == key)
        };
        match *step {
            Step::EditService(_, spec) => {
                let mut s = maps.services.get(e.index as usize);
                set_spec(&mut s, spec, maps.hz());
                maps.services.put(e.index as usize, offset_of!(service, scheduler), s.scheduler);
                maps.services.put(e.index as usize, offset_of!(service, persist_mask), s.persist_mask);
                maps.services.put(e.index as usize, offset_of!(service, persist_seconds), s.persist_seconds);
                maps.services.put(e.index as usize, offset_of!(service, persist_timeout), s.persist_timeout);
                maps.services.word(e.index as usize, offset_of!(service, flags)).store(s.flags, Ordering::Release);
                // Another scheduler begins from its own beginning.
                e.scheduler = spec.scheduler;
                e.place = schedulers::change(e.scheduler, 0, &[], &self.weights(&e.list));
            }
            Step::AddDest(service, key, spec) => {
                if named(&e.list, key).is_some() {
                    return Err(Error::new(format!("add {key} to {service}"), "it is there already"));
                }
                let id = self.new_dest(e.index, key, spec)?;
                e.list.insert(0, id);
                e.removed.retain(|&r| r != id);
            }
            Step::EditDest(service, key, spec) => {
                let id = named(&e.list, key)
                    .ok_or_else(|| Error::new(format!("change {key} of {service}"), "there is no such server"))?;
                let d = maps.dests.get(id as usize);
                let put = |offset, value: u32| maps.dests.word(id as usize, offset).store(value, Ordering::Release);
                put(offset_of!(dest, weight), spec.weight.get());
                put(offset_of!(dest, l_threshold), spec.l_threshold);
                // __ip_vs_update_dest(): a threshold that is lifted or raised opens the server at once.
                if spec.u_threshold == 0 || spec.u_threshold > d.u_threshold {
                    put(offset_of!(dest, overload), 0);
                }
                put(offset_of!(dest, u_threshold), spec.u_threshold);
            }
            Step::RemoveDest(service, key) => {
                let id = named(&e.list, key)
                    .ok_or_else(|| Error::new(format!("remove {key} from {service}"), "there is no such server"))?;
                e.list.retain(|&i| i != id);
                e.removed.push(id);
            }
            Step::AddService(..) | Step::RemoveService(_) => {}
        }
        Ok(())
    }

    /// Writes list and table into the half that is not in force, and flips.
    fn commit(&mut self, e: Editing) -> Result<()> {
        let table = schedulers::table(e.scheduler, &self.weights(&e.list), e.place);
        let s = self.maps().services.get(e.index as usize);
        let other = ((s.generation & 1) ^ 1) as usize;
        let old = s.half[other];
        self.ranges.free(old.list_base, old.list_len + old.table_len);
        let (list_len, table_len) = (e.list.len() as u32, table.entries.len() as u32);
        let base = self.ranges.alloc(list_len + table_len).ok_or_else(|| {
            Error::new("write a service's server list", format!("no room for {} words", list_len + table_len))
        })?;
        let maps = self.maps();
        for (i, id) in e.list.iter().chain(&table.entries).enumerate() {
            maps.lists.set(base as usize + i, *id);
        }
        let half = service_half {
            list_base: base,
            list_len,
            table_base: base + list_len,
            table_len,
            next: table.start,
            start: table.start,
            place: e.place,
            unused: 0,
        };
        maps.services.put(e.index as usize, offset_of!(service, half) + other * size_of::<service_half>(), half);
        let generation = maps.services.word(e.index as usize, offset_of!(service, generation));
        generation.store(s.generation.wrapping_add(1), Ordering::Release);
        for id in e.removed {
            self.discard(id);
        }
        Ok(())
    }

    fn add_service(&mut self, key: ServiceKey, spec: ServiceSpec) -> Result<()> {
        let maps = &self.loaded.maps;
        let what = || format!("add service {key}");
        if slots::find(&maps.slots, key).is_some() {
            return Err(Error::new(what(), "it is there already"));
        }
        // A service that was removed is found again by its servers, if these still wait for connections to end; until
        // then its place is nobody else's.
        self.empty_trash();
        let maps = &self.loaded.maps;
        let waiting = |i: u32| self.trash.iter().any(|&d| maps.dests.get(d as usize).service == i);
        let again = |i: u32| key_of(&maps.services.get(i as usize)) == Some(key) && waiting(i);
        let place = self.free_services.iter().rposition(|&i| again(i));
        let place = place.or_else(|| self.free_services.iter().rposition(|&i| !waiting(i)));
        let place = place.ok_or_else(|| Error::new(what(), format!("there are {EK_MAX_SERVICES} already")))?;
        let index = self.free_services.remove(place);
        let mut s = service {
            addr: wire_addr(key.addr),
            port: key.port.to_be(),
            protocol: key.protocol.number(),
            ..Default::default()
        };
        set_spec(&mut s, spec, maps.hz());
        maps.services.set(index as usize, s);
        clear_stats(&maps.service_stats, index);
        if !slots::insert(&maps.slots, key, index) {
            maps.services.word(index as usize, offset_of!(service, flags)).store(0, Ordering::Release);
            self.free_services.push(index);
            return Err(Error::new(what(), "its place in the service table is crowded"));
        }
        self.note_port_zero(key.port);
        Ok(())
    }

    fn remove_service(&mut self, key: ServiceKey) {
        let maps = &self.loaded.maps;
        let Some(index) = slots::find(&maps.slots, key) else { return };
        slots::remove(&maps.slots, key);
        let s = maps.services.get(index as usize);
        let half = in_force(&s);
        for id in maps.list(half.list_base, half.list_len) {
            self.discard(id);
        }
        for half in &s.half {
            self.ranges.free(half.list_base, half.list_len + half.table_len);
        }
        let maps = &self.loaded.maps;
        maps.services.put(index as usize, offset_of!(service, half), [service_half::default(); 2]);
        maps.services.word(index as usize, offset_of!(service, flags)).store(0, Ordering::Release);
        self.free_services.push(index);
        self.note_port_zero(key.port);
    }

    /// The program looks for services on port 0 only if there are some.
    fn note_port_zero(&self, changed: u16) {
        if changed != 0 {
            return;
        }
        let any = self.maps().live_services().any(|(_, s)| s.port == 0);
        self.maps().settings.word(0, offset_of!(settings, any_port)).store(u32::from(any), Ordering::Release);
    }

    /// The entry for a new destination: the one that it had before, if it still waits for its connections to end
    /// (ip_vs_trash_get_dest()), else a free one.
    fn new_dest(&mut self, service: u32, key: ServerKey, spec: DestSpec) -> Result<u32> {
        let (addr, port) = (wire_addr(key.addr), key.port.to_be());
        let same = |maps: &Maps, i: u32| {
            let d = maps.dests.get(i as usize);
            (d.service, d.addr, d.port) == (service, addr, port)
        };
        let again = self.trash.iter().position(|&i| same(&self.loaded.maps, i));
        let i = match again {
            Some(at) => self.trash.swap_remove(at) as usize,
            None => {
                if self.free_dests.is_empty() {
                    self.empty_trash();
                }
                let full =
                    || Error::new(format!("add {key}"), format!("there are {EK_MAX_DESTS} real servers already"));
                let i = self.free_dests.pop().ok_or_else(full)? as usize;
                let maps = &self.loaded.maps;
                maps.dests.set(i, dest { addr, port, service, method: FORWARD_DR as u8, ..Default::default() });
                clear_stats(&maps.dest_stats, i as u32);
                i
            }
        };
        let maps = &self.loaded.maps;
        let put = |offset, value: u32| maps.dests.word(i, offset).store(value, Ordering::Release);
        put(offset_of!(dest, weight), spec.weight.get());
        put(offset_of!(dest, u_threshold), spec.u_threshold);
        put(offset_of!(dest, l_threshold), spec.l_threshold);
        put(offset_of!(dest, flags), DEST_LIVE | DEST_AVAILABLE);
        Ok(i as u32)
    }

    /// The addresses of all destinations in service, for whoever resolves their next hops.
    pub fn dest_addresses(&self) -> Vec<(u32, Ipv4Addr)> {
        let maps = self.maps();
        let mut out = Vec::new();
        for (_, s) in maps.live_services() {
            let half = in_force(&s);
            let ids = maps.list(half.list_base, half.list_len);
            out.extend(ids.iter().map(|&id| (id, addr_of_wire(maps.dests.get(id as usize).addr))));
        }
        out
    }

    /// Where a destination's packets go from now on. True if that is news.
    pub fn set_hop(&self, id: u32, hop: Option<NextHop>) -> bool {
        let maps = self.maps();
        let d = maps.dests.get(id as usize);
        let have = matches!(d.hop, 1 | 2).then(|| d.hops[d.hop as usize - 1]);
        let have = have.map(|h| NextHop { ifindex: h.ifindex, dmac: h.dmac, smac: h.smac });
        if have == hop {
            return false;
        }
        let word = maps.dests.word(id as usize, offset_of!(dest, hop));
        match hop {
            None => word.store(0, Ordering::Release),
            Some(h) => {
                let other = if d.hop == 1 { 2 } else { 1 };
                let value = next_hop { ifindex: h.ifindex, dmac: h.dmac, smac: h.smac };
                maps.dests.put(id as usize, offset_of!(dest, hops) + (other - 1) * size_of::<next_hop>(), value);
                word.store(other as u32, Ordering::Release);
            }
        }
        true
    }
}

fn set_spec(s: &mut service, spec: ServiceSpec, hz: u32) {
    s.scheduler = scheduler_number(spec.scheduler);
    s.flags = SERVICE_LIVE;
    (s.persist_mask, s.persist_seconds, s.persist_timeout) = (0, 0, 0);
    if let Some(p) = spec.persistence {
        s.flags |= SERVICE_PERSISTENT;
        s.persist_mask = wire_addr(p.mask);
        s.persist_seconds = p.timeout_s;
        // Times are compared by signed difference.
        s.persist_timeout = p.timeout_s.saturating_mul(hz).min(i32::MAX as u32 / 2);
    }
}
