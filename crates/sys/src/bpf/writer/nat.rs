//! The NAT table: how the program recognises replies of real servers behind NAT.
//!
//! The table maps a real server's (address, port, protocol) to a destination. Several services may use the same real
//! server: their destinations are linked to a list, and the program tries them one after another. The list has at most
//! `EK_NAT_SIBLINGS` destinations, which bounds what a packet may cost; connections of further ones have reply tuples.

use std::mem::offset_of;

use evenkeel_core::model::ForwardingMethod;

use super::super::abi::*;
use super::super::encoding::dest_key_and_spec;
use super::super::service_table::EndpointKey;
use super::MapWriter;
use crate::{Error, Result};

impl MapWriter {
    /// The key that a destination's replies are recognised by; `None` if they are not recognised by this table.
    fn nat_table_key(&self, d: &dest) -> Option<EndpointKey> {
        let service = self.maps.services.read(d.service as usize);
        let (key, spec) = dest_key_and_spec(d);
        let nat = spec.method == ForwardingMethod::Nat;
        // An FTP server also sends from other ports, for its data connections.
        let port = if u16::from_be(service.port) == 21 { 0 } else { key.port };
        // Replies to connections of a firewall mark's service are recognised by reply tuples.
        (nat && service.mark == 0).then_some(EndpointKey { addr: key.addr, port, protocol: service.protocol })
    }

    /// The destinations with this key, in the order in which the program tries them.
    fn nat_siblings(&self, key: EndpointKey) -> Vec<u32> {
        let maps = &self.maps;
        let mut next = maps.nat_table.find(key).map_or(0, |i| i + 1);
        let mut siblings = Vec::new();
        while next != 0 && siblings.len() <= EK_NAT_SIBLINGS as usize {
            siblings.push(next - 1);
            next = maps.dests.read(next as usize - 1).nat_next;
        }
        siblings
    }

    /// Adds a destination to the table, if it is behind NAT. Fails if the table is full near the key's hash.
    pub(super) fn link_nat(&self, id: u32) -> Result<()> {
        let maps = &self.maps;
        let d = maps.dests.read(id as usize);
        if u32::from(d.method) == FORWARD_NAT && maps.services.read(d.service as usize).mark != 0 {
            maps.settings.store_u32(0, offset_of!(settings, has_mark_nat), 1);
            maps.settings.store_u32(0, offset_of!(settings, has_nat), 1);
        }
        let Some(key) = self.nat_table_key(&d) else { return Ok(()) };
        let siblings = self.nat_siblings(key);
        if siblings.len() >= EK_NAT_SIBLINGS as usize {
            maps.dests.store_u32(id as usize, offset_of!(dest, nat_next), EK_NAT_BY_TUPLE);
            maps.settings.store_u32(0, offset_of!(settings, has_mark_nat), 1);
            return Ok(());
        }
        let first = siblings.first().map_or(0, |s| s + 1);
        maps.dests.store_u32(id as usize, offset_of!(dest, nat_next), first);
        if !maps.nat_table.insert(key, id) {
            let operation = format!("add {} port {} to the NAT table", key.addr, key.port);
            return Err(Error::new(operation, "no entry is free near its hash"));
        }
        maps.settings.store_u32(0, offset_of!(settings, has_nat), 1);
        Ok(())
    }

    /// Removes a destination from the table, if it is there.
    pub(super) fn unlink_nat(&self, id: u32) {
        let maps = &self.maps;
        let d = maps.dests.read(id as usize);
        let Some(key) = self.nat_table_key(&d) else { return };
        if d.nat_next == EK_NAT_BY_TUPLE {
            maps.dests.store_u32(id as usize, offset_of!(dest, nat_next), 0);
            return;
        }
        let siblings = self.nat_siblings(key);
        let Some(position) = siblings.iter().position(|s| *s == id) else { return };
        match position.checked_sub(1).and_then(|before| siblings.get(before)) {
            Some(&before) => maps.dests.store_u32(before as usize, offset_of!(dest, nat_next), d.nat_next),
            None if d.nat_next != 0 => {
                maps.nat_table.insert(key, d.nat_next - 1);
            }
            None => maps.nat_table.remove(key),
        }
        maps.dests.store_u32(id as usize, offset_of!(dest, nat_next), 0);
    }
}
