//! Services: added, removed, taken over from ipvsadm; their statistics cleared.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use evenkeel_core::model::{Protocol, ServiceKey};
use evenkeel_core::plan::ServiceSpec;

use super::super::abi::*;
use super::super::address::{family_number, to_wire_addr};
use super::super::counters::clear_stats;
use super::super::encoding::{active_half, service_key, write_service_spec};
use super::super::service_table::EndpointKey;
use super::MapWriter;
use crate::{Error, Result};

impl MapWriter {
    /// Makes an external service one of the daemon's configuration.
    pub fn claim_service(&self, key: ServiceKey) {
        let maps = self.maps();
        let Some(index) = maps.service_table.find(EndpointKey::from_service(key)) else { return };
        let flags = maps.services.atomic_u32(index as usize, offset_of!(service, flags));
        flags.fetch_and(!SERVICE_EXTERNAL, Ordering::AcqRel);
    }

    /// Makes services active or inactive. Services on firewall marks are always active. Returns those that changed.
    pub fn set_active_services(&mut self, active: &BTreeMap<ServiceKey, bool>) -> Result<Vec<(ServiceKey, bool)>> {
        let is_active = |s: &service| s.flags & SERVICE_INACTIVE == 0;
        let wanted =
            |s: &service| service_key(s).and_then(|k| Some((k, *active.get(&k)?))).filter(|(k, _)| k.fwmark == 0);
        let differs = |(i, s): (u32, service)| {
            let (key, active) = wanted(&s)?;
            (is_active(&s) != active).then_some((i, key, active))
        };
        let changes: Vec<_> = self.maps.live_services().filter_map(differs).collect();
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let _lock = self.begin_change()?;
        // Before the first service becomes inactive: it may be found while all are served.
        self.maps.settings.store_u32(0, offset_of!(settings, has_inactive), 1);
        for &(index, key, active) in &changes {
            let flags = self.maps.services.atomic_u32(index as usize, offset_of!(service, flags));
            if active {
                flags.fetch_and(!SERVICE_INACTIVE, Ordering::AcqRel);
            } else {
                flags.fetch_or(SERVICE_INACTIVE, Ordering::AcqRel);
            }
            self.maps.service_table.set_active(EndpointKey::from_service(key), active);
        }
        let any_inactive = self.maps.live_services().any(|(_, s)| !is_active(&s));
        self.maps.settings.store_u32(0, offset_of!(settings, has_inactive), u32::from(any_inactive));
        Ok(changes.into_iter().map(|(_, key, active)| (key, active)).collect())
    }

    /// Sets the statistics of a service and its destinations to 0, or of all services.
    pub fn zero_stats(&self, only: Option<ServiceKey>) {
        let maps = self.maps();
        for (index, s) in maps.live_services().filter(|(_, s)| only.is_none() || service_key(s) == only) {
            clear_stats(&maps.service_stats, index);
            for id in maps.active_dests(&s) {
                clear_stats(&maps.dest_stats, id);
            }
        }
    }

    pub(super) fn add_service(&mut self, key: ServiceKey, spec: ServiceSpec) -> Result<()> {
        let operation = || format!("add service {key}");
        if spec.persistence_engine.is_some() {
            let reason = "the packet path does not support persistence engines";
            return Err(Error::new(operation(), reason).with_hint("the kernel's IPVS does: `dataplane ipvs`"));
        }
        if self.maps.service_table.find(EndpointKey::from_service(key)).is_some() {
            return Err(Error::new(operation(), "the service exists already"));
        }
        let full = || Error::new(operation(), format!("all {EK_MAX_SERVICES} services are in use"));
        let index = self.allocate_service(key).ok_or_else(full)?;
        let maps = &self.maps;
        // A destination that returns to a service starts with statistics of 0 (__ip_vs_update_dest()).
        for id in self.trash.iter().filter(|d| maps.dests.read(**d as usize).service == index) {
            clear_stats(&maps.dest_stats, *id);
        }
        let mut s = service {
            addr: to_wire_addr(key.addr),
            family: family_number(key.addr),
            port: key.port.to_be(),
            protocol: if key.fwmark == 0 { key.protocol.number() } else { 0 },
            mark: key.fwmark,
            // Invalidates what the program has cached of the service that had this index before.
            generation: maps.services.read(index as usize).generation.wrapping_add(1),
            flags: if self.external { SERVICE_EXTERNAL } else { 0 },
            ..Default::default()
        };
        write_service_spec(&mut s, spec, maps.hz());
        maps.services.write(index as usize, s);
        clear_stats(&maps.service_stats, index);
        if !maps.service_table.insert(EndpointKey::from_service(key), index) {
            maps.services.store_u32(index as usize, offset_of!(service, flags), 0);
            self.free_services.push(index);
            return Err(Error::new(operation(), "no entry of the service table is free near its hash"));
        }
        self.update_wildcard_flags(key);
        Ok(())
    }

    /// Takes a free index. A service that is added again gets its old index while removed destinations refer to it, so
    /// that their connections find the service again. Nobody else gets such an index.
    fn allocate_service(&mut self, key: ServiceKey) -> Option<u32> {
        self.reclaim_trash();
        let maps = &self.maps;
        let is_referred = |i: u32| self.trash.iter().any(|&d| maps.dests.read(d as usize).service == i);
        let was_here = |i: u32| service_key(&maps.services.read(i as usize)) == Some(key) && is_referred(i);
        let position = self.free_services.iter().rposition(|&i| was_here(i));
        let position = position.or_else(|| self.free_services.iter().rposition(|&i| !is_referred(i)))?;
        Some(self.free_services.remove(position))
    }

    pub(super) fn remove_service(&mut self, key: ServiceKey) {
        let maps = &self.maps;
        let Some(index) = maps.service_table.find(EndpointKey::from_service(key)) else { return };
        maps.service_table.remove(EndpointKey::from_service(key));
        let s = maps.services.read(index as usize);
        maps.clear_block_membership(active_half(&s), (s.generation & 1) as usize);
        for id in maps.active_dests(&s) {
            self.trash_dest(id);
        }
        for half in &s.half {
            self.ranges.free(half.list_base, half.list_len + half.table_len);
        }
        let maps = &self.maps;
        maps.services.write_field(index as usize, offset_of!(service, half), [service_half::default(); 2]);
        maps.services.store_u32(index as usize, offset_of!(service, flags), 0);
        self.free_services.push(index);
        self.update_wildcard_flags(key);
    }

    /// Tells the program whether there are services on port 0, on FTP's port, and on firewall marks. It searches for
    /// them only if there are any.
    fn update_wildcard_flags(&self, changed: ServiceKey) {
        if changed.port != 0 && changed.port != 21 {
            return;
        }
        let (mut has_wildcard_port, mut has_ftp, mut has_mark) = (false, false, false);
        for (_, s) in self.maps.live_services() {
            has_wildcard_port |= s.port == 0 && s.mark == 0;
            has_ftp |= (u16::from_be(s.port), s.protocol) == (21, Protocol::Tcp.number());
            has_mark |= s.mark != 0;
        }
        for (offset, any) in [
            (offset_of!(settings, has_wildcard_port), has_wildcard_port),
            (offset_of!(settings, has_ftp), has_ftp),
            (offset_of!(settings, has_mark), has_mark),
        ] {
            self.maps.settings.store_u32(0, offset, u32::from(any));
        }
    }
}
