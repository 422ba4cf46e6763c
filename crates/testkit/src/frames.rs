//! Frames, built and parsed by etherparse, an implementation that is independent of evenkeel's.

use std::net::IpAddr;

use etherparse::{NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice};

/// TCP flags of a segment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct TcpFlags {
    /// SYN
    pub syn: bool,
    /// ACK
    pub ack: bool,
    /// FIN
    pub fin: bool,
    /// RST
    pub rst: bool,
}

impl TcpFlags {
    /// From the letters `S`, `A`, `F`, `R` in any order. Other letters are ignored.
    pub fn parse(letters: &str) -> TcpFlags {
        let has = |c| letters.contains(c);
        TcpFlags { syn: has('S'), ack: has('A'), fin: has('F'), rst: has('R') }
    }
}

/// An address and a port.
pub type Endpoint = (IpAddr, u16);

const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The destination of every frame that this module builds. XDP test runs arrive on the loopback device, whose address
/// this is.
pub const DIRECTOR_MAC: [u8; 6] = [0; 6];

fn ip_builder(from: IpAddr, to: IpAddr, ttl: u8) -> PacketBuilderStep<etherparse::IpHeaders> {
    let b = PacketBuilder::ethernet2(CLIENT_MAC, DIRECTOR_MAC);
    match (from, to) {
        (IpAddr::V4(f), IpAddr::V4(t)) => b.ipv4(f.octets(), t.octets(), ttl),
        (IpAddr::V6(f), IpAddr::V6(t)) => b.ipv6(f.octets(), t.octets(), ttl),
        _ => panic!("{from} and {to} are of different families"),
    }
}

/// A TCP segment.
pub fn tcp(from: Endpoint, to: Endpoint, flags: TcpFlags, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut b = ip_builder(from.0, to.0, ttl).tcp(from.1, to.1, 1000, 1024);
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
pub fn udp(from: Endpoint, to: Endpoint, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let b = ip_builder(from.0, to.0, ttl).udp(from.1, to.1);
    let mut out = Vec::new();
    b.write(&mut out, payload).unwrap_or_else(|e| panic!("build a datagram: {e}"));
    out
}

/// An SCTP packet with one chunk of type `chunk` (RFC 9260, 3).
pub fn sctp(from: Endpoint, to: Endpoint, chunk: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = Vec::new();
    p.extend(from.1.to_be_bytes());
    p.extend(to.1.to_be_bytes());
    p.extend([0, 0, 0, 7, 0, 0, 0, 0]);
    p.extend([chunk, 0]);
    p.extend((4 + payload.len() as u16).to_be_bytes());
    p.extend(payload);
    p.resize(p.len().next_multiple_of(4), 0);
    let crc = crc32c(&p);
    p[8..12].copy_from_slice(&crc.to_le_bytes());
    let mut out = Vec::new();
    let done = ip_builder(from.0, to.0, 64).write(&mut out, etherparse::ip_number::SCTP, &p);
    done.unwrap_or_else(|e| panic!("build a packet: {e}"));
    out
}

/// An ESP packet (RFC 4303): security parameters index, sequence number, opaque payload.
pub fn esp(from: IpAddr, to: IpAddr, payload: &[u8]) -> Vec<u8> {
    let p = [&[0, 0, 0x10, 1, 0, 0, 0, 1], payload].concat();
    let mut out = Vec::new();
    let done = ip_builder(from, to, 64).write(&mut out, etherparse::ip_number::ENCAPSULATING_SECURITY_PAYLOAD, &p);
    done.unwrap_or_else(|e| panic!("build a packet: {e}"));
    out
}

/// CRC32c bit by bit (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |c: u32, _| if c & 1 == 1 { c >> 1 ^ 0x82f6_3b78 } else { c >> 1 };
    !bytes.iter().fold(!0, |c, b| (0..8).fold(c ^ u32::from(*b), step))
}

/// The ports of an SCTP packet. Panics if its checksum is wrong.
fn parse_sctp_ports(p: &[u8]) -> (u16, u16) {
    let port = |i: usize| u16::from_be_bytes([p[i], p[i + 1]]);
    let mut blank = p.to_vec();
    blank[8..12].fill(0);
    assert_eq!(p[8..12], crc32c(&blank).to_le_bytes(), "SCTP checksum");
    (port(0), port(2))
}

/// The header fields of a frame whose checksums are valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParsedFrame {
    /// Destination hardware address.
    pub dmac: [u8; 6],
    /// Source hardware address.
    pub smac: [u8; 6],
    /// Source address and port.
    pub from: Endpoint,
    /// Destination address and port.
    pub to: Endpoint,
    /// TTL, or hop limit.
    pub ttl: u8,
}

