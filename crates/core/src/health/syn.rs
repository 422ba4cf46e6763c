//! A TCP connection that is begun and given up: SYN, its answer, RST (RFC 9293, 3.5), as IPv4 packets.
//!
//! A real server for direct routing gets packets for the virtual address, and answers from it. Whether it would is seen only
//! by a packet that goes this way, and no ordinary socket of a director that holds the address sends one.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::vrrp::wire::checksum::{internet, pseudo_header};

const TCP: u8 = 6;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// IPv4 and TCP headers without options.
const HEADERS: usize = 40;

/// What an answer to a SYN says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Come in.
    Accepted,
    /// Nobody listens.
    Refused,
}

/// A connection that is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// Our address and port.
    pub from: SocketAddrV4,
    /// The virtual server's.
    pub to: SocketAddrV4,
    /// Our initial sequence number.
    pub sequence: u32,
}

impl Attempt {
    /// The packet that begins it.
    pub fn syn(&self) -> [u8; HEADERS] {
        self.packet(self.sequence, SYN)
    }

    /// The packet that gives it up, so that the server remembers nothing.
    pub fn rst(&self) -> [u8; HEADERS] {
        self.packet(self.sequence.wrapping_add(1), RST)
    }

    fn packet(&self, sequence: u32, flags: u8) -> [u8; HEADERS] {
        let mut p = [0; HEADERS];
        p[0] = 0x45;
        p[2..4].copy_from_slice(&(HEADERS as u16).to_be_bytes());
        p[6] = 0x40; // don't fragment
        p[8] = 64;
        p[9] = TCP;
        p[12..16].copy_from_slice(&self.from.ip().octets());
        p[16..20].copy_from_slice(&self.to.ip().octets());
        let sum = internet(0, &p[..20]);
        p[10..12].copy_from_slice(&sum.to_be_bytes());
        p[20..22].copy_from_slice(&self.from.port().to_be_bytes());
        p[22..24].copy_from_slice(&self.to.port().to_be_bytes());
        p[24..28].copy_from_slice(&sequence.to_be_bytes());
        p[32] = 0x50;
        p[33] = flags;
        p[34..36].copy_from_slice(&[0xff, 0xff]);
        let pseudo = pseudo_header((*self.from.ip()).into(), (*self.to.ip()).into(), TCP, HEADERS - 20);
        let sum = internet(pseudo, &p[20..]);
        p[36..38].copy_from_slice(&sum.to_be_bytes());
        p
    }

    /// What an IPv4 packet answers; `None` if it is no answer to this. Its checksum may still be for a card to make, and is
    /// not looked at.
    pub fn answer(&self, packet: &[u8]) -> Option<Answer> {
        let length = usize::from(packet.first()? & 0xf) * 4;
        let address = |at: usize| packet.get(at..at + 4).map(|b| Ipv4Addr::new(b[0], b[1], b[2], b[3]));
        let tcp = packet.get(length..).filter(|t| t.len() >= 20)?;
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let ours = packet[0] >> 4 == 4
            && packet.get(9) == Some(&TCP)
            && (address(12)?, port(0)) == (*self.to.ip(), self.to.port())
            && (address(16)?, port(2)) == (*self.from.ip(), self.from.port())
            && tcp[8..12] == self.sequence.wrapping_add(1).to_be_bytes();
        match tcp[13] & (SYN | ACK | RST | FIN) {
            flags if ours && flags == SYN | ACK => Some(Answer::Accepted),
            flags if ours && flags & RST != 0 => Some(Answer::Refused),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        let at = |last, port| SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, last), port);
        Attempt { from: at(1, 40_000), to: at(100, 80), sequence: u32::MAX }
    }

    /// The answer that a server's stack would make of a SYN.
    fn reply(flags: u8) -> Vec<u8> {
        let a = attempt();
        let mut p = Attempt { from: a.to, to: a.from, sequence: 7 }.packet(7, flags).to_vec();
        p[28..32].copy_from_slice(&a.sequence.wrapping_add(1).to_be_bytes());
        p
    }

    #[test]
    fn packets_have_right_checksums() {
        for p in [attempt().syn(), attempt().rst()] {
            assert_eq!(internet(0, &p[..20]), 0);
            let pseudo: u32 = p[12..20].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
            assert_eq!(internet(pseudo + 6 + 20, &p[20..]), 0);
        }
        assert_eq!(attempt().rst()[24..28], [0; 4], "the number behind the SYN, which wraps");
    }

    #[test]
    fn answers_are_told_from_other_packets() {
        let a = attempt();
        assert_eq!(a.answer(&reply(SYN | ACK)), Some(Answer::Accepted));
        assert_eq!(a.answer(&reply(RST | ACK)), Some(Answer::Refused));
        assert_eq!(a.answer(&reply(ACK)), None);
        assert_eq!(a.answer(&a.syn()), None);
        for broken in 0..40 {
            let mut p = reply(SYN | ACK);
            p.truncate(broken);
            assert_eq!(a.answer(&p), None, "cut to {broken}");
        }
        for changed in [12, 16, 9, 21, 23, 30] {
            let mut p = reply(SYN | ACK);
            p[changed] ^= 1;
            assert_eq!(a.answer(&p), None, "byte {changed}");
        }
    }
}
