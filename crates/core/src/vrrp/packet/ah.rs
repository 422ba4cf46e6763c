//! The IPsec authentication header between IP header and VRRP message, for `auth_type AH`: RFC 2402 with HMAC-MD5-96
//! (RFC 2403), as RFC 2338, 5.3.6.3, specifies.
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! | next: 112     | length: 4     | 0                             |
//! +---------------+---------------+-------------------------------+
//! | SPI: the sender's address                                     |
//! +---------------------------------------------------------------+
//! | sequence number                                               |
//! +---------------------------------------------------------------+
//! | digest, 12 bytes: over the IP header (mutable fields zeroed,  |
//! | except TTL), this header, and the message                     |
//! +---------------------------------------------------------------+
//! ```
//!
//! The digest covers the same fields as keepalived's; this was verified with recorded frames. TOS, fragment offset and
//! checksum count as zero. TTL and identification count with their values, although RFC 2402 lists TTL as mutable.

use std::net::{IpAddr, Ipv4Addr};

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;

use super::ip::{IPV4_HEADER_LEN, IpHeader};
use super::{IPPROTO_VRRP, RejectReason};
use crate::model::AuthPass;

/// The IP protocol number.
pub const IPPROTO_AH: u8 = 51;
/// Bytes of the authentication header, digest included.
pub const HEADER_LEN: usize = 24;
const DIGEST_LEN: usize = 12;

/// Returns the authentication header followed by `message`, for an IPv4 packet with the header `ip`.
pub(super) fn add_header(ip: &IpHeader, key: AuthPass, sequence: u32, message: &[u8]) -> Vec<u8> {
    let mut b = Vec::with_capacity(HEADER_LEN + message.len());
    b.extend([IPPROTO_VRRP, (HEADER_LEN / 4 - 2) as u8, 0, 0]);
    b.extend(spi(ip));
    b.extend(sequence.to_be_bytes());
    b.extend([0; DIGEST_LEN]);
    b.extend(message);
    let digest = digest(ip, key, &b);
    b[HEADER_LEN - DIGEST_LEN..HEADER_LEN].copy_from_slice(&digest);
    b
}

/// Verifies the authentication header. Returns its sequence number, which the caller must compare with earlier ones,
/// and the VRRP message behind it.
pub(super) fn verify<'m>(ip: &IpHeader, key: AuthPass, payload: &'m [u8]) -> Result<(u32, &'m [u8]), RejectReason> {
    let (head, message) = payload.split_first_chunk::<HEADER_LEN>().ok_or(RejectReason::Length)?;
    if head[..4] != [IPPROTO_VRRP, (HEADER_LEN / 4 - 2) as u8, 0, 0] || head[4..8] != spi(ip) {
        return Err(RejectReason::AhHeader);
    }
    let mut zeroed = payload.to_vec();
    zeroed[HEADER_LEN - DIGEST_LEN..HEADER_LEN].fill(0);
    compute_mac(ip, key, &zeroed)
        .verify_truncated_left(&head[HEADER_LEN - DIGEST_LEN..])
        .map_err(|_| RejectReason::AhDigest)?;
    Ok((u32::from_be_bytes([head[8], head[9], head[10], head[11]]), message))
}

fn spi(ip: &IpHeader) -> [u8; 4] {
    match ip.src {
        IpAddr::V4(a) => a.octets(),
        IpAddr::V6(_) => [0; 4], // version 3 only, which has no authentication
    }
}

fn compute_mac(ip: &IpHeader, key: AuthPass, payload: &[u8]) -> Hmac<Md5> {
    let v4 = |a| if let IpAddr::V4(a) = a { a } else { Ipv4Addr::UNSPECIFIED };
    let mut header: [u8; IPV4_HEADER_LEN] = ip.encode_ipv4(v4(ip.src), v4(ip.dst), payload.len());
    header[1] = 0; // TOS
    header[10..12].fill(0); // checksum
    // A key shorter than a block is padded with zeros (RFC 2104, 2), so that no length is an error.
    let mut mac = Hmac::<Md5>::new_from_slice(&key.0).unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(&header);
    mac.update(payload);
    mac
}

fn digest(ip: &IpHeader, key: AuthPass, payload: &[u8]) -> [u8; DIGEST_LEN] {
    let mut out = [0; DIGEST_LEN];
    out.copy_from_slice(&compute_mac(ip, key, payload).finalize().into_bytes()[..DIGEST_LEN]);
    out
}
