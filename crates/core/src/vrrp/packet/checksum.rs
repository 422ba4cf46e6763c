//! The checksum of an advert, and the forms of it that are met.

use std::fmt;
use std::net::IpAddr;

use super::{IPPROTO_VRRP, OLD_CHECKSUM_GROUP};

/// What a checksum is computed over, besides the message.
///
/// Version 2 has one form (RFC 3768, 5.3.8: the message), and version 3 over IPv6 one (RFC 9568, 5.2.8: with the
/// pseudo-header). Over IPv4 in version 3 implementations disagree: keepalived adds an IPv4 pseudo-header, RFC 9568 and
/// other makers do not, and keepalived up to 1.3.6 made the pseudo-header of a unicast advert for the multicast group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChecksumForm {
    /// With the pseudo-header of the packet.
    PseudoHeader,
    /// The message alone.
    MessageOnly,
    /// With the pseudo-header of a packet to 224.0.0.18, whatever the packet's destination is.
    OldUnicast,
}

impl fmt::Display for ChecksumForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChecksumForm::PseudoHeader => "with pseudo-header",
            ChecksumForm::MessageOnly => "without pseudo-header",
            ChecksumForm::OldUnicast => "with the multicast group's pseudo-header",
        })
    }
}

impl ChecksumForm {
    /// The checksum over a message in this form, whose checksum field counts as it stands: with zeros in it this is what
    /// belongs there, with the right checksum in it this is 0.
    pub fn compute(self, src: IpAddr, dst: IpAddr, message: &[u8]) -> u16 {
        let start = match self {
            ChecksumForm::MessageOnly => 0,
            ChecksumForm::PseudoHeader => pseudo_header_sum(src, dst, IPPROTO_VRRP, message.len()),
            ChecksumForm::OldUnicast => pseudo_header_sum(src, OLD_CHECKSUM_GROUP, IPPROTO_VRRP, message.len()),
        };
        internet_checksum(start, message)
    }
}

/// The Internet checksum (RFC 1071), begun with a sum that is already there.
pub(crate) fn internet_checksum(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = start + sum_words(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn sum_words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
}

/// The sum over a pseudo-header: RFC 768's over IPv4, RFC 8200's (8.1) over IPv6; their words add up alike.
pub(crate) fn pseudo_header_sum(src: IpAddr, dst: IpAddr, protocol: u8, length: usize) -> u32 {
    let of = |a: IpAddr| match a {
        IpAddr::V4(a) => sum_words(&a.octets()),
        IpAddr::V6(a) => sum_words(&a.octets()),
    };
    of(src) + of(dst) + u32::from(protocol) + length as u32
}
