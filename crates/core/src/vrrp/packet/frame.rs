//! Ethernet frames around adverts, for those that do not come from the interface's own MAC address.

use std::net::IpAddr;

use super::IPPROTO_VRRP;
use super::announce::MacAddr;

const ETH_P_IP: [u8; 2] = [0x08, 0x00];
const ETH_P_IPV6: [u8; 2] = [0x86, 0xdd];
/// Internetwork control, in the second half of the first byte and the first half of the next.
const IPV6_VERSION_AND_CLASS: [u8; 2] = [0x6c, 0x00];

/// The frame that carries an advert from a MAC address to a group: `packet` is over IPv4 a packet with its header, over
/// IPv6 a VRRP message, as `Output::Send` has them. `None` if `to` is no group of the family of `from`.
pub fn multicast_frame(mac: MacAddr, from: IpAddr, to: IpAddr, hops: u8, packet: &[u8]) -> Option<Vec<u8>> {
    let mut f = Vec::with_capacity(14 + 40 + packet.len());
    match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(group)) if group.is_multicast() => {
            // RFC 1112, 6.4: the group's low 23 bits
            let [_, b, c, d] = group.octets();
            f.extend([0x01, 0x00, 0x5e, b & 0x7f, c, d]);
            f.extend(mac);
            f.extend(ETH_P_IP);
        }
        (IpAddr::V6(from), IpAddr::V6(group)) if group.is_multicast() => {
            // RFC 2464, 7: the group's last four bytes
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
