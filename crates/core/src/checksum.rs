//! The Internet checksum (RFC 1071), and the pseudo-headers that it covers: for VRRP messages and for health probes
//! that are built as packets.

use std::net::IpAddr;

/// The Internet checksum of `bytes`, on top of a sum that is already there (a pseudo-header's, or 0).
///
/// With zeros in the packet's checksum field the result is what belongs there; with the right checksum in it, 0.
pub(crate) fn internet_checksum(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = start + sum_words(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The sum over a pseudo-header: RFC 768's for IPv4, RFC 8200's (8.1) for IPv6. Their 16-bit words have the same sum.
/// `length`: bytes of the upper-layer packet.
pub(crate) fn pseudo_header_sum(src: IpAddr, dst: IpAddr, protocol: u8, length: usize) -> u32 {
    let address_sum = |a: IpAddr| match a {
        IpAddr::V4(a) => sum_words(&a.octets()),
        IpAddr::V6(a) => sum_words(&a.octets()),
    };
    address_sum(src) + address_sum(dst) + u32::from(protocol) + length as u32
}

/// The sum of the big-endian 16-bit words; an odd last byte is padded with zero.
fn sum_words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
}