/// An ICMP or ICMPv6 message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IcmpMessage {
    /// Destination hardware address.
    pub dmac: [u8; 6],
    /// Source address.
    pub from: IpAddr,
    /// Destination address.
    pub to: IpAddr,
    /// Type and code.
    pub kind: (u8, u8),
    /// The second word of the header.
    pub rest: u32,
    /// The quoted packet from its IP header on.
    pub quote: Vec<u8>,
}

/// The Internet checksum before the complement (RFC 1071): the ones' complement sum of 16-bit words.
pub fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = parts
        .iter()
        .flat_map(|p| p.chunks(2))
        .map(|c| u32::from(c[0]) << 8 | c.get(1).map_or(0, |b| u32::from(*b)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Parses an ICMP or ICMPv6 message, `None` for other frames. Panics if a checksum is wrong.
pub fn parse_icmp(frame: &[u8]) -> Option<IcmpMessage> {
    let p = SlicedPacket::from_ethernet(frame).ok()?;
    let (from, to) = match &p.net {
        Some(NetSlice::Ipv4(ip)) => {
            let h = ip.header().to_header();
            assert_eq!(h.header_checksum, h.calc_header_checksum(), "IP header checksum");
            (IpAddr::from(h.source), IpAddr::from(h.destination))
        }
        Some(NetSlice::Ipv6(ip)) => (IpAddr::from(ip.header().source()), IpAddr::from(ip.header().destination())),
        _ => return None,
    };
    let payload = p.net.as_ref()?.ip_payload_ref()?;
    let pseudo = match (payload.ip_number, from, to) {
        (etherparse::ip_number::ICMP, ..) => Vec::new(),
        (etherparse::ip_number::IPV6_ICMP, IpAddr::V6(f), IpAddr::V6(t)) => {
            [&f.octets()[..], &t.octets(), &(payload.payload.len() as u32).to_be_bytes(), &[0, 0, 0, 58]].concat()
        }
        _ => return None,
    };
    let m = payload.payload;
    assert_eq!(internet_checksum(&[&pseudo, m]), 0xffff, "ICMP checksum");
    Some(IcmpMessage {
        dmac: frame[..6].try_into().ok()?,
        from,
        to,
        kind: (m[0], m[1]),
        rest: u32::from_be_bytes(m[4..8].try_into().ok()?),
        quote: m[8..].to_vec(),
    })
}

/// An ICMP or ICMPv6 error as a router sends it. `about` is the packet in error from its IP header on.
pub fn icmp_error(from: IpAddr, to: IpAddr, kind: (u8, u8), rest: u32, about: &[u8]) -> Vec<u8> {
    let mut m = vec![kind.0, kind.1, 0, 0];
    m.extend(rest.to_be_bytes());
    m.extend(about);
    let (number, pseudo) = match (from, to) {
        (IpAddr::V6(f), IpAddr::V6(t)) => {
            let pseudo = [&f.octets()[..], &t.octets(), &(m.len() as u32).to_be_bytes(), &[0, 0, 0, 58]].concat();
            (etherparse::ip_number::IPV6_ICMP, pseudo)
        }
        _ => (etherparse::ip_number::ICMP, Vec::new()),
    };
    let check = !internet_checksum(&[&pseudo, &m]);
    m[2..4].copy_from_slice(&check.to_be_bytes());
    let mut out = Vec::new();
    ip_builder(from, to, 64).write(&mut out, number, &m).unwrap_or_else(|e| panic!("build an error: {e}"));
    out
}

/// Sets or clears the DF flag of an IPv4 packet.
pub fn set_dont_fragment(frame: &mut [u8], yes: bool) {
    frame[20] = if yes { 0x40 } else { 0 };
    frame[24..26].fill(0);
    let check = !internet_checksum(&[&frame[14..34]]);
    frame[24..26].copy_from_slice(&check.to_be_bytes());
}

/// Fragments an IP packet. `size`: bytes of payload per fragment, a multiple of 8.
pub fn fragments(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    let v6 = frame[12] == 0x86;
    let header = if v6 { 40 } else { 20 };
    let (eth, ip, payload) = (&frame[..14], &frame[14..14 + header], &frame[14 + header..]);
    let chunks = payload.chunks(size).enumerate();
    chunks
        .map(|(n, fragment)| {
            let (offset, more) = (n * size / 8, (n + 1) * size < payload.len());
            let mut ip = ip.to_vec();
            let mut extra = Vec::new();
            if v6 {
                let word = (offset as u16) << 3 | u16::from(more);
                extra = [&[ip[6], 0][..], &word.to_be_bytes(), &[1, 2, 3, 4]].concat();
                ip[6] = 44;
                ip[4..6].copy_from_slice(&((8 + fragment.len()) as u16).to_be_bytes());
            } else {
                ip[2..4].copy_from_slice(&((20 + fragment.len()) as u16).to_be_bytes());
                ip[4..6].copy_from_slice(&[0x12, 0x34]);
                let word = offset as u16 | if more { 0x2000 } else { 0 };
                ip[6..8].copy_from_slice(&word.to_be_bytes());
                ip[10..12].fill(0);
                let check = !internet_checksum(&[&ip]);
                ip[10..12].copy_from_slice(&check.to_be_bytes());
            }
            [eth, &ip, &extra, fragment].concat()
        })
        .collect()
}

/// Reassembles fragments. The Ethernet header is that of the first fragment.
pub fn reassemble(fragments: &[Vec<u8>]) -> Vec<u8> {
    let v6 = fragments[0][12] == 0x86;
    let skip = if v6 { 14 + 48 } else { 14 + 20 };
    let payload: Vec<u8> = fragments.iter().flat_map(|p| p[skip..].to_vec()).collect();
    let mut head = fragments[0][..if v6 { 54 } else { 34 }].to_vec();
    if v6 {
        head[14 + 6] = fragments[0][54];
        head[18..20].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    } else {
        head[16..18].copy_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
        head[20..22].fill(0);
        head[24..26].fill(0);
        let check = !internet_checksum(&[&head[14..34]]);
        head[24..26].copy_from_slice(&check.to_be_bytes());
    }
    [head, payload].concat()
}

/// Parses a frame. Panics if it is incomplete or a checksum is wrong.
pub fn parse_frame(frame: &[u8]) -> ParsedFrame {
    let p = SlicedPacket::from_ethernet(frame).unwrap_or_else(|e| panic!("not a frame: {e}"));
    let Some(etherparse::LinkSlice::Ethernet2(eth)) = &p.link else { panic!("no Ethernet header") };
    let (source, destination, ttl) = match &p.net {
        Some(NetSlice::Ipv4(ip)) => {
            let h = ip.header().to_header();
            assert_eq!(h.header_checksum, h.calc_header_checksum(), "IP header checksum");
            (IpAddr::from(h.source), IpAddr::from(h.destination), h.time_to_live)
        }
        Some(NetSlice::Ipv6(ip)) => {
            let h = ip.header();
            (IpAddr::from(h.source()), IpAddr::from(h.destination()), h.hop_limit())
        }
        _ => panic!("neither IPv4 nor IPv6"),
    };
    let (sport, dport) = match &p.transport {
        Some(TransportSlice::Tcp(t)) => {
            let sum = match (source, destination) {
                (IpAddr::V4(s), IpAddr::V4(d)) => t.calc_checksum_ipv4(s.octets(), d.octets()).ok(),
                (IpAddr::V6(s), IpAddr::V6(d)) => t.calc_checksum_ipv6(s.octets(), d.octets()).ok(),
                _ => None,
            };
            assert_eq!(Some(t.checksum()), sum, "TCP checksum");
            (t.source_port(), t.destination_port())
        }
        Some(TransportSlice::Udp(u)) => {
            let h = u.to_header();
            let sum = match (source, destination) {
                (IpAddr::V4(s), IpAddr::V4(d)) => h.calc_checksum_ipv4_raw(s.octets(), d.octets(), u.payload()).ok(),
                (IpAddr::V6(s), IpAddr::V6(d)) => h.calc_checksum_ipv6_raw(s.octets(), d.octets(), u.payload()).ok(),
                _ => None,
            };
            assert_eq!(Some(u.checksum()), sum, "UDP checksum");
            (u.source_port(), u.destination_port())
        }
        _ => {
            let payload = p.net.as_ref().and_then(|n| n.ip_payload_ref()).unwrap_or_else(|| panic!("no payload"));
            match payload.ip_number {
                etherparse::ip_number::SCTP => parse_sctp_ports(payload.payload),
                etherparse::ip_number::ENCAPSULATING_SECURITY_PAYLOAD => (0, 0),
                other => panic!("neither TCP, UDP, SCTP nor ESP: {other:?}"),
            }
        }
    };
    ParsedFrame { dmac: eth.destination(), smac: eth.source(), from: (source, sport), to: (destination, dport), ttl }
}
