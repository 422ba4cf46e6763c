//! Frames, built by an implementation that is not ours.

use std::net::Ipv4Addr;

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

/// TCP flags of a segment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Flags {
    /// SYN
    pub syn: bool,
    /// ACK
    pub ack: bool,
    /// FIN
    pub fin: bool,
    /// RST
    pub rst: bool,
}

impl Flags {
    /// `S`, `A`, `F`, `R` in any order; anything else means nothing.
    pub fn of(letters: &str) -> Flags {
        let has = |c| letters.contains(c);
        Flags { syn: has('S'), ack: has('A'), fin: has('F'), rst: has('R') }
    }
}

/// Address and port.
pub type End = (Ipv4Addr, u16);

const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The frame's destination in everything that this module builds: XDP test runs come in by the loopback device.
pub const DIRECTOR_MAC: [u8; 6] = [0; 6];

/// A TCP segment with some payload.
pub fn tcp(from: End, to: End, flags: Flags, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut b = PacketBuilder::ethernet2(CLIENT_MAC, DIRECTOR_MAC)
        .ipv4(from.0.octets(), to.0.octets(), ttl)
        .tcp(from.1, to.1, 1000, 1024);
    if flags.syn {
        b = b.syn();
    }
    if flags.ack {
        b = b.ack(1);
    }
    if flags.fin {
        b = b.fin();
    }
    if flags.rst {
        b = b.rst();
    }
    let mut out = Vec::new();
    b.write(&mut out, payload).unwrap_or_else(|e| panic!("build a segment: {e}"));
    out
}

/// A UDP datagram.
pub fn udp(from: End, to: End, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let b =
        PacketBuilder::ethernet2(CLIENT_MAC, DIRECTOR_MAC).ipv4(from.0.octets(), to.0.octets(), ttl).udp(from.1, to.1);
    let mut out = Vec::new();
    b.write(&mut out, payload).unwrap_or_else(|e| panic!("build a datagram: {e}"));
    out
}

/// What a frame is, taken apart and with its checksums verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Destination hardware address.
    pub dmac: [u8; 6],
    /// Source hardware address.
    pub smac: [u8; 6],
    /// Where it comes from.
    pub from: End,
    /// Where it goes.
    pub to: End,
    /// TTL.
    pub ttl: u8,
}

/// Takes a frame apart; panics if it is not whole or a checksum is wrong.
pub fn look(frame: &[u8]) -> Seen {
    let p = SlicedPacket::from_ethernet(frame).unwrap_or_else(|e| panic!("not a frame: {e}"));
    let Some(etherparse::LinkSlice::Ethernet2(eth)) = &p.link else { panic!("no Ethernet header") };
    let Some(etherparse::NetSlice::Ipv4(ip)) = &p.net else { panic!("no IPv4 header") };
    let h = ip.header().to_header();
    assert_eq!(h.header_checksum, h.calc_header_checksum(), "IP header checksum");
    let (sport, dport) = match &p.transport {
        Some(TransportSlice::Tcp(t)) => {
            assert_eq!(t.checksum(), t.calc_checksum_ipv4(h.source, h.destination).unwrap_or(0), "TCP checksum");
            (t.source_port(), t.destination_port())
        }
        Some(TransportSlice::Udp(u)) => (u.source_port(), u.destination_port()),
        _ => panic!("neither TCP nor UDP"),
    };
    Seen {
        dmac: eth.destination(),
        smac: eth.source(),
        from: (h.source.into(), sport),
        to: (h.destination.into(), dport),
        ttl: h.time_to_live,
    }
}
