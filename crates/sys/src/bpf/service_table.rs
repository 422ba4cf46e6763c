//! The service table and the NAT table: open-addressed hash tables keyed by (address, port, protocol).
//!
//! The service table maps a virtual service to its index. The NAT table maps a real server behind NAT, as its replies
//! name it, to its destination. Both have the same element, `struct endpoint` of bpf/abi.h, and the same hash function
//! as the program.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use evenkeel_core::model::ServiceKey;

use super::abi::{EK_INACTIVE, endpoint};
use super::address::{family_number, from_wire_addr, to_wire_addr};
use super::mmap::MappedArray;

/// endpoint_hash() of bpf/service/service.h.
fn hash(addr: [u32; 4], v6: bool, port: u16, protocol: u8) -> u32 {
    let mut a = addr[0];
    if v6 {
        let rest = addr[1].wrapping_mul(0x9e37_79b1).wrapping_add(addr[2]);
        a ^= rest.wrapping_mul(0xc2b2_ae35).wrapping_add(addr[3]);
    }
    let h = a.wrapping_mul(0x9e37_79b1) ^ (u32::from(port) << 8 | u32::from(protocol));
    h.wrapping_mul(0x85eb_ca6b) >> 15
}

/// The key of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndpointKey {
    /// The address.
    pub addr: IpAddr,
    /// The port in host order; 0 for all ports.
    pub port: u16,
    /// The protocol number.
    pub protocol: u8,
}

impl EndpointKey {
    /// The key of a virtual service. For a service on a firewall mark the mark is in the address's first word, and port
    /// and protocol are 0.
    pub fn from_service(key: ServiceKey) -> EndpointKey {
        if key.fwmark != 0 {
            let addr = from_wire_addr(family_number(key.addr), [key.fwmark, 0, 0, 0]);
            return EndpointKey { addr, port: 0, protocol: 0 };
        }
        EndpointKey { addr: key.addr, port: key.port, protocol: key.protocol.number() }
    }
}

/// One of the two tables.
pub struct EndpointTable {
    map: MappedArray<endpoint>,
    probes: u32,
}

impl EndpointTable {
    /// A table over `map`, whose length is a power of two. A key is at most `probes` positions behind its hash.
    pub fn new(map: MappedArray<endpoint>, probes: u32) -> EndpointTable {
        EndpointTable { map, probes }
    }

    fn probe_sequence(&self, key: EndpointKey) -> impl Iterator<Item = usize> {
        let h = hash(to_wire_addr(key.addr), key.addr.is_ipv6(), key.port.to_be(), key.protocol);
        let mask = self.map.len() as u32 - 1;
        (0..self.probes).map(move |i| (h.wrapping_add(i) & mask) as usize)
    }

    fn position(&self, key: EndpointKey) -> Option<usize> {
        let (addr, port, family) = (to_wire_addr(key.addr), key.port.to_be(), family_number(key.addr));
        self.probe_sequence(key).find(|&i| {
            let s = self.map.read(i);
            let same_family = s.family == family || s.family == family + EK_INACTIVE as u8;
            same_family && (s.addr, s.port, s.protocol) == (addr, port, key.protocol) && s.index > 0
        })
    }

    /// The index that a key maps to.
    pub fn find(&self, key: EndpointKey) -> Option<u32> {
        self.position(key).map(|i| self.map.read(i).index - 1)
    }

    /// Maps a key to an index, and replaces the index that it mapped to before. Returns false if all positions of the
    /// key's probe sequence are taken.
    pub fn insert(&self, key: EndpointKey, index: u32) -> bool {
        let store_index = |i: usize| {
            self.map.atomic_u32(i, std::mem::offset_of!(endpoint, index)).store(index + 1, Ordering::Release);
            true
        };
        if let Some(i) = self.position(key) {
            return store_index(i);
        }
        let Some(free) = self.probe_sequence(key).find(|&i| self.map.read(i).index == 0) else { return false };
        // Write the key first: a nonzero index makes the entry valid for the program.
        self.map.write(
            free,
            endpoint {
                addr: to_wire_addr(key.addr),
                port: key.port.to_be(),
                protocol: key.protocol,
                family: family_number(key.addr),
                index: 0,
                unused: [0; 2],
            },
        );
        store_index(free)
    }

    /// Makes the service of a key active or inactive: see bpf/service/service.h.
    pub fn set_active(&self, key: EndpointKey, active: bool) {
        let Some(i) = self.position(key) else { return };
        let family = family_number(key.addr) + if active { 0 } else { EK_INACTIVE as u8 };
        // Port, protocol and family are one word, which the program reads at once.
        let [low, high] = key.port.to_be().to_ne_bytes();
        let word = u32::from_ne_bytes([low, high, key.protocol, family]);
        self.map.atomic_u32(i, std::mem::offset_of!(endpoint, port)).store(word, Ordering::Release);
    }

    /// Removes a key. Its entry keeps a family, so that probing continues behind it.
    pub fn remove(&self, key: EndpointKey) {
        if let Some(i) = self.position(key) {
            self.map.atomic_u32(i, std::mem::offset_of!(endpoint, index)).store(0, Ordering::Release);
        }
    }
}
