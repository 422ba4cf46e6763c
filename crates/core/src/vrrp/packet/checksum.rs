//! The forms of checksum that VRRP implementations send.

use std::fmt;
use std::net::IpAddr;

use super::{IPPROTO_VRRP, OLD_CHECKSUM_GROUP};
use crate::checksum::{internet_checksum, pseudo_header_sum};

/// What an advert's checksum covers besides the message.
///
/// Version 2 has one form (RFC 3768, 5.3.8: the message), and version 3 over IPv6 one (RFC 9568, 5.2.8: with the
/// pseudo-header). For version 3 over IPv4 implementations disagree: keepalived adds an IPv4 pseudo-header, RFC 9568
/// and other vendors do not, and keepalived up to 1.3.6 computed the pseudo-header of a unicast advert for the
/// multicast group.
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
    /// The checksum of a message in this form. With zeros in the message's checksum field the result is what belongs
    /// there; with the right checksum in it, 0.
    pub fn compute(self, src: IpAddr, dst: IpAddr, message: &[u8]) -> u16 {
        let start = match self {
            ChecksumForm::MessageOnly => 0,
            ChecksumForm::PseudoHeader => pseudo_header_sum(src, dst, IPPROTO_VRRP, message.len()),
            ChecksumForm::OldUnicast => pseudo_header_sum(src, OLD_CHECKSUM_GROUP, IPPROTO_VRRP, message.len()),
        };
        internet_checksum(start, message)
    }
}
