//! The SYN probe of `through_service`: a TCP connection that is started and reset, as packets: SYN, its reply, RST (RFC
//! 9293, 3.5).
//!
//! With direct routing or a tunnel, a real server receives packets for the virtual address and replies from it. Only a
//! packet on the same path can test that, and an ordinary socket of a director that holds the address cannot send one.
//! With NAT, the real server's answers to clients must return through the director. A probe from the virtual address,
//! which is not on the real server's link, tests that.

use std::net::{IpAddr, SocketAddr};

use super::encap::ip_header;
use crate::checksum::{internet_checksum, pseudo_header_sum};

const IPPROTO_TCP: u8 = 6;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Bytes of a TCP header without options.
const TCP_HEADER_LEN: usize = 20;

/// The reply to a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SynReply {
    /// SYN and ACK: the port is open.
    Accepted,
    /// RST: the port is closed.
    Refused,
}

/// The TTLs and hop limits that hosts send with.
const INITIAL_TTLS: [u8; 4] = [32, 64, 128, 255];

/// Whether a router has forwarded an IP packet, by its TTL (RFC 791, 3.2) or hop limit (RFC 8200, 3).
pub fn is_forwarded(packet: &[u8]) -> bool {
    let offset = if packet.first().is_some_and(|b| b >> 4 == 6) { 7 } else { 8 };
    packet.get(offset).is_some_and(|ttl| !INITIAL_TTLS.contains(ttl))
}

/// A connection attempt between two addresses of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SynProbe {
    /// Our address and port.
    pub local: SocketAddr,
    /// The virtual server's address and port.
    pub remote: SocketAddr,
    /// Our initial sequence number.
    pub sequence: u32,
}

impl SynProbe {
    /// The SYN packet.
    pub fn syn(&self) -> Vec<u8> {
        self.encode(self.sequence, SYN)
    }

    /// The RST packet, after which the server has no state of the connection.
    pub fn rst(&self) -> Vec<u8> {
        self.encode(self.sequence.wrapping_add(1), RST)
    }

    fn encode(&self, sequence: u32, flags: u8) -> Vec<u8> {
        let mut tcp = [0; TCP_HEADER_LEN];
        tcp[0..2].copy_from_slice(&self.local.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&self.remote.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        tcp[12] = 0x50;
        tcp[13] = flags;
        tcp[14..16].copy_from_slice(&[0xff, 0xff]);
        let (from, to) = (self.local.ip(), self.remote.ip());
        let sum = internet_checksum(pseudo_header_sum(from, to, IPPROTO_TCP, TCP_HEADER_LEN), &tcp);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut packet = ip_header(from, to, IPPROTO_TCP, TCP_HEADER_LEN);
        packet.extend_from_slice(&tcp);
        packet
    }

    /// Parses the reply to the SYN; `None` if the packet is not one. The checksum is not verified, because a network
    /// card may have to compute it yet. IPv6 extension headers are not supported.
    pub fn parse_reply(&self, packet: &[u8]) -> Option<SynReply> {
        let (from, to, protocol, length) = match packet.first()? >> 4 {
            4 => {
                let address = |i: usize| Some(IpAddr::from(*packet.get(i..)?.first_chunk::<4>()?));
                (address(12)?, address(16)?, *packet.get(9)?, usize::from(packet[0] & 0xf) * 4)
            }
            6 => {
                let address = |i: usize| Some(IpAddr::from(*packet.get(i..)?.first_chunk::<16>()?));
                (address(8)?, address(24)?, *packet.get(6)?, 40)
            }
            _ => return None,
        };
        let tcp = packet.get(length..).filter(|t| t.len() >= TCP_HEADER_LEN)?;
        let port = |i: usize| u16::from_be_bytes([tcp[i], tcp[i + 1]]);
        let is_ours = protocol == IPPROTO_TCP
            && (from, port(0)) == (self.remote.ip(), self.remote.port())
            && (to, port(2)) == (self.local.ip(), self.local.port())
            && tcp[8..12] == self.sequence.wrapping_add(1).to_be_bytes();
        match tcp[13] & (SYN | ACK | RST | FIN) {
            flags if is_ours && flags == SYN | ACK => Some(SynReply::Accepted),
            flags if is_ours && flags & RST != 0 => Some(SynReply::Refused),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn_probe(v6: bool) -> SynProbe {
        let at = |last: u8, port| {
            let v6 = v6.then(|| IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]));
            SocketAddr::new(v6.unwrap_or(IpAddr::from([192, 0, 2, last])), port)
        };
        SynProbe { local: at(1, 40_000), remote: at(100, 80), sequence: u32::MAX }
    }

    /// A server's reply to the SYN, and the offset of its TCP header.
    fn reply(a: SynProbe, flags: u8) -> (Vec<u8>, usize) {
        let mut p = SynProbe { local: a.remote, remote: a.local, sequence: 7 }.encode(7, flags);
        let tcp = p.len() - TCP_HEADER_LEN;
        p[tcp + 8..tcp + 12].copy_from_slice(&a.sequence.wrapping_add(1).to_be_bytes());
        (p, tcp)
    }

    #[test]
    fn packets_have_correct_checksums() {
        for a in [syn_probe(false), syn_probe(true)] {
            for p in [a.syn(), a.rst()] {
                let (ip, tcp) = p.split_at(p.len() - TCP_HEADER_LEN);
                assert!(ip.len() == 40 || internet_checksum(0, ip) == 0);
                assert_eq!(
                    internet_checksum(pseudo_header_sum(a.local.ip(), a.remote.ip(), IPPROTO_TCP, TCP_HEADER_LEN), tcp),
                    0
                );
            }
            let rst = a.rst();
            assert_eq!(
                rst[rst.len() - 16..rst.len() - 12],
                [0; 4],
                "the sequence number after the SYN, which wraps around"
            );
        }
    }

    #[test]
    fn a_router_is_known_by_the_ttl() {
        for a in [syn_probe(false), syn_probe(true)] {
            let mut p = a.syn();
            assert!(!is_forwarded(&p));
            p[if a.local.is_ipv4() { 8 } else { 7 }] -= 1;
            assert!(is_forwarded(&p));
        }
        assert!(!is_forwarded(&[]));
    }

    #[test]
    fn replies_are_distinguished_from_other_packets() {
        for (a, ip) in [(syn_probe(false), [12, 16, 9]), (syn_probe(true), [8, 24, 6])] {
            assert_eq!(a.parse_reply(&reply(a, SYN | ACK).0), Some(SynReply::Accepted));
            assert_eq!(a.parse_reply(&reply(a, RST | ACK).0), Some(SynReply::Refused));
            assert_eq!(a.parse_reply(&reply(a, ACK).0), None);
            assert_eq!(a.parse_reply(&a.syn()), None);
            let (whole, tcp) = reply(a, SYN | ACK);
            for broken in 0..whole.len() {
                assert_eq!(a.parse_reply(&whole[..broken]), None, "cut to {broken}");
            }
            for changed in ip.into_iter().chain([tcp + 1, tcp + 3, tcp + 10]) {
                let mut p = whole.clone();
                p[changed] ^= 1;
                assert_eq!(a.parse_reply(&p), None, "byte {changed}");
            }
        }
    }
}
