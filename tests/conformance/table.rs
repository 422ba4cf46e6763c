//! The connection table: insertion by two CPUs at the same time, expiry, and its size.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_testkit::frames::{self, TcpFlags};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;

use crate::plane::{TestPlane, Verdict, test_plane};

pub const VIP: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(10, 2, 0, 100)), 80);

pub fn plane(entries: u32, scheduler: &str, servers: u8) -> Option<TestPlane> {
    let mut plane = test_plane(entries)?;
    let mut steps = vec![parse_ipvsadm_command(&format!("-A -t 10.2.0.100:80 -s {scheduler}")).expect("a step")];
    for n in 0..servers {
        let add = format!("-a -t 10.2.0.100:80 -r 10.2.0.{}:80 -g -w 1", 21 + n);
        steps.push(parse_ipvsadm_command(&add).expect("a step"));
    }
    plane.apply(&steps);
    Some(plane)
}

pub fn client(n: u32) -> (IpAddr, u16) {
    (Ipv4Addr::from(0x0a01_0000 + (n >> 8)).into(), 1024 + (n & 0xff) as u16)
}

/// Checks that each flow has one entry, and that the counts are those of the entries. Returns the number of entries.
pub fn audit(plane: &TestPlane) -> usize {
    let maps = plane.plane.maps();
    let entries = maps.raw_entries();
    let mut keys: Vec<(u64, u64)> = entries.iter().map(|e| (e.key0, e.key1)).collect();
    keys.sort_unstable();
    assert!(keys.windows(2).all(|w| w[0] != w[1]), "a flow has two entries");
    let mut counts: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    for e in &entries {
        let c = counts.entry(e.dest).or_default();
        if e.status >> 8 & 1 == 0 { c.0 += 1 } else { c.1 += 1 }
    }
    for d in &maps.service_records()[0].dests {
        assert_eq!((d.active, d.inactive), counts.get(&d.id).copied().unwrap_or_default(), "counts of {}", d.key);
    }
    entries.len()
}

#[test]
fn two_cpus_that_insert_the_same_flows_at_once_make_one_entry_each() {
    let Some(plane) = plane(1 << 14, "wlc", 4) else { return };
    let plane = Arc::new(plane);
    let flows = 4000;
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                for n in 0..flows {
                    let frame = frames::tcp(client(n), VIP, TcpFlags::parse("S"), 64, b"");
                    assert!(matches!(plane.forward(&frame), Verdict::Forwarded(_)));
                }
            });
        }
    });
    // A CPU that loses its slot twice forwards by hash; the other CPU's entry stays.
    let (kept, full) = (audit(&plane) as u64, plane.packet_count("table_full"));
    let all = u64::from(flows);
    assert!(kept <= all && kept + full >= all && full < all / 50, "{kept} entries, {full} without room");
    let conns: u64 = plane.plane.maps().service_records()[0].dests.iter().map(|d| u64::from(d.active)).sum();
    assert_eq!(conns, kept);
}

