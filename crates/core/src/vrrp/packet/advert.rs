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

const HEADER_LEN: usize = 8;
const AUTH_LEN: usize = 8;

/// An advertisement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advert {
    /// Which virtual router.
    pub vrid: Vrid,
    /// 0: the sender gives up; 255: it owns the addresses.
    pub priority: u8,
    /// Whole seconds in version 2, centiseconds in version 3.
    pub interval: Duration,
    /// The virtual addresses, as the sender has them; all of one family.
    pub addresses: Vec<IpAddr>,
}

/// An advert that was heard, and how it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceivedAdvert {
    /// What it says.
    pub advert: Advert,
    /// The form of its checksum.
    pub form: ChecksumForm,
    /// The sequence number of its authentication header, which was found to be genuine.
    pub sequence: Option<u32>,
    /// The time in its signature, which was found to be genuine.
    pub timestamp: Option<u64>,
}

/// What protects an advert that is sent.
#[derive(Clone, Copy, Debug)]
pub struct AdvertAuth<'k> {
    /// Version 2's.
    pub auth: Auth,
    /// The authentication header's, if there is one.
    pub sequence: u32,
    /// Who signs it, if somebody does.
    pub signer: Option<Signer<'k>>,
}

impl AdvertAuth<'_> {
    /// Without any number that has to grow.
    pub fn unsigned(auth: Auth) -> Self {
        AdvertAuth { auth, sequence: 0, signer: None }
    }
}

/// How many addresses one advert can name: its count is a byte, and over IPv6 it has to fit into 1,500 bytes, with its
/// signature if it has one.
pub fn max_addresses(ipv6: bool, signed: bool) -> usize {
    let behind = if signed { trailer::TRAILER_LEN } else { 0 };
    if ipv6 { (1500 - 40 - HEADER_LEN - behind) / 16 } else { 255 }
}

impl Advert {
    /// The VRRP message, with a checksum of this form for a packet from `src` to `dst`.
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
        b.push(version.number() << 4 | 1);
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

    /// What a raw socket is given: over IPv4 the packet with its header, over IPv6 the message alone. `ip` names the
    /// addresses, the TTL and the identification.
    pub fn encode_packet(
        &self,
        version: VrrpVersion,
        seal: AdvertAuth<'_>,
        form: ChecksumForm,
        ip: IpHeader,
    ) -> Vec<u8> {
        let mut message = self.encode_message(version, seal.auth, form, ip.src, ip.dst);
        if let Some(signer) = seal.signer {
            let trailer = trailer::sign(signer, ip.src, ip.dst, &message);
            message.extend(trailer);
        }
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (ip.src, ip.dst) else { return message };
        let (ip, payload) = if let Auth::Ah(key) = seal.auth {
            let ip = IpHeader { protocol: ah::IPPROTO_AH, ..ip };
            (ip, ah::add_header(&ip, key, seal.sequence, &message))
        } else {
            (IpHeader { protocol: IPPROTO_VRRP, ..ip }, message)
        };
        let mut packet = ip.encode_ipv4(src, dst, payload.len()).to_vec();
        packet.extend(payload);
        packet
    }
}

/// What an advert has to agree with, whoever sends it.
#[derive(Clone, Copy, Debug)]
pub struct AdvertRules<'k> {
    /// On the wire.
    pub version: VrrpVersion,
    /// Version 2.
    pub auth: Auth,
    /// Version 2 has it the same on every director (RFC 3768, 7.1).
    pub interval: Duration,
    /// Version 3 over IPv4, unicast.
    pub old_unicast_checksum: OldUnicastChecksum,
    /// `auth_hmac`
    pub signing: Option<&'k Signing>,
}

impl AdvertRules<'_> {
    /// Reads what came in an IP packet behind its header.
    ///
    /// The checks and their order are RFC 9568 section 7.1's and RFC 3768's, as keepalived makes them; Ethernet padding
    /// behind the message is tolerated. Where the packet may come from and with which TTL is not judged here.
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
        if head[0] & 15 != 1 {
            return Err(RejectReason::Type(head[0] & 15));
        }
        let each = if ip.src.is_ipv6() { 16 } else { 4 };
        let addresses_len = usize::from(head[3]) * each;
        let length = HEADER_LEN + addresses_len + if self.version == VrrpVersion::V2 { AUTH_LEN } else { 0 };
        let Some((message, behind)) = message.split_at_checked(length) else { return Err(RejectReason::Length) };
        let signed = |s| trailer::verify(s, (ip.src, ip.dst), message, behind);
        let stamp = self.signing.map_or(Ok(None), signed)?;
        let form = self.detect_checksum_form(ip, message).ok_or(RejectReason::Checksum)?;
        let vrid = Vrid::new(head[1]).ok_or(RejectReason::Vrid)?;
        let interval = match self.version {
            VrrpVersion::V2 => Duration::from_secs(u64::from(head[5])),
            VrrpVersion::V3 => Duration::from_millis(u64::from(u16::from_be_bytes([head[4] & 15, head[5]])) * 10),
        };
        if self.version == VrrpVersion::V2 {
            if head[4] != self.auth.number() {
                return Err(RejectReason::AuthType(head[4]));
            }
            if matches!(self.auth, Auth::Pass(ours) if message[length - AUTH_LEN..] != ours.0) {
                return Err(RejectReason::AuthPass);
            }
            if interval != self.interval {
                return Err(RejectReason::Interval);
            }
        }
        let addresses = rest[..addresses_len].chunks_exact(each).filter_map(parse_address).collect();
        Ok(ReceivedAdvert {
            advert: Advert { vrid, priority: head[2], interval, addresses },
            form,
            sequence,
            timestamp: stamp,
        })
    }

    /// The form in which the checksum is right. Which form it is does not protect against anybody, so that every known
    /// one is taken from every peer.
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
