//! Why a packet is refused.

use std::fmt;

/// Why a packet is not an advert for this router; each is counted by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RejectReason {
    /// Shorter than its own header and address count say.
    Length,
    /// It came over a router, or its TTL is outside of what the peer may use.
    Ttl(u8),
    /// Another version than ours.
    Version(u8),
    /// A type other than ADVERTISEMENT.
    Type(u8),
    /// The checksum is wrong in every form that is known.
    Checksum,
    /// Another kind of authentication than ours.
    AuthType(u8),
    /// The password is not ours.
    AuthPass,
    /// It has no authentication header, and we want one.
    AhMissing,
    /// It has an authentication header, and we want none.
    AhUnwanted,
    /// Its authentication header is malformed, or names another sender.
    AhHeader,
    /// Its authentication header was not made with our password.
    AhDigest,
    /// Its sequence number was used before: somebody plays it again.
    Replay,
    /// It is not signed, and has to be.
    Unsigned,
    /// What stands behind the message is no trailer.
    Trailer,
    /// It is signed with a key that is not ours.
    UnknownKey(u8),
    /// Its signature was not made with our key.
    Signature,
    /// It was signed too long ago, or the two clocks differ.
    Stale,
    /// It was signed no later than one that was heard before: somebody plays it again.
    SignatureReplay,
    /// Version 2: another interval than ours (RFC 3768, 7.1).
    Interval,
    /// VRID 0.
    Vrid,
    /// It was sent to a group, and this instance speaks to its peers one by one.
    Multicast,
    /// It was sent to us alone, and this instance speaks to a group.
    Unicast,
    /// It comes from nobody of `unicast_peer`.
    UnknownPeer,
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RejectReason::Length => write!(f, "it is too short for what it says it holds"),
            RejectReason::Ttl(t) => write!(f, "its TTL is {t}, not what it should be: it came from another network"),
            RejectReason::Multicast => write!(f, "it was sent to a group, and unicast_peer is configured here"),
            RejectReason::Unicast => write!(f, "it was sent to us alone, and no unicast_peer is configured here"),
            RejectReason::UnknownPeer => write!(f, "it comes from nobody of unicast_peer"),
            RejectReason::Version(v) => write!(f, "it is version {v}, not ours"),
            RejectReason::Type(t) => write!(f, "its type {t} is not an advertisement"),
            RejectReason::Checksum => write!(f, "its checksum is wrong"),
            RejectReason::AuthType(t) => write!(f, "its authentication type {t} is not ours"),
            RejectReason::AuthPass => write!(f, "its password is not ours"),
            RejectReason::AhMissing => {
                write!(f, "it has no authentication header, and auth_type AH is configured here")
            }
            RejectReason::AhUnwanted => {
                write!(f, "it has an authentication header, and auth_type AH is not configured here")
            }
            RejectReason::AhHeader => write!(f, "its authentication header is malformed or names another sender"),
            RejectReason::AhDigest => write!(f, "its authentication header was not made with our auth_pass"),
            RejectReason::Replay => write!(f, "its sequence number was used before"),
            RejectReason::Unsigned => write!(f, "it is not signed, and auth_hmac is configured here"),
            RejectReason::Trailer => write!(f, "what stands behind its message is no signature"),
            RejectReason::UnknownKey(id) => write!(f, "it is signed with key {id}, which auth_hmac has not here"),
            RejectReason::Signature => write!(f, "its signature was not made with our key of auth_hmac"),
            RejectReason::Stale => write!(f, "it was signed outside of time_window: it is old, or the clocks differ"),
            RejectReason::SignatureReplay => write!(f, "it was signed no later than one that was heard before"),
            RejectReason::Interval => write!(f, "its advert_int is not ours"),
            RejectReason::Vrid => write!(f, "its virtual router number is 0"),
        }
    }
}
