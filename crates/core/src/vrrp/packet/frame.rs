//! The Ethernet frame of a multicast advert that is sent from a virtual MAC address instead of the interface's own.

use std::net::IpAddr;

use super::IPPROTO_VRRP;
use super::announce::MacAddr;

const ETH_P_IP: [u8; 2] = [0x08, 0x00];
const ETH_P_IPV6: [u8; 2] = [0x86, 0xdd];
/// Version 6 and traffic class 0xc0 (internetwork control), which overlaps both bytes.
const IPV6_VERSION_AND_CLASS: [u8; 2] = [0x6c, 0x00];

/// The frame of an advert from `mac` to a multicast group. `packet`: over IPv4 the packet with its IP header, over IPv6
/// the VRRP message, as in `Output::Send`. `hops`: the IPv6 hop limit. `None` if `to` is not a multicast group of the
/// address family of `from`.
pub fn multicast_frame(mac: MacAddr, from: IpAddr, to: IpAddr, hops: u8, packet: &[u8]) -> Option<Vec<u8>> {
    let mut f = Vec::with_capacity(14 + 40 + packet.len());
    match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(group)) if group.is_multicast() => {
            // RFC 1112, 6.4: the low 23 bits of the group address
            let [_, b, c, d] = group.octets();
            f.extend([0x01, 0x00, 0x5e, b & 0x7f, c, d]);
            f.extend(mac);
            f.extend(ETH_P_IP);
        }
        (IpAddr::V6(from), IpAddr::V6(group)) if group.is_multicast() => {
            // RFC 2464, 7: the last four bytes of the group address
            let [.., a, b, c, d] = group.octets();
            f.extend([0x33, 0x33, a, b, c, d]);
            f.extend(mac);
            f.extend(ETH_P_IPV6);
            f.extend(IPV6_VERSION_AND_CLASS);
            f.extend([0, 0]);
            f.extend(u16::try_from(packet.len()).ok()?.to_be_bytes());
            f.extend([IPPROTO_VRRP, hops]);
            f.extend(from.octets());
            f.extend(group.octets());
        }
        _ => return None,
    }
    f.extend(packet);
    Some(f)
}
