//! The two open-addressed tables that lead from (address, port, protocol) to a service, or to a real server behind NAT.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use super::abi::endpoint;
use super::mmap::MappedArray;

/// An address as it lies in a packet, read as numbers of this machine; IPv4 has one, and zeros behind it.
pub fn to_wire_addr(a: IpAddr) -> [u32; 4] {
    match a {
        IpAddr::V4(a) => [u32::from_ne_bytes(a.octets()), 0, 0, 0],
        IpAddr::V6(a) => {
            let o = a.octets();
            [0, 4, 8, 12].map(|i| u32::from_ne_bytes([o[i], o[i + 1], o[i + 2], o[i + 3]]))
        }
    }
}

/// The reverse of [`wire_addr`]; `family` is 4 or 6.
pub fn from_wire_addr(family: u8, a: [u32; 4]) -> IpAddr {
    if family == 6 {
        let mut o = [0; 16];
        o.chunks_exact_mut(4).zip(a).for_each(|(to, w)| to.copy_from_slice(&w.to_ne_bytes()));
        return IpAddr::from(o);
    }
    IpAddr::from(a[0].to_ne_bytes())
}

/// 4 or 6.
pub fn family_number(a: IpAddr) -> u8 {
    if a.is_ipv6() { 6 } else { 4 }
}

/// slot_hash() of bpf/service/service.h.
fn hash(addr: [u32; 4], v6: bool, port: u16, protocol: u8) -> u32 {
    let mut a = addr[0];
    if v6 {
        let rest = addr[1].wrapping_mul(0x9e37_79b1).wrapping_add(addr[2]);
        a ^= rest.wrapping_mul(0xc2b2_ae35).wrapping_add(addr[3]);
    }
    let h = a.wrapping_mul(0x9e37_79b1) ^ (u32::from(port) << 8 | u32::from(protocol));
    h.wrapping_mul(0x85eb_ca6b) >> 15
}

/// What a slot is found by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndpointKey {
    /// Address.
    pub addr: IpAddr,
    /// Port, 0 for all.
    pub port: u16,
    /// Protocol number.
    pub protocol: u8,
}

/// One of the two tables.
pub struct EndpointTable {
    map: MappedArray<endpoint>,
    probes: u32,
}

impl EndpointTable {
    /// A table of a power of two of slots, in which a name is found within so many.
    pub fn new(map: MappedArray<endpoint>, probes: u32) -> EndpointTable {
        EndpointTable { map, probes }
    }

    fn probe_sequence(&self, n: EndpointKey) -> impl Iterator<Item = usize> {
        let h = hash(to_wire_addr(n.addr), n.addr.is_ipv6(), n.port.to_be(), n.protocol);
        let mask = self.map.len() as u32 - 1;
        (0..self.probes).map(move |i| (h.wrapping_add(i) & mask) as usize)
    }

    fn position(&self, n: EndpointKey) -> Option<usize> {
        let (addr, port, family) = (to_wire_addr(n.addr), n.port.to_be(), family_number(n.addr));
        self.probe_sequence(n).find(|&i| {
            let s = self.map.read(i);
            (s.addr, s.port, s.protocol, s.family) == (addr, port, n.protocol, family) && s.index > 0
        })
    }

    /// Where a name leads.
    pub fn find(&self, n: EndpointKey) -> Option<u32> {
        self.position(n).map(|i| self.map.read(i).index - 1)
    }

    /// Lets a name lead to an index, wherever it led before. False if every place that it may have is taken.
    pub fn insert(&self, n: EndpointKey, index: u32) -> bool {
        let point = |i: usize| {
            self.map.atomic_u32(i, std::mem::offset_of!(endpoint, index)).store(index + 1, Ordering::Release);
            true
        };
        if let Some(i) = self.position(n) {
            return point(i);
        }
        let Some(free) = self.probe_sequence(n).find(|&i| self.map.read(i).index == 0) else { return false };
        // The key first; the index, which makes it count, last.
        self.map.write(
            free,
            endpoint {
                addr: to_wire_addr(n.addr),
                port: n.port.to_be(),
                protocol: n.protocol,
                family: family_number(n.addr),
                index: 0,
                unused: [0; 2],
            },
        );
        point(free)
    }

    /// The name leads nowhere any more. Probing goes on past its place.
    pub fn remove(&self, n: EndpointKey) {
        if let Some(i) = self.position(n) {
            self.map.atomic_u32(i, std::mem::offset_of!(endpoint, index)).store(0, Ordering::Release);
        }
    }
}
