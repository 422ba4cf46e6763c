//! A full connection table: stateless fallback for flows without an entry, and eviction.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use evenkeel_core::plan::Step;
use evenkeel_testkit::frames::{self, TcpFlags, parse_frame};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;
use evenkeel_testkit::lan::eventually;

use crate::methods::with_client_route;
use crate::plane::{TestPlane, Verdict, XDP_REDIRECT, XDP_TX, test_plane};
use crate::table::{VIP, audit, client, plane};

fn ipvsadm_steps(lines: &[&str]) -> Vec<Step> {
    lines.iter().map(|l| parse_ipvsadm_command(l).unwrap_or_else(|| panic!("{l}"))).collect()
}

/// Opens a connection, and returns its server.
fn open_connection(plane: &TestPlane, n: u32) -> IpAddr {
    let Verdict::Forwarded(server) = plane.send_tcp(client(n), VIP, "S") else { panic!("flow {n} is rejected") };
    server
}

fn open_connections(plane: &TestPlane, flows: std::ops::Range<u32>) {
    for n in flows {
        open_connection(plane, n);
    }
}

/// Opens and establishes connections, so that none is evicted, however slow this machine is. Returns their servers.
fn fill_table(plane: &TestPlane, flows: u32) -> Vec<IpAddr> {
    let one = |n| {
        let server = open_connection(plane, n);
        assert_eq!(plane.send_tcp(client(n), VIP, "A"), Verdict::Forwarded(server));
        server
    };
    (0..flows).map(one).collect()
}

/// Lets every entry expire, and waits until all are freed.
fn expire_all(plane: &TestPlane) {
    let maps = plane.plane.maps();
    let was = maps.settings.read(0);
    let mut quick = was;
    (quick.expire_lines, quick.expire_interval_ns, quick.grace) = (was.conn_mask + 1, 10_000_000, 0);
    maps.settings.write(0, quick);
    eventually("an empty table", Duration::from_secs(120), || {
        maps.set_expiry_of_all(-100_000);
        maps.raw_entries().is_empty().then_some(())
    });
    maps.settings.write(0, was);
}

/// Flows of this range that have no entry.
fn flows_without_entry(plane: &TestPlane, range: std::ops::Range<u32>) -> Vec<u32> {
    let known: Vec<_> = plane.plane.maps().connections().iter().map(|c| (c.client.0, c.client.1)).collect();
    range.filter(|n| !known.contains(&client(*n))).collect()
}

#[test]
fn a_full_table_forwards_by_hash_and_keeps_what_it_has() {
    let Some(plane) = plane(1024, "rr", 3) else { return };
    let mut sent = BTreeMap::new();
    for n in 0..5000 {
        let Verdict::Forwarded(server) = plane.send_tcp(client(n), VIP, "S") else { panic!("rejected") };
        assert_eq!(plane.send_tcp(client(n), VIP, "A"), Verdict::Forwarded(server), "flow {n} stays with its server");
        sent.insert(n, server);
    }
    assert!(plane.packet_count("table_full") > 3000);
    let kept = audit(&plane);
    assert!((900..=1024).contains(&kept), "{kept} entries of 1024");
    for (n, server) in sent {
        assert_eq!(plane.send_tcp(client(n), VIP, "A"), Verdict::Forwarded(server), "flow {n} stays with its server");
    }
}

#[test]
fn a_flood_evicts_half_open_connections_and_no_established_ones() {
    let Some(plane) = plane(1024, "rr", 3) else { return };
    let mut sent = BTreeMap::new();
    for n in 0..200 {
        sent.insert(n, open_connection(&plane, n));
        plane.send_tcp(client(n), VIP, "A");
    }
    // A flood. Its connections are 3 s old when the next one begins.
    open_connections(&plane, 1000..5000);
    let full = plane.packet_count("table_full");
    plane.plane.maps().shift_time(3);
    open_connections(&plane, 6000..10_000);
    assert!(plane.packet_count("evicted") > 500, "{} evicted", plane.packet_count("evicted"));
    assert!(audit(&plane) > 900 && full > 2000);
    // Clients that connect during the flood are served, and keep their entries once they are established.
    plane.plane.maps().shift_time(3);
    for n in 200..300 {
        sent.insert(n, open_connection(&plane, n));
        assert_eq!(plane.send_tcp(client(n), VIP, "A"), Verdict::Forwarded(sent[&n]));
    }
    open_connections(&plane, 10_000..14_000);
    plane.plane.maps().shift_time(3);
    open_connections(&plane, 14_000..18_000);
    let established = plane.plane.maps().connections().iter().filter(|c| c.state == 1).count();
    assert!(established >= 299, "{established} of 300 have an entry");
    for (n, server) in sent {
        assert_eq!(plane.send_tcp(client(n), VIP, "A"), Verdict::Forwarded(server), "flow {n} stays with its server");
    }
    audit(&plane);
}

