//! The VRRP message: RFC 3768 section 5 (version 2), RFC 9568 section 5 (version 3).
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
//! |             addresses, 4 bytes each, over IPv6 16             |
//! +---------------------------------------------------------------+
//! |                  v2: authentication, 8 bytes                  |
//! +---------------------------------------------------------------+
//! ```

use std::net::IpAddr;
use std::time::Duration;

use super::trailer::{self, Signer};
use super::{ChecksumForm, IPPROTO_VRRP, IpHeader, RejectReason, ah};
use crate::model::{Auth, OldUnicastChecksum, Signing, Vrid, VrrpVersion};

/// Bytes of the fixed part of a message.
const HEADER_LEN: usize = 8;
/// Bytes of version 2's authentication data.
const AUTH_LEN: usize = 8;
/// The message type ADVERTISEMENT, the only one (RFC 9568, 5.2.2).
const ADVERTISEMENT: u8 = 1;

/// An advertisement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advert {
    /// The virtual router ID.
    pub vrid: Vrid,
    /// The sender's priority. 0: the sender resigns. 255: the sender owns the addresses.
    pub priority: u8,
    /// The advertisement interval: whole seconds in version 2, centiseconds in version 3.
    pub interval: Duration,
    /// The virtual addresses in the sender's order, all of one family.
    pub addresses: Vec<IpAddr>,
}

/// An advert that was received and passed the checks of [`AdvertRules::parse`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceivedAdvert {
    /// The message.
    pub advert: Advert,
    /// The form of its checksum.
    pub form: ChecksumForm,
    /// The sequence number of its verified authentication header.
    pub sequence: Option<u32>,
    /// The timestamp of its verified signature.
    pub timestamp: Option<u64>,
}

/// How an advert is authenticated when it is sent.
#[derive(Clone, Copy, Debug)]
pub struct AdvertAuth<'k> {
    /// Version 2's authentication.
    pub auth: Auth,
    /// The sequence number of the authentication header, for `Auth::Ah`.
    pub sequence: u32,
    /// The key and timestamp of the signature, for `auth_hmac`.
    pub signer: Option<Signer<'k>>,
}

impl AdvertAuth<'_> {
    /// Without a signature, and with sequence number 0.
    pub fn unsigned(auth: Auth) -> Self {
        AdvertAuth { auth, sequence: 0, signer: None }
    }
}

/// The largest number of addresses in one advert. The count field is a byte; over IPv6 the packet, with the trailer of
/// a signed one, must fit into 1,500 bytes.
pub fn max_addresses(ipv6: bool, signed: bool) -> usize {
    let trailer = if signed { trailer::TRAILER_LEN } else { 0 };
    if ipv6 { (1500 - 40 - HEADER_LEN - trailer) / 16 } else { 255 }
}

/// The VRID in a packet's payload, which is read before the packet is verified. `None` if the payload is too short or
/// the VRID is 0.
pub fn peek_vrid(ip: &IpHeader, payload: &[u8]) -> Option<Vrid> {
    let offset = if ip.protocol == ah::IPPROTO_AH { ah::HEADER_LEN + 1 } else { 1 };
    Vrid::new(*payload.get(offset)?)
}

impl Advert {
    /// Encodes the VRRP message, with a checksum of this form for a packet from `src` to `dst`. Version 2 always has
    /// [`ChecksumForm::MessageOnly`].
    pub fn encode_message(
        &self,
        version: VrrpVersion,
        auth: Auth,
        form: ChecksumForm,
        src: IpAddr,
        dst: IpAddr,
    ) -> Vec<u8> {
        let addresses = &self.addresses[..self.addresses.len().min(max_addresses(src.is_ipv6(), false))];
        let mut b = Vec::with_capacity(HEADER_LEN + 16 * addresses.len() + AUTH_LEN);
        b.push(version.number() << 4 | ADVERTISEMENT);
        b.push(self.vrid.get());
        b.push(self.priority);
        b.push(addresses.len() as u8);
        match version {
            VrrpVersion::V2 => {
                b.push(auth.number());
                b.push(self.interval.as_secs().min(255) as u8);
            }
            VrrpVersion::V3 => b.extend(((self.interval.as_millis() / 10).min(4095) as u16).to_be_bytes()),
        }
        b.extend([0, 0]);
        for a in addresses {
            match a {
                IpAddr::V4(a) => b.extend(a.octets()),
                IpAddr::V6(a) => b.extend(a.octets()),
            }
        }
        if version == VrrpVersion::V2 {
            b.extend(if let Auth::Pass(p) = auth { p.0 } else { [0; AUTH_LEN] });
        }
        let form = if version == VrrpVersion::V2 { ChecksumForm::MessageOnly } else { form };
        let sum = form.compute(src, dst, &b);
        b[6..8].copy_from_slice(&sum.to_be_bytes());
        b
    }

    /// Encodes what a raw socket expects: over IPv4 the packet with its IP header, over IPv6 the message alone. Of
    /// `ip`, addresses, TTL and identification are used.
    pub fn encode_packet(
        &self,
        version: VrrpVersion,
        auth: AdvertAuth<'_>,
        form: ChecksumForm,
        ip: IpHeader,
    ) -> Vec<u8> {
        let mut message = self.encode_message(version, auth.auth, form, ip.src, ip.dst);
        if let Some(signer) = auth.signer {
            let trailer = trailer::sign(signer, ip.src, ip.dst, &message);
            message.extend(trailer);
        }
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (ip.src, ip.dst) else { return message };
        let (ip, payload) = if let Auth::Ah(key) = auth.auth {
            let ip = IpHeader { protocol: ah::IPPROTO_AH, ..ip };
            (ip, ah::add_header(&ip, key, auth.sequence, &message))
        } else {
            (IpHeader { protocol: IPPROTO_VRRP, ..ip }, message)
        };
        let mut packet = ip.encode_ipv4(src, dst, payload.len()).to_vec();
        packet.extend(payload);
        packet
    }
}

