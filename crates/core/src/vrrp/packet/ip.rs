//! The IP header of an advert.

use std::net::{IpAddr, Ipv4Addr};

use crate::checksum::internet_checksum;

/// Precedence "internetwork control" (RFC 791, 3.1).
const TOS: u8 = 0xc0;
/// Bytes of an IPv4 header without options.
pub(super) const IPV4_HEADER_LEN: usize = 20;

/// The fields of an IP header that VRRP uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpHeader {
    /// Source address.
    pub src: IpAddr,
    /// Destination address: a multicast group or a unicast address.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// 112 (VRRP), or 51 if an authentication header follows.
    pub protocol: u8,
    /// The identification field of IPv4 in host byte order. An authentication header covers it.
    pub id: u16,
}

impl IpHeader {
    /// The IPv4 header for `payload` bytes, with its checksum. It has no options, and the DF flag is not set.
    pub(super) fn encode_ipv4(&self, src: Ipv4Addr, dst: Ipv4Addr, payload: usize) -> [u8; IPV4_HEADER_LEN] {
        let mut h = [0; IPV4_HEADER_LEN];
        h[0] = 0x45;
        h[1] = TOS;
        h[2..4].copy_from_slice(&((IPV4_HEADER_LEN + payload).min(0xffff) as u16).to_be_bytes());
        h[4..6].copy_from_slice(&self.id.to_be_bytes());
        h[8] = self.ttl;
        h[9] = self.protocol;
        h[12..16].copy_from_slice(&src.octets());
        h[16..].copy_from_slice(&dst.octets());
        let sum = internet_checksum(0, &h);
        h[10..12].copy_from_slice(&sum.to_be_bytes());
        h
    }
}

/// Splits an IPv4 packet from a raw socket into header and payload. `None` if the packet is not IPv4 or is shorter than
/// its total length field.
pub fn split_ipv4(packet: &[u8]) -> Option<(IpHeader, &[u8])> {
    let head = packet.first_chunk::<IPV4_HEADER_LEN>()?;
    let ihl = usize::from(head[0] & 15) * 4;
    if head[0] >> 4 != 4 || ihl < IPV4_HEADER_LEN {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let address = |i: usize| IpAddr::from([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    let id = u16::from_be_bytes([head[4], head[5]]);
    let header = IpHeader { src: address(12), dst: address(16), ttl: head[8], protocol: head[9], id };
    Some((header, packet.get(ihl..length)?))
}
