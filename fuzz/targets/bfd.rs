//! BFD packets of any kind against a session, at any time: it never panics, never answers more than it was asked, and is
//! up only by way of a packet that says that the neighbour hears it.
#![no_main]

use std::time::Duration;

use evenkeel_core::bfd::{Output, Packet, Session, State};
use evenkeel_core::model::BfdInstance;
use evenkeel_core::time::Instant;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[kind, multiplier], mut rest)) = data.split_first_chunk::<2>() else { return };
    let ms = Duration::from_millis;
    let cfg = BfdInstance {
        name: "b".into(),
        neighbour: "10.0.0.2".parse().expect("an address"),
        source: None,
        min_rx: ms(10),
        min_tx: ms(10),
        idle_tx: ms(1000),
        multiplier: multiplier.max(1),
        passive: kind & 1 != 0,
        ttl: 255,
        max_hops: Some(0),
        multihop: false,
        tells_vrrp: true,
        tells_checks: true,
    };
    let mut now = Instant::default();
    let mut s = Session::new(cfg, 7, now);
    while let Some((wait, bytes)) = rest.split_first_chunk::<2>() {
        let (message, more) = bytes.split_at(bytes.len().min(24));
        rest = more;
        now = now + ms(u64::from(u16::from_be_bytes(*wait)));
        s.handle_deadline(now);
        while s.poll_output().is_some() {}
        let Ok(p) = Packet::read(message) else { continue };
        assert_eq!(Packet::read(&Packet::bytes(&p)), Ok(p));
        if p.yours != 0 && p.yours != 7 {
            continue;
        }
        s.handle(now, &p);
        let mut sent = 0;
        while let Some(o) = s.poll_output() {
            match o {
                Output::Send(_) => sent += 1,
                Output::State { to: State::Up, .. } => assert!(matches!(p.state, State::Init | State::Up)),
                Output::State { .. } => {}
            }
        }
        assert!(sent <= 2, "an answer to a poll, and one for a change of state");
        assert!(s.next_deadline().is_none_or(|d| d >= now));
    }
});
