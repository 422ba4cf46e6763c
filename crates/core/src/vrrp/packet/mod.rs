//! The VRRP packet formats.
//!
//! Files, from the inside out:
//!
//! - [`advert`]: the VRRP message of RFC 3768 (version 2) and RFC 9568 (version 3), its encoder and its parser.
//! - [`trailer`]: the signature behind the message (`auth_hmac`).
//! - [`ah`]: the authentication header in front of the message (`auth_type AH`).
//! - [`ip`]: the IP header. [`frame`]: the Ethernet frame.
//! - [`checksum`]: the forms of checksum that implementations send.
//! - [`announce`]: gratuitous ARP and unsolicited neighbour advertisements of a new master.
//! - [`RejectReason`]: every reason to reject a packet.

pub mod advert;
pub mod ah;
pub mod announce;
pub mod checksum;
pub mod frame;
pub mod ip;
mod reject;
pub mod trailer;

pub use advert::{Advert, AdvertAuth, AdvertRules, peek_vrid};
pub use checksum::ChecksumForm;
pub use frame::multicast_frame;
pub use ip::{IpHeader, split_ipv4};
pub use reject::RejectReason;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The multicast group of adverts over IPv4 (RFC 9568, 5.1.1.2).
pub const MULTICAST_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The multicast group of adverts over IPv6 (RFC 9568, 5.1.2.2).
pub const MULTICAST_GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// The IP protocol number of VRRP (RFC 9568, 5.1.1.4).
pub const IPPROTO_VRRP: u8 = 112;
/// The TTL or hop limit of multicast adverts; any other is rejected (RFC 9568, 5.1.1.3 and 5.1.2.3).
pub const VRRP_TTL: u8 = 255;

/// The destination in the pseudo-header of [`ChecksumForm::OldUnicast`].
const OLD_CHECKSUM_GROUP: IpAddr = IpAddr::V4(MULTICAST_GROUP);

#[cfg(test)]
mod tests;
