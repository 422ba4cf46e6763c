//! Mutated frames of every kind: each verdict is that of the oracle, and a frame that is passed to the kernel is
//! unchanged.

use std::net::IpAddr;

use evenkeel_core::oracle::frame::{self, ParsedFrame};
use evenkeel_core::oracle::{Oracle, PacketVerdict};
use evenkeel_testkit::frames::{self, TcpFlags};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;

use crate::plane::{server_mac, test_plane};

/// Makes the checksum of an IPv4 header right (RFC 791, 3.1), if the frame has a whole one.
fn repair_ipv4_checksum(frame: &mut [u8]) {
    let len = usize::from(frame.get(14).copied().unwrap_or(0) & 0xf) * 4;
    if frame.get(12..14) != Some(&[8, 0]) || len < 20 {
        return;
    }
    let Some(header) = frame.get_mut(14..14 + len) else { return };
    header[10..12].fill(0);
    let mut sum: u32 = header.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header[10..12].copy_from_slice(&(!sum as u16).to_be_bytes());
}

/// `EVENKEEL_FRAMES=10000000` tests more frames.
#[test]
fn no_mutated_frame_of_any_kind_confuses_the_program() {
    let Some(mut plane) = test_plane(1 << 14) else { return };
    let (v4, v6) = ("10.2.0.100:80", "[fd00:2::100]:80");
    let mut all = Vec::new();
    for (option, service) in [("-t", v4), ("-u", v4), ("--sctp-service", v4), ("-t", v6), ("-u", v6)] {
        let server = service.replace("100", "21");
        for (how, server) in
            [("-g", server.clone()), ("-m", server.replace("21", "22")), ("-i", server.replace("21", "23"))]
        {
            let add = format!("-a {option} {service} -r {server} {how}");
            let new = if how == "-g" { vec![format!("-A {option} {service} -s rr -p 60")] } else { Vec::new() };
            all.extend(new.iter().chain([&add]).map(|c| parse_ipvsadm_command(c).expect("a step")));
        }
    }
    let end = |text: &str| -> (IpAddr, u16) {
        let at: std::net::SocketAddr = text.parse().expect("an address");
        (at.ip(), at.port())
    };
    let mut frames = Vec::new();
    for (c, v) in [("10.1.1.1:1000", v4), ("[fd00:1::1]:1000", v6)] {
        let (c, v) = (end(c), end(v));
        let udp = frames::udp(c, v, 64, &[1; 1500]);
        frames.extend(frames::fragments(&udp, 1200));
        let reply = frames::tcp(v, c, TcpFlags::parse("A"), 64, b"hello");
        let router = if v.0.is_ipv6() { "fd00:9::9" } else { "10.9.9.9" }.parse().expect("an address");
        frames.push(frames::icmp_error(router, v.0, (3, 4), 1400, &reply[14..]));
        frames.push(frames::icmp_error(router, v.0, (1, 4), 0, &reply[14..]));
        frames.extend(["S", "A", "FA", "R"].map(|f| frames::tcp(c, v, TcpFlags::parse(f), 64, b"hello")));
        frames.extend([udp, reply, frames::sctp(c, v, 1, b"xxxx"), frames::sctp(c, v, 10, b"xxxx")]);
    }
    let count = std::env::var("EVENKEEL_FRAMES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000u64);
    let mut seed = 1u64;
    let mut dice = |sides: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % sides
    };
    let (mut verdicts, mut compared) = ([0u64; 5], 0u64);
    let mut oracle = Oracle::default();
    for n in 0..count {
        // The oracle and the program start again before anything expires.
        if n % 2000 == 0 {
            plane.remove_all();
            plane.apply(&all);
            oracle = Oracle::default();
            all.iter().for_each(|s| oracle.apply_step(s, 0));
        }
        let mut f = frames[dice(frames.len())].clone();
        for _ in 0..dice(5) {
            // Nearly always in the headers.
            let end = if dice(8) == 0 { usize::MAX } else { 110 };
            let at = dice(f.len().min(end));
            f[at] = dice(256) as u8;
        }
        if dice(2) == 0 {
            repair_ipv4_checksum(&mut f);
        }
        if dice(10) == 0 {
            f.truncate(14 + dice(f.len() - 14));
        }
        let (code, out) = plane.run(&f);
        assert!(matches!(code, 1..=4), "{code}: {f:02x?}");
        assert!(code != 2 || out == f, "passed to the kernel, and changed: {f:02x?}");
        verdicts[code as usize] += 1;
        let fate = match frame::parse_frame(&f) {
            _ if f[..6] != frames::DIRECTOR_MAC => PacketVerdict::Pass,
            ParsedFrame::Unsupported => PacketVerdict::Pass,
            ParsedFrame::Other => continue,
            ParsedFrame::Packet { packet, ttl, ip_len: bytes, header } => {
                match oracle.handle_checked_packet(&packet, header, 0) {
                    // The TTL expires, or it is larger than any path MTU.
                    PacketVerdict::Forward(_) if ttl <= 1 || bytes > 1500 - 40 => continue,
                    fate => fate,
                }
            }
        };
        compared += 1;
        let right = match fate {
            PacketVerdict::Pass => code == 2,
            PacketVerdict::Forward(server) => code == 3 && out[..6] == server_mac(server.addr),
            PacketVerdict::Drop => code == 1,
            // There is no route to clients here.
            PacketVerdict::Reply(_) => code == 1,
            PacketVerdict::Unreachable | PacketVerdict::Reset => code == 3 || code == 1,
        };
        assert!(right, "frame {n}: {code} instead of {fate:?}: {f:02x?}");
    }
    println!("{compared} verdicts are those of the oracle");
    println!("dropped {}, passed {}, sent {}", verdicts[1], verdicts[2], verdicts[3] + verdicts[4]);
    assert!(verdicts[2] > count / 100 && verdicts[3] > count / 10, "{verdicts:?}");
}
