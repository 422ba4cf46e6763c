//! Classic BPF filters for raw and packet sockets: adverts of some virtual routers, TCP replies, ARP replies.
//!
//! The kernel drops other packets before they reach the socket. So they wake no thread, and take no space in the
//! receive buffer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use evenkeel_core::model::Transport;
use evenkeel_core::vrrp::packet::ah;
use socket2::SockFilter;

/// Opcodes of classic BPF (the kernel's networking/filter.rst; linux/bpf_common.h). `INDIRECT` loads are relative to
/// the IP header's end, which LDX_HEADER_LENGTH computes.
const LDX_HEADER_LENGTH: u16 = 0xb1;
const LD_BYTE: u16 = 0x30;
const LD_WORD: u16 = 0x20;
const LD_HALF: u16 = 0x28;
const LD_BYTE_INDIRECT: u16 = 0x50;
const LD_HALF_INDIRECT: u16 = 0x48;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GE: u16 = 0x35;
const JUMP_IF_GT: u16 = 0x25;
const RETURN: u16 = 0x06;
/// The returned number of bytes: the whole packet, or nothing.
const ACCEPT: u32 = u32::MAX;
const REJECT: u32 = 0;
/// The offset of the VRID in a VRRP message.
const VRID_OFFSET: u32 = 1;

fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}

/// The contiguous ranges of sorted numbers, as (first, last).
fn contiguous_ranges(sorted: &[u8]) -> Vec<(u8, u8)> {
    let mut out: Vec<(u8, u8)> = Vec::new();
    for n in sorted {
        match out.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*n) => *last = *n,
            _ => out.push((*n, *n)),
        }
    }
    out
}

/// The filter for a raw socket: it accepts adverts of the VRIDs in `sorted`, or if `others` the adverts of all other
/// VRIDs. A raw IPv4 socket receives packets with their IP header, a raw IPv6 socket without.
pub fn vrid_filter(transport: Transport, sorted: &[u8], others: bool) -> Vec<SockFilter> {
    let (these, rest) = if others { (REJECT, ACCEPT) } else { (ACCEPT, REJECT) };
    let mut program = match transport {
        Transport::Ipv4 => {
            vec![instruction(LDX_HEADER_LENGTH, 0, 0, 0), instruction(LD_BYTE_INDIRECT, VRID_OFFSET, 0, 0)]
        }
        Transport::Ipv4Ah => {
            vec![
                instruction(LDX_HEADER_LENGTH, 0, 0, 0),
                instruction(LD_BYTE_INDIRECT, ah::HEADER_LEN as u32 + VRID_OFFSET, 0, 0),
            ]
        }
        Transport::Ipv6 => vec![instruction(LD_BYTE, VRID_OFFSET, 0, 0)],
    };
    for (first, last) in contiguous_ranges(sorted) {
        program.extend([
            instruction(JUMP_IF_GE, u32::from(first), 0, 2),
            instruction(JUMP_IF_GT, u32::from(last), 1, 0),
            instruction(RETURN, these, 0, 0),
        ]);
    }
    program.push(instruction(RETURN, rest, 0, 0));
    program
}

/// The filter for a packet socket that receives IP packets: it accepts TCP segments from `from` to the local port
/// `port`.
pub fn tcp_reply_filter(from: SocketAddr, port: u16) -> Vec<SockFilter> {
    let mut program = Vec::new();
    // A comparison that fails jumps to the last instruction.
    let mut tests = vec![(instruction(LD_BYTE, if from.is_ipv4() { 9 } else { 6 }, 0, 0), libc::IPPROTO_TCP as u32)];
    let (offset, words) = match from.ip() {
        IpAddr::V4(a) => (12, vec![u32::from(a)]),
        IpAddr::V6(a) => (8, a.octets().chunks(4).map(|w| w.iter().fold(0, |n, b| n << 8 | u32::from(*b))).collect()),
    };
    tests.extend(words.into_iter().zip((offset..).step_by(4)).map(|(word, at)| (instruction(LD_WORD, at, 0, 0), word)));
    let load_port = match from {
        SocketAddr::V4(_) => instruction(LD_HALF_INDIRECT, 2, 0, 0),
        SocketAddr::V6(_) => instruction(LD_HALF, 42, 0, 0),
    };
    tests.push((load_port, u32::from(port)));
    // One instruction precedes the tests, and two follow.
    let end = 1 + 2 * tests.len() + 1;
    program.push(instruction(LDX_HEADER_LENGTH, 0, 0, 0));
    for (load, wanted) in tests {
        program.push(load);
        let to_end = end - program.len() - 1;
        program.push(instruction(JUMP_IF_EQUAL, wanted, 0, to_end as u8));
    }
    program.extend([instruction(RETURN, ACCEPT, 0, 0), instruction(RETURN, REJECT, 0, 0)]);
    program
}

/// The filter for a packet socket that receives ARP: it accepts replies from an address.
pub fn arp_reply_filter(of: Ipv4Addr) -> Vec<SockFilter> {
    vec![
        instruction(LD_HALF, 6, 0, 0),
        instruction(JUMP_IF_EQUAL, 2, 0, 3),
        instruction(LD_WORD, 14, 0, 0),
        instruction(JUMP_IF_EQUAL, u32::from(of), 0, 1),
        instruction(RETURN, ACCEPT, 0, 0),
        instruction(RETURN, REJECT, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::contiguous_ranges;

    #[test]
    fn contiguous_numbers_are_one_range() {
        assert_eq!(contiguous_ranges(&[]), []);
        assert_eq!(contiguous_ranges(&[1, 2, 3, 7, 9, 10, 254, 255]), [(1, 3), (7, 7), (9, 10), (254, 255)]);
    }
}
