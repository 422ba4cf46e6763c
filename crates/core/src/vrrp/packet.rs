//! VRRP on the wire: RFC 3768 section 5 (version 2), RFC 9568 section 5 (version 3), over IPv4.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+---------------+---------------+---------------+
//! |Version| Type  | Virtual Rtr ID|   Priority    | Count IP Addrs|
//! +-------+-------+---------------+---------------+---------------+
//! |v2: auth type  | v2: seconds   |           checksum            |
//! |v3: 0 | centiseconds (12 bits) |                               |
//! +---------------+---------------+---------------+---------------+
//! |                     addresses, 4 bytes each                   |
//! +---------------------------------------------------------------+
//! |                  v2: authentication, 8 bytes                  |
//! +---------------------------------------------------------------+
//! ```

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::model::{AuthPass, Vrid, VrrpVersion};

/// The group that adverts are sent to (RFC 9568, 5.1.1.2).
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The IP protocol number.
pub const PROTOCOL: u8 = 112;
/// What TTL adverts are sent with, and must arrive with (RFC 9568, 5.1.1.3).
pub const TTL: u8 = 255;

const HEADER: usize = 8;
const AUTH: usize = 8;

/// An advertisement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advert {
    /// Which virtual router.
    pub vrid: Vrid,
    /// 0: the sender gives up; 255: it owns the addresses.
    pub priority: u8,
    /// Whole seconds in version 2, centiseconds in version 3.
    pub interval: Duration,
    /// The virtual addresses, as the sender has them.
    pub addresses: Vec<Ipv4Addr>,
    /// Version 2 password.
    pub auth: Option<AuthPass>,
}

/// How the version 3 checksum is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum V3Checksum {
    /// With an IPv4 pseudo-header, as keepalived does by default.
    PseudoHeader,
    /// Over the message alone, as `v3_checksum_as_v2` asks for.
    MessageOnly,
}

/// Why a packet is not an advert for this router; each is counted by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reject {
    /// Shorter than its own header and address count say.
    Length,
    /// It came over a router: TTL below 255.
    Ttl(u8),
    /// Another version than ours.
    Version(u8),
    /// A type other than ADVERTISEMENT.
    Type(u8),
    /// The checksum is wrong.
    Checksum,
    /// Another kind of authentication than ours.
    AuthType(u8),
    /// The password is not ours.
    AuthPass,
    /// Version 2: another interval than ours (RFC 3768, 7.1).
    Interval,
    /// VRID 0.
    Vrid,
    /// It was sent to a group, and this instance speaks to its peers one by one.
    Multicast,
    /// It was sent to us alone, and this instance speaks to a group.
    Unicast,
    /// It comes from nobody of `unicast_peer`.
    Stranger,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reject::Length => write!(f, "it is too short for what it says it holds"),
            Reject::Ttl(t) => write!(f, "its TTL is {t}, not what it should be: it came from another network"),
            Reject::Multicast => write!(f, "it was sent to a group, and unicast_peer is configured here"),
            Reject::Unicast => write!(f, "it was sent to us alone, and no unicast_peer is configured here"),
            Reject::Stranger => write!(f, "it comes from nobody of unicast_peer"),
            Reject::Version(v) => write!(f, "it is version {v}, not ours"),
            Reject::Type(t) => write!(f, "its type {t} is not an advertisement"),
            Reject::Checksum => write!(f, "its checksum is wrong"),
            Reject::AuthType(t) => write!(f, "its authentication type {t} is not ours"),
            Reject::AuthPass => write!(f, "its password is not ours"),
            Reject::Interval => write!(f, "its advert_int is not ours"),
            Reject::Vrid => write!(f, "its virtual router number is 0"),
        }
    }
}

/// The Internet checksum (RFC 1071) over some pieces, each of even length but the last.
fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, length: usize) -> [u8; 12] {
    let mut h = [0; 12];
    h[..4].copy_from_slice(&src.octets());
    h[4..8].copy_from_slice(&dst.octets());
    h[9] = PROTOCOL;
    h[10..].copy_from_slice(&(length as u16).to_be_bytes());
    h
}

