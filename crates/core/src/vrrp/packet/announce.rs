//! Gratuitous ARP and unsolicited neighbour advertisements, as whole Ethernet frames. A new master sends them so that
//! hosts and switches of the link learn where its addresses are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::internet_checksum;

/// A MAC address.
pub type MacAddr = [u8; 6];

const ETH_P_ARP: [u8; 2] = [0x08, 0x06];
const ETH_P_IPV6: [u8; 2] = [0x86, 0xdd];
const IPPROTO_ICMPV6: u8 = 58;
/// ff02::1
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The frame that announces that `addr` is at `mac`. `router`: the value of the R flag of a neighbour advertisement,
/// set if the host forwards IPv6 packets.
pub fn announcement_frame(mac: MacAddr, addr: IpAddr, router: bool) -> Vec<u8> {
    match addr {
        IpAddr::V4(a) => gratuitous_arp_frame(mac, a).to_vec(),
        IpAddr::V6(a) => neighbour_advertisement_frame(mac, a, router).to_vec(),
    }
}

/// A broadcast ARP request whose sender and target address are `addr` (RFC 5227, 3; RFC 826). The target hardware
/// address is all ones, as in keepalived.
fn gratuitous_arp_frame(mac: MacAddr, addr: Ipv4Addr) -> [u8; 42] {
    let mut f = [0; 42];
    f[..6].fill(0xff);
    f[6..12].copy_from_slice(&mac);
    f[12..14].copy_from_slice(&ETH_P_ARP);
    // Ethernet, IPv4, address lengths 6 and 4, operation 1 (request)
    f[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    f[22..28].copy_from_slice(&mac);
    f[28..32].copy_from_slice(&addr.octets());
    f[32..38].fill(0xff);
    f[38..].copy_from_slice(&addr.octets());
    f
}

/// An unsolicited neighbour advertisement from `addr` to all nodes, with the override flag
/// (RFC 4861, 4.4 and 7.2.6; RFC 9568, 6.4.2 (125)).
fn neighbour_advertisement_frame(mac: MacAddr, addr: Ipv6Addr, router: bool) -> [u8; 86] {
    let mut f = [0; 86];
    // RFC 2464, 7: 33:33 and the last four bytes of the multicast address
    f[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    f[6..12].copy_from_slice(&mac);
    f[12..14].copy_from_slice(&ETH_P_IPV6);
    f[14] = 0x60;
    f[18..22].copy_from_slice(&[0, 32, IPPROTO_ICMPV6, 255]);
    f[22..38].copy_from_slice(&addr.octets());
    f[38..54].copy_from_slice(&ALL_NODES.octets());
    // Type 136, code 0, flags: router, override
    f[54] = 136;
    f[58] = if router { 0xa0 } else { 0x20 };
    f[62..78].copy_from_slice(&addr.octets());
    // Target link-layer address, one unit of eight bytes
    f[78..80].copy_from_slice(&[2, 1]);
    f[80..].copy_from_slice(&mac);
    // RFC 4443, 2.3: over addresses, length, next header and message. The IPv6 header already holds the addresses.
    let sum = internet_checksum(32 + u32::from(IPPROTO_ICMPV6), &f[22..]);
    f[56..58].copy_from_slice(&sum.to_be_bytes());
    f
}
