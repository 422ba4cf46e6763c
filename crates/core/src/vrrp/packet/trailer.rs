//! The signature trailer behind a VRRP message (`auth_hmac`), for both versions and both address families.
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! | version: 1    | key number    | 0                             |
//! +---------------+---------------+-------------------------------+
//! | timestamp: 4 bytes of seconds since 1970, 2 of 1/65,536 s,    |
//! | 2 of a counter for packets with the same time                 |
//! +---------------------------------------------------------------+
//! | the first 16 bytes of an HMAC-SHA-256                         |
//! +---------------------------------------------------------------+
//! ```
//!
//! The layout is keepalived 2.4's, as recorded. Which bytes keepalived's MAC covers is not known here. Ours covers all
//! that must be authentic: the packet's source and destination, the message with its checksum, and the trailer up to
//! the MAC. No checksum covers the trailer.

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

/// The key and the timestamp of a signature.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'k> {
    /// The key.
    pub key: &'k HmacKey,
    /// The timestamp, from [`next_timestamp`].
    pub timestamp: u64,
}

/// The timestamp for a time of day (since 1970). The result is always greater than `previous`.
pub fn next_timestamp(time_of_day: Duration, previous: u64) -> u64 {
    let fraction = (u64::from(time_of_day.subsec_nanos()) << 16) / 1_000_000_000;
    let now = ((time_of_day.as_secs() & 0xffff_ffff) << 32) | (fraction << 16);
    now.max(previous.saturating_add(1))
}

/// The distance between a timestamp and the time of day, in the past or in the future.
pub fn timestamp_age(timestamp: u64, time_of_day: Duration) -> Duration {
    let now = next_timestamp(time_of_day, 0);
    Duration::from_micros(((now.abs_diff(timestamp) >> 16) * 1_000_000) >> 16)
}

/// Returns the trailer of a message.
pub(super) fn sign(s: Signer<'_>, src: IpAddr, dst: IpAddr, message: &[u8]) -> [u8; TRAILER_LEN] {
    let mut t = [0; TRAILER_LEN];
    (t[0], t[1]) = (VERSION, s.key.id);
    t[4..SIGNED_LEN].copy_from_slice(&s.timestamp.to_be_bytes());
    let mac = compute_mac(s.key, src, dst, message, &t[..SIGNED_LEN]).finalize().into_bytes();
    t[SIGNED_LEN..].copy_from_slice(&mac[..TRAILER_LEN - SIGNED_LEN]);
    t
}

/// Verifies the trailer behind a message with the configured keys. Returns its timestamp, which the caller must compare
/// with the time of day and with earlier ones; `None` if there is no trailer and the mode accepts that.
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
    let mut timestamp = [0; 8];
    timestamp.copy_from_slice(&t[4..SIGNED_LEN]);
    Ok(Some(u64::from_be_bytes(timestamp)))
}

fn compute_mac(key: &HmacKey, src: IpAddr, dst: IpAddr, message: &[u8], trailer: &[u8]) -> Hmac<Sha256> {
    // A key shorter than a block is padded with zeros (RFC 2104, 2), so that no length is an error.
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
