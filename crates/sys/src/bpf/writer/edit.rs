//! The edit of one service: its destination list and scheduler table are changed in memory, then written into the
//! service's inactive half. The half becomes active by one write of `service.generation`, so no packet sees a part of a
//! change.

use std::mem::{offset_of, size_of};
use std::sync::atomic::Ordering;

use evenkeel_core::model::{Scheduler, ServerKey, ServiceKey};
use evenkeel_core::plan::{ServiceSpec, Step};
use evenkeel_core::schedulers::{self, Server, WalkCursor, WalkPosition};

use super::super::abi::*;
use super::super::address::from_wire_addr;
use super::super::encoding::{active_half, dest_key_and_spec, write_service_spec};
use super::super::maps::Maps;
use super::super::schedulers::scheduler_from_number;
use super::super::service_table::EndpointKey;
use super::MapWriter;
use crate::{Error, Result};

/// A service while steps are applied to it.
struct ServiceEdit {
    index: u32,
    list: Vec<u32>,
    removed: Vec<u32>,
    scheduler: Scheduler,
    position: WalkPosition,
}

impl Maps {
    /// Invalidates the cached best servers of a half's blocks.
    fn invalidate_blocks(&self, half: &service_half) {
        if half.blocks != EK_BLOCK {
            return;
        }
        let first = half.list_base / EK_BLOCK;
        for number in first..first + half.list_len.div_ceil(EK_BLOCK) {
            self.blocks.atomic_u32(number as usize, offset_of!(block, version)).fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Clears the block numbers of the destinations of a half that is inactive now. `which` is the half's number.
    pub(super) fn clear_block_membership(&self, half: &service_half, which: usize) {
        for id in self.read_list(half.list_base, half.list_len) {
            self.block_refs.store_u32(id as usize, 4 * which, 0);
        }
    }
}

impl MapWriter {
    /// Applies the steps for one service.
    pub(super) fn apply_to_service(&mut self, key: ServiceKey, steps: &[Step]) -> Result<()> {
        let mut edit: Option<ServiceEdit> = None;
        for step in steps {
            match *step {
                Step::AddService(_, spec) => self.add_service(key, spec)?,
                Step::RemoveService(_) => {
                    self.remove_service(key);
                    edit = None;
                }
                _ => {
                    let e = match &mut edit {
                        Some(e) => e,
                        none => none.insert(self.begin_edit(key)?),
                    };
                    self.apply_step(e, step)?;
                }
            }
        }
        match edit {
            Some(e) => self.commit_edit(e),
            None => Ok(()),
        }
    }

    fn begin_edit(&self, key: ServiceKey) -> Result<ServiceEdit> {
        let maps = self.maps();
        let index = maps.service_table.find(EndpointKey::from_service(key));
        let index = index.ok_or_else(|| Error::new(format!("change service {key}"), "there is no such service"))?;
        let s = maps.services.read(index as usize);
        let list = maps.active_dests(&s);
        let half = active_half(&s);
        let cursor = WalkCursor { next: half.next, start: half.start, position: half.position };
        let scheduler = scheduler_from_number(s.scheduler);
        let position = schedulers::walk_position(scheduler, &self.scheduler_servers(&list), cursor);
        Ok(ServiceEdit { index, list, removed: Vec::new(), scheduler, position })
    }

    fn scheduler_servers(&self, list: &[u32]) -> Vec<Server> {
        let server = |&id: &u32| {
            let d = self.maps().dests.read(id as usize);
            let hash = schedulers::hash::fold_addr(from_wire_addr(d.family, d.addr));
            let hash_key = hash.wrapping_add(u16::from_be(d.port).into());
            Server { id, weight: d.weight.max(0) as u32, last_weight: d.last_weight, hash_key }
        };
        list.iter().map(server).collect()
    }

    fn find_dest(&self, list: &[u32], key: ServerKey) -> Option<u32> {
        list.iter().copied().find(|&id| dest_key_and_spec(&self.maps.dests.read(id as usize)).0 == key)
    }

    /// Applies a step to the edit, and moves the walk position of rr and wrr as the kernel does.
    fn apply_step(&mut self, e: &mut ServiceEdit, step: &Step) -> Result<()> {
        let before = self.scheduler_servers(&e.list);
        match *step {
            Step::EditService(_, spec) => {
                self.edit_service(e.index, spec);
                // A new scheduler starts at its first server.
                e.scheduler = spec.scheduler;
                e.position = schedulers::position_after_change(e.scheduler, 0, &[], &before);
                return Ok(());
            }
            Step::AddDest(service, key, spec) => {
                if self.find_dest(&e.list, key).is_some() {
                    return Err(Error::new(format!("add {key} to {service}"), "the real server exists already"));
                }
                let id = self.allocate_dest(e.index, key, spec)?;
                e.list.insert(0, id);
                e.removed.retain(|&r| r != id);
            }
            Step::EditDest(service, key, spec) => {
                let missing = || Error::new(format!("change {key} of {service}"), "there is no such real server");
                let id = self.find_dest(&e.list, key).ok_or_else(missing)?;
                self.edit_dest(id, spec)?;
            }
            Step::RemoveDest(service, key) => {
                let missing = || Error::new(format!("remove {key} from {service}"), "there is no such real server");
                let id = self.find_dest(&e.list, key).ok_or_else(missing)?;
                e.list.retain(|&i| i != id);
                e.removed.push(id);
            }
            Step::AddService(..) | Step::RemoveService(_) => return Ok(()),
        }
        let after = self.scheduler_servers(&e.list);
        e.position = schedulers::position_after_change(e.scheduler, e.position, &before, &after);
        Ok(())
    }

    fn edit_service(&self, index: u32, spec: ServiceSpec) {
        let (services, i) = (&self.maps.services, index as usize);
        let mut s = services.read(i);
        write_service_spec(&mut s, spec, self.maps.hz());
        services.write_field(i, offset_of!(service, scheduler), s.scheduler);
        services.write_field(i, offset_of!(service, persist_mask), s.persist_mask);
        services.write_field(i, offset_of!(service, removal_policy), s.removal_policy);
        services.write_field(i, offset_of!(service, drain_timeout), s.drain_timeout);
        services.write_field(i, offset_of!(service, drain_seconds), s.drain_seconds);
        services.write_field(i, offset_of!(service, persist_seconds), s.persist_seconds);
        services.write_field(i, offset_of!(service, persist_timeout), s.persist_timeout);
        services.store_u32(i, offset_of!(service, flags), s.flags);
    }

    /// Writes list and table into the inactive half and makes it the active one.
    fn commit_edit(&mut self, e: ServiceEdit) -> Result<()> {
        let table = schedulers::build_table(e.scheduler, &self.scheduler_servers(&e.list), e.position);
        let s = self.maps.services.read(e.index as usize);
        let inactive = ((s.generation & 1) ^ 1) as usize;
        let (old, current) = (s.half[inactive], s.half[inactive ^ 1]);
        self.ranges.free(old.list_base, old.list_len + old.table_len);
        let (list_len, table_len) = (e.list.len() as u32, table.entries.len() as u32);
        let blocks = if e.scheduler.reads_all_servers() && list_len > EK_BLOCK { EK_BLOCK } else { 0 };
        let Some(base) = self.ranges.alloc(list_len + table_len, blocks.max(1)) else {
            // The list stays as it was, but weights and other fields of its destinations may have changed.
            self.maps.invalidate_blocks(&current);
            let generation = self.maps.services.atomic_u32(e.index as usize, offset_of!(service, generation));
            generation.fetch_add(2, Ordering::AcqRel);
            let reason = format!("no range of {} words is free", list_len + table_len);
            return Err(Error::new("write a service's server list", reason));
        };
        let half = service_half {
            list_base: base,
            list_len,
            table_base: base + list_len,
            table_len,
            next: table.start,
            start: table.start,
            position: e.position,
            blocks,
        };
        self.write_list(&e.list, &table.entries, &half, inactive);
        let (maps, i) = (&self.maps, e.index as usize);
        maps.invalidate_blocks(&half);
        maps.services.write_field(i, offset_of!(service, half) + inactive * size_of::<service_half>(), half);
        maps.services.store_u32(i, offset_of!(service, generation), s.generation.wrapping_add(1));
        maps.clear_block_membership(&current, inactive ^ 1);
        for id in e.removed {
            self.trash_dest(id);
        }
        Ok(())
    }

    /// Writes a half's list, table and block numbers. `which` is the half's number.
    fn write_list(&self, list: &[u32], table: &[u32], half: &service_half, which: usize) {
        for (i, id) in list.iter().chain(table).enumerate() {
            self.maps.lists.write(half.list_base as usize + i, *id);
        }
        for (i, id) in (half.list_base..).zip(list) {
            let block = if half.blocks > 0 { i / EK_BLOCK + 1 } else { 0 };
            self.maps.block_refs.store_u32(*id as usize, 4 * which, block);
        }
    }
}