impl Advert {
    /// The VRRP message (without an IP header). `src` and `dst` go into a version 3 checksum.
    pub fn encode(&self, version: VrrpVersion, v3: V3Checksum, src: Ipv4Addr, dst: Ipv4Addr) -> Vec<u8> {
        let mut b = Vec::with_capacity(HEADER + 4 * self.addresses.len() + AUTH);
        b.push(version.number() << 4 | 1);
        b.push(self.vrid.get());
        b.push(self.priority);
        b.push(self.addresses.len().min(255) as u8);
        match version {
            VrrpVersion::V2 => {
                b.push(u8::from(self.auth.is_some()));
                b.push(self.interval.as_secs().min(255) as u8);
            }
            VrrpVersion::V3 => b.extend(((self.interval.as_millis() / 10).min(4095) as u16).to_be_bytes()),
        }
        b.extend([0, 0]);
        for a in self.addresses.iter().take(255) {
            b.extend(a.octets());
        }
        let sum = match version {
            VrrpVersion::V2 => {
                b.extend(self.auth.map_or([0; AUTH], |a| a.0));
                checksum(&[&b])
            }
            VrrpVersion::V3 if v3 == V3Checksum::PseudoHeader => checksum(&[&pseudo_header(src, dst, b.len()), &b]),
            VrrpVersion::V3 => checksum(&[&b]),
        };
        b[6..8].copy_from_slice(&sum.to_be_bytes());
        b
    }

    /// Reads a VRRP message that came in an IP packet with this source, destination and TTL.
    ///
    /// The checks and their order are RFC 9568 section 7.1's and RFC 3768's, as keepalived makes them; Ethernet padding
    /// behind the message is tolerated. `auth` and `interval` are ours, for version 2's comparison.
    pub fn decode(
        message: &[u8],
        (src, dst, ttl): IpHeader,
        version: VrrpVersion,
        v3: V3Checksum,
        auth: Option<AuthPass>,
        interval: Duration,
    ) -> Result<Advert, Reject> {
        let Some((head, rest)) = message.split_first_chunk::<HEADER>() else { return Err(Reject::Length) };
        if ttl != TTL {
            return Err(Reject::Ttl(ttl));
        }
        if head[0] >> 4 != version.number() {
            return Err(Reject::Version(head[0] >> 4));
        }
        if head[0] & 15 != 1 {
            return Err(Reject::Type(head[0] & 15));
        }
        let addresses_len = usize::from(head[3]) * 4;
        let length = HEADER + addresses_len + if version == VrrpVersion::V2 { AUTH } else { 0 };
        let Some(message) = message.get(..length) else { return Err(Reject::Length) };
        let sum = match version {
            VrrpVersion::V3 if v3 == V3Checksum::PseudoHeader => checksum(&[&pseudo_header(src, dst, length), message]),
            _ => checksum(&[message]),
        };
        if sum != 0 {
            return Err(Reject::Checksum);
        }
        let vrid = Vrid::new(head[1]).ok_or(Reject::Vrid)?;
        let their_interval = match version {
            VrrpVersion::V2 => Duration::from_secs(u64::from(head[5])),
            VrrpVersion::V3 => Duration::from_millis(u64::from(u16::from_be_bytes([head[4] & 15, head[5]])) * 10),
        };
        let mut their_auth = None;
        if version == VrrpVersion::V2 {
            let expected = u8::from(auth.is_some());
            if head[4] != expected {
                return Err(Reject::AuthType(head[4]));
            }
            if let Some(ours) = auth {
                if message[length - AUTH..] != ours.0 {
                    return Err(Reject::AuthPass);
                }
                their_auth = auth;
            }
            if their_interval != interval {
                return Err(Reject::Interval);
            }
        }
        let addresses = rest[..addresses_len].chunks_exact(4).map(|a| Ipv4Addr::new(a[0], a[1], a[2], a[3])).collect();
        Ok(Advert { vrid, priority: head[2], interval: their_interval, addresses, auth: their_auth })
    }
}

/// What of an IP header matters: source, destination, TTL.
pub type IpHeader = (Ipv4Addr, Ipv4Addr, u8);

/// Splits an IPv4 packet that came from a raw socket: source, destination, TTL, message. `None` if it is not one.
pub fn split_ip(packet: &[u8]) -> Option<(IpHeader, &[u8])> {
    let head = packet.first_chunk::<20>()?;
    let ihl = usize::from(head[0] & 15) * 4;
    if head[0] >> 4 != 4 || ihl < 20 || head[9] != PROTOCOL {
        return None;
    }
    let at = |i: usize| Ipv4Addr::new(head[i], head[i + 1], head[i + 2], head[i + 3]);
    Some(((at(12), at(16), head[8]), packet.get(ihl..)?))
}

/// The VRID that a message names, before anything else of it is trusted.
pub fn peek_vrid(message: &[u8]) -> Option<Vrid> {
    Vrid::new(*message.get(1)?)
}
