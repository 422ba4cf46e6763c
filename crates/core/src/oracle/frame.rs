//! A frame as the packet path reads it: which packet it is, or why it is nobody's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Packet;
use crate::model::Protocol;

/// Extension headers of IPv6 that are gone through.
const MAX_EXTENSION_HEADERS: usize = 6;
/// Where a layer-4 header may begin, at most: bytes from the frame's beginning.
const MAX_L4_OFFSET: usize = 0xfff;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParsedFrame {
    /// The kernel's, whatever services there are: no IP, a header that is not whole, a protocol that nobody balances.
    Unsupported,
    /// A packet that the decisions are about, whole or its first piece.
    Packet {
        /// It.
        packet: Packet,
        /// Its TTL, or hop limit.
        ttl: u8,
        /// What its header says of its length: bytes of the IP packet.
        ip_len: usize,
    },
    /// A later piece of a packet, ICMP, or IPsec, which go by what came before.
    Other,
}

fn read_be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*b.get(at)?, *b.get(at + 1)?]))
}

/// Reads a frame without tags.
pub fn parse_frame(frame: &[u8]) -> ParsedFrame {
    let seen = match read_be16(frame, 12) {
        Some(0x0800) => parse_ipv4(frame),
        Some(0x86dd) => parse_ipv6(frame),
        _ => None,
    };
    seen.unwrap_or(ParsedFrame::Unsupported)
}

/// RFC 791, 3.1
fn parse_ipv4(frame: &[u8]) -> Option<ParsedFrame> {
    let ip = frame.get(14..34)?;
    let header = usize::from(ip[0] & 0xf) * 4;
    if ip[0] >> 4 != 4 || header < 20 {
        return None;
    }
    let addr = |at: usize| IpAddr::from(Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]));
    if read_be16(ip, 6)? & 0x1fff != 0 {
        return Some(ParsedFrame::Other);
    }
    parse_layer4(frame, 14 + header, ip[9], (addr(12), addr(16)), ip[8], read_be16(ip, 2)?.into())
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
    let bytes = usize::from(read_be16(ip, 4)?) + 40;
    parse_layer4(frame, at, next, (addr(8)?, addr(24)?), ip[7], bytes)
}

fn parse_layer4(
    frame: &[u8],
    at: usize,
    protocol: u8,
    (from, to): (IpAddr, IpAddr),
    ttl: u8,
    bytes: usize,
) -> Option<ParsedFrame> {
    let Some(protocol) = Protocol::from_number(protocol) else {
        let icmp = if from.is_ipv4() { 1 } else { 58 };
        return (protocol == icmp || matches!(protocol, 50 | 51)).then_some(ParsedFrame::Other);
    };
    let l4 = frame.get(at..)?;
    let (whole, event) = match protocol {
        Protocol::Tcp => (20, l4.get(13).copied()?),
        Protocol::Udp => (8, 0),
        Protocol::Sctp => (16, sctp_event(l4)?),
    };
    l4.get(..whole)?;
    let packet = Packet { protocol, src: (from, read_be16(l4, 0)?), dst: (to, read_be16(l4, 2)?), event };
    Some(ParsedFrame::Packet { packet, ttl, ip_len: bytes })
}

/// The type of an SCTP packet's first chunk (RFC 9260, 3.2); an ABORT bundled behind a COOKIE ECHO or COOKIE ACK counts for
/// it (sctp_state()).
fn sctp_event(l4: &[u8]) -> Option<u8> {
    const ABORT: u8 = 6;
    let (kind, length) = (*l4.get(12)?, usize::from(read_be16(l4, 14)?));
    let skip = (length + 3) & 0x7fc;
    let behind = l4.get(12 + skip..12 + skip + 4).map(|c| c[0]);
    Some(if matches!(kind, 10 | 11) && skip >= 4 && behind == Some(ABORT) { ABORT } else { kind })
}
