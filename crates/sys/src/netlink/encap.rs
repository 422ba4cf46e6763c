//! The encapsulation of a route's packets as rtnetlink attributes (lwtunnel.h, mpls_iptunnel.h and ila.h of the
//! kernel).

use std::net::IpAddr;

use evenkeel_core::model::Encap;
use netlink_packet_core::DefaultNla;

const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
const NLA_F_NESTED: u16 = 1 << 15;

/// An attribute, padded to a multiple of four bytes.
fn encode_attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut a = (4 + value.len() as u16).to_ne_bytes().to_vec();
    a.extend(kind.to_ne_bytes());
    a.extend(value);
    a.resize(a.len().next_multiple_of(4), 0);
    a
}

/// The attributes RTA_ENCAP_TYPE and RTA_ENCAP of a route or of one of its next hops.
pub(super) fn encap_attributes(e: &Encap) -> [DefaultNla; 2] {
    let (kind, inside): (u16, Vec<u8>) = match e {
        // MPLS_IPTUNNEL_DST: label, traffic class, bottom of stack, TTL (RFC 3032, 2.1)
        Encap::Mpls(labels) => {
            let entry = |(i, label): (usize, &u32)| (label << 12 | u32::from(i + 1 == labels.len()) << 8).to_be_bytes();
            (1, encode_attribute(1, &labels.iter().enumerate().flat_map(entry).collect::<Vec<_>>()))
        }
        // ILA_ATTR_LOCATOR
        Encap::Ila(locator) => (3, encode_attribute(1, &locator.to_be_bytes())),
        Encap::Ip { ipv6, id, dst, src, class, ttl, flags } => {
            // LWTUNNEL_IP_ID, _DST, _SRC, _TTL, _TOS, _FLAGS are 1 to 6. LWTUNNEL_IP6_… have the same numbers:
            // 4 is the hop limit, and 5 the traffic class.
            let octets = |a: &IpAddr| match a {
                IpAddr::V4(a) => a.octets().to_vec(),
                IpAddr::V6(a) => a.octets().to_vec(),
            };
            let mut all = Vec::new();
            all.extend(id.iter().flat_map(|n| encode_attribute(1, &n.to_be_bytes())));
            all.extend(dst.iter().flat_map(|a| encode_attribute(2, &octets(a))));
            all.extend(src.iter().flat_map(|a| encode_attribute(3, &octets(a))));
            for (kind, byte) in [(4, *ttl), (5, *class)] {
                all.extend(Some(byte).filter(|b| *b != 0).iter().flat_map(|b| encode_attribute(kind, &[*b])));
            }
            all.extend(Some(*flags).filter(|f| *f != 0).iter().flat_map(|f| encode_attribute(6, &f.to_be_bytes())));
            (if *ipv6 { 4 } else { 2 }, all)
        }
    };
    [DefaultNla::new(RTA_ENCAP_TYPE, kind.to_ne_bytes().to_vec()), DefaultNla::new(RTA_ENCAP | NLA_F_NESTED, inside)]
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{Emitable, Nla};

    use super::*;

    /// Both attributes as sent over the socket, in hexadecimal.
    fn encode_hex(e: &Encap) -> String {
        let bytes = |a: &DefaultNla| {
            let mut b = vec![0; a.buffer_len()];
            a.emit(&mut b);
            assert_eq!(a.value_len() + 4, a.buffer_len(), "no padding");
            b
        };
        let [kind, inside] = encap_attributes(e);
        let kind = { [kind.value_len() as u16 + 4, kind.kind()].map(u16::to_ne_bytes).concat() };
        [kind, bytes(&inside)].concat().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The expected bytes are those that iproute2 6.1 sends for `ip route add … encap mpls 100/200` and `encap ila
    /// 1:2:3:4`.
    #[test]
    fn labels_and_locators_are_encoded_as_by_iproute2() {
        assert_eq!(encode_hex(&Encap::Mpls(vec![100, 200])), "06001500100016800c00010000064000000c8100");
        assert_eq!(encode_hex(&Encap::Ila(0x0001_0002_0003_0004)), "06001500100016800c0001000001000200030004");
    }
}
