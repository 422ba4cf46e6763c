//! Virtual routers of several configurations that receive arbitrary packets: they do not panic, and a rejected packet
//! changes nothing.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use evenkeel_core::config::parse_text;
use evenkeel_core::model::VrrpInstance;
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::packet::{IPPROTO_VRRP, IpHeader, split_ipv4};
use evenkeel_core::vrrp::{Input, PreviousState, Router};
use libfuzzer_sys::fuzz_target;

/// What an instance has besides its interface, VRID and address.
const CONFIGURATIONS: [&str; 6] = [
    "",
    "authentication {\nauth_type PASS\nauth_pass 1111\n}\n",
    "authentication {\nauth_type AH\nauth_pass 1111\n}\n",
    "version 3\n",
    "version 3\nunicast_src_ip 10.0.0.1\nunicast_peer {\n10.0.0.2 min_ttl 255\n}\n",
    "version 3\nnative_ipv6\n",
];

fn instance(configuration: &str, vip: &str) -> Option<VrrpInstance> {
    let text = format!(
        "vrrp_instance V {{\ninterface e\nvirtual_router_id 51\nvirtual_ipaddress {{\n{vip}\n}}\n{configuration}}}\n"
    );
    parse_text("x", &text).config.instances.first().cloned()
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, mut rest)) = data.split_first() else { return };
    let configuration = CONFIGURATIONS[usize::from(flags & 7) % CONFIGURATIONS.len()];
    let v6 = configuration.contains("ipv6");
    let Some(cfg) = instance(configuration, if v6 { "fe80::64" } else { "10.0.0.100" }) else { return };
    let source =
        if v6 { IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)) } else { Ipv4Addr::new(10, 0, 0, 1).into() };
    let start = Instant::default();
    let mut router = Router::new(cfg, start);
    router.handle(start, Input::Link(true));
    router.handle(start, Input::SourceAddress(Some(source)));
    router.handle(start, Input::Start(PreviousState::Unknown));
    let mut now = start + Duration::from_secs(1);
    if flags & 8 != 0 {
        now = start + Duration::from_secs(10);
        router.handle_deadline(now);
    }
    while router.poll_output().is_some() {}
    // Packets follow, each after a byte with its length.
    while let Some((len, after_len)) = rest.split_first() {
        let (packet, next) = after_len.split_at(usize::from(*len).min(after_len.len()));
        rest = next;
        let (ip, payload) = if v6 {
            let src = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2));
            let dst = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12));
            (IpHeader { src, dst, ttl: 255, protocol: IPPROTO_VRRP, id: 0 }, packet)
        } else {
            let Some(split) = split_ipv4(packet) else { continue };
            split
        };
        let state =
            |r: &Router| (r.state(), r.priority(), r.next_deadline(), r.master(), r.counters().adverts_received);
        let before = state(&router);
        now = now + Duration::from_millis(10);
        router.handle(now, Input::Packet { ip, payload });
        let after = state(&router);
        if after.4 == before.4 {
            assert_eq!(before, after, "a rejected packet changed something");
        }
        while router.poll_output().is_some() {}
    }
});