#[test]
fn the_expiry_timer_frees_expired_entries_and_removes_them_from_the_counts() {
    let Some(plane) = plane(4096, "rr", 2) else { return };
    for n in 0..500 {
        plane.send_tcp(client(n), VIP, "S");
    }
    assert_eq!(audit(&plane), 500);
    plane.plane.maps().set_expiry_of_all(-1);
    assert!(plane.plane.maps().connections().is_empty(), "an expired entry does not exist, freed or not");
    let until = Instant::now() + Duration::from_secs(20);
    while !plane.plane.maps().raw_entries().is_empty() {
        assert!(Instant::now() < until, "the expiry timer does not run");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(audit(&plane), 0);
}

/// Opens and establishes connections, from both CPUs at the same time.
fn establish(plane: &TestPlane, flows: u32) {
    const THREADS: u32 = 2;
    std::thread::scope(|s| {
        for t in 0..THREADS {
            s.spawn(move || {
                // Only the client changes from one frame to the next. TCP's checksum is not verified.
                let mut frames = ["S", "A"].map(|flags| frames::tcp(client(0), VIP, TcpFlags::parse(flags), 64, b""));
                for n in (t..flows).step_by(THREADS as usize) {
                    let (IpAddr::V4(addr), port) = client(n) else { unreachable!() };
                    for frame in &mut frames {
                        frame[26..30].copy_from_slice(&addr.octets());
                        frame[34..36].copy_from_slice(&port.to_be_bytes());
                        frames::set_dont_fragment(frame, true); // and the header's checksum
                        assert_eq!(plane.run(frame).0, crate::plane::XDP_TX);
                    }
                }
            });
        }
    });
}

#[test]
fn a_million_connections_are_counted_right_and_gone_in_time() {
    const FLOWS: u32 = 1_000_000;
    /// ip_vs_proto_tcp.c: of an established connection.
    const ESTABLISHED_S: u32 = 900;
    let Some(plane) = plane(1 << 21, "wlc", 8) else { return };
    let maps = plane.plane.maps();
    let sum = || maps.service_records()[0].dests.iter().fold((0, 0), |(a, i), d| (a + d.active, i + d.inactive));
    let started = Instant::now();
    establish(&plane, FLOWS);
    let kept = audit(&plane) as u32;
    assert_eq!(
        kept + plane.packet_count("table_full") as u32 / 2,
        FLOWS,
        "each has an entry, or both packets count as without"
    );
    assert!(kept > FLOWS / 10_000 * 9_995, "a table of twice as many slots has room for nearly all: {kept}");
    assert_eq!(maps.conn_table_bytes(), (1 << 21) * 32);
    assert_eq!(sum(), (kept, 0), "all of them are established, and active");
    // The first connection expires this much earlier than the last one; the following steps take time too.
    let took = started.elapsed().as_secs() as u32 + 60;
    maps.shift_time(ESTABLISHED_S - took);
    assert_eq!(maps.connections().len() as u32, kept, "none expires early");
    // Up to 7 s late: see renewed_expiry() in bpf/conn/flow_cache.h.
    maps.shift_time(took + 8);
    assert!(maps.connections().is_empty(), "all have expired");
    let until = Instant::now() + Duration::from_secs(60);
    while sum() != (0, 0) {
        assert!(Instant::now() < until, "the expiry timer has left {:?}", sum());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(audit(&plane), 0);
}

#[test]
fn a_thousand_services_and_ten_thousand_servers_are_set_up_in_one_go() {
    use evenkeel_core::model::{ForwardingMethod, Protocol, Scheduler, ServerKey, ServiceKey, Weight};
    use evenkeel_core::plan::{DestSpec, ServiceSpec, Step, diff};
    let Some(mut plane) = test_plane(1024) else { return };
    let spec = ServiceSpec::with_scheduler(Scheduler::Wrr);
    let weight = Weight::new(3).expect("a weight");
    let dest = DestSpec { weight, method: ForwardingMethod::Dr, u_threshold: 0, l_threshold: 0 };
    let mut steps = Vec::new();
    for n in 0..1000u32 {
        let key = ServiceKey::new(Protocol::Tcp, Ipv4Addr::from(0x0a02_0000 + n).into(), 80);
        steps.push(Step::AddService(key, spec));
        steps.extend(
            (0..10).map(|i| {
                Step::AddDest(key, ServerKey { addr: Ipv4Addr::from(0x0a03_0000 + i).into(), port: 80 }, dest)
            }),
        );
    }
    let errors = plane.plane.apply_steps(&steps);
    assert!(errors.is_empty(), "{errors:?}");
    let mut wanted = evenkeel_core::plan::Services::new();
    evenkeel_core::plan::apply(&steps, &mut wanted);
    let seen = plane.plane.maps().observe_services();
    assert_eq!(diff(&wanted, &seen), []);
    let removals: Vec<Step> = wanted.keys().map(|k| Step::RemoveService(*k)).collect();
    assert!(plane.plane.apply_steps(&removals).is_empty());
    assert!(plane.plane.maps().observe_services().is_empty());
    assert!(plane.plane.apply_steps(&steps).is_empty(), "every slot is free again");
}

#[test]
fn a_template_lives_while_it_controls_connections() {
    let Some(mut plane) = test_plane(4096) else { return };
    plane.apply(
        &["-A -t 10.2.0.100:80 -s rr -p 50", "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1"]
            .map(|c| parse_ipvsadm_command(c).expect("a step")),
    );
    plane.send_tcp(client(1), VIP, "S");
    plane.send_tcp(client(2), VIP, "S");
    let view = |plane: &TestPlane| {
        let conns = plane.plane.maps().connections();
        let templates: Vec<_> = conns.iter().filter(|c| c.is_template()).map(|c| (c.control, c.state_name())).collect();
        (templates, plane.plane.maps().service_records()[0].dests[0].persistent)
    };
    assert_eq!(view(&plane), (vec![(2, "NONE")], 1));
    plane.send_tcp(client(1), VIP, "A");
    assert_eq!(view(&plane), (vec![(2, "ASSURED")], 1), "an established connection assures it");
}