#[test]
fn a_full_table_keeps_persistent_clients_where_they_are() {
    let Some(mut plane) = test_plane(1024) else { return };
    let mut steps = vec!["-A -t 10.2.0.100:80 -s rr -p 50".to_owned()];
    steps.extend((21..24).map(|n| format!("-a -t 10.2.0.100:80 -r 10.2.0.{n}:80 -g -w 1")));
    plane.apply(&steps.iter().map(|c| parse_ipvsadm_command(c).expect("a step")).collect::<Vec<_>>());
    let mut sent = BTreeMap::new();
    for n in 0..4000 {
        let Verdict::Forwarded(server) = plane.send_tcp(client(n), VIP, "S") else { panic!("rejected") };
        assert_eq!(plane.send_tcp(client(n), VIP, "A"), Verdict::Forwarded(server), "flow {n} stays with its server");
        sent.insert(n, server);
    }
    for (n, server) in sent {
        assert_eq!(plane.send_tcp(client(n), VIP, "A"), Verdict::Forwarded(server), "flow {n} stays with its server");
    }
}

#[test]
fn servers_share_flows_without_an_entry_by_their_weights() {
    const FLOWS: u32 = 21_000;
    let Some(mut plane) = test_plane(1024) else { return };
    plane.apply(&ipvsadm_steps(&[
        "-A -t 10.2.0.100:80 -s wlc",
        "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1",
        "-a -t 10.2.0.100:80 -r 10.2.0.22:80 -g -w 2",
        "-a -t 10.2.0.100:80 -r 10.2.0.23:80 -g -w 4",
        "-a -t 10.2.0.100:80 -r 10.2.0.24:80 -g -w 0",
    ]));
    fill_table(&plane, 5000);
    let mut share: BTreeMap<IpAddr, u32> = BTreeMap::new();
    for n in 10_000..10_000 + FLOWS {
        *share.entry(open_connection(&plane, n)).or_default() += 1;
    }
    let share: Vec<u32> = share.into_values().collect();
    let wanted = [FLOWS / 7, FLOWS / 7 * 2, FLOWS / 7 * 4];
    assert_eq!(share.len(), wanted.len(), "{share:?}: none goes to the server of weight 0");
    for (seen, wanted) in share.iter().zip(wanted) {
        assert!(seen.abs_diff(wanted) < wanted / 10, "{share:?}");
    }
}

#[test]
fn a_server_that_goes_and_comes_moves_only_its_own_flows() {
    let Some(mut plane) = plane(1024, "rr", 5) else { return };
    fill_table(&plane, 5000);
    let all = 10_000..13_000;
    let before: Vec<IpAddr> = all.clone().map(|n| open_connection(&plane, n)).collect();
    let gone: IpAddr = "10.2.0.23".parse().expect("an address");
    plane.apply(&ipvsadm_steps(&["-e -t 10.2.0.100:80 -r 10.2.0.23:80 -g -w 0"]));
    for (n, was) in all.clone().zip(&before) {
        let is = open_connection(&plane, n);
        assert!(is != gone && (*was == gone || is == *was), "flow {n} was with {was}, and is with {is}");
    }
    plane.apply(&ipvsadm_steps(&["-e -t 10.2.0.100:80 -r 10.2.0.23:80 -g -w 1"]));
    let after: Vec<IpAddr> = all.map(|n| open_connection(&plane, n)).collect();
    assert_eq!(before, after, "all classes return");
}

