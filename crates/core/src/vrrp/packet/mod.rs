//! VRRP on the wire.
//!
//! [`advert`] is the message of RFC 3768 (version 2) and RFC 9568 (version 3), [`ip`] the packet around it, [`ah`] the
//! authentication header that may stand between the two, [`trailer`] the signature that may stand behind, [`announce`] what a new master says besides, [`checksum`] the forms of checksum that implementations send,
//! [`Reject`] every reason to refuse a packet.

pub mod advert;
pub mod ah;
pub mod announce;
pub mod checksum;
pub mod frame;
pub mod ip;
mod reject;
pub mod trailer;

pub use advert::{Advert, AdvertAuth, AdvertRules};
pub use checksum::ChecksumForm;
pub use frame::multicast_frame;
pub use ip::{IpHeader, peek_vrid, split_ipv4};
pub use reject::RejectReason;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The group that adverts are sent to over IPv4 (RFC 9568, 5.1.1.2).
pub const MULTICAST_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The same over IPv6 (RFC 9568, 5.1.2.2).
pub const MULTICAST_GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// The IP protocol number (RFC 9568, 5.1.1.4).
pub const IPPROTO_VRRP: u8 = 112;
/// What TTL or hop limit adverts are sent with, and must arrive with (RFC 9568, 5.1.1.3 and 5.1.2.3).
pub const VRRP_TTL: u8 = 255;

/// The group that an IPv4 advert's old unicast checksum is made for.
const OLD_CHECKSUM_GROUP: IpAddr = IpAddr::V4(MULTICAST_GROUP);

#[cfg(test)]
mod tests;
