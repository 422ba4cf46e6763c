//! Signed adverts (`auth_hmac`): what a backup accepts, and what a master sends.

use super::*;
use crate::vrrp::packet::trailer::{Signer, next_timestamp};

const TIME_OF_DAY: Duration = Duration::from_secs(1_800_000_000);

/// A backup of priority 100 whose clock shows [`TIME_OF_DAY`]; `lines` go into its `auth_hmac`.
fn backup(lines: &str) -> Router {
    let keys = "key 1 hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n\
        key 2 abcdefghijklmnopqrstuvwxyz0123456789\nactive_key 1";
    let mut r = started_router(&format!("auth_hmac {{\n{keys}\n{lines}\n}}\npriority 100"));
    r.set_time_of_day(TIME_OF_DAY);
    r
}

fn key(id: u8) -> HmacKey {
    let secret = if id == 1 { (0..32).collect() } else { b"abcdefghijklmnopqrstuvwxyz0123456789".to_vec() };
    HmacKey { id, secret }
}

/// A packet from the peer, signed with a key and a timestamp, or unsigned.
fn packet(priority: u8, signed: Option<(&HmacKey, u64)>) -> Vec<u8> {
    let signer = signed.map(|(key, stamp)| Signer { key, timestamp: stamp });
    let seal = AdvertAuth { signer, ..AdvertAuth::unsigned(Auth::None) };
    advert(priority, Duration::from_secs(1)).encode_packet(
        VrrpVersion::V2,
        seal,
        ChecksumForm::MessageOnly,
        ip_header(PEER, ALL, 255),
    )
}

/// Receives a packet. Returns why it was rejected, if that is reported for the first time.
fn receive_packet(r: &mut Router, packet: &[u8]) -> Option<RejectReason> {
    let (ip, payload) = split_ipv4(packet).expect("a packet");
    r.handle(at_ms(20), Input::Packet { ip, payload });
    first_rejection(&drain_outputs(r))
}

#[test]
fn a_signature_must_be_present_authentic_and_new() {
    let mut r = backup("");
    let now = next_timestamp(TIME_OF_DAY, 0);
    assert_eq!(receive_packet(&mut r, &packet(200, None)), Some(RejectReason::Unsigned));
    let good = packet(200, Some((&key(1), now)));
    assert_eq!(receive_packet(&mut r, &good), None);
    assert_eq!(r.master(), Some((PEER, 200)));
    assert_eq!(receive_packet(&mut r, &good), Some(RejectReason::SignatureReplay));
    assert_eq!(receive_packet(&mut r, &packet(0, Some((&key(1), now - 1)))), None, "reported once");
    assert_eq!(r.counters().rejected["SignatureReplay"], 2, "an older one is rejected, too");
    assert_eq!(
        receive_packet(&mut r, &packet(0, Some((&HmacKey { id: 3, ..key(1) }, now + 9)))),
        Some(RejectReason::UnknownKey(3))
    );
    assert_eq!(
        receive_packet(&mut r, &packet(0, Some((&HmacKey { id: 1, ..key(2) }, now + 9)))),
        Some(RejectReason::Signature)
    );
    let seconds = |n: u64| n << 32;
    assert_eq!(receive_packet(&mut r, &packet(0, Some((&key(1), now + seconds(6))))), Some(RejectReason::Stale));
    receive_packet(&mut r, &packet(0, Some((&key(1), now - seconds(6)))));
    assert_eq!(r.counters().rejected["Stale"], 2, "too old, and too far in the future");
    assert_eq!(
        receive_packet(&mut r, &packet(200, Some((&key(2), now + seconds(4))))),
        None,
        "any of the keys is accepted"
    );
    assert_eq!(r.master(), Some((PEER, 200)), "none of the rejected packets counts as a resignation");
}

#[test]
fn no_changed_byte_of_a_signed_advert_is_accepted() {
    let mut r = backup("");
    let good = packet(0, Some((&key(1), next_timestamp(TIME_OF_DAY, 0))));
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 1;
        let Some((ip, payload)) = split_ipv4(&bad) else { continue };
        let before = r.counters().adverts_received;
        r.handle(at_ms(30), Input::Packet { ip, payload });
        // Fields of the IP header that no check covers: TOS, identification, flags and fragment offset, protocol,
        // checksum.
        let is_unprotected = matches!(i, 1 | 4..=7 | 9..=11);
        assert!(r.counters().adverts_received == before || is_unprotected, "byte {i}");
    }
    for end in 20..good.len() {
        let mut cut = good[..end].to_vec();
        cut[2..4].copy_from_slice(&(end as u16).to_be_bytes());
        receive_packet(&mut r, &cut);
    }
    assert!(r.counters().rejected["Trailer"] >= 27, "{:?}", r.counters().rejected);
    assert_eq!(r.counters().rejected["Unsigned"], 1);
}

#[test]
fn each_mode_accepts_what_it_should() {
    let now = next_timestamp(TIME_OF_DAY, 0);
    for mode in ["permissive", "receive-only"] {
        let mut r = backup(&format!("mode {mode}"));
        assert_eq!(receive_packet(&mut r, &packet(200, None)), None, "{mode}");
        assert_eq!(receive_packet(&mut r, &packet(200, Some((&key(2), now)))), None, "{mode}");
        let forged = HmacKey { id: 1, ..key(2) };
        assert_eq!(
            receive_packet(&mut r, &packet(200, Some((&forged, now + 1)))),
            Some(RejectReason::Signature),
            "{mode}"
        );
    }
    // With `monotonic` only the order of timestamps counts, so that the clocks may differ.
    let mut r = backup("anti_replay monotonic");
    assert_eq!(receive_packet(&mut r, &packet(200, Some((&key(1), 5)))), None);
    assert_eq!(receive_packet(&mut r, &packet(200, Some((&key(1), 5)))), Some(RejectReason::SignatureReplay));
}

#[test]
fn a_master_signs_every_packet_with_a_later_time() {
    let sent = |lines: &str| {
        let mut r = backup(lines);
        let mut all: Vec<Vec<u8>> = Vec::new();
        for ms in [4000, 5000, 6000] {
            r.handle_deadline(at_ms(ms));
            all.extend(drain_outputs(&mut r).into_iter().filter_map(|o| match o {
                Output::Send { packet, .. } => Some(packet),
                _ => None,
            }));
        }
        all.extend(r.resignation_packets().into_iter().map(|(_, _, packet)| packet));
        all
    };
    let all = sent("");
    assert_eq!(all.len(), 5, "three adverts, and the two resignation packets for a crash");
    let mut listener = backup("");
    for p in &all {
        let (mut ip, payload) = split_ipv4(p).expect("a packet");
        assert_eq!(ip.src, ME);
        // The listener has the sender's address, so that the packets get another source, which their signature does not
        // cover.
        assert_eq!(payload.len(), 8 + 4 + 8 + 28);
        ip.src = PEER;
        listener.handle(at_ms(20), Input::Packet { ip, payload });
        assert_eq!(listener.counters().rejected["Signature"], listener.counters().rejected.values().sum::<u64>());
    }
    let times: Vec<&[u8]> = all.iter().map(|p| &p[44..52]).collect();
    assert!(times.windows(2).all(|w| w[0] < w[1]), "{times:?}");
    assert_eq!(sent("mode receive-only")[0].len(), 20 + 20, "and not at all if it only receives");
}
