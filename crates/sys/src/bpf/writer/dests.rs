//! Destinations: allocated, changed, removed.
//!
//! A removed destination keeps its entry while connections refer to it (the trash, as IPVS has it). If its service gets
//! the same real server again, the entry is used again.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use evenkeel_core::model::{ForwardingMethod, ServerKey};
use evenkeel_core::plan::DestSpec;

use super::super::abi::*;
use super::super::counters::clear_stats;
use super::super::encoding::{dest_key_and_spec, new_dest, set_method};
use super::MapWriter;
use crate::{Error, Result};

impl MapWriter {
    /// Frees the trashed destinations that no connection and no template refers to.
    pub(super) fn reclaim_trash(&mut self) {
        let dests = &self.maps.dests;
        let (kept, freed): (Vec<u32>, Vec<u32>) = std::mem::take(&mut self.trash).into_iter().partition(|&id| {
            let d = dests.read(id as usize);
            (d.active | d.inactive | d.persistent) != 0
        });
        self.trash = kept;
        for id in freed {
            self.unlink_nat(id);
            self.maps.dests.store_u32(id as usize, offset_of!(dest, flags), 0);
            self.free_dests.push(id);
        }
    }

    /// Puts a destination that was removed from its service into the trash.
    pub(super) fn trash_dest(&mut self, id: u32) {
        let (dests, i) = (&self.maps.dests, id as usize);
        dests.atomic_u32(i, offset_of!(dest, removed)).store(self.maps.jiffies(), Ordering::Relaxed);
        dests.store_u32(i, offset_of!(dest, flags), DEST_LIVE);
        self.trash.push(id);
    }

    /// The entry for a new destination of a service: its former entry from the trash (ip_vs_trash_get_dest()), or else
    /// a free one.
    pub(super) fn allocate_dest(&mut self, service: u32, key: ServerKey, spec: DestSpec) -> Result<u32> {
        let new = new_dest(service, key);
        let is_same = |id: u32| {
            let d = self.maps.dests.read(id as usize);
            (d.service, d.addr, d.family, d.port) == (service, new.addr, new.family, new.port)
        };
        let trashed = self.trash.iter().position(|&id| is_same(id));
        let id = match trashed {
            Some(position) => self.trash.swap_remove(position),
            None => {
                if self.free_dests.is_empty() {
                    self.reclaim_trash();
                }
                let full = || Error::new(format!("add {key}"), format!("all {EK_MAX_DESTS} real servers are in use"));
                let id = self.free_dests.pop().ok_or_else(full)?;
                self.maps.dests.write(id as usize, new);
                clear_stats(&self.maps.dest_stats, id);
                id
            }
        };
        let i = id as usize;
        if trashed.is_none() || dest_key_and_spec(&self.maps.dests.read(i)).1.method != spec.method {
            self.unlink_nat(id);
            self.write_method(id, spec.method);
            if let Err(e) = self.link_nat(id) {
                self.trash.push(id);
                self.maps.dests.store_u32(i, offset_of!(dest, flags), DEST_LIVE);
                return Err(e);
            }
        }
        self.write_dest_spec(id, spec, true);
        self.maps.dests.store_u32(i, offset_of!(dest, flags), DEST_LIVE | DEST_AVAILABLE);
        Ok(id)
    }

    /// Changes weight, thresholds and forwarding method of a destination.
    pub(super) fn edit_dest(&self, id: u32, spec: DestSpec) -> Result<()> {
        self.write_dest_spec(id, spec, false);
        if dest_key_and_spec(&self.maps.dests.read(id as usize)).1.method != spec.method {
            self.unlink_nat(id);
            self.write_method(id, spec.method);
            self.link_nat(id)?;
        }
        Ok(())
    }

    /// Weight and thresholds of a destination that is `added`, from the trash too, or changed, as __ip_vs_update_dest():
    /// a threshold that is removed or raised ends the overload at once, and mh forgets the former weight of an added one.
    fn write_dest_spec(&self, id: u32, spec: DestSpec, added: bool) {
        let (dests, i) = (&self.maps.dests, id as usize);
        dests.store_u32(i, offset_of!(dest, weight), spec.weight.get());
        if added || spec.weight.get() > 0 {
            dests.store_u32(i, offset_of!(dest, last_weight), spec.weight.get());
        }
        if spec.u_threshold == 0 || spec.u_threshold > dests.read(i).u_threshold {
            dests.store_u32(i, offset_of!(dest, overload), 0);
        }
        dests.store_u32(i, offset_of!(dest, u_threshold), spec.u_threshold);
        dests.store_u32(i, offset_of!(dest, l_threshold), spec.l_threshold);
    }

    fn write_method(&self, id: u32, method: ForwardingMethod) {
        let (dests, i) = (&self.maps.dests, id as usize);
        let mut d = dests.read(i);
        set_method(&mut d, method);
        dests.write_field(i, offset_of!(dest, tunnel), d.tunnel);
        dests.write_field(i, offset_of!(dest, tunnel_flags), d.tunnel_flags);
        dests.write_field(i, offset_of!(dest, tunnel_port), d.tunnel_port);
        dests.write_field(i, offset_of!(dest, method), d.method);
    }
}
