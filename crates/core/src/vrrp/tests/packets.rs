//! Received packets: arrival, checksum forms, authentication headers; unicast.

use super::*;

fn unicast(lines: &str) -> Router {
    started_router(&format!(
        "version 3\nadvert_int 0.5\nunicast_peer {{\n10.0.0.3\n10.0.0.4 {lines}\n}}\nunicast_ttl 64"
    ))
}

#[test]
fn unicast_goes_to_each_peer_with_its_own_checksum() {
    let mut r = unicast("");
    r.handle_deadline(at_ms(100_000));
    let sent: Vec<_> = drain_outputs(&mut r)
        .into_iter()
        .filter_map(|o| if let Output::Send { to, ttl, packet, .. } = o { Some((to, ttl, packet)) } else { None })
        .collect();
    let to: Vec<_> = sent.iter().map(|(to, ttl, _)| (to.to_string(), *ttl)).collect();
    assert_eq!(to, [("10.0.0.3".to_owned(), 64), ("10.0.0.4".to_owned(), 64)]);
    for (to, ttl, packet) in &sent {
        let (ip, message) = split_ipv4(packet).expect("a packet");
        assert_eq!((ip.src, ip.dst, ip.ttl), (ME, *to, *ttl));
        assert_eq!(ChecksumForm::PseudoHeader.compute(ME, *to, message), 0, "the peer's address is in the checksum");
    }
}

#[test]
fn a_packet_must_arrive_as_the_instance_sends() {
    let why = |r: &mut Router, (src, dst, ttl): (IpAddr, IpAddr, u8)| {
        let m = advert(200, ms(500)).encode_message(VrrpVersion::V3, Auth::None, ChecksumForm::PseudoHeader, src, dst);
        r.handle(at_ms(10), Input::Packet { ip: ip_header(src, dst, ttl), payload: &m });
        let mut rejected = None;
        while let Some(o) = r.poll_output() {
            if let Output::PacketRejected { reason: why, .. } = o {
                rejected = Some(why);
            }
        }
        rejected
    };
    let [third, fourth, fifth] = [3, 4, 5].map(|n| IpAddr::from([10, 0, 0, n]));
    assert_eq!(why(&mut unicast(""), (third, ALL, 255)), Some(RejectReason::Multicast));
    assert_eq!(why(&mut unicast(""), (third, ME, 3)), None, "unicast passes routers");
    assert_eq!(why(&mut unicast(""), (fifth, ME, 255)), None, "as keepalived, it accepts unknown peers by default");
    assert_eq!(why(&mut unicast("min_ttl 250"), (fifth, ME, 255)), Some(RejectReason::UnknownPeer));
    assert_eq!(why(&mut unicast("min_ttl 250"), (fourth, ME, 249)), Some(RejectReason::Ttl(249)));
    assert_eq!(why(&mut unicast("min_ttl 250"), (fourth, ME, 250)), None);
    assert_eq!(why(&mut started_router("version 3\nadvert_int 0.5"), (third, ME, 255)), Some(RejectReason::Unicast));
}

#[test]
fn forged_packets_are_counted_and_reported_once() {
    let mut r = started_router("priority 100");
    for _ in 0..1000 {
        r.handle(at_ms(10), Input::Packet { ip: ip_header(PEER, ALL, 1), payload: &[0x21; 20] });
    }
    assert_eq!(drain_outputs(&mut r), [Output::PacketRejected { peer: PEER, reason: RejectReason::Ttl(1) }]);
    assert_eq!(r.counters().rejected.values().sum::<u64>(), 1000);
}

#[test]
fn checksum_forms_are_detected_and_reported_and_an_old_peer_gets_its_own_form() {
    let mut r = started_router("version 3\npriority 100");
    let form = ChecksumForm::MessageOnly;
    let reported = [Output::ChecksumMismatch { peer: PEER, form }];
    assert_eq!(receive_with_form(&mut r, at_ms(10), 200, form), reported);
    assert_eq!(receive_with_form(&mut r, at_ms(20), 200, ChecksumForm::MessageOnly), [], "once");
    assert_eq!(r.master(), Some((PEER, 200)), "the advert is accepted all the same");
    let mut r = unicast("");
    let third = IpAddr::from([10, 0, 0, 3]);
    let m = advert(0, ms(500)).encode_message(VrrpVersion::V3, Auth::None, ChecksumForm::OldUnicast, third, ME);
    r.handle(at_ms(10), Input::Packet { ip: ip_header(third, ME, 255), payload: &m });
    r.handle_deadline(at_ms(100_000));
    let forms: Vec<bool> = drain_outputs(&mut r)
        .iter()
        .filter_map(|o| if let Output::Send { to, packet, .. } = o { Some((*to, packet)) } else { None })
        .map(|(to, packet)| ChecksumForm::OldUnicast.compute(ME, to, &packet[20..]) == 0)
        .collect();
    assert_eq!(forms, [true, false], "only the old peer");
}

#[test]
fn an_authentication_header_must_be_present_authentic_and_new() {
    let lines = "authentication {\nauth_type AH\nauth_pass secret\n}\npriority 100";
    let mut r = started_router(lines);
    assert_eq!(
        receive(&mut r, at_ms(10), 200),
        [Output::PacketRejected { peer: PEER, reason: RejectReason::AhMissing }]
    );
    let Auth::Ah(key) = r.config().auth else { panic!("AH") };
    let packet = |key, sequence, priority| {
        let a = advert(priority, Duration::from_secs(1));
        let seal = AdvertAuth { sequence, ..AdvertAuth::unsigned(Auth::Ah(key)) };
        a.encode_packet(VrrpVersion::V2, seal, ChecksumForm::MessageOnly, ip_header(PEER, ALL, 255))
    };
    let receive_packet = |r: &mut Router, packet: &[u8]| {
        let (ip, payload) = split_ipv4(packet).expect("a packet");
        r.handle(at_ms(20), Input::Packet { ip, payload });
        first_rejection(&drain_outputs(r))
    };
    let good = packet(key, 7, 200);
    assert_eq!(receive_packet(&mut r, &good), None);
    assert_eq!(r.master(), Some((PEER, 200)));
    assert_eq!(receive_packet(&mut r, &good), Some(RejectReason::Replay));
    assert_eq!(receive_packet(&mut r, &packet(key, 6, 0)), None, "reported once");
    assert_eq!(r.counters().rejected["Replay"], 2, "an older one is rejected, too");
    assert_eq!(receive_packet(&mut r, &packet(AuthPass(*b"guessed\0"), 9, 0)), Some(RejectReason::AhDigest));
    for i in 0..good.len() {
        let mut bad = packet(key, 8, 200);
        bad[i] ^= 1;
        if let Some((ip, payload)) = split_ipv4(&bad) {
            let before = r.counters().adverts_received;
            r.handle(at_ms(30), Input::Packet { ip, payload });
            // Of the mutable fields of the IP header (TOS, flags, fragment offset, checksum), only TOS counts as zero.
            assert_eq!(r.counters().adverts_received > before, i == 1, "byte {i}");
        }
    }
    // Its own sequence numbers follow the received ones, so that peers accept them.
    r.handle_deadline(at_ms(100_000));
    let own = drain_outputs(&mut r)
        .into_iter()
        .find_map(|o| if let Output::Send { packet, .. } = o { Some(packet) } else { None });
    let own = own.expect("an advert");
    assert_eq!(u32::from_be_bytes([own[28], own[29], own[30], own[31]]), 9);
}
