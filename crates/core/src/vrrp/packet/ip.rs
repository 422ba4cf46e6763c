//! The IP packet around an advert.

use std::net::{IpAddr, Ipv4Addr};

use super::ah;
use super::checksum::internet_checksum;
use crate::model::Vrid;

/// Internetwork control, as routers mark such packets (RFC 791, 3.1, "Precedence").
const TOS: u8 = 0xc0;
/// An IPv4 header without options.
pub(super) const IPV4_HEADER_LEN: usize = 20;

/// What of an IP header matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpHeader {
    /// Source.
    pub src: IpAddr,
    /// Destination: a group, or one of our addresses.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// 112, or 51 where an authentication header follows.
    pub protocol: u8,
    /// IPv4's identification, host byte order; an authentication header covers it.
    pub id: u16,
}

impl IpHeader {
    /// As bytes before a payload of this length, with its checksum; without options, and it may be fragmented.
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

/// Splits an IPv4 packet that came from a raw socket into header and payload. `None` if it is not one, or is shorter
/// than it says.
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

/// The VRID that a packet's payload names, before anything else of it is trusted.
pub fn peek_vrid(ip: &IpHeader, payload: &[u8]) -> Option<Vrid> {
    let at = if ip.protocol == ah::IPPROTO_AH { ah::HEADER_LEN + 1 } else { 1 };
    Vrid::new(*payload.get(at)?)
}
