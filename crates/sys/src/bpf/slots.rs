//! The open-addressed table (address, port, protocol) to service.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;

use evenkeel_core::model::ServiceKey;

use super::abi::{EK_SERVICE_PROBES, EK_SERVICE_SLOTS, service_slot};
use super::mmap::Mapped;

/// An address as it lies in a packet, read as a number of this machine.
pub fn wire_addr(a: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(a.octets())
}

/// The reverse of [`wire_addr`].
pub fn addr_of_wire(a: u32) -> Ipv4Addr {
    Ipv4Addr::from(a.to_ne_bytes())
}

/// service_hash() of bpf/service.h.
fn hash(addr: u32, port: u16, protocol: u8) -> u32 {
    let h = addr.wrapping_mul(0x9e37_79b1) ^ (u32::from(port) << 8 | u32::from(protocol));
    h.wrapping_mul(0x85eb_ca6b) >> 16
}

fn places(key: ServiceKey) -> (u32, u16, u8, impl Iterator<Item = usize>) {
    let (addr, port, protocol) = (wire_addr(key.addr), key.port.to_be(), key.protocol.number());
    let h = hash(addr, port, protocol);
    let at = (0..EK_SERVICE_PROBES).map(move |i| (h.wrapping_add(i) & (EK_SERVICE_SLOTS - 1)) as usize);
    (addr, port, protocol, at)
}

/// The service that a key leads to.
pub fn find(slots: &Mapped<service_slot>, key: ServiceKey) -> Option<u32> {
    let (addr, port, protocol, mut at) = places(key);
    let s = at.find_map(|i| {
        let s = slots.get(i);
        (s.addr == addr && s.port == port && s.protocol == protocol && s.index > 0).then_some(s)
    });
    s.map(|s| s.index - 1)
}

/// Lets a key lead to a service. False if every place that it may have is taken.
pub fn insert(slots: &Mapped<service_slot>, key: ServiceKey, index: u32) -> bool {
    let (addr, port, protocol, mut at) = places(key);
    let Some(free) = at.find(|&i| slots.get(i).index == 0) else { return false };
    // The key first; the index, which makes it count, last.
    slots.set(free, service_slot { addr, port, protocol, used: 1, index: 0, unused: 0 });
    slots.word(free, std::mem::offset_of!(service_slot, index)).store(index + 1, Ordering::Release);
    true
}

/// The key leads nowhere any more. Probing goes on past its place.
pub fn remove(slots: &Mapped<service_slot>, key: ServiceKey) {
    let (addr, port, protocol, at) = places(key);
    for i in at {
        let s = slots.get(i);
        if s.addr == addr && s.port == port && s.protocol == protocol {
            slots.word(i, std::mem::offset_of!(service_slot, index)).store(0, Ordering::Release);
        }
    }
}