/// The settings that a received advert must match, whoever sent it.
#[derive(Clone, Copy, Debug)]
pub struct AdvertRules<'k> {
    /// The VRRP version.
    pub version: VrrpVersion,
    /// Version 2's authentication.
    pub auth: Auth,
    /// The interval of version 2, which must be the same on every router (RFC 3768, 7.1).
    pub interval: Duration,
    /// Whether [`ChecksumForm::OldUnicast`] is accepted (version 3 over IPv4, unicast).
    pub old_unicast_checksum: OldUnicastChecksum,
    /// The keys of `auth_hmac`.
    pub signing: Option<&'k Signing>,
}

impl AdvertRules<'_> {
    /// Parses and verifies the payload of an IP packet.
    ///
    /// The checks and their order are those of RFC 9568, 7.1, and RFC 3768, 7.1, as keepalived does them. Ethernet
    /// padding behind an unsigned message is ignored. The caller checks source, destination and TTL.
    pub fn parse(&self, ip: &IpHeader, payload: &[u8]) -> Result<ReceivedAdvert, RejectReason> {
        let (sequence, message) = match self.auth {
            Auth::Ah(_) if ip.protocol != ah::IPPROTO_AH => return Err(RejectReason::AhMissing),
            Auth::Ah(key) => ah::verify(ip, key, payload).map(|(n, m)| (Some(n), m))?,
            _ if ip.protocol == ah::IPPROTO_AH => return Err(RejectReason::AhUnwanted),
            _ => (None, payload),
        };
        let Some((head, rest)) = message.split_first_chunk::<HEADER_LEN>() else { return Err(RejectReason::Length) };
        if head[0] >> 4 != self.version.number() {
            return Err(RejectReason::Version(head[0] >> 4));
        }
        if head[0] & 15 != ADVERTISEMENT {
            return Err(RejectReason::Type(head[0] & 15));
        }
        let address_len = if ip.src.is_ipv6() { 16 } else { 4 };
        let addresses_len = usize::from(head[3]) * address_len;
        let length = HEADER_LEN + addresses_len + if self.version == VrrpVersion::V2 { AUTH_LEN } else { 0 };
        let Some((message, trailer)) = message.split_at_checked(length) else { return Err(RejectReason::Length) };
        let verify = |signing| trailer::verify(signing, (ip.src, ip.dst), message, trailer);
        let timestamp = self.signing.map_or(Ok(None), verify)?;
        let form = self.detect_checksum_form(ip, message).ok_or(RejectReason::Checksum)?;
        let vrid = Vrid::new(head[1]).ok_or(RejectReason::Vrid)?;
        let interval = match self.version {
            VrrpVersion::V2 => Duration::from_secs(u64::from(head[5])),
            VrrpVersion::V3 => Duration::from_millis(u64::from(u16::from_be_bytes([head[4] & 15, head[5]])) * 10),
        };
        if self.version == VrrpVersion::V2 {
            self.check_v2(head[4], &message[length - AUTH_LEN..], interval)?;
        }
        let addresses = rest[..addresses_len].chunks_exact(address_len).filter_map(parse_address).collect();
        let advert = Advert { vrid, priority: head[2], interval, addresses };
        Ok(ReceivedAdvert { advert, form, sequence, timestamp })
    }

    /// RFC 3768, 7.1: authentication type, authentication data and interval are the configured ones.
    fn check_v2(&self, auth_type: u8, auth_data: &[u8], interval: Duration) -> Result<(), RejectReason> {
        if auth_type != self.auth.number() {
            return Err(RejectReason::AuthType(auth_type));
        }
        if matches!(self.auth, Auth::Pass(ours) if auth_data != ours.0) {
            return Err(RejectReason::AuthPass);
        }
        if interval != self.interval {
            return Err(RejectReason::Interval);
        }
        Ok(())
    }

    /// The form in which the checksum is right. A checksum is no protection against an attacker, so that all known
    /// forms are accepted from every peer.
    fn detect_checksum_form(&self, ip: &IpHeader, message: &[u8]) -> Option<ChecksumForm> {
        let old = self.old_unicast_checksum != OldUnicastChecksum::Never && !ip.dst.is_multicast();
        let forms: &[ChecksumForm] = match (self.version, ip.src) {
            (VrrpVersion::V2, _) => &[ChecksumForm::MessageOnly],
            (VrrpVersion::V3, IpAddr::V6(_)) => &[ChecksumForm::PseudoHeader],
            (VrrpVersion::V3, IpAddr::V4(_)) if old => {
                &[ChecksumForm::PseudoHeader, ChecksumForm::MessageOnly, ChecksumForm::OldUnicast]
            }
            (VrrpVersion::V3, IpAddr::V4(_)) => &[ChecksumForm::PseudoHeader, ChecksumForm::MessageOnly],
        };
        forms.iter().copied().find(|f| f.compute(ip.src, ip.dst, message) == 0)
    }
}

fn parse_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}
