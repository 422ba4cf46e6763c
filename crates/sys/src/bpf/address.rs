//! Addresses as the packet path stores them: four words in packet order, and a family number.

use std::net::IpAddr;

/// An address as four 32-bit words with the bytes in packet order (`__be32 addr[4]` of bpf/abi.h). An IPv4 address is
/// in the first word; the other three are 0.
pub fn to_wire_addr(a: IpAddr) -> [u32; 4] {
    match a {
        IpAddr::V4(a) => [u32::from_ne_bytes(a.octets()), 0, 0, 0],
        IpAddr::V6(a) => {
            let o = a.octets();
            [0, 4, 8, 12].map(|i| u32::from_ne_bytes([o[i], o[i + 1], o[i + 2], o[i + 3]]))
        }
    }
}

/// The inverse of [`to_wire_addr`]; `family` is 4 or 6.
pub fn from_wire_addr(family: u8, a: [u32; 4]) -> IpAddr {
    if family == 6 {
        let mut o = [0; 16];
        o.chunks_exact_mut(4).zip(a).for_each(|(to, w)| to.copy_from_slice(&w.to_ne_bytes()));
        return IpAddr::from(o);
    }
    IpAddr::from(a[0].to_ne_bytes())
}

/// The family of an address as a number: 4 or 6.
pub fn family_number(a: IpAddr) -> u8 {
    if a.is_ipv6() { 6 } else { 4 }
}
