//! Applying steps to the maps: services, real servers, and the ways to them.

use std::fs::File;
use std::mem::{offset_of, size_of};
use std::net::IpAddr;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use evenkeel_core::model::{ForwardingMethod, Protocol, Scheduler, ServerKey, ServiceKey, Tuning};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_core::schedulers::{self, Server, WalkCursor, WalkPosition};
use nix::fcntl::{Flock, FlockArg};

use super::abi::*;
use super::packet_path::Maps;
use super::ranges::Ranges;
use super::reader::{
    NextHop, active_half, clear_stats, dest_key_and_spec, new_dest, service_key, set_method, tunnel_overhead,
    write_service_spec,
};
use super::service_table::{EndpointKey, family_number, from_wire_addr, to_wire_addr};
use crate::{Context, Error, Result};

/// The way to a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DestPath {
    /// By a next hop.
    Via {
        /// Which.
        hop: NextHop,
        /// The way's MTU, bytes; 0 if nobody knows.
        mtu: u32,
        /// What this director sends from on this way; the outer source of tunnels.
        source: Option<IpAddr>,
    },
    /// It is this director.
    Local,
}

/// What leads to a service. A firewall mark lies there as an address would.
pub(super) fn service_table_key(key: ServiceKey) -> EndpointKey {
    if key.fwmark != 0 {
        return EndpointKey {
            addr: from_wire_addr(family_number(key.addr), [key.fwmark, 0, 0, 0]),
            port: 0,
            protocol: 0,
        };
    }
    EndpointKey { addr: key.addr, port: key.port, protocol: key.protocol.number() }
}

/// Whoever changes services and servers in the maps. There may be several at a time, in several processes: each takes its
/// turn, and sees what the others have changed.
pub struct MapWriter {
    maps: Arc<Maps>,
    /// Where the maps are pinned; a lock on it is held during a turn.
    dir: PathBuf,
    /// The number of changes that is known here.
    change_count: u32,
    /// Are services made by hand here, and not by a daemon?
    external: bool,
    // What is free; read off the maps after somebody else's changes.
    ranges: Ranges,
    free_services: Vec<u32>,
    free_dests: Vec<u32>,
    /// Destinations out of service, whose connections may not have ended yet.
    trash: Vec<u32>,
}

/// A service while steps are applied to it.
struct ServiceEdit {
    index: u32,
    list: Vec<u32>,
    removed: Vec<u32>,
    scheduler: Scheduler,
    cursor: WalkPosition,
}

