//! The parser of Ethernet frames, as the packet path parses them: which packet is in a frame, if decisions depend on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::states::SCTP_ABORT;
use super::{HeaderCheck, Packet};
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
        /// Whether the headers are valid.
        header: HeaderCheck,
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
    let is_fragment = read_be16(ip, 6)? & 0x2000 != 0;
    let ip_len = read_be16(ip, 2)?.into();
    let parsed = parse_layer4(frame, 14 + header_len, ip[9], (addr(12), addr(16)), ip[8], (ip_len, is_fragment))?;
    let header = frame.get(14..14 + header_len)?;
    Some(match parsed {
        ParsedFrame::Packet { packet, ttl, ip_len, header: valid } => {
            let check = match check_options(&header[20..]) {
                _ if !is_header_sum_right(header) => HeaderCheck::Invalid,
                HeaderCheck::Valid => valid,
                options => options,
            };
            ParsedFrame::Packet { packet, ttl, ip_len, header: check }
        }
        other => other,
    })
}

/// RFC 791, 3.1; RFC 1071
fn is_header_sum_right(header: &[u8]) -> bool {
    let mut sum: u32 = header.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

/// Source routes and malformed options are the kernel's (ip_rcv_options()).
fn check_options(mut options: &[u8]) -> HeaderCheck {
    while let Some(&kind) = options.first() {
        let len = match (kind, options.get(1)) {
            (0, _) => return HeaderCheck::Valid,
            (1, _) => 1,
            (131 | 137, _) | (_, None) => return HeaderCheck::ForKernel,
            (_, Some(&len)) if len < 2 || usize::from(len) > options.len() => return HeaderCheck::ForKernel,
            (_, Some(&len)) => len.into(),
        };
        options = &options[len..];
    }
    HeaderCheck::Valid
}

/// RFC 8200, 3 and 4
fn parse_ipv6(frame: &[u8]) -> Option<ParsedFrame> {
    let ip = frame.get(14..54)?;
    if ip[0] >> 4 != 6 {
        return None;
    }
    let addr =
        |at: usize| -> Option<IpAddr> { Some(Ipv6Addr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).ok()?).into()) };
    let (mut next, mut at, mut is_fragment) = (ip[6], 54, false);
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
                is_fragment |= read_be16(h, 2)? & 1 != 0;
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
    parse_layer4(frame, at, next, (addr(8)?, addr(24)?), ip[7], (ip_len, is_fragment))
}

fn parse_layer4(
    frame: &[u8],
    at: usize,
    protocol: u8,
    (src, dst): (IpAddr, IpAddr),
    ttl: u8,
    (ip_len, is_fragment): (usize, bool),
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
    let is_valid = ip_len + 14 <= frame.len()
        && (ip_len + 14).checked_sub(at).is_some_and(|left| is_layer4_right(protocol, l4, left, is_fragment));
    let header = if is_valid { HeaderCheck::Valid } else { HeaderCheck::Invalid };
    Some(ParsedFrame::Packet { packet, ttl, ip_len, header })
}

/// Whether the header of layer 4 is whole, and its length fits into the `left` bytes of the packet.
fn is_layer4_right(protocol: Protocol, l4: &[u8], left: usize, is_fragment: bool) -> bool {
    match protocol {
        Protocol::Tcp => {
            let header_len = usize::from(l4[12] >> 4) * 4;
            header_len >= 20 && (header_len <= left || is_fragment)
        }
        Protocol::Udp => {
            let udp_len = usize::from(u16::from_be_bytes([l4[4], l4[5]]));
            left >= 8 && udp_len >= 8 && (udp_len <= left || is_fragment)
        }
        Protocol::Sctp => left >= 16,
    }
}

/// The type of an SCTP packet's first chunk (RFC 9260, 3.2). An ABORT that follows a COOKIE ECHO or COOKIE ACK in the same
/// packet counts instead of it (sctp_state()).
fn sctp_event(l4: &[u8]) -> Option<u8> {
    let (kind, length) = (*l4.get(12)?, usize::from(read_be16(l4, 14)?));
    let skip = (length + 3) & 0x7fc;
    let second = l4.get(12 + skip..12 + skip + 4).map(|c| c[0]);
    Some(if matches!(kind, 10 | 11) && skip >= 4 && second == Some(SCTP_ABORT) { SCTP_ABORT } else { kind })
}
