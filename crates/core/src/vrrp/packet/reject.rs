//! The reasons to reject a packet.

use std::fmt;

/// Why a packet is not accepted as an advert of this virtual router. Rejected packets are counted by reason.
///
/// `dump` reads the counters by the names of these variants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RejectReason {
    /// The packet is shorter than its header and address count require.
    Length,
    /// The packet passed a router, or its TTL is outside of the peer's `min_ttl` and `max_ttl`.
    Ttl(u8),
    /// The version differs from the configured one.
    Version(u8),
    /// The type is not ADVERTISEMENT.
    Type(u8),
    /// The checksum is wrong in every known form.
    Checksum,
    /// The authentication type differs from the configured one.
    AuthType(u8),
    /// The password differs from the configured one.
    AuthPass,
    /// The packet has no authentication header, but `auth_type AH` is configured.
    AhMissing,
    /// The packet has an authentication header, but `auth_type AH` is not configured.
    AhUnwanted,
    /// The authentication header is malformed, or its SPI is not the packet's source address.
    AhHeader,
    /// The digest of the authentication header does not match the configured password.
    AhDigest,
    /// The sequence number of the authentication header was used before: a replay.
    Replay,
    /// The packet is not signed, but must be.
    Unsigned,
    /// The bytes behind the message are not a valid trailer.
    Trailer,
    /// The packet is signed with a key that is not configured.
    UnknownKey(u8),
    /// The signature does not match the configured key.
    Signature,
    /// The signature's time is outside of `time_window`.
    Stale,
    /// The signature's time is not later than that of an earlier packet: a replay.
    SignatureReplay,
    /// Version 2: the interval differs from the configured one (RFC 3768, 7.1).
    Interval,
    /// The VRID is 0.
    Vrid,
    /// The packet was sent to a multicast group, but this instance uses unicast.
    Multicast,
    /// The packet was sent by unicast, but this instance uses multicast.
    Unicast,
    /// The source is not listed in `unicast_peer`.
    UnknownPeer,
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RejectReason::Length => f.write_str("it is shorter than its header and address count require"),
            RejectReason::Ttl(t) => write!(f, "its TTL of {t} is not allowed: it came from another network"),
            RejectReason::Multicast => f.write_str("it was sent by multicast, but unicast_peer is configured here"),
            RejectReason::Unicast => f.write_str("it was sent by unicast, but no unicast_peer is configured here"),
            RejectReason::UnknownPeer => f.write_str("its source is not listed in unicast_peer"),
            RejectReason::Version(v) => write!(f, "its VRRP version {v} is not the configured one"),
            RejectReason::Type(t) => write!(f, "its type {t} is not ADVERTISEMENT"),
            RejectReason::Checksum => f.write_str("its checksum is wrong"),
            RejectReason::AuthType(t) => write!(f, "its authentication type {t} does not match auth_type"),
            RejectReason::AuthPass => f.write_str("its password does not match auth_pass"),
            RejectReason::AhMissing => {
                f.write_str("it has no authentication header, but auth_type AH is configured here")
            }
            RejectReason::AhUnwanted => {
                f.write_str("it has an authentication header, but auth_type AH is not configured here")
            }
            RejectReason::AhHeader => f.write_str("its authentication header is malformed or names another sender"),
            RejectReason::AhDigest => f.write_str("its authentication header does not match auth_pass"),
            RejectReason::Replay => f.write_str("its sequence number was used before (replay)"),
            RejectReason::Unsigned => f.write_str("it is not signed, but auth_hmac is configured here"),
            RejectReason::Trailer => f.write_str("the bytes behind its message are not a signature trailer"),
            RejectReason::UnknownKey(id) => write!(f, "it is signed with key {id}, which auth_hmac does not have here"),
            RejectReason::Signature => f.write_str("its signature does not match the key of auth_hmac"),
            RejectReason::Stale => {
                f.write_str("its signature is outside of time_window: the packet is old, or the clocks differ")
            }
            RejectReason::SignatureReplay => {
                f.write_str("its signature is not later than that of an earlier packet (replay)")
            }
            RejectReason::Interval => f.write_str("its interval does not match advert_int"),
            RejectReason::Vrid => f.write_str("its virtual router ID is 0"),
        }
    }
}
