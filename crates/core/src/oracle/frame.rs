//! The parser of Ethernet frames, as the packet path parses them: which packet is in a frame, if decisions depend on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Packet;
use super::states::SCTP_ABORT;
use crate::model::Protocol;

/// The most extension headers of an IPv6 packet that are parsed.
const MAX_EXTENSION_HEADERS: usize = 6;
/// The greatest offset of a layer-4 header in a frame, in bytes.
const MAX_L4_OFFSET: usize = 0xfff;

/// The result of parsing a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParsedFrame {
    /// Passed to the kernel in any case: not IP, a truncated header, or a protocol that no service can have.
    Unsupported,
    /// A TCP, UDP or SCTP packet, or its first fragment.
    Packet {
        /// The fields that decisions depend on.
        packet: Packet,
        /// TTL or hop limit.
        ttl: u8,
        /// The length of the IP packet by its header, in bytes.
        ip_len: usize,
    },
    /// A later fragment, ICMP or IPsec: its verdict depends on other packets, and this model does not cover it.
    Other,
}

fn read_be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*b.get(at)?, *b.get(at + 1)?]))
}

/// Parses a frame without VLAN tags.
pub fn parse_frame(frame: &[u8]) -> ParsedFrame {
    let parsed = match read_be16(frame, 12) {
        Some(0x0800) => parse_ipv4(frame),
        Some(0x86dd) => parse_ipv6(frame),
        _ => None,
    };
    parsed.unwrap_or(ParsedFrame::Unsupported)
}

/// RFC 791, 3.1
fn parse_ipv4(frame: &[u8]) -> Option<ParsedFrame> {
    let ip = frame.get(14..34)?;
    let header_len = usize::from(ip[0] & 0xf) * 4;
    if ip[0] >> 4 != 4 || header_len < 20 {
        return None;
    }
    let addr = |at: usize| IpAddr::from(Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]));
    if read_be16(ip, 6)? & 0x1fff != 0 {
        return Some(ParsedFrame::Other);
    }
    parse_layer4(frame, 14 + header_len, ip[9], (addr(12), addr(16)), ip[8], read_be16(ip, 2)?.into())
}

/// RFC 8200, 3 and 4
fn parse_ipv6(frame: &[u8]) -> Option<ParsedFrame> {
    let ip = frame.get(14..54)?;
    if ip[0] >> 4 != 6 {
        return None;
    }
    let addr =
        |at: usize| -> Option<IpAddr> { Some(Ipv6Addr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).ok()?).into()) };
    let (mut next, mut at) = (ip[6], 54);
    for _ in 0..MAX_EXTENSION_HEADERS {
        if matches!(next, 6 | 17 | 132 | 58 | 50) {
            break;
        }
        let h = frame.get(at & MAX_L4_OFFSET..(at & MAX_L4_OFFSET) + 8)?;
        match next {
            44 => {
                if read_be16(h, 2)? & 0xfff8 != 0 {
                    return Some(ParsedFrame::Other);
                }
                at += 8;
            }
            0 | 43 | 60 => at += (usize::from(h[1]) + 1) * 8,
            51 => at += (usize::from(h[1]) + 2) * 4,
            _ => return None,
        }
        next = h[0];
    }
    if at > MAX_L4_OFFSET {
        return None;
    }
    let ip_len = usize::from(read_be16(ip, 4)?) + 40;
    parse_layer4(frame, at, next, (addr(8)?, addr(24)?), ip[7], ip_len)
}

fn parse_layer4(
    frame: &[u8],
    at: usize,
    protocol: u8,
    (src, dst): (IpAddr, IpAddr),
    ttl: u8,
    ip_len: usize,
) -> Option<ParsedFrame> {
    let Some(protocol) = Protocol::from_number(protocol) else {
        let icmp = if src.is_ipv4() { 1 } else { 58 };
        return (protocol == icmp || matches!(protocol, 50 | 51)).then_some(ParsedFrame::Other);
    };
    let l4 = frame.get(at..)?;
    let (header_len, event) = match protocol {
        Protocol::Tcp => (20, l4.get(13).copied()?),
        Protocol::Udp => (8, 0),
        Protocol::Sctp => (16, sctp_event(l4)?),
    };
    l4.get(..header_len)?;
    let packet = Packet { protocol, src: (src, read_be16(l4, 0)?), dst: (dst, read_be16(l4, 2)?), event };
    Some(ParsedFrame::Packet { packet, ttl, ip_len })
}

/// The type of an SCTP packet's first chunk (RFC 9260, 3.2). An ABORT that follows a COOKIE ECHO or COOKIE ACK in the same
/// packet counts instead of it (sctp_state()).
fn sctp_event(l4: &[u8]) -> Option<u8> {
    let (kind, length) = (*l4.get(12)?, usize::from(read_be16(l4, 14)?));
    let skip = (length + 3) & 0x7fc;
    let second = l4.get(12 + skip..12 + skip + 4).map(|c| c[0]);
    Some(if matches!(kind, 10 | 11) && skip >= 4 && second == Some(SCTP_ABORT) { SCTP_ABORT } else { kind })
}
