//! The signed trailer behind a VRRP message (`auth_hmac`), in either version and over either family.
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! | version: 1    | number of key | 0                             |
//! +---------------+---------------+-------------------------------+
//! | time of day: 4 bytes of seconds, 2 of their 65,536th parts,   |
//! | 2 that tell apart what is sent at the same time               |
//! +---------------------------------------------------------------+
//! | the first 16 bytes of an HMAC-SHA-256                         |
//! +---------------------------------------------------------------+
//! ```
//!
//! The layout is keepalived 2.4's, as recorded. What its MAC is taken over is not known here, so that ours is taken over
//! what has to be certain: the packet's source and destination, the message with its checksum, and the trailer up to the
//! MAC. No checksum covers the trailer.

use std::net::IpAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::RejectReason;
use crate::model::{HmacKey, Signing};

/// Bytes of a trailer.
pub const TRAILER_LEN: usize = 28;
const SIGNED_LEN: usize = 12;
const VERSION: u8 = 1;

/// Who signs, and when.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'k> {
    /// With this key.
    pub key: &'k HmacKey,
    /// Now, as [`stamp`] has it.
    pub timestamp: u64,
}

/// The time of day since 1970, as trailers have it; later than the one before.
pub fn next_timestamp(time_of_day: Duration, before: u64) -> u64 {
    let fraction = (u64::from(time_of_day.subsec_nanos()) << 16) / 1_000_000_000;
    let now = ((time_of_day.as_secs() & 0xffff_ffff) << 32) | (fraction << 16);
    now.max(before.saturating_add(1))
}

/// How far the time of a trailer is from now.
pub fn timestamp_age(stamp: u64, time_of_day: Duration) -> Duration {
    let now = self::next_timestamp(time_of_day, 0);
    Duration::from_micros(((now.abs_diff(stamp) >> 16) * 1_000_000) >> 16)
}

/// The trailer of a message.
pub(super) fn sign(s: Signer<'_>, src: IpAddr, dst: IpAddr, message: &[u8]) -> [u8; TRAILER_LEN] {
    let mut t = [0; TRAILER_LEN];
    (t[0], t[1]) = (VERSION, s.key.id);
    t[4..SIGNED_LEN].copy_from_slice(&s.timestamp.to_be_bytes());
    let mac = compute_mac(s.key, src, dst, message, &t[..SIGNED_LEN]).finalize().into_bytes();
    t[SIGNED_LEN..].copy_from_slice(&mac[..TRAILER_LEN - SIGNED_LEN]);
    t
}

/// The time of what stands behind a message, if it is a trailer that one of the keys has made. Whether that time is fresh
/// is the caller's to judge.
pub(super) fn verify(
    signing: &Signing,
    (src, dst): (IpAddr, IpAddr),
    message: &[u8],
    behind: &[u8],
) -> Result<Option<u64>, RejectReason> {
    if behind.is_empty() {
        return if signing.accepts_unsigned() { Ok(None) } else { Err(RejectReason::Unsigned) };
    }
    let Ok(t) = <&[u8; TRAILER_LEN]>::try_from(behind) else { return Err(RejectReason::Trailer) };
    if t[0] != VERSION || t[2..4] != [0, 0] {
        return Err(RejectReason::Trailer);
    }
    let key = signing.keys.iter().find(|k| k.id == t[1]).ok_or(RejectReason::UnknownKey(t[1]))?;
    let mac = compute_mac(key, src, dst, message, &t[..SIGNED_LEN]);
    mac.verify_truncated_left(&t[SIGNED_LEN..]).map_err(|_| RejectReason::Signature)?;
    let mut stamp = [0; 8];
    stamp.copy_from_slice(&t[4..SIGNED_LEN]);
    Ok(Some(u64::from_be_bytes(stamp)))
}

fn compute_mac(key: &HmacKey, src: IpAddr, dst: IpAddr, message: &[u8], trailer: &[u8]) -> Hmac<Sha256> {
    // A key shorter than a block is filled with zeros (RFC 2104, 2); any length is taken.
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.secret).unwrap_or_else(|_| Hmac::new(&Default::default()));
    for a in [src, dst] {
        match a {
            IpAddr::V4(a) => mac.update(&a.octets()),
            IpAddr::V6(a) => mac.update(&a.octets()),
        }
    }
    mac.update(message);
    mac.update(trailer);
    mac
}
