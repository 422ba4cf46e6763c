//! A BFD session that receives arbitrary packets at arbitrary times: it does not panic, sends a bounded number of
//! packets in reply, and comes up only by a packet that shows that the neighbour receives it.
#![no_main]

use std::time::Duration;

use evenkeel_core::bfd::{Input, Output, Packet, Session, State};
use evenkeel_core::model::BfdInstance;
use evenkeel_core::time::Instant;
use libfuzzer_sys::fuzz_target;

/// The local discriminator.
const LOCAL: u32 = 7;

fuzz_target!(|data: &[u8]| {
    let Some((&[flags, multiplier], mut rest)) = data.split_first_chunk::<2>() else { return };
    let ms = Duration::from_millis;
    let cfg = BfdInstance {
        name: "b".into(),
        neighbour: "10.0.0.2".parse().expect("an address"),
        source: None,
        min_rx: ms(10),
        min_tx: ms(10),
        idle_tx: ms(1000),
        multiplier: multiplier.max(1),
        passive: flags & 1 != 0,
        ttl: 255,
        max_hops: Some(0),
        multihop: false,
        notifies_vrrp: true,
        notifies_checks: true,
    };
    let mut now = Instant::default();
    let mut session = Session::new(cfg, LOCAL, now);
    while let Some((delay, bytes)) = rest.split_first_chunk::<2>() {
        let (packet, next) = bytes.split_at(bytes.len().min(24));
        rest = next;
        now = now + ms(u64::from(u16::from_be_bytes(*delay)));
        session.handle_deadline(now);
        while session.poll_output().is_some() {}
        let Ok(packet) = Packet::parse(packet) else { continue };
        assert_eq!(Packet::parse(&packet.encode()), Ok(packet));
        if packet.your_discr != 0 && packet.your_discr != LOCAL {
            continue;
        }
        session.handle(now, Input::Packet(&packet));
        let mut sent = 0;
        while let Some(output) = session.poll_output() {
            match output {
                Output::Send(_) => sent += 1,
                Output::Transition { to: State::Up, .. } => assert!(matches!(packet.state, State::Init | State::Up)),
                Output::Transition { .. } => {}
            }
        }
        assert!(sent <= 2, "a reply to a poll, and one for a change of state");
        assert!(session.next_deadline().is_none_or(|deadline| deadline >= now));
    }
});
