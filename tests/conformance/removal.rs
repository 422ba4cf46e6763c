//! Removed and quiesced servers: what happens to their connections, by removal policy and by sysctls.

use std::net::{IpAddr, Ipv4Addr};

use evenkeel_core::model::{Protocol, RemovalPolicy, Scheduler, ServiceKey, Tuning};
use evenkeel_core::plan::{ServiceSpec, Step};
use evenkeel_testkit::frames::Endpoint;

use crate::plane::{TestPlane, Verdict, test_plane};

const VIP: Endpoint = (IpAddr::V4(Ipv4Addr::new(10, 2, 0, 100)), 80);
const CLIENT: Endpoint = (IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1)), 40_000);
const R1: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 21));
const R2: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 22));

/// A TCP and a UDP service with two servers. A client has connections with the first server, which was removed.
fn plane_with_removed_server(on_removal: RemovalPolicy, tuning: Tuning) -> Option<TestPlane> {
    let mut plane = test_plane(4096)?;
    plane.plane.apply_tuning(&tuning);
    for (protocol, option) in [(Protocol::Tcp, "-t"), (Protocol::Udp, "-u")] {
        let key = ServiceKey::new(protocol, VIP.0, VIP.1);
        let spec = ServiceSpec { removal_policy: on_removal, ..ServiceSpec::with_scheduler(Scheduler::Rr) };
        plane.apply(&[Step::AddService(key, spec)]);
        plane.ipvsadm(&[&format!("-a {option} 10.2.0.100:80 -r 10.2.0.21:80 -g")]);
    }
    assert_eq!(plane.send_tcp(CLIENT, VIP, "S"), Verdict::Forwarded(R1));
    assert_eq!(plane.send_tcp(CLIENT, VIP, "A"), Verdict::Forwarded(R1));
    assert_eq!(plane.send_udp(CLIENT, VIP), Verdict::Forwarded(R1));
    for option in ["-t", "-u"] {
        let add = format!("-a {option} 10.2.0.100:80 -r 10.2.0.22:80 -g");
        let gone = format!("-d {option} 10.2.0.100:80 -r 10.2.0.21:80");
        plane.ipvsadm(&[&add, &gone]);
    }
    Some(plane)
}

#[test]
fn a_server_that_returns_without_a_threshold_is_not_overloaded() {
    let Some(mut plane) = test_plane(4096) else { return };
    for scheduler in ["rr", "sed"] {
        plane.ipvsadm(&[
            &format!("-A -t 10.2.0.100:80 -s {scheduler}"),
            "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1 -x 2",
        ]);
        for port in [40_000, 40_001] {
            assert_eq!(plane.send_tcp((CLIENT.0, port), VIP, "S"), Verdict::Forwarded(R1), "{scheduler}");
        }
        assert_eq!(plane.send_tcp((CLIENT.0, 40_002), VIP, "S"), Verdict::IcmpError(3, 3), "{scheduler}: overloaded");
        plane.ipvsadm(&["-d -t 10.2.0.100:80 -r 10.2.0.21:80", "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1"]);
        assert_eq!(plane.send_tcp((CLIENT.0, 40_003), VIP, "S"), Verdict::Forwarded(R1), "{scheduler}: returned");
        plane.remove_all();
    }
}

#[test]
fn by_default_their_packets_are_dropped_as_ipvs_does() {
    let Some(plane) = plane_with_removed_server(RemovalPolicy::Drop, Tuning::default()) else { return };
    assert_eq!(plane.send_tcp(CLIENT, VIP, "A"), Verdict::Dropped);
    assert_eq!(plane.send_tcp(CLIENT, VIP, "S"), Verdict::Dropped, "of an established connection");
    assert_eq!(plane.send_udp(CLIENT, VIP), Verdict::Dropped);
}

#[test]
fn with_expire_nodest_conn_they_end_and_may_be_rescheduled() {
    let tuning = Tuning { expire_nodest_conn: true, ..Tuning::default() };
    let Some(mut plane) = plane_with_removed_server(RemovalPolicy::Drop, tuning) else { return };
    assert_eq!(plane.send_tcp(CLIENT, VIP, "A"), Verdict::Passed, "the kernel sends a RST");
    assert_eq!(plane.send_tcp(CLIENT, VIP, "S"), Verdict::Forwarded(R2));
    assert_eq!(plane.send_udp(CLIENT, VIP), Verdict::Forwarded(R2));
    // A quiesced server keeps its connections, until a client opens one again.
    plane.ipvsadm(&["-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g", "-e -t 10.2.0.100:80 -r 10.2.0.22:80 -g -w 0"]);
    assert_eq!(plane.send_tcp(CLIENT, VIP, "A"), Verdict::Forwarded(R2));
    assert_eq!(plane.send_tcp(CLIENT, VIP, "S"), Verdict::Forwarded(R1));
}

