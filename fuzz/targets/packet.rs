//! Packets of any bytes to virtual routers of every kind: nothing panics, and what is refused changes nothing.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use evenkeel_core::config::parse_file;
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::wire::{IpHeader, PROTOCOL, split_ipv4};
use evenkeel_core::vrrp::{Input, Past, Router};
use libfuzzer_sys::fuzz_target;

const KINDS: [&str; 6] = [
    "",
    "authentication {\nauth_type PASS\nauth_pass 1111\n}\n",
    "authentication {\nauth_type AH\nauth_pass 1111\n}\n",
    "version 3\n",
    "version 3\nunicast_src_ip 10.0.0.1\nunicast_peer {\n10.0.0.2 min_ttl 255\n}\n",
    "version 3\nnative_ipv6\n",
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let kind = KINDS[usize::from(choice & 7) % KINDS.len()];
    let vip = if kind.contains("ipv6") { "fe80::64" } else { "10.0.0.100" };
    let text =
        format!("vrrp_instance V {{\ninterface e\nvirtual_router_id 51\nvirtual_ipaddress {{\n{vip}\n}}\n{kind}}}\n");
    let parsed = parse_file("x", &text);
    let Some(cfg) = parsed.config.instances.first().cloned() else { return };
    let v6 = kind.contains("ipv6");
    let own =
        if v6 { IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)) } else { Ipv4Addr::new(10, 0, 0, 1).into() };
    let start = Instant::default();
    let mut r = Router::new(cfg, start);
    r.handle(start, Input::Link(true));
    r.handle(start, Input::Address(Some(own)));
    r.handle(start, Input::Start(Past::Nothing));
    let mut now = start + Duration::from_secs(1);
    if choice & 8 != 0 {
        now = start + Duration::from_secs(10);
        r.handle_deadline(now);
    }
    while r.poll_output().is_some() {}
    // Several packets, each behind its length.
    let mut rest = rest;
    while let Some((len, more)) = rest.split_first() {
        let (packet, behind) = more.split_at(usize::from(*len).min(more.len()));
        rest = behind;
        let (ip, payload) = if v6 {
            let src = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2));
            let dst = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12));
            (IpHeader { src, dst, ttl: 255, protocol: PROTOCOL, id: 0 }, packet)
        } else {
            let Some(split) = split_ipv4(packet) else { continue };
            split
        };
        let before = (r.state(), r.priority(), r.next_deadline(), r.master(), r.counters().adverts_received);
        now = now + Duration::from_millis(10);
        r.handle(now, Input::Packet { ip, payload });
        if r.counters().adverts_received == before.4 {
            let after = (r.state(), r.priority(), r.next_deadline(), r.master(), r.counters().adverts_received);
            assert_eq!(before, after, "a refused packet changed something");
        }
        while r.poll_output().is_some() {}
    }
});
