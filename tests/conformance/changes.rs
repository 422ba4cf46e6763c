//! Changes under traffic: a packet sees the servers before a change or those after it, never a part of the change.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_core::model::{ForwardingMethod, Protocol, Scheduler, ServerKey, ServiceKey, Weight};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_sys::bpf::XdpPlane;
use evenkeel_testkit::frames::{self, TcpFlags};

use crate::plane::{NO_TC, XDP_TX, server_mac, test_plane};

const CHANGES: u64 = 10_000;
const SERVERS: u64 = 8;
/// How many servers the service has; each change adds the next one and removes the oldest.
const AVAILABLE_SERVERS: u64 = 4;

fn server_key(n: u64) -> ServerKey {
    ServerKey { addr: Ipv4Addr::new(10, 2, 0, 21 + (n % SERVERS) as u8).into(), port: 80 }
}

#[test]
fn ten_thousand_changes_under_traffic_are_seen_whole_or_not_at_all() {
    let Some(mut plane) = test_plane(1 << 16) else { return };
    let key = ServiceKey::new(Protocol::Tcp, Ipv4Addr::new(10, 2, 0, 100).into(), 80);
    let spec = DestSpec { weight: Weight::DEFAULT, method: ForwardingMethod::Dr, u_threshold: 0, l_threshold: 0 };
    plane.apply(&[Step::AddService(key, ServiceSpec::with_scheduler(Scheduler::Rr))]);
    let all: Vec<Step> = (0..SERVERS).map(|n| Step::AddDest(key, server_key(n), spec)).collect();
    plane.apply(&all);
    let rest: Vec<Step> = (AVAILABLE_SERVERS..SERVERS).map(|n| Step::RemoveDest(key, server_key(n))).collect();
    plane.apply(&rest);

    // A second program for the traffic, on the same maps.
    let traffic = XdpPlane::load_without_programs(&plane.plane.packet_path.dir, 1 << 16, NO_TC).expect("adopted");
    assert!(traffic.packet_path.reused_maps);
    traffic.packet_path.record_test_devices();
    let (started, done) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|s| {
        s.spawn(|| {
            for n in 0..CHANGES {
                started.store(n + 1, Ordering::SeqCst);
                let steps =
                    [Step::AddDest(key, server_key(n + AVAILABLE_SERVERS), spec), Step::RemoveDest(key, server_key(n))];
                let errors = plane.plane.apply_steps(&steps);
                assert!(errors.is_empty(), "{errors:?}");
                done.store(n + 1, Ordering::SeqCst);
            }
        });
        let mut sent = 0u32;
        while done.load(Ordering::SeqCst) < CHANGES {
            sent += 1;
            let client: IpAddr = Ipv4Addr::from(0x0a01_0000 + (sent >> 10)).into();
            let frame =
                frames::tcp((client, 1024 + (sent & 1023) as u16), (key.addr, 80), TcpFlags::parse("S"), 64, b"");
            let before = done.load(Ordering::SeqCst);
            let (code, out) = traffic.packet_path.test_run("evenkeel_xdp", &frame).expect("runs");
            let after = started.load(Ordering::SeqCst);
            assert_eq!(code, XDP_TX, "packet {sent} between change {before} and {after}");
            let there = (before..after + AVAILABLE_SERVERS)
                .take(SERVERS as usize)
                .any(|n| server_mac(server_key(n).addr) == out[..6]);
            assert!(there, "packet {sent} between change {before} and {after} went to {:?}", &out[..6]);
        }
        println!("{sent} packets");
        assert!(sent > 100, "{sent} packets");
    });
}