#[test]
fn drained_they_go_on_until_the_time_is_up() {
    let Some(plane) = plane_with_removed_server(RemovalPolicy::Drain(60), Tuning::default()) else { return };
    assert_eq!(plane.send_tcp(CLIENT, VIP, "A"), Verdict::Forwarded(R1));
    assert_eq!(plane.send_udp(CLIENT, VIP), Verdict::Forwarded(R1));
    assert_eq!(
        plane.send_tcp((CLIENT.0, 40_001), VIP, "S"),
        Verdict::Forwarded(R2),
        "a new connection goes to another server"
    );
    assert_eq!(plane.packet_count("drained"), 2);
    let Some(plane) = plane_with_removed_server(RemovalPolicy::Drain(1), Tuning::default()) else { return };
    std::thread::sleep(std::time::Duration::from_millis(1300));
    assert_eq!(plane.send_tcp(CLIENT, VIP, "A"), Verdict::Reset);
    assert_eq!(plane.send_udp(CLIENT, VIP), Verdict::IcmpError(3, 3));
}

#[test]
fn rejected_their_clients_get_a_reset_or_an_icmp_error() {
    let Some(plane) = plane_with_removed_server(RemovalPolicy::Reject, Tuning::default()) else { return };
    assert_eq!(plane.send_tcp(CLIENT, VIP, "A"), Verdict::Reset);
    assert_eq!(plane.send_tcp(CLIENT, VIP, "S"), Verdict::Forwarded(R2), "then the client may connect again");
    assert_eq!(plane.send_udp(CLIENT, VIP), Verdict::IcmpError(3, 3));
    assert_eq!(plane.packet_count("rejected"), 2);
}

#[test]
fn rescheduled_they_go_to_another_server_where_possible() {
    let Some(plane) = plane_with_removed_server(RemovalPolicy::Reschedule, Tuning::default()) else { return };
    assert_eq!(plane.send_udp(CLIENT, VIP), Verdict::Forwarded(R2));
    assert_eq!(plane.send_tcp(CLIENT, VIP, "A"), Verdict::Reset, "no other server has this connection");
    let Some(plane) = plane_with_removed_server(RemovalPolicy::Reschedule, Tuning::default()) else { return };
    assert_eq!(plane.send_tcp(CLIENT, VIP, "S"), Verdict::Forwarded(R2));
}

#[test]
fn a_quiesced_server_keeps_its_persistent_clients_unless_expire_quiescent_template_is_set() {
    for (expire, expected) in [(false, R1), (true, R2)] {
        let Some(mut plane) = test_plane(4096) else { return };
        plane.plane.apply_tuning(&Tuning { expire_quiescent_template: expire, ..Tuning::default() });
        let add = "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g";
        plane.ipvsadm(&["-A -t 10.2.0.100:80 -s rr -p 60", add]);
        assert_eq!(plane.send_tcp(CLIENT, VIP, "S"), Verdict::Forwarded(R1));
        let quiesce = "-e -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 0";
        plane.ipvsadm(&["-a -t 10.2.0.100:80 -r 10.2.0.22:80 -g", quiesce]);
        assert_eq!(plane.send_tcp((CLIENT.0, 40_001), VIP, "S"), Verdict::Forwarded(expected));
        assert_eq!(plane.send_tcp(CLIENT, VIP, "A"), Verdict::Forwarded(R1), "an existing connection continues");
    }
}

#[test]
fn with_sloppy_tcp_a_segment_without_syn_creates_a_connection() {
    let Some(mut plane) = test_plane(4096) else { return };
    plane.ipvsadm(&["-A -t 10.2.0.100:80 -s rr", "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g"]);
    assert_eq!(plane.send_tcp(CLIENT, VIP, "A"), Verdict::Passed);
    plane.plane.apply_tuning(&Tuning { sloppy_tcp: true, ..Tuning::default() });
    assert_eq!(plane.send_tcp(CLIENT, VIP, "R"), Verdict::Passed);
    assert_eq!(plane.send_tcp(CLIENT, VIP, "A"), Verdict::Forwarded(R1));
}

#[test]
fn timeouts_are_what_they_are_set_to() {
    let Some(mut plane) = test_plane(4096) else { return };
    plane.ipvsadm(&["-A -u 10.2.0.100:80 -s rr", "-a -u 10.2.0.100:80 -r 10.2.0.21:80 -g"]);
    plane.plane.apply_tuning(&Tuning { udp_s: 7, ..Tuning::default() });
    plane.send_udp(CLIENT, VIP);
    let left = plane.plane.maps().connections()[0].expires_s;
    assert!((5..=7).contains(&left), "{left}");
}
