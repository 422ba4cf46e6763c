//! Encapsulation of probes as the packet path encapsulates forwarded packets: an outer header of IPv4 or IPv6, and
//! between the two GRE (RFC 2784) or GUE (draft-ietf-intarea-gue, variant 0). It must agree with the packet path's
//! `tunnel.h`.

use std::net::IpAddr;

use crate::checksum::{internet_checksum, pseudo_header_sum};
use crate::model::{Tunnel, TunnelChecksum, TunnelKind};

const IPPROTO_IPIP: u8 = 4;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_IPV6: u8 = 41;
const IPPROTO_GRE: u8 = 47;
/// TTL and hop limit of the outer header.
const TTL: u8 = 64;
/// The GUE source port, which distinguishes flows; from the dynamic range of RFC 6335.
const GUE_SOURCE_PORT: u16 = 0xc000;

/// The IPv4 header (RFC 791, with DF) or IPv6 header (RFC 8200) for `bytes` bytes. Both addresses are of one family.
pub(super) fn ip_header(from: IpAddr, to: IpAddr, protocol: u8, bytes: usize) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut h = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, TTL, protocol, 0, 0];
            h[2..4].copy_from_slice(&((bytes + 20) as u16).to_be_bytes());
            h.extend_from_slice(&from.octets());
            h.extend_from_slice(&to.octets());
            let sum = internet_checksum(0, &h);
            h[10..12].copy_from_slice(&sum.to_be_bytes());
            h
        }
        (from, to) => {
            let six = |a: IpAddr| match a {
                IpAddr::V4(a) => a.to_ipv6_mapped(),
                IpAddr::V6(a) => a,
            };
            let mut h = vec![0x60, 0, 0, 0, 0, 0, protocol, TTL];
            h[4..6].copy_from_slice(&(bytes as u16).to_be_bytes());
            h.extend_from_slice(&six(from).octets());
            h.extend_from_slice(&six(to).octets());
            h
        }
    }
}

/// Returns the packet with the headers of a tunnel between two addresses of one family, which may not be the packet's.
pub fn encapsulate(tunnel: Tunnel, from: IpAddr, to: IpAddr, inner: &[u8]) -> Vec<u8> {
    let v6 = inner.first().is_some_and(|b| b >> 4 == 6);
    let summed = tunnel.checksum != TunnelChecksum::None;
    let next = if v6 { IPPROTO_IPV6 } else { IPPROTO_IPIP };
    let (protocol, mut middle) = match tunnel.kind {
        TunnelKind::Ipip => (next, Vec::new()),
        TunnelKind::Gre => {
            let mut h = vec![if summed { 0x80 } else { 0 }, 0, if v6 { 0x86 } else { 0x08 }, if v6 { 0xdd } else { 0 }];
            h.extend_from_slice(if summed { &[0; 4] } else { &[] });
            (IPPROTO_GRE, h)
        }
        TunnelKind::Gue(port) => {
            let mut h = GUE_SOURCE_PORT.to_be_bytes().to_vec();
            h.extend_from_slice(&port.to_be_bytes());
            h.extend_from_slice(&((inner.len() + 12) as u16).to_be_bytes());
            h.extend_from_slice(&[0, 0, 0, next, 0, 0]);
            (IPPROTO_UDP, h)
        }
    };
    let headers = middle.len();
    middle.extend_from_slice(inner);
    let (at, start) = match tunnel.kind {
        TunnelKind::Gue(_) => (6, pseudo_header_sum(from, to, IPPROTO_UDP, middle.len())),
        _ => (4, 0),
    };
    if summed && headers > 0 {
        let sum = match internet_checksum(start, &middle) {
            0 if protocol == IPPROTO_UDP => 0xffff, // 0 means no checksum (RFC 768)
            sum => sum,
        };
        middle[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let mut packet = ip_header(from, to, protocol, middle.len());
    packet.append(&mut middle);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_have_their_headers_and_checksums() {
        let v4 = [[192, 0, 2, 1], [192, 0, 2, 9]].map(IpAddr::from);
        let v6 = ["2001:db8::1", "2001:db8::9"].map(|a| a.parse().expect("an address"));
        for ([from, to], inner) in [v4, v6].into_iter().flat_map(|outer| [(outer, v4), (outer, v6)]) {
            let is_v4 = inner[0].is_ipv4();
            let inner = [ip_header(inner[0], inner[1], 6, 3), vec![1, 2, 3]].concat();
            let outer = if from.is_ipv4() { 20 } else { 40 };
            let make = |kind, checksum| encapsulate(Tunnel { kind, checksum }, from, to, &inner);
            let protocol = |p: &[u8]| if from.is_ipv4() { p[9] } else { p[6] };

            let p = make(TunnelKind::Ipip, TunnelChecksum::Full);
            assert_eq!((&p[outer..], protocol(&p)), (&inner[..], if is_v4 { 4 } else { 41 }));
            let p = make(TunnelKind::Gre, TunnelChecksum::None);
            assert_eq!((&p[outer + 4..], protocol(&p)), (&inner[..], 47));
            assert_eq!(p[outer..outer + 4], if is_v4 { [0, 0, 8, 0] } else { [0, 0, 0x86, 0xdd] });
            let p = make(TunnelKind::Gre, TunnelChecksum::Full);
            assert_eq!((&p[outer + 8..], p[outer], internet_checksum(0, &p[outer..])), (&inner[..], 0x80, 0));
            let p = make(TunnelKind::Gue(6080), TunnelChecksum::Full);
            assert_eq!((&p[outer + 12..], protocol(&p), &p[outer + 2..outer + 4]), (&inner[..], 17, &[0x17, 0xc0][..]));
            assert_eq!(internet_checksum(pseudo_header_sum(from, to, 17, p.len() - outer), &p[outer..]), 0);
            assert!(outer == 40 || internet_checksum(0, &p[..20]) == 0);
        }
    }
}