#[test]
fn flows_without_an_entry_go_on_when_there_is_room_again() {
    let Some(mut plane) = plane(1024, "rr", 3) else { return };
    assert_eq!(plane.send_tcp(client(1), VIP, "A"), Verdict::Passed, "it has no connection");
    let sent = fill_table(&plane, 3000);
    let without = flows_without_entry(&plane, 0..3000);
    assert!(without.len() > 1500, "{} flows without an entry", without.len());
    expire_all(&plane);
    for n in &without {
        assert_eq!(
            plane.send_tcp(client(*n), VIP, "A"),
            Verdict::Forwarded(sent[*n as usize]),
            "flow {n} stays with its server"
        );
    }
    assert_eq!(plane.plane.maps().raw_entries().len(), 0, "no entry is created for them");
    // Of flows without a connection one in 65,536 / 2,000 is forwarded, since its class is in use.
    let others = (100_000..101_000).filter(|n| plane.send_tcp(client(*n), VIP, "A") != Verdict::Passed).count();
    assert!(others < 100, "{others} of 1000");
    // Another service has no flows in these classes.
    plane.apply(&ipvsadm_steps(&["-A -t 10.2.0.101:80 -s rr", "-a -t 10.2.0.101:80 -r 10.2.0.21:80 -g"]));
    let other = ("10.2.0.101".parse().expect("an address"), 80);
    assert_eq!(plane.send_tcp(client(without[0]), other, "A"), Verdict::Passed);
}

#[test]
fn flows_without_an_entry_are_forgotten_after_the_timeout() {
    let Some(plane) = plane(1024, "rr", 3) else { return };
    fill_table(&plane, 3000);
    let without = flows_without_entry(&plane, 0..3000);
    expire_all(&plane);
    plane.plane.set_timeouts(1, 0, 0);
    // The time is measured in units of 1024 jiffies.
    let grain = Duration::from_millis(1024 * 1000 / u64::from(plane.plane.maps().hz()));
    std::thread::sleep(2 * grain + Duration::from_secs(1) + grain);
    for n in without {
        assert_eq!(plane.send_tcp(client(n), VIP, "A"), Verdict::Passed, "flow {n} has been silent for too long");
    }
}

#[test]
fn hash_schedulers_decide_themselves_in_a_full_table() {
    for scheduler in ["sh", "mh"] {
        let Some(plane) = plane(1024, scheduler, 3) else { return };
        fill_table(&plane, 5000);
        let full = plane.packet_count("table_full");
        // 250 ports of each of these clients.
        for n in 10_000..12_000 {
            let (first, other) = (open_connection(&plane, n & !0xff), open_connection(&plane, n));
            assert_eq!(first, other, "{scheduler}: a client's flows go to one server");
            assert_eq!(plane.send_tcp(client(n), VIP, "A"), Verdict::Forwarded(other));
        }
        assert!(plane.packet_count("table_full") > full + 3000);
    }
}

#[test]
fn replies_to_flows_without_an_entry_are_translated_when_there_is_room_again() {
    with_client_route(|| {
        let Some(mut plane) = test_plane(1024) else { return };
        plane.apply(&ipvsadm_steps(&["-A -t 10.2.0.100:80 -s rr", "-a -t 10.2.0.100:80 -r 10.2.0.21:8080 -m"]));
        let server = ("10.2.0.21".parse().expect("an address"), 8080);
        let clients = |n: u32| (IpAddr::from([10, 1, 1, 1]), 1024 + n as u16);
        let (segment, flags) = (|from, to, flags| frames::tcp(from, to, flags, 64, b"x"), TcpFlags::parse);
        for n in 0..3000 {
            for kind in ["S", "A"] {
                assert_eq!(plane.run(&segment(clients(n), VIP, flags(kind))).0, XDP_TX);
            }
        }
        let known: Vec<_> = plane.plane.maps().connections().iter().map(|c| c.client.1).collect();
        let without = (0..3000).map(clients).find(|(_, port)| !known.contains(port)).expect("one without an entry");
        expire_all(&plane);
        let (verdict, out) = plane.run(&segment(server, without, flags("SA")));
        assert_eq!((verdict, parse_frame(&out).from, parse_frame(&out).to), (XDP_REDIRECT, VIP, without));
    });
}