impl Maps {
    /// What the blocks of a list remember does not hold any more.
    fn invalidate_blocks(&self, half: &service_half) {
        if half.blocks != EK_BLOCK {
            return;
        }
        let first = half.list_base / EK_BLOCK;
        for number in first..first + half.list_len.div_ceil(EK_BLOCK) {
            self.blocks.atomic_u32(number as usize, offset_of!(block, version)).fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Servers of a list that is not in force any more stand in no blocks of its half.
    fn clear_block_membership(&self, list: &service_half, half: usize) {
        for id in self.read_list(list.list_base, list.list_len) {
            self.places.atomic_u32(id as usize, 4 * half).store(0, Ordering::Release);
        }
    }
}

impl MapWriter {
    /// An editor of these maps, which are pinned in `dir`.
    pub fn new(maps: Arc<Maps>, dir: &FsPath) -> MapWriter {
        let (ranges, changes) = (Ranges::new(maps.lists.len() as u32), maps.settings.read(0).change_count);
        let empty = Vec::new;
        let mut editor = MapWriter {
            maps,
            dir: dir.to_owned(),
            change_count: changes,
            external: false,
            ranges,
            free_services: empty(),
            free_dests: empty(),
            trash: empty(),
        };
        editor.reload_free_lists();
        editor
    }

    /// An editor whose services no daemon changes.
    pub fn external(maps: Arc<Maps>, dir: &FsPath) -> MapWriter {
        MapWriter { external: true, ..MapWriter::new(maps, dir) }
    }

    /// Reads off the maps what is free.
    fn reload_free_lists(&mut self) {
        let maps = &self.maps;
        self.ranges = Ranges::new(maps.lists.len() as u32);
        for (_, s) in maps.live_services() {
            for half in &s.half {
                self.ranges.reserve(half.list_base, half.list_len + half.table_len);
            }
        }
        let indices = |n: usize| (0..n as u32).rev();
        let live = |i: &u32| maps.services.read(*i as usize).flags & SERVICE_LIVE != 0;
        let flags = |i: &u32| maps.dests.read(*i as usize).flags;
        self.free_services = indices(maps.services.len()).filter(|i| !live(i)).collect();
        self.free_dests = indices(maps.dests.len()).filter(|i| flags(i) & DEST_LIVE == 0).collect();
        self.trash = indices(maps.dests.len()).filter(|i| flags(i) == DEST_LIVE).collect();
    }

    /// Begins a turn; it ends with what is returned.
    fn begin_change(&mut self) -> Result<Flock<File>> {
        let what = || format!("lock {}", self.dir.display());
        let dir = File::open(&self.dir).context(what)?;
        let lock = Flock::lock(dir, FlockArg::LockExclusive).map_err(|(_, e)| e).context(what)?;
        if self.maps.settings.read(0).change_count != self.change_count {
            self.reload_free_lists();
        }
        self.change_count = self.maps.settings.read(0).change_count.wrapping_add(1);
        self.maps
            .settings
            .atomic_u32(0, offset_of!(settings, change_count))
            .store(self.change_count, Ordering::Release);
        Ok(lock)
    }

    /// Destinations that nothing refers to any more are free again.
    fn reclaim_trash(&mut self) {
        let dests = &self.maps.dests;
        let (kept, freed): (Vec<u32>, Vec<u32>) = std::mem::take(&mut self.trash).into_iter().partition(|&i| {
            let d = dests.read(i as usize);
            (d.active | d.inactive | d.persistent) != 0
        });
        self.trash = kept;
        for i in freed {
            self.unlink_nat(i);
            self.maps.dests.atomic_u32(i as usize, offset_of!(dest, flags)).store(0, Ordering::Release);
            self.free_dests.push(i);
        }
    }

    fn trash_dest(&mut self, id: u32) {
        let (maps, word) = (&self.maps, |offset| self.maps.dests.atomic_u32(id as usize, offset));
        word(offset_of!(dest, removed)).store(maps.jiffies(), Ordering::Relaxed);
        word(offset_of!(dest, flags)).store(DEST_LIVE, Ordering::Release);
        self.trash.push(id);
    }

    /// The maps.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// Applies steps in their order. A service's changes come into force at once, all together. What fails is told and
    /// the rest is done; the next comparison finds what is missing.
    pub fn apply_steps(&mut self, steps: &[Step]) -> Vec<Error> {
        let mut errors = Vec::new();
        if steps.is_empty() {
            return errors;
        }
        let _turn = match self.begin_change() {
            Ok(lock) => lock,
            Err(e) => return vec![e],
        };
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

    /// Settings of the whole data plane, for connections at their next packet (as `ipvsadm --set`).
    pub fn apply_tuning(&self, t: &Tuning) {
        let maps = self.maps();
        let jiffies = |seconds: u32| maps.seconds_to_jiffies(seconds);
        let flags = [
            (t.expire_nodest_conn, EXPIRE_NODEST_CONN),
            (t.expire_quiescent_template, EXPIRE_QUIESCENT_TEMPLATE),
            (t.sloppy_tcp, SLOPPY_TCP),
            (t.sloppy_sctp, SLOPPY_SCTP),
            (t.secure_tcp, SECURE_TCP),
            (t.schedule_icmp, SCHEDULE_ICMP),
            (t.nat_icmp_send, NAT_ICMP_SEND),
            (!t.pmtu_disc, NO_PMTU_DISC),
            (t.cache_bypass, CACHE_BYPASS),
        ];
        let standing_by = maps.settings.read(0).tuning & STANDBY;
        let flags = flags.iter().filter(|(yes, _)| *yes).fold(standing_by, |all, (_, flag)| all | flag);
        // Word by word: the program reads this memory all the time.
        let tcp = |state: u32| offset_of!(settings, timeout_tcp) + 4 * state as usize;
        for (offset, value) in [
            (tcp(TCP_ESTABLISHED), jiffies(t.tcp_s)),
            (tcp(TCP_FIN_WAIT), jiffies(t.tcpfin_s)),
            (offset_of!(settings, timeout_udp), jiffies(t.udp_s)),
            (offset_of!(settings, lblc_expiration), jiffies(t.lblc_expiration_s)),
            (offset_of!(settings, lblcr_expiration), jiffies(t.lblcr_expiration_s)),
            (offset_of!(settings, conn_reuse_mode), t.conn_reuse_mode),
            (offset_of!(settings, tuning), flags),
        ] {
            maps.settings.atomic_u32(0, offset).store(value, Ordering::Release);
        }
    }

    /// A service that somebody has made by hand is the daemon's from now on.
    pub fn claim_service(&self, key: ServiceKey) {
        let maps = self.maps();
        let Some(index) = maps.service_table.find(service_table_key(key)) else { return };
        let flags = maps.services.atomic_u32(index as usize, offset_of!(service, flags));
        flags.fetch_and(!SERVICE_EXTERNAL, Ordering::AcqRel);
    }

    /// The numbers of a service and of its servers, or of all, begin from 0 again.
    pub fn zero_stats(&self, of: Option<ServiceKey>) {
        let maps = self.maps();
        for (index, s) in maps.live_services().filter(|(_, s)| of.is_none() || service_key(s) == of) {
            clear_stats(&maps.service_stats, index);
            let half = active_half(&s);
            for id in maps.read_list(half.list_base, half.list_len) {
                clear_stats(&maps.dest_stats, id);
            }
        }
    }

    /// How long idle connections live, seconds: TCP, TCP after a FIN, UDP; 0 leaves one as it is.
    pub fn set_timeouts(&self, tcp_s: u32, tcpfin_s: u32, udp_s: u32) {
        let maps = self.maps();
        let tcp = |state: u32| offset_of!(settings, timeout_tcp) + 4 * state as usize;
        let places =
            [(tcp(TCP_ESTABLISHED), tcp_s), (tcp(TCP_FIN_WAIT), tcpfin_s), (offset_of!(settings, timeout_udp), udp_s)];
        for (offset, seconds) in places.into_iter().filter(|(_, s)| *s != 0) {
            maps.settings.atomic_u32(0, offset).store(maps.seconds_to_jiffies(seconds), Ordering::Release);
        }
    }

    fn apply_to_service(&mut self, key: ServiceKey, steps: &[Step]) -> Result<()> {
        let mut editing: Option<ServiceEdit> = None;
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
                        none => none.insert(self.begin_edit(key)?),
                    };
                    let before = self.scheduler_servers(&e.list);
                    self.apply_step(e, step)?;
                    if !matches!(step, Step::EditService(..)) {
                        e.cursor = schedulers::position_after_change(
                            e.scheduler,
                            e.cursor,
                            &before,
                            &self.scheduler_servers(&e.list),
                        );
                    }
                }
            }
        }
        match editing {
            Some(e) => self.commit_edit(e),
            None => Ok(()),
        }
    }

    fn begin_edit(&self, key: ServiceKey) -> Result<ServiceEdit> {
        let maps = self.maps();
        let index = maps.service_table.find(service_table_key(key));
        let index = index.ok_or_else(|| Error::new(format!("change service {key}"), "there is no such service"))?;
        let s = maps.services.read(index as usize);
        let half = active_half(&s);
        let list = maps.read_list(half.list_base, half.list_len);
        let walked = WalkCursor { next: half.next, start: half.start, position: half.position };
        let scheduler = super::schedulers::scheduler_from_number(s.scheduler);
        let place = schedulers::walk_position(scheduler, &self.scheduler_servers(&list), walked);
        Ok(ServiceEdit { index, list, removed: Vec::new(), scheduler, cursor: place })
    }

    fn scheduler_servers(&self, list: &[u32]) -> Vec<Server> {
        let server = |&id: &u32| {
            let d = self.maps().dests.read(id as usize);
            let name =
                schedulers::hash::fold_addr(from_wire_addr(d.family, d.addr)).wrapping_add(u16::from_be(d.port).into());
            Server { id, weight: d.weight.max(0) as u32, last_weight: d.last_weight, hash_key: name }
        };
        list.iter().map(server).collect()
    }

    fn apply_step(&mut self, e: &mut ServiceEdit, step: &Step) -> Result<()> {
        let maps = &self.maps;
        let named = |list: &[u32], key: ServerKey| {
            list.iter().copied().find(|&id| dest_key_and_spec(&maps.dests.read(id as usize)).0 == key)
        };
        match *step {
            Step::EditService(_, spec) => {
                let mut s = maps.services.read(e.index as usize);
                write_service_spec(&mut s, spec, maps.hz());
                maps.services.write_field(e.index as usize, offset_of!(service, scheduler), s.scheduler);
                maps.services.write_field(e.index as usize, offset_of!(service, persist_mask), s.persist_mask);
                maps.services.write_field(e.index as usize, offset_of!(service, removal_policy), s.removal_policy);
                maps.services.write_field(e.index as usize, offset_of!(service, drain_timeout), s.drain_timeout);
                maps.services.write_field(e.index as usize, offset_of!(service, drain_seconds), s.drain_seconds);
                maps.services.write_field(e.index as usize, offset_of!(service, persist_seconds), s.persist_seconds);
                maps.services.write_field(e.index as usize, offset_of!(service, persist_timeout), s.persist_timeout);
                maps.services
                    .atomic_u32(e.index as usize, offset_of!(service, flags))
                    .store(s.flags, Ordering::Release);
                // Another scheduler begins from its own beginning.
                e.scheduler = spec.scheduler;
                e.cursor = schedulers::position_after_change(e.scheduler, 0, &[], &self.scheduler_servers(&e.list));
            }
            Step::AddDest(service, key, spec) => {
                if named(&e.list, key).is_some() {
                    return Err(Error::new(format!("add {key} to {service}"), "it is there already"));
                }
                let id = self.allocate_dest(e.index, key, spec)?;
                e.list.insert(0, id);
                e.removed.retain(|&r| r != id);
            }
            Step::EditDest(service, key, spec) => {
                let id = named(&e.list, key)
                    .ok_or_else(|| Error::new(format!("change {key} of {service}"), "there is no such server"))?;
                let d = maps.dests.read(id as usize);
                let put =
                    |offset, value: u32| maps.dests.atomic_u32(id as usize, offset).store(value, Ordering::Release);
                put(offset_of!(dest, weight), spec.weight.get());
                if spec.weight.get() > 0 {
                    put(offset_of!(dest, last_weight), spec.weight.get());
                }
                put(offset_of!(dest, l_threshold), spec.l_threshold);
                // __ip_vs_update_dest(): a threshold that is lifted or raised opens the server at once.
                if spec.u_threshold == 0 || spec.u_threshold > d.u_threshold {
                    put(offset_of!(dest, overload), 0);
                }
                put(offset_of!(dest, u_threshold), spec.u_threshold);
                if dest_key_and_spec(&d).1.method != spec.method {
                    self.unlink_nat(id);
                    self.write_method(id, spec.method);
                    self.link_nat(id)?;
                }
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
    fn commit_edit(&mut self, e: ServiceEdit) -> Result<()> {
        let table = schedulers::build_table(e.scheduler, &self.scheduler_servers(&e.list), e.cursor);
        let s = self.maps().services.read(e.index as usize);
        let other = ((s.generation & 1) ^ 1) as usize;
        let (old, current) = (s.half[other], s.half[other ^ 1]);
        self.ranges.free(old.list_base, old.list_len + old.table_len);
        let (list_len, table_len) = (e.list.len() as u32, table.entries.len() as u32);
        let blocks = e.scheduler.reads_all_servers() && list_len > EK_BLOCK;
        let room = self.ranges.alloc(list_len + table_len, if blocks { EK_BLOCK } else { 1 });
        if room.is_none() {
            // Servers may have changed for all that.
            self.maps().invalidate_blocks(&current);
            let generation = self.maps().services.atomic_u32(e.index as usize, offset_of!(service, generation));
            generation.fetch_add(2, Ordering::AcqRel);
        }
        let base = room.ok_or_else(|| {
            Error::new("write a service's server list", format!("no room for {} words", list_len + table_len))
        })?;
        let maps = self.maps();
        for (i, id) in e.list.iter().chain(&table.entries).enumerate() {
            maps.lists.write(base as usize + i, *id);
        }
        for (i, id) in e.list.iter().enumerate() {
            let block = if blocks { (base + i as u32) / EK_BLOCK + 1 } else { 0 };
            maps.places.atomic_u32(*id as usize, 4 * other).store(block, Ordering::Release);
        }
        let half = service_half {
            list_base: base,
            list_len,
            table_base: base + list_len,
            table_len,
            next: table.start,
            start: table.start,
            position: e.cursor,
            blocks: if blocks { EK_BLOCK } else { 0 },
        };
        maps.invalidate_blocks(&half);
        maps.services.write_field(
            e.index as usize,
            offset_of!(service, half) + other * size_of::<service_half>(),
            half,
        );
        let generation = maps.services.atomic_u32(e.index as usize, offset_of!(service, generation));
        generation.store(s.generation.wrapping_add(1), Ordering::Release);
        maps.clear_block_membership(&current, other ^ 1);
        for id in e.removed {
            self.trash_dest(id);
        }
        Ok(())
    }

    fn add_service(&mut self, key: ServiceKey, spec: ServiceSpec) -> Result<()> {
        let maps = &self.maps;
        let what = || format!("add service {key}");
        if spec.persistence_engine.is_some() {
            let why = "the packet path knows no persistence engines";
            return Err(Error::new(what(), why).with_hint("the kernel's IPVS does: `dataplane ipvs`"));
        }
        if maps.service_table.find(service_table_key(key)).is_some() {
            return Err(Error::new(what(), "it is there already"));
        }
        // A service that was removed is found again by its servers, if these still wait for connections to end; until
        // then its place is nobody else's.
        self.reclaim_trash();
        let maps = &self.maps;
        let waiting = |i: u32| self.trash.iter().any(|&d| maps.dests.read(d as usize).service == i);
        let again = |i: u32| service_key(&maps.services.read(i as usize)) == Some(key) && waiting(i);
        let place = self.free_services.iter().rposition(|&i| again(i));
        let place = place.or_else(|| self.free_services.iter().rposition(|&i| !waiting(i)));
        let place = place.ok_or_else(|| Error::new(what(), format!("there are {EK_MAX_SERVICES} already")))?;
        let index = self.free_services.remove(place);
        // What comes back to another service than it left begins to be counted anew (__ip_vs_update_dest()).
        for id in self.trash.iter().filter(|d| maps.dests.read(**d as usize).service == index) {
            clear_stats(&maps.dest_stats, *id);
        }
        let mut s = service {
            addr: to_wire_addr(key.addr),
            family: family_number(key.addr),
            port: key.port.to_be(),
            protocol: if key.fwmark == 0 { key.protocol.number() } else { 0 },
            mark: key.fwmark,
            // What was said of the service that was here before does not hold.
            generation: maps.services.read(index as usize).generation.wrapping_add(1),
            flags: if self.external { SERVICE_EXTERNAL } else { 0 },
            ..Default::default()
        };
        write_service_spec(&mut s, spec, maps.hz());
        maps.services.write(index as usize, s);
        clear_stats(&maps.service_stats, index);
        if !maps.service_table.insert(service_table_key(key), index) {
            maps.services.atomic_u32(index as usize, offset_of!(service, flags)).store(0, Ordering::Release);
            self.free_services.push(index);
            return Err(Error::new(what(), "its place in the service table is crowded"));
        }
        self.update_wildcard_flags(key);
        Ok(())
    }

    fn remove_service(&mut self, key: ServiceKey) {
        let maps = &self.maps;
        let Some(index) = maps.service_table.find(service_table_key(key)) else { return };
        maps.service_table.remove(service_table_key(key));
        let s = maps.services.read(index as usize);
        let half = active_half(&s);
        maps.clear_block_membership(half, (s.generation & 1) as usize);
        for id in maps.read_list(half.list_base, half.list_len) {
            self.trash_dest(id);
        }
        for half in &s.half {
            self.ranges.free(half.list_base, half.list_len + half.table_len);
        }
        let maps = &self.maps;
        maps.services.write_field(index as usize, offset_of!(service, half), [service_half::default(); 2]);
        maps.services.atomic_u32(index as usize, offset_of!(service, flags)).store(0, Ordering::Release);
        self.free_services.push(index);
        self.update_wildcard_flags(key);
    }

    /// The program looks for services on port 0, of FTP, and on firewall marks, only if there are some.
    fn update_wildcard_flags(&self, changed: ServiceKey) {
        let ftp = |s: &service| (u16::from_be(s.port), s.protocol) == (21, Protocol::Tcp.number());
        if changed.port != 0 && changed.port != 21 {
            return;
        }
        let (mut has_wildcard_port, mut has_ftp, mut has_mark) = (false, false, false);
        for (_, s) in self.maps().live_services() {
            has_wildcard_port |= s.port == 0 && s.mark == 0;
            has_ftp |= ftp(&s);
            has_mark |= s.mark != 0;
        }
        for (offset, any) in [
            (offset_of!(settings, has_wildcard_port), has_wildcard_port),
            (offset_of!(settings, has_ftp), has_ftp),
            (offset_of!(settings, has_mark), has_mark),
        ] {
            self.maps().settings.atomic_u32(0, offset).store(u32::from(any), Ordering::Release);
        }
    }

    /// The entry for a new destination: the one that it had before, if it still waits for its connections to end
    /// (ip_vs_trash_get_dest()), else a free one.
    fn allocate_dest(&mut self, service: u32, key: ServerKey, spec: DestSpec) -> Result<u32> {
        let new = new_dest(service, key);
        let same = |maps: &Maps, i: u32| {
            let d = maps.dests.read(i as usize);
            (d.service, d.addr, d.family, d.port) == (service, new.addr, new.family, new.port)
        };
        let again = self.trash.iter().position(|&i| same(&self.maps, i));
        let i = match again {
            Some(at) => self.trash.swap_remove(at) as usize,
            None => {
                if self.free_dests.is_empty() {
                    self.reclaim_trash();
                }
                let full =
                    || Error::new(format!("add {key}"), format!("there are {EK_MAX_DESTS} real servers already"));
                let i = self.free_dests.pop().ok_or_else(full)? as usize;
                let maps = &self.maps;
                maps.dests.write(i, new);
                clear_stats(&maps.dest_stats, i as u32);
                i
            }
        };
        let id = i as u32;
        if again.is_none() || dest_key_and_spec(&self.maps.dests.read(i)).1.method != spec.method {
            self.unlink_nat(id);
            self.write_method(id, spec.method);
            if let Err(e) = self.link_nat(id) {
                self.trash.push(id);
                self.maps.dests.atomic_u32(i, offset_of!(dest, flags)).store(DEST_LIVE, Ordering::Release);
                return Err(e);
            }
        }
        let maps = &self.maps;
        let put = |offset, value: u32| maps.dests.atomic_u32(i, offset).store(value, Ordering::Release);
        put(offset_of!(dest, weight), spec.weight.get());
        if spec.weight.get() > 0 || again.is_none() {
            put(offset_of!(dest, last_weight), spec.weight.get());
        }
        put(offset_of!(dest, u_threshold), spec.u_threshold);
        put(offset_of!(dest, l_threshold), spec.l_threshold);
        put(offset_of!(dest, flags), DEST_LIVE | DEST_AVAILABLE);
        Ok(id)
    }

    fn write_method(&self, id: u32, method: ForwardingMethod) {
        let dests = &self.maps.dests;
        let mut d = dests.read(id as usize);
        set_method(&mut d, method);
        dests.write_field(id as usize, offset_of!(dest, tunnel), d.tunnel);
        dests.write_field(id as usize, offset_of!(dest, tunnel_flags), d.tunnel_flags);
        dests.write_field(id as usize, offset_of!(dest, tunnel_port), d.tunnel_port);
        dests.write_field(id as usize, offset_of!(dest, method), d.method);
    }

    /// How a destination behind NAT is named by its answers.
    fn nat_table_key(&self, d: &dest) -> Option<EndpointKey> {
        let service = self.maps().services.read(d.service as usize);
        let (key, spec) = dest_key_and_spec(d);
        let nat = spec.method == ForwardingMethod::Nat;
        // An FTP server answers from other ports as well, for its data connections.
        let port = if u16::from_be(service.port) == 21 { 0 } else { key.port };
        // Answers of marked connections are found by notes.
        (nat && service.mark == 0).then_some(EndpointKey { addr: key.addr, port, protocol: service.protocol })
    }

    /// Destinations with one address and port, behind NAT, in the order in which answers are tried with them.
    fn nat_siblings(&self, name: EndpointKey) -> Vec<u32> {
        let maps = self.maps();
        let mut next = maps.nat_table.find(name).map_or(0, |i| i + 1);
        let mut twins = Vec::new();
        while next != 0 && twins.len() <= EK_NAT_SIBLINGS as usize {
            twins.push(next - 1);
            next = maps.dests.read(next as usize - 1).nat_next;
        }
        twins
    }

    /// Lets answers be recognised, if the destination is behind NAT.
    fn link_nat(&self, id: u32) -> Result<()> {
        let maps = self.maps();
        let d = maps.dests.read(id as usize);
        let say = |offset| maps.settings.atomic_u32(0, offset).store(1, Ordering::Release);
        if u32::from(d.method) == FORWARD_NAT && maps.services.read(d.service as usize).mark != 0 {
            say(offset_of!(settings, has_mark_nat));
            say(offset_of!(settings, has_nat));
        }
        let Some(name) = self.nat_table_key(&d) else { return Ok(()) };
        let twins = self.nat_siblings(name);
        let what = || format!("recognise answers of {} port {}", name.addr, name.port);
        if twins.len() >= EK_NAT_SIBLINGS as usize {
            let why = format!("{EK_NAT_SIBLINGS} services have this real server by NAT already");
            return Err(Error::new(what(), why).with_hint("let it listen on another address or port for the others"));
        }
        let first = twins.first().map_or(0, |t| t + 1);
        maps.dests.atomic_u32(id as usize, offset_of!(dest, nat_next)).store(first, Ordering::Release);
        if !maps.nat_table.insert(name, id) {
            return Err(Error::new(what(), "their place in the table of real servers behind NAT is crowded"));
        }
        say(offset_of!(settings, has_nat));
        Ok(())
    }

    fn unlink_nat(&self, id: u32) {
        let maps = self.maps();
        let d = maps.dests.read(id as usize);
        let Some(name) = self.nat_table_key(&d) else { return };
        let twins = self.nat_siblings(name);
        let Some(at) = twins.iter().position(|t| *t == id) else { return };
        match at.checked_sub(1).and_then(|before| twins.get(before)) {
            Some(&before) => {
                maps.dests.atomic_u32(before as usize, offset_of!(dest, nat_next)).store(d.nat_next, Ordering::Release);
            }
            None if d.nat_next != 0 => {
                maps.nat_table.insert(name, d.nat_next - 1);
            }
            None => maps.nat_table.remove(name),
        }
        maps.dests.atomic_u32(id as usize, offset_of!(dest, nat_next)).store(0, Ordering::Release);
    }

    /// The addresses of all destinations in service, for whoever resolves their next hops.
    pub fn dest_addresses(&self) -> Vec<(u32, IpAddr)> {
        let maps = self.maps();
        let mut out = Vec::new();
        for (_, s) in maps.live_services() {
            let half = active_half(&s);
            let ids = maps.read_list(half.list_base, half.list_len);
            out.extend(ids.iter().map(|&id| (id, dest_key_and_spec(&maps.dests.read(id as usize)).0.addr)));
        }
        out
    }

    /// Where a destination's packets go from now on. True if that is news.
    pub fn set_dest_path(&self, id: u32, path: DestPath) -> bool {
        let dests = &self.maps().dests;
        let d = dests.read(id as usize);
        let word = |offset| dests.atomic_u32(id as usize, offset);
        let DestPath::Via { hop, mtu, source } = path else {
            word(offset_of!(dest, hop)).store(HOP_LOCAL, Ordering::Release);
            return d.hop != HOP_LOCAL;
        };
        let mtu = mtu.saturating_sub(tunnel_overhead(&d));
        let source = source.map_or([0; 4], to_wire_addr);
        let have = matches!(d.hop, 1 | 2).then(|| d.hops[d.hop as usize - 1]);
        let have = have.map(|h| NextHop { ifindex: h.ifindex, dmac: h.dmac, smac: h.smac });
        let tagged = if self.maps().is_vlan(hop.ifindex) { EK_HOP_VLAN } else { 0 };
        let hop = NextHop { ifindex: hop.ifindex | tagged, ..hop };
        if have == Some(hop) && d.mtu == mtu && d.source == source {
            return false;
        }
        // The program reads these after the hop, which makes them count.
        word(offset_of!(dest, mtu)).store(mtu, Ordering::Relaxed);
        dests.write_field(id as usize, offset_of!(dest, source), source);
        let other = if d.hop == 1 { 2 } else { 1 };
        let value = next_hop { ifindex: hop.ifindex, dmac: hop.dmac, smac: hop.smac };
        dests.write_field(id as usize, offset_of!(dest, hops) + (other - 1) * size_of::<next_hop>(), value);
        word(offset_of!(dest, hop)).store(other as u32, Ordering::Release);
        true
    }
}
