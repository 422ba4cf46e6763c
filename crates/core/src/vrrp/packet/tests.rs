use std::net::IpAddr;
use std::time::Duration;

use super::announce::announcement_frame;
use super::*;
use crate::model::{Auth, AuthPass, OldUnicastChecksum, Vrid, VrrpVersion};

const MAC: [u8; 6] = [2, 0, 0, 0, 0xa, 1];
const RULES: AdvertRules = AdvertRules {
    version: VrrpVersion::V2,
    auth: Auth::None,
    interval: Duration::from_secs(1),
    old_unicast_checksum: OldUnicastChecksum::Detected,
    signing: None,
};

fn ip(a: &str) -> IpAddr {
    a.parse().expect("an address")
}

fn header(src: &str, dst: &str) -> IpHeader {
    IpHeader { src: ip(src), dst: ip(dst), ttl: VRRP_TTL, protocol: IPPROTO_VRRP, id: 1 }
}

fn advert(addresses: &[&str]) -> Advert {
    let addresses = addresses.iter().map(|a| ip(a)).collect();
    Advert { vrid: Vrid::new(51).expect("a VRID"), priority: 100, interval: Duration::from_secs(1), addresses }
}

#[test]
fn an_invalid_advert_is_rejected_with_its_reason() {
    let h = header("10.0.0.2", "224.0.0.18");
    let v2 =
        advert(&["10.0.0.100"]).encode_message(VrrpVersion::V2, Auth::None, ChecksumForm::MessageOnly, h.src, h.dst);
    let read = |m: &[u8], rules: AdvertRules| rules.parse(&h, m).map(|_| ());
    assert_eq!(read(&v2, RULES), Ok(()));
    assert_eq!(read(&v2, AdvertRules { version: VrrpVersion::V3, ..RULES }), Err(RejectReason::Version(2)));
    assert_eq!(read(&v2[..7], RULES), Err(RejectReason::Length));
    assert_eq!(read(&v2[..12], RULES), Err(RejectReason::Length));
    for i in 0..v2.len() {
        let mut bad = v2.clone();
        bad[i] ^= 1;
        assert!(read(&bad, RULES).is_err(), "byte {i} flipped");
    }
    let mut padded = v2.clone();
    padded.extend([0xee; 26]);
    assert_eq!(read(&padded, RULES), Ok(()), "Ethernet padding");
    let pass = Auth::Pass(AuthPass(*b"1111\0\0\0\0"));
    assert_eq!(read(&v2, AdvertRules { auth: pass, ..RULES }), Err(RejectReason::AuthType(0)));
    assert_eq!(read(&v2, AdvertRules { interval: Duration::from_secs(2), ..RULES }), Err(RejectReason::Interval));
    let behind = IpHeader { protocol: ah::IPPROTO_AH, ..h };
    assert_eq!(RULES.parse(&behind, &v2).map(|_| ()), Err(RejectReason::AhUnwanted));
}

#[test]
fn a_checksum_is_correct_in_one_of_the_forms_or_rejected() {
    let rules = AdvertRules { version: VrrpVersion::V3, ..RULES };
    for (dst, old_unicast, form, accepted) in [
        ("224.0.0.18", OldUnicastChecksum::Detected, ChecksumForm::PseudoHeader, true),
        ("224.0.0.18", OldUnicastChecksum::Detected, ChecksumForm::MessageOnly, true),
        ("10.0.0.1", OldUnicastChecksum::Detected, ChecksumForm::OldUnicast, true),
        ("10.0.0.1", OldUnicastChecksum::Never, ChecksumForm::OldUnicast, false),
    ] {
        let h = header("10.0.0.2", dst);
        let mut m = advert(&["10.0.0.100"]).encode_message(VrrpVersion::V3, Auth::None, form, h.src, h.dst);
        let rules = AdvertRules { old_unicast_checksum: old_unicast, ..rules };
        let detected = rules.parse(&h, &m).map(|h| h.form);
        assert_eq!(detected, if accepted { Ok(form) } else { Err(RejectReason::Checksum) }, "{dst} {form:?}");
        m[6..8].copy_from_slice(&[0xde, 0xad]);
        assert_eq!(rules.parse(&h, &m).map(|_| ()), Err(RejectReason::Checksum));
    }
    let h = header("fe80::2", "ff02::12");
    let m = advert(&["fe80::100"]).encode_message(VrrpVersion::V3, Auth::None, ChecksumForm::MessageOnly, h.src, h.dst);
    assert_eq!(rules.parse(&h, &m).map(|_| ()), Err(RejectReason::Checksum), "IPv6 has one form");
}

#[test]
fn an_advert_has_as_many_addresses_as_fit() {
    let many: Vec<String> = (0..300).map(|n| format!("fd00::{n:x}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let h = header("fe80::2", "ff02::12");
    let m = advert(&many).encode_message(VrrpVersion::V3, Auth::None, ChecksumForm::PseudoHeader, h.src, h.dst);
    let received = AdvertRules { version: VrrpVersion::V3, ..RULES }.parse(&h, &m).expect("an advert");
    assert_eq!((received.advert.addresses.len(), m.len() + 40 <= 1500), (90, true));
}

#[test]
fn no_bytes_make_the_parser_panic() {
    use proptest::prelude::*;
    let bytes = || prop::collection::vec(any::<u8>(), 0..120);
    proptest!(|(m in bytes(), v3 in any::<bool>(), authentic in any::<bool>(), v6 in any::<bool>(), behind in any::<bool>())| {
        let rules = AdvertRules {
            version: if v3 { VrrpVersion::V3 } else { VrrpVersion::V2 },
            auth: if authentic { Auth::Ah(AuthPass([1; 8])) } else { Auth::None },
            ..RULES
        };
        let mut h = if v6 { header("fe80::2", "ff02::12") } else { header("10.0.0.2", "224.0.0.18") };
        if behind {
            h.protocol = ah::IPPROTO_AH;
        }
        let _ = rules.parse(&h, &m);
        let _ = peek_vrid(&h, &m);
        let _ = split_ipv4(&m);
    });
}

#[test]
fn a_neighbour_advertisement_has_the_router_flag_if_the_host_forwards() {
    let frame = |router| announcement_frame(MAC, ip("fd99::1"), router);
    assert_eq!((frame(false)[58], frame(true)[58]), (0x20, 0xa0));
    // The checksum covers the flag: computed over pseudo-header and message, it is zero.
    for f in [frame(false), frame(true)] {
        assert_eq!(crate::checksum::internet_checksum(32 + 58, &f[22..]), 0);
    }
}
